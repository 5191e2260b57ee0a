//! What an engine is told when it is made: who it is, who its peers are, its bounds and its timers.

use lattice_crdt::ActorId;

/// A moment as the caller sees it. The engine never asks for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// Monotonic nanoseconds since any fixed origin: every timer runs on this.
    pub monotonic_ns: u64,
    /// Unix nanoseconds: stamps registers (through the hybrid logical clock) and nothing else.
    pub wall_ns: u64,
}

/// Bounds of one engine. Everything that can grow by what a peer sends is here.
#[derive(Clone, Debug)]
pub struct EngineLimits {
    /// Keys that local writes may create; remote state is merged beyond it.
    pub max_keys: usize,
    /// Bytes of the log of own operations; a peer that falls out of it gets a state sync.
    pub log_bytes: usize,
    /// Operations that the log can index, a power of two.
    pub log_records: usize,
    /// Actors that the version vector may hold.
    pub max_actors: usize,
    /// Out-of-order ranges held per actor before further out-of-order frames are refused. State syncs, which must be
    /// able to go on when a table is full, may bring as many again for each host.
    pub max_ranges_per_actor: usize,
    /// Pre-removed dots held before records that would add one are refused. State syncs may bring as many again for
    /// each host: a sync may be the only thing that still makes room.
    pub max_pre_removed: usize,
    /// Frames in flight to one peer.
    pub max_window_frames: usize,
    /// Local operations between two commits; further ones get [`crate::OpError::Backpressure`].
    pub max_burst_ops: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            max_keys: 65_536,
            log_bytes: 4 << 20,
            log_records: 1 << 16,
            max_actors: lattice_crdt::limits::MAX_ACTORS,
            max_ranges_per_actor: 64,
            max_pre_removed: 1024,
            max_window_frames: 256,
            max_burst_ops: 1024,
        }
    }
}

/// Periods and timeouts, monotonic nanoseconds.
#[derive(Clone, Debug)]
pub struct EngineTimers {
    /// Longest that an acknowledgement waits.
    pub ack_delay_ns: u64,
    /// Data frames from one peer after which an acknowledgement is sent at once.
    pub ack_every_frames: u32,
    /// Bounds of the retransmission timeout.
    pub min_rto_ns: u64,
    /// See `min_rto_ns`.
    pub max_rto_ns: u64,
    /// Period of heartbeats to each peer.
    pub heartbeat_ns: u64,
    /// Silence after which a peer's lane is down: its frames stop until it is heard again.
    pub peer_timeout_ns: u64,
    /// Period of hellos to a peer without an established session.
    pub hello_ns: u64,
    /// Mean period of anti-entropy: vectors to one random peer.
    pub anti_entropy_ns: u64,
    /// A state sync that makes no progress for so long is abandoned.
    pub sync_timeout_ns: u64,
    /// How far this node's wall clock may run ahead of its peers before it refuses its own register writes.
    pub max_clock_skew_ns: u64,
}

impl Default for EngineTimers {
    fn default() -> Self {
        const MS: u64 = 1_000_000;
        Self {
            ack_delay_ns: MS,
            ack_every_frames: 32,
            min_rto_ns: 2 * MS,
            max_rto_ns: 200 * MS,
            heartbeat_ns: 100 * MS,
            peer_timeout_ns: 1_000 * MS,
            hello_ns: 50 * MS,
            anti_entropy_ns: 1_000 * MS,
            sync_timeout_ns: 2_000 * MS,
            max_clock_skew_ns: 500 * MS,
        }
    }
}

/// What an engine's state survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Nothing: every start is a new epoch without operations. So nobody can know operations of this epoch that this
    /// run did not make.
    Memory,
    /// The log and snapshots on storage: what is durable is what [`crate::Engine::snapshot_is_durable`] was told, and
    /// the storage may have been an old copy.
    Durable,
}

/// Everything an engine needs to begin.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The actor of this node's current epoch: its operations' dots are its.
    pub actor: ActorId,
    /// Random and non-zero, drawn anew at every start: acknowledgements belong to it.
    pub session: u32,
    /// Which shard of the keyspace this engine owns.
    pub shard: u16,
    /// First bytes of the cluster's identity: frames of another cluster are dropped.
    pub cluster_tag: u32,
    /// Node ids of the peers, this node not among them. A peer's index here is its *peer slot*.
    pub peers: Vec<u16>,
    /// What the state survives.
    pub storage: Storage,
    /// Bounds.
    pub limits: EngineLimits,
    /// Timers.
    pub timers: EngineTimers,
    /// Seed of the engine's own draws (which peer to exchange vectors with, jitter).
    pub random_seed: u64,
}

/// A configuration that can't be run. No engine was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineConfigError {
    /// A bound is zero, or not a power of two where it must be.
    #[error("limit `{name}` is {value}: {requirement}")]
    Limit {
        /// The field.
        name: &'static str,
        /// What it held.
        value: usize,
        /// What it has to be.
        requirement: &'static str,
    },
    /// The peer list names this node, or a node twice, or more nodes than fit.
    #[error("peer list: {0}")]
    Peers(String),
    /// The epoch has operations already.
    #[error("epoch {0:#x} was used before")]
    KnownEpoch(u64),
    /// The cluster has forgotten this node: it needs an epoch of that generation, and to begin from nothing.
    #[error("this node was forgotten: an epoch of generation {0} is needed, and none of the state of before")]
    Forgotten(u8),
    /// The session or the epoch is zero.
    #[error("{0} must not be zero")]
    Zero(&'static str),
}
