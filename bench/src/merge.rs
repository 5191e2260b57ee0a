//! `merge`: what an operation costs in the engine alone, in memory: encoding it, and decoding, merging and publishing it.
//!
//! ```text
//!   origin: apply, commit, cut frames  ──>  frames, ready  ──>  receiver: decode + merge + publish      <- the headline
//! ```
//!
//! Only the receiver's part counts for `merge` rows, with a real segment under it; frames are cut before its clock starts, and a
//! value is the mean over one round of a thousand operations. Keys are drawn at random, so at 100,000 of them nearly every
//! delta finds its key, its alias and its cell outside of the processor's own caches. Closed loop: a round begins when the one
//! before has ended. After the warm-up the peers know all keys' aliases.

use std::time::{Duration, Instant};

use lattice_crdt::{ActorId, Kind};
use lattice_engine::LocalOp;
use lattice_wire::{MAX_RECORD_BYTES, Op, Record, encode_record};
use serde_json::json;

use crate::budget::{Budget, Quantity};
use crate::engines::{Engines, Operation, Round, Size};
use crate::measure::{Effort, measure};
use crate::report::{Report, Row};
use crate::series::{Series, Unit};

/// Operations of a round; a burst of local operations is never longer.
const ROUND: usize = 1000;
const CORE: usize = 0;

/// Runs all cases.
///
/// # Errors
/// If a segment can't be made, or the engines do not do what they are told.
pub fn run(effort: Effort) -> anyhow::Result<Report> {
    let is_pinned = core_affinity::set_for_current(core_affinity::CoreId { id: CORE });
    let mut report = Report::new("merge", json!({ "loop": "closed", "pinned": is_pinned, "round": ROUND }));
    let many = effort.pick(100_000, 2_000);
    let counter = |_: usize| LocalOp::CounterAdd(1);
    for (keys, budget) in [(1, 20.0), (100, 60.0), (many, 60.0)] {
        let name = if keys == 1 { "counter, one key".into() } else { format!("counter, {keys} keys") };
        // One key is written in bursts of one: a longer burst would make one record of all of them.
        let burst = if keys == 1 { 1 } else { ROUND };
        let [merge, cut] = Case::new(&name, Kind::Counter, keys, burst, effort)?.rows(counter)?;
        let merge = merge.budget(Budget::at_most(Quantity::P50, budget));
        if keys == many {
            report.push_headline(merge)
        } else {
            report.push(merge)
        }
        report.push(cut.budget(Budget::at_most(Quantity::P50, 20.0)));
    }
    for (name, kind) in
        [("flag, 1 k keys", Kind::FlagEnableWins), ("disable-wins flag, 1 k keys", Kind::FlagDisableWins)]
    {
        let flip = |at: usize| if at.is_multiple_of(2) { LocalOp::Enable } else { LocalOp::Disable };
        Case::new(name, kind, 1_000, ROUND, effort)?.rows(flip)?.into_iter().for_each(|row| report.push(row));
    }
    let value = [7; 64];
    for bytes in [16, 64] {
        let name = format!("register of {bytes} B, 1 k keys");
        let set = |_: usize| LocalOp::RegisterSet(&value[..bytes]);
        Case::new(&name, Kind::Register, 1_000, ROUND, effort)?
            .rows(set)?
            .into_iter()
            .for_each(|row| report.push(row));
    }
    for elements in [10, 1_000, effort.pick(100_000, 2_000)] {
        sets(elements, effort)?.into_iter().for_each(|row| report.push(row));
    }
    report.push(encode(effort)?);
    Ok(report)
}

/// Keys of sixteen bytes.
pub(crate) fn names(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|at| format!("bench-key{at:07}").into_bytes()).collect()
}

/// Draws that are the same in each run (xorshift64).
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new() -> Draw {
        Draw(88_172_645_463_325_252)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Two engines and the keys that one writes for the other to merge.
struct Case {
    name: String,
    kind: Kind,
    keys: Vec<Vec<u8>>,
    burst: usize,
    engines: Engines,
    duration: Duration,
    _directory: tempfile::TempDir,
}

impl Case {
    fn new(name: &str, kind: Kind, keys: usize, burst: usize, effort: Effort) -> anyhow::Result<Case> {
        let directory = tempfile::Builder::new().prefix("lattice-bench-").tempdir_in("/dev/shm")?;
        let size = Size { origins: 1, keys: keys + 16, extent_bytes: 16 << 20 };
        Ok(Case {
            name: name.into(),
            kind,
            keys: names(keys),
            burst,
            engines: Engines::start(directory.path(), size)?,
            duration: effort.pick(Duration::from_millis(1500), Duration::from_millis(10)),
            _directory: directory,
        })
    }

    /// What merging costs, and what cutting the frames does, over random keys.
    fn rows<'o>(&mut self, op: impl Fn(usize) -> LocalOp<'o>) -> anyhow::Result<[Row; 2]> {
        let mut at = 0;
        // Twice: the second round is by alias.
        while at < 2 * self.keys.len().max(ROUND) {
            let round = |i: usize| operation(&self.keys, self.kind, at + i, op(i));
            self.engines.round(0, ROUND, self.burst, round)?;
            at += ROUND;
        }
        let mut merge = Series::new(format!("{}: decode + merge + publish", self.name), Unit::Ns);
        let mut cut = Series::new(format!("{}: cut frames", self.name), Unit::Ns);
        let (mut draw, mut total, mut step) = (Draw::new(), Round::default(), 0);
        let began = Instant::now();
        while began.elapsed() < self.duration {
            step += 1;
            let round =
                |i: usize| operation(&self.keys, self.kind, draw.below(self.keys.len()), op(i + step));
            let round = self.engines.round(0, ROUND, self.burst, round)?;
            merge.record(per_delta(round.merge + round.publish, round));
            cut.record(per_delta(round.cut, round));
            total.add(&round);
        }
        let setup = json!({
            "bytes per delta": total.bytes as f64 / total.deltas as f64,
            "deltas per frame": total.deltas as f64 / total.frames as f64,
            "merge alone, ns": per_delta(total.merge, total),
            "publish alone, ns": per_delta(total.publish, total),
        });
        let rate = |duration: Duration| total.deltas as f64 / duration.as_secs_f64();
        let (merge, cut) =
            (merge.with_rate(rate(total.merge + total.publish)), cut.with_rate(rate(total.cut)));
        Ok([Row::new(merge).setup(setup).chart("merge"), Row::new(cut).chart("cut frames")])
    }
}

fn operation<'a>(keys: &'a [Vec<u8>], kind: Kind, at: usize, op: LocalOp<'a>) -> Operation<'a> {
    let key = keys.get(at % keys.len().max(1)).map_or(&[][..], Vec::as_slice);
    (kind, key, op)
}

/// Nanoseconds for each of a round's deltas.
pub(crate) fn per_delta(duration: Duration, round: Round) -> f64 {
    duration.as_nanos() as f64 / round.deltas.max(1) as f64
}

/// Inserting into, and removing from, a set of so many elements of sixteen bytes.
fn sets(elements: usize, effort: Effort) -> anyhow::Result<[Row; 2]> {
    let duration = effort.pick(Duration::from_millis(1200), Duration::from_millis(10));
    let mut set = SetCase::new(elements, 16)?;
    let name = |what: &str| format!("set of {elements}: {what}, decode + merge + publish");
    let mut insert = Series::new(name("insert"), Unit::Ns);
    let mut remove = Series::new(name("remove"), Unit::Ns);
    let began = Instant::now();
    while began.elapsed() < duration {
        let [inserted, removed] = set.there_and_back()?;
        insert.record(per_delta(inserted.merge + inserted.publish, inserted));
        remove.record(per_delta(removed.merge + removed.publish, removed));
    }
    Ok([Row::new(insert).chart("merge"), Row::new(remove).chart("merge")])
}

/// An element of a set, of at least eight bytes. Neighbours in time are none in the set.
pub(crate) fn element(at: usize, bytes: usize) -> Vec<u8> {
    let mut element = vec![b'.'; bytes];
    element[..8].copy_from_slice(&(at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    element
}

/// A set at both hosts, and elements that come and go.
pub(crate) struct SetCase {
    pub(crate) engines: Engines,
    elements: Vec<Vec<u8>>,
    guests: Vec<Vec<u8>>,
    _directory: tempfile::TempDir,
}

impl SetCase {
    /// Elements that come at once, and go at once.
    const GUESTS: usize = 200;

    /// With so many elements of so many bytes.
    pub(crate) fn new(elements: usize, bytes: usize) -> anyhow::Result<SetCase> {
        let directory = tempfile::Builder::new().prefix("lattice-bench-").tempdir_in("/dev/shm")?;
        let extent_bytes = ((elements * (bytes + 8) * 8) as u64).max(4 << 20);
        let engines = Engines::start(directory.path(), Size { origins: 1, keys: 16, extent_bytes })?;
        let element = |at| element(at, bytes);
        let mut set = SetCase {
            engines,
            elements: (0..elements).map(element).collect(),
            guests: (0..Self::GUESTS).map(|at| element(elements + at)).collect(),
            _directory: directory,
        };
        for chunk in set.elements.chunks(ROUND) {
            let insert = |at: usize| (Kind::Set, &b"set"[..], LocalOp::SetInsert(&chunk[at]));
            set.engines.round(0, chunk.len(), 250, insert)?;
        }
        Ok(set)
    }

    /// The guests come, and go.
    pub(crate) fn there_and_back(&mut self) -> anyhow::Result<[Round; 2]> {
        let guests = &self.guests;
        let insert = |at: usize| (Kind::Set, &b"set"[..], LocalOp::SetInsert(&guests[at]));
        let inserted = self.engines.round(0, guests.len(), guests.len(), insert)?;
        let remove = |at: usize| (Kind::Set, &b"set"[..], LocalOp::SetRemove(&guests[at]));
        Ok([inserted, self.engines.round(0, guests.len(), guests.len(), remove)?])
    }
}

/// Encoding one record, as a commit does for each of a burst.
fn encode(effort: Effort) -> anyhow::Result<Row> {
    let keys = names(64);
    let mut buffer = [0; MAX_RECORD_BYTES];
    let mut at = 0_usize;
    let duration = effort.pick(Duration::from_millis(300), Duration::from_millis(3));
    let measured = measure("encode a counter's record", duration, || {
        at += 1;
        let op = Op::Counter { increments: at as u128, decrements: 5 };
        let record = Record { kind: Kind::Counter, key: &keys[at % keys.len()], op };
        Ok(encode_record(&record, ActorId::new(1, 1), &mut buffer)?)
    })?;
    Ok(Row::new(measured.batch).budget(Budget::at_most(Quantity::P50, 20.0)).chart("cut frames"))
}
