//! Keys of sealed frames, from the sessions between daemons to the workers.
//!
//! ```text
//!   lattice-members: Pair (what opens, what seals) ──expanded, a copy for each worker──> SetSeal
//!            ▲                                                                             │
//!            └── told: the other side may seal with it <───────────────────────────────────┘
//!            └── worn, not known: once a second, from the workers' accounts
//! ```
//!
//! What can go wrong: a worker takes no commands for a while. Then the other side goes on with the key before, which opens
//! still. Frames that come before a key was taken up are dropped, counted, and repaired.

use std::collections::BTreeMap;

use lattice_members::{Members, Pair};
use lattice_port::PeerSlot;
use lattice_seal::{KEY_FRAMES, OpenKey, SealKey, Secret, Unusable};
use lattice_worker::{Command, PeerSeal, WorkerStatus};

use super::Daemon;
use super::membership::tell;
use super::status::WORKER_TIMEOUT;
use crate::config::Config;

/// Age of a frame with an unknown key from which it is old news: the period of looking, and half of it.
const RECENT_NS: u64 = 1_500_000_000;

/// How long a forged frame is told of, nanoseconds.
const FORGED_FOR_NS: u64 = 60_000_000_000;

/// What the workers have been told of each member.
#[derive(Debug, Default)]
pub struct Seals(BTreeMap<u16, Told>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    instance: u64,
    is_sealed: bool,
    opens: Option<u32>,
    seals: Option<u32>,
}

impl Seals {
    /// Tells the workers what is new, and the other side that they know.
    pub async fn hand_on(&mut self, daemon: &Daemon, members: &Members, pairs: &[Pair]) {
        for pair in pairs {
            let Some((slot, _)) = daemon.roster.find(pair.node) else { continue };
            let told = self.0.get(&pair.node).copied().unwrap_or_default();
            if let Err(error) = hand_on(daemon, slot, told, pair).await {
                tracing::error!(node = pair.node, %error, "keys of sealed frames");
                continue;
            }
            let now = Told::of(pair);
            if now.opens != told.opens
                && let Some(key) = now.opens
            {
                // Commands are carried out in their order: whoever has answered has the key.
                daemon.workers.statuses(WORKER_TIMEOUT).await;
                members.key_told(pair.node, key);
            }
            if now != told && now.is_sealed {
                let (opens, seals) = (now.opens.is_some(), now.seals.is_some());
                tracing::debug!(node = pair.node, opens, seals, "keys of sealed frames taken up");
            }
            self.0.insert(pair.node, now);
        }
    }
}

impl Told {
    fn of(pair: &Pair) -> Self {
        let id = |secret: &Option<Secret>| secret.as_ref().map(Secret::id);
        Self {
            instance: pair.instance,
            is_sealed: pair.is_sealed,
            opens: id(&pair.opens),
            seals: id(&pair.seals),
        }
    }
}

/// Tells all workers what a member's frames are sealed with, as far as they do not know it. A key that they know is never given to
/// them again: it would count, and let frames in, from the beginning.
async fn hand_on(daemon: &Daemon, slot: u16, told: Told, pair: &Pair) -> Result<(), Unusable> {
    let now = Told::of(pair);
    let (shards, workers) = (daemon.config.cluster.shards, daemon.workers.count());
    let mut news = Vec::new();
    for worker in 0..workers {
        if now.is_sealed != told.is_sealed || now.instance != told.instance {
            news.push((worker, if now.is_sealed { PeerSeal::Begin } else { PeerSeal::Plain }));
        }
        if let Some(secret) = pair.opens.as_ref().filter(|_| now.opens != told.opens) {
            news.push((worker, PeerSeal::Opens(Box::new(OpenKey::new(secret, shards)?))));
        }
        if let Some(secret) = pair.seals.as_ref().filter(|_| now.seals != told.seals) {
            let limit = KEY_FRAMES / u64::from(workers.max(1));
            news.push((worker, PeerSeal::Seals(Box::new(SealKey::new(secret, shards, limit)?))));
        }
    }
    for (worker, seal) in news {
        tell(daemon, worker, Command::SetSeal { peer: PeerSlot(slot), node: pair.node, seal }).await;
    }
    Ok(())
}

/// Has keys replaced that are worn, and asks for those that are not known.
pub fn look_after(daemon: &Daemon, workers: &[WorkerStatus]) {
    let Some(members) = &daemon.members else { return };
    for seal in workers.iter().flat_map(|worker| &worker.seals) {
        if seal.is_worn {
            members.key_worn(seal.node);
        }
        if seal.unknown_key_age_ns.is_some_and(|age_ns| age_ns < RECENT_NS) {
            members.key_unknown(seal.node);
        }
    }
}

/// How frames are sealed, for people.
pub fn describe(config: &Config) -> &'static str {
    match &config.security {
        None => "not sealed: without [security], whoever can send from a peer's address is believed",
        Some(security) if security.seal => "sealed (AES-128-GCM), and no others are taken",
        Some(_) => "sealed where the other node wants it (security.seal = false)",
    }
}

/// What is wrong with the seals of frames.
pub fn complaints(daemon: &Daemon, workers: &[WorkerStatus]) -> Vec<String> {
    let Some(members) = &daemon.members else { return Vec::new() };
    let keyless = members.view().members.into_iter().filter(|member| {
        let seal = member.seal;
        member.connected
            && seal.sealed
            && (seal.sends_key_age_s.is_none() || seal.receives_key_age_s.is_none())
    });
    let mut reasons: Vec<_> = keyless
        .map(|member| format!("peer {}: no keys for its frames yet; they come with the session", member.node))
        .collect();
    let recent = workers.iter().filter_map(|worker| worker.forged_age_ns).min();
    if let Some(age_ns) = recent.filter(|age_ns| *age_ns < FORGED_FOR_NS) {
        reasons.push(format!(
            "{} s ago a frame came from a peer's address without a seal, or with a broken one, and was dropped: \
             somebody forges frames, or security.seal differs (counters seal_missing and seal_broken)",
            age_ns / 1_000_000_000
        ));
    }
    reasons
}
