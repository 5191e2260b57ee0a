//! The replication engine of one shard, sans-IO and deterministic.
//!
//! ```text
//!   local op ──> apply ─┐                                 ┌──> publications (Publisher)
//!                       ├─> keys, vector, log ──> commit ─┤
//!   frame ────> receive ┘                                 └──> frames (transmit)
//!   clock ────> tick      acknowledgements, retransmission, anti-entropy, state sync
//! ```
//!
//! Nothing here opens a socket, maps a file, reads a clock or draws a random number of its own: frames, operations and
//! instants are handed in, effects are pulled out. Two engines fed the same inputs in the same order do the same
//! things, which is what lets a simulator run this very code.
//!
//! The protocol is server-wide causality (Gonçalves et al., DAIS 2015; DottedDB, SRDS 2017) over delta-state CRDTs
//! (Almeida et al., JPDC 2018); ARCHITECTURE.md numbers its rules, and the comments here name them.

#![forbid(unsafe_code)]

#[macro_use]
mod zoo;

mod account;
mod acks;
mod actors;
mod aliases;
mod at_cell;
mod burst;
mod config;
mod digest;
mod engine;
mod entry;
mod fold;
mod fold_keys;
mod fold_settle;
mod forget;
mod gossip;
mod key_digests;
mod keys;
mod lane;
mod local;
mod log;
mod merge;
mod ops;
mod peers;
mod progress;
mod publish;
mod publisher;
mod random;
mod recovery;
mod sender;
mod snapshot;
mod stability;
mod stats;
mod sync_apply;
mod sync_receive;
mod sync_send;
mod tally;
mod walk;

pub use account::{KeyAccount, Part, Standing};
pub use at_cell::KeyPlace;
pub use config::{EngineConfig, EngineConfigError, EngineLimits, EngineTimers, Instant, Storage};
pub use engine::Engine;
pub use key_digests::{DigestCursor, KeyDigest};
pub use log::{LogStore, MemoryLog};
pub use ops::{Applied, LocalOp, OpError};
pub use progress::{SyncDirection, SyncStatus};
pub use publisher::{Published, Publisher};
pub use recovery::{LastRun, RecoverError, Recovery, ThisStart, continues_epoch};
pub use stats::{AckLatency, DropReason, EngineStats, MergedByType, PeerStatus, WireDrops};
pub use sync_send::SyncBudget;
