//! The replicated data types of Latticed: pure join semilattices.
//!
//! ```text
//!   ActorId ── Dot ── VersionVector          who did what, and what has been received of it
//!                │
//!                ├── DotSet ── AwSet, Flag    add-wins stores: element -> dots (trait DotStore)
//!                └── PreRemoved               dots removed here before they arrived
//!   Counter    actor -> cumulative (increments, decrements), joined by max
//!   Register   last writer by (Hlc, ActorId)
//! ```
//!
//! Every type has a full-state `join` and a delta form; both are commutative, associative, idempotent and only ever
//! move up in their order, so replicas that have seen the same operations are equal, whatever the order, the number of
//! copies, or the route by which the operations came (Shapiro et al., "Conflict-free Replicated Data Types", SSS 2011;
//! Almeida, Shoker, Baquero, "Delta State Replicated Data Types", JPDC 2018). The add-wins types keep no tombstones:
//! their causal context is the shard's one version vector (Gonçalves et al., DAIS 2015).
//!
//! What can go wrong here is hostile or absurd input, not I/O: arithmetic saturates or is wide enough to be exact,
//! bounded structures refuse with an error that says that nothing was changed, and nothing panics. Nothing in this
//! room knows of bytes on a wire, of clocks, of threads, or of where a key lives.

#![forbid(unsafe_code)]

#[macro_use]
mod zoo;

mod counter;
mod dot;
mod dot_set;
mod flag;
mod hlc;
mod kind;
pub mod limits;
mod pre_removed;
mod register;
mod set;
mod store;
mod vector;

pub use counter::{Counter, CounterEntry, NarrowEntry};
pub use dot::{ActorId, Dot};
pub use dot_set::DotSet;
pub use flag::{DISABLE_ELEMENT, ENABLE_ELEMENT, Flag, Wins};
pub use hlc::Hlc;
pub use kind::{Kind, UnknownKind};
pub use pre_removed::{Full, PreRemoved};
pub use register::Register;
pub use set::AwSet;
pub use store::{DotStore, join_store};
pub use vector::{Clock, SeqRange, VectorError, VectorLimits, VersionVector};
