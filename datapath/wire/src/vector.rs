//! Version vectors on the wire, in parts that fit a frame: Hello, Vector, Stable, SyncRequest.
//!
//! ```text
//!   SyncRequest only: sync_id u32
//!   0 part u8 | 1 parts u8 | 2 count u8 (0..=56) | per entry: actor u64, first u64, last u64
//! ```
//!
//! An entry says that all of first..=last has been received; an actor's contiguous part is the entry that begins at one.
//! Stable and SyncRequest name only those: they are all that a peer may filter by. Vector names ranges too: what two
//! nodes have of an epoch that is over may differ in nothing else. So does Hello of the receiver's own operations, which
//! then knows the highest that anybody has. A part stands for itself, in any order and any number
//! of times; `parts` says when all have come.

use std::fmt;

use lattice_crdt::limits::MAX_ACTORS;
use lattice_crdt::{ActorId, SeqRange};

use crate::codec::{Reader, Writer};
use crate::header::MAX_PAYLOAD_BYTES;
use crate::{FrameWriter, NoRoom, RecordError};

const ENTRY_BYTES: usize = 24;
const PART_HEADER_BYTES: usize = 3;
const SYNC_ID_BYTES: usize = 4;

/// Most entries in one part, be it of a Hello, a Vector or a SyncRequest.
pub const MAX_VECTOR_ENTRIES_PER_PART: usize =
    (MAX_PAYLOAD_BYTES - SYNC_ID_BYTES - PART_HEADER_BYTES) / ENTRY_BYTES;
const _: () = assert!(MAX_VECTOR_ENTRIES_PER_PART <= u8::MAX as usize);
const _: () = assert!(MAX_ACTORS.div_ceil(MAX_VECTOR_ENTRIES_PER_PART) <= u8::MAX as usize);

/// The payload of a Hello or Vector frame that has arrived: a part of what its sender has.
#[derive(Copy, Clone, Eq, PartialEq)]
pub struct VectorPart<'a> {
    /// Which part this is, from 0.
    pub part: u8,
    /// How many parts there are, from 1.
    pub parts: u8,
    /// A whole number of entries.
    entries: &'a [u8],
}

impl<'a> VectorPart<'a> {
    /// Appends a part of a vector, as the payload of a Hello or Vector frame.
    ///
    /// # Errors
    /// [`NoRoom`] also if there are more than [`MAX_VECTOR_ENTRIES_PER_PART`] entries, or an empty one; the frame is as it was.
    pub fn encode(
        frame: &mut FrameWriter<'_>,
        part: u8,
        parts: u8,
        entries: impl IntoIterator<Item = (ActorId, SeqRange)>,
    ) -> Result<(), NoRoom> {
        frame.push_with(|out| write_part(out, part, parts, entries))
    }

    /// Reads a whole payload.
    ///
    /// # Errors
    /// [`RecordError`] if it is not exactly a part of a vector.
    pub fn decode(payload: &'a [u8]) -> Result<Self, RecordError> {
        Self::read(Reader::new(payload))
    }

    /// The actors with what is known of each, in the order in which they were written.
    pub fn entries(&self) -> impl Iterator<Item = (ActorId, SeqRange)> + 'a {
        let mut reader = Reader::new(self.entries);
        std::iter::from_fn(move || read_entry(&mut reader).ok())
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.entries.len() / ENTRY_BYTES
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reads to the end: a part is always the last thing in a payload.
    fn read(mut reader: Reader<'a>) -> Result<Self, RecordError> {
        let (part, parts, count) = (reader.u8()?, reader.u8()?, usize::from(reader.u8()?));
        if part >= parts || count > MAX_VECTOR_ENTRIES_PER_PART {
            return Err(RecordError::BadPart);
        }
        let entries = reader.bytes(count * ENTRY_BYTES)?;
        reader.finish()?;
        let mut check = Reader::new(entries);
        (0..count).try_for_each(|_| read_entry(&mut check).map(drop))?;
        Ok(Self { part, parts, entries })
    }
}

fn read_entry(reader: &mut Reader<'_>) -> Result<(ActorId, SeqRange), RecordError> {
    let (actor, first, last) = (reader.actor()?, reader.u64()?, reader.u64()?);
    if first == 0 || first > last {
        return Err(RecordError::BadRange);
    }
    Ok((actor, SeqRange { first, last }))
}

impl fmt::Debug for VectorPart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VectorPart {}/{} ", self.part, self.parts)?;
        f.debug_map().entries(self.entries()).finish()
    }
}

fn write_part(
    out: &mut Writer<'_>,
    part: u8,
    parts: u8,
    entries: impl IntoIterator<Item = (ActorId, SeqRange)>,
) -> Result<(), NoRoom> {
    if part >= parts {
        return Err(NoRoom);
    }
    out.u8(part)?;
    out.u8(parts)?;
    let count_at = out.len();
    out.u8(0)?;
    let mut count = 0;
    for (actor, SeqRange { first, last }) in entries {
        if count == MAX_VECTOR_ENTRIES_PER_PART || first == 0 || first > last {
            return Err(NoRoom);
        }
        out.actor(actor)?;
        out.u64(first)?;
        out.u64(last)?;
        count += 1;
    }
    // At most MAX_VECTOR_ENTRIES_PER_PART, which is asserted to fit a u8.
    out.patch_u8(count_at, count as u8);
    Ok(())
}

/// The payload of a SyncRequest frame that has arrived: "send me what this vector does not have".
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct SyncRequest<'a> {
    /// The requester's number for this sync; all frames of it carry it.
    pub sync_id: u32,
    /// What the requester has, or a part of it.
    pub vector: VectorPart<'a>,
}

impl<'a> SyncRequest<'a> {
    /// Appends a part of a request.
    ///
    /// # Errors
    /// As [`VectorPart::encode`].
    pub fn encode(
        frame: &mut FrameWriter<'_>,
        sync_id: u32,
        part: u8,
        parts: u8,
        entries: impl IntoIterator<Item = (ActorId, SeqRange)>,
    ) -> Result<(), NoRoom> {
        frame.push_with(|out| {
            out.u32(sync_id)?;
            write_part(out, part, parts, entries)
        })
    }

    /// Reads a whole payload.
    ///
    /// # Errors
    /// [`RecordError`] if it is not exactly a request.
    pub fn decode(payload: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(payload);
        Ok(Self { sync_id: reader.u32()?, vector: VectorPart::read(reader)? })
    }
}
