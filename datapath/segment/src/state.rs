//! The segment's state word: INIT, READY, CLOSED, in that order and never back.

use crate::sync::{AtomicU64, Ordering::Release, load_acquire};

/// Moves on.
pub fn set(word: &AtomicU64, state: u64) {
    // ORDER state: release pairs with the acquire in `get`: what was published before READY is there.
    word.store(state, Release);
}

/// Where it stands.
pub fn get(word: &AtomicU64) -> u64 {
    // ORDER state: acquire pairs with the release in `set`.
    load_acquire(word)
}
