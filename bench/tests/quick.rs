//! Every bench runs small, through the program that people use, and its JSON is looked at: a bench that nobody runs rots.

use std::process::Command;
use std::time::{Duration, Instant};

use lattice_bench::benches::{BENCHES, Bench};
use lattice_cluster::binaries::Binaries;
use serde_json::Value;

/// Longest that a quick run may take, many times what it should (the machine may be busy building).
const PATIENCE: Duration = Duration::from_secs(60);

/// Benches whose headline stands beside a limit measured in the same run.
const LIMITED: &[&str] = &["read", "write", "visible", "throughput", "heal"];

/// Benches of other people's programs, which need not be installed, also in CI.
const RIVALS: &[&str] = &["etcd"];

#[test]
fn every_bench_runs_and_its_json_holds_together() {
    // The daemon is built before a clock runs, where nobody has built it yet.
    let binaries = Binaries::find().unwrap();
    for bench in BENCHES {
        let started = Instant::now();
        let report = run(bench, &binaries);
        assert!(started.elapsed() < PATIENCE, "{}: {:?}", bench.name, started.elapsed());
        assert_eq!(report["bench"], bench.name);
        if let Some(why) = report["skipped"].as_str() {
            // Straight to the terminal: the test harness would swallow eprintln.
            let line = format!("\nSKIPPED: bench {}: {why}\n", bench.name);
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
            let is_required = std::env::var_os("CI").is_some() && !RIVALS.contains(&bench.name);
            assert!(!is_required, "CI must be able to run this: {line}");
            continue;
        }
        assert!(report["setup"]["steal_percent"].is_number() && report["setup"]["machine"].is_object());
        let name = bench.name;
        check_series(name, &report);
        assert!(!LIMITED.contains(&name) || report["limit"].is_object(), "{name} has no limit");
        let rows = report["rows"].as_array().unwrap_or_else(|| panic!("{name} has no rows"));
        assert!(!rows.is_empty(), "{name} has no rows");
        for row in rows {
            check_row(name, row);
        }
        assert!(rows.iter().any(|row| row["name"] == report["name"]), "{name}: the headline is not a row");
    }
}

fn run(bench: &Bench, binaries: &Binaries) -> Value {
    let program = env!("CARGO_BIN_EXE_lattice-bench");
    let mut command = Command::new(program);
    command.args([bench.name, "--quick", "--json"]).env("LATTICE_BIN_DIR", binaries.directory());
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", bench.name);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), 1, "{}: one object, and nothing else: {text}", bench.name);
    serde_json::from_str(&text).unwrap()
}

fn check_row(bench: &str, row: &Value) {
    let name = &row["name"];
    check_series(bench, row);
    if row["limit"].is_object() {
        check_series(bench, &row["limit"]);
        assert_eq!(row["limit"]["unit"], row["unit"], "{bench}, {name}");
        for (ratio, of) in [("ratio_p50", "p50"), ("ratio_p99", "p99")] {
            // What is less than a clock resolves is 0, and nothing is a multiple of it.
            let is_resolved = row["limit"][of].as_f64().is_some_and(|limit| limit > 0.0);
            assert_eq!(row[ratio].is_number(), is_resolved, "{bench}, {name}: {ratio}");
        }
    }
    for rival in row["rivals"].as_array().into_iter().flatten() {
        check_series(bench, rival);
    }
    for budget in row["budgets"].as_array().into_iter().flatten() {
        assert!(budget["met"].is_boolean() && budget["value"].is_number(), "{bench}, {name}: {budget}");
    }
}

fn check_series(bench: &str, series: &Value) {
    let name = &series["name"];
    let number = |field: &str| {
        series[field].as_f64().unwrap_or_else(|| panic!("{bench}, {name}: {field} of {series}"))
    };
    assert!(name.as_str().is_some_and(|name| !name.is_empty()), "{bench}: {series}");
    assert!(series["unit"].as_str().is_some_and(|unit| !unit.is_empty()), "{bench}, {name}: no unit");
    assert!(number("count") > 0.0, "{bench}, {name}: nothing was measured");
    let ascending = ["min", "p50", "p90", "p99", "p999", "max"].map(number);
    assert!(ascending.is_sorted(), "{bench}, {name}: {ascending:?}");
    assert!(number("rate_per_s") >= 0.0, "{bench}, {name}");
}
