//! What a review suspected: frames of the past, hosts that stop, tables that are nearly full, peers that lie.

mod world;

use lattice_crdt::{ActorId, Dot, Hlc, Kind, SeqRange};
use lattice_engine::{
    DropReason, Engine, EngineConfig, EngineLimits, EngineTimers, Instant, LocalOp, OpError, Published,
    Publisher,
};
use lattice_wire::{
    Ack, Dots, FrameType, FrameWriter, Header, Heartbeat, MAX_FRAME_BYTES, Op, Record, SyncAck, SyncItem,
    SyncRequest, VectorPart, decode_frame,
};
use world::{CLUSTER, Draw, Faults, World};

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

/// Requests for a sync that went to the peer in `slot`, each with the number of actors that its vector names.
fn requests(sent: &Sent, slot: usize) -> Vec<usize> {
    let all =
        sent.iter().filter(|(to, header, _)| *to == slot && header.frame_type == FrameType::SyncRequest);
    all.map(|(_, _, payload)| SyncRequest::decode(payload).unwrap().vector.len()).collect()
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

#[test]
fn a_pause_does_not_look_like_a_clock_that_is_ahead() {
    let mut world =
        World::new(3, 2, tiny_limits(), Faults { loss_percent: 0, copy_percent: 0, max_delay_ns: 50_000 });
    for _ in 0..1000 {
        world.step(MS);
    }
    world.paused.insert(0);
    for step in 0..5000 {
        // What was sent in the first second is all that waits for it.
        if step == 1000 {
            world.isolate(0, true);
        }
        world.step(MS);
    }
    world.paused.clear();
    for _ in 0..500 {
        world.step(MS);
        world.apply(0, Kind::Register, b"r", LocalOp::RegisterSet(b"v")).unwrap();
    }
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

#[test]
fn what_only_a_sync_showed_before_its_origin_died_is_the_same_everywhere() {
    for seed in seeds(5) {
        let faults = Faults { loss_percent: 0, copy_percent: 0, max_delay_ns: 50_000 };
        let mut world = World::new(seed, 3, tiny_limits(), faults);
        for key in 0..300u32 {
            let value = [1; 400];
            world.apply(2, Kind::Register, &key.to_le_bytes(), LocalOp::RegisterSet(&value)).unwrap();
            world.step(MS);
        }
        world.apply(2, Kind::Counter, b"total", LocalOp::CounterAdd(1)).unwrap();
        for _ in 0..3000 {
            world.step(MS);
        }
        assert!(world.converged());
        world.isolate(0, true);
        for key in 0..300u32 {
            world.apply(2, Kind::Register, &key.to_le_bytes(), LocalOp::RegisterSet(b"new")).unwrap();
            world.step(MS);
        }
        world.apply(2, Kind::Counter, b"total", LocalOp::CounterAdd(1)).unwrap();
        for _ in 0..20 {
            world.step(MS);
        }
        world.isolate(0, false);
        world.mute = Some(2);
        let before = world.hosts[0].engine.stats().syncs_completed;
        while world.hosts[0].engine.stats().syncs_completed == before {
            world.apply(2, Kind::Counter, b"total", LocalOp::CounterAdd(1)).unwrap();
            world.step(100_000);
        }
        world.restart_empty(2);
        world.heal(seed, 20 * SECOND);
    }
}

#[test]
fn a_large_sync_gets_through_heavy_loss() {
    let limits = EngineLimits { max_keys: 10_000, max_window_frames: 64, ..tiny_limits() };
    let faults = Faults { loss_percent: 0, copy_percent: 0, max_delay_ns: 50_000 };
    let mut world = World::new(1, 3, limits, faults);
    // Epochs that never saw each other add one element: more dots than an item of a sync holds.
    for _ in 0..60 {
        world.isolate(0, true);
        world.restart_empty(0);
        world.step(MS);
        world.apply(0, Kind::Set, b"set", LocalOp::SetInsert(b"element")).unwrap();
        world.step(MS);
        world.isolate(0, false);
        (0..450).for_each(|_| world.step(MS));
    }
    for key in 0..6000u32 {
        world.apply(1, Kind::Register, &key.to_le_bytes(), LocalOp::RegisterSet(&[5; 100])).unwrap();
        world.step(MS);
    }
    world.faults.loss_percent = 30;
    world.faults.max_delay_ns = 2 * MS;
    world.restart_empty(2);
    let begin_ns = world.now_ns;
    while !world.converged() {
        world.step(MS);
        assert!(world.now_ns - begin_ns < 30 * SECOND, "not converged in 30 s of loss");
    }
    let served: u64 = world.hosts.iter().map(|host| host.engine.stats().syncs_served).sum();
    assert!(served > 0);
    world.apply(2, Kind::Set, b"set", LocalOp::SetClear).unwrap();
    world.heal(1, 10 * SECOND);
    assert_eq!(world.hosts[1].board.view.members[&b"set"[..]].len(), 0);
}

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
    match draw.below(12) {
        0 => SyncItem::Begin { full_walk: draw.chance(10) },
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
        _ => SyncItem::End,
    }
}

/// One well-formed frame that lies about everything else.
fn lie(stage: &mut Stage, draw: &mut Draw, sync: Option<(u32, u64)>) {
    let slot = draw.below(2) as usize;
    let types = FrameType::ALL;
    let frame_type = if draw.chance(40) { FrameType::SyncData } else { types[draw.below(8) as usize] };
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
            FrameType::Hello | FrameType::Vector => {
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
