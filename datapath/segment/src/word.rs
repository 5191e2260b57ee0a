//! A counter's or flag's value, kept at hand: what was validated once need not be validated at each read.
//!
//! ```text
//!   Word { mapping, addresses of the segment's state and of the value in it }
//!      load:  given up? ── state CLOSED? ── value          three loads and their checks, all of hot lines
//! ```
//!
//! A cell is made once and stays its key's for the life of the segment, and a mapping keeps its length: so generation, kind
//! and bounds are looked at when the word is taken ([`Reader::word_at_hand`](crate::Reader::word_at_hand)), and then the place
//! is good for as long as the mapping is. What may change is whether anybody still publishes there.
//!
//! What can go wrong: the daemon closes the segment, or the reader gives it up; then `load` says `None`, and whoever holds the
//! word looks for the daemon's successor. A daemon that was killed closes nothing: its last value stays readable.

use crate::header::STATE_AT;
use crate::layout::STATE_CLOSED;
use crate::mapping::Mapping;
use crate::sync::{AtomicU64, Ordering::Relaxed, load_acquire};
use std::ptr::NonNull;
use std::sync::Arc;

/// The value of one counter or flag; share it between threads freely.
#[derive(Clone, Debug)]
pub struct Word {
    mapping: Arc<Mapping>,
    /// Addresses and not positions, which would have to be compared with the mapping's length at each load.
    state: NonNull<AtomicU64>,
    value: NonNull<AtomicU64>,
}

// SAFETY: the addresses are of atomics in the mapping, which any thread may use and which lives as long as the word.
unsafe impl Send for Word {}
// SAFETY: as above; nothing in a word changes.
unsafe impl Sync for Word {}

impl Word {
    /// The word at this place; `None` if the mapping is shorter.
    pub(crate) fn new(mapping: &Arc<Mapping>, value_at: usize) -> Option<Word> {
        let words = mapping.words();
        let (state, value) = (NonNull::from(words.get(STATE_AT)?), NonNull::from(words.get(value_at)?));
        Some(Word { mapping: Arc::clone(mapping), state, value })
    }

    /// The value (`i64` bits of a counter, 0 or 1 of a flag); `None` once the segment is CLOSED or given up.
    #[inline]
    pub fn load(&self) -> Option<u64> {
        // SAFETY: it is an element of the mapping's words; the mapping is never moved or unmapped while `self` holds it.
        let (state, value) = unsafe { (self.state.as_ref(), self.value.as_ref()) };
        if self.mapping.is_given_up() || state.load(Relaxed) == STATE_CLOSED {
            return None;
        }
        // ORDER word: acquire pairs with the release in `cell::publish_word`.
        Some(load_acquire(value))
    }

    /// The shared word itself, for those who measure what a bare load of it costs. It goes on being readable whatever becomes
    /// of the daemon, so it is no way to read a value.
    pub fn bare(&self) -> &AtomicU64 {
        // SAFETY: as in `load`.
        unsafe { self.value.as_ref() }
    }
}
