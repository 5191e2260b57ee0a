//! Going to sleep without missing work: a flag by which the sleeper asks to be woken.
//!
//! ```text
//!   sleeper                                    whoever brings work
//!     flag = 1                                   store the work
//!     fence ─────────────── SeqCst ───────────── fence
//!     look for work: none? sleep                 flag = 1? wake the sleeper
//! ```
//!
//! The heart of Dekker's algorithm: each side stores, fences, loads, so at least one of the two sees the other's store.
//! Either the work is found or the sleeper is woken. The flag is a word of a client's ring, or a worker's own.

use crate::sync::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
    fence,
};

/// The sleeper: from here on whoever brings work wakes. Look for work once more before sleeping.
pub fn announce(flag: &AtomicU64) {
    flag.store(1, Relaxed);
    // ORDER sleep: the fence pairs with the one in `is_announced`: the flag was stored before, the work is looked for after.
    if !zoo!(SleepFenceMissing) {
        fence(SeqCst);
    }
}

/// Whoever stored work where the sleeper looks for it: whether the sleeper must be woken.
#[inline]
pub fn is_announced(flag: &AtomicU64) -> bool {
    // ORDER sleep: the fence pairs with the one in `announce`: the work was stored before, the flag is loaded after.
    fence(SeqCst);
    flag.load(Relaxed) != 0
}

/// The sleeper is awake. Relaxed: who sees the old value only wakes one that is awake.
pub fn withdraw(flag: &AtomicU64) {
    flag.store(0, Relaxed);
}
