//! The examples as the demo runs them: separate processes, JSON lines on standard output, an end when input closes.

mod fake;

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use fake::{FakeDaemon, State, until};
use lattice_client::Client;
use serde_json::Value;

/// A running example; killed if the test ends early.
struct Example {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Example {
    /// Cargo builds the examples beside the tests: `deps/this-test` and `examples/name` share a parent.
    fn start(name: &str, daemon: &FakeDaemon, arguments: &[&str]) -> Example {
        let test = std::env::current_exe().unwrap();
        let program: PathBuf = test.parent().unwrap().with_file_name("examples").join(name);
        let mut child = Command::new(&program)
            .arg("--socket")
            .arg(&daemon.socket)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error}; cargo build --examples makes it", program.display())
            });
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Example { child, input, output }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    fn close_input(&mut self) {
        self.input = None;
    }

    /// Its end: nothing more to say, and success.
    fn end(mut self) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Harmless if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn daemon() -> (tempfile::TempDir, FakeDaemon, Client) {
    let dir = tempfile::tempdir().unwrap();
    let daemon = FakeDaemon::start(dir.path(), 2, State::default());
    let client = Client::connect(&daemon.socket).unwrap();
    (dir, daemon, client)
}

#[test]
fn the_rate_limiter_counts_exactly_what_was_added() {
    let (_dir, daemon, client) = daemon();
    let arguments = ["--key", "requests", "--rate-per-s", "2000", "--run-until-stdin-closes"];
    let mut limiters = [(); 2].map(|()| Example::start("rate_limiter", &daemon, &arguments));
    let counter = client.counter("requests").unwrap();
    until("some requests", || counter.get().unwrap() >= 100);
    let mut added = 0;
    for limiter in &mut limiters {
        limiter.close_input();
        let report = limiter.line();
        added += report["added"].as_i64().unwrap();
        for field in ["failed", "unknown", "read_failures"] {
            assert_eq!(report[field], 0, "{report}");
        }
        assert_eq!(report["reads"], report["added"]);
        assert!(report["max_write_ns"].as_u64() >= report["p99_write_ns"].as_u64());
        assert!(report["p99_write_ns"].as_u64() > Some(0));
    }
    assert_eq!(added, counter.get().unwrap());
    limiters.into_iter().for_each(Example::end);
}

#[test]
fn the_kill_switch_is_seen_after_it_was_flipped() {
    let (_dir, daemon, client) = daemon();
    let mut watch = Example::start("kill_switch", &daemon, &["--key", "kill", "--watch"]);
    until("the watcher is attached", || daemon.knobs.attached.load(std::sync::atomic::Ordering::SeqCst) == 2);
    let mut flip = Example::start("kill_switch", &daemon, &["--key", "kill", "--flip"]);
    let flipped_at_ns = flip.line()["flipped_at_ns"].as_u64().unwrap();
    let seen_at_ns = watch.line()["seen_at_ns"].as_u64().unwrap();
    assert!(seen_at_ns > flipped_at_ns);
    assert!(client.flag("kill").unwrap().get().unwrap());
    flip.end();
    watch.end();
}

#[test]
fn instances_come_and_go() {
    let (_dir, daemon, client) = daemon();
    let mut first = Example::start("instances", &daemon, &["--key", "live", "--name", "host-a"]);
    assert_eq!(first.line()["members"], serde_json::json!(["host-a"]));
    let mut second = Example::start("instances", &daemon, &["--key", "live", "--name", "host-b"]);
    let both = serde_json::json!(["host-a", "host-b"]);
    assert_eq!(first.line()["members"], both);
    assert_eq!(second.line()["members"], both);
    second.close_input();
    assert_eq!(first.line()["members"], serde_json::json!(["host-a"]));
    first.close_input();
    assert_eq!(first.line()["members"], serde_json::json!([]));
    assert!(client.set("live").unwrap().is_empty().unwrap());
    first.end();
}

#[test]
fn a_config_value_is_set_and_got() {
    let (_dir, daemon, _client) = daemon();
    let get = || Example::start("config_value", &daemon, &["--key", "limit", "--get"]).line();
    assert_eq!(get()["value"], Value::Null);
    let mut set = Example::start("config_value", &daemon, &["--key", "limit", "--set", "500/s"]);
    assert_eq!(set.line()["set"], "500/s");
    set.end();
    assert_eq!(get()["value"], "500/s");
}

#[test]
fn the_probe_measures_every_value_that_it_sees() {
    let (_dir, daemon, client) = daemon();
    // A former run left this: not a sample.
    let register = client.register("probe").unwrap();
    register.set_wait(&[9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], Duration::from_secs(20)).unwrap();
    let mut read = Example::start("visible_probe", &daemon, &["--key", "probe", "--read", "--count", "50"]);
    until("the reader is attached", || daemon.knobs.attached.load(std::sync::atomic::Ordering::SeqCst) == 2);
    let arguments = ["--key", "probe", "--write", "--rate-per-s", "1000", "--count", "400"];
    let mut write = Example::start("visible_probe", &daemon, &arguments);
    let report = read.line();
    assert_eq!(report["count"], 50, "{report}");
    let quantiles = ["p50", "p99", "p999", "max"].map(|field| report[field].as_u64().unwrap());
    assert!(quantiles.is_sorted() && quantiles[0] > 0, "{report}");
    assert!(quantiles[3] < 30_000_000_000, "the value of the former run is in it: {report}");
    assert_eq!(write.line()["written"], 400);
    read.end();
    write.end();
}
