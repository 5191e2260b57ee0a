//! `diff`: the keys that are not the same here and there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lattice_crdt::Kind;

use super::all::lack_each;
use super::{Account, Answer, Found, Question, answers, ask, bucket_of, not_understood};
use crate::daemon::Daemon;
use crate::protocol::{Bytes, Diff, DifferentKey, MAX_DIFFERENT_KEYS, Refusal, codes};

/// Pause between the two looks: many times what an operation takes to get there.
const SETTLE: Duration = Duration::from_millis(500);
/// Keys that are asked for at a time, about.
const KEYS_AT_A_TIME: u64 = 1_024;

/// A key of a shard: its kind and name, with the digests here and there.
type Seen = BTreeMap<(u8, Bytes), (Option<u64>, Option<u64>)>;

/// Compares this host with another one.
///
/// # Errors
/// [`Refusal`]: there are no sessions, no such member, or one of the two does not answer.
pub async fn diff(daemon: &Daemon, node: u16, prefix: Bytes, most: usize) -> Result<Diff, Refusal> {
    if node == daemon.config.node.id {
        return Err(Refusal::new(codes::UNKNOWN_NODE, format!("node {node} is this host itself")));
    }
    let pair = Pair { daemon, node, prefix };
    let (here, there) = pair.accounts().await?;
    let (lacks_here, lacks_there) = lack_each(&here, &there);
    let of_other = |own: &Account| there.iter().find(|other| other.shard == own.shard);
    // With the keys that the one of the two has that has more.
    let shards: Vec<(u16, u64)> = here
        .iter()
        .filter(|own| of_other(own).is_none_or(|other| other.state_digest != own.state_digest))
        .map(|own| (own.shard, own.keys.max(of_other(own).map_or(0, |other| other.keys))))
        .collect();
    let most = most.clamp(1, MAX_DIFFERENT_KEYS);
    let (mut seen, mut found, mut whole) = (Vec::new(), 0, true);
    for (shard, keys) in &shards {
        if found == most {
            whole = false;
            break;
        }
        let (keys, is_whole) = pair.differing(*shard, *keys, most - found).await?;
        (found, whole) = (found + keys.len(), whole && is_whole);
        seen.push((*shard, keys));
    }
    if found > 0 {
        tokio::time::sleep(SETTLE).await;
    }
    let mut keys = Vec::new();
    for (shard, first) in seen.into_iter().filter(|(_, keys)| !keys.is_empty()) {
        let buckets: BTreeSet<u16> =
            first.keys().map(|(_, key)| bucket_of(lattice_segment::key_hash(&key.0)) as u16).collect();
        let second = pair.keys(shard, &buckets.into_iter().collect::<Vec<_>>()).await?;
        keys.extend(settled(shard, &first, &second));
    }
    let shards = shards.into_iter().map(|(shard, _)| shard).collect();
    Ok(Diff { node, shards, keys, whole, lacks_here, lacks_there })
}

/// What is left of the differences of a first look after a second one.
fn settled(shard: u16, first: &Seen, second: &Seen) -> Vec<DifferentKey> {
    let still = first.iter().filter_map(|(name, before)| {
        let now = second.get(name).copied().unwrap_or_default();
        (now.0 != now.1).then_some((name, *before, now))
    });
    let hexadecimal = |digest: Option<u64>| digest.map(|digest| format!("{digest:016x}"));
    still
        .map(|((kind, key), before, now)| DifferentKey {
            key: key.clone(),
            kind: Kind::try_from(*kind).map_or_else(|kind| kind.0.to_string(), |kind| kind.to_string()),
            shard,
            here: hexadecimal(now.0),
            there: hexadecimal(now.1),
            moving: before != now,
        })
        .collect()
}

/// This host and another one.
struct Pair<'a> {
    daemon: &'a Daemon,
    node: u16,
    prefix: Bytes,
}

impl Pair<'_> {
    async fn accounts(&self) -> Result<(Vec<Account>, Vec<Account>), Refusal> {
        match self.both(Question::Account).await? {
            (Answer::Account { shards: here, .. }, Answer::Account { shards: there, .. }) => {
                Ok((here, there))
            }
            _ => Err(not_understood(self.node)),
        }
    }

    /// Both answers to a question.
    async fn both(&self, question: Question) -> Result<(Answer, Answer), Refusal> {
        let there = ask(self.daemon, self.node, &question);
        let (there, here) = tokio::join!(there, answers::answer_to(self.daemon, question.clone()));
        Ok((here?, there?))
    }

    /// The keys of a shard of about so many that differ, at most `most`; and whether these are all.
    async fn differing(&self, shard: u16, keys: u64, most: usize) -> Result<(Seen, bool), Refusal> {
        let question = Question::Buckets { shard, prefix: self.prefix.clone() };
        let (Answer::Buckets { sums: here }, Answer::Buckets { sums: there }) = self.both(question).await?
        else {
            return Err(not_understood(self.node));
        };
        if here.len() != there.len() {
            return Err(not_understood(self.node));
        }
        let buckets: Vec<u16> = (0..)
            .zip(here.iter().zip(&there))
            .filter(|(_, (a, b))| a != b)
            .map(|(bucket, _)| bucket)
            .collect();
        let in_a_bucket = keys / here.len().max(1) as u64 + 1;
        let at_a_time = usize::try_from(KEYS_AT_A_TIME / in_a_bucket).unwrap_or(1).max(1);
        let mut found = Seen::new();
        for buckets in buckets.chunks(at_a_time) {
            if found.len() >= most {
                return Ok((found, false));
            }
            let keys = self.keys(shard, buckets).await?;
            let differing = keys.into_iter().filter(|(_, (here, there))| here != there);
            let mut differing = differing.peekable();
            while let Some((name, digests)) = differing.next_if(|_| found.len() < most) {
                found.insert(name, digests);
            }
            if differing.peek().is_some() {
                return Ok((found, false));
            }
        }
        Ok((found, true))
    }

    /// All keys in some buckets of a shard.
    async fn keys(&self, shard: u16, buckets: &[u16]) -> Result<Seen, Refusal> {
        let question = Question::Keys { shard, prefix: self.prefix.clone(), buckets: buckets.to_vec() };
        let (Answer::Keys { keys: here }, Answer::Keys { keys: there }) = self.both(question).await? else {
            return Err(not_understood(self.node));
        };
        let mut seen = Seen::new();
        for Found { kind, key, digest } in here {
            seen.entry((kind, key)).or_default().0 = Some(digest);
        }
        for Found { kind, key, digest } in there {
            seen.entry((kind, key)).or_default().1 = Some(digest);
        }
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_twice_and_stands_still_differs_and_what_moves_is_said_to() {
        let name = |name: &[u8]| (Kind::Set as u8, Bytes::from(name));
        let first = Seen::from([
            (name(b"equal-by-now"), (Some(1), None)),
            (name(b"gone"), (None, Some(1))),
            (name(b"lost"), (Some(1), None)),
            (name(b"moves"), (Some(1), Some(2))),
        ]);
        let second = Seen::from([
            (name(b"equal-by-now"), (Some(1), Some(1))),
            (name(b"lost"), (Some(1), None)),
            (name(b"moves"), (Some(3), Some(2))),
            (name(b"new"), (Some(9), None)),
        ]);
        let found = settled(2, &first, &second);
        let seen: Vec<(&[u8], bool)> = found.iter().map(|key| (&*key.key.0, key.moving)).collect();
        assert_eq!(seen, [(&b"lost"[..], false), (b"moves", true)]);
        assert_eq!((found[0].here.as_deref(), &found[0].there), (Some("0000000000000001"), &None));
        assert_eq!((found[0].kind.as_str(), found[0].shard), ("set", 2));
    }
}
