//! Any TOML as a configuration: all mistakes are told, each on one line with its place; what is accepted can be run, and
//! says the same when it is written down again.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lattice_control::config::{
    Config, ConfigErrors, Idle, KeyKind, Keys, LoadError, MAX_PEERS, Namespace, PortChoice, Process,
    StorageMode, SyncChoice, Undeclared, Wins, WriteList,
};
use lattice_crdt::ActorId;
use lattice_engine::{Engine, EngineConfig, EngineLimits, EngineTimers, Instant, MemoryLog, Storage};
use lattice_worker::WorkerConfig;

const ORIGIN: &str = "fuzz.toml";

/// Any file as a configuration.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return not_text(data) };
    match Config::parse(text, ORIGIN) {
        Ok(config) => accepted(&config),
        Err(errors) => refused(text, &errors),
    }
}

/// Bytes that are no text take the way of a file.
fn not_text(data: &[u8]) {
    let fd = rustix::fs::memfd_create("fuzzed", rustix::fs::MemfdFlags::CLOEXEC).expect("a file in memory");
    rustix::io::write(&fd, data).expect("room for a small file");
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    match Config::load(Path::new(&path)) {
        Err(LoadError::Invalid(errors)) => {
            assert_eq!((errors.problems.len(), errors.origin.as_str()), (1, path.as_str()));
            assert!((1..=data.len() + 1).contains(&errors.problems[0].line));
        }
        other => panic!("{other:?}"),
    }
}

fn refused(text: &str, errors: &ConfigErrors) {
    let problems = &errors.problems;
    assert!(!problems.is_empty() && errors.origin == ORIGIN);
    assert!(problems.is_sorted_by_key(|problem| problem.line));
    let lines = 1 + text.matches('\n').count();
    for problem in problems {
        assert!((1..=lines).contains(&problem.line), "line {} of {lines}", problem.line);
        assert!(!problem.found.is_empty() && !problem.expected.is_empty());
    }
    let told = errors.to_string();
    assert_eq!(told.lines().count(), problems.len() + 1, "a line each, and their number: {told:?}");
    for (line, problem) in told.lines().zip(problems) {
        assert!(line.starts_with(&format!("{ORIGIN}:{}: ", problem.line)));
        assert!(!line.contains(char::is_control), "nothing that disturbs a terminal: {line:?}");
    }
}

fn accepted(config: &Config) {
    let text = written(config);
    match Config::parse(&text, ORIGIN) {
        Ok(again) => assert_eq!(&again, config),
        Err(errors) => panic!("{errors}\nof\n{text}"),
    }
    within_bounds(config);
    runs(config);
}

/// The bounds of other rooms that a configuration must keep.
fn within_bounds(config: &Config) {
    let (limits, shards) = (&config.limits, config.cluster.shards);
    assert!(shards.is_power_of_two() && shards <= 64 && config.workers.cores.len() <= usize::from(shards));
    assert!(config.network.base_port.checked_add(shards - 1).is_some());
    assert!((1..=65_534).contains(&config.node.id) && config.peers.len() <= MAX_PEERS);
    assert!(config.cluster.name.len() <= 63 && config.node.name.len() <= 63);
    assert!(config.paths.directory.is_absolute());
    assert!(config.paths.socket().as_os_str().as_bytes().len() <= 107);
    let ring = |slots: u32| slots.is_power_of_two() && (32..=65_536).contains(&slots);
    assert!(config.storage.directory.is_absolute() && config.storage.sync_interval_ms > 0);
    assert!(config.storage.mode == StorageMode::Memory || limits.log_bytes.is_power_of_two());
    assert!(ring(limits.submission_slots) && ring(limits.completion_slots));
    assert!((1..=1 << 26).contains(&limits.segment_cells_per_worker));
    assert!((4096..=1 << 35).contains(&limits.segment_extent_bytes_per_worker));
    assert!(limits.change_ring_entries.is_power_of_two() && limits.change_ring_entries >= 64);
    let mut nodes: Vec<_> = config.peers.iter().map(|peer| (peer.id, peer.address)).collect();
    nodes.push((config.node.id, config.network.address));
    for (at, (id, address)) in nodes.iter().enumerate() {
        assert!(nodes[..at].iter().all(|(other, place)| other != id && place != address), "each node once");
    }
}

/// Workers and engines take it, as the daemon would hand it to them.
fn runs(config: &Config) {
    let (workers, shards) = (config.workers.cores.len() as u16, config.cluster.shards);
    for index in 0..workers {
        let worker = WorkerConfig::new(index, workers, shards, config.network.base_port);
        worker.validate().expect("a worker of an accepted configuration");
    }
    let (limits, timers) = (&config.limits, &config.timers);
    let ns = |ms: u64| ms * 1_000_000;
    let engine = EngineConfig {
        actor: ActorId::new(config.node.id, 1),
        session: 1,
        shard: 0,
        cluster_tag: config.cluster_tag(),
        peers: config.peers.iter().map(|peer| peer.id).collect(),
        storage: Storage::Memory,
        limits: EngineLimits {
            // Memory for them is taken at once: not here.
            max_keys: limits.max_keys.min(16),
            max_burst_ops: limits.max_burst_ops.min(64),
            log_bytes: limits.log_bytes,
            log_records: limits.log_records,
            max_actors: limits.max_actors,
            max_ranges_per_actor: limits.max_ranges_per_actor,
            max_pre_removed: limits.max_pre_removed,
            max_window_frames: limits.max_window_frames,
        },
        timers: EngineTimers {
            ack_delay_ns: ns(timers.ack_delay_ms),
            min_rto_ns: ns(timers.min_rto_ms),
            max_rto_ns: ns(timers.max_rto_ms),
            heartbeat_ns: ns(timers.heartbeat_ms),
            peer_timeout_ns: ns(timers.peer_timeout_ms),
            hello_ns: ns(timers.hello_ms),
            anti_entropy_ns: ns(timers.anti_entropy_ms),
            sync_timeout_ns: ns(timers.sync_timeout_ms),
            max_clock_skew_ns: ns(timers.max_clock_skew_ms),
            ..EngineTimers::default()
        },
        random_seed: 1,
    };
    let now = Instant { monotonic_ns: 1, wall_ns: 1 };
    let mut engine = Engine::with_log(engine, MemoryLog::new(64, 2), now).expect("an engine of it");
    engine.tick(now);
}

/// A string as TOML writes it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => write!(out, "\\U{:08X}", u32::from(c)).expect("a string grows"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What the daemon may, and what it lets others do.
fn rules_written(process: &Process, keys: &Keys, namespaces: &[Namespace]) -> String {
    let mut out = format!("[process]\nseccomp = {}\n", process.seccomp);
    for (key, name) in [("user", &process.user), ("group", &process.group)] {
        name.iter().for_each(|name| out.push_str(&format!("{key} = {}\n", quoted(name))));
    }
    let undeclared = match keys.undeclared {
        Undeclared::Default => "default",
        Undeclared::Refuse => "refuse",
    };
    out.push_str(&format!("[keys]\nundeclared = {undeclared:?}\n"));
    for Namespace { name, kind, wins, max_keys, write } in namespaces {
        out.push_str(&format!("[[namespaces]]\nname = {}\n", quoted(name)));
        let kind = kind.map(|kind| match kind {
            KeyKind::Counter => "counter",
            KeyKind::Flag => "flag",
            KeyKind::Register => "register",
            KeyKind::Set => "set",
        });
        let wins = wins.map(|wins| match wins {
            Wins::Enable => "enable",
            Wins::Disable => "disable",
        });
        for (key, word) in [("kind", kind), ("wins", wins)] {
            word.iter().for_each(|word| out.push_str(&format!("{key} = {word:?}\n")));
        }
        max_keys.iter().for_each(|max_keys| out.push_str(&format!("max_keys = {max_keys}\n")));
        if let Some(WriteList(principals)) = write {
            let names: Vec<_> = principals.iter().map(|principal| quoted(&principal.to_string())).collect();
            out.push_str(&format!("write = [{}]\n", names.join(", ")));
        }
    }
    out
}

/// A configuration as a file with every key.
fn written(config: &Config) -> String {
    let Config {
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
    } = config;
    let port = match network.port {
        PortChoice::Auto => "auto",
        PortChoice::Xdp => "xdp",
        PortChoice::XdpGeneric => "xdp-generic",
        PortChoice::Udp => "udp",
    };
    let idle = match workers.idle {
        Idle::Busy => "busy",
        Idle::Yield => "yield",
        Idle::Sleep => "sleep",
    };
    let directory = quoted(paths.directory.to_str().expect("a path out of a text"));
    let mut out = format!(
        "[cluster]\nname = {}\nshards = {}\nseeds = {:?}\n[node]\nid = {}\nname = {}\n[workers]\ncores = {:?}\nidle = {idle:?}\n\
         [paths]\ndirectory = {directory}\n[network]\naddress = \"{}\"\nbase_port = {}\ncontrol_port = {}\n\
         port = {port:?}\n",
        quoted(&cluster.name),
        cluster.shards,
        cluster.seeds.iter().map(ToString::to_string).collect::<Vec<_>>(),
        node.id,
        quoted(&node.name),
        workers.cores,
        network.address,
        network.base_port,
        network.control_port,
    );
    if let Some(interface) = &network.interface {
        out.push_str(&format!("interface = {}\n", quoted(interface)));
    }
    macro_rules! section {
        ($table:ident: $($field:ident)+) => {
            out.push_str(concat!("[", stringify!($table), "]\n"));
            $(out.push_str(&format!("{} = {}\n", stringify!($field), $table.$field));)+
        };
    }
    let mode = match storage.mode {
        StorageMode::Disk => "disk",
        StorageMode::Memory => "memory",
    };
    let sync = match storage.sync {
        SyncChoice::Interval => "interval",
        SyncChoice::Always => "always",
        SyncChoice::Never => "never",
    };
    let data = quoted(storage.directory.to_str().expect("a path out of a text"));
    section!(storage: sync_interval_ms snapshot_interval_s);
    out.push_str(&format!("mode = {mode:?}\nsync = {sync:?}\ndirectory = {data}\n"));
    if let Some(security) = security {
        let directory = quoted(security.directory.to_str().expect("a path out of a text"));
        out.push_str(&format!("[security]\ndirectory = {directory}\n"));
    }
    out.push_str(&rules_written(process, keys, namespaces));
    out.push_str(&format!("[log]\nfilter = {}\n", quoted(&log.filter)));
    if let Some(listen) = metrics.listen {
        out.push_str(&format!("[metrics]\nlisten = \"{listen}\"\n"));
    }
    section!(limits: max_keys log_bytes log_records max_actors max_ranges_per_actor max_pre_removed
        max_window_frames max_burst_ops segment_cells_per_worker segment_extent_bytes_per_worker
        change_ring_entries submission_slots completion_slots max_clients umem_frames_per_worker);
    section!(timers: heartbeat_ms peer_timeout_ms hello_ms ack_delay_ms min_rto_ms max_rto_ms anti_entropy_ms
        sync_timeout_ms max_clock_skew_ms segment_heartbeat_timeout_ms neighbour_refresh_ms);
    for peer in peers {
        out.push_str(&format!("[[peers]]\nid = {}\naddress = \"{}\"\n", peer.id, peer.address));
    }
    out
}
