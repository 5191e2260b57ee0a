//! What holds for keys that a file leaves out, and the configuration of `latticed --dev`, which has no file.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use lattice_engine::{EngineLimits, EngineTimers};

use super::schema::{
    Cluster, Config, Idle, Keys, Limits, Log, Metrics, Network, Node, Paths, PortChoice, Process, Storage,
    StorageMode, SyncChoice, Timers, Workers,
};

/// Where the daemons of a machine keep their directories: tmpfs on every Linux.
pub(super) const DIRECTORY_PARENT: &str = "/dev/shm/latticed";

/// Where the daemons of a machine keep their data.
pub(super) const STORAGE_PARENT: &str = "/var/lib/latticed";

/// `cluster.shards`.
pub(super) const SHARDS: u16 = 4;

/// `network.base_port`.
pub(super) const BASE_PORT: u16 = 7400;

/// `network.control_port`.
pub(super) const CONTROL_PORT: u16 = 7390;

/// `security.seal`.
pub(super) const SEAL: bool = true;

/// `security.key_life_s`.
pub(super) const KEY_LIFE_S: u64 = 600;

/// `node.name` of a node that was given none.
pub(super) fn node_name(id: u16) -> String {
    format!("node-{id}")
}

/// `paths.directory` of a node.
pub(super) fn directory(node_name: &str) -> PathBuf {
    Path::new(DIRECTORY_PARENT).join(node_name)
}

/// `[storage]` of a node.
pub(super) fn storage(node_name: &str) -> Storage {
    Storage {
        mode: StorageMode::Disk,
        directory: Path::new(STORAGE_PARENT).join(node_name),
        sync: SyncChoice::Interval,
        sync_interval_ms: 10,
        snapshot_interval_s: 600,
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self { cores: vec![0], idle: Idle::Yield }
    }
}

impl Default for Process {
    fn default() -> Self {
        Self { user: None, group: None, seccomp: true }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let engine = EngineLimits::default();
        Self {
            max_keys: engine.max_keys,
            log_bytes: engine.log_bytes,
            log_records: engine.log_records,
            max_actors: engine.max_actors,
            max_ranges_per_actor: engine.max_ranges_per_actor,
            max_pre_removed: engine.max_pre_removed,
            max_window_frames: engine.max_window_frames,
            max_burst_ops: engine.max_burst_ops,
            segment_cells_per_worker: 1 << 18,
            segment_extent_bytes_per_worker: 64 << 20,
            change_ring_entries: 1 << 16,
            submission_slots: 1024,
            completion_slots: 256,
            max_clients: 256,
            umem_frames_per_worker: 8192,
        }
    }
}

impl Default for Timers {
    fn default() -> Self {
        const NS_PER_MS: u64 = 1_000_000;
        let engine = EngineTimers::default();
        Self {
            heartbeat_ms: engine.heartbeat_ns / NS_PER_MS,
            peer_timeout_ms: engine.peer_timeout_ns / NS_PER_MS,
            hello_ms: engine.hello_ns / NS_PER_MS,
            ack_delay_ms: engine.ack_delay_ns / NS_PER_MS,
            min_rto_ms: engine.min_rto_ns / NS_PER_MS,
            max_rto_ms: engine.max_rto_ns / NS_PER_MS,
            anti_entropy_ms: engine.anti_entropy_ns / NS_PER_MS,
            sync_timeout_ms: engine.sync_timeout_ns / NS_PER_MS,
            max_clock_skew_ms: engine.max_clock_skew_ns / NS_PER_MS,
            segment_heartbeat_timeout_ms: 1000,
            neighbour_refresh_ms: 3000,
        }
    }
}

impl Config {
    /// One host without peers, on loopback, for a developer's machine: it sleeps when idle and needs no rights.
    #[must_use]
    pub fn dev(directory: PathBuf, base_port: u16) -> Self {
        Self {
            cluster: Cluster { name: "dev".to_owned(), shards: SHARDS, seeds: Vec::new() },
            node: Node { id: 1, name: "dev".to_owned() },
            network: Network {
                address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                interface: None,
                base_port,
                port: PortChoice::Udp,
                control_port: CONTROL_PORT,
            },
            workers: Workers { cores: vec![0], idle: Idle::Sleep },
            // What is tried out is not kept.
            storage: Storage { mode: StorageMode::Memory, ..storage("dev") },
            paths: Paths { directory },
            process: Process::default(),
            log: Log::default(),
            metrics: Metrics::default(),
            keys: Keys::default(),
            namespaces: Vec::new(),
            limits: Limits {
                max_keys: 16_384,
                log_bytes: 1 << 20,
                log_records: 1 << 14,
                segment_cells_per_worker: 1 << 16,
                segment_extent_bytes_per_worker: 16 << 20,
                ..Limits::default()
            },
            timers: Timers::default(),
            security: None,
            peers: Vec::new(),
        }
    }
}
