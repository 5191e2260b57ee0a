//! The log of a shard, wherever the daemon keeps it: in memory or in files.
//!
//! ```text
//!   ShardLog ─┬─ Memory ── MemoryLog      ends with the process
//!             └─ File ──── FileLog        outlives it
//! ```
//!
//! One type for both, so that a worker is the same program in either mode; an append takes one branch more, which is
//! always the same one.

use crate::log::{FileLog, LogHandle};
use lattice_crdt::ActorId;
use lattice_engine::{LogStore, MemoryLog};

/// See the module's documentation.
pub enum ShardLog {
    /// It dies with the process.
    Memory(MemoryLog),
    /// It outlives the process, and as far as it was synced the machine.
    File(FileLog),
}

impl ShardLog {
    /// For asking it from other threads; `None` for one in memory.
    pub fn handle(&self) -> Option<LogHandle> {
        match self {
            Self::Memory(_) => None,
            Self::File(log) => Some(log.handle()),
        }
    }
}

impl From<MemoryLog> for ShardLog {
    fn from(log: MemoryLog) -> Self {
        Self::Memory(log)
    }
}

impl From<FileLog> for ShardLog {
    fn from(log: FileLog) -> Self {
        Self::File(log)
    }
}

impl LogStore for ShardLog {
    #[inline]
    fn append(&mut self, record: &[u8]) -> u64 {
        match self {
            Self::Memory(log) => log.append(record),
            Self::File(log) => log.append(record),
        }
    }

    #[inline]
    fn first_seq(&self) -> u64 {
        match self {
            Self::Memory(log) => log.first_seq(),
            Self::File(log) => log.first_seq(),
        }
    }

    #[inline]
    fn last_seq(&self) -> u64 {
        match self {
            Self::Memory(log) => log.last_seq(),
            Self::File(log) => log.last_seq(),
        }
    }

    #[inline]
    fn record(&self, seq: u64) -> Option<&[u8]> {
        match self {
            Self::Memory(log) => log.record(seq),
            Self::File(log) => log.record(seq),
        }
    }

    fn begin_epoch(&mut self, actor: ActorId) {
        match self {
            Self::Memory(log) => log.begin_epoch(actor),
            Self::File(log) => log.begin_epoch(actor),
        }
    }

    #[inline]
    fn room(&self) -> usize {
        match self {
            Self::Memory(log) => log.room(),
            Self::File(log) => log.room(),
        }
    }
}
