//! Turns of a whole worker: one client, one shard, one peer, a port of memory.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, bail, ensure};
use crossbeam_channel::{Receiver, Sender, bounded};
use lattice_crdt::ActorId;
use lattice_engine::{Engine, EngineConfig, EngineLimits, EngineTimers, Instant, Storage};
use lattice_port::memory::full_mesh;
use lattice_segment::{
    CellRef, Lookup, Reader, RingConfig, RingProducer, Submission, SubmitOp, Target, create_rings, layout,
};
use lattice_worker::{Command, Credentials, Event, Handoff, Idle, Turn, Worker, WorkerConfig, WorkerParts};

use super::segment::{self, World};
use super::{BURST, Operation, key};

const UDP_PORT_BASE: u16 = 7400;
/// Time that passes between two turns: little, so that hardly any timer is due in a counted one.
const TURN_NS: u64 = 1_000;

struct Host {
    worker: Worker,
    commands: Sender<Command>,
    reader: Reader,
    _events: Receiver<Event>,
    _segment: lattice_segment::Segment,
    _directory: tempfile::TempDir,
}

fn host(number: u16, peer: u16, port: lattice_port::MemoryPort) -> anyhow::Result<Host> {
    let World { mut writer, reader, segment, directory } = segment::world()?;
    writer.set_watchers(false);
    let mut config = WorkerConfig::new(0, 1, 1, UDP_PORT_BASE);
    config.idle = Idle::Busy;
    let engine = Engine::in_memory(
        EngineConfig {
            actor: ActorId::new(number, 0xE000),
            session: 0x5000 + u32::from(number),
            shard: 0,
            cluster_tag: 0x1a77_1ced,
            peers: vec![peer],
            limits: EngineLimits::default(),
            timers: EngineTimers::default(),
            storage: Storage::Memory,
            random_seed: u64::from(number),
        },
        moment(0),
    )?;
    let handoff = Handoff::for_workers(1, 16)?.pop().context("no hand-off")?;
    let (events_in, events) = bounded(64);
    let (commands, receiver) = bounded(16);
    let parts =
        WorkerParts { config, engines: vec![engine], port: Box::new(port), writer, handoff, storage: None };
    let worker = Worker::new(parts, receiver, events_in)?;
    Ok(Host { worker, commands, reader, _events: events, _segment: segment, _directory: directory })
}

fn moment(elapsed_ns: u64) -> Instant {
    let monotonic_ns = 1_000_000_000 + elapsed_ns;
    Instant { monotonic_ns, wall_ns: 1_800_000_000_000_000_000 + monotonic_ns }
}

/// What a round's turns find.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    Nothing,
    OneWrite,
    Burst,
}

struct Turns {
    a: Host,
    b: Host,
    ring: RingProducer,
    cells: Vec<CellRef>,
    load: Load,
    elapsed_ns: u64,
    submitted: u64,
    /// The first counter's value that `a` must show.
    first: u64,
    idle_turns: u32,
    busy_turns: u32,
}

impl Turns {
    fn turn_a(&mut self) -> Turn {
        self.elapsed_ns += TURN_NS;
        self.a.worker.turn_at(moment(self.elapsed_ns))
    }

    fn submit(&mut self, cell: usize) -> anyhow::Result<()> {
        let target =
            Target::Cell { cell: self.cells[cell].cell(), generation: self.cells[cell].generation() };
        let kind = layout::KIND_COUNTER;
        self.ring.submit(&Submission { op: SubmitOp::CounterAdd, kind, target, amount: 1, data: &[] })?;
        self.submitted += 1;
        self.first += u64::from(cell == 0);
        Ok(())
    }

    /// Turns both until nothing has happened for longer than any acknowledgement waits. Heartbeats go on for ever.
    fn settle(&mut self) -> anyhow::Result<()> {
        let mut quiet = 0;
        for _ in 0..1_000_000 {
            self.elapsed_ns += 10 * TURN_NS;
            let now = moment(self.elapsed_ns);
            let turns = [self.a.worker.turn_at(now), self.b.worker.turn_at(now)];
            quiet = if turns.contains(&Turn::Busy) { 0 } else { quiet + 1 };
            if quiet == 300 {
                return Ok(());
            }
        }
        bail!("the two workers do not come to rest")
    }
}

impl Operation for Turns {
    fn prepare(&mut self) -> anyhow::Result<()> {
        let first = self.cells.first().map(|cell| self.a.reader.word(*cell)).transpose()?;
        ensure!(first.is_none_or(|value| value == self.first), "the worker did not show what was written");
        ensure!(self.ring.applied() == self.submitted, "the worker did not take what was submitted");
        let (idle, busy) = (std::mem::take(&mut self.idle_turns), std::mem::take(&mut self.busy_turns));
        match self.load {
            Load::Nothing => ensure!(busy == 0, "{busy} of {} turns were not idle", idle + busy),
            Load::OneWrite | Load::Burst => ensure!(idle == 0, "a turn was idle"),
        }
        self.settle()?;
        match self.load {
            Load::Nothing => Ok(()),
            Load::OneWrite => self.submit(0),
            Load::Burst => (0..BURST as usize).try_for_each(|cell| self.submit(cell)),
        }
    }

    fn round(&mut self) {
        for _ in 0..if self.load == Load::Nothing { BURST } else { 1 } {
            match self.turn_a() {
                Turn::Idle => self.idle_turns += 1,
                Turn::Busy | Turn::Stopped => self.busy_turns += 1,
            }
        }
    }
}

fn turns(load: Load) -> anyhow::Result<Box<dyn Operation>> {
    let addresses = [1, 2].map(|host| IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)));
    let mut ports = full_mesh(&addresses, 256)?.into_iter();
    let (Some(first), Some(second)) = (ports.next(), ports.next()) else { bail!("no ports") };
    let (a, b) = (host(1, 2, first)?, host(2, 1, second)?);
    let (rings, mut consumers) =
        create_rings(1, RingConfig { submission_slots: 1024, completion_slots: 32 })?;
    let ring = RingProducer::map(&rings)?.pop().context("no rings")?;
    let consumer = consumers.pop().context("no rings")?;
    a.commands.try_send(Command::AttachClient {
        id: 1,
        consumer,
        wakeup: None,
        who: Credentials::default(),
    })?;
    let mut turns = Turns {
        a,
        b,
        ring,
        cells: Vec::new(),
        load,
        elapsed_ns: 0,
        submitted: 0,
        first: 1,
        idle_turns: 0,
        busy_turns: 0,
    };
    turns.settle()?;
    for number in 0..BURST as usize {
        let key = key(number);
        let target = Target::Key(key.as_bytes());
        let kind = layout::KIND_COUNTER;
        turns.ring.submit(&Submission { op: SubmitOp::CounterAdd, kind, target, amount: 1, data: &[] })?;
        turns.submitted += 1;
        turns.settle()?;
        let Lookup::Found(cell) = turns.a.reader.lookup(kind, key.as_bytes()) else {
            bail!("`{key}` is not published");
        };
        turns.cells.push(cell);
    }
    Ok(Box::new(turns))
}

/// Nothing at all.
pub fn idle() -> anyhow::Result<Box<dyn Operation>> {
    turns(Load::Nothing)
}

/// One write.
pub fn write() -> anyhow::Result<Box<dyn Operation>> {
    turns(Load::OneWrite)
}

/// 64 writes to as many counters.
pub fn burst() -> anyhow::Result<Box<dyn Operation>> {
    turns(Load::Burst)
}
