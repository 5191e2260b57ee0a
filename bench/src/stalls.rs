//! What the machine takes from whoever polls: the floor under every tail.
//!
//! ```text
//!   core 0:  clock clock clock ────── stall ────── clock clock …        one polling thread a core, nothing else to do
//!   due:       |  |  |  |  |  |  |  |  |  |  |  |  |  |  |  |           something is due each microsecond
//!   waits:     0  0  0  9  8  7  6  5  4  3  2  1  0  0  0  0 µs        until the core is there again
//! ```
//!
//! A thread that only reads the clock, on a core that nobody else asked for, finds that time has jumped: an interrupt, a
//! thread of the kernel, a hypervisor that gave the core to another guest. Whatever was due meanwhile waits that long before a
//! single instruction of any program can run for it. The distribution of these waits is what an open-loop bench with
//! infinitely fast programs would show: a measured percentile beyond the one that the machine has here says nothing of the
//! programs. (Gil Tene's jHiccup is the same idea for sleeping threads.)

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::measure::Effort;
use crate::series::{Series, Unit};

/// Shorter jumps of the clock are what reading it costs.
const STALL_NS: u64 = 1_000;
/// How often something is due.
const DUE_EVERY_NS: u64 = 1_000;
/// Stalls that are kept, a core. More than fit in the longest run; beyond it they are left out.
const MAX_STALLS: usize = 1 << 20;

/// Polls on each of the given cores at the same time, and returns how long what is due at any moment waits for its core, in
/// ns: one series a core.
///
/// # Errors
/// If a core can't be taken.
pub fn measure(cores: &[usize], effort: Effort) -> Result<Vec<Series>> {
    let duration = effort.pick(Duration::from_secs(4), Duration::from_millis(30));
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            cores.iter().map(|core| scope.spawn(move || (*core, poll(*core, duration)))).collect();
        threads
            .into_iter()
            .map(|thread| {
                let (core, polled) = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                Ok(waits(&format!("a bare polling thread, core {core}"), duration, &polled?))
            })
            .collect()
    })
}

/// The stalls of a core, each in ns.
fn poll(core: usize, duration: Duration) -> Result<Vec<u64>> {
    anyhow::ensure!(
        core_affinity::set_for_current(core_affinity::CoreId { id: core }),
        "no thread can be pinned to core {core}"
    );
    let mut stalls = Vec::with_capacity(MAX_STALLS);
    let started = Instant::now();
    let mut last = started;
    while last.duration_since(started) < duration {
        let now = Instant::now();
        let jump_ns = now.duration_since(last).as_nanos() as u64;
        if jump_ns >= STALL_NS && stalls.len() < MAX_STALLS {
            stalls.push(jump_ns);
        }
        last = now;
    }
    Ok(stalls)
}

/// What was due each microsecond of `duration`, given the stalls in it.
fn waits(name: &str, duration: Duration, stalls_ns: &[u64]) -> Series {
    let mut series = Series::new(name, Unit::Ns).with_rate(1e9 / DUE_EVERY_NS as f64);
    let mut waiting = 0;
    for stall_ns in stalls_ns {
        for passed_ns in (0..*stall_ns).step_by(DUE_EVERY_NS as usize) {
            series.record_ns(stall_ns - passed_ns);
            waiting += 1;
        }
    }
    let due = duration.as_nanos() as u64 / DUE_EVERY_NS;
    for _ in waiting..due {
        series.record_ns(0);
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_for_everything_that_was_due_in_it() {
        // 10 ms, and in it one stall of 1 ms: a tenth waits, evenly up to a millisecond.
        let series = waits("x", Duration::from_millis(10), &[1_000_000]);
        let numbers = series.numbers();
        assert_eq!(numbers.count, 10_000);
        assert_eq!(numbers.p50, 0.0);
        assert!((890_000.0..=910_000.0).contains(&numbers.p99), "{}", numbers.p99);
        assert_eq!(numbers.max, 1_000_000.0);
    }

    #[test]
    fn a_core_without_stalls_waits_for_nothing() {
        let numbers = waits("x", Duration::from_millis(1), &[]).numbers();
        assert_eq!((numbers.count, numbers.max), (1_000, 0.0));
    }
}
