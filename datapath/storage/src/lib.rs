//! What a node keeps: its logs, its snapshots, and the directory that holds them.
//!
//! ```text
//!                 worker                 │  storage threads                 │  data directory (disk)
//!                                        │                                  │
//!   engine ── append ──> FileLog         │                                  │
//!                          │ stores      │                                  │
//!                          ▼             │                                  │
//!                 shard-000.ring ────────┼─> Flusher ── copy, sync ─────────┼─> shard-000/log        the ring's image
//!                 (tmpfs: outlives the   │     │ durable                    │
//!                  process, ends with    │     ▼                            │
//!                  the boot)             │  LogHandle: room, durable seq    │
//!                                        │                                  │
//!   engine ── write_snapshot ──> SnapshotFeed ══> SnapshotService ──────────┼─> shard-000/snapshot.0, .1
//!                  slices, bounded channel          │                       │
//!   engine <── snapshot_is_durable ── control <── StorageEvent              │
//! ```
//!
//! Why the log is in two places. A page of a mapped disk file is write-protected by each sync, and the next store to it
//! waits in the file system, for milliseconds at times (`cargo run --release -p lattice-storage --example log_cost` shows it
//! beside this). A page of tmpfs is never written back. So the worker's ring is a mapped file on tmpfs, which a killed
//! process leaves whole, and the storage threads copy it to its image on disk, which a crashed machine leaves as it was
//! last synced. `Logged` is a store, `Durable` a sync of the image; no worker ever waits for a disk, and an I/O error is an
//! error code in a storage thread and no signal in a worker.
//!
//! What each file is, with its layout, and what can go wrong with it:
//!
//! | module | |
//! |---|---|
//! | `directory` | lock, identity, where everything lies |
//! | `ring`, `record`, `log`, `durable` | the log in memory: mapping, format, the engine's [`LogStore`](lattice_engine::LogStore) |
//! | `shard_log` | that one, or one that only is in memory: a worker's |
//! | `image`, `flusher` | the log on disk: headers, syncs, policies |
//! | `snapshot`, `feed`, `keeper` | snapshot files, the way to them, and what they mean for the log |
//! | `start`, `recover` | what is left of the last run, whether its epoch goes on, and the engine from it |
//! | `backup` | all shards in one file, and back: a new node with an old state |
//! | `disk` | the seam: everything durable goes through [`Disk`], so that tests can crash it at every call |
//! | `error` | [`StorageError`]: it can't go on. [`Finding`]: it went on, and somebody has to be told |
//!
//! # For the control room
//!
//! ```no_run
//! # use lattice_storage::*;
//! # fn engine_config(_: lattice_crdt::ActorId) -> lattice_engine::EngineConfig { unimplemented!() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (fresh, now): (lattice_crdt::ActorId, lattice_engine::Instant) = unimplemented!();
//! let directory = Directory::open(StorageOptions {
//!     data: "/var/lib/latticed/one".into(),
//!     runtime: "/dev/shm/latticed/one/log".into(),
//!     cluster: "demo".into(),
//!     node: 1,
//!     shards: 8,
//!     log_bytes: 4 << 20,
//!     boot_id: boot_id()?,
//! })?;
//! let (events, from_storage) = crossbeam_channel::bounded(64);
//! let (mut images, mut keepers) = (Vec::new(), Vec::new());
//! for shard in 0..8 {
//!     let recovered = directory.recover(shard, fresh, now, engine_config)?;
//!     for finding in &recovered.findings { /* log it; is_loss() makes the node degraded */ }
//!     // recovered.engine and recovered.handle go to the worker; without recovered.continued a snapshot is due at once.
//!     images.push((shard, recovered.keeper.image()));
//!     keepers.push((shard, recovered.keeper));
//! }
//! let flusher = spawn_flusher(Flusher::new(images, SyncPolicy::default()), events.clone())?;
//! let (service, feeds) = snapshot_service(keepers, /* workers */ 1, events);
//! let snapshots = spawn_snapshots(service)?;
//! // At the end: workers first, with their feeds; then these.
//! snapshots.join().ok();
//! flusher.stop();
//! # Ok(()) }
//! ```
//!
//! An engine takes no more operations in a burst than its log has room for ([`LogHandle::room`]; 0 while a new epoch is not
//! durable yet), and refuses them when there is none. A worker, each turn: acknowledges `Durable` up to [`LogHandle::durable_seq`]; under [`SyncPolicy::Always`] wakes the
//! flusher when somebody waits. When a snapshot is due: [`LogHandle::head`], `begin_snapshot`, [`SnapshotFeed::begin`];
//! then [`SnapshotFeed::slice`] for at most 50 µs a turn; then [`SnapshotFeed::end`]. On [`StorageEvent::SnapshotDurable`]
//! it calls `snapshot_is_durable`.
//!
//! # What is promised
//!
//! - A killed process loses nothing that was appended; the next one goes on with its epoch.
//! - A crashed machine loses nothing that was acknowledged as durable, and invents nothing.
//! - A byte that changes anywhere is found, and costs the record or the snapshot it is in; the rest is served, and a
//!   [`Finding`] names file and byte. Of what was appended after the last flush but one nobody can say whether it is torn
//!   or damaged, and that is what is said.
//! - After a failed write or sync nothing of that shard is claimed durable in this run; the next start writes it again.
//! - A log that is full says so ([`LogHandle::room`]) before anything is lost.
//!
//! What is assumed: a 512-byte sector is written whole or not at all, and a sync that succeeds is one. What is not: that
//! anything is written in order, or that a length or a name survives before its sync.

mod backup;
mod directory;
mod disk;
mod durable;
mod error;
mod feed;
mod fields;
mod flusher;
mod image;
mod keeper;
mod log;
mod record;
mod recover;
mod ring;
mod shard_log;
mod snapshot;
mod start;

pub use backup::{
    BackupAbout, BackupFile, BackupReader, BackupShard, BackupWriter, Restored, ShardCopy, restore,
};
pub use directory::{Directory, StorageOptions, boot_id};
pub use disk::{Disk, DiskFile, OsDisk};
pub use error::{Finding, FindingKind, StorageError};
pub use feed::{Sliced, SnapshotFeed, SnapshotService, StorageEvent, snapshot_service, spawn_snapshots};
pub use flusher::{DEFAULT_INTERVAL, FlushWaker, Flusher, FlusherThread, SyncPolicy, spawn_flusher};
pub use keeper::{ShardImage, ShardKeeper, SnapshotDone};
pub use log::{FileLog, LogHandle, LogMark};
pub use recover::Recovered;
pub use shard_log::ShardLog;
pub use snapshot::SnapshotReader;
pub use start::{Attempt, OldRecord, ShardStart};
