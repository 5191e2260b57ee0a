//! Byte layout of a client's rings: one file of a header and, for each worker, one pair of rings.
//!
//! ```text
//!   0      header (4096 bytes): magic, version, geometry
//!   4096   worker 0: │ client's line (128) │ daemon's line (128) │ levels (576) │ submission slots × 64 │ failure entries × 16 │ pad
//!          worker 1: …                                                                                    to a multiple of 4096
//! ```
//!
//! Each line has one writer: the client stores its own line and the slots, the daemon its own line and the entries. The
//! client may store anything anywhere all the same: it has the whole file mapped.

use crate::layout::{MAX_KEY_BYTES, MAX_REGISTER_BYTES, word};
use crate::words::words_for;
use std::mem::{offset_of, size_of};

/// First word of a ring file: the bytes `LATTRING`.
pub const RING_MAGIC: u64 = u64::from_le_bytes(*b"LATTRING");
/// Bits 0..16 major version, 16..32 minor version, 32..64 length of the header.
pub const RING_VERSION: u64 = 3 | (RING_HEADER_BYTES as u64) << 32;
/// Length of the header, and alignment of a worker's part.
pub const RING_HEADER_BYTES: usize = 4096;
/// Length of a submission slot.
pub const SLOT_BYTES: usize = 64;
/// Words of a submission slot.
pub const SLOT_WORDS: usize = word(SLOT_BYTES);
/// Words of a submission before its key.
pub const SUBMISSION_HEADER_WORDS: usize = word(size_of::<SubmissionLayout>());
/// Most slots of one submission.
pub const MAX_SUBMISSION_SLOTS: usize =
    (SUBMISSION_HEADER_WORDS + words_for(MAX_KEY_BYTES) + words_for(MAX_REGISTER_BYTES)).div_ceil(SLOT_WORDS);
/// Words of the longest submission.
pub const MAX_SUBMISSION_WORDS: usize = MAX_SUBMISSION_SLOTS * SLOT_WORDS;

/// Peers that are counted one by one: there are watermarks for one peer, for two, and so on to so many.
pub const MAX_COUNTED_PEERS: usize = 32;
/// Bit of [`SubmissionLayout::amount`] of a mark: somebody waits for this host's disk.
pub const MARK_DISK: u64 = 1;
/// Bit of [`SubmissionLayout::amount`] of a mark: somebody waits for peers.
pub const MARK_PEERS: u64 = 2;
/// Bit of [`RingLinesLayout::terms`]: the log is a file, so `Logged` and `Durable` mean something.
pub const TERMS_LOG_IS_FILE: u64 = 1 << 16;
/// Bit of [`RingLinesLayout::terms`]: the log is not synced by itself, so nobody is to wait for `Durable`.
pub const TERMS_NEVER_SYNCED: u64 = 1 << 17;

/// The header of a ring file (the rest of its 4096 bytes is zero).
#[repr(C)]
pub struct RingHeaderLayout {
    /// [`RING_MAGIC`].
    pub magic: u64,
    /// [`RING_VERSION`].
    pub version: u64,
    /// Length of the file.
    pub total_bytes: u64,
    /// Number of workers.
    pub workers: u64,
    /// Submission slots of each worker, a power of two.
    pub submission_slots: u64,
    /// Failure entries of each worker, a power of two.
    pub completion_slots: u64,
    /// Distance from one worker's part to the next one's.
    pub stride_bytes: u64,
}

/// The lines of a worker's part.
#[repr(C)]
pub struct RingLinesLayout {
    /// Client: slots ever filled.
    pub submission_tail: u64,
    /// Client: failure entries ever taken.
    pub completion_head: u64,
    /// Zero.
    pub client_reserved: [u64; 6],
    /// Client: not 0 while somebody sleeps on `told`. Not on the cache line of the words above, which the worker looks at
    /// in each of its turns.
    pub awaiting: u64,
    /// Zero.
    pub awaiting_reserved: [u64; 7],
    /// Daemon: slots ever taken.
    pub submission_head: u64,
    /// Daemon: submissions ever applied or failed.
    pub applied: u64,
    /// Daemon: failure entries ever filled.
    pub completion_tail: u64,
    /// Zero.
    pub daemon_reserved: [u64; 5],
    /// Daemon: not 0 while the worker sleeps and wants to be woken. Clients load it with each submission and it hardly ever
    /// changes, so it is not on the cache line of the words above, which change with each turn.
    pub sleeping: u64,
    /// Zero.
    pub sleeping_reserved: [u64; 7],
    /// Daemon: how often one of the words below was changed. Its low half is the futex on which clients sleep.
    pub told: u64,
    /// Daemon: bits 0..16 members of the cluster, this node one of them; bit 16 set if the log is a file.
    pub terms: u64,
    /// Daemon: submissions up to this one are durable on this host. This word and those below are only kept for submissions
    /// that a mark came after.
    pub durable: u64,
    /// Daemon: submissions up to this one are merged by a majority of the members.
    pub majority: u64,
    /// Daemon: submissions up to this one are merged by all members.
    pub all: u64,
    /// Zero.
    pub levels_reserved: [u64; 3],
    /// Daemon: at `k - 1`: submissions up to this one are merged by at least `k` peers.
    pub merged: [u64; MAX_COUNTED_PEERS],
    /// Daemon: at `k - 1`: submissions up to this one are known to be durable on at least `k` peers.
    pub durable_on: [u64; MAX_COUNTED_PEERS],
}

/// The front of a submission; key and data follow, each padded to whole words.
#[repr(C)]
pub struct SubmissionLayout {
    /// Bits 0..8 operation, 8..16 kind, 16..24 slots, 24..32 key length (0: by handle), 32..48 data length, 48..64 zero.
    pub header: u64,
    /// Amount of a counter's addition; of a mark, [`MARK_DISK`] and [`MARK_PEERS`].
    pub amount: u64,
    /// By handle: bits 0..32 cell, 32..64 generation. By key, and of a mark: 0.
    pub cell: u64,
}

/// A failure entry.
#[repr(C)]
pub struct CompletionLayout {
    /// The submission's number on its ring, from 1.
    pub ticket: u64,
    /// Bits 0..16 code, the rest zero.
    pub code: u64,
}

/// Words of the lines.
pub const LINES_WORDS: usize = word(size_of::<RingLinesLayout>());
/// Words of a failure entry.
pub const COMPLETION_WORDS: usize = word(size_of::<CompletionLayout>());
/// Word of `submission_tail`.
pub const SUBMISSION_TAIL: usize = word(offset_of!(RingLinesLayout, submission_tail));
/// Word of `completion_head`.
pub const COMPLETION_HEAD: usize = word(offset_of!(RingLinesLayout, completion_head));
/// Word of `submission_head`.
pub const SUBMISSION_HEAD: usize = word(offset_of!(RingLinesLayout, submission_head));
/// Word of `applied`.
pub const APPLIED: usize = word(offset_of!(RingLinesLayout, applied));
/// Word of `completion_tail`.
pub const COMPLETION_TAIL: usize = word(offset_of!(RingLinesLayout, completion_tail));
/// Word of `sleeping`.
pub const SLEEPING: usize = word(offset_of!(RingLinesLayout, sleeping));
/// Word of `awaiting`.
pub const AWAITING: usize = word(offset_of!(RingLinesLayout, awaiting));
/// Word of `told`.
pub const TOLD: usize = word(offset_of!(RingLinesLayout, told));
/// Word of `terms`.
pub const TERMS: usize = word(offset_of!(RingLinesLayout, terms));
/// Word of `durable`.
pub const DURABLE: usize = word(offset_of!(RingLinesLayout, durable));
/// Word of `majority`.
pub const MAJORITY: usize = word(offset_of!(RingLinesLayout, majority));
/// Word of `all`.
pub const ALL: usize = word(offset_of!(RingLinesLayout, all));
/// First word of `merged`.
pub const MERGED: usize = word(offset_of!(RingLinesLayout, merged));
/// First word of `durable_on`.
pub const DURABLE_ON: usize = word(offset_of!(RingLinesLayout, durable_on));

const _: () = assert!(size_of::<RingHeaderLayout>() == 56);
const _: () = assert!(offset_of!(RingHeaderLayout, version) == 8);
const _: () = assert!(offset_of!(RingHeaderLayout, total_bytes) == 16);
const _: () = assert!(offset_of!(RingHeaderLayout, workers) == 24);
const _: () = assert!(offset_of!(RingHeaderLayout, submission_slots) == 32);
const _: () = assert!(offset_of!(RingHeaderLayout, completion_slots) == 40);
const _: () = assert!(offset_of!(RingHeaderLayout, stride_bytes) == 48);
const _: () = assert!(size_of::<RingLinesLayout>() == 832);
const _: () = assert!(size_of::<RingLinesLayout>().is_multiple_of(SLOT_BYTES));
const _: () = assert!(offset_of!(RingLinesLayout, completion_head) == 8);
const _: () = assert!(offset_of!(RingLinesLayout, submission_head) == 128);
const _: () = assert!(offset_of!(RingLinesLayout, applied) == 136);
const _: () = assert!(offset_of!(RingLinesLayout, completion_tail) == 144);
const _: () = assert!(offset_of!(RingLinesLayout, awaiting) == 64);
const _: () = assert!(offset_of!(RingLinesLayout, sleeping) == 192);
const _: () = assert!(offset_of!(RingLinesLayout, told) == 256);
const _: () = assert!(offset_of!(RingLinesLayout, merged) == 320);
const _: () = assert!(offset_of!(RingLinesLayout, durable_on) == 576);
const _: () = assert!(size_of::<SubmissionLayout>() == 24);
const _: () = assert!(offset_of!(SubmissionLayout, amount) == 8);
const _: () = assert!(offset_of!(SubmissionLayout, cell) == 16);
const _: () = assert!(size_of::<CompletionLayout>() == 16);
const _: () = assert!(offset_of!(CompletionLayout, code) == 8);
const _: () = assert!(MAX_SUBMISSION_SLOTS == 19);
