//! The segment's byte layout: the one definition that the writer, the readers and `ABI.md` share.
//!
//! ```text
//!   0      ┌──────────────────────────────┐
//!          │ header, 4096 bytes           │ magic, version, geometry, names, section table; `state` stored last
//!   4096   ├──────────────────────────────┤
//!          │ heartbeats                   │ one 128-byte line per worker
//!          │ counters                     │ self-describing: name and value
//!          │ index                        │ hash table of 64-bit entries: key hash -> cell
//!          │ cells                        │ 64 bytes per key; a counter's or flag's value is one word of it
//!          │ changes                      │ ring of (cell, version), newest position is a futex word
//!          │ extents                      │ long keys, register bytes, set directories and buckets
//!          └──────────────────────────────┘
//! ```
//!
//! A section holds one part of `stride` bytes for each worker, and each worker writes its own parts only. Everything
//! is little-endian 64-bit words at 8-byte alignment. The structs below are never instantiated on shared memory: they
//! name the words, and the assertions at the end pin every offset and size to the number that `ABI.md` prints.

#[cfg(not(target_endian = "little"))]
compile_error!("the segment is little-endian memory shared with other programs; this target is not");

use std::mem::{offset_of, size_of};

/// Longest key in bytes.
pub const MAX_KEY_BYTES: usize = 128;
/// Longest set element in bytes.
pub const MAX_ELEMENT_BYTES: usize = 256;
/// Longest register value in bytes.
pub const MAX_REGISTER_BYTES: usize = 1024;
/// Kind number of a counter.
pub const KIND_COUNTER: u8 = 1;
/// Kind number of an enable-wins flag.
pub const KIND_FLAG_ENABLE_WINS: u8 = 2;
/// Kind number of a disable-wins flag.
pub const KIND_FLAG_DISABLE_WINS: u8 = 3;
/// Kind number of a register.
pub const KIND_REGISTER: u8 = 4;
/// Kind number of a set.
pub const KIND_SET: u8 = 5;

/// First word of a segment: the bytes `LATTICED`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"LATTICED");
/// Major version: another one is another layout.
pub const VERSION_MAJOR: u16 = 1;
/// Minor version: a higher one only adds sections, or fields where zeros were.
pub const VERSION_MINOR: u16 = 0;
/// Length of the header.
pub const HEADER_BYTES: usize = 4096;
/// Alignment of a section.
pub const SECTION_ALIGN_BYTES: u64 = 4096;
/// Alignment of a worker's part of a section: two cache lines, because processors prefetch in pairs.
pub const PART_ALIGN_BYTES: u64 = 128;
/// Most workers of a segment.
pub const MAX_WORKERS: u16 = 64;
/// Most shards of a segment.
pub const MAX_SHARDS: u16 = 64;
/// Entries that the section table has room for.
pub const MAX_SECTIONS: usize = 16;
/// Counters that each worker's part has room for.
pub const COUNTERS_PER_WORKER: u64 = 127;
/// Bytes of a counter's name.
pub const COUNTER_NAME_BYTES: usize = 48;

/// `state` while the segment is being filled.
pub const STATE_INIT: u64 = 0;
/// `state` in service.
pub const STATE_READY: u64 = 1;
/// `state` when nothing will be written any more.
pub const STATE_CLOSED: u64 = 2;

/// Section of the heartbeats.
pub const SECTION_HEARTBEATS: u64 = 1;
/// Section of the index.
pub const SECTION_INDEX: u64 = 2;
/// Section of the cells.
pub const SECTION_CELLS: u64 = 3;
/// Section of the extents.
pub const SECTION_EXTENTS: u64 = 4;
/// Section of the change rings.
pub const SECTION_CHANGES: u64 = 5;
/// Section of the counters.
pub const SECTION_COUNTERS: u64 = 6;

/// Index entries that a search looks at before it gives up. A writer never places a key further from its home.
pub const MAX_PROBES: usize = 512;
/// Bytes of a key that fit in its cell; longer keys have an extent.
pub const INLINE_KEY_BYTES: usize = 24;
/// Unit of an extent reference's offset.
pub const GRANULE_BYTES: usize = 16;
/// Number of extent size classes: 32, 48, 64, 96, 128 … 12 MiB.
pub const EXTENT_CLASSES: usize = 38;
/// Greatest depth of a set's directory: 2^20 slots.
pub const MAX_SET_DEPTH: u32 = 20;
/// Bit of a set entry's header that says that the element is a member.
pub const SET_ENTRY_LIVE: u64 = 1 << 16;

/// The first 4096 bytes of the file.
#[repr(C)]
pub struct HeaderLayout {
    /// [`MAGIC`].
    pub magic: u64,
    /// Bits 0..16 major version, 16..32 minor version, 32..64 [`HEADER_BYTES`].
    pub version: u64,
    /// Length of the whole file.
    pub total_bytes: u64,
    /// [`STATE_INIT`], [`STATE_READY`] or [`STATE_CLOSED`].
    pub state: u64,
    /// Random number, never 0: another file has another one.
    pub incarnation: u64,
    /// The node's actor: node number << 48 | epoch.
    pub actor: u64,
    /// Bits 0..16 node number, 16..32 workers, 32..48 shards, 48..64 entries of the section table.
    pub topology: u64,
    /// Process of the daemon.
    pub pid: u64,
    /// Start of that process in clock ticks since boot (`proc(5)`, field 22 of `stat`): tells a reused pid; 0 unknown.
    pub pid_start_ticks: u64,
    /// Creation of the segment, nanoseconds since the Unix epoch.
    pub start_unix_ns: u64,
    /// Age of a heartbeat that means a dead worker.
    pub heartbeat_timeout_ns: u64,
    /// Cells of each worker, numbered from 1.
    pub cells_per_worker: u64,
    /// Index entries of each worker, a power of two, at least twice the cells.
    pub index_entries_per_worker: u64,
    /// Extent bytes of each worker.
    pub extent_bytes_per_worker: u64,
    /// Change ring entries of each worker, a power of two.
    pub change_ring_entries: u64,
    /// Counters of each worker.
    pub counters_per_worker: u64,
    /// Name of the node, UTF-8, zero-padded.
    pub node_name: [u8; 64],
    /// Name of the cluster, UTF-8, zero-padded.
    pub cluster: [u8; 64],
    /// Path of the socket where writers attach, zero-padded; empty if there is none.
    pub socket_path: [u8; 256],
    /// The section table.
    pub sections: [SectionLayout; MAX_SECTIONS],
    /// Zero.
    pub reserved: [u64; 384],
}

/// One entry of the section table.
#[repr(C)]
pub struct SectionLayout {
    /// Which section; 0 ends the table.
    pub id: u64,
    /// Offset in the file, a multiple of [`SECTION_ALIGN_BYTES`].
    pub offset_bytes: u64,
    /// Length: `stride_bytes` times the workers.
    pub length_bytes: u64,
    /// Distance from one worker's part to the next one's, a multiple of [`PART_ALIGN_BYTES`].
    pub stride_bytes: u64,
}

/// One worker's heartbeat, alone on its line.
#[repr(C)]
pub struct HeartbeatLayout {
    /// CLOCK_MONOTONIC of the last turn of the worker's loop, in nanoseconds; 0 before the first.
    pub monotonic_ns: u64,
    /// Zero.
    pub reserved: [u64; 15],
}

/// The first 64 bytes of a worker's part of the cells (the place of a cell 0).
#[repr(C)]
pub struct CellsHeaderLayout {
    /// Cells in use: 1..=used.
    pub used: u64,
    /// Zero.
    pub reserved: [u64; 7],
}

/// One key.
#[repr(C)]
pub struct CellLayout {
    /// Bits 0..8 kind, 8..16 key length, 32..64 generation. Stored last when the cell is made; 0 before.
    pub meta: u64,
    /// XXH64 of the key, seed 0.
    pub key_hash: u64,
    /// Number of publications.
    pub version: u64,
    /// Counter, flag: the value. Register: reference of the slot of even versions. Set: reference of the directory.
    pub value: u64,
    /// Register: reference of the slot of odd versions. Set: number of elements. Else 0.
    pub second: u64,
    /// The key, zero-padded, if it has at most 24 bytes; else the reference of its extent and two zeros.
    pub key: [u64; 3],
}

/// The first 128 bytes of a worker's change ring.
#[repr(C)]
pub struct ChangesHeaderLayout {
    /// Entries ever published; its low 32 bits are the futex word.
    pub head: u64,
    /// Entries ever begun: `reserved - entries ..` is what may be read.
    pub reserved: u64,
    /// Zero.
    pub padding: [u64; 14],
}

/// One entry of a change ring.
#[repr(C)]
pub struct ChangeLayout {
    /// Bits 0..32 cell, 32..64 generation.
    pub cell: u64,
    /// The cell's version after the publication.
    pub version: u64,
}

/// The first 64 bytes of a worker's counters.
#[repr(C)]
pub struct CountersHeaderLayout {
    /// Counters that have a name.
    pub count: u64,
    /// Zero.
    pub reserved: [u64; 7],
}

/// One counter.
#[repr(C)]
pub struct CounterLayout {
    /// Name, UTF-8, zero-padded.
    pub name: [u8; COUNTER_NAME_BYTES],
    /// Value.
    pub value: u64,
    /// Zero.
    pub reserved: u64,
}

/// Bytes of a cell.
pub const CELL_BYTES: usize = size_of::<CellLayout>();
/// Bytes of a change ring's header.
pub const CHANGES_HEADER_BYTES: usize = size_of::<ChangesHeaderLayout>();
/// Bytes of a change.
pub const CHANGE_BYTES: usize = size_of::<ChangeLayout>();
/// Bytes of a counter, and of the header before the first.
pub const COUNTER_BYTES: usize = size_of::<CounterLayout>();
/// Bytes of a heartbeat's line.
pub const HEARTBEAT_BYTES: usize = size_of::<HeartbeatLayout>();

/// Index of the 64-bit word at a byte offset.
pub const fn word(offset_bytes: usize) -> usize {
    assert!(offset_bytes.is_multiple_of(8));
    offset_bytes / 8
}

/// Words of a cell.
pub const CELL_WORDS: usize = word(CELL_BYTES);
/// Word of a cell's `meta`.
pub const CELL_META: usize = word(offset_of!(CellLayout, meta));
/// Word of a cell's `key_hash`.
pub const CELL_KEY_HASH: usize = word(offset_of!(CellLayout, key_hash));
/// Word of a cell's `version`.
pub const CELL_VERSION: usize = word(offset_of!(CellLayout, version));
/// Word of a cell's `value`.
pub const CELL_VALUE: usize = word(offset_of!(CellLayout, value));
/// Word of a cell's `second`.
pub const CELL_SECOND: usize = word(offset_of!(CellLayout, second));
/// First word of a cell's `key`.
pub const CELL_KEY: usize = word(offset_of!(CellLayout, key));

/// Pins a field's offset, a struct's size, to the number that `ABI.md` prints.
macro_rules! pin {
    ($layout:ty: $size:literal $(, $field:ident at $offset:literal)*) => {
        const _: () = assert!(size_of::<$layout>() == $size);
        $(const _: () = assert!(offset_of!($layout, $field) == $offset);)*
    };
}

pin!(HeaderLayout: 4096, magic at 0, version at 8, total_bytes at 16, state at 24, incarnation at 32, actor at 40,
    topology at 48, pid at 56, pid_start_ticks at 64, start_unix_ns at 72, heartbeat_timeout_ns at 80,
    cells_per_worker at 88, index_entries_per_worker at 96, extent_bytes_per_worker at 104, change_ring_entries at 112,
    counters_per_worker at 120, node_name at 128, cluster at 192, socket_path at 256, sections at 512,
    reserved at 1024);
pin!(SectionLayout: 32, id at 0, offset_bytes at 8, length_bytes at 16, stride_bytes at 24);
pin!(HeartbeatLayout: 128, monotonic_ns at 0, reserved at 8);
pin!(CellsHeaderLayout: 64, used at 0, reserved at 8);
pin!(CellLayout: 64, meta at 0, key_hash at 8, version at 16, value at 24, second at 32, key at 40);
pin!(ChangesHeaderLayout: 128, head at 0, reserved at 8, padding at 16);
pin!(ChangeLayout: 16, cell at 0, version at 8);
pin!(CountersHeaderLayout: 64, count at 0, reserved at 8);
pin!(CounterLayout: 64, name at 0, value at 48, reserved at 56);
const _: () = assert!(HEADER_BYTES == size_of::<HeaderLayout>());
const _: () = assert!(size_of::<CellsHeaderLayout>() == CELL_BYTES);
const _: () = assert!(size_of::<CountersHeaderLayout>() == COUNTER_BYTES);
const _: () = assert!(((COUNTERS_PER_WORKER + 1) * COUNTER_BYTES as u64).is_multiple_of(PART_ALIGN_BYTES));
const _: () = assert!(INLINE_KEY_BYTES == size_of::<CellLayout>() - offset_of!(CellLayout, key));
