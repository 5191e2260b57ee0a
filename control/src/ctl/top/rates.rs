//! What happened between two looks, per second.

use std::time::{Duration, Instant};

use crate::protocol::Status;

/// One look at a daemon.
pub(super) struct Look {
    pub at: Instant,
    /// Worker, name, value.
    pub counters: Vec<(u16, String, u64)>,
    pub status: Status,
}

/// What one worker did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct WorkerRates {
    pub worker: u16,
    /// Operations of clients, a second.
    pub operations: f64,
    /// Delta records of other hosts, a second.
    pub merged: f64,
    /// Frames, a second.
    pub received: f64,
    /// Frames, a second.
    pub sent: f64,
    /// Frames without effect, a second.
    pub dropped: f64,
    /// Frames sent again, a second.
    pub again: f64,
    /// Part of the time in which it had something to do.
    pub duty: f64,
    /// Slots that clients have filled and that wait.
    pub ring_slots: u64,
}

/// What all did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub workers: Vec<WorkerRates>,
    /// Upper bounds of the median and of the 99th percentile of the time from a frame to its acknowledgement; `None`: there
    /// was none.
    pub acknowledged: Option<(Duration, Duration)>,
}

impl Rates {
    pub fn between(before: &Look, now: &Look) -> Self {
        let seconds = now.at.saturating_duration_since(before.at).as_secs_f64().max(1e-3);
        let workers = (0..now.status.workers).map(|worker| worker_rates(before, now, worker, seconds));
        Self { workers: workers.collect(), acknowledged: acknowledged(before, now) }
    }
}

fn value(look: &Look, worker: u16, name: &str) -> u64 {
    look.counters.iter().find(|(of, at, _)| *of == worker && at == name).map_or(0, |(_, _, value)| *value)
}

fn worker_rates(before: &Look, now: &Look, worker: u16, seconds: f64) -> WorkerRates {
    // A daemon that was restarted counts from 0.
    let grew = |name: &str| value(now, worker, name).saturating_sub(value(before, worker, name)) as f64;
    let dropped = now.counters.iter().filter(|(of, name, _)| *of == worker && name.starts_with("dropped_"));
    WorkerRates {
        worker,
        operations: grew("ops_applied") / seconds,
        merged: grew("records_merged") / seconds,
        received: grew("frames_received") / seconds,
        sent: grew("frames_sent") / seconds,
        dropped: dropped.fold(0.0, |sum, (_, name, _)| sum + grew(name)) / seconds,
        again: grew("retransmitted") / seconds,
        duty: (grew("loop_busy_ns") / 1e9 / seconds).min(1.0),
        ring_slots: value(now, worker, "ring_slots_waiting"),
    }
}

fn acknowledged(before: &Look, now: &Look) -> Option<(Duration, Duration)> {
    let mut buckets: Vec<(u64, u64)> = Vec::new();
    for (worker, name, count) in &now.counters {
        let Some(bound) = name.strip_prefix("ack_latency_le_") else { continue };
        let bound_ns = bound.trim_end_matches("_ns").parse().unwrap_or(u64::MAX);
        let grew = count.saturating_sub(value(before, *worker, name));
        match buckets.iter_mut().find(|(of, _)| *of == bound_ns) {
            Some((_, sum)) => *sum += grew,
            None => buckets.push((bound_ns, grew)),
        }
    }
    buckets.sort_unstable();
    let total: u64 = buckets.iter().map(|(_, count)| count).sum();
    let quantile = |part: f64| {
        let wanted = (total as f64 * part).ceil() as u64;
        let mut seen = 0;
        let reached = buckets.iter().find(|(_, count)| {
            seen += count;
            seen >= wanted
        });
        reached.map(|(bound_ns, _)| Duration::from_nanos(*bound_ns))
    };
    if total == 0 { None } else { quantile(0.5).zip(quantile(0.99)) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn look(at: Instant, counters: &[(u16, &str, u64)]) -> Look {
        let status = serde_json::json!({
            "node": 1, "name": "host-a", "cluster": "demo", "actor": "00010000000000aa", "pid": 7, "uptime_ms": 61_000,
            "port": "udp", "port_describe": [], "segment": "/s", "workers": 2, "shards": [], "converged": false,
            "ready": { "ok": false, "conditions": [
                { "name": "polling", "ok": true },
                { "name": "synced", "ok": false, "reason": "a state sync is coming in for shard 2" },
            ] },
            "clients": [], "counters": {}, "degraded": ["worker 1: unpinned: name cores"],
            "peers": [
                { "node": 2, "address": "10.77.0.2", "up": true, "acked_lag_seqs": 0, "converged": true, "rtt_us": 48 },
                { "node": 3, "address": "10.77.0.3", "up": false, "acked_lag_seqs": 512, "acked_lag_ms": 4_200,
                  "converged": false, "rtt_us": 0 },
            ],
        });
        let status = serde_json::from_value(status).expect("a status");
        let counters =
            counters.iter().map(|(worker, name, value)| (*worker, (*name).to_owned(), *value)).collect();
        Look { at, counters, status }
    }

    #[test]
    fn rates_are_of_each_worker_and_per_second() {
        let began = Instant::now();
        let before = look(began, &[(0, "ops_applied", 100), (1, "ops_applied", 7), (0, "loop_busy_ns", 5)]);
        let now = [
            (0, "ops_applied", 300),
            (1, "ops_applied", 7),
            (0, "loop_busy_ns", 500_000_005),
            (0, "ring_slots_waiting", 3),
            (0, "dropped_bad_tag", 4),
            (0, "dropped_record", 2),
        ];
        let rates = Rates::between(&before, &look(began + Duration::from_secs(2), &now));
        let expected = WorkerRates {
            operations: 100.0,
            duty: 0.25,
            ring_slots: 3,
            dropped: 3.0,
            ..WorkerRates::default()
        };
        assert_eq!(rates.workers, [expected, WorkerRates { worker: 1, ..WorkerRates::default() }]);
        assert_eq!(rates.acknowledged, None);
        // A restart in between.
        let after = Rates::between(
            &look(began, &now),
            &look(began + Duration::from_secs(1), &[(0, "ops_applied", 1)]),
        );
        assert_eq!(after.workers[0].operations, 0.0);
    }

    #[test]
    fn quantiles_are_of_what_came_in_between_over_all_workers() {
        let began = Instant::now();
        let bucket = |bound: u64| format!("ack_latency_le_{bound}_ns");
        let (low, high) = (bucket(16_384), bucket(32_768));
        let before = look(began, &[(0, &low, 1_000), (0, &high, 1)]);
        let counters = [
            (0, low.as_str(), 1_060),
            (0, high.as_str(), 30),
            (1, low.as_str(), 10),
            (1, "ack_latency_le_inf", 1),
        ];
        let rates = Rates::between(&before, &look(began + Duration::from_secs(1), &counters));
        assert_eq!(rates.acknowledged, Some((Duration::from_nanos(16_384), Duration::from_nanos(32_768))));
    }
}
