//! The one door to atomics: the standard ones, or loom's when the crate is built with `--cfg loom`.
//!
//! All shared memory of this crate is a slice of [`AtomicU64`], and every algorithm on it is a function over such
//! slices. So loom runs the code that the daemon and the applications run, on slices of its own atomics, without a
//! mapping. Nothing else in the crate may import `std::sync::atomic` (the futex word's address in `change_ring` is
//! the exception: the kernel reads it, Rust does not).

#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(loom)]
pub use explored::AtomicU64;
#[cfg(loom)]
pub use loom::sync::atomic::{Ordering, fence};

/// An acquire load of a word that may lie in a read-only mapping. Rust promises no more there than that a relaxed load is
/// one (`std::sync::atomic`, "Atomic accesses to read-only memory"), so a fence makes it an acquire. On x86 both are the
/// same instruction.
#[inline]
pub fn load_acquire(word: &AtomicU64) -> u64 {
    let value = word.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}

/// loom's word, explored in full.
///
/// To find which orders are worth trying, loom asks at each store who accessed the word last, and looks no further back
/// (`last_access` in its `rt/atomic.rs`). A writer that loads its own word before it stores it, as ours do, is that last
/// one: the reader's load before it is forgotten, and the store is never tried before it. So each word has a mark for
/// each thread that loads it; this thread touches it with its loads, the others with their stores. The mark is a
/// condition variable that nobody waits for: loom schedules around it, and it orders no memory.
#[cfg(loom)]
mod explored {
    use super::Ordering;
    use loom::sync::{Condvar, atomic};
    use loom::thread::{self, ThreadId};
    use std::sync::{Arc, Mutex, PoisonError};

    /// A word of shared memory.
    #[derive(Debug)]
    pub struct AtomicU64 {
        word: atomic::AtomicU64,
        /// Not locked while loom may switch threads.
        marks: Mutex<Vec<(ThreadId, Arc<Condvar>)>>,
    }

    impl AtomicU64 {
        /// As the standard one's, and so are the others.
        pub fn new(value: u64) -> Self {
            AtomicU64 { word: atomic::AtomicU64::new(value), marks: Mutex::default() }
        }

        /// Loads the value.
        #[track_caller]
        pub fn load(&self, order: Ordering) -> u64 {
            let own = thread::current().id();
            let mark = {
                let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
                let at = marks.iter().position(|(thread, _)| *thread == own).unwrap_or_else(|| {
                    marks.push((own, Arc::default()));
                    marks.len() - 1
                });
                Arc::clone(&marks[at].1)
            };
            mark.notify_one();
            self.word.load(order)
        }

        /// Stores a value.
        #[track_caller]
        pub fn store(&self, value: u64, order: Ordering) {
            let own = thread::current().id();
            let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (_, mark) in marks.iter().filter(|(thread, _)| *thread != own) {
                mark.notify_one();
            }
            self.word.store(value, order);
        }
    }
}
