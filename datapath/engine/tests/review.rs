//! What a review suspected: frames of the past, hosts that stop, tables that are nearly full, peers that lie.

mod world;

use lattice_crdt::{ActorId, Kind, SeqRange};
use lattice_engine::{
    DropReason, Engine, EngineConfig, EngineLimits, EngineTimers, Instant, LocalOp, OpError, Published,
    Publisher,
};
use lattice_wire::{
    FrameType, FrameWriter, Header, Heartbeat, MAX_FRAME_BYTES, SyncAck, SyncItem, SyncRequest, VectorPart,
    decode_frame,
};
use world::{CLUSTER, Faults, World};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// Whoever reads it sees nothing.
struct Blind;

impl Publisher for Blind {
    fn open(&mut self, _: Kind, _: u64, _: &[u8]) -> Option<u32> {
        Some(0)
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

/// One engine, and a peer that is played by the test: its frames are well formed, whatever they say.
struct Stage {
    engine: Engine,
    now_ns: u64,
    wall_ahead_ns: u64,
}

const OWN: ActorId = ActorId::new(1, 7);
const SESSION: u32 = 77;

/// What the engine sent: to which slot, the header and the payload.
type Sent = Vec<(usize, Header, Vec<u8>)>;

fn puppet(slot: usize) -> ActorId {
    ActorId::new(slot as u16 + 2, 9)
}

impl Stage {
    fn new(timers: EngineTimers) -> Self {
        let config = EngineConfig {
            actor: OWN,
            session: SESSION,
            shard: 0,
            cluster_tag: CLUSTER,
            peers: vec![2, 3],
            limits: EngineLimits::default(),
            timers,
            random_seed: 1,
        };
        let now = Instant { monotonic_ns: 0, wall_ns: SECOND };
        Self { engine: Engine::new(config, now).unwrap(), now_ns: 0, wall_ahead_ns: 0 }
    }

    fn now(&self) -> Instant {
        Instant {
            monotonic_ns: self.now_ns,
            wall_ns: 1_700_000_000 * SECOND + self.now_ns + self.wall_ahead_ns,
        }
    }

    fn header(frame_type: FrameType, slot: usize) -> Header {
        Header {
            frame_type,
            cluster_tag: CLUSTER,
            node: puppet(slot).node(),
            dest_node: 1,
            shard: 0,
            actor: puppet(slot),
            src_session: 500 + slot as u32,
            dst_session: SESSION,
            lo: 0,
            count: 0,
            log_first: 1,
        }
    }

    /// Hands the engine one frame of a puppet.
    fn play(&mut self, header: Header, write: impl FnOnce(&mut FrameWriter<'_>)) -> Result<(), DropReason> {
        let mut buffer = [0; MAX_FRAME_BYTES];
        let mut writer = FrameWriter::new(&mut buffer, header).unwrap();
        write(&mut writer);
        let len = writer.finish();
        let now = self.now();
        self.engine.receive(now, &buffer[..len])
    }

    fn hello(&mut self, slot: usize) {
        let header = Header { count: 1, ..Self::header(FrameType::Hello, slot) };
        self.play(header, |frame| VectorPart::encode(frame, 0, 1, []).unwrap()).unwrap();
    }

    fn heartbeat(&mut self, slot: usize, log_first: u64) {
        let header = Header { log_first, ..Self::header(FrameType::Heartbeat, slot) };
        let wall_ns = 1_700_000_000 * SECOND + self.now_ns;
        let beat = Heartbeat { state_digest: 1, vector_digest: 1, wall_ns, last_seq: 0 };
        self.play(header, |frame| beat.encode(frame).unwrap()).unwrap();
    }

    /// Everything that the engine sends in the next `for_ns`.
    fn run(&mut self, for_ns: u64) -> Sent {
        let end_ns = self.now_ns + for_ns;
        let mut sent = Vec::new();
        while self.now_ns < end_ns {
            let now = self.now();
            self.engine.commit(now, &mut Blind);
            if self.engine.deadline_ns() <= self.now_ns {
                self.engine.tick(now);
            }
            let mut buffer = [0; MAX_FRAME_BYTES];
            while let Some((slot, len)) = self.engine.transmit(now, &mut buffer) {
                let frame = decode_frame(&buffer[..len], CLUSTER).unwrap();
                sent.push((slot, frame.header, frame.payload.to_vec()));
            }
            self.now_ns += 100_000;
        }
        sent
    }

    /// Makes the engine ask the puppet in slot 0 for a state sync; returns its id.
    fn provoke_sync(&mut self) -> u32 {
        self.hello(0);
        self.heartbeat(0, 10);
        let sent = self.run(MS);
        let request = sent.iter().find(|(_, header, _)| header.frame_type == FrameType::SyncRequest);
        SyncRequest::decode(&request.expect("a request").2).unwrap().sync_id
    }

    fn sync_data(&mut self, id: u32, index: u64, items: &[SyncItem<'_>]) -> Result<(), DropReason> {
        let header = Header { lo: index, count: items.len() as u32, ..Self::header(FrameType::SyncData, 0) };
        self.play(header, |frame| {
            frame.push_sync_id(id).unwrap();
            items.iter().for_each(|item| frame.push_item(item).unwrap());
        })
    }

    fn sync_request(&mut self, id: u32) -> Result<(), DropReason> {
        self.play(Self::header(FrameType::SyncRequest, 0), |frame| {
            SyncRequest::encode(frame, id, 0, 1, [(puppet(0), SeqRange { first: 1, last: 1 })]).unwrap();
        })
    }

    fn sync_ack(&mut self, sync_id: u32, cumulative: u64) -> Result<(), DropReason> {
        let ack = SyncAck { sync_id, cumulative, bitmap: 0, abort: false };
        self.play(Self::header(FrameType::SyncAck, 0), |frame| ack.encode(frame).unwrap())
    }

    fn fill(&mut self, keys: u32) {
        for key in 0..keys {
            let now = self.now();
            let value = [7; 400];
            self.engine.apply(now, Kind::Register, &key.to_le_bytes(), LocalOp::RegisterSet(&value)).unwrap();
            self.engine.commit(now, &mut Blind);
        }
    }
}

/// Ids of the syncs that the engine sent frames of, in order, each once.
fn served(sent: &Sent) -> Vec<u32> {
    let data = sent.iter().filter(|(_, header, _)| header.frame_type == FrameType::SyncData);
    let mut ids: Vec<u32> = data.map(|(_, _, p)| u32::from_le_bytes(p[..4].try_into().unwrap())).collect();
    ids.dedup();
    ids
}

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
        SyncItem::Begin { full_walk: false },
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
        SyncItem::Begin { full_walk: false },
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

fn tiny_limits() -> EngineLimits {
    EngineLimits {
        max_keys: 1024,
        log_bytes: 32 << 10,
        log_records: 32,
        max_ranges_per_actor: 3,
        max_pre_removed: 6,
        max_burst_ops: 64,
        max_window_frames: 16,
        ..Default::default()
    }
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let factor =
        std::env::var("LATTICE_SEED_FACTOR").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1);
    let first = std::env::var("LATTICE_SEED_FIRST").ok().and_then(|first| first.parse().ok()).unwrap_or(0);
    first..first + count * factor
}

fn assert_as_specified(world: &World, seed: u64) {
    for (node, host) in world.hosts.iter().enumerate() {
        let mut shown = host.board.view.clone();
        let mut expected = world.expected(node);
        shown.members.retain(|_, members| !members.is_empty());
        expected.members.retain(|_, members| !members.is_empty());
        expected.words.retain(|name, word| *word != 0 || shown.words.contains_key(name));
        assert_eq!(shown, expected, "seed {seed}, host {node}");
    }
}

/// No frames but heartbeats and vectors, and no table that still waits.
fn assert_silent(world: &mut World, seed: u64) {
    for _ in 0..3000 {
        world.step(MS);
    }
    let hosts = world.hosts.len() as u64;
    let sent = |world: &World| world.hosts.iter().map(|host| host.engine.stats().frames_sent).sum::<u64>();
    let before = sent(world);
    for _ in 0..1000 {
        world.step(MS);
    }
    let (frames, beats) = (sent(world) - before, hosts * (hosts - 1) * 10);
    assert!(frames <= beats + hosts * 8, "seed {seed}: {frames} frames in a silent second, {beats} expected");
}

/// Every fault at once: partitions in one direction, pauses, frames of the past, tables that are nearly full.
fn hostile_run(seed: u64, limits: EngineLimits, restarts: bool) {
    let hosts = 2 + seed as usize % 5;
    let faults = Faults {
        loss_percent: seed * 7 % 40,
        copy_percent: seed % 30,
        max_delay_ns: 1 + (seed % 7) * 2 * MS,
    };
    let mut world = World::new(seed, hosts, limits, faults);
    world.replay_percent = seed % 4 * 5;
    for step in 0..3000 {
        let (one, other) = (world.draw.below(hosts as u64) as usize, world.draw.below(hosts as u64) as usize);
        match world.draw.below(400) {
            0..=3 if one != other => drop(world.cut.insert((one, other))),
            4 => world.cut.clear(),
            5 => drop(world.paused.insert(one)),
            6..=8 => drop(world.paused.pop_first()),
            9 if restarts => world.restart_empty(one),
            10 => world.isolate(one, true),
            _ => {}
        }
        for _ in 0..world.draw.below(4) {
            let host = world.draw.below(hosts as u64) as usize;
            if !world.paused.contains(&host) && step < 2500 {
                world.random_op(host);
            }
        }
        world.step(MS);
    }
    world.heal(seed, 60 * SECOND);
    for _ in 0..1200 {
        world.step(MS);
    }
    if !restarts {
        assert_as_specified(&world, seed);
        let left: u64 = world.hosts.iter().map(|host| host.engine.stats().pre_removed).sum();
        assert_eq!(left, 0, "seed {seed}: pre-removed dots are left");
    }
    assert!(world.converged(), "seed {seed}: equal, then no longer");
    assert_silent(&mut world, seed);
}

#[test]
fn every_fault_with_tiny_tables() {
    for seed in seeds(30) {
        hostile_run(seed, tiny_limits(), false);
    }
}

#[test]
fn every_fault_with_restarts() {
    for seed in seeds(30) {
        hostile_run(seed, EngineLimits { max_pre_removed: 64, ..tiny_limits() }, true);
    }
}

#[test]
fn one_deaf_direction_is_routed_around() {
    for seed in seeds(10) {
        let limits = EngineLimits { log_bytes: 32 << 10, log_records: 32, ..tiny_limits() };
        let faults = Faults { loss_percent: 0, copy_percent: 0, max_delay_ns: 50_000 };
        let mut world = World::new(seed, 3, limits, faults);
        for _ in 0..100 {
            world.step(MS);
        }
        world.isolate(2, true);
        for step in 0..200u32 {
            world.apply(0, Kind::Counter, &[step as u8], LocalOp::CounterAdd(1)).unwrap();
            world.step(MS);
        }
        world.isolate(2, false);
        // Host 2 hears host 0, but not the other way round: only host 1 can bring what host 0 wrote.
        world.cut.insert((2, 0));
        let begin_ns = world.now_ns;
        while world.hosts[2].engine.state_digest() != world.hosts[0].engine.state_digest() {
            world.step(MS);
            assert!(world.now_ns - begin_ns < 12 * SECOND, "seed {seed}: not routed around in 12 s");
        }
    }
}
