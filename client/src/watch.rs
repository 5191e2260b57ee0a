//! Following changes: keys, and what happened to them, without scanning.
//!
//! ```text
//!   worker 0 ─ change ring ─┐
//!   worker 1 ─ change ring ─┼─> Changes::next ──> Key   read it: you get this value or a later one
//!   …                       ┘                ──> Overrun    too slow: read everything that you care about again
//!        futex: sleeps until one moves       ──> Restarted  another daemon, so another segment: the same
//! ```
//!
//! Changes of one key arrive in order; a key that changed twice before it was looked at may be reported twice with the
//! same value. Waiting costs the daemon nothing while it has nothing to publish.

use std::sync::Arc;
use std::time::Duration;

use lattice_segment::{Change as RingChange, ChangeCursor, ReadError};

use crate::attachment::Attachment;
use crate::client::Client;
use crate::clock::monotonic_ns;
use crate::error::{Error, Result};
use crate::kind::Kind;

/// With several workers, each one's futex is waited on in turn for this long.
const TURN: Duration = Duration::from_millis(1);
/// How often a waiting watcher looks whether the daemon is still there.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A published key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyInfo {
    /// The key.
    pub key: Vec<u8>,
    /// Its kind.
    pub kind: Kind,
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A key was published; reading it gives this value or a later one.
    Key {
        /// Which key.
        key: KeyInfo,
        /// How often it has been published, this time included.
        version: u64,
    },
    /// The watcher was too slow: changes of some keys were not reported. Read again what you care about.
    Overrun,
    /// The client is attached to another daemon now. Read again what you care about.
    Restarted,
}

/// A watcher. Made by [`Client::changes`]; each sees every change from then on.
pub struct Changes {
    client: Client,
    attachment: Arc<Attachment>,
    cursors: Vec<ChangeCursor>,
    /// The worker to look at first: each gets its turn.
    turn: usize,
}

impl Client {
    /// Follows the changes of all keys, from now on. To miss nothing: make the watcher first, then read.
    #[must_use]
    pub fn changes(&self) -> Changes {
        let attachment = self.successor();
        let cursors = cursors_of(&attachment);
        Changes { client: self.clone(), attachment, cursors, turn: 0 }
    }

    /// All published keys that begin with `prefix`, sorted. Reads the whole index: for tools, not for hot paths.
    #[must_use]
    pub fn keys(&self, prefix: impl AsRef<[u8]>) -> Vec<KeyInfo> {
        let prefix = prefix.as_ref();
        let mut keys = Vec::new();
        self.successor().reader.keys(&mut |kind, key, _cell| {
            if key.starts_with(prefix) {
                keys.push(KeyInfo { key: key.to_vec(), kind: Kind::from_u8(kind) });
            }
        });
        keys.sort_unstable();
        keys
    }
}

impl Changes {
    /// The next change, waiting for it at most `timeout`; `None` if there was none. A zero timeout does not wait.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a change names a cell that can't be read.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Change>> {
        let started_ns = monotonic_ns();
        loop {
            if let Some(change) = self.take()? {
                return Ok(Some(change));
            }
            if self.has_moved() {
                return Ok(Some(Change::Restarted));
            }
            let waited = Duration::from_nanos(monotonic_ns() - started_ns);
            let Some(left) = timeout.checked_sub(waited).filter(|left| !left.is_zero()) else {
                return Ok(None);
            };
            self.sleep(left);
        }
    }

    /// The next change that is already there.
    fn take(&mut self) -> Result<Option<Change>> {
        for _ in 0..self.cursors.len() {
            let cursor = &mut self.cursors[self.turn];
            match cursor.next() {
                RingChange::Item { cell, version } => match self.attachment.reader.key_of(cell) {
                    Ok((kind, key)) => {
                        let key = KeyInfo { key, kind: Kind::from_u8(kind) };
                        return Ok(Some(Change::Key { key, version }));
                    }
                    // The cell belongs to another key by now, whose change is reported in its turn.
                    Err(ReadError::Stale) => {}
                    // This change can't be named any more.
                    Err(ReadError::Busy) => return Ok(Some(Change::Overrun)),
                    Err(ReadError::Corrupt) => return Err(Error::Corrupt),
                },
                RingChange::Overrun => return Ok(Some(Change::Overrun)),
                RingChange::None => self.turn = (self.turn + 1) % self.cursors.len(),
            }
        }
        Ok(None)
    }

    /// Moves to the daemon's successor, if there is one.
    fn has_moved(&mut self) -> bool {
        self.client.look_for_daemon();
        let newest = self.client.current();
        if newest.number == self.attachment.number {
            return false;
        }
        self.cursors = cursors_of(&newest);
        self.attachment = newest;
        self.turn = 0;
        true
    }

    fn sleep(&self, left: Duration) {
        let longest = if self.cursors.len() > 1 { TURN } else { LOOK_INTERVAL };
        match self.cursors.get(self.turn) {
            Some(cursor) => {
                cursor.wait(left.min(longest));
            }
            None => std::thread::sleep(left.min(LOOK_INTERVAL)),
        }
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").field("attachment", &self.attachment.number).finish_non_exhaustive()
    }
}

fn cursors_of(attachment: &Attachment) -> Vec<ChangeCursor> {
    (0..attachment.reader.workers()).filter_map(|worker| attachment.reader.changes(worker)).collect()
}
