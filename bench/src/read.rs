//! `read`: what it costs to read a counter, a flag, a 64-byte register and a 100-element set from the segment.
//!
//! ```text
//!   core 0: reader ── by handle: the key was found before; by key: hashed and found anew each time
//!   core 1: nobody (quiet), or a writer that publishes the same key as fast as it can
//! ```
//!
//! The limit of a counter or flag is a bare relaxed load of the very word in the segment that the read ends with, so with a
//! writer both wait for the same cache line. The limit of a register or set is a memcpy of as many bytes of memory that
//! nobody writes. Reads and limits are measured by the same loop; what the loop takes with nothing in it is in the setup
//! (`empty_loop_ns`), and is subtracted from neither. Torn reads are looked for after each register's measurement: all words of
//! a value must be equal.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lattice_client::{Client, Error, Register};
use lattice_segment::{
    CellId, Lookup, Reader, Segment, SegmentConfig, Word, Writer, key_hash, layout, monotonic_ns,
};
use serde_json::json;

use crate::budget::{Budget, Quantity};
use crate::measure::{Effort, Measured, measure};
use crate::report::{Report, Row};

const REGISTER_BYTES: usize = 64;
const MEMBERS: u32 = 100;
const READER_CORE: usize = 0;
const WRITER_CORE: usize = 1;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Counter,
    Flag,
    Register,
    Set,
}

impl Target {
    const ALL: [Target; 4] = [Target::Counter, Target::Flag, Target::Register, Target::Set];

    fn key(self) -> &'static str {
        match self {
            Target::Counter => "counter",
            Target::Flag => "flag",
            Target::Register => "register",
            Target::Set => "set",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Target::Counter => "counter",
            Target::Flag => "flag",
            Target::Register => "register 64 B",
            Target::Set => "set of 100",
        }
    }

    fn kind(self) -> u8 {
        match self {
            Target::Counter => layout::KIND_COUNTER,
            Target::Flag => layout::KIND_FLAG_ENABLE_WINS,
            Target::Register => layout::KIND_REGISTER,
            Target::Set => layout::KIND_SET,
        }
    }
}

/// Runs all cases.
///
/// # Errors
/// If the segment can't be made or a read fails; a torn read is an error.
pub fn run(effort: Effort) -> anyhow::Result<Report> {
    let duration = effort.pick(Duration::from_millis(300), Duration::from_millis(3));
    // Where pinning is refused (a container's cpuset) the numbers are noisier, and the report says so.
    let is_pinned = core_affinity::set_for_current(core_affinity::CoreId { id: READER_CORE });
    let directory = tempfile::Builder::new().prefix("lattice-bench-").tempdir_in("/dev/shm")?;
    let path = directory.path().join("segment");
    let empty = measure("empty loop", duration, || Ok(0u64))?;
    let setup = json!({
        "loop": "closed",
        "pinned": is_pinned,
        "cores": { "reader": READER_CORE, "writer": WRITER_CORE },
        "empty_loop_ns": empty.batch.numbers().p50,
        "empty_loop_each_alone_ns": empty.single.numbers().p50,
    });
    let mut report = Report::new("read", setup);
    for has_writer in [false, true] {
        for target in Target::ALL {
            let bench = Bench::start(&path, target, has_writer)?;
            let limit = bench.limit(duration)?;
            for by_handle in [true, false] {
                let name = case_name(target, by_handle, has_writer);
                let measured = bench.read(&name, duration, by_handle)?;
                for row in rows(target, by_handle, has_writer, measured, &limit) {
                    report.push(row);
                }
            }
            bench.stop()?;
        }
    }
    Ok(report)
}

fn case_name(target: Target, by_handle: bool, has_writer: bool) -> String {
    let how = if by_handle { "by handle" } else { "by key" };
    format!("{}, {how}, {}", target.name(), beside(has_writer))
}

fn beside(has_writer: bool) -> &'static str {
    if has_writer { "full-speed writer" } else { "quiet" }
}

/// The means of batches, and each read alone.
fn rows(target: Target, by_handle: bool, has_writer: bool, measured: Measured, limit: &Measured) -> [Row; 2] {
    let setup = json!({ "target": target.name(), "by_handle": by_handle, "beside": beside(has_writer) });
    let chart = format!("{}, {}", target.name(), beside(has_writer));
    let mut batch = Row::new(measured.batch).limit(limit.batch.clone());
    let alone = measured.single.name.clone() + ", each alone";
    let mut single = Row::new(measured.single.named(alone)).limit(limit.single.clone());
    match (target, by_handle, has_writer) {
        (Target::Counter | Target::Flag, true, false) => {
            batch = batch
                .budget(Budget::at_most(Quantity::P50, 5.0))
                .budget(Budget::at_most(Quantity::RatioP50, 2.0));
        }
        (Target::Counter | Target::Flag, true, true) => {
            single = single.budget(Budget::at_most(Quantity::P99, 100.0));
        }
        (Target::Register, true, false) => batch = batch.budget(Budget::at_most(Quantity::P50, 40.0)),
        _ => {}
    }
    [batch.chart(chart.clone()).setup(setup.clone()), single.chart(chart + ", each alone").setup(setup)]
}

/// A segment with one key, its reader, and perhaps its writer at work.
struct Bench {
    target: Target,
    client: Client,
    /// The counter's or flag's word, of which a bare load is the limit.
    word: Option<Word>,
    segment: Segment,
    publisher: Publisher,
}

impl Bench {
    fn start(path: &Path, target: Target, has_writer: bool) -> anyhow::Result<Bench> {
        let (segment, mut writers) = Segment::create(&SegmentConfig {
            path: path.to_owned(),
            node: 1,
            node_name: "bench".into(),
            cluster: "bench".into(),
            actor: 1,
            workers: 1,
            shards: 1,
            cells_per_worker: 1024,
            extent_bytes_per_worker: 8 << 20,
            change_ring_entries: 1024,
            heartbeat_timeout_ns: 60_000_000_000,
            socket_path: None,
        })?;
        let mut writer = writers.pop().context("no writer")?;
        writer.heartbeat(monotonic_ns());
        let cell =
            writer.open_cell(target.kind(), key_hash(target.key().as_bytes()), target.key().as_bytes())?;
        for round in 0..MEMBERS {
            publish(&mut writer, target, cell, u64::from(round))?;
        }
        segment.mark_ready();
        let publisher = Publisher::start(has_writer.then_some((writer, cell)), target);
        let reader = Reader::open(path)?;
        let word = match reader.lookup(target.kind(), target.key().as_bytes()) {
            Lookup::Found(cell) => reader.word_at_hand(cell).ok(),
            _ => None,
        };
        Ok(Bench { target, client: Client::open_read_only(path)?, word, segment, publisher })
    }

    fn read(&self, name: &str, duration: Duration, by_handle: bool) -> anyhow::Result<Measured> {
        let client = &self.client;
        let by_key = client.by_key();
        let key = self.target.key();
        match self.target {
            Target::Counter if by_handle => {
                let counter = client.counter(key)?;
                measure(name, duration, || Ok(counter.get()?))
            }
            Target::Counter => measure(name, duration, || Ok(by_key.counter(key)?)),
            Target::Flag if by_handle => {
                let flag = client.flag(key)?;
                measure(name, duration, || Ok(flag.get()?))
            }
            Target::Flag => measure(name, duration, || Ok(by_key.flag(key)?)),
            Target::Register => {
                let register = client.register(key)?;
                let mut bytes = Vec::with_capacity(REGISTER_BYTES);
                let measured = measure(name, duration, || {
                    if by_handle {
                        Ok(register.get_into(&mut bytes)?)
                    } else {
                        Ok(by_key.register_into(key, &mut bytes)?)
                    }
                })?;
                look_for_torn_reads(duration, &register)?;
                Ok(measured)
            }
            Target::Set => {
                let set = client.set(key)?;
                measure(name, duration, || {
                    let mut visited = 0u32;
                    let visit = |element: &[u8]| visited += u32::from(!black_box(element).is_empty());
                    let result = if by_handle {
                        set.for_each_member(visit)
                    } else {
                        by_key.for_each_member(key, visit)
                    };
                    match result {
                        // The writer may change buckets faster than they can be walked: an answer too, and counted in the time.
                        Err(Error::Busy) => Ok(()),
                        result => {
                            result?;
                            ensure!(visited >= MEMBERS, "{visited} members of {MEMBERS}");
                            Ok(())
                        }
                    }
                })
            }
        }
    }

    /// The best possible: a load of a word, or a copy of as many bytes.
    fn limit(&self, duration: Duration) -> anyhow::Result<Measured> {
        let copied_bytes = match self.target {
            Target::Counter | Target::Flag => {
                let word = self.word.as_ref().map(Word::bare).context("no word")?;
                if self.target == Target::Flag {
                    return measure("atomic load", duration, || Ok(word.load(Relaxed) != 0));
                }
                return measure("atomic load", duration, || Ok(word.load(Relaxed)));
            }
            Target::Register => REGISTER_BYTES,
            Target::Set => MEMBERS as usize * element(0).len(),
        };
        let source = vec![7u8; copied_bytes];
        let mut copy = vec![0u8; copied_bytes];
        measure("memcpy", duration, || {
            copy.copy_from_slice(black_box(&source));
            black_box(&mut copy);
            Ok(())
        })
    }

    fn stop(self) -> anyhow::Result<()> {
        self.publisher.stop()?;
        self.segment.close();
        Ok(())
    }
}

/// Reads for a while and looks at every value; outside of the measurement, as looking costs more than reading.
fn look_for_torn_reads(duration: Duration, register: &Register) -> anyhow::Result<()> {
    let mut bytes = Vec::with_capacity(REGISTER_BYTES);
    let started = Instant::now();
    while started.elapsed() < duration / 3 {
        register.get_into(&mut bytes)?;
        check_whole(&bytes)?;
    }
    Ok(())
}

/// All words of a register's value are the same: it was published whole, so it must be read whole.
fn check_whole(bytes: &[u8]) -> anyhow::Result<()> {
    ensure!(bytes.len() == REGISTER_BYTES, "{} bytes of {REGISTER_BYTES}", bytes.len());
    ensure!(bytes.chunks_exact(8).all(|word| word == &bytes[..8]), "a torn read: {bytes:?}");
    Ok(())
}

fn element(number: u32) -> [u8; 12] {
    let mut element = *b"member/0000\0";
    element[7..11].copy_from_slice(&number.to_be_bytes());
    element
}

/// Publishes the `round`-th value: the next count, the other switch position, other words, a member more or less.
fn publish(writer: &mut Writer, target: Target, cell: CellId, round: u64) -> anyhow::Result<()> {
    match target {
        Target::Counter => writer.publish_word(cell, round),
        Target::Flag => writer.publish_word(cell, round & 1),
        Target::Register => {
            let mut value = [0u8; REGISTER_BYTES];
            for word in value.chunks_exact_mut(8) {
                word.copy_from_slice(&round.to_le_bytes());
            }
            writer.publish_bytes(cell, &value)?;
        }
        Target::Set => {
            // The hundred stay; the writer lets one more come and go.
            let element = element(round.min(u64::from(MEMBERS)) as u32);
            if round > u64::from(MEMBERS) && round % 2 == 1 {
                writer.set_remove(cell, &element)?;
            } else {
                writer.set_insert(cell, &element)?;
            }
        }
    }
    writer.end_burst();
    Ok(())
}

/// The full-speed writer on the other core, or the writer at rest.
struct Publisher {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Publisher {
    fn start(work: Option<(Writer, CellId)>, target: Target) -> Publisher {
        // The last round that was published.
        let published = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = work.map(|(mut writer, cell)| {
            let (published, stop) = (Arc::clone(&published), Arc::clone(&stop));
            std::thread::spawn(move || {
                core_affinity::set_for_current(core_affinity::CoreId { id: WRITER_CORE });
                let mut round = u64::from(MEMBERS);
                // Relaxed: neither the flag nor the number has data behind it.
                while !stop.load(Relaxed) {
                    publish(&mut writer, target, cell, round)?;
                    published.store(round, Relaxed);
                    round += 1;
                }
                Ok(())
            })
        });
        if thread.is_some() {
            while published.load(Relaxed) == 0 {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        Publisher { stop, thread }
    }

    fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Relaxed);
        match self.thread.map(JoinHandle::join) {
            Some(Ok(result)) => result.context("the writer"),
            Some(Err(_)) => anyhow::bail!("the writer panicked"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_run_has_every_case_beside_its_limit() {
        let report = run(Effort::QUICK).unwrap();
        assert_eq!(report.rows.len(), 32);
        assert!(report.rows.iter().all(|row| row.limit.is_some() && row.series.count() > 0));
        assert_eq!(report.rows.iter().map(|row| row.budgets.len()).sum::<usize>(), 7);
    }

    #[test]
    fn a_torn_value_is_an_error() {
        let mut value = [3u8; REGISTER_BYTES];
        assert!(check_whole(&value).is_ok());
        value[REGISTER_BYTES - 1] = 4;
        assert!(check_whole(&value).is_err());
        assert!(check_whole(&value[..8]).is_err());
    }
}
