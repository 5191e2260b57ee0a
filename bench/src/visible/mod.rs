//! `visible`: from a write in an application on host A until an application on host B sees it.
//!
//! ```text
//!   core 0:  writer ──ring──> latticed A ──AF_XDP──┐          both daemons in network namespaces,
//!                                                  │ veth     joined by one veth pair
//!   core 1:  reader <─segment── latticed B <───────┘
//! ```
//!
//! **Open loop.** Writes have a schedule: write *n* is due at start + n / rate, whatever became of the others, and its
//! latency runs from when it was *due* until the reader saw it. So a stall is counted for every write that it held up, not
//! for the one that happened to be under way (coordinated omission). The key is a counter and each write adds one: a reader
//! that finds *n* has seen the first *n* writes, and no write can be missed. Both ends read `CLOCK_MONOTONIC`, which all
//! network namespaces of a machine share.
//!
//! **Two cores for four programs.** Each time that a core changes hands it costs some 0.6 µs and the time until the next
//! turn comes round; the limit has a core for each of its two ends. Two layouts:
//!
//! | layout | core 0 | core 1 |
//! |---|---|---|
//! | one program | it is a client of both hosts: writes at A, looks at B, never offers its core | both daemons, which take turns |
//! | two programs | host A's writer and daemon, as on a host with one core (the picture) | host B's reader and daemon |
//!
//! **Pace.** A write that travels alone finds caches that have forgotten it, and the slower the pace, the more: on the machine
//! this was written on a raw frame takes 1.6 µs back to back, 1.8 µs each 50 µs, and 3 µs each 500 µs. So each row stands
//! beside a limit of its own pace.
//!
//! | row | daemons | applications |
//! |---|---|---|
//! | all poll | `yield`: poll, and offer the core after each turn | poll; two programs offer the core after each look |
//! | daemons sleep | `sleep` | as above |
//! | all sleep | `sleep` | the writer sleeps until a write is due, the reader in a watch |
//!
//! The stages ([`stages`]) say where the time goes when nobody waits for a core. Two last rows say what the machine takes from
//! a thread that only polls ([`stalls`](crate::stalls)), before the rows and after them: no tail can be shorter.

mod probe;
mod schedule;
pub mod stages;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use lattice_cluster::{Cluster, ClusterSpec, Environment, Fabric, IdleChoice, PortChoice, StorageTable};
use serde_json::{Value, json};

use crate::budget::{Budget, Quantity};
use crate::measure::Effort;
use crate::raw::{self, Line, PortKind};
use crate::report::{Report, Row};
use crate::series::Series;
use crate::stalls;

pub use probe::probe_writes;
pub use schedule::{Waiting, Writes, watch_writes};

/// Writes a second of the headline and of most rows.
const SLOW_PER_S: u64 = 2_000;
/// Writes a second of one row: fast enough that caches remember, slow enough that each write travels alone.
const FAST_PER_S: u64 = 20_000;

/// The cores that everything here runs on.
const CORES: [usize; 2] = [0, 1];

/// Runs the limits, all rows, and the stages.
///
/// # Errors
/// If the cluster can't be started or a write never arrives.
pub fn run(effort: Effort) -> Result<Report> {
    if let Some(obstacle) = Environment::probe().obstacle() {
        return Ok(Report::skipped("visible", obstacle));
    }
    let stalls_before = stalls::measure(&CORES, effort)?;
    let flat_out = raw_one_way(Duration::ZERO, effort)?.named("raw one-way, back to back");
    let limits = [limit(FAST_PER_S, effort)?, limit(SLOW_PER_S, effort)?];
    let mut report = Report::new("visible", setup());
    for (daemons, cores, cases) in CASES {
        let cluster = start(*daemons, cores)?;
        let sockets = [cluster.hosts()[0].socket(), cluster.hosts()[1].socket()];
        for case in *cases {
            let limit = limits[usize::from(case.rate_per_s == SLOW_PER_S)].clone();
            let row = Row::new(case.measure(&sockets, effort)?).limit(limit).setup(case.setup(*daemons));
            if report.rows.is_empty() {
                report.push_headline(
                    row.budget(Budget::at_most(Quantity::RatioP50, 2.0))
                        .budget(Budget::at_most(Quantity::P99, 20_000.0))
                        .budget(Budget::at_most(Quantity::P999, 100_000.0)),
                );
            } else {
                report.push(row);
            }
        }
    }
    let staged = effort.pick(Duration::from_secs(1), Duration::from_millis(20));
    for series in stages::measure(staged)?.series {
        report.push(Row::new(series).chart("stages of one write"));
    }
    report.push(Row::new(flat_out));
    for (mut stalls, after) in stalls_before.into_iter().zip(stalls::measure(&CORES, effort)?) {
        stalls.add(&after);
        report.push(Row::new(stalls).chart("what the machine takes from a polling thread"));
    }
    Ok(report)
}

fn setup() -> Value {
    json!({
        "loop": "open",
        "latency": "from when a write was due until the reader saw it; CLOCK_MONOTONIC, which namespaces share",
        "fabric": "one veth pair between two namespaces",
        "pinned": "one program: it on core 0, both daemons on core 1; two programs: writer and daemon A on core 0, reader and daemon B on core 1",
        "limit": "raw AF_XDP ping-pong of the smallest frame over the same fabric at the same pace, halved; both ends poll",
    })
}

/// A limit at the pace of a row.
fn limit(rate_per_s: u64, effort: Effort) -> Result<Series> {
    Ok(raw_one_way(interval(rate_per_s), effort)?.with_rate(rate_per_s as f64))
}

fn raw_one_way(pace: Duration, effort: Effort) -> Result<Series> {
    let mut line = Line::open(Fabric::Wire, PortKind::XdpDriver)?;
    raw::one_way(&mut line, pace, effort.pick(Duration::from_secs(2), Duration::from_millis(30)))
}

fn interval(rate_per_s: u64) -> Duration {
    Duration::from_nanos(1_000_000_000 / rate_per_s)
}

fn start(idle: IdleChoice, cores: &[u16]) -> Result<Cluster> {
    Cluster::start(&ClusterSpec {
        hosts: 2,
        fabric: Fabric::Wire,
        ports: vec![PortChoice::Xdp; 2],
        idle,
        cores: cores.to_vec(),
        storage: StorageTable::memory(),
        ..ClusterSpec::default()
    })
}

/// Who writes how often, and who waits how.
struct Case {
    name: &'static str,
    rate_per_s: u64,
    programs: Programs,
}

#[derive(Clone, Copy)]
enum Programs {
    /// One at both hosts, on a core of its own.
    One,
    /// One at each host, on its host's core.
    Two(Waiting),
}

/// The rows, by what the daemons do when there is nothing to do, and on which cores. The first one is the headline.
const CASES: &[(IdleChoice, [u16; 2], &[Case])] = &[
    (
        IdleChoice::Yield,
        [1, 1],
        &[
            Case { name: "all poll, one program, 2 k/s", rate_per_s: SLOW_PER_S, programs: Programs::One },
            Case { name: "all poll, one program, 20 k/s", rate_per_s: FAST_PER_S, programs: Programs::One },
        ],
    ),
    (
        IdleChoice::Yield,
        [0, 1],
        &[Case {
            name: "all poll, two programs, 2 k/s",
            rate_per_s: SLOW_PER_S,
            programs: Programs::Two(Waiting::Poll),
        }],
    ),
    (
        IdleChoice::Sleep,
        [0, 1],
        &[
            Case {
                name: "daemons sleep, two programs, 2 k/s",
                rate_per_s: SLOW_PER_S,
                programs: Programs::Two(Waiting::Poll),
            },
            Case {
                name: "all sleep, two programs, 2 k/s",
                rate_per_s: SLOW_PER_S,
                programs: Programs::Two(Waiting::Sleep),
            },
        ],
    ),
];

impl Case {
    fn measure(&self, sockets: &[PathBuf; 2], effort: Effort) -> Result<Series> {
        let duration = effort.pick(Duration::from_secs(4), Duration::from_millis(60));
        let writes = Writes { interval: interval(self.rate_per_s), duration };
        let series = match self.programs {
            Programs::One => probe_writes(self.name, sockets, writes)?,
            Programs::Two(waiting) => watch_writes(self.name, sockets, writes, waiting)?,
        };
        Ok(series.with_rate(self.rate_per_s as f64))
    }

    fn setup(&self, daemons: IdleChoice) -> Value {
        let applications = match self.programs {
            Programs::One => "one program at both hosts, polls",
            Programs::Two(Waiting::Poll) => "two programs, both poll",
            Programs::Two(Waiting::Sleep) => "two programs, both sleep",
        };
        let daemons = format!("{daemons:?}").to_lowercase();
        json!({ "daemons": daemons, "applications": applications, "writes_per_s": self.rate_per_s })
    }
}
