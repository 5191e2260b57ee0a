//! Records as Data frames carry them: in place of its key, one may have the key's alias.
//!
//! ```text
//!   byte  kind (low 4 bits) | 16: an alias names the key | op (high 3 bits)
//!   name  plain     length of the key 1..=128, the key            as in the log (record.rs)
//!         defining  255, alias varint, length 1..=128, the key    from now on this alias means this key and kind
//!         aliased   alias varint                                  (with 16 in the first byte)
//!   op    as in the log
//! ```
//!
//! A key of thirty bytes becomes one of two or three, and its receiver finds the key without hashing. An alias belongs to its
//! origin and to the session that it was defined in; one means the same key for as long as the session lasts. What a
//! receiver does not know it refuses: the record comes again, with its key.

use lattice_crdt::{ActorId, Hlc, Kind};

use crate::codec::{Reader, Writer};
use crate::header::MAX_PAYLOAD_BYTES;
use crate::record::{ADD, COUNTER, KIND_BITS, NOOP, REGISTER, REMOVE, fits};
use crate::{Dots, MAX_RECORD_BYTES, NoRoom, Op, Record, RecordError};

/// The highest alias, and so how many keys of one origin can have one. The lowest is 1.
pub const MAX_ALIAS: u32 = 1 << 20;

const ALIASED: u8 = 1 << 4;
const KIND_MASK: u8 = ALIASED - 1;
const DEFINING: u8 = 255;
/// What a definition adds to a record: the mark and the longest alias.
const MAX_DEFINITION_BYTES: usize = 1 + 3;
const _: () = assert!(MAX_ALIAS < 1 << 21 && ALIASED < 1 << KIND_BITS);
const _: () = assert!(MAX_RECORD_BYTES + MAX_DEFINITION_BYTES <= MAX_PAYLOAD_BYTES, "it fits a frame too");

/// How a record names its key.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Name<'a> {
    /// By the key, 1..=128 bytes. A [`Op::Noop`] may have the empty key.
    Key(&'a [u8]),
    /// By the key, which an alias is defined for.
    Defines {
        /// The alias, 1..=[`MAX_ALIAS`].
        alias: u32,
        /// The key.
        key: &'a [u8],
    },
    /// By an alias, 1..=[`MAX_ALIAS`].
    Alias(u32),
}

/// A record in a Data frame.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Delta<'a> {
    /// The kind of the object.
    pub kind: Kind,
    /// Which object.
    pub name: Name<'a>,
    /// What was done.
    pub op: Op<'a>,
}

impl<'a> From<Record<'a>> for Delta<'a> {
    fn from(Record { kind, key, op }: Record<'a>) -> Self {
        Delta { kind, name: Name::Key(key), op }
    }
}

impl Delta<'_> {
    pub(crate) fn write(&self, actor: ActorId, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        let op = self.op.number();
        if !fits(self.kind, op) {
            return Err(NoRoom);
        }
        let aliased = if matches!(self.name, Name::Alias(_)) { ALIASED } else { 0 };
        out.u8(self.kind as u8 | aliased | op << KIND_BITS)?;
        match self.name {
            Name::Key([]) if op == NOOP => out.u8(0)?,
            Name::Key(key) => out.key(key)?,
            Name::Defines { alias, key } => {
                out.u8(DEFINING)?;
                write_alias(alias, out)?;
                out.key(key)?;
            }
            Name::Alias(alias) => write_alias(alias, out)?,
        }
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

fn write_alias(alias: u32, out: &mut Writer<'_>) -> Result<(), NoRoom> {
    if alias == 0 || alias > MAX_ALIAS { Err(NoRoom) } else { out.varint(u64::from(alias)) }
}

#[inline]
fn read_alias(reader: &mut Reader<'_>) -> Result<u32, RecordError> {
    let alias = reader.varint()?;
    if alias == 0 || alias > u64::from(MAX_ALIAS) { Err(RecordError::BadAlias) } else { Ok(alias as u32) }
}

#[inline]
fn read_name<'a>(reader: &mut Reader<'a>, is_aliased: bool, op: u8) -> Result<Name<'a>, RecordError> {
    if is_aliased {
        return read_alias(reader).map(Name::Alias);
    }
    match reader.rest() {
        [0, ..] if op == NOOP => Ok(Name::Key(reader.bytes(1)?.get(..0).unwrap_or_default())),
        [DEFINING, ..] => {
            reader.u8()?;
            Ok(Name::Defines { alias: read_alias(reader)?, key: reader.key()? })
        }
        _ => reader.key().map(Name::Key),
    }
}

/// Writes a record of `actor` as a Data frame carries it to the front of `out`; returns its length.
///
/// # Errors
/// [`NoRoom`] if it does not fit, or is outside of the limits that [`decode_delta`] checks.
pub fn encode_delta(delta: &Delta<'_>, actor: ActorId, out: &mut [u8]) -> Result<usize, NoRoom> {
    let mut out = Writer::new(out);
    delta.write(actor, &mut out)?;
    Ok(out.len())
}

/// Reads a record of `actor` in a Data frame from the front of `bytes`; returns it and its length. Does not allocate.
///
/// # Errors
/// [`RecordError`] if there is no well-formed record within all limits.
#[inline]
pub fn decode_delta(bytes: &[u8], actor: ActorId) -> Result<(Delta<'_>, usize), RecordError> {
    let mut reader = Reader::new(bytes);
    let head = reader.u8()?;
    let (number, op) = (head & KIND_MASK, head >> KIND_BITS);
    let kind = Kind::try_from(number).map_err(|unknown| RecordError::BadKind(unknown.0))?;
    if !fits(kind, op) {
        return Err(RecordError::BadOp { kind: number, op });
    }
    let name = read_name(&mut reader, head & ALIASED != 0, op)?;
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
    Ok((Delta { kind, name, op }, bytes.len() - reader.rest().len()))
}

/// A counter's record that names its key by an alias: most of what a busy peer sends, in its shortest form.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub struct AliasedCounter {
    /// The alias, 1..=[`MAX_ALIAS`].
    pub alias: u32,
    /// The sum of the origin's positive adds.
    pub increments: u64,
    /// The sum of the magnitudes of its negative adds.
    pub decrements: u64,
}

/// Reads a record of that sort from the front of `bytes`; returns it and its length. `None` says only that
/// [`decode_delta`] has to look: at another record, at one with a longer number, or at a malformed one.
#[inline]
pub fn decode_aliased_counter(bytes: &[u8]) -> Option<(AliasedCounter, usize)> {
    const HEAD: u8 = Kind::Counter as u8 | ALIASED | COUNTER << KIND_BITS;
    let (&HEAD, rest) = bytes.split_first()? else { return None };
    let (alias, rest) = short_varint(rest)?;
    let (increments, rest) = short_varint(rest)?;
    let (decrements, rest) = short_varint(rest)?;
    let alias = u32::try_from(alias).ok().filter(|alias| (1..=MAX_ALIAS).contains(alias))?;
    Some((AliasedCounter { alias, increments, decrements }, bytes.len() - rest.len()))
}

/// A varint of at most eight bytes, so 56 bits.
#[inline]
fn short_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    match *bytes {
        [a, ref rest @ ..] if a < 0x80 => Some((u64::from(a), rest)),
        [a, b @ 1..=0x7F, ref rest @ ..] => Some((u64::from(a & 0x7F) | u64::from(b) << 7, rest)),
        [a, b @ 0x80..=0xFF, c @ 1..=0x7F, ref rest @ ..] => {
            Some((u64::from(a & 0x7F) | u64::from(b & 0x7F) << 7 | u64::from(c) << 14, rest))
        }
        _ => wide_varint(bytes),
    }
}

/// A varint of at most eight bytes, in the same steps whatever its length.
#[inline]
fn wide_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    const STOPS: u64 = 0x8080_8080_8080_8080;
    let word = match bytes.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => last_word(bytes),
    };
    let stops = !word & STOPS;
    if stops == 0 {
        return None;
    }
    // The bytes through the first that has no high bit.
    let own = word & (stops ^ (stops - 1)) & !STOPS;
    let len = stops.trailing_zeros() as usize / 8 + 1;
    if own >> (8 * (len - 1)) == 0 {
        // A last byte of nothing: one encoding of a number would be several.
        return None;
    }
    // Seven bits of each byte, put together by twos, fours and eights.
    let twos = own & 0x007F_007F_007F_007F | (own & 0x7F00_7F00_7F00_7F00) >> 1;
    let fours = twos & 0x0000_3FFF_0000_3FFF | (twos & 0x3FFF_0000_3FFF_0000) >> 2;
    let value = fours & 0x0FFF_FFFF | (fours & 0x0FFF_FFFF_0000_0000) >> 4;
    Some((value, bytes.get(len..)?))
}

/// Fewer than eight bytes as a word. What is behind them ends no varint.
fn last_word(bytes: &[u8]) -> u64 {
    let mut word = [0xFF; 8];
    word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(word)
}

/// Writes a record as the log has it, plain, with another name.
pub(crate) fn write_renamed(
    record: &[u8],
    alias: u32,
    defines: bool,
    out: &mut Writer<'_>,
) -> Result<(), NoRoom> {
    let (&[head, len], rest) = record.split_first_chunk::<2>().ok_or(NoRoom)?;
    if defines {
        out.u8(head)?;
        out.u8(DEFINING)?;
        write_alias(alias, out)?;
        return out.bytes(record.get(1..).ok_or(NoRoom)?);
    }
    out.u8(head | ALIASED)?;
    write_alias(alias, out)?;
    out.bytes(rest.get(usize::from(len)..).ok_or(NoRoom)?)
}

/// The records of a Data frame's payload, each with its encoded length. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Deltas<'a> {
    rest: &'a [u8],
    actor: ActorId,
}

impl<'a> Deltas<'a> {
    /// The records in `payload`, which come from `actor`.
    pub fn new(payload: &'a [u8], actor: ActorId) -> Self {
        Self { rest: payload, actor }
    }
}

impl<'a> Iterator for Deltas<'a> {
    type Item = Result<(Delta<'a>, usize), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let decoded = decode_delta(self.rest, self.actor);
        self.rest = match decoded {
            Ok((_, len)) => self.rest.get(len..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(decoded)
    }
}
