//! A writer with a schedule on host A, a reader on host B, and how late the reader saw each write.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lattice_client::{Client, Counter};
use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::{Timespec, clock_gettime};

use crate::series::{Series, Unit};

/// The core of host A's application, which its daemon is on as well; and host B's.
const CORES: [usize; 2] = [0, 1];
/// From the order to begin until the first write is due: threads start, handles open.
const LEAD_NS: u64 = 50_000_000;
/// Writes that only warm up: this share of all.
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
    /// Writes a second.
    pub rate_per_s: u64,
    /// How long.
    pub duration: Duration,
    /// What both applications do between.
    pub waiting: Waiting,
}

impl Writes {
    fn interval_ns(&self) -> u64 {
        1_000_000_000 / self.rate_per_s.max(1)
    }

    fn count(&self) -> u64 {
        (self.duration.as_nanos() as u64 / self.interval_ns()).max(1)
    }
}

/// When each write is due, ns on the monotonic clock.
#[derive(Clone, Copy)]
struct Schedule {
    start_ns: u64,
    interval_ns: u64,
}

impl Schedule {
    fn due_ns(self, write: u64) -> u64 {
        self.start_ns + write * self.interval_ns
    }
}

/// Writes at the daemon of the first socket, watches at the second's, and returns the latency of every write in ns, from
/// when it was due until it was seen there.
///
/// # Errors
/// If a write is refused, or not seen within ten seconds.
pub fn watch_writes(name: &str, sockets: &[PathBuf; 2], writes: Writes) -> Result<Series> {
    let key = "visible";
    let writer = Client::connect(&sockets[0])?;
    let reader = Client::connect(&sockets[1])?;
    let [here, there] = [writer.counter(key)?, reader.counter(key)?];
    // The key has to be known on both sides: the first write of a key opens cells.
    here.add(1)?;
    let known = now_ns();
    while there.get()? != here.get()? || there.get()? == 0 {
        ensure!(now_ns() - known < LOST_AFTER_NS, "the first write never arrived");
        std::thread::sleep(Duration::from_millis(1));
    }
    let base = there.get()?;
    let schedule = Schedule { start_ns: now_ns() + LEAD_NS, interval_ns: writes.interval_ns() };
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            pin(CORES[1]);
            read(name, &reader, &there, base, schedule, writes)
        });
        let writing = scope.spawn(|| {
            pin(CORES[0]);
            write(&writer, &here, schedule, writes)
        });
        writing.join().ok().context("the writer panicked")??;
        reading.join().ok().context("the reader panicked")?
    })
}

fn write(client: &Client, counter: &Counter, schedule: Schedule, writes: Writes) -> Result<()> {
    for number in 0..writes.count() {
        wait_until(schedule.due_ns(number), writes.waiting);
        counter.add(1)?;
    }
    client.barrier(Duration::from_secs(5))?;
    Ok(())
}

fn read(
    name: &str,
    client: &Client,
    counter: &Counter,
    base: i64,
    schedule: Schedule,
    writes: Writes,
) -> Result<Series> {
    let mut series = Series::new(name, Unit::Ns);
    let mut changes = client.changes();
    let (count, warm_up) = (writes.count(), writes.count() / WARM_UP_SHARE);
    let deadline_ns = schedule.due_ns(count) + LOST_AFTER_NS;
    let mut seen = 0;
    while seen < count {
        let found = u64::try_from(counter.get()? - base)?;
        if found == seen {
            match writes.waiting {
                Waiting::Poll => std::thread::yield_now(),
                Waiting::Sleep => drop(changes.next(Duration::from_millis(100))?),
            }
            // Looked at only while nothing comes, so it costs no write anything.
            ensure!(now_ns() < deadline_ns, "{} of {count} writes were never seen", count - seen);
            continue;
        }
        let now_ns = now_ns();
        for write in (seen..found).filter(|&write| write >= warm_up) {
            series.record_ns(now_ns.saturating_sub(schedule.due_ns(write)));
        }
        seen = found;
    }
    Ok(series)
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
fn now_ns() -> u64 {
    let now = clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn pin(core: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
}
