//! Empty keys, and when nobody needs them any more.

#[allow(dead_code, reason = "each test program uses its part")]
mod stage;
#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::{ActorId, Kind, SeqRange};
use lattice_engine::{EngineTimers, LocalOp};
use lattice_wire::{FrameType, Header, SyncItem, SyncRequest, VectorPart, decode_item};
use stage::{Blind, MS, OWN, SECOND, Stage, puppet};

fn apply(stage: &mut Stage, key: &[u8], op: LocalOp<'_>) {
    let now = stage.now();
    stage.engine.apply(now, Kind::Set, key, op).unwrap();
    stage.engine.commit(now, &mut Blind);
}

/// A host with two peers, and a set that it filled (operation 1) and emptied (operation 2).
fn emptied() -> Stage {
    let mut stage = Stage::new(EngineTimers::default());
    (0..2).for_each(|slot| stage.hello(slot));
    apply(&mut stage, b"set", LocalOp::SetInsert(b"e"));
    apply(&mut stage, b"set", LocalOp::SetRemove(b"e"));
    stage
}

/// The peer in `slot` says what it would still have after a restart.
fn stable(stage: &mut Stage, slot: usize, entries: &[(ActorId, u64, u64)]) {
    let entries = entries.iter().map(|&(actor, first, last)| (actor, SeqRange { first, last }));
    let header = Stage::header(FrameType::Stable, slot);
    stage.play(header, |frame| VectorPart::encode(frame, 0, 1, entries).unwrap()).unwrap();
}

/// Keys dropped after two periods in which both peers are heard.
fn dropped(stage: &mut Stage) -> u64 {
    for _ in 0..21 {
        (0..2).for_each(|slot| stage.heartbeat(slot, 1));
        stage.run(100 * MS);
    }
    stage.engine.stats().keys_dropped
}

#[test]
fn an_empty_key_goes_when_every_member_has_its_last_operation_for_good() {
    let mut stage = emptied();
    assert_eq!(dropped(&mut stage), 0, "nobody has said anything");
    stable(&mut stage, 0, &[(OWN, 1, 2)]);
    assert_eq!(dropped(&mut stage), 0, "one has not");
    stable(&mut stage, 1, &[(OWN, 1, 1)]);
    stable(&mut stage, 1, &[(OWN, 2, 2)]);
    stable(&mut stage, 1, &[(puppet(0), 1, 2)]);
    assert_eq!(dropped(&mut stage), 0, "one lacks the last operation, as far as it is contiguous");
    assert_eq!(stage.engine.stats().keys, 1);
    let held =
        |stage: &Stage| [0, 1].map(|slot| stage.engine.peer_status(slot, stage.now()).unwrap().holds_back);
    assert_eq!(held(&stage), [0, 1], "and is named");
    stable(&mut stage, 1, &[(OWN, 1, 2)]);
    assert_eq!(dropped(&mut stage), 1);
    assert_eq!((stage.engine.stats().keys, held(&stage)), (0, [0, 0]));
    assert!(stage.engine.vector().contiguous(OWN) == 2 && stage.engine.state_digest() == 0);
    // It may come back.
    apply(&mut stage, b"set", LocalOp::SetInsert(b"f"));
    assert_eq!((stage.engine.stats().keys, stage.engine.last_seq()), (1, 3));
    stable(&mut stage, 0, &[(OWN, 1, 3)]);
    stable(&mut stage, 1, &[(OWN, 1, 3)]);
    assert_eq!(dropped(&mut stage), 1, "it is not empty");
}

#[test]
fn who_is_forgotten_holds_nothing_back_and_who_comes_anew_does() {
    let mut stage = emptied();
    stable(&mut stage, 0, &[(OWN, 1, 2)]);
    assert!(!stage.engine.forget(9) && stage.engine.forget(3) && !stage.engine.forget(3));
    for _ in 0..21 {
        stage.heartbeat(0, 1);
        stage.run(100 * MS);
    }
    assert_eq!(stage.engine.stats().keys_dropped, 1);
    let mut stage = emptied();
    (0..2).for_each(|slot| stable(&mut stage, slot, &[(OWN, 1, 2)]));
    let header = Header { src_session: 900, count: 1, ..Stage::header(FrameType::Hello, 1) };
    stage.play(header, |frame| VectorPart::encode(frame, 0, 1, []).unwrap()).unwrap();
    for _ in 0..21 {
        stage.heartbeat(0, 1);
        stage.run(100 * MS);
    }
    assert_eq!(stage.engine.stats().keys_dropped, 0, "it may have come back with less");
}

#[test]
fn many_keys_go_a_few_at_a_time() {
    let mut stage = Stage::new(EngineTimers::default());
    (0..2).for_each(|slot| stage.hello(slot));
    for key in 0..600u32 {
        apply(&mut stage, &key.to_le_bytes(), LocalOp::SetInsert(b"e"));
        apply(&mut stage, &key.to_le_bytes(), LocalOp::SetRemove(b"e"));
    }
    (0..2).for_each(|slot| stable(&mut stage, slot, &[(OWN, 1, 1200)]));
    let mut seen = vec![0];
    while stage.now_ns < 3 * SECOND / 2 {
        stage.run(MS / 5);
        let dropped = stage.engine.stats().keys_dropped;
        if seen.last() != Some(&dropped) {
            seen.push(dropped);
            assert!((SECOND..SECOND + 4 * MS).contains(&stage.now_ns), "{} at {}", dropped, stage.now_ns);
        }
    }
    assert_eq!(seen, [0, 256, 512, 600]);
    assert_eq!(stage.engine.stats().keys, 0);
}

/// A walk for a peer that lacks an operation on a dropped key names every key, and says what was dropped.
#[test]
fn who_lacks_operations_on_a_dropped_key_gets_a_full_walk() {
    for (last, full) in [(1, true), (2, false)] {
        let mut stage = emptied();
        (0..2).for_each(|slot| stable(&mut stage, slot, &[(OWN, 1, 2)]));
        assert_eq!(dropped(&mut stage), 1);
        let entries = [(OWN, SeqRange { first: 1, last })];
        stage
            .play(Stage::header(FrameType::SyncRequest, 0), |frame| {
                SyncRequest::encode(frame, 9, 0, 1, entries).unwrap();
            })
            .unwrap();
        let sent = stage.run(MS);
        let payload = &sent.iter().find(|(_, h, _)| h.frame_type == FrameType::SyncData).unwrap().2;
        let (mut rest, mut items) = (&payload[4..], Vec::new());
        while !rest.is_empty() {
            let (item, len) = decode_item(rest).unwrap();
            items.push(item);
            rest = &rest[len..];
        }
        let expected = [
            SyncItem::Begin { full_walk: full, keys: 0 },
            SyncItem::VectorRange { actor: OWN, first: 1, last: 2 },
            SyncItem::Dropped { actor: OWN, seq: 2 },
            SyncItem::VectorEnd,
            SyncItem::End,
        ];
        assert_eq!(items, expected);
        assert_eq!(stage.engine.stats().full_walks, u64::from(full));
    }
}
