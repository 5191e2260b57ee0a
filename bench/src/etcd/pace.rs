//! The schedule of an open loop, and how both systems' writers keep it.
//!
//! ```text
//!   start      due 0     due 1     due 2                 latency of n: from due n until it is answered, or seen
//!     │── lead ──│─────────│─────────│──…
//!                    ┌ sleep ┐┌ poll ┐│ send
//! ```
//!
//! Write *n* is due at start + n / rate whatever became of the others, so a stall is counted for each write that it held up
//! (coordinated omission). A sleeper is woken some 50 to 100 µs late here, which would be a small part of etcd's latency and most
//! of ours: both writers sleep until shortly before a write is due, then poll.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// From the order to begin until the first write is due.
const LEAD: Duration = Duration::from_millis(20);
/// How long before a write is due its writer begins to poll.
const EARLY: Duration = Duration::from_micros(200);
/// How long before a write is due its writer stops offering its core.
const AT_ONCE: Duration = Duration::from_micros(20);

/// A schedule.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    start: Instant,
    interval: Duration,
    count: u64,
}

impl Pace {
    /// From a moment from now, so many writes a second, for so long.
    #[must_use]
    pub fn new(rate_per_s: u32, duration: Duration) -> Pace {
        let interval = Duration::from_secs(1) / rate_per_s.max(1);
        let count = (duration.as_nanos() / interval.as_nanos()).max(1) as u64;
        Pace { start: Instant::now() + LEAD, interval, count }
    }

    /// How many writes.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// When a write is due.
    #[must_use]
    pub fn due(&self, write: u64) -> Instant {
        self.start + self.interval * u32::try_from(write).unwrap_or(u32::MAX)
    }

    /// How long ago a write was due.
    #[must_use]
    pub fn late(&self, write: u64, now: Instant) -> Duration {
        now.saturating_duration_since(self.due(write))
    }

    /// Waits until a write is due.
    pub fn wait(&self, write: u64) {
        self.sleep(write);
        let due = self.due(write);
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // A turn of the daemons on this core takes a few microseconds: the writer would be late by so much.
            if left < AT_ONCE { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }

    /// Sleeps until shortly before a write is due.
    fn sleep(&self, write: u64) {
        let left = self.due(write).saturating_duration_since(Instant::now());
        std::thread::sleep(left.saturating_sub(EARLY));
    }
}

/// Waits for a schedule's writes within an async runtime, whose own timers know milliseconds only: a thread that sleeps
/// knocks at the runtime shortly before each write.
pub struct Alarm {
    pace: Pace,
    knocks: UnboundedReceiver<u64>,
}

impl Alarm {
    /// Begins to knock. The thread ends with the schedule, or when nobody listens any more.
    #[must_use]
    pub fn start(pace: Pace) -> Alarm {
        let (sender, knocks) = unbounded_channel();
        std::thread::spawn(move || {
            for write in 0..pace.count() {
                pace.sleep(write);
                if sender.send(write).is_err() {
                    return;
                }
            }
        });
        Alarm { pace, knocks }
    }

    /// Waits until the next write is due, and says which it is; `None` after the last.
    pub async fn next(&mut self) -> Option<u64> {
        let write = self.knocks.recv().await?;
        while Instant::now() < self.pace.due(write) {
            tokio::task::yield_now().await;
        }
        Some(write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_due_at_even_distances_and_late_from_then_on() {
        let pace = Pace::new(200, Duration::from_millis(100));
        assert_eq!(pace.count(), 20);
        assert_eq!(pace.due(3) - pace.due(0), Duration::from_millis(15));
        let now = pace.due(2) + Duration::from_millis(7);
        assert_eq!(pace.late(2, now), Duration::from_millis(7));
        assert_eq!(pace.late(0, now), Duration::from_millis(17));
        assert_eq!(pace.late(9, now), Duration::ZERO);
    }

    #[test]
    fn nobody_is_woken_before_a_write_is_due() {
        let pace = Pace::new(1000, Duration::from_millis(3));
        pace.wait(0);
        assert!(Instant::now() >= pace.due(0));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut alarm = Alarm::start(pace);
            for expected in 0..pace.count() {
                assert_eq!(alarm.next().await, Some(expected));
                assert!(Instant::now() >= pace.due(expected));
            }
            assert_eq!(alarm.next().await, None);
        });
    }
}
