//! `diff` and `converged --all`: what other hosts hold.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Outcome;
use super::admin::Admin;
use super::discover::Place;
use super::error::CtlError;
use super::output::{Output, text};
use crate::protocol::{AllConverged, Bytes, Diff, HostAccount, Request};

/// Time for an answer that other hosts have to be asked for, and walks to be made.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(180);
/// Pause between two questions whether all are converged: every host is asked each time.
const POLL: Duration = Duration::from_millis(100);

/// `diff`.
pub(super) fn diff(
    place: &Place,
    node: u16,
    prefix: &OsStr,
    most: usize,
    output: &Output,
) -> Result<Outcome, CtlError> {
    let request = Request::Diff { node, prefix: Bytes(prefix.as_bytes().to_vec()), most };
    let answer: Diff = Admin::connect(place)?.ask_with(request, ANSWER_TIMEOUT, read)?;
    output.datum(|| json!(answer), || differences(&answer))?;
    Ok(if answer.keys.is_empty() { Outcome::Yes } else { Outcome::No })
}

fn read(mut stream: &UnixStream, bytes: &mut [u8]) -> std::io::Result<usize> {
    stream.read(bytes)
}

fn differences(diff: &Diff) -> String {
    let mut shown = String::new();
    for key in &diff.keys {
        let difference = match (&key.here, &key.there) {
            (Some(_), None) => "only here".to_owned(),
            (None, Some(_)) => format!("only on node {}", diff.node),
            _ => "differs".to_owned(),
        };
        let moving = if key.moving { ", and changes at present" } else { "" };
        // Writing to a string does not fail, here and below.
        let _ = writeln!(shown, "{:<17} {} ({difference}{moving})", key.kind, text(&key.key.0));
    }
    if !diff.whole {
        let _ = writeln!(shown, "... and more: --most shows more of them, --prefix some");
    }
    let lacks = [("this host", diff.lacks_here), ("the other host", diff.lacks_there)];
    for (who, number) in lacks.into_iter().filter(|(_, number)| *number > 0) {
        let _ = writeln!(shown, "{who} lacked {number} operations of the other one when this began");
    }
    if diff.keys.is_empty() {
        let _ = writeln!(shown, "no key differs from node {}", diff.node);
    }
    shown
}

/// `converged --all`: waits at most `timeout` for it.
pub(super) fn all_converged(place: &Place, timeout: Duration, output: &Output) -> Result<Outcome, CtlError> {
    let began = Instant::now();
    let mut admin = Admin::connect(place)?;
    let answer = loop {
        let answer: AllConverged = admin.ask_with(Request::ConvergedAll, ANSWER_TIMEOUT, read)?;
        if answer.converged || began.elapsed() >= timeout {
            break answer;
        }
        std::thread::sleep(POLL.min(timeout.saturating_sub(began.elapsed())));
    };
    output.datum(|| json!(answer), || hosts(&answer))?;
    Ok(if answer.converged { Outcome::Yes } else { Outcome::No })
}

fn hosts(all: &AllConverged) -> String {
    let mut shown = String::from(if all.converged { "converged" } else { "not converged" });
    if !all.asked {
        shown.push_str(" (by heartbeats: without certificates, hosts can't be asked)");
    }
    shown.push('\n');
    for host in &all.hosts {
        let name = host.name.as_deref().unwrap_or("-");
        let _ = writeln!(shown, "  node {:<5} {name:<20} {}", host.node, standing(host));
    }
    shown
}

fn standing(host: &HostAccount) -> String {
    let mut parts: Vec<String> = host.silent.iter().cloned().collect();
    parts.extend(host.lacks.iter().map(|lack| {
        let epoch = if lack.epoch.is_empty() { String::new() } else { format!(" (epoch {})", lack.epoch) };
        format!("lacks {} operations of node {}{epoch}", lack.operations, lack.node)
    }));
    if parts.is_empty() && !host.differs_in.is_empty() {
        let shards: Vec<String> = host.differs_in.iter().map(u16::to_string).collect();
        parts.push(format!("holds another state, of the same operations, in shards {}", shards.join(", ")));
    }
    if parts.is_empty() { "equal".to_owned() } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{DifferentKey, Lack};

    #[test]
    fn what_a_host_lacks_is_said() {
        let host = HostAccount { node: 2, name: None, silent: None, lacks: vec![], differs_in: vec![3] };
        assert!(standing(&host).contains("in shards 3"));
        let lacks = vec![Lack { node: 1, epoch: "ab".to_owned(), operations: 7 }];
        assert_eq!(
            standing(&HostAccount { lacks, ..host.clone() }),
            "lacks 7 operations of node 1 (epoch ab)"
        );
        assert_eq!(standing(&HostAccount { differs_in: vec![], ..host }), "equal");
    }

    #[test]
    fn where_a_key_is_is_said() {
        let key = DifferentKey {
            key: b"k"[..].into(),
            kind: "set".to_owned(),
            shard: 1,
            here: Some("01".to_owned()),
            there: None,
            moving: true,
        };
        let diff =
            Diff { node: 2, shards: vec![1], keys: vec![key], whole: false, lacks_here: 0, lacks_there: 4 };
        let shown = differences(&diff);
        assert!(shown.contains("k (only here, and changes at present)"), "{shown}");
        assert!(shown.contains("--most") && shown.contains("the other host lacked 4 operations"), "{shown}");
    }
}
