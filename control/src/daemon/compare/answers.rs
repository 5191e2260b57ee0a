//! What this host says of itself, to itself and to others.

use std::sync::Arc;
use std::time::Instant;

use lattice_members::Question as Asked;

use super::{Account, Answer, BUCKETS, Found, MAX_KEYS_IN_ANSWER, Question, WALK_TIMEOUT, bucket_of, walk};
use crate::daemon::{Daemon, drain};
use crate::protocol::{Bytes, Refusal, codes};

/// Answers other members, each in a task of its own, until the task is dropped.
pub async fn attend(daemon: Arc<Daemon>) {
    let Some(members) = &daemon.members else { return };
    while let Some(asked) = members.next_question().await {
        let daemon = Arc::clone(&daemon);
        tokio::spawn(async move {
            let Asked { node, bytes, answer } = asked;
            let answered = match serde_json::from_slice(&bytes) {
                Ok(question) => hear(&daemon, node, question).await,
                Err(error) => Err(Refusal::new(
                    codes::BAD_REQUEST,
                    format!("the question is not understood ({error}): are both of the same version?"),
                )),
            };
            let answered = answered.unwrap_or_else(|refusal| {
                tracing::debug!(node, reason = refusal.error, "question not answered");
                Answer::Refused { error: refusal.error }
            });
            // Numbers and texts can be encoded; an error of the channel: nobody waits any more.
            let _ = answer.send(serde_json::to_vec(&answered).unwrap_or_default());
        });
    }
}

/// Hears what a member has to say, or answers it.
async fn hear(daemon: &Daemon, node: u16, question: Question) -> Result<Answer, Refusal> {
    match question {
        Question::Leaving { run, leaving } => {
            tracing::info!(node, leaving, "a member says whether it is about to be stopped");
            daemon.drain.note(node, run, leaving);
        }
        Question::Keep => drain::keep(daemon).await,
        question => return answer_to(daemon, question).await,
    }
    Ok(Answer::Noted)
}

/// The answer to a question about what this host holds, whoever asks.
pub(super) async fn answer_to(daemon: &Daemon, question: Question) -> Result<Answer, Refusal> {
    match question {
        Question::Leaving { .. } | Question::Keep => Ok(Answer::Noted),
        Question::Account => {
            Ok(Answer::Account { shards: accounts(daemon).await?, members: members(daemon) })
        }
        Question::Buckets { shard, prefix } => {
            let sums = walk(daemon, known(daemon, shard)?, vec![0u64; BUCKETS], move |sums, key| {
                if let Some(sum) =
                    sums.get_mut(bucket_of(key.hash)).filter(|_| key.key.starts_with(&prefix.0))
                {
                    *sum = sum.wrapping_add(key.digest);
                }
            });
            Ok(Answer::Buckets { sums: sums.await? })
        }
        Question::Keys { shard, prefix, buckets } => {
            let keys = keys_of(daemon, known(daemon, shard)?, prefix, &buckets).await?;
            if keys.len() > MAX_KEYS_IN_ANSWER {
                let error = "there are too many keys to be named: ask about a longer prefix";
                return Err(Refusal::new(codes::BUSY, error));
            }
            Ok(Answer::Keys { keys })
        }
    }
}

fn known(daemon: &Daemon, shard: u16) -> Result<u16, Refusal> {
    let is_known = shard < daemon.config.cluster.shards;
    is_known.then_some(shard).ok_or_else(|| {
        Refusal::new(codes::BAD_REQUEST, format!("there are {} shards", daemon.config.cluster.shards))
    })
}

/// The keys in some buckets; one more than may be told if there are too many.
async fn keys_of(daemon: &Daemon, shard: u16, prefix: Bytes, buckets: &[u16]) -> Result<Vec<Found>, Refusal> {
    let mut is_wanted = vec![false; BUCKETS];
    for bucket in buckets {
        if let Some(wanted) = is_wanted.get_mut(usize::from(*bucket)) {
            *wanted = true;
        }
    }
    walk(daemon, shard, Vec::new(), move |keys, key| {
        let is_meant = is_wanted.get(bucket_of(key.hash)).is_some_and(|wanted| *wanted)
            && key.key.starts_with(&prefix.0);
        if is_meant && keys.len() <= MAX_KEYS_IN_ANSWER {
            keys.push(Found { kind: key.kind as u8, key: key.key.into(), digest: key.digest });
        }
    })
    .await
}

/// The members that this host knows, but for forgotten ones that are away.
pub(super) fn members(daemon: &Daemon) -> Vec<u16> {
    let forgotten = daemon.forgotten.others();
    let is_forgotten = |node| forgotten.iter().any(|(forgotten, _)| *forgotten == node);
    let known = daemon.members.iter().flat_map(|members| members.view().members);
    known.filter(|member| member.connected || !is_forgotten(member.node)).map(|member| member.node).collect()
}

/// How all shards stand, each at its own moment.
///
/// # Errors
/// [`Refusal`]: a worker does not answer.
pub async fn accounts(daemon: &Daemon) -> Result<Vec<Account>, Refusal> {
    let deadline = Instant::now() + WALK_TIMEOUT;
    let mut accounts = Vec::new();
    for shard in 0..daemon.config.cluster.shards {
        let account = daemon.workers.look(shard, deadline, move |engine| {
            let covered = engine.vector().iter().flat_map(|(actor, clock)| {
                let whole = (clock.contiguous() > 0).then(|| (actor.as_u64(), 1, clock.contiguous()));
                whole.into_iter().chain(clock.ranges().iter().map(move |r| (actor.as_u64(), r.first, r.last)))
            });
            Account {
                shard,
                state_digest: engine.state_digest(),
                vector_digest: engine.vector_digest(),
                keys: engine.stats().keys,
                covered: covered.collect(),
            }
        });
        accounts.push(account.await.ok_or_else(|| {
            Refusal::new(codes::BUSY, format!("the worker of shard {shard} does not answer: try again"))
        })?);
    }
    Ok(accounts)
}
