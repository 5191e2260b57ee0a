//! A worker's account of itself, made when the control thread asks.

use crate::seals::SealStatus;
use lattice_crdt::ActorId;
use lattice_engine::{EngineStats, PeerStatus, SyncStatus};
use lattice_port::{PortMode, PortStats};
use std::fmt;

/// Everything there is to say about one worker at one moment.
#[derive(Clone, Debug)]
pub struct WorkerStatus {
    /// Index of the worker.
    pub worker: u16,
    /// The core it is pinned to.
    pub pinned_to: Option<usize>,
    /// Its shards, ascending.
    pub shards: Vec<ShardStatus>,
    /// How its port moves frames.
    pub port_mode: PortMode,
    /// The port's own description: which mode and why.
    pub port_describe: String,
    /// The port's counters.
    pub port_stats: PortStats,
    /// The loop's counters.
    pub loop_stats: LoopStats,
    /// Clients attached.
    pub clients: usize,
    /// How frames to and from peers are sealed, of those for which it was said.
    pub seals: Vec<SealStatus>,
    /// Time since a frame came without the seal that it has to have, or with a broken one, nanoseconds; `None`: never.
    pub forged_age_ns: Option<u64>,
    /// What works less well than configured at present.
    pub degraded: Vec<Degradation>,
}

/// One shard.
#[derive(Clone, Debug)]
pub struct ShardStatus {
    /// Which.
    pub shard: u16,
    /// This node in the shard's present epoch.
    pub actor: ActorId,
    /// Seq of the last own operation.
    pub last_seq: u64,
    /// How it is kept; `None`: in memory only.
    pub storage: Option<StorageStatus>,
    /// Keys held.
    pub keys: u64,
    /// Digest of the canonical state: equal on two nodes that hold the same.
    pub state_digest: u64,
    /// Digest of the version vector.
    pub vector_digest: u64,
    /// Publications that wait for room in the segment.
    pub unpublished: u64,
    /// How far this node's wall clock runs ahead of its peers, nanoseconds.
    pub clock_ahead_ns: u64,
    /// The engine's counters.
    pub stats: EngineStats,
    /// The peers, in the order of their slots.
    pub peers: Vec<PeerStatus>,
    /// State syncs that are under way.
    pub syncs: Vec<SyncStatus>,
    /// Forgotten nodes, each with the least generation that its epochs must have.
    pub forgotten: Vec<(u16, u8)>,
    /// Operations of forgotten nodes that are missing here, and are given up when all members have answered.
    pub missing_of_forgotten: u64,
    /// This node was forgotten itself, and takes no writes.
    pub is_forgotten: bool,
    /// Actors in the version vector.
    pub actors: u64,
    /// Actors for which there is room.
    pub max_actors: u64,
}

/// How a shard is kept on storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageStatus {
    /// Seq of the newest own operation that survives the machine.
    pub durable_seq: u64,
    /// Bytes of the log that no durable snapshot covers.
    pub uncovered_bytes: u64,
    /// Bytes that the log has place for.
    pub log_bytes: u64,
    /// Generation of the last snapshot that became durable in this run; 0: none yet.
    pub snapshot_generation: u64,
    /// Length of that snapshot.
    pub snapshot_bytes: u64,
    /// Time since it became durable, nanoseconds; `None`: none yet in this run.
    pub snapshot_age_ns: Option<u64>,
    /// One is due at once, being made, or about to become durable.
    pub snapshot_pending: bool,
    /// Snapshots that storage gave up in this run.
    pub snapshots_failed: u64,
    /// Nothing becomes durable any more in this run.
    pub has_failed: bool,
}

/// Counters of one worker's loop since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopStats {
    /// Turns.
    pub turns: u64,
    /// Turns that found something to do.
    pub busy_turns: u64,
    /// Time spent in those, nanoseconds.
    pub busy_ns: u64,
    /// The longest turn, nanoseconds: what a stall looks like.
    pub longest_turn_ns: u64,
    /// Times that it went to sleep.
    pub sleeps: u64,
    /// Frames taken from the port.
    pub frames_received: u64,
    /// Frames that were dropped as not belonging to any shard of this node (wrong port).
    pub frames_misdirected: u64,
    /// Frames handed to the port.
    pub frames_transmitted: u64,
    /// Frames that the port refused; repair sends them again.
    pub transmit_refused: u64,
    /// Frames that were sealed.
    pub frames_sealed: u64,
    /// Frames that were opened, and went to an engine.
    pub frames_opened: u64,
    /// Frames that were dropped for want of a seal.
    pub seal_missing: u64,
    /// Frames that were dropped because their key is not known: of an earlier session, or none was handed over yet.
    pub seal_unknown_key: u64,
    /// Frames that were dropped because their seal is broken: damaged or forged.
    pub seal_broken: u64,
    /// Sealed frames that were dropped because they had come before, or came far too late.
    pub seal_replayed: u64,
    /// Frames that were not sent for want of a key.
    pub seal_no_key: u64,
    /// Frames passed on to the worker that owns their shard.
    pub handed_over: u64,
    /// Frames that could not be passed on: the owner's inbox was full.
    pub handover_dropped: u64,
    /// Frames taken over from other workers.
    pub taken_over: u64,
    /// Operations of clients carried out, refused ones included.
    pub submissions: u64,
    /// Operations of clients refused with an error code.
    pub submissions_refused: u64,
    /// Those of them that were too early: the log had no room, or its epoch was over.
    pub refused_log_full: u64,
    /// Those of clients that may not write to the key's namespace.
    pub denied_access: u64,
    /// Those of another kind than that of the key's namespace.
    pub denied_kind: u64,
    /// Those on keys of no declared namespace, where these are refused.
    pub denied_undeclared: u64,
    /// Those that would have made one more key in a namespace that had as many as it may have.
    pub denied_full: u64,
    /// Times that a client's operation had to wait for a commit.
    pub submissions_postponed: u64,
    /// Clients let go for breaking the rules of their ring.
    pub clients_faulted: u64,
    /// Gauge: slots that clients say they have filled and that were not taken yet, when last looked at.
    pub ring_slots_waiting: u64,
    /// System calls of the port that failed.
    pub port_errors: u64,
}

/// Something that works, but less well than configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Degradation {
    /// The thread could not be pinned to its core; the scheduler moves it.
    Unpinned,
    /// The segment has no room for some publication: the state is merged and replicated, but readers here miss it. Over
    /// when it found room.
    SegmentFull,
    /// A system call of the port has failed since the start; the port's counters say more.
    PortFailing,
    /// For a while, the log of some shard has had no room for operations: they are refused until a snapshot is durable. Over
    /// when there is room.
    LogFull,
    /// A write or sync of some log failed: nothing of that shard becomes durable any more in this run.
    StorageFailing,
}

impl Degradation {
    /// Every kind, in the order of their bits.
    pub const ALL: [Degradation; 5] = [
        Degradation::Unpinned,
        Degradation::SegmentFull,
        Degradation::PortFailing,
        Degradation::LogFull,
        Degradation::StorageFailing,
    ];

    /// The name in reports and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Degradation::Unpinned => "unpinned",
            Degradation::SegmentFull => "segment-full",
            Degradation::PortFailing => "port-failing",
            Degradation::LogFull => "log-full",
            Degradation::StorageFailing => "storage-failing",
        }
    }

    pub(crate) const fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

impl fmt::Display for Degradation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
