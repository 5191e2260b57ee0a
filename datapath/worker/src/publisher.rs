//! The segment as the engine sees it.
//!
//! The engine speaks of kinds, keys and `u32` cells; the segment of bytes and [`CellId`]s. This is the whole of the
//! translation. A publication without room is never an error here: the engine counts it, the state is replicated all the
//! same, and the worker reports itself degraded.

use lattice_crdt::Kind;
use lattice_engine::{KeyPlace, Published, Publisher};
use lattice_segment::layout::MAX_KEY_BYTES;
use lattice_segment::{CellId, Writer};
use std::sync::Arc;

use crate::namespaces::{CellRules, Namespaces};

/// A segment's writer behind the engine's [`Publisher`].
pub struct SegmentPublisher {
    writer: Writer,
    /// By cell: where the engine keeps its key, as far as is known. Room for all cells from the start.
    places: Vec<KeyPlace>,
    rules: CellRules,
}

impl SegmentPublisher {
    /// Publishes through `writer`.
    pub fn new(writer: Writer) -> Self {
        let cells = usize::try_from(writer.cells_left() + u64::from(writer.cells_used())).unwrap_or(0);
        // Cells are numbered from 1.
        Self { writer, places: vec![KeyPlace::UNKNOWN; cells + 1], rules: CellRules::new(cells) }
    }

    /// The writer, for what is not a publication: heartbeats, counters, the end of a burst.
    pub fn writer(&mut self) -> &mut Writer {
        &mut self.writer
    }

    /// The rules of namespaces.
    #[inline]
    pub(crate) fn rules(&mut self) -> &mut CellRules {
        &mut self.rules
    }

    /// Takes other rules.
    pub(crate) fn set_namespaces(&mut self, namespaces: Arc<Namespaces>) {
        self.rules.set(namespaces, &self.writer);
    }

    /// Goes on counting the keys of namespaces. Returns how many cells were looked at.
    #[inline]
    pub(crate) fn count_keys(&mut self, at_most: u32) -> usize {
        self.rules.count(at_most, &self.writer)
    }

    /// Whether a key has a cell: it was published before, though it may have been dropped since.
    pub(crate) fn has_cell(&self, kind: u8, key_hash: u64, key: &[u8]) -> bool {
        self.writer.has_cell(kind, key_hash, key)
    }

    /// Kind and hash of the key of the cell that a client's handle names. `None`: there is no such cell, or it has had
    /// another key since.
    #[inline]
    pub(crate) fn identify(&self, cell: u32, generation: u32) -> Option<(u8, u64)> {
        self.writer.identify(cell, generation)
    }

    /// The hash of a cell's key, whoever's it is by now.
    #[inline]
    pub(crate) fn glimpse(&self, cell: u32) -> Option<u64> {
        self.writer.hash_of(cell)
    }

    /// Where the engine keeps the key of a cell, as far as is known.
    #[inline]
    pub(crate) fn place(&self, cell: u32) -> KeyPlace {
        self.places.get(cell as usize).copied().unwrap_or(KeyPlace::UNKNOWN)
    }

    /// Remembers where the engine keeps the key of a cell.
    pub(crate) fn remember(&mut self, cell: u32, place: KeyPlace) {
        if let Some(known) = self.places.get_mut(cell as usize) {
            *known = place;
        }
    }

    /// Kind, hash and key of the cell that a client's handle names, the key copied into `key`. `None`: there is no such
    /// cell, or it has had another key since.
    pub(crate) fn resolve<'k>(
        &self,
        cell: u32,
        generation: u32,
        key: &'k mut [u8; MAX_KEY_BYTES],
    ) -> Option<(u8, u64, &'k [u8])> {
        let found = self.writer.describe(cell, generation, key)?;
        Some((found.kind, found.key_hash, key.get(..found.key_len)?))
    }
}

/// The segment's verdict in the engine's words.
fn published<E>(result: Result<(), E>) -> Published {
    match result {
        Ok(()) => Published::Visible,
        Err(_) => Published::Full,
    }
}

impl Publisher for SegmentPublisher {
    fn open(&mut self, kind: Kind, key_hash: u64, key: &[u8]) -> Option<u32> {
        let before = self.writer.cells_used();
        let cell = self.writer.open_cell(kind as u8, key_hash, key).ok()?.as_u32();
        if cell > before {
            self.rules.made(cell, kind as u8, key);
        }
        Some(cell)
    }

    fn room(&self) -> usize {
        usize::try_from(self.writer.cells_left()).unwrap_or(usize::MAX)
    }

    fn prefetch(&self, cell: u32) {
        self.writer.prefetch(CellId::from_u32(cell));
    }

    fn word(&mut self, cell: u32, value: u64) -> Published {
        self.writer.publish_word(CellId::from_u32(cell), value);
        Published::Visible
    }

    fn words(&mut self, words: &[(u32, u64)], _: &mut dyn FnMut(u32)) {
        self.writer.publish_words(words.iter().map(|&(cell, value)| (CellId::from_u32(cell), value)));
    }

    fn bytes(&mut self, cell: u32, value: &[u8]) -> Published {
        published(self.writer.publish_bytes(CellId::from_u32(cell), value))
    }

    fn element(&mut self, cell: u32, element: &[u8], present: bool) -> Published {
        let cell = CellId::from_u32(cell);
        published(match present {
            true => self.writer.set_insert(cell, element),
            false => self.writer.set_remove(cell, element),
        })
    }
}
