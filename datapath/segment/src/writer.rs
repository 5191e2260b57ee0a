//! The single writer of one worker's part of the segment.
//!
//! ```text
//!   open_cell ──> index, cell          publish_word / publish_bytes / set_insert / set_remove
//!                                        └─> value ──> version ──> change ring        end_burst ──> head, futex wake
//! ```
//!
//! A `Writer` has exclusive access to the parts of its worker: it is `Send`, not `Clone`, and its methods take
//! `&mut self`. Readers see a value as soon as its publication returns; watchers are told at the end of the burst.
//! After its creation a writer allocates nothing: its books have their full size from the start.
//!
//! What can go wrong: [`Full`], when cells, index neighbourhood or extents are used up. The value published before stays
//! readable, and [`Writer::refused`] counts it.

use crate::cell::{self, Cell, Meta};
use crate::change_ring::{self, Entry};
use crate::counters;
use crate::error::Full;
use crate::extent::ExtentAllocator;
use crate::header::Geometry;
use crate::index::{self, Find};
use crate::layout::{
    CELL_BYTES, CELL_KEY_HASH, CELL_META, KIND_COUNTER, KIND_FLAG_DISABLE_WINS, KIND_REGISTER, KIND_SET,
    MAX_ELEMENT_BYTES, MAX_KEY_BYTES, MAX_REGISTER_BYTES,
};
use crate::mapping::Mapping;
use crate::register;
use crate::set::{SetHasher, SetWriter};
use crate::sync::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

/// A cell of one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CellId(u32);

impl CellId {
    /// From the number that [`as_u32`](Self::as_u32) gave. A number that names no cell is refused where it is used.
    pub const fn from_u32(raw: u32) -> Self {
        CellId(raw)
    }

    /// The cell's number in its worker's part: what handles carry.
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

/// What a cell is, for a worker that got only its handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellDescription {
    /// Kind number.
    pub kind: u8,
    /// Length of the key in bytes.
    pub key_len: usize,
    /// Hash of the key.
    pub key_hash: u64,
}

/// The single writer of one worker's part. It never allocates after its creation.
#[derive(Debug)]
pub struct Writer {
    mapping: Arc<Mapping>,
    geometry: Geometry,
    allocator: ExtentAllocator,
    hasher: SetHasher,
    worker: u16,
    generation: u32,
    cells_used: u32,
    change_position: u64,
    change_shown: u64,
    wake: bool,
    refused: u64,
}

impl Writer {
    pub(crate) fn new(mapping: Arc<Mapping>, geometry: Geometry, worker: u16, incarnation: u64) -> Writer {
        let extent_words = geometry.extents.part(mapping.words(), worker).len();
        Writer {
            mapping,
            geometry,
            allocator: ExtentAllocator::new(extent_words),
            hasher: SetHasher { seed: incarnation },
            worker,
            generation: incarnation as u32,
            cells_used: 0,
            change_position: 0,
            change_shown: 0,
            wake: true,
            refused: 0,
        }
    }

    /// The worker whose part this is.
    pub fn worker(&self) -> u16 {
        self.worker
    }

    /// Publications and cells that found no room since the creation.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The generation of all cells that this writer makes.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether a key has a cell.
    pub fn has_cell(&self, kind: u8, key_hash: u64, key: &[u8]) -> bool {
        let words = self.mapping.words();
        let cells = self.geometry.cell_section.part(words, self.worker);
        let extents = self.geometry.extents.part(words, self.worker);
        let index = self.geometry.index_part(words, self.worker);
        matches!(index::find(index, cells, extents, kind, key_hash, key), Find::Cell { .. })
    }

    /// Cells in use.
    pub fn cells_used(&self) -> u32 {
        self.cells_used
    }

    /// Extent bytes that were never handed out: what is left before only freed extents can be reused.
    pub fn fresh_extent_bytes(&self) -> usize {
        self.allocator.fresh_bytes()
    }

    /// Stores the worker's heartbeat (CLOCK_MONOTONIC, see [`monotonic_ns`](crate::monotonic_ns)).
    pub fn heartbeat(&self, monotonic_ns: u64) {
        if let Some(word) = self.geometry.heartbeats.part(self.mapping.words(), self.worker).first() {
            // Relaxed: it says that the worker ran, and orders nothing.
            word.store(monotonic_ns, Relaxed);
        }
    }

    /// Cells that no key has taken yet: how many more keys fit at most.
    pub fn cells_left(&self) -> u64 {
        self.geometry.cells.saturating_sub(u64::from(self.cells_used))
    }

    /// Finds or makes the cell of a key. `key_hash` must be [`key_hash`](crate::key_hash) of `key`, and the key one of
    /// this worker's; a key of an impossible length or kind is `Full`, as no segment has room for it.
    pub fn open_cell(&mut self, kind: u8, key_hash: u64, key: &[u8]) -> Result<CellId, Full> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES || !(KIND_COUNTER..=KIND_SET).contains(&kind) {
            return self.refuse();
        }
        let words = self.mapping.words();
        let cells = self.geometry.cell_section.part(words, self.worker);
        let extents = self.geometry.extents.part(words, self.worker);
        let index = self.geometry.index_part(words, self.worker);
        let vacant = match index::find(index, cells, extents, kind, key_hash, key) {
            Find::Cell { number, .. } => return Ok(CellId(number)),
            Find::Missing { vacant, .. } => vacant,
        };
        let number = self.cells_used + 1;
        let cell = cell::cell(cells, number).filter(|_| u64::from(number) <= self.geometry.cells);
        let (Some(vacant), Some(cell)) = (vacant, cell) else { return self.refuse() };
        let meta = Meta { kind, key_len: key.len() as u8, generation: self.generation };
        if cell::make(cell, meta, key_hash, key, extents, &mut self.allocator).is_err() {
            return self.refuse();
        }
        cell::show(cells, number);
        index::insert(index, vacant, key_hash, number);
        self.cells_used = number;
        Ok(CellId(number))
    }

    /// Kind and key hash of the cell of a handle; `None` for a stale or invented handle.
    #[inline]
    pub fn identify(&self, cell: u32, generation: u32) -> Option<(u8, u64)> {
        let cell = made(self.geometry.cell_section.part(self.mapping.words(), self.worker), cell)?;
        // Relaxed: the writer reads its own stores.
        let meta =
            Meta::from_word(cell[CELL_META].load(Relaxed)).filter(|meta| meta.generation == generation)?;
        Some((meta.kind, cell[CELL_KEY_HASH].load(Relaxed)))
    }

    /// The hash of the key of a cell, whichever generation it is; `None` if no such cell was made.
    #[inline]
    pub fn hash_of(&self, cell: u32) -> Option<u64> {
        let cell = made(self.geometry.cell_section.part(self.mapping.words(), self.worker), cell)?;
        // Relaxed: the writer reads its own stores.
        Some(cell[CELL_KEY_HASH].load(Relaxed))
    }

    /// What the cell of a handle is, its key copied to the front of `key`; `None` for a stale or invented handle.
    pub fn describe(
        &self,
        cell: u32,
        generation: u32,
        key: &mut [u8; MAX_KEY_BYTES],
    ) -> Option<CellDescription> {
        let words = self.mapping.words();
        let cell = made(self.geometry.cell_section.part(words, self.worker), cell)?;
        let meta = cell::meta(cell).filter(|meta| meta.generation == generation)?;
        let key_len = cell::copy_key(cell, meta, self.geometry.extents.part(words, self.worker), key)?;
        Some(CellDescription { kind: meta.kind, key_len, key_hash: cell[CELL_KEY_HASH].load(Relaxed) })
    }

    /// Tells the processor that a publication to this cell is about to come. Changes nothing.
    #[inline]
    pub fn prefetch(&self, id: CellId) {
        let cells = self.geometry.cell_section.part(self.mapping.words(), self.worker);
        if let Some(cell) = made(cells, id.0) {
            crate::words::prefetch(&cell[CELL_META]);
        }
    }

    /// Publishes a value of one word: a counter as `i64` bits, a flag as 0 or 1. A cell of another kind is left alone.
    #[inline]
    pub fn publish_word(&mut self, id: CellId, value: u64) {
        let cells = self.geometry.cell_section.part(self.mapping.words(), self.worker);
        let Some(cell) = of_kind(cells, id, KIND_COUNTER..=KIND_FLAG_DISABLE_WINS) else { return };
        let version = cell::publish_word(cell, value);
        self.note(id, version);
    }

    /// [`Writer::publish_word`] for each cell and value, in their order. All cells are brought near first, in a loop as short
    /// as can be: while it waits for the translation of a page, a prefetch keeps its place among the instructions that the
    /// processor looks ahead over.
    #[inline]
    pub fn publish_words(&mut self, words: impl Iterator<Item = (CellId, u64)> + Clone) {
        let cells = self.geometry.cell_section.part(self.mapping.words(), self.worker);
        let ring = self.geometry.changes.part(self.mapping.words(), self.worker);
        for (id, _) in words.clone() {
            if let Some(cell) = made(cells, id.0) {
                crate::words::prefetch(&cell[CELL_META]);
            }
        }
        let (generation, mut position) = (self.generation, self.change_position);
        for (id, value) in words {
            if let Some(cell) = of_kind(cells, id, KIND_COUNTER..=KIND_FLAG_DISABLE_WINS) {
                let version = cell::publish_word(cell, value);
                change_ring::append(ring, position, Entry { cell: id.0, generation, version });
                position += 1;
            }
        }
        self.change_position = position;
    }

    /// Publishes a register's bytes. On `Full` (too long, no space, or not a register's cell) the last value stays.
    pub fn publish_bytes(&mut self, id: CellId, value: &[u8]) -> Result<(), Full> {
        let words = self.mapping.words();
        let cells = self.geometry.cell_section.part(words, self.worker);
        let extents = self.geometry.extents.part(words, self.worker);
        let cell =
            of_kind(cells, id, KIND_REGISTER..=KIND_REGISTER).filter(|_| value.len() <= MAX_REGISTER_BYTES);
        let version = cell.and_then(|cell| register::publish(cell, extents, &mut self.allocator, value).ok());
        match version {
            Some(version) => {
                self.note(id, version);
                Ok(())
            }
            None => self.refuse(),
        }
    }

    /// Publishes that an element is a member. Idempotent: a member stays one, and nothing is published. On `Full` the
    /// set is as before.
    pub fn set_insert(&mut self, id: CellId, element: &[u8]) -> Result<(), Full> {
        self.change_set(id, |set| set.insert(element))
    }

    /// Publishes that an element is not a member. Idempotent. `Full` only for a cell that is no set.
    pub fn set_remove(&mut self, id: CellId, element: &[u8]) -> Result<(), Full> {
        self.change_set(id, |set| {
            if element.len() > MAX_ELEMENT_BYTES { Ok(false) } else { Ok(set.remove(element)) }
        })
    }

    fn change_set(
        &mut self,
        id: CellId,
        change: impl FnOnce(&mut SetWriter<'_>) -> Result<bool, Full>,
    ) -> Result<(), Full> {
        let words = self.mapping.words();
        let cells = self.geometry.cell_section.part(words, self.worker);
        let extents = self.geometry.extents.part(words, self.worker);
        let Some(cell) = of_kind(cells, id, KIND_SET..=KIND_SET) else { return self.refuse() };
        let mut set = SetWriter { cell, extents, allocator: &mut self.allocator, hasher: self.hasher };
        match change(&mut set) {
            Ok(true) => {
                let version = cell::bump_version(cell);
                self.note(id, version);
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(Full) => self.refuse(),
        }
    }

    /// Shows the burst's changes to watchers and wakes the sleeping ones: at most one system call, none if nothing was
    /// published since the last call.
    pub fn end_burst(&mut self) {
        if self.change_shown == self.change_position {
            return;
        }
        let ring = self.geometry.changes.part(self.mapping.words(), self.worker);
        change_ring::publish(ring, self.change_position);
        self.change_shown = self.change_position;
        if self.wake {
            crate::futex::wake_all(change_ring::futex(ring));
        }
    }

    /// Whether [`end_burst`](Self::end_burst) wakes sleeping watchers (default: yes, because readers cannot announce
    /// themselves). Without it they notice changes when their sleep's slice ends ([`ChangeCursor::wait`]).
    ///
    /// [`ChangeCursor::wait`]: crate::ChangeCursor::wait
    pub fn set_watchers(&mut self, wake: bool) {
        self.wake = wake;
    }

    /// Names this worker's counters, in the order of their indexes; returns how many found room.
    pub fn register_counters(&mut self, names: &[&str]) -> usize {
        counters::register(self.geometry.counters.part(self.mapping.words(), self.worker), names)
    }

    /// Publishes a counter's value; an index beyond the part's room is ignored.
    #[inline]
    pub fn set_counter(&self, index: usize, value: u64) {
        counters::set(self.geometry.counters.part(self.mapping.words(), self.worker), index, value);
    }

    fn refuse<T>(&mut self) -> Result<T, Full> {
        self.refused += 1;
        Err(Full)
    }

    #[inline]
    fn note(&mut self, id: CellId, version: u64) {
        let ring = self.geometry.changes.part(self.mapping.words(), self.worker);
        let change = Entry { cell: id.0, generation: self.generation, version };
        change_ring::append(ring, self.change_position, change);
        self.change_position += 1;
    }
}

/// A cell by its number, unless it is the section's header.
fn made(cells: &[AtomicU64], number: u32) -> Option<&Cell> {
    if number == 0 { None } else { cell::cell(cells, number) }
}

/// A made cell of one of some kinds.
#[inline]
fn of_kind(cells: &[AtomicU64], id: CellId, kinds: std::ops::RangeInclusive<u8>) -> Option<&Cell> {
    let cell = made(cells, id.0)?;
    // Relaxed: the writer reads its own store.
    Meta::from_word(cell[CELL_META].load(Relaxed)).filter(|meta| kinds.contains(&meta.kind)).map(|_| cell)
}

const _: () = assert!(CELL_BYTES == 64);
