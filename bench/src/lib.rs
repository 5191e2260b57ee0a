//! Latency and throughput benches with HDR histograms: what a thing costs, beside what it could cost at best.
//!
//! ```text
//!   lattice-bench NAME [--json] [--quick]
//!        │
//!        ├─ read     reads from the segment: by handle, by key, quiet and under a full-speed writer
//!        │
//!        v
//!   measure ──> Samples (histogram in ps) ──> Report {bench, unit, count, min … max, setup, limit, ratios, cases}
//! ```
//!
//! The limit is measured in the same run, on the same core, because machines (virtual ones above all) change their mood
//! from one minute to the next: ratios hold, times vary. Each report says who shared the machine (steal).

pub mod machine;
pub mod measure;
pub mod read;
pub mod report;
