//! The daemon's end of a pair of rings.
//!
//! ```text
//!   poll ──> copy out, parse, apply ──> (more polls) ──> effects published ──> complete
//!     └── RingFault: the client loses its connection; its earlier submissions stand
//! ```

use super::burst::{self, ConsumerState};
use super::shared::SharedRings;
use super::submission::CopiedOut;
use super::{RingFault, Submission};

/// The daemon's end of one worker's ring pair. Everything in it is hostile input.
#[derive(Debug)]
pub struct RingConsumer {
    rings: SharedRings,
    worker: u16,
    state: ConsumerState,
    copy: Box<CopiedOut>,
}

impl RingConsumer {
    pub(super) fn new(rings: SharedRings, worker: u16) -> RingConsumer {
        RingConsumer { rings, worker, state: ConsumerState::default(), copy: Box::default() }
    }

    /// The worker that must poll this consumer.
    pub fn worker(&self) -> u16 {
        self.worker
    }

    /// Number of submissions taken so far.
    pub fn taken(&self) -> u64 {
        self.state.taken()
    }

    /// Hands submissions to `apply`, of at most `budget_slots` slots together (one submission at least, so that a small
    /// budget cannot stall a long one); returns how many. `Err(code)` from `apply` becomes a failure entry. Stops early
    /// when the client leaves no free failure entry. After a fault every call returns it again.
    pub fn poll(
        &mut self,
        budget_slots: usize,
        apply: &mut dyn FnMut(&Submission<'_>) -> Result<(), u16>,
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
}
