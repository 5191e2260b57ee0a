//! Forgotten nodes: which are no members any more, and what the members know of their operations.
//!
//! ```text
//!   0 answers u8 (0 asks, 1 answers) | 1 round u32 | 5 digest u64 | 13 count u16 (0..=256) | per node: node u16, generation u8
//! ```
//!
//! Nodes ascend. A node's generation says how often it was forgotten: epochs of a lower generation are over for good.

use std::fmt;

use crate::codec::{Reader, Writer};
use crate::header::MAX_PAYLOAD_BYTES;
use crate::{FrameWriter, NoRoom, RecordError};

/// Most nodes that a cluster remembers as forgotten.
pub const MAX_FORGOTTEN: usize = 256;
const ENTRY_BYTES: usize = 3;
const HEAD_BYTES: usize = 15;
const _: () = assert!(HEAD_BYTES + MAX_FORGOTTEN * ENTRY_BYTES <= MAX_PAYLOAD_BYTES);

/// The payload of a Forget frame that has arrived.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Forget<'a> {
    /// It answers a question; else it is one.
    pub answers: bool,
    /// The asker's number for this round of questions; 0 where only the nodes are to be told.
    pub round: u32,
    /// Of what the sender knows of the forgotten epochs' operations.
    pub digest: u64,
    /// All nodes that the sender knows to be forgotten.
    pub nodes: ForgottenNodes<'a>,
}

/// Forgotten nodes with their generations.
#[derive(Copy, Clone, Eq, PartialEq)]
pub struct ForgottenNodes<'a>(&'a [u8]);

impl<'a> Forget<'a> {
    /// Appends such a payload to a frame.
    ///
    /// # Errors
    /// [`NoRoom`] also if the nodes do not ascend, are too many, or of generation 0; the frame is as it was.
    pub fn encode(
        frame: &mut FrameWriter<'_>,
        answers: bool,
        round: u32,
        digest: u64,
        nodes: impl IntoIterator<Item = (u16, u8)>,
    ) -> Result<(), NoRoom> {
        frame.push_with(|out| write(out, answers, round, digest, nodes))
    }

    /// Reads a whole payload.
    ///
    /// # Errors
    /// [`RecordError`] if it is not exactly that.
    pub fn decode(payload: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(payload);
        let (answers, round, digest) = (reader.bool()?, reader.u32()?, reader.u64()?);
        let count = usize::from(u16::from_le_bytes([reader.u8()?, reader.u8()?]));
        if count > MAX_FORGOTTEN {
            return Err(RecordError::BadForgotten);
        }
        let nodes = ForgottenNodes(reader.bytes(count * ENTRY_BYTES)?);
        reader.finish()?;
        let mut before = None;
        for (node, generation) in nodes.iter() {
            if generation == 0 || before.is_some_and(|before| before >= node) {
                return Err(RecordError::BadForgotten);
            }
            before = Some(node);
        }
        Ok(Self { answers, round, digest, nodes })
    }
}

impl<'a> ForgottenNodes<'a> {
    /// Each node with its generation, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u8)> + 'a {
        self.0.chunks_exact(ENTRY_BYTES).map(|entry| (u16::from_le_bytes([entry[0], entry[1]]), entry[2]))
    }
}

impl fmt::Debug for ForgottenNodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

fn write(
    out: &mut Writer<'_>,
    answers: bool,
    round: u32,
    digest: u64,
    nodes: impl IntoIterator<Item = (u16, u8)>,
) -> Result<(), NoRoom> {
    out.bool(answers)?;
    out.u32(round)?;
    out.u64(digest)?;
    let count_at = out.len();
    out.bytes(&[0; 2])?;
    let (mut count, mut before) = (0u16, None);
    for (node, generation) in nodes {
        if usize::from(count) == MAX_FORGOTTEN
            || generation == 0
            || before.is_some_and(|before| before >= node)
        {
            return Err(NoRoom);
        }
        out.bytes(&node.to_le_bytes())?;
        out.u8(generation)?;
        (count, before) = (count + 1, Some(node));
    }
    let [low, high] = count.to_le_bytes();
    out.patch_u8(count_at, low);
    out.patch_u8(count_at + 1, high);
    Ok(())
}
