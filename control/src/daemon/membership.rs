//! Joins the cluster where `[security]` is configured, and tells the workers of every member that it finds.
//!
//! ```text
//!   lattice-members: View ──> each member ──> XDP program lets its address in ──> workers: SetPeer ──> roster
//!                      │                                                                            │
//!                      │                        neighbours: its next hop <──────────────────────────┘
//!                      └──> keys of its frames: seals.rs ──> workers: SetSeal
//! ```
//!
//! A member becomes a peer when a session with it was made: then it has proved who it is and said where its frames go. It
//! stays one when it dies, because death is a guess of others and its operations are nobody's to forget; the engine
//! itself sees who answers. It stays one over restarts, too: see [`super::known`].

use std::sync::Arc;
use std::time::Duration;

use lattice_members::swim::Timing;
use lattice_members::{MemberView, Members, Options};
use lattice_port::PeerSlot;
use lattice_worker::Command;

use super::identity::Identity;
use super::roster::Entry;
use super::seals::Seals;
use super::storage::Prepared;
use super::{Daemon, StartError, drain};
use crate::config::Config;

/// Pause between two tries to tell a worker that takes no commands at the moment.
const RETRY: Duration = Duration::from_millis(1);

/// Reads the certificates and opens the endpoint, if `[security]` is configured; the future does the work.
///
/// # Errors
/// [`StartError::Members`].
pub fn open(
    config: &Config,
    prepared: &Prepared,
    identity: &Identity,
) -> Result<Option<(Members, impl Future<Output = ()> + Send + use<>)>, StartError> {
    let Some(security) = &config.security else { return Ok(None) };
    let network = &config.network;
    let options = Options {
        cluster: config.cluster.name.clone(),
        node: config.node.id,
        name: config.node.name.clone(),
        control: (network.address, network.control_port).into(),
        data: network.address,
        base_port: network.base_port,
        shards: config.cluster.shards,
        wire: u16::from(lattice_wire::VERSION),
        seal: security.seal,
        key_life: Duration::from_secs(security.key_life_s),
        epoch: prepared.engines.first().map_or(0, |engine| engine.actor().epoch()),
        seeds: config.cluster.seeds.clone(),
        directory: security.directory.clone(),
        timing: Timing::LAN,
        instance: identity.random_seed,
    };
    Members::open(options).map(Some).map_err(StartError::Members)
}

/// Tells the workers of members, as they come and move, until the task is dropped.
pub async fn attend(daemon: Arc<Daemon>) {
    let Some(members) = &daemon.members else { return };
    let mut seals = Seals::default();
    loop {
        // In this order: whoever has keys here is a member already.
        let pairs = members.pairs();
        for member in members.view().members {
            take_up(&daemon, &member).await;
        }
        seals.hand_on(&daemon, members, &pairs).await;
        drain::tell_newcomers(&daemon).await;
        members.changed().await;
    }
}

/// Makes a member a peer, if it is none at this address yet.
async fn take_up(daemon: &Daemon, member: &MemberView) {
    daemon.known.note(member);
    let entry = Entry { node: member.node, address: member.address };
    let known = daemon.roster.find(member.node);
    if known.is_some_and(|(_, known)| known == entry) {
        return;
    }
    let slot = known.map_or_else(|| daemon.roster.next_slot(), |(slot, _)| slot);
    if let Some(program) = &daemon.program {
        let program = program.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let let_in = program.let_in(entry.address);
        let kept_out = known.map_or(Ok(()), |(_, before)| program.keep_out(before.address));
        if let Err(error) = let_in.and(kept_out) {
            tracing::error!(node = entry.node, address = %entry.address, %error, "the XDP program's sources");
        }
    }
    for worker in 0..daemon.workers.count() {
        let command = Command::SetPeer { peer: PeerSlot(slot), node: entry.node, address: entry.address };
        tell(daemon, worker, command).await;
    }
    daemon.routes.forget(slot);
    daemon.roster.put(entry);
    tracing::info!(node = entry.node, name = member.name, address = %entry.address, slot, "member is a peer");
}

/// Gives a worker a command, waiting for room.
pub(super) async fn tell(daemon: &Daemon, worker: u16, command: Command) {
    let mut command = Some(command);
    while let Some(untold) = command.take() {
        command = daemon.workers.try_send(worker, untold).err().map(|returned| *returned);
        if command.is_some() {
            tokio::time::sleep(RETRY).await;
        }
    }
}
