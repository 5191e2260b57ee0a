//! What the workers said of themselves, about once a second, and what only a series of such accounts can tell.
//!
//! The counters of the segment are sums over a worker's shards. What concerns one shard or one peer the workers know alone, so
//! they are asked, once a second, whoever looks how often: scrapes, `latticectl top` and health checks all read the last
//! sample and disturb nobody. A status costs a worker some microseconds.

use lattice_worker::{Degradation, WorkerStatus};

use super::lag::SeqHistory;
use crate::health::{ALONE_AFTER, CATCH_UP};
use crate::protocol::{Peer, Shard};

const NS_PER_MS: u64 = 1_000_000;

/// One look at all workers.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// When, on the monotonic clock.
    pub taken_ns: u64,
    /// The workers that answered.
    pub workers: Vec<WorkerStatus>,
    /// Their shards, ascending.
    pub shards: Vec<Shard>,
    /// Workers that did not.
    pub mute_workers: Vec<u16>,
    /// The peers, over all shards.
    pub peers: Vec<Peer>,
    /// Workers whose port had an error since the sample before.
    pub failing_ports: Vec<u16>,
    /// Shards that have not caught up with any peer since the start.
    pub joining_shards: Vec<u16>,
}

impl Sample {
    /// Shards that a state sync is coming in for.
    #[must_use]
    pub fn syncing_shards(&self) -> Vec<u16> {
        let shards = self.workers.iter().flat_map(|worker| &worker.shards);
        shards.filter(|shard| is_syncing(shard)).map(|shard| shard.shard).collect()
    }

    /// Workers with values that found no room in the segment.
    #[must_use]
    pub fn full_workers(&self) -> Vec<u16> {
        let full = |worker: &&WorkerStatus| worker.degraded.contains(&Degradation::SegmentFull);
        self.workers.iter().filter(full).map(|worker| worker.worker).collect()
    }

    /// Shards that hold at least `max_keys` keys.
    #[must_use]
    pub fn full_shards(&self, max_keys: u64) -> Vec<u16> {
        let shards = self.workers.iter().flat_map(|worker| &worker.shards);
        shards.filter(|shard| shard.keys >= max_keys).map(|shard| shard.shard).collect()
    }

    /// How far this clock is ahead of the peers', by the shard that says most.
    #[must_use]
    pub fn clock_ahead_ns(&self) -> u64 {
        let shards = self.workers.iter().flat_map(|worker| &worker.shards);
        shards.map(|shard| shard.clock_ahead_ns).max().unwrap_or(0)
    }
}

fn is_syncing(shard: &lattice_worker::ShardStatus) -> bool {
    shard.stats.syncs_requested > shard.stats.syncs_completed + shard.stats.syncs_abandoned
}

/// What is remembered from sample to sample.
#[derive(Debug, Default)]
pub struct Series {
    began_ns: u64,
    shards: Vec<ShardSeries>,
    /// Errors of each worker's port at the sample before.
    port_errors: Vec<u64>,
}

#[derive(Clone, Debug, Default)]
struct ShardSeries {
    seqs: SeqHistory,
    /// Since when some peer has been up without a state sync.
    connected_at_ns: Option<u64>,
    caught_up: bool,
}

impl Series {
    /// Of a daemon with so many shards and workers that began at a moment of the monotonic clock.
    #[must_use]
    pub fn new(began_ns: u64, shards: u16, workers: u16) -> Self {
        Self {
            began_ns,
            shards: vec![ShardSeries::default(); usize::from(shards)],
            port_errors: vec![0; usize::from(workers)],
        }
    }

    /// Makes a sample of what the workers said at `now_ns`.
    pub fn sample(
        &mut self,
        now_ns: u64,
        workers: Vec<WorkerStatus>,
        shards: Vec<Shard>,
        mut peers: Vec<Peer>,
    ) -> Sample {
        let answered = |worker: &u16| workers.iter().any(|status| status.worker == *worker);
        let count = u16::try_from(self.port_errors.len()).unwrap_or(u16::MAX);
        let mute_workers = (0..count).filter(|worker| !answered(worker)).collect();
        for shard in workers.iter().flat_map(|worker| &worker.shards) {
            let Some(series) = self.shards.get_mut(usize::from(shard.shard)) else { continue };
            series.take(now_ns, shard);
            for peer in &mut peers {
                let lane = shard.peers.iter().find(|lane| lane.node == peer.node && !lane.forgotten);
                let acked = lane.map(|lane| shard.last_seq.saturating_sub(lane.unacknowledged_seqs));
                let lag_ns = acked.map_or(0, |acked| series.seqs.lag_ns(now_ns, acked));
                peer.acked_lag_ms = peer.acked_lag_ms.max(lag_ns / NS_PER_MS);
            }
        }
        let failing_ports = workers.iter().filter_map(|worker| self.port_fails(worker)).collect();
        let alone = peers.is_empty() || now_ns.saturating_sub(self.began_ns) >= as_ns(ALONE_AFTER);
        let is_joining =
            |series: &ShardSeries| !series.caught_up && (!alone || series.connected_at_ns.is_some());
        let joining_shards =
            (0..).zip(&self.shards).filter(|(_, s)| is_joining(s)).map(|(at, _)| at).collect();
        Sample { taken_ns: now_ns, workers, shards, mute_workers, peers, failing_ports, joining_shards }
    }

    /// The worker, if its port had an error since it was last asked.
    fn port_fails(&mut self, worker: &WorkerStatus) -> Option<u16> {
        let before = self.port_errors.get_mut(usize::from(worker.worker))?;
        let errors = worker.loop_stats.port_errors;
        (errors > std::mem::replace(before, errors)).then_some(worker.worker)
    }
}

impl ShardSeries {
    fn take(&mut self, now_ns: u64, shard: &lattice_worker::ShardStatus) {
        self.seqs.take(now_ns, shard.last_seq);
        let mut lanes = shard.peers.iter().filter(|lane| lane.up).peekable();
        if lanes.peek().is_none() || is_syncing(shard) {
            self.connected_at_ns = None;
            return;
        }
        let connected_at_ns = *self.connected_at_ns.get_or_insert(now_ns);
        let long_enough = now_ns.saturating_sub(connected_at_ns) >= as_ns(CATCH_UP);
        self.caught_up |= long_enough || lanes.any(|lane| lane.converged);
    }
}

fn as_ns(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_engine::{EngineStats, PeerStatus};
    use lattice_worker::{LoopStats, ShardStatus};

    const SECOND: u64 = 1_000_000_000;

    fn lane(up: bool, converged: bool, unacknowledged_seqs: u64) -> PeerStatus {
        PeerStatus {
            node: 2,
            session: 1,
            up,
            unacknowledged_seqs,
            undurable_seqs: unacknowledged_seqs,
            converged,
            smoothed_rtt_ns: 0,
            silent_ns: None,
            holds_back: 0,
            holds_folding: false,
            forgotten: false,
        }
    }

    fn worker(last_seq: u64, lane: PeerStatus, stats: EngineStats, port_errors: u64) -> WorkerStatus {
        let shard = ShardStatus {
            shard: 0,
            actor: lattice_crdt::ActorId::from_u64(1),
            last_seq,
            keys: 3,
            state_digest: 0,
            vector_digest: 0,
            unpublished: 0,
            clock_ahead_ns: 0,
            stats,
            peers: vec![lane],
            syncs: Vec::new(),
            forgotten: Vec::new(),
            missing_of_forgotten: 0,
            is_forgotten: false,
            actors: 1,
            max_actors: 256,
            storage: None,
        };
        WorkerStatus {
            worker: 0,
            pinned_to: None,
            shards: vec![shard],
            port_mode: lattice_port::PortMode::Udp,
            port_describe: String::new(),
            port_stats: lattice_port::PortStats::default(),
            loop_stats: LoopStats { port_errors, ..LoopStats::default() },
            clients: 0,
            seals: Vec::new(),
            forged_age_ns: None,
            degraded: Vec::new(),
        }
    }

    fn peer() -> Peer {
        let fields =
            r#"{"node":2,"address":"127.0.0.1","up":true,"acked_lag_seqs":0,"converged":false,"rtt_us":0}"#;
        serde_json::from_str(fields).expect("a peer")
    }

    fn take(series: &mut Series, seconds: u64, workers: Vec<WorkerStatus>) -> Sample {
        series.sample(seconds * SECOND, workers, Vec::new(), vec![peer()])
    }

    #[test]
    fn a_peer_lags_since_the_first_sample_beyond_what_it_has() {
        let mut series = Series::new(0, 1, 1);
        let status =
            |last_seq, behind| vec![worker(last_seq, lane(true, true, behind), EngineStats::default(), 0)];
        let lags: Vec<u64> = [(1, 10, 0), (2, 20, 5), (3, 20, 5), (9, 30, 15), (10, 30, 0)]
            .map(|(at, last_seq, behind)| {
                take(&mut series, at, status(last_seq, behind)).peers[0].acked_lag_ms / 1000
            })
            .into();
        assert_eq!(lags, [0, 0, 1, 7, 0]);
    }

    #[test]
    fn a_shard_has_joined_when_it_was_equal_or_connected_for_long_or_nobody_came() {
        let none = EngineStats::default();
        let joining = |series: &mut Series, at, lane| {
            take(series, at, vec![worker(0, lane, none, 0)]).joining_shards == [0]
        };
        let mut equal = Series::new(0, 1, 1);
        assert!(joining(&mut equal, 1, lane(true, false, 0)));
        assert!(
            !joining(&mut equal, 2, lane(true, true, 0)) && !joining(&mut equal, 3, lane(false, false, 0))
        );
        let mut connected = Series::new(0, 1, 1);
        assert!(joining(&mut connected, 20, lane(true, false, 0)), "it came late, and is not caught up with");
        assert!(
            joining(&mut connected, 24, lane(true, false, 0))
                && !joining(&mut connected, 25, lane(true, false, 0))
        );
        let mut alone = Series::new(0, 1, 1);
        assert!(
            joining(&mut alone, 9, lane(false, false, 0)) && !joining(&mut alone, 10, lane(false, false, 0))
        );
        let first = Series::new(0, 1, 1).sample(
            SECOND,
            vec![worker(0, lane(false, false, 0), none, 0)],
            Vec::new(),
            Vec::new(),
        );
        assert_eq!(first.joining_shards, [0; 0], "a cluster of one");
    }

    #[test]
    fn a_state_sync_that_comes_in_is_seen_and_delays_joining() {
        let mut series = Series::new(0, 1, 1);
        let syncing = EngineStats {
            syncs_requested: 3,
            syncs_completed: 1,
            syncs_abandoned: 1,
            ..EngineStats::default()
        };
        let sample = take(&mut series, 1, vec![worker(0, lane(true, false, 0), syncing, 0)]);
        assert_eq!((sample.syncing_shards(), sample.joining_shards), (vec![0], vec![0]));
        let done = EngineStats { syncs_completed: 2, ..syncing };
        let sample = take(&mut series, 6, vec![worker(0, lane(true, false, 0), done, 0)]);
        assert_eq!((sample.syncing_shards(), sample.joining_shards), (vec![], vec![0]));
    }

    #[test]
    fn a_port_fails_while_its_errors_grow_and_a_worker_that_is_silent_is_named() {
        let mut series = Series::new(0, 1, 1);
        let status = |errors| vec![worker(0, lane(true, true, 0), EngineStats::default(), errors)];
        let failing: Vec<usize> =
            [1, 1, 4].map(|errors| take(&mut series, 1, status(errors)).failing_ports.len()).into();
        assert_eq!(failing, [1, 0, 1]);
        assert_eq!(take(&mut series, 2, Vec::new()).mute_workers, [0]);
        let sample = take(&mut series, 3, status(4));
        assert_eq!((sample.full_shards(3), sample.full_shards(4)), (vec![0], vec![]));
    }
}
