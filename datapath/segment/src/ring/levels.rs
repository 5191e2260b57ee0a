//! How far a client's submissions have got beyond this host's memory: watermarks, which only grow.
//!
//! ```text
//!   client:  mark ──> (in the ring, behind the submissions that it is about)
//!   daemon:  mark taken ──> peers, disk reach it ──> watermarks ──> told ──> awaiting? wake
//!   client:  awaiting ──> told ──> watermarks ── not there? sleep while told stays
//! ```
//!
//! A watermark is the number of the last submission on this ring that has got so far, and so have all before it. Each counts
//! for itself: that a submission is merged by two peers says nothing of the disk. Nothing is kept for a client that never
//! marks. `applied` is the level that needs no mark.
//!
//! The client's `awaiting` and the daemon's watermarks are the two sides of [`sleep`]: one of them sees the other. What a
//! hostile client can do with `awaiting` is to cause itself a wake-up with each thing that it is told.

use super::layout::{
    ALL, AWAITING, DURABLE, DURABLE_ON, MAJORITY, MAX_COUNTED_PEERS, MERGED, TERMS, TERMS_LOG_IS_FILE,
    TERMS_NEVER_SYNCED, TOLD,
};
use super::part::RingPart;
use crate::sleep;
use crate::sync::Ordering::{Acquire, Relaxed, Release};

/// What acknowledgements there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckTerms {
    /// Members of the cluster, this node one of them.
    pub members: u16,
    /// The log of operations is a file.
    pub log_is_file: bool,
    /// The log is never synced by itself: what is written becomes durable with the next snapshot, or at the daemon's end.
    pub never_synced: bool,
}

impl AckTerms {
    /// Of a daemon that has said nothing.
    pub const NONE: AckTerms = AckTerms { members: 0, log_is_file: false, never_synced: false };
}

/// Which watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watermark {
    /// Durable on this host.
    Durable,
    /// Merged by a majority of the members, this node one of them.
    Majority,
    /// Merged by all members.
    All,
    /// Merged by at least so many peers, 1..=[`MAX_COUNTED_PEERS`].
    Merged(u16),
    /// Known to be durable on at least so many peers, 1..=[`MAX_COUNTED_PEERS`].
    DurableOn(u16),
}

impl Watermark {
    fn word(self) -> Option<usize> {
        let counted = |first: usize, peers: u16| {
            let at = usize::from(peers).checked_sub(1)?;
            (at < MAX_COUNTED_PEERS).then_some(first + at)
        };
        match self {
            Watermark::Durable => Some(DURABLE),
            Watermark::Majority => Some(MAJORITY),
            Watermark::All => Some(ALL),
            Watermark::Merged(peers) => counted(MERGED, peers),
            Watermark::DurableOn(peers) => counted(DURABLE_ON, peers),
        }
    }
}

/// All watermarks of a client at one worker, each the number of a submission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Durable on this host.
    pub durable: u64,
    /// Merged by a majority of the members.
    pub majority: u64,
    /// Merged by all members.
    pub all: u64,
    /// At `k - 1`: merged by at least `k` peers.
    pub merged: [u64; MAX_COUNTED_PEERS],
    /// At `k - 1`: known to be durable on at least `k` peers.
    pub durable_on: [u64; MAX_COUNTED_PEERS],
}

/// `RingConsumer::set_terms` on words.
pub fn set_terms(part: RingPart<'_>, terms: AckTerms) {
    let word = u64::from(terms.members)
        | (u64::from(terms.log_is_file) * TERMS_LOG_IS_FILE)
        | (u64::from(terms.never_synced) * TERMS_NEVER_SYNCED);
    // Relaxed: it says nothing of any other word.
    part.line(TERMS).store(word, Relaxed);
}

/// `RingProducer::terms` on words.
pub fn terms(part: RingPart<'_>) -> AckTerms {
    let word = part.line(TERMS).load(Relaxed);
    AckTerms {
        members: word as u16,
        log_is_file: word & TERMS_LOG_IS_FILE != 0,
        never_synced: word & TERMS_NEVER_SYNCED != 0,
    }
}

/// `RingConsumer::tell` on words. `told` is the daemon's own memory of what it said.
pub fn tell(part: RingPart<'_>, told: &mut Levels, now: &Levels) -> bool {
    let mut changed = show(part, DURABLE, &mut told.durable, now.durable);
    changed |= show(part, MAJORITY, &mut told.majority, now.majority);
    changed |= show(part, ALL, &mut told.all, now.all);
    let counted =
        [(MERGED, &mut told.merged, &now.merged), (DURABLE_ON, &mut told.durable_on, &now.durable_on)];
    for (first, before, now) in counted {
        for (at, (before, now)) in before.iter_mut().zip(now).enumerate() {
            changed |= show(part, first + at, before, *now);
        }
    }
    if !changed {
        return false;
    }
    let count = part.line(TOLD).load(Relaxed).wrapping_add(1);
    // ORDER told: release pairs with the acquire of the watcher's `told`: the watermarks are there.
    part.line(TOLD).store(count, Release);
    sleep::is_announced(part.line(AWAITING))
}

/// Stores a watermark that has grown.
fn show(part: RingPart<'_>, word: usize, before: &mut u64, now: u64) -> bool {
    if now <= *before {
        return false;
    }
    *before = now;
    // ORDER watermark: release pairs with the acquire in `watermark`: what has got so far is published, and its refusals are
    // among the failures.
    part.line(word).store(now, Release);
    true
}

/// `RingProducer::watermark` on words. 0 for peers that are not counted.
pub fn watermark(part: RingPart<'_>, of: Watermark) -> u64 {
    // ORDER watermark: acquire pairs with the release in `show`; so it does in `levels`.
    of.word().map_or(0, |word| part.line(word).load(Acquire))
}

/// `RingProducer::levels` on words.
pub fn levels(part: RingPart<'_>) -> Levels {
    let load = |word: usize| part.line(word).load(Acquire);
    Levels {
        durable: load(DURABLE),
        majority: load(MAJORITY),
        all: load(ALL),
        merged: std::array::from_fn(|at| load(MERGED + at)),
        durable_on: std::array::from_fn(|at| load(DURABLE_ON + at)),
    }
}

/// `RingProducer::set_awaiting` on words: announced before the watermarks are looked at for the last time.
pub fn set_awaiting(part: RingPart<'_>, awaiting: bool) {
    if awaiting {
        sleep::announce(part.line(AWAITING));
    } else {
        sleep::withdraw(part.line(AWAITING));
    }
}
