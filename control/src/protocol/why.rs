//! `why`: who made a key what it is.

use serde::{Deserialize, Serialize};

use super::Bytes;

/// Parts of a key that are listed at most, of each kind.
pub const MAX_PARTS: usize = 256;

/// A reply to `why`. Nothing in `kinds`: there is no such key here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The key.
    pub key: Bytes,
    /// Its shard.
    pub shard: u16,
    /// The key of each kind that it has here: one, unless hosts made it with several.
    pub kinds: Vec<WhyKind>,
}

/// A key of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyKind {
    /// `counter`, `set`, …
    pub kind: String,
    /// What stands in it.
    pub standing: Vec<WhyPart>,
    /// The last operation of each actor on it, whatever became of it.
    pub last: Vec<By>,
    /// All is listed: there are not more than [`MAX_PARTS`] parts.
    pub whole: bool,
}

/// An operation: (node, epoch, seq) is its name for ever, within its shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// The node that did it.
    pub node: u16,
    /// The node's epoch, hexadecimal.
    pub epoch: String,
    /// Its number; 0: not known.
    pub seq: u64,
}

/// Something that stands in a key, and who put it there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyPart {
    /// Who. For counters and registers the actor's last operation on the key.
    #[serde(flatten)]
    pub by: By,
    /// What.
    #[serde(flatten)]
    pub did: Did,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "kebab-case")]
pub enum Did {
    /// Added to a counter: the sums of all its adds, as decimal numbers of up to 128 bits.
    Add {
        /// Of the positive ones.
        increments: String,
        /// Of the magnitudes of the negative ones.
        decrements: String,
    },
    /// Set a register.
    Set {
        /// To this.
        value: Bytes,
        /// When, Unix time in nanoseconds, to 65.5 µs.
        unix_ns: u64,
    },
    /// Turned a flag on.
    Enable,
    /// Turned a flag off.
    Disable,
    /// Inserted an element into a set.
    Insert {
        /// Which.
        element: Bytes,
    },
    /// Removed here before it came: it will never show.
    PreRemoved {
        /// The element.
        element: Bytes,
    },
}
