//! After the faults: the hosts become equal, their tables empty, and the network falls silent.

use crate::host::{Host, Mode};
use crate::world::World;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// Longest time until all are equal.
const CONVERGE_WITHIN_NS: u64 = 60 * SECOND;
/// Longest time from there until nothing is sent but heartbeats and anti-entropy.
const QUIET_WITHIN_NS: u64 = 30 * SECOND;
/// How often convergence is looked for.
const LOOK_EVERY_NS: u64 = MS;

impl World<'_> {
    /// Ends the faults and waits for what must come then.
    pub(crate) fn settle(&mut self) {
        if self.failure.is_some() {
            return;
        }
        self.heal();
        let healed_ns = self.now_ns;
        while self.failure.is_none() && !self.converged() {
            if self.now_ns - healed_ns > CONVERGE_WITHIN_NS {
                let what = self.differences();
                return self.fail(format!(
                    "not converged {} s after the last fault: {what}",
                    CONVERGE_WITHIN_NS / SECOND
                ));
            }
            self.run_until(self.now_ns + LOOK_EVERY_NS);
        }
        let equal_ns = self.now_ns;
        self.trace.say(equal_ns, format_args!("all are equal"));
        // A period of anti-entropy has to pass in silence, or a vector might still wake something.
        let silence_ns = self.plan.timers.anti_entropy_ns * 3 / 2;
        while self.failure.is_none() {
            self.run_until(self.last_busy_ns.max(equal_ns) + silence_ns);
            let silent = self.now_ns - self.last_busy_ns >= silence_ns;
            if silent && self.unacknowledged().is_none() {
                break;
            }
            if self.now_ns - equal_ns > QUIET_WITHIN_NS {
                let waits = self.unacknowledged().unwrap_or_else(|| "frames go on".into());
                return self
                    .fail(format!("no rest {} s after all were equal: {waits}", QUIET_WITHIN_NS / SECOND));
            }
            if silent {
                self.run_until(self.now_ns + 100 * LOOK_EVERY_NS);
            }
        }
        if self.failure.is_none() {
            self.check_the_end();
        }
    }

    fn members(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.mode == Mode::Up)
    }

    /// Whether all hosts have the same state and vector in every shard.
    pub(crate) fn converged(&self) -> bool {
        (0..usize::from(self.plan.shards)).all(|shard| {
            let mut digests = self.members().map(|host| {
                let engine = &host.shards[shard].engine;
                (engine.state_digest(), engine.vector_digest(), engine.has_uncommitted())
            });
            let first = digests.next();
            first.is_none_or(|first| !first.2 && digests.all(|other| other == first))
        })
    }

    /// Some host's operations that a peer which is up has not acknowledged.
    fn unacknowledged(&self) -> Option<String> {
        self.members().find_map(|host| {
            let now = host.instant(self.now_ns);
            host.shards.iter().find_map(|shard| {
                let mut peers =
                    (0..self.hosts.len() - 1).filter_map(|slot| shard.engine.peer_status(slot, now));
                let waits = peers.find(|peer| peer.up && peer.unacknowledged_seqs > 0)?;
                Some(format!(
                    "{} operations of n{} unacknowledged by n{}",
                    waits.unacknowledged_seqs, host.node, waits.node
                ))
            })
        })
    }

    fn differences(&self) -> String {
        let mut text = String::new();
        for host in self.members() {
            for (index, shard) in host.shards.iter().enumerate() {
                let stats = shard.engine.stats();
                text += &format!(
                    "\n  n{} shard {index} state {:016x} pre-removed {} syncs {}/{}/{}",
                    host.node,
                    shard.engine.state_digest(),
                    stats.pre_removed,
                    stats.syncs_requested,
                    stats.syncs_completed,
                    stats.syncs_abandoned,
                );
                text += &format!(
                    " of {} forgotten {:?} vector",
                    shard.engine.actor(),
                    shard.engine.forgotten().collect::<Vec<_>>()
                );
                for (actor, clock) in shard.engine.vector().iter() {
                    text += &format!(" {actor}:{}{:?}", clock.contiguous(), clock.ranges());
                }
            }
        }
        text
    }

    /// All is quiet: everything that waited is gone, and everybody shows the same, which is what was specified.
    fn check_the_end(&mut self) {
        if !self.converged() {
            let what = self.differences();
            return self.fail(format!("equal, and then no longer: {what}"));
        }
        for host in 0..self.hosts.len() {
            if self.hosts[host].mode == Mode::Up
                && let Err(what) = self.check_end_of(host)
            {
                return self.fail(format!("n{}, at the end: {what}", host + 1));
            }
        }
    }

    fn check_end_of(&mut self, host: usize) -> Result<(), String> {
        let this = &mut self.hosts[host];
        let Some(board) = &mut this.board else { return Ok(()) };
        board.compare_all()?;
        // Nothing waits when the engines say so; and where there is room for everything, they do.
        let unpublished: u64 = this.shards.iter().map(|shard| shard.engine.stats().unpublished).sum();
        if board.waits() && (unpublished == 0 || self.plan.segment.is_roomy()) {
            return Err(format!(
                "publications that found no room still wait; the engines count {unpublished}"
            ));
        }
        for (shard, history) in this.shards.iter_mut().zip(&self.histories) {
            let lost = history.len() as u64 - shard.replica.seen();
            let stats = shard.engine.stats();
            // A dot of an operation that died with its host may be remembered for ever; nothing else may.
            if stats.pre_removed > lost {
                return Err(format!("{} pre-removed dots, {lost} operations lost", stats.pre_removed));
            }
            for key in history.keys() {
                let (kind, name) = history.name(key);
                if let Some(shown) = board.shown(kind, name) {
                    shard
                        .replica
                        .check_key(history, key, shown)
                        .map_err(|violation| violation.to_string())?;
                }
            }
        }
        Ok(())
    }
}
