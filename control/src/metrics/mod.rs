//! Metrics: what Prometheus is shown at `/metrics` of `[metrics] listen`.
//!
//! ```text
//!   workers ── store, every 10 ms ──> counters in the segment ──┐
//!      │                                                        ├── a scrape: render() ──> text
//!      └── account, once a second ──> Series ──> Sample ────────┘
//!                                     (how long behind, joined or not)
//! ```
//!
//! A scrape disturbs no worker: it reads the segment and the last sample. Names follow Prometheus's conventions: prefix
//! `latticed_`, the unit last (`_seconds`, `_bytes`), `_total` after it for what only grows. Numbers of one worker have the
//! label `worker`, of one shard `shard`, of one peer `peer` (its node id) and `address`. What grows starts at 0 with each
//! start of the daemon.
//!
//! What can go wrong: a worker that does not answer is missing from the families that come from the sample, and
//! `latticed_sample_age_seconds` and `latticed_live` say so. A counter that this version has no name for is under
//! `latticed_other`.
//!
//! **Lag and latency.** `latticed_peer_lag_operations` is what a peer has not acknowledged; `latticed_peer_lag_seconds` how
//! long the oldest of it has been waiting, to about a second (module `lag`). `latticed_acknowledgement_seconds` is a
//! histogram of the time from sending a frame to its acknowledgement: an upper bound of replication latency, which contains the
//! way there, merging and publishing there, the peer's waiting for more to acknowledge (`timers.ack_delay_ms`) and the way
//! back; one sample for each acknowledgement.

mod counters;
mod exposition;
mod lag;
mod node;
mod process;
mod sample;

pub use node::{Facts, Identity, render};
pub use process::Process;
pub use sample::{Sample, Series};
