//! What can happen next.

use crate::config::Config;
use crate::dots::{self, Dots, MAX_ACTORS};
use crate::state::{Op, State, What};

/// How a node comes back.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Restart {
    /// With the whole log, in the same boot.
    Whole,
    /// With the whole log, in another boot.
    Boot,
    /// With its own operations up to this one.
    Tail(u8),
    /// With the snapshot before the last one, and no log.
    Stale,
    /// With nothing.
    Lost,
}

/// One step. Nodes are named by their number, the slot of a sync is 0 but where two may run.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
#[allow(missing_docs, reason = "the fields are the names")]
pub enum Action {
    /// A node adds an element, superseding what it sees of it.
    Add { at: usize, key: usize, element: usize },
    /// A node removes what it sees of an element.
    Remove { at: usize, key: usize, element: usize },
    /// A node adds one to the counter.
    Count { at: usize },
    /// A record reaches a node.
    Deliver { actor: u8, seq: u32, to: usize },
    /// A sync begins.
    BeginSync { from: usize, to: usize },
    /// The receiver learns C and the pre-removed dots.
    OpenSync { to: usize, slot: usize },
    /// The sender reads the next key.
    ReadKey { to: usize, slot: usize },
    /// The receiver takes that key.
    TakeKey { to: usize, slot: usize },
    /// The sync ends, and covers C.
    EndSync { to: usize, slot: usize },
    /// The sync is abandoned.
    AbandonSync { to: usize, slot: usize },
    /// A snapshot begins.
    BeginSnapshot { at: usize },
    /// The next key of the snapshot is written.
    WriteKey { at: usize },
    /// A node restarts.
    Restart { at: usize, how: Restart },
    /// Everybody gets all that any log holds, and makes a snapshot.
    Calm,
    /// A node drops an empty key.
    Drop { at: usize, key: usize },
}

impl State {
    /// All that can happen next.
    pub fn actions(&self, config: &Config, actions: &mut Vec<Action>) {
        if self.dot_twice {
            return;
        }
        for at in 0..config.replicas {
            if self.ops.len() < config.ops {
                self.local_actions(config, at, actions);
            }
            let others = self.ops.iter().filter(|op| self.origin(op) != at);
            actions.extend(others.map(|op| Action::Deliver {
                actor: dots::actor_of(op.dot),
                seq: dots::seq_of(op.dot),
                to: at,
            }));
            self.sync_actions(config, at, actions);
            self.storage_actions(config, at, actions);
        }
        if self.calms < config.calms {
            actions.push(Action::Calm);
        }
    }

    fn local_actions(&self, config: &Config, at: usize, actions: &mut Vec<Action>) {
        for key in 0..config.keys {
            for element in 0..config.elements {
                actions.push(Action::Add { at, key, element });
                if self.seen(at, key, element) != 0 {
                    actions.push(Action::Remove { at, key, element });
                }
            }
        }
        if config.counter {
            actions.push(Action::Count { at });
        }
    }

    fn sync_actions(&self, config: &Config, to: usize, actions: &mut Vec<Action>) {
        if self.running_syncs() < config.syncs {
            let peers = (0..config.replicas).filter(|from| *from != to);
            actions.extend(peers.map(|from| Action::BeginSync { from, to }));
        }
        for (slot, sync) in self.replicas[to].syncs.iter().enumerate() {
            let Some(sync) = sync else { continue };
            actions.push(Action::AbandonSync { to, slot });
            if !sync.open {
                actions.push(Action::OpenSync { to, slot });
            }
            match sync.slice {
                Some(_) if sync.open => actions.push(Action::TakeKey { to, slot }),
                Some(_) => {}
                None if usize::from(sync.cursor) < config.all_keys() => {
                    actions.push(Action::ReadKey { to, slot })
                }
                None if sync.open => actions.push(Action::EndSync { to, slot }),
                None => {}
            }
        }
    }

    fn storage_actions(&self, config: &Config, at: usize, actions: &mut Vec<Action>) {
        let replica = &self.replicas[at];
        match replica.writing {
            Some(_) => actions.push(Action::WriteKey { at }),
            None if self.snapshots < config.snapshots => actions.push(Action::BeginSnapshot { at }),
            None => {}
        }
        if self.restarts < config.restarts && usize::from(self.actors) < MAX_ACTORS {
            let own = dots::highest(replica.now.vector, replica.actor) as u8;
            let ways = [Restart::Whole, Restart::Boot, Restart::Stale, Restart::Lost];
            let tails = (0..own).map(Restart::Tail);
            actions.extend(ways.into_iter().chain(tails).map(|how| Action::Restart { at, how }));
        }
        if config.drops {
            let keys = (0..config.keys).filter(|key| self.may_drop(config, at, *key));
            actions.extend(keys.map(|key| Action::Drop { at, key }));
        }
    }

    /// The live dots of an element at a node.
    fn seen(&self, at: usize, key: usize, element: usize) -> Dots {
        let here = |op: &Op| usize::from(op.key) == key && usize::from(op.element) == element;
        self.ops.dots(here) & self.replicas[at].now.live
    }

    /// The state after an action; `None` if nothing changes.
    pub fn after(&self, config: &Config, action: Action) -> Option<Self> {
        let mut next = *self;
        match action {
            Action::Add { at, key, element } => next.operate(config, at, What::Add, key, element),
            Action::Remove { at, key, element } => next.operate(config, at, What::Remove, key, element),
            Action::Count { at } => next.operate(config, at, What::Count, config.keys, 0),
            Action::Deliver { actor, seq, to } => next.deliver(config, dots::dot(actor, seq), to),
            Action::BeginSync { from, to } => {
                next.begin_sync(config, from, to);
            }
            Action::OpenSync { to, slot } => next.open_sync(config, to, slot),
            Action::ReadKey { to, slot } => next.read_key(config, to, slot),
            Action::TakeKey { to, slot } => next.take_key(config, to, slot),
            Action::EndSync { to, slot } => next.end_sync(config, to, slot),
            Action::AbandonSync { to, slot } => next.replicas[to].syncs[slot] = None,
            Action::BeginSnapshot { at } => next.begin_snapshot(config, at),
            Action::WriteKey { at } => next.write_key(config, at),
            Action::Restart { at, how } => next.restart(config, at, how),
            Action::Calm => next.calm(config),
            Action::Drop { at, key } => next.drop_key(config, at, key),
        }
        next.forget_the_dead(config);
        (next != *self).then_some(next)
    }

    fn operate(&mut self, config: &Config, at: usize, what: What, key: usize, element: usize) {
        let replica = &self.replicas[at];
        let dot = dots::dot(replica.actor, dots::highest(replica.now.vector, replica.actor) + 1);
        if self.ops.iter().any(|op| op.dot == dot) {
            self.dot_twice = true;
            return;
        }
        let gone = if what == What::Count { 0 } else { self.seen(at, key, element) };
        let op = Op { dot, what, key: key as u8, element: element as u8, gone };
        self.ops.push(op);
        self.replicas[at].now.merge(config, &op);
    }

    /// A record reaches a node.
    pub fn deliver(&mut self, config: &Config, dot: Dots, to: usize) {
        let Some(op) = self.ops.iter().find(|op| op.dot == dot).copied() else { return };
        if !self.skips(config, to, dot) {
            self.replicas[to].now.merge(config, &op);
        }
    }
}
