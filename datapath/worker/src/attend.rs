//! What a worker does beside its work: commands, heartbeats, counters, status, pinning, the way to the end.
//!
//! ```text
//!             Shutdown                    rings empty, peers have everything, or drain_ns over
//!   running ───────────> draining ────────────────────────────────────────────────────────────> stopped
//!                           clients leave after what they have submitted; frames and acknowledgements go on
//! ```

use crate::command::{Command, Event};
use crate::counters;
use crate::status::{Degradation, ShardStatus, WorkerStatus};
use crate::turn::{Phase, Worker};
use lattice_engine::{Engine, Instant};
use std::fmt::Display;

/// Commands carried out in one turn.
const COMMANDS_A_TURN: usize = 8;

impl Worker {
    /// Everything that is not datapath. Returns how many commands were carried out.
    pub(crate) fn attend(&mut self, now: Instant) -> usize {
        let mut done = 0;
        // Commands can cause events, so none is taken while events wait for room: that bounds them.
        while !self.commands.is_empty() && done < COMMANDS_A_TURN && self.outgoing.settle() {
            let Ok(command) = self.commands.try_recv() else { break };
            self.carry_out(command, now);
            done += 1;
        }
        if now.monotonic_ns >= self.beat_due_ns {
            self.beat_due_ns = now.monotonic_ns.saturating_add(self.config.heartbeat_ns);
            self.publisher.writer().heartbeat(now.monotonic_ns);
            self.outgoing.settle();
        }
        if now.monotonic_ns >= self.counters_due_ns {
            self.counters_due_ns = now.monotonic_ns.saturating_add(self.config.counters_ns);
            self.publish_counters();
            self.clients.refresh_terms(&self.shards);
        }
        if let Phase::Draining { until_ns } = self.phase {
            self.stop_when_drained(now, until_ns);
        }
        done
    }

    fn carry_out(&mut self, command: Command, now: Instant) {
        match command {
            Command::AttachClient { id, consumer, wakeup } => {
                if let Err((retired, why)) =
                    self.clients.attach(id, consumer, wakeup, &self.wakeup, &self.shards)
                {
                    self.outgoing.send(Event::ClientFault { worker: self.config.index, id, why, retired });
                } else if self.phase != Phase::Running {
                    self.clients.detach(id);
                }
            }
            Command::DetachClient { id } => self.clients.detach(id),
            Command::SetRoute { peer, route } => self.port.set_route(peer, route),
            // A reply that finds no room, or nobody waiting, is not wanted any more.
            Command::Status(reply) => drop(reply.try_send(self.status(now))),
            Command::Shutdown => {
                if self.phase == Phase::Running {
                    let until_ns = now.monotonic_ns.saturating_add(self.config.drain_ns);
                    self.phase = Phase::Draining { until_ns };
                    self.clients.detach_all();
                }
            }
        }
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
        let engines = self.shards.engines();
        counters::publish(&mut self.publisher, engines, &self.stats, &self.port.stats());
        match engines.iter().any(|engine| engine.stats().unpublished > 0) {
            true => self.degrade(Degradation::SegmentFull, &"readers on this host miss a value"),
            false => self.degraded &= !Degradation::SegmentFull.bit(),
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
        let shards = self.shards.engines().iter().map(|engine| shard_status(engine, now)).collect();
        WorkerStatus {
            worker: self.config.index,
            pinned_to: self.pinned_to,
            shards,
            port_mode: self.port.mode(),
            port_describe: self.port.describe(),
            port_stats: self.port.stats(),
            loop_stats: self.stats,
            clients: self.clients.len(),
            degraded: Degradation::ALL.into_iter().filter(|what| self.degraded & what.bit() != 0).collect(),
        }
    }
}

fn shard_status(engine: &Engine, now: Instant) -> ShardStatus {
    let stats = engine.stats();
    ShardStatus {
        shard: engine.shard(),
        last_seq: engine.last_seq(),
        keys: stats.keys,
        state_digest: engine.state_digest(),
        vector_digest: engine.vector_digest(),
        unpublished: stats.unpublished,
        clock_ahead_ns: engine.clock_ahead_ns(),
        stats,
        peers: (0..).map_while(|slot| engine.peer_status(slot, now)).collect(),
    }
}
