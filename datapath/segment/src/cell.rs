//! Cells: one key each, 64 bytes, so that a read by handle touches one cache line.
//!
//! ```text
//!   word   0          1           2          3          4          5 6 7
//!        │ meta     │ key hash  │ version  │ value    │ second   │ key (24 bytes) or its extent │
//!
//!   meta   63 ─ generation ─ 32 31 ─ 0 ─ 16 15 ─ key length ─ 8 7 ─ kind ─ 0
//! ```
//!
//! A cell is made once and stays its key's for the life of the segment; `meta` is stored last, so a reader that sees it
//! sees the whole key. A counter's or flag's value is `value`: one load. What `value` and `second` mean for a register
//! and a set is in `register` and `set`.
//!
//! What can go wrong: a handle of another segment has another generation and is refused as `Stale`; a damaged cell has
//! lengths or references out of bounds, which every use checks.

use crate::error::Full;
use crate::extent::{self, ExtentAllocator, ExtentRef};
use crate::layout::{
    CELL_KEY, CELL_KEY_HASH, CELL_META, CELL_VALUE, CELL_VERSION, CELL_WORDS, INLINE_KEY_BYTES,
    KIND_FLAG_DISABLE_WINS, MAX_KEY_BYTES,
};
use crate::sync::{
    AtomicU64,
    Ordering::{Relaxed, Release},
    load_acquire,
};
use crate::words;

/// A cell's eight words.
pub type Cell = [AtomicU64; CELL_WORDS];

/// A cell by its number, from 1; number 0 is the section's header.
#[inline]
pub fn cell(section: &[AtomicU64], number: u32) -> Option<&Cell> {
    let start = number as usize * CELL_WORDS;
    section.get(start..start + CELL_WORDS)?.try_into().ok()
}

/// A cell's `meta`, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Kind number.
    pub kind: u8,
    /// Length of the key.
    pub key_len: u8,
    /// Generation.
    pub generation: u32,
}

impl Meta {
    /// The word to store.
    pub const fn to_word(self) -> u64 {
        self.kind as u64 | (self.key_len as u64) << 8 | (self.generation as u64) << 32
    }

    /// From a shared word; `None` while the cell is not made. The length is not validated.
    pub const fn from_word(word: u64) -> Option<Self> {
        if word == 0 {
            return None;
        }
        Some(Meta { kind: word as u8, key_len: (word >> 8) as u8, generation: (word >> 32) as u32 })
    }
}

/// A cell's meta, if it is made.
#[inline]
pub fn meta(cell: &Cell) -> Option<Meta> {
    // ORDER cell-made: acquire pairs with the release in `make`: the key's words are there.
    Meta::from_word(load_acquire(&cell[CELL_META]))
}

/// Writes a key into an unused cell and shows it. On `Full` the cell is still unused.
pub fn make(
    cell: &Cell,
    meta: Meta,
    key_hash: u64,
    key: &[u8],
    extents: &[AtomicU64],
    allocator: &mut ExtentAllocator,
) -> Result<(), Full> {
    if key.len() <= INLINE_KEY_BYTES {
        words::store_bytes(&cell[CELL_KEY..], key);
    } else {
        let reference = allocator.allocate(extents, key.len())?;
        let place = extent::resolve(extents, reference).map_err(|_| Full)?;
        if !words::store_bytes(place.payload(), key) {
            return Err(Full);
        }
        place.set_len(key.len());
        cell[CELL_KEY].store(reference.to_word(), Relaxed);
    }
    cell[CELL_KEY_HASH].store(key_hash, Relaxed);
    // ORDER cell-made: release pairs with the acquire in `meta`.
    cell[CELL_META].store(meta.to_word(), Release);
    Ok(())
}

/// Shows that the cells up to a number are made, to those who visit them all.
pub fn show(section: &[AtomicU64], number: u32) {
    if let Some(shown) = section.first() {
        // ORDER cells-used: release pairs with the acquire in `shown`: the cells up to here are made.
        shown.store(u64::from(number), Release);
    }
}

/// How many cells are made, counted from number 1; in a damaged file any number.
pub fn shown(section: &[AtomicU64]) -> u64 {
    // ORDER cells-used: acquire pairs with the release in `show`.
    section.first().map_or(0, load_acquire)
}

/// Whether a made cell's key is `key`. A damaged cell equals nothing.
pub fn key_equals(cell: &Cell, meta: Meta, extents: &[AtomicU64], key: &[u8]) -> bool {
    if usize::from(meta.key_len) != key.len() {
        return false;
    }
    if key.len() <= INLINE_KEY_BYTES {
        return words::equal_bytes(&cell[CELL_KEY..], key);
    }
    let Some(reference) = ExtentRef::from_word(cell[CELL_KEY].load(Relaxed)) else { return false };
    let Ok(place) = extent::resolve(extents, reference) else { return false };
    words::equal_bytes(place.payload(), key) && place.still_valid()
}

/// Copies a made cell's key to the front of `out` and returns its length; `None` for a damaged cell.
pub fn copy_key(
    cell: &Cell,
    meta: Meta,
    extents: &[AtomicU64],
    out: &mut [u8; MAX_KEY_BYTES],
) -> Option<usize> {
    let len = usize::from(meta.key_len);
    if len == 0 || len > MAX_KEY_BYTES {
        return None;
    }
    let mut copy = [0u64; MAX_KEY_BYTES / 8];
    if len <= INLINE_KEY_BYTES {
        words::copy_words(&cell[CELL_KEY..], &mut copy[..words::words_for(len)]);
    } else {
        let reference = ExtentRef::from_word(cell[CELL_KEY].load(Relaxed))?;
        let place = extent::resolve(extents, reference).ok()?;
        words::copy_words(place.payload(), &mut copy[..words::words_for(len)]);
        if place.len() != len || !place.still_valid() {
            return None;
        }
    }
    words::unpack(&copy, len, out)?;
    Some(len)
}

/// Publishes a value of one word.
#[inline]
pub fn publish_word(cell: &Cell, value: u64) -> u64 {
    // ORDER word: release pairs with the acquire in `word`: a reader that sees this value and then reads another cell
    // of this worker sees what was published there before.
    if zoo!(VersionBeforeValue) {
        bump_version(cell);
    }
    cell[CELL_VALUE].store(value, Release);
    bump_version(cell)
}

/// The value of a counter or flag; `None` if the generation is another or the kind has no such value.
#[inline]
pub fn word(cell: &Cell, generation: u32) -> Option<u64> {
    // Relaxed is enough: the handle came from a lookup that acquired the cell, and the cell keeps its key for good.
    let meta = Meta::from_word(cell[CELL_META].load(Relaxed))?;
    if meta.generation != generation || meta.kind > KIND_FLAG_DISABLE_WINS {
        return None;
    }
    // ORDER word: acquire pairs with the release in `publish_word`.
    Some(load_acquire(&cell[CELL_VALUE]))
}

/// Counts a publication and returns the new version.
#[inline]
pub fn bump_version(cell: &Cell) -> u64 {
    let version = cell[CELL_VERSION].load(Relaxed).wrapping_add(1);
    // ORDER version: release pairs with the acquire in `version`: that version's value is there.
    cell[CELL_VERSION].store(version, Release);
    version
}

/// Number of publications.
#[inline]
pub fn version(cell: &Cell) -> u64 {
    // ORDER version: acquire pairs with the release in `bump_version` and with a register's flip.
    load_acquire(&cell[CELL_VERSION])
}
