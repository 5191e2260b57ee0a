//! A lock that is free for the thread that uses it alone.
//!
//! A client's enqueue is a few stores into a line that the worker's core holds. An ordinary lock around it begins with an
//! atomic exchange, and that waits until all earlier stores have left this core: each write would pay for the way of the one
//! before it. So the lock belongs to one thread, which enters by two plain stores, until another thread wants it.
//!
//! ```text
//!   owner thread                                  another thread
//!     busy = 1                                      take the mutex (one at a time here)
//!     (compiler fence)                              owner = nobody
//!     owner still me?  yes: inside                  membarrier: every core is past its fence     <- the whole price
//!                      no:  busy = 0, mutex         wait until busy == 0: inside
//!
//!   claims:  nobody ──[the same thread CLAIM_AFTER times]──> thread A ──[B comes]──> nobody ──> thread B …
//!            at most CLAIMS times; then it is the mutex for good
//! ```
//!
//! Of the owner's store to `busy` and the other's store to `owner`, one is seen by the other side: that is what
//! `membarrier(2)` (`MEMBARRIER_CMD_PRIVATE_EXPEDITED`) makes of a fence that costs the owner nothing. It is the biased lock
//! of Dice, Moir and Scherer ("Quickly Reacquirable Locks", 2003) with the asymmetric fence of liburcu.
//!
//! What can go wrong: a kernel without membarrier, or a filter that forbids it: the lock is never claimed and is a mutex. Two
//! threads that take turns: after [`CLAIMS`] claims it is a mutex. Whoever locks twice in one thread waits for itself for
//! ever, as with any lock.

use crate::sync::{AtomicU64, Ordering};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

#[cfg(loom)]
use loom::{
    cell::UnsafeCell,
    sync::{Mutex, MutexGuard},
    thread::yield_now,
};
#[cfg(not(loom))]
use std::{
    cell::UnsafeCell,
    sync::{Mutex, MutexGuard},
    thread::yield_now,
};

/// Claims in the life of a lock: each needs a word of its own, so that a thread that was delayed between two steps of an
/// old claim can't be taken for one that is inside by a new one.
const CLAIMS: usize = if cfg!(loom) { 2 } else { 8 };
/// The same thread so often in a row: it seems to be alone.
const CLAIM_AFTER: u32 = if cfg!(loom) { 1 } else { 16 };
/// In `owner`: the lock is nobody's.
const NOBODY: u64 = 0;
/// Bits of `owner` that name the thread; the others number the claim.
const THREAD_BITS: u32 = 56;

/// Who came through the mutex lately.
#[derive(Debug, Default)]
struct Claims {
    last: u64,
    in_a_row: u32,
    made: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct BiasedLock<T> {
    /// [`NOBODY`], or the thread in whose hands it is, and the number of its claim.
    owner: AtomicU64,
    /// Of each claim: 1 while its thread is inside, or looks whether it may be.
    busy: [AtomicU64; CLAIMS],
    slow: Mutex<Claims>,
    value: UnsafeCell<T>,
}

// SAFETY: a reference to the value exists only inside a guard, and guards exclude each other as those of a `Mutex` do (see
// `lock`); so the lock may be shared wherever its value may be moved between threads.
unsafe impl<T: Send> Sync for BiasedLock<T> {}

/// The value, until it is dropped. It stays in the thread that locked.
pub struct BiasedGuard<'a, T> {
    lock: &'a BiasedLock<T>,
    way: Way<'a>,
    /// Not `Send`: the owner's way in is its thread's.
    _here: PhantomData<*const ()>,
}

/// How a guard came in, and what lets the next one in.
enum Way<'a> {
    Owner(&'a AtomicU64),
    Mutex { _claims: MutexGuard<'a, Claims> },
}

impl<T> BiasedLock<T> {
    /// A lock that nobody has claimed.
    pub fn new(value: T) -> Self {
        BiasedLock {
            owner: AtomicU64::new(NOBODY),
            busy: std::array::from_fn(|_| AtomicU64::new(0)),
            slow: Mutex::default(),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for the value.
    #[cfg(not(loom))]
    #[inline]
    pub fn lock(&self) -> BiasedGuard<'_, T> {
        self.lock_as(thread_number())
    }

    /// [`lock`](Self::lock) by the thread of a number that no other thread that lives has; not 0.
    #[doc(hidden)]
    #[inline]
    pub fn lock_as(&self, thread: u64) -> BiasedGuard<'_, T> {
        // Relaxed: a guess, which is looked at again below.
        let owner = self.owner.load(Ordering::Relaxed);
        if owner & ((1 << THREAD_BITS) - 1) == thread
            && let Some(busy) = self.busy.get((owner >> THREAD_BITS) as usize)
            // Not 0: this thread is inside already. ORDER biased-busy: acquire, for the number may have been another thread's,
            // which is gone; pairs with the release in `drop`.
            && busy.load(Ordering::Acquire) == 0
        {
            // Relaxed: what orders it before the load is the other side's barrier, or its absence from this core.
            busy.store(1, Ordering::Relaxed);
            barrier::light();
            // ORDER biased-owner: pairs with the store in `take_away`. Claims are numbered: what is unchanged never changed.
            if self.owner.load(Ordering::Relaxed) == owner || zoo!(BiasedOwnerNotAskedAgain) {
                return BiasedGuard { lock: self, way: Way::Owner(busy), _here: PhantomData };
            }
            // Nothing was touched meanwhile: release only keeps one rule for the word.
            busy.store(0, Ordering::Release);
        }
        self.lock_slowly(thread)
    }

    #[inline(never)]
    fn lock_slowly(&self, thread: u64) -> BiasedGuard<'_, T> {
        let mut claims = match self.slow.lock() {
            Ok(claims) => claims,
            // A thread that panicked inside left the value to those who come next: they judge it, not the lock.
            Err(poisoned) => poisoned.into_inner(),
        };
        self.take_away();
        claims.in_a_row = if claims.last == thread { claims.in_a_row.saturating_add(1) } else { 1 };
        claims.last = thread;
        if claims.in_a_row >= CLAIM_AFTER && claims.made < CLAIMS && barrier::is_there() {
            // Relaxed: the only thread that acts on it is this one. Others come by the mutex, which is ours now.
            self.owner.store(thread | (claims.made as u64) << THREAD_BITS, Ordering::Relaxed);
            claims.made += 1;
            claims.in_a_row = 0;
        }
        BiasedGuard { lock: self, way: Way::Mutex { _claims: claims }, _here: PhantomData }
    }

    /// Takes the lock away from its owner, if it has one, and waits until that is out. The mutex is held.
    fn take_away(&self) {
        // Relaxed: it is only written with the mutex held.
        let owner = self.owner.load(Ordering::Relaxed);
        let Some(busy) = self.busy.get((owner >> THREAD_BITS) as usize).filter(|_| owner != NOBODY) else {
            return;
        };
        // ORDER biased-owner: pairs with the second load in `lock_as`, by the barrier.
        self.owner.store(NOBODY, Ordering::Relaxed);
        barrier::heavy();
        // ORDER biased-busy: acquire pairs with the release in `drop`: what the owner did is seen here.
        while busy.load(Ordering::Acquire) != 0 {
            yield_now();
        }
    }
}

impl<T> Deref for BiasedGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one (`lock_as`), and while it is borrowed shared, nobody writes through it.
        unsafe { &*self.lock.place() }
    }
}

impl<T> DerefMut for BiasedGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard is the only one (`lock_as`), and it is borrowed exclusively.
        unsafe { &mut *self.lock.place() }
    }
}

impl<T> BiasedLock<T> {
    #[inline]
    fn place(&self) -> *mut T {
        #[cfg(not(loom))]
        let place = self.value.get();
        // loom judges accesses while this exists; models use it for one access at a time.
        #[cfg(loom)]
        let place = self.value.with_mut(|place| place);
        place
    }
}

impl<T> Drop for BiasedGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Way::Owner(busy) = self.way {
            // ORDER biased-busy: release pairs with the acquires in `take_away` and `lock_as`.
            busy.store(0, if zoo!(BiasedReleaseRelaxed) { Ordering::Relaxed } else { Ordering::Release });
        }
    }
}

/// A number that no other thread that lives has: the address of something of its own.
#[cfg(not(loom))]
#[inline]
fn thread_number() -> u64 {
    thread_local! {
        static OWN: u8 = const { 0 };
    }
    OWN.with(|own| std::ptr::from_ref(own).addr() as u64)
}

/// A fence whose price is paid by one side.
#[cfg(not(loom))]
mod barrier {
    use rustix::thread::{MembarrierCommand, membarrier};
    use std::sync::OnceLock;
    use std::sync::atomic::{Ordering, compiler_fence};

    /// The cheap side: the compiler keeps the order; the processor is made to by the other side.
    #[inline]
    pub fn light() {
        compiler_fence(Ordering::SeqCst);
    }

    /// The dear side: when it returns, each thread of this process has passed a full fence since the call.
    #[cold]
    pub fn heavy() {
        if membarrier(MembarrierCommand::PrivateExpedited).is_ok() {
            return;
        }
        // It was there when the lock was claimed: a filter came since. What a core has stored leaves it by its next interrupt at
        // the latest (returning from one serializes), and there is one with each tick of the clock.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }

    /// Whether the kernel does it for this process.
    pub fn is_there() -> bool {
        static REGISTERED: OnceLock<bool> = OnceLock::new();
        *REGISTERED.get_or_init(|| membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok())
    }
}

/// loom knows of no such thing: both sides pay.
#[cfg(loom)]
mod barrier {
    use crate::sync::{Ordering, fence};

    pub fn light() {
        fence(Ordering::SeqCst);
    }

    pub fn heavy() {
        fence(Ordering::SeqCst);
    }

    pub fn is_there() -> bool {
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Barrier;

    fn owner_of<T>(lock: &BiasedLock<T>) -> u64 {
        lock.owner.load(Ordering::Relaxed)
    }

    #[test]
    fn who_comes_alone_claims_it_and_the_next_takes_it_away() {
        let lock = BiasedLock::new(0u64);
        for _ in 0..CLAIM_AFTER - 1 {
            *lock.lock() += 1;
            assert_eq!(owner_of(&lock), NOBODY);
        }
        *lock.lock() += 1;
        if !barrier::is_there() {
            return eprintln!("no membarrier here: the lock stays a mutex");
        }
        assert_eq!(owner_of(&lock), thread_number());
        assert!(matches!(lock.lock().way, Way::Owner(_)));
        std::thread::scope(|scope| {
            scope.spawn(|| *lock.lock() += 1);
        });
        assert_eq!((owner_of(&lock), *lock.lock()), (NOBODY, u64::from(CLAIM_AFTER) + 1));
    }

    #[test]
    fn after_its_last_claim_it_is_a_mutex() {
        let lock = BiasedLock::new(());
        for _ in 0..CLAIMS + 2 {
            std::thread::scope(|scope| {
                scope.spawn(|| (0..2 * CLAIM_AFTER).for_each(|_| drop(lock.lock())));
            });
            // So that the next thread, which may have the same number, comes after another.
            drop(lock.lock_as(1));
        }
        (0..4 * CLAIM_AFTER).for_each(|_| drop(lock.lock()));
        assert_eq!(owner_of(&lock), NOBODY);
    }

    /// Threads that come alone, in turns and all at once: each addition is there, and none was made beside another.
    #[test]
    fn nobody_is_inside_beside_another() {
        const THREADS: usize = 4;
        const ROUNDS: u64 = 2_000;
        for alone in [0, 20, 200] {
            let lock = BiasedLock::new((0u64, 0u64));
            let start = Barrier::new(THREADS);
            std::thread::scope(|scope| {
                for thread in 0..THREADS {
                    let (lock, start) = (&lock, &start);
                    scope.spawn(move || {
                        if thread == 0 {
                            (0..alone).for_each(|_| lock.lock().0 += 1);
                        }
                        start.wait();
                        for _ in 0..ROUNDS {
                            let mut guard = lock.lock();
                            let before = guard.1;
                            guard.0 += 1;
                            std::hint::spin_loop();
                            guard.1 = before + 1;
                        }
                    });
                }
            });
            let (all, together) = *lock.lock();
            assert_eq!((all, together), (THREADS as u64 * ROUNDS + alone, THREADS as u64 * ROUNDS));
        }
    }
}
