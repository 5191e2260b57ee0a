//! The ring file: a mapping that outlives the process, and the only place where its memory becomes Rust values.
//!
//! ```text
//!   byte     0  who and what: magic, sizes, salt, node, shard, directory, boot; sealed, and never changed again
//!          512  the worker's words: head, tail, actor, last seq
//!          640  the storage threads' words: durable, generation of the image's header
//!         4096  the ring: records (record.rs)
//! ```
//!
//! The file is meant for tmpfs: its pages are never written back, so a store never waits for a disk (a page of a mapped
//! disk file is write-protected at each sync, and the next store waits for the file system: `examples/log_cost`
//! measures it), and it ends with the boot, as what it says must.
//!
//! A process that is killed leaves behind a prefix of its stores, in the order in which the compiler left them. The head
//! is stored last and released, so a record that is half there lies beyond it.
//!
//! What can go wrong: somebody removes the file while the daemon runs (tmpfs is cleaned by some). The mapping stays good;
//! the next start finds no ring, takes a new epoch, and has what the image has. Memory is so short that tmpfs is swapped:
//! then stores wait after all. And SIGBUS. A page of tmpfs that was reserved stays; so is every page before the file is mapped. Left
//! are those who truncate the file of another's lock (they need this user's rights) and memory that the hardware has lost.
//! Neither can be made good, and the process ends, as it does when its stack is taken.

use crate::error::StorageError;
use crate::fields::{Get, Put};
use crate::image::Owner;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, Ordering};

const HEADER_BYTES: u64 = 4096;
const HEADER_WORDS: usize = HEADER_BYTES as usize / 8;
const ABOUT_BYTES: usize = 512;
const MAGIC: u64 = u64::from_le_bytes(*b"LATRING1");
/// The smallest ring.
pub(crate) const MIN_CAPACITY_BYTES: u64 = 4096;
/// The largest: places in it are counted in 32 bits.
pub(crate) const MAX_CAPACITY_BYTES: u64 = 1 << 34;

/// Words that change, by their place in the header. The two threads' are on lines of their own.
#[derive(Clone, Copy)]
pub(crate) enum Word {
    /// End of the newest record. Stored last by an append.
    Head = 64,
    /// Beginning of the oldest record that is held. Stored before what it gives up is overwritten.
    Tail = 65,
    /// Whose operations are appended.
    Actor = 66,
    /// The newest seq that was given out: the mark.
    LastSeq = 67,
    /// Up to here the image on disk is durable.
    Durable = 80,
    /// Generation of the image's header that was written last.
    Generation = 81,
}

/// What never changes in a ring file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) owner: Owner,
    pub(crate) capacity_bytes: u64,
    pub(crate) salt: u64,
    pub(crate) boot_id: u128,
    /// Device and inode of the data directory: a copy of it has others.
    pub(crate) place: (u64, u64),
}

/// A mapped ring file. One thread stores records; any may load words. While it is mapped here it is locked, so there is
/// no second mapping of it that records are stored through, in this process or another.
pub(crate) struct Ring {
    map: MmapRaw,
    about: About,
    path: PathBuf,
    _locked: File,
}

/// Why a ring file can't be mapped.
pub(crate) enum RingError {
    /// It is mapped already.
    InUse,
    /// What is wrong with it.
    Unusable(String),
}

impl From<String> for RingError {
    fn from(what: String) -> Self {
        Self::Unusable(what)
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("path", &self.path).field("about", &self.about).finish_non_exhaustive()
    }
}

impl Ring {
    /// Makes a file with an empty ring, every page of it reserved. Head and tail are 0, and the actor is nobody.
    pub(crate) fn create(path: &Path, about: About) -> Result<Ring, StorageError> {
        // Never truncated: a mapping of what was there stays good.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StorageError::io(path, "removing what was left of a start")(error));
            }
            _ => {}
        }
        let mut options = OpenOptions::new();
        let file = crate::disk::open_own(path, options.read(true).write(true).create_new(true))
            .map_err(StorageError::io(path, "making the log in memory"))?;
        let bytes = HEADER_BYTES + about.capacity_bytes;
        crate::disk::reserve(&file, bytes).map_err(StorageError::io(path, "reserving memory for the log"))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| StorageError::io(path, "locking the log in memory")(error.into()))?;
        let ring = Self::map(file, path, about)?;
        let mut block = [0; ABOUT_BYTES];
        ring.about.write(&mut block);
        ring.store_bytes_at_word(0, &block);
        Ok(ring)
    }

    /// Maps a ring file that is there.
    ///
    /// # Errors
    /// [`RingError`]; nothing was changed.
    pub(crate) fn open(path: &Path) -> Result<Ring, RingError> {
        let file = crate::disk::open_own(path, OpenOptions::new().read(true).write(true))
            .map_err(|error| format!("the log in memory: {error}"))?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(RingError::InUse);
        }
        let mut block = [0; ABOUT_BYTES];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut block, 0)
            .map_err(|error| format!("the log in memory: {error}"))?;
        let about = About::read(&block).ok_or("the header of the log in memory is damaged".to_owned())?;
        let metadata = file.metadata().map_err(|error| format!("the log in memory: {error}"))?;
        let bytes = HEADER_BYTES + about.capacity_bytes;
        if metadata.len() != bytes || metadata.blocks() * 512 < bytes {
            let what = format!("the log in memory has {} bytes instead of {bytes}", metadata.len());
            return Err(RingError::Unusable(what));
        }
        Ok(Self::map(file, path, about).map_err(|error| error.to_string())?)
    }

    fn map(file: File, path: &Path, about: About) -> Result<Ring, StorageError> {
        let fits = |capacity: u64| {
            capacity.is_power_of_two() && (MIN_CAPACITY_BYTES..=MAX_CAPACITY_BYTES).contains(&capacity)
        };
        if !fits(about.capacity_bytes) {
            let what = format!("a log of {} bytes: a power of two is needed", about.capacity_bytes);
            return Err(StorageError::Setting { what });
        }
        let len = (HEADER_BYTES + about.capacity_bytes) as usize;
        let map = MmapOptions::new()
            .len(len)
            .populate()
            .map_raw(file.as_raw_fd())
            .map_err(StorageError::io(path, "mapping the log in memory"))?;
        Ok(Ring { map, about, path: path.to_owned(), _locked: file })
    }

    pub(crate) fn about(&self) -> &About {
        &self.about
    }

    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.about.capacity_bytes
    }

    fn words(&self) -> &[AtomicU64] {
        let words = HEADER_WORDS + self.about.capacity_bytes as usize / 8;
        // SAFETY: the mapping is page-aligned, exactly `words * 8` bytes long (`map`) and lives as long as `self`. Any
        // bits are a valid u64, and AtomicU64 allows concurrent access to them, by whatever process.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), words) }
    }

    pub(crate) fn load(&self, word: Word, order: Ordering) -> u64 {
        self.words()[word as usize].load(order)
    }

    pub(crate) fn store(&self, word: Word, value: u64, order: Ordering) {
        self.words()[word as usize].store(value, order);
    }

    /// The word at a place in the ring, a multiple of 8.
    #[inline]
    pub(crate) fn word_at(&self, place: u64) -> u64 {
        self.words()[HEADER_WORDS + place as usize / 8].load(Relaxed)
    }

    #[inline]
    pub(crate) fn store_word_at(&self, place: u64, value: u64) {
        self.words()[HEADER_WORDS + place as usize / 8].store(value, Relaxed);
    }

    /// Stores bytes from a place in the ring on, a multiple of 8; the last word is filled up with zeros.
    #[inline]
    pub(crate) fn store_bytes_at(&self, place: u64, bytes: &[u8]) {
        self.store_bytes_at_word(HEADER_WORDS + place as usize / 8, bytes);
    }

    #[inline]
    fn store_bytes_at_word(&self, first: usize, bytes: &[u8]) {
        let words = &self.words()[first..first + bytes.len().div_ceil(8)];
        let (whole, rest) = bytes.as_chunks::<8>();
        for (word, chunk) in words.iter().zip(whole) {
            word.store(u64::from_le_bytes(*chunk), Relaxed);
        }
        if let (false, Some(last)) = (rest.is_empty(), words.last()) {
            let mut chunk = [0; 8];
            chunk[..rest.len()].copy_from_slice(rest);
            last.store(u64::from_le_bytes(chunk), Relaxed);
        }
    }

    /// Copies whole words out of the ring, from one offset to another; at most one lap.
    pub(crate) fn copy_out(&self, from: u64, to: u64, out: &mut Vec<u8>) {
        out.clear();
        let (mut at, mask) = (from, self.about.capacity_bytes - 1);
        while at < to {
            out.extend_from_slice(&self.word_at(at & mask).to_le_bytes());
            at += 8;
        }
    }

    /// Bytes of the ring as they lie there, without a copy; `None` if they are not all inside.
    ///
    /// # Safety
    /// No thread may store to these bytes for as long as the slice lives. Loads are fine.
    pub(crate) unsafe fn bytes(&self, place: u64, len: usize) -> Option<&[u8]> {
        let end = place.checked_add(len as u64)?;
        if end > self.about.capacity_bytes {
            return None;
        }
        let at = HEADER_BYTES as usize + place as usize;
        // SAFETY: inside of the mapping, which lives as long as `self`; nothing stores there meanwhile, says the caller.
        // Nobody else does: the file is this user's alone (0600), and locked for as long as it is mapped here.
        Some(unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(at), len) })
    }
}

// Records are stored as words and hashed as bytes.
const _: () = assert!(cfg!(target_endian = "little") && usize::BITS == 64);

impl About {
    fn write(&self, block: &mut [u8]) {
        let mut put = Put::new(block);
        put.u64(MAGIC).u64(self.capacity_bytes).u64(self.salt).u128(self.boot_id);
        put.u64(self.place.0).u64(self.place.1);
        self.owner.write(&mut put);
        put.seal();
    }

    fn read(block: &[u8]) -> Option<About> {
        let mut get = Get::sealed(block)?;
        if get.u64() != MAGIC {
            return None;
        }
        let (capacity_bytes, salt, boot_id) = (get.u64(), get.u64(), get.u128());
        let place = (get.u64(), get.u64());
        Some(About { capacity_bytes, salt, boot_id, place, owner: Owner::read(&mut get) })
    }
}
