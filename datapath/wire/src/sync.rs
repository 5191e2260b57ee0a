//! State sync: a walk over a shard as a stream of SyncData frames, and its acknowledgements.
//!
//! ```text
//!   SyncData  sync_id u32, items.   header: lo = index of the frame in the stream, count = items
//!   stream    Begin
//!             VectorRange ...       the sender's vector C as of the start of the walk (contiguous part: first = 1)
//!             Folded ...            epochs that are over, and the number of the fold of their node that they went in
//!             Dropped ...           the highest operation of each actor on a key that it has dropped
//!             PreRemoved ...        its pre-removed dots as of then
//!             VectorEnd
//!             per key:  Key, Touch ..., CounterEntry ... | RegisterValue | Element ..., KeyEnd
//!             End                   only now does the receiver cover C
//!   SyncAck   0 sync_id u32 | 4 cumulative u64 | 12 bitmap u64 | 20 abort u8
//! ```
//!
//! An item starts with its number (1..=13). Dots carry their actors here, because a walk passes on everybody's. An element with
//! more dots than one item holds comes as several, all but the last with `more`.

use lattice_crdt::limits::MAX_ELEMENT_BYTES;
use lattice_crdt::{ActorId, Dot, Hlc, Kind};

use crate::codec::{MAX_LENGTH_BYTES, Reader, Writer};
use crate::dots::{Dots, MAX_SYNC_DOTS_BYTES, read_dot, write_dot};
use crate::header::MAX_PAYLOAD_BYTES;
use crate::{FrameWriter, NoRoom, RecordError};

const SYNC_ID_BYTES: usize = 4;

/// The longest item that keeps the limits of [`lattice_crdt::limits`]: an element with all its dots.
pub const MAX_ITEM_BYTES: usize = 1 + MAX_LENGTH_BYTES + MAX_ELEMENT_BYTES + MAX_SYNC_DOTS_BYTES + 1;
const _: () = assert!(SYNC_ID_BYTES + MAX_ITEM_BYTES <= MAX_PAYLOAD_BYTES, "an item fits a frame");

const BEGIN: u8 = 1;
const VECTOR_RANGE: u8 = 2;
const PRE_REMOVED: u8 = 3;
const VECTOR_END: u8 = 4;
const KEY: u8 = 5;
const TOUCH: u8 = 6;
const COUNTER_ENTRY: u8 = 7;
const REGISTER_VALUE: u8 = 8;
const ELEMENT: u8 = 9;
const KEY_END: u8 = 10;
const END: u8 = 11;
const DROPPED: u8 = 12;
const FOLDED: u8 = 13;

/// One item of a walk.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum SyncItem<'a> {
    /// The walk starts.
    Begin {
        /// Every key is walked, not only those that the request's vector may not have.
        full_walk: bool,
        /// How many keys the sender holds now: the walk names about as many, or fewer. For whoever looks on; nothing
        /// depends on it.
        keys: u64,
    },
    /// A part of the sender's vector.
    VectorRange {
        /// Whose operations.
        actor: ActorId,
        /// The first one; 1 for the contiguous part.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// The highest operation of an actor on any key that the sender has dropped because it was empty. Whoever does not
    /// cover it may hold dots of such a key, and only a full walk shows that they are gone.
    Dropped {
        /// Whose.
        actor: ActorId,
        /// Which; within the contiguous part of the sender's vector.
        seq: u64,
    },
    /// An epoch that is over for good, and folded: what it did to a counter lies in the entry of its node's fold slot, as
    /// soon as whoever holds the counter has come to it.
    Folded {
        /// The epoch.
        actor: ActorId,
        /// Its last operation.
        last: u64,
        /// The fold of its node that it went in, from 1.
        number: u16,
        /// The sender has all of its operations: they are part of its vector.
        settled: bool,
    },
    /// A dot that was removed at the sender before it arrived there.
    PreRemoved {
        /// The dot.
        dot: Dot,
        /// The kind of its object.
        kind: Kind,
        /// The key of its object.
        key: &'a [u8],
        /// The element that it would have been under.
        element: &'a [u8],
    },
    /// Vector and pre-removed dots are complete; keys follow.
    VectorEnd,
    /// A key starts.
    Key {
        /// Its kind.
        kind: Kind,
        /// The key.
        key: &'a [u8],
    },
    /// The last operation of an actor on this key.
    Touch {
        /// Whose.
        actor: ActorId,
        /// Which.
        seq: u64,
    },
    /// One actor's entry of a counter.
    CounterEntry {
        /// Whose.
        actor: ActorId,
        /// The sum of its positive adds.
        increments: u128,
        /// The sum of the magnitudes of its negative adds.
        decrements: u128,
    },
    /// The value of a register.
    RegisterValue {
        /// When it was written.
        hlc: Hlc,
        /// By whom.
        actor: ActorId,
        /// What.
        value: &'a [u8],
    },
    /// Live dots of an element of a set or a side of a flag.
    Element {
        /// The element. Whether it fits the key's kind is for the receiver to check, who knows the kind.
        element: &'a [u8],
        /// Its dots.
        dots: Dots<'a>,
        /// The next item has more dots of the same element.
        more: bool,
    },
    /// The key is complete: elements that were not named have no live dots at the sender.
    KeyEnd,
    /// The walk is complete.
    End,
}

impl<'a> SyncItem<'a> {
    pub(crate) fn write(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        match *self {
            SyncItem::Begin { full_walk, keys } => {
                out.u8(BEGIN)?;
                out.bool(full_walk)?;
                out.varint(keys)
            }
            SyncItem::VectorRange { actor, first, last } => {
                out.u8(VECTOR_RANGE)?;
                out.actor(actor)?;
                out.seq(first)?;
                out.varint(last.checked_sub(first).ok_or(NoRoom)?)
            }
            SyncItem::PreRemoved { dot, kind, key, element } => {
                out.u8(PRE_REMOVED)?;
                write_dot(dot, None, out)?;
                out.u8(kind as u8)?;
                out.key(key)?;
                out.element_of(kind, element)
            }
            SyncItem::Dropped { actor, seq } => {
                out.u8(DROPPED)?;
                write_dot(Dot::new(actor, seq), None, out)
            }
            SyncItem::Folded { actor, last, number, settled } => {
                out.u8(FOLDED)?;
                write_dot(Dot::new(actor, last), None, out)?;
                out.varint(u64::from(number))?;
                out.bool(settled)
            }
            SyncItem::VectorEnd => out.u8(VECTOR_END),
            SyncItem::Key { kind, key } => {
                out.u8(KEY)?;
                out.u8(kind as u8)?;
                out.key(key)
            }
            SyncItem::Touch { actor, seq } => {
                out.u8(TOUCH)?;
                write_dot(Dot::new(actor, seq), None, out)
            }
            SyncItem::CounterEntry { actor, increments, decrements } => {
                out.u8(COUNTER_ENTRY)?;
                out.actor(actor)?;
                out.varint128(increments)?;
                out.varint128(decrements)
            }
            SyncItem::RegisterValue { hlc, actor, value } => {
                out.u8(REGISTER_VALUE)?;
                out.u64(hlc.as_u64())?;
                out.actor(actor)?;
                out.value(value)
            }
            SyncItem::Element { element, dots, more } => {
                out.u8(ELEMENT)?;
                out.element(element)?;
                dots.write(None, out)?;
                out.bool(more)
            }
            SyncItem::KeyEnd => out.u8(KEY_END),
            SyncItem::End => out.u8(END),
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, RecordError> {
        Ok(match reader.u8()? {
            BEGIN => SyncItem::Begin { full_walk: reader.bool()?, keys: reader.varint()? },
            VECTOR_RANGE => {
                let Dot { actor, seq: first } = read_dot(reader, None)?;
                let last = first.checked_add(reader.varint()?).ok_or(RecordError::BadRange)?;
                SyncItem::VectorRange { actor, first, last }
            }
            PRE_REMOVED => {
                let (dot, kind) = (read_dot(reader, None)?, reader.kind()?);
                SyncItem::PreRemoved { dot, kind, key: reader.key()?, element: reader.element_of(kind)? }
            }
            DROPPED => {
                let Dot { actor, seq } = read_dot(reader, None)?;
                SyncItem::Dropped { actor, seq }
            }
            FOLDED => {
                let Dot { actor, seq: last } = read_dot(reader, None)?;
                let number = u16::try_from(reader.varint()?).map_err(|_| RecordError::BadVarint)?;
                if number == 0 || actor.fold_number().is_some() {
                    return Err(RecordError::BadFold);
                }
                SyncItem::Folded { actor, last, number, settled: reader.bool()? }
            }
            VECTOR_END => SyncItem::VectorEnd,
            KEY => SyncItem::Key { kind: reader.kind()?, key: reader.key()? },
            TOUCH => {
                let Dot { actor, seq } = read_dot(reader, None)?;
                SyncItem::Touch { actor, seq }
            }
            COUNTER_ENTRY => SyncItem::CounterEntry {
                actor: reader.actor()?,
                increments: reader.varint128()?,
                decrements: reader.varint128()?,
            },
            REGISTER_VALUE => SyncItem::RegisterValue {
                hlc: Hlc::from_u64(reader.u64()?),
                actor: reader.actor()?,
                value: reader.value()?,
            },
            ELEMENT => SyncItem::Element {
                element: reader.element()?,
                dots: Dots::read(reader, None)?,
                more: reader.bool()?,
            },
            KEY_END => SyncItem::KeyEnd,
            END => SyncItem::End,
            other => return Err(RecordError::BadItem(other)),
        })
    }
}

/// Writes an item to the front of `out`; returns its length. [`MAX_ITEM_BYTES`] are always enough.
///
/// # Errors
/// [`NoRoom`] if it does not fit, or is outside of the limits that [`decode_item`] checks.
pub fn encode_item(item: &SyncItem<'_>, out: &mut [u8]) -> Result<usize, NoRoom> {
    let mut out = Writer::new(out);
    item.write(&mut out)?;
    Ok(out.len())
}

/// Reads an item from the front of `bytes`; returns it and its length. Does not allocate.
///
/// # Errors
/// [`RecordError`] if there is no well-formed item within all limits.
pub fn decode_item(bytes: &[u8]) -> Result<(SyncItem<'_>, usize), RecordError> {
    let mut reader = Reader::new(bytes);
    let item = SyncItem::read(&mut reader)?;
    Ok((item, bytes.len() - reader.rest().len()))
}

/// The payload of a SyncData frame.
#[derive(Clone, Debug)]
pub struct SyncData<'a> {
    /// The requester's number for this sync.
    pub sync_id: u32,
    /// The items, not decoded yet.
    pub items: SyncItems<'a>,
}

impl<'a> SyncData<'a> {
    /// Splits a payload; the items are decoded as they are iterated.
    ///
    /// # Errors
    /// [`RecordError`] if there is no sync id.
    pub fn decode(payload: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(payload);
        Ok(Self { sync_id: reader.u32()?, items: SyncItems { rest: reader.rest() } })
    }
}

/// The items of a SyncData frame. Ends after the first error.
#[derive(Clone, Debug)]
pub struct SyncItems<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for SyncItems<'a> {
    type Item = Result<SyncItem<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match decode_item(self.rest) {
            Ok((item, len)) => {
                self.rest = self.rest.get(len..).unwrap_or_default();
                Some(Ok(item))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// The payload of a SyncAck frame.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct SyncAck {
    /// The requester's number for this sync.
    pub sync_id: u32,
    /// The index of the next frame that is expected: all before it have come.
    pub cumulative: u64,
    /// Bit i: frame `cumulative + 1 + i` has come as well.
    pub bitmap: u64,
    /// The sync is off; nothing of it was covered.
    pub abort: bool,
}

impl SyncAck {
    /// Reads a whole payload.
    ///
    /// # Errors
    /// [`RecordError`] if it is not exactly an acknowledgement of a sync.
    pub fn decode(payload: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(payload);
        let ack = Self {
            sync_id: reader.u32()?,
            cumulative: reader.u64()?,
            bitmap: reader.u64()?,
            abort: reader.bool()?,
        };
        reader.finish()?;
        Ok(ack)
    }

    /// Appends this payload to a frame.
    ///
    /// # Errors
    /// [`NoRoom`]; the frame is as it was.
    pub fn encode(&self, frame: &mut FrameWriter<'_>) -> Result<(), NoRoom> {
        frame.push_with(|out| self.write(out))
    }

    fn write(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.u32(self.sync_id)?;
        out.u64(self.cumulative)?;
        out.u64(self.bitmap)?;
        out.bool(self.abort)
    }
}
