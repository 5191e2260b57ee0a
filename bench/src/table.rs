//! Reports as a table for people: one line a row.

use std::fmt::Write;

use crate::report::{Report, Row};
use crate::series::Unit;

/// A value with its unit, in three digits: `5.61 µs`, `1.20 M/s`, `256 B`.
#[must_use]
pub fn amount(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Ns => scaled(value, 1000.0, &["ns", "µs", "ms", "s"]),
        Unit::Rate(_) => scaled(value, 1000.0, &["/s", "k/s", "M/s", "G/s"]),
        Unit::Bytes => scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB"]),
        Unit::Count(_) => scaled(value, 1000.0, &["", "k", "M", "G"]),
    }
}

/// A ratio in three digits.
#[must_use]
pub fn times(ratio: f64) -> String {
    let decimals = match ratio.abs() {
        small if small < 9.995 => 2,
        small if small < 99.95 => 1,
        _ => 0,
    };
    format!("{ratio:.decimals$}")
}

fn scaled(value: f64, step: f64, names: &[&str]) -> String {
    let mut scaled = value;
    let mut names = names.iter();
    let mut name = names.next().copied().unwrap_or_default();
    // 999.5 would be printed as 1000.
    while scaled.abs() >= step - 0.5 {
        let Some(next) = names.next() else { break };
        (scaled, name) = (scaled / step, next);
    }
    format!("{} {name}", times(scaled)).trim_end().to_owned()
}

/// All reports.
#[must_use]
pub fn table(reports: &[Report]) -> String {
    let rows = || reports.iter().flat_map(|report| &report.rows);
    let name_columns = rows().map(|row| row.name().chars().count()).max().unwrap_or(0).max(20) + 2;
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(
        text,
        "{:<name_columns$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>7}  budget",
        "", "p50", "p99", "p99.9", "max", "rate", "limit p50", "ratio"
    );
    for report in reports {
        let _ = match (&report.skipped, &report.failed) {
            (Some(why), _) => writeln!(text, "{}: skipped: {why}", report.bench),
            (None, Some(why)) => writeln!(text, "{}: FAILED: {why}", report.bench),
            (None, None) => writeln!(text, "{}", report.bench),
        };
        for row in &report.rows {
            let _ = writeln!(text, "{}", line(row, name_columns));
        }
    }
    text
}

fn line(row: &Row, name_columns: usize) -> String {
    let numbers = row.series.numbers();
    let unit = row.unit();
    let value = |value: f64| amount(unit, value);
    let rate = if numbers.rate_per_s > 0.0 { amount(Unit::Rate(""), numbers.rate_per_s) } else { "-".into() };
    let limit = row.limit.as_ref().map_or("-".into(), |limit| value(limit.numbers().p50));
    let ratio = row.ratio_p50().map_or("-".into(), times);
    let name = format!("  {}", row.name());
    let mut text = format!(
        "{name:<name_columns$} {:>9} {:>9} {:>9} {:>9} {rate:>9} {limit:>10} {ratio:>7}  {}",
        value(numbers.p50),
        value(numbers.p99),
        value(numbers.p999),
        value(numbers.max),
        verdicts(row),
    );
    if let Some(spread) = row.spread {
        let range = |[low, high]: [f64; 2]| format!("{} .. {}", value(low), value(high));
        let _ = write!(
            text,
            "\n{:<name_columns$} {} runs: p50 {}, p99 {}",
            "",
            spread.runs,
            range(spread.p50),
            range(spread.p99)
        );
    }
    text.trim_end().to_owned()
}

/// `met p50 <= 5.00 ns; missed …`.
fn verdicts(row: &Row) -> String {
    let verdict = |met| if met { "met" } else { "MISSED" };
    let judged = row.budgets.iter().map(|budget| budget.judge(row));
    judged.map(|judged| format!("{} {}", verdict(judged.met), judged.budget)).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    #[test]
    fn amounts_have_three_digits_and_a_fitting_unit() {
        let of_ns = |ns| amount(Unit::Ns, ns);
        assert_eq!(of_ns(0.7), "0.70 ns");
        assert_eq!(of_ns(99.96), "100 ns");
        assert_eq!(of_ns(999.6), "1.00 µs");
        assert_eq!(of_ns(5_612.0), "5.61 µs");
        assert_eq!(of_ns(45e6), "45.0 ms");
        assert_eq!(of_ns(1e13), "10000 s");
        assert_eq!(amount(Unit::Bytes, 2048.0), "2.00 KiB");
        assert_eq!(amount(Unit::Rate("frames"), 381_000.0), "381 k/s");
        assert_eq!(amount(Unit::Count("instructions"), 12.0), "12.0");
    }

    #[test]
    fn a_row_is_a_line_and_a_skipped_bench_says_why() {
        let mut report = Report::new("read", serde_json::json!({}));
        report.push(Row::new(Series::single("counter", Unit::Ns, 3.0)).limit(Series::single(
            "load",
            Unit::Ns,
            1.5,
        )));
        let text = table(&[report, Report::skipped("etcd", "etcd is not installed")]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[2].contains("counter") && lines[2].contains("3.00 ns") && lines[2].contains("2.00"));
        assert_eq!(lines[3], "etcd: skipped: etcd is not installed");
    }
}
