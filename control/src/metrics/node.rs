//! The page: every family, in a fixed order.

use std::time::Duration;

use lattice_worker::{Degradation, ShardStatus, WorkerStatus};

use super::counters::{ACK_BUCKET_PREFIX, ACK_SUM, CounterFamily, FAMILIES, NOT_SHOWN, OTHER};
use super::exposition::{Exposition, Family, Kind};
use super::process::Process;
use super::sample::Sample;
use crate::health::Verdict;
use crate::protocol::{Kept, Peer};

const NS_PER_SECOND: f64 = 1e9;

/// Who this daemon is.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Node id.
    pub node: u16,
    /// Node name.
    pub name: String,
    /// Cluster name.
    pub cluster: String,
    /// This epoch's actor, hexadecimal.
    pub actor: String,
    /// How frames move.
    pub port: String,
}

/// What a page is made from.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Who.
    pub identity: Identity,
    /// Time since it was ready.
    pub uptime: Duration,
    /// Unix time at which that was, seconds.
    pub started_at_s: f64,
    /// Every worker's counters: worker, name, value.
    pub counters: Vec<(u16, String, u64)>,
    /// Age of each worker's last sign of life; `u64::MAX`: none yet.
    pub heartbeat_ages_ns: Vec<u64>,
    /// What the XDP program dropped, by reason.
    pub xdp_drops: Vec<(&'static str, u64)>,
    /// The last look at the workers, and its age.
    pub sample: Option<(&'a Sample, Duration)>,
    /// Keys that local writes may create in a shard.
    pub max_keys: u64,
    /// Namespaces that are declared: name, keys, bound.
    pub namespaces: Vec<(String, u64, Option<u64>)>,
    /// Attached clients.
    pub clients: usize,
    /// Connections to the admin socket.
    pub connections: usize,
    /// Lines there that were no requests.
    pub bad_lines: u64,
    /// Whether it is live.
    pub live: &'a Verdict,
    /// Whether it is ready.
    pub ready: &'a Verdict,
    /// The process.
    pub process: Option<Process>,
}

/// Makes the page.
#[must_use]
pub fn render(facts: &Facts<'_>) -> String {
    let mut page = Exposition::default();
    identity(&mut page, facts);
    health(&mut page, facts);
    FAMILIES.iter().for_each(|table| counters(&mut page, facts, table));
    acknowledgements(&mut page, facts);
    others(&mut page, facts);
    admin(&mut page, facts);
    namespaces(&mut page, facts);
    if let Some((sample, age)) = facts.sample {
        gauge(&mut page, "latticed_sample_age_seconds", "Time since the workers were asked.")
            .number(&[], age.as_secs_f64());
        shards(&mut page, facts, sample);
        storage(&mut page, sample);
        peers(&mut page, sample);
        seals(&mut page, sample);
        degradations(&mut page, sample);
    }
    if let Some(process) = facts.process {
        process_families(&mut page, facts, process);
    }
    page.into_text()
}

fn gauge<'a>(
    page: &'a mut Exposition,
    name: &'static str,
    help: &'static str,
) -> super::exposition::Samples<'a> {
    page.family(Family { name, kind: Kind::Gauge, help })
}

fn counter<'a>(
    page: &'a mut Exposition,
    name: &'static str,
    help: &'static str,
) -> super::exposition::Samples<'a> {
    page.family(Family { name, kind: Kind::Counter, help })
}

fn identity(page: &mut Exposition, facts: &Facts<'_>) {
    let version = env!("CARGO_PKG_VERSION");
    let wire = lattice_wire::VERSION.to_string();
    gauge(page, "latticed_build_info", "Always 1; which build this is.")
        .count(&[("version", version), ("wire", &wire)], 1);
    let Identity { node, name, cluster, actor, port } = &facts.identity;
    let node = node.to_string();
    let labels: [(&str, &str); 5] =
        [("node", &node), ("name", name), ("cluster", cluster), ("actor", actor), ("port", port)];
    gauge(page, "latticed_node_info", "Always 1; who this is. Another actor is another epoch.")
        .count(&labels, 1);
    gauge(page, "latticed_uptime_seconds", "Time since the daemon was ready.")
        .number(&[], facts.uptime.as_secs_f64());
}

fn health(page: &mut Exposition, facts: &Facts<'_>) {
    gauge(page, "latticed_live", "1 while every polling loop makes progress, as /healthz.")
        .yes(&[], facts.live.ok);
    gauge(page, "latticed_ready", "1 while applications should come here, as /readyz.")
        .yes(&[], facts.ready.ok);
    let mut conditions =
        gauge(page, "latticed_ready_condition", "1 while a condition of being ready is met.");
    for condition in &facts.ready.conditions {
        conditions.yes(&[("condition", &condition.name)], condition.ok);
    }
    let mut ages =
        gauge(page, "latticed_worker_heartbeat_age_seconds", "Time since a worker's last sign of life.");
    for (worker, age_ns) in (0_u16..).zip(&facts.heartbeat_ages_ns).filter(|(_, age_ns)| **age_ns != u64::MAX)
    {
        ages.number(&[("worker", &worker.to_string())], *age_ns as f64 / NS_PER_SECOND);
    }
}

fn namespaces(page: &mut Exposition, facts: &Facts<'_>) {
    let mut keys = gauge(page, "latticed_namespace_keys", "Keys of a declared namespace on this host.");
    for (name, count, _) in &facts.namespaces {
        keys.count(&[("namespace", name)], *count);
    }
    let mut bounds = gauge(
        page,
        "latticed_namespace_max_keys",
        "Keys of a namespace from which on local writes make no further ones.",
    );
    for (name, _, bound) in &facts.namespaces {
        if let Some(bound) = bound {
            bounds.count(&[("namespace", name)], *bound);
        }
    }
}

/// A family that is made of counters of the segment, and the XDP program's drops beside the others'.
fn counters(page: &mut Exposition, facts: &Facts<'_>, table: &CounterFamily) {
    let mut samples = page.family(table.family);
    for source in table.sources {
        for (worker, _, value) in facts.counters.iter().filter(|(_, name, _)| name == source.counter) {
            let worker = worker.to_string();
            let labels = table.labels.iter().copied().zip(source.labels.iter().copied());
            let labels: Vec<_> = [("worker", worker.as_str())].into_iter().chain(labels).collect();
            match table.is_time {
                true => samples.number(&labels, *value as f64 / NS_PER_SECOND),
                false => samples.count(&labels, *value),
            }
        }
    }
    if table.labels == ["stage", "reason"] {
        for (reason, count) in &facts.xdp_drops {
            samples.count(&[("worker", ""), ("stage", "xdp"), ("reason", reason)], *count);
        }
    }
}

fn acknowledgements(page: &mut Exposition, facts: &Facts<'_>) {
    let mut samples = page.family(Family {
        name: "latticed_acknowledgement_seconds",
        kind: Kind::Histogram,
        help: "Time from sending a frame to its acknowledgement: an upper bound of the time until a peer had merged and published it.",
    });
    for worker in (0..).take(facts.heartbeat_ages_ns.len()) {
        let own = facts.counters.iter().filter(|(of, _, _)| *of == worker);
        let (mut buckets, mut above, mut sum_ns) = (Vec::new(), 0, None);
        for (_, name, value) in own {
            match name
                .strip_prefix(ACK_BUCKET_PREFIX)
                .map(|bound| bound.trim_end_matches("_ns").parse::<u64>())
            {
                Some(Ok(bound_ns)) => buckets.push((bound_ns as f64 / NS_PER_SECOND, *value)),
                Some(Err(_)) => above = *value,
                None if name == ACK_SUM => sum_ns = Some(*value),
                None => {}
            }
        }
        if let Some(sum_ns) = sum_ns {
            let sum = sum_ns as f64 / NS_PER_SECOND;
            samples.histogram(&[("worker", &worker.to_string())], &buckets, above, sum);
        }
    }
}

/// Counters that the table does not know.
fn others(page: &mut Exposition, facts: &Facts<'_>) {
    let mut samples = page.family(OTHER);
    for (worker, name, value) in facts.counters.iter().filter(|(_, name, _)| !is_known(name)) {
        samples.count(&[("worker", &worker.to_string()), ("name", name)], *value);
    }
}

fn is_known(name: &str) -> bool {
    let in_table = || FAMILIES.iter().flat_map(|table| table.sources).any(|source| source.counter == name);
    name == ACK_SUM || name.starts_with(ACK_BUCKET_PREFIX) || NOT_SHOWN.contains(&name) || in_table()
}

fn admin(page: &mut Exposition, facts: &Facts<'_>) {
    gauge(page, "latticed_clients", "Attached clients.").count(&[], facts.clients as u64);
    gauge(page, "latticed_connections", "Connections to the socket of clients and latticectl.")
        .count(&[], facts.connections as u64);
    counter(page, "latticed_bad_lines_total", "Lines on that socket that were no requests.")
        .count(&[], facts.bad_lines);
}

/// One gauge for each shard.
fn of_shards(
    page: &mut Exposition,
    sample: &Sample,
    name: &'static str,
    help: &'static str,
    value: impl Fn(&ShardStatus) -> u64,
) {
    let mut samples = gauge(page, name, help);
    for (worker, shard) in
        sample.workers.iter().flat_map(|w| w.shards.iter().map(move |shard| (w.worker, shard)))
    {
        let labels = [("shard", &*shard.shard.to_string()), ("worker", &*worker.to_string())];
        samples.count(&labels, value(shard));
    }
}

fn shards(page: &mut Exposition, facts: &Facts<'_>, sample: &Sample) {
    of_shards(page, sample, "latticed_shard_keys", "Keys that a shard holds.", |shard| shard.keys);
    of_shards(page, sample, "latticed_shard_last_seq", "Own operations of this epoch in a shard.", |shard| {
        shard.last_seq
    });
    of_shards(
        page,
        sample,
        "latticed_shard_actors",
        "Nodes and epochs of nodes in a shard's version vector.",
        |shard| shard.stats.actors,
    );
    of_shards(
        page,
        sample,
        "latticed_shard_log_records",
        "Own operations that a shard's log holds.",
        |shard| shard.stats.log_records,
    );
    gauge(
        page,
        "latticed_shard_keys_limit",
        "Keys that local writes may create in a shard: limits.max_keys.",
    )
    .count(&[], facts.max_keys);
    gauge(page, "latticed_syncing_shards", "Shards that a state sync is coming in for.")
        .count(&[], sample.syncing_shards().len() as u64);
    gauge(page, "latticed_joining_shards", "Shards that have not caught up with any peer since the start.")
        .count(&[], sample.joining_shards.len() as u64);
    gauge(page, "latticed_clock_ahead_seconds", "How far this clock is ahead of the peers'.")
        .number(&[], sample.clock_ahead_ns() as f64 / NS_PER_SECOND);
}

fn peers(page: &mut Exposition, sample: &Sample) {
    let labelled: Vec<_> =
        sample.peers.iter().map(|peer| (peer, peer.node.to_string(), peer.address.to_string())).collect();
    let mut each = |name, help, value: &dyn Fn(&Peer) -> f64| {
        let mut samples = gauge(page, name, help);
        for (peer, node, address) in &labelled {
            samples.number(&[("peer", node), ("address", address)], value(peer));
        }
    };
    let yes = |yes: bool| f64::from(u8::from(yes));
    each("latticed_peer_up", "1 while a peer was heard within the timeout in every shard.", &|peer| {
        yes(peer.up)
    });
    each("latticed_peer_converged", "1 while a peer holds in every shard what this host holds.", &|peer| {
        yes(peer.converged)
    });
    each("latticed_peer_lag_operations", "Own operations that a peer has not acknowledged.", &|peer| {
        peer.acked_lag_seqs as f64
    });
    let help = "Own operations that a peer would not have after the worst restart, as far as it has said.";
    each("latticed_peer_durable_lag_operations", help, &|peer| peer.durable_lag_seqs as f64);
    each("latticed_peer_leaving", "1 while a peer says that it is about to be stopped.", &|peer| {
        yes(peer.leaving)
    });
    each("latticed_peer_lag_seconds", "How long the oldest of them has been waiting, at least.", &|peer| {
        peer.acked_lag_ms as f64 / 1e3
    });
    let help = "Smoothed round trip, of the shard where it is longest; 0 before the first.";
    each("latticed_peer_round_trip_seconds", help, &|peer| peer.rtt_us as f64 / 1e6);
}

/// The seals of peers' frames; nothing where peers are listed.
fn seals(page: &mut Exposition, sample: &Sample) {
    let members: Vec<_> = sample
        .peers
        .iter()
        .filter_map(|peer| Some((peer.node.to_string(), peer.member.as_ref()?.seal)))
        .collect();
    let mut sealed =
        gauge(page, "latticed_peer_sealed", "1 while frames to and from a peer have to be sealed.");
    members.iter().for_each(|(node, seal)| sealed.yes(&[("peer", node)], seal.sealed));
    let mut ages = gauge(
        page,
        "latticed_seal_key_age_seconds",
        "Age of the key for frames to (out) and from (in) a peer; absent while there is none.",
    );
    for (node, seal) in &members {
        for (direction, age_s) in [("out", seal.sends_key_age_s), ("in", seal.receives_key_age_s)] {
            if let Some(age_s) = age_s {
                ages.count(&[("peer", node), ("direction", direction)], age_s);
            }
        }
    }
    let help = "Keys for frames to a peer that took the place of an older one.";
    let mut rolls = counter(page, "latticed_seal_key_rolls_total", help);
    members.iter().for_each(|(node, seal)| rolls.count(&[("peer", node)], seal.rolls));
}

/// What of a shard is on disk; nothing where nothing is kept.
fn storage(page: &mut Exposition, sample: &Sample) {
    let mut each = |name, help, value: &dyn Fn(&Kept) -> Option<f64>| {
        let mut samples = gauge(page, name, help);
        for shard in &sample.shards {
            if let Some(value) = shard.kept.as_ref().and_then(value) {
                samples.number(&[("shard", &shard.shard.to_string())], value);
            }
        }
    };
    let help = "Own operations that are not on disk: a crash of the machine would take them.";
    each("latticed_shard_durable_lag_operations", help, &|kept| Some(kept.durable_lag_seqs as f64));
    each(
        "latticed_shard_log_used_bytes",
        "Bytes of a shard's log that no durable snapshot covers.",
        &|kept| Some(kept.log_used_bytes as f64),
    );
    each("latticed_shard_log_size_bytes", "Size of a shard's log.", &|kept| Some(kept.log_bytes as f64));
    each("latticed_shard_snapshot_size_bytes", "Size of the newest snapshot of this run.", &|kept| {
        Some(kept.snapshot_bytes as f64)
    });
    each("latticed_shard_snapshot_age_seconds", "Age of the newest snapshot of this run.", &|kept| {
        kept.snapshot_age_ms.map(|age_ms| age_ms as f64 / 1e3)
    });
    let mut failed = counter(page, "latticed_shard_snapshots_failed_total", "Snapshots that failed.");
    for shard in &sample.shards {
        if let Some(kept) = shard.kept {
            failed.count(&[("shard", &shard.shard.to_string())], kept.snapshots_failed);
        }
    }
}

fn degradations(page: &mut Exposition, sample: &Sample) {
    let mut samples = gauge(
        page,
        "latticed_degraded",
        "1 while a worker works less well than configured, by what is wrong.",
    );
    for WorkerStatus { worker, degraded, .. } in &sample.workers {
        for what in Degradation::ALL {
            samples.yes(&[("worker", &worker.to_string()), ("what", what.name())], degraded.contains(&what));
        }
    }
}

fn process_families(page: &mut Exposition, facts: &Facts<'_>, process: Process) {
    counter(page, "process_cpu_seconds_total", "Processor time, user and system.")
        .number(&[], process.cpu_seconds);
    gauge(page, "process_resident_memory_bytes", "Memory in RAM, the segment's touched pages included.")
        .count(&[], process.resident_bytes);
    gauge(page, "process_virtual_memory_bytes", "Address space.").count(&[], process.virtual_bytes);
    gauge(page, "process_threads", "Threads.").count(&[], process.threads);
    gauge(page, "process_open_fds", "Open file descriptors.").count(&[], process.open_fds);
    gauge(page, "process_start_time_seconds", "When the daemon was ready, Unix time.")
        .number(&[], facts.started_at_s);
}
