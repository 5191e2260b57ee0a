//! Reading a set: membership, and a walk that sees each lasting element exactly once.

use super::{Directory, MAX_BUCKET_BYTES, Probe, SetHasher, bucket, prefix};
use crate::cell::Cell;
use crate::error::ReadError;
use crate::extent::{self, ExtentRef, Unresolved};
use crate::layout::{CELL_VALUE, MAX_ELEMENT_BYTES};
use crate::sync::{AtomicU64, load_acquire};
use crate::words;

/// Attempts at one bucket before a reader gives up.
#[cfg(not(loom))]
const ATTEMPTS: usize = 128;
/// Few under loom: each one multiplies the executions.
#[cfg(loom)]
const ATTEMPTS: usize = 2;

fn attempts<T>(mut attempt: impl FnMut() -> Result<T, Unresolved>) -> Result<T, ReadError> {
    let mut last = Unresolved::Moved;
    for _ in 0..ATTEMPTS {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(why) => last = why,
        }
    }
    Err(match last {
        Unresolved::Moved => ReadError::Busy,
        Unresolved::Corrupt => ReadError::Corrupt,
    })
}

/// Finds the bucket of a hash and lets `look` read it; what `look` found is returned only if neither the directory nor
/// the bucket had another tenant meanwhile. `None`: the set is empty.
fn with_bucket<T>(
    cell: &Cell,
    extents: &[AtomicU64],
    hash: u64,
    look: impl FnOnce(&[AtomicU64]) -> Result<T, Unresolved>,
) -> Result<Option<T>, Unresolved> {
    // ORDER set-directory: acquire pairs with the release stores of `cell.value` in `write`: the slots are there.
    let Some(reference) = ExtentRef::from_word(load_acquire(&cell[CELL_VALUE])) else { return Ok(None) };
    let directory = Directory::resolve(extents, reference)?;
    let found = in_directory(&directory, extents, hash, look);
    // Also nonsense is not believed of a directory that is none any more.
    if directory.extent.still_valid() { found.map(Some) } else { Err(Unresolved::Moved) }
}

fn in_directory<T>(
    directory: &Directory<'_>,
    extents: &[AtomicU64],
    hash: u64,
    look: impl FnOnce(&[AtomicU64]) -> Result<T, Unresolved>,
) -> Result<T, Unresolved> {
    let slot = directory.slots.get(directory.slot(hash)).ok_or(Unresolved::Corrupt)?;
    // ORDER set-bucket: acquire pairs with the release stores of slots in `write`: the bucket's entries are there.
    let reference = ExtentRef::from_word(load_acquire(slot)).ok_or(Unresolved::Corrupt)?;
    let place = extent::resolve(extents, reference)?;
    // No writer makes such a one. Buckets may overlap in a damaged file: only their number is bounded by its size.
    if place.capacity_bytes() >= MAX_BUCKET_BYTES {
        return Err(Unresolved::Corrupt);
    }
    let found = place.payload().get(..place.len() / 8).ok_or(Unresolved::Corrupt).and_then(look);
    if place.still_valid() { found } else { Err(Unresolved::Moved) }
}

/// Whether an element is a member.
pub fn contains(cell: &Cell, extents: &[AtomicU64], probe: &Probe) -> Result<bool, ReadError> {
    attempts(|| {
        let found = with_bucket(cell, extents, probe.hash(), |bucket| {
            let found = bucket::find(bucket, bucket.len(), probe)?;
            Ok(found.is_some_and(|(_, live)| live))
        })?;
        Ok(found.unwrap_or(false))
    })
}

/// Visits the members in the order of their hashes' prefixes.
///
/// The walk stands at a hash, `cursor`: it copies the bucket that serves this hash, visits its elements, and goes on
/// at the end of that bucket's range. Buckets split while it runs, but their ranges only get finer, so an element that
/// is a member throughout is passed exactly once. It is no snapshot: one that comes or goes meanwhile may be visited or
/// not. On an error some members have been visited.
pub fn members(
    cell: &Cell,
    extents: &[AtomicU64],
    hasher: SetHasher,
    visit: &mut dyn FnMut(&[u8]),
) -> Result<(), ReadError> {
    let mut copy = Vec::new();
    let mut cursor = 0u64;
    loop {
        let found = attempts(|| {
            with_bucket(cell, extents, cursor, |bucket| {
                copy.resize(bucket.len(), 0);
                words::copy_words(bucket, &mut copy);
                Ok(())
            })
        })?;
        if found.is_none() {
            return Ok(());
        }
        // From here on `copy` is one bucket's words, but still whatever a damaged file may hold.
        let (depth, own_prefix) =
            copy.first().and_then(|word| bucket::range(*word)).ok_or(ReadError::Corrupt)?;
        if own_prefix != prefix(cursor, depth) {
            return Err(ReadError::Corrupt);
        }
        let start = own_prefix.checked_shl(64 - depth).unwrap_or(0);
        visit_from(&copy, hasher, cursor, start, visit)?;
        match 1u64.checked_shl(64 - depth).and_then(|width| start.checked_add(width)) {
            Some(end) => cursor = end,
            None => return Ok(()),
        }
    }
}

/// Visits the live elements of a copied bucket whose hash is not behind the cursor.
fn visit_from(
    copy: &[u64],
    hasher: SetHasher,
    cursor: u64,
    start: u64,
    visit: &mut dyn FnMut(&[u8]),
) -> Result<(), ReadError> {
    let mut room = [0u8; MAX_ELEMENT_BYTES];
    let mut at = bucket::FIRST_ENTRY;
    while let Some(header) = copy.get(at).copied() {
        let next = at + bucket::entry_words(header).ok_or(ReadError::Corrupt)?;
        let element = copy.get(at + 1..next).ok_or(ReadError::Corrupt)?;
        let element =
            words::unpack(element, bucket::element_len(header), &mut room).ok_or(ReadError::Corrupt)?;
        // A slot may still refer to the bucket that was whole before a split whose first half has been visited.
        let behind = start < cursor && hasher.hash(element) < cursor;
        if bucket::is_live(header) && !behind {
            visit(element);
        }
        at = next;
    }
    Ok(())
}
