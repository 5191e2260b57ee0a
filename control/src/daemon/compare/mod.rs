//! What this host holds beside what others hold, key by key if need be: `diff` and `converged --all`.
//!
//! ```text
//!   latticectl diff 2          this daemon                                       node 2
//!     ──────────────────> ──account──────────────────────────────────────────> digests and vectors of all shards
//!                         shards whose digests differ:
//!                           ──buckets─────────────────────────────────────────> 4096 sums of keys' digests
//!                           buckets whose sums differ, a few at a time:
//!                             ──keys──────────────────────────────────────────> the keys in them, with their digests
//!                         half a second later, those that differed once more: who differs still, and stands still?
//!     <──keys───────────
//! ```
//!
//! Questions go over the sessions of members, so they need certificates, and cost the network little however large the state
//! is. Each is answered from a walk over the shard's keys in slices, between which the worker does its work.
//!
//! What can go wrong: hosts that are written to are never looked at in one moment. So a key counts as different only when both
//! sides held it unchanged for half a second and differed at both ends; one that changed meanwhile is called moving.
//! A host does not answer, or is of another version: a refusal says so.

mod all;
mod answers;
mod diff;

pub use all::{account_of, all_converged, lack_each};
pub use answers::{accounts, attend};
pub use diff::diff;

use std::time::{Duration, Instant};

use lattice_engine::{DigestCursor, KeyDigest};
use serde::{Deserialize, Serialize};

use super::Daemon;
use crate::protocol::{Bytes, Refusal, codes};

/// Into so many buckets a shard's keys are sorted, by the low bits of their hashes (the high ones say the shard).
const BUCKETS: usize = 4_096;
/// Keys and atoms that are looked at in one go: some 20 µs of the worker's time.
const SLICE: usize = 512;
/// Time for one walk.
const WALK_TIMEOUT: Duration = Duration::from_secs(20);
/// Time that another host has for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that it has for one that takes a walk, and perhaps another one before that.
const WALK_ANSWER_TIMEOUT: Duration = Duration::from_secs(25);
/// Keys in an answer, at most: it fits [`lattice_members::MAX_ANSWER_BYTES`] whatever their names are.
const MAX_KEYS_IN_ANSWER: usize = 2_048;

/// What one daemon asks another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Question {
    /// How all shards stand.
    Account,
    /// The sums of a shard's buckets.
    Buckets { shard: u16, prefix: Bytes },
    /// The keys in some of them.
    Keys { shard: u16, prefix: Bytes, buckets: Vec<u16> },
    /// None: this run of the asking host is about to be stopped, or after all it is not.
    Leaving { run: String, leaving: bool },
    /// Make durable what you have.
    Keep,
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// And which members it knows.
    Account {
        shards: Vec<Account>,
        members: Vec<u16>,
    },
    Buckets {
        sums: Vec<u64>,
    },
    Keys {
        keys: Vec<Found>,
    },
    Noted,
    Refused {
        error: String,
    },
}

/// How a shard stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    shard: u16,
    state_digest: u64,
    vector_digest: u64,
    keys: u64,
    /// Everything that its vector covers: actor, first, last.
    covered: Vec<(u64, u64, u64)>,
}

/// A key with its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    kind: u8,
    key: Bytes,
    digest: u64,
}

/// Keeps walks apart: one at a time, so that what others ask costs the workers no more than that.
#[derive(Debug, Default)]
pub struct Walks(tokio::sync::Mutex<()>);

/// Visits all keys of a shard in slices.
async fn walk<T: Send + Sync + 'static>(
    daemon: &Daemon,
    shard: u16,
    mut found: T,
    each: impl Fn(&mut T, KeyDigest<'_>) + Clone + Send + Sync + 'static,
) -> Result<T, Refusal> {
    let busy = || Refusal::new(codes::BUSY, format!("shard {shard} was not walked within {WALK_TIMEOUT:?}"));
    let deadline = Instant::now() + WALK_TIMEOUT;
    let turn = tokio::time::timeout(WALK_TIMEOUT, daemon.walks.0.lock()).await;
    let _turn = turn.map_err(|_| busy())?;
    let mut cursor = DigestCursor::default();
    loop {
        let each = each.clone();
        let slice = daemon.workers.look(shard, deadline, move |engine| {
            let next = engine.key_digests(cursor, SLICE, &mut |key| each(&mut found, key));
            (next, found)
        });
        match slice.await.ok_or_else(busy)? {
            (Some(next), so_far) => (cursor, found) = (next, so_far),
            (None, all) => return Ok(all),
        }
    }
}

fn bucket_of(hash: u64) -> usize {
    hash as usize % BUCKETS
}

/// Asks another host.
///
/// # Errors
/// [`Refusal`]: there are no sessions, or it gave no answer that can be used.
pub async fn ask(daemon: &Daemon, node: u16, question: &Question) -> Result<Answer, Refusal> {
    let refused = |error: String| Refusal::new(codes::PEER, error);
    let members = daemon.members.as_ref().ok_or_else(|| {
        Refusal::new(
            codes::NO_SESSIONS,
            "hosts ask each other over the sessions of members, and this daemon has none: configure [security], for which \
             `latticectl cluster init` makes the certificates",
        )
    })?;
    let text = serde_json::to_vec(question).map_err(|error| refused(error.to_string()))?;
    let timeout = match question {
        Question::Buckets { .. } | Question::Keys { .. } => WALK_ANSWER_TIMEOUT,
        Question::Account | Question::Leaving { .. } | Question::Keep => ANSWER_TIMEOUT,
    };
    let answer = members.ask(node, &text, timeout).await.map_err(|error| refused(error.to_string()))?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::Refused { error }) => Err(refused(format!("node {node}: {error}"))),
        Ok(answer) => Ok(answer),
        Err(error) => Err(refused(format!(
            "node {node} gave an answer that is not understood ({error}): is it of the same version?"
        ))),
    }
}

/// An answer to another question than was asked.
fn not_understood(node: u16) -> Refusal {
    Refusal::new(codes::PEER, format!("node {node} answered another question: is it of the same version?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hosts_ask_each_other_survives_the_way() {
        let question = Question::Keys { shard: 3, prefix: b"\xff"[..].into(), buckets: vec![0, 4095] };
        let text = serde_json::to_string(&question).expect("JSON");
        assert_eq!(text, r#"{"ask":"keys","shard":3,"prefix":{"hex":"ff"},"buckets":[0,4095]}"#);
        assert_eq!(serde_json::from_str::<Question>(&text).ok(), Some(question));
        let account = Account {
            shard: 1,
            state_digest: u64::MAX,
            vector_digest: 2,
            keys: 3,
            covered: vec![(u64::MAX, 1, 9)],
        };
        let answer = Answer::Account { shards: vec![account], members: vec![1] };
        let text = serde_json::to_vec(&answer).expect("JSON");
        assert_eq!(serde_json::from_slice::<Answer>(&text).ok(), Some(answer));
        assert!(serde_json::from_str::<Question>(r#"{"ask":"everything"}"#).is_err());
    }

    #[test]
    fn the_longest_answers_fit() {
        let key = Found { kind: 5, key: Bytes(vec![0x01; 128]), digest: u64::MAX };
        let keys = Answer::Keys { keys: vec![key; MAX_KEYS_IN_ANSWER] };
        let account = Account {
            shard: 63,
            state_digest: u64::MAX,
            vector_digest: u64::MAX,
            keys: u64::MAX,
            covered: vec![(u64::MAX, 1, 1 << 40); 256],
        };
        let accounts = Answer::Account { shards: vec![account; 64], members: vec![65_000; 127] };
        let sums = Answer::Buckets { sums: vec![u64::MAX; BUCKETS] };
        for answer in [keys, accounts, sums] {
            let length = serde_json::to_vec(&answer).expect("JSON").len();
            assert!(length <= lattice_members::MAX_ANSWER_BYTES, "{length}");
        }
        let buckets = (0..BUCKETS as u16).collect();
        let question = Question::Keys { shard: 63, prefix: Bytes(vec![0xFF; 128]), buckets };
        let length = serde_json::to_vec(&question).expect("JSON").len();
        assert!(length <= lattice_members::MAX_QUESTION_BYTES, "{length}");
    }
}
