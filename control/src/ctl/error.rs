//! Why `latticectl` could not do what it was told. Each message says what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use lattice_client::Kind;

use super::output::text;
use crate::protocol::{BadReply, Refusal};

/// A failure; [`CtlError::exit_code`] is what the process ends with.
#[derive(Debug, thiserror::Error)]
pub(super) enum CtlError {
    /// No daemon was named and none was found.
    #[error(
        "no latticed was found: start one (`latticed --dev` needs no configuration), or name one with --socket or $LATTICED_SOCKET"
    )]
    NoDaemon,
    /// No daemon was named and several were found.
    #[error("there are several daemons on this host: choose one with --socket: {}", list(.0))]
    SeveralDaemons(Vec<PathBuf>),
    /// Nobody listens at the socket.
    #[error("latticed is not running at {}: {source}; start it, or name another with --socket", .socket.display())]
    NotRunning {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// This user may not open the socket or the segment.
    #[error("this user may not open {}: {source}; use the daemon's user or group", .path.display())]
    Denied {
        /// What could not be opened.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The state is there but its daemon is not.
    #[error("the daemon at {} {state}{}; --stale reads its last known state", .directory.display(), age_text(*.age))]
    Stale {
        /// The daemon's directory.
        directory: PathBuf,
        /// `has stopped`, `is silent`, …
        state: &'static str,
        /// Age of its last heartbeat.
        age: Option<Duration>,
    },
    /// The daemon did not answer in time.
    #[error("the daemon at {} did not answer within {timeout:?}; is it stopped (SIGSTOP) or overloaded?", .socket.display())]
    NoAnswer {
        /// The socket.
        socket: PathBuf,
        /// How long was waited.
        timeout: Duration,
    },
    /// The daemon said no.
    #[error("the daemon refused: {} ({})", .0.error, .0.code)]
    Refused(Refusal),
    /// The daemon's reply is not understood.
    #[error(transparent)]
    BadReply(#[from] BadReply),
    /// A snapshot could not be written.
    #[error("a snapshot failed, and the one before is still in place; the daemon's log says why")]
    SnapshotFailed,
    /// A backup can't be written or read.
    #[error(transparent)]
    Backup(#[from] lattice_storage::StorageError),
    /// The daemon's reply came without its files.
    #[error(
        "the daemon's reply came without the files of its snapshots; are latticectl and latticed of the same version?"
    )]
    NoDescriptors,
    /// Snapshots are not durable in time.
    #[error(
        "{durable} of {shards} snapshots are durable after {timeout:?}; the rest goes on, see `latticectl status`"
    )]
    SnapshotTimeout {
        /// Those that are.
        durable: usize,
        /// All.
        shards: u16,
        /// How long was waited.
        timeout: Duration,
    },
    /// There is no such key.
    #[error("there is no key `{}` on this host (yet)", text(.0))]
    NoSuchKey(Vec<u8>),
    /// The key has another kind than the command needs.
    #[error("`{}` is a {found}, not a {wanted}; {hint}", text(.key))]
    OtherKind {
        /// The key.
        key: Vec<u8>,
        /// What it is.
        found: Kind,
        /// What the command works on.
        wanted: &'static str,
        /// The command that works on it.
        hint: &'static str,
    },
    /// The rules of the key's namespace refuse the write.
    #[error("{0}; nothing was changed")]
    Rule(String),
    /// Certificates could not be made.
    #[error(transparent)]
    Pki(#[from] lattice_members::pki::PkiError),
    /// The client library failed.
    #[error(transparent)]
    Client(lattice_client::Error),
    /// `top` has no screen.
    #[error("top draws on a terminal, and the output is none; `latticectl status --json` is for programs")]
    NoTerminal,
    /// Files could not be written.
    #[error("can't write to {}: {source}; give a directory that exists and is yours", .path.display())]
    Write {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The output could not be written.
    #[error("the output can't be written: {0}")]
    Output(io::Error),
    /// The socket failed.
    #[error("the connection to the daemon failed: {0}")]
    Connection(io::Error),
}

impl CtlError {
    /// 2 for what another command line would cure, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            CtlError::NoDaemon
            | CtlError::SeveralDaemons(_)
            | CtlError::Pki(lattice_members::pki::PkiError::Usage(_)) => 2,
            _ => 1,
        }
    }
}

/// Translates what the client library says about the way to the daemon.
impl From<lattice_client::Error> for CtlError {
    fn from(error: lattice_client::Error) -> Self {
        match error {
            lattice_client::Error::Connect { socket, source } => unreachable_socket(socket, source),
            error => CtlError::Client(error),
        }
    }
}

/// Why a socket can't be connected to.
pub(super) fn unreachable_socket(socket: PathBuf, source: io::Error) -> CtlError {
    if source.kind() == io::ErrorKind::PermissionDenied {
        CtlError::Denied { path: socket, source }
    } else {
        CtlError::NotRunning { socket, source }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn age_text(age: Option<Duration>) -> String {
    match age {
        Some(age) => format!(" (last heartbeat {:.1} s ago)", age.as_secs_f64()),
        None => " (it never gave a sign of life)".to_owned(),
    }
}
