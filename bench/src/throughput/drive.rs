//! Loads host A and watches what arrives at host B.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lattice_client::Client;
use serde_json::{Value, json};

use super::workload::{Workload, Writer};
use crate::pair::{Account, Pair};
use crate::series::{Series, Unit};

/// The writer's core: daemon B's, which has less to do than A.
const WRITER_CORE: usize = 1;
/// From one look at the daemons' counters to the next. They are refreshed every 10 ms.
const SAMPLE: Duration = Duration::from_millis(5);
/// Looks that make up one value of a rate.
const LOOKS_A_VALUE: u32 = 10;
/// At the start nothing is recorded: windows open, logs are touched for the first time.
const WARM_UP_SHARE: u32 = 5;
/// Writes between two looks at the lag.
const WRITES_A_LOOK: u32 = 64;
/// Everything has arrived by then, unless something is broken.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);

/// What came of one workload.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Records that B merged, a second.
    pub deltas: Series,
    /// Operations that A took in, a second; all of them had arrived at the end.
    pub operations: Series,
    /// Frames that B received, a second.
    pub frames: Series,
    /// Bytes of a record on the wire.
    pub bytes_per_delta: f64,
    /// Records in a frame.
    pub deltas_per_frame: f64,
    /// Bytes of a frame.
    pub bytes_per_frame: f64,
    /// Frames that A sent again.
    pub retransmitted: u64,
    /// State syncs: none, unless B fell out of A's log.
    pub syncs: u64,
    /// Processor time of A and B, percent of a core.
    pub cpu_percent: [f64; 2],
}

impl Outcome {
    /// For the report.
    #[must_use]
    pub fn setup(&self) -> Value {
        json!({
            "operations_per_s": self.operations.rate_per_s(),
            "frames_per_s": self.frames.rate_per_s(),
            "deltas_per_frame": self.deltas_per_frame,
            "bytes_per_delta": self.bytes_per_delta,
            "bytes_per_frame": self.bytes_per_frame,
            "frames_retransmitted": self.retransmitted,
            "state_syncs": self.syncs,
            "lost": 0,
            "cpu_percent_a": self.cpu_percent[0],
            "cpu_percent_b": self.cpu_percent[1],
        })
    }
}

/// Writes for that long, waits until everything has arrived, and checks that B holds exactly what was written.
///
/// # Errors
/// If a write is refused, or B does not get to hold what was written.
pub fn drive(pair: &Pair, workload: Workload, duration: Duration) -> Result<Outcome> {
    let sockets = pair.sockets();
    let [here, there] = [Client::connect(&sockets[0])?, Client::connect(&sockets[1])?];
    let mut writer = Writer::open(&here, workload)?;
    pair.cluster.wait_converged(ARRIVAL_TIMEOUT)?;
    let (allowed, done) = (AtomicU64::new(u64::MAX), AtomicBool::new(false));
    let watched = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            core_affinity::set_for_current(core_affinity::CoreId { id: WRITER_CORE });
            write_until(&mut writer, &allowed, &done)
        });
        let watched = watch(pair, duration, workload.max_lag(), &allowed);
        // Relaxed: a flag without data behind it; the join orders the rest.
        done.store(true, Ordering::Relaxed);
        writing.join().ok().context("the writer panicked")??;
        watched
    })?;
    here.barrier(ARRIVAL_TIMEOUT)?;
    pair.cluster.wait_converged(ARRIVAL_TIMEOUT).context("what was written does not arrive")?;
    writer.check(&here).context("on host A")?;
    writer.check(&there).context("on host B")?;
    Ok(watched)
}

/// Writes whenever it may (`allowed` is how many writes more, refreshed by the watcher) until it is told to stop.
fn write_until(writer: &mut Writer, allowed: &AtomicU64, done: &AtomicBool) -> Result<()> {
    while !done.load(Ordering::Relaxed) {
        if allowed.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
            continue;
        }
        for _ in 0..WRITES_A_LOOK {
            if !writer.write()? {
                std::thread::yield_now();
                break;
            }
        }
    }
    Ok(())
}

/// Looks at both daemons every few milliseconds, and lets the writer go on only while B keeps up.
fn watch(pair: &Pair, duration: Duration, max_lag: u64, allowed: &AtomicU64) -> Result<Outcome> {
    let mut deltas = Series::new("deltas", Unit::Rate("deltas"));
    let mut operations = Series::new("operations", Unit::Rate("operations"));
    let mut frames = Series::new("frames", Unit::Rate("frames"));
    let accounts = || -> Result<[Account; 2]> { Ok([pair.account(0)?, pair.account(1)?]) };
    let start = accounts()?;
    let began = Instant::now();
    let (mut first, mut last) = (None, start.clone());
    while began.elapsed() < duration || deltas.count() == 0 {
        for _ in 0..LOOKS_A_VALUE {
            std::thread::sleep(SAMPLE);
            let [a, b] = accounts()?;
            let ahead = a.since(&start[0], "records_logged");
            let lag = ahead.saturating_sub(b.since(&start[1], "records_merged"));
            // Relaxed: a number for the writer to look at, nothing hangs on its age.
            allowed.store(max_lag.saturating_sub(lag), Ordering::Relaxed);
        }
        if began.elapsed() < duration / WARM_UP_SHARE {
            continue;
        }
        let now = accounts()?;
        if first.is_none() {
            (first, last) = (Some(now.clone()), now);
            continue;
        }
        let per_s = |host: usize, name: &str| {
            now[host].since(&last[host], name) as f64 / (now[host].at - last[host].at).as_secs_f64()
        };
        deltas.record(per_s(1, "records_merged"));
        operations.record(per_s(0, "ops_applied"));
        frames.record(per_s(1, "frames_received"));
        last = now;
    }
    let first = first.context("too short")?;
    let grown = |host: usize, name: &str| last[host].since(&first[host], name) as f64;
    let elapsed_s = (last[1].at - first[1].at).as_secs_f64().max(1e-9);
    let (records, frame_count) = (grown(1, "records_merged").max(1.0), grown(1, "frames_received").max(1.0));
    let overhead_bytes = (lattice_wire::HEADER_BYTES + lattice_wire::TAG_BYTES) as f64;
    let frame_bytes = grown(1, "port_received_bytes");
    Ok(Outcome {
        deltas: deltas.with_rate(records / elapsed_s),
        operations: operations.with_rate(grown(0, "ops_applied") / elapsed_s),
        frames: frames.with_rate(frame_count / elapsed_s),
        bytes_per_delta: (frame_bytes - frame_count * overhead_bytes) / records,
        deltas_per_frame: records / frame_count,
        bytes_per_frame: frame_bytes / frame_count,
        retransmitted: grown(0, "frames_retransmitted") as u64,
        syncs: grown(1, "syncs_requested") as u64,
        cpu_percent: [0, 1].map(|host| last[host].cpu_percent_since(&first[host])),
    })
}
