//! `latticectl drain`, against real daemons on loopback.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use lattice_client::{Ack, Client, Error, Refusal};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::node::Node;
use support::{PATIENCE, text, wait_until};

/// The state of readiness: HTTP status, and the reason of a condition if it is not met.
fn ready(node: &Node, condition: &str) -> (u16, Option<String>) {
    let mut stream = TcpStream::connect(node.metrics()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = "GET /readyz HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let verdict: Value = serde_json::from_str(body).expect("JSON");
    let conditions = verdict["conditions"].as_array().expect("conditions");
    let found = conditions.iter().find(|found| found["name"] == condition).expect("the condition");
    let reason =
        (found["ok"] == json!(false)).then(|| found["reason"].as_str().expect("a reason").to_owned());
    (status, reason)
}

fn socket(node: &Node) -> std::path::PathBuf {
    let status: Value = serde_json::from_str(&node.ctl_ok(&["status", "--json"])).expect("JSON");
    let segment = status["segment"].as_str().expect("a path").to_owned();
    std::path::Path::new(&segment).with_file_name("daemon.sock")
}

fn peer(node: &Node, of: u16) -> Value {
    let status: Value = serde_json::from_str(&node.ctl_ok(&["status", "--json"])).expect("JSON");
    let peers = status["peers"].as_array().expect("peers");
    peers.iter().find(|peer| peer["node"] == json!(of)).cloned().unwrap_or_default()
}

#[test]
fn a_drained_host_leaves_nothing_behind_and_is_missed_by_nobody() {
    let nodes = Node::members();
    let [a, b, c] = &nodes;
    wait_until("everybody to be ready", || nodes.iter().all(|node| ready(node, "serving").0 == 200));
    wait_until("everybody to know everybody", || {
        nodes.iter().all(|node| {
            let shown = text(&node.ctl(&["converged", "--all"]).stdout);
            shown.lines().filter(|line| line.ends_with("equal")).count() == 3
        })
    });
    let client = Client::connect(socket(c)).expect("attached");
    let hits = client.counter("hits").expect("a counter");
    for _ in 0..501 {
        hits.add_with(1, Ack::Local, PATIENCE).expect("written");
    }

    let said = c.ctl_ok(&["drain", "--durable"]);
    assert!(said.contains("it may be stopped: what it has is on the other members"), "{said}");
    let (status, reason) = ready(c, "serving");
    assert!(status == 503 && reason.is_some_and(|reason| reason.contains("drain --undo")));
    let refused = hits.add_with(1, Ack::Local, PATIENCE);
    assert!(matches!(refused, Err(Error::Refused(Refusal::Drained))), "{refused:?}");
    let output = c.ctl(&["add", "hits", "1"]);
    assert!(text(&output.stderr).contains("drained"), "{}", text(&output.stderr));
    assert_eq!(hits.get().expect("read"), 501, "it is still read from");
    for node in [a, b] {
        assert_eq!(node.ctl_ok(&["get", "hits"]), "501\n");
        assert_eq!(peer(node, 3)["leaving"], json!(true));
        assert_ne!(peer(node, 2)["leaving"], json!(true));
    }
    // What others write still comes.
    a.ctl_ok(&["add", "hits", "1"]);
    wait_until("it to come", || hits.get().expect("read") == 502);

    assert_eq!(c.ctl_ok(&["drain", "--undo"]), "this host serves again\n");
    assert_eq!(ready(c, "serving"), (200, None));
    hits.add_with(1, Ack::Local, PATIENCE).expect("written");
    assert_eq!(peer(a, 3)["leaving"], json!(false));

    // And for good: the others do not call it down, for it said so.
    c.ctl_ok(&["drain"]);
    let [a, b, c] = nodes;
    c.end_with(Signal::TERM);
    wait_until("it to be gone", || peer(&a, 3)["up"] == json!(false));
    let status: Value = serde_json::from_str(&a.ctl_ok(&["status", "--json"])).expect("JSON");
    assert!(!status["degraded"].to_string().contains("peer 3"), "{}", status["degraded"]);
    assert_eq!((a.ctl_ok(&["get", "hits"]), b.ctl_ok(&["get", "hits"])), ("503\n".into(), "503\n".into()));
}

#[test]
fn a_host_whose_peer_is_away_stays_drained_and_says_who_lacks_what() {
    let node = Node::start_waiting_for_a_peer();
    node.ctl_ok(&["add", "hits", "1"]);
    let output = node.ctl(&["drain", "--timeout", "0.3"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("node 2 (down or unreachable) lacks 1 operations"), "{said}");
    assert_eq!(ready(&node, "serving").0, 503);
    // Of two, one is no majority.
    assert_eq!(node.ctl(&["drain", "--majority", "--timeout", "0.1"]).status.code(), Some(1));
    node.ctl_ok(&["drain", "--undo"]);
    node.ctl_ok(&["add", "hits", "1"]);
}

#[test]
fn writes_are_taken_while_load_balancers_leave() {
    let node = Node::start();
    wait_until("it to be ready", || ready(&node, "serving").0 == 200);
    std::thread::scope(|scope| {
        let drain = scope.spawn(|| node.ctl_ok(&["drain", "--grace", "3"]));
        wait_until("readiness to fail", || ready(&node, "serving").0 == 503);
        assert!(!drain.is_finished());
        let written = node.ctl(&["add", "hits", "1"]);
        assert!(written.status.success() || drain.is_finished(), "{}", text(&written.stderr));
        let said = drain.join().expect("it ended");
        assert!(said.contains("may be stopped"), "{said}");
    });
    assert_eq!(node.ctl(&["add", "hits", "1"]).status.code(), Some(1));
}
