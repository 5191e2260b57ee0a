//! Waiting until writes have got as far as their caller wants.
//!
//! ```text
//!   possible at all? ──> write ──> mark behind it ──> watermark there? ── yes ──> Reached
//!        │ no                            ▲                 │ no: spin, yield, sleep until the daemon tells something
//!        └──> AckImpossible              └─────────────────┤
//!             (nothing was enqueued)                       ├──> time is up:        NotReached, with what was reached
//!                                                          └──> the daemon is gone: AckUnknown, with what was reached
//! ```
//!
//! A mark says to the daemon that somebody asks; what nobody asks about costs nothing. One mark stands for all writes before
//! it, whichever thread made them.

use std::time::Duration;

use lattice_segment::RingWatcher;

use crate::ack::{Ack, Reached};
use crate::attachment::Attachment;
use crate::client::Client;
use crate::clock::monotonic_ns;
use crate::error::{Error, Result};
use crate::pause::Pause;
use crate::refusals::Processed;
use crate::ticket::{Ticket, add_refusals, finished};

/// Longest sleep without a look whether the daemon lives.
const LONGEST_SLEEP: Duration = Duration::from_millis(10);

/// Announces, for as long as it lives, that somebody sleeps on a worker's ring.
struct Sleeper<'a> {
    attachment: &'a Attachment,
    worker: u16,
}

impl<'a> Sleeper<'a> {
    fn announced(attachment: &'a Attachment, worker: u16) -> Self {
        if let Some(mut lane) = attachment.lane(worker) {
            lane.sleeper_comes();
        }
        Sleeper { attachment, worker }
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        if let Some(mut lane) = self.attachment.lane(self.worker) {
            lane.sleeper_goes();
        }
    }
}

impl Client {
    /// Waits until a write has got as far as `ack` says: [`Client::wait`] for any level.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use lattice_client::{Ack, Client};
    ///
    /// # fn main() -> Result<(), lattice_client::Error> {
    /// let client = Client::connect("/dev/shm/latticed/host-a/daemon.sock")?;
    /// let paid = client.counter("paid")?;
    /// let first = paid.add(1)?; // on their way together
    /// let second = paid.add(2)?;
    /// for ticket in [first, second] {
    ///     let reached = client.wait_with(ticket, Ack::Peers(1), Duration::from_secs(1))?;
    ///     println!("{reached}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::AckImpossible`] if the level can never be reached; [`Error::NotReached`] if the time is up, and
    /// [`Error::AckUnknown`] if the daemon went away first, both with what was reached; [`Error::Refused`];
    /// [`Error::OutcomeForgotten`].
    pub fn wait_with(&self, ticket: Ticket, ack: Ack, timeout: Duration) -> Result<Reached> {
        self.check_possible(ack, timeout)?;
        self.wait_until_reached(ticket, ack, timeout)
    }

    /// Waits until every write that this client and its clones have enqueued so far has got as far as `ack` says:
    /// [`Client::barrier`] for any level.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use lattice_client::{Ack, Client};
    ///
    /// # fn main() -> Result<(), lattice_client::Error> {
    /// let client = Client::connect("/dev/shm/latticed/host-a/daemon.sock")?;
    /// let seen = client.set("seen")?;
    /// for name in ["a", "b", "c"] {
    ///     seen.insert(name.as_bytes())?; // enqueued: never waits
    /// }
    /// client.barrier_with(Ack::Durable, Duration::from_secs(1))?; // all three are on this host's disk
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::wait_with`], and [`Error::WritesRefused`] if some were refused and no other call has reported them.
    /// [`Error::AckUnknown`] too if a daemon went away before it had told that writes to it got so far, once.
    pub fn barrier_with(&self, ack: Ack, timeout: Duration) -> Result<Reached> {
        self.check_possible(ack, timeout)?;
        let mut pause = Pause::new(timeout);
        let attachment = self.current();
        let last: Vec<u64> = attachment.lanes().map(|(_, lane)| lane.lock().submitted()).collect();
        // All at once: each worker's part is on its way while the others' are waited for.
        for ((_, lane), seq) in attachment.lanes().zip(&last) {
            lane.lock().mark_after(*seq, ack);
        }
        let mut all: Option<Reached> = None;
        for ((worker, _), seq) in attachment.lanes().zip(&last) {
            let reached = self.lane_reaches(&attachment, worker, *seq, ack, &mut pause);
            match reached {
                Ok(Some(reached)) => all = Some(all.map_or(reached, |all| all.and(reached))),
                // It is over; what remained of it is told below.
                Ok(None) => break,
                Err(reached) => {
                    let reached = all.map_or(reached, |all| all.and(reached));
                    return Err(self.not_reached(ack, &pause, reached, worker));
                }
            }
        }
        let mut link = self.link();
        if let Some(reached) = link.history.take_left_behind(ack) {
            return Err(Error::AckUnknown { asked: ack, reached });
        }
        let mut refused = link.history.take_unreported();
        drop(link);
        for (_, lane) in attachment.lanes() {
            if let Some(more) = lane.lock().take_unreported() {
                add_refusals(&mut refused, more);
            }
        }
        match (refused, all) {
            (Some((count, first)), _) => Err(Error::WritesRefused { count, first }),
            (None, Some(reached)) => Ok(reached),
            (None, None) => Err(Error::ReadOnly),
        }
    }

    /// Waits until a lane has got so far. `None`: it is over. An error says how far it got until the time was up.
    fn lane_reaches(
        &self,
        attachment: &Attachment,
        worker: u16,
        seq: u64,
        ack: Ack,
        pause: &mut Pause,
    ) -> std::result::Result<Option<Reached>, Reached> {
        let step = || {
            let Some(mut lane) = attachment.lane(worker).filter(|lane| !lane.is_retired()) else {
                return Some(None);
            };
            lane.mark_after(seq, ack);
            lane.has_reached(seq, ack).then(|| Some(lane.reached(seq)))
        };
        self.until(attachment, worker, pause, step).ok_or_else(|| reached_at_last(attachment, worker, seq))
    }

    /// As [`Client::wait_with`], for a level that was found possible before the write was made.
    pub(crate) fn wait_until_reached(&self, ticket: Ticket, ack: Ack, timeout: Duration) -> Result<Reached> {
        let mut pause = Pause::new(timeout);
        let attachment = self.current();
        let step = || self.reached_so_far(ticket, ack).transpose();
        match self.until(&attachment, ticket.worker, &mut pause, step) {
            Some(result) => result,
            None => {
                let reached = reached_at_last(&attachment, ticket.worker, ticket.seq);
                Err(self.not_reached(ack, &pause, reached, ticket.worker))
            }
        }
    }

    /// What became of a write: `None` if it has not got as far as was asked, but still may.
    fn reached_so_far(&self, ticket: Ticket, ack: Ack) -> Result<Option<Reached>> {
        let attachment = self.current();
        if attachment.number == ticket.attachment
            && let Some(mut lane) = attachment.lane(ticket.worker)
            && !lane.is_retired()
        {
            lane.mark_after(ticket.seq, ack);
            if !lane.has_reached(ticket.seq, ack) {
                // A refusal is final long before a level could be.
                return match lane.result_of(ticket.seq) {
                    Some(refused @ Processed::Refused(_)) => finished(refused).map(|()| None),
                    _ => Ok(None),
                };
            }
            let reached = lane.reached(ticket.seq);
            return match lane.result_of(ticket.seq) {
                Some(processed) => finished(processed).map(|()| Some(reached)),
                None => Ok(None),
            };
        }
        let mut link = self.link();
        let (outcome, reached) = link.history.reached(ticket)?;
        match outcome {
            Some(processed) if reached.has(ack) => finished(processed).map(|()| Some(reached)),
            Some(refused @ Processed::Refused(_)) => finished(refused).map(|()| None),
            _ => Err(Error::AckUnknown { asked: ack, reached }),
        }
    }

    /// Steps until a step brings something, sleeping between steps until the daemon tells something. `None`: the time is up.
    fn until<T>(
        &self,
        attachment: &Attachment,
        worker: u16,
        pause: &mut Pause,
        mut step: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let watcher = attachment.watcher(worker);
        let mut sleeper = None;
        loop {
            // Before the step: what is told after it is seen to have been told.
            let seen = watcher.map_or(0, RingWatcher::told);
            if let Some(found) = step() {
                return Some(found);
            }
            self.look(pause);
            if sleeper.is_none() && pause.sleeps_next() {
                sleeper = Some(Sleeper::announced(attachment, worker));
                continue;
            }
            let sleep = |longest: Duration| match watcher {
                Some(watcher) => watcher.sleep(seen, longest.min(LONGEST_SLEEP)),
                None => std::thread::sleep(longest.min(LONGEST_SLEEP)),
            };
            if !pause.pause_with(sleep) {
                return None;
            }
        }
    }

    /// Fails if a write can never get as far as `ack` says: what every call that ends in `_with` asks before it writes. For
    /// those who write first and wait later. Waits only right after the connection, until the daemon has said what there is.
    ///
    /// # Errors
    /// [`Error::AckImpossible`]; [`Error::ReadOnly`]; [`Error::DaemonClosed`] if the daemon did not say in time.
    pub fn check_possible(&self, ack: Ack, timeout: Duration) -> Result<()> {
        let mut pause = Pause::new(timeout);
        loop {
            let attachment = self.current();
            let Some(lane) = attachment.lane(0) else { return Err(Error::ReadOnly) };
            let terms = lane.terms();
            drop(lane);
            if terms.members > 0 || ack == Ack::Local {
                return match ack.impossible(terms) {
                    Some(reason) if ack != Ack::Local => Err(Error::AckImpossible { asked: ack, reason }),
                    _ => Ok(()),
                };
            }
            self.look(&pause);
            if !pause.pause() {
                return Err(self.daemon_closed(&attachment));
            }
        }
    }

    fn not_reached(&self, asked: Ack, pause: &Pause, reached: Reached, worker: u16) -> Error {
        let heartbeat_age = self.current().heartbeat_age(worker, monotonic_ns());
        Error::NotReached { asked, waited: pause.waited(), reached, heartbeat_age }
    }
}

fn reached_at_last(attachment: &Attachment, worker: u16, seq: u64) -> Reached {
    attachment.lane(worker).map_or(Reached::NOTHING, |lane| lane.reached(seq))
}
