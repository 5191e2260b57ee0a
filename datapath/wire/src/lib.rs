//! Latticed frames and delta records: one encoder, one decoder.
//!
//! ```text
//!   frame    ┌───────────┬──────────────────────────────┬──────────┐
//!            │ header 64 │ payload 0..=1372             │ tag 16   │     at most 1452 bytes: never fragmented
//!            └───────────┴──────────────────────────────┴──────────┘
//!   payload  Data         records, seq = lo + 1, lo + 2 ... (delta.rs; as the log has them: record.rs)
//!            Ack          contiguous and ranges of one actor (ack.rs)
//!            Hello        a part of a version vector (vector.rs)
//!            Heartbeat    digests and the clock (heartbeat.rs)
//!            Vector       a part of a version vector
//!            SyncRequest  sync id, a part of a version vector
//!            SyncData     sync id, items of a state walk (sync.rs)
//!            SyncAck      what came of a state walk (sync.rs)
//!            Stable       a part of a version vector
//!            Forget       nodes that are no members any more (forget.rs)
//! ```
//!
//! Everything is little-endian. Every value has exactly one encoding: varints are minimal, reserved bytes are zero, an
//! actor that can be left out is left out. So what decodes re-encodes to the same bytes, and equal states make equal
//! frames.
//!
//! Bytes that arrive are hostile until decoded. Decoding borrows, never allocates, never panics, reads nothing beyond
//! what it was given, and checks every limit of [`lattice_crdt::limits`], so that what it returns can be merged
//! without another look. What can go wrong is a [`WireError`] (the frame) or a [`RecordError`] (something in its
//! payload); both carry a stable name for a drop counter.
//!
//! The tag of a frame that is not sealed is a checksum: it detects damage, and keeps no attacker out (frame.rs). Sealing is
//! the crate `lattice-seal`'s.

#![forbid(unsafe_code)]

#[macro_use]
mod zoo;

mod ack;
mod codec;
mod delta;
mod dots;
mod error;
mod fold;
mod forget;
mod frame;
mod header;
mod heartbeat;
mod record;
mod sync;
mod vector;

pub use ack::{Ack, MAX_ACK_RANGES, Ranges};
pub use delta::{
    AliasedCounter, Delta, Deltas, MAX_ALIAS, Name, decode_aliased_counter, decode_delta, encode_delta,
};
pub use dots::Dots;
pub use error::{NoRoom, RecordError, WireError};
pub use fold::{DeadEpochs, Fold, FoldStep, MAX_EPOCHS_PER_FOLD};
pub use forget::{Forget, ForgottenNodes, MAX_FORGOTTEN};
pub use frame::{Envelope, Frame, FrameWriter, decode_frame, split_frame, write_checksum};
pub use header::{
    ANY_NODE, FrameType, HEADER_BYTES, Header, MAGIC, MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, SealMark,
    TAG_BYTES, VERSION, offsets,
};
pub use heartbeat::Heartbeat;
pub use record::{MAX_RECORD_BYTES, Op, Record, decode_record, encode_record};
pub use sync::{MAX_ITEM_BYTES, SyncAck, SyncData, SyncItem, SyncItems, decode_item, encode_item};
pub use vector::{MAX_VECTOR_ENTRIES_PER_PART, SyncRequest, VectorPart};
