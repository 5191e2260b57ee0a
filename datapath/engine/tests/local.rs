//! Local operations at their edges: what is refused, what is nothing to do, and how much goes into a burst.

#[allow(dead_code, reason = "each test program uses its part")]
mod stage;
#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::{ActorId, Dot, Kind};
use lattice_engine::{
    Applied, Engine, EngineConfig, EngineConfigError, EngineLimits, EngineTimers, LocalOp, OpError,
    Published, Publisher, Storage,
};
use lattice_wire::{FrameType, Op, decode_delta};
use stage::{Blind, OWN, SESSION, Stage};

fn config() -> EngineConfig {
    EngineConfig {
        actor: OWN,
        session: SESSION,
        shard: 0,
        cluster_tag: world::CLUSTER,
        peers: vec![2, 3],
        limits: EngineLimits { max_keys: 3, max_burst_ops: 8, ..EngineLimits::default() },
        timers: EngineTimers::default(),
        storage: Storage::Memory,
        random_seed: 1,
    }
}

fn stage_of(config: EngineConfig) -> Stage {
    let mut stage = Stage::new(EngineTimers::default());
    stage.engine = Engine::new(config, stage.now()).unwrap();
    stage
}

fn apply(stage: &mut Stage, kind: Kind, key: &[u8], op: LocalOp<'_>) -> Result<Option<Dot>, OpError> {
    let now = stage.now();
    stage.engine.apply(now, kind, key, op).map(|Applied { dot }| dot)
}

fn commit(stage: &mut Stage) {
    let now = stage.now();
    stage.engine.commit(now, &mut Blind);
}

fn own(seq: u64) -> Option<Dot> {
    Some(Dot { actor: OWN, seq })
}

#[test]
fn a_configuration_that_cannot_run_is_refused_by_name() {
    type Change = fn(&mut EngineConfig);
    let limits: [(&str, Change, Change); 8] = [
        ("max_keys", |c| c.limits.max_keys = 0, |c| c.limits.max_keys = 1),
        ("max_actors", |c| c.limits.max_actors = 0, |c| c.limits.max_actors = 3),
        (
            "max_ranges_per_actor",
            |c| c.limits.max_ranges_per_actor = 0,
            |c| c.limits.max_ranges_per_actor = 1,
        ),
        ("max_pre_removed", |c| c.limits.max_pre_removed = 0, |c| c.limits.max_pre_removed = 1),
        ("max_window_frames", |c| c.limits.max_window_frames = 0, |c| c.limits.max_window_frames = 1),
        (
            "log_bytes",
            |c| c.limits.log_bytes = 16 * lattice_wire::MAX_RECORD_BYTES - 1,
            |c| c.limits.log_bytes = 16 * lattice_wire::MAX_RECORD_BYTES,
        ),
        ("max_burst_ops", |c| c.limits.max_burst_ops = 7, |c| c.limits.max_burst_ops = 8),
        ("log_records", |c| c.limits.log_records = 3, |c| c.limits.log_records = 4),
    ];
    let now = Stage::new(EngineTimers::default()).now();
    let made = |change: Change| {
        let mut config = config();
        change(&mut config);
        Engine::new(config, now).map(|_| ())
    };
    for (field, bad, good) in limits {
        assert!(matches!(made(bad), Err(EngineConfigError::Limit { name, .. }) if name == field), "{field}");
        assert_eq!(made(good), Ok(()), "{field}");
    }
    assert_eq!(made(|c| c.session = 0), Err(EngineConfigError::Zero("session")));
    assert_eq!(made(|c| c.actor = ActorId::new(1, 0)), Err(EngineConfigError::Zero("epoch")));
    assert!(matches!(made(|c| c.peers = vec![2, 3, 2]), Err(EngineConfigError::Peers(_))));
    assert!(matches!(made(|c| c.peers = vec![2, 1]), Err(EngineConfigError::Peers(_))));
    assert!(matches!(made(|c| c.limits.max_actors = 2), Err(EngineConfigError::Peers(_))));
}

#[test]
fn an_operation_that_has_no_shape_changes_nothing() {
    let mut stage = stage_of(config());
    let long = [b'x'; 1025];
    let refused = [
        (Kind::Counter, &b""[..], LocalOp::CounterAdd(1), OpError::BadKey(0)),
        (Kind::Counter, &long[..129], LocalOp::CounterAdd(1), OpError::BadKey(129)),
        (Kind::Register, b"k", LocalOp::RegisterSet(&long), OpError::TooLarge { len: 1025, limit: 1024 }),
        (Kind::Set, b"k", LocalOp::SetInsert(&long[..257]), OpError::TooLarge { len: 257, limit: 256 }),
        (Kind::Set, b"k", LocalOp::SetRemove(&long[..257]), OpError::TooLarge { len: 257, limit: 256 }),
        (Kind::Set, b"k", LocalOp::CounterAdd(1), OpError::WrongOperation),
        (Kind::Counter, b"k", LocalOp::Enable, OpError::WrongOperation),
        (Kind::Register, b"k", LocalOp::Disable, OpError::WrongOperation),
        (Kind::FlagEnableWins, b"k", LocalOp::RegisterSet(b""), OpError::WrongOperation),
        (Kind::FlagDisableWins, b"k", LocalOp::SetInsert(b""), OpError::WrongOperation),
        (Kind::Counter, b"k", LocalOp::SetRemove(b""), OpError::WrongOperation),
        (Kind::Register, b"k", LocalOp::SetClear, OpError::WrongOperation),
    ];
    for (kind, key, op, error) in refused {
        assert_eq!(apply(&mut stage, kind, key, op), Err(error), "{op:?}");
    }
    assert!(!stage.engine.has_uncommitted());
    assert_eq!((stage.engine.stats().ops_refused, stage.engine.stats().ops_applied), (12, 0));
    // The longest of each is one of them no more.
    assert_eq!(
        apply(&mut stage, Kind::Register, &long[..128], LocalOp::RegisterSet(&long[..1024])),
        Ok(own(1))
    );
    assert_eq!(apply(&mut stage, Kind::Set, b"k", LocalOp::SetInsert(&long[..256])), Ok(own(2)));
    assert_eq!((stage.engine.stats().ops_refused, stage.engine.stats().ops_applied), (12, 2));
    assert!(stage.engine.has_uncommitted());
}

#[test]
fn what_takes_away_from_a_key_that_is_not_there_makes_none() {
    let mut stage = stage_of(config());
    let nothing = [
        (Kind::Set, LocalOp::SetRemove(b"e")),
        (Kind::Set, LocalOp::SetClear),
        (Kind::Counter, LocalOp::CounterAdd(0)),
        (Kind::FlagEnableWins, LocalOp::Disable),
    ];
    for (kind, op) in nothing {
        assert_eq!(apply(&mut stage, kind, b"k", op), Ok(None), "{op:?}");
    }
    assert_eq!((stage.engine.stats().keys, stage.engine.last_seq()), (0, 0));
    // Of a flag on which the disable wins, a disable is news.
    assert_eq!(apply(&mut stage, Kind::FlagDisableWins, b"k", LocalOp::Disable), Ok(own(1)));
    assert_eq!(
        apply(&mut stage, Kind::FlagEnableWins, b"k", LocalOp::Enable),
        Err(OpError::KindMismatch(Kind::FlagDisableWins))
    );
    assert_eq!(apply(&mut stage, Kind::Counter, b"c", LocalOp::CounterAdd(1)), Ok(own(2)));
    assert_eq!(apply(&mut stage, Kind::Counter, b"c", LocalOp::CounterAdd(0)), Ok(None));
    assert_eq!((stage.engine.stats().keys, stage.engine.last_seq()), (2, 2));
}

#[test]
fn writes_of_one_key_in_one_burst_share_a_dot() {
    let mut stage = stage_of(config());
    for (kind, key, op) in
        [(Kind::Counter, b"c", LocalOp::CounterAdd(2)), (Kind::Register, b"r", LocalOp::RegisterSet(b"v"))]
    {
        assert_eq!(
            apply(&mut stage, Kind::Set, b"s", LocalOp::SetInsert(key)).map(|dot| dot.is_some()),
            Ok(true)
        );
        let first = apply(&mut stage, kind, key, op).unwrap();
        assert_eq!(apply(&mut stage, kind, key, op), Ok(first), "{kind}");
        commit(&mut stage);
        assert_ne!(apply(&mut stage, kind, key, op), Ok(first), "another burst");
        commit(&mut stage);
    }
    let stats = stage.engine.stats();
    assert_eq!((stats.ops_coalesced, stats.ops_applied, stats.records_logged), (2, 8, 6));
}

#[test]
fn a_burst_takes_so_many_records_and_bytes() {
    let mut stage = stage_of(EngineConfig { limits: EngineLimits::default(), ..config() });
    for at in 0..1024u32 {
        assert_eq!(
            apply(&mut stage, Kind::Set, b"s", LocalOp::SetInsert(&at.to_le_bytes())),
            Ok(own(u64::from(at) + 1))
        );
    }
    assert_eq!(apply(&mut stage, Kind::Set, b"s", LocalOp::SetInsert(b"more")), Err(OpError::Backpressure));
    assert_eq!(apply(&mut stage, Kind::Counter, b"c", LocalOp::CounterAdd(0)), Err(OpError::Backpressure));
    commit(&mut stage);
    // One key, one record; but each of its values is kept until the commit.
    let value = [7; 1024];
    for _ in 0..1025 {
        assert_eq!(apply(&mut stage, Kind::Register, b"r", LocalOp::RegisterSet(&value)), Ok(own(1025)));
    }
    assert_eq!(
        apply(&mut stage, Kind::Register, b"r", LocalOp::RegisterSet(b"")),
        Err(OpError::Backpressure)
    );
    commit(&mut stage);
    assert_eq!(apply(&mut stage, Kind::Register, b"r", LocalOp::RegisterSet(b"")), Ok(own(1026)));
}

/// A clear is as many removals as the set has elements: the burst takes what it has room for, and the rest next time.
#[test]
fn a_clear_goes_on_where_the_burst_was_full() {
    let mut stage = stage_of(config());
    for at in 0..12u8 {
        apply(&mut stage, Kind::Set, b"s", LocalOp::SetInsert(&[at])).unwrap();
        commit(&mut stage);
    }
    assert_eq!(apply(&mut stage, Kind::Set, b"s", LocalOp::SetClear), Err(OpError::Backpressure));
    assert_eq!(stage.engine.last_seq(), 20);
    commit(&mut stage);
    assert_eq!(apply(&mut stage, Kind::Set, b"s", LocalOp::SetClear), Ok(own(24)));
    commit(&mut stage);
    assert_eq!(apply(&mut stage, Kind::Set, b"s", LocalOp::SetClear), Ok(None));
}

#[test]
fn keys_have_a_bound_and_so_has_the_segment() {
    let mut stage = stage_of(config());
    for key in [b"a", b"b", b"c"] {
        assert!(apply(&mut stage, Kind::Counter, key, LocalOp::CounterAdd(1)).is_ok());
    }
    assert_eq!(
        apply(&mut stage, Kind::Counter, b"d", LocalOp::CounterAdd(1)),
        Err(OpError::CapacityExceeded)
    );
    assert!(apply(&mut stage, Kind::Counter, b"a", LocalOp::CounterAdd(1)).is_ok(), "it is there");
}

/// A segment with places for so many keys, and no room for the bytes of a register.
struct Small(usize);

impl Publisher for Small {
    fn open(&mut self, _: Kind, _: u64, _: &[u8]) -> Option<u32> {
        self.0 = self.0.checked_sub(1)?;
        Some(0)
    }
    fn room(&self) -> usize {
        self.0
    }
    fn word(&mut self, _: u32, _: u64) -> Published {
        Published::Visible
    }
    fn bytes(&mut self, _: u32, _: &[u8]) -> Published {
        Published::Full
    }
    fn element(&mut self, _: u32, _: &[u8], _: bool) -> Published {
        Published::Visible
    }
}

#[test]
fn while_a_publication_waits_for_room_nothing_is_accepted_that_needs_more() {
    let mut stage = stage_of(EngineConfig { limits: EngineLimits::default(), ..config() });
    let mut segment = Small(3);
    let now = stage.now();
    for (kind, op) in [
        (Kind::Counter, LocalOp::CounterAdd(1)),
        (Kind::Set, LocalOp::SetInsert(b"e")),
        (Kind::Register, LocalOp::RegisterSet(b"v")),
    ] {
        assert!(apply(&mut stage, kind, kind.name().as_bytes(), op).is_ok());
    }
    stage.engine.commit(now, &mut segment);
    assert_eq!(stage.engine.stats().unpublished, 1);
    let refused = [
        (Kind::Register, "register", LocalOp::RegisterSet(b"w")),
        (Kind::Set, "set", LocalOp::SetInsert(b"f")),
        (Kind::Counter, "new", LocalOp::CounterAdd(1)),
        (Kind::FlagEnableWins, "new", LocalOp::Enable),
        (Kind::FlagDisableWins, "new", LocalOp::Disable),
    ];
    for (kind, key, op) in refused {
        assert_eq!(apply(&mut stage, kind, key.as_bytes(), op), Err(OpError::CapacityExceeded), "{op:?}");
    }
    assert_eq!(apply(&mut stage, Kind::Counter, b"counter", LocalOp::CounterAdd(1)), Ok(own(4)));
    assert_eq!(apply(&mut stage, Kind::Set, b"set", LocalOp::SetRemove(b"e")), Ok(own(5)));
    // It is tried again after a tenth of a second, and there is room now.
    commit(&mut stage);
    assert_eq!(stage.engine.stats().unpublished, 1, "not yet");
    stage.now_ns += 100_000_000 - 1;
    let now = stage.now();
    stage.engine.tick(now);
    commit(&mut stage);
    assert_eq!(stage.engine.stats().unpublished, 1, "not yet");
    stage.now_ns += 1;
    let now = stage.now();
    stage.engine.tick(now);
    commit(&mut stage);
    assert_eq!(stage.engine.stats().unpublished, 0);
}

#[test]
fn a_key_needs_a_place_in_the_segment_before_it_is_made() {
    let mut stage = stage_of(EngineConfig { limits: EngineLimits::default(), ..config() });
    let (now, mut segment) = (stage.now(), Small(2));
    assert!(apply(&mut stage, Kind::Counter, b"a", LocalOp::CounterAdd(1)).is_ok());
    stage.engine.commit(now, &mut segment);
    assert!(apply(&mut stage, Kind::Counter, b"b", LocalOp::CounterAdd(1)).is_ok());
    assert_eq!(
        apply(&mut stage, Kind::Counter, b"c", LocalOp::CounterAdd(1)),
        Err(OpError::CapacityExceeded),
        "the last place is taken, if not published yet"
    );
    stage.engine.commit(now, &mut segment);
    assert_eq!(
        apply(&mut stage, Kind::Counter, b"c", LocalOp::CounterAdd(1)),
        Err(OpError::CapacityExceeded)
    );
    assert!(apply(&mut stage, Kind::Counter, b"b", LocalOp::CounterAdd(1)).is_ok());
}

/// What the engine sends of its own operations: how many dots each record names.
fn dots_sent(stage: &mut Stage) -> Vec<usize> {
    let mut named = Vec::new();
    for (slot, header, payload) in stage.run(stage::MS) {
        if slot != 0 || header.frame_type != FrameType::Data {
            continue;
        }
        let mut rest = &payload[..];
        for _ in 0..header.count {
            let (record, len) = decode_delta(rest, OWN).unwrap();
            rest = &rest[len..];
            if let Op::Add { superseded: dots, .. } | Op::Remove { removed: dots, .. } = record.op {
                named.push(dots.len());
            }
        }
    }
    named
}

#[test]
fn what_supersedes_more_than_a_record_holds_takes_several() {
    let mut stage = Stage::crowded();
    assert_eq!(apply(&mut stage, Kind::Set, b"set", LocalOp::SetRemove(b"e")), Ok(own(3)));
    assert_eq!(dots_sent(&mut stage), [48, 48, 4]);
    let mut stage = Stage::crowded();
    assert_eq!(apply(&mut stage, Kind::Set, b"set", LocalOp::SetInsert(b"e")), Ok(own(3)));
    assert_eq!(dots_sent(&mut stage), [48, 48, 4]);
    assert_eq!(apply(&mut stage, Kind::Set, b"set", LocalOp::SetRemove(b"e")), Ok(own(4)));
    assert_eq!(dots_sent(&mut stage), [1]);
}

/// What a publisher was told of keys: kind, hash and key.
#[derive(Default)]
struct Told(Vec<(Kind, u64, Vec<u8>)>);

impl Publisher for Told {
    fn open(&mut self, kind: Kind, key_hash: u64, key: &[u8]) -> Option<u32> {
        self.0.push((kind, key_hash, key.to_vec()));
        Some(self.0.len() as u32)
    }
    fn word(&mut self, _: u32, _: u64) -> Published {
        Published::Visible
    }
    fn bytes(&mut self, _: u32, _: &[u8]) -> Published {
        Published::Visible
    }
    fn element(&mut self, _: u32, _: &[u8], _: bool) -> Published {
        Published::Visible
    }
}

/// Readers find a key by its hash, which is part of the segment's ABI: XXH64 with the seed 0.
#[test]
fn a_key_is_opened_once_with_its_published_hash() {
    let mut stage = stage_of(config());
    let (now, mut told) = (stage.now(), Told::default());
    for _ in 0..2 {
        assert!(apply(&mut stage, Kind::Counter, b"hits", LocalOp::CounterAdd(1)).is_ok());
        stage.engine.commit(now, &mut told);
    }
    let hash = xxhash_rust::xxh64::xxh64(b"hits", 0);
    assert_eq!(told.0, [(Kind::Counter, hash, b"hits".to_vec())]);
}

#[test]
fn an_engine_is_who_it_was_told_to_be_and_draws_by_its_seed() {
    let stage = stage_of(EngineConfig { shard: 5, ..config() });
    assert_eq!((stage.engine.shard(), stage.engine.actor(), stage.engine.session()), (5, OWN, SESSION));
    let first_id = |random_seed| stage_of(EngineConfig { random_seed, ..config() }).provoke_sync();
    assert_eq!(first_id(1), first_id(1));
    assert_ne!(first_id(1), first_id(2));
}
