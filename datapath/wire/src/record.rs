//! Delta records: what one operation did, as its origin logs it. Frames may have them with another name (delta.rs).
//!
//! ```text
//!   byte  kind (low 4 bits) | 0 | op (high 3 bits)
//!   byte  length of the key, then the key
//!   op    0 Noop
//!         1 Counter   increments varint128, decrements varint128     the origin's whole entry, cumulative
//!         2 Register  hlc u64, length varint, value
//!         3 Add       length varint, element, superseded dots
//!         4 Remove    length varint, element, removed dots
//! ```
//!
//! A record does not carry its own dot: in a Data frame of actor a, the record at position i is (a, lo + 1 + i). It always
//! fits a frame, so nothing is ever fragmented.

use lattice_crdt::limits::{MAX_ELEMENT_BYTES, MAX_KEY_BYTES};
use lattice_crdt::{ActorId, Hlc, Kind};

use crate::codec::MAX_LENGTH_BYTES;
use crate::dots::MAX_RECORD_DOTS_BYTES;
use crate::header::MAX_PAYLOAD_BYTES;
use crate::{Delta, Dots, Name, NoRoom, RecordError, decode_delta, encode_delta};

/// The op stands above so many bits; the lower ones are for the kind and how the key is named.
pub(crate) const KIND_BITS: u32 = 5;

pub(crate) const NOOP: u8 = 0;
pub(crate) const COUNTER: u8 = 1;
pub(crate) const REGISTER: u8 = 2;
pub(crate) const ADD: u8 = 3;
pub(crate) const REMOVE: u8 = 4;

/// The longest record that keeps the limits of [`lattice_crdt::limits`]: of an element with all its dots.
pub const MAX_RECORD_BYTES: usize =
    2 + MAX_KEY_BYTES + MAX_LENGTH_BYTES + MAX_ELEMENT_BYTES + MAX_RECORD_DOTS_BYTES;
const _: () = assert!(MAX_RECORD_BYTES <= MAX_PAYLOAD_BYTES, "a record fits a frame");

/// What an operation did.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Op<'a> {
    /// The origin's entry of a counter, cumulative.
    Counter {
        /// The sum of its positive adds.
        increments: u128,
        /// The sum of the magnitudes of its negative adds.
        decrements: u128,
    },
    /// A write of a register.
    Register {
        /// When, for the last writer to win.
        hlc: Hlc,
        /// What.
        value: &'a [u8],
    },
    /// An element gets this record's dot.
    Add {
        /// The element; of a flag, the one byte 1 (enable) or 0 (disable).
        element: &'a [u8],
        /// The dots that the origin saw and that this one replaces.
        superseded: Dots<'a>,
    },
    /// An element loses the dots that the origin saw.
    Remove {
        /// The element; of a flag, one byte as in `Add`.
        element: &'a [u8],
        /// Those dots.
        removed: Dots<'a>,
    },
    /// Nothing: a seq that was taken and has no effect.
    Noop,
}

impl Op<'_> {
    pub(crate) const fn number(&self) -> u8 {
        match self {
            Op::Noop => NOOP,
            Op::Counter { .. } => COUNTER,
            Op::Register { .. } => REGISTER,
            Op::Add { .. } => ADD,
            Op::Remove { .. } => REMOVE,
        }
    }
}

/// An operation on a key. A [`Op::Noop`] may have the empty key.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Record<'a> {
    /// The kind of the object; with the key, its identity.
    pub kind: Kind,
    /// The key, 1..=128 bytes.
    pub key: &'a [u8],
    /// What was done.
    pub op: Op<'a>,
}

/// Whether a kind has an op of this number.
pub(crate) const fn fits(kind: Kind, op: u8) -> bool {
    match kind {
        Kind::Counter => matches!(op, COUNTER | NOOP),
        Kind::Register => matches!(op, REGISTER | NOOP),
        Kind::FlagEnableWins | Kind::FlagDisableWins | Kind::Set => matches!(op, ADD | REMOVE | NOOP),
    }
}

/// Writes a record of `actor` to the front of `out`; returns its length. [`MAX_RECORD_BYTES`] are always enough.
///
/// # Errors
/// [`NoRoom`] if it does not fit, or is outside of the limits that [`decode_record`] checks.
pub fn encode_record(record: &Record<'_>, actor: ActorId, out: &mut [u8]) -> Result<usize, NoRoom> {
    encode_delta(&Delta::from(*record), actor, out)
}

/// Reads a record of `actor` from the front of `bytes`; returns it and its length. Does not allocate.
///
/// # Errors
/// [`RecordError`] if there is no well-formed record within all limits.
pub fn decode_record(bytes: &[u8], actor: ActorId) -> Result<(Record<'_>, usize), RecordError> {
    let (Delta { kind, name, op }, len) = decode_delta(bytes, actor)?;
    match name {
        Name::Key(key) => Ok((Record { kind, key, op }, len)),
        Name::Defines { .. } | Name::Alias(_) => Err(RecordError::BadKey),
    }
}
