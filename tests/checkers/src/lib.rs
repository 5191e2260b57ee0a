//! The checkers of Maelstrom's four workloads for replicated data: g-set, broadcast, g-counter, pn-counter.
//!
//! ```text
//!   clients ── invoke, ok | fail | info ──> History ── check_* ──> Verdict: valid, or Problems; staleness
//! ```
//!
//! What the workloads demand is public (github.com/jepsen-io/maelstrom, doc/workloads.md): clients add and read at any
//! node, under any faults; when these have stopped, each node is read a last time. These are checkers of our own, and
//! close what the originals leave open:
//!
//! | hole | here |
//! |---|---|
//! | an element that nobody added is not noticed | [`Problem::Unexpected`], also if its add began only after the read, or failed |
//! | an element in one read twice | [`Problem::Duplicate`] |
//! | an element that no read ever had counts as "never read", which is valid | [`Problem::Lost`] |
//! | an element is lost only if the very last read misses it | each node's final read must have it |
//! | a node that was not read at the end, or before the adds had ended | [`Problem::NoFinalRead`], [`Problem::EarlyFinalRead`] |
//! | final reads that are each possible, but differ | [`Problem::FinalReadsDiffer`] |
//! | only the final reads of a counter are looked at | each read must lie in what could be reached by then: [`Problem::OutOfRange`] |
//! | a node may forget what it has shown | with [`Demands::sessions`], reads at a node never go back, and have its own writes |
//! | an operation that failed is only left out | with [`Demands::availability`], each operation succeeds |
//! | a history without a read or an add is valid, or unknown | [`Problem::ProvesNothing`] |
//!
//! Everything is pure: a history in, a verdict out; whoever ran the operations says what time it was.

#![forbid(unsafe_code)]

mod counter;
mod history;
mod set;
mod sums;
#[cfg(test)]
mod tests;
mod verdict;

pub use counter::{check_g_counter, check_pn_counter};
pub use history::{Action, History, Moment, OperationId, Outcome};
pub use set::{check_broadcast, check_g_set};
pub use verdict::{Problem, Staleness, Verdict};

/// What is demanded beside what the workload itself does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demands {
    /// The nodes that there are: each must have a final read.
    pub nodes: Vec<u32>,
    /// Maelstrom's `--availability total`: every operation succeeds.
    pub availability: bool,
    /// Session guarantees at each node: what it acknowledged or showed, its later reads show. Not to be demanded of a
    /// node that loses its memory.
    pub sessions: bool,
}

impl Demands {
    /// Everything, of nodes 0, 1, ... `nodes` - 1.
    pub fn all(nodes: u32) -> Self {
        Self { nodes: (0..nodes).collect(), availability: true, sessions: true }
    }
}
