//! Is the daemon alive, and is it ready? Each "no" comes with its reason and what to do.
//!
//! | condition | yes when | asked by |
//! |---|---|---|
//! | `polling` | every polling loop made a turn within `timers.segment_heartbeat_timeout_ms` | `/healthz`, `/readyz`, the watchdog |
//! | `attached` | the workers answer, and no system call of a port failed between the last two looks | `/readyz` |
//! | `synced` | no state sync comes in, and what peers had at the start is here | `/readyz` |
//! | `capacity` | readers miss no value, and no shard is at `limits.max_keys` | `/readyz` |
//! | `serving` | `latticectl drain` was not asked for, or taken back | `/readyz` |
//! | `clock` | this clock is not ahead of the peers' by more than `timers.max_clock_skew_ms` | `/readyz` |
//!
//! Live means: restarting would not help. Ready means: an application that comes now sees and reaches what it should. A host
//! that is cut off from all others stays ready, because reading and writing there go on; that peers are down is told by
//! `latticectl status` and the metrics.
//!
//! When what the peers had is here nobody can know exactly while all of them write. A shard counts as caught up once it was
//! equal to a peer, or has been connected for [`CATCH_UP`] without a state sync; and if no peer was heard within
//! [`ALONE_AFTER`] of the start, this host goes on alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time for which a shard has to be connected, without a state sync, before it counts as caught up with peers that it was
/// never seen equal to.
pub const CATCH_UP: Duration = Duration::from_secs(5);
/// Time after the start from which a host that heard no peer is ready by itself.
pub const ALONE_AFTER: Duration = Duration::from_secs(10);

/// One thing that has to be so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Its name, as in the table above.
    pub name: String,
    /// It is so.
    pub ok: bool,
    /// Why not, and what to do about it; empty when it is so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Condition {
    fn new(name: &str, reasons: Vec<String>) -> Self {
        Self { name: name.to_owned(), ok: reasons.is_empty(), reason: reasons.join("; ") }
    }
}

/// An answer, with what it is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Every condition is met.
    pub ok: bool,
    /// All conditions.
    pub conditions: Vec<Condition>,
}

impl Verdict {
    fn new(conditions: Vec<Condition>) -> Self {
        Self { ok: conditions.iter().all(|condition| condition.ok), conditions }
    }

    /// For people: one line each, the first `ok` or what the question was.
    #[must_use]
    pub fn to_text(&self, question: &str) -> String {
        let mut text = format!("{}\n", if self.ok { "ok" } else { question });
        for condition in &self.conditions {
            let (sign, colon) = if condition.ok { ("+", "") } else { ("-", ": ") };
            text.push_str(&format!("{sign} {}{colon}{}\n", condition.name, condition.reason));
        }
        text
    }
}

/// What the verdicts are made from.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Age of each worker's last sign of life, in the order of workers; `u64::MAX`: it never gave one.
    pub heartbeat_ages_ns: Vec<u64>,
    /// Age from which a worker counts as standing still.
    pub heartbeat_timeout_ns: u64,
    /// Workers that did not answer when last asked.
    pub mute_workers: Vec<u16>,
    /// Workers whose port had an error between the last two looks.
    pub failing_ports: Vec<u16>,
    /// Shards that a state sync is coming in for.
    pub syncing_shards: Vec<u16>,
    /// Shards that have not caught up with any peer since the start.
    pub joining_shards: Vec<u16>,
    /// Workers with values that found no room in the segment.
    pub full_workers: Vec<u16>,
    /// Shards that hold as many keys as local writes may create.
    pub full_shards: Vec<u16>,
    /// The host is about to be stopped.
    pub is_drained: bool,
    /// How far this clock is ahead of the peers'.
    pub clock_ahead_ns: u64,
    /// From where on that is too far.
    pub max_clock_skew_ns: u64,
}

impl Facts {
    /// Whether every polling loop makes progress.
    #[must_use]
    pub fn live(&self) -> Verdict {
        Verdict::new(vec![self.polling()])
    }

    /// Whether applications should come here.
    #[must_use]
    pub fn ready(&self) -> Verdict {
        let of_datapath = [self.polling(), self.attached(), self.synced(), self.capacity()];
        Verdict::new(of_datapath.into_iter().chain([self.serving(), self.clock()]).collect())
    }

    fn polling(&self) -> Condition {
        let late =
            (0..).zip(&self.heartbeat_ages_ns).filter(|(_, age_ns)| **age_ns >= self.heartbeat_timeout_ns);
        let reason = |(worker, age_ns): (u16, &u64)| match age_ns {
            &u64::MAX => format!("worker {worker} has not begun"),
            age_ns => format!(
                "worker {worker} made no turn for {:.1} s: is its core taken by others, or the process stopped?",
                *age_ns as f64 / 1e9
            ),
        };
        Condition::new("polling", late.map(reason).collect())
    }

    fn attached(&self) -> Condition {
        let mute = self.mute_workers.iter().map(|worker| format!("worker {worker} does not answer"));
        let failing = self.failing_ports.iter().map(|worker| {
            format!("system calls of the port of worker {worker} fail: the log has the reason; is the interface up?")
        });
        Condition::new("attached", mute.chain(failing).collect())
    }

    fn synced(&self) -> Condition {
        let mut reasons = Vec::new();
        if !self.syncing_shards.is_empty() {
            reasons.push(format!("a state sync is coming in for {}", shards(&self.syncing_shards)));
        }
        if !self.joining_shards.is_empty() {
            reasons.push(format!(
                "{} not caught up with any peer since the start: wait, or see latticectl status for peers that are down",
                shards(&self.joining_shards)
            ));
        }
        Condition::new("synced", reasons)
    }

    fn capacity(&self) -> Condition {
        let full_workers = self.full_workers.iter().map(|worker| {
            format!(
                "the segment of worker {worker} is full and readers miss values: raise limits.segment_cells_per_worker or \
                 limits.segment_extent_bytes_per_worker, and restart"
            )
        });
        let full_shards = (!self.full_shards.is_empty()).then(|| {
            format!("limits.max_keys is reached in {}: raise it, and restart", shards(&self.full_shards))
        });
        Condition::new("capacity", full_workers.chain(full_shards).collect())
    }

    fn serving(&self) -> Condition {
        let reason = "it is drained, about to be stopped: `latticectl drain --undo` takes it back";
        Condition::new("serving", self.is_drained.then(|| reason.to_owned()).into_iter().collect())
    }

    fn clock(&self) -> Condition {
        let too_far = (self.clock_ahead_ns > self.max_clock_skew_ns).then(|| {
            format!(
                "this clock is {} ms ahead of the peers', so register writes are refused: correct it (NTP)",
                self.clock_ahead_ns / 1_000_000
            )
        });
        Condition::new("clock", too_far.into_iter().collect())
    }
}

fn shards(shards: &[u16]) -> String {
    let names: Vec<String> = shards.iter().map(u16::to_string).collect();
    format!("{} {}", if shards.len() == 1 { "shard" } else { "shards" }, names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn healthy() -> Facts {
        Facts {
            heartbeat_ages_ns: vec![SECOND - 1, 5],
            heartbeat_timeout_ns: SECOND,
            clock_ahead_ns: 7,
            max_clock_skew_ns: 7,
            ..Facts::default()
        }
    }

    #[test]
    fn a_healthy_daemon_is_live_and_ready() {
        let (live, ready) = (healthy().live(), healthy().ready());
        assert!(live.ok && ready.ok, "{live:?} {ready:?}");
        let names: Vec<&str> = ready.conditions.iter().map(|condition| condition.name.as_str()).collect();
        assert_eq!(names, ["polling", "attached", "synced", "capacity", "serving", "clock"]);
        assert_eq!(live.to_text("not live"), "ok\n+ polling\n");
    }

    #[test]
    fn each_fault_makes_one_condition_fail_and_says_why() {
        type Fault = fn(&mut Facts);
        let cases: [(&str, &str, Fault); 11] = [
            ("serving", "drain --undo", |f| f.is_drained = true),
            ("polling", "worker 1 made no turn for 1.0 s", |f| f.heartbeat_ages_ns[1] = SECOND),
            ("polling", "worker 0 has not begun", |f| f.heartbeat_ages_ns[0] = u64::MAX),
            ("attached", "worker 1 does not answer", |f| f.mute_workers = vec![1]),
            ("attached", "port of worker 0 fail", |f| f.failing_ports = vec![0]),
            ("synced", "coming in for shards 0, 3", |f| f.syncing_shards = vec![0, 3]),
            ("synced", "shard 2 not caught up", |f| f.joining_shards = vec![2]),
            ("capacity", "segment of worker 1 is full", |f| f.full_workers = vec![1]),
            ("capacity", "limits.max_keys is reached in shard 1", |f| f.full_shards = vec![1]),
            ("clock", "0 ms ahead", |f| f.clock_ahead_ns = 8),
            ("attached", "worker 0 does not answer; system calls", |f| {
                (f.mute_workers, f.failing_ports) = (vec![0], vec![1]);
            }),
        ];
        for (name, reason, fault) in cases {
            let mut facts = healthy();
            fault(&mut facts);
            let ready = facts.ready();
            let failed: Vec<_> = ready.conditions.iter().filter(|condition| !condition.ok).collect();
            assert!(!ready.ok && failed.len() == 1, "{name}: {failed:?}");
            assert!(failed[0].name == name && failed[0].reason.contains(reason), "{name}: {failed:?}");
            assert_eq!(facts.live().ok, name != "polling");
            assert!(ready.to_text("not ready").contains(&format!("\n- {name}: ")) || name == "polling");
        }
    }

    #[test]
    fn verdicts_survive_json() {
        let mut facts = healthy();
        facts.clock_ahead_ns = 8;
        let verdict = facts.ready();
        let line = serde_json::to_string(&verdict).expect("JSON");
        assert!(line.contains(r#"{"name":"clock","ok":false,"reason":"this clock is 0 ms ahead"#), "{line}");
        assert!(line.contains(r#"{"name":"capacity","ok":true}"#), "{line}");
        assert_eq!(serde_json::from_str::<Verdict>(&line).ok(), Some(verdict));
    }
}
