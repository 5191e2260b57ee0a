//! `idle`: what five daemons cost that have nothing to do and may sleep.
//!
//! ```text
//!   latticed x 5, `sleep`, joined by a bridge: heartbeats, anti-entropy, the segment's own heartbeat; no clients, no writes
//! ```
//!
//! The processor time is the scheduler's account of each process (`/proc/PID/task/*/schedstat`), the kernel's work in its
//! system calls included.

use std::time::Duration;

use anyhow::Result;
use lattice_cluster::{Cluster, ClusterSpec, Environment, Fabric, IdleChoice, PortChoice, StorageTable};
use lattice_segment::Reader;
use serde_json::json;

use crate::budget::{Budget, Quantity};
use crate::measure::Effort;
use crate::pair::process_cpu;
use crate::report::{Report, Row};
use crate::series::{Series, Unit};

const HOSTS: usize = 5;
const UNIT: Unit = Unit::Count("percent of a core");
/// Percent of a core that a daemon may take.
const EACH_AT_MOST: f64 = 2.0;

/// Starts five daemons, and looks away.
///
/// # Errors
/// If the cluster can't be started.
pub fn run(effort: Effort) -> Result<Report> {
    if let Some(obstacle) = Environment::probe().obstacle() {
        return Ok(Report::skipped("idle", obstacle));
    }
    let cluster = Cluster::start(&ClusterSpec {
        hosts: HOSTS,
        fabric: Fabric::Bridge,
        ports: vec![PortChoice::Xdp; HOSTS],
        idle: IdleChoice::Sleep,
        storage: StorageTable::memory(),
        ..ClusterSpec::default()
    })?;
    let pids = cluster.hosts().iter().map(|host| Ok(Reader::open(&host.daemon.ready()?.segment)?.pid()));
    let pids = pids.collect::<Result<Vec<_>>>()?;
    // What peers that have just met still have to say to each other.
    std::thread::sleep(effort.pick(Duration::from_secs(2), Duration::from_millis(200)));
    let period = effort.pick(Duration::from_secs(8), Duration::from_millis(300));
    let before = pids.iter().map(|&pid| process_cpu(pid)).collect::<Result<Vec<_>>>()?;
    std::thread::sleep(period);
    let mut each = Series::new("each daemon", UNIT);
    let mut all = 0.0;
    for (&pid, before) in pids.iter().zip(before) {
        let percent = (process_cpu(pid)? - before).as_secs_f64() * 100.0 / period.as_secs_f64();
        each.record(percent);
        all += percent;
    }
    let mut report = Report::new(
        "idle",
        json!({
            "hosts": HOSTS,
            "daemons": "sleep",
            "shards": ClusterSpec::default().shards,
            "fabric": "five namespaces joined by a bridge",
            "period_s": period.as_secs_f64(),
        }),
    );
    // Of five values the largest is the 99.9th percentile, too: every daemon has to keep it.
    report.push_headline(Row::new(each).budget(Budget::at_most(Quantity::P999, EACH_AT_MOST)));
    report.push(Row::new(Series::single("all five daemons", UNIT, all)));
    Ok(report)
}
