//! The client's end of a pair of rings.

use super::levels::{self, AckTerms, Levels, Watermark};
use super::shared::{self, SharedRings};
use super::submission::{self, ProducerState};
use super::watcher::RingWatcher;
use super::{RingError, Submission, SubmitError, Ticket};
use super::{burst, completion};
use std::os::fd::AsFd;

/// The client's end of one worker's ring pair: the single producer, so it is `Send` and its methods take `&mut self`.
#[derive(Debug)]
pub struct RingProducer {
    rings: SharedRings,
    worker: u16,
    state: ProducerState,
    completion_head: u64,
}

impl RingProducer {
    /// Maps the rings of a descriptor that the daemon passed: one producer for each worker, in their order. The
    /// descriptor may be closed afterwards. A ring has one producer: map a descriptor once.
    pub fn map(fd: impl AsFd) -> Result<Vec<RingProducer>, RingError> {
        let rings = shared::map(fd.as_fd())?;
        Ok((0..rings.workers())
            .map(|worker| RingProducer {
                rings: rings.clone(),
                worker,
                state: ProducerState::default(),
                completion_head: 0,
            })
            .collect())
    }

    /// The worker behind this ring.
    pub fn worker(&self) -> u16 {
        self.worker
    }

    /// Queues one operation. On an error nothing was queued.
    #[inline]
    pub fn submit(&mut self, submission: &Submission<'_>) -> Result<Ticket, SubmitError> {
        let part = self.rings.part(self.worker).ok_or(SubmitError::RingFull)?;
        submission::push(part, &mut self.state, submission)
    }

    /// Number of submissions that were applied (or failed): `applied() >= ticket.0` and no failure for it means applied
    /// and visible in the local segment.
    #[inline]
    pub fn applied(&self) -> u64 {
        self.rings.part(self.worker).map_or(0, completion::applied)
    }

    /// How far submissions have got in some respect: those up to this one. Kept for submissions that a
    /// [mark](Submission::mark) came after.
    pub fn watermark(&self, of: Watermark) -> u64 {
        self.rings.part(self.worker).map_or(0, |part| levels::watermark(part, of))
    }

    /// All watermarks.
    pub fn levels(&self) -> Levels {
        self.rings.part(self.worker).map_or_else(Levels::default, levels::levels)
    }

    /// What acknowledgements there can be.
    pub fn terms(&self) -> AckTerms {
        self.rings.part(self.worker).map_or(AckTerms::NONE, levels::terms)
    }

    /// Asks the worker to wake those who sleep with a [`RingWatcher`], from here on or no more.
    pub fn set_awaiting(&mut self, awaiting: bool) {
        if let Some(part) = self.rings.part(self.worker) {
            levels::set_awaiting(part, awaiting);
        }
    }

    /// For threads that sleep until a watermark moves.
    pub fn watcher(&self) -> RingWatcher {
        RingWatcher::new(self.rings.clone(), self.worker)
    }

    /// Takes the oldest failure: its ticket and one of [`codes`](super::codes). Take them regularly: when no entry is
    /// free the worker stops reading this ring.
    pub fn take_failure(&mut self) -> Option<(Ticket, u16)> {
        completion::take(self.rings.part(self.worker)?, &mut self.completion_head)
    }

    /// Whether the worker sleeps and wants to be woken (by the eventfd that came with the rings). Ask after a submission,
    /// or after the last of several.
    #[inline]
    pub fn consumer_sleeps(&self) -> bool {
        self.rings.part(self.worker).is_some_and(burst::consumer_sleeps)
    }
}
