//! What the daemon says of itself: the workers' accounts, put together.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use lattice_engine::SyncDirection;
use lattice_members::pki;
use lattice_worker::{ShardStatus, WorkerStatus};

use super::roster::Entry;
use super::storage::About;
use super::{Daemon, namespaces, observe, seals};
use crate::config::SyncChoice;
use crate::protocol::{Convergence, ForgottenNode, Kept, Peer, Shard, Status, Storage, Sync};

/// Time that workers have to answer. A worker answers within one turn of its loop; one that does not is reported.
pub(super) const WORKER_TIMEOUT: Duration = Duration::from_secs(1);

/// Days before its end from which a certificate is to be renewed.
const FEW_DAYS: i64 = 14;

/// Everything about the node.
pub async fn status(daemon: &Daemon) -> Status {
    let workers = daemon.workers.statuses(WORKER_TIMEOUT).await;
    let mut peers = peers(daemon, &workers);
    daemon.observer.add_lags(&mut peers);
    let shards = shards(daemon, &workers);
    Status {
        node: daemon.config.node.id,
        name: daemon.config.node.name.clone(),
        cluster: daemon.config.cluster.name.clone(),
        actor: shards.first().map_or_else(String::new, |shard| shard.actor.clone()),
        pid: std::process::id(),
        uptime_ms: u64::try_from(daemon.began.elapsed().as_millis()).unwrap_or(u64::MAX),
        port: daemon.port_mode.to_string(),
        seal: seals::describe(&daemon.config).to_owned(),
        port_describe: workers.iter().map(|worker| worker.port_describe.clone()).collect(),
        segment: daemon.config.paths.segment(),
        workers: daemon.workers.count(),
        shards,
        storage: daemon.storage.as_ref().map(|about| storage(daemon, about)),
        converged: all_converged(daemon, &workers, &peers),
        degraded: degraded(daemon, &workers, &peers),
        peers,
        ready: observe::facts(daemon).ready(),
        metrics: daemon.metrics,
        syncs: syncs(&workers),
        forgotten: forgotten(daemon),
        missing_of_forgotten: of_shards(&workers).map(|shard| shard.missing_of_forgotten).sum(),
        rights: daemon.rights.clone(),
        config_file: daemon.live.file().map(Path::to_owned),
        refuses_undeclared: daemon.namespaces.get().refuses_undeclared(),
        namespaces: namespaces::status(&daemon.live.config(), &daemon.namespaces.get()),
        clients: daemon.clients.list(),
        counters: counters(daemon),
    }
}

/// Whether this node and its peers hold the same.
pub async fn convergence(daemon: &Daemon) -> Convergence {
    let workers = daemon.workers.statuses(WORKER_TIMEOUT).await;
    let peers = peers(daemon, &workers);
    Convergence { converged: all_converged(daemon, &workers, &peers), peers }
}

/// Only what every worker has said counts: a shard that is not heard of may differ.
fn all_converged(daemon: &Daemon, workers: &[WorkerStatus], peers: &[Peer]) -> bool {
    workers.len() == usize::from(daemon.workers.count())
        && peers.iter().all(|peer| peer.up && peer.converged || peer.forgotten)
        && !is_joining(daemon, peers)
}

/// Whether this node knows nobody yet, though it was told where to ask.
fn is_joining(daemon: &Daemon, peers: &[Peer]) -> bool {
    let Some(members) = &daemon.members else { return false };
    peers.is_empty() && daemon.config.cluster.seeds.iter().any(|seed| *seed != members.control())
}

pub(super) fn shards(daemon: &Daemon, workers: &[WorkerStatus]) -> Vec<Shard> {
    let mut shards: Vec<_> = workers
        .iter()
        .flat_map(|worker| worker.shards.iter().map(move |shard| (worker.worker, shard)))
        .map(|(worker, shard)| Shard {
            shard: shard.shard,
            worker,
            actor: format!("{:016x}", shard.actor.as_u64()),
            last_seq: shard.last_seq,
            kept: kept(daemon, shard),
            keys: shard.keys,
            state_digest: format!("{:016x}", shard.state_digest),
            vector_digest: format!("{:016x}", shard.vector_digest),
            unpublished: shard.unpublished,
            actors: shard.actors,
            epochs_dead: shard.stats.epochs_dead,
            epochs_folded: shard.stats.epochs_folded,
        })
        .collect();
    shards.sort_by_key(|shard| shard.shard);
    shards
}

fn of_shards(workers: &[WorkerStatus]) -> impl Iterator<Item = &ShardStatus> {
    workers.iter().flat_map(|worker| &worker.shards)
}

fn forgotten(daemon: &Daemon) -> Vec<ForgottenNode> {
    let nodes = daemon.forgotten.others().into_iter();
    nodes.map(|(node, generation)| ForgottenNode { node, generation }).collect()
}

/// State syncs that are under way.
fn syncs(workers: &[WorkerStatus]) -> Vec<Sync> {
    let all = of_shards(workers).flat_map(|shard| shard.syncs.iter().map(move |sync| (shard.shard, sync)));
    all.map(|(shard, sync)| Sync {
        shard,
        node: sync.node,
        incoming: sync.direction == SyncDirection::Incoming,
        keys: sync.keys,
        keys_of: sync.keys_of,
        bytes: sync.bytes,
        age_ms: sync.age_ns / 1_000_000,
        waits: sync.waits,
    })
    .collect()
}

/// How storage stands.
fn storage(daemon: &Daemon, about: &About) -> Storage {
    let storage = &daemon.config.storage;
    let sync = match storage.sync {
        SyncChoice::Interval => format!("every {} ms", storage.sync_interval_ms),
        SyncChoice::Always => "always".to_owned(),
        SyncChoice::Never => "never".to_owned(),
    };
    let findings = about.findings.iter().map(ToString::to_string).collect();
    Storage { directory: storage.directory.clone(), sync, findings }
}

fn kept(daemon: &Daemon, shard: &ShardStatus) -> Option<Kept> {
    let (continued, generation) = *daemon.storage.as_ref()?.began.get(usize::from(shard.shard))?;
    let storage = shard.storage?;
    Some(Kept {
        epoch_continued: continued == Some(shard.actor),
        durable_lag_seqs: shard.last_seq.saturating_sub(storage.durable_seq),
        log_used_bytes: storage.uncovered_bytes,
        log_bytes: storage.log_bytes,
        snapshot_generation: storage.snapshot_generation.max(generation),
        snapshot_bytes: storage.snapshot_bytes,
        snapshot_age_ms: storage.snapshot_age_ns.map(|age_ns| age_ns / 1_000_000),
        snapshot_pending: storage.snapshot_pending,
        snapshots_failed: storage.snapshots_failed,
    })
}

pub(super) fn peers(daemon: &Daemon, workers: &[WorkerStatus]) -> Vec<Peer> {
    let members = daemon.members.as_ref().map(|members| members.view().members).unwrap_or_default();
    let of = |node| members.iter().find(|member| member.node == node).cloned();
    (0..)
        .zip(daemon.roster.entries())
        .map(|(slot, peer)| {
            let member = of(peer.node);
            let leaving =
                member.as_ref().is_some_and(|member| daemon.drain.is_leaving(member.node, &member.run));
            Peer { member, leaving, ..join_peer(daemon, slot, peer, workers) }
        })
        .collect()
}

/// One peer over all shards: up and converged where it is so in all of them.
fn join_peer(daemon: &Daemon, slot: u16, peer: Entry, workers: &[WorkerStatus]) -> Peer {
    let mut lanes = workers
        .iter()
        .flat_map(|worker| &worker.shards)
        .filter_map(|shard| shard.peers.get(usize::from(slot)))
        .peekable();
    let mut joined = Peer {
        node: peer.node,
        address: peer.address,
        up: lanes.peek().is_some(),
        acked_lag_seqs: 0,
        acked_lag_ms: 0,
        durable_lag_seqs: 0,
        leaving: false,
        converged: lanes.peek().is_some(),
        rtt_us: 0,
        forgotten: lanes.peek().is_some(),
        silent_ms: None,
        holds_back_keys: 0,
        holds_back_folding: false,
        next_hop: daemon.routes.text(slot),
        member: None,
    };
    for lane in lanes {
        joined.up &= lane.up;
        joined.converged &= lane.converged;
        joined.acked_lag_seqs = joined.acked_lag_seqs.saturating_add(lane.unacknowledged_seqs);
        joined.durable_lag_seqs = joined.durable_lag_seqs.saturating_add(lane.undurable_seqs);
        joined.forgotten &= lane.forgotten;
        joined.holds_back_folding |= lane.holds_folding;
        joined.holds_back_keys = joined.holds_back_keys.saturating_add(lane.holds_back);
        joined.silent_ms = joined.silent_ms.max(lane.silent_ns.map(|ns| ns / 1_000_000));
        joined.rtt_us = joined.rtt_us.max(lane.smoothed_rtt_ns / 1000);
    }
    joined
}

/// The workers' counters, summed, from the segment: reading them disturbs nobody. The XDP program's beside them.
fn counters(daemon: &Daemon) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (_, name, value) in daemon.reader.counters() {
        let sum: &mut u64 = sums.entry(name).or_default();
        *sum = sum.saturating_add(value);
    }
    for (reason, count) in daemon.xdp_drops() {
        sums.insert(format!("xdp_drop_{reason}"), count);
    }
    sums.insert("admin_bad_lines".to_owned(), daemon.bad_lines());
    sums
}

/// What membership has to complain of.
fn membership(daemon: &Daemon, peers: &[Peer]) -> Vec<String> {
    let Some(members) = &daemon.members else { return Vec::new() };
    let view = members.view();
    let mut reasons: Vec<_> =
        view.complaints.iter().map(|complaint| format!("membership: {complaint}")).collect();
    if is_joining(daemon, peers) {
        reasons.push(format!(
            "no seed has answered yet: check that one of cluster.seeds runs and that UDP port {} passes",
            members.control().port()
        ));
    }
    let days_left = pki::days_left(view.certificate_not_after_s);
    if days_left < FEW_DAYS {
        reasons.push(format!(
            "this node's certificate holds for {days_left} more days: `latticectl cluster renew` it and copy node.pem here"
        ));
    }
    reasons
}

/// What is wrong with this node's epochs, how many there are, and what stays because a peer is away.
fn epochs(daemon: &Daemon, workers: &[WorkerStatus], peers: &[Peer]) -> Vec<String> {
    let mut reasons = Vec::new();
    for shard in of_shards(workers) {
        if shard.is_forgotten {
            let remedy = match daemon.forgotten.begins_anew() {
                true => "restart latticed; it puts its state aside and begins as a new member",
                false => "wait until that is kept; if it stays so, the log of latticed says why",
            };
            reasons.push(format!(
                "shard {}: this node was forgotten by the cluster and takes no writes: {remedy}",
                shard.shard
            ));
        }
        if shard.actors * 5 >= shard.max_actors * 4 {
            reasons.push(format!(
                "shard {}: {} of {} actors are used up, {} of them epochs that are over: they are folded when all members are up \
                 and agree, and until then each start in another boot takes one more; what new epochs write beyond them stays \
                 on its host: bring members back that are away, or `latticectl forget` them, or raise limits.max_actors (256 at \
                 most)",
                shard.shard, shard.actors, shard.max_actors, shard.stats.epochs_dead
            ));
        }
    }
    for peer in peers.iter().filter(|peer| !peer.up && peer.holds_back_folding) {
        reasons.push(format!(
            "peer {} is away and holds back the folding of epochs that are over: bring it back, or `latticectl forget {}`",
            peer.node, peer.node
        ));
    }
    for peer in peers.iter().filter(|peer| !peer.up && peer.holds_back_keys > 0) {
        let since_start = || "since the start".to_owned();
        reasons.push(format!(
            "peer {} has been away {} and holds back the dropping of about {} empty keys: bring it back, or `latticectl forget {}`",
            peer.node,
            peer.silent_ms.map_or_else(since_start, |ms| format!("for {} s", ms / 1000)),
            peer.holds_back_keys,
            peer.node
        ));
    }
    reasons
}

/// What is wrong, and what to do about it.
fn degraded(daemon: &Daemon, workers: &[WorkerStatus], peers: &[Peer]) -> Vec<String> {
    let mut reasons = Vec::new();
    for worker in 0..daemon.workers.count() {
        match workers.iter().find(|status| status.worker == worker) {
            None => reasons.push(format!(
                "worker {worker} did not answer within {WORKER_TIMEOUT:?}: its core may be taken by others"
            )),
            Some(status) => reasons.extend(
                status
                    .degraded
                    .iter()
                    .map(|what| format!("worker {worker}: {what}: {}", super::remedy(*what))),
            ),
        }
    }
    let findings = daemon.storage.iter().flat_map(|about| &about.findings);
    for finding in findings.filter(|finding| finding.is_loss()) {
        reasons.push(format!(
            "storage, at the start: {finding}; peers bring what they have; restart once that is so to clear this"
        ));
    }
    reasons.extend(epochs(daemon, workers, peers));
    // Who said that it is about to be stopped is missed by nobody.
    for peer in peers.iter().filter(|peer| !peer.up && !peer.forgotten && !peer.leaving) {
        reasons.push(format!(
            "peer {} ({}) is down or unreachable: check that its latticed runs and that UDP ports {} to {} pass",
            peer.node,
            peer.address,
            daemon.config.udp_port(0),
            daemon.config.udp_port(daemon.config.cluster.shards - 1),
        ));
    }
    reasons.extend(membership(daemon, peers));
    reasons.extend(seals::complaints(daemon, workers));
    let lost = daemon.unserved();
    if lost > 0 {
        reasons.push(format!(
            "{lost} frames came on receive queues that no worker serves: give the interface as many queues as there are workers \
             (ethtool -L INTERFACE combined {})",
            daemon.workers.count()
        ));
    }
    let skew_ns = daemon.config.timers.max_clock_skew_ms.saturating_mul(1_000_000);
    let ahead_ns =
        workers.iter().flat_map(|worker| &worker.shards).map(|shard| shard.clock_ahead_ns).max().unwrap_or(0);
    if ahead_ns > skew_ns {
        reasons.push(format!(
            "this host's clock is {} ms ahead of its peers', so register writes are refused: correct it (NTP)",
            ahead_ns / 1_000_000
        ));
    }
    reasons
}
