//! A new node with the state of a backup: fills the data directory that a configuration names, before a daemon runs on it.
//!
//! Everything is checked before anything is written, and the daemon that runs there, or another restore, is kept out by the same
//! locks. The node's epoch is drawn here: a restored node goes on as nobody that ever was.

use std::path::{Path, PathBuf};

use lattice_engine::Instant;
use lattice_storage::{BackupAbout, BackupReader, Restored, StorageError};

use super::identity::Identity;
use super::workers::{engine_config, wall_ns};
use super::{StartError, directory, storage};
use crate::config::{Config, StorageMode};

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The configuration keeps nothing.
    #[error(
        "storage.mode is \"memory\", so there is no data directory to restore to; give this node a storage.directory"
    )]
    NoStorage,
    /// The backup is of another cluster.
    #[error(
        "{}: a backup of cluster {theirs:?}, and this node is of {ours:?}; --from-cluster {theirs} takes a copy of its state all the same",
        .path.display()
    )]
    OtherCluster {
        /// The backup.
        path: PathBuf,
        /// The cluster in it.
        theirs: String,
        /// The configured one.
        ours: String,
    },
    /// The backup is not of the cluster that was named.
    #[error("{}: a backup of cluster {theirs:?}, not of {named:?} as --from-cluster says", .path.display())]
    NotThatCluster {
        /// The backup.
        path: PathBuf,
        /// The cluster in it.
        theirs: String,
        /// The one of the command line.
        named: String,
    },
    /// The backup or the data directory can't be used.
    #[error("{0}; nothing was restored")]
    Storage(#[from] StorageError),
    /// The runtime directory can't be used, or a daemon runs in it.
    #[error("{0}; nothing was restored")]
    Start(#[from] StartError),
}

/// Restores a backup as the node of a configuration. `from_cluster` names the backup's cluster where it is another one.
///
/// # Errors
/// [`RestoreError`]; the data directory is as it was.
pub fn restore(
    config: &Config,
    backup: &Path,
    from_cluster: Option<&str>,
) -> Result<(BackupAbout, Restored), RestoreError> {
    if config.storage.mode == StorageMode::Memory {
        return Err(RestoreError::NoStorage);
    }
    let mut reader = BackupReader::open(backup)?;
    let about = reader.about().clone();
    let (path, theirs) = (backup.to_owned(), about.cluster.clone());
    match from_cluster {
        None if theirs != config.cluster.name => {
            return Err(RestoreError::OtherCluster { path, theirs, ours: config.cluster.name.clone() });
        }
        Some(named) if theirs != named => {
            return Err(RestoreError::NotThatCluster { path, theirs, named: named.to_owned() });
        }
        _ => {}
    }
    directory::create(&config.paths.directory)?;
    let _lock = directory::lock(&config.paths.lock())?;
    let identity = Identity::draw(config.node.id, 0)?;
    let now = Instant { monotonic_ns: lattice_segment::monotonic_ns(), wall_ns: wall_ns() };
    let engine = |shard| engine_config(config, &identity, identity.actor, shard);
    let options = storage::options(config)?;
    Ok((about, lattice_storage::restore(&mut reader, options, identity.actor, now, engine)?))
}
