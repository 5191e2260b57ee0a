//! What the control thread says to a worker, and what it hears back.
//!
//! Both ways are bounded channels. A worker never waits on either: commands are looked at once a turn, and an event that
//! finds the channel full is kept where it belongs (with the client that it is about) and offered again later.

use crate::clients::ClientFault;
use crate::namespaces::{Credentials, Namespaces};
use crate::seals::PeerSeal;
use crate::shards::Engine;
use crate::status::{Degradation, WorkerStatus};
use crossbeam_channel::Sender;
use lattice_crdt::ActorId;
use lattice_port::{PeerSlot, Route};
use lattice_segment::RingConsumer;
use lattice_storage::SnapshotDone;
use rustix::fd::OwnedFd;
use std::fmt;
use std::sync::Arc;

/// Names an attached client; chosen by the control thread, never reused while the daemon runs.
pub type ClientId = u64;

/// An instruction to a worker. Carried out in the turn that finds it.
#[derive(Debug)]
pub enum Command {
    /// Takes up a client's ring pair. Refused with [`Event::ClientFault`] when there are `max_clients` already.
    AttachClient {
        /// The client.
        id: ClientId,
        /// This worker's pair of the client's rings.
        consumer: RingConsumer,
        /// The worker's end of [`client_wakeup`](crate::client_wakeup). Without it a sleeping worker looks at this
        /// client's ring every millisecond.
        wakeup: Option<OwnedFd>,
        /// Who it is: what it may write.
        who: Credentials,
    },
    /// Takes other rules of namespaces, for all clients, from the next turn on.
    SetNamespaces {
        /// The rules: the same table for all workers.
        namespaces: Arc<Namespaces>,
    },
    /// Lets a client go after what it has submitted so far; ends in [`Event::ClientDetached`]. Unknown ids are ignored.
    DetachClient {
        /// The client.
        id: ClientId,
    },
    /// Takes up a peer, or gives one that there is another address (see [`lattice_port::Port::set_peer`] and
    /// `Engine::add_peer`). Slots are given in order, and the same ones to every worker.
    SetPeer {
        /// Its slot: the next one, or one that it has.
        peer: PeerSlot,
        /// Its node id.
        node: u16,
        /// Its address.
        address: std::net::IpAddr,
    },
    /// Says how frames to and from a peer are sealed from now on.
    SetSeal {
        /// Its slot.
        peer: PeerSlot,
        /// Its node id.
        node: u16,
        /// How.
        seal: PeerSeal,
    },
    /// Says how to reach a peer (see [`lattice_port::Port::set_route`]).
    SetRoute {
        /// The peer.
        peer: PeerSlot,
        /// `None`: unreachable.
        route: Option<Route>,
    },
    /// Asks for a status. The reply is dropped if the channel has no room; give it one of capacity 1.
    Status(Sender<WorkerStatus>),
    /// Shows the engine of one of its shards to whoever asks.
    Look {
        /// The shard; a look at one of another worker's is dropped.
        shard: u16,
        /// What is done with it.
        look: Look,
    },
    /// Takes a snapshot of each of its shards, now.
    TakeSnapshots,
    /// A snapshot of a shard is durable.
    SnapshotDurable {
        /// The shard.
        shard: u16,
        /// The snapshot.
        done: SnapshotDone,
    },
    /// A snapshot of a shard was given up by storage; another one is tried later.
    SnapshotFailed {
        /// The shard.
        shard: u16,
        /// The snapshot's number.
        number: u32,
    },
    /// Takes a node out of the members (see `Engine::forget`). Ends in [`Event::Forgotten`], if there is such a peer.
    Forget {
        /// Its node id.
        node: u16,
    },
    /// These nodes are forgotten, and this host knows it after any restart: the answer to [`Event::Forgotten`].
    KeepForgotten {
        /// Each with the least generation that its epochs must have.
        nodes: Vec<(u16, u8)>,
    },
    /// Goes on in a new epoch: the answer to [`Event::EpochOver`].
    BeginEpoch {
        /// The shard.
        shard: u16,
        /// This node in an epoch that was never used.
        actor: ActorId,
        /// A new session, not zero.
        session: u32,
    },
    /// Takes writes of clients, as it does from the start, or refuses them.
    Serve(bool),
    /// Takes what clients have submitted so far, lets them go, goes on until the peers that are up have acknowledged
    /// everything or `drain_ns` passed, and ends the thread.
    Shutdown,
}

/// A look at an engine, for questions that are rare and no part of a status. It runs on the worker's thread between two turns:
/// everything waits for it, so it has to be over within some 50 µs; a long walk is cut into many looks. What it found it
/// sends on a channel that has room for it.
pub struct Look(Box<dyn FnOnce(&Engine) + Send + Sync>);

impl Look {
    /// A look that does this.
    pub fn new(look: impl FnOnce(&Engine) + Send + Sync + 'static) -> Self {
        Self(Box::new(look))
    }

    pub(crate) fn at(self, engine: &Engine) {
        (self.0)(engine);
    }
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}

/// News of a worker.
#[derive(Debug)]
pub enum Event {
    /// A client broke the rules of its ring and was let go; close its connection. What it submitted before the fault
    /// is applied, what came after it is not.
    ClientFault {
        /// The worker.
        worker: u16,
        /// The client.
        id: ClientId,
        /// What it did.
        why: ClientFault,
        /// Its ring pair, for the control thread to drop (unmapping takes microseconds).
        retired: RingConsumer,
    },
    /// A client was let go as asked, all that it had submitted is applied.
    ClientDetached {
        /// The worker.
        worker: u16,
        /// The client.
        id: ClientId,
        /// Its ring pair, for the control thread to drop.
        retired: RingConsumer,
    },
    /// Something works less well than configured; sent when it begins. [`WorkerStatus::degraded`] says what is so now.
    Degraded {
        /// The worker.
        worker: u16,
        /// What.
        what: Degradation,
    },
    /// A peer knows operations of a shard's epoch that were never made here: the storage was an old copy. Nothing is written
    /// to that shard until it is told a new epoch ([`Command::BeginEpoch`]).
    EpochOver {
        /// The worker.
        worker: u16,
        /// The shard.
        shard: u16,
        /// The generation that the new epoch must have.
        generation: u8,
    },
    /// Some shard has learnt of a forgotten node. It is to be kept, and told to all workers ([`Command::KeepForgotten`]).
    Forgotten {
        /// The worker.
        worker: u16,
        /// The shard.
        shard: u16,
        /// Nodes, each with the least generation that its epochs must have. This node itself is among them if the shard has to
        /// begin anew from nothing: until then it takes no writes.
        nodes: Vec<(u16, u8)>,
    },
    /// The worker's thread ends after this.
    Stopped {
        /// The worker.
        worker: u16,
        /// All peers that were up have acknowledged everything.
        drained: bool,
    },
}
