//! Creating a segment and owning its header.

use crate::error::SegmentError;
use crate::writer::Writer;
use std::path::PathBuf;

/// What a segment is made of.
#[derive(Clone, Debug)]
pub struct SegmentConfig {
    /// Where the finished file appears.
    pub path: PathBuf,
    /// Number of this node.
    pub node: u16,
    /// Name of this node, at most 63 bytes.
    pub node_name: String,
    /// Name of the cluster, at most 63 bytes.
    pub cluster: String,
    /// This node's actor (node and epoch).
    pub actor: u64,
    /// Number of workers, 1..=64: each is the single writer of its own part.
    pub workers: u16,
    /// Number of shards, a power of two, 1..=64.
    pub shards: u16,
    /// Keys that each worker has room for, 1..=2^26.
    pub cells_per_worker: u32,
    /// Bytes of extents (long keys, register values, sets) of each worker, 4096..=2^35.
    pub extent_bytes_per_worker: u64,
    /// Entries of each worker's change ring: a power of two, 64..=2^22.
    pub change_ring_entries: u32,
    /// Age of a heartbeat at which readers call the worker dead, in nanoseconds.
    pub heartbeat_timeout_ns: u64,
    /// Where clients attach for writing, at most 255 bytes.
    pub socket_path: Option<PathBuf>,
}

/// The owner of a segment's header. Dropping it marks the segment CLOSED.
#[derive(Debug)]
pub struct Segment {}

impl Segment {
    /// Marks a predecessor at the path CLOSED, builds a new segment in a temporary file and renames it into place,
    /// in state INIT. The second value holds one writer for each worker.
    pub fn create(config: &SegmentConfig) -> Result<(Segment, Vec<Writer>), SegmentError> {
        let _ = config;
        todo!()
    }

    /// Tells readers that the values are worth reading.
    pub fn mark_ready(&self) {
        todo!()
    }

    /// Tells readers that nothing will be written any more.
    pub fn close(&self) {
        todo!()
    }

    /// The random number that tells this segment from every other one.
    pub fn incarnation(&self) -> u64 {
        todo!()
    }
}
