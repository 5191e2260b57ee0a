//! The peers as the workers have them: slot by slot, never fewer. Listed in the configuration, or found by membership.
//!
//! A node keeps its slot for as long as the daemon runs, also while it is dead: it may come back, and what it has not
//! acknowledged waits for it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::config::Config;

/// A peer; its index in the roster is its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its node id.
    pub node: u16,
    /// Where its frames go.
    pub address: IpAddr,
}

/// Shared by whoever tells the workers of peers, looks for their next hops, or shows them.
#[derive(Clone, Debug, Default)]
pub struct Roster(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    entries: Mutex<Vec<Entry>>,
    changed: Notify,
}

impl Roster {
    /// The peers that the configuration lists.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let listed = config.peers.iter().map(|peer| Entry { node: peer.id, address: peer.address });
        Self(Arc::new(Shared { entries: Mutex::new(listed.collect()), changed: Notify::new() }))
    }

    /// All peers, in the order of their slots.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The slot of a node, and its entry.
    #[must_use]
    pub fn find(&self, node: u16) -> Option<(u16, Entry)> {
        let entries = self.0.entries.lock().unwrap_or_else(PoisonError::into_inner);
        (0..).zip(entries.iter().copied()).find(|(_, entry)| entry.node == node)
    }

    /// The slot that the next new peer gets.
    #[must_use]
    pub fn next_slot(&self) -> u16 {
        let entries = self.0.entries.lock().unwrap_or_else(PoisonError::into_inner);
        u16::try_from(entries.len()).unwrap_or(u16::MAX)
    }

    /// Notes what all workers have been told: one more peer, or another address.
    pub fn put(&self, entry: Entry) {
        let mut entries = self.0.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match entries.iter_mut().find(|known| known.node == entry.node) {
            Some(known) => *known = entry,
            None => entries.push(entry),
        }
        drop(entries);
        self.0.changed.notify_one();
    }

    /// Completes when there was a change since it last did. For one listener.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_its_slot() {
        let roster = Roster::default();
        let at = |node, host| Entry { node, address: IpAddr::from([10, 0, 0, host]) };
        for (node, slot) in [(7, 0), (3, 1), (9, 2)] {
            assert_eq!((roster.find(node), roster.next_slot()), (None, slot));
            roster.put(at(node, 1));
        }
        roster.put(at(3, 5));
        assert_eq!(roster.find(3), Some((1, at(3, 5))));
        assert_eq!(roster.next_slot(), 3);
        assert_eq!(roster.entries(), [at(7, 1), at(3, 5), at(9, 1)]);
    }
}
