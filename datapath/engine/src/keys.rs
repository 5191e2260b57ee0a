//! The keys of a shard: their values, who touched them last, and what of them is to be published.
//!
//! ```text
//!   hash ──> index (hashbrown) ──> position ──> KeyEntry { key, kind, value, touches, cell, … }
//!                                   stable: a key never moves, so a walk can visit positions in
//!                                   slices while the shard goes on changing
//! ```
//!
//! A key that is dropped leaves its position vacant for the next new key. A walk may miss that one: its operations are
//! younger than the walk's C.
//!
//! Every change of a value goes through the functions here, because each of them also keeps the state digest.

use crate::digest;
use hashbrown::HashTable;
use lattice_crdt::{
    ActorId, AwSet, Counter, CounterEntry, Dot, DotStore, Flag, Hlc, Kind, Register, VersionVector, Wins,
};
use lattice_wire::Op;
use std::collections::VecDeque;
use xxhash_rust::xxh64::xxh64;

/// Seed 0, so that a reader of the published segment finds the same cell: the hash is part of its ABI.
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    xxh64(key, 0)
}

/// A key's value; its kind says which.
pub(crate) enum Value {
    Counter(Counter),
    Flag(Flag),
    Register(Register),
    Set(AwSet),
}

impl Value {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Value::Counter(Counter::new()),
            Kind::FlagEnableWins | Kind::FlagDisableWins => Value::Flag(Flag::new()),
            Kind::Register => Value::Register(Register::new()),
            Kind::Set => Value::Set(AwSet::new()),
        }
    }

    /// The add-wins store in it, if it is one.
    pub(crate) fn dots_mut(&mut self) -> Option<&mut dyn DotStore> {
        match self {
            Value::Flag(flag) => Some(flag),
            Value::Set(set) => Some(set),
            Value::Counter(_) | Value::Register(_) => None,
        }
    }

    /// See [`Value::dots_mut`].
    pub(crate) fn dots(&self) -> Option<&dyn DotStore> {
        match self {
            Value::Flag(flag) => Some(flag),
            Value::Set(set) => Some(set),
            Value::Counter(_) | Value::Register(_) => None,
        }
    }
}

impl Value {
    /// The delta of a counter that carries everything `actor` ever added: cumulative, so it stands for all before it.
    pub(crate) fn counter_op(&self, actor: ActorId) -> Op<'static> {
        let Value::Counter(counter) = self else { return Op::Noop };
        let CounterEntry { increments, decrements } = counter.entry(actor);
        Op::Counter { increments, decrements }
    }
}

/// One key.
pub(crate) struct KeyEntry {
    pub(crate) kind: Kind,
    pub(crate) hash: u64,
    pub(crate) key: Box<[u8]>,
    pub(crate) value: Value,
    /// The last seq of each actor that touched it: the filter of state syncs.
    touches: Vec<Dot>,
    /// The publisher's place for it, once it has one.
    pub(crate) cell: Option<u32>,
    /// It awaits publication.
    dirty: bool,
    /// Its record in the present burst, for coalescing.
    pub(crate) burst_record: Option<u32>,
    /// It waits in the list of keys that may be empty.
    maybe_empty: bool,
    /// The last full walk that named it, by the sync's id.
    pub(crate) named_by: u32,
}

/// What a vacant position holds. No key is empty, so an empty one marks it.
fn vacant() -> KeyEntry {
    new_entry(0, Kind::Counter, &[])
}

fn new_entry(hash: u64, kind: Kind, key: &[u8]) -> KeyEntry {
    KeyEntry {
        kind,
        hash,
        key: key.into(),
        value: Value::new(kind),
        touches: Vec::new(),
        cell: None,
        dirty: false,
        burst_record: None,
        maybe_empty: false,
        named_by: 0,
    }
}

impl KeyEntry {
    /// Remembers that `dot` touched this key.
    pub(crate) fn touch(&mut self, dot: Dot) {
        match self.touches.iter_mut().find(|t| t.actor == dot.actor) {
            Some(touch) => touch.seq = touch.seq.max(dot.seq),
            None => self.touches.push(dot),
        }
    }

    pub(crate) fn touches(&self) -> &[Dot] {
        &self.touches
    }

    /// Whether a peer with this *contiguous* knowledge may miss something of the key. Ranges must not count: an older
    /// operation on the same key would be missed, and then covered.
    pub(crate) fn is_news_to(&self, peer: &VersionVector) -> bool {
        self.touches.iter().any(|t| t.seq > peer.contiguous(t.actor))
    }
}

impl KeyEntry {
    /// Whether it has no live dots and is of a kind that says by this that it is as if it had never been. What a
    /// disable-wins flag or a counter says lies in its entries; a register can't be unset.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Set | Kind::FlagEnableWins)
            && self.value.dots().is_some_and(DotStore::is_empty)
    }
}

/// All keys of a shard.
pub(crate) struct Keys {
    entries: Vec<KeyEntry>,
    vacant: Vec<Position>,
    /// Keys that were empty, or new, when they were put here; each once.
    maybe_empty: VecDeque<Position>,
    index: HashTable<u32>,
    state_digest: u64,
    /// Keys to publish, each once.
    dirty: Vec<u32>,
    /// Elements of sets to publish: key, and a range of `element_bytes`.
    dirty_elements: Vec<(u32, u32, u16)>,
    element_bytes: Vec<u8>,
}

/// A position in the key table. Positions are stable for the engine's life.
pub(crate) type Position = u32;

impl Keys {
    pub(crate) fn new(expected: usize) -> Self {
        Self {
            entries: Vec::with_capacity(expected.min(1 << 16)),
            vacant: Vec::new(),
            maybe_empty: VecDeque::new(),
            index: HashTable::with_capacity(expected.min(1 << 16)),
            state_digest: 0,
            dirty: Vec::with_capacity(4096),
            dirty_elements: Vec::with_capacity(4096),
            element_bytes: Vec::with_capacity(64 << 10),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }

    /// The first position that was never used.
    pub(crate) fn end(&self) -> Position {
        self.entries.len() as Position
    }

    pub(crate) fn state_digest(&self) -> u64 {
        self.state_digest
    }

    pub(crate) fn get(&self, position: Position) -> Option<&KeyEntry> {
        self.entries.get(position as usize).filter(|entry| !entry.key.is_empty())
    }

    /// The entry of a position that this table handed out.
    pub(crate) fn entry_mut(&mut self, position: Position) -> &mut KeyEntry {
        &mut self.entries[position as usize]
    }

    pub(crate) fn find(&self, hash: u64, kind: Kind, key: &[u8]) -> Option<Position> {
        let same = |&p: &u32| {
            let entry = &self.entries[p as usize];
            entry.hash == hash && entry.kind == kind && *entry.key == *key
        };
        self.index.find(hash, same).copied()
    }

    /// The kind under which the key exists here, if under any.
    pub(crate) fn kind_of(&self, hash: u64, key: &[u8]) -> Option<Kind> {
        let same = |&p: &u32| self.entries[p as usize].hash == hash && *self.entries[p as usize].key == *key;
        self.index.find(hash, same).map(|&p| self.entries[p as usize].kind)
    }

    /// Finds the key or makes it, empty.
    pub(crate) fn find_or_insert(&mut self, hash: u64, kind: Kind, key: &[u8]) -> Position {
        if let Some(position) = self.find(hash, kind, key) {
            return position;
        }
        let entry = new_entry(hash, kind, key);
        let position = match self.vacant.pop() {
            Some(position) => {
                self.entries[position as usize] = entry;
                position
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as Position - 1
            }
        };
        let entries = &self.entries;
        self.index.insert_unique(hash, position, |&p| entries[p as usize].hash);
        self.note_if_empty(position);
        position
    }

    /// Puts an empty key into the list of those that may be dropped.
    fn note_if_empty(&mut self, position: Position) {
        let entry = &mut self.entries[position as usize];
        if !entry.maybe_empty && entry.is_empty() {
            entry.maybe_empty = true;
            self.maybe_empty.push_back(position);
        }
    }

    /// The next of the keys that may be empty, taken from their list.
    pub(crate) fn next_maybe_empty(&mut self) -> Option<Position> {
        let position = self.maybe_empty.pop_front()?;
        self.entries[position as usize].maybe_empty = false;
        Some(position)
    }

    /// How many keys may be empty.
    pub(crate) fn maybe_empty_len(&self) -> usize {
        self.maybe_empty.len()
    }

    /// Puts a key that is empty, but can't be dropped yet, back into the list.
    pub(crate) fn keep_for_now(&mut self, position: Position) {
        self.note_if_empty(position);
    }

    /// Whether the key awaits publication or the end of the burst.
    pub(crate) fn is_in_use(&self, position: Position) -> bool {
        let entry = &self.entries[position as usize];
        entry.dirty || entry.burst_record.is_some()
    }

    /// Drops a key; returns what it was touched by. The caller has made sure that nothing refers to the position.
    pub(crate) fn drop_key(&mut self, position: Position) -> Vec<Dot> {
        let entry = std::mem::replace(&mut self.entries[position as usize], vacant());
        debug_assert!(entry.is_empty() && !entry.maybe_empty && !entry.dirty);
        if let Ok(found) = self.index.find_entry(entry.hash, |&p| p == position) {
            found.remove();
        }
        self.vacant.push(position);
        entry.touches
    }

    fn mark(&mut self, position: Position) {
        let entry = &mut self.entries[position as usize];
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(position);
        }
    }

    fn mark_element(&mut self, position: Position, element: &[u8]) {
        self.mark(position);
        let entry = &self.entries[position as usize];
        if entry.kind == Kind::Set {
            self.dirty_elements.push((position, self.element_bytes.len() as u32, element.len() as u16));
            self.element_bytes.extend_from_slice(element);
        }
    }

    /// Marks a key, or one element of a set, whose publication found no room, to be tried again.
    pub(crate) fn mark_again(&mut self, position: Position, element: Option<&[u8]>) {
        match element {
            Some(element) => self.mark_element(position, element),
            None => self.mark(position),
        }
    }

    /// Adds to this actor's own entry of a counter; returns the new cumulative entry.
    pub(crate) fn counter_add(&mut self, position: Position, actor: ActorId, amount: i64) -> CounterEntry {
        let entry = &mut self.entries[position as usize];
        let Value::Counter(counter) = &mut entry.value else { return CounterEntry::default() };
        let old = counter.entry(actor);
        let new = counter.add(actor, amount);
        self.replace_counter_atom(position, actor, old, new);
        new
    }

    /// Joins one actor's entry of a counter.
    pub(crate) fn counter_join(&mut self, position: Position, actor: ActorId, theirs: CounterEntry) {
        let entry = &mut self.entries[position as usize];
        let Value::Counter(counter) = &mut entry.value else { return };
        if let Some((old, new)) = counter.merge_entry(actor, theirs) {
            self.replace_counter_atom(position, actor, old, new);
        }
    }

    fn replace_counter_atom(
        &mut self,
        position: Position,
        actor: ActorId,
        old: CounterEntry,
        new: CounterEntry,
    ) {
        let hash = self.entries[position as usize].hash;
        self.state_digest = self.state_digest.wrapping_add(digest::counter_change(hash, actor, old, new));
        self.mark(position);
    }

    /// Writes a register if the stamp wins.
    pub(crate) fn register_set(&mut self, position: Position, hlc: Hlc, actor: ActorId, value: &[u8]) {
        let entry = &mut self.entries[position as usize];
        let Value::Register(register) = &mut entry.value else { return };
        let atom = |r: &Register| match (r.stamp(), r.get()) {
            (Some(stamp), Some(bytes)) => digest::register_atom(entry.hash, stamp, bytes),
            _ => 0,
        };
        let old = atom(register);
        if register.set(hlc, actor, value) {
            self.state_digest = self.state_digest.wrapping_sub(old).wrapping_add(atom(register));
            self.mark(position);
        }
    }

    /// Inserts a live dot of an element.
    pub(crate) fn insert_dot(&mut self, position: Position, element: &[u8], dot: Dot) {
        let entry = &mut self.entries[position as usize];
        let Some(store) = entry.value.dots_mut() else { return };
        if store.insert(element, dot) {
            let atom = digest::element_atom(entry.hash, entry.kind, element, dot);
            // An element that has one dot more is as much a member as before, and so it is published.
            let is_new = store.dots(element).len() == 1;
            self.state_digest = self.state_digest.wrapping_add(atom);
            if is_new {
                self.mark_element(position, element);
            }
        }
    }

    /// Takes a dot out of an element; of a flag, out of whichever side holds it: an operation on a flag supersedes
    /// what it saw on both.
    pub(crate) fn remove_dot(&mut self, position: Position, element: &[u8], dot: Dot) {
        let entry = &mut self.entries[position as usize];
        let Some(store) = entry.value.dots_mut() else { return };
        let Some(element) = store.holder(element, dot) else { return };
        if store.remove(element, dot) {
            let atom = digest::element_atom(entry.hash, entry.kind, element, dot);
            let is_gone = store.dots(element).is_empty();
            self.state_digest = self.state_digest.wrapping_sub(atom);
            if is_gone {
                if !zoo!(RemovalNotPublished) {
                    self.mark_element(position, element);
                }
                self.note_if_empty(position);
            }
        }
    }

    /// Rule 5 for one element: drops local dots that the sender covers and does not hold, inserts those of `live`
    /// that are admitted.
    pub(crate) fn join_element(
        &mut self,
        position: Position,
        element: &[u8],
        live: &[Dot],
        covered_by_sender: &mut dyn FnMut(Dot) -> bool,
        admit: &mut dyn FnMut(Dot) -> bool,
    ) {
        let entry = &mut self.entries[position as usize];
        let (hash, kind) = (entry.hash, entry.kind);
        let Some(store) = entry.value.dots_mut() else { return };
        let (mut delta, mut any) = (0u64, false);
        store.join_element(element, live, covered_by_sender, admit, &mut |dot, inserted| {
            let atom = digest::element_atom(hash, kind, element, dot);
            delta = if inserted { delta.wrapping_add(atom) } else { delta.wrapping_sub(atom) };
            any = true;
        });
        if any {
            self.state_digest = self.state_digest.wrapping_add(delta);
            if !zoo!(SyncNotPublished) {
                self.mark_element(position, element);
            }
            self.note_if_empty(position);
        }
    }

    pub(crate) fn has_unpublished(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Hands out what awaits publication and forgets it. The buffers come back through [`Keys::recycle`].
    pub(crate) fn take_unpublished(&mut self) -> Unpublished {
        for &position in &self.dirty {
            self.entries[position as usize].dirty = false;
        }
        Unpublished {
            keys: std::mem::take(&mut self.dirty),
            elements: std::mem::take(&mut self.dirty_elements),
            bytes: std::mem::take(&mut self.element_bytes),
        }
    }

    /// Takes the buffers back, so that the next burst needs no allocation.
    pub(crate) fn recycle(&mut self, mut used: Unpublished) {
        debug_assert!(self.dirty.is_empty() && self.dirty_elements.is_empty());
        used.keys.clear();
        used.elements.clear();
        used.bytes.clear();
        (self.dirty, self.dirty_elements, self.element_bytes) = (used.keys, used.elements, used.bytes);
    }
}

/// What awaits publication.
pub(crate) struct Unpublished {
    pub(crate) keys: Vec<Position>,
    elements: Vec<(Position, u32, u16)>,
    bytes: Vec<u8>,
}

impl Unpublished {
    /// The changed elements of sets, with the key that each belongs to.
    pub(crate) fn elements(&self) -> impl Iterator<Item = (Position, &[u8])> {
        self.elements.iter().map(|&(p, at, len)| (p, &self.bytes[at as usize..at as usize + len as usize]))
    }
}

/// How a flag's kind resolves concurrent operations.
pub(crate) fn wins(kind: Kind) -> Wins {
    if kind == Kind::FlagDisableWins { Wins::Disable } else { Wins::Enable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_keys_leave_the_index_and_their_places_are_taken_again() {
        let mut keys = Keys::new(8);
        let name = |at: u8| [b'k', at];
        let position =
            |keys: &mut Keys, at: u8| keys.find_or_insert(key_hash(&name(at)), Kind::Set, &name(at));
        let made: Vec<Position> = (0..8).map(|at| position(&mut keys, at)).collect();
        assert_eq!((keys.len(), keys.maybe_empty_len()), (8, 8));
        for _ in 0..4 {
            let next = keys.next_maybe_empty().unwrap();
            keys.drop_key(next);
        }
        assert_eq!((keys.len(), keys.index.len(), keys.end()), (4, 4, 8));
        for at in 0..8 {
            let found = keys.find(key_hash(&name(at)), Kind::Set, &name(at));
            assert_eq!(found, (at >= 4).then(|| made[usize::from(at)]), "{at}");
            assert_eq!(keys.get(made[usize::from(at)]).is_some(), at >= 4);
        }
        let again: Vec<Position> = (20..24).map(|at| position(&mut keys, at)).collect();
        assert!(again.iter().all(|position| made[..4].contains(position)), "{again:?}");
        assert_eq!((keys.len(), keys.index.len(), keys.end()), (8, 8, 8));
    }
}
