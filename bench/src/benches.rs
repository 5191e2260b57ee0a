//! All benches in one place: the command line, `all`, the quick tests and the report are made from this table.

use crate::catch_up;
use crate::etcd;
use crate::heal;
use crate::idle;
use crate::measure::Effort;
use crate::merge;
use crate::ports;
use crate::read;
use crate::report::Report;
use crate::restart;
use crate::scale;
use crate::seal;
use crate::throughput;
use crate::visible;
use crate::write;

/// One bench.
#[derive(Clone, Copy)]
pub struct Bench {
    /// As on the command line.
    pub name: &'static str,
    /// One line for a list.
    pub about: &'static str,
    /// About how long a full run takes, in seconds.
    pub full_s: u32,
    /// Runs it. A bench that can't run here returns [`Report::skipped`].
    pub run: fn(Effort) -> anyhow::Result<Report>,
}

/// In the order of `lattice-bench all`: one line each.
#[rustfmt::skip]
pub const BENCHES: &[Bench] = &[
    Bench { name: "read", about: "reads from the segment, by handle and by key, quiet and beside a full-speed writer", full_s: 30, run: read::run },
    Bench { name: "write", about: "a write on one host: the call, until it is visible, until it is acknowledged; beside a hop through a bare ring", full_s: 25, run: write::run },
    Bench { name: "visible", about: "from a write on host A until an application on host B sees it; AF_XDP between namespaces", full_s: 40, run: visible::run },
    Bench { name: "throughput", about: "sustained deltas a second, merged on host B of what is written on host A", full_s: 45, run: throughput::run },
    Bench { name: "merge", about: "the engine alone, in memory: encode, decode + merge + publish, each type", full_s: 20, run: merge::run },
    Bench { name: "seal", about: "sealing and opening a frame, and what that adds to a delta; beside the checksum of frames that are not sealed", full_s: 12, run: seal::run },
    Bench { name: "scale", about: "how cost grows with keys, nodes, elements and actors; bytes of memory and on the wire", full_s: 40, run: scale::run },
    Bench { name: "heal", about: "two hosts that were cut apart for 1 s and 10 s, or fell out of the log, at 100 k keys: time until they are equal", full_s: 60, run: heal::run },
    Bench { name: "catch-up", about: "what a host that comes back to a million keys with nothing costs those that write meanwhile", full_s: 60, run: catch_up::run },
    Bench { name: "ports", about: "AF_XDP in the driver, AF_XDP in generic mode, UDP sockets: latency and frames", full_s: 25, run: ports::run },
    Bench { name: "restart", about: "a killed daemon of a million keys, until it is ready with all of them", full_s: 60, run: restart::run },
    Bench { name: "idle", about: "processor time of five daemons that have nothing to do", full_s: 15, run: idle::run },
    Bench { name: "etcd", about: "the same work for a three-node etcd: latency, throughput, reads; a leader killed, a host cut off", full_s: 65, run: etcd::run },
];

/// The bench of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Bench> {
    BENCHES.iter().find(|bench| bench.name == name)
}
