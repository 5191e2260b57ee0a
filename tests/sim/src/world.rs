//! The world: hosts, a network, and time, which jumps from one event to the next.
//!
//! ```text
//!   operations ─┐                       ┌─> receive ─> apply ─> commit ─┬─> checks: reader, engine, oracle agree
//!   arrivals ───┼─> events by time ─> turn of a host                    │
//!   incidents ──┘        ^              └─> tick ─> transmit ──────> network ──┐
//!                        └─────────────────────────────────────────────────────┘
//! ```
//!
//! A host's turn is that of the production worker: frames, operations, timers, commit, frames out. Nothing happens
//! between two events, so an idle second costs its heartbeats and no more.
//!
//! What goes wrong in a world is a [`Failure`]: it stops there, and the same seed leads there again.

use crate::draw::Draw;
use crate::faults::{Fault, Struck};
use crate::host::{Host, Mode};
use crate::network::{Flying, Network};
use crate::oracle::{History, KeyId};
use crate::plan::Plan;
use crate::sabotage::Sabotage;
use crate::trace::Trace;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::path::Path;

/// What was violated, and where.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The event during which it was noticed.
    pub step: u64,
    /// The world's time.
    pub at_ns: u64,
    /// What it is.
    pub what: String,
}

/// Ways to run a world otherwise than its seed alone says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Print every event.
    pub trace: bool,
    /// Make a mistake that has to be noticed.
    pub sabotage: Option<Sabotage>,
}

/// How a world ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What went wrong, if anything did.
    pub failure: Option<Failure>,
    /// Hash of everything that happened.
    pub trace_hash: u64,
    /// Events.
    pub steps: u64,
    /// Operations that were applied.
    pub operations: u64,
    /// Which faults struck how often.
    pub struck: Struck,
    /// What the engines had to do.
    pub reached: Reached,
    /// World time at the end.
    pub ended_ns: u64,
}

/// What the engines had to do: a world that never gets there proves nothing of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// State syncs carried through.
    pub syncs: u64,
    /// State syncs given up.
    pub syncs_abandoned: u64,
    /// Walks that named every key.
    pub full_walks: u64,
    /// Records that a running sync covered.
    pub records_in_sync: u64,
    /// Frames refused at a bound of the tables.
    pub refused_at_bounds: u64,
    /// Frames sent again.
    pub retransmitted: u64,
    /// Keys dropped because they were empty everywhere.
    pub keys_dropped: u64,
    /// Epochs that ended because a peer knew more of them.
    pub epochs_ended: u64,
    /// Decisions to fold epochs that are over.
    pub folds: u64,
}

impl Reached {
    /// Adds what another world reached.
    pub fn add(&mut self, other: &Reached) {
        self.syncs += other.syncs;
        self.syncs_abandoned += other.syncs_abandoned;
        self.full_walks += other.full_walks;
        self.records_in_sync += other.records_in_sync;
        self.refused_at_bounds += other.refused_at_bounds;
        self.retransmitted += other.retransmitted;
        self.keys_dropped += other.keys_dropped;
        self.epochs_ended += other.epochs_ended;
        self.folds += other.folds;
    }
}

pub(crate) enum Event {
    Arrival(Box<Flying>),
    Turn(usize),
    Operation,
    Begin(usize),
    End(usize),
    Start(usize),
}

struct Scheduled {
    at_ns: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The earliest is the greatest: heaps give that out first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ns, other.order).cmp(&(self.at_ns, self.order))
    }
}

/// See the module's documentation.
pub struct World<'d> {
    pub(crate) plan: Plan,
    pub(crate) now_ns: u64,
    pub(crate) hosts: Vec<Host>,
    /// One a shard.
    pub(crate) histories: Vec<History>,
    pub(crate) network: Network,
    pub(crate) workload_draw: Draw,
    pub(crate) struck: Struck,
    pub(crate) reached: Reached,
    pub(crate) trace: Trace,
    pub(crate) operations: u64,
    pub(crate) failure: Option<Failure>,
    /// Incidents of which the end is not there yet.
    pub(crate) armed_sync_breaks: Vec<(usize, u64)>,
    /// Greatest and least distance of any wall clock so far, of each host.
    pub(crate) clock_extremes_ns: Vec<(i64, i64)>,
    /// No more operations, no more faults.
    pub(crate) healing: bool,
    /// When a frame was last sent that is neither a heartbeat nor anti-entropy.
    pub(crate) last_busy_ns: u64,
    planned_sabotage: Option<Sabotage>,
    /// The mistake that is being made.
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) directory: &'d Path,
    pub(crate) scratch: Scratch,
    queue: BinaryHeap<Scheduled>,
    scheduled: u64,
}

/// Buffers that are kept.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) cells: Vec<u32>,
    pub(crate) keys: Vec<KeyId>,
    pub(crate) arrivals: Vec<(u64, Flying)>,
}

impl<'d> World<'d> {
    /// A world of a seed, in which nothing has happened yet. Segments go into `directory`.
    pub fn new(seed: u64, plan: Plan, options: Options, directory: &'d Path) -> Self {
        let mut draw = Draw::new(seed).split(1);
        let hosts: Vec<Host> = plan
            .hosts
            .iter()
            .enumerate()
            .map(|(i, host)| Host::new(i, *host, draw.split(100 + i as u64)))
            .collect();
        let mut world = Self {
            network: Network::new(plan.network, plan.nodes, draw.split(2)),
            workload_draw: draw.split(3),
            histories: (0..plan.shards).map(|_| History::new()).collect(),
            clock_extremes_ns: hosts.iter().map(|host| (host.clock_ns, host.clock_ns)).collect(),
            hosts,
            now_ns: 0,
            struck: Struck::default(),
            reached: Reached::default(),
            planned_sabotage: options.sabotage,
            trace: Trace::new(options.trace),
            operations: 0,
            failure: None,
            armed_sync_breaks: Vec::new(),
            healing: false,
            last_busy_ns: 0,
            sabotage: None,
            directory,
            scratch: Scratch::default(),
            queue: BinaryHeap::new(),
            scheduled: 0,
            plan,
        };
        for host in 0..world.hosts.len() {
            let at_ns = world.hosts[host].plan.starts_at_ns;
            world.schedule(at_ns, Event::Start(host));
        }
        for incident in 0..world.plan.incidents.len() {
            let at_ns = world.plan.incidents[incident].at_ns;
            world.schedule(at_ns, Event::Begin(incident));
        }
        world.schedule_operation();
        world
    }

    /// Runs it to its end: faults and operations, then none, then silence.
    pub fn run(mut self) -> Outcome {
        self.run_until(self.plan.active_ns / 2);
        self.begin_sabotage();
        self.run_until(self.plan.active_ns);
        self.settle();
        (0..self.hosts.len()).for_each(|host| self.note_reached(host));
        Outcome {
            failure: self.failure,
            trace_hash: self.trace.hash(),
            steps: self.trace.events(),
            operations: self.operations,
            struck: self.struck,
            reached: self.reached,
            ended_ns: self.now_ns,
        }
    }

    pub(crate) fn schedule(&mut self, at_ns: u64, event: Event) {
        self.scheduled += 1;
        self.queue.push(Scheduled { at_ns, order: self.scheduled, event });
    }

    /// A host's next turn is at `at_ns`, or earlier.
    pub(crate) fn schedule_turn(&mut self, host: usize, at_ns: u64) {
        let at_ns = at_ns.max(self.now_ns + 1);
        if self.hosts[host].mode == Mode::Up && at_ns < self.hosts[host].turn_at_ns {
            self.hosts[host].turn_at_ns = at_ns;
            self.schedule(at_ns, Event::Turn(host));
        }
    }

    /// Lets events happen up to a moment, or to the first failure.
    pub(crate) fn run_until(&mut self, until_ns: u64) {
        while self.failure.is_none() {
            let Some(next) = self.queue.peek().filter(|next| next.at_ns <= until_ns) else {
                self.now_ns = until_ns.max(self.now_ns);
                return;
            };
            self.now_ns = next.at_ns;
            if let Some(Scheduled { event, .. }) = self.queue.pop() {
                self.happen(event);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival(frame) => self.arrive(*frame),
            Event::Turn(host) => {
                // A turn that was since moved to an earlier moment has been had.
                if self.hosts[host].turn_at_ns == self.now_ns {
                    self.hosts[host].turn_at_ns = u64::MAX;
                    self.turn(host);
                }
            }
            Event::Operation => self.operate(),
            Event::Begin(incident) => self.begin_incident(incident),
            Event::End(incident) => self.end_incident(incident),
            Event::Start(host) => self.start_host(host),
        }
    }

    /// From now on the world makes its mistake, if it is to make one.
    fn begin_sabotage(&mut self) {
        self.sabotage = self.planned_sabotage;
        if self.sabotage == Some(Sabotage::Unsteadiness) {
            self.trace.note(self.now_ns, 0, &[crate::sabotage::differs_each_time()]);
        }
        for board in self.hosts.iter_mut().filter_map(|host| host.board.as_mut()) {
            board.sabotage = self.planned_sabotage;
        }
    }

    /// Adds what a host's engines did: at the end of their processes, and of the world.
    pub(crate) fn note_reached(&mut self, host: usize) {
        for shard in &self.hosts[host].shards {
            let stats = shard.engine.stats();
            self.reached.add(&Reached {
                syncs: stats.syncs_completed,
                syncs_abandoned: stats.syncs_abandoned,
                full_walks: stats.full_walks,
                records_in_sync: stats.records_in_sync,
                refused_at_bounds: stats.dropped_out_of_order_bound,
                retransmitted: stats.frames_retransmitted,
                keys_dropped: stats.keys_dropped,
                epochs_ended: 0,
                folds: stats.folds,
            });
        }
    }

    /// Something is not as it must be.
    pub(crate) fn fail(&mut self, what: impl Into<String>) {
        let failure = Failure { step: self.trace.events(), at_ns: self.now_ns, what: what.into() };
        self.trace.say(self.now_ns, format_args!("VIOLATION {}", failure.what));
        self.failure.get_or_insert(failure);
    }

    pub(crate) fn start_host(&mut self, host: usize) {
        if self.hosts[host].mode != Mode::Down {
            return;
        }
        let started = self.hosts[host].start(&self.plan, self.now_ns, &self.histories, self.directory);
        if let Err(error) = started {
            return self.fail(format!("host {} does not start: {error}", self.hosts[host].node));
        }
        let planned = self.hosts[host].plan;
        if planned.starts_at_ns > 0 && self.now_ns >= planned.starts_at_ns {
            self.struck.strike(Fault::LateJoiner);
            // From now on its starts are restarts.
            self.hosts[host].plan.starts_at_ns = 0;
        }
        if planned.clock_ns != 0 {
            self.struck.strike(Fault::ClockSkew);
        }
        let node = u64::from(self.hosts[host].node);
        self.trace.note(self.now_ns, 1, &[node]);
        let seqs: Vec<u64> = self.hosts[host].shards.iter().map(|shard| shard.engine.last_seq()).collect();
        self.trace.say(self.now_ns, format_args!("n{node} starts, own operations {seqs:?}"));
        self.schedule_turn(host, self.now_ns + 1);
    }
}
