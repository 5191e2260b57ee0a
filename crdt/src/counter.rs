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

    /// The least entry that has all of both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        if zoo!(CounterTakesLatest) {
            return other;
        }
        Self {
            increments: self.increments.max(other.increments),
            decrements: self.decrements.max(other.decrements),
        }
    }

    /// What two actors did together; saturates.
    #[must_use]
    pub fn sum(self, other: Self) -> Self {
        Self {
            increments: self.increments.saturating_add(other.increments),
            decrements: self.decrements.saturating_add(other.decrements),
        }
    }
}

/// A [`CounterEntry`] whose sums fit 64 bits, as nearly all do: half the memory for whoever keeps many of them.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct NarrowEntry {
    /// The sum of its positive adds.
    pub increments: u64,
    /// The sum of the magnitudes of its negative adds.
    pub decrements: u64,
}

impl NarrowEntry {
    /// The same entry, if it fits.
    pub fn new(entry: CounterEntry) -> Option<Self> {
        let increments = u64::try_from(entry.increments).ok()?;
        Some(Self { increments, decrements: u64::try_from(entry.decrements).ok()? })
    }

    /// The least entry that has all of both: [`CounterEntry::join`].
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        if zoo!(CounterTakesLatest) {
            return other;
        }
        Self {
            increments: self.increments.max(other.increments),
            decrements: self.decrements.max(other.decrements),
        }
    }

    /// The entry after a further add of `amount`, if it fits.
    pub fn plus(self, amount: i64) -> Option<Self> {
        let magnitude = amount.unsigned_abs();
        if amount < 0 {
            Some(Self { decrements: self.decrements.checked_add(magnitude)?, ..self })
        } else {
            Some(Self { increments: self.increments.checked_add(magnitude)?, ..self })
        }
    }
}

impl From<NarrowEntry> for CounterEntry {
    fn from(entry: NarrowEntry) -> Self {
        Self { increments: u128::from(entry.increments), decrements: u128::from(entry.decrements) }
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

    /// Takes back a term that was added.
    fn sub(&mut self, term: u128) {
        let (low, borrow) = self.low.overflowing_sub(term);
        self.low = low;
        self.high = self.high.wrapping_sub(u64::from(borrow));
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
        let at = self.entries.partition_point(|(own, _)| *own < actor);
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

    /// Takes an actor's entry out, for whoever puts what it says into another one; zero if there is none.
    pub fn take_entry(&mut self, actor: ActorId) -> CounterEntry {
        let Ok(at) = self.entries.binary_search_by_key(&actor, |(own, _)| *own) else {
            return CounterEntry::default();
        };
        let (_, entry) = self.entries.remove(at);
        self.increments.sub(entry.increments);
        self.decrements.sub(entry.decrements);
        entry
    }

    /// What `actor` did; zero if nothing.
    pub fn entry(&self, actor: ActorId) -> CounterEntry {
        let found = self.entries.binary_search_by_key(&actor, |(own, _)| *own);
        found.ok().and_then(|at| self.entries.get(at)).map(|(_, entry)| *entry).unwrap_or_default()
    }

    /// What each actor did, ascending by actor.
    pub fn entries(&self) -> impl Iterator<Item = (ActorId, CounterEntry)> {
        self.entries.iter().copied()
    }

    /// The first entry of an actor after `after`, or the first of all.
    pub fn next_entry(&self, after: Option<ActorId>) -> Option<(ActorId, CounterEntry)> {
        let at = after.map_or(0, |after| self.entries.partition_point(|(own, _)| *own <= after));
        self.entries.get(at).copied()
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
    fn an_entry_that_is_taken_out_leaves_what_the_others_did() {
        let mut counter = Counter::new();
        let huge = CounterEntry { increments: u128::MAX, decrements: 7 };
        counter.merge_entry(actor(1), huge);
        counter.add(actor(2), 5);
        assert_eq!((counter.take_entry(actor(1)), counter.value()), (huge, 5));
        assert_eq!((counter.take_entry(actor(1)), counter.value()), (CounterEntry::default(), 5));
        counter.merge_entry(actor(3), huge.sum(CounterEntry { increments: 1, decrements: 1 }));
        assert_eq!(counter.entry(actor(3)), CounterEntry { increments: u128::MAX, decrements: 8 });
        assert_eq!(counter, {
            let mut same = Counter::new();
            same.merge_entry(actor(3), CounterEntry { increments: u128::MAX, decrements: 8 });
            same.add(actor(2), 5);
            same
        });
    }

    #[test]
    fn entries_are_visited_in_order_from_wherever() {
        let mut counter = Counter::new();
        for node in (1..=20).rev() {
            counter.add(actor(node), i64::from(node));
        }
        let mut visited = Vec::new();
        let mut last = None;
        while let Some((next, entry)) = counter.next_entry(last) {
            visited.push((next, entry));
            last = Some(next);
        }
        assert!(visited.iter().copied().eq(counter.entries()) && visited.len() == 20);
        assert!(visited.iter().all(|(actor, entry)| counter.entry(*actor) == *entry));
        assert_eq!(counter.next_entry(Some(actor(7))).map(|(next, _)| next), Some(actor(8)));
    }

    #[test]
    fn narrow_entries_are_entries_as_far_as_they_fit() {
        let wide = |increments, decrements| CounterEntry { increments, decrements };
        let narrow = |increments, decrements| NarrowEntry { increments, decrements };
        let most = u128::from(u64::MAX);
        assert_eq!(NarrowEntry::new(wide(most, 3)), Some(narrow(u64::MAX, 3)));
        assert_eq!((NarrowEntry::new(wide(most + 1, 0)), NarrowEntry::new(wide(0, most + 1))), (None, None));
        assert_eq!(narrow(5, 1).join(narrow(2, 7)), narrow(5, 7));
        assert_eq!(CounterEntry::from(narrow(5, 7)), wide(5, 1).join(wide(2, 7)));
        assert_eq!((narrow(5, 1).plus(2), narrow(5, 1).plus(-2)), (Some(narrow(7, 1)), Some(narrow(5, 3))));
        assert_eq!((narrow(u64::MAX, 0).plus(1), narrow(0, u64::MAX).plus(i64::MIN)), (None, None));
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
