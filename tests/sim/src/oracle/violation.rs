//! What can be wrong, in the field's words.

use std::fmt;

use lattice_crdt::{Dot, Kind};

/// The sort of a [`Violation`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Breach {
    /// A dot was given to two operations.
    DotReused,
    /// A log left out a seq: every vector would have a gap there for ever.
    DotSkipped,
    /// A record that no engine may write: not decodable, a counter that goes back, a stamp that does, a removal of a
    /// dot that is of another key or element.
    BadRecord,
    /// A record removes or supersedes a dot that no log ever had.
    UnknownDotRemoved,
    /// A vector covers a dot that no log ever had.
    UnknownDotCovered,
    /// A vector no longer covers what it covered, and the host did not restart.
    VectorWentBack,
    /// An operation that the vector covers has no effect.
    Lost,
    /// An effect of an operation that the vector does not cover, or of none that ever was.
    Phantom,
    /// An operation has its effect twice.
    CountedTwice,
    /// A sum that no set of operations explains.
    WrongSum,
    /// An element, or a side of a flag, is there whose adds are all removed.
    Resurrected,
    /// A register shows a value that an operation within the vector has replaced.
    StaleRegister,
    /// A reader of a set meets one element twice.
    ListedTwice,
    /// What is shown is not of the key's kind: bytes for a counter, 2 for a flag.
    WrongShape,
}

/// A host, or a log, is not as the specification says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What sort of violation.
    pub breach: Breach,
    /// The key, if it is about one.
    pub key: Option<(Kind, Box<[u8]>)>,
    /// The operations that it is about.
    pub dots: Vec<Dot>,
    /// What the specification says.
    pub expected: String,
    /// What is there instead.
    pub shown: String,
}

/// `Ok`, or what is wrong. Boxed: it is large, and rare.
pub type Verdict = Result<(), Box<Violation>>;

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.breach)?;
        if let Some((kind, key)) = &self.key {
            write!(f, " at {kind} `{}`", key.escape_ascii())?;
        }
        write!(f, ": expected {}; shown {}", self.expected, self.shown)?;
        for (i, dot) in self.dots.iter().enumerate() {
            write!(f, "{}{dot}", if i == 0 { "; dots " } else { ", " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}
