//! `latticed check`, and how `latticed` answers a command line or a configuration that can't be run.

mod support;

use std::process::Output;

use support::{latticed, text};
use tempfile::TempDir;

const GOOD: &str = "[cluster]\nname = \"demo\"\n[node]\nid = 1\n[network]\naddress = \"127.0.0.1\"\n";

fn run(home: &TempDir, arguments: &[&str]) -> Output {
    latticed(home.path()).args(arguments).output().expect("latticed starts")
}

fn file(home: &TempDir, content: &str) -> String {
    let path = home.path().join("latticed.toml");
    std::fs::write(&path, content).expect("a file");
    path.display().to_string()
}

#[test]
fn a_good_file_is_good() {
    let home = TempDir::new().expect("a temporary directory");
    let output = run(&home, &["check", "--config", &file(&home, GOOD)]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("ok: node 1 (node-1) of cluster demo, 4 shards, 0 peers"));
}

#[test]
fn the_reference_is_good() {
    let home = TempDir::new().expect("a temporary directory");
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/latticed.toml");
    assert_eq!(run(&home, &["check", "--config", reference]).status.code(), Some(0));
}

#[test]
fn every_mistake_is_told_at_once_and_the_exit_code_is_2() {
    let home = TempDir::new().expect("a temporary directory");
    let path = file(&home, &format!("{GOOD}base_prot = 1\nport = \"xpd\"\n[limits]\nmax_keys = 0\n"));
    // Running it is refused in the same way as checking it.
    for arguments in [vec!["check", "--config", &path], vec!["--config", &path]] {
        let output = run(&home, &arguments);
        assert_eq!(output.status.code(), Some(2));
        let told = text(&output.stderr);
        for line in [
            format!("{path}:7: network.base_prot: there is no such key; did you mean `base_port`?"),
            format!(
                "{path}:8: network.port: is \"xpd\"; expected one of \"auto\", \"xdp\", \"xdp-generic\", \"udp\""
            ),
            format!("{path}:10: limits.max_keys: is 0; expected an integer from 1 to"),
            format!("{path}: 3 errors"),
        ] {
            assert!(told.contains(&line), "{line:?} is not in {told}");
        }
    }
}

#[test]
fn what_can_not_be_read_or_run_is_2_too() {
    let home = TempDir::new().expect("a temporary directory");
    let missing = home.path().join("missing.toml").display().to_string();
    let output = run(&home, &["check", "--config", &missing]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains(&missing));
    std::fs::write(home.path().join("bytes.toml"), b"\xff\xfe").expect("a file");
    let bytes = home.path().join("bytes.toml").display().to_string();
    assert_eq!(run(&home, &["check", "--config", &bytes]).status.code(), Some(2));
    for arguments in [&[][..], &["--frobnicate"], &["--dev", "--config", "x"], &["check"]] {
        assert_eq!(run(&home, arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_start_that_fails_says_what_to_do_and_leaves_nothing() {
    let home = TempDir::new().expect("a temporary directory");
    let directory = home.path().join("run");
    // RFC 5737: documentation, on no host.
    let content = GOOD.replace("127.0.0.1", "203.0.113.77");
    let path = file(&home, &format!("{content}[paths]\ndirectory = \"{}\"\n", directory.display()));
    let output = run(&home, &["--config", &path]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("no interface of this host has the address 203.0.113.77"), "{told}");
    assert!(told.contains("udp: "), "{told}");
    assert_eq!(text(&output.stdout), "");
    assert!(!directory.join("segment").exists() && !directory.join("daemon.sock").exists());
}
