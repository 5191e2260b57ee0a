//! The state of an engine as a snapshot of it shows, and what follows from it: the digest, and what readers must see.
//!
//! The digests are computed here a second time, by what `lattice-engine` says of them and not by its code: an engine
//! keeps them up to date with every change, and this is what they must have come to.

use std::collections::{BTreeMap, BTreeSet};

use lattice_crdt::{
    ActorId, Counter, CounterEntry, Dot, DotStore, Flag, Hlc, Kind, SeqRange, VectorLimits, VersionVector,
    Wins,
};
use lattice_wire::{FrameType, SyncItem, decode_frame, decode_item};
use xxhash_rust::xxh64::xxh64;

use crate::wire::CLUSTER;

/// What a key holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Value {
    touches: BTreeMap<ActorId, u64>,
    counter: BTreeMap<ActorId, (u128, u128)>,
    register: Option<(Hlc, ActorId, Vec<u8>)>,
    elements: BTreeMap<Vec<u8>, BTreeSet<Dot>>,
}

/// What readers see of the keys that say anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) words: BTreeMap<(Kind, Vec<u8>), u64>,
    pub(super) bytes: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) members: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
}

/// A whole state, out of the frames of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) vector: VersionVector,
    pub(super) dropped: BTreeMap<ActorId, u64>,
    pub(super) pre_removed: BTreeSet<Dot>,
    pub(super) keys: BTreeMap<(Kind, Vec<u8>), Value>,
}

/// Reads the frames of a snapshot, and holds them to what a walk promises: its order, nothing twice, an end.
pub(super) fn read(frames: &[Vec<u8>]) -> State {
    let mut reader = Reader::new();
    for bytes in frames {
        let frame = decode_frame(bytes, CLUSTER).expect("a frame of a snapshot");
        assert_eq!(frame.header.frame_type, FrameType::SyncData);
        let (mut rest, mut items) = (frame.payload, 0);
        while !rest.is_empty() {
            let (item, used) = decode_item(rest).expect("an item of a snapshot");
            reader.take(&item);
            (rest, items) = (&rest[used..], items + 1);
        }
        assert_eq!(items, frame.header.count, "as many items as the header says");
    }
    assert_eq!(reader.stage, Stage::End, "a snapshot is whole");
    reader.state
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Start,
    Vector,
    Keys,
    End,
}

struct Reader {
    stage: Stage,
    state: State,
    open: Option<(Kind, Vec<u8>, Value)>,
    more: Option<Vec<u8>>,
}

impl Reader {
    fn new() -> Self {
        let limits = VectorLimits { max_actors: usize::MAX, max_ranges_per_actor: usize::MAX };
        let vector = VersionVector::new(limits);
        let (dropped, pre_removed, keys) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        let state = State { vector, dropped, pre_removed, keys };
        Self { stage: Stage::Start, state, open: None, more: None }
    }

    fn take(&mut self, item: &SyncItem<'_>) {
        let state = &mut self.state;
        match (self.stage, item) {
            (Stage::Start, SyncItem::Begin { full_walk: true, .. }) => self.stage = Stage::Vector,
            (Stage::Vector, &SyncItem::VectorRange { actor, first, last }) => {
                state.vector.cover_range(actor, SeqRange { first, last });
            }
            (Stage::Vector, &SyncItem::Folded { actor, last, settled, .. }) => {
                assert!(!state.vector.is_settled(actor), "{actor} is folded once");
                if settled {
                    state.vector.settle(actor, last);
                }
            }
            (Stage::Vector, &SyncItem::Dropped { actor, seq }) => {
                assert_eq!(state.dropped.insert(actor, seq), None, "an actor's highest, once");
            }
            (Stage::Vector, SyncItem::PreRemoved { dot, .. }) => {
                assert!(state.pre_removed.insert(*dot), "{dot} is pre-removed once");
                assert!(!state.vector.contains(*dot), "what is covered is no longer pre-removed");
            }
            (Stage::Vector, SyncItem::VectorEnd) => self.stage = Stage::Keys,
            (Stage::Keys, SyncItem::Key { kind, key }) => {
                assert!(self.open.is_none());
                self.open = Some((*kind, key.to_vec(), Value::default()));
            }
            (Stage::Keys, SyncItem::KeyEnd) => {
                let (kind, key, value) = self.open.take().expect("an open key");
                assert!(self.more.is_none());
                assert_eq!(state.keys.insert((kind, key), value), None, "a key is named once");
            }
            (Stage::Keys, SyncItem::End) => {
                assert!(self.open.is_none());
                self.stage = Stage::End;
            }
            (Stage::Keys, item) => self.take_value(item),
            (stage, item) => panic!("{item:?} in {stage:?}"),
        }
    }

    fn take_value(&mut self, item: &SyncItem<'_>) {
        let (kind, _, value) = self.open.as_mut().expect("an open key");
        match (*kind, item) {
            (_, &SyncItem::Touch { actor, seq }) => {
                assert_eq!(value.touches.insert(actor, seq), None, "an actor's last touch, once");
            }
            (Kind::Counter, &SyncItem::CounterEntry { actor, increments, decrements }) => {
                assert_eq!(value.counter.insert(actor, (increments, decrements)), None);
            }
            (Kind::Register, SyncItem::RegisterValue { hlc, actor, value: bytes }) => {
                assert!(value.register.is_none());
                value.register = Some((*hlc, *actor, bytes.to_vec()));
            }
            (
                Kind::Set | Kind::FlagEnableWins | Kind::FlagDisableWins,
                SyncItem::Element { element, dots, more },
            ) => {
                let last = value.elements.last_key_value().map(|(last, _)| last.as_slice());
                match self.more.take() {
                    Some(open) => assert_eq!(open, *element, "the rest of an element follows it"),
                    None => assert!(last.is_none_or(|last| last < *element), "elements ascend"),
                }
                let live = value.elements.entry(element.to_vec()).or_default();
                for dot in dots.iter() {
                    assert!(live.insert(dot), "{dot} lives once");
                }
                assert!(!live.is_empty(), "an element has a live dot");
                self.more = more.then(|| element.to_vec());
            }
            (kind, item) => panic!("{item:?} in a {kind}"),
        }
    }
}

const K: [u64; 3] = [0x9E37_79B1_85EB_CA87, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9];

fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ K[0]) * u128::from(b ^ K[1]);
    (product as u64) ^ ((product >> 64) as u64) ^ a.rotate_left(32).wrapping_mul(K[2])
}

/// The digest of a version vector.
pub(super) fn vector_digest(vector: &VersionVector) -> u64 {
    vector.iter().fold(0u64, |sum, (actor, clock)| {
        let contiguous = match clock.contiguous() {
            0 => 0,
            last => mix(actor.as_u64(), last),
        };
        let range = |sum: u64, r: &SeqRange| sum.wrapping_add(mix(mix(actor.as_u64(), r.first), r.last));
        clock.ranges().iter().fold(sum.wrapping_add(contiguous), range)
    })
}

impl State {
    /// The digest of all values.
    pub(super) fn digest(&self) -> u64 {
        let mut sum = 0u64;
        for ((kind, key), value) in &self.keys {
            let base = mix(xxh64(key, 0), *kind as u64);
            for (actor, (up, down)) in value.counter.iter().filter(|(_, sums)| **sums != (0, 0)) {
                let place = mix(xxh64(key, 0) ^ *kind as u64, actor.as_u64()) | 1;
                let words = [
                    (*up as u64, 1),
                    (*down as u64, K[0]),
                    ((up >> 64) as u64, K[1]),
                    ((down >> 64) as u64, K[2]),
                ];
                let hash =
                    words.iter().fold(0u64, |hash, (word, by)| hash.wrapping_add(word.wrapping_mul(*by)));
                sum = sum.wrapping_add(place.wrapping_mul(hash));
            }
            if let Some((hlc, actor, bytes)) = &value.register {
                let stamp = mix(mix(base, hlc.as_u64()), actor.as_u64());
                sum = sum.wrapping_add(mix(stamp, xxh64(bytes, 0)));
            }
            for (element, dots) in &value.elements {
                let base = mix(base, xxh64(element, 0));
                let atom = |dot: &Dot| mix(mix(base, dot.actor.as_u64()), dot.seq);
                sum = dots.iter().fold(sum, |sum, dot| sum.wrapping_add(atom(dot)));
            }
        }
        sum
    }

    /// What readers must see. What says nothing (a counter at 0, a flag that is off, an empty set) is left out.
    pub(super) fn view(&self) -> View {
        let mut view = View::default();
        for ((kind, key), value) in &self.keys {
            match kind {
                Kind::Counter => {
                    let mut counter = Counter::new();
                    for (&actor, &(increments, decrements)) in &value.counter {
                        counter.merge_entry(actor, CounterEntry { increments, decrements });
                    }
                    view.words.insert((*kind, key.clone()), counter.value_i64() as u64);
                }
                Kind::FlagEnableWins | Kind::FlagDisableWins => {
                    let mut flag = Flag::new();
                    for (element, dots) in &value.elements {
                        for dot in dots {
                            flag.insert(element, *dot);
                        }
                    }
                    let wins = if *kind == Kind::FlagDisableWins { Wins::Disable } else { Wins::Enable };
                    view.words.insert((*kind, key.clone()), u64::from(flag.is_enabled(wins)));
                }
                Kind::Register => {
                    view.bytes
                        .extend(value.register.iter().map(|(_, _, bytes)| (key.clone(), bytes.clone())));
                }
                Kind::Set => {
                    view.members.insert(key.clone(), value.elements.keys().cloned().collect());
                }
            }
        }
        view.said()
    }
}

impl View {
    /// Without what says nothing.
    pub(super) fn said(mut self) -> Self {
        self.words.retain(|_, word| *word != 0);
        self.members.retain(|_, members| !members.is_empty());
        self
    }
}
