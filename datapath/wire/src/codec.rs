//! The primitives that every payload is made of: fixed little-endian integers, minimal LEB128 varints, byte strings.
//!
//! A varint has seven bits to a byte, low ones first; the high bit says that more follow. The minimal form is the only
//! one accepted: its last byte is zero only if it is the only byte.

use lattice_crdt::limits::{MAX_ELEMENT_BYTES, MAX_KEY_BYTES, MAX_REGISTER_BYTES};
use lattice_crdt::{ActorId, Kind};

use crate::{NoRoom, RecordError};

/// Longest varint of a u64.
pub(crate) const MAX_VARINT64_BYTES: usize = 64usize.div_ceil(7);
/// Longest varint of a u128.
pub(crate) const MAX_VARINT128_BYTES: usize = 128usize.div_ceil(7);
/// Longest varint of a length in this format: all are below 2^14.
pub(crate) const MAX_LENGTH_BYTES: usize = 2;
const _: () = assert!(MAX_REGISTER_BYTES < 1 << 14 && MAX_ELEMENT_BYTES < 1 << 14);
const _: () = assert!(MAX_KEY_BYTES <= u8::MAX as usize);

/// Reads from the front of bytes that nobody has checked.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What is not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The payload must end here.
    pub(crate) fn finish(&self) -> Result<(), RecordError> {
        if self.rest.is_empty() { Ok(()) } else { Err(RecordError::TrailingBytes) }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, RecordError> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, RecordError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, RecordError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, RecordError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RecordError::BadBool),
        }
    }

    pub(crate) fn actor(&mut self) -> Result<ActorId, RecordError> {
        self.u64().map(ActorId::from_u64)
    }

    /// A varint; one byte, the common case, costs one comparison.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, RecordError> {
        match *self.rest {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, RecordError> {
        // Two and three bytes, as most that are longer than one have.
        match *self.rest {
            [a, b, ref rest @ ..] if b < 0x80 => {
                self.rest = rest;
                if b == 0 { Err(RecordError::BadVarint) } else { Ok(u64::from(a & 0x7F) | u64::from(b) << 7) }
            }
            [a, b, c, ref rest @ ..] if c < 0x80 => {
                self.rest = rest;
                let low = u64::from(a & 0x7F) | u64::from(b & 0x7F) << 7;
                if c == 0 { Err(RecordError::BadVarint) } else { Ok(low | u64::from(c) << 14) }
            }
            _ => self.longest_varint(),
        }
    }

    fn longest_varint(&mut self) -> Result<u64, RecordError> {
        let mut value = 0u64;
        for at in 0..MAX_VARINT64_BYTES {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            let shift = 7 * at as u32;
            // The tenth byte has room for one bit only.
            if (bits << shift) >> shift != bits {
                return Err(RecordError::BadVarint);
            }
            value |= bits << shift;
            if byte < 0x80 {
                // Not the first byte: `varint` has taken the varints of one.
                return if byte == 0 { Err(RecordError::BadVarint) } else { Ok(value) };
            }
        }
        Err(RecordError::BadVarint)
    }

    /// A varint of up to 128 bits. Counters rarely need more than three bytes, so those are the fast path.
    #[inline]
    pub(crate) fn varint128(&mut self) -> Result<u128, RecordError> {
        match self.rest {
            [a, ..] if *a < 0x80 => self.varint().map(u128::from),
            [_, b, ..] if *b < 0x80 => self.long_varint().map(u128::from),
            [_, _, c, ..] if *c < 0x80 => self.long_varint().map(u128::from),
            _ => self.long_varint128(),
        }
    }

    fn long_varint128(&mut self) -> Result<u128, RecordError> {
        let mut value = 0u128;
        for at in 0..MAX_VARINT128_BYTES {
            let byte = self.u8()?;
            let bits = u128::from(byte & 0x7F);
            let shift = 7 * at as u32;
            if (bits << shift) >> shift != bits {
                return Err(RecordError::BadVarint);
            }
            value |=
                if zoo!(VarintLosesHighBits) { u128::from((bits << shift) as u64) } else { bits << shift };
            if byte < 0x80 {
                // Not the first byte: `varint128` has taken the varints of one.
                return if byte == 0 { Err(RecordError::BadVarint) } else { Ok(value) };
            }
        }
        Err(RecordError::BadVarint)
    }

    pub(crate) fn kind(&mut self) -> Result<Kind, RecordError> {
        Kind::try_from(self.u8()?).map_err(|unknown| RecordError::BadKind(unknown.0))
    }

    /// A key: one byte of length, then 1..=128 bytes.
    pub(crate) fn key(&mut self) -> Result<&'a [u8], RecordError> {
        let len = usize::from(self.u8()?);
        if len == 0 || len > MAX_KEY_BYTES {
            return Err(RecordError::BadKey);
        }
        self.bytes(len)
    }

    /// An element of an object whose kind is not at hand: only its length is checked.
    pub(crate) fn element(&mut self) -> Result<&'a [u8], RecordError> {
        self.string(MAX_ELEMENT_BYTES, RecordError::BadElement)
    }

    /// An element that fits `kind`.
    pub(crate) fn element_of(&mut self, kind: Kind) -> Result<&'a [u8], RecordError> {
        let element = self.element()?;
        if element_fits(kind, element) { Ok(element) } else { Err(RecordError::BadElement) }
    }

    pub(crate) fn value(&mut self) -> Result<&'a [u8], RecordError> {
        self.string(MAX_REGISTER_BYTES, RecordError::BadValue)
    }

    fn string(&mut self, max: usize, too_long: RecordError) -> Result<&'a [u8], RecordError> {
        match usize::try_from(self.varint()?) {
            Ok(len) if len <= max => self.bytes(len),
            _ => Err(too_long),
        }
    }
}

/// Whether an element within the length limit is one that objects of `kind` can have.
pub(crate) fn element_fits(kind: Kind, element: &[u8]) -> bool {
    match kind {
        Kind::FlagEnableWins | Kind::FlagDisableWins => matches!(element, [0 | 1]),
        Kind::Set => element.len() <= MAX_ELEMENT_BYTES,
        Kind::Counter | Kind::Register => false,
    }
}

/// Writes to the front of a buffer. What does not fit, or is outside of the format's limits, is [`NoRoom`]; so whatever
/// could be written can be read.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    /// How many bytes were written.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Overwrites a byte that was written before: a count that is known only afterwards.
    pub(crate) fn patch_u8(&mut self, at: usize, value: u8) {
        if let Some(byte) = self.out.get_mut(..self.len).and_then(|written| written.get_mut(at)) {
            *byte = value;
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let end = self.len.checked_add(bytes.len()).ok_or(NoRoom)?;
        self.out.get_mut(self.len..end).ok_or(NoRoom)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    pub(crate) fn u8(&mut self, value: u8) -> Result<(), NoRoom> {
        *self.out.get_mut(self.len).ok_or(NoRoom)? = value;
        self.len += 1;
        Ok(())
    }

    pub(crate) fn u32(&mut self, value: u32) -> Result<(), NoRoom> {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> Result<(), NoRoom> {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn bool(&mut self, value: bool) -> Result<(), NoRoom> {
        self.u8(u8::from(value))
    }

    pub(crate) fn actor(&mut self, actor: ActorId) -> Result<(), NoRoom> {
        self.u64(actor.as_u64())
    }

    #[inline]
    pub(crate) fn varint(&mut self, mut value: u64) -> Result<(), NoRoom> {
        while value >= 0x80 {
            self.u8(value as u8 | 0x80)?;
            value >>= 7;
        }
        self.u8(value as u8)
    }

    pub(crate) fn varint128(&mut self, mut value: u128) -> Result<(), NoRoom> {
        while value > u128::from(u64::MAX) {
            self.u8(value as u8 | 0x80)?;
            value >>= 7;
        }
        self.varint(value as u64)
    }

    /// A seq, which is never zero.
    pub(crate) fn seq(&mut self, seq: u64) -> Result<(), NoRoom> {
        if seq == 0 { Err(NoRoom) } else { self.varint(seq) }
    }

    pub(crate) fn key(&mut self, key: &[u8]) -> Result<(), NoRoom> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(NoRoom);
        }
        self.u8(key.len() as u8)?;
        self.bytes(key)
    }

    pub(crate) fn element(&mut self, element: &[u8]) -> Result<(), NoRoom> {
        self.string(element, MAX_ELEMENT_BYTES)
    }

    pub(crate) fn element_of(&mut self, kind: Kind, element: &[u8]) -> Result<(), NoRoom> {
        if element_fits(kind, element) { self.element(element) } else { Err(NoRoom) }
    }

    pub(crate) fn value(&mut self, value: &[u8]) -> Result<(), NoRoom> {
        self.string(value, MAX_REGISTER_BYTES)
    }

    fn string(&mut self, bytes: &[u8], max: usize) -> Result<(), NoRoom> {
        if bytes.len() > max {
            return Err(NoRoom);
        }
        self.varint(bytes.len() as u64)?;
        self.bytes(bytes)
    }
}
