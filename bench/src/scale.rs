//! `scale`: how cost grows with keys, nodes, members of a set and actors; and what a key, a member and a delta take.
//!
//! ```text
//!   rows with an axis    ns to decode, merge and publish one counter delta (a set's element), at each size of one thing
//!   rows without         bytes: a counter's key at three nodes, a set's element, a delta on the wire
//! ```
//!
//! Where nothing grows with the number of keys or members on the path of one write, the lines stay flat but for the
//! processor's caches. Memory is that of the receiver alone: what it allocated (as glibc's allocator counts it, its own
//! books included) beyond an engine without keys, and what its segment has in use: cells, index, extents. The log, windows and
//! rings have fixed sizes and are not counted to any key.

use std::time::Duration;

use lattice_crdt::Kind;
use lattice_engine::LocalOp;
use serde_json::json;

use crate::budget::{Budget, Quantity};
use crate::engines::{Engines, Round, Size};
use crate::measure::Effort;
use crate::merge::{Draw, SetCase, element, names, per_delta};
use crate::report::{Report, Row};
use crate::series::{Series, Unit};

const ROUND: usize = 1000;
const CORE: usize = 0;
/// A cell of the segment.
const CELL_BYTES: u64 = 64;
/// An entry of the segment's index.
const INDEX_ENTRY_BYTES: u64 = 8;
/// What a key may take, engine and segment.
const KEY_BUDGET_BYTES: f64 = 256.0;

/// Runs all cases.
///
/// # Errors
/// If a segment can't be made, or the engines do not do what they are told.
pub fn run(effort: Effort) -> anyhow::Result<Report> {
    let is_pinned = core_affinity::set_for_current(core_affinity::CoreId { id: CORE });
    let mut report = Report::new("scale", json!({ "loop": "closed", "pinned": is_pinned, "round": ROUND }));
    memory_of_keys(effort.pick(100_000, 2_000), &mut report)?;
    let elements = effort.pick(100_000, 2_000);
    for bytes in [16, 64] {
        for members in effort.pick(vec![10, 1_000, 100_000], vec![10, 1_000]) {
            report.push(memory_of_elements(elements / members, members, bytes)?);
        }
    }
    for keys in effort.pick(vec![1_000, 10_000, 100_000, 1_000_000], vec![1_000, 2_000]) {
        let mut counters = Counters::new(1, keys)?;
        counters.warm_up()?;
        report.push(counters.row(effort, &format!("{keys} keys"))?.place("keys", keys as f64, "counter"));
    }
    for nodes in effort.pick(vec![2_u16, 3, 4, 6, 8], vec![2, 3]) {
        let mut counters = Counters::new(nodes - 1, effort.pick(10_000, 1_000))?;
        counters.warm_up()?;
        let row = counters.row(effort, &format!("{nodes} nodes"))?;
        report.push(row.place("nodes", f64::from(nodes), "counter"));
    }
    for actors in effort.pick(vec![2_u32, 4, 16, 64, 256], vec![2, 8]) {
        let mut counters = Counters::new(1, 100)?;
        // One host in so many epochs; every one of them has written every key.
        counters.write_all(0)?;
        for epoch in 1..actors {
            counters.engines.begin_epoch(0, 1000 + epoch)?;
            counters.write_all(0)?;
        }
        let row = counters.row(effort, &format!("{actors} actors"))?;
        report.push(row.place("actors", f64::from(actors), "counter"));
    }
    for elements in effort.pick(vec![10, 100, 1_000, 10_000, 100_000], vec![10, 1_000]) {
        let mut set = SetCase::new(elements, 16)?;
        let mut series = Series::new(format!("set of {elements}: insert"), Unit::Ns);
        for _ in 0..effort.pick(500, 5) {
            let [inserted, _] = set.there_and_back()?;
            series.record(per_delta(inserted.merge + inserted.publish, inserted));
        }
        report.push(Row::new(series).place("elements", elements as f64, "set"));
    }
    Ok(report)
}

/// Counters that all hosts write.
struct Counters {
    engines: Engines,
    keys: Vec<Vec<u8>>,
    _directory: tempfile::TempDir,
}

impl Counters {
    fn new(origins: u16, keys: usize) -> anyhow::Result<Counters> {
        let directory = tempfile::Builder::new().prefix("lattice-bench-").tempdir_in("/dev/shm")?;
        let size = Size { origins, keys: keys.max(1), extent_bytes: 1 << 20 };
        let engines = Engines::start(directory.path(), size)?;
        Ok(Counters { engines, keys: names(keys), _directory: directory })
    }

    /// One origin writes every key once.
    fn write_all(&mut self, origin: usize) -> anyhow::Result<Round> {
        let mut total = Round::default();
        for keys in self.keys.chunks(ROUND) {
            let add = |at: usize| (Kind::Counter, keys[at].as_slice(), LocalOp::CounterAdd(1));
            total.add(&self.engines.round(origin, keys.len(), ROUND, add)?);
        }
        Ok(total)
    }

    /// Every origin writes every key, twice: from then on they go by their aliases.
    fn warm_up(&mut self) -> anyhow::Result<()> {
        for _ in 0..2 {
            for origin in 0..self.engines.origins.len() {
                self.write_all(origin)?;
            }
        }
        Ok(())
    }

    /// What merging one delta of a random key costs, the origins taking turns.
    fn row(&mut self, effort: Effort, name: &str) -> anyhow::Result<Row> {
        let mut series = Series::new(format!("counter, {name}: decode + merge + publish"), Unit::Ns);
        let mut draw = Draw::new();
        let (keys, origins) = (&self.keys, self.engines.origins.len());
        let duration = effort.pick(Duration::from_millis(1000), Duration::from_millis(10));
        let began = std::time::Instant::now();
        for turn in 0.. {
            let add =
                |_: usize| (Kind::Counter, keys[draw.below(keys.len())].as_slice(), LocalOp::CounterAdd(1));
            let round = self.engines.round(turn % origins, ROUND, ROUND, add)?;
            series.record(per_delta(round.merge + round.publish, round));
            if began.elapsed() >= duration {
                break;
            }
        }
        Ok(Row::new(series))
    }
}

/// Bytes of a counter's key of sixteen bytes that all of three nodes write, and of its deltas on the wire.
fn memory_of_keys(keys: usize, report: &mut Report) -> anyhow::Result<()> {
    let empty = Counters::new(2, 0)?.engines.receiver_bytes;
    let mut counters = Counters::new(2, keys)?;
    let wire = |name: &str, round: &Round| {
        let bytes = Series::single(name, Unit::Bytes, round.bytes as f64 / round.deltas as f64);
        Row::new(bytes).setup(json!({ "deltas per frame": round.deltas as f64 / round.frames as f64 }))
    };
    let first = counters.write_all(0)?;
    counters.write_all(1)?;
    let names = std::mem::take(&mut counters.keys);
    let own = names.iter().map(|key| (Kind::Counter, key.as_slice(), LocalOp::CounterAdd(1)));
    counters.engines.write_at_receiver(own)?;
    counters.keys = names;
    let later = counters.write_all(0)?;
    let engine = (counters.engines.receiver_bytes - empty) as f64 / keys as f64;
    let index = (2 * keys as u64).next_power_of_two() * INDEX_ENTRY_BYTES;
    let segment = (keys as u64 * CELL_BYTES + index + counters.engines.extent_bytes()) as f64 / keys as f64;
    let all = Series::single("memory of a counter's key, three nodes", Unit::Bytes, engine + segment);
    let row = Row::new(all).budget(Budget::at_most(Quantity::P50, KEY_BUDGET_BYTES));
    report.push_headline(row.setup(json!({ "engine": engine, "segment": segment, "keys": keys })));
    report.push(wire("a counter's delta on the wire, its key still to be told", &first));
    report.push(wire("a counter's delta on the wire, its key known", &later));
    Ok(())
}

/// Bytes of an element of so many sets of so many members each: everything, divided by the elements. The key of a set has
/// the budget of any key, of which each of its elements has a share.
fn memory_of_elements(sets: usize, members: usize, bytes: usize) -> anyhow::Result<Row> {
    let directory = tempfile::Builder::new().prefix("lattice-bench-").tempdir_in("/dev/shm")?;
    let extent_bytes = ((sets * members * (bytes + 8) * 8) as u64).max(4 << 20);
    let engines = |sets: usize, part: &str| {
        let directory = directory.path().join(part);
        std::fs::create_dir(&directory)?;
        Engines::start(&directory, Size { origins: 1, keys: sets.max(1), extent_bytes })
    };
    let empty = engines(0, "empty")?.receiver_bytes;
    let mut engines = engines(sets, "sets")?;
    for set in 0..sets {
        let key = format!("bench-set{set:07}").into_bytes();
        let elements: Vec<_> = (0..members).map(|at| element(at, bytes)).collect();
        for chunk in elements.chunks(ROUND) {
            let insert = |at: usize| (Kind::Set, key.as_slice(), LocalOp::SetInsert(&chunk[at]));
            engines.round(0, chunk.len(), 250, insert)?;
        }
    }
    let elements = (sets * members) as f64;
    let engine = (engines.receiver_bytes - empty) as f64 / elements;
    let cells = sets as u64 * CELL_BYTES + (2 * sets as u64).next_power_of_two() * INDEX_ENTRY_BYTES;
    let segment = (cells + engines.extent_bytes()) as f64 / elements;
    let name = format!("memory of a set's element of {bytes} B, {members} to a set");
    let row = Row::new(Series::single(name, Unit::Bytes, engine + segment));
    let budget = Budget::at_most(Quantity::P50, (3 * bytes + 64) as f64 + KEY_BUDGET_BYTES / members as f64);
    Ok(row.budget(budget).setup(json!({ "engine": engine, "segment": segment, "sets": sets })))
}
