//! `drain`: a host is about to be stopped.

use serde::{Deserialize, Serialize};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainStep {
    /// `/readyz` says no, and the other members are told. Writes are still taken.
    Announce,
    /// Local writes are refused from now on.
    Refuse,
    /// Nothing: only say how far it is.
    Look,
    /// The others are asked to make snapshots of what they have, so that they would still have it after the worst restart.
    Keep,
    /// All of it is taken back.
    Undo,
}

/// A reply to `drain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// It was announced, and not taken back.
    pub drains: bool,
    /// Local writes are refused.
    pub refuses: bool,
    /// What the other members have of what this host has.
    pub peers: Vec<DrainPeer>,
}

/// A member, and what it has of what this host has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainPeer {
    /// Its node id.
    pub node: u16,
    /// It is heard in every shard.
    pub up: bool,
    /// Operations, of whoever, that this host has and it lacks. Where it can't be asked, this host's own of this epoch that it
    /// has not acknowledged.
    pub lacks: u64,
    /// Own operations that it would not have after the worst restart, as far as it has said.
    pub lacks_durably: u64,
    /// It could be asked: `lacks` is everybody's operations.
    pub asked: bool,
}
