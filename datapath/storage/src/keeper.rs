//! The storage side of a shard: its image and its snapshots, for whichever thread writes them.
//!
//! ```text
//!   begin(number, mark) ─> frames ─> finish(end) ─> the snapshot is durable ─> the engine is told
//!                               └─> abandon                                └─> the log may reuse what it covers
//! ```
//!
//! What can go wrong: a snapshot that fails is given up and may be begun again; a log that fails does not come back in
//! this run.

use crate::disk::Disk;
use crate::error::StorageError;
use crate::image::{Base, Image};
use crate::log::{LogHandle, LogMark};
use crate::snapshot::{SnapshotHeader, SnapshotWriter};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A shard's image, shared by the flusher and whoever writes snapshots.
#[derive(Clone)]
pub struct ShardImage(Arc<Mutex<Image>>);

impl std::fmt::Debug for ShardImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardImage").finish_non_exhaustive()
    }
}

impl ShardImage {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Image> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what was appended since the last time; with `sync`, everything before the mark that is returned is durable
    /// now. Waits for the disk.
    ///
    /// # Errors
    /// The first failure, and then [`StorageError::Failed`] for ever.
    pub fn flush(&self, sync: bool) -> Result<LogMark, StorageError> {
        self.lock().flush(sync)
    }

    /// Whether a flush would make anything durable.
    pub fn is_behind(&self) -> bool {
        self.lock().is_behind()
    }

    /// For asking how far it is.
    pub fn handle(&self) -> LogHandle {
        LogHandle(self.lock().shared().clone())
    }
}

/// What a finished snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotDone {
    /// Its number, as the engine gave it.
    pub number: u32,
    /// Its generation in the directory.
    pub generation: u64,
    /// Length of its file.
    pub bytes: u64,
}

/// See the module's documentation.
pub struct ShardKeeper {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    image: ShardImage,
    writing: Option<(u32, SnapshotWriter)>,
    next_slot: usize,
    next_generation: u64,
    /// The directory could not be synced: nobody knows what its names stand for on disk.
    directory_failed: Option<String>,
}

impl ShardKeeper {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        image: Image,
        next_slot: usize,
        next_generation: u64,
    ) -> Self {
        let image = ShardImage(Arc::new(Mutex::new(image)));
        Self { disk, directory, image, writing: None, next_slot, next_generation, directory_failed: None }
    }

    /// For the flusher.
    pub fn image(&self) -> ShardImage {
        self.image.clone()
    }

    /// Begins the file of a snapshot; one that was being written is given up. `mark` is where the log's head was when the
    /// engine began to walk: everything before it is in the snapshot.
    ///
    /// # Errors
    /// [`StorageError`]; there is no snapshot under way then.
    pub fn begin(&mut self, number: u32, mark: LogMark) -> Result<(), StorageError> {
        self.writing = None;
        if let Some(first) = &self.directory_failed {
            return Err(StorageError::Failed { path: self.directory.clone(), first: first.clone() });
        }
        let (owner, log_salt) = {
            let image = self.image.lock();
            let about = image.shared().ring.about();
            (about.owner, about.salt)
        };
        let base = Base { generation: self.next_generation, mark: mark.0 };
        let header = SnapshotHeader { owner, log_salt, base };
        let writer = SnapshotWriter::create(&*self.disk, &self.directory.join("snapshot.new"), header)?;
        self.writing = Some((number, writer));
        Ok(())
    }

    /// Takes the next frame of a snapshot. Frames of another than the present one are ignored: it was given up.
    ///
    /// # Errors
    /// [`StorageError`]; the snapshot is given up.
    pub fn frame(&mut self, number: u32, frame: &[u8]) -> Result<(), StorageError> {
        let Some((_, writer)) = self.writing.as_mut().filter(|(present, _)| *present == number) else {
            return Ok(());
        };
        let result = writer.frame(frame);
        if result.is_err() {
            self.writing = None;
        }
        result
    }

    /// All frames are there, and the log's head was at `end` after the last one: makes the snapshot durable, with the log
    /// up to there, and lets the log reuse what it covers. `None` if that snapshot was given up. Waits for the disk.
    ///
    /// # Errors
    /// [`StorageError`]; the snapshots that were in place still are, or this one is.
    pub fn finish(&mut self, number: u32, end: LogMark) -> Result<Option<SnapshotDone>, StorageError> {
        let Some((_, writer)) = self.writing.take_if(|(present, _)| *present == number) else {
            return Ok(None);
        };
        let base = writer.base();
        let bytes = writer.finish()?;
        let durable = self.image.flush(true)?;
        debug_assert!(durable >= end, "the walk's end is in the log");
        let (beside, path) = (self.directory.join("snapshot.new"), self.slot_path());
        self.disk.rename(&beside, &path).map_err(StorageError::io(&path, "putting the snapshot in place"))?;
        // From here on that place is taken, whatever becomes of the rest.
        (self.next_slot, self.next_generation) = (1 - self.next_slot, self.next_generation + 1);
        if let Err(error) = self.disk.sync_directory(&self.directory) {
            self.directory_failed = Some(error.to_string());
            return Err(StorageError::io(&self.directory, "syncing the directory")(error));
        }
        self.image.lock().set_base(base)?;
        Ok(Some(SnapshotDone { number, generation: base.generation, bytes }))
    }

    /// Gives up the snapshot that is being written, if it is this one.
    pub fn abandon(&mut self, number: u32) {
        self.writing.take_if(|(present, _)| *present == number);
    }

    fn slot_path(&self) -> PathBuf {
        self.directory.join(format!("snapshot.{}", self.next_slot))
    }

    /// The generation of the snapshot that the log's header names; 0: none.
    pub fn base_generation(&self) -> u64 {
        self.image.lock().base().generation
    }
}
