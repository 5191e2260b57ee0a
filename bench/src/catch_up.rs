//! `catch-up`: what a host that comes back with nothing costs those that write meanwhile.
//!
//! ```text
//!   core 0:  one program: writes at A, looks at B, never offers its core
//!   core 1:  latticed A, B and C take turns          C: killed, started again with nothing
//!                                                    A, B: serve it a million keys, and go on writing and merging
//! ```
//!
//! Writes are those of [`visible`](crate::visible): open loop, latency from when one was due on A until it is seen on B. They
//! are measured while C catches up, and, as the limit, with the same three daemons when it has. On B and C an application writes
//! as well, all the while. The sync is one that no host saw coming: C is ready, and asks.
//!
//! That three hosts share a core is against the result: what C does with a million new keys delays A and B here, and would not on
//! a machine of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lattice_client::{Client, Error};
use lattice_cluster::{
    Cluster, ClusterSpec, Environment, Fabric, IdleChoice, PortChoice, StorageTable, admin, wait,
};
use serde_json::{Value, json};

use crate::budget::{Budget, Quantity};
use crate::measure::Effort;
use crate::report::{Report, Row};
use crate::series::{Series, Unit};
use crate::visible::{Writes, probe_writes};

/// The host that comes back.
const LATE: usize = 2;
const SHARDS: u16 = 4;
/// Writes a second that are measured.
const RATE_PER_S: u64 = 2_000;
/// Pause between two writes of the applications on B and C.
const ASIDE: Duration = Duration::from_millis(2);
/// Times that C comes back.
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(120);
/// The hot path's p99 while a host catches up, over that when none does.
const AT_MOST: f64 = 2.0;

/// Has a host come back, again and again.
///
/// # Errors
/// If the cluster can't be started, or C does not catch up.
pub fn run(effort: Effort) -> Result<Report> {
    if let Some(obstacle) = Environment::probe().obstacle() {
        return Ok(Report::skipped("catch-up", obstacle));
    }
    let keys = effort.pick(1_000_000, 2_000);
    let each_shard = keys as u64 / u64::from(SHARDS);
    let limits = BTreeMap::from([
        // Hashes do not share the keys out evenly.
        ("max_keys", each_shard + each_shard / 8 + 1024),
        ("segment_cells_per_worker", 2 * keys as u64),
        // So few that C has fallen out of every log.
        ("log_records", 1 << 10),
    ]);
    let mut cluster = Cluster::start(&ClusterSpec {
        hosts: 3,
        shards: SHARDS,
        fabric: Fabric::Bridge,
        ports: vec![PortChoice::Xdp; 3],
        idle: IdleChoice::Yield,
        cores: vec![1; 3],
        limits,
        storage: StorageTable::memory(),
        ..ClusterSpec::default()
    })?;
    let sockets: Vec<PathBuf> = cluster.hosts().iter().map(|host| host.socket()).collect();
    fill(&Client::connect(&sockets[0])?, keys)?;
    cluster.wait_converged(PATIENCE)?;

    let mut quiet = Series::new("nobody catches up", Unit::Ns);
    let mut during =
        Series::new(format!("a write here -> seen there, {keys} keys caught up by a third"), Unit::Ns);
    let mut took = Series::new("until it has all of them", Unit::Ns);
    let mut sent_bytes = 0;
    for _ in 0..effort.pick(ROUNDS, 1) {
        beside_writers(&sockets, || quiet_slices(&sockets, effort, &mut quiet))?;
        let before = sync_bytes(&sockets)?;
        cluster.daemon(LATE).kill()?;
        cluster.restart(LATE)?;
        let ready = Instant::now();
        beside_writers(&sockets, || {
            let caught_up_after = while_it_catches_up(&sockets, keys as u64, ready, effort, &mut during)?;
            took.record_duration(caught_up_after);
            Ok(())
        })?;
        cluster.wait_converged(PATIENCE)?;
        sent_bytes = sync_bytes(&sockets)?.saturating_sub(before);
    }
    let mut report = Report::new(
        "catch-up",
        json!({
            "keys": keys,
            "kind": "counters",
            "shards": SHARDS,
            "fabric": "three namespaces joined by a bridge",
            "pinned": "core 0: the program that writes at A and looks at B; core 1: all three daemons",
            "daemons": "yield",
            "writes_per_s": format!("{RATE_PER_S} at A; one each {} ms at B and at C", ASIDE.as_millis()),
            "limit": "the same when nobody catches up",
            "sync_bytes": sent_bytes,
        }),
    );
    let rate = RATE_PER_S as f64;
    let row = Row::new(during.with_rate(rate)).limit(quiet.with_rate(rate));
    report.push_headline(row.budget(Budget::at_most(Quantity::RatioP99, AT_MOST)));
    report.push(Row::new(took));
    Ok(report)
}

/// Makes each key by one write.
fn fill(client: &Client, keys: usize) -> Result<()> {
    for key in 0..keys {
        let counter = client.counter(format!("key/{key:07}"))?;
        while let Err(error) = counter.add(1) {
            ensure!(matches!(error, Error::RingFull { .. }), "a write was refused: {error}");
            std::thread::yield_now();
        }
    }
    client.barrier(PATIENCE)?;
    Ok(())
}

/// Runs `body` while applications write on B and C.
fn beside_writers(sockets: &[PathBuf], body: impl FnOnce() -> Result<()>) -> Result<()> {
    let clients =
        sockets.iter().skip(1).map(|socket| Ok(Client::connect(socket)?)).collect::<Result<Vec<_>>>()?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| -> Result<()> {
            let counters =
                clients.iter().map(|client| Ok(client.counter("aside")?)).collect::<Result<Vec<_>>>()?;
            while !stop.load(Relaxed) {
                for counter in &counters {
                    counter.add(1)?;
                }
                std::thread::sleep(ASIDE);
            }
            Ok(())
        });
        let result = body();
        stop.store(true, Relaxed);
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result.and(written)
    })
}

fn slice(sockets: &[PathBuf], effort: Effort) -> Result<Series> {
    let [a, b, ..] = sockets else { anyhow::bail!("three hosts") };
    let writes = Writes {
        interval: Duration::from_nanos(1_000_000_000 / RATE_PER_S),
        duration: effort.pick(Duration::from_millis(300), Duration::from_millis(60)),
    };
    probe_writes("writes", &[a.clone(), b.clone()], writes)
}

fn quiet_slices(sockets: &[PathBuf], effort: Effort, quiet: &mut Series) -> Result<()> {
    for _ in 0..effort.pick(10, 1) {
        quiet.add(&slice(sockets, effort)?);
    }
    Ok(())
}

/// Measures slice after slice until C has everything, and returns when that was. The slice in which it came to its end counts
/// only where there is no other.
fn while_it_catches_up(
    sockets: &[PathBuf],
    keys: u64,
    ready: Instant,
    effort: Effort,
    during: &mut Series,
) -> Result<Duration> {
    let late = &sockets[LATE];
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| -> Result<Duration> {
            wait::until("C to catch up", PATIENCE, || {
                let (found, syncs) = standing(late)?;
                ensure!(found >= keys && syncs == 0, "it has {found} of {keys} keys, by {syncs} syncs");
                Ok(())
            })?;
            Ok(ready.elapsed())
        });
        let mut slices = 0;
        loop {
            let measured = slice(sockets, effort)?;
            let is_over = watching.is_finished();
            if !is_over || slices == 0 {
                during.add(&measured);
            }
            slices += 1;
            if is_over {
                return watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
        }
    })
}

/// Keys that a host has, and syncs by which it catches up.
fn standing(socket: &Path) -> Result<(u64, usize)> {
    let status = admin::ask(socket, "status")?;
    let shards = status["shards"].as_array().context("`status` names no shards")?;
    let keys = shards.iter().filter_map(|shard| shard["keys"].as_u64()).sum();
    let syncs = status["syncs"]
        .as_array()
        .map_or(0, |syncs| syncs.iter().filter(|sync| sync["incoming"] == Value::Bool(true)).count());
    Ok((keys, syncs))
}

/// Bytes that all hosts but the one that comes back have sent in syncs.
fn sync_bytes(sockets: &[PathBuf]) -> Result<u64> {
    let of = |socket: &PathBuf| {
        let counters = admin::counters(socket)?;
        Ok(counters.get("sync_bytes_sent").copied().unwrap_or(0))
    };
    sockets.iter().take(LATE).map(of).sum()
}
