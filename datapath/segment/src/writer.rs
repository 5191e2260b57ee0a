//! The single writer of one worker's part of the segment.

use crate::error::Full;
use crate::layout::MAX_KEY_BYTES;

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
pub struct Writer {}

impl Writer {
    /// The worker whose part this is.
    pub fn worker(&self) -> u16 {
        todo!()
    }

    /// Stores the worker's heartbeat (CLOCK_MONOTONIC).
    pub fn heartbeat(&self, monotonic_ns: u64) {
        let _ = monotonic_ns;
        todo!()
    }

    /// Finds or makes the cell of a key. `key_hash` must be [`key_hash`](crate::key_hash) of `key`.
    pub fn open_cell(&mut self, kind: u8, key_hash: u64, key: &[u8]) -> Result<CellId, Full> {
        let _ = (kind, key_hash, key);
        todo!()
    }

    /// What the cell of a handle is, its key copied to the front of `key`; `None` for a stale or invented handle.
    pub fn describe(
        &self,
        cell: u32,
        generation: u32,
        key: &mut [u8; MAX_KEY_BYTES],
    ) -> Option<CellDescription> {
        let _ = (cell, generation, key);
        todo!()
    }

    /// Publishes a value of one word: a counter as `i64` bits, a flag as 0 or 1.
    pub fn publish_word(&mut self, cell: CellId, value: u64) {
        let _ = (cell, value);
        todo!()
    }

    /// Publishes a register's bytes.
    pub fn publish_bytes(&mut self, cell: CellId, value: &[u8]) -> Result<(), Full> {
        let _ = (cell, value);
        todo!()
    }

    /// Publishes that an element is a member. Idempotent.
    pub fn set_insert(&mut self, cell: CellId, element: &[u8]) -> Result<(), Full> {
        let _ = (cell, element);
        todo!()
    }

    /// Publishes that an element is not a member. Idempotent.
    pub fn set_remove(&mut self, cell: CellId, element: &[u8]) -> Result<(), Full> {
        let _ = (cell, element);
        todo!()
    }

    /// Shows the burst's changes to watchers and wakes the sleeping ones, with at most one system call.
    pub fn end_burst(&mut self) {
        todo!()
    }

    /// Whether [`end_burst`](Self::end_burst) wakes sleeping watchers (default: yes).
    pub fn set_watchers(&mut self, wake: bool) {
        let _ = wake;
        todo!()
    }

    /// Names this worker's counters, in the order of their indexes; returns how many found room.
    pub fn register_counters(&mut self, names: &[&str]) -> usize {
        let _ = names;
        todo!()
    }

    /// Publishes a counter's value; an index without a name is ignored.
    pub fn set_counter(&self, index: usize, value: u64) {
        let _ = (index, value);
        todo!()
    }
}
