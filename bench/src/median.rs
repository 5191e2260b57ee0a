//! One report of several runs: for each row the run with the median p50, and how far the runs lay apart.
//!
//! A row is taken whole from one run, so its limit, its rivals and its ratios are of that run too: the machine's mood was the
//! same for all of them.

use serde_json::{Value, json};

use crate::report::{Report, Row, Spread};

/// Makes one report of several runs of one bench; `None` of none. If a run failed, the report says so, and has the rows of the
/// others.
#[must_use]
pub fn combine(mut runs: Vec<Report>) -> Option<Report> {
    if runs.len() < 2 {
        return runs.pop();
    }
    let count = runs.len();
    let failed = runs.iter().find_map(|run| run.failed.clone());
    let steals: Vec<Value> = runs.iter().filter_map(|run| run.setup.get("steal_percent").cloned()).collect();
    let first = runs.iter().position(|run| !run.rows.is_empty()).unwrap_or(0);
    let headline = runs[first].headline().map(|row| row.name().to_owned());
    let mut combined = Report::new(runs[first].bench.clone(), runs[first].setup.clone());
    combined.failed = failed;
    combined.skipped = runs[first].skipped.clone();
    for name in names(&runs) {
        let Some(row) = median_row(&runs, &name) else { continue };
        if Some(&name) == headline.as_ref() { combined.push_headline(row) } else { combined.push(row) }
    }
    combined.note("runs", json!(count));
    combined.note("steal_percent", largest(&steals));
    combined.note("steal_percent_of_each_run", steals.into());
    Some(combined)
}

/// The rows' names, in the order of their first appearance.
fn names(runs: &[Report]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for row in runs.iter().flat_map(|run| &run.rows) {
        if !names.iter().any(|name| name == row.name()) {
            names.push(row.name().to_owned());
        }
    }
    names
}

/// The row of this name from the run with the median p50; the lower one of two.
fn median_row(runs: &[Report], name: &str) -> Option<Row> {
    let found = runs.iter().filter_map(|run| run.rows.iter().find(|row| row.name() == name));
    let mut rows: Vec<(f64, f64, &Row)> = found
        .map(|row| {
            let numbers = row.series.numbers();
            (numbers.p50, numbers.p99, row)
        })
        .collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold([f64::MAX, f64::MIN], |[low, high], value| [low.min(value), high.max(value)])
    };
    let spread = Spread {
        runs: rows.len(),
        p50: range(&mut rows.iter().map(|row| row.0)),
        p99: range(&mut rows.iter().map(|row| row.1)),
    };
    let (_, _, median) = rows.get(rows.len().checked_sub(1)? / 2)?;
    let mut row = (*median).clone();
    row.spread = Some(spread);
    Some(row)
}

fn largest(values: &[Value]) -> Value {
    values.iter().filter_map(Value::as_f64).max_by(f64::total_cmp).map_or(Value::Null, |value| json!(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Series, Unit};

    fn run(p50: f64, limit: f64) -> Report {
        let mut report = Report::new("read", json!({ "steal_percent": p50 }));
        report.push(Row::new(Series::single("other", Unit::Ns, 1.0)));
        report.push_headline(Row::new(Series::single("row", Unit::Ns, p50)).limit(Series::single(
            "limit",
            Unit::Ns,
            limit,
        )));
        report
    }

    #[test]
    fn the_median_run_keeps_its_own_limit() {
        let combined = combine(vec![run(9.0, 1.0), run(5.0, 2.0), run(7.0, 3.5)]).unwrap();
        let row = combined.headline().unwrap();
        assert_eq!((row.name(), row.series.numbers().p50, row.ratio_p50()), ("row", 7.0, Some(2.0)));
        let spread = row.spread.unwrap();
        assert_eq!((spread.runs, spread.p50), (3, [5.0, 9.0]));
        assert_eq!(combined.setup["steal_percent"], json!(9.0));
        assert_eq!(combined.rows.len(), 2);
    }

    #[test]
    fn a_failed_run_is_told_and_the_others_count() {
        let combined = combine(vec![Report::failed("read", "broken"), run(5.0, 2.0)]).unwrap();
        assert_eq!(combined.failed.as_deref(), Some("broken"));
        assert_eq!(combined.rows.len(), 2);
        let skipped =
            combine(vec![Report::skipped("etcd", "absent"), Report::skipped("etcd", "absent")]).unwrap();
        assert_eq!((skipped.skipped.as_deref(), skipped.rows.len()), (Some("absent"), 0));
    }
}
