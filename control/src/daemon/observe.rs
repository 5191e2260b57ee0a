//! Looks at the workers once a second, so that whoever asks how the daemon is need not disturb them: health, metrics.
//!
//! ```text
//!   every second: workers' accounts ──> Series ──> Sample ──┬──> health::Facts ──> /healthz /readyz status, the watchdog
//!   now: heartbeats and counters in the segment ────────────┴──> metrics::Facts ──> /metrics
//! ```
//!
//! What can go wrong: a worker does not answer. The sample then says so, a second late, and is made of the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lattice_segment::monotonic_ns;

use super::{Daemon, namespaces, seals, status};
use crate::health;
use crate::metrics::{self, Identity, Process, Sample, Series};
use crate::protocol::Peer;

/// Pause between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// What was seen.
#[derive(Debug)]
pub struct Observer {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    series: Series,
    last: Option<Arc<Sample>>,
}

impl Observer {
    /// Of a daemon that begins now.
    pub fn new(shards: u16, workers: u16) -> Self {
        let series = Series::new(monotonic_ns(), shards, workers);
        Self { state: Mutex::new(State { series, last: None }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last look; `None` before the first.
    fn last(&self) -> Option<Arc<Sample>> {
        self.state().last.clone()
    }

    /// Adds to peers how long they have been behind, as the last look had it.
    pub fn add_lags(&self, peers: &mut [Peer]) {
        let Some(last) = self.last() else { return };
        for peer in peers.iter_mut().filter(|peer| peer.acked_lag_seqs > 0) {
            let seen = last.peers.iter().find(|seen| seen.node == peer.node);
            peer.acked_lag_ms = seen.map_or(0, |seen| seen.acked_lag_ms);
        }
    }
}

/// Looks until the task is dropped.
pub async fn observe(daemon: Arc<Daemon>) {
    loop {
        let workers = daemon.workers.statuses(status::WORKER_TIMEOUT).await;
        seals::look_after(&daemon, &workers);
        let (shards, peers) = (status::shards(&daemon, &workers), status::peers(&daemon, &workers));
        {
            let mut state = daemon.observer.state();
            let sample = state.series.sample(monotonic_ns(), workers, shards, peers);
            state.last = Some(Arc::new(sample));
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// What health is judged by, at this moment.
pub fn facts(daemon: &Daemon) -> health::Facts {
    let sample = daemon.observer.last().unwrap_or_default();
    health::Facts {
        heartbeat_ages_ns: heartbeat_ages_ns(daemon),
        heartbeat_timeout_ns: daemon.reader.heartbeat_timeout_ns(),
        mute_workers: sample.mute_workers.clone(),
        failing_ports: sample.failing_ports.clone(),
        syncing_shards: sample.syncing_shards(),
        joining_shards: match daemon.observer.last() {
            Some(_) => sample.joining_shards.clone(),
            // Not looked at yet.
            None => (0..daemon.config.cluster.shards).collect(),
        },
        full_workers: sample.full_workers(),
        full_shards: sample.full_shards(daemon.config.limits.max_keys as u64),
        is_drained: daemon.drain.is_announced(),
        clock_ahead_ns: sample.clock_ahead_ns(),
        max_clock_skew_ns: daemon.config.timers.max_clock_skew_ms.saturating_mul(1_000_000),
    }
}

fn heartbeat_ages_ns(daemon: &Daemon) -> Vec<u64> {
    let now_ns = monotonic_ns();
    (0..daemon.workers.count()).map(|worker| daemon.reader.heartbeat_age_ns(worker, now_ns)).collect()
}

/// The page of metrics, at this moment.
pub fn page(daemon: &Daemon) -> String {
    let sample = daemon.observer.last();
    let health = facts(daemon);
    let (live, ready) = (health.live(), health.ready());
    let uptime = daemon.began.elapsed();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let first_actor = sample.as_ref().and_then(|sample| Some(sample.shards.first()?.actor.clone()));
    metrics::render(&metrics::Facts {
        identity: Identity {
            node: daemon.config.node.id,
            name: daemon.config.node.name.clone(),
            cluster: daemon.config.cluster.name.clone(),
            actor: first_actor.unwrap_or_default(),
            port: daemon.port_mode.to_string(),
        },
        uptime,
        started_at_s: now.saturating_sub(uptime).as_secs_f64(),
        counters: daemon.reader.counters(),
        heartbeat_ages_ns: health.heartbeat_ages_ns.clone(),
        xdp_drops: daemon.xdp_drops(),
        sample: sample
            .as_deref()
            .map(|sample| (sample, Duration::from_nanos(monotonic_ns().saturating_sub(sample.taken_ns)))),
        max_keys: daemon.config.limits.max_keys as u64,
        namespaces: namespaces::status(&daemon.live.config(), &daemon.namespaces.get())
            .into_iter()
            .map(|namespace| (namespace.name, namespace.keys, namespace.max_keys))
            .collect(),
        clients: daemon.clients.list().len(),
        // Relaxed: a count that nothing else is published with.
        connections: daemon.connections.load(std::sync::atomic::Ordering::Relaxed),
        bad_lines: daemon.bad_lines(),
        live: &live,
        ready: &ready,
        process: Process::read(),
    })
}
