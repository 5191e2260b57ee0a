//! `diff` and `converged-all`: what hosts hold, compared.

use serde::{Deserialize, Serialize};

use super::Bytes;

/// Keys that a `diff` names, at most.
pub const MAX_DIFFERENT_KEYS: usize = 1_000;

/// A reply to `diff`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// The other host.
    pub node: u16,
    /// Shards whose states were not equal when it began.
    pub shards: Vec<u16>,
    /// Keys that differ, by shard; not more than were asked for.
    pub keys: Vec<DifferentKey>,
    /// All that differ are named.
    pub whole: bool,
    /// Operations that the other host has and this one lacks.
    pub lacks_here: u64,
    /// Operations that this host has and the other one lacks.
    pub lacks_there: u64,
}

/// A key that is not the same on two hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferentKey {
    /// The key.
    pub key: Bytes,
    /// Its kind.
    pub kind: String,
    /// Its shard.
    pub shard: u16,
    /// Digest of what this host holds, hexadecimal; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub here: Option<String>,
    /// Digest of what the other one holds; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub there: Option<String>,
    /// It changed while it was looked at, so the difference may be what is on its way. Else both held the same as half a second
    /// before, and differed then as well.
    pub moving: bool,
}

/// A reply to `converged-all`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllConverged {
    /// Every host has answered, and all hold the same.
    pub converged: bool,
    /// Each host was asked. Else, for want of certificates, it is what their heartbeats say, and of what they lack only this
    /// host's own operations are known.
    pub asked: bool,
    /// All hosts of the cluster, this one first.
    pub hosts: Vec<HostAccount>,
}

/// How one host stands beside the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAccount {
    /// Its node id.
    pub node: u16,
    /// Its name, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Why it is not known how it stands; absent: it has answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub silent: Option<String>,
    /// What others have and it lacks.
    pub lacks: Vec<Lack>,
    /// Shards in which its state is another than this host's.
    pub differs_in: Vec<u16>,
}

/// Operations of one epoch that a host lacks, summed over shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    /// Whose.
    pub node: u16,
    /// Of which of its epochs, hexadecimal.
    pub epoch: String,
    /// How many.
    pub operations: u64,
}
