//! `restart`: from the start of a killed daemon until it is ready with all that it had.
//!
//! ```text
//!   latticed (disk) <── keys, one counter each       written, snapshotted, some more written
//!      SIGKILL
//!   latticed ── recover: snapshot, log beyond it ── publish ──> "ready": every key is readable
//! ```
//!
//! The time is the real one, of a process from its `exec` to its `ready` line, which says that every key can be read. It has no
//! peers: what it shows came from its own directory. That lies on tmpfs, so what is measured is the daemon and not a disk: a
//! disk adds the time of reading the snapshots' bytes, which the row names.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lattice_client::{Client, Error};
use lattice_cluster::{Cluster, ClusterSpec, Fabric, IdleChoice, admin, wait};
use serde_json::{Value, json};

use crate::budget::{Budget, Quantity};
use crate::measure::Effort;
use crate::report::{Report, Row};
use crate::series::{Series, Unit};

/// Starts that are measured.
const STARTS: usize = 5;
/// A million keys are to be back within this, nanoseconds.
const AT_MOST_NS: f64 = 3e9;
const SHARDS: u16 = 4;
/// Additions that the log holds beyond the snapshots.
const BEYOND: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// Fills a daemon, kills it again and again, and takes the time.
///
/// # Errors
/// If it can't be started, or comes back with anything else than it had.
pub fn run(effort: Effort) -> Result<Report> {
    let keys = effort.pick(1_000_000, 2_000);
    let each_shard = keys as u64 / u64::from(SHARDS);
    let limits = BTreeMap::from([
        // Hashes do not share the keys out evenly.
        ("max_keys", each_shard + each_shard / 8 + 1024),
        ("segment_cells_per_worker", 2 * keys as u64),
        ("log_bytes", 32 << 20),
    ]);
    let spec = ClusterSpec {
        hosts: 1,
        shards: SHARDS,
        fabric: Fabric::Loopback,
        idle: IdleChoice::Yield,
        limits,
        ..ClusterSpec::default()
    };
    let mut cluster = Cluster::start(&spec)?;
    let socket = cluster.hosts().first().context("a cluster without a host")?.socket();
    let names: Vec<String> = (0..keys).map(|n| format!("restart/{n}")).collect();
    add(&Client::connect(&socket)?, &names)?;
    let bytes = snapshot(&socket)?;
    let beyond = names.get(..BEYOND.min(keys)).unwrap_or_default();
    add(&Client::connect(&socket)?, beyond)?;
    let actor = cluster.fingerprints()?.first().map(|one| one.actor.clone());

    let mut series = Series::new(format!("{keys} keys, killed, until ready"), Unit::Ns);
    for _ in 0..effort.pick(STARTS, 1) {
        cluster.daemon(0).kill()?;
        let started = Instant::now();
        cluster.restart(0)?;
        series.record_ps(started.elapsed().as_nanos() as u64 * 1000);
        let client = Client::connect(&socket)?;
        for (n, name) in names.iter().enumerate() {
            let expected = if n < BEYOND { 2 } else { 1 };
            let found = client.counter(name)?.get()?;
            ensure!(found == expected, "{name} is {found}, not {expected}");
        }
        ensure!(
            cluster.fingerprints()?.first().map(|one| one.actor.clone()) == actor,
            "the epoch did not go on"
        );
    }
    let mut report = Report::new(
        "restart",
        json!({
            "keys": keys,
            "kind": "counters",
            "shards": SHARDS,
            "workers": 1,
            "snapshot_bytes": bytes,
            "beyond_snapshot": BEYOND.min(keys),
            "directory": "tmpfs",
            "peers": "none",
            "end": "the ready line: every key is published",
        }),
    );
    report.push_headline(Row::new(series).budget(Budget::at_most(Quantity::P50, AT_MOST_NS)));
    Ok(report)
}

/// Adds 1 to each counter.
fn add(client: &Client, names: &[String]) -> Result<()> {
    for name in names {
        let counter = client.counter(name)?;
        while let Err(error) = counter.add(1) {
            ensure!(matches!(error, Error::RingFull { .. }), "a write was refused: {error}");
            std::thread::yield_now();
        }
    }
    client.barrier(PATIENCE)?;
    Ok(())
}

/// Has every shard written to its snapshot; returns how long they are altogether.
fn snapshot(socket: &std::path::Path) -> Result<u64> {
    admin::ask(socket, "snapshot")?;
    wait::until("the snapshots to be durable", PATIENCE, || {
        let status = admin::ask(socket, "status")?;
        let shards = status["shards"].as_array().context("`status` names no shards")?;
        ensure!(
            shards.iter().all(|shard| shard["kept"]["snapshot_pending"] == json!(false)),
            "one is pending"
        );
        Ok(shards.iter().filter_map(|shard| Value::as_u64(&shard["kept"]["snapshot_bytes"])).sum())
    })
}
