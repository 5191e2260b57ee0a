//! From a backup to the data directory of a new node.
//!
//! ```text
//!   check all of FILE ─> empty directory, locks ─> shard by shard: engine ─> a snapshot of it ─> ... ─> identity
//! ```
//!
//! The state goes through the engine, which has to understand all of it, and comes out as this node's own snapshots. The identity
//! is written last: a directory with logs and without one is refused by every start.

use super::{BackupReader, BackupShard};
use crate::directory::{Directory, StorageOptions};
use crate::error::{Finding, StorageError};
use crate::start::Attempt;
use lattice_crdt::ActorId;
use lattice_engine::{EngineConfig, Instant};
use lattice_wire::MAX_FRAME_BYTES;

/// What a restore has made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Keys, in all shards.
    pub keys: u64,
    /// What was not as it should be and did not matter: the log in memory of a node that was here before.
    pub findings: Vec<Finding>,
}

/// Makes the data directory that `options` name, with the state of a backup, for the epoch of `fresh`, which was never used
/// before. `config` gives the engine's configuration of each shard. Whether the backup is of this cluster is for the caller
/// to decide.
///
/// # Errors
/// [`StorageError`]: the backup is damaged or of another number of shards, the directory is not empty or in use, or what the
/// system says. What was made is gone again.
pub fn restore(
    backup: &mut BackupReader,
    options: StorageOptions,
    fresh: ActorId,
    now: Instant,
    config: impl Fn(u16) -> EngineConfig,
) -> Result<Restored, StorageError> {
    let about = backup.about();
    if about.shards != options.shards {
        let what = format!("the backup has {} shards, and this cluster {}", about.shards, options.shards);
        return Err(StorageError::Setting { what });
    }
    backup.check()?;
    let data = options.data.clone();
    let mut directory = Directory::open_empty(options)?;
    let filled = fill(backup, &mut directory, fresh, now, config);
    filled.and_then(|restored| directory.write_identity().map(|()| restored)).inspect_err(|_| {
        // Only shards were put there since it was empty. What stays is refused by the next start.
        for shard in 0..directory.options.shards {
            let _ = std::fs::remove_dir_all(directory.shard_directory(shard));
            let _ = std::fs::remove_file(directory.ring_path(shard));
        }
        let _ = std::fs::remove_file(data.join("identity.new"));
    })
}

fn fill(
    backup: &mut BackupReader,
    directory: &mut Directory,
    fresh: ActorId,
    now: Instant,
    config: impl Fn(u16) -> EngineConfig,
) -> Result<Restored, StorageError> {
    let mut restored = Restored::default();
    while let Some(shard) = backup.next_shard()? {
        let config = config(shard.shard);
        let (keys, mut findings) = fill_shard(shard, directory, fresh, now, config)?;
        restored.keys += keys;
        restored.findings.append(&mut findings);
    }
    Ok(restored)
}

fn fill_shard(
    shard: BackupShard,
    directory: &mut Directory,
    fresh: ActorId,
    now: Instant,
    config: EngineConfig,
) -> Result<(u64, Vec<Finding>), StorageError> {
    let attempt = Attempt { new_epoch: true, ..Attempt::default() };
    let mut start = directory.open_shard(shard.shard, fresh, attempt)?;
    let taken = || StorageError::Setting { what: "the log was taken before".into() };
    let log = start.take_log().ok_or_else(taken)?;
    let mut engine = shard.recover(config, log, now)?;
    let (handle, findings) = (start.handle(), std::mem::take(&mut start.findings));
    let mut keeper = start.commit()?;
    let mark = handle.head();
    let number = engine.begin_snapshot();
    keeper.begin(number, mark)?;
    let mut frame = [0; MAX_FRAME_BYTES];
    while let Some(len) = engine.write_snapshot(&mut frame) {
        if len > 0 {
            keeper.frame(number, &frame[..len])?;
        }
    }
    keeper.finish(number, handle.head())?;
    Ok((engine.stats().keys, findings))
}
