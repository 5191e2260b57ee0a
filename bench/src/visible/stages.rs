//! Where the time of one write goes: both hosts' workers turned by hand, one after the other, on one thread.
//!
//! ```text
//!   enqueue ──> A's turn: take, apply, log, publish ──> A's flush: the kernel carries the frame ──> B's turn: receive,
//!                                                       into B's receive ring                       merge, publish ──> seen
//! ```
//!
//! The same workers, ports, segments and rings as in the daemons; no scheduler, nobody who polls in vain. What is left of
//! a row of `visible` when these are taken away is waiting: for a core to be handed over, and for a poll to come round.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use crossbeam_channel::{Receiver, Sender, bounded};
use lattice_cluster::Fabric;
use lattice_crdt::{ActorId, Kind};
use lattice_engine::{Engine, EngineConfig, EngineLimits, EngineTimers, Storage};
use lattice_port::{
    OpenError, PeerSlot, Port, PortError, PortMode, PortStats, Received, Route, TransmitError,
};
use lattice_segment::{
    CellRef, Lookup, Reader, RingConfig, RingProducer, Segment, SegmentConfig, Submission, SubmitOp, Target,
    create_rings,
};
use lattice_worker::{Command, Credentials, Event, Handoff, Worker, WorkerConfig, WorkerParts};
use tempfile::TempDir;

use crate::raw::{CLUSTER_TAG, Ground, Line, PortKind};
use crate::series::{Series, Unit};

const KEY: &[u8] = b"visible";
/// Between two writes both workers turn so often: acknowledgements and heartbeats leave, as they do between two writes
/// of a schedule.
const TURNS_BETWEEN: u32 = 20;
/// Turns after which a write that is not there yet will not come.
const PATIENCE_TURNS: u32 = 10_000_000;
/// Turns of host B alone after which host A takes turns again.
const LOST_AFTER_TURNS: u32 = 10_000;

/// What each stage took, ns, in the order of the way.
pub struct Stages {
    /// One series each; the last is all of them together.
    pub series: Vec<Series>,
}

/// Makes writes for that long, one at a time.
///
/// # Errors
/// If the hosts can't be made, or a write never arrives.
pub fn measure(duration: Duration) -> Result<Stages> {
    let mut pair = Pair::new()?;
    pair.write_until_known()?;
    let names =
        ["enqueue", "A: take, apply, publish", "A: kernel sends", "B: receive, merge, publish", "B: seen"];
    let mut series = names.map(|name| Series::new(format!("stage, {name}"), Unit::Ns));
    let mut sum = Series::new("stages together, one thread", Unit::Ns);
    let began = Instant::now();
    while began.elapsed() < duration {
        let times = pair.write()?;
        for (series, time) in series.iter_mut().zip(times) {
            series.record_duration(time);
        }
        sum.record_duration(times.iter().sum());
    }
    Ok(Stages { series: series.into_iter().chain([sum]).collect() })
}

/// Two hosts, a client's ring at the first, a reader at the second.
struct Pair {
    hosts: [Host; 2],
    ring: RingProducer,
    cell: Option<CellRef>,
    sent_ns: Arc<AtomicU64>,
    _ground: Ground,
    _directory: TempDir,
}

struct Host {
    worker: Worker,
    reader: Reader,
    commands: Sender<Command>,
    _events: Receiver<Event>,
    _segment: Segment,
}

impl Pair {
    fn new() -> Result<Pair> {
        let (ports, ground) = Line::open(Fabric::Wire, PortKind::XdpDriver)?.split();
        let directory = tempfile::Builder::new().prefix("lattice-bench-").tempdir_in("/dev/shm")?;
        let sent_ns = Arc::new(AtomicU64::new(0));
        let [port_a, port_b] = ports;
        let timed = Box::new(TimedPort { port: port_a, sent_ns: Arc::clone(&sent_ns) });
        let hosts = [
            Host::new(1, timed, ground.udp_port, &directory.path().join("a"))?,
            Host::new(2, port_b, ground.udp_port, &directory.path().join("b"))?,
        ];
        let (memory, consumers) =
            create_rings(1, RingConfig { submission_slots: 1024, completion_slots: 64 })?;
        let ring = RingProducer::map(&memory)?.pop().context("one worker, one ring")?;
        for consumer in consumers {
            hosts[0].commands.try_send(Command::AttachClient {
                id: 1,
                consumer,
                wakeup: None,
                who: Credentials::default(),
            })?;
        }
        Ok(Pair { hosts, ring, cell: None, sent_ns, _ground: ground, _directory: directory })
    }

    /// The first write of the key: when it has arrived, the hosts have a session and B a cell.
    fn write_until_known(&mut self) -> Result<()> {
        self.submit()?;
        for _ in 0..PATIENCE_TURNS {
            self.turn_both();
            if let Lookup::Found(cell) = self.hosts[1].reader.lookup(Kind::Counter as u8, KEY) {
                self.cell = Some(cell);
                return Ok(());
            }
        }
        anyhow::bail!("the first write never arrived")
    }

    fn submit(&mut self) -> Result<()> {
        let target = Target::Key(KEY);
        let kind = Kind::Counter as u8;
        self.ring.submit(&Submission { op: SubmitOp::CounterAdd, kind, target, amount: 1, data: &[] })?;
        Ok(())
    }

    fn turn_both(&mut self) {
        for host in &mut self.hosts {
            host.worker.turn();
        }
    }

    fn seen(&self) -> Result<u64> {
        let cell = self.cell.context("the key is not known yet")?;
        Ok(self.hosts[1].reader.word(cell)?)
    }

    /// One write from its enqueue until it was read: the times of the stages.
    fn write(&mut self) -> Result<[Duration; 5]> {
        for _ in 0..TURNS_BETWEEN {
            self.turn_both();
        }
        let before = self.seen()?;
        self.sent_ns.store(0, Ordering::Relaxed);
        let started = Instant::now();
        self.submit()?;
        let enqueued = Instant::now();
        self.hosts[0].worker.turn();
        let left = Instant::now();
        let mut published = left;
        for turn in 0.. {
            ensure!(turn < PATIENCE_TURNS, "a write never arrived");
            // A frame may be lost, or the kernel have no room for it at once: host A's next turns send it again. The time that
            // this takes counts.
            if turn >= LOST_AFTER_TURNS {
                self.hosts[0].worker.turn();
            }
            self.hosts[1].worker.turn();
            published = Instant::now();
            if self.seen()? != before {
                break;
            }
        }
        let seen = Instant::now();
        let kernel = Duration::from_nanos(self.sent_ns.load(Ordering::Relaxed));
        Ok([
            enqueued - started,
            (left - enqueued).saturating_sub(kernel),
            kernel,
            published - left,
            seen - published,
        ])
    }
}

impl Host {
    fn new(node: u16, port: Box<dyn Port>, udp_port: u16, path: &Path) -> Result<Host> {
        let actor = ActorId::new(node, 0xE000 + u64::from(node));
        let (segment, mut writers) = Segment::create(&SegmentConfig {
            path: path.to_owned(),
            node,
            node_name: format!("node-{node}"),
            cluster: "bench".into(),
            actor: actor.as_u64(),
            workers: 1,
            shards: 1,
            cells_per_worker: 1024,
            extent_bytes_per_worker: 1 << 20,
            change_ring_entries: 1024,
            heartbeat_timeout_ns: 1_000_000_000,
            socket_path: None,
        })?;
        segment.mark_ready();
        let mut config = WorkerConfig::new(0, 1, 1, udp_port);
        // As the limit: both ends of the way on core 0, the caller's.
        config.core = None;
        let monotonic_ns = lattice_segment::monotonic_ns();
        let engine = Engine::in_memory(
            EngineConfig {
                actor,
                session: u32::from(node),
                shard: 0,
                cluster_tag: CLUSTER_TAG,
                peers: vec![3 - node],
                limits: EngineLimits { max_keys: 1024, ..EngineLimits::default() },
                timers: EngineTimers::default(),
                storage: Storage::Memory,
                random_seed: u64::from(node),
            },
            lattice_engine::Instant { monotonic_ns, wall_ns: monotonic_ns },
        )?;
        let handoff = Handoff::for_workers(1, 16)?.pop().context("one worker, one handoff")?;
        let writer = writers.pop().context("one worker, one writer")?;
        let parts = WorkerParts { config, engines: vec![engine], port, writer, handoff, storage: None };
        let (commands, inbox) = bounded(16);
        let (outbox, events) = bounded(16);
        Ok(Host {
            worker: Worker::new(parts, inbox, outbox)?,
            reader: Reader::open(path)?,
            commands,
            _events: events,
            _segment: segment,
        })
    }
}

/// A port that notes how long its last flush took.
struct TimedPort {
    port: Box<dyn Port>,
    sent_ns: Arc<AtomicU64>,
}

impl Port for TimedPort {
    fn mode(&self) -> PortMode {
        self.port.mode()
    }

    fn describe(&self) -> String {
        self.port.describe()
    }

    fn receive(&mut self, budget: usize, deliver: &mut dyn FnMut(Received<'_>)) -> Result<usize, PortError> {
        self.port.receive(budget, deliver)
    }

    fn transmit_room(&self) -> usize {
        self.port.transmit_room()
    }

    fn transmit(&mut self, peer: PeerSlot, udp_port: u16, frame: &[u8]) -> Result<(), TransmitError> {
        self.port.transmit(peer, udp_port, frame)
    }

    fn flush(&mut self) -> Result<(), PortError> {
        let started = Instant::now();
        let flushed = self.port.flush();
        // Relaxed: read by the same thread.
        self.sent_ns.store(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        flushed
    }

    fn wait(&mut self, timeout: Duration, wakeup: std::os::fd::BorrowedFd<'_>) -> Result<(), PortError> {
        self.port.wait(timeout, wakeup)
    }

    fn set_route(&mut self, peer: PeerSlot, route: Option<Route>) {
        self.port.set_route(peer, route);
    }

    fn set_peer(&mut self, peer: PeerSlot, address: IpAddr) -> Result<(), OpenError> {
        self.port.set_peer(peer, address)
    }

    fn stats(&self) -> PortStats {
        self.port.stats()
    }
}
