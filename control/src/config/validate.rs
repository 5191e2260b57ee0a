//! What must fit together: checks over several keys of a file whose keys are each right by themselves.

use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use super::report::Report;
use super::schema::{Config, DEFAULT_NAMESPACE, KeyKind, MAX_PEERS, StorageMode};

/// Bytes of a Unix socket's path: `sun_path` (unix(7)) less its terminating zero.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Reports every contradiction.
pub(super) fn validate(config: &Config, report: &mut Report) {
    ports(config, report);
    workers(config, report);
    paths(config, report);
    storage(config, report);
    limits(config, report);
    timers(config, report);
    peers(config, report);
    process(config, report);
    namespaces(config, report);
    members(config, report);
}

fn process(config: &Config, report: &mut Report) {
    if config.process.group.is_some() && config.process.user.is_none() {
        report.problem_at(
            "process.group",
            "names a group, but there is no process.user to have it",
            "expected process.user too",
        );
    }
}

fn namespaces(config: &Config, report: &mut Report) {
    let declared = config.namespaces.iter().filter(|namespace| namespace.name != DEFAULT_NAMESPACE).count();
    if declared > lattice_worker::MAX_NAMESPACES {
        report.problem_at(
            "namespaces",
            format!("there are {declared}"),
            format!(
                "expected at most {}, and one for \"{DEFAULT_NAMESPACE}\"",
                lattice_worker::MAX_NAMESPACES
            ),
        );
    }
    for (index, namespace) in config.namespaces.iter().enumerate() {
        if config.namespaces[..index].iter().any(|earlier| earlier.name == namespace.name) {
            report.problem_at(
                &format!("namespaces[{index}].name"),
                format!("is {:?}, which an earlier one has", namespace.name),
                "expected one table for each namespace",
            );
        }
        if namespace.wins.is_some() && namespace.kind != Some(KeyKind::Flag) {
            report.problem_at(
                &format!("namespaces[{index}].wins"),
                "says who wins, but its keys are not flags",
                "expected kind = \"flag\"; counters need no rule, of registers the last writer wins, of sets insertions",
            );
        }
    }
}

fn members(config: &Config, report: &mut Report) {
    let Some(_) = &config.security else {
        if !config.cluster.seeds.is_empty() {
            report.problem_at(
                "cluster.seeds",
                "names seeds, but there is no [security], so nobody could prove who it is",
                "expected [security] with the directory that `latticectl cluster` made for this node",
            );
        }
        return;
    };
    if !config.peers.is_empty() {
        report.problem_at(
            "peers",
            "are listed, but with [security] members find each other",
            "expected cluster.seeds with the addresses of one or more of them instead",
        );
    }
    let (base, control) = (config.network.base_port, config.network.control_port);
    if (base..=config.udp_port(config.cluster.shards.saturating_sub(1))).contains(&control) {
        report.problem_at(
            "network.control_port",
            format!("is {control}, which is a shard's"),
            format!("expected another than {base} to {}", config.udp_port(config.cluster.shards - 1)),
        );
    }
    let own = config.network.address;
    if let Some(seed) = config.cluster.seeds.iter().find(|seed| family(seed.ip()) != family(own)) {
        report.problem_at(
            "cluster.seeds",
            format!("names {seed}, but this node's network.address is {own}"),
            format!("expected {} addresses like its own", family(own)),
        );
    }
}

fn ports(config: &Config, report: &mut Report) {
    let shards = config.cluster.shards;
    let highest = u16::MAX - (shards - 1);
    if config.network.base_port > highest {
        report.problem_at(
            "network.base_port",
            format!("is {}, but {shards} shards take {shards} ports from there", config.network.base_port),
            format!("expected at most {highest}"),
        );
    }
}

fn workers(config: &Config, report: &mut Report) {
    let (cores, shards) = (config.workers.cores.len(), usize::from(config.cluster.shards));
    if cores > shards {
        report.problem_at(
            "workers.cores",
            format!(
                "names {cores} cores, but there are {shards} shards and a worker without one would do nothing"
            ),
            format!("expected at most {shards} cores, or more cluster.shards (the same on every node)"),
        );
    }
}

fn paths(config: &Config, report: &mut Report) {
    let bytes = config.paths.socket().as_os_str().as_bytes().len();
    if bytes > MAX_SOCKET_PATH_BYTES {
        report.problem_at(
            "paths.directory",
            format!("makes the socket's path {bytes} bytes long"),
            format!("expected a directory so short that it has at most {MAX_SOCKET_PATH_BYTES}"),
        );
    }
}

fn storage(config: &Config, report: &mut Report) {
    if config.storage.mode == StorageMode::Memory {
        return;
    }
    let (data, runtime) = (&config.storage.directory, &config.paths.directory);
    if data == runtime || data.starts_with(config.paths.logs()) {
        report.problem_at(
            "storage.directory",
            format!("is {}, where paths.directory keeps what ends with the boot", data.display()),
            "expected a directory of its own, on a disk",
        );
    }
    let log_bytes = config.limits.log_bytes;
    if !log_bytes.is_power_of_two() {
        report.problem_at(
            "limits.log_bytes",
            format!("is {log_bytes}, and a log that is kept is as large as a power of two"),
            format!("expected {}, or storage.mode = \"memory\"", log_bytes.next_power_of_two()),
        );
    }
}

fn limits(config: &Config, report: &mut Report) {
    let limits = &config.limits;
    let needed = config.peers.len() + 1;
    if limits.max_actors < needed {
        report.problem_at(
            "limits.max_actors",
            format!("is {}, but this node and its peers are {needed} actors", limits.max_actors),
            format!("expected at least {needed}, and more for the epochs of restarted nodes"),
        );
    }
}

fn timers(config: &Config, report: &mut Report) {
    let timers = &config.timers;
    if timers.peer_timeout_ms < timers.heartbeat_ms.saturating_mul(2) {
        report.problem_at(
            "timers.peer_timeout_ms",
            format!(
                "is {}, with a heartbeat each {} ms one lost frame would be a death",
                timers.peer_timeout_ms, timers.heartbeat_ms
            ),
            format!("expected at least twice timers.heartbeat_ms, {}", timers.heartbeat_ms.saturating_mul(2)),
        );
    }
    if timers.max_rto_ms < timers.min_rto_ms {
        report.problem_at(
            "timers.max_rto_ms",
            format!("is {}, below timers.min_rto_ms, {}", timers.max_rto_ms, timers.min_rto_ms),
            format!("expected at least {}", timers.min_rto_ms),
        );
    }
}

fn peers(config: &Config, report: &mut Report) {
    if config.peers.len() > MAX_PEERS {
        report.problem_at(
            "peers",
            format!("there are {}", config.peers.len()),
            format!("expected at most {MAX_PEERS}"),
        );
    }
    for (index, peer) in config.peers.iter().enumerate() {
        let (id_key, address_key) = (format!("peers[{index}].id"), format!("peers[{index}].address"));
        if peer.id == config.node.id {
            report.problem_at(
                &id_key,
                format!("is {}, this node's own id", peer.id),
                "expected another node's id: list only the others",
            );
        }
        if peer.address == config.network.address {
            report.problem_at(
                &address_key,
                format!("is {}, this node's own address", peer.address),
                "expected another node's address: list only the others",
            );
        }
        if family(peer.address) != family(config.network.address) {
            report.problem_at(
                &address_key,
                format!("is {}, but this node's network.address is {}", peer.address, config.network.address),
                format!("expected an {} address like its own", family(config.network.address)),
            );
        }
        let (own, is_loopback) = (config.network.address, peer.address.is_loopback());
        if is_loopback != own.is_loopback() && family(peer.address) == family(own) {
            let found = match is_loopback {
                true => format!("is {}, a loopback address, but this node's is {own}", peer.address),
                false => format!("is {}, but this node's is {own}, a loopback address", peer.address),
            };
            report.problem_at(
                &address_key,
                found,
                "expected loopback addresses on all nodes of one host, or on none",
            );
        }
        for earlier in &config.peers[..index] {
            if earlier.id == peer.id {
                report.problem_at(
                    &id_key,
                    format!("is {}, which an earlier peer has", peer.id),
                    "expected a different id for each peer",
                );
            }
            if earlier.address == peer.address {
                report.problem_at(
                    &address_key,
                    format!("is {}, which an earlier peer has", peer.address),
                    "expected a different address for each peer",
                );
            }
        }
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}
