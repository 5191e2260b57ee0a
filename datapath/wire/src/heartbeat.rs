//! The heartbeat of a shard: enough to see that two nodes are equal, or that something is missing.
//!
//! ```text
//!   0 state_digest u64 | 8 vector_digest u64 | 16 wall_ns u64 | 24 last_seq u64
//! ```

use crate::codec::{Reader, Writer};
use crate::{FrameWriter, NoRoom, RecordError};

/// The payload of a Heartbeat frame.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Heartbeat {
    /// Digest of the shard's canonical state.
    pub state_digest: u64,
    /// Digest of the shard's version vector.
    pub vector_digest: u64,
    /// The sender's wall clock, unix time; only to see clocks that disagree.
    pub wall_ns: u64,
    /// The last seq of the sender's actor.
    pub last_seq: u64,
}

impl Heartbeat {
    /// Reads a whole payload.
    ///
    /// # Errors
    /// [`RecordError`] if it is not exactly a heartbeat.
    pub fn decode(payload: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(payload);
        let heartbeat = Self {
            state_digest: reader.u64()?,
            vector_digest: reader.u64()?,
            wall_ns: reader.u64()?,
            last_seq: reader.u64()?,
        };
        reader.finish()?;
        Ok(heartbeat)
    }

    /// Appends this payload to a frame.
    ///
    /// # Errors
    /// [`NoRoom`]; the frame is as it was.
    pub fn encode(&self, frame: &mut FrameWriter<'_>) -> Result<(), NoRoom> {
        frame.push_with(|out| self.write(out))
    }

    fn write(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.u64(self.state_digest)?;
        out.u64(self.vector_digest)?;
        out.u64(self.wall_ns)?;
        out.u64(self.last_seq)
    }
}
