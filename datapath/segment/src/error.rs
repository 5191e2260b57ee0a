//! Typed errors: what happened, and what it did to the state.

use std::io;

/// The segment has no room for this publication. What was published before is unchanged and readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the segment has no room for it; the value published before is unchanged")]
pub struct Full;

/// The handle does not name a live cell of this segment: look the key up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the handle does not name a live cell of this segment")]
pub struct Stale;

/// Why a read gave no value. Nothing was changed; an output buffer is left empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The handle does not name a live cell of the kind that was asked for: look the key up again.
    #[error("the handle does not name a live cell of that kind")]
    Stale,
    /// The value changed under every one of the bounded attempts: try again.
    #[error("the value changed under every attempt to read it")]
    Busy,
    /// The segment's bytes contradict themselves: the file is damaged or hostile.
    #[error("the segment is damaged")]
    Corrupt,
}

impl From<Stale> for ReadError {
    fn from(_: Stale) -> Self {
        ReadError::Stale
    }
}

/// Why a segment could not be created. No file is left behind; a predecessor may already be marked CLOSED.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// A setting is out of range.
    #[error("segment setting `{setting}` = {value} is out of range: {allowed}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// What was given.
        value: u64,
        /// What would be right.
        allowed: &'static str,
    },
    /// A text is too long for its field, or contains a zero byte.
    #[error("segment setting `{setting}` must be at most {max_bytes} bytes without a zero byte")]
    Text {
        /// Name of the setting.
        setting: &'static str,
        /// Longest allowed, in bytes.
        max_bytes: usize,
    },
    /// The operating system refused a step.
    #[error("{step} {path}: {source}")]
    Io {
        /// What was attempted.
        step: &'static str,
        /// On which path.
        path: String,
        /// Why it was refused.
        source: io::Error,
    },
}

/// Why a file is not accepted as a segment. Nothing stays mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The operating system refused a step.
    #[error("cannot {step} the segment: {source}")]
    Io {
        /// What was attempted.
        step: &'static str,
        /// Why it was refused.
        source: io::Error,
    },
    /// The path is a directory, pipe or device.
    #[error("not a regular file")]
    NotRegular,
    /// The file is shorter than its header, or than the header says.
    #[error("the file has {actual_bytes} bytes, {needed_bytes} are needed")]
    TooShort {
        /// Length of the file.
        actual_bytes: u64,
        /// Length that the header needs or promises.
        needed_bytes: u64,
    },
    /// The file does not begin with the magic number.
    #[error("not a Latticed segment")]
    BadMagic,
    /// The layout's major version is not the one that this reader knows.
    #[error("segment layout version {major}.{minor} is not supported")]
    UnsupportedVersion {
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
    },
    /// A header field is out of range.
    #[error("header field `{field}` = {value:#x} is out of range")]
    BadHeader {
        /// Name of the field.
        field: &'static str,
        /// What was found.
        value: u64,
    },
    /// A section of the table is missing, doubled, misaligned, out of bounds, overlapping or of the wrong size.
    #[error("section {id}: {problem}")]
    BadSection {
        /// Identifier of the section.
        id: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
}
