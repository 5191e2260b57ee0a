//! Where the engine's state becomes visible.

use lattice_crdt::Kind;

/// What a publication led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Readers see it.
    Visible,
    /// There was no room: the state is merged and replicated all the same, and counted as unpublished.
    Full,
}

/// A published segment, as the engine sees it. `Cell` is the publisher's own name for a key's place; the engine keeps
/// one per key and hands it back, so that a publication needs no lookup.
pub trait Publisher {
    /// Finds or makes the place of a key; never [`u32::MAX`]. `None`: full.
    fn open(&mut self, kind: Kind, key_hash: u64, key: &[u8]) -> Option<u32>;
    /// How many more keys [`Publisher::open`] has room for, as far as is known: local writes make no key beyond it.
    fn room(&self) -> usize {
        usize::MAX
    }
    /// A publication to this cell is about to come: a publisher may bring its memory closer.
    fn prefetch(&self, cell: u32) {
        let _ = cell;
    }
    /// Publishes a value of one word: a counter as `i64` bits, a flag as 0 or 1.
    fn word(&mut self, cell: u32, value: u64) -> Published;
    /// [`Publisher::word`] for each (cell, value), in their order; `full` is told each cell that found no room.
    fn words(&mut self, words: &[(u32, u64)], full: &mut dyn FnMut(u32)) {
        for &(cell, value) in words {
            if self.word(cell, value) == Published::Full {
                full(cell);
            }
        }
    }
    /// Publishes a register's bytes.
    fn bytes(&mut self, cell: u32, value: &[u8]) -> Published;
    /// Publishes that an element is a member, or is not. Idempotent.
    fn element(&mut self, cell: u32, element: &[u8], present: bool) -> Published;
}
