//! `throughput`: how many deltas a second host B merges of what applications on host A write.
//!
//! ```text
//!   core 0:  latticed A ══ frames ══> latticed B :core 1        one veth pair between two namespaces
//!               ^ rings
//!   core 1:  writer: adds as fast as the rings and the lag allow
//! ```
//!
//! **What is counted.** An *operation* is one call of an application (`add(1)`). A *delta* is a record on the wire: increments
//! of one counter that are taken in the same burst share one. So with one key there are far fewer deltas than operations,
//! with 100,000 keys drawn uniformly nearly as many. Both rates are shown; budgets are about deltas. Rates are those of
//! what B has *merged* (its own counters, read every 50 ms or so), not of what A took in.
//!
//! **Sustained.** The writer holds back when A has logged so many records that B has not merged yet that they would begin to
//! fill A's log ([`Workload::max_lag`]): a writer that outruns the network for good would push B out of the log, and the
//! bench would measure state syncs. At the end
//! everything must have arrived, and each counter on B must hold exactly what was added: anything lost or counted twice is
//! an error.
//!
//! **Limit.** Raw full frames a second over the same fabric, times the deltas of this workload that fit a full frame. For
//! registers of which each fills a frame, raw frames a second of that size.
//!
//! The raw flood has a core for each end; here the writer, an application, shares core 1 with daemon B, which merges a
//! delta in less time than A takes to make it.

mod drive;
mod workload;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use lattice_cluster::{Environment, Fabric};
use lattice_wire::{HEADER_BYTES, MAX_FRAME_BYTES, TAG_BYTES};
use serde_json::{Value, json};

use crate::budget::{Budget, Quantity};
use crate::measure::Effort;
use crate::pair::{Pair, PairSpec};
use crate::raw::{self, Flood, Line, PortKind};
use crate::report::{Report, Row};
use crate::series::{Series, Unit};

pub use drive::{Outcome, drive};
pub use workload::{Keys, Workload};

/// Deltas a second that are asked for, end to end.
const DELTAS_PER_S: f64 = 5e6;
/// Share of the raw flood's frames that is asked for where each record fills a frame.
const FRAMES_SHARE: f64 = 0.85;
/// A register whose record nearly fills a frame.
const REGISTER_BYTES: usize = 1000;
/// Few enough that frames are what costs, not memory; more than a turn takes in, so that each write is a record.
const REGISTERS: usize = 256;

/// Runs the floods and all workloads.
///
/// # Errors
/// If the cluster can't be started, or what B holds is not what was written.
pub fn run(effort: Effort) -> Result<Report> {
    if let Some(obstacle) = Environment::probe().obstacle() {
        return Ok(Report::skipped("throughput", obstacle));
    }
    let duration = effort.pick(Duration::from_secs(4), Duration::from_millis(120));
    let full_frames = flood(MAX_FRAME_BYTES, effort)?;
    let mut report = Report::new("throughput", setup(&full_frames));
    let keys = effort.pick(100_000, 2_000);
    let counters = [
        ("100 k keys, uniform", Keys::Uniform { keys }),
        ("100 k keys, zipf", Keys::Zipf { keys }),
        ("1 k keys, uniform", Keys::Uniform { keys: 1_000 }),
        ("one key", Keys::One),
    ];
    for (index, (name, keys)) in counters.into_iter().enumerate() {
        let outcome = measure(Workload::Counters(keys), duration)?;
        let deltas = Row::new(outcome.deltas.clone().named(format!("deltas, {name}")))
            .limit(delta_limit(&full_frames, &outcome))
            .setup(outcome.setup());
        if index == 0 {
            report.push_headline(deltas.budget(Budget::at_least(Quantity::Rate, DELTAS_PER_S)));
        } else {
            report.push(deltas);
        }
        report.push(Row::new(outcome.operations.clone().named(format!("operations, {name}"))));
    }
    let workload = Workload::Registers { keys: REGISTERS, bytes: REGISTER_BYTES };
    let outcome = measure(workload, duration)?;
    let frame_bytes = outcome.bytes_per_frame.round() as usize;
    report.push(
        Row::new(outcome.frames.clone().named("frames, a register each"))
            .limit(flood_series(&flood(frame_bytes, effort)?))
            .budget(Budget::at_least(Quantity::RatioRate, FRAMES_SHARE))
            .setup(outcome.setup()),
    );
    Ok(report)
}

fn setup(full_frames: &Flood) -> Value {
    json!({
        "loop": "closed: the writer holds back when B lags",
        "fabric": "one veth pair between two namespaces",
        "pinned": "core 0: daemon A; core 1: daemon B and the writer",
        "daemons": "yield",
        "delta": "a record on the wire; increments of one key in one burst share it",
        "raw_full_frames_per_s": full_frames.received_per_s,
    })
}

fn measure(workload: Workload, duration: Duration) -> Result<Outcome> {
    // A log that holds several times the lag in each of four shards, whichever of its two bounds comes first.
    let (log_records, log_bytes) = match workload {
        Workload::Counters(_) => (1 << 18, 16 << 20),
        Workload::Registers { .. } => (1 << 16, 16 << 20),
    };
    let limits = BTreeMap::from([
        ("log_bytes", log_bytes),
        ("log_records", log_records),
        ("submission_slots", 1 << 14),
    ]);
    let pair = Pair::start(&PairSpec { limits, ..PairSpec::default() })?;
    drive(&pair, workload, duration)
}

fn flood(frame_bytes: usize, effort: Effort) -> Result<Flood> {
    let mut line = Line::open(Fabric::Wire, PortKind::XdpDriver)?;
    raw::flood(&mut line, frame_bytes, effort.pick(Duration::from_secs(2), Duration::from_millis(50)))
}

fn flood_series(flood: &Flood) -> Series {
    Series::single(
        format!("raw flood of {} bytes", flood.frame_bytes),
        Unit::Rate("frames"),
        flood.received_per_s,
    )
}

/// Raw full frames times what fits one.
fn delta_limit(full_frames: &Flood, outcome: &Outcome) -> Series {
    let payload_bytes = (MAX_FRAME_BYTES - HEADER_BYTES - TAG_BYTES) as f64;
    let per_full_frame = (payload_bytes / outcome.bytes_per_delta.max(1.0)).floor();
    Series::single(
        format!("raw full frames x {per_full_frame} deltas"),
        Unit::Rate("deltas"),
        full_frames.received_per_s * per_full_frame,
    )
}
