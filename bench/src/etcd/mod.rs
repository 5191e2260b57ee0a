//! `etcd`: the same work for a three-node etcd and for three of our daemons, on the same machine in the same run.
//!
//! ```text
//!             host-a              host-b              host-c           three network namespaces on a kernel bridge:
//!   etcd      etcd ─────TCP────── etcd ─────TCP────── etcd             data on a real disk, defaults, fsync on
//!   latticed  latticed ─AF_XDP─── latticed ─AF_XDP─── latticed         the same hosts, after etcd is gone
//!
//!   pace       when writes are due                 members   starts, kills, cuts etcd      fault       what happens when
//!   rival      etcd's figures   (client, grpc,     disk      where its data lies           fault_rival, fault_ours
//!   ours       latticed's        proto)            work      keys and values               outage      gaps, counts
//!   flood      its throughput                      claim     the report
//! ```
//!
//! # Read this before the ratios
//!
//! The two do not promise the same, and most of each ratio is the price of the difference:
//!
//! | | etcd | latticed |
//! |---|---|---|
//! | an acknowledged write | is fsynced by a majority and in one order with all others | is in the memory of the writer's host and merged there; on its way to the others |
//! | a host lost the moment after | nothing is lost | what had not left the host is lost |
//! | a value that a reader saw | was committed by a majority | is what this host has heard of so far; concurrent writes are merged by the key's kind |
//! | the minority of a partition | refuses writes | accepts them, and merges afterwards |
//!
//! Who needs one global order (locks, leases, "only if it is unchanged") needs etcd. This measures what it costs those who do not.
//!
//! # How it is measured
//!
//! - **Latency, open loop**: 200 writes a second are due at fixed times, whatever becomes of the others, and latency counts from
//!   when a write was *due* (coordinated omission corrected, see [`pace`]). etcd's writer speaks to the leader, on the leader's own
//!   host: the shortest way there is. The watch is on another host.
//! - **64 writes under way, closed loop**: etcd gets 64 writers on eight connections to its leader, on the leader's host: its
//!   best case. Ours is one application that keeps 64 writes under way; its rate counts until all three hosts have every last
//!   value ([`flood`]).
//! - **As offered**: how an application of ours writes in fact: it enqueues and does not wait. etcd has no such mode, so its
//!   figure beside it is that of the 64 writers. Once as registers of 32 bytes, which is what etcd's put does; once as
//!   increments of counters, for which etcd would have to read and compare first: its figure flatters it there.
//! - **Reads**: etcd's from a follower, serializable (it answers from what it has), which promises what ours do.
//! - **Who sleeps**: etcd and its clients sleep when they have nothing to do; our daemons poll, yielding (`idle = "yield"`), as does the
//!   reader, except in the row that says otherwise. So etcd's figures contain the wake-ups of sleeping cores and most of ours do not.
//!   Run it on a machine that does nothing else: a program that needs the core gets a whole time slice of milliseconds from
//!   one that yields, while a sleeper that wakes up goes first. Beside a compiler our latencies lose all their advantage.
//! - **Faults**: see [`fault`].
//!
//! The client of etcd is gRPC over HTTP/2 with kept connections ([`grpc`]), one thread. Its port is a plain socket inside the
//! namespaces. Needs the program `etcd` (Debian: `etcd-server`; where systemd runs, stop the service that the package starts),
//! root and AF_XDP; is skipped, saying so, where one of them is missing. Nothing is left behind: the members die with the
//! thread that started them, and what a killed run leaves on the disk the next one removes.

pub mod claim;
pub mod client;
pub mod disk;
pub mod fault;
mod fault_ours;
mod fault_rival;
pub mod flood;
pub mod grpc;
pub mod members;
pub mod ours;
pub mod outage;
pub mod pace;
pub mod proto;
pub mod rival;
pub mod work;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lattice_cluster::Environment;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use self::fault::{Cut, Kill, Script};
use self::members::Members;
use self::ours::Reader;
use self::work::Latencies;
use crate::measure::{Effort, Measured};
use crate::report::Report;
use crate::series::Series;

/// Writes a second in the open loop: a fifteenth of what etcd can take here.
const RATE_PER_S: u32 = 200;
/// Writes under way at a time, and etcd's readers.
const UNDER_WAY: usize = 64;
/// Connections that etcd's clients share.
const CONNECTIONS: usize = 8;

/// What one system did.
pub(crate) struct Figures {
    pub paced: Latencies,
    /// Only ours: the reader sleeps in a watch, as etcd's does.
    pub watched: Option<Series>,
    pub concurrent: Series,
    /// Only ours.
    pub offered: Option<Offered>,
    /// One read at a time; as many as it takes.
    pub read: Series,
    pub reads: Series,
    /// Not in a quick run.
    pub faults: Option<(Kill, Cut)>,
}

/// Writes that nobody waits for.
pub(crate) struct Offered {
    pub registers: Series,
    pub counters: Series,
}

/// Runs etcd, then our daemons.
///
/// # Errors
/// If etcd is installed and does not work, or a daemon does not, or either loses a write that it had accepted.
pub fn run(effort: Effort) -> Result<Report> {
    let Some(program) = members::find_program() else {
        return Ok(Report::skipped("etcd", "the program etcd is not installed (Debian: etcd-server)"));
    };
    if let Some(obstacle) = Environment::probe().obstacle() {
        return Ok(Report::skipped("etcd", obstacle));
    }
    let (etcd, about) = measure_etcd(&program, effort).context("etcd")?;
    let latticed = measure_latticed(effort).context("latticed")?;
    Ok(claim::report(latticed, etcd, about))
}

/// A runtime for clients of etcd: one thread, the caller's.
fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn measure_etcd(program: &Path, effort: Effort) -> Result<(Figures, Value)> {
    let runtime = runtime()?;
    let mut members = Members::start(program, &runtime)?;
    let sync = members.disk().measure_sync(effort.pick(300, 20))?.numbers();
    let leader = members.leader(&runtime)?;
    let follower = (leader + 1) % members.hosts();
    let about = json!({
        "version": members.statuses(&runtime)?[leader].version,
        "data_on": members.disk().describe(),
        "fdatasync_p50_ns": sync.p50,
        "fdatasync_p99_ns": sync.p99,
        "flags": "defaults",
    });
    let connect =
        |host| -> Result<Vec<_>> { (0..CONNECTIONS).map(|_| members.client(host, &runtime)).collect() };
    let (writers, readers) = (connect(leader)?, connect(follower)?);
    let paced = runtime.block_on(rival::paced_writes(
        &writers[0],
        &readers[0],
        RATE_PER_S,
        effort.pick(Duration::from_secs(7), Duration::from_millis(150)),
    ))?;
    let long = effort.pick(Duration::from_secs(6), Duration::from_millis(100));
    let short = effort.pick(Duration::from_secs(2), Duration::from_millis(50));
    let concurrent = runtime.block_on(rival::concurrent_writes(&writers, UNDER_WAY, long))?;
    let read = runtime.block_on(rival::concurrent_reads(&readers, 1, short))?;
    let reads = runtime.block_on(rival::concurrent_reads(&readers, UNDER_WAY, short))?;
    drop((writers, readers));
    let faults = if effort.is_quick() {
        None
    } else {
        let script = Script::new(effort);
        let kill = fault_rival::kill_leader(&mut members, &runtime, script)?;
        Some((kill, fault_rival::cut_leader(&members, &runtime, script)?))
    };
    Ok((Figures { paced, watched: None, concurrent, offered: None, read, reads, faults }, about))
}

fn measure_latticed(effort: Effort) -> Result<Figures> {
    let mut cluster = ours::start()?;
    let duration = effort.pick(Duration::from_secs(5), Duration::from_millis(100));
    let paced = ours::paced_writes(&cluster, Reader::Polls, RATE_PER_S, duration)?;
    let watched = ours::paced_writes(&cluster, Reader::Sleeps, RATE_PER_S, duration / 2)?.visible;
    let short = effort.pick(Duration::from_secs(3), Duration::from_millis(30));
    let concurrent = flood::under_way(&cluster, UNDER_WAY, short)?;
    let offered = Some(Offered {
        registers: flood::offered(&cluster, flood::Kind::Register, short)?,
        counters: flood::offered(&cluster, flood::Kind::Counter, short)?,
    });
    let Measured { batch, single } = ours::reads(&cluster, short / 5)?;
    let faults = if effort.is_quick() {
        None
    } else {
        let script = Script::new(effort);
        let kill = fault_ours::kill_one(&mut cluster, script)?;
        Some((kill, fault_ours::cut_one(&cluster, script)?))
    };
    Ok(Figures { paced, watched: Some(watched), concurrent, offered, read: single, reads: batch, faults })
}
