//! `why`: a look at the engine that has the key, and what it says in words.

use std::time::{Duration, Instant};

use lattice_crdt::{ActorId, ENABLE_ELEMENT, Kind};
use lattice_engine::{KeyAccount, Part, Standing};
use lattice_segment::{key_hash, shard_of};

use super::Daemon;
use crate::protocol::{By, Bytes, Did, MAX_PARTS, Refusal, Why, WhyKind, WhyPart, codes};

/// Time that a worker has to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks the worker that owns the key.
///
/// # Errors
/// [`Refusal`]: it does not answer.
pub async fn why(daemon: &Daemon, key: Bytes, element: Option<Bytes>) -> Result<Why, Refusal> {
    let shard = shard_of(key_hash(&key.0), daemon.config.cluster.shards);
    let name = key.0.clone();
    let accounts = daemon.workers.look(shard, Instant::now() + ANSWER_TIMEOUT, move |engine| {
        engine.account(&name, element.as_ref().map(|element| &*element.0), MAX_PARTS)
    });
    let accounts = accounts.await.ok_or_else(|| {
        let error =
            format!("the worker of shard {shard} did not answer within {ANSWER_TIMEOUT:?}: try again");
        Refusal::new(codes::BUSY, error)
    })?;
    Ok(Why { key, shard, kinds: accounts.into_iter().map(kind).collect() })
}

fn kind(account: KeyAccount) -> WhyKind {
    let kind = account.kind;
    WhyKind {
        kind: kind.to_string(),
        standing: account.standing.into_iter().map(|standing| part(kind, standing)).collect(),
        last: account.touches.into_iter().map(|touch| by(touch.actor, touch.seq)).collect(),
        whole: account.is_whole,
    }
}

fn by(actor: ActorId, seq: u64) -> By {
    By { node: actor.node(), epoch: format!("{:012x}", actor.epoch()), seq }
}

fn part(kind: Kind, standing: Standing) -> WhyPart {
    let bytes = |bytes: Box<[u8]>| Bytes(bytes.into_vec());
    let did = match standing.part {
        Part::Counter(sums) => {
            Did::Add { increments: sums.increments.to_string(), decrements: sums.decrements.to_string() }
        }
        Part::Register { hlc, value } => Did::Set { value: bytes(value), unix_ns: hlc.wall_ns() },
        Part::Element(element) if kind == Kind::Set => Did::Insert { element: bytes(element) },
        Part::Element(side) if *side == *ENABLE_ELEMENT => Did::Enable,
        Part::Element(_) => Did::Disable,
        Part::PreRemoved(element) => Did::PreRemoved { element: bytes(element) },
    };
    WhyPart { by: by(standing.actor, standing.seq), did }
}
