//! One key: its value, who touched it last, and what is under way with it. Two cache lines, for a counter of three actors
//! all that there is.
//!
//! ```text
//!   0    hash, generation, cell, alias, flags
//!   24   value: a tally in place, its first actor's slot in this line; anything else in a box of its own
//!   104  key: up to 22 bytes in place
//! ```

use crate::actors::{Actors, Who};
use crate::tally::Tally;
use lattice_crdt::{
    ActorId, AwSet, Counter, CounterEntry, Dot, DotStore, Flag, Kind, NarrowEntry, Register, VersionVector,
    Wins,
};
use lattice_wire::Op;

/// Longest key that lies in its entry.
const INLINE_KEY_BYTES: usize = 22;

/// The bytes of a key.
enum Name {
    Inline { len: u8, bytes: [u8; INLINE_KEY_BYTES] },
    Boxed(Box<[u8]>),
}

impl Name {
    fn new(key: &[u8]) -> Self {
        let mut bytes = [0; INLINE_KEY_BYTES];
        match bytes.get_mut(..key.len()) {
            Some(place) => {
                place.copy_from_slice(key);
                Name::Inline { len: key.len() as u8, bytes }
            }
            None => Name::Boxed(key.into()),
        }
    }

    #[inline]
    fn len_byte(&self) -> u64 {
        match self {
            Name::Inline { len, .. } => u64::from(*len),
            Name::Boxed(_) => 0,
        }
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        match self {
            Name::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Name::Boxed(bytes) => bytes,
        }
    }
}

/// The last operation of each actor that touched a key: the filter of state syncs. Ascending by actor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touches(Vec<Dot>);

impl Touches {
    fn note(&mut self, dot: Dot) {
        let at = self.0.partition_point(|touch| touch.actor < dot.actor);
        match self.0.get_mut(at) {
            Some(touch) if touch.actor == dot.actor => touch.seq = touch.seq.max(dot.seq),
            _ => self.0.insert(at, dot),
        }
    }
}

/// A value beside the touches of its key.
#[derive(Default)]
pub(crate) struct Touched<T> {
    pub(crate) value: T,
    touches: Touches,
}

/// A register with the digest of what it holds, so that the digest need not be made again when that goes.
#[derive(Default)]
pub(crate) struct Hashed {
    pub(crate) register: Register,
    pub(crate) atom: u64,
}

/// A key's value; its kind says which. A counter begins as a tally and moves when that has no more room.
pub(crate) enum Value {
    Tally(Tally),
    Counter(Box<Touched<Counter>>),
    Flag(Box<Touched<Flag>>),
    Register(Box<Touched<Hashed>>),
    Set(Box<Touched<AwSet>>),
}

impl Value {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Value::Tally(Tally::default()),
            Kind::FlagEnableWins | Kind::FlagDisableWins => Value::Flag(Box::default()),
            Kind::Register => Value::Register(Box::default()),
            Kind::Set => Value::Set(Box::default()),
        }
    }

    /// The add-wins store in it, if it is one.
    pub(crate) fn dots_mut(&mut self) -> Option<&mut dyn DotStore> {
        match self {
            Value::Flag(flag) => Some(&mut flag.value),
            Value::Set(set) => Some(&mut set.value),
            Value::Tally(_) | Value::Counter(_) | Value::Register(_) => None,
        }
    }

    /// See [`Value::dots_mut`].
    pub(crate) fn dots(&self) -> Option<&dyn DotStore> {
        match self {
            Value::Flag(flag) => Some(&flag.value),
            Value::Set(set) => Some(&set.value),
            Value::Tally(_) | Value::Counter(_) | Value::Register(_) => None,
        }
    }

    /// The delta of a counter that carries everything the actor ever added: cumulative, so it stands for all before it.
    pub(crate) fn counter_op(&self, who: Who) -> Op<'static> {
        let CounterEntry { increments, decrements } = match self {
            Value::Tally(tally) => tally.entry(who),
            Value::Counter(counter) => counter.value.entry(who.id),
            _ => return Op::Noop,
        };
        Op::Counter { increments, decrements }
    }

    /// The entry of the first actor after `after`; counters only.
    pub(crate) fn next_entry(
        &self,
        actors: &Actors,
        after: Option<ActorId>,
    ) -> Option<(ActorId, CounterEntry)> {
        match self {
            Value::Tally(tally) => tally.next_entry(actors, after),
            Value::Counter(counter) => counter.value.next_entry(after),
            _ => None,
        }
    }

    fn touches_mut(&mut self) -> Option<&mut Touches> {
        match self {
            Value::Tally(_) => None,
            Value::Counter(value) => Some(&mut value.touches),
            Value::Flag(value) => Some(&mut value.touches),
            Value::Register(value) => Some(&mut value.touches),
            Value::Set(value) => Some(&mut value.touches),
        }
    }

    fn boxed_touches(&self) -> &[Dot] {
        match self {
            Value::Tally(_) => &[],
            Value::Counter(value) => &value.touches.0,
            Value::Flag(value) => &value.touches.0,
            Value::Register(value) => &value.touches.0,
            Value::Set(value) => &value.touches.0,
        }
    }

    /// Moves a tally to a counter without bounds, which is returned.
    pub(crate) fn unbounded(&mut self, actors: &Actors) -> Option<&mut Counter> {
        if let Value::Tally(tally) = self {
            let touches = Touches(Vec::new());
            let mut moved = Touched { value: tally.to_counter(actors), touches };
            tally.touches(actors).for_each(|dot| moved.touches.note(dot));
            *self = Value::Counter(Box::new(moved));
        }
        match self {
            Value::Counter(counter) => Some(&mut counter.value),
            _ => None,
        }
    }
}

/// One key. A vacant position has one without a name.
#[repr(C, align(128))]
pub(crate) struct KeyEntry {
    pub(crate) hash: u64,
    /// How often this position has been vacated: who remembers a position and this number, remembers a key.
    pub(crate) generation: u32,
    /// The publisher's place for it, or [`NOWHERE`].
    cell: u32,
    /// The alias that this engine's records may name it by; 0 if it has none.
    pub(crate) alias: u32,
    /// Its record in the present burst, for coalescing, or [`NO_RECORD`].
    burst_record: u16,
    pub(crate) kind: Kind,
    /// It awaits publication, [`DIRTY`]; it waits in the list of keys that may be empty, [`MAYBE_EMPTY`]; it is none,
    /// [`VACANT`].
    flags: u8,
    pub(crate) value: Value,
    name: Name,
}

const NOWHERE: u32 = u32::MAX;
const NO_RECORD: u16 = u16::MAX;
const DIRTY: u8 = 1;
const MAYBE_EMPTY: u8 = 2;
const VACANT: u8 = 4;
const _: () = assert!(size_of::<KeyEntry>() == 128);

impl KeyEntry {
    pub(crate) fn new(hash: u64, kind: Kind, key: &[u8], generation: u32) -> Self {
        KeyEntry {
            hash,
            generation,
            cell: NOWHERE,
            alias: 0,
            burst_record: NO_RECORD,
            kind,
            flags: 0,
            value: Value::new(kind),
            name: Name::new(key),
        }
    }

    /// What a vacant position holds.
    pub(crate) fn vacant(generation: u32) -> Self {
        Self { flags: VACANT, ..Self::new(0, Kind::Counter, &[], generation) }
    }

    /// Whether it is the key that was here when its generation was this one, and is of this kind.
    #[inline]
    pub(crate) fn is(&self, generation: u32, kind: Kind) -> bool {
        (self.generation == generation || zoo!(AliasOutlivesKey)) && self.kind == kind && !self.is_vacant()
    }

    /// What readers see of a counter, as the bits of an i64, or of a flag.
    #[inline]
    pub(crate) fn word(&self) -> Option<u64> {
        match &self.value {
            Value::Tally(tally) => Some(tally.value_i64() as u64),
            Value::Counter(counter) => Some(counter.value.value_i64() as u64),
            Value::Flag(flag) => {
                let wins = if self.kind == Kind::FlagDisableWins { Wins::Disable } else { Wins::Enable };
                Some(u64::from(flag.value.is_enabled(wins)))
            }
            Value::Register(_) | Value::Set(_) => None,
        }
    }

    #[inline]
    pub(crate) fn is_vacant(&self) -> bool {
        self.flags & VACANT != 0
    }

    /// Words of the cache lines that a change by this actor needs: of the first, and of the second unless the actor's is the
    /// first slot of a tally.
    #[inline]
    pub(crate) fn lines_for(&self, who: Who) -> u64 {
        match &self.value {
            Value::Tally(tally) if tally.is_first(who) => self.hash,
            _ => self.hash ^ self.name.len_byte(),
        }
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.name.as_slice()
    }

    /// The publisher's place for it, once it has one.
    #[inline]
    pub(crate) fn cell(&self) -> Option<u32> {
        (self.cell != NOWHERE).then_some(self.cell)
    }

    pub(crate) fn set_cell(&mut self, cell: Option<u32>) {
        self.cell = cell.unwrap_or(NOWHERE);
    }

    /// Its record in the present burst.
    pub(crate) fn burst_record(&self) -> Option<u32> {
        (self.burst_record != NO_RECORD).then_some(u32::from(self.burst_record))
    }

    /// A burst has fewer than 65,535 records: [`crate::EngineConfig`] says so.
    pub(crate) fn set_burst_record(&mut self, record: Option<u32>) {
        self.burst_record = record.and_then(|record| u16::try_from(record).ok()).unwrap_or(NO_RECORD);
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.flags & DIRTY != 0
    }

    pub(crate) fn set_dirty(&mut self, dirty: bool) {
        self.flags = self.flags & !DIRTY | if dirty { DIRTY } else { 0 };
    }

    pub(crate) fn is_maybe_empty(&self) -> bool {
        self.flags & MAYBE_EMPTY != 0
    }

    pub(crate) fn set_maybe_empty(&mut self, maybe: bool) {
        self.flags = self.flags & !MAYBE_EMPTY | if maybe { MAYBE_EMPTY } else { 0 };
    }

    /// Remembers that operation `seq` of an actor touched this key.
    #[inline]
    pub(crate) fn touch(&mut self, actors: &Actors, who: Who, seq: u64) {
        let fits = match &mut self.value {
            Value::Tally(tally) => tally.touch(who, seq),
            _ => false,
        };
        if !fits {
            self.value.unbounded(actors);
            if let Some(touches) = self.value.touches_mut() {
                touches.note(Dot { actor: who.id, seq });
            }
        }
    }

    /// Forgets the touches of actors that are gone; not of a tally.
    pub(crate) fn forget_touches(&mut self, is_gone: &dyn Fn(ActorId) -> bool) {
        if let Some(touches) = self.value.touches_mut() {
            touches.0.retain(|touch| !is_gone(touch.actor));
        }
    }

    /// Gives a counter these entries, whose actors are `whos`, and forgets the touches of actors that are gone. It is a tally
    /// again if that has room.
    pub(crate) fn set_counter(
        &mut self,
        actors: &Actors,
        whos: &[Who],
        entries: &[(ActorId, CounterEntry)],
        is_gone: &dyn Fn(ActorId) -> bool,
    ) {
        let touches: Vec<Dot> = self.touches(actors).filter(|touch| !is_gone(touch.actor)).collect();
        let mut tally = Tally::default();
        let joined = whos.iter().zip(entries).all(|(who, (_, entry))| {
            NarrowEntry::new(*entry).is_some_and(|narrow| tally.join(*who, 0, narrow).is_some())
        });
        let touched = touches.iter().all(|touch| tally.touch(actors.known(touch.actor), touch.seq));
        if joined && touched {
            self.value = Value::Tally(tally);
            return;
        }
        let mut counter = Touched { value: Counter::new(), touches: Touches::default() };
        entries.iter().for_each(|(actor, entry)| _ = counter.value.merge_entry(*actor, *entry));
        touches.into_iter().for_each(|touch| counter.touches.note(touch));
        self.value = Value::Counter(Box::new(counter));
    }

    /// The last operation of each actor that touched it.
    pub(crate) fn touches<'a>(&'a self, actors: &'a Actors) -> impl Iterator<Item = Dot> {
        let tally = match &self.value {
            Value::Tally(tally) => Some(tally.touches(actors)),
            _ => None,
        };
        tally.into_iter().flatten().chain(self.value.boxed_touches().iter().copied())
    }

    /// The touch of the first actor after `after`, or of the first of all: a cursor that stays good while the key changes.
    pub(crate) fn next_touch(&self, actors: &Actors, after: Option<ActorId>) -> Option<Dot> {
        let later = self.touches(actors).filter(|touch| after.is_none_or(|after| touch.actor > after));
        later.min_by_key(|touch| touch.actor)
    }

    /// Whether a peer with this *contiguous* knowledge may miss something of the key. Ranges must not count: an older
    /// operation on the same key would be missed, and then covered.
    pub(crate) fn is_news_to(&self, actors: &Actors, peer: &VersionVector) -> bool {
        self.touches(actors).any(|touch| touch.seq > peer.contiguous(touch.actor))
    }

    /// Whether it has no live dots and is of a kind that says by this that it is as if it had never been. What a
    /// disable-wins flag or a counter says lies in its entries; a register can't be unset.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.kind, Kind::Set | Kind::FlagEnableWins)
            && self.value.dots().is_some_and(DotStore::is_empty)
    }
}
