//! What a backup is made of: a fresh snapshot of every shard, handed over as open files.
//!
//! ```text
//!   {"op":"backup"} ─> workers write snapshots ─> all durable ─> ShardImage::copy ─┬─ a descriptor for each snapshot ─┐
//!                                                                                 └─ the records since, in a memfd ──┤
//!   latticectl backup FILE <── one reply, with all of them ──────────────────────────────────────────────────────────┘
//! ```
//!
//! The daemon does not write the backup. Whoever asks does, with rights of its own: a daemon that writes where it is told could
//! be told to write where only it may, and its disk and its control thread would carry the load. The descriptors can only be
//! read from; who may open the socket could read the same state from the segment. A snapshot that is open stays whole whatever
//! takes its place, so nothing waits for the one who copies.
//!
//! What can go wrong: nothing is kept on disk, a backup is being taken already, a snapshot fails (a full disk), or is not durable
//! in time. Each is a refusal, and what the shards had before still is in place.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lattice_storage::{ShardCopy, ShardImage};
use lattice_worker::{StorageStatus, WorkerStatus};
use rustix::fs::MemfdFlags;

use super::{Daemon, admin};
use crate::protocol::{Backup, BackupShard, Refusal, codes};

/// Longest that all snapshots may take to become durable.
pub const TIMEOUT: Duration = Duration::from_secs(300);
/// Pause between two looks whether they are.
const POLL: Duration = Duration::from_millis(20);
/// Time that workers have to answer.
const WORKER_TIMEOUT: Duration = Duration::from_secs(1);

/// Takes snapshots and opens them: the descriptors of all shards in their order, then that of the records.
///
/// # Errors
/// [`Refusal`]; nothing was handed over.
pub async fn backup(daemon: &Daemon) -> Result<(Backup, Vec<OwnedFd>), Refusal> {
    let Some(about) = &daemon.storage else {
        let error =
            "this daemon keeps nothing on disk (storage.mode = \"memory\"), so there is nothing to copy";
        return Err(Refusal::new(codes::NO_STORAGE, error));
    };
    let Ok(_turn) = Arc::clone(&about.backup_turn).try_lock_owned() else {
        return Err(Refusal::new(codes::BUSY, "another backup is being taken; try again when it is done"));
    };
    // What was acknowledged before now is in it.
    let taken = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let shards = usize::from(daemon.config.cluster.shards);
    let before = failures(&daemon.workers.statuses(WORKER_TIMEOUT).await);
    admin::take_snapshots(daemon).await?;
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let statuses = daemon.workers.statuses(WORKER_TIMEOUT).await;
        if failures(&statuses) > before || kept(&statuses).any(|shard| shard.has_failed) {
            let error = "a snapshot could not be written, and what was in place before still is; the daemon's log says why";
            return Err(Refusal::new(codes::SYSTEM, error));
        }
        if kept(&statuses).filter(|shard| !shard.snapshot_pending).count() == shards {
            break;
        }
        if Instant::now() >= deadline {
            let error = format!(
                "the snapshots were not durable within {TIMEOUT:?}; they go on; see latticectl status"
            );
            return Err(Refusal::new(codes::BUSY, error));
        }
        tokio::time::sleep(POLL).await;
    }
    let images = about.images.clone();
    // It waits for syncs that are under way.
    let opened = tokio::task::spawn_blocking(move || open(&images)).await;
    let (shards, descriptors) =
        opened.map_err(|error| error.to_string()).and_then(|opened| opened).map_err(|error| {
            Refusal::new(codes::SYSTEM, format!("the snapshots can't be handed over: {error}"))
        })?;
    let backup = Backup {
        cluster: daemon.config.cluster.name.clone(),
        cluster_tag: daemon.config.cluster_tag(),
        node: daemon.config.node.id,
        taken_unix_ms: u64::try_from(taken.as_millis()).unwrap_or(u64::MAX),
        shards,
    };
    Ok((backup, descriptors))
}

fn kept(statuses: &[WorkerStatus]) -> impl Iterator<Item = &StorageStatus> {
    statuses.iter().flat_map(|worker| &worker.shards).filter_map(|shard| shard.storage.as_ref())
}

fn failures(statuses: &[WorkerStatus]) -> u64 {
    kept(statuses).map(|shard| shard.snapshots_failed).sum()
}

fn open(images: &[ShardImage]) -> Result<(Vec<BackupShard>, Vec<OwnedFd>), String> {
    let records = rustix::fs::memfd_create("latticed-backup", MemfdFlags::CLOEXEC);
    let mut records = std::fs::File::from(records.map_err(|error| error.to_string())?);
    let (mut shards, mut descriptors) = (Vec::new(), Vec::new());
    for image in images {
        let ShardCopy { shard, generation, snapshot, records: since } =
            image.copy().map_err(|error| error.to_string())?;
        records.write_all(&since).map_err(|error| error.to_string())?;
        shards.push(BackupShard { shard, generation, records_bytes: since.len() as u64 });
        descriptors.push(snapshot.into());
    }
    descriptors.push(records.into());
    Ok((shards, descriptors))
}
