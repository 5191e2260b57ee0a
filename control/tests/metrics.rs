//! Metrics and health over HTTP, as Prometheus and an orchestrator see them: real daemons, real sockets.

#[path = "support/exposition.rs"]
mod exposition;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::node::Node;

/// Status and body of an answer.
fn get(node: &Node, path: &str, header: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(node.metrics()).expect("it listens");
    stream.set_read_timeout(Some(support::PATIENCE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n").expect("sent");
    read_answer(&mut stream)
}

/// The rest of an answer.
fn read_answer(stream: &mut TcpStream) -> (u16, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, body.to_owned())
}

fn scrape(node: &Node) -> exposition::Page {
    let (status, body) = get(node, "/metrics", "");
    assert_eq!(status, 200);
    exposition::parse(&body).expect("Prometheus's format")
}

/// Looks again and again, as long as a test waits for anything.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = std::time::Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < support::PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_scrape_is_prometheus_format_and_counts_what_happens() {
    let [a, b] = Node::pair();
    for _ in 0..3 {
        a.ctl_ok(&["add", "hits", "1"]);
    }
    let page = until("b has it, and has said so", || {
        let page = scrape(&a);
        let acknowledged = page.sum("latticed_acknowledgement_seconds_count") > 0.0;
        let equal = page.value("latticed_peer_converged", &[("peer", "2")]) == 1.0;
        (acknowledged && equal && page.sum("latticed_shard_keys") == 1.0).then_some(page)
    });
    assert_eq!(page.value("latticed_operations_applied_total", &[]), 3.0);
    assert_eq!(page.sum("latticed_shard_last_seq"), 3.0);
    assert_eq!(page.value("latticed_peer_up", &[("peer", "2"), ("address", "127.0.0.2")]), 1.0);
    assert_eq!(page.value("latticed_peer_lag_operations", &[("peer", "2")]), 0.0);
    assert_eq!(page.value("latticed_node_info", &[("name", "host-1"), ("port", "udp")]), 1.0);
    assert!(page.sum("latticed_acknowledgement_seconds_sum") > 0.0);
    assert!(page.value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(
        !page.families.contains_key("latticed_other_counter"),
        "counters without a metric: add them to the table"
    );
    let merged = until("b counts what it merged", || {
        let merged = scrape(&b).value("latticed_deltas_merged_total", &[]);
        (merged > 0.0).then_some(merged)
    });
    assert!((1.0..=3.0).contains(&merged), "one burst or three: {merged}");
}

#[test]
fn every_counter_of_the_segment_has_a_metric() {
    let node = Node::start();
    let page = scrape(&node);
    let others: Vec<_> = page.samples.iter().filter(|(name, _, _)| name == "latticed_other").collect();
    assert!(
        others.is_empty(),
        "give them a place in the table of control/src/metrics/counters.rs: {others:?}"
    );
}

#[test]
fn a_peer_that_is_gone_lags_by_operations_and_by_seconds() {
    let [a, b] = Node::pair();
    until("they are connected", || (scrape(&a).value("latticed_peer_up", &[]) == 1.0).then_some(()));
    drop(b);
    until("it is down", || (scrape(&a).value("latticed_peer_up", &[]) == 0.0).then_some(()));
    a.ctl_ok(&["add", "hits", "1"]);
    until("it lags", || {
        let page = scrape(&a);
        let operations = page.value("latticed_peer_lag_operations", &[]);
        let seconds = page.value("latticed_peer_lag_seconds", &[]);
        (operations == 1.0 && seconds > 0.5).then_some(())
    });
    // A host that is cut off serves on.
    assert_eq!(get(&a, "/readyz", "").0, 200);
}

#[test]
fn health_is_told_as_text_and_as_json() {
    let node = Node::start();
    let (status, text) = get(&node, "/healthz", "");
    assert_eq!((status, text.as_str()), (200, "ok\n+ polling\n"));
    let ready = until("a cluster of one is ready", || {
        let (status, json) = get(&node, "/readyz", "Accept: application/json\r\n");
        (status == 200).then_some(json)
    });
    let ready: Value = serde_json::from_str(&ready).expect("JSON");
    assert_eq!((&ready["ok"], ready["conditions"].as_array().map(Vec::len)), (&Value::Bool(true), Some(6)));
    let status: Value = serde_json::from_str(&node.ctl_ok(&["status", "--json"])).expect("JSON");
    assert_eq!(status["ready"], ready);
}

#[test]
fn a_host_that_has_not_met_its_peers_is_not_ready_and_says_why() {
    let node = Node::start_waiting_for_a_peer();
    let (status, text) = get(&node, "/readyz", "");
    assert_eq!(status, 503);
    assert!(text.starts_with("not ready\n+ polling\n"), "{text}");
    assert!(text.contains("- synced: shards 0, 1, 2, 3 not caught up with any peer"), "{text}");
    assert_eq!(get(&node, "/healthz", "").0, 200);
    assert_eq!(scrape(&node).value("latticed_ready_condition", &[("condition", "synced")]), 0.0);
}

#[test]
fn what_is_no_question_is_refused_and_harms_nobody() {
    let node = Node::start();
    assert_eq!(get(&node, "/", "").0, 404);
    let ask = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(node.metrics()).expect("it listens");
        stream.set_read_timeout(Some(support::PATIENCE)).expect("a timeout");
        stream.write_all(bytes).expect("sent");
        let mut answer = Vec::new();
        // Reset because of what was not read: an answer too.
        let _ = stream.read_to_end(&mut answer);
        support::text(&answer)
    };
    assert!(
        ask(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").starts_with("HTTP/1.1 405")
    );
    assert!(ask(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ends_with("\r\n\r\n"));
    assert!(ask(b"\x16\x03\x01\x02\x00garbage\r\n\r\n").starts_with("HTTP/1.1 400"));
    let long = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    assert!(["HTTP/1.1 431", ""].iter().any(|start| ask(long.as_bytes()).starts_with(start)));
    // Connections that say nothing hold places, and only some; they are closed after a while, and others get theirs.
    let silent: Vec<TcpStream> =
        (0..12).map(|_| TcpStream::connect(node.metrics()).expect("the kernel accepts")).collect();
    assert_eq!(get(&node, "/healthz", "").0, 200);
    drop(silent);
}

#[test]
fn promtool_finds_nothing_wrong() {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "no promtool: {error}; `make test-deps` brings one");
            eprintln!("skipped: no promtool ({error}); `make test-deps` brings one");
            return;
        }
    };
    let [a, _b] = Node::pair();
    a.ctl_ok(&["add", "hits", "1"]);
    let (_, page) = get(&a, "/metrics", "");
    child.stdin.take().expect("piped").write_all(page.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let told = support::text(&output.stdout) + &support::text(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "{told}");
}

/// The words of a query that name metrics, and those that name labels: in braces, and after `by`.
fn words_of(query: &str) -> (Vec<String>, Vec<String>) {
    let (mut metrics, mut labels) = (Vec::new(), Vec::new());
    let (mut in_braces, mut after_by, mut in_quotes) = (false, false, false);
    let (mut rest, is_word) = (query, |c: char| c.is_ascii_alphanumeric() || c == '_');
    while let Some(c) = rest.chars().next() {
        let end = if is_word(c) { rest.find(|c| !is_word(c)).unwrap_or(rest.len()) } else { c.len_utf8() };
        let (word, after) = rest.split_at(end);
        rest = after;
        match word {
            "\"" => in_quotes = !in_quotes,
            _ if in_quotes => {}
            "{" => in_braces = true,
            "}" => in_braces = false,
            "by" => after_by = true,
            ")" => after_by = false,
            word if in_braces || after_by => {
                labels.extend(word.starts_with(|c: char| c.is_ascii_lowercase()).then(|| word.to_owned()));
            }
            word if word.contains('_') && word.starts_with(['l', 'p']) => metrics.push(word.to_owned()),
            _ => {}
        }
    }
    (metrics, labels)
}

#[test]
fn words_of_a_query_are_told_apart() {
    let query = "sum by (worker, le) (rate(latticed_x_total{stage=\"a b{\", reason!~\"y\"}[$__rate_interval])) / process_y";
    let (metrics, labels) = words_of(query);
    assert_eq!(metrics, ["latticed_x_total", "process_y"]);
    assert_eq!(labels, ["worker", "le", "stage", "reason"]);
}

#[test]
fn every_name_in_the_dashboard_is_in_a_scrape() {
    /// What Prometheus adds to each sample.
    const FROM_PROMETHEUS: [&str; 2] = ["instance", "job"];
    let dashboard: Value =
        serde_json::from_str(include_str!("../../config/grafana/latticed.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let [a, _b] = Node::pair();
    a.ctl_ok(&["add", "hits", "1"]);
    // What there is only once a shard has a snapshot.
    let page = until("a snapshot", || {
        let page = scrape(&a);
        page.families.contains_key("latticed_shard_snapshot_age_seconds").then_some(page)
    });
    let known = page.labels();
    let mut queries = 0;
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().expect("a title");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        for target in panel["targets"].as_array().expect("queries") {
            let query = target["expr"].as_str().expect("a query");
            let (metrics, mut labels) = words_of(query);
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            labels.extend(
                legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap_or("").to_owned()),
            );
            assert!(!metrics.is_empty(), "{title}: {query}");
            let mut labels_there = std::collections::BTreeSet::from(FROM_PROMETHEUS);
            for metric in &metrics {
                let labels =
                    known.get(metric.as_str()).unwrap_or_else(|| panic!("{title}: there is no {metric}"));
                labels_there.extend(labels);
            }
            for label in labels {
                assert!(
                    labels_there.contains(label.as_str()),
                    "{title}: nothing has the label {label}: {query}"
                );
            }
            queries += 1;
        }
    }
    assert!(queries >= 20, "{queries}");
}
