//! One engine among peers that send frames of the past, fall silent, claim what is not so, or disagree about the time.

#[allow(dead_code, reason = "each test program uses its part")]
mod stage;
#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::{Dot, Kind, SeqRange};
use lattice_engine::{DropReason, EngineTimers, LocalOp, OpError};
use lattice_wire::{
    Dots, FrameType, Header, Heartbeat, MAX_FRAME_BYTES, Op, Record, SyncItem, VectorPart, decode_frame,
    decode_item,
};
use stage::*;

#[test]
fn removing_what_is_not_there_needs_no_commit_to_go_on() {
    let mut stage = Stage::new(EngineTimers::default());
    let now = stage.now();
    stage.engine.apply(now, Kind::Set, b"set", LocalOp::SetInsert(b"here")).unwrap();
    stage.engine.commit(now, &mut Blind);
    for _ in 0..10_000 {
        let applied = stage.engine.apply(now, Kind::Set, b"set", LocalOp::SetRemove(&[9; 256]));
        assert_eq!(applied.map(|a| a.dot), Ok(None));
        assert!(!stage.engine.has_uncommitted());
    }
}

#[test]
fn a_long_period_of_anti_entropy_is_drawn_as_any_other() {
    let timers = EngineTimers { anti_entropy_ns: 3_600 * SECOND, ..EngineTimers::default() };
    let mut stage = Stage::new(timers);
    stage.hello(0);
    let vectors = |sent: Sent| sent.iter().filter(|(_, h, _)| h.frame_type == FrameType::Vector).count();
    assert_eq!(vectors(stage.run(20 * SECOND)), 0);
}

#[test]
fn no_sync_makes_an_own_dot_used_twice() {
    let mut stage = Stage::new(EngineTimers::default());
    let id = stage.provoke_sync();
    let items = [
        SyncItem::Begin { full_walk: false, keys: 0 },
        SyncItem::VectorRange { actor: OWN, first: 1, last: 1000 },
        SyncItem::VectorEnd,
        SyncItem::End,
    ];
    assert!(stage.sync_data(id, 0, &items).is_err());
    assert_eq!(stage.engine.vector().contiguous(OWN), 0);
    assert_eq!(stage.engine.stats().syncs_completed, 0);
}

#[test]
fn a_peer_that_claims_every_seq_is_survived() {
    let mut stage = Stage::new(EngineTimers::default());
    let id = stage.provoke_sync();
    let items = [
        SyncItem::Begin { full_walk: false, keys: 0 },
        SyncItem::VectorRange { actor: puppet(0), first: 1, last: u64::MAX },
        SyncItem::VectorRange { actor: puppet(1), first: u64::MAX, last: u64::MAX },
        SyncItem::VectorEnd,
        SyncItem::End,
    ];
    let _ = stage.sync_data(id, 0, &items);
    let requested = stage.engine.stats().syncs_requested;
    stage.heartbeat(0, 10);
    stage.run(SECOND);
    assert_eq!(stage.engine.stats().syncs_requested, requested, "nothing is missing any more");
}

#[test]
fn a_request_of_the_past_neither_ends_a_walk_nor_begins_one() {
    let mut stage = Stage::new(EngineTimers::default());
    stage.hello(0);
    stage.fill(20);
    stage.sync_request(5).unwrap();
    assert_eq!(served(&stage.run(5 * MS)), [5]);
    let _ = stage.sync_request(4);
    stage.hello(0);
    assert_eq!(served(&stage.run(50 * MS)), [5], "the walk that is under way goes on");
    // A walk is over once all of its frames are acknowledged.
    for cumulative in 1..20 {
        let _ = stage.sync_ack(5, cumulative);
    }
    assert_eq!(stage.engine.stats().syncs_served, 1);
    assert_eq!(served(&stage.run(100 * MS)), [0; 0]);
    let _ = stage.sync_request(5);
    assert_eq!(served(&stage.run(100 * MS)), [0; 0], "a copy of a request that was served");
    stage.sync_request(6).unwrap();
    assert_eq!(served(&stage.run(5 * MS)), [6]);
}

#[test]
fn acknowledgements_that_say_nothing_new_keep_no_walk_alive() {
    let mut stage = Stage::new(EngineTimers::default());
    stage.hello(0);
    stage.fill(200);
    stage.sync_request(5).unwrap();
    stage.run(MS);
    for _ in 0..60 {
        stage.heartbeat(0, 1);
        stage.sync_ack(5, 3).unwrap();
        stage.run(100 * MS);
    }
    stage.heartbeat(0, 1);
    assert_eq!(served(&stage.run(100 * MS)), [0; 0], "no progress for longer than the timeout");
}

/// A worker that sleeps until the deadline must not be called again and again for what can't be done.
fn turns_while_silent(stage: &mut Stage, for_ns: u64) -> u32 {
    let (end_ns, mut turns) = (stage.now_ns + for_ns, 0);
    let mut buffer = [0; MAX_FRAME_BYTES];
    while stage.now_ns < end_ns {
        let now = stage.now();
        stage.engine.tick(now);
        while stage.engine.transmit(now, &mut buffer).is_some() {}
        turns += 1;
        // At least a microsecond passes in a turn.
        stage.now_ns = stage.engine.deadline_ns().max(stage.now_ns + 1_000);
    }
    turns
}

#[test]
fn a_peer_that_falls_silent_in_a_sync_keeps_no_worker_busy() {
    for requested in [false, true] {
        let mut stage = Stage::new(EngineTimers::default());
        stage.hello(0);
        stage.fill(200);
        if requested {
            stage.heartbeat(0, 10);
        } else {
            stage.sync_request(5).unwrap();
        }
        let turns = turns_while_silent(&mut stage, 4 * SECOND);
        // Heartbeats, hellos to the other, retransmissions of data and of 32 sync frames each 10 ms.
        assert!(turns < 20_000, "requested {requested}: {turns} turns in 4 s");
    }
}

#[test]
fn the_clock_is_compared_with_peers_that_are_heard() {
    let mut stage = Stage::new(EngineTimers::default());
    for _ in 0..10 {
        (0..2).for_each(|slot| {
            stage.hello(slot);
            stage.heartbeat(slot, 1);
        });
        stage.run(100 * MS);
    }
    assert_eq!(stage.engine.clock_ahead_ns(), 0);
    // One peer dies, then this node's clock steps ahead.
    stage.wall_ahead_ns = 10 * SECOND;
    for _ in 0..30 {
        stage.heartbeat(0, 1);
        stage.run(100 * MS);
    }
    let now = stage.now();
    let refused = stage.engine.apply(now, Kind::Register, b"r", LocalOp::RegisterSet(b"v"));
    assert!(matches!(refused, Err(OpError::ClockSkew { .. })), "{refused:?}");
    // The other one dies as well: there is nobody left to compare with.
    stage.run(3 * SECOND);
    let now = stage.now();
    stage.engine.apply(now, Kind::Register, b"r", LocalOp::RegisterSet(b"v")).unwrap();
}

#[test]
fn hosts_that_differ_with_equal_vectors_ask_for_everything() {
    let mut stage = Stage::new(EngineTimers::default());
    stage.fill(3);
    for (equal_vectors, equal_states, asks) in
        [(true, true, false), (false, false, false), (false, true, false), (true, false, true)]
    {
        let mut sent = Sent::new();
        for _ in 0..15 {
            stage.hello(1);
            let (state, vector) = (stage.engine.state_digest(), stage.engine.vector_digest());
            let beat = Heartbeat {
                state_digest: state ^ u64::from(!equal_states),
                vector_digest: vector ^ u64::from(!equal_vectors),
                wall_ns: 0,
                last_seq: 0,
            };
            stage.play(Stage::header(FrameType::Heartbeat, 1), |frame| beat.encode(frame).unwrap()).unwrap();
            sent.extend(stage.run(100 * MS));
        }
        let requests = requests(&sent, 1);
        assert_eq!(requests.first().copied(), asks.then_some(0), "{equal_vectors} {equal_states}");
    }
}

/// After a state sync has covered operations that the log holds no more, one acknowledgement says so. If it is lost,
/// nothing is in flight that would make the peer send another.
#[test]
fn a_vector_acknowledges_what_no_frame_in_flight_asks_for() {
    let mut stage = Stage::new(EngineTimers::default());
    stage.hello(0);
    stage.fill(1);
    stage.run(MS);
    let unacknowledged =
        |stage: &Stage| stage.engine.peer_status(0, stage.now()).unwrap().unacknowledged_seqs;
    assert_eq!(unacknowledged(&stage), 1);
    let own = |last| (OWN, SeqRange { first: 1, last });
    let vector = Stage::header(FrameType::Vector, 0);
    let too_much = stage.play(vector, |frame| VectorPart::encode(frame, 0, 1, [own(2)]).unwrap());
    assert_eq!((too_much, unacknowledged(&stage)), (Err(DropReason::Unexpected), 1));
    stage.play(vector, |frame| VectorPart::encode(frame, 0, 1, [own(1)]).unwrap()).unwrap();
    assert_eq!(unacknowledged(&stage), 0);
}

/// What a sync said that its sender had dropped must not outlive the sync without its C: every later walk of this host
/// would contradict itself, and be refused by peers and by its own recovery (found by fuzzing).
#[test]
fn an_abandoned_sync_leaves_nothing_dropped() {
    let mut stage = Stage::new(EngineTimers::default());
    let id = stage.provoke_sync();
    let begin = [
        SyncItem::Begin { full_walk: true, keys: 0 },
        SyncItem::VectorRange { actor: puppet(0), first: 1, last: 12 },
        SyncItem::Dropped { actor: puppet(0), seq: 12 },
        SyncItem::VectorEnd,
    ];
    stage.sync_data(id, 0, &begin).unwrap();
    stage.run(5 * SECOND);
    assert_eq!(stage.engine.stats().syncs_abandoned, 1);
    let (mut buffer, mut items) = ([0; MAX_FRAME_BYTES], Vec::new());
    stage.engine.begin_snapshot();
    while let Some(len) = stage.engine.write_snapshot(&mut buffer) {
        items.extend_from_slice(decode_frame(&buffer[..len], world::CLUSTER).unwrap().payload);
    }
    assert_eq!(decode_item(&items).unwrap().0, SyncItem::Begin { full_walk: true, keys: 0 });
    let (second, _) = decode_item(&items[3..]).unwrap();
    assert_eq!(second, SyncItem::VectorEnd, "neither ranges nor dropped operations");
}

/// What a sender had pre-removed counts with its C: if the sync breaks off, nobody here has seen what removed it, and if the
/// sender then loses everything, nobody ever will (found by the model checker).
#[test]
fn pre_removed_dots_count_when_the_sync_is_whole() {
    for whole in [false, true] {
        let mut stage = Stage::new(EngineTimers::default());
        let id = stage.provoke_sync();
        let dot = Dot { actor: puppet(1), seq: 9 };
        let items = [
            SyncItem::Begin { full_walk: false, keys: 0 },
            SyncItem::VectorRange { actor: puppet(0), first: 1, last: 12 },
            SyncItem::PreRemoved { dot, kind: Kind::Set, key: b"set", element: b"e" },
            SyncItem::VectorEnd,
        ];
        stage.sync_data(id, 0, &items).unwrap();
        assert_eq!(stage.engine.stats().pre_removed, 0);
        if whole {
            stage.sync_data(id, 1, &[SyncItem::End]).unwrap();
        }
        stage.run(5 * SECOND);
        let stats = stage.engine.stats();
        assert_eq!((stats.syncs_completed, stats.pre_removed), (u64::from(whole), u64::from(whole)));
    }
}

/// A peer that claims to have removed an operation that this host has yet to make (found by fuzzing).
#[test]
fn an_own_dot_is_not_removed_before_it_is_given_out() {
    let mut stage = Stage::new(EngineTimers::default());
    stage.hello(0);
    let own = [Dot { actor: OWN, seq: 1 }];
    let op = Op::Remove { element: b"e", removed: Dots::from(&own[..]) };
    let header = Header { count: 1, ..Stage::header(FrameType::Data, 0) };
    let record = Record { kind: Kind::Set, key: b"set", op };
    let played = stage.play(header, |frame| frame.push_record(&record).unwrap());
    assert_eq!((played, stage.engine.stats().pre_removed), (Err(DropReason::Unexpected), 0));
    assert!(!stage.engine.epoch_is_over(), "an epoch that came from no storage can't have been used before");
    let now = stage.now();
    stage.engine.apply(now, Kind::Set, b"set", LocalOp::SetInsert(b"e")).unwrap();
}
