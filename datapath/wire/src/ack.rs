//! Acknowledgements: what has been received of one actor, so that the sender can resend the gaps.
//!
//! ```text
//!   0 actor u64 | 8 contiguous u64 | 16 count u8 (0..=32) | per range: gap varint, span varint
//!
//!   gap  = first - (end before it) - 2      the end before the first range is `contiguous`
//!   span = last - first
//! ```
//!
//! Coded as differences, ranges can only be ascending, disjoint and not adjacent.

use std::fmt;

use lattice_crdt::{ActorId, SeqRange};

use crate::codec::{MAX_VARINT64_BYTES, Reader, Writer};
use crate::header::MAX_PAYLOAD_BYTES;
use crate::{FrameWriter, NoRoom, RecordError};

/// Most ranges in one acknowledgement. A receiver with more names the lowest; they are repaired first anyway.
pub const MAX_ACK_RANGES: usize = 32;
const _: () = assert!(17 + MAX_ACK_RANGES * 2 * MAX_VARINT64_BYTES <= MAX_PAYLOAD_BYTES);

/// The payload of an Ack frame.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Ack<'a> {
    /// Whose operations these are.
    pub actor: ActorId,
    /// All of 1..=contiguous has been received.
    pub contiguous: u64,
    /// What has been received beyond that.
    pub ranges: Ranges<'a>,
}

impl<'a> Ack<'a> {
    /// Acknowledges `contiguous` and `ranges`, which are those of a [`lattice_crdt::Clock`]; of more than
    /// [`MAX_ACK_RANGES`] the lowest.
    pub fn new(actor: ActorId, contiguous: u64, ranges: &'a [SeqRange]) -> Self {
        Self { actor, contiguous, ranges: ranges.get(..MAX_ACK_RANGES).unwrap_or(ranges).into() }
    }

    /// Reads a whole payload.
    ///
    /// # Errors
    /// [`RecordError`] if it is not exactly an acknowledgement.
    pub fn decode(payload: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(payload);
        let (actor, contiguous) = (reader.actor()?, reader.u64()?);
        let count = reader.u8()?;
        if usize::from(count) > MAX_ACK_RANGES {
            return Err(RecordError::BadRange);
        }
        let bytes = reader.rest();
        let mut end = contiguous;
        for _ in 0..count {
            end = read_range(&mut reader, end)?.last;
        }
        reader.finish()?;
        Ok(Self { actor, contiguous, ranges: Ranges(Repr::Encoded { count, contiguous, bytes }) })
    }

    /// Appends this payload to a frame.
    ///
    /// # Errors
    /// [`NoRoom`]; the frame is as it was.
    pub fn encode(&self, frame: &mut FrameWriter<'_>) -> Result<(), NoRoom> {
        frame.push_with(|out| self.write(out))
    }

    fn write(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        if self.ranges.len() > MAX_ACK_RANGES {
            return Err(NoRoom);
        }
        out.actor(self.actor)?;
        out.u64(self.contiguous)?;
        out.u8(self.ranges.len() as u8)?;
        let mut end = self.contiguous;
        for range in self.ranges.iter() {
            let gap = range.first.checked_sub(end).and_then(|gap| gap.checked_sub(2)).ok_or(NoRoom)?;
            out.varint(gap)?;
            out.varint(range.last.checked_sub(range.first).ok_or(NoRoom)?)?;
            end = range.last;
        }
        Ok(())
    }
}

fn read_range(reader: &mut Reader<'_>, end: u64) -> Result<SeqRange, RecordError> {
    let (gap, span) = (reader.varint()?, reader.varint()?);
    let nearest = end.checked_add(if zoo!(AckRangesShifted) { 1 } else { 2 });
    let first = nearest.and_then(|nearest| nearest.checked_add(gap)).ok_or(RecordError::BadRange)?;
    let last = first.checked_add(span).ok_or(RecordError::BadRange)?;
    Ok(SeqRange { first, last })
}

/// Ranges: a slice on its way into a frame, which must be ascending and have gaps between; or bytes out of a frame
/// that have been checked.
#[derive(Copy, Clone)]
pub struct Ranges<'a>(Repr<'a>);

#[derive(Copy, Clone)]
enum Repr<'a> {
    Slice(&'a [SeqRange]),
    Encoded { count: u8, contiguous: u64, bytes: &'a [u8] },
}

impl<'a> Ranges<'a> {
    /// How many ranges.
    pub fn len(&self) -> usize {
        match self.0 {
            Repr::Slice(ranges) => ranges.len(),
            Repr::Encoded { count, .. } => usize::from(count),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = SeqRange> + 'a {
        let (slice, mut reader, mut end) = match self.0 {
            Repr::Slice(ranges) => (ranges, Reader::new(&[]), 0),
            Repr::Encoded { contiguous, bytes, .. } => (&[][..], Reader::new(bytes), contiguous),
        };
        // The bytes have been read once without an error, so they end where the ranges end.
        let decoded = std::iter::from_fn(move || {
            let range = read_range(&mut reader, end).ok()?;
            end = range.last;
            Some(range)
        });
        slice.iter().copied().chain(decoded)
    }
}

impl<'a> From<&'a [SeqRange]> for Ranges<'a> {
    fn from(ranges: &'a [SeqRange]) -> Self {
        Self(Repr::Slice(ranges))
    }
}

impl PartialEq for Ranges<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Ranges<'_> {}

impl fmt::Debug for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
