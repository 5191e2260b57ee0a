//! Reading a backup: everything is checked before it is believed, and what is wrong is named with its byte.

use super::{BackupAbout, End, HEADER_BYTES, RECORD_HEAD_BYTES, SECTION_BYTES, Section};
use crate::error::StorageError;
use crate::snapshot::SnapshotReader;
use crate::start::OldRecord;
use lattice_crdt::{ActorId, Dot};
use lattice_engine::{Engine, EngineConfig, Instant, LogStore, RecoverError, Recovery};
use lattice_wire::MAX_RECORD_BYTES;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// A backup, read shard by shard.
#[derive(Debug)]
pub struct BackupReader {
    path: PathBuf,
    file: File,
    len_bytes: u64,
    about: BackupAbout,
    at: u64,
    end: End,
}

/// One shard of a backup.
#[derive(Debug)]
pub struct BackupShard {
    /// Which.
    pub shard: u16,
    path: PathBuf,
    /// Where its section begins.
    begin: u64,
    writer: (u16, u32),
    snapshot: SnapshotReader,
    records: Vec<OldRecord>,
}

impl BackupReader {
    /// Opens a backup and reads what it is of.
    ///
    /// # Errors
    /// [`StorageError::Io`], [`StorageError::Damaged`].
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let failed = |error| StorageError::io(path, "opening the backup")(error);
        let file = File::open(path).map_err(failed)?;
        let len_bytes = file.metadata().map_err(failed)?.len();
        let mut reader = Self {
            path: path.to_owned(),
            file,
            len_bytes,
            about: BackupAbout {
                cluster: String::new(),
                cluster_tag: 0,
                node: 0,
                shards: 0,
                taken_unix_ms: 0,
            },
            at: 0,
            end: End::default(),
        };
        let block = reader.take(HEADER_BYTES as u64)?;
        reader.about = BackupAbout::read(&block).map_err(|what| reader.damaged(0, what))?;
        Ok(reader)
    }

    /// What it is of.
    pub fn about(&self) -> &BackupAbout {
        &self.about
    }

    /// Begins with the first shard again.
    pub fn rewind(&mut self) {
        (self.at, self.end) = (HEADER_BYTES as u64, End::default());
    }

    /// Reads all of it once; afterwards it is at its first shard.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] with the place of the first thing that is wrong, [`StorageError::Io`].
    pub fn check(&mut self) -> Result<(), StorageError> {
        self.rewind();
        while let Some(mut shard) = self.next_shard()? {
            shard.snapshot.check()?;
        }
        self.rewind();
        Ok(())
    }

    fn damaged(&self, offset: u64, what: &str) -> StorageError {
        StorageError::Damaged { path: self.path.clone(), offset, what: what.to_owned() }
    }

    /// The next so many bytes. What a length says is compared with what is there before there is memory for it.
    fn take(&mut self, bytes: u64) -> Result<Vec<u8>, StorageError> {
        let mut taken = vec![0; self.pass(bytes)? as usize];
        let read = self.file.read_exact_at(&mut taken, self.at - bytes);
        read.map_err(StorageError::io(&self.path, "reading the backup"))?;
        Ok(taken)
    }

    fn pass(&mut self, bytes: u64) -> Result<u64, StorageError> {
        if bytes > self.len_bytes.saturating_sub(self.at) {
            return Err(self.damaged(self.at, "the file ends too early"));
        }
        self.at += bytes;
        Ok(bytes)
    }

    /// The next shard; `None` after the last one, when the end has been checked. Frames of its snapshot are checked as they
    /// are read.
    ///
    /// # Errors
    /// As [`BackupReader::check`].
    pub fn next_shard(&mut self) -> Result<Option<BackupShard>, StorageError> {
        let begin = self.at;
        let block = self.take(SECTION_BYTES as u64)?;
        if self.end.sections == u64::from(self.about.shards) {
            return self.check_end(begin, &block).map(|()| None);
        }
        let section = Section::read(&block).map_err(|what| self.damaged(begin, what))?;
        if u64::from(section.shard) != self.end.sections {
            return Err(self.damaged(begin, "the section is of another shard than the next one"));
        }
        let snapshot_at = self.at;
        self.pass(section.snapshot_bytes)?;
        let again = self.file.try_clone().map_err(StorageError::io(&self.path, "reading the backup"))?;
        let snapshot =
            SnapshotReader::within(Box::new(again), &self.path, snapshot_at, section.snapshot_bytes)?;
        let owner = snapshot.header.owner;
        if (owner.node, owner.shard) != (self.about.node, section.shard) {
            return Err(self.damaged(snapshot_at, "the snapshot is of another node or shard"));
        }
        let records_at = self.at;
        let bytes = self.take(section.records_bytes)?;
        let records = records_in(&bytes).filter(|records| {
            records.len() as u64 == section.records && xxh3_64(&bytes) == section.records_sum
        });
        let records = records
            .ok_or_else(|| self.damaged(records_at, "the operations after the snapshot are damaged"))?;
        if let Ok(block) = <&[u8; SECTION_BYTES]>::try_from(&block[..]) {
            self.end.add(block);
        }
        Ok(Some(BackupShard {
            shard: section.shard,
            path: self.path.clone(),
            begin,
            writer: (self.about.node, self.about.cluster_tag),
            snapshot,
            records,
        }))
    }

    fn check_end(&self, begin: u64, block: &[u8]) -> Result<(), StorageError> {
        let mut right = [0; SECTION_BYTES];
        End { bytes: begin, ..self.end }.write(&mut right);
        if block != right {
            return Err(self.damaged(begin, "the end is damaged, or is of another backup"));
        }
        match self.at == self.len_bytes {
            true => Ok(()),
            false => Err(self.damaged(self.at, "there is more after the end")),
        }
    }
}

/// Records as they lie in a backup; `None` if that is not what these bytes are.
pub(super) fn records_in(mut bytes: &[u8]) -> Option<Vec<OldRecord>> {
    let mut records = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<RECORD_HEAD_BYTES>() {
        let word = |i: usize| head[i..i + 8].try_into().map_or(0, u64::from_le_bytes);
        let len = usize::try_from(word(16)).ok().filter(|len| *len <= MAX_RECORD_BYTES)?;
        let (record, rest) = rest.split_at_checked(len)?;
        records
            .push(OldRecord { dot: Dot::new(ActorId::from_u64(word(0)), word(8)), bytes: record.to_vec() });
        bytes = rest;
    }
    bytes.is_empty().then_some(records)
}

impl BackupShard {
    /// An engine with everything that the backup holds of the shard, in the epoch of `config.actor`, which is new.
    ///
    /// # Errors
    /// [`StorageError`]: damaged, or it makes no sense to the engine.
    pub fn recover<L: LogStore>(
        mut self,
        config: EngineConfig,
        log: L,
        now: Instant,
    ) -> Result<Engine<L>, StorageError> {
        let (path, begin) = (self.path, self.begin);
        let not_understood = |error: RecoverError| StorageError::Damaged {
            path: path.clone(),
            offset: begin,
            what: format!("shard {}: {error}", self.shard),
        };
        let mut recovery = Recovery::new(config, log, now).map_err(not_understood)?;
        recovery = recovery.of_copy(self.writer.0, self.writer.1);
        while let Some(frame) = self.snapshot.next_frame()? {
            recovery.snapshot_frame(frame).map_err(not_understood)?;
        }
        for record in &self.records {
            recovery.old_record(record.dot, &record.bytes).map_err(not_understood)?;
        }
        recovery.finish().map_err(not_understood)
    }
}
