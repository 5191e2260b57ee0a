//! Snapshot files: two generations of a shard's state, each whole and checked to the last byte, or not used.
//!
//! ```text
//!   header 512   whose, generation, salt and mark of the log as the walk began
//!   frames       length 4 | index 4 | checksum 8 | the frame, as the engine wrote it      ... one after the other
//!   trailer 64   length 0xFFFFFFFF | count | bytes | hash of all checksums | sealed; and nothing after it
//!
//!   written as snapshot.new ─> sync ─> log durable up to the walk's end ─> renamed over the older of snapshot.0 and .1
//!                           ─> directory synced ─> the log's header says that this one is its base
//! ```
//!
//! What can go wrong: a full disk, a failed sync: the file beside is given up, the two that are there stay as they are,
//! and the log keeps what it has. A flipped byte: the reader says where, and the other generation is used.

use crate::disk::{Disk, DiskFile};
use crate::error::StorageError;
use crate::fields::{Get, Put};
use crate::image::{Base, Owner};
use lattice_wire::MAX_FRAME_BYTES;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const MAGIC: u64 = u64::from_le_bytes(*b"LATSNAP1");
const HEADER_BYTES: usize = 512;
const FRAME_HEADER_BYTES: usize = 16;
const TRAILER_BYTES: usize = 64;
const TRAILER_MARK: u64 = 0xFFFF_FFFF;
/// What is gathered before it is written, and read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What a snapshot's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotHeader {
    pub(crate) owner: Owner,
    /// Which log the mark is a place in.
    pub(crate) log_salt: u64,
    pub(crate) base: Base,
}

impl SnapshotHeader {
    fn write(&self, block: &mut [u8; HEADER_BYTES]) {
        let mut put = Put::new(block);
        put.u64(MAGIC);
        self.owner.write(&mut put);
        put.u64(self.base.generation).u64(self.log_salt).u64(self.base.mark).seal();
    }

    fn read(block: &[u8]) -> Result<Self, &'static str> {
        let mut get = Get::sealed(block).ok_or("the header is damaged")?;
        if get.u64() != MAGIC {
            return Err("not a snapshot of this version");
        }
        let owner = Owner::read(&mut get);
        let (generation, log_salt, mark) = (get.u64(), get.u64(), get.u64());
        Ok(Self { owner, log_salt, base: Base { generation, mark } })
    }
}

fn frame_sum(generation: u64, index: u64, frame: &[u8]) -> u64 {
    xxh3_64_with_seed(frame, (generation << 32 ^ index).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn chain(before: u64, sum: u64) -> u64 {
    xxh3_64_with_seed(&sum.to_le_bytes(), before)
}

/// A snapshot that is being written beside the two that are in place.
pub(crate) struct SnapshotWriter {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    header: SnapshotHeader,
    gathered: Vec<u8>,
    written_bytes: u64,
    frames: u64,
    hash: u64,
}

impl SnapshotWriter {
    pub(crate) fn create(disk: &dyn Disk, path: &Path, header: SnapshotHeader) -> Result<Self, StorageError> {
        let file = disk.create(path, 0).map_err(StorageError::io(path, "making the snapshot"))?;
        let mut block = [0; HEADER_BYTES];
        header.write(&mut block);
        let mut gathered = Vec::with_capacity(CHUNK_BYTES + MAX_FRAME_BYTES + FRAME_HEADER_BYTES);
        gathered.extend_from_slice(&block);
        Ok(Self { path: path.to_owned(), file, header, gathered, written_bytes: 0, frames: 0, hash: 0 })
    }

    pub(crate) fn base(&self) -> Base {
        self.header.base
    }

    pub(crate) fn frame(&mut self, frame: &[u8]) -> Result<(), StorageError> {
        let sum = frame_sum(self.header.base.generation, self.frames, frame);
        self.gathered.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        self.gathered.extend_from_slice(&(self.frames as u32).to_le_bytes());
        self.gathered.extend_from_slice(&sum.to_le_bytes());
        self.gathered.extend_from_slice(frame);
        (self.hash, self.frames) = (chain(self.hash, sum), self.frames + 1);
        if self.gathered.len() >= CHUNK_BYTES { self.write_gathered() } else { Ok(()) }
    }

    fn write_gathered(&mut self) -> Result<(), StorageError> {
        let written = self.file.write_at(&self.gathered, self.written_bytes);
        written.map_err(StorageError::io(&self.path, "writing the snapshot"))?;
        self.written_bytes += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }

    /// Writes the trailer; all of it is durable when this returns, under its name beside.
    pub(crate) fn finish(mut self) -> Result<u64, StorageError> {
        let bytes = self.written_bytes + self.gathered.len() as u64;
        let mut block = [0; TRAILER_BYTES];
        Put::new(&mut block).u64(TRAILER_MARK).u64(self.frames).u64(bytes).u64(self.hash).seal();
        self.gathered.extend_from_slice(&block);
        self.write_gathered()?;
        self.file.sync().map_err(StorageError::io(&self.path, "syncing the snapshot"))?;
        Ok(self.written_bytes)
    }
}

/// Reads a snapshot file, frame by frame.
pub struct SnapshotReader {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// Where in the file it begins: in a backup there are several.
    begin: u64,
    pub(crate) header: SnapshotHeader,
    len_bytes: u64,
    chunk: Vec<u8>,
    /// Where `chunk` begins, and how much of it has been used.
    chunk_at: u64,
    used: usize,
    frames: u64,
    hash: u64,
    done: bool,
}

impl std::fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader")
            .field("path", &self.path)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

impl SnapshotReader {
    /// Opens a snapshot and reads its header. `None` if there is no such file.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, owner: Owner) -> Result<Option<Self>, StorageError> {
        let file = match disk.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StorageError::io(path, "opening the snapshot")(error)),
        };
        let len_bytes = file.len_bytes().map_err(StorageError::io(path, "opening the snapshot"))?;
        let reader = Self::within(file, path, 0, len_bytes)?;
        match reader.header.owner == owner {
            true => Ok(Some(reader)),
            false => Err(reader.damaged(0, "it belongs to another directory, node or shard")),
        }
    }

    /// Reads the header of a snapshot, whosever it is, that is so many bytes of a file from `begin` on.
    pub(crate) fn within(
        file: Box<dyn DiskFile>,
        path: &Path,
        begin: u64,
        len_bytes: u64,
    ) -> Result<Self, StorageError> {
        let damaged = |what: &str| StorageError::Damaged {
            path: path.to_owned(),
            offset: begin,
            what: what.to_owned(),
        };
        let mut block = [0; HEADER_BYTES];
        if len_bytes < HEADER_BYTES as u64 {
            return Err(damaged("the header can't be read"));
        }
        file.read_at(&mut block, begin).map_err(|_| damaged("the header can't be read"))?;
        let header = SnapshotHeader::read(&block).map_err(damaged)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            begin,
            header,
            len_bytes,
            chunk: Vec::new(),
            chunk_at: HEADER_BYTES as u64,
            used: 0,
            frames: 0,
            hash: 0,
            done: false,
        })
    }

    /// Its number: each snapshot of a shard has a higher one than those before.
    pub fn generation(&self) -> u64 {
        self.header.base.generation
    }

    /// How long it is.
    pub(crate) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Begins with the first frame again.
    pub(crate) fn rewind(&mut self) {
        (self.chunk_at, self.used, self.frames, self.hash, self.done) = (HEADER_BYTES as u64, 0, 0, 0, false);
        self.chunk.clear();
    }

    fn at(&self) -> u64 {
        self.chunk_at + self.used as u64
    }

    fn damaged(&self, offset: u64, what: &str) -> StorageError {
        let offset = self.begin + offset;
        StorageError::Damaged { path: self.path.clone(), offset, what: what.to_owned() }
    }

    /// Sees to it that so many bytes lie in the chunk from `used` on.
    fn fill(&mut self, bytes: usize) -> Result<(), StorageError> {
        if self.chunk.len() - self.used >= bytes {
            return Ok(());
        }
        let at = self.at();
        let left = self.len_bytes.saturating_sub(at);
        if left < bytes as u64 {
            return Err(self.damaged(at, "the file ends too early"));
        }
        self.chunk.resize(left.min(CHUNK_BYTES as u64).max(bytes as u64) as usize, 0);
        (self.chunk_at, self.used) = (at, 0);
        let read = self.file.read_at(&mut self.chunk, self.begin + at);
        read.map_err(StorageError::io(&self.path, "reading the snapshot"))
    }

    /// The next frame; `None` after the last one, when everything there is has been checked.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] with the place, [`StorageError::Io`].
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, StorageError> {
        if self.done {
            return Ok(None);
        }
        self.fill(FRAME_HEADER_BYTES)?;
        let (at, used) = (self.at(), self.used);
        let word = |i: usize| self.chunk[used + i..used + i + 8].try_into().map_or(0, u64::from_le_bytes);
        let (first, sum) = (word(0), word(8));
        if first == TRAILER_MARK {
            return self.check_trailer().map(|()| None);
        }
        let (len, index) = ((first & 0xFFFF_FFFF) as usize, first >> 32);
        if len > MAX_FRAME_BYTES || index != self.frames {
            return Err(self.damaged(at, "no frame begins here"));
        }
        self.fill(FRAME_HEADER_BYTES + len)?;
        let begin = self.used + FRAME_HEADER_BYTES;
        if sum != frame_sum(self.generation(), self.frames, &self.chunk[begin..begin + len]) {
            return Err(self.damaged(at, "the checksum of a frame is wrong"));
        }
        (self.hash, self.frames, self.used) = (chain(self.hash, sum), self.frames + 1, begin + len);
        Ok(Some(&self.chunk[begin..begin + len]))
    }

    fn check_trailer(&mut self) -> Result<(), StorageError> {
        let at = self.at();
        self.fill(TRAILER_BYTES)?;
        let block = &self.chunk[self.used..self.used + TRAILER_BYTES];
        let mut get = Get::sealed(block).ok_or_else(|| self.damaged(at, "the trailer is damaged"))?;
        let says = [get.u64(), get.u64(), get.u64(), get.u64()];
        if says != [TRAILER_MARK, self.frames, at, self.hash] {
            return Err(self.damaged(at, "the trailer does not fit the frames"));
        }
        if at + TRAILER_BYTES as u64 != self.len_bytes {
            return Err(self.damaged(at + TRAILER_BYTES as u64, "there is more after the trailer"));
        }
        self.done = true;
        Ok(())
    }

    /// Reads all of it once; afterwards it is at its first frame.
    ///
    /// # Errors
    /// As [`SnapshotReader::next_frame`].
    pub fn check(&mut self) -> Result<(), StorageError> {
        while self.next_frame()?.is_some() {}
        self.rewind();
        Ok(())
    }
}

/// A number for a whole file, to tell one cluster's or directory's from another's.
pub(crate) fn name_hash(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}
