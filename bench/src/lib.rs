//! Latency and throughput benches with HDR histograms: what a thing costs, beside what it could cost at best.
//!
//! ```text
//!   lattice-bench NAME | all | list  [--json] [--quick] [--runs N] [--report DIRECTORY]
//!        │
//!        v
//!   runner  goes through `benches`, the table of all of them, as often as asked; `median` picks each row's median run
//!        │
//!        ├─ read        reads from the segment: by handle, by key, quiet and beside a full-speed writer
//!        ├─ write       what a write costs its application, and how long until its host sees it
//!        ├─ visible     from a write on one host until an application on another sees it
//!        ├─ throughput  sustained deltas a second, merged on one host of what is written on another
//!        ├─ merge       the engine alone, in memory: encode, decode, merge, publish
//!        ├─ seal        sealing and opening frames, and what that adds to a delta
//!        ├─ scale       how cost and memory grow: keys, nodes, set size, actors
//!        ├─ heal        how long two hosts take to be equal after a cut
//!        ├─ ports       AF_XDP in the driver, AF_XDP in generic mode, UDP sockets
//!        ├─ idle        what five daemons cost that have nothing to do
//!        ├─ etcd        the same work for a three-node etcd, and what faults do to both
//!        v
//!   Series (HDR histogram) ──> Row {series, limit, rivals, budgets} ──> Report ──> `table`, JSON, `page`
//! ```
//!
//! A new bench is a module with `run(Effort) -> Result<Report>` and a line in [`benches::BENCHES`]; `tests/quick.rs` runs it
//! then, small. What a bench can't measure here it says ([`report::Report::skipped`]) and does not leave out.
//!
//! The limit is measured in the same run, on the same core, because machines (virtual ones above all) change their mood
//! from one minute to the next: ratios hold, times vary. Each report says who shared the machine (steal). What waits for
//! somebody is measured in an open loop: each latency counts from the moment at which the operation was meant to begin, so that a
//! stall shows in all operations that it delayed (coordinated omission; `page/explain.html` says it to readers of the report).

pub mod benches;
pub mod budget;
pub mod catch_up;
pub mod engines;
pub mod etcd;
pub mod heal;
pub mod idle;
pub mod interrupt;
pub mod machine;
pub mod measure;
pub mod median;
pub mod merge;
pub mod page;
pub mod pair;
pub mod ports;
pub mod raw;
pub mod read;
pub mod report;
pub mod restart;
pub mod runner;
pub mod scale;
pub mod seal;
pub mod series;
pub mod stalls;
pub mod table;
pub mod throughput;
pub mod visible;
pub mod write;
