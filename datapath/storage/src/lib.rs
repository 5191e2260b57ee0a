//! placeholder
mod directory;
mod disk;
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
mod snapshot;
mod start;

pub use directory::{Directory, StorageOptions, boot_id};
pub use disk::{Disk, DiskFile, OsDisk};
pub use error::{Finding, FindingKind, StorageError};
pub use feed::{
    Slice, Sliced, SnapshotFeed, SnapshotService, StorageEvent, snapshot_service, spawn_snapshots,
};
pub use flusher::{DEFAULT_INTERVAL, FlushWaker, Flusher, FlusherThread, SyncPolicy, spawn_flusher};
pub use keeper::{ShardImage, ShardKeeper, SnapshotDone};
pub use log::{FileLog, LogHandle, LogMark};
pub use recover::Recovered;
pub use snapshot::SnapshotReader;
pub use start::{Attempt, OldRecord, ShardStart};
