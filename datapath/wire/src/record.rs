//! Delta records: what one operation did, as its origin logs and sends it.
//!
//! ```text
//!   byte  kind (low 5 bits) | op (high 3 bits)
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

use crate::codec::{MAX_LENGTH_BYTES, Reader, Writer};
use crate::dots::MAX_RECORD_DOTS_BYTES;
use crate::header::MAX_PAYLOAD_BYTES;
use crate::{Dots, NoRoom, RecordError};

const KIND_BITS: u32 = 5;
const KIND_MASK: u8 = (1 << KIND_BITS) - 1;

const NOOP: u8 = 0;
const COUNTER: u8 = 1;
const REGISTER: u8 = 2;
const ADD: u8 = 3;
const REMOVE: u8 = 4;

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
    const fn number(&self) -> u8 {
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

const fn fits(kind: Kind, op: u8) -> bool {
    match kind {
        Kind::Counter => matches!(op, COUNTER | NOOP),
        Kind::Register => matches!(op, REGISTER | NOOP),
        Kind::FlagEnableWins | Kind::FlagDisableWins | Kind::Set => matches!(op, ADD | REMOVE | NOOP),
    }
}

impl Record<'_> {
    pub(crate) fn write(&self, actor: ActorId, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        let op = self.op.number();
        if !fits(self.kind, op) {
            return Err(NoRoom);
        }
        out.u8(self.kind as u8 | op << KIND_BITS)?;
        if op == NOOP && self.key.is_empty() {
            return out.u8(0);
        }
        out.key(self.key)?;
        match self.op {
            Op::Noop => Ok(()),
            Op::Counter { increments, decrements } => {
                out.varint128(increments)?;
                out.varint128(decrements)
            }
            Op::Register { hlc, value } => {
                out.u64(hlc.as_u64())?;
                out.value(value)
            }
            Op::Add { element, superseded: dots } | Op::Remove { element, removed: dots } => {
                out.element_of(self.kind, element)?;
                dots.write(Some(actor), out)
            }
        }
    }
}

/// Writes a record of `actor` to the front of `out`; returns its length. [`MAX_RECORD_BYTES`] are always enough.
///
/// # Errors
/// [`NoRoom`] if it does not fit, or is outside of the limits that [`decode_record`] checks.
pub fn encode_record(record: &Record<'_>, actor: ActorId, out: &mut [u8]) -> Result<usize, NoRoom> {
    let mut out = Writer::new(out);
    record.write(actor, &mut out)?;
    Ok(out.len())
}

/// Reads a record of `actor` from the front of `bytes`; returns it and its length. Does not allocate.
///
/// # Errors
/// [`RecordError`] if there is no well-formed record within all limits.
pub fn decode_record(bytes: &[u8], actor: ActorId) -> Result<(Record<'_>, usize), RecordError> {
    let mut reader = Reader::new(bytes);
    let head = reader.u8()?;
    let (number, op) = (head & KIND_MASK, head >> KIND_BITS);
    let kind = Kind::try_from(number).map_err(|unknown| RecordError::BadKind(unknown.0))?;
    if !fits(kind, op) {
        return Err(RecordError::BadOp { kind: number, op });
    }
    let key = match reader.rest() {
        [0, ..] if op == NOOP => reader.bytes(1)?.get(..0).unwrap_or_default(),
        _ => reader.key()?,
    };
    let op = match op {
        COUNTER => Op::Counter { increments: reader.varint128()?, decrements: reader.varint128()? },
        REGISTER => Op::Register { hlc: Hlc::from_u64(reader.u64()?), value: reader.value()? },
        ADD => {
            Op::Add { element: reader.element_of(kind)?, superseded: Dots::read(&mut reader, Some(actor))? }
        }
        REMOVE => {
            Op::Remove { element: reader.element_of(kind)?, removed: Dots::read(&mut reader, Some(actor))? }
        }
        _ => Op::Noop,
    };
    Ok((Record { kind, key, op }, bytes.len() - reader.rest().len()))
}

/// The records of a Data frame's payload, each with its encoded length. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    actor: ActorId,
}

impl<'a> Records<'a> {
    /// The records in `payload`, which come from `actor`.
    pub fn new(payload: &'a [u8], actor: ActorId) -> Self {
        Self { rest: payload, actor }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(Record<'a>, usize), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let decoded = decode_record(self.rest, self.actor);
        self.rest = match decoded {
            Ok((_, len)) => self.rest.get(len..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(decoded)
    }
}
