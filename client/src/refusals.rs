//! What the client remembers of refused writes: bounded, and honest about what it forgot.
//!
//! ```text
//!   completion ring ──> remember(seq, refusal) ──> [oldest … newest]   at most REMEMBERED
//!                                                      │ pushed out: forgotten_through = its seq
//!   wait(seq)  ──> Applied | Refused | Forgotten (seq <= forgotten_through: it may have been the one)
//!   barrier    ──> how many were not reported yet, and the first of them
//! ```
//!
//! A success needs no memory: everything up to the ring's `applied` count that is not here was applied.

use std::collections::VecDeque;

use crate::error::Refusal;

/// Refusals remembered per worker. More are possible only if the application does not wait for what it writes.
const REMEMBERED: usize = 1024;

struct Entry {
    seq: u64,
    refusal: Refusal,
    reported: bool,
}

/// Refused writes of one ring, ascending by their place in the ring.
#[derive(Default)]
pub(crate) struct Refusals {
    entries: VecDeque<Entry>,
    forgotten_through: u64,
    unreported: u64,
    first_unreported: Option<(u64, Refusal)>,
}

/// The result of a write that the daemon has processed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Processed {
    Applied,
    Refused(Refusal),
    Forgotten,
}

impl Refusals {
    /// Takes a refusal from the completion ring; `seq` ascends.
    pub fn remember(&mut self, seq: u64, refusal: Refusal) {
        if self.entries.len() == REMEMBERED
            && let Some(oldest) = self.entries.pop_front()
        {
            self.forgotten_through = oldest.seq;
        }
        self.entries.push_back(Entry { seq, refusal, reported: false });
        self.unreported += 1;
        self.first_unreported.get_or_insert((seq, refusal));
    }

    /// The result of a processed write; a refusal counts as reported from now on.
    pub fn result_of(&mut self, seq: u64) -> Processed {
        if seq <= self.forgotten_through {
            return Processed::Forgotten;
        }
        let Ok(index) = self.entries.binary_search_by_key(&seq, |entry| entry.seq) else {
            return Processed::Applied;
        };
        let entry = &mut self.entries[index];
        let refusal = entry.refusal;
        if !entry.reported {
            entry.reported = true;
            self.unreported -= 1;
            // Had an older unreported one been pushed out, it would still be the first.
            if self.first_unreported.is_some_and(|(first, _)| first == seq) {
                let next = self.entries.iter().find(|entry| !entry.reported);
                self.first_unreported = next.map(|entry| (entry.seq, entry.refusal));
            }
        }
        Processed::Refused(refusal)
    }

    /// How many refusals no call has reported yet, and the first of them; all count as reported from now on.
    pub fn take_unreported(&mut self) -> Option<(u64, Refusal)> {
        let (_, first) = self.first_unreported.take()?;
        let count = std::mem::take(&mut self.unreported);
        for entry in &mut self.entries {
            entry.reported = true;
        }
        Some((count, first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_reported_to_its_waiter_and_not_again_to_a_barrier() {
        let mut refusals = Refusals::default();
        refusals.remember(3, Refusal::ClockSkew);
        refusals.remember(5, Refusal::TooLarge);
        assert_eq!(refusals.result_of(4), Processed::Applied);
        assert_eq!(refusals.result_of(3), Processed::Refused(Refusal::ClockSkew));
        assert_eq!(
            refusals.result_of(3),
            Processed::Refused(Refusal::ClockSkew),
            "asking twice tells the same"
        );
        assert_eq!(refusals.take_unreported(), Some((1, Refusal::TooLarge)));
        assert_eq!(refusals.take_unreported(), None);
        assert_eq!(
            refusals.result_of(5),
            Processed::Refused(Refusal::TooLarge),
            "a barrier does not erase results"
        );
    }

    #[test]
    fn what_was_pushed_out_is_never_called_applied() {
        let mut refusals = Refusals::default();
        for seq in 1..=REMEMBERED as u64 + 2 {
            refusals.remember(seq, Refusal::LogFull);
        }
        assert_eq!(refusals.result_of(2), Processed::Forgotten);
        assert_eq!(refusals.result_of(3), Processed::Refused(Refusal::LogFull));
        assert_eq!(refusals.entries.len(), REMEMBERED);
        assert_eq!(refusals.take_unreported(), Some((REMEMBERED as u64 + 1, Refusal::LogFull)));
    }
}
