//! The index: from a key's hash to its cell, by loads alone.
//!
//! ```text
//!   entry   63 ── upper half of the key's hash ── 32 31 ── cell number ── 0        0 = vacant
//!   home    hash & (entries - 1), then the following entries, around the end
//! ```
//!
//! Open addressing with linear probing (Knuth, TAOCP 6.4), at most half full, and nothing is ever deleted: so a search
//! ends at the first vacant entry. Two keys with the same bytes and different kinds are two keys; both are found on the
//! same walk. A key is never further than [`MAX_PROBES`] entries from its home: the writer refuses with `Full` what
//! would be, so that keys chosen to collide cost a reader a bounded walk.

use crate::cell::{self, Cell};
use crate::layout::{CELL_KEY_HASH, MAX_PROBES};
use crate::sync::{
    AtomicU64,
    Ordering::{Relaxed, Release},
    load_acquire,
};

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// The key's cell and its generation.
    Cell {
        /// Number of the cell.
        number: u32,
        /// Generation of the cell.
        generation: u32,
    },
    /// The key is not there.
    Missing {
        /// Another kind with the same key, if there is one.
        other_kind: Option<u8>,
        /// The vacant entry at which the search ended; `None` if it gave up.
        vacant: Option<usize>,
    },
}

/// Searches a worker's index. Entries that lead nowhere are passed over.
pub fn find(
    index: &[AtomicU64],
    cells: &[AtomicU64],
    extents: &[AtomicU64],
    kind: u8,
    hash: u64,
    key: &[u8],
) -> Find {
    let mut other_kind = None;
    let mask = index.len().wrapping_sub(1);
    for probe in 0..MAX_PROBES.min(index.len()) {
        let at = (hash as usize).wrapping_add(probe) & mask;
        let Some(entry) = index.get(at) else { break };
        // ORDER index: acquire pairs with the release in `insert`: the cell that the entry names is made.
        let entry = load_acquire(entry);
        if entry == 0 {
            return Find::Missing { other_kind, vacant: Some(at) };
        }
        if entry >> 32 != hash >> 32 {
            continue;
        }
        let number = entry as u32;
        let Some(found) = cell::cell(cells, number).filter(|_| number != 0) else { continue };
        match matching(found, extents, hash, key) {
            Some(meta) if meta.kind == kind => {
                return Find::Cell { number, generation: meta.generation };
            }
            Some(meta) => other_kind = Some(meta.kind),
            None => {}
        }
    }
    Find::Missing { other_kind, vacant: None }
}

fn matching(found: &Cell, extents: &[AtomicU64], hash: u64, key: &[u8]) -> Option<cell::Meta> {
    let meta = cell::meta(found)?;
    let same = found[CELL_KEY_HASH].load(Relaxed) == hash && cell::key_equals(found, meta, extents, key);
    same.then_some(meta)
}

/// Shows a made cell in the vacant entry that `find` returned.
pub fn insert(index: &[AtomicU64], vacant: usize, hash: u64, number: u32) {
    if let Some(entry) = index.get(vacant) {
        // ORDER index: release pairs with the acquire in `find`.
        let order = if zoo!(IndexRelaxed) { Relaxed } else { Release };
        entry.store((hash >> 32) << 32 | u64::from(number), order);
    }
}
