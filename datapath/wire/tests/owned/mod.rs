//! Records and items that own their bytes, and strategies that make any that the format's limits allow, edges included.

use lattice_crdt::limits::{MAX_DOTS_PER_RECORD, MAX_ELEMENT_BYTES, MAX_KEY_BYTES, MAX_REGISTER_BYTES};
use lattice_crdt::{ActorId, Dot, Hlc, Kind};
use lattice_wire::{FrameType, Header, Op, Record, SyncItem};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub enum OwnedOp {
    Counter(u128, u128),
    Register(u64, Vec<u8>),
    Add(Vec<u8>, Vec<Dot>),
    Remove(Vec<u8>, Vec<Dot>),
    Noop,
}

#[derive(Clone, Debug)]
pub struct OwnedRecord {
    pub kind: Kind,
    pub key: Vec<u8>,
    pub op: OwnedOp,
}

impl OwnedRecord {
    pub fn record(&self) -> Record<'_> {
        let op = match &self.op {
            OwnedOp::Counter(increments, decrements) => {
                Op::Counter { increments: *increments, decrements: *decrements }
            }
            OwnedOp::Register(hlc, value) => Op::Register { hlc: Hlc::from_u64(*hlc), value },
            OwnedOp::Add(element, dots) => Op::Add { element, superseded: dots.as_slice().into() },
            OwnedOp::Remove(element, dots) => Op::Remove { element, removed: dots.as_slice().into() },
            OwnedOp::Noop => Op::Noop,
        };
        Record { kind: self.kind, key: &self.key, op }
    }
}

/// Few actors, so that a record's own actor is among its dots.
pub fn actor() -> impl Strategy<Value = ActorId> {
    prop_oneof![4 => (0u16..3).prop_map(|node| ActorId::new(node, 5)), 1 => any::<u64>().prop_map(ActorId::from_u64)]
}

/// All widths of varint are as likely.
pub fn wide() -> impl Strategy<Value = u128> {
    (any::<u128>(), 0u32..128).prop_map(|(bits, shift)| bits >> shift)
}

pub fn seq() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0u32..64).prop_map(|(bits, shift)| (bits >> shift).max(1))
}

pub fn dot() -> impl Strategy<Value = Dot> {
    (actor(), seq()).prop_map(|(actor, seq)| Dot::new(actor, seq))
}

pub fn dots() -> impl Strategy<Value = Vec<Dot>> {
    prop_oneof![4 => vec(dot(), 0..4), 1 => vec(dot(), 0..=MAX_DOTS_PER_RECORD)]
}

fn bytes(min: usize, max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![6 => vec(any::<u8>(), min..=min + 8), 1 => vec(any::<u8>(), min..=max), 1 => vec(any::<u8>(), max)]
}

pub fn key() -> impl Strategy<Value = Vec<u8>> {
    bytes(1, MAX_KEY_BYTES)
}

fn element_of(kind: Kind) -> BoxedStrategy<Vec<u8>> {
    if kind == Kind::Set {
        bytes(0, MAX_ELEMENT_BYTES).boxed()
    } else {
        (0u8..2).prop_map(|side| vec![side]).boxed()
    }
}

fn dotted_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Set), Just(Kind::FlagEnableWins), Just(Kind::FlagDisableWins)]
}

pub fn record() -> impl Strategy<Value = OwnedRecord> {
    let counter = (wide(), wide()).prop_map(|(i, d)| (Kind::Counter, OwnedOp::Counter(i, d)));
    let register = (any::<u64>(), bytes(0, MAX_REGISTER_BYTES))
        .prop_map(|(h, v)| (Kind::Register, OwnedOp::Register(h, v)));
    let dotted = dotted_kind().prop_flat_map(|kind| {
        (element_of(kind), dots(), any::<bool>()).prop_map(move |(element, dots, add)| {
            (kind, if add { OwnedOp::Add(element, dots) } else { OwnedOp::Remove(element, dots) })
        })
    });
    let noop = proptest::sample::select(Kind::ALL.as_slice()).prop_map(|kind| (kind, OwnedOp::Noop));
    let op = prop_oneof![2 => counter, 2 => register, 4 => dotted, 1 => noop];
    (key(), op, any::<bool>()).prop_map(|(key, (kind, op), keyless)| {
        let key = if matches!(op, OwnedOp::Noop) && keyless { Vec::new() } else { key };
        OwnedRecord { kind, key, op }
    })
}

#[derive(Clone, Debug)]
pub enum OwnedItem {
    /// Those that borrow nothing.
    Plain(SyncItem<'static>),
    PreRemoved(Dot, Kind, Vec<u8>, Vec<u8>),
    Key(Kind, Vec<u8>),
    RegisterValue(u64, ActorId, Vec<u8>),
    Element(Vec<u8>, Vec<Dot>, bool),
}

impl OwnedItem {
    pub fn item(&self) -> SyncItem<'_> {
        match self {
            OwnedItem::Plain(item) => *item,
            OwnedItem::PreRemoved(dot, kind, key, element) => {
                SyncItem::PreRemoved { dot: *dot, kind: *kind, key, element }
            }
            OwnedItem::Key(kind, key) => SyncItem::Key { kind: *kind, key },
            OwnedItem::RegisterValue(hlc, actor, value) => {
                SyncItem::RegisterValue { hlc: Hlc::from_u64(*hlc), actor: *actor, value }
            }
            OwnedItem::Element(element, dots, more) => {
                SyncItem::Element { element, dots: dots.as_slice().into(), more: *more }
            }
        }
    }
}

pub fn item() -> impl Strategy<Value = OwnedItem> {
    let plain = prop_oneof![
        any::<(bool, u64)>().prop_map(|(full_walk, keys)| SyncItem::Begin { full_walk, keys }),
        (actor(), seq(), seq()).prop_map(|(actor, a, b)| SyncItem::VectorRange {
            actor,
            first: a.min(b),
            last: a.max(b)
        }),
        Just(SyncItem::VectorEnd),
        dot().prop_map(|dot| SyncItem::Dropped { actor: dot.actor, seq: dot.seq }),
        (dot(), 1u16.., any::<bool>()).prop_map(|(dot, number, settled)| {
            // The last generation is no epoch's.
            let actor = ActorId::new(dot.actor.node(), dot.actor.epoch() & ((1 << 47) - 1));
            SyncItem::Folded { actor, last: dot.seq, number, settled }
        }),
        dot().prop_map(|dot| SyncItem::Touch { actor: dot.actor, seq: dot.seq }),
        (actor(), wide(), wide()).prop_map(|(actor, increments, decrements)| SyncItem::CounterEntry {
            actor,
            increments,
            decrements
        }),
        Just(SyncItem::KeyEnd),
        Just(SyncItem::End),
    ];
    prop_oneof![
        5 => plain.prop_map(OwnedItem::Plain),
        1 => (dot(), dotted_kind(), key()).prop_flat_map(|(dot, kind, key)| {
            element_of(kind).prop_map(move |element| OwnedItem::PreRemoved(dot, kind, key.clone(), element))
        }),
        1 => (proptest::sample::select(Kind::ALL.as_slice()), key()).prop_map(|(kind, key)| OwnedItem::Key(kind, key)),
        1 => (any::<u64>(), actor(), bytes(0, MAX_REGISTER_BYTES))
            .prop_map(|(hlc, actor, value)| OwnedItem::RegisterValue(hlc, actor, value)),
        1 => (bytes(0, MAX_ELEMENT_BYTES), dots(), any::<bool>())
            .prop_map(|(element, dots, more)| OwnedItem::Element(element, dots, more)),
    ]
}

pub fn header() -> impl Strategy<Value = Header> {
    let frame_type = proptest::sample::select(FrameType::ALL.as_slice());
    let addresses = (any::<u16>(), any::<u16>(), any::<u16>(), any::<u32>());
    let sessions = (any::<u32>(), any::<u32>(), actor());
    // lo + count must not overflow in a Data frame.
    let interval = (0u64..=u64::MAX - u64::from(u32::MAX), any::<u32>(), any::<u64>());
    (frame_type, addresses, sessions, interval).prop_map(|(frame_type, addresses, sessions, interval)| {
        let (node, dest_node, shard, cluster_tag) = addresses;
        let (src_session, dst_session, actor) = sessions;
        let (lo, count, log_first) = interval;
        Header {
            frame_type,
            cluster_tag,
            node,
            dest_node,
            shard,
            actor,
            src_session,
            dst_session,
            lo,
            count,
            log_first,
        }
    })
}

/// A range that is not empty.
pub fn seq_range() -> impl Strategy<Value = lattice_crdt::SeqRange> {
    (seq(), seq()).prop_map(|(a, b)| lattice_crdt::SeqRange { first: a.min(b), last: a.max(b) })
}
