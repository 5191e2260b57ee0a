//! From a directory to a running engine.
//!
//! ```text
//!   open_shard ─> Recovery: snapshot frames ─> old records ─> finish ─> commit ─> Recovered
//!       ▲                                                      │ could not be understood
//!       └──────── in a new epoch; then without the newest snapshot; then without any
//! ```
//!
//! Shards know nothing of each other, so several may be recovered side by side, each by a thread.
//!
//! What passed every checksum and still makes no sense to the engine is a finding, and less is tried: what is left comes
//! from the log and from peers. Only with nothing left to leave out it is an error.

use crate::directory::Directory;
use crate::error::{Finding, FindingKind, StorageError};
use crate::keeper::ShardKeeper;
use crate::log::{FileLog, LogHandle};
use crate::start::{Attempt, ShardStart};
use lattice_crdt::ActorId;
use lattice_engine::{Engine, EngineConfig, Instant, LogStore, RecoverError, Recovery};

/// A shard that is ready to run.
pub struct Recovered<L = FileLog> {
    /// The engine, with everything that was left.
    pub engine: Engine<L>,
    /// For asking its log from other threads.
    pub handle: LogHandle,
    /// What storage threads work on.
    pub keeper: ShardKeeper,
    /// Whose epoch it is; the engine's.
    pub actor: ActorId,
    /// It is that of the last run. If not, a snapshot is due at once.
    pub continued: bool,
    /// What was not as it should be, for the log of the daemon.
    pub findings: Vec<Finding>,
}

const ATTEMPTS: [Attempt; 4] = [
    Attempt { new_epoch: false, skip_snapshots: 0 },
    Attempt { new_epoch: true, skip_snapshots: 0 },
    Attempt { new_epoch: true, skip_snapshots: 1 },
    Attempt { new_epoch: true, skip_snapshots: 2 },
];

impl Directory {
    /// Recovers a shard: its engine goes on with the epoch of the last run, or begins that of `fresh`, which was never
    /// used before. `config` is asked for the engine's configuration in the one or the other.
    ///
    /// # Errors
    /// [`StorageError`]. What is on disk was not touched then.
    pub fn recover(
        &self,
        shard: u16,
        fresh: ActorId,
        now: Instant,
        config: impl Fn(ActorId) -> EngineConfig,
    ) -> Result<Recovered, StorageError> {
        self.recover_with(shard, fresh, now, config, |log| log)
    }

    /// As [`Directory::recover`], for an engine over another type of log, of which `wrap` makes one.
    ///
    /// # Errors
    /// As there.
    pub fn recover_with<L: LogStore>(
        &self,
        shard: u16,
        fresh: ActorId,
        now: Instant,
        config: impl Fn(ActorId) -> EngineConfig,
        wrap: impl Fn(FileLog) -> L,
    ) -> Result<Recovered<L>, StorageError> {
        let mut not_understood = Vec::new();
        for attempt in ATTEMPTS {
            let mut start = self.open_shard(shard, fresh, attempt)?;
            let config = config(start.actor);
            match engine_of(&mut start, config, now, &wrap) {
                Ok(engine) => {
                    not_understood.append(&mut start.findings);
                    let (actor, continued, handle) = (start.actor, start.continued, start.handle());
                    let keeper = start.commit()?;
                    return Ok(Recovered {
                        engine,
                        handle,
                        keeper,
                        actor,
                        continued,
                        findings: not_understood,
                    });
                }
                Err(Refused::Config(what)) => return Err(StorageError::Setting { what }),
                Err(Refused::NotUnderstood(what)) => {
                    let path = self.shard_directory(shard);
                    not_understood.push(Finding::new(&path, None, FindingKind::NotUnderstood(what)));
                }
            }
        }
        let what = not_understood.last().map_or_else(String::new, ToString::to_string);
        Err(StorageError::Damaged { path: self.shard_directory(shard), offset: 0, what })
    }
}

enum Refused {
    Config(String),
    NotUnderstood(String),
}

impl From<RecoverError> for Refused {
    fn from(error: RecoverError) -> Self {
        match error {
            RecoverError::Config(error) => Self::Config(error.to_string()),
            error => Self::NotUnderstood(error.to_string()),
        }
    }
}

impl From<StorageError> for Refused {
    fn from(error: StorageError) -> Self {
        Self::NotUnderstood(error.to_string())
    }
}

fn engine_of<L: LogStore>(
    start: &mut ShardStart,
    config: EngineConfig,
    now: Instant,
    wrap: &impl Fn(FileLog) -> L,
) -> Result<Engine<L>, Refused> {
    let log = start.take_log().ok_or(Refused::NotUnderstood("the log was taken before".into()))?;
    let mut recovery = Recovery::new(config, wrap(log), now)?;
    if let Some(snapshot) = &mut start.snapshot {
        while let Some(frame) = snapshot.next_frame()? {
            recovery.snapshot_frame(frame)?;
        }
    }
    for record in &start.old {
        recovery.old_record(record.dot, &record.bytes)?;
    }
    Ok(recovery.finish()?)
}
