//! What of the daemon outlives it: engines from what the last run left, the threads that write, and their news.
//!
//! ```text
//!   open ──> Prepared: engines ────────────────> workers ──> logs on tmpfs, snapshot frames
//!     │ lock, identity, recovery   Kept ─ run ─> flusher, snapshot thread ──> disk
//!     │                                             │ news
//!     └─ findings: log, status          SnapshotDurable, SnapshotFailed ──> the shard's worker
//!
//!   at the end: workers stop ─> the snapshot thread has taken the last frame ─> the flusher writes and syncs everything
//! ```
//!
//! Everything that can refuse does so before a port, a segment or a worker is there. What can go wrong: the directory is in
//! use, another's, or damaged where nothing can be read without it ([`StartError::Storage`]); what merely is lost or torn is a
//! finding, the shard goes on without it, in a new epoch, and its peers bring what they have. In memory mode there is nothing of
//! all this.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lattice_crdt::ActorId;
use lattice_engine::Instant;
use lattice_storage::{
    Directory, Finding, Flusher, FlusherThread, ShardImage, ShardKeeper, ShardLog, StorageEvent,
    StorageOptions, SyncPolicy, boot_id, snapshot_service, spawn_flusher, spawn_snapshots,
};
use lattice_worker::{Command, Engine, WorkerStorage};
use tokio::sync::mpsc;

use super::forget::Forgotten;
use super::identity::Identity;
use super::known::Known;
use super::workers::{Workers, engine_config};
use super::{Daemon, StartError};
use crate::config::{Config, Storage, StorageMode, SyncChoice};

/// News that may wait: the storage threads wait for room.
const NEWS: usize = 64;
/// Pause between two tries to tell a worker that takes no commands at the moment.
const RETRY: Duration = Duration::from_millis(1);

/// The engines of all shards, in their order, and what keeps them.
pub struct Prepared {
    pub engines: Vec<Engine>,
    /// `None`: in memory only.
    pub kept: Option<Kept>,
    /// Nodes that are no members any more.
    pub forgotten: Forgotten,
    /// Members of earlier runs, and of this one.
    pub known: Known,
}

/// A data directory that was opened and recovered from.
pub struct Kept {
    directory: Directory,
    keepers: Vec<(u16, ShardKeeper)>,
    about: About,
}

/// What is told of storage for as long as the daemon runs.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Of each shard: whose epoch the start went on with, `None` for a new one; and the snapshot it had.
    pub began: Vec<(Option<ActorId>, u64)>,
    /// What was not as it should be.
    pub findings: Vec<Finding>,
    /// Of each shard: its log on disk and the snapshot beside it, for backups.
    pub images: Vec<ShardImage>,
    /// Held by the backup that is being taken.
    pub backup_turn: Arc<tokio::sync::Mutex<()>>,
}

/// Makes the engines: from the data directory, or empty ones.
///
/// # Errors
/// [`StartError::Storage`], [`StartError::Engine`]. Nothing is left behind but directories that were made.
pub fn open(
    config: &Config,
    identity: &Identity,
    forgotten: Forgotten,
    known: Known,
) -> Result<Prepared, StartError> {
    let now = Instant { monotonic_ns: lattice_segment::monotonic_ns(), wall_ns: super::workers::wall_ns() };
    if config.storage.mode == StorageMode::Memory {
        let engine = |shard| Engine::in_memory(engine_config(config, identity, identity.actor, shard), now);
        let engines = (0..config.cluster.shards).map(engine).collect::<Result<_, _>>()?;
        return Ok(Prepared { engines, kept: None, forgotten, known });
    }
    let directory = Directory::open(options(config)?)?;
    forgotten.set_aside(&config.paths.logs())?;
    let (mut engines, mut keepers, mut about) = (Vec::new(), Vec::new(), About::default());
    let recover = |shard| {
        let engine_config = |actor| engine_config(config, identity, actor, shard);
        directory.recover_with(shard, identity.actor, now, engine_config, ShardLog::File)
    };
    for (shard, recovered) in (0..).zip(side_by_side(config.cluster.shards, recover)) {
        let recovered = recovered?;
        let epoch = if recovered.continued { "continued" } else { "new" };
        tracing::info!(shard, epoch, actor = format!("{:016x}", recovered.actor.as_u64()), "recovered");
        for finding in &recovered.findings {
            match finding.is_loss() {
                true => tracing::error!(shard, "storage: {finding}"),
                false => tracing::warn!(shard, "storage: {finding}"),
            }
        }
        let generation = recovered.keeper.base_generation();
        about.began.push((recovered.continued.then_some(recovered.actor), generation));
        about.findings.extend(recovered.findings);
        about.images.push(recovered.keeper.image());
        let mut engine = recovered.engine;
        engine.keep_forgotten(forgotten.others());
        engines.push(engine);
        keepers.push((shard, recovered.keeper));
    }
    Ok(Prepared { engines, kept: Some(Kept { directory, keepers, about }), forgotten, known })
}

/// Does something for each shard, on as many threads as there are processors; what came of it, in the order of shards.
fn side_by_side<T: Send>(shards: u16, work: impl Fn(u16) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(usize::from(shards));
    let next = AtomicU16::new(0);
    let part = || {
        let mut done = Vec::new();
        loop {
            // Relaxed: a number is taken once, and nothing else goes with it.
            let shard = next.fetch_add(1, Ordering::Relaxed);
            if shard >= shards {
                return done;
            }
            done.push((shard, work(shard)));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let parts: Vec<_> = (1..threads).map(|_| scope.spawn(part)).collect();
        let mut all = part();
        for part in parts {
            all.extend(part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_unstable_by_key(|(shard, _)| *shard);
    all.into_iter().map(|(_, done)| done).collect()
}

pub(super) fn options(config: &Config) -> Result<StorageOptions, StartError> {
    Ok(StorageOptions {
        data: config.storage.directory.clone(),
        runtime: config.paths.logs(),
        cluster: config.cluster.name.clone(),
        node: config.node.id,
        shards: config.cluster.shards,
        log_bytes: u64::try_from(config.limits.log_bytes).unwrap_or(u64::MAX),
        boot_id: boot_id()?,
    })
}

fn sync_policy(storage: &Storage) -> SyncPolicy {
    match storage.sync {
        SyncChoice::Interval => SyncPolicy::Interval(Duration::from_millis(storage.sync_interval_ms)),
        SyncChoice::Always => SyncPolicy::Always,
        SyncChoice::Never => SyncPolicy::Never,
    }
}

/// The threads that write, while they run.
pub struct StorageThreads {
    flusher: FlusherThread,
    snapshots: JoinHandle<()>,
    /// Held for its locks.
    _directory: Directory,
}

/// What [`Kept::run`] makes.
pub struct Started {
    pub threads: StorageThreads,
    /// One for each worker.
    pub for_workers: Vec<WorkerStorage>,
    pub about: About,
    pub news: mpsc::Receiver<StorageEvent>,
}

impl Kept {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`StartError::System`]: there is no thread to have.
    pub fn run(self, config: &Config) -> Result<Started, StartError> {
        let failed = |source: io::Error| StartError::System { step: "starting the storage threads", source };
        let workers = config.workers.cores.len();
        let (events, from_storage) = crossbeam_channel::bounded(NEWS);
        let (tell, news) = mpsc::channel(NEWS);
        // Its own thread: the control thread must not block on a channel, and the storage threads must not be held up by one
        // that nobody reads at the end.
        let forward = move || {
            for event in from_storage {
                // Nobody listens any more at the end.
                let _ = tell.blocking_send(event);
            }
        };
        std::thread::Builder::new().name("latticed-news".into()).spawn(forward).map_err(failed)?;
        let images: Vec<_> = self.keepers.iter().map(|(shard, keeper)| (*shard, keeper.image())).collect();
        let policy = sync_policy(&config.storage);
        let flusher = spawn_flusher(Flusher::new(images, policy), events.clone()).map_err(failed)?;
        let (service, feeds) = snapshot_service(self.keepers, workers, events);
        let snapshots = spawn_snapshots(service).map_err(failed)?;
        let waker = (policy == SyncPolicy::Always).then(|| flusher.waker());
        let for_workers = feeds.into_iter().enumerate().map(|(worker, feed)| WorkerStorage {
            feed,
            snapshot_interval_ns: config.storage.snapshot_interval_s.saturating_mul(1_000_000_000),
            due: new_epochs(&self.about, worker, workers),
            waker: waker.clone(),
        });
        let for_workers = for_workers.collect();
        let threads = StorageThreads { flusher, snapshots, _directory: self.directory };
        Ok(Started { threads, for_workers, about: self.about, news })
    }
}

/// The shards of a worker whose epoch is new: until a snapshot is durable, what the old log holds is nowhere else.
fn new_epochs(about: &About, worker: usize, workers: usize) -> Vec<u16> {
    let of_worker = (0..).zip(&about.began).skip(worker).step_by(workers.max(1));
    of_worker.filter(|(_, (continued, _))| continued.is_none()).map(|(shard, _)| shard).collect()
}

impl StorageThreads {
    /// Makes everything durable that the workers have logged, and ends the threads. After the workers have ended: the
    /// snapshot thread ends with their feeds. Waits for the disk.
    pub fn stop(self) {
        if self.snapshots.join().is_err() {
            tracing::error!("the snapshot thread has panicked");
        }
        self.flusher.stop();
    }

    /// The same without what may hang: some worker has not ended.
    pub fn stop_flusher(self) {
        self.flusher.stop();
    }
}

/// Tells workers what became of their snapshots, until the threads have ended.
pub async fn attend(daemon: Arc<Daemon>, mut news: mpsc::Receiver<StorageEvent>) {
    while let Some(event) = news.recv().await {
        let (shard, command) = match event {
            StorageEvent::SnapshotDurable { shard, done } => {
                tracing::debug!(shard, generation = done.generation, bytes = done.bytes, "snapshot durable");
                (shard, Command::SnapshotDurable { shard, done })
            }
            StorageEvent::SnapshotFailed { shard, number, error } => {
                tracing::error!(shard, %error, "a snapshot failed; the one before is in place, another one follows");
                (shard, Command::SnapshotFailed { shard, number })
            }
            StorageEvent::LogFailed { shard, error } => {
                tracing::error!(shard, %error, "nothing of this shard becomes durable any more until the daemon is started again");
                continue;
            }
        };
        tell(&daemon.workers, shard, command).await;
    }
}

/// Gives a shard's worker a command that must not get lost.
pub async fn tell(workers: &Workers, shard: u16, command: Command) {
    let mut command = Some(command);
    while let Some(untold) = command.take() {
        command = workers.try_send(shard % workers.count().max(1), untold).err().map(|returned| *returned);
        if command.is_some() {
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Draws a new epoch for a shard whose present one is over, and tells its worker. It is durable before the shard takes
/// another operation.
pub async fn renew_epoch(daemon: Arc<Daemon>, shard: u16, generation: u8) {
    if let Err(error) = daemon.forgotten.begin_generation(shard, generation) {
        tracing::error!(%error, "the generation of the next epoch is not kept: this node may be told once more that it was forgotten");
    }
    match Identity::draw(daemon.config.node.id, generation) {
        Ok(Identity { actor, session, .. }) => {
            tracing::warn!(
                shard,
                actor = format!("{:016x}", actor.as_u64()),
                "a new epoch begins: a peer knows operations of this node that its storage does not have (an older copy was \
                 brought back, or the disk lost what it had synced), or the cluster has forgotten this node"
            );
            tell(&daemon.workers, shard, Command::BeginEpoch { shard, actor, session }).await;
        }
        Err(error) => tracing::error!(shard, %error, "no new epoch; the shard takes no writes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shard_is_done_once_and_comes_in_its_place() {
        for shards in [0, 1, 2, 64] {
            let calls = AtomicU16::new(0);
            let done = side_by_side(shards, |shard| {
                calls.fetch_add(1, Ordering::Relaxed);
                shard * 3
            });
            assert_eq!(done, (0..shards).map(|shard| shard * 3).collect::<Vec<_>>());
            assert_eq!(calls.into_inner(), shards);
        }
    }
}
