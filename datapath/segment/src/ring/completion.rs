//! The way back: how many submissions are done, and which of them failed.
//!
//! ```text
//!   daemon:  effects published ──> failure entries ──> completion_tail ──> applied
//!   client:  applied ──> completion_tail ──> failure entries ──> completion_head
//! ```
//!
//! A success costs nothing but its share of `applied`. The order above makes `applied >= ticket` and no failure entry for
//! the ticket mean: applied, and visible in the local segment. When the client does not take its failures the entries run
//! out, and the daemon stops taking its submissions: bounded, and nobody else notices.

use super::layout::{APPLIED, COMPLETION_HEAD, COMPLETION_TAIL};
use super::part::RingPart;
use super::{RingFault, Ticket};
use crate::sync::Ordering::{Acquire, Relaxed, Release};

/// Free failure entries behind `tail`.
#[inline]
pub fn room(part: RingPart<'_>, tail: u64) -> Result<u64, RingFault> {
    // ORDER completion-free: acquire pairs with the release in `take`: the old entries were read.
    let used = tail.wrapping_sub(part.line(COMPLETION_HEAD).load(Acquire));
    part.completion_slots().checked_sub(used).ok_or(RingFault::CompletionIndex)
}

/// Fills the entry at `tail`; [`publish`] shows it.
pub fn fill(part: RingPart<'_>, tail: u64, ticket: Ticket, code: u16) {
    let (first, second) = part.entry(tail);
    first.store(ticket.0, Relaxed);
    second.store(u64::from(code), Relaxed);
}

/// Shows failures and the number of finished submissions.
#[inline]
pub fn publish(part: RingPart<'_>, tail: u64, applied: u64) {
    if zoo!(AppliedBeforeFailures) {
        part.line(APPLIED).store(applied, Release);
    }
    // ORDER completion-full: release pairs with the acquire in `take`: the entries' words are there.
    part.line(COMPLETION_TAIL).store(tail, Release);
    // ORDER applied: release pairs with the acquire in `applied`: the effects in the segment, and the failures, are there.
    part.line(APPLIED).store(applied, Release);
}

/// Number of finished submissions.
#[inline]
pub fn applied(part: RingPart<'_>) -> u64 {
    // ORDER applied: acquire pairs with the release in `publish`.
    part.line(APPLIED).load(Acquire)
}

/// Takes the failure at the client's `head`, if there is one.
pub fn take(part: RingPart<'_>, head: &mut u64) -> Option<(Ticket, u16)> {
    // ORDER completion-full: acquire pairs with the release in `publish`.
    let filled = part.line(COMPLETION_TAIL).load(Acquire).wrapping_sub(*head);
    if filled == 0 || filled > part.completion_slots() {
        return None;
    }
    let (first, second) = part.entry(*head);
    let failure = (Ticket(first.load(Relaxed)), second.load(Relaxed) as u16);
    *head = head.wrapping_add(1);
    // ORDER completion-free: release pairs with the acquire in `room`: the loads of the entry are done.
    part.line(COMPLETION_HEAD).store(*head, Release);
    Some(failure)
}
