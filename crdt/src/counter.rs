//! A counter that goes both ways (the PN-counter of Shapiro et al., INRIA RR-7506, 2011, as a delta-state type).
//!
//! ```text
//!   actor -> (increments u128, decrements u128)   cumulative; only the actor itself adds to its entry
//!   join     = entry by entry, part by part, the maximum
//!   value    = sum of increments - sum of decrements
//! ```
//!
//! An actor's entry is its own delta: it is cumulative, so the last one of a burst stands for all. The sums are kept
//! up to date in 192 bits, which no set of entries can overflow; so a value is a function of the state alone, never of
//! the order in which hostile entries near `u128::MAX` arrived, and reading it costs a subtraction.
//!
//! What can go wrong: an entry at `u128::MAX` takes no more; a further [`add`](Counter::add) saturates there.

use crate::ActorId;

/// What one actor did to a counter, ever.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct CounterEntry {
    /// The sum of its positive adds.
    pub increments: u128,
    /// The sum of the magnitudes of its negative adds.
    pub decrements: u128,
}

impl CounterEntry {
    fn is_zero(self) -> bool {
        self.increments == 0 && self.decrements == 0
    }

    fn join(self, other: Self) -> Self {
        if zoo!(CounterTakesLatest) {
            return other;
        }
        Self {
            increments: self.increments.max(other.increments),
            decrements: self.decrements.max(other.decrements),
        }
    }
}

/// An unsigned sum of u128 terms that cannot overflow: 2^64 carries.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Debug, Default)]
struct WideSum {
    high: u64,
    low: u128,
}

impl WideSum {
    fn add(&mut self, term: u128) {
        let (low, carry) = self.low.overflowing_add(term);
        self.low = low;
        self.high = self.high.wrapping_add(u64::from(carry));
    }

    /// `self - other`, for `self >= other`; `None` when it does not fit.
    fn minus(self, other: Self) -> Option<u128> {
        let (low, borrow) = self.low.overflowing_sub(other.low);
        (self.high.wrapping_sub(other.high).wrapping_sub(u64::from(borrow)) == 0).then_some(low)
    }
}

/// A counter.
#[derive(Clone, Eq, PartialEq, Debug, Default)]
pub struct Counter {
    /// Ascending by actor; no zero entries, so equal states are equal vectors.
    entries: Vec<(ActorId, CounterEntry)>,
    increments: WideSum,
    decrements: WideSum,
}

impl Counter {
    /// A counter at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value, exact as far as it fits an i128, and the nearest i128 beyond. One subtraction.
    pub fn value(&self) -> i128 {
        if self.increments >= self.decrements {
            let above = self.increments.minus(self.decrements);
            above.and_then(|value| i128::try_from(value).ok()).unwrap_or(i128::MAX)
        } else {
            let below = self.decrements.minus(self.increments);
            below.and_then(|value| i128::try_from(value).ok()).map_or(i128::MIN, |value| -value)
        }
    }

    /// The value, or the nearest i64.
    pub fn value_i64(&self) -> i64 {
        self.value().clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// Adds `amount` for `actor`, which must be this replica's own; returns the entry that is the delta.
    pub fn add(&mut self, actor: ActorId, amount: i64) -> CounterEntry {
        let mut entry = self.entry(actor);
        let magnitude = u128::from(amount.unsigned_abs());
        let part = if amount < 0 { &mut entry.decrements } else { &mut entry.increments };
        *part = part.saturating_add(magnitude);
        self.merge_entry(actor, entry);
        entry
    }

    /// Joins one actor's entry; the entry (before, after) if that changed anything.
    pub fn merge_entry(
        &mut self,
        actor: ActorId,
        entry: CounterEntry,
    ) -> Option<(CounterEntry, CounterEntry)> {
        // A linear scan: a counter has as many entries as nodes that ever wrote it, a handful.
        let at = self.entries.iter().position(|(own, _)| *own >= actor).unwrap_or(self.entries.len());
        let (old, new) = match self.entries.get_mut(at) {
            Some((own, current)) if *own == actor => {
                let old = *current;
                let new = old.join(entry);
                if new == old {
                    return None;
                }
                *current = new;
                (old, new)
            }
            _ if entry.is_zero() => return None,
            _ => {
                self.entries.insert(at, (actor, entry));
                (CounterEntry::default(), entry)
            }
        };
        self.increments.add(new.increments - old.increments);
        self.decrements.add(new.decrements - old.decrements);
        Some((old, new))
    }

    /// What `actor` did; zero if nothing.
    pub fn entry(&self, actor: ActorId) -> CounterEntry {
        self.entries.iter().find(|(own, _)| *own == actor).map(|(_, entry)| *entry).unwrap_or_default()
    }

    /// What each actor did, ascending by actor.
    pub fn entries(&self) -> impl Iterator<Item = (ActorId, CounterEntry)> {
        self.entries.iter().copied()
    }

    /// Joins the full state of another replica.
    pub fn join(&mut self, other: &Self) {
        for (actor, entry) in other.entries() {
            self.merge_entry(actor, entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(node: u16) -> ActorId {
        ActorId::new(node, 1)
    }

    #[test]
    fn adds_both_ways_and_returns_the_cumulative_delta() {
        let mut counter = Counter::new();
        counter.add(actor(1), 5);
        assert_eq!(counter.add(actor(1), -7), CounterEntry { increments: 5, decrements: 7 });
        counter.add(actor(2), i64::MIN);
        assert_eq!(counter.value(), -2 + i128::from(i64::MIN));
        assert_eq!(counter.value_i64(), i64::MIN);
    }

    #[test]
    fn adding_zero_leaves_the_canonical_empty_state() {
        let mut counter = Counter::new();
        assert_eq!(counter.add(actor(1), 0), CounterEntry::default());
        assert_eq!(counter.entries().count(), 0);
    }

    #[test]
    fn hostile_entries_neither_wrap_nor_make_the_value_depend_on_order() {
        let huge = CounterEntry { increments: u128::MAX, decrements: 0 };
        let sunk = CounterEntry { increments: 0, decrements: u128::MAX };
        let steps = [(actor(1), huge), (actor(2), huge), (actor(3), sunk), (actor(4), sunk)];
        let mut forward = Counter::new();
        let mut backward = Counter::new();
        for (who, entry) in steps {
            forward.merge_entry(who, entry);
        }
        assert_eq!(forward.value(), 0);
        for (who, entry) in steps.into_iter().rev() {
            backward.merge_entry(who, entry);
        }
        backward.add(actor(1), -1);
        assert_eq!((forward.value(), backward.value()), (0, -1));
        forward.add(actor(1), i64::MAX);
        assert_eq!(forward.value(), 0, "a full entry saturates");
        forward.merge_entry(actor(5), huge);
        assert_eq!((forward.value(), forward.value_i64()), (i128::MAX, i64::MAX));
    }
}
