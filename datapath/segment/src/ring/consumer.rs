//! The daemon's end of a pair of rings.
//!
//! ```text
//!   poll ──> copy out, parse, apply ──> (more polls) ──> effects published ──> complete
//!     └── RingFault: the client loses its connection; its earlier submissions stand
//! ```

use super::burst::{self, ConsumerState};
use super::layout::TOLD;
use super::levels::{self, AckTerms, Levels};
use super::shared::SharedRings;
use super::submission::CopiedOut;
use super::{RingFault, Submission, Verdict};
use crate::futex;

/// The daemon's end of one worker's ring pair. Everything in it is hostile input.
#[derive(Debug)]
pub struct RingConsumer {
    rings: SharedRings,
    worker: u16,
    state: ConsumerState,
    copy: Box<CopiedOut>,
    /// What the client was last told.
    told: Box<Levels>,
}

impl RingConsumer {
    pub(super) fn new(rings: SharedRings, worker: u16) -> RingConsumer {
        RingConsumer {
            rings,
            worker,
            state: ConsumerState::default(),
            copy: Box::default(),
            told: Box::default(),
        }
    }

    /// The worker that must poll this consumer.
    pub fn worker(&self) -> u16 {
        self.worker
    }

    /// Number of submissions taken so far.
    pub fn taken(&self) -> u64 {
        self.state.taken()
    }

    /// Whether a poll would find something, or a fault to report: one load, for those who look often.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.rings.part(self.worker).is_some_and(|part| burst::has_news(part, &self.state))
    }

    /// Slots that the client says it has filled; 0 if what it says can't be.
    #[inline]
    pub fn waiting(&self) -> u64 {
        self.rings.part(self.worker).map_or(0, |part| burst::waiting(part, &self.state))
    }

    /// Tells `cell` which cells the submissions in the next `slots` slots seem to name by handle: what the next poll will
    /// need, as far as the client's words can be believed, which is not at all. Takes nothing, reports nothing.
    pub fn glimpse(&self, slots: usize, cell: &mut dyn FnMut(u32)) {
        if let Some(part) = self.rings.part(self.worker) {
            burst::glimpse(part, &self.state, slots as u64, cell);
        }
    }

    /// Hands submissions to `apply`, of at most `budget_slots` slots together (one submission at least, so that a small
    /// budget cannot stall a long one); returns how many. A refusal by `apply` becomes a failure entry. Stops early
    /// when the client leaves no free failure entry, and at a submission that `apply` wants to see again: that one is not
    /// taken and comes first next time. After a fault every call returns it again.
    pub fn poll(
        &mut self,
        budget_slots: usize,
        apply: &mut dyn FnMut(&Submission<'_>) -> Verdict,
    ) -> Result<usize, RingFault> {
        let Some(part) = self.rings.part(self.worker) else { return Ok(0) };
        burst::poll(part, &mut self.state, &mut self.copy, budget_slots, apply)
    }

    /// Publishes failures and the applied count of the polls so far: call it after their effects are published.
    pub fn complete(&mut self) {
        if let Some(part) = self.rings.part(self.worker) {
            burst::complete(part, &mut self.state);
        }
    }

    /// Says what acknowledgements there can be. Before the client's first submission is taken, and when it changes.
    pub fn set_terms(&self, terms: AckTerms) {
        if let Some(part) = self.rings.part(self.worker) {
            levels::set_terms(part, terms);
        }
    }

    /// Tells how far the client's submissions have got; watermarks never go back, whatever is said. True if somebody
    /// sleeps until he is told: then [`wake_client`](Self::wake_client).
    pub fn tell(&mut self, now: &Levels) -> bool {
        self.rings.part(self.worker).is_some_and(|part| levels::tell(part, &mut self.told, now))
    }

    /// Wakes whoever sleeps until he is told something. A system call.
    pub fn wake_client(&self) {
        if let Some(part) = self.rings.part(self.worker) {
            futex::wake_all(Some(part.line(TOLD)));
        }
    }

    /// Asks the client to wake the worker from here on. True if there is something to poll already: then do not sleep.
    pub fn prepare_sleep(&mut self) -> bool {
        self.rings.part(self.worker).is_some_and(|part| burst::prepare_sleep(part, &self.state))
    }

    /// The worker is awake: the client need not wake it.
    pub fn wake(&mut self) {
        if let Some(part) = self.rings.part(self.worker) {
            burst::wake(part);
        }
    }
}
