//! One program that writes at host A and looks at host B, on a core of its own.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::schedule::{Ends, Schedule, Writes, now_ns, pin};
use crate::series::Series;

/// A core without a daemon.
const CORE: usize = 0;

/// Writes at the daemon of the first socket, looks at the second's between the writes, and returns the latency of every
/// write in ns, from when it was due until it was seen there. A write is made when it is due, whatever has been seen by
/// then; one that finds the ring full is made as soon as there is room, and late all the same.
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
        let found = ends.found()?;
        if found > latencies.seen() {
            latencies.saw(found, now_ns());
            continue;
        }
        if written < count && now_ns() >= schedule.due_ns(written) {
            written += u64::from(ends.write()?);
        }
        std::hint::spin_loop();
        ensure!(now_ns() < lost_ns, "{} of {count} writes were never seen", count - latencies.seen());
    }
    Ok(latencies.series)
}
