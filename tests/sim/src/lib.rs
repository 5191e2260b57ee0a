//! A deterministic world for the production engine, wire codec, log and segment, with an oracle beside it.
//!
//! ```text
//!   seed ──> Plan ──> World: hosts (engine, log, segment, reader), network, incidents, clients
//!                       │  one thread, no wall clock: time jumps from event to event
//!                       ├──> Oracle      what every host must show, after every commit
//!                       ├──> Struck      which faults met anything
//!                       └──> Trace       a hash of all that happened: the same seed, the same hash
//! ```
//!
//! `cargo run --release -p lattice-sim -- run --seeds 2000`; a failure prints the command that replays it.

#![forbid(unsafe_code)]

pub mod board;
pub mod cli;
pub mod draw;
pub mod faults;
mod flavour;
mod happen;
pub mod host;
pub mod incident;
mod intent;
mod liveness;
pub mod log;
pub mod network;
pub mod oracle;
pub mod plan;
pub mod run;
pub mod sabotage;
mod start;
pub mod storage;
mod store;
pub mod trace;
mod turn;
mod workload;
pub mod workload_checks;
pub mod world;
#[cfg(feature = "zoo")]
pub mod zoo;
