//! Sleeping on a shared word and waking who sleeps there: futex(2), shared between processes.
//!
//! The waiter needs read access only. The kernel compares and queues under one lock, and the waker stores the word
//! before it asks the kernel to wake: so a change is either seen by the comparison or wakes the sleeper.

use crate::sync::AtomicU64;
use rustix::thread::futex;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// The low half of a word, for the kernel. Rust code never accesses it through this reference.
fn low_half(word: &AtomicU64) -> &AtomicU32 {
    // SAFETY: a live AtomicU64 covers the four bytes, which are aligned; on a little-endian target they are its low half.
    // The reference is only passed to the kernel, whose accesses are atomic.
    unsafe { &*word.as_ptr().cast::<AtomicU32>() }
}

/// Wakes everybody who sleeps on a word.
pub(crate) fn wake_all(word: Option<&AtomicU64>) {
    if let Some(word) = word {
        // It can fail only for a bad address, and then nobody can sleep there.
        let _ = futex::wake(low_half(word), futex::Flags::empty(), i32::MAX as u32);
    }
}

/// Sleeps while the word's low half is that of `seen`, at most `timeout`.
pub(crate) fn wait(word: &AtomicU64, seen: u64, timeout: Duration) {
    let Ok(timeout) = rustix::fs::Timespec::try_from(timeout) else { return };
    // EAGAIN, EINTR and ETIMEDOUT all mean: look again.
    let _ = futex::wait(low_half(word), futex::Flags::empty(), seen as u32, Some(&timeout));
}
