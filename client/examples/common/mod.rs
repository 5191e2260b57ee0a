//! What the examples share: connecting, printing, pacing, and knowing when to stop.

#![allow(dead_code, reason = "each example uses its part of it")]

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lattice_client::{Client, Error};
use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::{Timespec, clock_gettime};

/// How long an example waits for its daemon to come up.
const CONNECT_FOR: Duration = Duration::from_secs(10);

/// Connects, waiting a while for a daemon that is still starting.
pub fn connect(socket: &Path) -> Result<Client, Error> {
    let started = Instant::now();
    loop {
        match Client::connect(socket) {
            Err(Error::Connect { .. }) if started.elapsed() < CONNECT_FOR => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

/// Prints one JSON object as one line, at once.
pub fn print(value: &serde_json::Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

/// Becomes true when the other end closes this process's standard input.
pub fn stdin_closed() -> Arc<AtomicBool> {
    let closed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&closed);
    std::thread::spawn(move || {
        let mut bytes = [0u8; 256];
        while std::io::stdin().read(&mut bytes).is_ok_and(|read| read > 0) {}
        // Relaxed: a flag without data behind it.
        seen.store(true, Ordering::Relaxed);
    });
    closed
}

/// `CLOCK_MONOTONIC` in ns: the same on every network namespace of a machine.
pub fn now_ns() -> u64 {
    let now = clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// An open-loop schedule: due times stand in advance, so that a slow step does not thin out the load.
pub struct Schedule {
    next_ns: u64,
    interval_ns: u64,
}

impl Schedule {
    /// So many steps a second, from now on.
    pub fn new(rate_per_s: u64) -> Schedule {
        Schedule { next_ns: now_ns(), interval_ns: 1_000_000_000 / rate_per_s.max(1) }
    }

    /// Sleeps until the next due time; the core is free for others meanwhile.
    pub fn wait(&mut self) {
        let due = Timespec {
            tv_sec: (self.next_ns / 1_000_000_000) as i64,
            tv_nsec: (self.next_ns % 1_000_000_000) as i64,
        };
        if now_ns() < self.next_ns {
            // An interrupted sleep only makes one step early.
            let _ = clock_nanosleep_absolute(ClockId::Monotonic, &due);
        }
        self.next_ns += self.interval_ns;
    }
}

/// A histogram from 1 ns to a minute with three significant digits.
pub fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}
