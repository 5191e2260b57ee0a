//! `status`, `converged` and `snapshot`: what the daemon says of itself, on one screen, and what it is asked to write.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use lattice_members::swim::State;
use serde_json::json;

use super::Outcome;
use super::admin::Admin;
use super::discover::Place;
use super::error::CtlError;
use super::output::Output;
use crate::protocol::{Change, Convergence, ForgottenNode, Kept, Peer, Reloaded, Request, Snapshots, Status};

/// Pause between two questions while waiting for convergence: a fraction of a heartbeat.
const CONVERGED_POLL: Duration = Duration::from_millis(20);

/// `status`.
pub(super) fn status(place: &Place, output: &Output) -> Result<(), CtlError> {
    let status: Status = Admin::connect(place)?.ask(Request::Status)?;
    output.datum(|| json!(status), || screen(&status))
}

/// `peers`.
pub(super) fn peers(place: &Place, output: &Output) -> Result<(), CtlError> {
    let status: Status = Admin::connect(place)?.ask(Request::Status)?;
    let datum = || json!(status.peers);
    output.datum(datum, || {
        let mut text = String::new();
        members(&mut text, &status);
        text
    })
}

/// `forget`.
pub(super) fn forget(place: &Place, node: u16, output: &Output) -> Result<(), CtlError> {
    let done: ForgottenNode = Admin::connect(place)?.ask(Request::Forget { node })?;
    let text = || {
        format!(
            "node {} is forgotten here, and the other members are told; should it come back, it begins as a new member\n",
            done.node
        )
    };
    output.datum(|| json!(done), text)
}

/// `converged`: waits at most `timeout` for it.
pub(super) fn converged(place: &Place, timeout: Duration, output: &Output) -> Result<Outcome, CtlError> {
    let began = Instant::now();
    let mut admin = Admin::connect(place)?;
    let answer = loop {
        let answer: Convergence = admin.ask(Request::Converged)?;
        if answer.converged || began.elapsed() >= timeout {
            break answer;
        }
        std::thread::sleep(CONVERGED_POLL.min(timeout.saturating_sub(began.elapsed())));
    };
    output.datum(|| json!(answer), || verdict(&answer))?;
    Ok(if answer.converged { Outcome::Yes } else { Outcome::No })
}

/// `snapshot`: waits at most `timeout` until every shard's is durable.
pub(super) fn snapshot(place: &Place, timeout: Duration, output: &Output) -> Result<(), CtlError> {
    let began = Instant::now();
    let mut admin = Admin::connect(place)?;
    let failed = |status: &Status| kept_shards(status).map(|kept| kept.snapshots_failed).sum::<u64>();
    let failed_before = failed(&admin.ask(Request::Status)?);
    let Snapshots { shards } = admin.ask(Request::Snapshot)?;
    let status = loop {
        let status: Status = admin.ask(Request::Status)?;
        if failed(&status) > failed_before {
            return Err(CtlError::SnapshotFailed);
        }
        let durable = kept_shards(&status).filter(|kept| !kept.snapshot_pending).count();
        if durable == usize::from(shards) {
            break status;
        }
        if began.elapsed() >= timeout {
            return Err(CtlError::SnapshotTimeout { durable, shards, timeout });
        }
        std::thread::sleep(CONVERGED_POLL);
    };
    let bytes: u64 = kept_shards(&status).map(|kept| kept.snapshot_bytes).sum();
    let datum = || json!({ "shards": shards, "bytes": bytes });
    output.datum(datum, || format!("{shards} shards, {bytes} bytes\n"))
}

fn kept_shards(status: &Status) -> impl Iterator<Item = &Kept> {
    status.shards.iter().filter_map(|shard| shard.kept.as_ref())
}

/// `reload`.
pub(super) fn reload(place: &Place, output: &Output) -> Result<(), CtlError> {
    let reloaded: Reloaded = Admin::connect(place)?.ask(Request::Reload)?;
    output.datum(|| json!(reloaded), || changes(&reloaded))
}

fn changes(reloaded: &Reloaded) -> String {
    let mut text = String::new();
    let mut list = |what: &str, changes: &[Change]| {
        for Change { key, old, new } in changes {
            let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
            let _ = writeln!(text, "{what} {key}: {} -> {}", value(old), value(new));
        }
    };
    list("applied      ", &reloaded.applied);
    list("needs restart", &reloaded.needs_restart);
    if text.is_empty() {
        text = format!("{}: nothing has changed\n", reloaded.file.display());
    }
    text
}

fn verdict(answer: &Convergence) -> String {
    let mut text = String::from(if answer.converged { "converged\n" } else { "not converged\n" });
    for peer in answer.peers.iter().filter(|peer| !(peer.up && peer.converged)) {
        // Writing to a string does not fail, here and below.
        let _ = writeln!(text, "  peer {} ({}): {}", peer.node, peer.address, peer_state(peer));
    }
    text
}

fn peer_state(peer: &Peer) -> &'static str {
    match (peer.up, peer.converged) {
        (false, _) if peer.forgotten => "forgotten",
        (false, _) => "down",
        (true, false) => "up, differs or not compared yet",
        (true, true) => "up, equal",
    }
}

fn screen(status: &Status) -> String {
    let mut text = String::new();
    let health = if status.degraded.is_empty() { "healthy" } else { "DEGRADED" };
    let uptime = Duration::from_millis(status.uptime_ms).as_secs_f64();
    let _ = writeln!(
        text,
        "{} (node {}) of cluster {}: {health}, {}, port {}, up {uptime:.0} s, pid {}",
        status.name,
        status.node,
        status.cluster,
        if status.converged { "converged" } else { "not converged" },
        status.port,
        status.pid
    );
    for reason in &status.degraded {
        let _ = writeln!(text, "  ! {reason}");
    }
    for condition in status.ready.conditions.iter().filter(|condition| !condition.ok) {
        let _ = writeln!(text, "  ! not ready: {}: {}", condition.name, condition.reason);
    }
    let _ = writeln!(text, "actor   {}", status.actor);
    let _ = writeln!(text, "segment {}", status.segment.display());
    let _ = writeln!(text, "frames  {}", status.seal);
    let _ = writeln!(text, "rights  {}", status.rights);
    for (worker, describe) in status.port_describe.iter().enumerate() {
        let _ = writeln!(text, "worker {worker}: {describe}");
    }
    lanes(&mut text, status);
    let _ =
        writeln!(text, "shard  worker  keys      last seq    unpublished  state digest      vector digest");
    for shard in &status.shards {
        let _ = writeln!(
            text,
            "{:<6} {:<7} {:<9} {:<11} {:<12} {}  {}",
            shard.shard,
            shard.worker,
            shard.keys,
            shard.last_seq,
            shard.unpublished,
            shard.state_digest,
            shard.vector_digest
        );
    }
    for shard in &status.shards {
        let live = shard.actors.saturating_sub(shard.epochs_dead);
        let _ = writeln!(
            text,
            "epochs  shard {}: {live} live, {} over, {} folded",
            shard.shard, shard.epochs_dead, shard.epochs_folded
        );
    }
    kept(&mut text, status);
    syncs(&mut text, status);
    namespaces(&mut text, status);
    let _ = writeln!(text, "clients {}", status.clients.len());
    for client in &status.clients {
        let pid = client.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
        let _ = writeln!(text, "  {} pid {pid} uid {} gid {}", client.client, client.uid, client.gid);
    }
    for (name, value) in status.counters.iter().filter(|(_, value)| **value != 0) {
        let _ = writeln!(text, "{name:<40} {value}");
    }
    text
}

fn namespaces(text: &mut String, status: &Status) {
    if status.refuses_undeclared {
        let _ = writeln!(text, "keys    of no declared namespace are refused");
    }
    for namespace in &status.namespaces {
        let bound = namespace.max_keys.map_or_else(String::new, |max_keys| format!(" of {max_keys}"));
        let _ = writeln!(
            text,
            "keys    {}/: {}{bound} keys, {}, written by {}",
            namespace.name,
            namespace.keys,
            namespace.kind.as_deref().unwrap_or("any kind"),
            namespace.write.as_deref().unwrap_or("whoever can connect"),
        );
    }
}

fn syncs(text: &mut String, status: &Status) {
    for sync in &status.syncs {
        let _ = writeln!(
            text,
            "sync    shard {} {} node {}: {} of {} keys, {} bytes, {:.1} s{}",
            sync.shard,
            if sync.incoming { "from" } else { "to" },
            sync.node,
            sync.keys,
            sync.keys_of,
            sync.bytes,
            Duration::from_millis(sync.age_ms).as_secs_f64(),
            if sync.waits { ", waiting for it to be heard again" } else { "" }
        );
    }
    for forgotten in &status.forgotten {
        let _ = writeln!(text, "forgotten node {} (generation {})", forgotten.node, forgotten.generation);
    }
    if status.missing_of_forgotten > 0 {
        let _ = writeln!(
            text,
            "forgotten {} operations are missing, and given up when all members have answered",
            status.missing_of_forgotten
        );
    }
}

fn kept(text: &mut String, status: &Status) {
    let Some(storage) = &status.storage else {
        let _ = writeln!(text, "storage none: what the daemon has ends with it");
        return;
    };
    let _ = writeln!(text, "storage {}, synced {}", storage.directory.display(), storage.sync);
    for finding in &storage.findings {
        let _ = writeln!(text, "  found {finding}");
    }
    let _ = writeln!(text, "shard  epoch      not durable  log used              snapshot  age        bytes");
    for (shard, kept) in status.shards.iter().filter_map(|shard| Some((shard, shard.kept.as_ref()?))) {
        let age = kept.snapshot_age_ms.map_or_else(|| "-".to_owned(), |ms| format!("{} s", ms / 1000));
        let _ = writeln!(
            text,
            "{:<6} {:<10} {:<12} {:<21} {:<9} {age:<10} {}",
            shard.shard,
            if kept.epoch_continued { "continued" } else { "new" },
            kept.durable_lag_seqs,
            format!("{} of {}", kept.log_used_bytes, kept.log_bytes),
            kept.snapshot_generation,
            kept.snapshot_bytes,
        );
    }
}

/// What membership says of the peers, beside what the workers say of their lanes.
fn members(text: &mut String, status: &Status) {
    if status.peers.is_empty() {
        let _ = writeln!(text, "no peers: a cluster of one");
        return;
    }
    let _ = writeln!(
        text,
        "peer   name                 address          state    for        session    rtt µs    seal, age of keys out/in   frames"
    );
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    for peer in &status.peers {
        let member = peer.member.as_ref();
        let state = member.map_or("listed", |member| match member.state {
            State::Alive => "alive",
            State::Suspect => "suspect",
            State::Dead => "dead",
        });
        let since = |ms| now_ms.saturating_sub(Duration::from_millis(ms)).as_secs();
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let session = member.map_or("none", |member| if member.connected { "yes" } else { "none" });
        let _ = writeln!(
            text,
            "{:<6} {:<20} {:<16} {:<8} {:<10} {:<10} {:<9} {:<26} {}",
            peer.node,
            member.map_or("-", |member| member.name.as_str()),
            peer.address,
            state,
            format!("{} s", number(member.map(|member| since(member.since_ms)))),
            session,
            number(member.and_then(|member| member.rtt_us)),
            seal(peer),
            peer_state(peer)
        );
    }
}

/// How a peer's frames are sealed.
fn seal(peer: &Peer) -> String {
    let age = |age_s: Option<u64>| age_s.map_or_else(|| "none".to_owned(), |age_s| format!("{age_s} s"));
    match peer.member.as_ref().map(|member| member.seal).filter(|seal| seal.sealed) {
        Some(seal) => format!("yes, {} / {}", age(seal.sends_key_age_s), age(seal.receives_key_age_s)),
        None => "no".to_owned(),
    }
}

fn lanes(text: &mut String, status: &Status) {
    if status.peers.is_empty() {
        let _ = writeln!(text, "no peers: a cluster of one");
        return;
    }
    let _ = writeln!(
        text,
        "peer   address          state                            lag seqs    rtt µs    next hop"
    );
    for peer in &status.peers {
        let _ = writeln!(
            text,
            "{:<6} {:<16} {:<32} {:<11} {:<9} {}",
            peer.node,
            peer.address,
            peer_state(peer),
            peer.acked_lag_seqs,
            peer.rtt_us,
            peer.next_hop.as_deref().unwrap_or("by the kernel")
        );
    }
}
