//! What can be wrong with bytes that arrive, and with a frame that is full.

use thiserror::Error;

/// Why a frame was refused as a whole. Nothing of it was used.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Error)]
pub enum WireError {
    /// Shorter than a header and a tag.
    #[error("the frame is shorter than its header and tag")]
    TooShort,
    /// Longer than [`crate::MAX_FRAME_BYTES`].
    #[error("the frame is longer than any frame may be")]
    TooLong,
    /// It does not start with [`crate::MAGIC`].
    #[error("the frame does not start with the magic bytes")]
    BadMagic,
    /// Another version of the format.
    #[error("the frame has format version {0}, which this version does not speak")]
    BadVersion(u8),
    /// A type that this version does not know.
    #[error("the frame has the unknown type {0}")]
    BadType(u8),
    /// It belongs to another cluster.
    #[error("the frame belongs to another cluster")]
    WrongCluster,
    /// The payload length does not fit the frame's length.
    #[error("the frame's payload length contradicts its length")]
    BadLength,
    /// A byte that must be zero is not.
    #[error("a reserved byte of the frame's header is not zero")]
    BadReserved,
    /// It is sealed, and frames of this sender are not.
    #[error("the frame is sealed, and nothing here opens it")]
    Sealed,
    /// lo + count is beyond the last sequence number.
    #[error("the frame's interval of sequence numbers overflows")]
    BadInterval,
    /// The tag does not fit header and payload: damaged on the way.
    #[error("the frame's tag does not match its bytes")]
    BadTag,
}

impl WireError {
    /// The name of the drop counter for this reason; it never changes.
    pub const fn reason(self) -> &'static str {
        match self {
            WireError::TooShort => "frame_too_short",
            WireError::TooLong => "frame_too_long",
            WireError::BadMagic => "frame_bad_magic",
            WireError::BadVersion(_) => "frame_bad_version",
            WireError::BadType(_) => "frame_bad_type",
            WireError::WrongCluster => "frame_wrong_cluster",
            WireError::BadLength => "frame_bad_length",
            WireError::BadReserved => "frame_bad_reserved",
            WireError::Sealed => "frame_sealed",
            WireError::BadInterval => "frame_bad_interval",
            WireError::BadTag => "frame_bad_tag",
        }
    }
}

/// Why a record, an item or another part of a payload was refused. Nothing of it was used; since the frame's tag was
/// right, its sender wrote it so.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Error)]
pub enum RecordError {
    /// It ends before it is whole.
    #[error("the payload ends in the middle of something")]
    Truncated,
    /// Bytes are left after what the payload should hold.
    #[error("the payload has bytes after its end")]
    TrailingBytes,
    /// A varint that is not minimal, or too large for its field.
    #[error("a varint is not minimal or too large")]
    BadVarint,
    /// No kind of this version.
    #[error("{0} is no kind of object that this version knows")]
    BadKind(u8),
    /// No operation of this version, or one that its kind does not have.
    #[error("operation {op} does not fit kind {kind}")]
    BadOp {
        /// The number of the kind.
        kind: u8,
        /// The number of the operation.
        op: u8,
    },
    /// No item of a state sync that this version knows.
    #[error("{0} is no sync item that this version knows")]
    BadItem(u8),
    /// An empty key, or one over [`lattice_crdt::limits::MAX_KEY_BYTES`].
    #[error("a key is empty or too long")]
    BadKey,
    /// An alias that is 0, or over [`crate::MAX_ALIAS`].
    #[error("an alias is zero or too high")]
    BadAlias,
    /// An element over its limit, or one that is no side of a flag.
    #[error("an element is too long, or no side of a flag")]
    BadElement,
    /// A register value over [`lattice_crdt::limits::MAX_REGISTER_BYTES`].
    #[error("a register value is too long")]
    BadValue,
    /// Too many dots, one with seq 0, or one with its actor spelled out although it is the frame's.
    #[error("a list of dots is too long or has a malformed dot")]
    BadDots,
    /// An interval that is empty, starts at 0, overflows, or too many of them.
    #[error("an interval of sequence numbers is malformed")]
    BadRange,
    /// A part of a version vector that says part >= parts or has too many entries.
    #[error("a part of a version vector is malformed")]
    BadPart,
    /// A truth value that is neither 0 nor 1.
    #[error("a truth value is neither 0 nor 1")]
    BadBool,
    /// Forgotten nodes that do not ascend, are too many, or of generation 0.
    #[error("a list of forgotten nodes is malformed")]
    BadForgotten,
    /// A question about dead epochs that says nothing, too much, or is out of order.
    #[error("a question about dead epochs, or an answer, is malformed")]
    BadFold,
}

impl RecordError {
    /// The name of the drop counter for this reason; it never changes.
    pub const fn reason(self) -> &'static str {
        match self {
            RecordError::Truncated => "record_truncated",
            RecordError::TrailingBytes => "record_trailing_bytes",
            RecordError::BadVarint => "record_bad_varint",
            RecordError::BadKind(_) => "record_bad_kind",
            RecordError::BadOp { .. } => "record_bad_op",
            RecordError::BadItem(_) => "record_bad_item",
            RecordError::BadKey => "record_bad_key",
            RecordError::BadAlias => "record_bad_alias",
            RecordError::BadElement => "record_bad_element",
            RecordError::BadValue => "record_bad_value",
            RecordError::BadDots => "record_bad_dots",
            RecordError::BadRange => "record_bad_range",
            RecordError::BadPart => "record_bad_part",
            RecordError::BadForgotten => "record_bad_forgotten",
            RecordError::BadFold => "record_bad_fold",
            RecordError::BadBool => "record_bad_bool",
        }
    }
}

/// What was to be written does not fit: not into the room that is left, or (a key too long, an operation that its kind
/// does not have) into the format at all. The frame is as it was; a bare output buffer holds garbage.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Error)]
#[error("does not fit into the room that is left, or into the format's limits")]
pub struct NoRoom;
