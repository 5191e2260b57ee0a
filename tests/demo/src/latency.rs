//! How long from a write here until an application there sees it: measured for each ordered pair of hosts, one at a time.
//!
//! A writer process puts the clock (CLOCK_MONOTONIC is one for all namespaces of a machine) into a register on one host; a
//! reader process on another polls its segment and notes how old the value is when it first sees it. So the figure spans
//! everything: client ring, worker, wire, worker, segment. The rate limiters go on meanwhile. The daemons' workers share one core
//! and yield to each other (config/demo); writer and reader have another, on which the reader polls.

use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::programs;
use crate::progress::Progress;
use crate::stage::Stage;

/// Writes per second and pair, and how many: one second each.
const WRITES_PER_S: &str = "1000";
const WRITES: &str = "1000";

/// How long one pair may take altogether.
const PAIR_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the last value may take to be seen after its writer has ended.
const LAST_VALUE_TIMEOUT: Duration = Duration::from_millis(200);

/// A latency distribution in the terms of the report, nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// Number of measurements.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>) -> Quantiles {
        Quantiles {
            count: histogram.len(),
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Latencies {
    /// Each ordered pair: writer's host, reader's host, distribution.
    pub pairs: Vec<(String, String, Quantiles)>,
    /// All pairs together.
    pub all: Quantiles,
}

/// What the reader says at its end. The other fields are the quantiles that the histogram has anyway.
#[derive(Deserialize)]
struct ReaderResult {
    /// The recorded values and how often each was.
    buckets: Vec<(u64, u64)>,
}

/// Measures all pairs.
pub fn measure(stage: &Stage, progress: &Progress) -> Result<Latencies> {
    let names = stage.names();
    let mut merged: Histogram<u64> = Histogram::new(3)?;
    let mut pairs = Vec::new();
    for writer in 0..names.len() {
        for reader in (0..names.len()).filter(|&reader| reader != writer) {
            let histogram = measure_pair(stage, writer, reader)?;
            merged.add(&histogram)?;
            let quantiles = Quantiles::of(&histogram);
            let (here, there) = (names[writer], names[reader]);
            progress.note(&format!("{here} -> {there}: {}", in_words(&quantiles)));
            pairs.push((here.to_owned(), there.to_owned(), quantiles));
            progress.pass(Duration::ZERO)?;
        }
    }
    Ok(Latencies { pairs, all: Quantiles::of(&merged) })
}

/// The core for the probes, if there is one beside that of the workers: the last. A reader that shares a core with workers
/// measures how they take turns.
fn place() -> Option<String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores > 1).then(|| (cores - 1).to_string())
}

fn measure_pair(stage: &Stage, writer: usize, reader: usize) -> Result<Histogram<u64>> {
    let key = format!("demo/probe/{}/{}", stage.names()[writer], stage.names()[reader]);
    let place = place();
    let mut arguments = vec!["--key", &key, "--read", "--count", WRITES];
    arguments.extend(place.iter().flat_map(|core| ["--core", core, "--idle", "spin"]));
    let mut reading = programs::start(stage, reader, "visible_probe", &arguments)?;
    programs::wait_attached(stage, reader, &reading)?;
    let mut arguments = vec!["--key", &key, "--write", "--rate-per-s", WRITES_PER_S, "--count", WRITES];
    arguments.extend(place.iter().flat_map(|core| ["--core", core]));
    let mut writing = programs::start(stage, writer, "visible_probe", &arguments)?;
    writing.wait_exit(PAIR_TIMEOUT)?;
    // A value that was overwritten before the reader looked is missing from its count: then it waits in vain, and is told.
    let line = reading.next_line(LAST_VALUE_TIMEOUT).or_else(|_| {
        reading.close_stdin();
        reading.next_line(PAIR_TIMEOUT)
    })?;
    let result: ReaderResult =
        serde_json::from_str(&line).with_context(|| format!("visible_probe --read said {line:?}"))?;
    let mut histogram = Histogram::new(3)?;
    for (value_ns, count) in result.buckets {
        histogram.record_n(value_ns, count)?;
    }
    Ok(histogram)
}

/// Quantiles for people, in microseconds.
pub fn in_words(quantiles: &Quantiles) -> String {
    let us = |ns: u64| ns as f64 / 1e3;
    format!(
        "p50 {:7.1} µs   p99 {:7.1} µs   p99.9 {:8.1} µs   max {:8.1} µs   count {}",
        us(quantiles.p50),
        us(quantiles.p99),
        us(quantiles.p999),
        us(quantiles.max),
        quantiles.count
    )
}
