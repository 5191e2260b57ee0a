//! What each acknowledgement level costs whoever waits for it.
//!
//! ```text
//!   logged            one host, its log a file              beside Local: what the file adds to a write
//!   durable           one host, its data on a disk          by storage.sync: interval (10 ms), always, never
//!   peers, all        three hosts, nothing kept             who merged it: one, a majority, all; daemons polling and asleep
//! ```
//!
//! One write at a time, each waited for by [`Counter::add_with`](lattice_client::Counter::add_with); after each a pause, of a
//! length that does not keep step with the syncs. The application sleeps in these waits when they are long, as any would: it
//! shares its core with a daemon where there are three. Under `never` a write is durable when a snapshot takes it along, which
//! is hours from being worth a row.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lattice_client::{Ack, Client};
use lattice_cluster::config::SyncChoice;
use lattice_cluster::{Cluster, ClusterSpec, Environment, Fabric, IdleChoice, PortChoice, StorageTable};
use rustix::thread::CpuSet;
use serde_json::json;

use super::PATIENCE;
use crate::etcd::disk::Disk;
use crate::report::{Report, Row};
use crate::series::{Series, Unit};

/// Pause after each write, and by how much it grows with each: through all phases of an interval of syncs.
const PAUSE: Duration = Duration::from_micros(2_000);
const DRIFT: Duration = Duration::from_micros(370);
/// Growths after which it begins anew.
const DRIFTS: u32 = 27;
/// Syncs that are measured by themselves.
const SYNCS: usize = 200;

/// Adds the rows.
///
/// # Errors
/// If daemons can't be started, or a level is not reached.
pub fn push(report: &mut Report, each: Duration, all_cores: &CpuSet) -> Result<()> {
    push_disk(report, each, all_cores)?;
    push_peers(report, each, all_cores)
}

/// On one host, by policy.
fn push_disk(report: &mut Report, each: Duration, all_cores: &CpuSet) -> Result<()> {
    let disk = Disk::open()?;
    let sync = disk.measure_sync(SYNCS)?;
    for (policy, levels) in [
        (
            SyncChoice::Interval,
            &[
                (Ack::Local, "local; its log a file"),
                (Ack::Logged, "logged"),
                (Ack::Durable, "durable, sync every 10 ms"),
            ][..],
        ),
        (SyncChoice::Always, &[(Ack::Durable, "durable, sync always")]),
    ] {
        let directory = disk.path().join(format!("{policy:?}"));
        let storage =
            StorageTable { directory: Some(directory), sync: Some(policy), ..StorageTable::default() };
        let cluster = start(1, IdleChoice::Busy, storage, all_cores)?;
        let client = client(&cluster)?;
        for (level, name) in levels {
            let row = Row::new(waited(&client, *level, name, each)?).chart("acknowledged");
            let row = if *level == Ack::Durable { row.limit(sync.clone()) } else { row };
            report.push(row.setup(json!({
                "level": level.to_string(),
                "loop": "closed, with pauses",
                "data": disk.describe(),
                "limit": "appending 256 bytes to a file and syncing it, on the same disk",
            })));
        }
    }
    Ok(())
}

/// On three hosts.
fn push_peers(report: &mut Report, each: Duration, all_cores: &CpuSet) -> Result<()> {
    for (idle, how) in [(IdleChoice::Yield, ""), (IdleChoice::Sleep, "; daemons asleep")] {
        let cluster = start(3, idle, StorageTable::memory(), all_cores)?;
        let client = client(&cluster)?;
        for (level, name) in [
            (Ack::Peers(1), "one peer of two"),
            (Ack::Majority, "majority of three"),
            (Ack::All, "all of three"),
        ] {
            let series = waited(&client, level, &format!("{name}{how}"), each)?;
            let setup = json!({ "level": level.to_string(), "loop": "closed, with pauses", "hosts": 3 });
            report.push(Row::new(series).chart("acknowledged").setup(setup));
        }
    }
    Ok(())
}

/// The application's thread shares the daemons' cores, and none is its own: nobody may be kept from a core by who waits for him.
fn start(hosts: usize, idle: IdleChoice, storage: StorageTable, all_cores: &CpuSet) -> Result<Cluster> {
    rustix::thread::sched_setaffinity(None, all_cores)?;
    let (fabric, port) = match Environment::probe().obstacle() {
        None => (Fabric::Bridge, PortChoice::Xdp),
        Some(_) => (Fabric::Loopback, PortChoice::Udp),
    };
    let ports = vec![port; hosts];
    Cluster::start(&ClusterSpec { hosts, fabric, ports, idle, storage, ..ClusterSpec::default() })
}

fn client(cluster: &Cluster) -> Result<Client> {
    let host = cluster.hosts().first().context("a cluster without a host")?;
    Ok(Client::connect(host.socket())?)
}

/// From when each write was made until it was acknowledged at the level.
fn waited(client: &Client, level: Ack, name: &str, duration: Duration) -> Result<Series> {
    // The first write of a key opens its cell, and the first of a connection finds its daemon asleep.
    client.counter("write/level")?.add_with(1, Ack::All, PATIENCE)?;
    let counter = client.counter("write/level")?;
    let mut series = Series::new(format!("counter, acknowledged: {name}"), Unit::Ns);
    let started = Instant::now();
    let mut drifts = 0;
    while started.elapsed() < duration {
        let written = Instant::now();
        counter.add_with(1, level, PATIENCE)?;
        series.record_duration(written.elapsed());
        std::thread::sleep(PAUSE + DRIFT * drifts);
        drifts = (drifts + 1) % DRIFTS;
    }
    Ok(series)
}
