//! Maelstrom's four workloads in simulated worlds.
//!
//! ```text
//!   one client a host ── apply, read ──> World ── History ──> lattice-checkers ──> Verdict
//! ```
//!
//! Each host has a client that adds to one shared key, and reads it as applications do, at random moments, one
//! operation at a time. Beside them go the world's own operations on other keys, and the faults that the seed drew, as
//! far as total availability may be demanded under them: all that networks, clocks and slow or paused processes do, but
//! no process that dies and no segment that is full. At least one partition there is always. A write is acknowledged
//! when it is committed; in the end, when the hosts are equal, each one's client reads a last time.

use crate::draw::Draw;
use crate::faults::{Fault, Struck};
use crate::host::Mode;
use crate::incident::{Incident, What};
use crate::oracle::Shown;
use crate::plan::{Plan, SegmentRoom};
use crate::world::{Options, World};
use clap::ValueEnum;
use lattice_checkers::{
    Action, Demands, History, OperationId, Outcome, Verdict, check_broadcast, check_g_counter, check_g_set,
    check_pn_counter,
};
use lattice_crdt::Kind;
use lattice_engine::{LocalOp, OpError};
use lattice_segment::{key_hash, shard_of};
use std::fmt;
use std::path::Path;

/// The key that the clients share.
const KEY: &[u8] = b"maelstrom";
/// Operations of the clients, on average.
const OPERATIONS: u64 = 150;

/// One of Maelstrom's workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// A set that only grows.
    GSet,
    /// Messages that every node gets.
    Broadcast,
    /// A counter that only grows.
    GCounter,
    /// A counter that goes both ways.
    PnCounter,
}

/// What came of a workload in one world.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the checker says.
    pub verdict: Verdict,
    /// What the world itself found wrong.
    pub violation: Option<String>,
    /// Hash of everything that happened.
    pub trace_hash: u64,
    /// Which faults struck how often.
    pub struck: Struck,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_valid(&self) -> bool {
        self.violation.is_none() && self.verdict.is_valid()
    }
}

/// What came of many worlds.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// How many.
    pub seeds: u64,
    /// Those in which something was wrong.
    pub failed: Vec<u64>,
    /// Adds that were acknowledged: all of them, where nothing failed.
    pub acknowledged: u64,
    /// Reads that returned.
    pub reads: u64,
    /// Adds that some later read did not have yet.
    pub stale: u64,
    /// Which faults struck how often.
    pub struck: Struck,
}

/// Runs one workload in many worlds; says at once what is wrong in which.
pub fn run_workload(
    workload: Workload,
    seeds: std::ops::Range<u64>,
    options: Options,
    directory: &Path,
) -> Total {
    let mut total = Total::default();
    for seed in seeds {
        let report = workload.run(seed, options, directory);
        total.seeds += 1;
        total.acknowledged += report.verdict.acknowledged;
        total.reads += report.verdict.reads;
        total.stale += report.verdict.staleness.stale;
        total.struck.add(&report.struck);
        if !report.is_valid() {
            let violation = report.violation.unwrap_or_default();
            eprintln!("seed {seed} failed: {violation}{}", report.verdict);
            total.failed.push(seed);
        }
    }
    total
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, failed, acknowledged, reads, stale, struck } = self;
        for fault in Fault::ALL.into_iter().filter(|fault| struck.times(*fault) > 0) {
            writeln!(f, "  {:<32} {:>8}", fault.name(), struck.times(fault))?;
        }
        write!(f, "adds={acknowledged} reads={reads} stale={stale} seeds={seeds} failed={}", failed.len())
    }
}

impl Workload {
    /// All four.
    pub const ALL: [Workload; 4] =
        [Workload::GSet, Workload::Broadcast, Workload::GCounter, Workload::PnCounter];

    /// Runs it in the world of a seed.
    pub fn run(self, seed: u64, options: Options, directory: &Path) -> Report {
        let mut world = World::new(seed, plan(seed), options, directory);
        let draw = Draw::new(seed).split(1_000 + self as u64);
        let verdict = match self {
            Workload::GSet => Clients::new(&world, draw, Kind::Set, members).judge(&mut world, check_g_set),
            Workload::Broadcast => {
                Clients::new(&world, draw, Kind::Set, members).judge(&mut world, check_broadcast)
            }
            Workload::GCounter => {
                Clients { grow_only: true, ..Clients::new(&world, draw, Kind::Counter, sum) }
                    .judge(&mut world, check_g_counter)
            }
            Workload::PnCounter => {
                Clients::new(&world, draw, Kind::Counter, sum).judge(&mut world, check_pn_counter)
            }
        };
        let violation = world.failure.map(|failure| failure.what);
        Report { verdict, violation, trace_hash: world.trace.hash(), struck: world.struck }
    }
}

/// A seed's plan, without what total availability can't be demanded under, and with a partition.
fn plan(seed: u64) -> Plan {
    let mut plan = Plan::draw(seed);
    plan.incidents.retain(|incident| {
        matches!(
            incident.what,
            What::DeadDirection { .. }
                | What::DeadPair { .. }
                | What::Isolated { .. }
                | What::Paused { .. }
                | What::Slow { .. }
                | What::ClockStep { .. }
                | What::SyncBreak { .. }
        )
    });
    if !plan.incidents.iter().any(|incident| matches!(incident.what, What::Isolated { .. })) {
        let what = What::Isolated { node: seed as usize % plan.nodes };
        let (at_ns, lasts_ns) = (plan.active_ns / 4, plan.active_ns / 2);
        plan.incidents.push(Incident { at_ns, lasts_ns, what });
    }
    plan.limits.max_keys = 1024;
    plan.segment = SegmentRoom { cells: 256, extent_bytes: 1 << 20 };
    plan
}

fn members(shown: Shown<'_>) -> Vec<i64> {
    match shown {
        // Bytes that are no number were never added; nor was this one.
        Shown::Members(members) => {
            members.iter().map(|member| member[..].try_into().map_or(i64::MIN, i64::from_le_bytes)).collect()
        }
        _ => Vec::new(),
    }
}

fn sum(shown: Shown<'_>) -> i64 {
    match shown {
        Shown::Word(word) => word as i64,
        _ => 0,
    }
}

/// One client a host: host `i`'s is process `i`.
struct Clients<R> {
    history: History<R>,
    /// Each one's write that is not yet committed.
    pending: Vec<Option<OperationId>>,
    draw: Draw,
    kind: Kind,
    answer: fn(Shown<'_>) -> R,
    grow_only: bool,
    added: i64,
    shard: usize,
}

impl<R> Clients<R> {
    fn new(world: &World<'_>, draw: Draw, kind: Kind, answer: fn(Shown<'_>) -> R) -> Self {
        Self {
            history: History::new(),
            pending: vec![None; world.hosts.len()],
            draw,
            kind,
            answer,
            grow_only: false,
            added: 0,
            shard: usize::from(shard_of(key_hash(KEY), world.plan.shards)),
        }
    }

    fn judge(
        mut self,
        world: &mut World<'_>,
        check: impl FnOnce(&History<R>, &Demands) -> Verdict,
    ) -> Verdict {
        let mean_ns = world.plan.active_ns / OPERATIONS;
        while world.now_ns < world.plan.active_ns && world.failure.is_none() {
            let next_ns = world.now_ns + self.draw.exponential(mean_ns).max(1);
            world.run_until(next_ns.min(world.plan.active_ns));
            self.acknowledge(world);
            let host = self.draw.index(world.hosts.len());
            if world.hosts[host].mode == Mode::Up && self.pending[host].is_none() {
                self.operate(world, host);
            }
        }
        world.settle();
        self.acknowledge(world);
        for host in 0..world.hosts.len() {
            self.read(world, host, Action::FinalRead);
        }
        check(&self.history, &Demands::all(world.hosts.len() as u32))
    }

    fn operate(&mut self, world: &mut World<'_>, host: usize) {
        if self.draw.per_mille(500) {
            return self.read(world, host, Action::Read);
        }
        let value = match self.kind {
            Kind::Counter => self.draw.below(10) as i64 - if self.grow_only { 0 } else { 5 },
            _ => {
                self.added += 1;
                self.added
            }
        };
        let id = self.history.invoke(world.now_ns, host as u32, host as u32, Action::Add(value));
        match self.submit(world, host, value) {
            Ok(()) => self.pending[host] = Some(id),
            Err(_) => self.history.complete(id, world.now_ns, Outcome::Failed),
        }
    }

    fn submit(&self, world: &mut World<'_>, host: usize, value: i64) -> Result<(), OpError> {
        let element = value.to_le_bytes();
        let op = match self.kind {
            Kind::Counter => LocalOp::CounterAdd(value),
            _ => LocalOp::SetInsert(&element),
        };
        match self.apply(world, host, op) {
            // A full burst is committed, and what did not fit comes again, as from a client's ring.
            Err(OpError::Backpressure) => {
                let now = world.hosts[host].instant(world.now_ns);
                let this = &mut world.hosts[host];
                if let Some(board) = &mut this.board {
                    this.shards[self.shard].engine.commit(now, board);
                }
                world.check_host(host);
                self.apply(world, host, op)
            }
            result => result,
        }
    }

    fn apply(&self, world: &mut World<'_>, host: usize, op: LocalOp<'_>) -> Result<(), OpError> {
        let this = &mut world.hosts[host];
        let (now, wait_ns) = (this.instant(world.now_ns), this.plan.poll_ns);
        let shard = &mut this.shards[self.shard];
        let result = shard.engine.apply(now, self.kind, KEY, op);
        shard.active = true;
        world.trace.note(world.now_ns, 20, &[host as u64, u64::from(result.is_ok())]);
        world.trace.say(world.now_ns, format_args!("n{} client {op:?}: {result:?}", host + 1));
        world.schedule_turn(host, world.now_ns + wait_ns);
        result.map(drop)
    }

    fn read(&mut self, world: &mut World<'_>, host: usize, action: Action) {
        let id = self.history.invoke(world.now_ns, host as u32, host as u32, action);
        let shown = world.hosts[host].board.as_ref().and_then(|board| board.shown(self.kind, KEY));
        let outcome = shown.map_or(Outcome::Failed, |shown| Outcome::Read((self.answer)(shown)));
        self.history.complete(id, world.now_ns, outcome);
    }

    /// What is committed is acknowledged.
    fn acknowledge(&mut self, world: &World<'_>) {
        for (host, pending) in self.pending.iter_mut().enumerate() {
            let committed = |host: usize| {
                let shard = world.hosts[host].shards.get(self.shard);
                shard.is_some_and(|shard| !shard.engine.has_uncommitted())
            };
            if let Some(id) = pending.take_if(|_| committed(host)) {
                self.history.complete(id, world.now_ns, Outcome::Added);
            }
        }
    }
}
