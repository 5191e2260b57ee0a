//! Any bytes in a client ring, seen from a whole worker: a hostile client loses its rings, and nobody else notices.
//!
//! ```text
//!   honest client ── submissions ──> ring ──┐
//!                                           ├──> worker (engine, segment, no network) ──> readers
//!   hostile client ── stores anywhere ──> ring ──┘
//! ```
//!
//! The hostile client has its whole ring file mapped, so here it writes anywhere into the descriptor, uses its library
//! in between, comes back with new rings when it was let go, and detaches in the middle of something.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::LazyLock;

use crossbeam_channel::{Receiver, Sender, bounded};
use lattice_crdt::{ActorId, Kind};
use lattice_engine::{Engine, EngineConfig, EngineLimits, EngineTimers, Instant, Storage};
use lattice_port::memory::{MemoryNode, network};
use lattice_segment::ring::layout::{LINES_WORDS, RING_HEADER_BYTES, SUBMISSION_TAIL};
use lattice_segment::{
    Lookup, Reader, RingConfig, RingProducer, Segment, SegmentConfig, Submission, SubmitOp, Target,
    create_rings, key_hash, shard_of,
};
use lattice_worker::{
    Command, Credentials, Event, Handoff, Turn, Worker, WorkerConfig, WorkerParts, WorkerStatus,
};
use tempfile::TempDir;

use crate::input::Input;
use crate::wire::CLUSTER;

/// Two workers, of which the first one runs: keys of the second's shard are another worker's.
const WORKERS: u16 = 2;
const SHARDS: u16 = 2;
const SLOTS: u32 = 32;
const BUDGET_SLOTS: usize = 24;
/// A key of the first shard that the hostile client would have to guess.
static HONEST_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| key_of_first_shard("honest 7c1d9be2f0 "));
const HONEST: u64 = 1;
/// Turns after which everything that the honest client submitted is carried out, whatever the other one does: its
/// operation may have to wait for one commit, and is then offered first.
const PATIENCE_TURNS: usize = 4;
/// Steps of one input.
const MAX_STEPS: usize = 200;

/// The first key with this beginning that the running worker owns.
pub(crate) fn key_of_first_shard(beginning: &str) -> Vec<u8> {
    let mut keys = (0u32..).map(|number| format!("{beginning}{number}").into_bytes());
    keys.find(|key| shard_of(key_hash(key), SHARDS) == 0).expect("half of all keys")
}

struct Client {
    id: u64,
    rings: Vec<RingProducer>,
    memory: File,
}

struct Stage {
    worker: Worker,
    commands: Sender<Command>,
    events: Receiver<Event>,
    reader: Reader,
    now_ns: u64,
    honest: Client,
    hostile: Client,
    /// How many submissions of the honest client there are.
    submitted: u64,
    /// Hostile clients that were told to go, or were let go.
    faults: u64,
    gone: bool,
    detached: bool,
    next_id: u64,
    _segment: Segment,
    _directory: TempDir,
}

/// Where small files cost no disk, if there is such a place.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory")
}

fn instant(now_ns: u64) -> Instant {
    Instant { monotonic_ns: now_ns, wall_ns: 1_800_000_000_000_000_000 + now_ns }
}

fn parts(directory: &TempDir) -> (WorkerParts, Segment) {
    let (segment, mut writers) = Segment::create_as(
        &SegmentConfig {
            path: directory.path().join("segment"),
            node: 1,
            node_name: "fuzzed".into(),
            cluster: "fuzz".into(),
            actor: 1 << 48 | 1,
            workers: WORKERS,
            shards: SHARDS,
            cells_per_worker: 64,
            extent_bytes_per_worker: 32 << 10,
            change_ring_entries: 64,
            heartbeat_timeout_ns: 1_000_000_000,
            socket_path: None,
        },
        0x1234_5678_9ABC_DEF0,
    )
    .expect("a segment");
    let mut config = WorkerConfig::new(0, WORKERS, SHARDS, 7400);
    (config.client_budget_slots, config.max_clients) = (BUDGET_SLOTS, 2);
    let engine = EngineConfig {
        actor: ActorId::new(1, 1),
        session: 1,
        shard: 0,
        cluster_tag: CLUSTER,
        peers: Vec::new(),
        storage: Storage::Memory,
        limits: EngineLimits {
            max_keys: 32,
            log_bytes: 32 << 10,
            log_records: 64,
            max_burst_ops: 16,
            ..EngineLimits::default()
        },
        timers: EngineTimers::default(),
        random_seed: 1,
    };
    let engine = Engine::in_memory(engine, instant(1)).expect("a good configuration");
    let alone = MemoryNode { local: IpAddr::V4(Ipv4Addr::LOCALHOST), peers: Vec::new() };
    let port = network(&[alone], 1).expect("an eventfd").remove(0);
    let handoff = Handoff::for_workers(WORKERS, 2).expect("eventfds").remove(0);
    let parts = WorkerParts {
        config,
        engines: vec![engine],
        port: Box::new(port),
        writer: writers.remove(0),
        handoff,
        storage: None,
    };
    (parts, segment)
}

impl Stage {
    fn new() -> Self {
        let directory = directory();
        let (parts, segment) = parts(&directory);
        segment.mark_ready();
        let reader = Reader::open(directory.path().join("segment")).expect("the segment");
        let (commands, command_receiver) = bounded(8);
        let (event_sender, events) = bounded(8);
        let worker = Worker::new(parts, command_receiver, event_sender).expect("parts that fit");
        let (honest, hostile) = (attach(HONEST, &commands), attach(2, &commands));
        let mut stage = Self {
            worker,
            commands,
            events,
            reader,
            now_ns: 1,
            honest,
            hostile,
            submitted: 0,
            faults: 0,
            gone: false,
            detached: false,
            next_id: 3,
            _segment: segment,
            _directory: directory,
        };
        // The honest client is first at its key.
        stage.add(1);
        stage.turn();
        stage
    }

    fn turn(&mut self) {
        self.now_ns += 10_000;
        assert_ne!(self.worker.turn_at(instant(self.now_ns)), Turn::Stopped);
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::ClientFault { id, why, .. } => {
                    assert_eq!(id, self.hostile.id, "only who lies is let go: {why}");
                    assert!(!self.gone, "and once");
                    (self.gone, self.faults) = (true, self.faults + 1);
                }
                Event::ClientDetached { id, .. } => {
                    assert!(id == self.hostile.id && self.detached && !self.gone);
                    self.gone = true;
                }
                Event::Degraded { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The honest client adds to its counter.
    fn add(&mut self, amount: i64) {
        let submission = Submission {
            op: SubmitOp::CounterAdd,
            kind: Kind::Counter as u8,
            target: Target::Key(&HONEST_KEY),
            amount,
            data: &[],
        };
        self.submitted += u64::from(self.honest.rings[0].submit(&submission).is_ok());
    }

    /// Everything of the honest client is carried out, soon.
    fn settle(&mut self) {
        for _ in 0..PATIENCE_TURNS + self.submitted as usize {
            if self.honest.rings[0].applied() >= self.submitted {
                break;
            }
            self.turn();
        }
        assert_eq!(self.honest.rings[0].applied(), self.submitted, "an honest client is starved");
        assert_eq!(self.honest.rings[0].take_failure(), None);
        let Lookup::Found(cell) = self.reader.lookup(Kind::Counter as u8, &HONEST_KEY) else {
            panic!("the honest client's counter is not published");
        };
        // What its value is, others may have a say in: a handle to it is theirs to use.
        assert!(self.reader.word(cell).is_ok() && self.reader.version(cell).is_ok_and(|version| version > 0));
    }

    /// The hostile client uses its library.
    fn submit(&mut self, input: &mut Input<'_>) {
        const DATA: [u8; 1024] = [3; 1024];
        let op = SubmitOp::from_number(1 + input.u8() % 8).expect("an operation");
        let (kind, amount) = (1 + input.u8() % 6, input.number() as i64);
        if op == SubmitOp::Mark {
            let ring = input.below(self.hostile.rings.len());
            let _ = self.hostile.rings[ring].submit(&Submission::mark(kind % 2 == 0, amount % 2 == 0));
            return;
        }
        let target = match input.below(3) {
            0 => Target::Cell { cell: input.u8().into(), generation: 0x9ABC_DEF0 },
            1 => Target::Cell { cell: input.u32(), generation: input.u32() },
            _ => Target::Key(input.string()),
        };
        let data = &DATA[..usize::from(input.u16()) % 1025];
        let ring = input.below(self.hostile.rings.len());
        let _ = self.hostile.rings[ring].submit(&Submission { op, kind, target, amount, data });
    }

    /// It stores a word, or a few bytes, anywhere in its file.
    fn scribble(&mut self, input: &mut Input<'_>) {
        let len = self.hostile.memory.metadata().expect("a length").len();
        // The lines of the first worker's ring, its slots, or anywhere.
        let at = match input.below(4) {
            0 => 4096 + input.below(LINES_WORDS) as u64 * 8,
            1 | 2 => 4096 + LINES_WORDS as u64 * 8 + u64::from(input.u16() % (SLOTS as u16 * 8)) * 8,
            _ => u64::from(input.u16()) % (len / 8) * 8,
        };
        match input.below(3) {
            0 => {
                let bytes = input.string();
                let bytes = &bytes[..bytes.len().min((len - at) as usize)];
                self.hostile.memory.write_all_at(bytes, at).expect("its own memory");
            }
            how => {
                let mut old = [0; 8];
                self.hostile.memory.read_exact_at(&mut old, at).expect("its own memory");
                let number = input.number();
                let old = if how == 1 { 0 } else { u64::from_le_bytes(old) };
                let new = old.wrapping_add(number).to_le_bytes();
                self.hostile.memory.write_all_at(&new, at).expect("its own memory");
            }
        }
    }

    /// It goes, or comes back.
    fn come_and_go(&mut self) {
        if self.gone {
            self.hostile = attach(self.next_id, &self.commands);
            (self.gone, self.detached, self.next_id) = (false, false, self.next_id + 1);
        } else if !self.detached {
            self.commands.try_send(Command::DetachClient { id: self.hostile.id }).expect("room");
            self.detached = true;
        }
        self.turn();
    }

    fn status(&mut self) -> WorkerStatus {
        let (reply, status) = bounded(1);
        self.commands.try_send(Command::Status(reply)).expect("room");
        self.turn();
        status.try_recv().expect("an answer in the same turn")
    }

    fn judge(mut self) {
        self.settle();
        if !self.gone {
            // Whatever it was up to: an index that jumps is the end of it, at once.
            let tail = (RING_HEADER_BYTES + 8 * SUBMISSION_TAIL) as u64;
            self.hostile.memory.write_all_at(&(1u64 << 40).to_le_bytes(), tail).expect("its own memory");
            self.turn();
            assert!(self.gone, "a client whose index jumped is kept");
        }
        let status = self.status();
        let stats = &status.loop_stats;
        assert_eq!(status.clients, 1);
        assert_eq!((stats.clients_faulted, stats.port_errors), (self.faults, 0));
        let [shard] = &status.shards[..] else { panic!("one shard") };
        assert_eq!(shard.stats.ops_applied, stats.submissions - stats.submissions_refused);
        assert!(shard.keys <= 32 && stats.submissions >= self.submitted);
    }
}

fn attach(id: u64, commands: &Sender<Command>) -> Client {
    let config = RingConfig { submission_slots: SLOTS, completion_slots: SLOTS };
    let (memory, consumers) = create_rings(WORKERS, config).expect("rings");
    let rings = RingProducer::map(&memory).expect("rings that were just made");
    let consumer = consumers.into_iter().next().expect("the first worker's");
    commands
        .try_send(Command::AttachClient { id, consumer, wakeup: None, who: Credentials::default() })
        .expect("room");
    Client { id, rings, memory: File::from(memory) }
}

/// Steps of a hostile client beside an honest one.
pub fn clients(data: &[u8]) {
    let mut input = Input::new(data);
    let mut stage = Stage::new();
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        match input.below(8) {
            0 | 1 => stage.scribble(&mut input),
            2 | 3 => stage.submit(&mut input),
            4 => stage.add(input.number() as i64),
            5 => stage.settle(),
            6 => stage.come_and_go(),
            _ => (0..1 + input.below(4)).for_each(|_| stage.turn()),
        }
    }
    stage.judge();
}
