//! `drain`: this host is about to be stopped, and nothing is to be lost or missed by it.
//!
//! ```text
//!   serving ── announce ──> /readyz: no ── refuse ──> local writes refused ── look, look ──> everybody has everything:
//!      ▲                    members told              with a code of their own                it may be stopped
//!      └──────────────────────────── undo, or a restart ────────────────────────────────────────┘
//! ```
//!
//! Each step is a request of its own: `latticectl drain` waits between them, first until load balancers have left, then until
//! the other members have what this host has. Replication, reading, and marks go on all the while.
//!
//! Members that were told say so where a host that went silent would be called down. The word holds for the run that gave it:
//! a restarted daemon serves again.
//!
//! What can go wrong: a member is away and so can't have everything. It is said which, and whoever drains decides.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use futures_util::future::join_all;
use lattice_members::MemberView;
use lattice_worker::Command;

use super::compare::{self, Question};
use super::{Daemon, admin, status};
use crate::protocol::{DrainPeer, DrainStep, Drained, Refusal, codes};

/// Whether this host is being drained, and who else has said that it is.
#[derive(Debug, Default)]
pub struct Drain {
    announced: AtomicBool,
    refuses: AtomicBool,
    /// Members that are about to be stopped, each with the run that said so.
    leaving: Mutex<BTreeMap<u16, String>>,
    /// Members that were told that this host is, each with its run.
    told: Mutex<BTreeMap<u16, String>>,
}

// Relaxed, all of them: flags that nothing else is published with, set and read on one thread.
impl Drain {
    /// It was announced.
    pub fn is_announced(&self) -> bool {
        self.announced.load(Ordering::Relaxed)
    }

    /// Whether that run of a member is yet to be told; from now on it counts as told.
    fn is_news_to(&self, node: u16, run: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(node, run.to_owned()).is_none_or(|before| before != run)
    }

    fn refuses(&self) -> bool {
        self.refuses.load(Ordering::Relaxed)
    }

    /// A member's word.
    pub fn note(&self, node: u16, run: String, leaving: bool) {
        let mut known = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        match leaving {
            true => drop(known.insert(node, run)),
            false => drop(known.remove(&node)),
        }
    }

    /// Whether that run of a member said that it is about to be stopped.
    pub fn is_leaving(&self, node: u16, run: &str) -> bool {
        let known = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&node).is_some_and(|said| said == run)
    }
}

/// Takes a step, and says how far it is.
///
/// # Errors
/// [`Refusal`]: a worker takes no commands. Some may have been told: ask again.
pub async fn drain(daemon: &Daemon, step: DrainStep) -> Result<Drained, Refusal> {
    let state = &daemon.drain;
    match step {
        DrainStep::Announce => {
            if !state.announced.swap(true, Ordering::Relaxed) {
                tracing::warn!("drained: not ready any more; `latticectl drain --undo` takes it back");
            }
            tell_newcomers(daemon).await;
        }
        DrainStep::Refuse => {
            state.announced.store(true, Ordering::Relaxed);
            serve(daemon, false).await?;
            if !state.refuses.swap(true, Ordering::Relaxed) {
                tracing::warn!("drained: local writes are refused");
            }
        }
        DrainStep::Look => {}
        DrainStep::Keep => tell(daemon, &Question::Keep, |_| true).await,
        DrainStep::Undo => {
            serve(daemon, true).await?;
            state.refuses.store(false, Ordering::Relaxed);
            if state.announced.swap(false, Ordering::Relaxed) {
                tracing::warn!("serving again");
            }
            daemon.drain.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
            tell(daemon, &leaving(daemon, false), |_| true).await;
        }
    }
    let peers = peers(daemon).await?;
    Ok(Drained { drains: state.is_announced(), refuses: state.refuses(), peers })
}

fn leaving(daemon: &Daemon, leaving: bool) -> Question {
    let run = daemon.members.as_ref().map(lattice_members::Members::run).unwrap_or_default();
    Question::Leaving { run, leaving }
}

/// Tells members that are there, and have not been told, that this host is about to be stopped; if it is.
pub async fn tell_newcomers(daemon: &Daemon) {
    if daemon.drain.is_announced() {
        let is_news = |member: &MemberView| daemon.drain.is_news_to(member.node, &member.run);
        tell(daemon, &leaving(daemon, true), is_news).await;
    }
}

/// Tells members that there are sessions with; one that does not hear it notices the silence.
async fn tell(daemon: &Daemon, what: &Question, whom: impl Fn(&MemberView) -> bool) {
    let Some(members) = &daemon.members else { return };
    let connected = members.view().members.into_iter().filter(|member| member.connected && whom(member));
    let told = connected.map(|member| async move {
        if let Err(refusal) = compare::ask(daemon, member.node, what).await {
            tracing::warn!(node = member.node, reason = refusal.error, "a member was not told");
        }
    });
    join_all(told).await;
}

/// Makes snapshots of what this host has, for a member that is about to be stopped.
pub async fn keep(daemon: &Daemon) {
    // Without storage, what it has is all that it would have.
    if daemon.storage.is_some()
        && let Err(refusal) = admin::take_snapshots(daemon).await
    {
        tracing::warn!(reason = refusal.error, "no snapshots for a member that is about to be stopped");
    }
}

async fn serve(daemon: &Daemon, serves: bool) -> Result<(), Refusal> {
    let deadline = Instant::now() + status::WORKER_TIMEOUT;
    for worker in 0..daemon.workers.count() {
        if !daemon.workers.send_until(worker, Command::Serve(serves), deadline).await {
            let error = format!("worker {worker} takes no commands at the moment; try again");
            return Err(Refusal::new(codes::BUSY, error));
        }
    }
    Ok(())
}

/// What the members have of what this host has.
async fn peers(daemon: &Daemon) -> Result<Vec<DrainPeer>, Refusal> {
    let workers = daemon.workers.statuses(status::WORKER_TIMEOUT).await;
    if workers.len() != usize::from(daemon.workers.count()) {
        return Err(Refusal::new(codes::BUSY, "a worker does not answer; try again"));
    }
    let own = compare::accounts(daemon).await?;
    let peers = status::peers(daemon, &workers).into_iter().filter(|peer| !peer.forgotten);
    let asked = peers.map(|peer| {
        let own = &own;
        async move {
            let has = compare::account_of(daemon, peer.node).await.ok();
            let lacks = has.as_ref().map(|has| compare::lack_each(own, has).1);
            DrainPeer {
                node: peer.node,
                up: peer.up,
                lacks: lacks.unwrap_or(peer.acked_lag_seqs),
                lacks_durably: peer.durable_lag_seqs,
                asked: has.is_some(),
            }
        }
    });
    Ok(join_all(asked).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_word_holds_for_the_run_that_gave_it() {
        let drain = Drain::default();
        drain.note(2, "a1".to_owned(), true);
        assert!(drain.is_leaving(2, "a1") && !drain.is_leaving(2, "b2") && !drain.is_leaving(3, "a1"));
        drain.note(2, "a1".to_owned(), false);
        assert!(!drain.is_leaving(2, "a1"));
        // And each run is told once.
        assert!(drain.is_news_to(3, "c3") && !drain.is_news_to(3, "c3") && drain.is_news_to(3, "d4"));
    }
}
