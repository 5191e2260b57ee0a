//! Storage at its edges: full tables, snapshots that overlap, frames that are missing, dots that nobody gave out.

#[allow(dead_code, reason = "each test program uses its part")]
mod stage;
#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::{ActorId, Dot, Kind};
use lattice_engine::{
    DropReason, Engine, EngineConfig, EngineLimits, EngineTimers, Instant, LocalOp, LogStore, MemoryLog,
    OpError, RecoverError, Recovery, Storage,
};
use lattice_wire::*;
use stage::{MS, OWN, SECOND, SESSION, Stage, puppet};
use world::{CLUSTER, Faults, World};

fn calm() -> Faults {
    Faults { loss_percent: 0, copy_percent: 0, max_delay_ns: 50_000 }
}

fn run(world: &mut World, milliseconds: u64) {
    (0..milliseconds).for_each(|_| world.step(MS));
}

fn insert(world: &mut World, host: usize, element: &[u8]) {
    world.apply(host, Kind::Set, b"set", LocalOp::SetInsert(element)).unwrap();
}

fn members(world: &World, host: usize, key: &[u8]) -> usize {
    world.hosts[host].board.view.members.get(key).map_or(0, |members| members.len())
}

fn snapshot(engine: &mut Engine) -> (u32, Vec<Vec<u8>>) {
    let number = engine.begin_snapshot();
    let (mut frames, mut buffer) = (Vec::new(), [0; MAX_FRAME_BYTES]);
    while let Some(len) = engine.write_snapshot(&mut buffer) {
        if len > 0 {
            frames.push(buffer[..len].to_vec());
        }
    }
    (number, frames)
}

fn config() -> EngineConfig {
    EngineConfig {
        actor: OWN,
        session: SESSION,
        shard: 0,
        cluster_tag: CLUSTER,
        peers: vec![2, 3],
        limits: EngineLimits::default(),
        timers: EngineTimers::default(),
        storage: Storage::Durable,
        random_seed: 1,
    }
}

fn beginning() -> Instant {
    Instant { monotonic_ns: 0, wall_ns: SECOND }
}

fn durable_stage() -> Stage {
    Stage { engine: Engine::new(config(), beginning()).unwrap(), now_ns: 0, wall_ahead_ns: 0 }
}

fn recover<'f>(frames: impl IntoIterator<Item = &'f Vec<u8>>, records: u64) -> Result<Engine, RecoverError> {
    let mut log = MemoryLog::new(4 << 20, 1 << 16);
    for _ in 0..records {
        log.append(&[0]);
    }
    let mut recovery = Recovery::new(config(), log, beginning())?;
    for frame in frames {
        recovery.snapshot_frame(frame)?;
    }
    recovery.finish()
}

#[test]
fn a_key_that_is_empty_is_not_dropped_while_a_snapshot_is_walked() {
    let limits = EngineLimits { log_records: 8, max_burst_ops: 8, ..EngineLimits::default() };
    let mut world = World::new(1, 2, limits, calm());
    world.storage = Storage::Durable;
    (0..2).for_each(|host| world.restart_empty(host));
    run(&mut world, 500);
    for key in 0..40u8 {
        world.apply(0, Kind::Register, &[key], LocalOp::RegisterSet(&[7; 1000])).unwrap();
        world.step(MS);
    }
    insert(&mut world, 1, b"e");
    run(&mut world, 100);
    let (old, last_seq) = (world.snapshot(1, 0), world.hosts[1].engine.last_seq());
    world.apply(0, Kind::Set, b"set", LocalOp::SetClear).unwrap();
    for _ in 0..20 {
        world.apply(0, Kind::Counter, b"n", LocalOp::CounterAdd(1)).unwrap();
        world.step(MS);
    }
    run(&mut world, 100);
    (0..2).for_each(|host| drop(world.snapshot(host, 0)));
    // The next snapshot of host 0 is under way when every member knows of the removal.
    let number = world.hosts[0].engine.begin_snapshot();
    let mut buffer = [0; MAX_FRAME_BYTES];
    let len = world.hosts[0].engine.write_snapshot(&mut buffer).unwrap();
    let mut second = vec![buffer[..len].to_vec()];
    run(&mut world, 20_000);
    while let Some(len) = world.hosts[0].engine.write_snapshot(&mut buffer) {
        if len > 0 {
            second.push(buffer[..len].to_vec());
        }
    }
    assert!(world.hosts[0].engine.snapshot_is_durable(number));
    run(&mut world, 20_000);
    assert_eq!(world.hosts[0].engine.stats().keys_dropped, 1, "afterwards it is");
    world.restart_from(0, &second, 0, false).unwrap();
    world.restart_from(1, &old, last_seq, false).unwrap();
    // Somebody always writes, so that the two never show equal vectors for long.
    for _ in 0..3_000 {
        world.apply(0, Kind::Counter, b"n", LocalOp::CounterAdd(1)).unwrap();
        world.step(MS);
    }
    assert_eq!((members(&world, 0, b"set"), members(&world, 1, b"set")), (0, 0));
}

#[test]
fn what_is_durable_is_the_snapshot_that_was_named() {
    let mut stage = durable_stage();
    let (first, _) = snapshot(&mut stage.engine);
    stage.fill(1);
    let (second, _) = snapshot(&mut stage.engine);
    assert!(!stage.engine.snapshot_is_durable(first), "the second one has begun");
    assert!(stage.engine.snapshot_is_whole(second) && !stage.engine.snapshot_is_whole(first));
    assert!(stage.engine.snapshot_is_durable(second));
    let third = stage.engine.begin_snapshot();
    assert!(!stage.engine.snapshot_is_whole(third) && !stage.engine.snapshot_is_durable(third));
}

/// The bounds are for what peers bring. A record of the own log may have put more into the tables.
#[test]
fn a_snapshot_of_tables_beyond_their_bounds_can_be_read() {
    let limits = EngineLimits { max_pre_removed: 8, ..EngineLimits::default() };
    let mut world = World::new(1, 2, limits, calm());
    run(&mut world, 500);
    let first = world.snapshot(0, 0);
    for element in 0..100u8 {
        insert(&mut world, 1, &[element]);
    }
    run(&mut world, 100);
    world.apply(0, Kind::Set, b"set", LocalOp::SetClear).unwrap();
    world.step(MS / 100);
    world.isolate(0, true);
    let last_seq = world.hosts[0].engine.last_seq();
    world.restart_from(0, &first, last_seq, true).unwrap();
    let second = world.snapshot(0, 0);
    world.restart_from(0, &second, last_seq, true).unwrap();
    assert_eq!(world.hosts[0].engine.stats().pre_removed, 100);
}

/// An own epoch may be one actor more than the table was made for.
#[test]
fn a_snapshot_with_a_full_table_of_actors_can_be_read() {
    let limits = EngineLimits { max_actors: 3, ..EngineLimits::default() };
    let mut world = World::new(1, 3, limits, calm());
    run(&mut world, 500);
    for host in 0..3 {
        world.apply(host, Kind::Counter, b"n", LocalOp::CounterAdd(1)).unwrap();
    }
    run(&mut world, 100);
    let first = world.snapshot(0, 0);
    world.restart_from(0, &first, 0, false).unwrap();
    world.apply(0, Kind::Counter, b"n", LocalOp::CounterAdd(1)).unwrap();
    world.step(MS);
    let second = world.snapshot(0, 0);
    world.restart_from(0, &second, world.hosts[0].engine.last_seq(), true).unwrap();
}

#[test]
fn a_snapshot_without_a_frame_or_with_one_of_another_is_refused() {
    let mut engine = Engine::new(config(), beginning()).unwrap();
    for key in 0..200u8 {
        let element = vec![1; 100 + usize::from(key) % 50];
        engine.apply(beginning(), Kind::Set, &[key], LocalOp::SetInsert(&element)).unwrap();
    }
    engine.commit(beginning(), &mut stage::Blind);
    let ((_, frames), (_, later)) = (snapshot(&mut engine), snapshot(&mut engine));
    assert!(frames.len() > 10 && frames.len() == later.len());
    assert!(recover(&frames, 200).is_ok());
    for gone in 0..frames.len() {
        let left = frames.iter().enumerate().filter(|(i, _)| *i != gone).map(|(_, frame)| frame);
        assert!(recover(left, 200).is_err(), "without frame {gone}");
        let mixed = frames[..gone].iter().chain(&later[gone..]);
        assert_eq!(recover(mixed, 200).is_err(), gone > 0, "the rest of a later one from frame {gone}");
    }
}

/// Whoever knows of own operations that were never made shows that this host's storage was an old copy.
#[test]
fn whatever_names_an_own_dot_that_was_never_given_out_ends_the_epoch() {
    type Play = fn(&mut Stage) -> Result<(), DropReason>;
    let acknowledgement: Play = |stage| {
        stage.play(Stage::header(FrameType::Ack, 0), |frame| Ack::new(OWN, 5, &[]).encode(frame).unwrap())
    };
    let removal: Play = |stage| {
        let own = [Dot { actor: OWN, seq: 1 }];
        let op = Op::Remove { element: b"e", removed: (&own[..]).into() };
        let header = Header { count: 1, ..Stage::header(FrameType::Data, 0) };
        stage.play(header, |frame| {
            frame.push_record(&Record { kind: Kind::Set, key: b"set", op }).unwrap();
        })
    };
    let synced: Play = |stage| {
        let id = stage.provoke_sync();
        let dot = Dot { actor: OWN, seq: 1 };
        let pre_removed = SyncItem::PreRemoved { dot, kind: Kind::Set, key: b"set", element: b"e" };
        stage.sync_data(id, 0, &[SyncItem::Begin { full_walk: false, keys: 0 }, pre_removed])
    };
    for (play, reason) in [
        (acknowledgement, DropReason::Unexpected),
        (removal, DropReason::Unexpected),
        (synced, DropReason::OutOfSequence),
    ] {
        let mut stage = durable_stage();
        stage.hello(0);
        stage.run(MS);
        assert_eq!(play(&mut stage), Err(reason));
        assert!(stage.engine.epoch_is_over());
        let now = stage.now();
        let refused = stage.engine.apply(now, Kind::Counter, b"n", LocalOp::CounterAdd(1));
        assert_eq!(refused, Err(OpError::EpochOver));
        assert_eq!(stage.engine.stats().pre_removed, 0);
    }
}

#[test]
fn an_epoch_begins_once() {
    let mut stage = durable_stage();
    stage.fill(1);
    let now = stage.now();
    assert!(stage.engine.begin_epoch(now, OWN, 4711).is_err(), "dots would be given out again");
    assert!(stage.engine.begin_epoch(now, puppet(0), 4711).is_err(), "another node's");
    assert_eq!(stage.engine.last_seq(), 1);
    stage.engine.begin_epoch(now, ActorId::new(1, 8), 4711).unwrap();
    assert_eq!(stage.engine.last_seq(), 0);
}

#[test]
fn an_old_record_is_an_own_one_and_none_of_the_present_epoch() {
    let mut recovery =
        Recovery::new(config(), MemoryLog::new(4 << 20, 1 << 16), beginning()).map_err(drop).unwrap();
    let record = Record { kind: Kind::Counter, key: b"n", op: Op::Counter { increments: 1, decrements: 0 } };
    let mut bytes = [0; MAX_RECORD_BYTES];
    let len = encode_record(&record, OWN, &mut bytes).unwrap();
    for (actor, taken) in [(OWN, false), (puppet(0), false), (ActorId::new(1, 6), true)] {
        assert_eq!(recovery.old_record(Dot { actor, seq: 1 }, &bytes[..len]).is_ok(), taken, "{actor:?}");
    }
}

/// Places in the segment are their keys' for good; keys are not.
#[test]
fn short_lived_keys_do_not_stop_writes_to_others() {
    let limits = EngineLimits { max_keys: 4, ..EngineLimits::default() };
    let mut world = World::new(1, 2, limits, calm());
    (0..2).for_each(|host| world.hosts[host].board.room = 4);
    run(&mut world, 500);
    insert(&mut world, 0, b"stays");
    let mut refused = 0;
    for key in 0..10u8 {
        let made = world.apply(0, Kind::Set, &[key], LocalOp::SetInsert(b"e"));
        refused += u32::from(made == Err(OpError::CapacityExceeded));
        run(&mut world, 10);
        world.apply(0, Kind::Set, &[key], LocalOp::SetClear).unwrap();
        run(&mut world, 5_000);
        insert(&mut world, 0, &[key]);
    }
    assert_eq!(refused, 7, "three places were left");
    assert_eq!(world.hosts[0].engine.stats().unpublished, 0);
}

/// The comparison that ends a full walk holds nobody up, be it one large set.
#[test]
fn a_sweep_goes_in_slices_through_a_set_as_well() {
    let mut stage = Stage::new(EngineTimers::default());
    let elements = 5_000u32;
    for element in 0..elements {
        let now = stage.now();
        let op = LocalOp::SetInsert(&element.to_be_bytes()[..]);
        stage.engine.apply(now, Kind::Set, b"large", op).unwrap();
        stage.engine.commit(now, &mut stage::Blind);
    }
    let id = stage.provoke_sync();
    let own = SyncItem::VectorRange { actor: OWN, first: 1, last: u64::from(elements) };
    let items = [SyncItem::Begin { full_walk: true, keys: 0 }, own, SyncItem::VectorEnd, SyncItem::End];
    stage.sync_data(id, 0, &items).unwrap();
    let mut ticks = 0;
    while stage.engine.stats().syncs_completed == 0 {
        let now = stage.now();
        assert!(stage.engine.deadline_ns() <= stage.now_ns, "it goes on at once");
        stage.engine.tick(now);
        ticks += 1;
        assert!(ticks < 40);
    }
    assert!(ticks >= elements / 256);
    assert_eq!(stage.engine.state_digest(), 0, "nothing is left of it");
}

/// A host whose own sync was cut off by its sender's death serves others all the same.
#[test]
fn a_host_whose_sync_was_abandoned_can_serve_others() {
    let limits = EngineLimits { log_records: 8, max_burst_ops: 8, ..EngineLimits::default() };
    let mut world = World::new(1, 3, limits, calm());
    run(&mut world, 500);
    insert(&mut world, 0, b"e");
    run(&mut world, 100);
    world.apply(0, Kind::Set, b"set", LocalOp::SetClear).unwrap();
    for key in 0..40u8 {
        world.apply(0, Kind::Register, &[key], LocalOp::RegisterSet(&[7; 1000])).unwrap();
        world.step(MS);
    }
    run(&mut world, 20_000);
    assert_eq!(world.hosts[0].engine.stats().keys_dropped, 1);
    // Host 1 and host 2 lose everything; host 2 is apart. Host 1 catches up from host 0, which dies in the middle.
    world.isolate(2, true);
    (1..3).for_each(|host| world.restart_empty(host));
    while world.hosts[1].engine.stats().keys < 12 {
        world.step(5_000);
        assert_eq!(world.hosts[1].engine.stats().syncs_completed, 0);
    }
    world.isolate(0, true);
    world.paused.insert(0);
    run(&mut world, 5_000);
    for element in 0..20u8 {
        world.apply(1, Kind::Set, b"other", LocalOp::SetInsert(&[element])).unwrap();
        world.step(MS);
    }
    for pair in [(1, 2), (2, 1)] {
        world.cut.remove(&pair);
    }
    run(&mut world, 10_000);
    assert_eq!(members(&world, 2, b"other"), 20);
}
