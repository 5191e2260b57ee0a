//! The change ring: which cells were published, in order, for any number of watchers that the writer does not know.
//!
//! ```text
//!                 reserved - entries          head      reserved
//!   ──────────────────┼─────────────────────────┼───────────┼──>  positions, ever growing; entry = position mod entries
//!     overwritten     │ readable                │ this burst│
//! ```
//!
//! The writer never waits: a watcher that falls more than a ring behind learns that it was overrun and reads everything
//! again. Before it overwrites an entry the writer raises `reserved`; a watcher that copied an entry checks `reserved`
//! again, so a torn entry is never believed (the scheme of Aeron's broadcast buffer).
//!
//! `head` moves once per burst. Its low half is the futex word: a watcher with a read-only mapping may sleep on it
//! (futex(2)). Watchers cannot announce themselves, because they cannot write; so the writer wakes once per burst that
//! changed something, without knowing whether anybody sleeps. That is one system call of a few hundred nanoseconds for up
//! to a whole burst of publications, and nothing for idle turns. A daemon that knows better may switch it off.

use crate::layout::{CHANGES_HEADER_BYTES, ChangesHeaderLayout, word};
use crate::sync::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence, load_acquire,
};
use std::mem::offset_of;

const HEAD: usize = word(offset_of!(ChangesHeaderLayout, head));
const RESERVED: usize = word(offset_of!(ChangesHeaderLayout, reserved));
const HEADER_WORDS: usize = word(CHANGES_HEADER_BYTES);

/// One change: a cell, its generation, and its version after the publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the cell.
    pub cell: u32,
    /// Generation of the cell.
    pub generation: u32,
    /// Version after the publication.
    pub version: u64,
}

/// What a watcher found at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A change; the position moves on by one.
    Entry(Entry),
    /// Nothing new.
    Nothing,
    /// The position's entry is gone; go on from here after reading everything.
    Overrun {
        /// The newest position.
        head: u64,
    },
}

fn entry(ring: &[AtomicU64], position: u64) -> Option<(&AtomicU64, &AtomicU64)> {
    let entries = entries(ring);
    if entries == 0 {
        return None;
    }
    let at = HEADER_WORDS + 2 * (position & (entries - 1)) as usize;
    Some((ring.get(at)?, ring.get(at + 1)?))
}

/// Entries of a ring (a power of two; what is beyond the last one is alignment).
fn entries(ring: &[AtomicU64]) -> u64 {
    match (ring.len().saturating_sub(HEADER_WORDS) / 2).checked_ilog2() {
        Some(bits) => 1 << bits,
        None => 0,
    }
}

/// The newest published position.
#[inline]
pub fn head(ring: &[AtomicU64]) -> u64 {
    // ORDER change-head: acquire pairs with the release in `publish`: the entries below and their values are there.
    ring.get(HEAD).map_or(0, load_acquire)
}

/// The word whose low half is the futex.
pub fn futex(ring: &[AtomicU64]) -> Option<&AtomicU64> {
    ring.get(HEAD)
}

/// Writes the change of a position; the writer counts positions itself.
#[inline]
pub fn append(ring: &[AtomicU64], position: u64, change: Entry) {
    let (Some(reserved), Some((cell, version))) = (ring.get(RESERVED), entry(ring, position)) else { return };
    reserved.store(position.wrapping_add(1), Relaxed);
    // ORDER change-reserve: release fence between raising `reserved` and overwriting; pairs with the acquire fence in
    // `read`. A watcher that copied a word of this change then sees `reserved` beyond its own position.
    if !zoo!(ChangeFenceMissing) {
        fence(Release);
    }
    if zoo!(ChangeHeadFirst) {
        publish(ring, position.wrapping_add(1));
    }
    cell.store(u64::from(change.cell) | u64::from(change.generation) << 32, Relaxed);
    version.store(change.version, Relaxed);
}

/// Shows everything below `position`.
#[inline]
pub fn publish(ring: &[AtomicU64], position: u64) {
    if let Some(head) = ring.get(HEAD) {
        // ORDER change-head: release pairs with the acquire in `head`.
        head.store(position, Release);
    }
}

/// Reads the change at a watcher's position.
#[inline]
pub fn read(ring: &[AtomicU64], position: u64) -> Step {
    let head = head(ring);
    if position == head {
        return Step::Nothing;
    }
    let entries = entries(ring);
    let (Some(reserved), Some((cell, version))) = (ring.get(RESERVED), entry(ring, position)) else {
        return Step::Nothing;
    };
    // A position beyond the head comes from a damaged file; it wraps to a huge distance and ends as an overrun too.
    if head.wrapping_sub(position) > entries {
        return Step::Overrun { head };
    }
    let (cell, version) = (cell.load(Relaxed), version.load(Relaxed));
    // ORDER change-reserve: acquire fence between the copy and the check; pairs with the release fence in `append`.
    fence(Acquire);
    if reserved.load(Relaxed).wrapping_sub(position) > entries {
        return Step::Overrun { head };
    }
    Step::Entry(Entry { cell: cell as u32, generation: (cell >> 32) as u32, version })
}
