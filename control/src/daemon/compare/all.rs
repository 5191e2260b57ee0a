//! `converged --all`: whether all hosts of the cluster hold the same, and if not, who lacks what.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use lattice_crdt::{ActorId, Clock, SeqRange, VectorLimits, VersionVector};

use super::{Account, Answer, Question, answers, ask, not_understood};
use crate::daemon::{Daemon, status};
use crate::protocol::{AllConverged, Convergence, HostAccount, Lack, Refusal, codes};

/// A host and how it stands, or why that is not known.
type Told = (u16, Option<String>, Result<Vec<Account>, Refusal>);

/// Asks every host; without certificates, takes what their heartbeats say.
///
/// # Errors
/// [`Refusal`]: this host's own workers do not answer.
pub async fn all_converged(daemon: &Daemon) -> Result<AllConverged, Refusal> {
    let Some(members) = &daemon.members else {
        return Ok(by_heartbeats(daemon, &status::convergence(daemon).await));
    };
    let known = answers::members(daemon);
    let asked = members.view().members.into_iter().filter(|member| known.contains(&member.node));
    let asked = asked
        .map(|member| async move { (member.node, Some(member.name), told_by(daemon, member.node).await) });
    let (own, others) = tokio::join!(answers::accounts(daemon), join_all(asked));
    let own_id = daemon.config.node.id;
    let own = (own_id, Some(daemon.config.node.name.clone()), Ok(own?));
    let mut told = vec![own];
    let mut strangers = BTreeMap::new();
    for (node, name, answer) in others {
        let answer = answer.map(|(shards, members)| {
            let strange = members.into_iter().filter(|other| *other != own_id && !known.contains(other));
            strangers.extend(strange.map(|other| (other, node)));
            shards
        });
        told.push((node, name, answer));
    }
    told.extend(strangers.into_iter().map(|(stranger, by)| {
        let error = format!("node {by} knows it, and this host has had no session with it yet");
        (stranger, None, Err(Refusal::new(codes::PEER, error)))
    }));
    let mut all = judge(told);
    // Alone, with an address to ask at, it knows nothing of the others.
    all.converged &= all.hosts.len() > 1 || status::convergence(daemon).await.converged;
    Ok(all)
}

/// How another host stands.
///
/// # Errors
/// [`Refusal`]: it does not say.
pub async fn account_of(daemon: &Daemon, node: u16) -> Result<Vec<Account>, Refusal> {
    told_by(daemon, node).await.map(|(shards, _)| shards)
}

/// How another host stands, and whom it knows.
async fn told_by(daemon: &Daemon, node: u16) -> Result<(Vec<Account>, Vec<u16>), Refusal> {
    match ask(daemon, node, &Question::Account).await? {
        Answer::Account { shards, members } => Ok((shards, members)),
        _ => Err(not_understood(node)),
    }
}

fn by_heartbeats(daemon: &Daemon, known: &Convergence) -> AllConverged {
    let own = HostAccount {
        node: daemon.config.node.id,
        name: Some(daemon.config.node.name.clone()),
        silent: None,
        lacks: Vec::new(),
        differs_in: Vec::new(),
    };
    let others = known.peers.iter().filter(|peer| peer.up || !peer.forgotten).map(|peer| HostAccount {
        node: peer.node,
        name: None,
        silent: match (peer.up, peer.converged) {
            (false, _) => Some("it is down, or can't be reached".to_owned()),
            (true, false) => Some("its heartbeats show another state, or none yet".to_owned()),
            (true, true) => None,
        },
        lacks: (peer.acked_lag_seqs > 0)
            .then(|| Lack { node: own.node, epoch: String::new(), operations: peer.acked_lag_seqs })
            .into_iter()
            .collect(),
        differs_in: Vec::new(),
    });
    let hosts = std::iter::once(own.clone()).chain(others).collect();
    AllConverged { converged: known.converged, asked: false, hosts }
}

/// Puts together what the hosts have told, of which the first is the measure.
fn judge(told: Vec<Told>) -> AllConverged {
    let mut known: BTreeMap<u16, VersionVector> = BTreeMap::new();
    for account in told.iter().filter_map(|(_, _, told)| told.as_ref().ok()).flatten() {
        let everything = known.entry(account.shard).or_insert_with(nothing);
        cover(everything, account);
    }
    let measure: Vec<Account> = told.first().and_then(|(_, _, told)| told.clone().ok()).unwrap_or_default();
    let host = |(node, name, told): Told| match told {
        Ok(shards) => HostAccount {
            node,
            name,
            silent: None,
            lacks: lacks(&known, &shards),
            differs_in: measure
                .iter()
                .filter(|own| {
                    !shards.iter().any(|s| s.shard == own.shard && s.state_digest == own.state_digest)
                })
                .map(|own| own.shard)
                .collect(),
        },
        Err(refusal) => {
            HostAccount { node, name, silent: Some(refusal.error), lacks: Vec::new(), differs_in: Vec::new() }
        }
    };
    let hosts: Vec<HostAccount> = told.into_iter().map(host).collect();
    let is_equal =
        |host: &HostAccount| host.silent.is_none() && host.lacks.is_empty() && host.differs_in.is_empty();
    AllConverged { converged: hosts.iter().all(is_equal), asked: true, hosts }
}

/// A vector for what vectors say that have limits of their own.
fn nothing() -> VersionVector {
    VersionVector::new(VectorLimits { max_actors: usize::MAX, max_ranges_per_actor: usize::MAX })
}

fn cover(vector: &mut VersionVector, account: &Account) {
    for &(actor, first, last) in &account.covered {
        vector.cover_range(ActorId::from_u64(actor), SeqRange { first, last });
    }
}

/// Operations that are known to somebody, and not to the host of these shards.
fn lacks(known: &BTreeMap<u16, VersionVector>, shards: &[Account]) -> Vec<Lack> {
    let mut missing: BTreeMap<ActorId, u64> = BTreeMap::new();
    for (shard, everything) in known {
        let mut own = nothing();
        shards.iter().filter(|account| account.shard == *shard).for_each(|account| cover(&mut own, account));
        for (actor, number) in missing_in(everything, &own) {
            let sum = missing.entry(actor).or_default();
            *sum = sum.saturating_add(number);
        }
    }
    let lack = |(actor, operations): (ActorId, u64)| Lack {
        node: actor.node(),
        epoch: format!("{:012x}", actor.epoch()),
        operations,
    };
    missing.into_iter().map(lack).collect()
}

/// How many operations of each actor `everything` covers and `own`, which is part of it, does not.
fn missing_in<'a>(
    everything: &'a VersionVector,
    own: &'a VersionVector,
) -> impl Iterator<Item = (ActorId, u64)> + 'a {
    let missing = move |(actor, clock): (ActorId, &Clock)| {
        let missing = number(clock).saturating_sub(own.clock(actor).map_or(0, number));
        (missing > 0).then_some((actor, missing))
    };
    everything.iter().filter_map(missing)
}

/// How many operations a clock covers.
fn number(clock: &Clock) -> u64 {
    let beyond = clock.ranges().iter().map(|range| range.last.saturating_sub(range.first).saturating_add(1));
    beyond.fold(clock.contiguous(), u64::saturating_add)
}

/// Operations that each of two hosts lacks and the other one has: (the first, the second).
#[must_use]
pub fn lack_each(first: &[Account], second: &[Account]) -> (u64, u64) {
    let mut sums = (0u64, 0u64);
    for one in first {
        let (mut a, mut b) = (nothing(), nothing());
        cover(&mut a, one);
        second.iter().filter(|other| other.shard == one.shard).for_each(|other| cover(&mut b, other));
        let mut both = a.clone();
        both.join(&b);
        let sum = |own| missing_in(&both, own).fold(0u64, |sum, (_, number)| sum.saturating_add(number));
        sums = (sums.0.saturating_add(sum(&a)), sums.1.saturating_add(sum(&b)));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(shard: u16, state_digest: u64, covered: &[(u64, u64, u64)]) -> Account {
        Account { shard, state_digest, vector_digest: 0, keys: 0, covered: covered.to_vec() }
    }

    fn actor(node: u16) -> u64 {
        ActorId::new(node, 0xAB).as_u64()
    }

    #[test]
    fn hosts_that_hold_the_same_are_converged_and_one_that_is_silent_is_not() {
        let shards = vec![account(0, 7, &[(actor(1), 1, 5)]), account(1, 8, &[])];
        let told = |node| (node, None, Ok(shards.clone()));
        let all = judge(vec![told(1), told(2), told(3)]);
        assert!(all.converged && all.asked && all.hosts.len() == 3, "{all:?}");
        let silent = (3, None, Err(Refusal::new(codes::PEER, "down")));
        let all = judge(vec![told(1), told(2), silent]);
        assert!(!all.converged && all.hosts[2].silent.as_deref() == Some("down"), "{all:?}");
    }

    #[test]
    fn who_lacks_what_is_what_anybody_has() {
        let host = |node, covered: &[_]| (node, None, Ok(vec![account(0, u64::from(node), covered)]));
        let (one, two) = (actor(1), actor(2));
        let all = judge(vec![
            host(1, &[(one, 1, 10), (two, 1, 3)]),
            host(2, &[(one, 1, 4), (one, 7, 10), (two, 1, 5)]),
        ]);
        let lack = |node, operations| vec![Lack { node, epoch: "0000000000ab".to_owned(), operations }];
        assert_eq!((&all.hosts[0].lacks, &all.hosts[1].lacks), (&lack(2, 2), &lack(1, 2)));
        assert_eq!((&all.hosts[0].differs_in, &all.hosts[1].differs_in), (&vec![], &vec![0]));
        assert!(!all.converged);
    }

    #[test]
    fn the_same_operations_with_another_state_are_not_converged() {
        let host = |node, state| (node, None, Ok(vec![account(0, state, &[(actor(1), 1, 2)])]));
        let all = judge(vec![host(1, 5), host(2, 6)]);
        assert!(!all.converged && all.hosts[1].lacks.is_empty() && all.hosts[1].differs_in == [0], "{all:?}");
        // A host that does not say how a shard stands lacks it.
        let all = judge(vec![host(1, 5), (2, None, Ok(Vec::new()))]);
        assert!(!all.converged && all.hosts[1].lacks[0].operations == 2, "{all:?}");
    }

    #[test]
    fn two_hosts_lack_what_the_other_one_has() {
        let first = [account(0, 1, &[(actor(1), 1, 10)]), account(1, 1, &[(actor(1), 1, 1)])];
        let second = [account(0, 1, &[(actor(1), 3, 4), (actor(2), 1, 1)])];
        assert_eq!(lack_each(&first, &second), (1, 9));
    }
}
