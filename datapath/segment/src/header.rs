//! The header: planning it, writing it, and accepting one from a file that may hold anything.
//!
//! ```text
//!   SegmentConfig ──plan──> Geometry ──write──> header words        (state INIT, then READY, then CLOSED)
//!   header words ──parse──> Geometry, Identity  or  OpenError
//! ```
//!
//! `parse` accepts a geometry only if every size in it follows from the counts in the header and every section lies,
//! aligned and alone, within the file. After that, readers use the parsed copy and never look at these fields again:
//! a file that changes them later changes nothing.

use crate::error::OpenError;
use crate::layout::*;
use crate::sync::{AtomicU64, Ordering::Relaxed};
use crate::words;
use std::mem::offset_of;

/// Words of the header.
pub(crate) const HEADER_WORDS: usize = HEADER_BYTES / 8;

/// A header copied out of a file.
pub(crate) type HeaderWords = [u64; HEADER_WORDS];

const fn at(offset_bytes: usize) -> usize {
    word(offset_bytes)
}

/// Word of the magic number.
pub(crate) const MAGIC_AT: usize = at(offset_of!(HeaderLayout, magic));
/// Word of the version.
pub(crate) const VERSION_AT: usize = at(offset_of!(HeaderLayout, version));
/// Word of the state.
pub(crate) const STATE_AT: usize = at(offset_of!(HeaderLayout, state));
const TOTAL_AT: usize = at(offset_of!(HeaderLayout, total_bytes));
const INCARNATION_AT: usize = at(offset_of!(HeaderLayout, incarnation));
const ACTOR_AT: usize = at(offset_of!(HeaderLayout, actor));
const TOPOLOGY_AT: usize = at(offset_of!(HeaderLayout, topology));
const PID_AT: usize = at(offset_of!(HeaderLayout, pid));
const TICKS_AT: usize = at(offset_of!(HeaderLayout, pid_start_ticks));
const START_AT: usize = at(offset_of!(HeaderLayout, start_unix_ns));
const TIMEOUT_AT: usize = at(offset_of!(HeaderLayout, heartbeat_timeout_ns));
const CELLS_AT: usize = at(offset_of!(HeaderLayout, cells_per_worker));
const INDEX_AT: usize = at(offset_of!(HeaderLayout, index_entries_per_worker));
const EXTENTS_AT: usize = at(offset_of!(HeaderLayout, extent_bytes_per_worker));
const CHANGES_AT: usize = at(offset_of!(HeaderLayout, change_ring_entries));
const COUNTERS_AT: usize = at(offset_of!(HeaderLayout, counters_per_worker));
const NODE_NAME_AT: usize = at(offset_of!(HeaderLayout, node_name));
const CLUSTER_AT: usize = at(offset_of!(HeaderLayout, cluster));
const SOCKET_AT: usize = at(offset_of!(HeaderLayout, socket_path));
const SECTIONS_AT: usize = at(offset_of!(HeaderLayout, sections));

/// The version word of this layout.
pub(crate) const VERSION_WORD: u64 =
    VERSION_MAJOR as u64 | (VERSION_MINOR as u64) << 16 | (HEADER_BYTES as u64) << 32;

/// Who the segment belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) node: u16,
    pub(crate) node_name: String,
    pub(crate) cluster: String,
    pub(crate) socket_path: Vec<u8>,
    pub(crate) actor: u64,
    pub(crate) incarnation: u64,
    pub(crate) pid: u32,
    pub(crate) pid_start_ticks: u64,
    pub(crate) start_unix_ns: u64,
    pub(crate) heartbeat_timeout_ns: u64,
}

/// One section: where each worker's part is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    offset_words: usize,
    stride_words: usize,
}

impl Section {
    /// Where a worker's part begins.
    #[inline]
    pub(crate) fn start_words(&self, worker: u16) -> usize {
        self.offset_words + usize::from(worker) * self.stride_words
    }

    /// A worker's part. The worker must be one of the segment's: what is behind the last one's part is not checked here,
    /// but that it lies within the file (else the part is empty).
    #[inline]
    pub(crate) fn part<'a>(&self, all: &'a [AtomicU64], worker: u16) -> &'a [AtomicU64] {
        let start = self.start_words(worker);
        all.get(start..start + self.stride_words).unwrap_or(&[])
    }
}

/// Counts and places: everything that an address is computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) total_bytes: u64,
    pub(crate) workers: u16,
    pub(crate) shards: u16,
    pub(crate) cells: u64,
    pub(crate) index_entries: u64,
    pub(crate) extent_bytes: u64,
    pub(crate) change_entries: u64,
    pub(crate) heartbeats: Section,
    pub(crate) index: Section,
    pub(crate) cell_section: Section,
    pub(crate) extents: Section,
    pub(crate) changes: Section,
    pub(crate) counters: Section,
}

/// The counts that a geometry follows from.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) workers: u16,
    pub(crate) shards: u16,
    pub(crate) cells: u64,
    pub(crate) extent_bytes: u64,
    pub(crate) change_entries: u64,
}

impl Counts {
    /// The first count that is out of range: its name, value and range.
    pub(crate) fn problem(&self) -> Option<(&'static str, u64, &'static str)> {
        let power =
            |value: u64, least: u64, most: u64| value.is_power_of_two() && value >= least && value <= most;
        let checks = [
            ("workers", u64::from(self.workers), "1..=64", (1..=MAX_WORKERS).contains(&self.workers)),
            (
                "shards",
                u64::from(self.shards),
                "a power of two, 1..=64",
                power(self.shards.into(), 1, MAX_SHARDS.into()),
            ),
            ("cells_per_worker", self.cells, "1..=2^26", (1..=1 << 26).contains(&self.cells)),
            (
                "extent_bytes_per_worker",
                self.extent_bytes,
                "4096..=2^35",
                (4096..=1 << 35).contains(&self.extent_bytes),
            ),
            (
                "change_ring_entries",
                self.change_entries,
                "a power of two, 64..=2^22",
                power(self.change_entries, 64, 1 << 22),
            ),
        ];
        checks.into_iter().find(|check| !check.3).map(|(name, value, range, _)| (name, value, range))
    }

    fn index_entries(&self) -> u64 {
        (self.cells * 2).next_power_of_two().max(64)
    }

    /// The stride of each section, in the order of the file.
    fn strides(&self) -> [(u64, u64); 6] {
        let part = |bytes: u64| bytes.next_multiple_of(PART_ALIGN_BYTES);
        [
            (SECTION_HEARTBEATS, HEARTBEAT_BYTES as u64),
            (SECTION_COUNTERS, part((COUNTERS_PER_WORKER + 1) * COUNTER_BYTES as u64)),
            (SECTION_INDEX, part(self.index_entries() * 8)),
            (SECTION_CELLS, part((self.cells + 1) * CELL_BYTES as u64)),
            (SECTION_CHANGES, part(CHANGES_HEADER_BYTES as u64 + self.change_entries * CHANGE_BYTES as u64)),
            (SECTION_EXTENTS, part(self.extent_bytes)),
        ]
    }
}

impl Geometry {
    /// Lays the sections out one after the other. The counts must have no `problem`.
    pub(crate) fn plan(counts: Counts) -> Geometry {
        let mut geometry = Geometry::without_sections(counts);
        let mut offset = HEADER_BYTES as u64;
        for (id, stride) in counts.strides() {
            geometry.place(id, offset, stride);
            offset = (offset + stride * u64::from(counts.workers)).next_multiple_of(SECTION_ALIGN_BYTES);
        }
        geometry.total_bytes = offset;
        geometry
    }

    fn without_sections(counts: Counts) -> Geometry {
        let none = Section::default();
        Geometry {
            total_bytes: 0,
            workers: counts.workers,
            shards: counts.shards,
            cells: counts.cells,
            index_entries: counts.index_entries(),
            extent_bytes: counts.extent_bytes,
            change_entries: counts.change_entries,
            heartbeats: none,
            index: none,
            cell_section: none,
            extents: none,
            changes: none,
            counters: none,
        }
    }

    fn section_mut(&mut self, id: u64) -> Option<&mut Section> {
        match id {
            SECTION_HEARTBEATS => Some(&mut self.heartbeats),
            SECTION_INDEX => Some(&mut self.index),
            SECTION_CELLS => Some(&mut self.cell_section),
            SECTION_EXTENTS => Some(&mut self.extents),
            SECTION_CHANGES => Some(&mut self.changes),
            SECTION_COUNTERS => Some(&mut self.counters),
            _ => None,
        }
    }

    fn place(&mut self, id: u64, offset_bytes: u64, stride_bytes: u64) {
        if let Some(section) = self.section_mut(id) {
            *section = Section {
                offset_words: (offset_bytes / 8) as usize,
                stride_words: (stride_bytes / 8) as usize,
            };
        }
    }

    /// A worker's index, without the words that only align it.
    #[inline]
    pub(crate) fn index_part<'a>(&self, all: &'a [AtomicU64], worker: u16) -> &'a [AtomicU64] {
        self.index.part(all, worker).get(..self.index_entries as usize).unwrap_or(&[])
    }
}

/// Writes a new header in state INIT. The file is not visible to anybody yet.
pub(crate) fn write(to: &[AtomicU64], geometry: &Geometry, identity: &Identity) {
    let mut header: HeaderWords = [0; HEADER_WORDS];
    header[MAGIC_AT] = MAGIC;
    header[VERSION_AT] = VERSION_WORD;
    header[TOTAL_AT] = geometry.total_bytes;
    header[STATE_AT] = STATE_INIT;
    header[INCARNATION_AT] = identity.incarnation;
    header[ACTOR_AT] = identity.actor;
    let counts = Counts {
        workers: geometry.workers,
        shards: geometry.shards,
        cells: geometry.cells,
        extent_bytes: geometry.extent_bytes,
        change_entries: geometry.change_entries,
    };
    header[TOPOLOGY_AT] = u64::from(identity.node)
        | u64::from(geometry.workers) << 16
        | u64::from(geometry.shards) << 32
        | (counts.strides().len() as u64) << 48;
    header[PID_AT] = u64::from(identity.pid);
    header[TICKS_AT] = identity.pid_start_ticks;
    header[START_AT] = identity.start_unix_ns;
    header[TIMEOUT_AT] = identity.heartbeat_timeout_ns;
    header[CELLS_AT] = geometry.cells;
    header[INDEX_AT] = geometry.index_entries;
    header[EXTENTS_AT] = geometry.extent_bytes;
    header[CHANGES_AT] = geometry.change_entries;
    header[COUNTERS_AT] = COUNTERS_PER_WORKER;
    put_text(&mut header, NODE_NAME_AT, identity.node_name.as_bytes());
    put_text(&mut header, CLUSTER_AT, identity.cluster.as_bytes());
    put_text(&mut header, SOCKET_AT, &identity.socket_path);
    let mut planned = geometry.clone();
    for (entry, (id, stride)) in counts.strides().into_iter().enumerate() {
        let offset = planned.section_mut(id).map_or(0, |section| section.offset_words as u64 * 8);
        let words = [id, offset, stride * u64::from(geometry.workers), stride];
        header[SECTIONS_AT + entry * 4..][..4].copy_from_slice(&words);
    }
    for (word, value) in to.iter().zip(header) {
        word.store(value, Relaxed);
    }
}

fn put_text(header: &mut HeaderWords, at: usize, text: &[u8]) {
    for (index, word) in header[at..].iter_mut().take(words::words_for(text.len())).enumerate() {
        *word = words::word_of(text, index);
    }
}

fn get_text(header: &HeaderWords, at: usize, field_bytes: usize) -> Vec<u8> {
    let mut text: Vec<u8> =
        header[at..at + field_bytes / 8].iter().flat_map(|word| word.to_le_bytes()).collect();
    text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
    text
}

fn get_name(header: &HeaderWords, at: usize, field: &'static str) -> Result<String, OpenError> {
    String::from_utf8(get_text(header, at, 64)).map_err(|_| OpenError::BadHeader { field, value: header[at] })
}

/// Accepts or refuses a header that was copied out of a file of `file_bytes` bytes.
pub(crate) fn parse(header: &HeaderWords, file_bytes: u64) -> Result<(Geometry, Identity), OpenError> {
    if header[MAGIC_AT] != MAGIC {
        return Err(OpenError::BadMagic);
    }
    let version = header[VERSION_AT];
    if version as u16 != VERSION_MAJOR || version >> 32 != HEADER_BYTES as u64 {
        return Err(OpenError::UnsupportedVersion { major: version as u16, minor: (version >> 16) as u16 });
    }
    let topology = header[TOPOLOGY_AT];
    let counts = Counts {
        workers: (topology >> 16) as u16,
        shards: (topology >> 32) as u16,
        cells: header[CELLS_AT],
        extent_bytes: header[EXTENTS_AT],
        change_entries: header[CHANGES_AT],
    };
    if let Some((field, value, _)) = counts.problem() {
        return Err(OpenError::BadHeader { field, value });
    }
    let fields = [
        ("state", STATE_AT, header[STATE_AT] <= STATE_CLOSED),
        ("incarnation", INCARNATION_AT, header[INCARNATION_AT] != 0),
        ("pid", PID_AT, header[PID_AT] <= u64::from(u32::MAX)),
        ("index_entries_per_worker", INDEX_AT, header[INDEX_AT] == counts.index_entries()),
        ("counters_per_worker", COUNTERS_AT, header[COUNTERS_AT] == COUNTERS_PER_WORKER),
        ("total_bytes", TOTAL_AT, header[TOTAL_AT] >= HEADER_BYTES as u64),
    ];
    if let Some((field, at, _)) = fields.into_iter().find(|field| !field.2) {
        return Err(OpenError::BadHeader { field, value: header[at] });
    }
    if header[TOTAL_AT] > file_bytes {
        return Err(OpenError::TooShort { actual_bytes: file_bytes, needed_bytes: header[TOTAL_AT] });
    }
    let geometry = parse_sections(header, counts, (topology >> 48) as usize)?;
    let identity = Identity {
        node: topology as u16,
        node_name: get_name(header, NODE_NAME_AT, "node_name")?,
        cluster: get_name(header, CLUSTER_AT, "cluster")?,
        socket_path: get_text(header, SOCKET_AT, 256),
        actor: header[ACTOR_AT],
        incarnation: header[INCARNATION_AT],
        pid: header[PID_AT] as u32,
        pid_start_ticks: header[TICKS_AT],
        start_unix_ns: header[START_AT],
        heartbeat_timeout_ns: header[TIMEOUT_AT],
    };
    Ok((geometry, identity))
}

/// Checks the section table: known sections once each and of the size that follows from the counts, all within the file
/// and apart. Unknown sections of a later minor version are passed over, but must not overlap either.
fn parse_sections(header: &HeaderWords, counts: Counts, entries: usize) -> Result<Geometry, OpenError> {
    if entries > MAX_SECTIONS {
        return Err(OpenError::BadHeader { field: "sections", value: entries as u64 });
    }
    let total = header[TOTAL_AT];
    let mut geometry = Geometry { total_bytes: total, ..Geometry::without_sections(counts) };
    let mut taken = vec![(0, HEADER_BYTES as u64, 0)];
    for entry in header[SECTIONS_AT..SECTIONS_AT + entries * 4].chunks_exact(4) {
        let (id, offset, length, stride) = (entry[0], entry[1], entry[2], entry[3]);
        let bad = |problem| Err(OpenError::BadSection { id, problem });
        if id == 0 || taken.iter().any(|section| section.2 == id) {
            return bad("listed twice, or has no number");
        }
        if !offset.is_multiple_of(SECTION_ALIGN_BYTES) || !stride.is_multiple_of(PART_ALIGN_BYTES) {
            return bad("misaligned");
        }
        let Some(end) = offset.checked_add(length).filter(|end| *end <= total) else {
            return bad("out of bounds");
        };
        if taken.iter().any(|other| offset < other.1 && other.0 < end) {
            return bad("overlaps another one");
        }
        if let Some((_, expected)) = counts.strides().into_iter().find(|known| known.0 == id) {
            if stride != expected || length != expected * u64::from(counts.workers) {
                return bad("has not the size that follows from the header's counts");
            }
            geometry.place(id, offset, stride);
        }
        taken.push((offset, end, id));
    }
    match counts.strides().into_iter().find(|known| !taken.iter().any(|section| section.2 == known.0)) {
        Some((id, _)) => Err(OpenError::BadSection { id, problem: "missing" }),
        None => Ok(geometry),
    }
}
