//! What can go wrong with storage: errors, after which there is nothing to work with, and findings, with which a start
//! goes on and which somebody has to be told.
//!
//! Both name the file. Neither is ever dropped here: a start returns all findings, and whoever runs it logs them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Storage can't be used, or not any further.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The system refused something. What was there before is unchanged, unless it says otherwise.
    #[error("{}: {doing}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// Another process uses the directory.
    #[error("{}: in use by {}", path.display(), Holder(*pid))]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, if it says so.
        pid: Option<u32>,
    },
    /// The directory is another node's or another cluster's, or was made for another number of shards.
    #[error("{}: {what}", path.display())]
    Foreign {
        /// The identity file.
        path: PathBuf,
        /// How it differs.
        what: String,
    },
    /// A path is not what may be trusted with data: a symbolic link, not a file, or somebody else's.
    #[error("{}: {what}", path.display())]
    Unfit {
        /// The path.
        path: PathBuf,
        /// Why not.
        what: String,
    },
    /// A file that nothing can be done without does not say what it should.
    #[error("{}: at byte {offset}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A setting can't be used.
    #[error("{what}")]
    Setting {
        /// Which, and what would be right.
        what: String,
    },
    /// A write or a sync failed before; since then nothing is claimed to be durable. Start anew: the log in memory is
    /// whole, and a start writes it again.
    #[error("{}: not durable any more since: {first}", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// The first failure.
        first: String,
    },
}

impl StorageError {
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), doing, source }
    }
}

struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}

/// What a start found that was not as it should have been, and went on without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// The byte in it, where one can be named.
    pub offset: Option<u64>,
    /// What it is.
    pub what: FindingKind,
}

/// See [`Finding`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// A snapshot can't be used; the other one was, or none.
    SnapshotDamaged(String),
    /// The newest snapshot is not there or can't be used, and an older one was.
    SnapshotOld {
        /// The one that should be there.
        expected: u64,
        /// The one that was used; 0: none.
        used: u64,
    },
    /// The log is not there, in a directory that has been used.
    LogMissing,
    /// One of the two headers of the log is damaged or was being written; the other one was used.
    LogHeaderTorn(&'static str),
    /// Both headers of the log can't be used, so nothing in it can.
    LogUnreadable(&'static str),
    /// So many bytes that had been made durable do not read back.
    LogDamaged {
        /// How many.
        bytes: u64,
    },
    /// The end of the log, which had not been made durable, was left incomplete by a crash of the machine.
    LogTorn {
        /// How many bytes.
        bytes: u64,
    },
    /// The end of the log is not where it was written: what came last is torn or damaged, and nobody can say which.
    LogEndMissing,
    /// What must be kept does not fit a log of the size that was asked for. It has this size until the next start.
    LogEnlarged {
        /// How large it is.
        bytes: u64,
    },
    /// Operations that only the missing snapshot held were already overwritten in the log.
    LogReused {
        /// How many bytes.
        bytes: u64,
    },
    /// The log in memory can't be used.
    RingUnusable(String),
    /// The log on disk is not what this boot wrote: an older copy was brought back, or it was damaged.
    NotAsWritten,
    /// What was read passed every check, and still the engine could not make sense of it.
    NotUnderstood(String),
}

impl Finding {
    pub(crate) fn new(path: &Path, offset: Option<u64>, what: FindingKind) -> Self {
        Self { path: path.to_owned(), offset, what }
    }

    /// Whether something that had been made durable is not there any more; else it is what a crash leaves behind.
    pub fn is_loss(&self) -> bool {
        !matches!(
            self.what,
            FindingKind::LogHeaderTorn(_)
                | FindingKind::LogTorn { .. }
                | FindingKind::LogEndMissing
                | FindingKind::LogEnlarged { .. }
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        if let Some(offset) = self.offset {
            write!(f, "at byte {offset}: ")?;
        }
        match &self.what {
            FindingKind::SnapshotDamaged(what) => write!(f, "snapshot: {what}; it is not used"),
            FindingKind::SnapshotOld { expected, used: 0 } => {
                write!(f, "snapshot {expected} can't be used, and there is no older one")
            }
            FindingKind::SnapshotOld { expected, used } => {
                write!(f, "snapshot {expected} can't be used; {used}, the one before, is")
            }
            FindingKind::LogMissing => f.write_str("the log is missing"),
            FindingKind::LogHeaderTorn(what) => {
                write!(f, "one of two headers: {what}; the other one is used")
            }
            FindingKind::LogUnreadable(what) => {
                write!(f, "both headers: {what}; nothing in this log can be read")
            }
            FindingKind::LogDamaged { bytes } => {
                write!(f, "{bytes} bytes of operations are damaged and left out")
            }
            FindingKind::LogTorn { bytes } => {
                write!(f, "{bytes} bytes that were not yet durable did not survive the crash")
            }
            FindingKind::LogEndMissing => {
                f.write_str("the end of the log is missing: torn by a crash, or damaged")
            }
            FindingKind::LogEnlarged { bytes } => {
                write!(f, "the log has {bytes} bytes until the next start, to hold what no snapshot covers")
            }
            FindingKind::LogReused { bytes } => {
                write!(f, "{bytes} bytes of operations were in the lost snapshot alone")
            }
            FindingKind::RingUnusable(what) => write!(f, "{what}; it is made anew"),
            FindingKind::NotAsWritten => {
                f.write_str("not what was last written here: an older copy, or damaged")
            }
            FindingKind::NotUnderstood(what) => write!(f, "could not be recovered: {what}"),
        }
    }
}
