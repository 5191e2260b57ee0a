//! Waiting for a ring to advance: spin, then yield, then sleep.
//!
//! A busy worker answers within a microsecond, a yielding one on the same core needs the core, a sleeping one needs a
//! scheduler's turn. So a wait costs at most its first few microseconds of spinning and never keeps a core from the worker.

use std::time::Duration;

use crate::clock::monotonic_ns;

const SPINS: u32 = 100;
const YIELD_FOR_NS: u64 = 200_000;
const SHORTEST_SLEEP_NS: u64 = 50_000;
const LONGEST_SLEEP_NS: u64 = 1_000_000;

/// One wait, from its first look to its deadline.
pub(crate) struct Pause {
    started_ns: u64,
    deadline_ns: u64,
    spins: u32,
    sleep_ns: u64,
}

impl Pause {
    pub fn new(timeout: Duration) -> Pause {
        let started_ns = monotonic_ns();
        let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        Pause {
            started_ns,
            deadline_ns: started_ns.saturating_add(timeout_ns),
            spins: 0,
            sleep_ns: SHORTEST_SLEEP_NS,
        }
    }

    /// Pauses, longer each time. False: the time is up.
    pub fn pause(&mut self) -> bool {
        self.pause_with(std::thread::sleep)
    }

    /// True if the next pause is a sleep.
    pub fn sleeps_next(&self) -> bool {
        self.spins >= SPINS && monotonic_ns() - self.started_ns >= YIELD_FOR_NS
    }

    /// [`Pause::pause`] with another way to sleep, which may end sooner.
    pub fn pause_with(&mut self, sleep: impl FnOnce(Duration)) -> bool {
        if self.spins < SPINS {
            self.spins += 1;
            std::hint::spin_loop();
            return true;
        }
        let now_ns = monotonic_ns();
        if now_ns >= self.deadline_ns {
            return false;
        }
        if now_ns - self.started_ns < YIELD_FOR_NS {
            std::thread::yield_now();
        } else {
            sleep(Duration::from_nanos(self.sleep_ns.min(self.deadline_ns - now_ns)));
            self.sleep_ns = (self.sleep_ns * 2).min(LONGEST_SLEEP_NS);
        }
        true
    }

    /// True once the wait is long enough that the daemon itself should be looked at, with a system call.
    pub fn is_long(&self) -> bool {
        self.sleep_ns > SHORTEST_SLEEP_NS
    }

    /// How long this wait has lasted.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(monotonic_ns() - self.started_ns)
    }
}
