//! The loop: one turn does a bounded amount of everything there is to do, then the next one begins.
//!
//! ```text
//!   ┌─> receive ─> take over ─> serve clients ─> tick ─> commit ─> complete ─> transmit ─> tell ─> announce ─> keep ─> attend ─┐
//!   │   ≤ burst    ≤ burst      ≤ budget each    due     publish   acknowledge ≤ burst     levels  1 wake-up   ≤ 50 µs  commands
//!   │                                                                          1 kick                          snapshots  counters
//!   └─────────────────────────────────── rest: none, spin, yield, sleep <──────────────────────────────────────────────┘
//! ```
//!
//! The order is what makes the promises hold: an operation is published and logged (commit) before its client is told
//! (complete), and it leaves the host in the turn that took it in, together with whatever else came in that turn. So a
//! lone write is sent at once, and a burst fills frames. Watchers are told (announce) only after the frames have left, and
//! when there is nothing else to do, or after [`ANNOUNCE_WITHIN_NS`]: to wake those who sleep is a system call, after which
//! the kernel may well run the watcher first. The values themselves are visible since the commit. For the same reason a
//! flusher that syncs at once is woken after the frames, and only for operations that were made here.
//!
//! A turn takes no lock, allocates nothing and cannot panic on what it is handed. What fails is counted: a frame that
//! can't be decoded or sent (repair brings its operations again), a system call of the port (the loop goes on, the worker
//! reports itself degraded). Only commands, which are rare, may allocate and make system calls.

use crate::clients::Clients;
use crate::clock::Clock;
use crate::command::{Command, Event};
use crate::config::WorkerConfig;
use crate::counters;
use crate::handle::{SpawnError, WorkerParts};
use crate::handoff::{HandedOver, Handoff};
use crate::idle::{Found, Idler, Rest};
use crate::outgoing::Outgoing;
use crate::publisher::SegmentPublisher;
use crate::seals::Seals;
use crate::shards::Shards;
use crate::snapshots::Snapshots;
use crate::status::{Degradation, LoopStats};
use crate::submit::Executor;
use crate::wakeup::Wakeup;
use crossbeam_channel::{Receiver, Sender};
use lattice_engine::Instant;
use lattice_port::{PeerSlot, Port};
use lattice_wire::MAX_FRAME_BYTES;
use std::sync::Arc;
use std::time::Duration;

/// Longest that watchers are left untold while turn follows turn, nanoseconds: what waking them costs is then a few percent.
const ANNOUNCE_WITHIN_NS: u64 = 10_000;

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There was work; there may be more.
    Busy,
    /// There was nothing to do.
    Idle,
    /// The worker has shut down: there is no next turn.
    Stopped,
}

/// Where the worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// Asked to stop; goes on until this monotonic time at most.
    Draining {
        until_ns: u64,
    },
    Stopped,
}

/// One worker: everything that its loop touches. Made on the control thread, then owned by one thread.
///
/// [`spawn`](crate::spawn) gives it a thread; a test or a simulator can call [`turn`](Self::turn) itself.
pub struct Worker {
    pub(crate) config: WorkerConfig,
    pub(crate) shards: Shards,
    pub(crate) port: Box<dyn Port>,
    /// Between the port and the engines.
    pub(crate) seals: Seals,
    pub(crate) publisher: SegmentPublisher,
    pub(crate) clients: Clients,
    pub(crate) handoff: Handoff,
    /// Where the shards are kept on storage.
    pub(crate) snapshots: Option<Snapshots>,
    pub(crate) wakeup: Arc<Wakeup>,
    pub(crate) commands: Receiver<Command>,
    pub(crate) outgoing: Outgoing,
    pub(crate) stats: LoopStats,
    pub(crate) phase: Phase,
    /// Writes of clients are taken.
    pub(crate) serves: bool,
    /// One bit for each [`Degradation`] that was seen.
    pub(crate) degraded: u8,
    /// One bit for each shard, by its place, whose epoch is over and was reported so.
    pub(crate) epochs_over: u64,
    /// Of each shard, by its place: the forgotten nodes that the control thread was told of.
    pub(crate) forgotten_told: Vec<Vec<(u16, u8)>>,
    /// Since when some log has had no room.
    pub(crate) log_full_since_ns: Option<u64>,
    pub(crate) pinned_to: Option<usize>,
    pub(crate) beat_due_ns: u64,
    pub(crate) counters_due_ns: u64,
    clock: Clock,
    idler: Idler,
    /// Where engines write frames before the port copies them.
    frame: Box<[u8; MAX_FRAME_BYTES]>,
    /// The port holds frames that a failed flush left behind.
    unflushed: bool,
    /// When the last turn began, and what it found: how long it took is known when the next one begins.
    last_turn: Option<(u64, Found)>,
    /// By when watchers are to be told of what was published.
    announce_by_ns: Option<u64>,
}

impl Worker {
    /// Joins the parts, after checking that they belong together, and names the counters in the segment.
    pub fn new(
        parts: WorkerParts,
        commands: Receiver<Command>,
        events: Sender<Event>,
    ) -> Result<Self, SpawnError> {
        let WorkerParts { config, engines, port, writer, handoff, storage } = parts;
        config.validate()?;
        let worker = config.index;
        let expected: Vec<u16> = config.owned_shards().collect();
        let found: Vec<u16> = engines.iter().map(|engine| engine.shard()).collect();
        if found != expected {
            return Err(SpawnError::Engines { worker, expected, found });
        }
        if handoff.workers() != usize::from(config.workers) {
            return Err(SpawnError::Misplaced { worker, part: "handoff" });
        }
        if writer.worker() != worker {
            return Err(SpawnError::Misplaced { worker, part: "segment writer" });
        }
        let mut publisher = SegmentPublisher::new(writer);
        counters::register(&mut publisher);
        let shards = Shards::new(engines, config.index, config.workers);
        shards.on_durable(handoff.wakeup());
        let forgotten_told = vec![Vec::new(); shards.engines().len()];
        let events_at_once = config.max_clients + Degradation::ALL.len() + shards.engines().len() + 1;
        Ok(Self {
            clients: Clients::new(config.max_clients, config.client_budget_slots, &shards),
            snapshots: storage.map(|storage| Snapshots::new(storage, &shards)),
            shards,
            seals: Seals::new(config.must_seal),
            port,
            publisher,
            wakeup: Arc::clone(handoff.wakeup()),
            handoff,
            commands,
            outgoing: Outgoing::new(events, events_at_once),
            stats: LoopStats::default(),
            phase: Phase::Running,
            serves: true,
            degraded: 0,
            epochs_over: 0,
            forgotten_told,
            log_full_since_ns: None,
            pinned_to: None,
            beat_due_ns: 0,
            counters_due_ns: 0,
            clock: Clock::default(),
            idler: Idler::new(config.idle),
            frame: Box::new([0; MAX_FRAME_BYTES]),
            unflushed: false,
            last_turn: None,
            announce_by_ns: None,
            config,
        })
    }

    /// Pins the thread, then turns until it is told to stop.
    pub(crate) fn run(mut self) {
        self.pin();
        loop {
            match self.turn() {
                Turn::Stopped => return,
                Turn::Busy | Turn::Idle => self.rest(),
            }
        }
    }

    /// One turn at the present moment.
    pub fn turn(&mut self) -> Turn {
        let now = self.clock.now();
        self.turn_at(now)
    }

    /// One turn at a moment of the caller's choice, which must not be before that of the last one.
    pub fn turn_at(&mut self, now: Instant) -> Turn {
        if self.phase == Phase::Stopped {
            return Turn::Stopped;
        }
        self.account(now);
        let mut work = self.receive(now);
        work += self.take_over(now);
        let submissions = self.serve(now);
        work += submissions;
        self.shards.tick_due(now);
        let published = self.commit(now);
        work += self.transmit(now, submissions > 0 || published);
        // Other nodes' operations are in no log of this one: they are nothing to sync.
        if let Some(snapshots) = self.snapshots.as_ref().filter(|_| submissions > 0) {
            snapshots.wake_flusher();
        }
        work += self.tell(work > 0);
        self.announce(now, published, work > 0);
        work += self.keep(now);
        work += self.attend(now);
        if self.phase == Phase::Stopped {
            return Turn::Stopped;
        }
        let found = match work {
            0 => Found::Nothing,
            _ if submissions > 0 || published => Found::Writes,
            _ => Found::Upkeep,
        };
        self.last_turn = Some((now.monotonic_ns, found));
        if found == Found::Nothing { Turn::Idle } else { Turn::Busy }
    }

    /// Accounts for the last turn. A busy turn is followed by the next one at once, so the next one's beginning is its
    /// end and no clock has to be read for it.
    fn account(&mut self, now: Instant) {
        self.stats.turns += 1;
        if let Some((began_ns, Found::Upkeep | Found::Writes)) = self.last_turn {
            let took_ns = now.monotonic_ns.saturating_sub(began_ns);
            self.stats.busy_turns += 1;
            self.stats.busy_ns += took_ns;
            self.stats.longest_turn_ns = self.stats.longest_turn_ns.max(took_ns);
        }
    }

    /// Frames from the network: to the engine of their shard, or to the worker that owns it.
    fn receive(&mut self, now: Instant) -> usize {
        let Self { config, shards, port, seals, handoff, stats, .. } = self;
        let received = port.receive(config.receive_burst, &mut |received| {
            stats.frames_received += 1;
            let shard = received.udp_port.wrapping_sub(config.udp_port_base);
            if shard >= config.shards {
                stats.frames_misdirected += 1;
                return;
            }
            let Some(engine) = shards.of_shard(shard) else {
                match handoff.send(shards.owner(shard), shard, received.frame) {
                    HandedOver::Yes => stats.handed_over += 1,
                    HandedOver::Dropped => stats.handover_dropped += 1,
                }
                return;
            };
            seals.receive(now, engine, received.frame, stats);
        });
        self.handoff.notify();
        match received {
            Ok(frames) => frames,
            Err(error) => self.port_failed(&error),
        }
    }

    /// Frames of this worker's shards that arrived at other workers.
    fn take_over(&mut self, now: Instant) -> usize {
        let Self { config, shards, seals, handoff, stats, .. } = self;
        let frames = handoff.receive(config.receive_burst, &mut |shard, frame| {
            if let Some(engine) = shards.of_shard(shard) {
                seals.receive(now, engine, frame, stats);
            }
        });
        stats.taken_over += frames as u64;
        frames
    }

    /// Operations of clients.
    fn serve(&mut self, now: Instant) -> usize {
        let Self { config, shards, publisher, clients, stats, serves, .. } = self;
        let mut executor = Executor { now, shard_count: config.shards, shards, publisher, serves: *serves };
        clients.serve(&mut executor, stats)
    }

    /// Goes on with the snapshot that is under way or due. Returns whether there is more to do at once.
    fn keep(&mut self, now: Instant) -> usize {
        match &mut self.snapshots {
            Some(snapshots) => usize::from(snapshots.turn(now.monotonic_ns, &mut self.shards)),
            None => 0,
        }
    }

    /// Makes everything since the last commit visible, then tells the clients whose operations were in it.
    /// Returns whether anything was published.
    fn commit(&mut self, now: Instant) -> bool {
        let published = self.shards.commit(now, &mut self.publisher);
        self.publisher.rules().settle();
        let Self { config, clients, shards, wakeup, outgoing, .. } = self;
        clients.complete(shards, config.index, wakeup, &mut |event| outgoing.send(event));
        published
    }

    /// Tells clients how far their writes have got, if they asked: after the frames have left, since it may take a system call.
    fn tell(&mut self, busy: bool) -> usize {
        if self.clients.is_asked() && (busy || self.clients.awaits_disk()) {
            self.clients.tell(&self.shards)
        } else {
            0
        }
    }

    /// Tells watchers of what was published, when there is nothing else to do or it has waited long enough.
    fn announce(&mut self, now: Instant, published: bool, busy: bool) {
        if published {
            self.announce_by_ns.get_or_insert(now.monotonic_ns.saturating_add(ANNOUNCE_WITHIN_NS));
        }
        if self.announce_by_ns.is_some_and(|by_ns| !busy || now.monotonic_ns >= by_ns) {
            self.announce_by_ns = None;
            self.publisher.writer().end_burst();
        }
    }

    /// Frames to the network, as many as the port and the burst have room for, with one kick at the end.
    fn transmit(&mut self, now: Instant, wrote: bool) -> usize {
        let Self { config, shards, port, seals, stats, frame, .. } = self;
        if !shards.is_any_active() && !self.unflushed {
            return 0;
        }
        let budget = config.transmit_burst.min(port.transmit_room());
        let sent = shards.transmit(now, wrote, budget, frame.as_mut_slice(), &mut |shard, peer, bytes| {
            if !seals.close(peer, shard, bytes, stats) {
                return;
            }
            let taken = match u16::try_from(peer) {
                Ok(slot) => port.transmit(PeerSlot(slot), config.udp_port_base + shard, bytes).is_ok(),
                Err(_) => false,
            };
            // A frame that the port refuses (no route yet, most often) is as good as lost on the way: repair sends it again.
            match taken {
                true => stats.frames_transmitted += 1,
                false => stats.transmit_refused += 1,
            }
        });
        // Without room only a flush makes some: it takes back what the kernel has sent.
        if sent > 0 || budget == 0 || self.unflushed {
            let flushed = self.port.flush();
            self.unflushed = flushed.is_err();
            if let Err(error) = flushed {
                self.port_failed(&error);
            }
        }
        sent
    }

    /// Counts a failed system call of the port. What it means for the frames is the port's to say; repair mends it.
    fn port_failed(&mut self, error: &lattice_port::PortError) -> usize {
        self.stats.port_errors += 1;
        self.degrade(Degradation::PortFailing, &error);
        0
    }

    /// What comes after a turn: the next one, a pause, or sleep.
    pub(crate) fn rest(&mut self) {
        let Some((now_ns, found)) = self.last_turn else { return };
        let mut deadline_ns = self.shards.deadline_ns();
        if let Phase::Draining { until_ns } = self.phase {
            deadline_ns = deadline_ns.min(until_ns);
        }
        if let Some(snapshots) = &self.snapshots {
            deadline_ns = deadline_ns.min(snapshots.deadline_ns(now_ns));
        }
        match self.idler.after_turn(now_ns, found, deadline_ns) {
            Rest::No => {}
            Rest::Spin => std::hint::spin_loop(),
            Rest::Yield => rustix::thread::sched_yield(),
            Rest::Sleep { timeout_ns } => self.sleep(timeout_ns),
        }
    }

    /// Sleeps until there is news. First everyone is asked to knock, then everything is looked at once more: see
    /// [`Wakeup`] for why nothing can slip through.
    fn sleep(&mut self, timeout_ns: u64) {
        self.wakeup.arm(self.clients.awaits_disk());
        let longest_ns = self.clients.prepare_sleep();
        let nothing_came = !self.handoff.has_frames()
            && self.commands.is_empty()
            && !self.clients.disk_has_come(&self.shards);
        if let Some(longest_ns) = longest_ns.filter(|_| nothing_came) {
            self.stats.sleeps += 1;
            let timeout = Duration::from_nanos(timeout_ns.min(longest_ns));
            if let Err(error) = self.port.wait(timeout, self.wakeup.fd()) {
                self.port_failed(&error);
            }
        }
        self.clients.wake();
        self.wakeup.disarm();
    }
}
