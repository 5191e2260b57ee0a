//! The demo itself, run as a user runs it: it must hold, and its report must say what tools rely on.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use lattice_cluster::binaries::Binaries;
use lattice_cluster::{Environment, require};
use serde_json::Value;

/// One demo at a time: each wants both cores of a small machine.
static MACHINE: Mutex<()> = Mutex::new(());

/// Runs the demo and returns its report.
fn demo(extra: &[&str]) -> Value {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("deeper/report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_lattice-demo"))
        .arg("--config")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/demo"))
        .arg("--programs")
        .arg(Binaries::find().unwrap().directory())
        .arg("--report")
        .arg(&report)
        .args(extra)
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success(), "{}", output.status);
    serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap()
}

fn assert_holds(report: &Value, port: impl Fn(&str) -> bool) {
    let ports: Vec<&str> =
        report["port"].as_array().unwrap().iter().map(|port| port.as_str().unwrap()).collect();
    assert!(ports.len() == 3 && ports.iter().all(|found| port(found)), "{ports:?}");
    assert_eq!(report["converged"], true);
    let expected = report["counter_expected"].as_i64().unwrap();
    assert!(expected > 0);
    assert_eq!(report["counter_actual"], serde_json::json!([expected, expected, expected]));
    let visible = &report["visible_ns"];
    let number = |field: &str| visible[field].as_u64().unwrap_or_else(|| panic!("{field} in {visible}"));
    assert!(number("count") > 1_000, "{visible}");
    assert!(0 < number("p50") && number("p50") <= number("p99"), "{visible}");
    assert!(number("p99") <= number("p999") && number("p999") <= number("max"), "{visible}");
    assert!(report["heal_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_demo_holds_on_af_xdp() {
    let environment = Environment::probe();
    if require(&environment.namespaces) && require(&environment.af_xdp) {
        assert_holds(&demo(&[]), |port| port.starts_with("xdp-"));
    }
}

#[test]
fn the_demo_holds_over_loopback() {
    assert_holds(&demo(&["--loopback"]), |port| port == "udp");
}
