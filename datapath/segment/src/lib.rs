//! The published shared-memory segment: layout, its only writer, its readers, and the client rings.

mod error;
pub mod layout;
mod reader;
pub mod ring;
mod segment;
mod writer;

pub use error::{Full, OpenError, ReadError, SegmentError, Stale};
pub use reader::{CellRef, Change, ChangeCursor, Lookup, Reader, State};
pub use ring::{
    RingConfig, RingConsumer, RingError, RingFault, RingProducer, Submission, SubmitError, SubmitOp, Target,
    Ticket, codes, create_rings,
};
pub use segment::{Segment, SegmentConfig};
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
