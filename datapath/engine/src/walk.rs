//! A walk over the shard, in slices, while it goes on changing: what a state sync sends to a peer and what a snapshot
//! keeps on storage.
//!
//! ```text
//!   Begin, C, folded, dropped, pre-removed dots, VectorEnd ──> key by key: touches, value ──> End
//!     as of the start of the walk                      as they are when the walk comes to them
//! ```
//!
//! Positions and byte order of elements are stable cursors: what is live throughout the walk is visited. What changes
//! meanwhile has dots beyond C, which reach the peer as records (a snapshot: which the log or peers bring again).
//!
//! A walk leaves out keys that the peer's contiguous vector covers. A *full* walk leaves out none: for a peer that has
//! not seen operations on keys that were dropped here, a key that is not named is a key without live dots.

use crate::actors::Actors;
use crate::engine::PreRemovedAt;
use crate::entry::{KeyEntry, Value};
use crate::fold::{Folded, Folds};
use crate::keys::{Keys, Position};
use crate::stability::Dropped;
use lattice_crdt::limits::MAX_DOTS_PER_RECORD;
use lattice_crdt::{ActorId, Clock, Dot, Kind, PreRemoved, SeqRange, VersionVector};
use lattice_wire::{Dots, FrameWriter, NoRoom, SyncItem};

/// Keys looked at for one frame: as many as are passed in the time that it takes to fill one.
const MAX_KEYS_PER_FRAME: usize = 256;

/// Where in a key's value the walk is.
#[derive(Clone, Debug)]
enum Part {
    Head,
    /// Touches of actors after this one.
    Touches(Option<ActorId>),
    /// Entries after this actor.
    Counter(Option<ActorId>),
    Register,
    /// Elements after this one.
    Elements(Option<Box<[u8]>>),
    /// The rest of an element with more dots than one item holds, as they were when it was come to.
    Dots {
        element: Box<[u8]>,
        dots: Vec<Dot>,
        from: usize,
    },
    End,
}

/// Where the walk is.
#[derive(Clone, Debug)]
enum Stage {
    Begin,
    Vector(usize),
    Folded(usize),
    Dropped(usize),
    PreRemoved(usize),
    VectorEnd,
    Seek(Position),
    Key(Position, Part),
    End,
    Done,
}

struct PreRemovedItem {
    dot: Dot,
    kind: Kind,
    key: Box<[u8]>,
    element: Box<[u8]>,
}

/// A walk over a shard.
pub(crate) struct Walk {
    /// What the peer has, contiguously: the filter.
    peer: VersionVector,
    /// C, taken when the walk began.
    vector: VersionVector,
    ranges: Vec<(ActorId, SeqRange)>,
    /// Folded epochs; whether they are part of C.
    folded: Vec<(ActorId, Folded, bool)>,
    dropped: Vec<Dot>,
    pre_removed: Vec<PreRemovedItem>,
    full: bool,
    stage: Stage,
}

impl Walk {
    /// Begins a walk now: takes C, the folded epochs, the dropped operations and the pre-removed dots. `peer` is what its
    /// receiver has, beside what it has settled, which is the same.
    pub(crate) fn begin(
        mut peer: VersionVector,
        vector: &VersionVector,
        folds: &Folds,
        dropped: &Dropped,
        pre_removed: &PreRemoved<PreRemovedAt>,
        keys: &Keys,
    ) -> Self {
        let pre_removed = pre_removed.iter().filter_map(|(dot, at)| {
            let entry = keys.get(at.key)?;
            Some(PreRemovedItem {
                dot,
                kind: entry.kind,
                key: entry.key().into(),
                element: at.element.clone(),
            })
        });
        vector.settled().for_each(|(actor, last)| peer.settle(actor, last));
        let named = folds.iter().map(|(actor, folded)| (actor, folded, vector.is_settled(actor)));
        Self {
            folded: named.collect(),
            full: dropped.iter().any(|dot| dot.seq > peer.contiguous(dot.actor)) && !zoo!(NoFullWalk),
            peer,
            vector: vector.clone(),
            ranges: vector.open().flat_map(known).collect(),
            dropped: dropped.iter().filter(|_| !zoo!(DroppedNotPassedOn)).collect(),
            pre_removed: pre_removed.filter(|_| !zoo!(SyncWithoutPreRemoved)).collect(),
            stage: Stage::Begin,
        }
    }

    /// As [`Walk::begin`], but every key is named whatever `peer` has.
    pub(crate) fn begin_full(
        peer: VersionVector,
        vector: &VersionVector,
        folds: &Folds,
        dropped: &Dropped,
        pre_removed: &PreRemoved<PreRemovedAt>,
        keys: &Keys,
    ) -> Self {
        Self { full: true, ..Self::begin(peer, vector, folds, dropped, pre_removed, keys) }
    }

    /// How many folded epochs it tells.
    pub(crate) fn folded(&self) -> usize {
        self.folded.len()
    }

    pub(crate) fn into_vector(self) -> VersionVector {
        self.vector
    }

    /// C: what the receiver may cover when it has the whole walk.
    pub(crate) fn vector(&self) -> &VersionVector {
        &self.vector
    }

    /// Whether every key is named.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Positions that it has come past.
    pub(crate) fn looked_at(&self, keys: &Keys) -> u64 {
        match self.stage {
            Stage::Seek(at) | Stage::Key(at, _) => u64::from(at),
            Stage::End | Stage::Done => u64::from(keys.end()),
            _ => 0,
        }
    }

    /// Whether the walk is in the middle of this key: it must not be dropped now.
    pub(crate) fn is_inside(&self, position: Position) -> bool {
        matches!(self.stage, Stage::Key(at, _) if at == position)
    }

    /// Pushes items until the frame is full, the walk is over, or enough keys were looked at. Returns their number.
    pub(crate) fn fill(&mut self, keys: &Keys, writer: &mut FrameWriter<'_>) -> u32 {
        let (mut count, mut looked_at) = (0, 0);
        loop {
            let next = match &self.stage {
                Stage::Done => return count,
                Stage::Begin => {
                    let begin = SyncItem::Begin { full_walk: self.full, keys: keys.len() as u64 };
                    self.push(writer, &begin, Stage::Vector(0))
                }
                Stage::Vector(i) => match self.ranges.get(*i) {
                    Some(&(actor, SeqRange { first, last })) => {
                        self.push(writer, &SyncItem::VectorRange { actor, first, last }, Stage::Vector(i + 1))
                    }
                    None => Ok((Stage::Folded(0), 0)),
                },
                Stage::Folded(i) => match self.folded.get(*i) {
                    Some(&(actor, Folded { last, number }, settled)) => {
                        let item = SyncItem::Folded { actor, last, number, settled };
                        self.push(writer, &item, Stage::Folded(i + 1))
                    }
                    None => Ok((Stage::Dropped(0), 0)),
                },
                Stage::Dropped(i) => match self.dropped.get(*i) {
                    Some(&Dot { actor, seq }) => {
                        self.push(writer, &SyncItem::Dropped { actor, seq }, Stage::Dropped(i + 1))
                    }
                    None => Ok((Stage::PreRemoved(0), 0)),
                },
                Stage::PreRemoved(i) => match self.pre_removed.get(*i) {
                    Some(PreRemovedItem { dot, kind, key, element }) => {
                        let item = SyncItem::PreRemoved { dot: *dot, kind: *kind, key, element };
                        self.push(writer, &item, Stage::PreRemoved(i + 1))
                    }
                    None => Ok((Stage::VectorEnd, 0)),
                },
                Stage::VectorEnd => self.push(writer, &SyncItem::VectorEnd, Stage::Seek(0)),
                Stage::Seek(position) => {
                    looked_at += 1;
                    if looked_at > MAX_KEYS_PER_FRAME {
                        return count;
                    }
                    match keys.get(*position) {
                        Some(entry) if self.full || entry.is_news_to(keys.actors(), &self.peer) => {
                            Ok((Stage::Key(*position, Part::Head), 0))
                        }
                        None if *position >= keys.end() => Ok((Stage::End, 0)),
                        _ => Ok((Stage::Seek(position + 1), 0)),
                    }
                }
                Stage::Key(position, part) => match keys.get(*position) {
                    Some(entry) => {
                        push_part(entry, keys.actors(), part, writer).map(|(part, pushed)| match part {
                            Some(part) => (Stage::Key(*position, part), pushed),
                            None => (Stage::Seek(position + 1), pushed),
                        })
                    }
                    None => Ok((Stage::Seek(position + 1), 0)),
                },
                Stage::End => self.push(writer, &SyncItem::End, Stage::Done),
            };
            match next {
                Ok((stage, pushed)) => (self.stage, count) = (stage, count + pushed),
                Err(NoRoom) => {
                    if let Stage::Key(at, Part::Elements(_)) = self.stage
                        && zoo!(WalkCutsSets)
                    {
                        self.stage = Stage::Key(at, Part::End);
                    }
                    return count;
                }
            }
        }
    }

    fn push(
        &self,
        writer: &mut FrameWriter<'_>,
        item: &SyncItem<'_>,
        next: Stage,
    ) -> Result<(Stage, u32), NoRoom> {
        writer.push_item(item).map(|()| (next, 1))
    }
}

/// Pushes the next item of a key; returns what follows it in the key, and how many items were pushed.
fn push_part(
    entry: &KeyEntry,
    actors: &Actors,
    part: &Part,
    writer: &mut FrameWriter<'_>,
) -> Result<(Option<Part>, u32), NoRoom> {
    let next = match (part, &entry.value) {
        (Part::Head, _) => {
            writer.push_item(&SyncItem::Key { kind: entry.kind, key: entry.key() })?;
            Part::Touches(None)
        }
        (Part::Touches(after), value) => match entry.next_touch(actors, *after) {
            Some(Dot { actor, seq }) => {
                writer.push_item(&SyncItem::Touch { actor, seq })?;
                Part::Touches(Some(actor))
            }
            None => return Ok((Some(first_part(value)), 0)),
        },
        (Part::Counter(after), value) => {
            let next = value.next_entry(actors, *after);
            let Some((actor, own)) = next else { return Ok((Some(Part::End), 0)) };
            let (increments, decrements) = (own.increments, own.decrements);
            writer.push_item(&SyncItem::CounterEntry { actor, increments, decrements })?;
            Part::Counter(Some(actor))
        }
        (Part::Register, Value::Register(register)) => {
            let register = &register.value.register;
            let (Some((hlc, actor)), Some(value)) = (register.stamp(), register.get()) else {
                return Ok((Some(Part::End), 0));
            };
            writer.push_item(&SyncItem::RegisterValue { hlc, actor, value })?;
            Part::End
        }
        (Part::Elements(after), Value::Flag(_) | Value::Set(_)) => {
            let next = entry.value.dots().and_then(|store| store.next_element(after.as_deref()));
            let Some((element, dots)) = next else { return Ok((Some(Part::End), 0)) };
            if dots.len() > MAX_DOTS_PER_RECORD {
                return Ok((Some(Part::Dots { element: element.into(), dots: dots.into(), from: 0 }), 0));
            }
            writer.push_item(&SyncItem::Element { element, dots: Dots::from(dots), more: false })?;
            Part::Elements(Some(element.into()))
        }
        (Part::Dots { element, dots, from }, _) => {
            let to = dots.len().min(from + MAX_DOTS_PER_RECORD);
            let more = to < dots.len();
            writer.push_item(&SyncItem::Element { element, dots: Dots::from(&dots[*from..to]), more })?;
            if more {
                Part::Dots { element: element.clone(), dots: dots.clone(), from: to }
            } else {
                Part::Elements(Some(element.clone()))
            }
        }
        (Part::End | Part::Register | Part::Elements(_), _) => {
            writer.push_item(&SyncItem::KeyEnd)?;
            return Ok((None, 1));
        }
    };
    Ok((Some(next), 1))
}

fn first_part(value: &Value) -> Part {
    match value {
        Value::Tally(_) | Value::Counter(_) => Part::Counter(None),
        Value::Register(_) => Part::Register,
        Value::Flag(_) | Value::Set(_) => Part::Elements(None),
    }
}

/// Everything that a clock covers, as ranges.
pub(crate) fn known((actor, clock): (ActorId, &Clock)) -> impl Iterator<Item = (ActorId, SeqRange)> {
    let contiguous = (clock.contiguous() > 0).then_some(SeqRange { first: 1, last: clock.contiguous() });
    contiguous.into_iter().chain(clock.ranges().iter().copied()).map(move |range| (actor, range))
}
