//! The counters of each worker, self-describing: a tool prints names that it was not built with.
//!
//! ```text
//!   │ count │ 56 bytes zero │  name (48 bytes) │ value │ 0 │  name …
//! ```
//!
//! Names are written before `count` covers them and never change. A value is one relaxed word: totals for people, not
//! synchronisation. Names beyond the part's room are refused; `register` says how many it took.

use crate::layout::{
    COUNTER_BYTES, COUNTER_NAME_BYTES, COUNTERS_PER_WORKER, CounterLayout, CountersHeaderLayout, word,
};
use crate::sync::{
    AtomicU64,
    Ordering::{Relaxed, Release},
    load_acquire,
};
use crate::words;
use std::mem::offset_of;

const COUNT: usize = word(offset_of!(CountersHeaderLayout, count));
const NAME: usize = word(offset_of!(CounterLayout, name));
const VALUE: usize = word(offset_of!(CounterLayout, value));
const COUNTER_WORDS: usize = word(COUNTER_BYTES);

fn count(part: &[AtomicU64]) -> u64 {
    // ORDER counter-name: acquire pairs with the release in `register`: the names below the count are there.
    part.get(COUNT).map_or(0, |count| load_acquire(count).min(COUNTERS_PER_WORKER))
}

fn counter(part: &[AtomicU64], index: usize) -> Option<&[AtomicU64]> {
    let start = index.checked_add(1)?.checked_mul(COUNTER_WORDS)?;
    part.get(start..start.checked_add(COUNTER_WORDS)?)
}

/// Appends counters; returns how many found room. Names are cut at 48 bytes, on a character's boundary.
pub fn register(part: &[AtomicU64], names: &[&str]) -> usize {
    let first = count(part) as usize;
    let mut taken = 0;
    for name in names {
        let Some(place) =
            counter(part, first + taken).filter(|_| first + taken < COUNTERS_PER_WORKER as usize)
        else {
            break;
        };
        let mut end = name.len().min(COUNTER_NAME_BYTES);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        words::store_bytes(&place[NAME..VALUE], &name.as_bytes()[..end]);
        taken += 1;
    }
    if let Some(count) = part.get(COUNT) {
        // ORDER counter-name: release pairs with the acquire in `count`.
        count.store((first + taken) as u64, Release);
    }
    taken
}

/// Publishes a value.
#[inline]
pub fn set(part: &[AtomicU64], index: usize, value: u64) {
    if let Some(place) = counter(part, index) {
        place[VALUE].store(value, Relaxed);
    }
}

/// Visits names and values.
pub fn for_each(part: &[AtomicU64], mut visit: impl FnMut(String, u64)) {
    for index in 0..count(part) as usize {
        let Some(place) = counter(part, index) else { return };
        let mut name = Vec::with_capacity(COUNTER_NAME_BYTES);
        words::append_bytes(&place[NAME..VALUE], COUNTER_NAME_BYTES, &mut name);
        name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
        visit(String::from_utf8_lossy(&name).into_owned(), place[VALUE].load(Relaxed));
    }
}
