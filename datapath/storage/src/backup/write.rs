//! Making a backup: what a daemon gives, and the file that it becomes.
//!
//! ```text
//!   ShardImage::copy ─> ShardCopy: the snapshot that is in place, open, and the records since
//!   BackupFile::create ─> FILE.partial, locked ─> begin ─> shard by shard ─> finish: sync, rename to FILE, sync the directory
//! ```
//!
//! The snapshot stays what it is while it is open, whatever takes its name: so nothing has to be held up for as long as a backup
//! is written, and whoever writes it does so with rights of its own. What can go wrong: a full disk, a file that is there already
//! (it is not touched), another backup to the same file. What was begun and not finished is taken away.

use super::{BackupAbout, End, HEADER_BYTES, SECTION_BYTES, Section};
use crate::directory::sync_above;
use crate::disk::open_own;
use crate::error::StorageError;
use crate::image::Image;
use crate::keeper::ShardImage;
use crate::snapshot::SnapshotReader;
use rustix::fs::{FlockOperation, RenameFlags};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// What a backup takes of one shard.
#[derive(Debug)]
pub struct ShardCopy {
    /// Which.
    pub shard: u16,
    /// Generation of the snapshot.
    pub generation: u64,
    /// The snapshot's file, open for reading.
    pub snapshot: File,
    /// Own operations since the snapshot was begun, as they lie in a backup.
    pub records: Vec<u8>,
}

impl ShardImage {
    /// The newest durable snapshot and the own operations that are durable beyond it. Waits for a flush that is under way.
    ///
    /// # Errors
    /// [`StorageError`]: there is no snapshot yet, its file can't be opened, or the log has failed.
    pub fn copy(&self) -> Result<ShardCopy, StorageError> {
        // While it is locked nothing takes the place of the snapshot that the log is based on, and no record after it goes.
        let image = self.lock();
        let generation = image.base().generation;
        let snapshot = open_generation(&image, generation)?;
        let mut records = Vec::new();
        image.each_since_base(|dot, payload| {
            for word in [dot.actor.as_u64(), dot.seq, payload.len() as u64] {
                records.extend_from_slice(&word.to_le_bytes());
            }
            records.extend_from_slice(payload);
        })?;
        Ok(ShardCopy { shard: image.shared().ring.about().owner.shard, generation, snapshot, records })
    }
}

fn open_generation(image: &Image, generation: u64) -> Result<File, StorageError> {
    let directory = image.path().parent().unwrap_or(Path::new("."));
    for slot in 0..2 {
        let path = directory.join(format!("snapshot.{slot}"));
        let file = match open_own(&path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StorageError::io(&path, "opening the snapshot")(error)),
        };
        let reader = snapshot_of(&file, &path)?;
        if reader.generation() == generation {
            return Ok(file);
        }
    }
    let what = format!("there is no snapshot {generation}");
    Err(StorageError::Damaged { path: directory.to_owned(), offset: 0, what })
}

/// A reader of a snapshot that is a file of its own.
fn snapshot_of(file: &File, path: &Path) -> Result<SnapshotReader, StorageError> {
    let failed = |error| StorageError::io(path, "opening the snapshot")(error);
    let len_bytes = file.metadata().map_err(failed)?.len();
    SnapshotReader::within(Box::new(file.try_clone().map_err(failed)?), path, 0, len_bytes)
}

/// The place of a backup that is not there yet, held against others. Dropped, nothing is left of it.
#[derive(Debug)]
pub struct BackupFile {
    path: PathBuf,
    beside: PathBuf,
    file: File,
    finished: bool,
}

/// A backup that is being written.
#[derive(Debug)]
pub struct BackupWriter {
    about: BackupAbout,
    to: BackupFile,
    end: End,
}

impl BackupFile {
    /// Makes the file that will be at `path`, beside it.
    ///
    /// # Errors
    /// [`StorageError`]: something is there already, another backup is being written there, or what the system says.
    pub fn create(path: &Path) -> Result<Self, StorageError> {
        if path.symlink_metadata().is_ok() {
            return Err(unfit(path, "is there already and is not overwritten"));
        }
        let mut beside = path.to_owned().into_os_string();
        beside.push(".partial");
        let beside = PathBuf::from(beside);
        let file = open_alone(&beside)?;
        // From here on its end takes the file away.
        let new = Self { path: path.to_owned(), beside, file, finished: false };
        new.file.set_len(0).map_err(new.failed("making the backup"))?;
        Ok(new)
    }

    /// Begins to write.
    ///
    /// # Errors
    /// [`StorageError::Io`].
    pub fn begin(self, about: BackupAbout) -> Result<BackupWriter, StorageError> {
        let mut block = [0; HEADER_BYTES];
        about.write(&mut block);
        let end = End { bytes: HEADER_BYTES as u64, ..End::default() };
        let mut writer = BackupWriter { about, to: self, end };
        writer.to.put(&block)?;
        Ok(writer)
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(std::io::Error) -> StorageError {
        StorageError::io(&self.path, doing)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let written = self.file.write_all(bytes);
        written.map_err(self.failed("writing the backup"))
    }

    /// Makes what was written durable under its name.
    fn finish(mut self) -> Result<(), StorageError> {
        self.file.sync_all().map_err(self.failed("syncing the backup"))?;
        let named = rename_if_free(&self.beside, &self.path);
        named.map_err(self.failed("putting the backup in place"))?;
        self.finished = true;
        sync_above(&self.path)
    }
}

impl Drop for BackupFile {
    fn drop(&mut self) {
        if !self.finished {
            // It is no backup. If it stays, the next one takes its place.
            let _ = std::fs::remove_file(&self.beside);
        }
    }
}

impl BackupWriter {
    /// Adds the next shard, in their order. The snapshot is checked to its last byte first.
    ///
    /// # Errors
    /// [`StorageError`]: the snapshot is damaged or another shard's or node's, or the system's.
    pub fn shard(&mut self, copy: &ShardCopy) -> Result<(), StorageError> {
        let source = PathBuf::from(format!("snapshot {} of shard {}", copy.generation, copy.shard));
        let mut snapshot = snapshot_of(&copy.snapshot, &source)?;
        let owner = snapshot.header.owner;
        if (owner.shard, owner.node) != (copy.shard, self.about.node)
            || u64::from(copy.shard) != self.end.sections
        {
            return Err(unfit(&source, "is not of the shard that comes next"));
        }
        snapshot.check()?;
        let records = super::read::records_in(&copy.records)
            .ok_or_else(|| unfit(&source, "the operations since then make no sense"))?;
        let section = Section {
            shard: copy.shard,
            snapshot_bytes: snapshot.len_bytes(),
            records: records.len() as u64,
            records_bytes: copy.records.len() as u64,
            records_sum: xxh3_64(&copy.records),
        };
        let mut block = [0; SECTION_BYTES];
        section.write(&mut block);
        self.to.put(&block)?;
        let mut from = copy.snapshot.try_clone().map_err(StorageError::io(&source, "reading"))?;
        from.seek(SeekFrom::Start(0)).map_err(StorageError::io(&source, "reading"))?;
        let copied = std::io::copy(&mut from.take(section.snapshot_bytes), &mut self.to.file);
        if copied.map_err(self.to.failed("writing the backup"))? != section.snapshot_bytes {
            return Err(unfit(&source, "became shorter"));
        }
        self.to.put(&copy.records)?;
        self.end.add(&block);
        self.end.bytes += SECTION_BYTES as u64 + section.snapshot_bytes + section.records_bytes;
        Ok(())
    }

    /// Makes it durable under its name, and says how long it is, in bytes.
    ///
    /// # Errors
    /// [`StorageError`]: shards are missing, something has taken the name meanwhile, or the system's.
    pub fn finish(mut self) -> Result<u64, StorageError> {
        if self.end.sections != u64::from(self.about.shards) {
            return Err(unfit(&self.to.path, "shards are missing"));
        }
        let mut block = [0; SECTION_BYTES];
        self.end.write(&mut block);
        self.to.put(&block)?;
        self.to.finish()?;
        Ok(self.end.bytes + SECTION_BYTES as u64)
    }
}

/// Gives a file its name, unless something has it.
fn rename_if_free(from: &Path, to: &Path) -> std::io::Result<()> {
    let cwd = rustix::fs::CWD;
    match rustix::fs::renameat_with(cwd, from, cwd, to, RenameFlags::NOREPLACE) {
        // Not on every file system: a second name is refused as well if it is taken.
        Err(rustix::io::Errno::INVAL) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

fn unfit(path: &Path, what: &str) -> StorageError {
    StorageError::Unfit { path: path.to_owned(), what: what.to_owned() }
}

/// Opens the file beside, for one process at a time: what a killed one left is used again.
fn open_alone(path: &Path) -> Result<File, StorageError> {
    let mut options = OpenOptions::new();
    let opened = open_own(path, options.write(true).create(true).mode(0o600));
    let file = opened.map_err(StorageError::io(path, "making the backup"))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(unfit(path, "another backup is being written there"));
        }
        Err(error) => return Err(StorageError::io(path, "locking the backup")(error.into())),
    }
    // The one that held the lock before may have given the file its name by now.
    let inode = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let ours = file.metadata().map(inode).map_err(StorageError::io(path, "looking at the backup"))?;
    match path.symlink_metadata().map(inode) {
        Ok(there) if there == ours => Ok(file),
        _ => Err(unfit(path, "another backup was written there just now")),
    }
}
