//! The limit of a write: one hop through a bare single-producer single-consumer ring.
//!
//! ```text
//!   producer: slot = words; tail + 1 (release) ──> consumer: tail (acquire), slot; head + 1 (release)
//! ```
//!
//! Slots of 64 bytes, as the client rings have, of which three words are written, as an addition by handle has; tail and
//! head on lines of their own. Nothing is checked and nobody sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::measure::measure;
use crate::series::{Series, Unit};

/// The core of the other end.
const ECHO_CORE: usize = 0;
const SLOTS: usize = 1024;
const WORDS: usize = 3;
/// Pushes between two waits for the other end: fewer than slots.
const BURST: u64 = 64;
/// Looks before a wait offers its core.
const SPINS: u32 = 2_000;

#[repr(align(64))]
#[derive(Default)]
struct Slot([AtomicU64; WORDS]);

#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

struct Ring {
    tail: Line,
    head: Line,
    slots: Box<[Slot]>,
}

impl Ring {
    fn new() -> Arc<Ring> {
        let slots = (0..SLOTS).map(|_| Slot::default()).collect();
        Arc::new(Ring { tail: Line::default(), head: Line::default(), slots })
    }

    fn slot(&self, position: u64) -> &Slot {
        &self.slots[position as usize % SLOTS]
    }

    /// The caller knows that there is room.
    fn push(&self, position: u64, value: u64) {
        for word in &self.slot(position).0 {
            word.store(value, Ordering::Relaxed);
        }
        // Pairs with the acquire in `pop`: the slot's words are there.
        self.tail.0.store(position + 1, Ordering::Release);
    }

    fn pop(&self, position: u64) -> Option<u64> {
        // Pairs with the release in `push`.
        if self.tail.0.load(Ordering::Acquire) <= position {
            return None;
        }
        let sum = self.slot(position).0.iter().map(|word| word.load(Ordering::Relaxed)).sum::<u64>();
        // Pairs with the acquire in `taken`: the slot's words were read.
        self.head.0.store(position + 1, Ordering::Release);
        Some(sum / WORDS as u64)
    }

    fn taken(&self) -> u64 {
        // Pairs with the release in `pop`.
        self.head.0.load(Ordering::Acquire)
    }
}

/// The other end: takes from `there`, and sends back through `back` if there is one.
struct Echo {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Echo {
    fn start(there: Arc<Ring>, back: Option<Arc<Ring>>) -> Echo {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            core_affinity::set_for_current(core_affinity::CoreId { id: ECHO_CORE });
            let mut position = 0;
            // Relaxed: the flag has no data behind it.
            while !stopped.load(Ordering::Relaxed) {
                let Some(value) = there.pop(position) else { continue };
                if let Some(back) = &back {
                    back.push(position, value);
                }
                position += 1;
            }
        });
        Echo { stop, thread }
    }

    fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the other end panicked")
    }
}

/// Polls; offers the core only when the other end has lost its own to somebody.
fn wait(is_done: impl Fn() -> bool) {
    let mut looks = 0_u32;
    while !is_done() {
        looks += 1;
        if looks.is_multiple_of(SPINS) { std::thread::yield_now() } else { std::hint::spin_loop() }
    }
}

/// Half of the round trip of one message.
///
/// # Errors
/// If the other end panicked.
pub fn one_way(duration: Duration) -> Result<Series> {
    let (there, back) = (Ring::new(), Ring::new());
    let echo = Echo::start(Arc::clone(&there), Some(Arc::clone(&back)));
    let mut series = Series::new("ring hop", Unit::Ns);
    let started = Instant::now();
    for position in 0.. {
        let sent = Instant::now();
        there.push(position, position);
        wait(|| back.pop(position).is_some());
        let now = Instant::now();
        if now - started >= duration / 10 {
            series.record_ps((now - sent).as_nanos() as u64 * 1000 / 2);
        }
        if now - started >= duration {
            break;
        }
    }
    echo.stop()?;
    Ok(series)
}

/// What a push alone costs, with the other end taking all the time: the mean of bursts of 64, and single calls.
///
/// # Errors
/// If the other end panicked.
pub fn push(duration: Duration) -> Result<(Series, Series)> {
    let ring = Ring::new();
    let echo = Echo::start(Arc::clone(&ring), None);
    let mut batch = Series::new("bare ring push", Unit::Ns);
    let mut position = 0;
    let started = Instant::now();
    while started.elapsed() < duration / 2 {
        let burst_started = Instant::now();
        for _ in 0..BURST {
            ring.push(position, position);
            position += 1;
        }
        batch.record_ps(burst_started.elapsed().as_nanos() as u64 * 1000 / BURST);
        wait(|| ring.taken() == position);
    }
    let single = measure("bare ring push", duration / 2, || {
        if position.is_multiple_of(BURST) {
            wait(|| ring.taken() == position);
        }
        ring.push(position, position);
        position += 1;
        Ok(())
    })?;
    echo.stop()?;
    Ok((batch, single.single))
}
