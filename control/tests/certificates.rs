//! `latticectl cluster`: certificates without a daemon.

use std::process::{Command, Output};

use tempfile::TempDir;

fn ctl(home: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_latticectl"))
        .current_dir(home.path())
        .args(arguments)
        .output()
        .expect("latticectl starts")
}

#[track_caller]
fn ok(home: &TempDir, arguments: &[&str]) -> String {
    let output = ctl(home, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_cluster_is_made_and_kept() {
    let home = TempDir::new().expect("a temporary directory");
    ok(&home, &["cluster", "init", "pki", "--name", "demo", "--nodes", "2", "--hosts", "a,b"]);
    let listed: serde_json::Value =
        serde_json::from_str(&ok(&home, &["--json", "cluster", "list", "pki"])).expect("JSON");
    let names: Vec<_> = listed.as_array().expect("a list").iter().map(|node| &node["name"]).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(ok(&home, &["cluster", "add", "pki", "c"]).contains("pki/c"));
    ok(&home, &["cluster", "rotate", "pki"]);
    let early = ctl(&home, &["cluster", "retire", "pki"]);
    assert_eq!(early.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&early.stderr).contains("renew it"));
    ok(&home, &["cluster", "renew", "pki", "--all", "--days", "30"]);
    ok(&home, &["cluster", "retire", "pki"]);
}

#[test]
fn wrong_usage_says_what_would_be_right() {
    let home = TempDir::new().expect("a temporary directory");
    let says = |arguments: &[&str], code: i32, what: &str| {
        let output = ctl(&home, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(what), "{arguments:?}: {said}");
    };
    says(&["cluster", "init", "pki", "--nodes", "2", "--hosts", "a"], 2, "--hosts names 1 nodes");
    says(&["cluster", "init", "pki", "--nodes", "1", "--name", "a b"], 2, "can't be the name of a cluster");
    says(&["cluster", "list", "nowhere"], 1, "nowhere/authority.pem");
    says(&["cluster", "renew", "pki"], 2, "required");
    ok(&home, &["cluster", "init", "pki", "--nodes", "1"]);
    says(&["cluster", "init", "pki", "--nodes", "1"], 1, "is there already");
}
