//! One poll of a client's ring: bounded work, nothing believed.
//!
//! A burst ends when the budget is spent, the client has no more, no failure entry is free, or a submission has to wait
//! ([`Verdict::Retry`]: it stays where it is and comes first in the next burst). A contradiction in the
//! client's words ends it for good: the state keeps the fault, and what came before stands.

use super::completion;
use super::layout::SLEEPING;
use super::part::RingPart;
use super::submission::{self, CopiedOut};
use super::{RingFault, Submission, Ticket, Verdict};
use crate::sleep;

/// What the daemon remembers of a ring; the client cannot reach it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConsumerState {
    head: u64,
    applied: u64,
    completion_tail: u64,
    shown: u64,
    fault: Option<RingFault>,
}

impl ConsumerState {
    /// Number of submissions taken so far.
    pub fn taken(&self) -> u64 {
        self.applied
    }
}

/// `RingConsumer::poll` on words.
#[inline]
pub fn poll(
    part: RingPart<'_>,
    state: &mut ConsumerState,
    copy: &mut CopiedOut,
    budget_slots: usize,
    apply: &mut dyn FnMut(&Submission<'_>) -> Verdict,
) -> Result<usize, RingFault> {
    if let Some(fault) = state.fault {
        return Err(fault);
    }
    let before = state.applied;
    match take_burst(part, state, copy, budget_slots as u64, apply) {
        Ok(()) => Ok((state.applied - before) as usize),
        Err(fault) => {
            state.fault = Some(fault);
            Err(fault)
        }
    }
}

fn take_burst(
    part: RingPart<'_>,
    state: &mut ConsumerState,
    copy: &mut CopiedOut,
    budget_slots: u64,
    apply: &mut dyn FnMut(&Submission<'_>) -> Verdict,
) -> Result<(), RingFault> {
    let mut available = submission::available(part, state.head)?;
    if available == 0 || budget_slots == 0 {
        return Ok(());
    }
    let mut room = completion::room(part, state.completion_tail)?;
    let mut spent = 0;
    let mut result = Ok(());
    while available > 0 && room > 0 {
        let (header, slots) = match submission::claimed_slots(part, state.head, available) {
            Ok(claimed) => claimed,
            Err(fault) => {
                result = Err(fault);
                break;
            }
        };
        if spent > 0 && spent + slots > budget_slots {
            break;
        }
        if zoo!(SlotsReleasedEarly) {
            submission::release_slots(part, state.head.wrapping_add(slots));
        }
        copy.copy(part, state.head, header, slots);
        let outcome = match copy.parse() {
            Ok(parsed) => apply(&parsed),
            Err(fault) => {
                result = Err(fault);
                break;
            }
        };
        if outcome == Verdict::Retry {
            break;
        }
        state.head = state.head.wrapping_add(slots);
        state.applied += 1;
        (spent, available) = (spent + slots, available - slots);
        if let Verdict::Refused(code) = outcome {
            completion::fill(part, state.completion_tail, Ticket(state.applied), code);
            state.completion_tail = state.completion_tail.wrapping_add(1);
            room -= 1;
        }
    }
    if spent > 0 {
        submission::release_slots(part, state.head);
    }
    result
}

/// `RingConsumer::waiting` on words.
#[inline]
pub fn waiting(part: RingPart<'_>, state: &ConsumerState) -> u64 {
    submission::available(part, state.head).unwrap_or(0)
}

/// `RingConsumer::glimpse` on words.
#[inline]
pub fn glimpse(part: RingPart<'_>, state: &ConsumerState, slots: u64, cell: &mut dyn FnMut(u32)) {
    let filled = waiting(part, state).min(slots);
    let mut at = 0;
    while at < filled {
        let (slots, named) = submission::glimpse(part, state.head.wrapping_add(at));
        if let Some(named) = named {
            cell(named);
        }
        at += slots;
    }
}

/// `RingConsumer::has_news` on words.
#[inline]
pub fn has_news(part: RingPart<'_>, state: &ConsumerState) -> bool {
    state.fault.is_some() || submission::is_any(part, state.head)
}

/// `RingConsumer::complete` on words.
#[inline]
pub fn complete(part: RingPart<'_>, state: &mut ConsumerState) {
    if state.shown != state.applied {
        completion::publish(part, state.completion_tail, state.applied);
        state.shown = state.applied;
    }
}

/// `RingConsumer::prepare_sleep` on words.
pub fn prepare_sleep(part: RingPart<'_>, state: &ConsumerState) -> bool {
    sleep::announce(part.line(SLEEPING));
    state.fault.is_none() && submission::available(part, state.head) != Ok(0)
}

/// `RingConsumer::wake` on words.
pub fn wake(part: RingPart<'_>) {
    sleep::withdraw(part.line(SLEEPING));
}

/// `RingProducer::consumer_sleeps` on words.
#[inline]
pub fn consumer_sleeps(part: RingPart<'_>) -> bool {
    sleep::is_announced(part.line(SLEEPING))
}
