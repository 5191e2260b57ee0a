//! One worker's pair of rings, as words.

use super::layout::{COMPLETION_WORDS, LINES_WORDS, SLOT_WORDS};
use crate::sync::AtomicU64;

/// The words of one pair of rings, cut to size.
#[derive(Clone, Copy)]
pub struct RingPart<'a> {
    lines: &'a [AtomicU64; LINES_WORDS],
    slots: &'a [[AtomicU64; SLOT_WORDS]],
    entries: &'a [AtomicU64],
}

impl<'a> RingPart<'a> {
    /// Cuts a part's words; the counts are powers of two. `None` if the words are too few.
    #[inline]
    pub fn new(words: &'a [AtomicU64], submission_slots: usize, completion_slots: usize) -> Option<Self> {
        let (lines, rest) = words.split_first_chunk()?;
        let slot_words = submission_slots * SLOT_WORDS;
        let (slots, _) = rest.get(..slot_words)?.as_chunks();
        Some(RingPart {
            lines,
            slots,
            entries: rest.get(slot_words..slot_words + completion_slots * COMPLETION_WORDS)?,
        })
    }

    /// A word of the lines.
    #[inline]
    pub fn line(&self, word: usize) -> &'a AtomicU64 {
        &self.lines[word]
    }

    /// Number of submission slots.
    #[inline]
    pub fn submission_slots(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Number of failure entries.
    #[inline]
    pub fn completion_slots(&self) -> u64 {
        (self.entries.len() / COMPLETION_WORDS) as u64
    }

    /// The slot of a position.
    #[inline]
    pub fn slot(&self, position: u64) -> &'a [AtomicU64; SLOT_WORDS] {
        &self.slots[position as usize & (self.slots.len() - 1)]
    }

    /// A word of the slots, counted from a slot's position on and around the end.
    #[inline]
    pub fn slot_word(&self, position: u64, index: usize) -> &'a AtomicU64 {
        &self.slot(position.wrapping_add((index / SLOT_WORDS) as u64))[index % SLOT_WORDS]
    }

    /// The two words of a failure entry.
    #[inline]
    pub fn entry(&self, position: u64) -> (&'a AtomicU64, &'a AtomicU64) {
        let at = (position as usize).wrapping_mul(COMPLETION_WORDS) & (self.entries.len() - 1);
        (&self.entries[at], &self.entries[at + 1])
    }
}
