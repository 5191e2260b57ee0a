//! A schedule of writes, how late each was seen, and two programs that keep to it: a writer on host A, a reader on host B.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lattice_client::{Client, Counter, Error};
use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::{Timespec, clock_gettime};

use crate::series::{Series, Unit};

/// The core of host A's application, which its daemon is on as well; and host B's.
const CORES: [usize; 2] = [0, 1];
/// From the order to begin until the first write is due: threads start, handles open.
const LEAD_NS: u64 = 20_000_000;
/// This share of all writes only warms up.
const WARM_UP_SHARE: u64 = 10;
/// A write that is not seen by then will not be.
const LOST_AFTER_NS: u64 = 10_000_000_000;

/// What an application does between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Offers the core, and looks again.
    Poll,
    /// Sleeps: the writer until the next write is due, the reader until something was published.
    Sleep,
}

/// The writes of one run.
#[derive(Clone, Copy, Debug)]
pub struct Writes {
    /// From one write to the next.
    pub interval: Duration,
    /// How long.
    pub duration: Duration,
}

/// When each write is due, ns on the monotonic clock.
#[derive(Clone, Copy)]
pub(super) struct Schedule {
    start_ns: u64,
    interval_ns: u64,
    count: u64,
}

impl Schedule {
    /// Begins in a moment.
    pub fn new(writes: Writes) -> Schedule {
        let interval_ns = (writes.interval.as_nanos() as u64).max(1);
        let count = (writes.duration.as_nanos() as u64 / interval_ns).max(WARM_UP_SHARE);
        Schedule { start_ns: now_ns() + LEAD_NS, interval_ns, count }
    }

    pub fn count(self) -> u64 {
        self.count
    }

    pub fn due_ns(self, write: u64) -> u64 {
        self.start_ns + write * self.interval_ns
    }

    /// When to give up.
    pub fn lost_ns(self) -> u64 {
        self.due_ns(self.count) + LOST_AFTER_NS
    }

    pub fn latencies(self, name: &str) -> Latencies {
        Latencies { schedule: self, seen: 0, series: Series::new(name, Unit::Ns) }
    }
}

/// What a reader has seen, and how late.
pub(super) struct Latencies {
    schedule: Schedule,
    seen: u64,
    pub series: Series,
}

impl Latencies {
    /// How many writes were seen so far.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Of all writes, the first `found` were there at that time.
    pub fn saw(&mut self, found: u64, at_ns: u64) {
        let warm_up = self.schedule.count / WARM_UP_SHARE;
        for write in (self.seen..found).filter(|&write| write >= warm_up) {
            self.series.record_ns(at_ns.saturating_sub(self.schedule.due_ns(write)));
        }
        self.seen = found;
    }
}

/// The counter at both hosts, known there.
pub(super) struct Ends {
    writer: Client,
    reader: Client,
    here: Counter,
    there: Counter,
    base: i64,
}

impl Ends {
    /// Connects to both, and sees to it that the key is known at both: the first write of a key opens cells.
    pub fn open(sockets: &[PathBuf; 2]) -> Result<Ends> {
        let key = "visible";
        let (writer, reader) = (Client::connect(&sockets[0])?, Client::connect(&sockets[1])?);
        let (here, there) = (writer.counter(key)?, reader.counter(key)?);
        here.add_wait(1, Duration::from_secs(5))?;
        let (base, began_ns) = (here.get()?, now_ns());
        while there.get()? != base {
            ensure!(now_ns() - began_ns < LOST_AFTER_NS, "the first write never arrived");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Ends { writer, reader, here, there, base })
    }

    /// Makes a write at host A. False: the ring is full, for the daemon has not had the core for long.
    pub fn write(&self) -> Result<bool> {
        match self.here.add(1) {
            Ok(_) => Ok(true),
            Err(Error::RingFull { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// How many writes have reached host B.
    pub fn found(&self) -> Result<u64> {
        Ok(u64::try_from(self.there.get()? - self.base)?)
    }
}

/// Writes at the daemon of the first socket, watches at the second's, and returns the latency of every write in ns, from
/// when it was due until it was seen there.
///
/// # Errors
/// If a write is refused, or not seen within ten seconds.
pub fn watch_writes(name: &str, sockets: &[PathBuf; 2], writes: Writes, waiting: Waiting) -> Result<Series> {
    let ends = Ends::open(sockets)?;
    let schedule = Schedule::new(writes);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            pin(CORES[1]);
            read(name, &ends, schedule, waiting)
        });
        let writing = scope.spawn(|| {
            pin(CORES[0]);
            write(&ends, schedule, waiting)
        });
        writing.join().ok().context("the writer panicked")??;
        reading.join().ok().context("the reader panicked")?
    })
}

fn write(ends: &Ends, schedule: Schedule, waiting: Waiting) -> Result<()> {
    for number in 0..schedule.count() {
        wait_until(schedule.due_ns(number), waiting);
        while !ends.write()? {
            std::thread::yield_now();
        }
    }
    ends.writer.barrier(Duration::from_secs(5))?;
    Ok(())
}

fn read(name: &str, ends: &Ends, schedule: Schedule, waiting: Waiting) -> Result<Series> {
    let mut changes = ends.reader.changes();
    let mut latencies = schedule.latencies(name);
    let (count, lost_ns) = (schedule.count(), schedule.lost_ns());
    while latencies.seen() < count {
        let found = ends.found()?;
        if found > latencies.seen() {
            latencies.saw(found, now_ns());
            continue;
        }
        match waiting {
            Waiting::Poll => std::thread::yield_now(),
            Waiting::Sleep => drop(changes.next(Duration::from_millis(100))?),
        }
        // Looked at only while nothing comes, so it costs no write anything.
        ensure!(now_ns() < lost_ns, "{} of {count} writes were never seen", count - latencies.seen());
    }
    Ok(latencies.series)
}

fn wait_until(due_ns: u64, waiting: Waiting) {
    let due = Timespec { tv_sec: (due_ns / 1_000_000_000) as i64, tv_nsec: (due_ns % 1_000_000_000) as i64 };
    while now_ns() < due_ns {
        match waiting {
            Waiting::Poll => std::thread::yield_now(),
            // An interrupted sleep goes on in the next round.
            Waiting::Sleep => drop(clock_nanosleep_absolute(ClockId::Monotonic, &due)),
        }
    }
}

/// `CLOCK_MONOTONIC` in ns: the same in every network namespace of a machine.
pub(super) fn now_ns() -> u64 {
    let now = clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

pub(super) fn pin(core: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
}
