//! The newest durable dot, published by a storage thread and read by a worker.
//!
//! ```text
//!   set      seq = 0 ─> actor ─> seq          (the first two only if the actor changes)
//!   seq_of   actor? ─> seq ─> actor still?    a seq is never read as another actor's
//! ```
//!
//! loom goes through every order of it: `RUSTFLAGS="--cfg loom" cargo test --release -p lattice-storage --lib durable`.

use lattice_crdt::{ActorId, Dot};
#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

/// See the module's documentation. One thread sets it.
#[derive(Debug)]
pub(crate) struct DurableDot {
    /// 0: nobody's, for no epoch is 0.
    actor: AtomicU64,
    seq: AtomicU64,
}

impl DurableDot {
    pub(crate) fn new() -> Self {
        Self { actor: AtomicU64::new(0), seq: AtomicU64::new(0) }
    }

    /// `of_another` says that the dot before was another actor's: asked instead of looked up, because loom does not
    /// explore what comes before a store whose thread has loaded that word itself.
    pub(crate) fn set(&self, dot: Dot, of_another: bool) {
        if of_another {
            self.seq.store(0, Ordering::Release);
            // Who acquires this actor sees the 0, or what was stored after it.
            self.actor.store(dot.actor.as_u64(), Ordering::Release);
        }
        self.seq.store(dot.seq, Ordering::Release);
    }

    /// 0 if nothing of this actor is known to be durable.
    pub(crate) fn seq_of(&self, actor: ActorId) -> u64 {
        if self.actor.load(Ordering::Acquire) != actor.as_u64() {
            return 0;
        }
        let seq = self.seq.load(Ordering::Acquire);
        // A seq of a later actor was stored after it; whoever acquired that seq sees the later actor here.
        if self.actor.load(Ordering::Relaxed) == actor.as_u64() { seq } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ActorId = ActorId::new(1, 1);
    const TWO: ActorId = ActorId::new(1, 2);

    #[cfg(loom)]
    #[test]
    fn a_seq_is_never_read_as_another_actors() {
        loom::model(|| {
            let durable = loom::sync::Arc::new(DurableDot::new());
            let set = durable.clone();
            let writer = loom::thread::spawn(move || {
                set.set(Dot::new(ONE, 5), true);
                set.set(Dot::new(TWO, 7), true);
                set.set(Dot::new(TWO, 8), false);
            });
            assert!([0, 5].contains(&durable.seq_of(ONE)));
            assert!([0, 7, 8].contains(&durable.seq_of(TWO)));
            writer.join().unwrap();
            assert_eq!((durable.seq_of(ONE), durable.seq_of(TWO)), (0, 8));
        });
    }

    #[cfg(not(loom))]
    #[test]
    fn only_the_present_actors_seq_is_told() {
        let durable = DurableDot::new();
        assert_eq!(durable.seq_of(ONE), 0);
        durable.set(Dot::new(ONE, 5), true);
        assert_eq!((durable.seq_of(ONE), durable.seq_of(TWO)), (5, 0));
        durable.set(Dot::new(TWO, 1), true);
        assert_eq!((durable.seq_of(ONE), durable.seq_of(TWO)), (0, 1));
    }
}
