//! Timing things that take about a nanosecond with a clock that takes twenty.
//!
//! Two ways, both reported, because each hides what the other shows:
//!
//! ```text
//!   batch    clock | op op op … op | clock     (t1 - t0) / BATCH        exact mean cost; a rare slow op is averaged away
//!   single   clock | op | clock                (t1 - t0) - clock cost   each op alone, so tails are real; +- some ns
//! ```
//!
//! Both are closed-loop: the next read begins when the last one ended. A read waits for nobody, so there is no schedule that it
//! could fall behind, and nothing to correct for coordinated omission.

use std::hint::black_box;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::report::Numbers;

/// Operations between two looks at the clock.
const BATCH: u32 = 64;

/// How long a measurement may take.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// For each way of each case.
    pub duration: Duration,
}

impl Effort {
    /// For numbers.
    pub const FULL: Effort = Effort { duration: Duration::from_millis(300) };
    /// To see that it runs.
    pub const QUICK: Effort = Effort { duration: Duration::from_millis(3) };
}

/// Both ways of looking at one operation.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Mean cost within batches.
    pub batch: Numbers,
    /// Each operation alone, less the clock's own cost.
    pub single: Numbers,
}

/// Measures an operation, after a short warm-up.
///
/// # Errors
/// The first error of the operation.
pub fn measure<T>(
    effort: Effort,
    mut operation: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<Measured> {
    let warm_up = Instant::now();
    while warm_up.elapsed() < effort.duration / 10 {
        black_box(operation()?);
    }
    Ok(Measured { batch: batches(effort, &mut operation)?, single: singles(effort, &mut operation)? })
}

fn batches<T>(effort: Effort, operation: &mut impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<Numbers> {
    let mut samples = Samples::new()?;
    let started = Instant::now();
    loop {
        let batch_started = Instant::now();
        for _ in 0..BATCH {
            black_box(operation()?);
        }
        let now = Instant::now();
        samples.record_ps((now - batch_started).as_nanos() as u64 * 1000 / u64::from(BATCH));
        if now - started >= effort.duration {
            return Ok(samples.numbers());
        }
    }
}

fn singles<T>(effort: Effort, operation: &mut impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<Numbers> {
    let clock_ns = clock_cost_ns();
    let mut samples = Samples::new()?;
    let started = Instant::now();
    loop {
        let operation_started = Instant::now();
        black_box(operation()?);
        let now = Instant::now();
        let elapsed_ns = (now - operation_started).as_nanos() as u64;
        samples.record_ps(elapsed_ns.saturating_sub(clock_ns) * 1000);
        if now - started >= effort.duration {
            return Ok(samples.numbers());
        }
    }
}

/// What two looks at the clock with nothing between them say: the smallest of many.
fn clock_cost_ns() -> u64 {
    let smallest = (0..1000).map(|_| {
        let started = Instant::now();
        black_box(Instant::now() - started).as_nanos() as u64
    });
    smallest.min().unwrap_or(0)
}

/// A histogram in ps, so that a nanosecond still has three digits.
struct Samples {
    histogram: Histogram<u64>,
}

impl Samples {
    fn new() -> anyhow::Result<Samples> {
        Ok(Samples { histogram: Histogram::new_with_bounds(1, 1_000_000_000_000, 3)? })
    }

    fn record_ps(&mut self, ps: u64) {
        self.histogram.saturating_record(ps);
    }

    fn numbers(&self) -> Numbers {
        let ns = |quantile: f64| self.histogram.value_at_quantile(quantile) as f64 / 1000.0;
        let mean_ns = self.histogram.mean() / 1000.0;
        Numbers {
            count: self.histogram.len(),
            min: self.histogram.min() as f64 / 1000.0,
            p50: ns(0.5),
            p90: ns(0.9),
            p99: ns(0.99),
            p999: ns(0.999),
            max: self.histogram.max() as f64 / 1000.0,
            rate_per_s: if mean_ns > 0.0 { 1e9 / mean_ns } else { 0.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ns_with_their_fractions() {
        let mut samples = Samples::new().unwrap();
        for ps in [1500, 1500, 1500, 9000] {
            samples.record_ps(ps);
        }
        let numbers = samples.numbers();
        assert_eq!(numbers.count, 4);
        assert!((numbers.p50 - 1.5).abs() < 0.01, "{numbers:?}");
        assert!((numbers.max - 9.0).abs() < 0.01, "{numbers:?}");
        assert!((numbers.rate_per_s - 1e9 / 3.375).abs() < 1e6, "{numbers:?}");
    }

    #[test]
    fn the_first_error_ends_a_measurement() {
        let mut calls = 0;
        let result = measure(Effort::QUICK, || {
            calls += 1;
            anyhow::ensure!(calls < 10, "broken");
            Ok(())
        });
        assert!(result.is_err());
        assert_eq!(calls, 10);
    }
}
