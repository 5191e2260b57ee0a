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

use crate::series::{Series, Unit};

/// Operations between two looks at the clock.
const BATCH: u32 = 64;

/// How much time a bench may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    is_quick: bool,
}

impl Effort {
    /// For numbers.
    pub const FULL: Effort = Effort { is_quick: false };
    /// To see that it runs: no bench takes longer than three seconds.
    pub const QUICK: Effort = Effort { is_quick: true };

    /// True if it is only to be seen that it runs.
    #[must_use]
    pub fn is_quick(self) -> bool {
        self.is_quick
    }

    /// One of two: durations, numbers of keys.
    #[must_use]
    pub fn pick<T>(self, full: T, quick: T) -> T {
        if self.is_quick { quick } else { full }
    }
}

/// Both ways of looking at one operation.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Mean cost within batches.
    pub batch: Series,
    /// Each operation alone, less the clock's own cost.
    pub single: Series,
}

/// Measures an operation both ways, for `duration` each, after a short warm-up.
///
/// # Errors
/// The first error of the operation.
pub fn measure<T>(
    name: &str,
    duration: Duration,
    mut operation: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<Measured> {
    let warm_up = Instant::now();
    while warm_up.elapsed() < duration / 10 {
        black_box(operation()?);
    }
    Ok(Measured {
        batch: batches(name, duration, &mut operation)?,
        single: singles(name, duration, &mut operation)?,
    })
}

fn batches<T>(
    name: &str,
    duration: Duration,
    operation: &mut impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<Series> {
    let mut series = Series::new(name, Unit::Ns);
    let started = Instant::now();
    loop {
        let batch_started = Instant::now();
        for _ in 0..BATCH {
            black_box(operation()?);
        }
        let now = Instant::now();
        series.record_ps((now - batch_started).as_nanos() as u64 * 1000 / u64::from(BATCH));
        if now - started >= duration {
            return Ok(series);
        }
    }
}

fn singles<T>(
    name: &str,
    duration: Duration,
    operation: &mut impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<Series> {
    let clock_ns = clock_cost_ns();
    let mut series = Series::new(name, Unit::Ns);
    let started = Instant::now();
    loop {
        let operation_started = Instant::now();
        black_box(operation()?);
        let now = Instant::now();
        let elapsed_ns = (now - operation_started).as_nanos() as u64;
        series.record_ns(elapsed_ns.saturating_sub(clock_ns));
        if now - started >= duration {
            return Ok(series);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_ends_a_measurement() {
        let mut calls = 0;
        let result = measure("broken", Duration::from_millis(1), || {
            calls += 1;
            anyhow::ensure!(calls < 10, "broken");
            Ok(())
        });
        assert!(result.is_err());
        assert_eq!(calls, 10);
    }
}
