//! How far state syncs are, and how long a silent peer is waited for.
//!
//! ```text
//!   frames come ──> progress ──> peer silent ──> still the same session? ── heard again ──> goes on where it was
//!        began_ns ····················│·· waited for as long again as the sync has gone on, at least the timeout
//!                                     └── longer than that, or a new session ──> abandoned, nothing is covered
//! ```
//!
//! What was interrupted can only go on as the same sync, with the same C, to whom it was: positions mean something to one
//! engine's run only, and from the moment when a receiver takes records inside C again (rule 6), the keys that it was given
//! may be older than what it covers at the end. So both sides hold the sync open while the peer is silent, and no longer
//! than doing it again would take: whoever waits loses at most as much again. While it waits, records inside C wait too.

use crate::engine::Engine;
use crate::log::LogStore;

/// A silent peer is not waited for longer than this, however much had come.
const MAX_PATIENCE_NS: u64 = 30_000_000_000;

/// Which way a state sync goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncDirection {
    /// This engine catches up from the peer.
    Incoming,
    /// The peer catches up from this engine.
    Outgoing,
}

/// A state sync that is under way, for whoever looks on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncStatus {
    /// The peer.
    pub node: u16,
    /// Which way.
    pub direction: SyncDirection,
    /// Incoming: keys that came. Outgoing: keys that were looked at.
    pub keys: u64,
    /// Incoming: keys that the sender held when it began; a walk that leaves out what is known ends before. Outgoing: keys
    /// to look at. 0: not known yet.
    pub keys_of: u64,
    /// Bytes of items that came, or were sent for the first time.
    pub bytes: u64,
    /// Every key is walked, whatever the receiver has.
    pub full_walk: bool,
    /// Nothing moves: the peer is silent.
    pub waits: bool,
    /// Time since it was asked for, nanoseconds.
    pub age_ns: u64,
}

/// When a sync began, when it last moved, and whether its peer is silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) began_ns: u64,
    moved_ns: u64,
    waits: bool,
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
}

impl Progress {
    pub(crate) fn new(now_ns: u64) -> Self {
        Self { began_ns: now_ns, moved_ns: now_ns, waits: false, keys: 0, bytes: 0 }
    }

    pub(crate) fn moved(&mut self, now_ns: u64) {
        self.moved_ns = now_ns;
    }

    /// Whether its peer was silent when last looked at.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// Looks whether it still makes sense. A peer that is heard again has its time from then on.
    pub(crate) fn is_late(&mut self, now_ns: u64, peer_is_up: bool, timeout_ns: u64) -> bool {
        if peer_is_up && self.waits {
            self.moved_ns = now_ns;
        }
        self.waits = !peer_is_up;
        now_ns >= self.timeout_at_ns(peer_is_up, timeout_ns)
    }

    pub(crate) fn timeout_at_ns(&self, peer_is_up: bool, timeout_ns: u64) -> u64 {
        let taken_ns = self.moved_ns.saturating_sub(self.began_ns).min(MAX_PATIENCE_NS);
        let patience_ns = if peer_is_up { timeout_ns } else { timeout_ns.max(taken_ns) };
        self.moved_ns.saturating_add(patience_ns)
    }
}

impl<L: LogStore> Engine<L> {
    /// The state syncs that are under way.
    pub fn syncs(&self, now_ns: u64) -> impl Iterator<Item = SyncStatus> + '_ {
        let incoming = self.incoming.as_ref().and_then(|sync| {
            let lane = self.lanes.get(sync.slot())?;
            Some(sync.status(lane.node, now_ns))
        });
        let outgoing = self.outgoing.iter().filter_map(move |sync| {
            let lane = self.lanes.get(sync.slot())?;
            Some(sync.status(lane.node, now_ns, &self.keys))
        });
        incoming.into_iter().chain(outgoing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_silent_peer_is_waited_for_as_long_again_as_the_sync_took() {
        let mut progress = Progress::new(0);
        assert!(
            !progress.is_late(SECOND, true, 2 * SECOND) && progress.is_late(2 * SECOND, true, 2 * SECOND)
        );
        // It moved for ten seconds, and then the peer fell silent.
        progress.moved(10 * SECOND);
        assert!(!progress.is_late(20 * SECOND - 1, false, 2 * SECOND) && progress.waits());
        assert!(progress.is_late(20 * SECOND, false, 2 * SECOND));
        // Heard again, it has the usual time.
        assert!(!progress.is_late(20 * SECOND, true, 2 * SECOND) && !progress.waits());
        assert!(!progress.is_late(22 * SECOND - 1, true, 2 * SECOND));
        assert!(progress.is_late(22 * SECOND, true, 2 * SECOND));
    }

    #[test]
    fn nobody_is_waited_for_without_end() {
        let mut progress = Progress::new(0);
        progress.moved(3_600 * SECOND);
        assert!(progress.is_late(3_630 * SECOND, false, 2 * SECOND));
    }
}
