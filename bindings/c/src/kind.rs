//! Kinds and limits, with the numbers of the segment's ABI.

use lattice_client::Kind;

/// The kind of a key: part of its identity.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum latticed_kind {
    /// A kind that this version of the library does not know.
    LATTICED_KIND_OTHER = 0,
    /// A sum that every node may add to and subtract from.
    LATTICED_KIND_COUNTER = 1,
    /// A switch; concurrent enable and disable leave it on.
    LATTICED_KIND_FLAG_ENABLE_WINS = 2,
    /// A switch; concurrent enable and disable leave it off.
    LATTICED_KIND_FLAG_DISABLE_WINS = 3,
    /// The bytes of the last writer.
    LATTICED_KIND_REGISTER = 4,
    /// A set; concurrent insert and remove of one element leave it in.
    LATTICED_KIND_SET = 5,
}

impl From<Kind> for latticed_kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Counter => latticed_kind::LATTICED_KIND_COUNTER,
            Kind::FlagEnableWins => latticed_kind::LATTICED_KIND_FLAG_ENABLE_WINS,
            Kind::FlagDisableWins => latticed_kind::LATTICED_KIND_FLAG_DISABLE_WINS,
            Kind::Register => latticed_kind::LATTICED_KIND_REGISTER,
            Kind::Set => latticed_kind::LATTICED_KIND_SET,
            _ => latticed_kind::LATTICED_KIND_OTHER,
        }
    }
}

/// A key has at most so many bytes, and at least one.
pub const LATTICED_MAX_KEY_BYTES: usize = 128;
/// A register has at most so many bytes.
pub const LATTICED_MAX_REGISTER_BYTES: usize = 1024;
/// An element of a set has at most so many bytes.
pub const LATTICED_MAX_ELEMENT_BYTES: usize = 256;
