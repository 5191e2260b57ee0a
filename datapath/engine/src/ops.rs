//! Operations of local clients, and how they can fail.

use lattice_crdt::{Dot, Kind};

/// One local operation. Keys, elements and values are untrusted: the engine checks their lengths.
#[derive(Clone, Copy, Debug)]
pub enum LocalOp<'a> {
    /// Adds `amount` (negative: subtracts) to a counter.
    CounterAdd(i64),
    /// Turns a flag on.
    Enable,
    /// Turns a flag off.
    Disable,
    /// Replaces a register's value, at most 1024 bytes.
    RegisterSet(&'a [u8]),
    /// Inserts an element of at most 256 bytes.
    SetInsert(&'a [u8]),
    /// Removes an element; what others add concurrently stays.
    SetRemove(&'a [u8]),
    /// Removes every element seen here, as many operations as it takes.
    SetClear,
}

/// What an applied operation became. It is visible to readers after the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The dot of its record: coalesced increments share one. `None`: nothing to do (removal of what is not there).
    pub dot: Option<Dot>,
}

/// Why a local operation was refused. In every case nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// The key is empty or longer than 128 bytes.
    #[error("a key has 1 to 128 bytes, this one {0}")]
    BadKey(usize),
    /// An element or a register value is too long.
    #[error("the value has {len} bytes, the limit is {limit}")]
    TooLarge {
        /// Its length.
        len: usize,
        /// The limit of this kind.
        limit: usize,
    },
    /// The key exists here with another kind.
    #[error("the key exists as {0:?}")]
    KindMismatch(Kind),
    /// The operation does not belong to the kind.
    #[error("the operation does not fit the kind")]
    WrongOperation,
    /// No room for another key, or the published segment is full.
    #[error("no room for another key")]
    CapacityExceeded,
    /// Too many operations since the last commit, or too much that it would supersede is still on its way here: commit,
    /// then try again.
    #[error("too many operations in one burst")]
    Backpressure,
    /// The log has no room: what it holds is in no durable snapshot yet, or its epoch is not durable yet. Try again.
    #[error("the log is full of operations that no durable snapshot covers")]
    LogFull,
    /// A peer knows operations of this epoch that this node does not: it came up from an old copy of its storage. The
    /// node takes a new epoch; try again.
    #[error("the epoch is over: a peer knows more of it than this node")]
    EpochOver,
    /// This node's wall clock runs ahead of its peers: its registers would win over later writes of others.
    #[error("this node's clock is {ahead_ns} ns ahead of its peers")]
    ClockSkew {
        /// By how much.
        ahead_ns: u64,
    },
}
