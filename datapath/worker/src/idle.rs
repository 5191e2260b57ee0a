//! What a worker does when a turn found nothing to do.
//!
//! ```text
//!             work found           no writes for spin_ns              something may have come in
//!   ┌─ busy turns ──────> spin ─────────────────────> armed ──────────────────────────┐
//!   │                      ▲                            │ nothing pending             │
//!   └──────────────────────┘                            ▼                             │
//!                         turn <──── woken, timed out ── asleep in port.wait          │
//!                             └───────────────────────────────────────────────────────┘
//! ```
//!
//! Only what applications wrote, here or elsewhere, is a reason to spin: more of it is likely to come. Heartbeats and
//! acknowledgements are not, so a quiet cluster sleeps again after the turn that deals with them.
//!
//! *Armed* means that everyone who can bring work (clients, other workers, the control thread) has been told, by a flag
//! in memory, to knock on an eventfd from now on. The rings are looked at once more after that and before sleeping:
//! that order, with the fences described in [`crate::Wakeup`], is why no work can come in unnoticed.

/// The strategy, chosen in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Spin: lowest latency, a core of its own.
    Busy,
    /// `sched_yield` between turns: shares the core with what else wants to run, still takes all that is left of it.
    Yield,
    /// Spin for a while, then sleep until a frame, a client, a command or a timer: for laptops.
    Sleep {
        /// How long to spin before sleeping, nanoseconds.
        spin_ns: u64,
        /// Longest sleep, nanoseconds: bounds the age of a healthy worker's heartbeat.
        max_sleep_ns: u64,
    },
}

impl Idle {
    /// Sleep after 50 µs without writes, for so long at most that a heartbeat never comes near the age at which readers
    /// take the worker for dead, nanoseconds.
    pub fn sleep(heartbeat_timeout_ns: u64) -> Idle {
        Idle::Sleep {
            spin_ns: 50_000,
            max_sleep_ns: (heartbeat_timeout_ns / 4).clamp(1_000_000, 100_000_000),
        }
    }
}

/// Going to sleep and waking up takes tens of microseconds, and the kernel's timers have a slack of 50 (prctl(2),
/// PR_SET_TIMERSLACK): what is due sooner than this is waited for awake.
const NOT_WORTH_A_SLEEP_NS: u64 = 100_000;

/// What to do after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Begin the next turn at once.
    No,
    /// One spin-loop hint.
    Spin,
    /// `sched_yield`.
    Yield,
    /// Arm the wake-ups, look once more, then sleep at most so many nanoseconds.
    Sleep {
        /// Upper bound of the sleep.
        timeout_ns: u64,
    },
}

/// What a turn came to, for the decision what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// Frames or commands, but nothing that an application wrote.
    Upkeep,
    /// Something that an application wrote.
    Writes,
}

/// Remembers when an application last wrote something.
#[derive(Debug)]
pub(crate) struct Idler {
    strategy: Idle,
    wrote_at_ns: u64,
}

impl Idler {
    pub(crate) fn new(strategy: Idle) -> Self {
        Self { strategy, wrote_at_ns: 0 }
    }

    /// Decides what to do after a turn that began at `now_ns`; `deadline_ns` is when an engine next has something to do.
    pub(crate) fn after_turn(&mut self, now_ns: u64, found: Found, deadline_ns: u64) -> Rest {
        if found == Found::Writes {
            self.wrote_at_ns = now_ns;
        }
        if found != Found::Nothing {
            return Rest::No;
        }
        match self.strategy {
            Idle::Busy => Rest::Spin,
            Idle::Yield => Rest::Yield,
            Idle::Sleep { spin_ns, max_sleep_ns } => {
                let until_deadline_ns = deadline_ns.saturating_sub(now_ns);
                if now_ns.saturating_sub(self.wrote_at_ns) < spin_ns
                    || until_deadline_ns < NOT_WORTH_A_SLEEP_NS
                {
                    Rest::Spin
                } else {
                    Rest::Sleep { timeout_ns: until_deadline_ns.min(max_sleep_ns) }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLEEP: Idle = Idle::Sleep { spin_ns: 100, max_sleep_ns: 1_000_000 };

    #[test]
    fn sleeps_only_after_the_spin_and_never_past_a_deadline() {
        let mut idler = Idler::new(SLEEP);
        assert_eq!(idler.after_turn(1_000, Found::Writes, u64::MAX), Rest::No);
        assert_eq!(idler.after_turn(1_010, Found::Nothing, u64::MAX), Rest::Spin);
        assert_eq!(idler.after_turn(1_099, Found::Nothing, u64::MAX), Rest::Spin);
        assert_eq!(idler.after_turn(1_100, Found::Nothing, u64::MAX), Rest::Sleep { timeout_ns: 1_000_000 });
        assert_eq!(idler.after_turn(1_100, Found::Nothing, 301_100), Rest::Sleep { timeout_ns: 300_000 });
        assert_eq!(idler.after_turn(1_100, Found::Nothing, 50_000), Rest::Spin, "due too soon to sleep");
        assert_eq!(idler.after_turn(1_300, Found::Nothing, 1_300), Rest::Spin, "due now");
    }

    #[test]
    fn writes_start_the_spin_anew_and_upkeep_does_not() {
        let mut idler = Idler::new(SLEEP);
        idler.after_turn(1_000, Found::Nothing, u64::MAX);
        assert_eq!(idler.after_turn(1_150, Found::Writes, u64::MAX), Rest::No);
        assert_eq!(idler.after_turn(1_160, Found::Nothing, u64::MAX), Rest::Spin);
        assert_eq!(idler.after_turn(1_250, Found::Upkeep, u64::MAX), Rest::No);
        assert_eq!(idler.after_turn(1_260, Found::Nothing, u64::MAX), Rest::Sleep { timeout_ns: 1_000_000 });
    }

    #[test]
    fn busy_and_yield_never_sleep() {
        assert_eq!(Idler::new(Idle::Busy).after_turn(u64::MAX, Found::Nothing, u64::MAX), Rest::Spin);
        assert_eq!(Idler::new(Idle::Yield).after_turn(u64::MAX, Found::Nothing, u64::MAX), Rest::Yield);
    }

    #[test]
    fn sleeps_end_long_before_readers_give_a_worker_up() {
        let longest = |timeout_ns| match Idle::sleep(timeout_ns) {
            Idle::Sleep { max_sleep_ns, .. } => max_sleep_ns,
            Idle::Busy | Idle::Yield => 0,
        };
        assert_eq!(longest(1_000_000_000), 100_000_000);
        assert_eq!(longest(40_000_000), 10_000_000);
    }
}
