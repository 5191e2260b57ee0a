//! The one door to atomics: the standard ones, or loom's when the crate is built with `--cfg loom`.
//!
//! All shared memory of this crate is a slice of [`AtomicU64`], and every algorithm on it is a function over such
//! slices. So loom runs the code that the daemon and the applications run, on slices of its own atomics, without a
//! mapping. Nothing else in the crate may import `std::sync::atomic` (the futex word's address in `change_ring` is
//! the exception: the kernel reads it, Rust does not).

#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// An acquire load of a word that may lie in a read-only mapping. Rust promises no more there than that a relaxed load is
/// one (`std::sync::atomic`, "Atomic accesses to read-only memory"), so a fence makes it an acquire. On x86 both are the
/// same instruction.
#[inline]
pub fn load_acquire(word: &AtomicU64) -> u64 {
    let value = word.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}
