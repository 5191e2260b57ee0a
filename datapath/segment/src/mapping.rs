//! Shared mappings as words: the only place where a file's memory becomes Rust values.
//!
//! A mapping is seen as `&[AtomicU64]` for as long as it lives; nobody makes byte references to it, so other processes
//! may store to it at any time without a data race. What the words say is another matter: they are untrusted.
//!
//! What can go wrong: a file that shrinks under a mapping raises SIGBUS at the next access. Segments are never truncated
//! (their directory belongs to the daemon), and rings are sealed against it.

use crate::sync::{AtomicU64, Ordering::Relaxed};
use memmap2::{MmapOptions, MmapRaw};
use std::io;
use std::os::fd::AsRawFd;

/// A shared mapping of whole words.
pub(crate) struct Mapping {
    map: MmapRaw,
    words: usize,
    /// Not 0 once this process has turned away from it.
    given_up: AtomicU64,
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapping").field("words", &self.words).finish_non_exhaustive()
    }
}

impl Mapping {
    /// Maps the first `bytes` bytes for reading and writing.
    pub(crate) fn writable(file: &impl AsRawFd, bytes: u64) -> io::Result<Mapping> {
        let len = length(bytes)?;
        Ok(Mapping::new(MmapOptions::new().len(len).map_raw(file.as_raw_fd())?, len))
    }

    /// Maps the first `bytes` bytes; a store through it would be a fault, and nothing here stores through a reader's.
    pub(crate) fn read_only(file: &impl AsRawFd, bytes: u64) -> io::Result<Mapping> {
        let len = length(bytes)?;
        Ok(Mapping::new(MmapOptions::new().len(len).map_raw_read_only(file.as_raw_fd())?, len))
    }

    fn new(map: MmapRaw, len: usize) -> Mapping {
        Mapping { map, words: len / 8, given_up: AtomicU64::new(0) }
    }

    /// Tells those who hold words of it to look elsewhere. It stays mapped and readable.
    pub(crate) fn give_up(&self) {
        // Relaxed, here and below: a hint to go and look for another mapping, which orders itself.
        self.given_up.store(1, Relaxed);
    }

    /// Whether this process has turned away from it.
    #[inline]
    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Relaxed) != 0
    }

    /// All words.
    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, at least `words * 8` bytes long and lives as long as `self`. Any bits are
        // a valid u64. AtomicU64 has the size of u64 and allows concurrent access; in a read-only mapping only relaxed
        // loads are made (`sync::load_acquire`), which Rust promises to be loads on these targets.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), self.words) }
    }
}

fn length(bytes: u64) -> io::Result<usize> {
    match usize::try_from(bytes) {
        Ok(len) if len >= 8 => Ok(len),
        _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    }
}

// A reader's loads must not be lowered to a compare-exchange, which would need a writable mapping: so 64-bit targets only.
const _: () = assert!(cfg!(target_has_atomic = "64") && usize::BITS == 64);
