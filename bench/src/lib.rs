//! Latency and throughput benches with HDR histograms: what a thing costs, beside what it could cost at best.
//!
//! ```text
//!   lattice-bench NAME | all | list  [--json] [--quick]
//!        │
//!        ├─ benches  the table of all of them
//!        ├─ read     reads from the segment: by handle, by key, quiet and under a full-speed writer
//!        ├─ write    what a write costs its application, and how long until its host sees it
//!        ├─ visible  from a write on one host until an application on another sees it
//!        ├─ throughput sustained deltas a second, merged on one host of what is written on another
//!        ├─ heal     how long two hosts take to be equal after a cut
//!        ├─ ports    AF_XDP in the driver, AF_XDP in generic mode, UDP sockets
//!        ├─ idle     what five daemons cost that have nothing to do
//!        ├─ etcd     the same work for a three-node etcd, and what faults do to both
//!        │
//!        v
//!   measure ──> Series (HDR histogram) ──> Row {series, limit, rivals, budgets} ──> Report ──> table, JSON
//! ```
//!
//! The limit is measured in the same run, on the same core, because machines (virtual ones above all) change their mood
//! from one minute to the next: ratios hold, times vary. Each report says who shared the machine (steal).

pub mod benches;
pub mod budget;
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
pub mod runner;
pub mod scale;
pub mod series;
pub mod table;
pub mod throughput;
pub mod visible;
pub mod write;
