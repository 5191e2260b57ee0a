//! A distribution of measured values, and what is printed of it.
//!
//! Every value goes into an HDR histogram of three significant digits, in thousandths of its unit: a latency of 0.7 ns keeps
//! its digits, and one of an hour fits as well.

use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Histogram counts per unit: a latency in ns is recorded in ps.
const STEPS_PER_UNIT: f64 = 1000.0;
/// Values up to here (10 ms, in ps) are recorded without the histogram having to grow.
const ROOM_STEPS: u64 = 10_000_000_000;

/// What a series' values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A duration in nanoseconds. Less is better.
    Ns,
    /// So many of something each second: `Rate("deltas")`. More is better.
    Rate(&'static str),
    /// A size in bytes. Less is better.
    Bytes,
    /// Anything else, such as `Count("instructions")` or `Count("percent of a core")`. Less is better.
    Count(&'static str),
}

impl Unit {
    /// As in the reports: `ns`, `deltas/s`, `bytes`.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Unit::Ns => "ns".into(),
            Unit::Rate(what) => format!("{what}/s"),
            Unit::Bytes => "bytes".into(),
            Unit::Count(what) => what.into(),
        }
    }

    /// True if a larger value is the better one.
    #[must_use]
    pub fn more_is_better(self) -> bool {
        matches!(self, Unit::Rate(_))
    }
}

/// Quantiles of a series, in its unit.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Numbers {
    /// How many values.
    pub count: u64,
    /// Smallest.
    pub min: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Largest.
    pub max: f64,
    /// Operations a second.
    pub rate_per_s: f64,
}

/// The values of one thing that was measured.
#[derive(Clone, Debug)]
pub struct Series {
    /// What was measured, as it stands in tables and legends.
    pub name: String,
    unit: Unit,
    histogram: Histogram<u64>,
    /// Exact, where the histogram only knows a bucket.
    min_steps: u64,
    max_steps: u64,
    rate_per_s: Option<f64>,
}

impl Series {
    /// A series without values.
    #[must_use]
    pub fn new(name: impl Into<String>, unit: Unit) -> Series {
        let mut histogram = Histogram::new_with_bounds(1, ROOM_STEPS, 3).expect("constant bounds are valid");
        histogram.auto(true);
        Series { name: name.into(), unit, histogram, min_steps: u64::MAX, max_steps: 0, rate_per_s: None }
    }

    /// A series of one value: a size, a duration that is measured once.
    #[must_use]
    pub fn single(name: impl Into<String>, unit: Unit, value: f64) -> Series {
        let mut series = Series::new(name, unit);
        series.record(value);
        series
    }

    /// The same values under another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Series {
        self.name = name.into();
        self
    }

    /// States the rate, where it is not what the values say by themselves: operations done by the time that they took,
    /// the pace of an open loop.
    #[must_use]
    pub fn with_rate(mut self, rate_per_s: f64) -> Series {
        self.rate_per_s = Some(rate_per_s);
        self
    }

    /// Takes in a value, in the series' unit. A histogram has no place for what is below zero: that counts as zero.
    pub fn record(&mut self, value: f64) {
        self.record_steps((value * STEPS_PER_UNIT).round() as u64);
    }

    /// Takes in a latency.
    pub fn record_duration(&mut self, duration: Duration) {
        self.record_ns(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Takes in a latency in nanoseconds.
    pub fn record_ns(&mut self, ns: u64) {
        self.record_steps(ns.saturating_mul(1000));
    }

    /// Takes in a latency in picoseconds: the mean of a batch.
    pub fn record_ps(&mut self, ps: u64) {
        self.record_steps(ps);
    }

    fn record_steps(&mut self, steps: u64) {
        // Grows by itself: nothing that is measured is too large.
        if self.histogram.record(steps).is_ok() {
            self.min_steps = self.min_steps.min(steps);
            self.max_steps = self.max_steps.max(steps);
        }
    }

    /// Takes in all values of another series of the same unit.
    pub fn add(&mut self, other: &Series) {
        // Grows by itself: what fitted there fits here.
        if self.histogram.add(&other.histogram).is_ok() {
            self.min_steps = self.min_steps.min(other.min_steps);
            self.max_steps = self.max_steps.max(other.max_steps);
        }
    }

    /// The values' unit.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// How many values it holds.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The value that a share of all values (0 to 1) does not exceed; 0 if there is none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> f64 {
        if self.histogram.is_empty() {
            return 0.0;
        }
        // The histogram says the upper end of a bucket.
        let steps = self.histogram.value_at_quantile(quantile).clamp(self.min_steps, self.max_steps);
        steps as f64 / STEPS_PER_UNIT
    }

    /// The values over 1/(1-p), from the smallest at 1 to the largest at the count: a curve on which the tail has as much room
    /// as the middle. Points between two of the same value are left out.
    #[must_use]
    pub fn tail_points(&self, points_per_decade: usize) -> Vec<(f64, f64)> {
        let count = self.count() as f64;
        let steps = (count.max(1.0).log10() * points_per_decade as f64).floor() as usize;
        let at = |step: usize| 10f64.powf(step as f64 / points_per_decade as f64);
        let inner = (0..=steps).map(|step| (at(step), self.quantile(1.0 - 1.0 / at(step))));
        let mut points: Vec<(f64, f64)> = Vec::new();
        for point in inner.chain([(count.max(1.0), self.quantile(1.0))]) {
            if let [.., before, last] = points[..]
                && before.1 == last.1
                && last.1 == point.1
            {
                points.pop();
            }
            points.push(point);
        }
        points
    }

    /// The distribution as text that HdrHistogram's plotters read: value, percentile, count so far, 1/(1-percentile).
    #[must_use]
    pub fn hgrm(&self) -> String {
        let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
        let mut so_far = 0;
        for value in self.histogram.iter_quantiles(5) {
            so_far += value.count_since_last_iteration();
            let quantile = value.quantile_iterated_to();
            let steps = value.value_iterated_to().min(self.max_steps) as f64 / STEPS_PER_UNIT;
            // Writing to a String can't fail, here and below.
            let _ = match quantile < 1.0 {
                true => writeln!(
                    text,
                    "{steps:12.3} {quantile:14.12} {so_far:10} {:14.2}",
                    1.0 / (1.0 - quantile)
                ),
                false => writeln!(text, "{steps:12.3} {quantile:14.12} {so_far:10}"),
            };
        }
        let mean = self.histogram.mean() / STEPS_PER_UNIT;
        let deviation = self.histogram.stdev() / STEPS_PER_UNIT;
        let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
        let _ =
            writeln!(text, "#[Max     = {:12.3}, Total count    = {:12}]", self.quantile(1.0), self.count());
        text
    }

    /// Whether both hold the same values.
    #[must_use]
    pub fn is_same_as(&self, other: &Series) -> bool {
        self.unit == other.unit && self.histogram == other.histogram
    }

    /// What is printed.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        Numbers {
            count: self.count(),
            min: self.quantile(0.0).min(self.min_steps as f64 / STEPS_PER_UNIT),
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: self.quantile(1.0),
            rate_per_s: self.rate_per_s(),
        }
    }

    /// The rate that was stated; else the median of a series of rates, or what latencies back to back come to.
    #[must_use]
    pub fn rate_per_s(&self) -> f64 {
        let mean = self.histogram.mean() / STEPS_PER_UNIT;
        match (self.rate_per_s, self.unit) {
            (Some(rate_per_s), _) => rate_per_s,
            (None, Unit::Rate(_)) => self.quantile(0.5),
            (None, Unit::Ns) if mean > 0.0 => 1e9 / mean,
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ns_with_their_fractions() {
        let mut series = Series::new("reads", Unit::Ns);
        for ps in [1500, 1500, 1500, 9000] {
            series.record_ps(ps);
        }
        let numbers = series.numbers();
        assert_eq!(numbers.count, 4);
        assert!((numbers.p50 - 1.5).abs() < 0.01, "{numbers:?}");
        assert!((numbers.max - 9.0).abs() < 0.01, "{numbers:?}");
        assert!((numbers.rate_per_s - 1e9 / 3.375).abs() < 1e6, "{numbers:?}");
        assert!((series.with_rate(5.0).numbers().rate_per_s - 5.0).abs() < 1e-9);
    }

    #[test]
    fn curves_reach_from_the_smallest_to_the_largest_and_climb() {
        let mut series = Series::new("reads", Unit::Ns);
        (0..100_000u64).for_each(|number| series.record_ns(10 + number / 1000 * (number / 1000)));
        series.record_ns(1_000_000);
        let points = series.tail_points(10);
        assert_eq!(points.first(), Some(&(1.0, 10.0)));
        assert_eq!(points.last(), Some(&(100_001.0, 1_000_000.0)));
        assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1), "{points:?}");
        let lines: Vec<String> = series.hgrm().lines().map(str::to_owned).collect();
        assert!(lines[0].contains("1/(1-Percentile)") && lines[2].trim().starts_with("10."), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("1.000000000000     100001")), "{lines:?}");
    }

    #[test]
    fn long_and_short_have_room_in_one_series() {
        let mut series = Series::new("heal", Unit::Ns);
        series.record_duration(Duration::from_secs(3600));
        series.record(0.7);
        let numbers = series.numbers();
        assert!(
            (numbers.max / 3.6e12 - 1.0).abs() < 0.001 && (numbers.min - 0.7).abs() < 0.01,
            "{numbers:?}"
        );
    }
}
