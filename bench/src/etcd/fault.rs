//! The same misfortunes for both systems: a host's program is killed, a host is cut off and joined again, while every host's
//! application writes on its schedule.
//!
//! ```text
//!   kill    |── healthy ──|── the program of one host is dead ──|
//!   cut     |── healthy ──|── one host is cut off ──|── joined again ──|
//!   writes  | | | | | | | | | | | | | | | | | | | | | | | | | | | | | |      one per host every 10 ms, whatever happens
//! ```
//!
//! For etcd the victim is the leader, found through its status API; here no host is special. A write that is not answered
//! within a second is given up. The applications on a killed host are not counted: they have nobody to write to.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::outage::{Tally, Window, Write, tally};
use crate::measure::Effort;

/// Between two writes of one host.
pub const INTERVAL: Duration = Duration::from_millis(10);
/// When a write that was not answered is given up.
pub const GIVE_UP: Duration = Duration::from_secs(1);
/// How long all may take to be equal after a partition.
pub const HEAL_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the parts of an episode last.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// Before anything happens.
    pub healthy: Duration,
    /// While a program is dead, or a host cut off.
    pub broken: Duration,
    /// After a host was joined again.
    pub joined: Duration,
}

impl Script {
    /// For numbers, or to see that it runs.
    #[must_use]
    pub fn new(effort: Effort) -> Script {
        let [healthy, broken, joined] = effort.pick([700, 4000, 2500], [100, 200, 200]);
        let ms = Duration::from_millis;
        Script { healthy: ms(healthy), broken: ms(broken), joined: ms(joined) }
    }

    /// When the writers of a kill stop, after the start.
    #[must_use]
    pub fn end_of_kill(&self) -> Duration {
        self.healthy + self.broken
    }

    /// When the writers of a cut stop, after the start.
    #[must_use]
    pub fn end_of_cut(&self) -> Duration {
        self.healthy + self.broken + self.joined
    }
}

/// Something that can be hurt: a running cluster of either system, with an application on each host.
pub trait Patient: Sync {
    /// Writes on the host's schedule until a time after the start.
    ///
    /// # Errors
    /// If the application can't write at all; a write that fails is an [`super::outage::Outcome`].
    fn write(&self, host: usize, started: Instant, until: Duration) -> Result<Vec<Write>>;
}

/// The writes of several hosts, from threads of their own, while `meanwhile` runs on this one.
///
/// # Errors
/// Those of the applications and of `meanwhile`.
pub fn while_writing<P: Patient, T>(
    patient: &P,
    hosts: &[usize],
    until: Duration,
    meanwhile: impl FnOnce(Instant) -> Result<T>,
) -> Result<(Vec<Vec<Write>>, T)> {
    let started = Instant::now();
    std::thread::scope(|scope| {
        let writers: Vec<_> =
            hosts.iter().map(|&host| scope.spawn(move || patient.write(host, started, until))).collect();
        let done = meanwhile(started);
        let writes = writers
            .into_iter()
            .map(|writer| writer.join().ok().context("a writer panicked")?)
            .collect::<Result<Vec<_>>>()?;
        Ok((writes, done?))
    })
}

/// Sleeps until a time after the start; returns how long after it that was.
pub fn sleep_until(started: Instant, after: Duration) -> Duration {
    std::thread::sleep(after.saturating_sub(started.elapsed()));
    started.elapsed()
}

/// What a killed program cost the hosts that survived.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// The writes of all survivors.
    pub survivors: Tally,
}

/// What a cut cost each side.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The two hosts that still had each other.
    pub majority: Tally,
    /// The host that was cut off.
    pub minority: Tally,
    /// All hosts, from when they were joined again.
    pub after: Tally,
    /// From the order to join until every host had all that was accepted before it.
    pub equal: Duration,
}

/// Sums up a kill at a time after the start.
#[must_use]
pub fn sum_kill(writes: &[Vec<Write>], killed: Duration, until: Duration) -> Kill {
    Kill { survivors: tally(&writes.concat(), Window { from: killed, until }) }
}

/// When what happened in a cut, after the start.
#[derive(Clone, Copy, Debug)]
pub struct CutTimes {
    /// The host was cut off.
    pub cut: Duration,
    /// It was joined again.
    pub joined: Duration,
    /// From then until all were equal.
    pub equal: Duration,
}

/// Sums up a cut of `victim`, whose writes are at its place among those of all hosts.
#[must_use]
pub fn sum_cut(writes: &[Vec<Write>], victim: usize, times: CutTimes, until: Duration) -> Cut {
    let others: Vec<Write> = writes
        .iter()
        .enumerate()
        .filter(|(host, _)| *host != victim)
        .flat_map(|(_, writes)| writes.clone())
        .collect();
    let broken = Window { from: times.cut, until: times.joined };
    Cut {
        majority: tally(&others, broken),
        minority: tally(&writes[victim], broken),
        after: tally(&writes.concat(), Window { from: times.joined, until }),
        equal: times.equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::outage::Outcome;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A write every 10 ms, accepted at once, except those due in a span.
    fn writes(silent: std::ops::Range<u64>) -> Vec<Write> {
        (0..100)
            .map(|number| number * 10)
            .map(|due| Write {
                due: ms(due),
                outcome: if silent.contains(&due) { Outcome::TimedOut } else { Outcome::Accepted(ms(due)) },
            })
            .collect()
    }

    #[test]
    fn a_kill_counts_survivors_from_the_kill_on() {
        let kill = sum_kill(&[writes(300..500), writes(300..600)], ms(300), ms(1000));
        // Together they are silent until the first of them writes again.
        assert_eq!(kill.survivors.longest_gap, ms(210));
        assert_eq!((kill.survivors.offered, kill.survivors.timed_out), (140, 50));
    }

    #[test]
    fn a_cut_counts_each_side_while_it_lasts_and_all_afterwards() {
        let all = [writes(0..0), writes(300..600), writes(500..510)];
        let times = CutTimes { cut: ms(300), joined: ms(600), equal: ms(7) };
        let cut = sum_cut(&all, 1, times, ms(1000));
        assert_eq!((cut.minority.offered, cut.minority.accepted, cut.minority.longest_gap), (30, 0, ms(310)));
        assert_eq!((cut.majority.offered, cut.majority.accepted), (60, 59));
        assert_eq!(cut.majority.longest_gap, ms(10));
        assert_eq!((cut.after.offered, cut.after.accepted), (120, 120));
    }
}
