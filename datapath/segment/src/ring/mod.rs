//! The client rings: how applications hand operations to workers.
//!
//! ```text
//!   application                      sealed memfd                          worker
//!   RingProducer::submit ──> [ submission ring, 64-byte slots ] ──> RingConsumer::poll ──> apply, publish
//!   applied, take_failure <── [ applied count, failure entries ] <── RingConsumer::complete
//!   watermark             <── [ durable, majority, all, merged ] <── RingConsumer::tell
//! ```
//!
//! Each client has one pair of rings for each worker, so that no two threads ever write the same word and a client can
//! only disturb itself. The daemon treats everything in the file as hostile. See `submission`, `completion` and `levels`
//! for the protocols, [`layout`] for the bytes.

#[doc(hidden)]
pub mod burst;
#[doc(hidden)]
pub mod completion;
pub mod layout;
#[doc(hidden)]
pub mod levels;
#[doc(hidden)]
pub mod part;
#[doc(hidden)]
pub mod submission;

#[cfg(not(loom))]
mod consumer;
#[cfg(not(loom))]
mod geometry;
#[cfg(not(loom))]
mod producer;
#[cfg(not(loom))]
mod shared;
#[cfg(not(loom))]
mod watcher;

#[cfg(not(loom))]
pub use consumer::RingConsumer;
#[cfg(not(loom))]
pub use producer::RingProducer;
#[cfg(not(loom))]
pub use shared::create_rings;
#[cfg(not(loom))]
pub use watcher::RingWatcher;

pub use levels::{AckTerms, Levels, Watermark};

use std::io;

/// Sizes of a client's rings.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig {
    /// Slots of 64 bytes for submissions, per worker: a power of two, 32..=65536.
    pub submission_slots: u32,
    /// Entries for failures, per worker: a power of two, 32..=65536.
    pub completion_slots: u32,
}

/// Error codes of failed submissions.
pub mod codes {
    /// The segment or a table has no room.
    pub const CAPACITY_EXCEEDED: u16 = 1;
    /// The key exists with another kind.
    pub const KIND_MISMATCH: u16 = 2;
    /// The node's clock is too far ahead of its peers.
    pub const CLOCK_SKEW: u16 = 3;
    /// An element or value is too large.
    pub const TOO_LARGE: u16 = 4;
    /// The key is empty or too long.
    pub const BAD_KEY: u16 = 5;
    /// The handle names no live cell.
    pub const STALE_CELL: u16 = 6;
    /// The operation does not exist for this kind.
    pub const NOT_SUPPORTED: u16 = 7;
    /// The log is full of operations that peers have not acknowledged: try again.
    pub const LOG_FULL: u16 = 8;
    /// The key belongs to another worker.
    pub const WRONG_WORKER: u16 = 9;
    /// The client is not among those who may write to the key's namespace.
    pub const ACCESS_DENIED: u16 = 10;
    /// The key's namespace is declared for another kind.
    pub const OTHER_KIND_DECLARED: u16 = 11;
    /// The key's namespace is not declared, and others are refused.
    pub const UNDECLARED: u16 = 12;
    /// The key's namespace has as many keys as it may have.
    pub const NAMESPACE_FULL: u16 = 13;
    /// The host is about to be stopped and takes no writes.
    pub const DRAINED: u16 = 14;
}

/// What a submission asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SubmitOp {
    /// Add `amount` to a counter.
    CounterAdd = 1,
    /// Enable a flag.
    FlagEnable = 2,
    /// Disable a flag.
    FlagDisable = 3,
    /// Set a register to `data`.
    RegisterSet = 4,
    /// Insert `data` into a set.
    SetInsert = 5,
    /// Remove `data` from a set.
    SetRemove = 6,
    /// Remove every element of a set.
    SetClear = 7,
    /// Changes nothing: from here on the daemon tells how far this and all earlier submissions have got.
    Mark = 8,
}

impl SubmitOp {
    /// The operation of a number; `None` if there is none.
    pub const fn from_number(number: u8) -> Option<SubmitOp> {
        Some(match number {
            1 => SubmitOp::CounterAdd,
            2 => SubmitOp::FlagEnable,
            3 => SubmitOp::FlagDisable,
            4 => SubmitOp::RegisterSet,
            5 => SubmitOp::SetInsert,
            6 => SubmitOp::SetRemove,
            7 => SubmitOp::SetClear,
            8 => SubmitOp::Mark,
            _ => return None,
        })
    }
}

/// What a submission is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A key, 1..=128 bytes.
    Key(&'a [u8]),
    /// A handle's cell in the ring's worker.
    Cell {
        /// Number of the cell.
        cell: u32,
        /// Its generation.
        generation: u32,
    },
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission<'a> {
    /// What to do.
    pub op: SubmitOp,
    /// Kind of the key (1..=5); of a mark 0.
    pub kind: u8,
    /// On what.
    pub target: Target<'a>,
    /// Amount of a counter's addition, or the bits of a mark, else 0.
    pub amount: i64,
    /// Element or register value, else empty.
    pub data: &'a [u8],
}

impl Submission<'static> {
    /// A mark: [`Watermark`]s are kept for it and everything before it. `disk` and `peers` say for which of them somebody
    /// waits, so that they are asked to hurry; all watermarks are kept in any case.
    pub fn mark(disk: bool, peers: bool) -> Self {
        // No cell has the number 0. A third kind of target would make each submission larger, for the rarest one.
        let target = Target::Cell { cell: 0, generation: 0 };
        let bits = (u64::from(disk) * layout::MARK_DISK) | (u64::from(peers) * layout::MARK_PEERS);
        Submission { op: SubmitOp::Mark, kind: 0, target, amount: bits as i64, data: &[] }
    }
}

/// What became of a submission that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was carried out.
    Applied,
    /// It was refused with one of [`codes`]; the client finds it among its failures.
    Refused(u16),
    /// It has to wait: leave it in the ring, end the poll, hand it out first in the next one.
    Retry,
}

/// Number of a submission on its ring, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Why a submission was not queued. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The ring has no room: try again when `applied` has moved.
    #[error("the submission ring is full")]
    RingFull,
    /// The key is empty or longer than 128 bytes.
    #[error("the key is empty or longer than 128 bytes")]
    BadKey,
    /// The data is longer than any value may be.
    #[error("the value is too large")]
    TooLarge,
}

/// The ring's memory contradicts the protocol: the client loses its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingFault {
    /// The submission index jumped.
    #[error("the submission index jumped")]
    SubmissionIndex,
    /// The completion index jumped.
    #[error("the completion index jumped")]
    CompletionIndex,
    /// A length does not fit its slots or its limits.
    #[error("a length does not fit")]
    BadLength,
    /// No such operation or kind.
    #[error("no such operation or kind")]
    BadOp,
    /// Reserved bits are set.
    #[error("reserved bits are set")]
    BadReserved,
}

/// Why rings could not be created or mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// A size is out of range.
    #[error("ring setting `{setting}` = {value} is out of range")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// What was given.
        value: u64,
    },
    /// The operating system refused a step.
    #[error("cannot {step} the rings: {source}")]
    Io {
        /// What was attempted.
        step: &'static str,
        /// Why it was refused.
        source: io::Error,
    },
    /// The descriptor does not hold rings of this layout, or could be truncated under us.
    #[error("not a sealed ring file of this version: {0}")]
    Invalid(&'static str),
}
