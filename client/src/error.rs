//! Errors, each saying what happened to the state and what the caller can do about it.
//!
//! Three families, told apart by [`Error::nothing_happened`] and [`Error::is_temporary`]:
//!
//! ```text
//!   before the daemon saw it      BadKey TooLarge KindMismatch RingFull ReadOnly DaemonStale
//!   (nothing was enqueued)        DaemonClosed Connect Attach Protocol Open AckImpossible
//!   the daemon answered no        Refused, WritesRefused
//!   (nothing was changed)
//!   nobody can say                Timeout (still under way), OutcomeUnknown, OutcomeForgotten
//!   as far as it says             NotReached (still under way), AckUnknown
//! ```

use std::path::PathBuf;
use std::time::Duration;

use lattice_segment as segment;

use crate::Kind;
use crate::ack::{Ack, AckImpossible, Reached};

/// What every fallible call of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed. The message of each variant says what happened to the state and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No daemon answers at the socket.
    #[error("no daemon answers at {}: {source}; nothing was changed; is latticed running, and may this user open the socket?", .socket.display())]
    Connect {
        /// The socket that was tried.
        socket: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The daemon refused to attach this client.
    #[error("the daemon refused to attach this client: {message} ({code}); nothing was changed")]
    Attach {
        /// The daemon's machine-readable reason.
        code: String,
        /// The daemon's words.
        message: String,
    },
    /// The daemon's reply could not be understood: another version, or not a latticed socket.
    #[error(
        "the reply of the daemon can't be used: {0}; nothing was changed; do daemon and client versions match?"
    )]
    Protocol(String),
    /// The segment file can't be opened or is not valid.
    #[error("the segment {} can't be opened: {source}; nothing was changed", .path.display())]
    Open {
        /// The segment's path.
        path: PathBuf,
        /// What is wrong with it.
        source: segment::OpenError,
    },
    /// A key has 1 to 128 bytes.
    #[error("a key has 1 to {limit} bytes, this one {len}; nothing was enqueued")]
    BadKey {
        /// Length of the key that was given, in bytes.
        len: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A register value or a set element is too long.
    #[error("the value has {len} bytes, the limit is {limit}; nothing was enqueued")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit of this kind, in bytes.
        limit: usize,
    },
    /// The key exists on this host with another kind. Kind is part of a key's identity: choose another key, or open it as it is.
    #[error(
        "the key exists as {found}, not as {wanted}; nothing was changed; open it as {found} or choose another key"
    )]
    KindMismatch {
        /// The kind that was asked for.
        wanted: Kind,
        /// The kind that it has here.
        found: Kind,
    },
    /// The submission ring to this worker is full: the application writes faster than the daemon applies.
    #[error(
        "the ring to worker {worker} is full; nothing was enqueued; wait for earlier writes, then try again"
    )]
    RingFull {
        /// The worker whose ring is full.
        worker: u16,
    },
    /// The client was opened with [`crate::Client::open_read_only`].
    #[error("this client is read-only; nothing was enqueued; use Client::connect to write")]
    ReadOnly,
    /// The worker that owns the key has not given a sign of life for longer than its published timeout.
    #[error(
        "the daemon's worker {worker} has been silent for {age:?} (its timeout is {timeout:?}); nothing was enqueued; reads serve the last known state"
    )]
    DaemonStale {
        /// The silent worker.
        worker: u16,
        /// Age of its last heartbeat.
        age: Duration,
        /// The timeout that the daemon publishes.
        timeout: Duration,
    },
    /// The daemon stopped or dropped this client, and no successor has been found yet. Each later call tries to re-attach.
    #[error(
        "the daemon is gone, last heartbeat {age:?} ago; nothing was enqueued; reads serve the last known state, calls re-attach when it is back"
    )]
    DaemonClosed {
        /// Age of the last heartbeat.
        age: Duration,
    },
    /// The daemon applied this client's write not at all.
    #[error("the daemon refused the write: {0}; nothing was changed")]
    Refused(#[from] Refusal),
    /// A barrier found refused writes among those that it covers; the others are applied and visible.
    #[error(
        "{count} writes since the last barrier were refused, the first because: {first}; those changed nothing, all others are applied"
    )]
    WritesRefused {
        /// How many.
        count: u64,
        /// Why the first of them was refused.
        first: Refusal,
    },
    /// The wait ended first. The write is still under way and may be applied at any later time.
    #[error(
        "not applied within {waited:?}; the write is still under way; wait again, heartbeat is {heartbeat_age:?} old"
    )]
    Timeout {
        /// How long the call waited.
        waited: Duration,
        /// Age of the worker's last heartbeat: old means that the daemon hangs.
        heartbeat_age: Duration,
    },
    /// The daemon went away before it acknowledged these writes: each may or may not have been applied. After reconnecting, read, then decide;
    /// only writes that may be repeated (a flag, a register, an insert) should be repeated blindly.
    #[error(
        "outcome unknown: the daemon went away with {writes} writes unacknowledged; each may have been applied or not; read before repeating"
    )]
    OutcomeUnknown {
        /// How many.
        writes: u64,
    },
    /// No write can ever get as far as was asked, at this daemon. What was to be written by the same call was not.
    #[error("no write can be acknowledged as `{asked}`: {reason}; nothing was enqueued or waited for")]
    AckImpossible {
        /// The level that was asked for.
        asked: Ack,
        /// Why it can't be reached.
        reason: AckImpossible,
    },
    /// The wait ended before the write had got as far as was asked. It goes on by itself; what was reached stays reached.
    #[error(
        "not acknowledged as `{asked}` within {waited:?}, but: {reached}; it goes on by itself; wait again, do not repeat the write"
    )]
    NotReached {
        /// The level that was asked for.
        asked: Ack,
        /// How long the call waited.
        waited: Duration,
        /// What was reached instead.
        reached: Reached,
        /// Age of the worker's last heartbeat: old means that the daemon hangs.
        heartbeat_age: Duration,
    },
    /// The daemon went away before it had told that the write got as far as was asked. What it had told stays true; whether the
    /// write got any further, nobody can say. Read before repeating it.
    #[error(
        "the daemon went away before it acknowledged as `{asked}`: {reached}; beyond that the outcome is unknown; read before repeating"
    )]
    AckUnknown {
        /// The level that was asked for.
        asked: Ack,
        /// What the daemon had told.
        reached: Reached,
    },
    /// This write's result was waited for too late: the client remembers a bounded number of refusals, and more came after.
    #[error(
        "the result of this write is no longer remembered; it was either applied or refused; read to find out, and wait sooner"
    )]
    OutcomeForgotten,
    /// The value was overwritten faster than it could be copied out, many times in a row.
    #[error("the value changes faster than it can be read; nothing was changed; read again")]
    Busy,
    /// The segment's content contradicts itself: a fault of the daemon or of the memory.
    #[error("the segment is corrupt at this key; nothing was changed; report this and restart the daemon")]
    Corrupt,
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
}

impl Error {
    /// True if the write of this call certainly changed nothing: it may be repeated without being counted twice.
    #[must_use]
    pub fn nothing_happened(&self) -> bool {
        !matches!(
            self,
            Error::Timeout { .. }
                | Error::OutcomeUnknown { .. }
                | Error::OutcomeForgotten
                | Error::WritesRefused { .. }
                | Error::NotReached { .. }
                | Error::AckUnknown { .. }
        )
    }

    /// True if the same call can succeed a moment later without anybody changing anything.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Error::RingFull { .. }
            | Error::DaemonStale { .. }
            | Error::DaemonClosed { .. }
            | Error::Timeout { .. }
            | Error::NotReached { .. }
            | Error::Busy => true,
            Error::Refused(refusal) => refusal.is_temporary(),
            _ => false,
        }
    }
}

/// Why the daemon refused a write. In every case nothing was changed, here or anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The daemon has no room for another key, element or value. Its limits are in its config.
    #[error("no room for another key or value: raise the daemon's limits")]
    CapacityExceeded,
    /// The key exists on the daemon's host with another kind.
    #[error("the key exists with another kind")]
    KindMismatch,
    /// The daemon's wall clock runs ahead of its peers, so a register written here would win over later writes of others.
    #[error("the daemon's clock runs ahead of its peers: correct it")]
    ClockSkew,
    /// A value or an element over the limit.
    #[error("a value or an element over the limit")]
    TooLarge,
    /// An empty or over-long key.
    #[error("an empty or over-long key")]
    BadKey,
    /// The handle's cell belongs to another key now. The handle looks it up again with its next use.
    #[error("the handle was stale: try again")]
    StaleHandle,
    /// The daemon does not know this operation for this kind: it is older than this client.
    #[error("the daemon does not support this operation")]
    NotSupported,
    /// The daemon's log is full because a peer lags; it frees itself.
    #[error("the daemon's log is full for the moment: try again")]
    LogFull,
    /// This process is not among those who may write to the key's namespace.
    #[error("this user may not write to the key's namespace: the daemon's configuration lists who may")]
    AccessDenied,
    /// The key's namespace is declared for another kind, or another rule of who wins.
    #[error(
        "the key's namespace is declared for another kind: choose another key, or the kind that it is for"
    )]
    OtherKindDeclared,
    /// The key's namespace is not declared, and the daemon refuses others.
    #[error(
        "the key's namespace is not declared: declare what stands before its first `/`, or choose another key"
    )]
    Undeclared,
    /// The key's namespace has as many keys as it may have.
    #[error("the key's namespace is full: write to a key that exists, or raise its limit")]
    NamespaceFull,
    /// The daemon's host is about to be stopped (`latticectl drain`): write elsewhere.
    #[error("the host is drained, about to be stopped: write on another one")]
    Drained,
    /// A code that this version of the client does not know.
    #[error("reason {0}, unknown to this client")]
    Other(u16),
}

impl Refusal {
    /// True if the same write can succeed a moment later.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(self, Refusal::StaleHandle | Refusal::LogFull)
    }

    pub(crate) fn from_code(code: u16) -> Refusal {
        use segment::codes;
        match code {
            codes::CAPACITY_EXCEEDED => Refusal::CapacityExceeded,
            codes::KIND_MISMATCH => Refusal::KindMismatch,
            codes::CLOCK_SKEW => Refusal::ClockSkew,
            codes::TOO_LARGE => Refusal::TooLarge,
            codes::BAD_KEY => Refusal::BadKey,
            codes::STALE_CELL => Refusal::StaleHandle,
            codes::NOT_SUPPORTED => Refusal::NotSupported,
            codes::LOG_FULL => Refusal::LogFull,
            codes::ACCESS_DENIED => Refusal::AccessDenied,
            codes::OTHER_KIND_DECLARED => Refusal::OtherKindDeclared,
            codes::UNDECLARED => Refusal::Undeclared,
            codes::NAMESPACE_FULL => Refusal::NamespaceFull,
            codes::DRAINED => Refusal::Drained,
            other => Refusal::Other(other),
        }
    }
}
