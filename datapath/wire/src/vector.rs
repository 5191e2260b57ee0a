//! Version vectors on the wire, in parts that fit a frame: Hello, Vector, SyncRequest.
//!
//! ```text
//!   SyncRequest only: sync_id u32
//!   0 part u8 | 1 parts u8 | 2 count u8 (0..=85) | per entry: actor u64, contiguous u64
//! ```
//!
//! Only contiguous parts are sent: that is what a peer may filter by. A part stands for itself, in any order and any
//! number of times; `parts` says when all have come.

use std::fmt;

use lattice_crdt::ActorId;
use lattice_crdt::limits::MAX_ACTORS;

use crate::codec::{Reader, Writer};
use crate::header::MAX_PAYLOAD_BYTES;
use crate::{NoRoom, RecordError};

const ENTRY_BYTES: usize = 16;
const PART_HEADER_BYTES: usize = 3;

/// Most entries in one part; also of a SyncRequest, which has four bytes more.
pub const MAX_VECTOR_ENTRIES_PER_PART: usize = (MAX_PAYLOAD_BYTES - 4 - PART_HEADER_BYTES) / ENTRY_BYTES;
const _: () = assert!(MAX_VECTOR_ENTRIES_PER_PART <= u8::MAX as usize);
const _: () = assert!(MAX_ACTORS.div_ceil(MAX_VECTOR_ENTRIES_PER_PART) <= u8::MAX as usize);

/// The payload of a Hello or Vector frame.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct VectorPart<'a> {
    /// Which part this is, from 0.
    pub part: u8,
    /// How many parts there are, from 1.
    pub parts: u8,
    /// Actors with their contiguous seqs.
    pub entries: Entries<'a>,
}

impl<'a> VectorPart<'a> {
    /// Reads a whole payload.
    ///
    /// # Errors
    /// [`RecordError`] if it is not exactly a part of a vector.
    pub fn decode(payload: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(payload);
        Self::read(&mut reader)
    }

    /// Reads to the end: a part is always the last thing in a payload.
    fn read(reader: &mut Reader<'a>) -> Result<Self, RecordError> {
        let (part, parts, count) = (reader.u8()?, reader.u8()?, usize::from(reader.u8()?));
        if part >= parts || count > MAX_VECTOR_ENTRIES_PER_PART {
            return Err(RecordError::BadPart);
        }
        let bytes = reader.bytes(count * ENTRY_BYTES)?;
        reader.finish()?;
        Ok(Self { part, parts, entries: Entries(Repr::Encoded(bytes)) })
    }

    pub(crate) fn write(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        if self.part >= self.parts || self.entries.len() > MAX_VECTOR_ENTRIES_PER_PART {
            return Err(NoRoom);
        }
        out.u8(self.part)?;
        out.u8(self.parts)?;
        out.u8(self.entries.len() as u8)?;
        self.entries.iter().try_for_each(|(actor, contiguous)| {
            out.actor(actor)?;
            out.u64(contiguous)
        })
    }
}

/// The payload of a SyncRequest frame: "send me what this vector does not have".
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct SyncRequest<'a> {
    /// The requester's number for this sync; all frames of it carry it.
    pub sync_id: u32,
    /// What the requester has.
    pub vector: VectorPart<'a>,
}

impl<'a> SyncRequest<'a> {
    /// Reads a whole payload.
    ///
    /// # Errors
    /// [`RecordError`] if it is not exactly a request.
    pub fn decode(payload: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(payload);
        Ok(Self { sync_id: reader.u32()?, vector: VectorPart::read(&mut reader)? })
    }

    pub(crate) fn write(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.u32(self.sync_id)?;
        self.vector.write(out)
    }
}

/// Entries of a vector: a slice on its way into a frame, or bytes out of a frame that have been checked.
#[derive(Copy, Clone)]
pub struct Entries<'a>(Repr<'a>);

#[derive(Copy, Clone)]
enum Repr<'a> {
    Slice(&'a [(ActorId, u64)]),
    Encoded(&'a [u8]),
}

impl<'a> Entries<'a> {
    /// How many entries.
    pub fn len(&self) -> usize {
        match self.0 {
            Repr::Slice(entries) => entries.len(),
            Repr::Encoded(bytes) => bytes.len() / ENTRY_BYTES,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = (ActorId, u64)> + 'a {
        let (slice, mut reader) = match self.0 {
            Repr::Slice(entries) => (entries, Reader::new(&[])),
            Repr::Encoded(bytes) => (&[][..], Reader::new(bytes)),
        };
        let decoded = std::iter::from_fn(move || Some((reader.actor().ok()?, reader.u64().ok()?)));
        slice.iter().copied().chain(decoded)
    }
}

impl<'a> From<&'a [(ActorId, u64)]> for Entries<'a> {
    fn from(entries: &'a [(ActorId, u64)]) -> Self {
        Self(Repr::Slice(entries))
    }
}

impl PartialEq for Entries<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Entries<'_> {}

impl fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
