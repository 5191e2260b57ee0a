//! The configuration as the daemon uses it: typed, complete, validated. Which file keys these are says `parse`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use std::fmt;

use serde::{Serialize, Serializer};

/// Peers that a daemon may have: one actor each and its own must fit a shard's version vector, with room for the dead
/// epochs of restarted nodes.
pub const MAX_PEERS: usize = 127;

/// Everything that one daemon is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Config {
    /// `[cluster]`: the same on every node.
    pub cluster: Cluster,
    /// `[node]`: who this one is.
    pub node: Node,
    /// `[network]`.
    pub network: Network,
    /// `[workers]`.
    pub workers: Workers,
    /// `[paths]`.
    pub paths: Paths,
    /// `[storage]`.
    pub storage: Storage,
    /// `[process]`: what the daemon may once it runs.
    pub process: Process,
    /// `[log]`.
    pub log: Log,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[keys]`: what holds for keys of no declared namespace.
    pub keys: Keys,
    /// `[[namespaces]]`: what local writes may do to keys, by what stands before their first `/`.
    pub namespaces: Vec<Namespace>,
    /// `[limits]`.
    pub limits: Limits,
    /// `[timers]`.
    pub timers: Timers,
    /// `[security]`: with it members find each other by `cluster.seeds`; without it they are listed.
    pub security: Option<Security>,
    /// `[[peers]]`: every other node, where there is no `[security]`. A peer's index here is its slot in workers and ports.
    pub peers: Vec<Peer>,
}

/// `[cluster]`: must be equal on all nodes, or they do not understand each other's frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// Name; its hash is the tag that every frame carries.
    pub name: String,
    /// Parts of the keyspace, a power of two up to 64.
    pub shards: u16,
    /// Where to ask for the other members; one that answers is enough. This node itself may be among them.
    pub seeds: Vec<SocketAddr>,
}

/// `[node]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Unique in the cluster, 1 to 65534.
    pub id: u16,
    /// For people and for the default directory.
    pub name: String,
}

/// How frames are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortChoice {
    /// AF_XDP in driver mode, else in generic mode, else UDP, saying which and why.
    Auto,
    /// AF_XDP in either mode, or no start.
    Xdp,
    /// AF_XDP in generic mode, or no start.
    XdpGeneric,
    /// Kernel UDP sockets.
    Udp,
}

/// `[network]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Network {
    /// This node's address, the one that peers are told.
    pub address: IpAddr,
    /// The interface; found by the address when absent.
    pub interface: Option<String>,
    /// UDP port of shard 0; shard s uses `base_port + s`.
    pub base_port: u16,
    /// How frames are moved.
    pub port: PortChoice,
    /// UDP port of the sessions between daemons.
    pub control_port: u16,
}

/// `[security]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Security {
    /// Holds `node.pem` and `ca.pem`, as `latticectl cluster` makes them.
    pub directory: PathBuf,
    /// Frames are sealed, and others refused; else they are where the other node wants it so.
    pub seal: bool,
    /// Time after which a key of sealed frames is replaced, seconds.
    pub key_life_s: u64,
}

/// What a worker does when a turn of its loop found nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Idle {
    /// Polls on: a core of its own, the lowest latency.
    Busy,
    /// Yields its core to others that want it.
    Yield,
    /// Spins a little, then sleeps until a frame or a client wakes it.
    Sleep,
}

/// `[workers]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Workers {
    /// One pinned worker per entry; shard s belongs to worker s modulo their number.
    pub cores: Vec<usize>,
    /// What a worker does when idle.
    pub idle: Idle,
}

/// `[paths]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Paths {
    /// Holds the segment, the admin socket and the lock; on tmpfs, so that publication never waits for a disk.
    pub directory: PathBuf,
}

impl Paths {
    /// The published segment.
    #[must_use]
    pub fn segment(&self) -> PathBuf {
        self.directory.join("segment")
    }

    /// The Unix socket of clients and of `latticectl`.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join("daemon.sock")
    }

    /// Locked by the running daemon.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }

    /// The logs while the machine runs, where they are kept.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.directory.join("log")
    }
}

/// What of the state outlives the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StorageMode {
    /// Operations and snapshots go to the directory: a killed daemon loses nothing, a crashed machine what was not synced.
    Disk,
    /// Nothing: every start is a new epoch, and learns the state from its peers.
    Memory,
}

/// When what was written is made to survive the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncChoice {
    /// Every `sync_interval_ms`, all of it at once.
    Interval,
    /// After each burst of writes, as soon as the disk is free.
    Always,
    /// With snapshots and at the end; else when the kernel likes.
    Never,
}

/// `[storage]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// What outlives the daemon.
    pub mode: StorageMode,
    /// The data directory: one node's, on a disk.
    pub directory: PathBuf,
    /// When logs are synced.
    pub sync: SyncChoice,
    /// Period of syncs, if that is the choice, milliseconds.
    pub sync_interval_ms: u64,
    /// Time after which a changed shard gets a snapshot, seconds; a log that is half full gets one at once.
    pub snapshot_interval_s: u64,
}

/// `[process]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Who root becomes after the start, by name or number; `None`: nobody else.
    pub user: Option<String>,
    /// Its group; `None`: the user's own.
    pub group: Option<String>,
    /// System calls that the daemon has no use for are refused.
    pub seccomp: bool,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Log {
    /// What is logged, as tracing's `EnvFilter` understands it.
    pub filter: String,
}

/// `[metrics]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// Where metrics and health are served over HTTP; `None`: nowhere.
    pub listen: Option<SocketAddr>,
}

/// What becomes of local writes to keys of no declared namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Undeclared {
    /// The rule of the namespace `*`; without one, everything is allowed.
    #[default]
    Default,
    /// They are refused.
    Refuse,
}

/// `[keys]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Keys {
    /// Keys of no declared namespace.
    pub undeclared: Undeclared,
}

/// The name of the default namespace in the file.
pub const DEFAULT_NAMESPACE: &str = "*";

/// A kind of keys, as the file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// Counters.
    Counter,
    /// Flags, of the rule that `wins` says.
    Flag,
    /// Registers: the last writer wins.
    Register,
    /// Sets: an insertion wins over a removal that did not see it.
    Set,
}

/// Who wins when a flag is enabled and disabled at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wins {
    /// Enabling.
    Enable,
    /// Disabling.
    Disable,
}

/// A user or a group, by name or number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// `user:…`
    User(String),
    /// `group:…`
    Group(String),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Principal::User(name) => write!(f, "user:{name}"),
            Principal::Group(name) => write!(f, "group:{name}"),
        }
    }
}

/// Users and groups who may write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteList(pub Vec<Principal>);

impl fmt::Display for WriteList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nobody");
        }
        for (at, principal) in self.0.iter().enumerate() {
            write!(f, "{}{principal}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Serialize for WriteList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One of `[[namespaces]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// What stands before the first `/` of its keys; `*`: all keys of no other one.
    pub name: String,
    /// The only kind that its keys have; `None`: any.
    pub kind: Option<KeyKind>,
    /// For flags: who wins; enabling if it is not said.
    pub wins: Option<Wins>,
    /// Keys on this host beyond which no local write makes another; `None`: no bound of its own.
    pub max_keys: Option<u64>,
    /// Who may write; `None`: whoever can connect.
    pub write: Option<WriteList>,
}

impl Namespace {
    /// The only kind that its keys have.
    #[must_use]
    pub fn only_kind(&self) -> Option<lattice_crdt::Kind> {
        Some(match (self.kind?, self.wins) {
            (KeyKind::Counter, _) => lattice_crdt::Kind::Counter,
            (KeyKind::Flag, Some(Wins::Disable)) => lattice_crdt::Kind::FlagDisableWins,
            (KeyKind::Flag, _) => lattice_crdt::Kind::FlagEnableWins,
            (KeyKind::Register, _) => lattice_crdt::Kind::Register,
            (KeyKind::Set, _) => lattice_crdt::Kind::Set,
        })
    }
}

/// `[limits]`: a bound on everything that can grow. Per shard unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Keys that local writes may create; what peers created is merged beyond it.
    pub max_keys: usize,
    /// Bytes of the log of own operations; a peer that falls out of it gets a state sync.
    pub log_bytes: usize,
    /// Operations that the log can index, a power of two.
    pub log_records: usize,
    /// Actors (nodes, and epochs of nodes) in the version vector.
    pub max_actors: usize,
    /// Out-of-order ranges per actor before further out-of-order frames are refused.
    pub max_ranges_per_actor: usize,
    /// Removals known before the operation that they remove.
    pub max_pre_removed: usize,
    /// Unacknowledged frames to one peer.
    pub max_window_frames: usize,
    /// Local operations between two commits.
    pub max_burst_ops: usize,
    /// Keys that a worker can publish.
    pub segment_cells_per_worker: u32,
    /// Bytes of register values, set members and long keys that a worker can publish.
    pub segment_extent_bytes_per_worker: u64,
    /// Publications that a watcher may lag behind before it has to rescan, a power of two.
    pub change_ring_entries: u32,
    /// Slots of 64 bytes in each client's submission ring of one worker, a power of two.
    pub submission_slots: u32,
    /// Refusals that a client may leave unread at one worker, a power of two.
    pub completion_slots: u32,
    /// Connections to the admin socket at a time.
    pub max_clients: usize,
    /// AF_XDP frames per worker (2 KiB each), a power of two.
    pub umem_frames_per_worker: u32,
}

/// `[timers]`, milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Timers {
    /// Period of heartbeats to each peer and shard.
    pub heartbeat_ms: u64,
    /// Silence after which a peer counts as down.
    pub peer_timeout_ms: u64,
    /// Period of hellos to a peer without a session.
    pub hello_ms: u64,
    /// Longest that an acknowledgement waits.
    pub ack_delay_ms: u64,
    /// Lower bound of the retransmission timeout.
    pub min_rto_ms: u64,
    /// Upper bound of the retransmission timeout.
    pub max_rto_ms: u64,
    /// Mean period of vectors to one random peer.
    pub anti_entropy_ms: u64,
    /// Standstill after which a state sync is abandoned.
    pub sync_timeout_ms: u64,
    /// How far this node's clock may run ahead of its peers before it refuses its own register writes.
    pub max_clock_skew_ms: u64,
    /// Age of a worker's heartbeat from which applications take the daemon for dead.
    pub segment_heartbeat_timeout_ms: u64,
    /// Period of asking the kernel for the peers' next hops (AF_XDP only).
    pub neighbour_refresh_ms: u64,
}

/// One of `[[peers]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Its node id.
    pub id: u16,
    /// Its address.
    pub address: IpAddr,
}

impl Config {
    /// What every frame carries so that another cluster's are told apart: the first 4 bytes of xxh64 of the name.
    #[must_use]
    pub fn cluster_tag(&self) -> u32 {
        let [a, b, c, d, ..] = xxhash_rust::xxh64::xxh64(self.cluster.name.as_bytes(), 0).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// The UDP port of a shard.
    #[must_use]
    pub fn udp_port(&self, shard: u16) -> u16 {
        self.network.base_port.saturating_add(shard)
    }
}
