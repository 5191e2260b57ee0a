//! The pinned polling loop that joins port, engine and segment.
//!
//! A worker is one thread that owns some shards whole: their engines, a port to the network, a part of the published
//! segment, and this worker's ring of every attached client. Nobody else touches any of it, so nothing is locked.
//!
//! ```text
//!                     client rings                       commands, events (bounded channels)
//!                          │                                        │
//!                          ▼                                        ▼
//!   port ── frames ──> ┌────────┐ <── frames of its shards ──  other workers
//!                      │ worker │
//!   port <── frames ── └────────┘ ──> segment (cells, heartbeat, counters) ──> readers
//!                          │
//!                          └──> storage: log rings, snapshot frames (memory shared with storage threads)
//! ```
//!
//! What each module is for:
//!
//! | module | |
//! |---|---|
//! | `turn` | the loop: what one turn does, and in which order |
//! | `shards` | the engines, and which of them need attention |
//! | `clients`, `submit` | rings served fairly; from a submission to an operation |
//! | `acks` | how far the writes of clients have got: disk, peers |
//! | `publisher` | the segment as the engine sees it |
//! | `namespaces` | which writes of which clients are carried out |
//! | `snapshots` | snapshots of its shards for storage, a slice a turn |
//! | `seals` | frames sealed and opened, by peer |
//! | `handoff` | frames that arrived at the wrong worker |
//! | `idle`, `wakeup` | spin, yield, sleep; waking a sleeper without missing anything |
//! | `attend` | carrying out commands, heartbeats, status, the way to the end |
//! | `counters`, `status` | what it says of itself |
//!
//! What can go wrong: a hostile client loses its rings ([`Event::ClientFault`]) and nobody else notices; hostile frames
//! are counted by the engine and change nothing; a failing port or a full segment makes the worker *degraded*, and it goes
//! on. In steady state a turn allocates nothing and takes no lock; `tests/no_allocation.rs` holds it to that.

mod acks;
mod attend;
mod clients;
mod clock;
mod command;
mod config;
mod counters;
mod handle;
mod handoff;
mod idle;
mod namespaces;
mod outgoing;
mod publisher;
mod seals;
mod shards;
mod snapshots;
mod status;
mod submit;
mod turn;
mod wakeup;

pub use clients::ClientFault;
pub use command::{ClientId, Command, Event, Look};
pub use config::{WorkerConfig, WorkerConfigError};
pub use handle::{CommandError, SpawnError, WorkerHandle, WorkerPanicked, WorkerParts, spawn};
pub use handoff::Handoff;
pub use idle::Idle;
pub use namespaces::{Credentials, MAX_NAMESPACE_BYTES, MAX_NAMESPACES, Namespaces, Rule, Writers};
pub use publisher::SegmentPublisher;
pub use seals::{PeerSeal, SealStatus};
pub use shards::Engine;
pub use snapshots::WorkerStorage;
pub use status::{Degradation, LoopStats, ShardStatus, StorageStatus, WorkerStatus};
pub use turn::{Turn, Worker};
pub use wakeup::{Wakeup, client_wakeup};
