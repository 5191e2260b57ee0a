//! What folding does to a key: entries of dead epochs go into their node's slot, and touches of theirs go.
//!
//! ```text
//!   a 5, b 7, slot(N, 3) 40, x 9     fold 4 of N: a, b     ──>  slot(N, 4) 52, x 9
//!   a 3, x 9                         slot(N, 4) 52 comes   ──>  slot(N, 4) 52, x 9      a is in it, all of it
//! ```
//!
//! What readers see of a counter changes only where a slot comes that says more than what was here.

use crate::actors::Actors;
use crate::digest;
use crate::entry::{KeyEntry, Value};
use crate::fold::Folds;
use crate::keys::{Keys, Position, entry_mut};
use lattice_crdt::{ActorId, CounterEntry, VersionVector};

type Entries = Vec<(ActorId, CounterEntry)>;

/// All entries of a counter.
fn entries_of(entry: &KeyEntry, actors: &Actors) -> Entries {
    let (mut entries, mut after) = (Entries::new(), None);
    while let Some((actor, own)) = entry.value.next_entry(actors, after) {
        entries.push((actor, own));
        after = Some(actor);
    }
    entries
}

/// The fold up to which a node's slot goes; 0 if there is none.
fn slot_number(entries: &Entries, node: u16) -> u16 {
    let slots = entries.iter().filter(|(actor, _)| actor.node() == node);
    slots.filter_map(|(actor, _)| actor.fold_number()).max().unwrap_or(0)
}

/// Puts what the folds of a node up to `number` say into one slot, together with what came as that slot. False: there is
/// nothing to do, or a later slot is here already.
fn fold_node(entries: &mut Entries, node: u16, number: u16, came: CounterEntry, folds: &Folds) -> bool {
    let present = slot_number(entries, node);
    if present > number {
        return false;
    }
    let (mut sum, mut any) = (CounterEntry::default(), came != CounterEntry::default());
    entries.retain(|&(actor, own)| {
        if actor.node() != node {
            return true;
        }
        let of = match (actor.fold_number(), folds.get(actor)) {
            (Some(slot), _) => slot,
            (None, Some(folded)) if folded.number <= number => folded.number,
            (None, _) => return true,
        };
        // An entry that the slot beside it already has in it says nothing.
        if actor.fold_number().is_some() || of > present {
            sum = sum.sum(own);
        }
        any |= actor.fold_number() != Some(number);
        zoo!(FoldedEntriesStay) && actor.fold_number().is_none()
    });
    let slot = if zoo!(SlotForgetsEntries) { came } else { sum.join(came) };
    if slot != CounterEntry::default() {
        entries.push((ActorId::fold_slot(node, number), slot));
        entries.sort_unstable_by_key(|(actor, _)| *actor);
    }
    any
}

impl Keys {
    /// The fold up to which a node's slot of this counter goes; 0 if it has none.
    pub(crate) fn fold_number(&self, position: Position, node: u16) -> u16 {
        slot_number(&entries_of(self.entry(position), self.actors()), node)
    }

    /// A slot of a counter comes.
    pub(crate) fn join_slot(&mut self, position: Position, slot: ActorId, came: CounterEntry, folds: &Folds) {
        let Some(number) = slot.fold_number() else { return };
        let mut entries = entries_of(self.entry(position), self.actors());
        if fold_node(&mut entries, slot.node(), number, came, folds) {
            self.set_entries(position, entries, &|_| false);
            self.mark_again(position, None);
        }
    }

    /// Folds what is settled in a key.
    pub(crate) fn fold(&mut self, position: Position, folds: &Folds, vector: &VersionVector) {
        let Some(entry) = self.get(position) else { return };
        let is_gone = |actor: ActorId| vector.is_settled(actor);
        let actors = self.actors();
        let touched = entry.touches(actors).any(|touch| is_gone(touch.actor));
        if !matches!(entry.value, Value::Tally(_) | Value::Counter(_)) {
            if touched {
                self.entry_mut(position).forget_touches(&is_gone);
            }
            return;
        }
        let mut entries = entries_of(entry, actors);
        let is_folded = |actor: ActorId| match actor.fold_number() {
            Some(number) => number < folds.level(actor.node()),
            None => folds.get(actor).is_some_and(|folded| folded.number <= folds.level(actor.node())),
        };
        let nodes: Vec<u16> =
            entries.iter().filter(|(actor, _)| is_folded(*actor)).map(|(actor, _)| actor.node()).collect();
        if nodes.is_empty() && !touched {
            return;
        }
        for node in nodes {
            fold_node(&mut entries, node, folds.level(node), CounterEntry::default(), folds);
        }
        self.set_entries(position, entries, &is_gone);
    }

    /// Gives a counter these entries, and forgets touches of actors that are gone.
    fn set_entries(&mut self, position: Position, entries: Entries, is_gone: &dyn Fn(ActorId) -> bool) {
        let old = entries_of(self.entry(position), self.actors());
        let mut whos = Vec::with_capacity(entries.len());
        for (actor, _) in &entries {
            whos.push(self.who(*actor));
        }
        let Keys { chunks, actors, state_digest, .. } = self;
        let entry = entry_mut(chunks, position);
        let nothing = CounterEntry::default();
        for (actor, own) in old {
            *state_digest =
                state_digest.wrapping_add(digest::counter_change(entry.hash, actor, own, nothing));
        }
        for (actor, own) in &entries {
            *state_digest =
                state_digest.wrapping_add(digest::counter_change(entry.hash, *actor, nothing, *own));
        }
        entry.set_counter(actors, &whos, &entries, is_gone);
    }

    /// Forgets actors that no key refers to any more: their numbers are given again.
    pub(crate) fn release_actors(&mut self, is_gone: impl Fn(ActorId) -> bool) {
        self.actors.release(is_gone);
    }
}
