//! Why a daemon did not start, or had to stop. Each message says what happened and what to do.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// The daemon did not start. What had been made on the way is gone again: sockets, programs, the lock; a segment that
/// was already there is marked CLOSED.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The runtime directory, or the lock in it, could not be made.
    #[error("can't use {}: {source}; give a directory that this user can write to as paths.directory (--dev: XDG_RUNTIME_DIR, or unset it)", .path.display())]
    Directory {
        /// What could not be made or opened.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The runtime directory belongs to somebody else or is open to others.
    #[error("won't use {}: it has mode {mode:o} and belongs to uid {uid}, so others may have prepared it; remove it, or choose another with paths.directory (--dev: XDG_RUNTIME_DIR)", .path.display())]
    UnsafeDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        uid: u32,
    },
    /// Another daemon runs in the directory.
    #[error("another latticed{} already runs in {}; stop it first, or give this one another paths.directory", pid_text(*.holder), .directory.display())]
    AlreadyRunning {
        /// The directory that is locked.
        directory: PathBuf,
        /// Process id of the other daemon, if it could be read.
        holder: Option<u32>,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random numbers: {0}; without them no unique epoch can be drawn")]
    Random(io::Error),
    /// The kernel could not be asked about interfaces.
    #[error("can't ask the kernel about network interfaces (netlink): {0}")]
    Netlink(String),
    /// No interface fits the configuration.
    #[error("{reason}; {remedy}")]
    Interface {
        /// What was looked for and not found.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// No port could be opened.
    #[error("can't move frames on {address}: {}", .tried.join("; "))]
    Port {
        /// The node's address.
        address: IpAddr,
        /// Each way that was tried, with the reason why it failed.
        tried: Vec<String>,
    },
    /// The segment could not be made.
    #[error(
        "can't make the segment: {0}; is there room on the file system of paths.directory (see limits.segment_*)?"
    )]
    Segment(#[from] lattice_segment::SegmentError),
    /// The data directory can't be used.
    #[error("storage: {0}; {remedy}", remedy = storage_remedy(.0))]
    Storage(#[from] lattice_storage::StorageError),
    /// The engines could not be made.
    #[error("can't make the engine of a shard: {0}")]
    Engine(#[from] lattice_engine::EngineConfigError),
    /// An engine or a worker could not be made.
    #[error("can't start worker {worker}: {reason}")]
    Worker {
        /// Its index.
        worker: u16,
        /// What was wrong.
        reason: String,
    },
    /// What is needed no more could not be given up, or the user that the daemon is to be is not there.
    #[error("{0}; see [process] in the configuration")]
    Rights(String),
    /// The rules of namespaces name somebody whom this host does not know.
    #[error(transparent)]
    Namespaces(#[from] super::namespaces::BadList),
    /// This node can't take part in the cluster.
    #[error("{0}; see [security] in the configuration, and `latticectl cluster`")]
    Members(lattice_members::MembersError),
    /// The admin socket could not be made.
    #[error("can't listen on {}: {source}", .path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Metrics can't be served.
    #[error(
        "can't serve metrics at {address}: {source}; give an address of this host and a free port as metrics.listen"
    )]
    Metrics {
        /// Where.
        address: std::net::SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The control thread's own machinery could not be made.
    #[error("{step}: {source}")]
    System {
        /// What was attempted.
        step: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

/// What to do about storage that can't be used.
fn storage_remedy(error: &lattice_storage::StorageError) -> &'static str {
    use lattice_storage::StorageError as E;
    match error {
        E::Locked { .. } => {
            "another latticed runs on it: stop that one, or give this one another storage.directory"
        }
        E::Foreign { .. } => {
            "give this node's own directory as storage.directory, or an empty one: it then learns everything from its peers"
        }
        E::Unfit { .. } => {
            "storage.directory and paths.directory must be directories of the user that latticed runs as"
        }
        E::Damaged { .. } => {
            "put back a good copy of the file, or move the directory away: the node then begins empty and learns everything from \
             its peers"
        }
        E::Setting { .. } => "correct the configuration (latticed check --config FILE)",
        E::Io { source, .. } => match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                "make room: storage.directory takes cluster.shards times limits.log_bytes and the snapshots, paths.directory as \
                 much for the logs"
            }
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                "give a storage.directory that this user can write to; storage.mode = \"memory\" keeps nothing and needs none"
            }
            _ => {
                "is storage.directory there and its disk in order? storage.mode = \"memory\" keeps nothing and needs none"
            }
        },
        E::Failed { .. } => "is the disk in order?",
    }
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// How a daemon that was ready ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It never was ready.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A worker ended without being asked to: its shards would be served no more, so the whole daemon stops.
    #[error(
        "worker {0} ended by itself, so the daemon stopped; the segment is marked CLOSED; start it again and report this"
    )]
    WorkerDied(u16),
    /// Workers did not end when asked to. The segment is marked CLOSED all the same.
    #[error("workers {0:?} did not stop in time; the segment is marked CLOSED")]
    Hanging(Vec<u16>),
}
