//! Folding: the live epoch of a node asks the members about its dead ones, and tells them what follows.
//!
//! ```text
//!   0 step u8 (0 ask, 1 agree, 2 decide) | 1 round u32 | 5 digest u64 | 13 number u16 | 15 count u8 (0..=32)
//!   per epoch: actor u64, last u64
//! ```
//!
//! Only a question has number, digest and epochs, which ascend; an agreement and a decision name its round.

use std::fmt;

use lattice_crdt::ActorId;

use crate::codec::{Reader, Writer};
use crate::header::MAX_PAYLOAD_BYTES;
use crate::{FrameWriter, NoRoom, RecordError};

/// Most epochs that one question is about.
pub const MAX_EPOCHS_PER_FOLD: usize = 32;
const ENTRY_BYTES: usize = 16;
const HEAD_BYTES: usize = 16;
const _: () = assert!(HEAD_BYTES + MAX_EPOCHS_PER_FOLD * ENTRY_BYTES <= MAX_PAYLOAD_BYTES);

/// What a Fold frame is.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
#[repr(u8)]
pub enum FoldStep {
    /// Do you know exactly this of these epochs, and will you take nothing more of them?
    Ask = 0,
    /// That is so.
    Agree = 1,
    /// All agree: they are folded.
    Decide = 2,
}

/// The payload of a Fold frame that has arrived.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Fold<'a> {
    /// What it is.
    pub step: FoldStep,
    /// The asker's number for this round; never 0.
    pub round: u32,
    /// Of what the asker knows of the epochs' operations, and of those of their node that were folded before.
    pub digest: u64,
    /// Which fold of their node it is, from 1.
    pub number: u16,
    /// The epochs.
    pub epochs: DeadEpochs<'a>,
}

/// Epochs, each with its highest operation.
#[derive(Copy, Clone, Eq, PartialEq)]
pub struct DeadEpochs<'a>(&'a [u8]);

impl<'a> Fold<'a> {
    /// Appends a question to a frame.
    ///
    /// # Errors
    /// [`NoRoom`] also if it is none that [`Fold::decode`] reads; the frame is as it was.
    pub fn encode_question(
        frame: &mut FrameWriter<'_>,
        round: u32,
        digest: u64,
        number: u16,
        epochs: &[(ActorId, u64)],
    ) -> Result<(), NoRoom> {
        let mut before = None;
        let sound = epochs.iter().all(|&epoch| is_next(before.replace(epoch.0), epoch));
        if !sound || epochs.is_empty() || epochs.len() > MAX_EPOCHS_PER_FOLD || number == 0 || round == 0 {
            return Err(NoRoom);
        }
        frame.push_with(|out| {
            write_head(out, FoldStep::Ask, round, digest, number, epochs.len() as u8)?;
            for (actor, last) in epochs {
                out.u64(actor.as_u64())?;
                out.u64(*last)?;
            }
            Ok(())
        })
    }

    /// Appends an agreement or a decision to a frame.
    ///
    /// # Errors
    /// [`NoRoom`] also if `step` is a question, or the round 0; the frame is as it was.
    pub fn encode(frame: &mut FrameWriter<'_>, step: FoldStep, round: u32) -> Result<(), NoRoom> {
        if step == FoldStep::Ask || round == 0 {
            return Err(NoRoom);
        }
        frame.push_with(|out| write_head(out, step, round, 0, 0, 0))
    }

    /// Reads a whole payload.
    ///
    /// # Errors
    /// [`RecordError`] if it is not exactly that.
    pub fn decode(payload: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(payload);
        let step = match reader.u8()? {
            0 => FoldStep::Ask,
            1 => FoldStep::Agree,
            2 => FoldStep::Decide,
            _ => return Err(RecordError::BadFold),
        };
        let (round, digest) = (reader.u32()?, reader.u64()?);
        let number = u16::from_le_bytes([reader.u8()?, reader.u8()?]);
        let count = usize::from(reader.u8()?);
        if count > MAX_EPOCHS_PER_FOLD {
            return Err(RecordError::BadFold);
        }
        let epochs = DeadEpochs(reader.bytes(count * ENTRY_BYTES)?);
        reader.finish()?;
        let mut before = None;
        let ascend = epochs.iter().all(|epoch| is_next(before.replace(epoch.0), epoch));
        let fits = match step {
            FoldStep::Ask => count > 0 && number > 0,
            FoldStep::Agree | FoldStep::Decide => (count, number, digest) == (0, 0, 0),
        };
        if !ascend || !fits || round == 0 {
            return Err(RecordError::BadFold);
        }
        Ok(Self { step, round, digest, number, epochs })
    }
}

/// Whether an epoch may follow the one before it in a question.
fn is_next(before: Option<ActorId>, (actor, last): (ActorId, u64)) -> bool {
    before.is_none_or(|before| before < actor)
        && last > 0
        && actor.epoch() > 0
        && actor.fold_number().is_none()
}

impl<'a> DeadEpochs<'a> {
    /// Each epoch with its highest operation, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (ActorId, u64)> + use<'a> {
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        self.0.chunks_exact(ENTRY_BYTES).map(move |entry| {
            let (actor, last) = entry.split_at(8);
            (ActorId::from_u64(word(actor)), word(last))
        })
    }
}

impl fmt::Debug for DeadEpochs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

fn write_head(
    out: &mut Writer<'_>,
    step: FoldStep,
    round: u32,
    digest: u64,
    number: u16,
    count: u8,
) -> Result<(), NoRoom> {
    out.u8(step as u8)?;
    out.u32(round)?;
    out.u64(digest)?;
    out.bytes(&number.to_le_bytes())?;
    out.u8(count)
}
