//! The running workers, as the control thread holds them: commands out, events in, nothing that blocks.

use std::time::{Duration, Instant};

use lattice_crdt::ActorId;
use lattice_engine::{EngineConfig, EngineLimits, EngineTimers, Storage};
use lattice_port::{PeerSlot, Port, Route};
use lattice_segment::Writer;
use lattice_worker::{
    Command, Engine, Event, Handoff, Idle, Look, WorkerConfig, WorkerHandle, WorkerParts, WorkerStatus,
    WorkerStorage,
};

use super::StartError;
use super::identity::Identity;
use crate::config::{self, Config, StorageMode};

/// Frames that may wait between two workers.
const HANDOFF_SLOTS: usize = 256;
/// Events that may wait for the control thread; more of them wait with the workers.
const EVENT_CAPACITY: usize = 1024;
/// Pause between two looks for an answer: workers are other threads, and this one must not block.
const ANSWER_POLL: Duration = Duration::from_micros(200);
/// Pause between two looks whether a stopping worker has ended.
const STOP_POLL: Duration = Duration::from_millis(1);
const NS_PER_MS: u64 = 1_000_000;

/// All workers of the daemon.
pub struct Workers {
    handles: Vec<WorkerHandle>,
    events: crossbeam_channel::Receiver<Event>,
}

impl Workers {
    /// Starts one worker for each port and writer, over the engines of all shards in their order. `storage` has one for each
    /// worker, or none.
    ///
    /// # Errors
    /// [`StartError::Worker`]: none runs; those that had been started were told to stop.
    pub fn start(
        config: &Config,
        engines: Vec<Engine>,
        storage: Vec<WorkerStorage>,
        ports: Vec<Box<dyn Port>>,
        writers: Vec<Writer>,
    ) -> Result<Self, StartError> {
        let count = u16::try_from(ports.len()).unwrap_or(u16::MAX);
        let handoffs = Handoff::for_workers(count, HANDOFF_SLOTS)
            .map_err(|source| StartError::System { step: "connecting the workers", source })?;
        let (sender, events) = crossbeam_channel::bounded(EVENT_CAPACITY);
        let mut workers = Self { handles: Vec::new(), events };
        let mut engines = deal_out(engines, usize::from(count)).into_iter();
        let mut storage = storage.into_iter();
        for (index, ((port, writer), handoff)) in (0..).zip(ports.into_iter().zip(writers).zip(handoffs)) {
            let failed = |error: &dyn std::fmt::Display| StartError::Worker {
                worker: index,
                reason: error.to_string(),
            };
            let worker_config = worker_config(config, index, count);
            let (engines, storage) = (engines.next().unwrap_or_default(), storage.next());
            let parts = WorkerParts { config: worker_config, engines, port, writer, handoff, storage };
            match lattice_worker::spawn(parts, sender.clone()).map_err(|error| failed(&error)) {
                Ok(handle) => workers.handles.push(handle),
                Err(error) => {
                    // Just started: no queue is full yet.
                    let _ = workers.shut_down();
                    return Err(error);
                }
            }
        }
        Ok(workers)
    }

    /// How many there are.
    pub fn count(&self) -> u16 {
        u16::try_from(self.handles.len()).unwrap_or(u16::MAX)
    }

    /// Gives a worker a command. False: its queue is full, try again later. A command for a worker that has ended is
    /// taken and dropped, because nothing is left that it could apply to.
    #[must_use]
    pub fn send(&self, worker: u16, command: Command) -> bool {
        self.try_send(worker, command).is_ok()
    }

    /// As [`Workers::send`], giving back what did not fit.
    ///
    /// # Errors
    /// The command: the worker's queue is full.
    pub fn try_send(&self, worker: u16, command: Command) -> Result<(), Box<Command>> {
        let Some(handle) = self.handles.get(usize::from(worker)) else { return Ok(()) };
        match handle.send(command) {
            Ok(()) | Err(lattice_worker::CommandError::Stopped(_)) => Ok(()),
            Err(lattice_worker::CommandError::Full(returned)) => Err(returned),
        }
    }

    /// Gives a worker a command, waiting for room until `deadline`. False: there was none, and the command is dropped.
    pub async fn send_until(&self, worker: u16, mut command: Command, deadline: Instant) -> bool {
        loop {
            match self.try_send(worker, command) {
                Ok(()) => return true,
                Err(_) if Instant::now() >= deadline => return false,
                Err(returned) => command = *returned,
            }
            tokio::time::sleep(ANSWER_POLL).await;
        }
    }

    /// Tells every worker a route. False: one could not be told, nor those after it; tell all of them again.
    #[must_use]
    pub fn set_route(&self, peer: PeerSlot, route: Route) -> bool {
        (0..self.count()).all(|worker| self.send(worker, Command::SetRoute { peer, route: Some(route) }))
    }

    /// The accounts of all workers that answer in time, in the order of workers.
    pub async fn statuses(&self, timeout: Duration) -> Vec<WorkerStatus> {
        let requests: Vec<_> =
            self.handles.iter().filter_map(|handle| handle.request_status().ok()).collect();
        let deadline = Instant::now() + timeout;
        let mut statuses = Vec::with_capacity(requests.len());
        for request in requests {
            statuses.extend(answer(&request, deadline).await);
        }
        statuses
    }

    /// What a look at a shard's engine found; `None`: its worker did not answer by `deadline`. The worker stands still
    /// meanwhile (see [`Look`]).
    pub async fn look<T: Send + 'static>(
        &self,
        shard: u16,
        deadline: Instant,
        look: impl FnOnce(&Engine) -> T + Send + Sync + 'static,
    ) -> Option<T> {
        let (sender, found) = crossbeam_channel::bounded(1);
        // It has room; an error only means that nobody waits any more.
        let look = Look::new(move |engine| drop(sender.try_send(look(engine))));
        let worker = lattice_segment::worker_of(shard, self.count());
        if !self.send_until(worker, Command::Look { shard, look }, deadline).await {
            return None;
        }
        answer(&found, deadline).await
    }

    /// The next event, if there is one.
    pub fn next_event(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// The first worker whose thread has ended.
    pub fn finished(&self) -> Option<u16> {
        self.handles.iter().find(|handle| handle.is_finished()).map(WorkerHandle::index)
    }

    /// Tells every worker to stop; returns those whose queue was full.
    fn shut_down(&self) -> Vec<u16> {
        (0..self.count()).filter(|&worker| !self.send(worker, Command::Shutdown)).collect()
    }

    /// Tells every worker to stop and waits until all threads have ended, at most `timeout`. Their events are dropped
    /// meanwhile: a worker that can't deliver one would wait.
    ///
    /// # Errors
    /// The workers that still run.
    pub async fn stop(&self, timeout: Duration) -> Result<(), Vec<u16>> {
        let deadline = Instant::now() + timeout;
        let mut untold = self.shut_down();
        loop {
            while self.next_event().is_some() {}
            untold.retain(|&worker| !self.send(worker, Command::Shutdown));
            let running: Vec<u16> =
                self.handles.iter().filter(|handle| !handle.is_finished()).map(WorkerHandle::index).collect();
            if running.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(running);
            }
            tokio::time::sleep(STOP_POLL).await;
        }
    }
}

/// What a worker answers, if it does so in time.
async fn answer<T>(answer: &crossbeam_channel::Receiver<T>, deadline: Instant) -> Option<T> {
    loop {
        match answer.try_recv() {
            Ok(answer) => return Some(answer),
            Err(crossbeam_channel::TryRecvError::Disconnected) => return None,
            Err(crossbeam_channel::TryRecvError::Empty) if Instant::now() >= deadline => return None,
            Err(crossbeam_channel::TryRecvError::Empty) => tokio::time::sleep(ANSWER_POLL).await,
        }
    }
}

fn worker_config(config: &Config, index: u16, workers: u16) -> WorkerConfig {
    let mut worker = WorkerConfig::new(index, workers, config.cluster.shards, config.network.base_port);
    worker.core = config.workers.cores.get(usize::from(index)).copied();
    worker.idle = match config.workers.idle {
        config::Idle::Busy => Idle::Busy,
        config::Idle::Yield => Idle::Yield,
        config::Idle::Sleep => {
            Idle::sleep(config.timers.segment_heartbeat_timeout_ms.saturating_mul(1_000_000))
        }
    };
    worker.must_seal = config.security.as_ref().is_some_and(|security| security.seal);
    // Twice: a client that goes is replaced before the worker has taken its leave.
    worker.max_clients = config.limits.max_clients.saturating_mul(2);
    worker
}

/// Shard `s` to worker `s % workers`, in the order of shards.
fn deal_out(engines: Vec<Engine>, workers: usize) -> Vec<Vec<Engine>> {
    let mut hands: Vec<_> = (0..workers).map(|_| Vec::new()).collect();
    for (shard, engine) in engines.into_iter().enumerate() {
        if let Some(hand) = hands.get_mut(shard % workers.max(1)) {
            hand.push(engine);
        }
    }
    hands
}

/// What the engine of a shard is told, in the epoch of `actor`.
pub fn engine_config(config: &Config, identity: &Identity, actor: ActorId, shard: u16) -> EngineConfig {
    let (limits, timers) = (&config.limits, &config.timers);
    EngineConfig {
        actor,
        session: identity.session,
        shard,
        cluster_tag: config.cluster_tag(),
        peers: config.peers.iter().map(|peer| peer.id).collect(),
        limits: EngineLimits {
            max_keys: limits.max_keys,
            log_bytes: limits.log_bytes,
            log_records: limits.log_records,
            max_actors: limits.max_actors,
            max_ranges_per_actor: limits.max_ranges_per_actor,
            max_pre_removed: limits.max_pre_removed,
            max_window_frames: limits.max_window_frames,
            max_burst_ops: limits.max_burst_ops,
        },
        timers: EngineTimers {
            ack_delay_ns: timers.ack_delay_ms * NS_PER_MS,
            min_rto_ns: timers.min_rto_ms * NS_PER_MS,
            max_rto_ns: timers.max_rto_ms * NS_PER_MS,
            heartbeat_ns: timers.heartbeat_ms * NS_PER_MS,
            peer_timeout_ns: timers.peer_timeout_ms * NS_PER_MS,
            hello_ns: timers.hello_ms * NS_PER_MS,
            anti_entropy_ns: timers.anti_entropy_ms * NS_PER_MS,
            sync_timeout_ns: timers.sync_timeout_ms * NS_PER_MS,
            max_clock_skew_ns: timers.max_clock_skew_ms * NS_PER_MS,
            ..EngineTimers::default()
        },
        storage: match config.storage.mode {
            StorageMode::Disk => Storage::Durable,
            StorageMode::Memory => Storage::Memory,
        },
        // Another sequence of draws in each shard, so that they do not all choose the same peer.
        random_seed: identity.random_seed ^ u64::from(shard).wrapping_mul(0x9E37_79B9_7F4A_7C15),
    }
}

/// Unix time in nanoseconds; a clock before 1970 counts as 1970.
pub fn wall_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
