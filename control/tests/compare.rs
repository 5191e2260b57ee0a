//! `latticectl diff` and `converged --all`, against real daemons on loopback. Hosts that really differ need a network that
//! can be cut: see tests/cluster.

mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::node::Node;
use support::{text, wait_until};

fn json_of(node: &Node, arguments: &[&str]) -> Value {
    let output = node.ctl(arguments);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{arguments:?}: {}", text(&output.stderr)))
}

fn is_converged(node: &Node) -> bool {
    node.ctl(&["converged", "--all"]).status.success()
}

#[test]
fn hosts_with_certificates_are_asked_and_a_silent_one_is_named() {
    let nodes = Node::members();
    let [a, b, c] = &nodes;
    for (node, key) in nodes.iter().zip(["one", "two", "three"]) {
        node.ctl_ok(&["add", key, "1"]);
        node.ctl_ok(&["insert", "names", key]);
    }
    wait_until("all three to know each other and be equal", || {
        let hosts = |node| json_of(node, &["converged", "--all", "--json"])["hosts"].as_array().map(Vec::len);
        nodes.iter().all(|node| is_converged(node) && hosts(node) == Some(3))
    });
    let all = json_of(b, &["converged", "--all", "--json"]);
    assert_eq!((&all["converged"], &all["asked"]), (&json!(true), &json!(true)));
    let hosts: Vec<_> = all["hosts"].as_array().expect("hosts").iter().map(|host| &host["name"]).collect();
    assert_eq!(hosts, ["host-2", "host-1", "host-3"], "this one first");

    for (here, there) in [(a, "2"), (b, "3"), (c, "1")] {
        let diff = json_of(here, &["diff", there, "--json"]);
        assert_eq!((&diff["keys"], &diff["whole"]), (&json!([]), &json!(true)));
        assert_eq!(here.ctl(&["diff", there]).status.code(), Some(0));
    }
    for (arguments, message) in
        [(["diff", "1"], "is this host itself"), (["diff", "77"], "no session with node 77")]
    {
        let output = a.ctl(&arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
    }

    // It stands still: nobody knows what it has.
    c.signal(Signal::STOP);
    let output = a.ctl(&["converged", "--all"]);
    c.signal(Signal::CONT);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0] == "not converged" && lines[2].ends_with("equal"), "{shown}");
    assert!(lines[3].contains("host-3") && lines[3].contains("node 3"), "{shown}");
}

#[test]
fn without_certificates_heartbeats_are_believed_and_nobody_is_asked() {
    let [a, b] = Node::pair();
    a.ctl_ok(&["add", "hits", "1"]);
    wait_until("both to be equal", || is_converged(&a) && is_converged(&b));
    assert!(a.ctl_ok(&["converged", "--all"]).starts_with("converged (by heartbeats"));
    let output = a.ctl(&["diff", "2"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("no-sessions") && told.contains("cluster init"), "{told}");

    b.end_with(Signal::KILL);
    a.ctl_ok(&["add", "hits", "2"]);
    wait_until("it to be missed", || {
        let all = json_of(&a, &["converged", "--all", "--json"]);
        all["converged"] == json!(false)
            && all["hosts"][1]["silent"].as_str().is_some_and(|s| s.contains("down"))
    });
    let shown = text(&a.ctl(&["converged", "--all"]).stdout);
    assert!(shown.contains("lacks 1 operations of node 1"), "{shown}");
}
