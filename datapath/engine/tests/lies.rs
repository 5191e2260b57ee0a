//! Well-formed frames of an established peer that say nonsense: the engine survives them, and its tables stay bounded.

#[allow(dead_code, reason = "each test program uses its part")]
mod stage;
#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::{ActorId, Dot, Hlc, Kind, SeqRange};
use lattice_engine::{EngineLimits, EngineTimers, LocalOp, OpError};
use lattice_wire::{
    Ack, Dots, Fold, FoldStep, Forget, FrameType, Heartbeat, Op, Record, SyncAck, SyncItem, SyncRequest,
    VectorPart,
};
use stage::*;
use world::{Draw, seeds};

/// Numbers at the edges of their types, small ones, and any.
fn edge(draw: &mut Draw) -> u64 {
    match draw.below(6) {
        0 => 0,
        1 => u64::MAX - draw.below(2),
        2 => u64::from(u32::MAX) + draw.below(2),
        3 => draw.next(),
        _ => draw.below(12),
    }
}

/// An item of a sync that means harm, or not.
fn lying_item<'a>(draw: &mut Draw, dots: &'a [Dot]) -> SyncItem<'a> {
    let actor = [OWN, puppet(0), puppet(1), ActorId::from_u64(edge(draw))][draw.below(4) as usize];
    let (first, last) = (edge(draw).max(1), edge(draw).max(1));
    let kinds = [Kind::Counter, Kind::FlagEnableWins, Kind::FlagDisableWins, Kind::Register, Kind::Set];
    let kind = kinds[draw.below(5) as usize];
    match draw.below(14) {
        0 => SyncItem::Begin { full_walk: draw.chance(10), keys: 0 },
        1 => SyncItem::VectorRange { actor, first: first.min(last), last: first.max(last) },
        2 => {
            SyncItem::PreRemoved { dot: Dot { actor, seq: first }, kind: Kind::Set, key: b"k", element: b"e" }
        }
        3 => SyncItem::VectorEnd,
        4 | 5 => SyncItem::Key { kind, key: b"k" },
        6 => SyncItem::Touch { actor, seq: first },
        7 => {
            SyncItem::CounterEntry { actor, increments: u128::MAX - u128::from(first), decrements: u128::MAX }
        }
        8 => SyncItem::RegisterValue { hlc: Hlc::from_u64(edge(draw)), actor, value: b"v" },
        9 => SyncItem::Element {
            element: &b"\x00\x01"[..draw.below(3) as usize],
            dots: dots.into(),
            more: draw.chance(30),
        },
        10 => SyncItem::KeyEnd,
        11 => SyncItem::Dropped { actor, seq: first },
        // Who is told that its own epoch was folded ends it; `folding.rs` is about that.
        12 if actor != OWN => {
            SyncItem::Folded { actor, last: first, number: last as u16 | 1, settled: draw.chance(50) }
        }
        _ => SyncItem::End,
    }
}

/// One well-formed frame that lies about everything else.
fn lie(stage: &mut Stage, draw: &mut Draw, sync: Option<(u32, u64)>) {
    let slot = draw.below(2) as usize;
    let types = FrameType::ALL;
    let frame_type =
        if draw.chance(40) { FrameType::SyncData } else { types[draw.below(types.len() as u64) as usize] };
    let mut header = Stage::header(frame_type, slot);
    (header.lo, header.count, header.log_first) = (edge(draw), edge(draw) as u32, edge(draw));
    let dots: Vec<Dot> = (0..draw.below(49))
        .map(|_| Dot { actor: ActorId::from_u64(edge(draw)), seq: edge(draw).max(1) })
        .collect();
    let items: Vec<_> = (0..1 + draw.below(8)).map(|_| lying_item(draw, &dots)).collect();
    let (a, b, c) = (edge(draw), edge(draw), edge(draw));
    let range = SeqRange { first: a.min(b).max(1), last: a.max(b).max(1) };
    let whose = [OWN, puppet(slot), ActorId::from_u64(c)][draw.below(3) as usize];
    let (id, index) = sync.unwrap_or((c as u32, a));
    if frame_type == FrameType::SyncData {
        header.lo = if draw.chance(70) { index } else { index.wrapping_add(draw.below(70)) };
    } else if frame_type == FrameType::Hello {
        // A host that is told away writes no more; `forgetting.rs` and `folding.rs` are about that.
        (header.lo, header.count) = (0, header.count % 2);
    } else if frame_type == FrameType::Data {
        header.count = draw.below(5) as u32;
        header.lo = header.lo.min(u64::MAX - 5);
    }
    let _ = stage.play(header, |frame| {
        // What the codec refuses to write leaves an empty frame.
        let _ = match frame_type {
            FrameType::Data => {
                let op = Op::Add { element: b"e", superseded: Dots::from(&dots[..]) };
                (0..header.count)
                    .try_for_each(|_| frame.push_record(&Record { kind: Kind::Set, key: b"k", op }))
            }
            FrameType::Ack => Ack::new(OWN, a, &[range]).encode(frame),
            FrameType::Hello | FrameType::Vector | FrameType::Stable => {
                VectorPart::encode(frame, (c % 3) as u8, 3, [(whose, range)])
            }
            FrameType::Heartbeat => {
                Heartbeat { state_digest: a, vector_digest: b, wall_ns: c, last_seq: a }.encode(frame)
            }
            FrameType::SyncRequest => {
                SyncRequest::encode(frame, b as u32, (c % 70) as u8, 70, [(whose, range)])
            }
            FrameType::SyncData => {
                frame.push_sync_id(id).and_then(|()| items.iter().try_for_each(|item| frame.push_item(item)))
            }
            FrameType::SyncAck => {
                SyncAck { sync_id: id, cumulative: a, bitmap: b, abort: c % 5 == 0 }.encode(frame)
            }
            FrameType::Forget => {
                // Of any node but the other peer: an honest one that is told away is told away.
                let node = [1, puppet(slot).node(), 9][draw.below(3) as usize];
                Forget::encode(frame, a % 2 == 0, b as u32, c, [(node, (c as u8).max(1))])
            }
            FrameType::Fold if a % 2 == 0 => {
                let steps = [FoldStep::Agree, FoldStep::Decide];
                Fold::encode(frame, steps[draw.below(2) as usize], b as u32)
            }
            FrameType::Fold => Fold::encode_question(frame, b as u32, c, 1, &[(whose, range.last)]),
        };
    });
}

#[test]
fn well_formed_lies_break_nothing_and_fill_nothing() {
    for seed in seeds(60) {
        let mut draw = Draw::new(seed);
        let mut stage = Stage::new(EngineTimers::default());
        (0..2).for_each(|slot| stage.hello(slot));
        let mut sync = None;
        for _ in 0..400 {
            lie(&mut stage, &mut draw, sync);
            let now = stage.now();
            let inserted = stage.engine.apply(now, Kind::Set, b"own", LocalOp::SetInsert(b"e"));
            assert!(inserted.is_ok() || inserted == Err(OpError::Backpressure), "seed {seed}: {inserted:?}");
            let sent = stage.run(draw.below(3) * 100_000);
            for (_, header, payload) in &sent {
                match header.frame_type {
                    FrameType::SyncRequest => {
                        sync = Some((SyncRequest::decode(payload).unwrap().sync_id, 0));
                    }
                    FrameType::SyncAck => {
                        let ack = SyncAck::decode(payload).unwrap();
                        sync = (!ack.abort).then_some((ack.sync_id, ack.cumulative));
                    }
                    _ => {}
                }
            }
            assert!(stage.engine.vector().len() <= EngineLimits::default().max_actors + 1);
            assert!(stage.engine.stats().pre_removed <= 4 * EngineLimits::default().max_pre_removed as u64);
            assert_eq!(stage.engine.vector().contiguous(OWN), stage.engine.last_seq(), "seed {seed}");
        }
    }
}
