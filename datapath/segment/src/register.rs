//! Registers: values of up to 1 KiB, published in two slots and a flip.
//!
//! ```text
//!   version even ──> slot 0 (`value`)        publish n+1:  write slot (n+1) & 1, which nobody reads
//!   version odd  ──> slot 1 (`second`)                     store version n+1: readers go there
//! ```
//!
//! The slots hold references to extents; an extent is rewritten in place as long as the value fits it. A writer that
//! dies anywhere before the flip leaves the last value readable for ever, which a seqlock does not. A reader loads the
//! version, copies, and checks the version again: any change means that the copy may be torn, and it tries again.
//! Orderings as in Boehm, "Can seqlocks get along with programming language memory models?" (MSPC 2012).
//!
//! What can go wrong: a writer that publishes faster than a reader copies gives `Busy` after [`ATTEMPTS`]; a stable
//! version over nonsense gives `Corrupt`; no space gives `Full` and leaves the published value untouched.

use crate::cell::Cell;
use crate::error::{Full, ReadError};
use crate::extent::{self, Extent, ExtentAllocator, ExtentRef};
use crate::layout::{CELL_SECOND, CELL_VALUE, CELL_VERSION, MAX_REGISTER_BYTES};
use crate::sync::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence, load_acquire,
};
use crate::words;

/// Copies that a reader makes before it gives up.
#[cfg(not(loom))]
pub const ATTEMPTS: usize = 128;
/// Few under loom: each one multiplies the executions.
#[cfg(loom)]
pub const ATTEMPTS: usize = 2;

fn slot(cell: &Cell, version: u64) -> &AtomicU64 {
    if version & 1 == 0 { &cell[CELL_VALUE] } else { &cell[CELL_SECOND] }
}

/// Publishes a value and returns its version.
pub fn publish(
    cell: &Cell,
    extents: &[AtomicU64],
    allocator: &mut ExtentAllocator,
    value: &[u8],
) -> Result<u64, Full> {
    if value.len() > MAX_REGISTER_BYTES {
        return Err(Full);
    }
    let version = cell[CELL_VERSION].load(Relaxed).wrapping_add(1);
    // ORDER register-reuse: release fence between the flip away from this slot (the last publication) and its first
    // new word; pairs with the acquire fence in `read`. A reader that copies a new word then sees the flip.
    if !zoo!(RegisterFenceMissing) {
        fence(Release);
    }
    let place = place_for(slot(cell, version), extents, allocator, value.len())?;
    if zoo!(RegisterFlipsFirst) {
        cell[CELL_VERSION].store(version, Release);
    }
    if !zoo!(RegisterKeepsLength) || place.is_empty() {
        place.set_len(value.len());
    }
    if !words::store_bytes(place.payload(), value) {
        return Err(Full);
    }
    // ORDER register-flip: release pairs with the acquire in `read`: the slot's reference, length and words are there.
    cell[CELL_VERSION].store(version, Release);
    Ok(version)
}

/// The inactive slot's extent if the value fits it without wasting most of it, else a new one.
fn place_for<'a>(
    slot: &AtomicU64,
    extents: &'a [AtomicU64],
    allocator: &mut ExtentAllocator,
    len: usize,
) -> Result<Extent<'a>, Full> {
    let held = ExtentRef::from_word(slot.load(Relaxed));
    let usable = held.and_then(|held| extent::resolve(extents, held).ok());
    if let Some(place) = usable.filter(|place| (len..=len * 4 + 64).contains(&place.capacity_bytes())) {
        return Ok(place);
    }
    let fresh = match allocator.allocate(extents, len) {
        Ok(fresh) => fresh,
        // Too large is still better than no publication.
        Err(Full) => return usable.filter(|place| place.capacity_bytes() >= len).ok_or(Full),
    };
    slot.store(fresh.to_word(), Relaxed);
    if let Some(held) = held {
        allocator.free(extents, held);
    }
    extent::resolve(extents, fresh).map_err(|_| Full)
}

/// Reads the newest value into `out`, replacing what it held; empty for a register never set. On an error `out` is empty.
pub fn read(cell: &Cell, extents: &[AtomicU64], out: &mut Vec<u8>) -> Result<(), ReadError> {
    for _ in 0..ATTEMPTS {
        out.clear();
        // ORDER register-flip: acquire pairs with the release in `publish`.
        let version = load_acquire(&cell[CELL_VERSION]);
        if version == 0 {
            return Ok(());
        }
        let copied = copy_slot(slot(cell, version), extents, out);
        // ORDER register-reuse: acquire fence between the copy and the check; pairs with the release fences in
        // `publish` and `ExtentAllocator::allocate`.
        fence(Acquire);
        if cell[CELL_VERSION].load(Relaxed) == version || zoo!(RegisterNotRechecked) {
            return copied.ok_or(ReadError::Corrupt).inspect_err(|_| out.clear());
        }
    }
    out.clear();
    Err(ReadError::Busy)
}

/// Copies what may be torn: the caller decides by the version whether it is.
fn copy_slot(slot: &AtomicU64, extents: &[AtomicU64], out: &mut Vec<u8>) -> Option<()> {
    let place = extent::resolve(extents, ExtentRef::from_word(slot.load(Relaxed))?).ok()?;
    if place.len() > MAX_REGISTER_BYTES {
        return None;
    }
    words::append_bytes(place.payload(), place.len(), out).then_some(())
}
