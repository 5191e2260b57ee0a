//! Readers of a segment.

use crate::error::{OpenError, ReadError, Stale};
use std::path::Path;
use std::time::Duration;

/// A handle: worker, cell and generation. Plain data; it is checked at each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CellRef {
    worker: u16,
    cell: u32,
    generation: u32,
}

impl CellRef {
    /// The worker whose part holds the cell.
    pub const fn worker(self) -> u16 {
        self.worker
    }
    /// The cell's number in that part.
    pub const fn cell(self) -> u32 {
        self.cell
    }
    /// The cell's generation.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

/// Result of looking a key up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The key has a cell of the kind.
    Found(CellRef),
    /// The key exists, with this other kind only.
    OtherKind(u8),
    /// The key is not published here.
    Missing,
}

/// State of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Being filled; values may be missing.
    Init,
    /// In service.
    Ready,
    /// Nothing will be written any more: open the path again.
    Closed,
}

/// One step of a change cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A cell was published with this version (read it to get that value or a later one).
    Item {
        /// The cell.
        cell: CellRef,
        /// Its version after the publication.
        version: u64,
    },
    /// Nothing new.
    None,
    /// Changes were lost because this watcher was too slow: read everything again. The cursor now stands at the newest.
    Overrun,
}

/// A watcher's position in one worker's change ring.
#[derive(Debug)]
pub struct ChangeCursor {}

impl ChangeCursor {
    /// The next change, without waiting.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Change {
        todo!()
    }

    /// Sleeps until there may be a change or the time is over; true if there is one.
    pub fn wait(&self, timeout: Duration) -> bool {
        let _ = timeout;
        todo!()
    }
}

/// A read-only view of a segment; share it between threads freely.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// Maps the file read-only and validates all of its structure.
    pub fn open(path: impl AsRef<Path>) -> Result<Reader, OpenError> {
        let _ = path.as_ref();
        todo!()
    }
    /// State of the segment.
    pub fn state(&self) -> State {
        todo!()
    }
    /// Whether the segment is CLOSED: one load.
    pub fn is_closed(&self) -> bool {
        todo!()
    }
    /// Number of the node.
    pub fn node(&self) -> u16 {
        todo!()
    }
    /// Name of the node.
    pub fn node_name(&self) -> &str {
        todo!()
    }
    /// Name of the cluster.
    pub fn cluster(&self) -> &str {
        todo!()
    }
    /// Where clients attach, if the daemon said so.
    pub fn socket_path(&self) -> Option<&Path> {
        todo!()
    }
    /// The node's actor.
    pub fn actor(&self) -> u64 {
        todo!()
    }
    /// The random number that tells this segment from every other one.
    pub fn incarnation(&self) -> u64 {
        todo!()
    }
    /// Process of the daemon.
    pub fn pid(&self) -> u32 {
        todo!()
    }
    /// Start of the daemon, nanoseconds since the Unix epoch.
    pub fn start_unix_ns(&self) -> u64 {
        todo!()
    }
    /// Number of shards.
    pub fn shards(&self) -> u16 {
        todo!()
    }
    /// Number of workers.
    pub fn workers(&self) -> u16 {
        todo!()
    }
    /// Age at which a heartbeat means a dead worker.
    pub fn heartbeat_timeout_ns(&self) -> u64 {
        todo!()
    }
    /// Age of a worker's heartbeat on CLOCK_MONOTONIC; `u64::MAX` if it never beat.
    pub fn heartbeat_age_ns(&self, worker: u16, now_monotonic_ns: u64) -> u64 {
        let _ = (worker, now_monotonic_ns);
        todo!()
    }
    /// Finds the cell of a key.
    pub fn lookup(&self, kind: u8, key: &[u8]) -> Lookup {
        let _ = (kind, key);
        todo!()
    }
    /// The value of a counter (`i64` bits) or flag (0 or 1).
    pub fn word(&self, cell: CellRef) -> Result<u64, Stale> {
        let _ = cell;
        todo!()
    }
    /// The value of a register, replacing what `out` held. A register that was never set is empty with version 0.
    pub fn bytes(&self, cell: CellRef, out: &mut Vec<u8>) -> Result<(), ReadError> {
        let _ = (cell, out);
        todo!()
    }
    /// Whether an element is in a set.
    pub fn set_contains(&self, cell: CellRef, element: &[u8]) -> Result<bool, ReadError> {
        let _ = (cell, element);
        todo!()
    }
    /// Visits a set's elements: each one that is in it throughout exactly once.
    pub fn set_members(&self, cell: CellRef, visit: &mut dyn FnMut(&[u8])) -> Result<(), ReadError> {
        let _ = (cell, visit);
        todo!()
    }
    /// Number of elements of a set.
    pub fn set_len(&self, cell: CellRef) -> Result<u64, Stale> {
        let _ = cell;
        todo!()
    }
    /// Number of publications of a cell.
    pub fn version(&self, cell: CellRef) -> Result<u64, Stale> {
        let _ = cell;
        todo!()
    }
    /// Kind and key of a cell.
    pub fn key_of(&self, cell: CellRef) -> Result<(u8, Vec<u8>), ReadError> {
        let _ = cell;
        todo!()
    }
    /// Visits every published key.
    pub fn keys(&self, visit: &mut dyn FnMut(u8, &[u8], CellRef)) {
        let _ = visit;
        todo!()
    }
    /// A cursor that starts at the newest change of a worker; `None` if there is no such worker.
    pub fn changes(&self, worker: u16) -> Option<ChangeCursor> {
        let _ = worker;
        todo!()
    }
    /// Every worker's counters: worker, name, value.
    pub fn counters(&self) -> Vec<(u16, String, u64)> {
        todo!()
    }
}
