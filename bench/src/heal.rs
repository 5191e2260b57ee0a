//! `heal`: how long two hosts take to hold the same again after the link between them was cut.
//!
//! ```text
//!   both write ──────────────────────────────────┐ stop
//!   link  ────up────┐       cut        ┌───up────┼──────────────
//!                   └──────────────────┘         ^ join ordered ····> digests equal: healed
//! ```
//!
//! Writes go on on both sides all the while, and stop when the link is joined: with writers going on there would be no
//! moment at which two hosts could be compared. Then the daemons are asked for their digests (state and version vector of
//! each shard, as `latticectl converged` does) until they are equal; the time runs from the order to join the link until
//! that answer. At the end each counter must hold what both sides added.
//!
//! **Limit.** The bytes of the records that one side has and the other lacks, over the rate of raw full frames on the same
//! fabric, the larger of the two directions. It leaves out what no wire can tell at once: that the link is back. Daemons find
//! that by heartbeats, every 100 ms.
//!
//! **Fallen out of the log.** A log of few records, and more writes than it holds: the other side gets a state sync. There
//! the least that has to cross is one item for each key that was touched.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lattice_client::{Client, Counter, Error};
use lattice_cluster::{Environment, Fabric};
use lattice_wire::MAX_FRAME_BYTES;
use serde_json::json;

use crate::measure::Effort;
use crate::pair::{Pair, PairSpec};
use crate::raw::{self, Line, PortKind};
use crate::report::{Report, Row};
use crate::series::{Series, Unit};

/// Writes a second on each side, during the cut.
const WRITES_PER_S: u64 = 5_000;
/// The host whose link is cut.
const CUT: usize = 1;
/// From one look at the digests to the next.
const LOOK: Duration = Duration::from_micros(500);
const TIMEOUT: Duration = Duration::from_secs(30);
/// Operations that a short log holds, for each shard.
const SHORT_LOG_RECORDS: u64 = 128;

/// Runs all cuts.
///
/// # Errors
/// If a cluster can't be started or does not heal.
pub fn run(effort: Effort) -> Result<Report> {
    if let Some(obstacle) = Environment::probe().obstacle() {
        return Ok(Report::skipped("heal", obstacle));
    }
    let mut line = Line::open(Fabric::Bridge, PortKind::XdpDriver)?;
    let raw_duration = effort.pick(Duration::from_secs(1), Duration::from_millis(30));
    let link = raw::flood(&mut line, MAX_FRAME_BYTES, raw_duration)?.bytes_per_s();
    drop(line);
    let keys = effort.pick(100_000, 1_000);
    let mut report = Report::new(
        "heal",
        json!({
            "keys": keys,
            "writes_per_s": format!("{WRITES_PER_S} on each side during the cut; none after it"),
            "fabric": "two namespaces joined by a bridge; a cut takes the link down",
            "pinned": "core 0: daemon A; core 1: daemon B",
            "daemons": "yield",
            "healed": "equal digests of state and version vector in every shard",
            "raw_bytes_per_s": link,
        }),
    );
    let short = effort.pick(Duration::from_secs(1), Duration::from_millis(250));
    let cases = [
        Case { name: "after 1 s", cut: short, times: effort.pick(5, 1), log_records: None },
        Case { name: "after 10 s", cut: Duration::from_secs(10), times: 1, log_records: None },
        Case {
            name: "fallen out of the log",
            cut: short,
            times: effort.pick(5, 1),
            log_records: Some(SHORT_LOG_RECORDS),
        },
    ];
    for case in cases {
        // A quick run has no ten seconds.
        if !(effort.is_quick() && case.cut > short) {
            report.push(case.measure(keys, link)?);
        }
    }
    Ok(report)
}

struct Case {
    name: &'static str,
    cut: Duration,
    times: usize,
    /// Operations that the log holds; `None`: far more than are written.
    log_records: Option<u64>,
}

impl Case {
    fn measure(&self, keys: usize, link_bytes_per_s: f64) -> Result<Row> {
        let log = self.log_records.unwrap_or(1 << 18);
        let limits = BTreeMap::from([("log_records", log), ("log_bytes", (log * 64).max(1 << 16))]);
        let pair = Pair::start(&PairSpec { fabric: Fabric::Bridge, limits, ..PairSpec::default() })?;
        let mut sides = Sides::open(&pair.sockets(), keys)?;
        pair.cluster.wait_converged(TIMEOUT)?;
        let mut healed = Series::new(self.name, Unit::Ns);
        let mut least = Series::new("bytes missing / link rate", Unit::Ns);
        let mut syncs = 0;
        for _ in 0..self.times {
            let before = [pair.account(0)?, pair.account(1)?];
            pair.cluster.network().cut(CUT)?;
            let missing = sides.write_for(self.cut)?;
            let joining = Instant::now();
            pair.cluster.network().join(CUT)?;
            wait_equal(&pair)?;
            healed.record_duration(joining.elapsed());
            // Counters in the segment are 10 ms old at most; those of the writes are long there.
            std::thread::sleep(Duration::from_millis(20));
            let after = [pair.account(0)?, pair.account(1)?];
            syncs += (0..2).map(|host| after[host].since(&before[host], "syncs_completed")).sum::<u64>();
            least.record(missing as f64 / link_bytes_per_s * 1e9);
        }
        ensure!(self.log_records.is_none() || syncs > 0, "nobody fell out of a log of {log} records");
        sides.check()?;
        Ok(Row::new(healed).limit(least).setup(json!({
            "cut_s": self.cut.as_secs_f64(),
            "log_records_a_shard": log,
            "state_syncs": syncs,
        })))
    }
}

/// Waits until both daemons say the same of all shards.
fn wait_equal(pair: &Pair) -> Result<()> {
    let began = Instant::now();
    loop {
        let found = pair.cluster.fingerprints()?;
        if found[0].shards == found[1].shards {
            return Ok(());
        }
        ensure!(began.elapsed() < TIMEOUT, "not healed: {:?}", found);
        std::thread::sleep(LOOK);
    }
}

/// An application on each side, and what both have added.
struct Sides {
    clients: [Client; 2],
    counters: [Vec<Counter>; 2],
    added: Vec<i64>,
    writes: usize,
}

impl Sides {
    /// Opens all keys on both sides, and makes each known by one write.
    fn open(sockets: &[PathBuf; 2], keys: usize) -> Result<Sides> {
        let clients = [Client::connect(&sockets[0])?, Client::connect(&sockets[1])?];
        let open = |client: &Client| -> Result<Vec<Counter>> {
            Ok((0..keys).map(|key| client.counter(name(key))).collect::<Result<_, _>>()?)
        };
        let mut sides = Sides {
            counters: [open(&clients[0])?, open(&clients[1])?],
            clients,
            added: vec![0; keys],
            writes: 0,
        };
        for key in 0..keys {
            sides.add(0, key)?;
        }
        sides.clients[0].barrier(TIMEOUT)?;
        Ok(sides)
    }

    fn add(&mut self, side: usize, key: usize) -> Result<()> {
        loop {
            match self.counters[side][key].add(1) {
                Ok(_) => break,
                Err(Error::RingFull { .. }) => std::thread::yield_now(),
                Err(error) => return Err(error.into()),
            }
        }
        self.added[key] += 1;
        Ok(())
    }

    /// Writes on both sides, to keys all over, at their rate for so long; all of it is applied when this returns. Says
    /// how many bytes the other side lacks then.
    fn write_for(&mut self, duration: Duration) -> Result<usize> {
        let began = Instant::now();
        let mut due = 0;
        let mut touched = [Touched::default(), Touched::default()];
        while began.elapsed() < duration {
            let now_due = (began.elapsed().as_secs_f64() * WRITES_PER_S as f64) as usize;
            for _ in due..now_due {
                for (side, touched) in touched.iter_mut().enumerate() {
                    // A step that has no factor in common with the number of keys comes by all of them.
                    self.writes += 1;
                    let key = self.writes.wrapping_mul(7919) % self.added.len();
                    self.add(side, key)?;
                    touched.note(key);
                }
            }
            due = now_due;
            std::thread::sleep(Duration::from_millis(1));
        }
        for client in &self.clients {
            client.barrier(TIMEOUT).context("writes during the cut")?;
        }
        Ok(touched.iter().map(Touched::bytes).max().unwrap_or(0))
    }

    /// Each counter holds what both sides have added.
    fn check(&self) -> Result<()> {
        for (key, &added) in self.added.iter().enumerate() {
            for (side, counters) in self.counters.iter().enumerate() {
                let found = counters[key].get()?;
                ensure!(found == added, "{}, side {side}: {added} were added, {found} are there", name(key));
            }
        }
        Ok(())
    }
}

/// Keys that were written on one side.
#[derive(Default)]
struct Touched {
    keys: std::collections::HashSet<usize>,
}

impl Touched {
    fn note(&mut self, key: usize) {
        self.keys.insert(key);
    }

    /// The least that tells another host of them: a key and a value each.
    fn bytes(&self) -> usize {
        self.keys.len() * (name(0).len() + size_of::<u64>())
    }
}

fn name(key: usize) -> String {
    format!("key/{key:06}")
}
