//! The keys of a shard: their values, who touched them last, and what of them is to be published.
//!
//! ```text
//!   hash ──> index (hashbrown) ──> position ──> chunk, KeyEntry in it (entry.rs)
//!                                   stable: a key never moves, so a walk can visit positions in
//!                                   slices while the shard goes on changing
//! ```
//!
//! Entries lie in chunks that never grow, so that a further key moves none, and no memory is held in reserve for more than one.
//!
//! A key that is dropped leaves its position vacant for the next new key. A walk may miss that one: its operations are
//! younger than the walk's C.
//!
//! Every change of a value goes through the functions here, because each of them also keeps the state digest.

use crate::actors::{Actors, Who};
use crate::aliases::Place;
use crate::digest;
use crate::entry::{Hashed, KeyEntry, Value};
use hashbrown::HashTable;
use lattice_crdt::{ActorId, CounterEntry, Dot, Hlc, Kind, NarrowEntry};
use std::collections::VecDeque;
use xxhash_rust::xxh64::xxh64;

/// Seed 0, so that a reader of the published segment finds the same cell: the hash is part of its ABI.
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    xxh64(key, 0)
}

/// All keys of a shard.
pub(crate) struct Keys {
    /// All but the last are full.
    pub(crate) chunks: Vec<Vec<KeyEntry>>,
    used: usize,
    pub(crate) actors: Actors,
    vacant: Vec<Position>,
    /// Keys that were empty, or new, when they were put here; each once.
    maybe_empty: VecDeque<Position>,
    index: HashTable<u32>,
    pub(crate) state_digest: u64,
    /// Keys to publish, each once.
    dirty: Vec<u32>,
    /// Elements of sets to publish: key, and a range of `element_bytes`.
    dirty_elements: Vec<(u32, u32, u16)>,
    element_bytes: Vec<u8>,
    /// Cells and values, of a batch that is being published.
    words: Vec<(u32, u64)>,
}

/// Entries in a chunk: 64 KiB of them.
const CHUNK: usize = 512;
/// Keys beyond which the index is made larger only when they have come.
const MOST_EXPECTED: usize = 1 << 22;

/// A position in the key table. Positions are stable for the engine's life.
pub(crate) type Position = u32;

impl Keys {
    pub(crate) fn new(expected: usize) -> Self {
        Self {
            chunks: Vec::with_capacity(expected.min(MOST_EXPECTED).div_ceil(CHUNK)),
            used: 0,
            actors: Actors::default(),
            vacant: Vec::new(),
            maybe_empty: VecDeque::new(),
            // In full from the start: growing would visit every key in the middle of one write.
            index: HashTable::with_capacity(expected.min(MOST_EXPECTED)),
            state_digest: 0,
            dirty: Vec::with_capacity(4096),
            dirty_elements: Vec::with_capacity(4096),
            element_bytes: Vec::with_capacity(64 << 10),
            words: Vec::with_capacity(crate::publish::BATCH),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.used - self.vacant.len()
    }

    /// The first position that was never used.
    pub(crate) fn end(&self) -> Position {
        self.used as Position
    }

    /// Who is who among the actors of touches and entries.
    pub(crate) fn actors(&self) -> &Actors {
        &self.actors
    }

    /// An actor with its number here.
    pub(crate) fn who(&mut self, actor: ActorId) -> Who {
        self.actors.who(actor)
    }

    pub(crate) fn state_digest(&self) -> u64 {
        self.state_digest
    }

    pub(crate) fn get(&self, position: Position) -> Option<&KeyEntry> {
        let chunk = self.chunks.get(position as usize / CHUNK)?;
        chunk.get(position as usize % CHUNK).filter(|entry| !entry.is_vacant())
    }

    /// The entry of a position that this table handed out.
    pub(crate) fn entry_mut(&mut self, position: Position) -> &mut KeyEntry {
        entry_mut(&mut self.chunks, position)
    }

    /// See [`Keys::entry_mut`].
    #[inline]
    pub(crate) fn entry(&self, position: Position) -> &KeyEntry {
        &self.chunks[position as usize / CHUNK][position as usize % CHUNK]
    }

    pub(crate) fn find(&self, hash: u64, kind: Kind, key: &[u8]) -> Option<Position> {
        let same = |&p: &u32| {
            let entry = self.entry(p);
            entry.hash == hash && entry.kind == kind && entry.key() == key
        };
        self.index.find(hash, same).copied()
    }

    /// The kind under which the key exists here, if under any.
    pub(crate) fn kind_of(&self, hash: u64, key: &[u8]) -> Option<Kind> {
        let same = |&p: &u32| self.entry(p).hash == hash && self.entry(p).key() == key;
        self.index.find(hash, same).map(|&p| self.entry(p).kind)
    }

    /// A key's position with its present generation.
    #[inline]
    pub(crate) fn place(&self, position: Position) -> Place {
        Place { position, generation: self.entry(position).generation }
    }

    /// Whether the key that was at a place is still there, and is of this kind.
    #[inline]
    pub(crate) fn is_at(&self, place: Place, kind: Kind) -> bool {
        let chunk = self.chunks.get(place.position as usize / CHUNK);
        let entry = chunk.and_then(|chunk| chunk.get(place.position as usize % CHUNK));
        entry.is_some_and(|entry| entry.is(place.generation, kind))
    }

    /// Reads a word of each line of each entry that changes by this actor need, and forgets it: loads that wait for nothing,
    /// so that the processor makes them side by side.
    #[inline]
    pub(crate) fn approach(&self, who: Who, positions: impl Iterator<Item = Position>) {
        let mut words = 0;
        for position in positions {
            if let Some(entry) =
                self.chunks.get(position as usize / CHUNK).and_then(|c| c.get(position as usize % CHUNK))
            {
                words ^= entry.lines_for(who);
            }
        }
        std::hint::black_box(words);
    }

    /// Finds the key or makes it, empty.
    pub(crate) fn find_or_insert(&mut self, hash: u64, kind: Kind, key: &[u8]) -> Position {
        if let Some(position) = self.find(hash, kind, key) {
            return position;
        }
        let position = match self.vacant.pop() {
            Some(position) => {
                let entry = self.entry_mut(position);
                *entry = KeyEntry::new(hash, kind, key, entry.generation);
                position
            }
            None => self.append(KeyEntry::new(hash, kind, key, 0)),
        };
        let chunks = &self.chunks;
        let hash_of = |&p: &u32| chunks[p as usize / CHUNK][p as usize % CHUNK].hash;
        self.index.insert_unique(hash, position, hash_of);
        self.note_if_empty(position);
        position
    }

    /// Takes the next position that was never used.
    fn append(&mut self, entry: KeyEntry) -> Position {
        if self.used == self.chunks.len() * CHUNK {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(entry);
        }
        self.used += 1;
        self.used as Position - 1
    }

    /// Puts an empty key into the list of those that may be dropped.
    fn note_if_empty(&mut self, position: Position) {
        let entry = entry_mut(&mut self.chunks, position);
        if !entry.is_maybe_empty() && entry.is_empty() {
            entry.set_maybe_empty(true);
            self.maybe_empty.push_back(position);
        }
    }

    /// The next of the keys that may be empty, taken from their list.
    pub(crate) fn next_maybe_empty(&mut self) -> Option<Position> {
        let position = self.maybe_empty.pop_front()?;
        self.entry_mut(position).set_maybe_empty(false);
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
        let entry = self.entry(position);
        entry.is_dirty() || entry.burst_record().is_some()
    }

    /// Drops a key; returns what it was touched by. The caller has made sure that nothing refers to the position.
    pub(crate) fn drop_key(&mut self, position: Position) -> Vec<Dot> {
        let entry = entry_mut(&mut self.chunks, position);
        let vacant = KeyEntry::vacant(entry.generation.wrapping_add(1));
        let entry = std::mem::replace(entry, vacant);
        debug_assert!(entry.is_empty() && !entry.is_maybe_empty() && !entry.is_dirty());
        if let Ok(found) = self.index.find_entry(entry.hash, |&p| p == position) {
            found.remove();
        }
        self.vacant.push(position);
        entry.touches(&self.actors).collect()
    }

    /// Remembers that `dot` touched a key.
    pub(crate) fn touch(&mut self, position: Position, dot: Dot) {
        let who = self.actors.who(dot.actor);
        entry_mut(&mut self.chunks, position).touch(&self.actors, who, dot.seq);
    }

    #[inline]
    fn mark(&mut self, position: Position) {
        let entry = entry_mut(&mut self.chunks, position);
        if !entry.is_dirty() {
            entry.set_dirty(true);
            self.dirty.push(position);
        }
    }

    fn mark_element(&mut self, position: Position, element: &[u8]) {
        self.mark(position);
        if self.entry(position).kind == Kind::Set {
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

    /// Adds to this actor's own entry of a counter.
    pub(crate) fn counter_add(&mut self, position: Position, who: Who, amount: i64) {
        let entry = entry_mut(&mut self.chunks, position);
        let tallied = match &mut entry.value {
            Value::Tally(tally) => tally.add(who, amount),
            _ => None,
        };
        let (old, new) = match tallied {
            Some((old, new)) => (old.into(), new.into()),
            None => {
                let Some(counter) = entry.value.unbounded(&self.actors) else { return };
                (counter.entry(who.id), counter.add(who.id, amount))
            }
        };
        self.counter_changed(position, who, old, new);
    }

    /// Joins one actor's entry of a counter, made by its operation `touch` (0: nobody knows which).
    pub(crate) fn counter_join(&mut self, position: Position, who: Who, touch: u64, theirs: CounterEntry) {
        let entry = entry_mut(&mut self.chunks, position);
        let (digest, dirty) = (&mut self.state_digest, &mut self.dirty);
        if NarrowEntry::new(theirs)
            .is_some_and(|theirs| join_tally(entry, digest, dirty, position, who, touch, theirs))
        {
            return;
        }
        let Some(counter) = entry.value.unbounded(&self.actors) else { return };
        let change = counter.merge_entry(who.id, theirs);
        if touch > 0 {
            entry.touch(&self.actors, who, touch);
        }
        if let Some((old, new)) = change {
            self.counter_changed(position, who, old, new);
        }
    }

    /// [`Keys::counter_join`] to the counter that was at a place. False: it is not there any more, and nothing was changed.
    #[inline]
    pub(crate) fn counter_join_at(
        &mut self,
        place: Place,
        who: Who,
        touch: u64,
        theirs: NarrowEntry,
    ) -> bool {
        let chunk = self.chunks.get_mut(place.position as usize / CHUNK);
        let entry = chunk.and_then(|chunk| chunk.get_mut(place.position as usize % CHUNK));
        let Some(entry) = entry.filter(|entry| entry.is(place.generation, Kind::Counter)) else {
            return false;
        };
        if !join_tally(entry, &mut self.state_digest, &mut self.dirty, place.position, who, touch, theirs) {
            self.counter_join(place.position, who, touch, theirs.into());
        }
        true
    }

    #[inline]
    fn counter_changed(&mut self, position: Position, who: Who, old: CounterEntry, new: CounterEntry) {
        let hash = self.entry(position).hash;
        self.state_digest = self.state_digest.wrapping_add(digest::counter_change(hash, who.id, old, new));
        self.mark(position);
    }

    /// Writes a register if the stamp wins.
    pub(crate) fn register_set(&mut self, position: Position, hlc: Hlc, actor: ActorId, value: &[u8]) {
        let entry = entry_mut(&mut self.chunks, position);
        let Value::Register(register) = &mut entry.value else { return };
        let Hashed { register, atom } = &mut register.value;
        if register.set(hlc, actor, value) {
            let new = digest::register_atom(entry.hash, (hlc, actor), value);
            self.state_digest = self.state_digest.wrapping_sub(*atom).wrapping_add(new);
            *atom = new;
            self.mark(position);
        }
    }

    /// Inserts a live dot of an element.
    pub(crate) fn insert_dot(&mut self, position: Position, element: &[u8], dot: Dot) {
        let entry = entry_mut(&mut self.chunks, position);
        let Some(store) = entry.value.dots_mut() else { return };
        if let Some(dots) = store.insert(element, dot) {
            let atom = digest::element_atom(entry.hash, entry.kind, element, dot);
            self.state_digest = self.state_digest.wrapping_add(atom);
            // An element that has one dot more is as much a member as before, and so it is published.
            if dots == 1 {
                self.mark_element(position, element);
            }
        }
    }

    /// Takes a dot out of an element; of a flag, out of whichever side holds it: an operation on a flag supersedes
    /// what it saw on both.
    pub(crate) fn remove_dot(&mut self, position: Position, element: &[u8], dot: Dot) {
        let entry = entry_mut(&mut self.chunks, position);
        let Some(store) = entry.value.dots_mut() else { return };
        if let Some((element, left)) = store.remove(element, dot) {
            let atom = digest::element_atom(entry.hash, entry.kind, element, dot);
            self.state_digest = self.state_digest.wrapping_sub(atom);
            if left == 0 {
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
        let entry = entry_mut(&mut self.chunks, position);
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

    /// Hands out what awaits publication; whoever takes it clears the mark of each key. The buffers come back through
    /// [`Keys::recycle`].
    pub(crate) fn take_unpublished(&mut self) -> Unpublished {
        Unpublished {
            keys: std::mem::take(&mut self.dirty),
            elements: std::mem::take(&mut self.dirty_elements),
            bytes: std::mem::take(&mut self.element_bytes),
            words: std::mem::take(&mut self.words),
        }
    }

    /// Takes the buffers back, so that the next burst needs no allocation.
    pub(crate) fn recycle(&mut self, mut used: Unpublished) {
        debug_assert!(self.dirty.is_empty() && self.dirty_elements.is_empty());
        used.keys.clear();
        used.elements.clear();
        used.bytes.clear();
        (self.dirty, self.dirty_elements, self.element_bytes) = (used.keys, used.elements, used.bytes);
        self.words = used.words;
    }
}

/// Apart from the table's other parts, which are often borrowed beside it.
#[inline]
pub(crate) fn entry_mut(chunks: &mut [Vec<KeyEntry>], position: Position) -> &mut KeyEntry {
    &mut chunks[position as usize / CHUNK][position as usize % CHUNK]
}

/// [`Keys::counter_join`] as it nearly always is. False: the counter is no tally, or has no room; nothing was changed.
#[inline]
fn join_tally(
    entry: &mut KeyEntry,
    state_digest: &mut u64,
    dirty: &mut Vec<Position>,
    position: Position,
    who: Who,
    touch: u64,
    theirs: NarrowEntry,
) -> bool {
    let Value::Tally(tally) = &mut entry.value else { return false };
    let Some((old, new)) = tally.join(who, touch, theirs) else { return false };
    if old != new {
        *state_digest = state_digest.wrapping_add(digest::narrow_change(entry.hash, who.id, old, new));
        if !entry.is_dirty() {
            entry.set_dirty(true);
            dirty.push(position);
        }
    }
    true
}

/// What awaits publication.
pub(crate) struct Unpublished {
    pub(crate) keys: Vec<Position>,
    elements: Vec<(Position, u32, u16)>,
    bytes: Vec<u8>,
    pub(crate) words: Vec<(u32, u64)>,
}

impl Unpublished {
    /// The changed elements of sets, with the key that each belongs to.
    pub(crate) fn elements(&self) -> impl Iterator<Item = (Position, &[u8])> {
        self.elements.iter().map(|&(p, at, len)| (p, &self.bytes[at as usize..at as usize + len as usize]))
    }
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
