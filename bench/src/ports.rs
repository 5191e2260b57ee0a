//! `ports`: the three ways to move frames, in one run: AF_XDP in the driver, AF_XDP in generic mode, UDP sockets.
//!
//! ```text
//!   xdp-driver    frame ──> veth ──> XDP program ──> AF_XDP socket          the program runs before a socket buffer is made
//!   xdp-generic   frame ──> veth ──> socket buffer ──> XDP program ──> AF_XDP socket
//!   udp           frame ──> UDP/IP ──> veth ──> UDP/IP ──> UDP socket       a system call for each look, too
//! ```
//!
//! For each, the same two workloads as elsewhere, each beside the raw limit of the same port: `visible` (one program at both
//! hosts, everybody polls) and registers of which each fills a frame, as in `throughput`.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use lattice_cluster::{Environment, Fabric};
use serde_json::json;

use crate::measure::Effort;
use crate::pair::{Pair, PairSpec};
use crate::raw::{self, Line, PortKind};
use crate::report::{Report, Row};
use crate::series::{Series, Unit};
use crate::throughput::{Workload, drive};
use crate::visible::{Writes, probe_writes};

/// Writes a second where latencies are measured.
const WRITES_PER_S: u64 = 5_000;
/// A register whose record nearly fills a frame.
const REGISTER_BYTES: usize = 1000;
const REGISTERS: usize = 256;

/// Runs all three, and the limit of each.
///
/// # Errors
/// If a cluster can't be started, or what arrives is not what was written.
pub fn run(effort: Effort) -> Result<Report> {
    if let Some(obstacle) = Environment::probe().obstacle() {
        return Ok(Report::skipped("ports", obstacle));
    }
    let mut report = Report::new(
        "ports",
        json!({
            "loop": "visible: open; frames: closed",
            "fabric": "one veth pair between two namespaces",
            "pinned": "visible: the program on core 0, both daemons on core 1; frames: daemon A on core 0, daemon B and the writer on core 1",
            "daemons": "yield",
            "writes_per_s": WRITES_PER_S,
            "register_bytes": REGISTER_BYTES,
        }),
    );
    for kind in PortKind::ALL {
        let [latency, frames] = measure(kind, effort)?;
        report.push(latency.chart("visible, by port"));
        report.push(frames.chart("frames, by port"));
    }
    Ok(report)
}

fn measure(kind: PortKind, effort: Effort) -> Result<[Row; 2]> {
    let interval = Duration::from_nanos(1_000_000_000 / WRITES_PER_S);
    let duration = effort.pick(Duration::from_millis(1500), Duration::from_millis(50));
    let raw_duration = effort.pick(Duration::from_millis(700), Duration::from_millis(20));
    let one_way = raw::one_way(&mut Line::open(Fabric::Wire, kind)?, interval, raw_duration)?;

    let name = kind.name();
    let pair = Pair::start(&PairSpec { port: kind, cores: [1, 1], ..PairSpec::default() })?;
    let visible = probe_writes(&format!("visible, {name}"), &pair.sockets(), Writes { interval, duration })?;
    drop(pair);

    let limits = BTreeMap::from([("log_bytes", 16 << 20), ("log_records", 1 << 16)]);
    let pair = Pair::start(&PairSpec { port: kind, limits, ..PairSpec::default() })?;
    let workload = Workload::Registers { keys: REGISTERS, bytes: REGISTER_BYTES };
    let outcome = drive(&pair, workload, duration)?;
    drop(pair);

    let flood = raw::flood(
        &mut Line::open(Fabric::Wire, kind)?,
        outcome.bytes_per_frame.round() as usize,
        raw_duration,
    )?;
    let raw_name = format!("raw flood, {name}");
    Ok([
        Row::new(visible.with_rate(WRITES_PER_S as f64))
            .limit(one_way.named(format!("raw one-way, {name}")).with_rate(WRITES_PER_S as f64)),
        Row::new(outcome.frames.clone().named(format!("frames, {name}")))
            .limit(Series::single(raw_name, Unit::Rate("frames"), flood.received_per_s))
            .setup(outcome.setup()),
    ])
}
