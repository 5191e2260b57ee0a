//! Real clusters of `latticed` daemons on one machine, with faults between them.
//!
//! The tests and the demo say *what* should happen ("cut host 2", "lose 30 % of the frames", "kill -9 host 1"); this
//! crate makes it happen to real processes over real sockets, and takes everything down again.
//!
//! ```text
//!   netns lattice-PID-N-h1      netns lattice-PID-N-h2      netns lattice-PID-N-h3
//!   ┌───────────────────┐      ┌───────────────────┐      ┌───────────────────┐
//!   │ latticed, apps    │      │ latticed, apps    │      │ latticed, apps    │
//!   │ eth0 10.77.0.1    │      │ eth0 10.77.0.2    │      │ eth0 10.77.0.3    │
//!   └───────┬───────────┘      └────────┬──────────┘      └────────┬──────────┘
//!           │ veth                      │                          │
//!   ┌───────┴───────────────────────────┴──────────────────────────┴──────────┐
//!   │ port1                           port2                             port3 │
//!   │   Fabric::Bridge: the kernel's bridge      (healthy runs, link cuts)    │
//!   │   Fabric::Switch: a forwarder in this process (seeded loss, copies,     │
//!   │                   reordering, cuts: `fault::Faults`)                    │
//!   └──────────────────────────── netns lattice-PID-N-switch ─────────────────┘
//!
//!   Fabric::Wire: two hosts whose eth0 are the two ends of one veth pair; no switch (benches).
//!
//!   Fabric::Loopback, without root: 127.x.y.1, .2, .3; every ordered pair of hosts has an address of its own that the
//!   relay (`relay`) owns, so that the same faults and cuts work there too.
//! ```
//!
//! What can go wrong: a machine without root, namespaces or AF_XDP. [`environment::require`] decides: where `CI` is
//! set that is a failure, elsewhere the test prints `skipped` and why. A run that was killed leaves namespaces behind:
//! their names carry its pid, and the next run removes those of dead pids ([`namespace::remove_stale`]).

pub mod admin;
pub mod binaries;
pub mod cluster;
pub mod command;
pub mod config;
pub mod daemon;
pub mod environment;
pub mod fault;
mod forwarder;
pub mod namespace;
pub mod network;
mod packet;
pub mod process;
pub mod relay;
pub mod switch;
pub mod wait;

pub use cluster::{Cluster, ClusterSpec, Host};
pub use config::{HostPlan, IdleChoice, PortChoice, StorageTable};
pub use daemon::{Daemon, Ready};
pub use environment::{Environment, require};
pub use fault::Faults;
pub use network::Fabric;
