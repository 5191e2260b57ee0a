//! Exhaustive model checking of the replication rules: every order of events within small bounds, not a sample of them.
//!
//! ```text
//!   State ── actions ──> every State that can follow ── … ──> all of them, each seen once   (the crate stateright)
//!     │
//!     ├── check_always: nothing resurrected, nothing lost, no dot twice, and the invariants beneath   (spec.rs)
//!     └── heal::check: once faults stop, all replicas are equal, and equal to the specification       (heal.rs)
//! ```
//!
//! The model is of the rules as ARCHITECTURE.md numbers them, one shard, add-wins sets and a counter. What can happen:
//!
//! - a local add, remove or count at any replica;
//! - a record reaches a replica: any record, at any time, in any order, any number of times, or never. Its origin's log
//!   and frames long under way are one here: this allows more than the engine does;
//! - a state sync, in steps: begin (C and the pre-removed dots), one key after the other, end (cover C); abandoned at
//!   any point; optionally what a walk reads is under way for a while;
//! - a snapshot, written in slices while the replica goes on; a restart from it with the log whole, with a part of it,
//!   with none, from the snapshot before, or from nothing;
//! - an empty key is dropped when every member's durable vector covers its touches, as far as the dropper knows: of a
//!   peer that restarted unnoticed, it knows what that one said before.
//!
//! What is not in it: registers (a join of stamps, which no order can hurt), bounds (a refused record is one that did not
//! come), sessions other than for what is durable, `forget`.
//!
//! Dots are kept in words (`dots.rs`): the exact equivalent of the production types, which can't be hashed; that both do
//! the same is checked by `tests/shadow.rs`. States that differ only in the names of nodes and elements count once.
//!
//! The whole product of faults is too large for four operations on three replicas, so there are several models, each
//! explored to the end: `tests/exhaustive.rs` for those that take seconds, the binary for larger ones:
//!
//! ```text
//!   cargo run --release -p lattice-model -- check --ops 4 --replicas 3
//!   states=… unique=… depth=… seconds=…          exit code 1 and the shortest way there (with --breadth-first) if a
//!                                                 property fails
//! ```
//!
//! Each rule can be left out ([`config::Broken`]); `tests/variants.rs` sees that every one is missed.

#![forbid(unsafe_code)]

pub mod action;
pub mod check;
pub mod config;
pub mod dots;
pub mod heal;
pub mod merge;
pub mod restart;
pub mod spec;
pub mod state;
pub mod symmetry;
pub mod sync;
