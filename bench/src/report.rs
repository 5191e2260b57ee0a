//! What a bench prints: one JSON object, or the same as a table.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

/// Quantiles of one measurement, in the report's unit.
#[derive(Clone, Debug, Serialize)]
pub struct Numbers {
    /// How many samples.
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
    /// Operations a second, back to back.
    pub rate_per_s: f64,
}

/// One measured case beside its limit.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// What was measured.
    pub bench: String,
    /// Unit of the quantiles.
    pub unit: &'static str,
    /// Means of batches.
    #[serde(flatten)]
    pub numbers: Numbers,
    /// Each operation alone: the tail is real, small values carry the clock's uncertainty.
    pub single: Numbers,
    /// The best that is possible, measured the same way in the same run.
    pub limit: Numbers,
    /// The limit, each operation alone.
    pub limit_single: Numbers,
    /// Median over the limit's median.
    pub ratio_p50: f64,
    /// 99th percentile over the limit's, each operation alone.
    pub ratio_p99: f64,
    /// What was special about this case.
    pub setup: Value,
}

/// A bench: its headline case, and all cases.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The headline, in the shape of every case.
    #[serde(flatten)]
    pub headline: Case,
    /// All cases, the headline included.
    pub cases: Vec<Case>,
}

impl Report {
    /// As a table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<40} {:>8} {:>8} {:>9} {:>9} {:>8} {:>7}\n",
            self.headline.unit, "p50", "p99", "p99 one", "p999 one", "limit", "ratio"
        );
        for case in &self.cases {
            // Writing to a String can't fail.
            let _ = writeln!(
                text,
                "{:<40} {:>8.1} {:>8.1} {:>9.0} {:>9.0} {:>8.1} {:>7.1}",
                case.bench,
                case.numbers.p50,
                case.numbers.p99,
                case.single.p99,
                case.single.p999,
                case.limit.p50,
                case.ratio_p50
            );
        }
        let _ = writeln!(text, "{}", self.headline.setup);
        text
    }
}
