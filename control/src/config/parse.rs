//! From the text to a [`Config`]: which keys there are, and what each may hold by itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use toml::de::DeTable;

use super::defaults;
use super::reader::Section;
use super::report::Report;
use super::schema::{
    Cluster, Config, DEFAULT_NAMESPACE, Idle, KeyKind, Keys, Limits, Log, Metrics, Namespace, Network, Node,
    Paths, Peer, PortChoice, Principal, Process, Security, Storage, StorageMode, SyncChoice, Timers,
    Undeclared, Wins, Workers, WriteList,
};

/// Largest node id; the one above it means "any node" in a frame.
const MAX_NODE_ID: u64 = 65_534;
/// Cores that may be named: the size of Linux's static CPU set.
const MAX_CORE: u64 = 1023;
/// An hour: beyond it a timer is a mistake.
const MAX_TIMER_MS: u64 = 3_600_000;

/// A day: keys of sealed frames are not for longer.
const MAX_KEY_LIFE_S: u64 = 86_400;
/// Users and groups that a list may name.
const MAX_PRINCIPALS: usize = 64;
/// Keys of a namespace: more than any segment has.
const MAX_NAMESPACE_KEYS: u64 = 1 << 32;

/// Seeds that may be named.
const MAX_SEEDS: usize = 32;
/// Stands for the port of a seed that was given none, until this node's own is known: no seed may have it.
const OWN_CONTROL_PORT: u16 = 0;

const NAME_RULE: &str = "1 to 63 letters, digits, `.`, `_` or `-`, the first a letter or a digit";
const NODE_ID_RULE: &str = "an integer from 1 to 65534, different on every node";
const DIRECTORY_RULE: &str =
    "an absolute path without white space, best on tmpfs, such as \"/dev/shm/latticed/host-a\"";
const STORAGE_RULE: &str = "an absolute path without white space, on a disk, of this node alone, such as \"/var/lib/latticed/host-a\"";
/// A week: beyond it an interval is a mistake.
const MAX_SNAPSHOT_INTERVAL_S: u64 = 604_800;
const ADDRESS_RULE: &str =
    "the IPv4 or IPv6 address of a host, such as \"10.77.0.1\": no prefix length, not link-local";

/// Parses the text. What is wrong goes to the report; the value is only of use when that stayed empty.
pub(super) fn parse(text: &str, report: &mut Report) -> Config {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = report.line_of(&error.span().unwrap_or(0..0));
        report.problem(line, "", format!("not TOML: {}", error.message().trim()), "see https://toml.io");
    }
    let mut root = Section::new("", Some(document.get_ref()), 1, report);
    let mut cluster = cluster(root.section("cluster"));
    let node = node(root.section("node"));
    let network = network(root.section("network"));
    seeds_at(&mut cluster.seeds, network.control_port);
    let workers = workers(root.section("workers"));
    let paths = paths(root.section("paths"), &node.name);
    let storage = storage(root.section("storage"), &node.name);
    let process = process(root.section("process"));
    let log = log(root.section("log"));
    let metrics = metrics(root.section("metrics"));
    let keys = keys(root.section("keys"));
    let mut namespaces = Vec::new();
    root.tables("namespaces", |section| namespaces.extend(namespace(section)));
    let limits = limits(root.section("limits"));
    let timers = timers(root.section("timers"));
    let security = security(root.section("security"));
    let mut peers = Vec::new();
    root.tables("peers", |section| peers.extend(peer(section)));
    root.finish();
    Config {
        cluster,
        node,
        network,
        workers,
        paths,
        storage,
        process,
        log,
        metrics,
        keys,
        namespaces,
        limits,
        timers,
        security,
        peers,
    }
}

/// A name that is also a file name.
fn name(text: &str) -> Option<String> {
    lattice_members::pki::is_name(text).then(|| text.to_owned())
}

fn cluster(mut section: Section<'_, '_>) -> Cluster {
    let name = section
        .required("name", &format!("the cluster's name, the same on every node: {NAME_RULE}"), |section| {
            section.string("name", NAME_RULE, name)
        })
        .unwrap_or_default();
    let max_shards = lattice_crdt::limits::MAX_SHARDS as u64;
    let shards = section
        .power_of_two("shards", 1..=max_shards)
        .and_then(|shards| u16::try_from(shards).ok())
        .unwrap_or(defaults::SHARDS);
    let seeds = section.addresses("seeds", OWN_CONTROL_PORT, MAX_SEEDS).unwrap_or_default();
    section.finish();
    Cluster { name, shards, seeds }
}

/// Seeds without a port have the one that this node uses itself.
fn seeds_at(seeds: &mut [SocketAddr], control_port: u16) {
    for seed in seeds.iter_mut().filter(|seed| seed.port() == OWN_CONTROL_PORT) {
        seed.set_port(control_port);
    }
}

fn security(mut section: Section<'_, '_>) -> Option<Security> {
    let expected = "an absolute path: the directory that `latticectl cluster` made for this node";
    let read = |section: &mut Section<'_, '_>| {
        section
            .string("directory", expected, |text| Some(PathBuf::from(text)).filter(|path| path.is_absolute()))
    };
    let directory =
        if section.is_present() { section.required("directory", expected, read) } else { read(&mut section) };
    let (seal, key_life_s) = (section.boolean("seal"), section.integer("key_life_s", 1..=MAX_KEY_LIFE_S));
    section.finish();
    directory.map(|directory| Security {
        directory,
        seal: seal.unwrap_or(defaults::SEAL),
        key_life_s: key_life_s.unwrap_or(defaults::KEY_LIFE_S),
    })
}

fn node_id(section: &mut Section<'_, '_>) -> Option<u16> {
    section
        .required("id", NODE_ID_RULE, |section| section.integer("id", 1..=MAX_NODE_ID))
        .and_then(|id| u16::try_from(id).ok())
}

fn node(mut section: Section<'_, '_>) -> Node {
    let id = node_id(&mut section).unwrap_or_default();
    let name = section.string("name", NAME_RULE, name).unwrap_or_else(|| defaults::node_name(id));
    section.finish();
    Node { id, name }
}

fn network(mut section: Section<'_, '_>) -> Network {
    let address = section
        .required("address", ADDRESS_RULE, |section| section.address("address", ADDRESS_RULE))
        .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    // 15 bytes: IFNAMSIZ (linux/if.h) less its terminating zero.
    let interface = section.string("interface", "the name of an interface, 1 to 15 characters", |text| {
        // What the kernel allows (dev_valid_name, net/core/dev.c), and nothing that would disturb a terminal.
        let ok = (1..=15).contains(&text.len())
            && ![".", ".."].contains(&text)
            && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
        ok.then(|| text.to_owned())
    });
    let base_port = section
        .integer("base_port", 1..=65_535)
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(defaults::BASE_PORT);
    let choices = [
        ("auto", PortChoice::Auto),
        ("xdp", PortChoice::Xdp),
        ("xdp-generic", PortChoice::XdpGeneric),
        ("udp", PortChoice::Udp),
    ];
    let port = section.choice("port", &choices).unwrap_or(PortChoice::Auto);
    let control_port = section
        .integer("control_port", 1..=65_535)
        .and_then(|port| u16::try_from(port).ok())
        .unwrap_or(defaults::CONTROL_PORT);
    section.finish();
    Network { address, interface, base_port, port, control_port }
}

fn workers(mut section: Section<'_, '_>) -> Workers {
    let defaults = Workers::default();
    let cores = section
        .integers("cores", 0..=MAX_CORE, lattice_crdt::limits::MAX_SHARDS)
        .map(|cores| cores.into_iter().filter_map(|core| usize::try_from(core).ok()).collect())
        .unwrap_or(defaults.cores);
    let choices = [("busy", Idle::Busy), ("yield", Idle::Yield), ("sleep", Idle::Sleep)];
    let idle = section.choice("idle", &choices).unwrap_or(defaults.idle);
    section.finish();
    Workers { cores, idle }
}

fn paths(mut section: Section<'_, '_>, node_name: &str) -> Paths {
    let directory = section
        .string("directory", DIRECTORY_RULE, directory)
        .unwrap_or_else(|| defaults::directory(node_name));
    section.finish();
    Paths { directory }
}

/// Reads integers into fields of the same name, within their ranges; an absent key leaves the default.
macro_rules! integers {
    ($section:ident, $into:ident, $($read:ident $field:ident $range:expr;)+) => {
        $(if let Some(value) = $section.$read(stringify!($field), $range).and_then(|v| v.try_into().ok()) {
            $into.$field = value;
        })+
    };
}

/// A directory that can stand in a line whose fields are told apart by white space.
fn directory(text: &str) -> Option<PathBuf> {
    let path = PathBuf::from(text);
    let printable = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    (path.is_absolute() && printable).then_some(path)
}

fn storage(mut section: Section<'_, '_>, node_name: &str) -> Storage {
    let mut storage = defaults::storage(node_name);
    let modes = [("disk", StorageMode::Disk), ("memory", StorageMode::Memory)];
    storage.mode = section.choice("mode", &modes).unwrap_or(storage.mode);
    if let Some(path) = section.string("directory", STORAGE_RULE, directory) {
        storage.directory = path;
    }
    let choices =
        [("interval", SyncChoice::Interval), ("always", SyncChoice::Always), ("never", SyncChoice::Never)];
    storage.sync = section.choice("sync", &choices).unwrap_or(storage.sync);
    integers!(section, storage,
        integer sync_interval_ms 1..=MAX_TIMER_MS;
        integer snapshot_interval_s 1..=MAX_SNAPSHOT_INTERVAL_S;
    );
    section.finish();
    storage
}

fn process(mut section: Section<'_, '_>) -> Process {
    let mut process = Process::default();
    let account = |text: &str| {
        let ok =
            !text.is_empty() && !text.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control());
        ok.then(|| text.to_owned())
    };
    process.user =
        section.string("user", "a user of this host, by name or by number, such as \"latticed\"", account);
    process.group =
        section.string("group", "a group of this host, by name or by number, such as \"latticed\"", account);
    process.seccomp = section.boolean("seccomp").unwrap_or(process.seccomp);
    section.finish();
    process
}

fn log(mut section: Section<'_, '_>) -> Log {
    let expected = "a level (\"error\", \"warn\", \"info\", \"debug\", \"trace\"), or several with modules, such as \"info,lattice_control=debug\"";
    let filter = section.string("filter", expected, |text| {
        // What EnvFilter takes for a module is not known to be none: a level with a mistake in it would log nothing.
        let is_level = |level: &str| {
            !level.is_empty() && level.parse::<tracing_subscriber::filter::LevelFilter>().is_ok()
        };
        let levels = |part: &str| part.rsplit_once('=').map_or(is_level(part), |(_, level)| is_level(level));
        let ok = text.split(',').all(levels) && tracing_subscriber::EnvFilter::try_new(text).is_ok();
        ok.then(|| text.to_owned())
    });
    section.finish();
    filter.map_or_else(Log::default, |filter| Log { filter })
}

fn metrics(mut section: Section<'_, '_>) -> Metrics {
    let expected = "an address of this host and a TCP port, such as \"127.0.0.1:9464\" or \"[::1]:9464\"";
    let listen = section.string("listen", expected, |text| text.parse().ok());
    section.finish();
    Metrics { listen }
}

fn keys(mut section: Section<'_, '_>) -> Keys {
    let choices = [("default", Undeclared::Default), ("refuse", Undeclared::Refuse)];
    let undeclared = section.choice("undeclared", &choices).unwrap_or_default();
    section.finish();
    Keys { undeclared }
}

/// `user:NAME` or `group:NAME`; whether there is such a one, only the host can say.
fn principal(text: &str) -> Option<Principal> {
    let (what, name) = text.split_once(':')?;
    let is_name =
        !name.is_empty() && !name.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control());
    match what {
        "user" if is_name => Some(Principal::User(name.to_owned())),
        "group" if is_name => Some(Principal::Group(name.to_owned())),
        _ => None,
    }
}

fn namespace(section: &mut Section<'_, '_>) -> Option<Namespace> {
    let expected = format!(
        "what stands before the first `/` of its keys ({NAME_RULE}), or \"{DEFAULT_NAMESPACE}\" for all keys of no other one"
    );
    let name = section.required("name", &expected, |section| {
        let any = |text: &str| (text == DEFAULT_NAMESPACE).then(|| text.to_owned());
        section.string("name", &expected, |text| any(text).or_else(|| name(text)))
    });
    let kinds = [
        ("counter", KeyKind::Counter),
        ("flag", KeyKind::Flag),
        ("register", KeyKind::Register),
        ("set", KeyKind::Set),
    ];
    let kind = section.choice("kind", &kinds);
    let wins = section.choice("wins", &[("enable", Wins::Enable), ("disable", Wins::Disable)]);
    let max_keys = section.integer("max_keys", 1..=MAX_NAMESPACE_KEYS);
    let who =
        "a list of users and groups, such as [\"user:proxy\", \"group:edge\", \"user:1000\"]; [] is nobody";
    let write = section.strings("write", who, MAX_PRINCIPALS, principal).map(WriteList);
    section.not_offered(
        "read",
        "can't be: the segment is one file, and shows all keys to whoever can open it",
        "expected no such key; the group of paths.directory may read",
    );
    Some(Namespace { name: name?, kind, wins, max_keys, write })
}

fn limits(mut section: Section<'_, '_>) -> Limits {
    let mut limits = Limits::default();
    let max_actors = lattice_crdt::limits::MAX_ACTORS as u64;
    integers!(section, limits,
        integer max_keys 1..=1 << 24;
        integer log_bytes 1 << 16..=1 << 32;
        power_of_two log_records 1 << 6..=1 << 24;
        integer max_actors 2..=max_actors;
        integer max_ranges_per_actor 1..=1 << 12;
        integer max_pre_removed 1..=1 << 20;
        integer max_window_frames 1..=1 << 14;
        integer max_burst_ops 8..=1 << 16;
        integer segment_cells_per_worker 64..=1 << 26;
        integer segment_extent_bytes_per_worker 1 << 16..=1 << 35;
        power_of_two change_ring_entries 64..=1 << 22;
        power_of_two submission_slots 32..=1 << 16;
        power_of_two completion_slots 32..=1 << 16;
        integer max_clients 1..=1 << 14;
        power_of_two umem_frames_per_worker 128..=1 << 16;
    );
    section.finish();
    limits
}

fn timers(mut section: Section<'_, '_>) -> Timers {
    let mut timers = Timers::default();
    integers!(section, timers,
        integer heartbeat_ms 1..=MAX_TIMER_MS;
        integer peer_timeout_ms 1..=MAX_TIMER_MS;
        integer hello_ms 1..=MAX_TIMER_MS;
        integer ack_delay_ms 1..=MAX_TIMER_MS;
        integer min_rto_ms 1..=MAX_TIMER_MS;
        integer max_rto_ms 1..=MAX_TIMER_MS;
        integer anti_entropy_ms 1..=MAX_TIMER_MS;
        integer sync_timeout_ms 1..=MAX_TIMER_MS;
        integer max_clock_skew_ms 1..=MAX_TIMER_MS;
        integer segment_heartbeat_timeout_ms 10..=MAX_TIMER_MS;
        integer neighbour_refresh_ms 10..=MAX_TIMER_MS;
    );
    section.finish();
    timers
}

fn peer(section: &mut Section<'_, '_>) -> Option<Peer> {
    let id = node_id(section);
    let address =
        section.required("address", ADDRESS_RULE, |section| section.address("address", ADDRESS_RULE));
    Some(Peer { id: id?, address: address? })
}
