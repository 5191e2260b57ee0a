//! The worker's two clocks, read as rarely as they can be.
//!
//! Timers run on the monotonic clock, which is read once a turn (through the vDSO, some 25 ns). The wall clock only
//! stamps registers and heartbeats, so it is derived: monotonic time plus an offset that is measured anew every
//! millisecond. A stepped wall clock is thus noticed within a millisecond, and between two measurements the two clocks
//! drift apart by nanoseconds; stamps that would go back by those are what the hybrid logical clock is for.

use lattice_engine::Instant;
use rustix::time::{ClockId, clock_gettime};

/// How long a measured offset is used.
const REMEASURE_NS: u64 = 1_000_000;

/// Both clocks of one worker.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// Wall minus monotonic time; wrapping, as clocks may be set to anything.
    wall_offset_ns: u64,
    remeasure_at_ns: u64,
}

impl Clock {
    /// The present moment.
    pub(crate) fn now(&mut self) -> Instant {
        let monotonic_ns = read(ClockId::Monotonic);
        if monotonic_ns >= self.remeasure_at_ns {
            self.wall_offset_ns = read(ClockId::Realtime).wrapping_sub(monotonic_ns);
            self.remeasure_at_ns = monotonic_ns + REMEASURE_NS;
        }
        Instant { monotonic_ns, wall_ns: monotonic_ns.wrapping_add(self.wall_offset_ns) }
    }
}

/// The monotonic clock now, for what must not take longer than it may within a turn.
pub(crate) fn monotonic_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// One clock in nanoseconds. Before 1970 is 0.
fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn wall_time_is_the_systems_within_a_millisecond() {
        let mut clock = Clock::default();
        let first = clock.now();
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let now = clock.now();
        assert!(now.monotonic_ns >= first.monotonic_ns);
        assert!(now.wall_ns + REMEASURE_NS >= before, "derived {} system {before}", now.wall_ns);
    }
}
