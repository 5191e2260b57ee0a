//! Readers of a segment: any number of processes, none of which the writer knows or waits for.
//!
//! ```text
//!   open ──> header copied and validated ──> lookup(kind, key) ──> CellRef ──> word: one cache line
//!                                                                         └──> bytes, set_*: extents
//! ```
//!
//! The mapping is read-only, and the header is validated once: addresses are computed from that private copy. All else is
//! distrusted at each use: offsets are bounds-checked, loops bounded, and bytes copied out are believed only after the
//! check that they were not overwritten meanwhile. So a file with any content may give wrong values, `Missing`, `Stale`,
//! `Busy` or `Corrupt`, but no crash and no endless loop. One thing cannot be checked: a file that is shortened while it is
//! mapped raises SIGBUS at the next access, in whoever reads. No daemon does that, and nobody else may write to its
//! directory; so open segments only in directories of a daemon that you trust not to.
//!
//! What can go wrong besides: the daemon restarts ([`Reader::is_closed`]: open the path again) or dies
//! ([`Reader::heartbeat_age_ns`] grows beyond [`Reader::heartbeat_timeout_ns`]; the last values stay readable).

use crate::cell::{self, Cell};
use crate::counters;
use crate::error::{OpenError, ReadError, Stale};
use crate::header::{self, Geometry, HEADER_WORDS, Identity, STATE_AT};
use crate::index::{self, Find};
use crate::layout::{
    CELL_VALUE, CELL_WORDS, HEADER_BYTES, KIND_REGISTER, KIND_SET, MAX_KEY_BYTES, STATE_CLOSED, STATE_INIT,
    STATE_READY,
};
use crate::mapping::Mapping;
use crate::register;
use crate::set::{self, Probe, SetHasher};
use crate::state;
use crate::sync::{AtomicU64, Ordering::Relaxed};
use crate::watch::ChangeCursor;
use crate::word::Word;
use crate::words;
use crate::{key_hash, shard_of, worker_of};
use rustix::fs::{Mode, OFlags};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// A handle: worker, cell and generation. Plain data; it is checked at each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CellRef {
    worker: u16,
    cell: u32,
    generation: u32,
}

impl CellRef {
    pub(crate) const fn new(worker: u16, cell: u32, generation: u32) -> Self {
        CellRef { worker, cell, generation }
    }

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

/// A read-only view of a segment; share it between threads freely.
#[derive(Debug)]
pub struct Reader {
    mapping: Arc<Mapping>,
    geometry: Geometry,
    identity: Identity,
}

impl Reader {
    /// Maps the file read-only and validates all of its structure.
    pub fn open(path: impl AsRef<Path>) -> Result<Reader, OpenError> {
        // Without O_NONBLOCK a pipe at the path would block here for ever.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::open(path.as_ref(), flags, Mode::empty())
            .map_err(|errno| OpenError::Io { step: "open", source: errno.into() })?;
        let file = File::from(file);
        let metadata = file.metadata().map_err(|source| OpenError::Io { step: "examine", source })?;
        if !metadata.is_file() {
            return Err(OpenError::NotRegular);
        }
        if metadata.len() < HEADER_BYTES as u64 {
            let needed_bytes = HEADER_BYTES as u64;
            return Err(OpenError::TooShort { actual_bytes: metadata.len(), needed_bytes });
        }
        let map =
            |bytes| Mapping::read_only(&file, bytes).map_err(|source| OpenError::Io { step: "map", source });
        let mut copy = [0; HEADER_WORDS];
        words::copy_words(map(HEADER_BYTES as u64)?.words(), &mut copy);
        let (geometry, identity) = header::parse(&copy, metadata.len())?;
        let mapping = Arc::new(map(geometry.total_bytes)?);
        Ok(Reader { mapping, geometry, identity })
    }

    /// State of the segment.
    pub fn state(&self) -> State {
        match self.mapping.words().get(STATE_AT).map(state::get) {
            Some(STATE_INIT) => State::Init,
            Some(STATE_READY) => State::Ready,
            _ => State::Closed,
        }
    }

    /// Whether the segment is CLOSED: one load.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.mapping.words().get(STATE_AT).is_none_or(|state| state.load(Relaxed) == STATE_CLOSED)
    }

    /// Tells every [`Word`] of this reader that nothing new comes here any more: their `load` says `None` from now on. For a
    /// segment whose daemon died without closing it, once there is a successor. All other reads go on.
    pub fn give_up(&self) {
        self.mapping.give_up();
    }

    /// Whether the segment is CLOSED, or was given up: two loads of hot lines.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.mapping.is_given_up() || self.is_closed()
    }

    /// Number of the node.
    pub fn node(&self) -> u16 {
        self.identity.node
    }

    /// Name of the node.
    pub fn node_name(&self) -> &str {
        &self.identity.node_name
    }

    /// Name of the cluster.
    pub fn cluster(&self) -> &str {
        &self.identity.cluster
    }

    /// Where clients attach, if the daemon said so.
    pub fn socket_path(&self) -> Option<&Path> {
        let path = &self.identity.socket_path;
        if path.is_empty() { None } else { Some(Path::new(OsStr::from_bytes(path))) }
    }

    /// The node's actor.
    pub fn actor(&self) -> u64 {
        self.identity.actor
    }

    /// The random number that tells this segment from every other one.
    pub fn incarnation(&self) -> u64 {
        self.identity.incarnation
    }

    /// Process of the daemon.
    pub fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// Start of that process in clock ticks since boot (field 22 of `/proc/<pid>/stat`); 0 if unknown.
    pub fn pid_start_ticks(&self) -> u64 {
        self.identity.pid_start_ticks
    }

    /// Creation of the segment, nanoseconds since the Unix epoch.
    pub fn start_unix_ns(&self) -> u64 {
        self.identity.start_unix_ns
    }

    /// Number of shards.
    pub fn shards(&self) -> u16 {
        self.geometry.shards
    }

    /// Number of workers.
    pub fn workers(&self) -> u16 {
        self.geometry.workers
    }

    /// Age at which a heartbeat means a dead worker.
    pub fn heartbeat_timeout_ns(&self) -> u64 {
        self.identity.heartbeat_timeout_ns
    }

    /// Age of a worker's heartbeat on CLOCK_MONOTONIC; `u64::MAX` if it never beat, or there is no such worker.
    pub fn heartbeat_age_ns(&self, worker: u16, now_monotonic_ns: u64) -> u64 {
        // Behind the last worker's line is padding, or another section.
        if worker >= self.geometry.workers {
            return u64::MAX;
        }
        let part = self.part(&self.geometry.heartbeats, worker);
        match part.first().map_or(0, |beat| beat.load(Relaxed)) {
            0 => u64::MAX,
            beat => now_monotonic_ns.saturating_sub(beat),
        }
    }

    /// Finds the cell of a key.
    pub fn lookup(&self, kind: u8, key: &[u8]) -> Lookup {
        let hash = key_hash(key);
        let worker = worker_of(shard_of(hash, self.geometry.shards), self.geometry.workers);
        let found = index::find(
            self.geometry.index_part(self.mapping.words(), worker),
            self.part(&self.geometry.cell_section, worker),
            self.extents(worker),
            kind,
            hash,
            key,
        );
        match found {
            Find::Cell { number, generation } => Lookup::Found(CellRef::new(worker, number, generation)),
            Find::Missing { other_kind: Some(kind), .. } => Lookup::OtherKind(kind),
            Find::Missing { .. } => Lookup::Missing,
        }
    }

    /// The value of a counter (`i64` bits) or flag (0 or 1); a key never published has 0.
    #[inline]
    pub fn word(&self, cell: CellRef) -> Result<u64, Stale> {
        self.cell(cell).and_then(|found| cell::word(found, cell.generation)).ok_or(Stale)
    }

    /// The value of a counter or flag kept at hand, for many reads: `Word::load` is [`Reader::word`] without the checks that
    /// are made here.
    pub fn word_at_hand(&self, cell: CellRef) -> Result<Word, Stale> {
        self.word(cell)?;
        let section = self.geometry.cell_section.start_words(cell.worker);
        let value_at = section + cell.cell as usize * CELL_WORDS + CELL_VALUE;
        Word::new(&self.mapping, value_at).ok_or(Stale)
    }

    /// The value of a register, replacing what `out` held. A register that was never set is empty with version 0.
    pub fn bytes(&self, cell: CellRef, out: &mut Vec<u8>) -> Result<(), ReadError> {
        out.clear();
        register::read(self.cell_of_kind(cell, KIND_REGISTER)?, self.extents(cell.worker), out)
    }

    /// Whether an element is in a set.
    pub fn set_contains(&self, cell: CellRef, element: &[u8]) -> Result<bool, ReadError> {
        let found = self.cell_of_kind(cell, KIND_SET)?;
        match Probe::new(element, self.hasher().hash(element)) {
            Some(probe) => set::contains(found, self.extents(cell.worker), &probe),
            None => Ok(false),
        }
    }

    /// Visits a set's elements: each one that is in it throughout exactly once; one that comes or goes meanwhile at most
    /// once. On an error some have been visited.
    pub fn set_members(&self, cell: CellRef, visit: &mut dyn FnMut(&[u8])) -> Result<(), ReadError> {
        let found = self.cell_of_kind(cell, KIND_SET)?;
        set::members(found, self.extents(cell.worker), self.hasher(), visit)
    }

    /// Number of elements of a set.
    pub fn set_len(&self, cell: CellRef) -> Result<u64, Stale> {
        self.cell_of_kind(cell, KIND_SET).map(set::len)
    }

    /// Number of publications of a cell.
    pub fn version(&self, cell: CellRef) -> Result<u64, Stale> {
        self.live_cell(cell).map(|(found, _)| cell::version(found))
    }

    /// Kind and key of a cell.
    pub fn key_of(&self, cell: CellRef) -> Result<(u8, Vec<u8>), ReadError> {
        let (found, meta) = self.live_cell(cell)?;
        let mut key = [0; MAX_KEY_BYTES];
        let len =
            cell::copy_key(found, meta, self.extents(cell.worker), &mut key).ok_or(ReadError::Corrupt)?;
        Ok((meta.kind, key[..len].to_vec()))
    }

    /// Visits every published key, in the order of their making, worker by worker. Damaged cells are passed over.
    pub fn keys(&self, visit: &mut dyn FnMut(u8, &[u8], CellRef)) {
        for worker in 0..self.geometry.workers {
            let cells = self.part(&self.geometry.cell_section, worker);
            for number in 1..=cell::shown(cells).min(self.geometry.cells) as u32 {
                let Some((found, meta)) = cell::cell(cells, number).and_then(|c| Some((c, cell::meta(c)?)))
                else {
                    continue;
                };
                let mut key = [0; MAX_KEY_BYTES];
                if let Some(len) = cell::copy_key(found, meta, self.extents(worker), &mut key) {
                    visit(meta.kind, &key[..len], CellRef::new(worker, number, meta.generation));
                }
            }
        }
    }

    /// A cursor that starts at the newest change of a worker; `None` if there is no such worker.
    pub fn changes(&self, worker: u16) -> Option<ChangeCursor> {
        let known = worker < self.geometry.workers;
        known.then(|| ChangeCursor::new(Arc::clone(&self.mapping), self.geometry.changes, worker))
    }

    /// Every worker's counters: worker, name, value.
    pub fn counters(&self) -> Vec<(u16, String, u64)> {
        let mut all = Vec::new();
        for worker in 0..self.geometry.workers {
            counters::for_each(self.part(&self.geometry.counters, worker), |name, value| {
                all.push((worker, name, value));
            });
        }
        all
    }

    #[inline]
    fn part(&self, section: &header::Section, worker: u16) -> &[AtomicU64] {
        section.part(self.mapping.words(), worker)
    }

    fn extents(&self, worker: u16) -> &[AtomicU64] {
        self.part(&self.geometry.extents, worker)
    }

    fn hasher(&self) -> SetHasher {
        SetHasher { seed: self.identity.incarnation }
    }

    #[inline]
    fn cell(&self, cell: CellRef) -> Option<&Cell> {
        if cell.worker >= self.geometry.workers || cell.cell == 0 {
            return None;
        }
        cell::cell(self.part(&self.geometry.cell_section, cell.worker), cell.cell)
    }

    fn live_cell(&self, cell: CellRef) -> Result<(&Cell, cell::Meta), Stale> {
        let found = self.cell(cell).ok_or(Stale)?;
        let meta = cell::meta(found).filter(|meta| meta.generation == cell.generation).ok_or(Stale)?;
        Ok((found, meta))
    }

    fn cell_of_kind(&self, cell: CellRef, kind: u8) -> Result<&Cell, Stale> {
        let (found, meta) = self.live_cell(cell)?;
        if meta.kind == kind { Ok(found) } else { Err(Stale) }
    }
}
