//! What a node keeps, what it loses, and what it drops on purpose.
//!
//! ```text
//!   snapshot: begin (C, pre-removed, dropped) ──> key by key ──> end: durable
//!   restart   whole      durable snapshot + all own operations        same epoch
//!             boot       durable snapshot + all own operations        new epoch
//!             tail(n)    durable snapshot + own operations up to n    new epoch
//!             stale      the snapshot before                          new epoch
//!             lost       nothing                                      new epoch
//! ```
//!
//! A snapshot is read back as a state sync is received: live dots that are pre-removed stay out, and C is covered last.

use crate::action::Restart;
use crate::config::{Broken, Config};
use crate::dots::{self, Dots, MAX_ACTORS, contiguous};
use crate::state::{Replica, State, Store, Writing};

impl State {
    /// Begins a snapshot.
    pub fn begin_snapshot(&mut self, config: &Config, at: usize) {
        let replica = &mut self.replicas[at];
        let now = &replica.now;
        let forgets_pre = config.breaks(Broken::SnapshotForgetsPre);
        let forgets_dropped = config.breaks(Broken::SnapshotForgetsDropped);
        let store = Store {
            vector: now.vector,
            pre_removed: if forgets_pre { 0 } else { now.pre_removed },
            dropped: if forgets_dropped { 0 } else { now.dropped },
            ..Store::default()
        };
        replica.writing = Some(Writing { store, cursor: 0 });
        self.snapshots += 1;
    }

    /// Writes the next key of a snapshot; after the last one, the snapshot is durable.
    pub fn write_key(&mut self, config: &Config, at: usize) {
        let of_key = self.ops.by_key();
        let replica = &mut self.replicas[at];
        let Some(writing) = &mut replica.writing else { return };
        let key = usize::from(writing.cursor);
        let slice = replica.now.slice(config, &of_key, key);
        writing.store.live |= slice.live & !writing.store.pre_removed;
        writing.store.touches[key] = slice.touches;
        writing.store.counted |= slice.counted;
        writing.cursor += 1;
        if usize::from(writing.cursor) < config.all_keys() {
            return;
        }
        let mut store = writing.store;
        if config.breaks(Broken::SnapshotVectorOfTheEnd) {
            store.vector = replica.now.vector;
        }
        replica.older = replica.durable;
        replica.durable = store;
        replica.writing = None;
    }

    /// Restarts a node.
    pub fn restart(&mut self, config: &Config, at: usize, how: Restart) {
        let old = self.replicas[at];
        let own = self.ops.dots(|_| true) & dots::of_actor(old.actor) & old.now.vector;
        let kept = match how {
            Restart::Whole | Restart::Boot => own,
            Restart::Tail(last) => own & contiguous_up_to(old.actor, last),
            Restart::Stale | Restart::Lost => 0,
        };
        let durable = match how {
            Restart::Whole | Restart::Boot | Restart::Tail(_) => old.durable,
            Restart::Stale => old.older,
            Restart::Lost => Store::default(),
        };
        let mut now = durable;
        if config.breaks(Broken::LogNotReplayed) {
            now.cover(kept);
        }
        let ops = self.ops;
        ops.iter().filter(|op| op.dot & kept != 0).for_each(|op| now.merge(config, op));
        let older = if how == Restart::Lost { Store::default() } else { old.older };
        let actor = match how {
            Restart::Whole => old.actor,
            _ if config.breaks(Broken::EpochNotBumped) => old.actor,
            _ => self.new_actor(at),
        };
        let durable_before = old.durable.vector;
        self.replicas[at] = Replica { actor, now, durable, older, durable_before, ..Replica::default() };
        self.restarts += 1;
        for (node, replica) in self.replicas.iter_mut().enumerate().take(config.replicas) {
            replica.outdated |= u8::from(node != at) << at;
            for sync in &mut replica.syncs {
                *sync = sync.filter(|sync| usize::from(sync.from) != at);
            }
        }
    }

    /// Everybody gets all that any log holds, and makes a snapshot. Syncs end unfinished.
    pub fn calm(&mut self, config: &Config) {
        for replica in &mut self.replicas {
            (replica.syncs, replica.writing) = ([None; 2], None);
        }
        for from in 0..config.replicas {
            let log = self.log(from);
            let ops = self.ops;
            for replica in &mut self.replicas[..config.replicas] {
                ops.iter().filter(|op| op.dot & log != 0).for_each(|op| replica.now.merge(config, op));
            }
        }
        self.snapshot_everywhere(config);
        self.calms += 1;
    }

    /// Everybody makes a snapshot at once, and tells the others.
    pub fn snapshot_everywhere(&mut self, config: &Config) {
        for replica in &mut self.replicas[..config.replicas] {
            (replica.older, replica.durable, replica.outdated) = (replica.durable, replica.now, 0);
        }
    }

    fn new_actor(&mut self, at: usize) -> u8 {
        let actor = self.actors;
        debug_assert!(usize::from(actor) < MAX_ACTORS);
        self.nodes[usize::from(actor)] = at as u8;
        self.actors += 1;
        actor
    }

    /// What a node believes that a peer would still have after a restart. Beliefs belong to a session: of a peer that
    /// restarted unnoticed, it is what that one said before.
    fn believed_durable(&self, at: usize, peer: usize) -> Dots {
        let peer_is_new = self.replicas[at].outdated >> peer & 1 == 1;
        let peer = &self.replicas[peer];
        contiguous(if peer_is_new { peer.durable_before | peer.durable.vector } else { peer.durable.vector })
    }

    /// Whether a node may drop a key: it is empty, and every member's durable vector covers its last touches.
    pub fn may_drop(&self, config: &Config, at: usize, key: usize) -> bool {
        let replica = &self.replicas[at];
        let of_key = self.ops.by_key()[key];
        let touches = replica.now.touches[key];
        let stable = || (0..config.replicas).all(|peer| touches & !self.believed_durable(at, peer) == 0);
        let pre_removed = replica.now.pre_removed & of_key != 0;
        key < config.keys
            && touches != 0
            && replica.now.live & of_key == 0
            && (!pre_removed || config.breaks(Broken::DropForgetsPre))
            && (replica.writing.is_none() || config.breaks(Broken::DropDuringSnapshot))
            && replica.syncs.iter().all(Option::is_none)
            && stable()
    }

    /// Drops a key.
    pub fn drop_key(&mut self, config: &Config, at: usize, key: usize) {
        let of_key = self.ops.by_key()[key];
        let now = &mut self.replicas[at].now;
        now.dropped |= std::mem::take(&mut now.touches[key]);
        if config.breaks(Broken::DropForgetsPre) {
            now.pre_removed &= !of_key;
        }
    }
}

fn contiguous_up_to(actor: u8, last: u8) -> Dots {
    (1..=u32::from(last)).fold(0, |dots, seq| dots | dots::dot(actor, seq))
}
