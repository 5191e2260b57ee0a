//! Runs benches one after the other, as often as asked, and says on the way how far it is.
//!
//! ```text
//!   run 1:  read  write  visible …        each on a thread of its own: what it pins, or which network namespace
//!   run 2:  read  write  visible …        it enters, ends with it
//!   …
//!   per row: the run with the median p50, beside the spread of all
//! ```
//!
//! The runs go round, instead of one bench five times in a row, because a machine's bad minute then spoils one run of each
//! bench and not all runs of one.

use std::thread;
use std::time::Instant;

use serde_json::json;

use crate::benches::Bench;
use crate::machine::CpuTicks;
use crate::measure::Effort;
use crate::median::combine;
use crate::report::Report;

/// Runs all of `benches` `runs` times. `progress` is told what is about to happen.
///
/// A bench that fails has a report that says so; the others go on.
#[must_use]
pub fn run_all(
    benches: &[&Bench],
    effort: Effort,
    runs: usize,
    mut progress: impl FnMut(&str),
) -> Vec<Report> {
    let started = Instant::now();
    let mut reports = vec![Vec::new(); benches.len()];
    let steps = runs * benches.len();
    for step in 0..steps {
        let index = step % benches.len();
        let bench = benches[index];
        progress(&format!(
            "bench {} of {steps}: {} ({} s so far)",
            step + 1,
            bench.name,
            started.elapsed().as_secs()
        ));
        let report = run_one(bench, effort);
        if let Some(why) = report.skipped.as_ref().or(report.failed.as_ref()) {
            progress(&format!("    {}: {why}", bench.name));
        }
        reports[index].push(report);
    }
    progress(&format!("{steps} done in {} s", started.elapsed().as_secs()));
    reports.into_iter().filter_map(combine).collect()
}

fn run_one(bench: &Bench, effort: Effort) -> Report {
    let (before, started) = (CpuTicks::now(), Instant::now());
    let run = bench.run;
    let result = thread::spawn(move || run(effort)).join();
    let mut report = match result {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => Report::failed(bench.name, format!("{error:#}")),
        Err(_) => Report::failed(bench.name, "it panicked"),
    };
    report.note("steal_percent", rounded(before.steal_percent_until(CpuTicks::now())));
    report.note("took_s", rounded(started.elapsed().as_secs_f64()));
    report
}

fn rounded(value: f64) -> serde_json::Value {
    json!((value * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Row;
    use crate::series::{Series, Unit};

    const WORKS: Bench = Bench { name: "works", about: "", full_s: 0, run: works };
    const FAILS: Bench =
        Bench { name: "fails", about: "", full_s: 0, run: |_| anyhow::bail!("no such device") };
    const PANICS: Bench = Bench { name: "panics", about: "", full_s: 0, run: |_| panic!("a bug") };

    fn works(_: Effort) -> anyhow::Result<Report> {
        let mut report = Report::new("works", json!({}));
        report.push(Row::new(Series::single("row", Unit::Ns, 5.0)));
        Ok(report)
    }

    #[test]
    fn a_bench_that_fails_does_not_stop_the_others() {
        let mut said = Vec::new();
        let reports =
            run_all(&[&FAILS, &PANICS, &WORKS], Effort::QUICK, 2, |line| said.push(line.to_owned()));
        let failures: Vec<_> = reports.iter().map(|report| report.failed.as_deref()).collect();
        assert_eq!(failures, [Some("no such device"), Some("it panicked"), None]);
        assert_eq!(reports[2].rows[0].spread.map(|spread| spread.runs), Some(2));
        assert!(reports[2].setup["steal_percent"].is_number() && reports[2].setup["took_s"].is_number());
        assert!(said[0].starts_with("bench 1 of 6: fails"), "{said:?}");
        assert!(said[1].contains("no such device"), "{said:?}");
    }
}
