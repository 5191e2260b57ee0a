//! A small seeded world for engines: a network that loses, copies and reorders frames, hosts that crash, and an oracle
//! that knows each type's specification.
//!
//! The oracle reads the records that engines append to their logs, so it knows every dot and what each operation
//! superseded, and evaluates the specification on exactly the dots that a vector covers.

use lattice_crdt::{ActorId, Dot, Hlc, Kind};
use lattice_engine::{
    Engine, EngineConfig, EngineLimits, EngineTimers, Instant, LocalOp, LogStore, MemoryLog, OpError,
    Published, Publisher, RecoverError, Recovery, Storage,
};
use lattice_wire::{FrameType, MAX_FRAME_BYTES, Op, decode_record};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

pub const CLUSTER: u32 = 0x1A77_1CED;
const MS: u64 = 1_000_000;

/// xorshift64*: the world's own draws.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 33) % bound.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

type Records = Rc<RefCell<BTreeMap<Dot, Vec<u8>>>>;

/// A log that shows the oracle every record.
pub struct WitnessedLog {
    inner: MemoryLog,
    actor: ActorId,
    witness: Records,
}

impl LogStore for WitnessedLog {
    fn append(&mut self, record: &[u8]) -> u64 {
        let seq = self.inner.append(record);
        let before = self.witness.borrow_mut().insert(Dot { actor: self.actor, seq }, record.to_vec());
        assert_eq!(before, None, "dot {seq} of {:?} was used twice", self.actor);
        seq
    }
    fn first_seq(&self) -> u64 {
        self.inner.first_seq()
    }
    fn last_seq(&self) -> u64 {
        self.inner.last_seq()
    }
    fn record(&self, seq: u64) -> Option<&[u8]> {
        self.inner.record(seq)
    }
    fn begin_epoch(&mut self, actor: ActorId) {
        self.actor = actor;
        self.inner.begin_epoch(actor);
    }
}

/// What readers of a host see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub words: BTreeMap<(Kind, Vec<u8>), u64>,
    pub bytes: BTreeMap<Vec<u8>, Vec<u8>>,
    pub members: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
}

/// A published segment with room for `room` keys.
pub struct Board {
    cells: Vec<(Kind, Vec<u8>)>,
    index: HashMap<(Kind, Vec<u8>), u32>,
    pub room: usize,
    pub view: View,
}

impl Board {
    pub fn new(room: usize) -> Self {
        Self { cells: Vec::new(), index: HashMap::new(), room, view: View::default() }
    }
}

impl Publisher for Board {
    fn open(&mut self, kind: Kind, _hash: u64, key: &[u8]) -> Option<u32> {
        let name = (kind, key.to_vec());
        if let Some(&cell) = self.index.get(&name) {
            return Some(cell);
        }
        if self.cells.len() >= self.room {
            return None;
        }
        self.cells.push(name.clone());
        self.index.insert(name, self.cells.len() as u32 - 1);
        Some(self.cells.len() as u32 - 1)
    }
    fn room(&self) -> usize {
        self.room - self.cells.len()
    }
    fn word(&mut self, cell: u32, value: u64) -> Published {
        self.view.words.insert(self.cells[cell as usize].clone(), value);
        Published::Visible
    }
    fn bytes(&mut self, cell: u32, value: &[u8]) -> Published {
        self.view.bytes.insert(self.cells[cell as usize].1.clone(), value.to_vec());
        Published::Visible
    }
    fn element(&mut self, cell: u32, element: &[u8], present: bool) -> Published {
        let members = self.view.members.entry(self.cells[cell as usize].1.clone()).or_default();
        if present {
            members.insert(element.to_vec())
        } else {
            members.remove(element)
        };
        Published::Visible
    }
}

pub struct Host {
    pub engine: Engine<WitnessedLog>,
    pub board: Board,
    pub epoch: u64,
}

#[derive(Clone, Debug)]
pub struct Faults {
    pub loss_percent: u64,
    pub copy_percent: u64,
    pub max_delay_ns: u64,
}

pub struct World {
    pub now_ns: u64,
    pub hosts: Vec<Host>,
    pub draw: Draw,
    pub faults: Faults,
    /// Pairs that can't talk: what the first sends does not reach the second.
    pub cut: BTreeSet<(usize, usize)>,
    /// Hosts that do not run, as under SIGSTOP: what comes for them waits.
    pub paused: BTreeSet<usize>,
    /// A host whose data frames are all lost, and nothing else of it.
    pub mute: Option<usize>,
    /// So many in a hundred frames are followed by one of the past, of whatever session.
    pub replay_percent: u64,
    limits: EngineLimits,
    /// What hosts that are made from now on say that they survive.
    pub storage: Storage,
    witness: Records,
    network: BTreeMap<(u64, u64), (usize, Vec<u8>)>,
    sent: u64,
    /// Frames of the past, a sample.
    past: Vec<(usize, Vec<u8>)>,
    /// Operations of epochs that are over which nobody had any more: they count as seen, without effect.
    given_up: BTreeSet<Dot>,
}

/// Frames that are kept to be replayed.
const MOST_PAST_FRAMES: usize = 512;

impl World {
    pub fn new(seed: u64, hosts: usize, limits: EngineLimits, faults: Faults) -> Self {
        let mut world = Self {
            now_ns: 1_000 * MS,
            hosts: Vec::new(),
            draw: Draw::new(seed),
            faults,
            cut: BTreeSet::new(),
            paused: BTreeSet::new(),
            mute: None,
            replay_percent: 0,
            limits,
            storage: Storage::Memory,
            witness: Records::default(),
            network: BTreeMap::new(),
            sent: 0,
            past: Vec::new(),
            given_up: BTreeSet::new(),
        };
        for node in 0..hosts {
            let host = world.make_host(node, hosts, 1);
            world.hosts.push(host);
        }
        world
    }

    fn config(&mut self, actor: ActorId, hosts: usize) -> EngineConfig {
        let node = usize::from(actor.node()) - 1;
        EngineConfig {
            actor,
            session: (self.draw.next() as u32) | 1,
            shard: 0,
            cluster_tag: CLUSTER,
            peers: (0..hosts).filter(|&peer| peer != node).map(|peer| peer as u16 + 1).collect(),
            limits: self.limits.clone(),
            timers: EngineTimers::default(),
            storage: self.storage,
            random_seed: self.draw.next(),
        }
    }

    fn make_host(&mut self, node: usize, hosts: usize, epoch: u64) -> Host {
        let actor = ActorId::new(node as u16 + 1, epoch);
        let config = self.config(actor, hosts);
        let log = self.log(actor, 0);
        let engine = Engine::with_log(config, log, self.instant()).expect("a valid configuration");
        Host { engine, board: Board::new(usize::MAX), epoch }
    }

    /// The log of an actor, holding its records up to `last_seq`.
    fn log(&self, actor: ActorId, last_seq: u64) -> WitnessedLog {
        let mut inner = MemoryLog::new(self.limits.log_bytes, self.limits.log_records);
        for seq in 1..=last_seq {
            inner.append(&self.witness.borrow()[&Dot { actor, seq }]);
        }
        WitnessedLog { inner, actor, witness: self.witness.clone() }
    }

    /// A whole snapshot of a host, as frames. Between two of them, the world goes on for `step_ns`.
    pub fn snapshot(&mut self, host: usize, step_ns: u64) -> Vec<Vec<u8>> {
        let number = self.hosts[host].engine.begin_snapshot();
        let mut frames = Vec::new();
        let mut buffer = [0; MAX_FRAME_BYTES];
        while let Some(len) = self.hosts[host].engine.write_snapshot(&mut buffer) {
            if len > 0 {
                frames.push(buffer[..len].to_vec());
            }
            if step_ns > 0 {
                self.step(step_ns);
            }
        }
        assert!(self.hosts[host].engine.snapshot_is_whole(number));
        assert!(self.hosts[host].engine.snapshot_is_durable(number));
        frames
    }

    /// A start from storage: the snapshot, and the log up to `last_seq`, in the same epoch or in a new one.
    pub fn restart_from(
        &mut self,
        host: usize,
        snapshot: &[Vec<u8>],
        last_seq: u64,
        same_epoch: bool,
    ) -> Result<(), RecoverError> {
        let hosts = self.hosts.len();
        let old = ActorId::new(host as u16 + 1, self.hosts[host].epoch);
        self.hosts[host].epoch += u64::from(!same_epoch);
        let actor = ActorId::new(host as u16 + 1, self.hosts[host].epoch);
        let config = self.config(actor, hosts);
        let log = self.log(actor, if same_epoch { last_seq } else { 0 });
        let mut recovery = Recovery::new(config, log, self.instant())?;
        for frame in snapshot {
            recovery.snapshot_frame(frame)?;
        }
        for seq in 1..=if same_epoch { 0 } else { last_seq } {
            let record = self.witness.borrow()[&Dot { actor: old, seq }].clone();
            recovery.old_record(Dot { actor: old, seq }, &record)?;
        }
        self.hosts[host].engine = recovery.finish()?;
        self.hosts[host].board = Board::new(usize::MAX);
        Ok(())
    }

    pub fn instant(&self) -> Instant {
        Instant { monotonic_ns: self.now_ns, wall_ns: 1_700_000_000_000_000_000 + self.now_ns }
    }

    /// kill -9 and a start with nothing: a new epoch.
    pub fn restart_empty(&mut self, host: usize) {
        let (hosts, epoch) = (self.hosts.len(), self.hosts[host].epoch + 1);
        self.hosts[host] = self.make_host(host, hosts, epoch);
    }

    pub fn apply(
        &mut self,
        host: usize,
        kind: Kind,
        key: &[u8],
        op: LocalOp<'_>,
    ) -> Result<Option<Dot>, OpError> {
        let now = self.instant();
        self.hosts[host].engine.apply(now, kind, key, op).map(|applied| applied.dot)
    }

    pub fn random_op(&mut self, host: usize) {
        let key = [b'k', self.draw.below(4) as u8];
        let element = [b'e', self.draw.below(5) as u8];
        let amount = self.draw.below(100) as i64 - 30;
        let value = self.draw.next().to_le_bytes();
        let (kind, op) = match self.draw.below(12) {
            0..=2 => (Kind::Counter, LocalOp::CounterAdd(amount)),
            3 => (Kind::FlagEnableWins, LocalOp::Enable),
            4 => (Kind::FlagEnableWins, LocalOp::Disable),
            5 => (Kind::FlagDisableWins, LocalOp::Enable),
            6 => (Kind::FlagDisableWins, LocalOp::Disable),
            7 => (Kind::Register, LocalOp::RegisterSet(&value)),
            8 | 9 => (Kind::Set, LocalOp::SetInsert(&element)),
            10 => (Kind::Set, LocalOp::SetRemove(&element)),
            _ => (Kind::Set, LocalOp::SetClear),
        };
        // One kind a key, or half of the operations would be refused.
        let key = [key[0], key[1], kind as u8];
        let result = self.apply(host, kind, &key, op);
        assert!(result.is_ok() || result == Err(OpError::Backpressure), "{result:?}");
    }

    /// One turn of every host, then `step_ns` pass.
    pub fn step(&mut self, step_ns: u64) {
        let mut frame = [0u8; MAX_FRAME_BYTES];
        for host in (0..self.hosts.len()).filter(|host| !self.paused.contains(host)).collect::<Vec<_>>() {
            let now = self.instant();
            let due: Vec<_> = self.network.range(..=(self.now_ns, u64::MAX)).map(|(at, _)| *at).collect();
            for at in due {
                if self.network.get(&at).is_some_and(|(to, _)| *to == host) {
                    let (_, bytes) = self.network.remove(&at).expect("just seen");
                    // What an engine drops, it counts; the tests look at the outcome.
                    let _ = self.hosts[host].engine.receive(now, &bytes);
                }
            }
            let Host { engine, board, .. } = &mut self.hosts[host];
            for &(actor, gap) in engine.last_closed() {
                self.given_up.extend((gap.first..=gap.last).map(|seq| Dot { actor, seq }));
            }
            engine.commit(now, board);
            if self.now_ns >= engine.deadline_ns() {
                engine.tick(now);
            }
            engine.commit(now, board);
            let mut budget = 64;
            while budget > 0 {
                let Some((slot, len)) = self.hosts[host].engine.transmit(now, &mut frame) else { break };
                self.carry(host, if slot < host { slot } else { slot + 1 }, &frame[..len]);
                budget -= 1;
            }
        }
        self.now_ns += step_ns;
    }

    fn carry(&mut self, from: usize, to: usize, frame: &[u8]) {
        let data = frame[lattice_wire::offsets::FRAME_TYPE] == FrameType::Data as u8;
        let lost = self.cut.contains(&(from, to)) || (data && self.mute == Some(from));
        if lost || self.draw.chance(self.faults.loss_percent) {
            return;
        }
        for _ in 0..1 + u64::from(self.draw.chance(self.faults.copy_percent)) {
            self.sent += 1;
            let at = self.now_ns + 1 + self.draw.below(self.faults.max_delay_ns);
            self.network.insert((at, self.sent), (to, frame.to_vec()));
        }
        // Heartbeats tell the time, which is for the seal's replay window to defend.
        let beat = frame[lattice_wire::offsets::FRAME_TYPE] == FrameType::Heartbeat as u8;
        if self.replay_percent > 0 && !beat {
            self.remember(to, frame);
            if self.draw.chance(self.replay_percent) {
                let again = self.draw.below(self.past.len() as u64) as usize;
                self.sent += 1;
                let at = self.now_ns + 1 + self.draw.below(self.faults.max_delay_ns);
                self.network.insert((at, self.sent), self.past[again].clone());
            }
        }
    }

    /// Keeps a frame for a replay, in place of any other once there are many.
    fn remember(&mut self, to: usize, frame: &[u8]) {
        if self.past.len() < MOST_PAST_FRAMES {
            self.past.push((to, frame.to_vec()));
        } else {
            let place = self.draw.below(MOST_PAST_FRAMES as u64) as usize;
            self.past[place] = (to, frame.to_vec());
        }
    }

    /// Isolates one host, or (`false`) connects it again.
    pub fn isolate(&mut self, host: usize, isolated: bool) {
        for other in (0..self.hosts.len()).filter(|&other| other != host) {
            for pair in [(host, other), (other, host)] {
                if isolated {
                    self.cut.insert(pair)
                } else {
                    self.cut.remove(&pair)
                };
            }
        }
    }

    /// Whether all hosts have the same state and the same vector.
    pub fn converged(&self) -> bool {
        let digests = |host: &Host| (host.engine.state_digest(), host.engine.vector_digest());
        self.hosts
            .iter()
            .all(|host| digests(host) == digests(&self.hosts[0]) && !host.engine.has_uncommitted())
    }

    /// Runs a world without faults until all hosts are equal; panics if that takes more than `most_ns`.
    pub fn heal(&mut self, seed: u64, most_ns: u64) -> u64 {
        self.faults = Faults { loss_percent: 0, copy_percent: 0, max_delay_ns: 50_000 };
        self.cut.clear();
        self.paused.clear();
        self.mute = None;
        self.replay_percent = 0;
        let begin_ns = self.now_ns;
        while !self.converged() {
            self.step(100_000);
            assert!(
                self.now_ns - begin_ns < most_ns,
                "seed {seed}: not converged after {most_ns} ns:\n{}",
                self.differences()
            );
        }
        self.now_ns - begin_ns
    }

    /// Each host's vector, counters and view: for whoever reads a failure.
    fn differences(&self) -> String {
        let line = |host: &Host| {
            format!("{:?}\n{:?}\n{:?}\n", host.engine.vector(), host.engine.stats(), host.board.view)
        };
        self.hosts.iter().map(line).collect()
    }

    /// What a replica must show that has seen exactly the dots of this host's vector.
    pub fn expected(&self, host: usize) -> View {
        let vector = self.hosts[host].engine.vector();
        let records = self.witness.borrow();
        let known: Vec<_> = records
            .iter()
            .filter(|(dot, _)| vector.clock(dot.actor).is_some_and(|clock| clock.contains(dot.seq)))
            .filter(|(dot, _)| !self.given_up.contains(dot))
            .map(|(dot, bytes)| (*dot, decode_record(bytes, dot.actor).expect("an engine's own record").0))
            .collect();
        let mut gone: BTreeSet<Dot> = BTreeSet::new();
        for (_, record) in &known {
            if let Op::Add { superseded: dots, .. } | Op::Remove { removed: dots, .. } = &record.op {
                gone.extend(dots.iter());
            }
        }
        let mut view = View::default();
        let mut sums: BTreeMap<(Vec<u8>, ActorId), i128> = BTreeMap::new();
        let mut stamps: BTreeMap<Vec<u8>, (Hlc, ActorId)> = BTreeMap::new();
        let mut sides: BTreeMap<(Kind, Vec<u8>), [bool; 2]> = BTreeMap::new();
        for (dot, record) in &known {
            let key = record.key.to_vec();
            match &record.op {
                Op::Counter { increments, decrements } => {
                    // Ascending dots: the last record of an actor stands for all before it.
                    sums.insert((key, dot.actor), *increments as i128 - *decrements as i128);
                }
                Op::Register { hlc, value } => {
                    if stamps.get(&key).is_none_or(|stamp| *stamp < (*hlc, dot.actor)) {
                        stamps.insert(key.clone(), (*hlc, dot.actor));
                        view.bytes.insert(key, value.to_vec());
                    }
                }
                Op::Add { element, .. } if record.kind == Kind::Set => {
                    let members = view.members.entry(key).or_default();
                    if !gone.contains(dot) {
                        members.insert(element.to_vec());
                    }
                }
                Op::Add { element, .. } => {
                    let side = sides.entry((record.kind, key)).or_default();
                    side[usize::from(element[0])] |= !gone.contains(dot);
                }
                Op::Remove { .. } if record.kind != Kind::Set => {
                    sides.entry((record.kind, key)).or_default();
                }
                Op::Remove { .. } => {
                    view.members.entry(key).or_default();
                }
                Op::Noop => {}
            }
        }
        for ((key, _), sum) in sums {
            let word = view.words.entry((Kind::Counter, key)).or_default();
            *word = word.wrapping_add(sum as i64 as u64);
        }
        for ((kind, key), [off, on]) in sides {
            let enabled = on && !(off && kind == Kind::FlagDisableWins);
            view.words.insert((kind, key), u64::from(enabled));
        }
        view
    }
}

/// So many seeds, times LATTICE_SEED_FACTOR where a longer run is wanted, from LATTICE_SEED_FIRST on.
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let first = number("LATTICE_SEED_FIRST").unwrap_or(0);
    first..first + count * number("LATTICE_SEED_FACTOR").unwrap_or(1)
}

/// Every host shows what the specification says of the dots that its vector covers.
pub fn assert_as_specified(world: &World, seed: u64) {
    for (node, host) in world.hosts.iter().enumerate() {
        let mut shown = host.board.view.clone();
        let mut expected = world.expected(node);
        // A set that lost its last member, or never had one, may be shown or not.
        shown.members.retain(|_, members| !members.is_empty());
        expected.members.retain(|_, members| !members.is_empty());
        expected.words.retain(|name, word| *word != 0 || shown.words.contains_key(name));
        assert_eq!(shown, expected, "seed {seed}, host {node}");
    }
}
