//! Frames at their edges: for whom they are, in which session they count, when they are due, and what is counted.

#[allow(dead_code, reason = "each test program uses its part")]
mod stage;
#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::{ActorId, Kind, SeqRange};
use lattice_engine::{DropReason, EngineTimers, LocalOp};
use lattice_wire::{
    ANY_NODE, Ack, FrameType, FrameWriter, Header, Heartbeat, MAX_FRAME_BYTES, Op, Record, VectorPart,
    WireError,
};
use stage::{Blind, MS, OWN, SECOND, SESSION, Sent, Stage, puppet};

fn stage() -> Stage {
    let mut stage = Stage::new(EngineTimers::default());
    stage.hello(0);
    stage
}

fn of_type(sent: &Sent, frame_type: FrameType, slot: usize) -> Vec<(Header, Vec<u8>)> {
    let wanted = sent.iter().filter(|(to, header, _)| (*to, header.frame_type) == (slot, frame_type));
    wanted.map(|(_, header, payload)| (*header, payload.clone())).collect()
}

fn beat(stage: &mut Stage, header: Header) -> Result<(), DropReason> {
    let beat = Heartbeat { state_digest: 1, vector_digest: 1, wall_ns: 0, last_seq: 0 };
    stage.play(header, |frame| beat.encode(frame).unwrap())
}

/// A data frame of counter records with the peer's seqs after `lo`.
fn data(stage: &mut Stage, lo: u64, count: u32) -> Result<(), DropReason> {
    let header = Header { lo, count, ..Stage::header(FrameType::Data, 0) };
    stage.play(header, |frame| records(frame, lo, count))
}

fn records(frame: &mut FrameWriter<'_>, lo: u64, count: u32) {
    for seq in lo + 1..=lo + u64::from(count) {
        let op = Op::Counter { increments: u128::from(seq), decrements: 0 };
        frame.push_record(&Record { kind: Kind::Counter, key: b"k", op }).unwrap();
    }
}

fn ack(stage: &mut Stage, actor: ActorId, contiguous: u64, ranges: &[SeqRange]) -> Result<(), DropReason> {
    stage.play(Stage::header(FrameType::Ack, 0), |frame| {
        Ack::new(actor, contiguous, ranges).encode(frame).unwrap()
    })
}

#[test]
fn frames_for_others_and_from_strangers_are_dropped_and_counted() {
    let mut stage = stage();
    let good = Stage::header(FrameType::Heartbeat, 0);
    let cases = [
        (Header { dest_node: 9, ..good }, DropReason::OtherNode),
        (Header { dest_node: ANY_NODE, ..good }, DropReason::OtherNode),
        (Header { shard: 1, ..good }, DropReason::OtherShard),
        (Header { node: 1, actor: OWN, ..good }, DropReason::OwnNode),
        (Header { node: 9, actor: ActorId::new(9, 1), ..good }, DropReason::UnknownPeer),
        (Header { actor: ActorId::new(3, 9), ..good }, DropReason::UnknownPeer),
    ];
    for (at, (header, reason)) in cases.into_iter().enumerate() {
        assert_eq!(beat(&mut stage, header), Err(reason));
        assert_eq!(stage.engine.stats().dropped_address, at as u64 + 1);
    }
    let received = stage.engine.stats().frames_received;
    for header in [
        Header { src_session: 1, ..good },
        Header { dst_session: SESSION + 1, ..good },
        Header { actor: ActorId::new(2, 10), ..good },
        Stage::header(FrameType::Heartbeat, 1),
    ] {
        assert_eq!(beat(&mut stage, header), Err(DropReason::StaleSession));
    }
    assert_eq!(
        beat(&mut stage, Header { cluster_tag: 7, ..good }),
        Err(DropReason::Wire(WireError::WrongCluster))
    );
    assert_eq!(
        ack(&mut stage, puppet(0), 0, &[]),
        Err(DropReason::Unexpected),
        "of somebody else's operations"
    );
    let garbage = Header { count: 1, ..Stage::header(FrameType::Data, 0) };
    assert!(matches!(stage.play(garbage, |_| {}), Err(DropReason::Record(_))));
    let stats = stage.engine.stats();
    assert_eq!(stats.dropped_wire.wrong_cluster, 1);
    assert_eq!((stats.dropped_stale_session, stats.dropped_record, stats.dropped_unexpected), (4, 1, 1));
    assert_eq!((stats.dropped_address, stats.frames_received - received), (6, 6));
    assert_eq!(beat(&mut stage, good), Ok(()));
}

#[test]
fn every_frame_says_from_whom_and_to_whom_it_is() {
    let mut stage = stage();
    stage.fill(2);
    let sent = stage.run(3 * SECOND / 2);
    for (slot, header, _) in &sent {
        assert_eq!((header.node, header.dest_node), (1, *slot as u16 + 2));
        assert_eq!((header.actor, header.shard, header.src_session), (OWN, 0, SESSION));
        assert_eq!(header.log_first, 1);
        assert_eq!(header.dst_session, if *slot == 0 { 500 } else { 0 });
    }
    assert!(!of_type(&sent, FrameType::Data, 0).is_empty());
    assert!(
        sent.iter()
            .filter(|(slot, ..)| *slot == 1)
            .all(|(_, header, _)| header.frame_type == FrameType::Hello)
    );
    assert_eq!(stage.engine.stats().frames_sent, sent.len() as u64);
}

#[test]
fn hellos_are_answered_until_both_sides_have_adopted() {
    let mut stage = Stage::new(EngineTimers::default());
    let hello = |stage: &mut Stage, count: u32, echo: u32| {
        let header = Header { count, dst_session: echo, ..Stage::header(FrameType::Hello, 0) };
        stage.play(header, |frame| VectorPart::encode(frame, 0, 1, []).unwrap())
    };
    stage.run(MS);
    // It does not know this engine's session: it is told, and not adopted.
    assert_eq!(hello(&mut stage, 0, 0), Ok(()));
    let answers = of_type(&stage.run(MS), FrameType::Hello, 0);
    assert_eq!(answers.iter().map(|(h, _)| (h.dst_session, h.count)).collect::<Vec<_>>(), [(500, 0)]);
    assert_eq!(
        stage.engine.peer_status(0, stage.now()).map(|peer| (peer.session, peer.up)),
        Some((0, false))
    );
    // It echoes the session, and has not adopted this side's yet: it is adopted, and told so.
    assert_eq!(hello(&mut stage, 0, SESSION), Ok(()));
    let answers = of_type(&stage.run(2 * MS), FrameType::Hello, 0);
    assert_eq!(answers.iter().map(|(h, _)| (h.dst_session, h.count)).collect::<Vec<_>>(), [(500, 1)]);
    assert_eq!(
        stage.engine.peer_status(0, stage.now()).map(|peer| (peer.session, peer.up)),
        Some((500, true))
    );
    // It has adopted as well: no answer.
    assert_eq!(hello(&mut stage, 1, SESSION), Ok(()));
    assert!(of_type(&stage.run(40 * MS), FrameType::Hello, 0).is_empty());
    let nobody = Header { src_session: 0, ..Stage::header(FrameType::Hello, 0) };
    let played = stage.play(nobody, |frame| VectorPart::encode(frame, 0, 1, []).unwrap());
    assert_eq!(played, Err(DropReason::Unexpected), "zero names no session");
    assert_eq!(stage.engine.peer_status(2, stage.now()), None);
}

/// A hello says how far the peer has this engine's operations: sending goes on from there, in any order of entries.
#[test]
fn an_adopted_session_begins_where_the_hello_says() {
    for (entries, unacknowledged) in [
        (vec![(OWN, 1, 3)], 2),
        (vec![(OWN, 5, 5), (OWN, 1, 3)], 2),
        (vec![(OWN, 2, 3)], 5),
        (vec![(puppet(0), 1, 3)], 5),
        (vec![], 5),
    ] {
        let mut stage = Stage::new(EngineTimers::default());
        stage.fill(5);
        let header = Header { count: 1, ..Stage::header(FrameType::Hello, 0) };
        let entries = entries.iter().map(|&(actor, first, last)| (actor, SeqRange { first, last }));
        stage.play(header, |frame| VectorPart::encode(frame, 0, 1, entries).unwrap()).unwrap();
        let status = stage.engine.peer_status(0, stage.now()).unwrap();
        assert_eq!(status.unacknowledged_seqs, unacknowledged);
        let sent = of_type(&stage.run(MS), FrameType::Data, 0);
        assert_eq!(sent.first().map(|(header, _)| header.lo), Some(5 - unacknowledged));
    }
}

#[test]
fn acknowledgements_count_as_far_as_operations_were_made() {
    let mut stage = stage();
    stage.fill(5);
    stage.run(MS);
    let unacknowledged =
        |stage: &Stage| stage.engine.peer_status(0, stage.now()).unwrap().unacknowledged_seqs;
    assert_eq!(ack(&mut stage, OWN, 6, &[]), Err(DropReason::Unexpected));
    assert_eq!(ack(&mut stage, OWN, 2, &[SeqRange { first: 5, last: 6 }]), Err(DropReason::Unexpected));
    assert_eq!(unacknowledged(&stage), 5);
    assert_eq!(ack(&mut stage, OWN, 2, &[SeqRange { first: 5, last: 5 }]), Ok(()));
    assert_eq!(unacknowledged(&stage), 3);
    assert_eq!(ack(&mut stage, OWN, 5, &[]), Ok(()));
    assert_eq!(unacknowledged(&stage), 0);
}

#[test]
fn acknowledgements_are_sent_at_once_for_gaps_and_copies_and_else_after_a_while() {
    let acks = |stage: &mut Stage, for_ns: u64| {
        let sent = of_type(&stage.run(for_ns), FrameType::Ack, 0);
        sent.iter()
            .map(|(_, payload)| {
                let ack = Ack::decode(payload).unwrap();
                assert_eq!(ack.actor, puppet(0));
                (ack.contiguous, ack.ranges.iter().map(|range| (range.first, range.last)).collect::<Vec<_>>())
            })
            .collect::<Vec<_>>()
    };
    let mut stage = stage();
    stage.run(10 * MS);
    data(&mut stage, 0, 2).unwrap();
    assert_eq!(acks(&mut stage, MS / 2), [], "more may follow");
    assert_eq!(acks(&mut stage, MS), [(2, vec![])]);
    assert_eq!(acks(&mut stage, 20 * MS), [], "once");
    data(&mut stage, 0, 2).unwrap();
    assert_eq!(acks(&mut stage, MS / 2), [(2, vec![])], "a copy");
    data(&mut stage, 4, 2).unwrap();
    assert_eq!(acks(&mut stage, MS / 2), [(2, vec![(5, 6)])], "a gap");
    data(&mut stage, 1, 4).unwrap();
    assert_eq!(acks(&mut stage, MS / 2), [], "it is closed, and something was new");
    assert_eq!(acks(&mut stage, MS), [(6, vec![])]);
    let stats = stage.engine.stats();
    assert_eq!((stats.records_merged, stats.records_duplicate), (6, 4));
}

#[test]
fn a_frame_of_data_holds_what_it_says_and_nothing_else() {
    let mut stage = stage();
    let header = |lo, count| Header { lo, count, ..Stage::header(FrameType::Data, 0) };
    let more = stage.play(header(0, 1), |frame| records(frame, 0, 2));
    assert_eq!(more, Err(DropReason::Unexpected), "bytes are left");
    assert_eq!(stage.engine.vector().contiguous(puppet(0)), 1, "what came before them stands");
    let end = stage.play(header(u64::MAX - 1, 2), |frame| records(frame, 7, 2));
    assert!(matches!(end, Err(DropReason::Wire(WireError::BadInterval))), "{end:?}");
    let less = stage.play(header(1, 3), |frame| records(frame, 1, 2));
    assert!(matches!(less, Err(DropReason::Record(_))));
    assert_eq!(stage.engine.vector().contiguous(puppet(0)), 3);
}

#[test]
fn heartbeats_keep_their_period_and_say_how_this_host_is() {
    let mut stage = stage();
    let before = (stage.engine.state_digest(), stage.engine.vector_digest());
    stage.fill(3);
    assert!(stage.engine.state_digest() != before.0 && stage.engine.vector_digest() != before.1);
    let sent = stage.run(SECOND - 1);
    let beats = of_type(&sent, FrameType::Heartbeat, 0);
    assert_eq!(beats.len(), 10, "one at once, then each 100 ms");
    let beat = Heartbeat::decode(&beats[9].1).unwrap();
    assert_eq!(
        (beat.state_digest, beat.vector_digest),
        (stage.engine.state_digest(), stage.engine.vector_digest())
    );
    assert_eq!((beat.last_seq, beat.wall_ns), (3, 1_700_000_000 * SECOND + 900 * MS));
    assert!(of_type(&sent, FrameType::Heartbeat, 1).is_empty(), "nobody is there");
}

#[test]
fn a_peer_has_converged_when_both_its_digests_say_so() {
    let mut stage = stage();
    stage.fill(1);
    let converged = |stage: &Stage| stage.engine.peer_status(0, stage.now()).unwrap().converged;
    assert!(!converged(&stage), "nothing heard yet");
    for (state, vector) in [(0, 0), (1, 0), (0, 1)] {
        let beat = Heartbeat {
            state_digest: stage.engine.state_digest() ^ state,
            vector_digest: stage.engine.vector_digest() ^ vector,
            wall_ns: 0,
            last_seq: 0,
        };
        stage.play(Stage::header(FrameType::Heartbeat, 0), |frame| beat.encode(frame).unwrap()).unwrap();
        assert_eq!(converged(&stage), (state, vector) == (0, 0));
    }
    stage.hello(0);
    stage.now_ns += 2 * SECOND;
    assert!(!stage.engine.peer_status(0, stage.now()).unwrap().up);
}

/// Nothing is due before the deadline, and something is at it.
#[test]
fn the_deadline_is_when_something_is_due() {
    let mut stage = stage();
    stage.run(10 * MS);
    let mut buffer = [0; MAX_FRAME_BYTES];
    for _ in 0..50 {
        let due_ns = stage.engine.deadline_ns();
        assert!(due_ns > stage.now_ns - 100_000, "nothing is left undone");
        stage.now_ns = due_ns - 1;
        let now = stage.now();
        assert_eq!(stage.engine.transmit(now, &mut buffer), None);
        stage.now_ns = due_ns;
        let now = stage.now();
        stage.engine.tick(now);
        assert_eq!(stage.engine.deadline_ns(), 0, "a tick wakes");
        while stage.engine.transmit(now, &mut buffer).is_some() {}
        assert!(stage.engine.deadline_ns() > due_ns, "what was due was done");
    }
    // Heartbeats and hellos leave in time, also where nobody ticks.
    stage.now_ns = stage.engine.deadline_ns() + SECOND;
    let now = stage.now();
    assert!(stage.engine.transmit(now, &mut buffer).is_some());
    while stage.engine.transmit(now, &mut buffer).is_some() {}
    stage.engine.apply(now, Kind::Counter, b"k", LocalOp::CounterAdd(1)).unwrap();
    assert_eq!(stage.engine.deadline_ns(), 0, "an operation wakes");
    assert_eq!(stage.engine.transmit(now, &mut buffer), None, "but leaves with the commit");
    stage.engine.commit(now, &mut Blind);
    assert_eq!(stage.engine.deadline_ns(), 0);
}

/// A hello tells the peer how far its own operations have come, gaps included and the highest first, then the rest.
#[test]
fn a_hello_says_first_what_is_known_of_the_peer() {
    let mut stage = stage();
    stage.fill(3);
    data(&mut stage, 0, 2).unwrap();
    data(&mut stage, 4, 2).unwrap();
    data(&mut stage, 7, 1).unwrap();
    stage.run(10 * MS);
    let header = Stage::header(FrameType::Hello, 0);
    stage.play(header, |frame| VectorPart::encode(frame, 0, 1, []).unwrap()).unwrap();
    let hellos = of_type(&stage.run(MS), FrameType::Hello, 0);
    let part = VectorPart::decode(&hellos[0].1).unwrap();
    let entries: Vec<_> = part.entries().map(|(actor, range)| (actor, range.first, range.last)).collect();
    let peer = puppet(0);
    assert_eq!(entries, [(peer, 8, 8), (peer, 1, 2), (peer, 5, 6), (peer, 8, 8), (OWN, 1, 3)]);
}

/// More actors than one frame names: vectors, stable vectors and requests go in parts.
#[test]
fn a_long_vector_goes_in_parts() {
    let mut stage = Stage::crowded();
    stage.fill(1);
    stage.heartbeat(0, 14);
    let mut sent = Sent::new();
    for _ in 0..20 {
        stage.heartbeat(0, 14);
        sent.extend(stage.run(100 * MS));
    }
    // A hundred actors, the peer and this host.
    let decode = |payload: &[u8], skip: usize| {
        let part = VectorPart::decode(&payload[skip..]).unwrap();
        (part.part, part.parts, part.entries().map(|(actor, _)| actor).collect::<Vec<_>>())
    };
    for (frame_type, skip) in [(FrameType::Vector, 0), (FrameType::Stable, 0), (FrameType::SyncRequest, 4)] {
        let parts: Vec<_> =
            of_type(&sent, frame_type, 0).iter().map(|(_, payload)| decode(payload, skip)).take(2).collect();
        let shape: Vec<_> =
            parts.iter().map(|(part, parts, entries)| (*part, *parts, entries.len())).collect();
        assert_eq!(shape, [(0, 2, 56), (1, 2, 46)], "{frame_type:?}");
        let mut actors: Vec<_> = parts.into_iter().flat_map(|(.., entries)| entries).collect();
        actors.dedup();
        assert_eq!(actors.len(), 102, "{frame_type:?}");
    }
}

#[test]
fn what_is_due_at_the_deadline_leaves_at_it() {
    let mut stage = Stage::new(EngineTimers::default());
    let mut buffer = [0; MAX_FRAME_BYTES];
    let mut hellos = |stage: &mut Stage| {
        let now = stage.now();
        std::iter::from_fn(|| stage.engine.transmit(now, &mut buffer)).count()
    };
    assert_eq!(hellos(&mut stage), 2);
    assert_eq!(stage.engine.deadline_ns(), 50 * MS);
    stage.now_ns = 50 * MS - 1;
    assert_eq!(hellos(&mut stage), 0);
    stage.now_ns = 50 * MS;
    assert_eq!(hellos(&mut stage), 2);
}

/// What waited for a paused process looks old: for a while nothing is concluded from it about clocks.
#[test]
fn after_a_pause_old_heartbeats_accuse_no_clock() {
    let old_beat = |stage: &mut Stage| {
        let wall_ns = stage.now().wall_ns - 10 * SECOND;
        let beat = Heartbeat { state_digest: 1, vector_digest: 1, wall_ns, last_seq: 0 };
        stage.play(Stage::header(FrameType::Heartbeat, 0), |frame| beat.encode(frame).unwrap()).unwrap();
        stage.engine.clock_ahead_ns()
    };
    for (pause_ns, after_ns, ahead_ns) in [
        (150 * MS, 0, 10 * SECOND),
        (200 * MS, 0, 10 * SECOND),
        (200 * MS + 1, 0, 0),
        (900 * MS, 99 * MS, 0),
        (900 * MS, 100 * MS, 10 * SECOND),
    ] {
        let mut stage = stage();
        stage.run(10 * MS);
        let now = stage.now();
        stage.engine.tick(now);
        stage.now_ns += pause_ns;
        let now = stage.now();
        stage.engine.tick(now);
        stage.now_ns += after_ns;
        assert_eq!(old_beat(&mut stage), ahead_ns, "a pause of {pause_ns}, and {after_ns} later");
    }
    // Nobody has ticked since the pause: it is not over.
    for (pause_ns, ahead_ns) in [(200 * MS, 10 * SECOND), (200 * MS + 1, 0)] {
        let mut stage = stage();
        let now = stage.now();
        stage.engine.tick(now);
        stage.now_ns += pause_ns;
        assert_eq!(old_beat(&mut stage), ahead_ns);
    }
}

/// Two hosts that have seen the same and differ are given a period of anti-entropy to find together.
#[test]
fn a_difference_is_given_time() {
    let mut stage = stage();
    let beat = |stage: &mut Stage, differs: bool| {
        let beat = Heartbeat {
            state_digest: stage.engine.state_digest() ^ u64::from(differs),
            vector_digest: stage.engine.vector_digest(),
            wall_ns: 0,
            last_seq: 0,
        };
        stage.play(Stage::header(FrameType::Heartbeat, 0), |frame| beat.encode(frame).unwrap()).unwrap();
        stage.now_ns += 100 * MS;
        stage.engine.stats().syncs_requested
    };
    assert!((0..10).all(|_| beat(&mut stage, true) == 0));
    beat(&mut stage, false);
    assert!((0..10).all(|_| beat(&mut stage, true) == 0), "it was over in between");
    assert_eq!(beat(&mut stage, true), 1);
}

/// Nobody acknowledges: the two oldest frames first, then everything, ever more slowly.
#[test]
fn what_is_not_acknowledged_is_sent_again_and_counted() {
    let mut stage = stage();
    stage.fill(20);
    let first = of_type(&stage.run(5 * MS), FrameType::Data, 0).len() as u64;
    assert_eq!(
        (stage.engine.stats().retransmission_timeouts, stage.engine.stats().frames_retransmitted),
        (0, 0)
    );
    let probes = of_type(&stage.run(10 * MS), FrameType::Data, 0).len() as u64;
    assert_eq!(
        (stage.engine.stats().retransmission_timeouts, stage.engine.stats().frames_retransmitted),
        (1, 2)
    );
    assert_eq!((first, probes), (7, 2));
    let again = of_type(&stage.run(12 * MS), FrameType::Data, 0).len() as u64;
    assert_eq!((stage.engine.stats().retransmission_timeouts, again), (2, first));
    assert_eq!(stage.engine.stats().frames_retransmitted, 2 + first);
}
