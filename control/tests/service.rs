//! The daemon as a service: what it tells its manager, its watchdog, and its configuration read again while it runs.

mod support;

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::node::Node;

/// The next news, of a service manager that waits as long as a test waits for anything.
fn next(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    let count = socket.recv(&mut buffer).expect("news in time");
    support::text(&buffer[..count])
}

#[test]
fn a_service_manager_is_told_and_its_watchdog_fed() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(support::PATIENCE)).expect("a timeout");
    let watchdog = Duration::from_millis(300);
    let node = Node::start_under_manager(&path, watchdog);
    assert_eq!(next(&socket), "READY=1\nSTATUS=host-1 of cluster ops, port udp\n");
    let began = std::time::Instant::now();
    (0..4).for_each(|_| assert_eq!(next(&socket), "WATCHDOG=1\n"));
    assert!(
        began.elapsed() >= watchdog * 2 / 3,
        "three pauses of a third, less what passed before the first look"
    );
    assert!(node.end_with(Signal::TERM).success());
    socket.set_nonblocking(true).expect("set");
    let mut last = String::new();
    let mut buffer = [0; 512];
    while let Ok(count) = socket.recv(&mut buffer) {
        last = support::text(&buffer[..count]);
    }
    assert_eq!(last, "STOPPING=1\n");
}

/// Replaces a line of a node's configuration.
fn edit(node: &Node, from: &str, to: &str) {
    let text = std::fs::read_to_string(node.config()).expect("its file");
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(node.config(), text.replace(from, to)).expect("written");
}

fn reload(node: &Node) -> Value {
    serde_json::from_str(&node.ctl_ok(&["reload", "--json"])).expect("JSON")
}

#[test]
fn what_can_change_changes_at_once_and_the_rest_is_listed() {
    let node = Node::start();
    assert!(node.ctl_ok(&["reload"]).ends_with("nothing has changed\n"));
    edit(&node, "[limits]\n", "[limits]\nmax_keys = 77\nmax_clients = 1\n");
    let reloaded = reload(&node);
    assert_eq!(reloaded["applied"], json!([{ "key": "limits.max_clients", "old": "256", "new": "1" }]));
    assert_eq!(reloaded["needs_restart"], json!([{ "key": "limits.max_keys", "old": "65536", "new": "77" }]));
    assert_eq!(node.ctl_ok(&["reload"]), "needs restart limits.max_keys: 65536 -> 77\n");
    // It holds: one client is there, a second one is too many.
    let socket = node.config().with_file_name("run").join("daemon.sock");
    let first = lattice_client::Client::connect(&socket).expect("one may");
    first.counter("n").expect("a key").add(1).expect("it writes");
    let second = node.ctl(&["add", "n", "1"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(
        support::text(&second.stderr).contains("1 clients are attached already"),
        "{}",
        support::text(&second.stderr)
    );
}

#[test]
fn a_file_with_mistakes_changes_nothing() {
    let node = Node::start();
    edit(&node, "[limits]\n", "[limits]\nmax_clients = 1\nmax_keys = 0\n");
    let refused = node.ctl(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    let told = support::text(&refused.stderr);
    assert!(
        told.contains("limits.max_keys: is 0; expected") && told.contains("nothing was changed"),
        "{told}"
    );
    node.signal(Signal::HUP);
    edit(&node, "max_keys = 0\n", "");
    // Of the file before nothing was applied, by neither way: all of the difference is still there.
    assert_eq!(reload(&node)["applied"], json!([{ "key": "limits.max_clients", "old": "256", "new": "1" }]));
}

#[test]
fn a_hangup_reads_the_file_and_a_daemon_without_one_says_so() {
    let node = Node::start();
    let socket = node.config().with_file_name("run").join("daemon.sock");
    let first = lattice_client::Client::connect(&socket).expect("one may");
    first.counter("n").expect("a key").add(1).expect("it writes");
    node.ctl_ok(&["add", "n", "1"]);
    edit(&node, "[limits]\n", "[limits]\nmax_clients = 1\n");
    node.signal(Signal::HUP);
    let began = std::time::Instant::now();
    while node.ctl(&["add", "n", "1"]).status.success() {
        assert!(began.elapsed() < support::PATIENCE, "a second client still may");
    }
    assert!(node.ctl_ok(&["reload"]).ends_with("nothing has changed\n"));
    let dev = support::Dev::start();
    let refused = dev.ctl(&["reload"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        support::text(&refused.stderr).contains("without a configuration file"),
        "{}",
        support::text(&refused.stderr)
    );
}

#[test]
fn a_reload_reads_certificates_too_whatever_the_configuration_says() {
    let [node, ..] = Node::members();
    let read = || node.log().matches("certificates read anew").count();
    assert_eq!(read(), 0, "they have not changed");
    node.ctl_ok(&["reload"]);
    support::wait_until("them to be read", || read() == 1);
    edit(&node, "[limits]\n", "[limits]\nmax_keys = 0\n");
    assert_eq!(node.ctl(&["reload"]).status.code(), Some(1));
    support::wait_until("them to be read again", || read() == 2);
    node.signal(Signal::HUP);
    support::wait_until("them to be read by a hangup", || read() == 3);
}

#[test]
fn the_unit_is_sound_and_exposes_little() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/systemd/latticed.service");
    let analyzed = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=25", "--no-pager", unit])
        .output();
    match analyzed {
        Ok(output) => assert!(
            output.status.success(),
            "more than 2.5 of 10: {}{}",
            support::text(&output.stdout),
            support::text(&output.stderr)
        ),
        Err(error) => eprintln!("skipped: no systemd-analyze ({error})"),
    }
}
