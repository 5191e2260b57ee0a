//! One program that writes at host A and looks at host B: as much room as two cores leave.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::schedule::{Ends, Schedule, Writes, now_ns, pin};
use crate::series::Series;

/// From here on before a write is due the program computes, as one that is about to write does, and keeps the core.
const COMPUTES_FOR_NS: u64 = 15_000;
/// While a write is under way the program goes on looking for so long before it offers the core again: longer than the
/// frame takes, shorter than handing the core over and getting it back twice.
const LOOKS_FOR_NS: u64 = 1_500;
/// Beside daemon A, so that daemon B has a core for itself.
const CORE: usize = 0;

/// Writes at the daemon of the first socket, looks at the second's between the writes, and returns the latency of every
/// write in ns, from when it was due until it was seen there. A write is made when it is due, whatever has been seen by
/// then.
///
/// # Errors
/// If a write is refused, or not seen within ten seconds.
pub fn probe_writes(name: &str, sockets: &[PathBuf; 2], writes: Writes) -> Result<Series> {
    let ends = Ends::open(sockets)?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            pin(CORE);
            probe(name, &ends, writes)
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn probe(name: &str, ends: &Ends, writes: Writes) -> Result<Series> {
    let schedule = Schedule::new(writes);
    let mut latencies = schedule.latencies(name);
    let (count, lost_ns) = (schedule.count(), schedule.lost_ns());
    let mut written = 0;
    while latencies.seen() < count {
        let found = look(ends, latencies.seen(), written)?;
        if found > latencies.seen() {
            latencies.saw(found, now_ns());
            continue;
        }
        if written < count && now_ns() + COMPUTES_FOR_NS >= schedule.due_ns(written) {
            while now_ns() < schedule.due_ns(written) {
                std::hint::spin_loop();
            }
            ends.here.add(1)?;
            written += 1;
        }
        std::thread::yield_now();
        ensure!(now_ns() < lost_ns, "{} of {count} writes were never seen", count - latencies.seen());
    }
    Ok(latencies.series)
}

/// How many writes have arrived; waits a moment if there is one to wait for.
fn look(ends: &Ends, seen: u64, written: u64) -> Result<u64> {
    let began_ns = now_ns();
    loop {
        let found = ends.found()?;
        if found > seen || written == seen || now_ns() - began_ns > LOOKS_FOR_NS {
            return Ok(found);
        }
        std::hint::spin_loop();
    }
}
