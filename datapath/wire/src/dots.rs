//! Lists of dots.
//!
//! ```text
//!   count u8 (0..=48), then per dot
//!     in a record:  0, seq varint                      the actor is the frame's own: usual, and 8 bytes shorter
//!                   1, actor u64, seq varint           another actor
//!     in a sync:    actor u64, seq varint              a walk passes on everybody's dots
//! ```

use std::fmt;

use lattice_crdt::limits::MAX_DOTS_PER_RECORD;
use lattice_crdt::{ActorId, Dot};

use crate::codec::{MAX_VARINT64_BYTES, Reader, Writer};
use crate::{NoRoom, RecordError};

const OWN: u8 = 0;
const OTHER: u8 = 1;

/// Longest list of dots in a record.
pub(crate) const MAX_RECORD_DOTS_BYTES: usize = 1 + MAX_DOTS_PER_RECORD * (1 + 8 + MAX_VARINT64_BYTES);
/// Longest list of dots in a sync.
pub(crate) const MAX_SYNC_DOTS_BYTES: usize = 1 + MAX_DOTS_PER_RECORD * (8 + MAX_VARINT64_BYTES);
const _: () = assert!(MAX_DOTS_PER_RECORD <= u8::MAX as usize);

/// A list of dots: a slice, on its way into a frame; or bytes out of a frame that have been checked. No order is
/// implied.
#[derive(Copy, Clone)]
pub struct Dots<'a>(Repr<'a>);

#[derive(Copy, Clone)]
enum Repr<'a> {
    Slice(&'a [Dot]),
    Encoded { count: u8, own: Option<ActorId>, bytes: &'a [u8] },
}

impl<'a> Dots<'a> {
    /// No dots.
    pub const EMPTY: Dots<'static> = Dots(Repr::Slice(&[]));

    /// How many dots.
    pub fn len(&self) -> usize {
        match self.0 {
            Repr::Slice(dots) => dots.len(),
            Repr::Encoded { count, .. } => usize::from(count),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The dots, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = Dot> + 'a {
        let (slice, mut reader, own) = match self.0 {
            Repr::Slice(dots) => (dots, Reader::new(&[]), None),
            Repr::Encoded { own, bytes, .. } => (&[][..], Reader::new(bytes), own),
        };
        // The bytes have been read once without an error, so they end where the dots end.
        slice.iter().copied().chain(std::iter::from_fn(move || read_dot(&mut reader, own).ok()))
    }

    /// `own` is the actor whose id is left out, if any is.
    pub(crate) fn read(reader: &mut Reader<'a>, own: Option<ActorId>) -> Result<Self, RecordError> {
        let count = reader.u8()?;
        if usize::from(count) > MAX_DOTS_PER_RECORD {
            return Err(RecordError::BadDots);
        }
        let start = reader.rest();
        for _ in 0..count {
            read_dot(reader, own)?;
        }
        let bytes = start.get(..start.len() - reader.rest().len()).ok_or(RecordError::Truncated)?;
        Ok(Self(Repr::Encoded { count, own, bytes }))
    }

    pub(crate) fn write(&self, own: Option<ActorId>, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        if self.len() > MAX_DOTS_PER_RECORD {
            return Err(NoRoom);
        }
        out.u8(self.len() as u8)?;
        self.iter().try_for_each(|dot| write_dot(dot, own, out))
    }
}

/// One dot. Without `own`, its actor is always spelled out.
pub(crate) fn read_dot(reader: &mut Reader<'_>, own: Option<ActorId>) -> Result<Dot, RecordError> {
    let actor = match own {
        None => reader.actor()?,
        Some(own) => match reader.u8()? {
            OWN => own,
            OTHER => {
                let actor = reader.actor()?;
                if actor == own {
                    return Err(RecordError::BadDots);
                }
                actor
            }
            _ => return Err(RecordError::BadDots),
        },
    };
    match reader.varint()? {
        0 => Err(RecordError::BadDots),
        seq => Ok(Dot::new(actor, seq)),
    }
}

pub(crate) fn write_dot(dot: Dot, own: Option<ActorId>, out: &mut Writer<'_>) -> Result<(), NoRoom> {
    match own {
        None => out.actor(dot.actor)?,
        Some(own) if own == dot.actor => out.u8(OWN)?,
        Some(_) => {
            out.u8(OTHER)?;
            out.actor(dot.actor)?;
        }
    }
    out.seq(dot.seq)
}

impl<'a> From<&'a [Dot]> for Dots<'a> {
    fn from(dots: &'a [Dot]) -> Self {
        Self(Repr::Slice(dots))
    }
}

impl PartialEq for Dots<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Dots<'_> {}

impl fmt::Debug for Dots<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
