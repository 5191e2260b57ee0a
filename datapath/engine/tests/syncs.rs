//! State syncs frame by frame: what is sent, when it is sent again, and in which order a stream may arrive.

#[allow(dead_code, reason = "each test program uses its part")]
mod stage;
#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::{ActorId, Dot, Hlc, Kind, SeqRange};
use lattice_engine::{DropReason, Engine, EngineConfig, EngineLimits, EngineTimers, LocalOp, Storage};
use lattice_wire::{
    Dots, FrameType, Header, Op, Record, SyncAck, SyncItem, SyncRequest, VectorPart, decode_item,
};
use stage::{Blind, MS, OWN, SESSION, Sent, Stage, puppet, requests};

/// A host whose peer in slot 0 has asked for a walk over so many keys, three to a frame.
fn serving(keys: u32) -> Stage {
    let mut stage = Stage::new(EngineTimers::default());
    stage.hello(0);
    stage.fill(keys);
    stage.sync_request(5).unwrap();
    stage
}

/// Indexes of the frames of the walk that were sent, in order.
fn indexes(sent: &Sent) -> Vec<u64> {
    let data = sent.iter().filter(|(_, header, _)| header.frame_type == FrameType::SyncData);
    data.map(|(_, header, _)| header.lo).collect()
}

fn acknowledge(stage: &mut Stage, cumulative: u64, bitmap: u64) -> Result<(), DropReason> {
    let ack = SyncAck { sync_id: 5, cumulative, bitmap, abort: false };
    stage.play(Stage::header(FrameType::SyncAck, 0), |frame| ack.encode(frame).unwrap())
}

#[test]
fn a_walk_goes_on_as_far_as_the_window_and_then_with_what_is_acknowledged() {
    let mut stage = serving(400);
    // One each 100 µs, the step of the stage.
    assert_eq!(indexes(&stage.run(3 * MS)), (0..30).collect::<Vec<_>>());
    assert_eq!(indexes(&stage.run(3 * MS)), [30, 31], "the window is full");
    assert_eq!(acknowledge(&mut stage, 33, 0), Err(DropReason::Unexpected), "it was not sent yet");
    acknowledge(&mut stage, 10, 0).unwrap();
    assert_eq!(indexes(&stage.run(3 * MS)), (32..42).collect::<Vec<_>>());
    acknowledge(&mut stage, 4, 0).unwrap();
    acknowledge(&mut stage, 10, 0).unwrap();
    assert_eq!(indexes(&stage.run(MS / 2)), [0; 0], "nothing new was said");
    let abort = SyncAck { sync_id: 5, cumulative: 10, bitmap: 0, abort: true };
    stage.play(Stage::header(FrameType::SyncAck, 0), |frame| abort.encode(frame).unwrap()).unwrap();
    assert_eq!(indexes(&stage.run(50 * MS)), [0; 0], "the peer wants it no more");
}

#[test]
fn what_is_not_acknowledged_is_sent_again_as_it_was() {
    let mut stage = serving(400);
    let first = stage.run(4 * MS);
    acknowledge(&mut stage, 30, 0).unwrap();
    let more = stage.run(5 * MS);
    // Frame 30 left after 3 ms: ten later it leaves again.
    let again = stage.run(6 * MS);
    assert_eq!(indexes(&again)[..4], [30, 31, 32, 33]);
    let of = |sent: &Sent, index: u64| {
        let frame = sent.iter().find(|(_, h, _)| h.frame_type == FrameType::SyncData && h.lo == index);
        frame.map(|(_, header, payload)| (header.count, payload.clone())).unwrap()
    };
    assert_eq!(of(&again, 30), of(&first, 30));
    assert_eq!(of(&again, 33), of(&more, 33));
}

#[test]
fn frames_that_overtook_others_by_three_show_what_was_lost() {
    let mut stage = serving(400);
    stage.run(4 * MS);
    // Frames 2 and 8 have come: of those before 5, all but 2 are lost.
    acknowledge(&mut stage, 0, 1 << 1 | 1 << 7).unwrap();
    assert_eq!(indexes(&stage.run(MS)), [0, 1, 3, 4]);
    acknowledge(&mut stage, 0, 1 << 1 | 1 << 7).unwrap();
    assert_eq!(indexes(&stage.run(MS)), [0; 0], "they have just gone");
    // An acknowledgement that was overtaken itself says nothing of the frames that it seems to name.
    acknowledge(&mut stage, 5, 0).unwrap();
    acknowledge(&mut stage, 0, u64::MAX).unwrap();
    let again = indexes(&stage.run(8 * MS));
    assert!([5, 6, 7].iter().all(|index| again.contains(index)) && !again.contains(&8), "{again:?}");
}

#[test]
fn a_walk_is_served_when_its_last_frame_is_acknowledged() {
    let mut stage = serving(10);
    let frames = indexes(&stage.run(5 * MS)).len() as u64;
    assert_eq!(frames, 4);
    acknowledge(&mut stage, frames - 1, 0).unwrap();
    assert_eq!(stage.engine.stats().syncs_served, 0);
    acknowledge(&mut stage, frames, 0).unwrap();
    assert_eq!(stage.engine.stats().syncs_served, 1);
    assert_eq!(indexes(&stage.run(50 * MS)), [0; 0]);
}

#[test]
fn a_walk_waits_for_every_part_of_its_request() {
    let mut stage = Stage::new(EngineTimers::default());
    stage.hello(0);
    stage.fill(3);
    let ask = |stage: &mut Stage, part: u8, parts: u8, last: u64| {
        let entries = [(OWN, SeqRange { first: 1, last })];
        let header = Stage::header(FrameType::SyncRequest, 0);
        stage.play(header, |frame| SyncRequest::encode(frame, 9, part, parts, entries).unwrap())
    };
    assert_eq!(ask(&mut stage, 0, 65, 1), Err(DropReason::Unexpected));
    ask(&mut stage, 1, 2, 1).unwrap();
    ask(&mut stage, 1, 2, 1).unwrap();
    assert_eq!(indexes(&stage.run(MS)), [0; 0], "one part is missing");
    ask(&mut stage, 0, 2, 2).unwrap();
    let sent = stage.run(MS);
    assert_eq!(indexes(&sent), [0]);
    // Only the third key is news.
    let payload = &sent.iter().find(|(_, h, _)| h.frame_type == FrameType::SyncData).unwrap().2;
    let mut rest = &payload[4..];
    let mut keys = Vec::new();
    while !rest.is_empty() {
        let (item, len) = decode_item(rest).unwrap();
        if let SyncItem::Key { key, .. } = item {
            keys.push(key.to_vec());
        }
        rest = &rest[len..];
    }
    assert_eq!(keys, [2u32.to_le_bytes()]);
}

/// The acknowledgements of syncs that went to the peer in slot 0.
fn acks(stage: &mut Stage, for_ns: u64) -> Vec<SyncAck> {
    let sent = stage.run(for_ns);
    let acks = sent.iter().filter(|(slot, h, _)| (*slot, h.frame_type) == (0, FrameType::SyncAck));
    acks.map(|(_, _, payload)| SyncAck::decode(payload).unwrap()).collect()
}

/// C of a sync of twelve operations of the peer.
fn head() -> [SyncItem<'static>; 3] {
    let range = SyncItem::VectorRange { actor: puppet(0), first: 1, last: 12 };
    [SyncItem::Begin { full_walk: false, keys: 0 }, range, SyncItem::VectorEnd]
}

fn counter_of(key: &'static [u8], seq: u64) -> [SyncItem<'static>; 4] {
    let actor = puppet(0);
    [
        SyncItem::Key { kind: Kind::Counter, key },
        SyncItem::Touch { actor, seq },
        SyncItem::CounterEntry { actor, increments: u128::from(seq), decrements: 0 },
        SyncItem::KeyEnd,
    ]
}

#[test]
fn a_stream_may_arrive_in_any_order() {
    let mut stage = Stage::new(EngineTimers::default());
    let id = stage.provoke_sync();
    let ack = |cumulative, bitmap| SyncAck { sync_id: id, cumulative, bitmap, abort: false };
    stage.sync_data(id, 2, &counter_of(b"b", 2)).unwrap();
    assert_eq!(acks(&mut stage, MS), [ack(0, 0b10)]);
    stage.sync_data(id, 63, &[]).unwrap();
    assert_eq!(acks(&mut stage, MS), [ack(0, 0b10 | 1 << 62)]);
    assert_eq!(stage.sync_data(id, 64, &[]), Err(DropReason::Unexpected), "beyond the window");
    stage.sync_data(id, 0, &head()).unwrap();
    assert_eq!(acks(&mut stage, MS), [ack(1, 0b1 | 1 << 61)]);
    assert_eq!(stage.engine.vector().contiguous(puppet(0)), 0);
    stage.sync_data(id, 1, &counter_of(b"a", 1)).unwrap();
    assert_eq!(acks(&mut stage, MS), [ack(3, 1 << 59)]);
    stage.sync_data(id, 1, &counter_of(b"a", 1)).unwrap();
    assert_eq!(acks(&mut stage, MS), [ack(3, 1 << 59)], "a copy");
    stage.sync_data(id, 64, &[]).unwrap();
    assert_eq!((stage.engine.stats().keys, stage.engine.stats().syncs_completed), (2, 0));
    assert_eq!(stage.engine.vector().contiguous(puppet(0)), 0, "nothing is covered before the end");
    stage.sync_data(id, 3, &[SyncItem::End]).unwrap();
    assert_eq!(acks(&mut stage, MS).last().map(|ack| (ack.cumulative, ack.abort)), Some((4, false)));
    assert_eq!(stage.engine.vector().contiguous(puppet(0)), 12);
    assert_eq!(stage.engine.stats().syncs_completed, 1);
    // A sender that did not hear is told again; one that is not known is told to stop.
    stage.sync_data(id, 3, &[SyncItem::End]).unwrap();
    assert_eq!(acks(&mut stage, MS).len(), 1);
    assert_eq!(stage.sync_data(id + 1, 0, &head()), Err(DropReason::Unexpected));
    let stop = SyncAck { sync_id: id + 1, cumulative: 0, bitmap: 0, abort: true };
    assert_eq!(acks(&mut stage, MS), [stop]);
}

/// Rule 6: from the moment that C is known a record in it waits for the end, and one beyond it is merged.
#[test]
fn records_inside_a_running_sync_wait_for_its_end() {
    let mut stage = Stage::new(EngineTimers::default());
    let id = stage.provoke_sync();
    let data = |stage: &mut Stage, seq: u64| {
        let op = Op::Counter { increments: u128::from(seq), decrements: 0 };
        let header = Header { lo: seq - 1, count: 1, log_first: seq, ..Stage::header(FrameType::Data, 0) };
        stage.play(header, |frame| frame.push_record(&Record { kind: Kind::Counter, key: b"k", op }).unwrap())
    };
    stage.sync_data(id, 0, &head()[..2]).unwrap();
    data(&mut stage, 1).unwrap();
    assert_eq!(stage.engine.stats().records_merged, 1, "C is not complete yet");
    stage.sync_data(id, 1, &head()[2..]).unwrap();
    for (seq, in_sync, merged) in [(2, 1, 1), (12, 2, 1), (13, 2, 2)] {
        data(&mut stage, seq).unwrap();
        let stats = stage.engine.stats();
        assert_eq!((stats.records_in_sync, stats.records_merged), (in_sync, merged), "{seq}");
    }
    stage.sync_data(id, 2, &[SyncItem::End]).unwrap();
    assert_eq!(stage.engine.vector().contiguous(puppet(0)), 13);
    data(&mut stage, 12).unwrap();
    assert_eq!(stage.engine.stats().records_duplicate, 1);
}

#[test]
fn a_request_is_repeated_until_it_is_answered_and_then_somebody_else_is_asked() {
    let mut stage = Stage::new(EngineTimers::default());
    stage.hello(1);
    let id = stage.provoke_sync();
    let mut asked = [Vec::new(), Vec::new()];
    for tenth in 0..30 {
        (0..2).for_each(|slot| stage.heartbeat(slot, 1));
        let sent = stage.run(100 * MS);
        for (slot, asked) in asked.iter_mut().enumerate() {
            asked.extend(requests(&sent, slot).iter().map(|_| tenth));
        }
    }
    // Each 50 ms, for the two seconds of the timeout.
    assert!((38..=40).contains(&asked[0].len()), "{asked:?}");
    assert!(
        asked[0].iter().all(|tenth| *tenth < 20) && asked[1].iter().all(|tenth| *tenth >= 19),
        "{asked:?}"
    );
    assert_eq!(stage.engine.stats().syncs_abandoned, 1);
    assert_eq!(stage.engine.stats().syncs_requested, 2);
    assert_eq!(stage.sync_data(id, 0, &head()), Err(DropReason::Unexpected), "too late");
    assert_eq!(acks(&mut stage, MS).first().map(|ack| ack.abort), Some(true));
}

#[test]
fn what_comes_of_a_stream_keeps_it_alive() {
    let mut stage = Stage::new(EngineTimers::default());
    let id = stage.provoke_sync();
    stage.sync_data(id, 0, &head()).unwrap();
    let wait = |stage: &mut Stage, for_ns: u64| {
        for _ in 0..for_ns / (100 * MS) {
            stage.heartbeat(0, 1);
            stage.run(100 * MS);
        }
        stage.engine.stats().syncs_abandoned
    };
    assert_eq!(wait(&mut stage, 1_900 * MS), 0);
    stage.sync_data(id, 2, &counter_of(b"b", 2)).unwrap();
    assert_eq!(wait(&mut stage, 1_900 * MS), 0, "an early frame is progress");
    stage.sync_data(id, 2, &counter_of(b"b", 2)).unwrap();
    assert_eq!(wait(&mut stage, 200 * MS), 1, "its copy is none");
}

#[test]
fn a_new_session_of_the_peer_ends_its_syncs() {
    let mut stage = serving(100);
    stage.heartbeat(0, 10);
    assert_eq!(requests(&stage.run(MS), 0).len(), 1);
    let header = Header { src_session: 900, count: 1, ..Stage::header(FrameType::Hello, 0) };
    stage.play(header, |frame| VectorPart::encode(frame, 0, 1, []).unwrap()).unwrap();
    let sent = stage.run(50 * MS);
    assert_eq!((indexes(&sent), requests(&sent, 0)), (vec![], vec![]));
    assert_eq!(stage.engine.stats().syncs_abandoned, 1);
}

/// A flag and a set that a sync shows: what the sender covers and does not name goes, what it does not cover stays.
#[test]
fn a_sync_takes_away_what_its_sender_has_seen_removed() {
    let mut stage = Stage::new(EngineTimers::default());
    stage.hello(0);
    let mut lo = 0;
    let mut data = |stage: &mut Stage, key: &'static [u8], element: &'static [u8]| {
        let op = Op::Add { element, superseded: Dots::EMPTY };
        let header = Header { lo, count: 1, ..Stage::header(FrameType::Data, 0) };
        stage.play(header, |frame| frame.push_record(&Record { kind: Kind::Set, key, op }).unwrap()).unwrap();
        lo += 1;
    };
    for element in [&b"a"[..], b"b", b"c"] {
        data(&mut stage, b"set", element);
    }
    let now = stage.now();
    stage.engine.apply(now, Kind::Set, b"set", LocalOp::SetInsert(b"own")).unwrap();
    stage.engine.commit(now, &mut Blind);
    let before = stage.engine.state_digest();
    let id = stage.provoke_sync();
    let other = [Dot { actor: ActorId::new(3, 4), seq: 1 }];
    let kept = [Dot { actor: puppet(0), seq: 2 }];
    stage.sync_data(id, 0, &head()).unwrap();
    let walk = [
        SyncItem::Key { kind: Kind::Set, key: b"set" },
        SyncItem::Touch { actor: puppet(0), seq: 12 },
        SyncItem::Element { element: b"b", dots: Dots::from(&kept[..]), more: false },
        SyncItem::Element { element: b"d", dots: Dots::from(&other[..]), more: false },
        SyncItem::KeyEnd,
        SyncItem::End,
    ];
    stage.sync_data(id, 1, &walk).unwrap();
    assert_eq!(stage.engine.stats().syncs_completed, 1);
    assert_ne!(stage.engine.state_digest(), before);
    // What is left: b as the sender has it, d which nobody had seen, and the own element.
    let mut expected = Stage::new(EngineTimers::default());
    let id = expected.provoke_sync();
    let now = expected.now();
    expected.engine.apply(now, Kind::Set, b"set", LocalOp::SetInsert(b"own")).unwrap();
    expected.engine.commit(now, &mut Blind);
    expected.sync_data(id, 0, &head()).unwrap();
    expected.sync_data(id, 1, &walk).unwrap();
    assert_eq!(stage.engine.state_digest(), expected.engine.state_digest());
    assert_eq!(stage.engine.vector_digest(), expected.engine.vector_digest());
}

/// Says in a vector what the puppet in `slot` has; whether that made the engine ask it for a sync.
fn vector_provokes(stage: &mut Stage, slot: usize, entries: &[(ActorId, u64, u64)]) -> bool {
    let before = stage.engine.stats().syncs_requested;
    let entries = entries.iter().map(|&(actor, first, last)| (actor, SeqRange { first, last }));
    let header = Stage::header(FrameType::Vector, slot);
    stage.play(header, |frame| VectorPart::encode(frame, 0, 1, entries).unwrap()).unwrap();
    stage.engine.stats().syncs_requested > before
}

#[test]
fn a_vector_that_names_what_no_log_brings_provokes_a_sync() {
    let gone = ActorId::new(9, 1);
    let up = || {
        let mut stage = Stage::new(EngineTimers::default());
        let id = stage.provoke_sync();
        let items = [
            SyncItem::Begin { full_walk: false, keys: 0 },
            SyncItem::VectorRange { actor: puppet(0), first: 1, last: 12 },
            SyncItem::VectorRange { actor: gone, first: 1, last: 3 },
            SyncItem::VectorRange { actor: gone, first: 5, last: 6 },
            SyncItem::VectorEnd,
            SyncItem::End,
        ];
        stage.sync_data(id, 0, &items).unwrap();
        stage.hello(1);
        stage
    };
    for (entries, provokes) in [
        (vec![], false),
        (vec![(gone, 1, 3), (gone, 5, 6)], false),
        (vec![(gone, 2, 3)], false),
        (vec![(gone, 1, 4)], true),
        (vec![(gone, 5, 7)], true),
        (vec![(gone, 4, 6)], true),
        (vec![(ActorId::new(9, 2), 1, 1)], true),
        (vec![(puppet(0), 1, 12), (gone, 1, 3), (gone, 8, 8)], true),
        // Their logs bring these: both hosts are up.
        (vec![(puppet(0), 1, 20)], false),
        (vec![(puppet(1), 1, 20)], false),
        (vec![(ActorId::new(3, 10), 1, 20)], true),
    ] {
        assert_eq!(vector_provokes(&mut up(), 0, &entries), provokes, "{entries:?}");
    }
    // The other host is not heard any more, or is heard and sends nothing of what it is said to have made.
    for heard in [false, true] {
        let mut stage = up();
        for _ in 0..40 {
            (0..2).filter(|slot| *slot == 0 || heard).for_each(|slot| stage.heartbeat(slot, 1));
            stage.run(100 * MS);
        }
        assert!(vector_provokes(&mut stage, 0, &[(puppet(1), 1, 20)]), "heard {heard}");
        assert!(!vector_provokes(&mut stage, 0, &[(puppet(0), 1, 20)]), "one is under way");
    }
}

/// A host that may hold so many pre-removed dots and ranges of its own, and has three peers: a sync may bring them
/// for each of the four, and for the epochs that are gone.
#[test]
fn a_sync_brings_no_more_than_its_share() {
    let bounded = || {
        let mut stage = Stage::new(EngineTimers::default());
        let config = EngineConfig {
            actor: OWN,
            session: SESSION,
            shard: 0,
            cluster_tag: world::CLUSTER,
            peers: vec![2, 3, 4],
            limits: EngineLimits {
                max_pre_removed: 2,
                max_ranges_per_actor: 2,
                max_actors: 4,
                ..EngineLimits::default()
            },
            timers: EngineTimers::default(),
            storage: Storage::Memory,
            random_seed: 1,
        };
        stage.engine = Engine::new(config, stage.now()).unwrap();
        let id = stage.provoke_sync();
        stage.sync_data(id, 0, &[SyncItem::Begin { full_walk: false, keys: 0 }]).unwrap();
        (stage, id)
    };
    let removed = |seq| {
        let dot = Dot { actor: puppet(1), seq };
        SyncItem::PreRemoved { dot, kind: Kind::Set, key: b"set", element: b"e" }
    };
    let range = |at: u64| SyncItem::VectorRange { actor: puppet(0), first: 10 * at, last: 10 * at };
    let actor = |node| SyncItem::VectorRange { actor: ActorId::new(node, 1), first: 1, last: 1 };
    let most = |item: &dyn Fn(u64) -> SyncItem<'static>| {
        let (mut stage, id) = bounded();
        let taken = (1..100).take_while(|&at| stage.sync_data(id, at, &[item(at)]).is_ok()).count();
        assert_eq!(stage.engine.stats().dropped_out_of_order_bound, 1);
        taken
    };
    assert_eq!((most(&removed), most(&range), most(&|at| actor(at as u16 + 4))), (10, 10, 4));
    let (mut stage, id) = bounded();
    (1..=10).for_each(|at| stage.sync_data(id, at, &[removed(at)]).unwrap());
    stage.sync_data(id, 11, &[SyncItem::VectorEnd, SyncItem::End]).unwrap();
    assert_eq!((stage.engine.stats().pre_removed, stage.engine.stats().syncs_completed), (10, 1));
}

/// What a walk says of one key of each kind.
#[test]
fn a_walk_names_touches_and_values_of_every_kind() {
    let mut stage = Stage::new(EngineTimers::default());
    stage.hello(0);
    let now = stage.now();
    let apply = |stage: &mut Stage, kind: Kind, op: LocalOp<'_>| {
        stage.engine.apply(now, kind, kind.name().as_bytes(), op).unwrap();
        stage.engine.commit(now, &mut Blind);
    };
    apply(&mut stage, Kind::Counter, LocalOp::CounterAdd(5));
    apply(&mut stage, Kind::Counter, LocalOp::CounterAdd(-2));
    apply(&mut stage, Kind::Register, LocalOp::RegisterSet(b"v"));
    apply(&mut stage, Kind::FlagEnableWins, LocalOp::Enable);
    apply(&mut stage, Kind::Set, LocalOp::SetInsert(b"b"));
    apply(&mut stage, Kind::Set, LocalOp::SetInsert(b"a"));
    let op = Op::Counter { increments: 7, decrements: 0 };
    let header = Header { count: 1, ..Stage::header(FrameType::Data, 0) };
    let record = Record { kind: Kind::Counter, key: b"counter", op };
    stage.play(header, |frame| frame.push_record(&record).unwrap()).unwrap();
    stage.sync_request(5).unwrap();
    let sent = stage.run(MS);
    let payload = &sent.iter().find(|(_, h, _)| h.frame_type == FrameType::SyncData).unwrap().2;
    let (mut rest, mut items) = (&payload[4..], Vec::new());
    while !rest.is_empty() {
        let (item, len) = decode_item(rest).unwrap();
        items.push(item);
        rest = &rest[len..];
    }
    let dot = |seq| [Dot { actor: OWN, seq }];
    let (four, five, six) = (dot(4), dot(5), dot(6));
    let key = |kind: Kind| SyncItem::Key { kind, key: kind.name().as_bytes() };
    let touch = |seq| SyncItem::Touch { actor: OWN, seq };
    let hlc = Hlc::default().tick(now.wall_ns);
    let peer = puppet(0);
    let expected = [
        SyncItem::Begin { full_walk: false, keys: 4 },
        SyncItem::VectorRange { actor: OWN, first: 1, last: 6 },
        SyncItem::VectorRange { actor: peer, first: 1, last: 1 },
        SyncItem::VectorEnd,
        key(Kind::Counter),
        touch(2),
        SyncItem::Touch { actor: peer, seq: 1 },
        SyncItem::CounterEntry { actor: OWN, increments: 5, decrements: 2 },
        SyncItem::CounterEntry { actor: peer, increments: 7, decrements: 0 },
        SyncItem::KeyEnd,
        key(Kind::Register),
        touch(3),
        SyncItem::RegisterValue { hlc, actor: OWN, value: b"v" },
        SyncItem::KeyEnd,
        key(Kind::FlagEnableWins),
        touch(4),
        SyncItem::Element { element: b"\x01", dots: Dots::from(&four[..]), more: false },
        SyncItem::KeyEnd,
        key(Kind::Set),
        touch(6),
        SyncItem::Element { element: b"a", dots: Dots::from(&six[..]), more: false },
        SyncItem::Element { element: b"b", dots: Dots::from(&five[..]), more: false },
        SyncItem::KeyEnd,
        SyncItem::End,
    ];
    assert_eq!(items, expected);
}
