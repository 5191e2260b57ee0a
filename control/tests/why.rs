//! `latticectl why`, against real daemons.

mod support;

use serde_json::{Value, json};
use support::node::Node;
use support::{Dev, text, wait_until};

fn why(node: &Node, arguments: &[&str]) -> Value {
    let all: Vec<&str> = ["why", "--json"].iter().chain(arguments).copied().collect();
    serde_json::from_str(&node.ctl_ok(&all)).expect("JSON")
}

/// The parts of the only kind: node, what it did, and to what.
fn parts(why: &Value) -> Vec<(u64, String, Value)> {
    let kinds = why["kinds"].as_array().expect("kinds");
    assert_eq!(kinds.len(), 1, "{why}");
    let standing = kinds[0]["standing"].as_array().expect("parts");
    let part = |part: &Value| {
        let what = ["element", "value", "increments"].iter().map(|name| &part[*name]).find(|v| !v.is_null());
        (
            part["node"].as_u64().expect("a node"),
            part["did"].as_str().expect("a word").to_owned(),
            what.cloned().unwrap_or_default(),
        )
    };
    standing.iter().map(part).collect()
}

#[test]
fn every_part_of_a_key_has_the_one_who_wrote_it() {
    let [a, b] = Node::pair();
    a.ctl_ok(&["add", "hits", "5"]);
    b.ctl_ok(&["add", "hits", "-2"]);
    a.ctl_ok(&["insert", "live", "x"]);
    b.ctl_ok(&["insert", "live", "y"]);
    a.ctl_ok(&["set", "motd", "hello"]);
    for key in ["hits", "live", "motd"] {
        let both = if key == "motd" { 1 } else { 2 };
        wait_until("both to hold both", || {
            [&a, &b].iter().all(|node| {
                let output = node.ctl(&["why", key, "--json"]);
                let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
                answer["kinds"][0]["standing"].as_array().is_some_and(|parts| parts.len() == both)
            })
        });
        assert_eq!(why(&a, &[key])["kinds"], why(&b, &[key])["kinds"], "{key}: both know the same of it");
    }
    let of = |node: u64, did: &str, what: Value| (node, did.to_owned(), what);
    assert_eq!(parts(&why(&b, &["hits"])), [of(1, "add", json!("5")), of(2, "add", json!("0"))]);
    assert_eq!(parts(&why(&a, &["live"])), [of(1, "insert", json!("x")), of(2, "insert", json!("y"))]);
    assert_eq!(parts(&why(&a, &["live", "--element", "y"])), [of(2, "insert", json!("y"))]);
    let motd = why(&b, &["motd"]);
    assert_eq!(parts(&motd), [of(1, "set", json!("hello"))]);
    let age_ns = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_nanos()
        .checked_sub(u128::from(motd["kinds"][0]["standing"][0]["unix_ns"].as_u64().expect("a time")));
    assert!(age_ns.is_some_and(|age_ns| age_ns < 600_000_000_000), "{motd}");

    // Who took away what another one had written is named, though nothing of its own stands.
    b.ctl_ok(&["remove", "live", "x"]);
    let shown = b.ctl_ok(&["why", "live"]);
    assert!(shown.starts_with("live (set, shard "), "{shown}");
    let gone: Vec<&str> = shown.lines().filter(|line| line.contains("nothing of it stands")).collect();
    assert!(gone.len() == 1 && gone[0].contains("node 1 "), "{shown}");
}

#[test]
fn a_key_that_is_not_there_has_no_account_and_bytes_need_not_be_text() {
    let dev = Dev::start();
    let output = dev.ctl(&["why", "nothing"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there is no key `nothing`"), "{}", text(&output.stderr));
    dev.ctl_ok(&["enable", "on"]);
    assert!(dev.ctl_ok(&["why", "on"]).contains(" enable"));
    dev.ctl_ok(&["disable", "on", "--wins", "enable"]);
    assert!(dev.ctl_ok(&["why", "on"]).contains("nothing of it stands"));
}
