//! The client's end of one worker's ring pair.
//!
//! ```text
//!            submit                     applied (by the worker, after it published)
//!   app ──> [ 1 2 3 … submitted ] ──────> 1 … applied          not refused  => applied and visible here
//!                                         └ completion ring:   refused seqs => Refusals
//!   retired: the attachment is over; `applied` stands still, what is above it is of unknown outcome
//! ```

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use lattice_segment::{AckTerms, Levels, RingProducer, RingWatcher, Submission, SubmitError};
use rustix::io::write;

use crate::ack::{Ack, Reached};
use crate::error::Refusal;
use crate::refusals::{Processed, Refusals};

/// Writes between two looks for refusals: fewer than the smallest ring of refusals has entries.
const COLLECT_EVERY: u64 = 16;

/// Most failures that a ring can hold.
const MAX_FAILURES: usize = 65_536;

/// One worker's submission and completion ring, used under a lock.
pub(crate) struct Lane {
    producer: RingProducer,
    /// Wakes the worker when it sleeps.
    wakeup: Option<OwnedFd>,
    refusals: Refusals,
    submitted: u64,
    retired: bool,
    /// The last mark at all, and the last ones that say that the disk, or peers, are waited for.
    marked: u64,
    marked_for_disk: u64,
    marked_for_peers: u64,
    /// Marks that may not have been taken yet: they count as submissions, but are no writes.
    marks: VecDeque<u64>,
    /// Threads that sleep until the daemon tells something.
    sleepers: usize,
    /// Coarse time of the last look at the daemon's life signs.
    looked_ns: u64,
}

/// What remains of a lane after its attachment.
pub(crate) struct Remains {
    /// Writes up to here were processed.
    pub applied: u64,
    /// Those of them that were refused.
    pub refusals: Refusals,
    /// How many writes nobody acknowledged.
    pub unacknowledged: u64,
    /// Number of the last write.
    pub submitted: u64,
    /// How far they had got, as far as the daemon had told.
    pub levels: Levels,
    /// What acknowledgements there were.
    pub terms: AckTerms,
}

impl Lane {
    pub fn new(producer: RingProducer, wakeup: Option<OwnedFd>) -> Lane {
        Lane {
            producer,
            wakeup,
            refusals: Refusals::default(),
            submitted: 0,
            retired: false,
            marked: 0,
            marked_for_disk: 0,
            marked_for_peers: 0,
            marks: VecDeque::new(),
            sleepers: 0,
            looked_ns: 0,
        }
    }

    /// Enqueues one operation and wakes the worker if it sleeps. On an error nothing was enqueued.
    pub fn submit(&mut self, submission: &Submission<'_>) -> Result<u64, SubmitError> {
        // A worker stops serving a client whose completion ring is full: it must not fill. But to look at each write would be
        // to fetch a line, each time, that the worker writes in each of its turns.
        if self.submitted.is_multiple_of(COLLECT_EVERY) {
            self.collect_refusals();
        }
        let ticket = match self.producer.submit(submission) {
            // The worker may be waiting for room for its refusals.
            Err(SubmitError::RingFull) => {
                self.collect_refusals();
                return Err(SubmitError::RingFull);
            }
            result => result?,
        };
        self.submitted = ticket.0;
        if let Some(wakeup) = &self.wakeup
            && self.producer.consumer_sleeps()
        {
            // Fails only if it is signalled already (EAGAIN) or the daemon is gone; the latter is noticed elsewhere.
            let _ = write(wakeup, &1u64.to_ne_bytes());
        }
        Ok(self.submitted)
    }

    /// The result of a write, or `None` while it is under way.
    pub fn result_of(&mut self, seq: u64) -> Option<Processed> {
        // The worker pushes a refusal before it publishes the `applied` that covers it: read `applied` first.
        let applied = self.producer.applied();
        self.collect_refusals();
        (seq <= applied).then(|| self.refusals.result_of(seq))
    }

    /// True once the worker has processed everything up to `seq`.
    pub fn has_processed(&mut self, seq: u64) -> bool {
        seq <= self.producer.applied()
    }

    /// Sees to it that the daemon tells how far the writes up to `seq` get. Without room in the ring, at the next call.
    pub fn mark_after(&mut self, seq: u64, ack: Ack) {
        let (disk, peers) = (ack.needs_disk(), ack.needs_peers());
        let has_it = self.marked >= seq
            && (!disk || self.marked_for_disk >= seq)
            && (!peers || self.marked_for_peers >= seq);
        if has_it || ack.watermark().is_none() || self.retired {
            return;
        }
        if let Ok(mark) = self.submit(&Submission::mark(disk, peers)) {
            let applied = self.producer.applied();
            // What is left has its place in the ring, which bounds it.
            self.marks.retain(|mark| *mark > applied);
            self.marks.push_back(mark);
            self.marked = mark;
            self.marked_for_disk = if disk { mark } else { self.marked_for_disk };
            self.marked_for_peers = if peers { mark } else { self.marked_for_peers };
        }
    }

    /// True once the writes up to `seq` have got as far as `ack` says.
    pub fn has_reached(&self, seq: u64, ack: Ack) -> bool {
        seq <= self.producer.applied() && ack.watermark().is_none_or(|of| self.producer.watermark(of) >= seq)
    }

    /// How far the writes up to `seq` have got.
    pub fn reached(&self, seq: u64) -> Reached {
        // What is told of a write is told after it was applied.
        let levels = self.producer.levels();
        Reached::of(seq, self.producer.applied(), &levels, self.terms())
    }

    /// What acknowledgements there can be.
    pub fn terms(&self) -> AckTerms {
        self.producer.terms()
    }

    /// For sleeping until the daemon tells something.
    pub fn watcher(&self) -> RingWatcher {
        self.producer.watcher()
    }

    /// A thread is about to sleep: from here on the daemon wakes. Look once more before sleeping.
    pub fn sleeper_comes(&mut self) {
        self.sleepers += 1;
        self.producer.set_awaiting(true);
    }

    /// A thread sleeps no more.
    pub fn sleeper_goes(&mut self) {
        self.sleepers = self.sleepers.saturating_sub(1);
        if self.sleepers == 0 {
            self.producer.set_awaiting(false);
        }
    }

    /// Refusals that no call has reported yet.
    pub fn take_unreported(&mut self) -> Option<(u64, Refusal)> {
        self.collect_refusals();
        self.refusals.take_unreported()
    }

    /// Number of the last write.
    pub fn submitted(&self) -> u64 {
        self.submitted
    }

    /// True once [`Lane::retire`] was called: the lane takes no more writes.
    pub fn is_retired(&self) -> bool {
        self.retired
    }

    /// True once per clock tick: time to look whether the daemon lives.
    pub fn is_look_due(&mut self, coarse_ns: u64) -> bool {
        let due = coarse_ns != self.looked_ns;
        self.looked_ns = coarse_ns;
        due
    }

    /// Ends the lane: no more writes, nothing is collected any more; what was processed so far is final as far as this
    /// client will ever know. Gives the wake-up back to the system: handles may hold what is over for long.
    pub fn retire(&mut self) -> Remains {
        let applied = self.producer.applied().min(self.submitted);
        self.collect_refusals();
        self.retired = true;
        self.wakeup = None;
        let marks = self.marks.iter().filter(|mark| **mark > applied).count() as u64;
        Remains {
            applied,
            refusals: std::mem::take(&mut self.refusals),
            unacknowledged: self.submitted - applied - marks,
            submitted: self.submitted,
            levels: self.producer.levels(),
            terms: self.producer.terms(),
        }
    }

    fn collect_refusals(&mut self) {
        // What comes after the end belongs to writes that were counted as of unknown outcome.
        if self.retired {
            return;
        }
        // The bound is for a daemon whose ring never ends; an honest one has no more at a time.
        for (ticket, code) in std::iter::from_fn(|| self.producer.take_failure()).take(MAX_FAILURES) {
            self.refusals.remember(ticket.0, Refusal::from_code(code));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_segment::{RingConfig, SubmitOp, Target, Verdict, codes, create_rings};

    #[test]
    fn a_mark_that_was_not_taken_is_no_write_of_unknown_outcome() {
        let config = RingConfig { submission_slots: 32, completion_slots: 32 };
        let (rings, mut consumers) = create_rings(1, config).unwrap();
        let mut lane = Lane::new(RingProducer::map(&rings).unwrap().remove(0), None);
        let target = Target::Key(b"k");
        let addition = Submission { op: SubmitOp::CounterAdd, kind: 1, target, amount: 1, data: &[] };
        let first = lane.submit(&addition).unwrap();
        lane.mark_after(first, Ack::All);
        consumers[0].poll(32, &mut |_| Verdict::Applied).unwrap();
        consumers[0].complete();
        lane.mark_after(first, Ack::Durable);
        let second = lane.submit(&addition).unwrap();
        lane.mark_after(second, Ack::All);
        assert_eq!((lane.retire().unacknowledged, lane.marks.len()), (1, 2));
    }

    #[test]
    fn a_write_of_unknown_outcome_is_not_reported_as_refused_too() {
        let config = RingConfig { submission_slots: 32, completion_slots: 32 };
        let (rings, mut consumers) = create_rings(1, config).unwrap();
        let mut lane = Lane::new(RingProducer::map(&rings).unwrap().remove(0), None);
        let target = Target::Key(b"k");
        lane.submit(&Submission { op: SubmitOp::CounterAdd, kind: 1, target, amount: 1, data: &[] }).unwrap();
        assert_eq!(lane.retire().unacknowledged, 1);
        consumers[0].poll(32, &mut |_| Verdict::Refused(codes::LOG_FULL)).unwrap();
        consumers[0].complete();
        assert_eq!(lane.take_unreported(), None);
    }
}
