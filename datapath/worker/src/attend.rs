//! What a worker does beside its work: commands, heartbeats, counters, status, pinning, the way to the end.
//!
//! ```text
//!             Shutdown                    rings empty, peers have everything, or drain_ns over
//!   running ───────────> draining ────────────────────────────────────────────────────────────> stopped
//!                           clients leave after what they have submitted; frames and acknowledgements go on
//! ```

use crate::clients::Newcomer;
use crate::command::{Command, Event};
use crate::counters;
use crate::shards::Engine;
use crate::snapshots::Snapshots;
use crate::status::{Degradation, ShardStatus, WorkerStatus};
use crate::turn::{Phase, Worker};
use lattice_crdt::ActorId;
use lattice_engine::{Instant, LogStore};
use lattice_port::PeerSlot;
use lattice_storage::LogHandle;
use std::fmt::Display;
use std::net::IpAddr;

/// Time without room in a log after which that is worth saying, nanoseconds: a snapshot is under way until then as a rule.
const LOG_FULL_FOR_NS: u64 = 1_000_000_000;

/// Cells whose keys are counted in one turn, after the rules of namespaces have changed: some microseconds.
const CELLS_COUNTED_A_TURN: u32 = 64;

/// Commands carried out in one turn.
const COMMANDS_A_TURN: usize = 8;

impl Worker {
    /// Everything that is not datapath. Returns how much was done of what can't wait.
    pub(crate) fn attend(&mut self, now: Instant) -> usize {
        let mut done = 0;
        // Commands can cause events, so none is taken while events wait for room: that bounds them.
        while !self.commands.is_empty() && done < COMMANDS_A_TURN && self.outgoing.settle() {
            let Ok(command) = self.commands.try_recv() else { break };
            self.carry_out(command, now);
            done += 1;
        }
        done += self.publisher.count_keys(CELLS_COUNTED_A_TURN);
        if now.monotonic_ns >= self.beat_due_ns {
            self.beat_due_ns = now.monotonic_ns.saturating_add(self.config.heartbeat_ns);
            self.publisher.writer().heartbeat(now.monotonic_ns);
            self.outgoing.settle();
        }
        if now.monotonic_ns >= self.counters_due_ns {
            self.counters_due_ns = now.monotonic_ns.saturating_add(self.config.counters_ns);
            self.publish_counters();
            self.seals.tick(now.monotonic_ns);
            self.clients.refresh_terms(&self.shards);
            self.look_at_epochs();
            self.look_at_logs(now);
        }
        if let Phase::Draining { until_ns } = self.phase {
            self.stop_when_drained(now, until_ns);
        }
        done
    }

    fn carry_out(&mut self, command: Command, now: Instant) {
        match command {
            Command::AttachClient { id, consumer, wakeup, who } => {
                let Self { clients, wakeup: own, shards, publisher, .. } = self;
                let newcomer = Newcomer { id, consumer, wakeup, who };
                let attached = clients.attach(newcomer, own, shards, publisher.rules());
                if let Err((retired, why)) = attached {
                    self.outgoing.send(Event::ClientFault { worker: self.config.index, id, why, retired });
                } else if self.phase != Phase::Running {
                    self.clients.detach(id);
                }
            }
            Command::SetNamespaces { namespaces } => {
                self.publisher.set_namespaces(namespaces);
                self.clients.judge_again(self.publisher.rules());
            }
            Command::DetachClient { id } => self.clients.detach(id),
            Command::SetPeer { peer, node, address } => self.set_peer(peer, node, address),
            Command::SetSeal { peer, node, seal } => self.seals.set(now.monotonic_ns, peer, node, seal),
            Command::SetRoute { peer, route } => self.port.set_route(peer, route),
            // A reply that finds no room, or nobody waiting, is not wanted any more.
            Command::Status(reply) => drop(reply.try_send(self.status(now))),
            Command::Look { shard, look } => {
                if let Some(engine) = self.shards.look_at(shard) {
                    look.at(engine);
                }
            }
            Command::TakeSnapshots => self.snapshots.iter_mut().for_each(Snapshots::want_all),
            Command::SnapshotDurable { shard, done } => {
                let place = self.shards.place(shard);
                if let (Some(place), Some(snapshots)) = (place, &mut self.snapshots)
                    && let Some(engine) = self.shards.of_shard(shard)
                {
                    snapshots.is_durable(place, now.monotonic_ns, done, engine);
                }
            }
            Command::SnapshotFailed { shard, number } => {
                if let (Some(place), Some(snapshots)) = (self.shards.place(shard), &mut self.snapshots) {
                    snapshots.has_failed(place, now.monotonic_ns, number);
                }
            }
            Command::Forget { node } => {
                for engine in self.shards.engines_mut() {
                    engine.forget(node);
                }
            }
            Command::KeepForgotten { nodes } => {
                for engine in self.shards.engines_mut() {
                    engine.keep_forgotten(nodes.iter().copied());
                }
            }
            Command::Serve(serves) => self.serves = serves,
            Command::BeginEpoch { shard, actor, session } => self.begin_epoch(now, shard, actor, session),
            Command::Shutdown => {
                if self.phase == Phase::Running {
                    let until_ns = now.monotonic_ns.saturating_add(self.config.drain_ns);
                    self.phase = Phase::Draining { until_ns };
                    self.clients.detach_all();
                }
            }
        }
    }

    /// One more peer, or one at another address. What can't be is said in the log: the control thread has checked it.
    fn set_peer(&mut self, peer: PeerSlot, node: u16, address: IpAddr) {
        if let Err(error) = self.port.set_peer(peer, address) {
            tracing::error!(node, %address, %error, "peer not taken up");
            return;
        }
        for engine in self.shards.engines_mut() {
            match engine.add_peer(node) {
                Ok(slot) if slot == usize::from(peer.0) => {}
                Ok(slot) => tracing::error!(node, slot, expected = peer.0, "peer in another slot"),
                Err(error) => tracing::error!(node, %error, "peer not taken up"),
            }
        }
    }

    /// A peer had heard more of the old epoch than this worker has.
    fn begin_epoch(&mut self, now: Instant, shard: u16, actor: ActorId, session: u32) {
        let Some(place) = self.shards.place(shard) else { return };
        let Some(engine) = self.shards.of_shard(shard) else { return };
        if let Err(error) = engine.begin_epoch(now, actor, session) {
            // It is reported again, and another one is drawn.
            tracing::warn!(shard, %error, "not a new epoch");
        } else if let Some(snapshots) = &mut self.snapshots {
            snapshots.want_anew(place);
        }
        self.epochs_over &= !(1 << place);
    }

    fn stop_when_drained(&mut self, now: Instant, until_ns: u64) {
        let drained = self.clients.len() == 0 && self.shards.acknowledged(now);
        if !drained && now.monotonic_ns < until_ns {
            return;
        }
        self.publish_counters();
        self.publisher.writer().end_burst();
        self.outgoing.send(Event::Stopped { worker: self.config.index, drained });
        self.phase = Phase::Stopped;
    }

    fn publish_counters(&mut self) {
        self.stats.ring_slots_waiting = self.clients.waiting_slots();
        let engines = self.shards.engines();
        counters::publish(&mut self.publisher, engines, &self.stats, &self.port.stats());
        match engines.iter().any(|engine| engine.stats().unpublished > 0) {
            true => self.degrade(Degradation::SegmentFull, &"readers on this host miss a value"),
            false => self.degraded &= !Degradation::SegmentFull.bit(),
        }
    }

    /// What is to be said of epochs that are over: this node's, and those of nodes that were forgotten.
    fn look_at_epochs(&mut self) {
        let worker = self.config.index;
        for place in 0..self.shards.engines().len() {
            let Some(engine) = self.shards.engines().get(place) else { break };
            let (shard, is_over, generation) =
                (engine.shard(), engine.epoch_is_over(), engine.wanted_generation());
            let own = engine.actor().node();
            let this = engine.is_forgotten().then_some((own, generation));
            let all = || engine.forgotten().filter(|(node, _)| *node != own).chain(this);
            let Some(told) = self.forgotten_told.get_mut(place) else { break };
            if !all().eq(told.iter().copied()) {
                let nodes: Vec<_> = all().collect();
                if !self.outgoing.settle() {
                    return;
                }
                told.clone_from(&nodes);
                self.outgoing.send(Event::Forgotten { worker, shard, nodes });
            }
            if is_over && self.epochs_over & (1 << place) == 0 && self.outgoing.settle() {
                self.epochs_over |= 1 << place;
                self.outgoing.send(Event::EpochOver { worker, shard, generation });
            }
        }
    }

    /// What is to be said of the logs.
    fn look_at_logs(&mut self, now: Instant) {
        if self.snapshots.is_none() {
            return;
        }
        let (mut is_full, mut has_failed) = (false, false);
        for place in 0..self.shards.engines().len() {
            let Some(engine) = self.shards.engines().get(place) else { break };
            is_full |= engine.log().room() == 0;
            has_failed |= self.shards.log(place).is_some_and(LogHandle::has_failed);
        }
        if has_failed {
            self.degrade(Degradation::StorageFailing, &"a log is not made durable any more");
        }
        if !is_full {
            self.log_full_since_ns = None;
            self.degraded &= !Degradation::LogFull.bit();
            return;
        }
        let since_ns = *self.log_full_since_ns.get_or_insert(now.monotonic_ns);
        if now.monotonic_ns.saturating_sub(since_ns) > LOG_FULL_FOR_NS {
            self.degrade(Degradation::LogFull, &"operations are refused until a snapshot is durable");
        }
    }

    /// Reports a degradation when it begins. While the control thread does not take its events it is not news yet, and
    /// reported when it is met again.
    pub(crate) fn degrade(&mut self, what: Degradation, why: &dyn Display) {
        if self.degraded & what.bit() == 0 && self.outgoing.settle() {
            self.degraded |= what.bit();
            tracing::warn!(worker = self.config.index, "degraded: {what}: {why}");
            self.outgoing.send(Event::Degraded { worker: self.config.index, what });
        }
    }

    /// Pins the calling thread to the configured core; if that fails the worker runs unpinned and says so.
    pub(crate) fn pin(&mut self) {
        let Some(core) = self.config.core else { return };
        let allowed = core_affinity::get_core_ids().unwrap_or_default();
        match allowed.into_iter().find(|id| id.id == core) {
            Some(id) if core_affinity::set_for_current(id) => self.pinned_to = Some(core),
            Some(_) => self.degrade(Degradation::Unpinned, &format_args!("the kernel refuses core {core}")),
            None => self.degrade(Degradation::Unpinned, &format_args!("core {core} is not ours to use")),
        }
    }

    fn status(&self, now: Instant) -> WorkerStatus {
        let engines = self.shards.engines().iter().enumerate();
        let shards = engines.map(|(place, engine)| self.shard_status(place, engine, now)).collect();
        WorkerStatus {
            worker: self.config.index,
            pinned_to: self.pinned_to,
            shards,
            port_mode: self.port.mode(),
            port_describe: self.port.describe(),
            port_stats: self.port.stats(),
            loop_stats: self.stats,
            clients: self.clients.len(),
            seals: self.seals.statuses(now.monotonic_ns),
            forged_age_ns: self.seals.forged_age_ns(now.monotonic_ns),
            degraded: Degradation::ALL.into_iter().filter(|what| self.degraded & what.bit() != 0).collect(),
        }
    }

    fn shard_status(&self, place: usize, engine: &Engine, now: Instant) -> ShardStatus {
        let stats = engine.stats();
        let durable_seq = self.shards.durable_seq(engine.shard());
        let kept = self.snapshots.as_ref().zip(self.shards.log(place));
        ShardStatus {
            shard: engine.shard(),
            actor: engine.actor(),
            last_seq: self.shards.logged_seq(engine.shard()),
            storage: kept.map(|(snapshots, log)| snapshots.status(place, now.monotonic_ns, durable_seq, log)),
            keys: stats.keys,
            state_digest: engine.state_digest(),
            vector_digest: engine.vector_digest(),
            unpublished: stats.unpublished,
            clock_ahead_ns: engine.clock_ahead_ns(),
            stats,
            peers: (0..).map_while(|slot| engine.peer_status(slot, now)).collect(),
            syncs: engine.syncs(now.monotonic_ns).collect(),
            forgotten: engine.forgotten().collect(),
            missing_of_forgotten: engine.missing_of_forgotten(),
            is_forgotten: engine.is_forgotten(),
            actors: engine.vector().len() as u64,
            max_actors: engine.vector().limits().max_actors as u64,
        }
    }
}
