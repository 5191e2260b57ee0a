//! What became of writes while something went wrong, and how long none was accepted.
//!
//! ```text
//!   accepted   | | | | |                         | | | |        each writer keeps its schedule: one write every 10 ms
//!                      ├──── longest gap ────────┤
//!   window           [ from                             until ]
//! ```
//!
//! A gap that is open when the window begins is counted from its own begin; one that is open at its end, until there. So
//! the shortest gap that can be found is the distance of two writes.

use std::time::Duration;

/// What became of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, so long after the start.
    Accepted(Duration),
    /// Answered with an error.
    Refused,
    /// Not answered in time. It may have happened.
    TimedOut,
}

/// One write.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// When it was due, after the start.
    pub due: Duration,
    /// What became of it.
    pub outcome: Outcome,
}

/// A span of time after the start.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Its begin.
    pub from: Duration,
    /// Its end.
    pub until: Duration,
}

/// The writes of a window, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Due in the window.
    pub offered: u64,
    /// Of those, acknowledged.
    pub accepted: u64,
    /// Of those, answered with an error.
    pub refused: u64,
    /// Of those, not answered in time.
    pub timed_out: u64,
    /// The longest time in which no write was acknowledged.
    pub longest_gap: Duration,
}

/// Counts the writes of one side, or of all.
#[must_use]
pub fn tally(writes: &[Write], window: Window) -> Tally {
    let mut tally = Tally { longest_gap: longest_gap(writes, window), ..Tally::default() };
    for write in writes.iter().filter(|write| window.from <= write.due && write.due < window.until) {
        tally.offered += 1;
        match write.outcome {
            Outcome::Accepted(_) => tally.accepted += 1,
            Outcome::Refused => tally.refused += 1,
            Outcome::TimedOut => tally.timed_out += 1,
        }
    }
    tally
}

fn longest_gap(writes: &[Write], window: Window) -> Duration {
    let mut accepted: Vec<Duration> = writes
        .iter()
        .filter_map(|write| match write.outcome {
            Outcome::Accepted(at) if at < window.until => Some(at),
            _ => None,
        })
        .collect();
    accepted.sort_unstable();
    // What is over when the window begins does not count, what is open then does.
    let inside = accepted.partition_point(|&at| at < window.from);
    let first = inside.checked_sub(1).map_or(window.from, |last_before| accepted[last_before]);
    let ends = accepted[inside..].iter().copied().chain([window.until]);
    let mut begin = first;
    let mut longest = Duration::ZERO;
    for end in ends {
        longest = longest.max(end - begin);
        begin = end;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn accepted(due: u64, at: u64) -> Write {
        Write { due: ms(due), outcome: Outcome::Accepted(ms(at)) }
    }

    const WINDOW: Window = Window { from: Duration::from_millis(100), until: Duration::from_millis(200) };

    #[test]
    fn a_gap_that_begins_before_the_window_counts_from_its_begin() {
        let writes = [accepted(10, 11), accepted(20, 90), accepted(30, 150), accepted(40, 160)];
        assert_eq!(tally(&writes, WINDOW).longest_gap, ms(60));
    }

    #[test]
    fn a_gap_that_is_over_before_the_window_does_not_count() {
        let writes = [accepted(0, 0), accepted(20, 95), accepted(30, 120), accepted(40, 180)];
        assert_eq!(tally(&writes, WINDOW).longest_gap, ms(60));
    }

    #[test]
    fn a_gap_lasts_until_the_windows_end_whatever_is_accepted_afterwards() {
        let writes = [accepted(100, 101), accepted(110, 111), accepted(120, 900)];
        assert_eq!(tally(&writes, WINDOW).longest_gap, ms(89));
    }

    #[test]
    fn without_any_accepted_write_the_gap_is_the_window() {
        let writes = [Write { due: ms(100), outcome: Outcome::TimedOut }];
        assert_eq!(tally(&writes, WINDOW).longest_gap, ms(100));
        assert_eq!(tally(&[], WINDOW), Tally { longest_gap: ms(100), ..Tally::default() });
    }

    #[test]
    fn answers_in_another_order_than_questions_make_no_gaps() {
        let writes = [accepted(110, 190), accepted(120, 130), accepted(130, 160), accepted(100, 100)];
        assert_eq!(tally(&writes, WINDOW).longest_gap, ms(30));
    }

    #[test]
    fn each_write_that_was_due_in_the_window_is_counted_once() {
        let writes = [
            accepted(99, 150),
            accepted(100, 150),
            Write { due: ms(150), outcome: Outcome::Refused },
            Write { due: ms(199), outcome: Outcome::TimedOut },
            Write { due: ms(200), outcome: Outcome::TimedOut },
        ];
        let tally = tally(&writes, WINDOW);
        assert_eq!((tally.offered, tally.accepted, tally.refused, tally.timed_out), (3, 1, 1, 1));
    }
}
