//! Tickets: what became of a write.
//!
//! ```text
//!                 enqueue ──────────> under way ──> applied   (visible to every reader of this host)
//!                    │                   │  │
//!   error: nothing   │                   │  └─────> refused   (nothing changed, typed reason)
//!   was enqueued <───┘                   └────────> unknown   (the daemon went away first)
//! ```

use std::collections::VecDeque;

use crate::ack::{Ack, Reached};
use crate::error::{Error, Refusal, Result};
use crate::lane::Remains;
use crate::refusals::Processed;

/// A receipt for an enqueued write: pass it to [`crate::Client::wait`] or [`crate::Client::poll`], or drop it and call
/// [`crate::Client::barrier`] after many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub(crate) attachment: u64,
    pub(crate) seq: u64,
    pub(crate) worker: u16,
}

impl Ticket {
    /// The ticket as plain numbers, for bindings to other languages. They mean something to the client that gave it out only.
    #[must_use]
    pub fn to_words(self) -> [u64; 3] {
        [self.attachment, self.seq, self.worker.into()]
    }

    /// The ticket that [`Ticket::to_words`] took apart; `None` if no ticket has these numbers. Whoever makes numbers up waits in
    /// vain, or is told the result of another write.
    #[must_use]
    pub fn from_words([attachment, seq, worker]: [u64; 3]) -> Option<Ticket> {
        Some(Ticket { attachment, seq, worker: u16::try_from(worker).ok()? })
    }
}

/// Attachments whose final results are kept for tickets that are waited for late.
const KEPT_ATTACHMENTS: usize = 8;

/// The final results of attachments that are over.
#[derive(Default)]
pub(crate) struct History {
    attachments: VecDeque<(u64, Vec<Remains>)>,
    unacknowledged: u64,
    unreported: Option<(u64, Refusal)>,
    /// How far writes had got that no call has said to be of unknown whereabouts.
    left_behind: Option<Reached>,
}

impl History {
    /// Keeps what remained of an attachment's lanes, by worker.
    pub fn keep(&mut self, number: u64, mut lanes: Vec<Remains>) {
        for lane in &mut lanes {
            self.unacknowledged += lane.unacknowledged;
            if lane.submitted > 0 {
                let reached = Reached::of(lane.submitted, lane.applied, &lane.levels, lane.terms);
                self.left_behind = Some(self.left_behind.map_or(reached, |before| before.and(reached)));
            }
            if let Some(more) = lane.refusals.take_unreported() {
                add_refusals(&mut self.unreported, more);
            }
        }
        if self.attachments.len() == KEPT_ATTACHMENTS {
            self.attachments.pop_front();
        }
        self.attachments.push_back((number, lanes));
    }

    /// True if the attachment's results are final.
    pub fn knows(&self, number: u64) -> bool {
        self.attachments.iter().any(|(kept, _)| *kept == number)
    }

    /// The final result of a write: never under way.
    pub fn result_of(&mut self, ticket: Ticket) -> Result<()> {
        let found = self.attachments.iter_mut().find(|(number, _)| *number == ticket.attachment);
        let lane = found.and_then(|(_, lanes)| lanes.get_mut(usize::from(ticket.worker)));
        match lane {
            Some(lane) if ticket.seq <= lane.applied => finished(lane.refusals.result_of(ticket.seq)),
            Some(_) => Err(Error::OutcomeUnknown { writes: 1 }),
            None => Err(Error::OutcomeForgotten),
        }
    }

    /// What became of a write, if it was processed, and how far it had got.
    pub fn reached(&mut self, ticket: Ticket) -> Result<(Option<Processed>, Reached)> {
        let found = self.attachments.iter_mut().find(|(number, _)| *number == ticket.attachment);
        let lane = found.and_then(|(_, lanes)| lanes.get_mut(usize::from(ticket.worker)));
        let lane = lane.ok_or(Error::OutcomeForgotten)?;
        let reached = Reached::of(ticket.seq, lane.applied, &lane.levels, lane.terms);
        let processed = (ticket.seq <= lane.applied).then(|| lane.refusals.result_of(ticket.seq));
        Ok((processed, reached))
    }

    /// How far writes to daemons that are gone had got, if that was not as far as `ack` says, and no call has reported it yet.
    pub fn take_left_behind(&mut self, ack: Ack) -> Option<Reached> {
        self.left_behind.take_if(|reached| !reached.has(ack))
    }

    /// Writes of unknown outcome that no barrier has reported yet.
    pub fn take_unacknowledged(&mut self) -> u64 {
        std::mem::take(&mut self.unacknowledged)
    }

    /// Refusals that no call has reported yet.
    pub fn take_unreported(&mut self) -> Option<(u64, Refusal)> {
        self.unreported.take()
    }
}

/// Adds refusals to a sum that remembers the first.
pub(crate) fn add_refusals(sum: &mut Option<(u64, Refusal)>, more: (u64, Refusal)) {
    *sum = Some(match *sum {
        Some((count, first)) => (count + more.0, first),
        None => more,
    });
}

/// The result that a caller gets for a processed write.
pub(crate) fn finished(processed: Processed) -> Result<()> {
    match processed {
        Processed::Applied => Ok(()),
        Processed::Refused(refusal) => Err(Error::Refused(refusal)),
        Processed::Forgotten => Err(Error::OutcomeForgotten),
    }
}
