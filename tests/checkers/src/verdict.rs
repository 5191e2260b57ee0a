//! What a checker says.

use std::fmt;

/// Most problems that are printed.
const MAX_PRINTED: usize = 20;

/// Something that a history must not have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// It can't be a history: of two operations at a time of one process, of time that goes back, of an element that
    /// was added twice, of a grow-only counter that shrinks.
    BadHistory(String),
    /// There was nothing to be seen: no acknowledged add, or no read.
    ProvesNothing,
    /// An operation did not succeed, which total availability demands.
    Unavailable {
        /// The node that was asked.
        node: u32,
        /// When, nanoseconds.
        invoked_ns: u64,
    },
    /// A node was not read at the end.
    NoFinalRead {
        /// Which.
        node: u32,
    },
    /// A final read began before an acknowledged add had ended, so it proves nothing about it.
    EarlyFinalRead {
        /// Where.
        node: u32,
    },
    /// An element was acknowledged, or shown once, and a final read does not have it.
    Lost {
        /// The element.
        element: i64,
        /// Where the final read was.
        node: u32,
    },
    /// A read has an element that nobody had begun to add, or whose add failed.
    Unexpected {
        /// The element.
        element: i64,
        /// Where.
        node: u32,
    },
    /// A read has an element more than once.
    Duplicate {
        /// The element.
        element: i64,
        /// Where.
        node: u32,
    },
    /// A read does not have an element that an earlier read at the same node had.
    Vanished {
        /// The element.
        element: i64,
        /// Where.
        node: u32,
    },
    /// A read does not have an element that the same node had acknowledged before.
    NotReadBack {
        /// The element.
        element: i64,
        /// Where.
        node: u32,
    },
    /// A grow-only counter is less than an earlier read at the same node.
    WentBack {
        /// What was read before.
        before: i64,
        /// What now.
        value: i64,
        /// Where.
        node: u32,
    },
    /// A read of a counter is less or more than whatever subset of the adds until then can give.
    OutOfRange {
        /// What was read.
        value: i64,
        /// The least possible.
        least: i128,
        /// The most possible.
        most: i128,
        /// Where.
        node: u32,
    },
    /// A final read is no sum of all acknowledged adds and some of those without an answer.
    WrongSum {
        /// What was read.
        value: i64,
        /// What could be, as intervals with both ends.
        possible: Vec<(i128, i128)>,
        /// Where.
        node: u32,
    },
    /// Two nodes' final reads differ.
    FinalReadsDiffer {
        /// One of them.
        node: u32,
        /// The other.
        other: u32,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::BadHistory(what) => write!(f, "not a history: {what}"),
            Problem::ProvesNothing => f.write_str("no acknowledged add, or no read"),
            Problem::Unavailable { node, invoked_ns } => {
                write!(f, "node {node} did not succeed in what it was asked at {invoked_ns} ns")
            }
            Problem::NoFinalRead { node } => write!(f, "node {node} was not read at the end"),
            Problem::EarlyFinalRead { node } => {
                write!(f, "the final read of node {node} began before all adds had ended")
            }
            Problem::Lost { element, node } => write!(f, "{element} is lost: node {node} ends without it"),
            Problem::Unexpected { element, node } => {
                write!(f, "{element} at node {node}, though nobody had added it")
            }
            Problem::Duplicate { element, node } => write!(f, "{element} more than once at node {node}"),
            Problem::Vanished { element, node } => write!(f, "{element} is no longer at node {node}"),
            Problem::NotReadBack { element, node } => {
                write!(f, "node {node} acknowledged {element} and then did not show it")
            }
            Problem::WentBack { before, value, node } => {
                write!(f, "node {node} went back from {before} to {value}")
            }
            Problem::OutOfRange { value, least, most, node } => {
                write!(f, "{value} at node {node} is not within {least}..={most}")
            }
            Problem::WrongSum { value, possible, node } => {
                write!(f, "node {node} ends at {value}; possible is {possible:?}")
            }
            Problem::FinalReadsDiffer { node, other } => {
                write!(f, "nodes {node} and {other} end differently")
            }
        }
    }
}

/// For how long what was known was not to be read everywhere, nanoseconds, of the operations that are stable in the end.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Default)]
pub struct Staleness {
    /// Elements that some read missed after they were known.
    pub stale: u64,
    /// The median over all elements.
    pub median_ns: u64,
    /// 99 of 100 were everywhere after this.
    pub p99_ns: u64,
    /// All were.
    pub max_ns: u64,
}

impl Staleness {
    /// Of each element: for how long it was known and still missed; 0 if it never was.
    pub(crate) fn of(mut latencies_ns: Vec<u64>) -> Self {
        latencies_ns.sort_unstable();
        let at = |percent: usize| {
            let rank = (latencies_ns.len() * percent).div_ceil(100).max(1);
            latencies_ns.get(rank - 1).copied().unwrap_or(0)
        };
        let stale = latencies_ns.iter().filter(|latency| **latency > 0).count() as u64;
        Self { stale, median_ns: at(50), p99_ns: at(99), max_ns: at(100) }
    }
}

/// What a checker says about a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Everything that is wrong, each problem once, in a fixed order. Valid is who has none.
    pub problems: Vec<Problem>,
    /// Adds that were begun.
    pub attempted: u64,
    /// Adds that were acknowledged.
    pub acknowledged: u64,
    /// Reads that returned.
    pub reads: u64,
    /// How stale reads were. Staleness is no problem: an eventually consistent store is.
    pub staleness: Staleness,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }

    pub(crate) fn new(mut problems: Vec<Problem>, [attempted, acknowledged, reads]: [usize; 3]) -> Self {
        problems.sort();
        problems.dedup();
        let staleness = Staleness::default();
        let (attempted, acknowledged, reads) = (attempted as u64, acknowledged as u64, reads as u64);
        Self { problems, attempted, acknowledged, reads, staleness }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attempted, acknowledged, reads, staleness, .. } = self;
        let word = if self.is_valid() { "valid" } else { "INVALID" };
        write!(f, "{word}: {acknowledged} of {attempted} adds acknowledged, {reads} reads")?;
        if staleness.stale > 0 {
            let ms = |ns: u64| ns as f64 / 1e6;
            let Staleness { stale, median_ns, p99_ns, max_ns } = *staleness;
            write!(f, ", {stale} stale (p50 {:.1}, p99 {:.1}, ", ms(median_ns), ms(p99_ns))?;
            write!(f, "most {:.1} ms until read everywhere)", ms(max_ns))?;
        }
        for problem in self.problems.iter().take(MAX_PRINTED) {
            write!(f, "\n  {problem}")?;
        }
        if self.problems.len() > MAX_PRINTED {
            write!(f, "\n  and {} more", self.problems.len() - MAX_PRINTED)?;
        }
        Ok(())
    }
}
