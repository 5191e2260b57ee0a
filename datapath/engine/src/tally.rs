//! A counter as nearly all of them are: a few actors, sums that fit 64 bits. It lies in its key's entry and needs no
//! memory of its own.
//!
//! ```text
//!   actors   │ a │ b │ – │              number of each, two bytes
//!   slots    │ last touch, increments, decrements │ … │ … │
//! ```
//!
//! The join is that of [`lattice_crdt::NarrowEntry`]. What does not fit (a fourth actor, 2^64) is answered with `None`, and
//! nothing is changed: the key then moves to a [`lattice_crdt::Counter`].

use crate::actors::{ActorNumber, Actors, Who};
use lattice_crdt::{ActorId, Counter, CounterEntry, Dot, NarrowEntry};

/// Actors that a tally has room for.
pub(crate) const TALLY_ACTORS: usize = 3;

/// What one actor did.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The last operation of the actor that touched the key; 0 if none is known.
    touch: u64,
    entry: NarrowEntry,
}

/// A byte of which one value is used. The others are where an enum with a tally in it keeps its tag: it needs no more room
/// than the tally.
#[derive(Clone, Copy, Debug, Default)]
#[repr(u8)]
enum Tag {
    #[default]
    Tally,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub(crate) struct Tally {
    _tag: Tag,
    /// Those in use first.
    actors: [Option<ActorNumber>; TALLY_ACTORS],
    slots: [Slot; TALLY_ACTORS],
}

/// An entry before and after a change.
pub(crate) type Change = (NarrowEntry, NarrowEntry);

impl Tally {
    /// Whether the actor's slot is the first, or would be.
    #[inline]
    pub(crate) fn is_first(&self, who: Who) -> bool {
        let [first, ..] = self.actors;
        first.is_none() || first == who.number
    }

    fn slot(&self, who: Who) -> Option<&Slot> {
        let at = self.actors.iter().position(|own| own.is_some() && *own == who.number)?;
        self.slots.get(at)
    }

    /// The actor's slot, a vacant one if it has none yet.
    #[inline]
    fn slot_mut(&mut self, who: Who) -> Option<&mut Slot> {
        let number = who.number?;
        let at = self.actors.iter().position(|own| own.is_none_or(|own| own == number))?;
        self.actors[at] = Some(number);
        self.slots.get_mut(at)
    }

    /// Joins an actor's entry, made by its operation `touch`. `None`: there is no room.
    #[inline]
    pub(crate) fn join(&mut self, who: Who, touch: u64, theirs: NarrowEntry) -> Option<Change> {
        let slot = self.slot_mut(who)?;
        slot.touch = slot.touch.max(touch);
        let old = slot.entry;
        slot.entry = old.join(theirs);
        Some((old, slot.entry))
    }

    /// Adds to an actor's entry. `None`: there is no room.
    #[inline]
    pub(crate) fn add(&mut self, who: Who, amount: i64) -> Option<Change> {
        let slot = self.slot_mut(who)?;
        let old = slot.entry;
        slot.entry = old.plus(amount)?;
        Some((old, slot.entry))
    }

    /// Remembers that an operation touched the key. False: there is no room.
    #[inline]
    pub(crate) fn touch(&mut self, who: Who, seq: u64) -> bool {
        let slot = self.slot_mut(who);
        slot.map(|slot| slot.touch = slot.touch.max(seq)).is_some()
    }

    pub(crate) fn entry(&self, who: Who) -> CounterEntry {
        self.slot(who).map(|slot| slot.entry.into()).unwrap_or_default()
    }

    /// The value, or the nearest i64.
    #[inline]
    pub(crate) fn value_i64(&self) -> i64 {
        let used = self.actors.iter().zip(&self.slots).take_while(|(actor, _)| actor.is_some());
        let sums =
            used.map(|(_, slot)| i128::from(slot.entry.increments) - i128::from(slot.entry.decrements));
        let value: i128 = sums.sum();
        value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    fn iter<'a>(&'a self, actors: &'a Actors) -> impl Iterator<Item = (ActorId, &'a Slot)> {
        let used = self.actors.iter().zip(&self.slots);
        used.filter_map(|(number, slot)| number.map(|number| (actors.id(number), slot)))
    }

    /// The last touch of each actor.
    pub(crate) fn touches<'a>(&'a self, actors: &'a Actors) -> impl Iterator<Item = Dot> {
        let touched = self.iter(actors).filter(|(_, slot)| slot.touch > 0);
        touched.map(|(actor, slot)| Dot { actor, seq: slot.touch })
    }

    /// The entry of the first actor after `after` that has one, or of the first of all.
    pub(crate) fn next_entry(
        &self,
        actors: &Actors,
        after: Option<ActorId>,
    ) -> Option<(ActorId, CounterEntry)> {
        let entries = self.iter(actors).filter(|(_, slot)| slot.entry != NarrowEntry::default());
        let later = entries.filter(|(actor, _)| after.is_none_or(|after| *actor > after));
        later.min_by_key(|(actor, _)| *actor).map(|(actor, slot)| (actor, slot.entry.into()))
    }

    /// The same as a counter without bounds.
    pub(crate) fn to_counter(&self, actors: &Actors) -> Counter {
        let mut counter = Counter::new();
        for (actor, slot) in self.iter(actors) {
            counter.merge_entry(actor, slot.entry.into());
        }
        counter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{KeyEntry, Value};
    use lattice_crdt::Kind;
    use proptest::prelude::*;

    fn amount() -> impl Strategy<Value = u128> {
        let narrow = u128::from(u64::MAX);
        prop_oneof![20 => 0u128..1000, 2 => narrow - 2..=narrow, 1 => narrow + 1..narrow + 3]
    }

    proptest! {
        /// Whatever comes, and when it moves to a counter: what the key says is what a counter without bounds says, and its
        /// touches are the last of each actor.
        #[test]
        fn says_what_a_counter_says(
            steps in proptest::collection::vec((1u16..6, 0u64..9, amount(), amount()), 0..40),
        ) {
            let mut actors = Actors::default();
            let mut entry = KeyEntry::new(7, Kind::Counter, b"key", 0);
            let (mut model, mut touches) = (Counter::new(), std::collections::BTreeMap::new());
            for (node, touch, increments, decrements) in steps {
                let who = actors.who(ActorId::new(node, 9));
                let theirs = CounterEntry { increments, decrements };
                let tallied = match &mut entry.value {
                    Value::Tally(tally) => NarrowEntry::new(theirs).and_then(|theirs| tally.join(who, touch, theirs)),
                    _ => None,
                };
                if tallied.is_none() {
                    entry.value.unbounded(&actors).unwrap().merge_entry(who.id, theirs);
                    entry.touch(&actors, who, touch);
                }
                model.merge_entry(who.id, theirs);
                let last = touches.entry(who.id).or_insert(0u64);
                *last = touch.max(*last);
                let value = match &entry.value {
                    Value::Tally(tally) => tally.value_i64(),
                    Value::Counter(counter) => counter.value.value_i64(),
                    _ => unreachable!("a counter"),
                };
                prop_assert_eq!(value, model.value_i64());
                let mut found: Vec<Dot> = entry.touches(&actors).filter(|dot| dot.seq > 0).collect();
                found.sort_unstable();
                let expected = touches.iter().filter(|(_, seq)| **seq > 0);
                let expected: Vec<Dot> = expected.map(|(&actor, &seq)| Dot::new(actor, seq)).collect();
                prop_assert_eq!(found, expected);
                let mut last = None;
                for expected in model.entries() {
                    let next = entry.value.next_entry(&actors, last);
                    prop_assert_eq!(next, Some(expected));
                    last = next.map(|(actor, _)| actor);
                }
                prop_assert_eq!(entry.value.next_entry(&actors, last), None);
            }
        }
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut actors = Actors::default();
        let [a, b, c, d] = [1, 2, 3, 4].map(|node| actors.who(ActorId::new(node, 9)));
        let mut tally = Tally::default();
        for who in [a, b, c] {
            assert!(tally.add(who, 5).is_some() && tally.touch(who, 1));
        }
        assert!(tally.add(d, 1).is_none() && !tally.touch(d, 1));
        assert!(tally.add(a, i64::MAX).is_some());
        assert_eq!(tally.add(a, i64::MAX), None);
        assert_eq!(tally.entry(a).increments, 5 + i64::MAX as u128);
        assert_eq!((tally.entry(d), tally.value_i64()), (CounterEntry::default(), i64::MAX));
    }
}
