//! The admin protocol: one JSON object per line, both ways, over the daemon's Unix stream socket.
//!
//! ```text
//!   {"op":"attach"}     -> {"ok":true,"segment":"/…/segment","incarnation":"<hex>","workers":1,"shards":4,"client":7}
//!                          with the first byte (SCM_RIGHTS): the rings' memfd, then one eventfd per worker that wakes it
//!   {"op":"status"}     -> {"ok":true,"node":…}              see [`Status`]
//!   {"op":"converged"}  -> {"ok":true,"converged":true,…}    see [`Convergence`]
//!   {"op":"snapshot"}   -> {"ok":true,"shards":4}            each shard is about to be written; its status says when it is
//!   {"op":"forget","node":3} -> {"ok":true,"node":3,"generation":1}   it is no member any more
//!   {"op":"backup"}     -> {"ok":true,"cluster":…}           see [`Backup`]; with descriptors, as attach
//!   {"op":"why","key":"k"} -> {"ok":true,"kinds":[…]}        see [`Why`]
//!   {"op":"diff","node":2} -> {"ok":true,"keys":[…]}         see [`Diff`]
//!   {"op":"drain","step":"look"} -> {"ok":true,"drains":…}   see [`Drained`]
//!   {"op":"converged-all"} -> {"ok":true,"converged":true,…} see [`AllConverged`]
//!   anything else       -> {"ok":false,"error":"<for people>","code":"<for programs>"}
//! ```
//!
//! The connection that attached stays open for as long as the client wants its rings: when it closes, the client is
//! detached; when the daemon closes it, the client has lost its rings (it broke their rules, or the daemon stopped).
//! Numbers of 64 bits that are names rather than amounts (actors, digests) are hexadecimal strings, because JSON readers
//! round large numbers. Fields may be added: readers ignore those that they do not know.

mod bytes;
mod compare;
mod drain;
mod why;

pub use bytes::Bytes;
pub use compare::{AllConverged, Diff, DifferentKey, HostAccount, Lack, MAX_DIFFERENT_KEYS};
pub use drain::{DrainPeer, DrainStep, Drained};
pub use why::{By, Did, MAX_PARTS, Why, WhyKind, WhyPart};

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use lattice_members::MemberView;
use serde::{Deserialize, Serialize};

use crate::health;

/// Bytes of one line, at most, its newline included: a longer request is answered with an error and the connection is
/// closed.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// What a client may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// Rings, to write.
    Attach,
    /// Everything about the node.
    Status,
    /// Whether this node and its peers hold the same.
    Converged,
    /// Reads the configuration file again and applies what can be applied while it runs.
    Reload,
    /// A node is no member any more.
    Forget {
        /// Its node id.
        node: u16,
    },
    /// Write a snapshot of every shard to storage, as of now.
    Snapshot,
    /// A fresh snapshot of every shard, as open files.
    Backup,
    /// Who made a key what it is.
    Why {
        /// The key.
        key: Bytes,
        /// Of a set, only this element.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        element: Option<Bytes>,
    },
    /// The keys that another host holds otherwise.
    Diff {
        /// Its node id.
        node: u16,
        /// Only keys that begin with this.
        #[serde(default = "Bytes::empty")]
        prefix: Bytes,
        /// So many at most, and never more than [`MAX_DIFFERENT_KEYS`].
        #[serde(default = "all_different_keys")]
        most: usize,
    },
    /// Whether all hosts of the cluster hold the same, and who lacks what.
    ConvergedAll,
    /// This host is about to be stopped.
    Drain {
        /// What is to be done.
        step: DrainStep,
    },
}

fn all_different_keys() -> usize {
    MAX_DIFFERENT_KEYS
}

/// Codes of errors, for programs.
pub mod codes {
    /// The line is not JSON, or not a request.
    pub const BAD_REQUEST: &str = "bad-request";
    /// The line is longer than [`super::MAX_LINE_BYTES`].
    pub const LINE_TOO_LONG: &str = "line-too-long";
    /// As many clients or connections as the configuration allows are there already.
    pub const TOO_MANY_CLIENTS: &str = "too-many-clients";
    /// This connection has attached before.
    pub const ALREADY_ATTACHED: &str = "already-attached";
    /// A worker did not answer in time, or its command queue is full: try again.
    pub const BUSY: &str = "busy";
    /// The daemon keeps nothing on disk.
    pub const NO_STORAGE: &str = "no-storage";
    /// There is no such peer.
    pub const UNKNOWN_NODE: &str = "unknown-node";
    /// The node lives, and is not to be forgotten.
    pub const NODE_UP: &str = "node-up";
    /// There are no certificates, and so no sessions in which hosts ask each other.
    pub const NO_SESSIONS: &str = "no-sessions";
    /// Another host gave no answer that can be used.
    pub const PEER: &str = "peer";
    /// The daemon is stopping.
    pub const STOPPING: &str = "stopping";
    /// The configuration file can't be used, or there is none.
    pub const BAD_CONFIG: &str = "bad-config";
    /// The operating system refused something that the request needs.
    pub const SYSTEM: &str = "system";
}

/// A refusal. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What happened and what to do, for people.
    pub error: String,
    /// One of [`codes`].
    pub code: String,
}

impl Refusal {
    /// A refusal with one of [`codes`].
    pub fn new(code: &str, error: impl Into<String>) -> Self {
        Self { error: error.into(), code: code.to_owned() }
    }
}

/// A reply to `attach`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The segment to map.
    pub segment: PathBuf,
    /// Its incarnation, hexadecimal.
    pub incarnation: String,
    /// Ring pairs in the memfd, one per worker.
    pub workers: u16,
    /// Shards of the keyspace.
    pub shards: u16,
    /// This client's number, as it is in the daemon's log.
    pub client: u64,
}

/// A reply to `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Node id.
    pub node: u16,
    /// Node name.
    pub name: String,
    /// Cluster name.
    pub cluster: String,
    /// The actor of the first shard's epoch, hexadecimal; as a rule it is that of all.
    pub actor: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// Time since it was ready, milliseconds.
    pub uptime_ms: u64,
    /// How frames move: `xdp-driver`, `xdp-generic` or `udp`.
    pub port: String,
    /// How frames are sealed, for people.
    #[serde(default)]
    pub seal: String,
    /// Each worker's own description of its port.
    pub port_describe: Vec<String>,
    /// The segment.
    pub segment: PathBuf,
    /// Workers.
    pub workers: u16,
    /// Shards that answered.
    pub shards: Vec<Shard>,
    /// Where they are kept; absent: in memory only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub storage: Option<Storage>,
    /// The other nodes.
    pub peers: Vec<Peer>,
    /// Every peer is up and holds what this node holds.
    pub converged: bool,
    /// Whether applications should come here, and why not.
    pub ready: health::Verdict,
    /// Where metrics and health are served; absent: nowhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub metrics: Option<SocketAddr>,
    /// State syncs that are under way.
    #[serde(default)]
    pub syncs: Vec<Sync>,
    /// Nodes that were forgotten.
    #[serde(default)]
    pub forgotten: Vec<ForgottenNode>,
    /// Operations of forgotten nodes that are missing here, summed over shards; given up when all members have answered.
    #[serde(default)]
    pub missing_of_forgotten: u64,
    /// What the process may: user, group, capabilities, system calls.
    #[serde(default)]
    pub rights: String,
    /// The configuration file; absent: there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub config_file: Option<PathBuf>,
    /// Writes to keys of no declared namespace are refused.
    #[serde(default)]
    pub refuses_undeclared: bool,
    /// The rules of namespaces that are declared.
    #[serde(default)]
    pub namespaces: Vec<Namespace>,
    /// Attached clients.
    pub clients: Vec<Client>,
    /// Counters, summed over workers.
    pub counters: BTreeMap<String, u64>,
    /// What works less well than configured, and what to do about it; empty is healthy.
    pub degraded: Vec<String>,
}

/// The data directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// Where it is.
    pub directory: PathBuf,
    /// When logs are synced: `every 10 ms`, `always`, `never`.
    pub sync: String,
    /// What the start found that was not as it should be.
    pub findings: Vec<String>,
}

/// How one shard is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its epoch is that of the run before; else it is new.
    pub epoch_continued: bool,
    /// Own operations that a crash of the machine would take.
    pub durable_lag_seqs: u64,
    /// Bytes of the log that no durable snapshot covers.
    pub log_used_bytes: u64,
    /// Size of the log.
    pub log_bytes: u64,
    /// Generation of the newest snapshot; 0: none.
    pub snapshot_generation: u64,
    /// Length of the newest snapshot of this run; 0: none.
    pub snapshot_bytes: u64,
    /// Age of the newest snapshot of this run, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub snapshot_age_ms: Option<u64>,
    /// One is being made, or about to be.
    pub snapshot_pending: bool,
    /// Snapshots that failed in this run.
    pub snapshots_failed: u64,
}

/// A reply to `forget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenNode {
    /// Its node id.
    pub node: u16,
    /// The least generation that its epochs must have from now on: how often it was forgotten.
    pub generation: u8,
}

/// A state sync that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    /// The shard.
    pub shard: u16,
    /// The other node.
    pub node: u16,
    /// This node catches up; else the other one does.
    pub incoming: bool,
    /// Keys that came (incoming), or were looked at.
    pub keys: u64,
    /// Of so many, about.
    pub keys_of: u64,
    /// Bytes so far.
    pub bytes: u64,
    /// Milliseconds since it was asked for.
    pub age_ms: u64,
    /// Nothing moves: the other node is silent.
    pub waits: bool,
}

/// One shard of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Which.
    pub shard: u16,
    /// Its worker.
    pub worker: u16,
    /// The actor of its epoch, hexadecimal.
    pub actor: String,
    /// Seq of the last own operation.
    pub last_seq: u64,
    /// How it is kept on storage; absent: not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kept: Option<Kept>,
    /// Keys held.
    pub keys: u64,
    /// Digest of the state, hexadecimal: equal on nodes that hold the same.
    pub state_digest: String,
    /// Digest of the version vector, hexadecimal.
    pub vector_digest: String,
    /// Publications for which the segment had no room.
    pub unpublished: u64,
    /// Nodes and epochs of nodes in the version vector, over or not.
    #[serde(default)]
    pub actors: u64,
    /// Those of them that are over, and wait to be folded.
    #[serde(default)]
    pub epochs_dead: u64,
    /// Epochs that are over, and are folded into one slot of their node.
    #[serde(default)]
    pub epochs_folded: u64,
}

/// One peer, over all shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Node id.
    pub node: u16,
    /// Address.
    pub address: IpAddr,
    /// It was heard within the peer timeout, in every shard.
    pub up: bool,
    /// Own operations that it has not acknowledged, summed over shards.
    pub acked_lag_seqs: u64,
    /// How long the oldest of them has been waiting, at least, to about a second; milliseconds.
    #[serde(default)]
    pub acked_lag_ms: u64,
    /// Own operations that it would not have after the worst restart, as far as it has said, summed over shards.
    #[serde(default)]
    pub durable_lag_seqs: u64,
    /// It has said that it is about to be stopped.
    #[serde(default)]
    pub leaving: bool,
    /// It holds in every shard what this node holds.
    pub converged: bool,
    /// Largest smoothed round trip of its shards, microseconds; 0 before the first.
    pub rtt_us: u64,
    /// It was forgotten, and has not come back in a new epoch, in any shard.
    #[serde(default)]
    pub forgotten: bool,
    /// Milliseconds since it was last heard in some shard; absent: never.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub silent_ms: Option<u64>,
    /// Empty keys, about, that can't be dropped because of it, summed over shards.
    #[serde(default)]
    pub holds_back_keys: u64,
    /// Epochs that are over are not folded because of it, in some shard: it is away, or has not agreed yet.
    #[serde(default)]
    pub holds_back_folding: bool,
    /// Ethernet address of the next hop (AF_XDP only).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_hop: Option<String>,
    /// What membership knows of it; absent where peers are listed in the configuration.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub member: Option<MemberView>,
}

/// The rules of one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// What stands before the first `/` of its keys; `*`: all keys of no other one.
    pub name: String,
    /// The only kind that its keys have; absent: any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<String>,
    /// Keys on this host.
    pub keys: u64,
    /// Keys from which on local writes make no further ones; absent: no bound of its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_keys: Option<u64>,
    /// Who may write; absent: whoever can connect.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub write: Option<String>,
}

/// One attached client, as SO_PEERCRED told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its number.
    pub client: u64,
    /// Process that connected, if the kernel said.
    pub pid: Option<i32>,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A reply to `snapshot`. A shard's snapshot is durable when its status has none pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshots {
    /// Shards that are about to be written.
    pub shards: u16,
}

/// One key of the configuration that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its name, as in `limits.max_keys`.
    pub key: String,
    /// What holds until it is applied, as TOML has it; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub old: Option<String>,
    /// What the file says now.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new: Option<String>,
}

/// A reply to `reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The file.
    pub file: PathBuf,
    /// Took effect.
    pub applied: Vec<Change>,
    /// Takes effect at the next start.
    pub needs_restart: Vec<Change>,
}

/// A reply to `converged`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Convergence {
    /// Every peer is up and holds what this node holds.
    pub converged: bool,
    /// The peers.
    pub peers: Vec<Peer>,
}

/// A reply to `backup`. With its first byte come descriptors: for each shard that of its snapshot, open for reading, and one
/// more, of the records of all shards since then, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Cluster name.
    pub cluster: String,
    /// What its frames carry.
    pub cluster_tag: u32,
    /// Node id.
    pub node: u16,
    /// Everything acknowledged before this moment is in it, milliseconds of Unix time.
    pub taken_unix_ms: u64,
    /// All shards, in their order.
    pub shards: Vec<BackupShard>,
}

/// One shard of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupShard {
    /// Which.
    pub shard: u16,
    /// Generation of its snapshot.
    pub generation: u64,
    /// Bytes of its records since then.
    pub records_bytes: u64,
}

/// A reply as it stands on the line: `ok`, and the fields of either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<T> {
    /// `"ok":true`.
    Done(T),
    /// `"ok":false`.
    Refused(Refusal),
}

/// A reply line that is none.
#[derive(Debug, thiserror::Error)]
#[error("the daemon's reply is not understood ({0}); are latticectl and latticed of the same version?")]
pub struct BadReply(#[from] serde_json::Error);

#[derive(Serialize)]
struct Line<'a, T> {
    ok: bool,
    #[serde(flatten)]
    fields: &'a T,
}

#[derive(Deserialize)]
struct Verdict {
    ok: bool,
}

impl<T: Serialize> Reply<T> {
    /// The reply as a line, its newline included.
    pub fn to_line(&self) -> Vec<u8> {
        let encoded = match self {
            Reply::Done(fields) => serde_json::to_vec(&Line { ok: true, fields }),
            Reply::Refused(fields) => serde_json::to_vec(&Line { ok: false, fields }),
        };
        // Only maps with keys that are no strings, and failing writers, can't be encoded; neither is here.
        let mut line =
            encoded.unwrap_or_else(|_| br#"{"ok":false,"error":"not encodable","code":"system"}"#.to_vec());
        line.push(b'\n');
        line
    }
}

impl<T: for<'de> Deserialize<'de>> Reply<T> {
    /// Understands a line.
    ///
    /// # Errors
    /// [`BadReply`]: not JSON, or without the fields that a reply has.
    pub fn from_line(line: &[u8]) -> Result<Self, BadReply> {
        let verdict: Verdict = serde_json::from_slice(line)?;
        Ok(if verdict.ok {
            Reply::Done(serde_json::from_slice(line)?)
        } else {
            Reply::Refused(serde_json::from_slice(line)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spelled_as_documented() {
        for (text, request) in [
            (r#"{"op":"attach"}"#, Request::Attach),
            (r#"{"op":"status","extra":[1]}"#, Request::Status),
            (r#"{"op":"converged"}"#, Request::Converged),
            (r#"{"op":"reload"}"#, Request::Reload),
            (r#"{"op":"snapshot"}"#, Request::Snapshot),
            (r#"{"op":"backup"}"#, Request::Backup),
            (r#"{"op":"why","key":"k"}"#, Request::Why { key: b"k"[..].into(), element: None }),
        ] {
            assert_eq!(serde_json::from_str::<Request>(text).ok(), Some(request), "{text}");
        }
        for text in ["", "[]", "{}", r#"{"op":"Attach"}"#, r#"{"op":7}"#, "{\"op\":\"attach\""] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn replies_survive_the_line() {
        let attached = Attached {
            segment: "/dev/shm/latticed/a/segment".into(),
            incarnation: format!("{:x}", u64::MAX),
            workers: 2,
            shards: 4,
            client: 9,
        };
        let line = Reply::Done(attached.clone()).to_line();
        assert!(line.starts_with(br#"{"ok":true,"segment":"/dev"#) && line.ends_with(b"}\n"));
        assert_eq!(Reply::from_line(&line).ok(), Some(Reply::Done(attached)));

        let refusal = Refusal::new(codes::BUSY, "try again");
        let line = Reply::<Attached>::Refused(refusal.clone()).to_line();
        assert_eq!(Reply::<Attached>::from_line(&line).ok(), Some(Reply::Refused(refusal)));
        assert!(Reply::<Attached>::from_line(b"{\"ok\":true}\n").is_err());
        assert!(Reply::<Attached>::from_line(b"hello\n").is_err());
    }
}
