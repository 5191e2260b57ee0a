//! The published shared-memory segment: layout, its only writer, its readers, and the client rings.
//!
//! ```text
//!            daemon                                     applications
//!   Segment  ── header: INIT, READY, CLOSED ──────────> Reader      read-only mapping of one file on tmpfs
//!   Writer   ── index, cells, extents, changes ───────> Reader, ChangeCursor
//!   RingConsumer <───────── submissions ─────────────── RingProducer   sealed memfd, one pair of rings per worker
//!   RingConsumer ────── applied, failures ────────────> RingProducer
//! ```
//!
//! `ABI.md` beside this crate describes the bytes for readers in other languages; [`layout`] is the same in Rust, asserted
//! at compile time. Shared memory is only ever `&[AtomicU64]`: the algorithms (`cell`, `index`, `extent`, `register`,
//! `set`, `change_ring`, `ring::submission`, `ring::completion`) are functions over such slices, with each ordering
//! labelled `ORDER name` at both of its ends, and loom runs them (`tests/loom.rs`).
//!
//! ```
//! use lattice_segment::{Lookup, Reader, Segment, SegmentConfig, key_hash};
//! let directory = tempfile::tempdir()?;
//! let path = directory.path().join("segment");
//! let (segment, mut writers) = Segment::create(&SegmentConfig {
//!     path: path.clone(), node: 1, node_name: "a".into(), cluster: "demo".into(), actor: 1 << 48 | 7,
//!     workers: 1, shards: 4, cells_per_worker: 100, extent_bytes_per_worker: 1 << 16, change_ring_entries: 64,
//!     heartbeat_timeout_ns: 1_000_000_000, socket_path: None,
//! })?;
//! let cell = writers[0].open_cell(1, key_hash(b"hits"), b"hits")?;
//! writers[0].publish_word(cell, 42);
//! segment.mark_ready();
//!
//! let reader = Reader::open(&path)?;
//! let Lookup::Found(hits) = reader.lookup(1, b"hits") else { panic!("not published") };
//! assert_eq!(reader.word(hits)?, 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[macro_use]
mod zoo;

pub mod layout;

#[doc(hidden)]
pub mod biased;
#[doc(hidden)]
pub mod cell;
#[doc(hidden)]
pub mod change_ring;
#[doc(hidden)]
pub mod counters;
#[doc(hidden)]
pub mod extent;
#[doc(hidden)]
pub mod index;
#[doc(hidden)]
pub mod register;
pub mod ring;
#[doc(hidden)]
pub mod set;
#[doc(hidden)]
pub mod sleep;
#[doc(hidden)]
pub mod state;
#[doc(hidden)]
pub mod sync;
#[doc(hidden)]
pub mod words;

mod error;

#[cfg(not(loom))]
mod futex;
#[cfg(not(loom))]
mod header;
#[cfg(not(loom))]
mod mapping;
#[cfg(not(loom))]
mod reader;
#[cfg(not(loom))]
mod segment;
#[cfg(not(loom))]
mod watch;
#[cfg(not(loom))]
mod word;
#[cfg(not(loom))]
mod writer;

pub use biased::{BiasedGuard, BiasedLock};
pub use error::{Full, OpenError, ReadError, SegmentError, Stale};
#[cfg(not(loom))]
pub use reader::{CellRef, Lookup, Reader, State};
pub use ring::{
    AckTerms, Levels, RingConfig, RingError, RingFault, Submission, SubmitError, SubmitOp, Target, Ticket,
    Verdict, Watermark, codes,
};
#[cfg(not(loom))]
pub use ring::{RingConsumer, RingProducer, RingWatcher, create_rings};
#[cfg(not(loom))]
pub use segment::{Segment, SegmentConfig};
#[cfg(not(loom))]
pub use watch::{Change, ChangeCursor};
#[cfg(not(loom))]
pub use word::Word;
#[cfg(not(loom))]
pub use writer::{CellDescription, CellId, Writer};

/// The hash of a key: XXH64 with seed 0. Its top bits choose the shard.
pub fn key_hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh64::xxh64(key, 0)
}

/// The shard of a key hash: its top `log2(shards)` bits; shard 0 when there is one shard.
pub fn shard_of(hash: u64, shards: u16) -> u16 {
    let bits = shards.max(1).ilog2();
    if bits == 0 { 0 } else { (hash >> (64 - bits)) as u16 }
}

/// The worker that owns a shard.
pub fn worker_of(shard: u16, workers: u16) -> u16 {
    shard % workers.max(1)
}

/// CLOCK_MONOTONIC in nanoseconds: the clock of heartbeats.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// Readers are shared between threads; writers and ring ends move between them.
#[cfg(not(loom))]
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn moved<T: Send>() {}
    shared::<(Reader, RingWatcher, Word, BiasedLock<RingProducer>)>();
    moved::<(Segment, Writer, ChangeCursor, RingConsumer, RingProducer)>();
};
