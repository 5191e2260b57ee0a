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
//! **Two cores for four programs.** Host A's application and daemon share one core, host B's the other, as they would on two
//! hosts of one core each. The limit, by contrast, has a whole core for each of its two ends. Rows differ in who waits how:
//!
//! | row | daemons | applications |
//! |---|---|---|
//! | all poll | `yield`: poll, and offer the core after each turn | poll, and offer the core after each look |
//! | daemons sleep | `sleep` | as above |
//! | all sleep | `sleep` | the writer sleeps until a write is due, the reader in a watch |

mod schedule;

use std::time::Duration;

use anyhow::Result;
use lattice_cluster::{Cluster, ClusterSpec, Environment, Fabric, IdleChoice, PortChoice};
use serde_json::json;

use crate::budget::{Budget, Quantity};
use crate::measure::Effort;
use crate::raw::{self, Line, PortKind};
use crate::report::{Report, Row};
use crate::series::Series;

pub use schedule::{Waiting, Writes, watch_writes};

/// Writes a second: far below what saturates anything, so that each write travels alone.
const RATE_PER_S: u64 = 2_000;

/// Runs the limit and all rows.
///
/// # Errors
/// If the cluster can't be started or a write never arrives.
pub fn run(effort: Effort) -> Result<Report> {
    if let Some(obstacle) = Environment::probe().obstacle() {
        return Ok(Report::skipped("visible", obstacle));
    }
    let limit = raw::one_way(
        &mut Line::open(Fabric::Wire, PortKind::XdpDriver)?,
        effort.pick(Duration::from_secs(3), Duration::from_millis(50)),
    )?;
    let mut report = Report::new(
        "visible",
        json!({
            "loop": "open",
            "writes_per_s": RATE_PER_S,
            "latency": "from when a write was due until the reader saw it; CLOCK_MONOTONIC, which namespaces share",
            "fabric": "one veth pair between two namespaces",
            "pinned": "core 0: writer and daemon A; core 1: reader and daemon B",
            "limit": "raw AF_XDP ping-pong of the smallest frame over the same fabric, halved; both ends poll",
        }),
    );
    for (index, case) in CASES.iter().enumerate() {
        let series = case.measure(effort)?.with_rate(RATE_PER_S as f64);
        let row = Row::new(series).limit(limit.clone()).setup(case.setup());
        if index == 0 {
            report.push_headline(
                row.budget(Budget::at_most(Quantity::RatioP50, 2.0))
                    .budget(Budget::at_most(Quantity::P99, 20_000.0))
                    .budget(Budget::at_most(Quantity::P999, 100_000.0)),
            );
        } else {
            report.push(row);
        }
    }
    Ok(report)
}

/// Who waits how.
struct Case {
    name: &'static str,
    daemons: IdleChoice,
    applications: Waiting,
}

const CASES: [Case; 3] = [
    Case { name: "all poll", daemons: IdleChoice::Yield, applications: Waiting::Poll },
    Case { name: "daemons sleep", daemons: IdleChoice::Sleep, applications: Waiting::Poll },
    Case { name: "all sleep", daemons: IdleChoice::Sleep, applications: Waiting::Sleep },
];

impl Case {
    fn measure(&self, effort: Effort) -> Result<Series> {
        let spec = ClusterSpec {
            hosts: 2,
            fabric: Fabric::Wire,
            ports: vec![PortChoice::Xdp; 2],
            idle: self.daemons,
            ..ClusterSpec::default()
        };
        let cluster = Cluster::start(&spec)?;
        let sockets = [cluster.hosts()[0].socket(), cluster.hosts()[1].socket()];
        let writes = Writes {
            rate_per_s: RATE_PER_S,
            duration: effort.pick(Duration::from_secs(8), Duration::from_millis(100)),
            waiting: self.applications,
        };
        watch_writes(self.name, &sockets, writes)
    }

    fn setup(&self) -> serde_json::Value {
        let applications = match self.applications {
            Waiting::Poll => "poll, yielding the core",
            Waiting::Sleep => "sleep",
        };
        json!({ "daemons": format!("{:?}", self.daemons).to_lowercase(), "applications": applications })
    }
}
