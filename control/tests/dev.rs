//! `latticed --dev` and `latticectl`, end to end: real processes, real socket, real segment.

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Dev, ctl, latticed, text, wait_until};
use tempfile::TempDir;

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).expect("one JSON value")
}

#[test]
fn every_kind_is_written_and_read_back() {
    let dev = Dev::start();
    assert_eq!(dev.ctl_ok(&["add", "hits", "5"]), "5\n");
    assert_eq!(dev.ctl_ok(&["add", "hits", "-2"]), "3\n");
    assert_eq!(dev.ctl_ok(&["get", "hits"]), "3\n");
    dev.ctl_ok(&["enable", "on"]);
    dev.ctl_ok(&["enable", "safe", "--wins", "disable"]);
    assert_eq!(dev.ctl_ok(&["get", "safe"]), "on\n");
    // Without --wins it is written with the rule that it has.
    dev.ctl_ok(&["disable", "safe"]);
    assert_eq!((dev.ctl_ok(&["get", "on"]), dev.ctl_ok(&["get", "safe"])), ("on\n".into(), "off\n".into()));
    dev.ctl_ok(&["set", "motd", "hello, world"]);
    assert_eq!(dev.ctl_ok(&["get", "motd"]), "hello, world\n");
    for element in ["b", "a", "c"] {
        dev.ctl_ok(&["insert", "live", element]);
    }
    dev.ctl_ok(&["remove", "live", "c"]);
    assert_eq!(dev.ctl_ok(&["members", "live"]), "a\nb\n");
    assert_eq!(
        dev.ctl_ok(&["keys"]),
        "counter           hits\nset               live\nregister          motd\nflag-enable-wins  on\nflag-disable-wins safe\n"
    );
    assert_eq!(dev.ctl_ok(&["keys", "m"]), "register          motd\n");
}

#[test]
fn data_is_printed_as_json_when_asked() {
    let dev = Dev::start();
    let added = parsed(&dev.ctl_ok(&["--json", "add", "n", "7"]));
    assert_eq!(added, json!({ "key": "n", "kind": "counter", "value": 7 }));
    dev.ctl_ok(&["insert", "s", "x"]);
    assert_eq!(parsed(&dev.ctl_ok(&["members", "s", "--json"])), json!(["x"]));
    assert_eq!(parsed(&dev.ctl_ok(&["get", "s", "--json"]))["value"], json!(["x"]));
    let keys = dev.ctl_ok(&["keys", "--json"]);
    let keys: Vec<Value> = keys.lines().map(parsed).collect();
    assert_eq!(keys, [json!({ "key": "n", "kind": "counter" }), json!({ "key": "s", "kind": "set" })]);

    let status = parsed(&dev.ctl_ok(&["status", "--json"]));
    assert_eq!(
        (&status["node"], &status["port"], &status["pid"]),
        (&json!(1), &json!("udp"), &json!(dev.pid()))
    );
    assert_eq!(status["shards"].as_array().map(Vec::len), Some(4));
    assert_eq!(status["degraded"], json!([]));
    let keys: u64 =
        status["shards"].as_array().into_iter().flatten().filter_map(|s| s["keys"].as_u64()).sum();
    assert_eq!(keys, 2);
    assert_eq!(parsed(&dev.ctl_ok(&["converged", "--json"]))["converged"], json!(true), "a cluster of one");
}

#[test]
fn mistakes_are_answered_with_what_to_do() {
    let dev = Dev::start();
    dev.ctl_ok(&["insert", "live", "a"]);
    let cases: [(&[&str], i32, &str); 6] = [
        (&["get", "nothing"], 1, "there is no key `nothing`"),
        (
            &["add", "live", "1"],
            1,
            "`live` is a set, not a counter; `latticectl insert` and `remove` write to it",
        ),
        (&["set", "k", &"x".repeat(1025)], 1, "1025 bytes, the limit is 1024"),
        (&["add", "", "1"], 1, "a key has 1 to 128 bytes"),
        (&["add", "k"], 2, "AMOUNT"),
        (&["frobnicate"], 2, "frobnicate"),
    ];
    for (arguments, code, message) in cases {
        let output = dev.ctl(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).contains(message), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}

#[test]
fn a_watcher_prints_the_value_and_each_change() {
    let dev = Dev::start();
    dev.ctl_ok(&["add", "hits", "1"]);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| dev.ctl_ok(&["watch", "hits", "--count", "2"]));
        // However late the watcher begins, it sees two different values: writing goes on until it has.
        while !watcher.is_finished() {
            dev.ctl_ok(&["add", "hits", "1"]);
            dev.ctl_ok(&["add", "others", "1"]);
        }
        let lines: Vec<i64> =
            watcher.join().expect("it ended").lines().map(|line| line.parse().expect("a number")).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0] >= 1 && lines[1] > lines[0], "{lines:?}");
    });
}

#[test]
fn a_second_daemon_is_refused_and_the_first_is_unharmed() {
    let dev = Dev::start();
    dev.ctl_ok(&["add", "n", "1"]);
    let second = dev.second();
    assert_eq!(second.status.code(), Some(1));
    let told = text(&second.stderr);
    assert!(told.contains(&format!("another latticed (process {}) already runs in", dev.pid())), "{told}");
    assert_eq!(dev.ctl_ok(&["add", "n", "1"]), "2\n");
}

#[test]
fn sigterm_closes_the_segment_and_removes_the_socket() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let dev = Dev::start();
        dev.ctl_ok(&["add", "n", "4"]);
        let (socket, segment) = (dev.socket(), dev.directory().join("segment"));
        let reader = lattice_segment::Reader::open(&segment).expect("a segment");
        assert_eq!(reader.state(), lattice_segment::State::Ready);
        let (status, home) = dev.end_with(signal);
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert_eq!(reader.state(), lattice_segment::State::Closed);
        assert!(!socket.exists());
        let refused = ctl(home.path(), &["get", "n"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains("has stopped (last heartbeat"), "{}", text(&refused.stderr));
        let stale = ctl(home.path(), &["get", "n", "--stale"]);
        assert_eq!((stale.status.code(), text(&stale.stdout)), (Some(0), "4\n".to_owned()));
        let write = ctl(home.path(), &["add", "n", "1"]);
        assert_eq!(write.status.code(), Some(1));
        assert!(text(&write.stderr).contains("latticed is not running at"), "{}", text(&write.stderr));
    }
}

#[test]
fn after_kill_9_the_next_start_just_works_and_is_another_actor() {
    let dev = Dev::start();
    dev.ctl_ok(&["add", "n", "4"]);
    let actor = |dev: &Dev| parsed(&dev.ctl_ok(&["status", "--json"]))["actor"].clone();
    let first = actor(&dev);
    let orphan = lattice_segment::Reader::open(dev.directory().join("segment")).expect("a segment");
    let (_, home) = dev.end_with(Signal::KILL);
    let told = ctl(home.path(), &["status"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(text(&told.stderr).contains("latticed is not running at"), "{}", text(&told.stderr));
    assert_eq!(orphan.state(), lattice_segment::State::Ready, "nobody could close it");

    let dev = Dev::start_in(home);
    assert_eq!(orphan.state(), lattice_segment::State::Closed, "its successor did");
    assert_ne!(actor(&dev), first);
    assert_eq!(dev.ctl_ok(&["add", "n", "1"]), "1\n", "the state was the dead one's alone");
}

#[test]
fn without_a_daemon_the_message_says_how_to_start_one() {
    let home = TempDir::new().expect("a temporary directory");
    let socket = home.path().join("daemon.sock").display().to_string();
    for arguments in [&["--socket", &socket, "status"][..], &["--socket", &socket, "get", "k"]] {
        let output = ctl(home.path(), arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("latticed is not running at"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_daemon_that_stands_still_is_told_from_one_that_is_gone() {
    let dev = Dev::start();
    dev.ctl_ok(&["add", "n", "4"]);
    let reader = lattice_segment::Reader::open(dev.directory().join("segment")).expect("a segment");
    dev.signal(Signal::STOP);
    let silent =
        || reader.heartbeat_age_ns(0, lattice_segment::monotonic_ns()) > reader.heartbeat_timeout_ns();
    wait_until("a stopped process gives no sign of life", silent);
    for arguments in [&["get", "n"][..], &["add", "n", "1"]] {
        let output = dev.ctl(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let told = text(&output.stderr);
        assert!(told.contains("is silent (last heartbeat"), "{arguments:?}: {told}");
    }
    assert_eq!(dev.ctl_ok(&["get", "n", "--stale"]), "4\n");
    dev.signal(Signal::CONT);
    wait_until("it goes on", || !silent());
    // The write that failed is not under way: attaching came first.
    assert_eq!(dev.ctl_ok(&["add", "n", "1"]), "5\n");
}

/// `latticed --dev 2>&1 | head`, or a log collector that died: the log is lost, and nothing else.
#[test]
fn a_daemon_whose_log_nobody_reads_any_more_serves_and_stops_cleanly() {
    let home = TempDir::new().expect("a temporary directory");
    let mut process = latticed(home.path())
        .arg("--dev")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("latticed starts");
    let mut ready = String::new();
    let stdout = process.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut ready).expect("a line");
    drop(process.stderr.take());

    let output = ctl(home.path(), &["add", "k", "1"]);
    let pid = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(pid, Signal::TERM).expect("it runs");
    let status = process.wait().expect("it ends");
    assert_eq!(text(&output.stdout), "1\n", "{}", text(&output.stderr));
    assert_eq!(status.code(), Some(0));
    assert!(!home.path().join("latticed/daemon.sock").exists());
}
