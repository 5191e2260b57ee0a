//! What a state of the model consists of.

use crate::action::Action;
use crate::config::{Config, MAX_KEYS, MAX_OPS, MAX_REPLICAS, PreRemovedAt, Prologue};
use crate::dots::{self, Dots, MAX_ACTORS};

/// What an operation does.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default)]
pub enum What {
    /// Adds its dot to an element and supersedes what its origin saw there.
    #[default]
    Add,
    /// Removes what its origin saw of an element.
    Remove,
    /// Adds one to the counter.
    Count,
}

/// An operation, as its record says it.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default)]
pub struct Op {
    /// Its name; no dot where there is no operation yet.
    pub dot: Dots,
    /// What it does.
    pub what: What,
    /// The key.
    pub key: u8,
    /// The element of the key.
    pub element: u8,
    /// The dots that it supersedes or removes.
    pub gone: Dots,
}

/// All operations that were ever made, by dot.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default)]
pub struct Ops([Op; MAX_OPS]);

impl Ops {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Op> {
        self.0.iter().filter(|op| op.dot != 0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records one more.
    pub fn push(&mut self, op: Op) {
        if let Some(free) = self.0.iter_mut().find(|op| op.dot == 0) {
            *free = op;
        }
        self.sort();
    }

    pub(crate) fn each_mut(&mut self, change: impl FnMut(&mut Op)) {
        self.0.iter_mut().filter(|op| op.dot != 0).for_each(change);
        self.sort();
    }

    /// By dot, so that the order in which they were made makes no difference; what is free comes last.
    fn sort(&mut self) {
        self.0.sort_unstable_by_key(|op| op.dot.wrapping_sub(1));
    }

    /// The dots of those of which `which` holds.
    pub fn dots(&self, which: impl Fn(&Op) -> bool) -> Dots {
        self.iter().filter(|op| which(op)).fold(0, |dots, op| dots | op.dot)
    }

    /// What those with these dots supersede or remove.
    pub fn gone_by(&self, dots: Dots) -> Dots {
        self.iter().filter(|op| dots & op.dot != 0).fold(0, |gone, op| gone | op.gone)
    }

    /// Of each key, the dots of its operations.
    pub fn by_key(&self) -> [Dots; MAX_KEYS] {
        let mut of_key = [0; MAX_KEYS];
        for op in self.iter() {
            of_key[usize::from(op.key)] |= op.dot;
        }
        of_key
    }
}

/// The replicated state of a shard: what a snapshot keeps.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default)]
pub struct Store {
    /// The version vector.
    pub vector: Dots,
    /// Live dots, of all keys and elements: a dot belongs to one.
    pub live: Dots,
    /// Pre-removed dots.
    pub pre_removed: Dots,
    /// Of each key the last touches, filled up downwards. A key without touches is not there.
    pub touches: [Dots; MAX_KEYS],
    /// Highest dropped touches, filled up downwards.
    pub dropped: Dots,
    /// Of each actor the last entry of the counter that came, filled up downwards: entries are cumulative.
    pub counted: Dots,
}

/// What a walk reads of one key.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default)]
pub struct Slice {
    /// Its live dots.
    pub live: Dots,
    /// Its touches.
    pub touches: Dots,
    /// The counter's entries, if the key is the counter.
    pub counted: Dots,
}

/// A walk over a store, of which the receiver is another replica.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default)]
pub struct Sync {
    /// The sender.
    pub from: u8,
    /// Its vector as of the start.
    pub c: Dots,
    /// Its pre-removed dots as of the start.
    pub pre_removed: Dots,
    /// What it had dropped, as of the start.
    pub dropped: Dots,
    /// What the receiver said that it has.
    pub filter: Dots,
    /// No key is left out.
    pub full: bool,
    /// The receiver knows C.
    pub open: bool,
    /// The next key to read.
    pub cursor: u8,
    /// Keys that were named, a bit each.
    pub named: u8,
    /// What was read of the key before the cursor and has not come yet.
    pub slice: Option<Slice>,
}

/// A walk over a store, of which the receiver is storage.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default)]
pub struct Writing {
    /// What will be read from it, as far as it is written.
    pub store: Store,
    /// The next key.
    pub cursor: u8,
}

/// One node.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default)]
pub struct Replica {
    /// Its present epoch.
    pub actor: u8,
    /// What it has now.
    pub now: Store,
    /// Its last durable snapshot.
    pub durable: Store,
    /// The one before: an old copy.
    pub older: Store,
    /// What it was durable up to before its last restart.
    pub durable_before: Dots,
    /// Peers that have restarted since this node last had to do with them, a bit each: of those it still believes what
    /// they said before.
    pub outdated: u8,
    /// The snapshot that is being written.
    pub writing: Option<Writing>,
    /// Syncs that it receives: one, but where that rule is broken.
    pub syncs: [Option<Sync>; 2],
}

/// A state of the whole model.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default)]
pub struct State {
    /// Operations ever made. Each record may reach anybody at any time, and any number of times.
    pub ops: Ops,
    /// The nodes.
    pub replicas: [Replica; MAX_REPLICAS],
    /// The node of each actor.
    pub nodes: [u8; MAX_ACTORS],
    /// Actors that there are.
    pub actors: u8,
    /// Restarts so far.
    pub restarts: u8,
    /// Snapshots so far.
    pub snapshots: u8,
    /// Calm periods so far.
    pub calms: u8,
    /// A dot was given to two operations.
    pub dot_twice: bool,
}

impl State {
    /// Nothing has happened yet, but for the prologue.
    pub fn new(config: &Config) -> Self {
        let mut state = Self::empty(config);
        let add = Action::Add { at: 0, key: 0, element: 0 };
        let remove = Action::Remove { at: 1, key: 0, element: 0 };
        match config.prologue {
            Prologue::Nothing => {}
            Prologue::Removed => state.play(config, &[add, Action::Calm, remove, Action::Calm]),
            Prologue::RemovedUnseen => {
                let last = config.replicas - 1;
                state.play(config, &[add]);
                // The last node is away: for it, neither the calm period nor what came before it happened.
                let away = state.replicas[last];
                state.play(config, &[Action::Calm]);
                state.replicas[last] = away;
                state.play(config, &[remove]);
                let removal = state.log(1);
                (0..config.replicas).for_each(|to| state.deliver(config, removal, to));
                state.snapshot_everywhere(config);
            }
        }
        (state.calms, state.snapshots) = (0, 0);
        state
    }

    fn play(&mut self, config: &Config, actions: &[Action]) {
        for action in actions {
            *self = self.after(config, *action).unwrap_or(*self);
        }
    }

    fn empty(config: &Config) -> Self {
        let mut state = Self { actors: config.replicas as u8, ..Self::default() };
        for node in 0..config.replicas {
            state.nodes[node] = node as u8;
            state.replicas[node].actor = node as u8;
        }
        state
    }

    /// The node that made an operation.
    pub fn origin(&self, op: &Op) -> usize {
        usize::from(self.nodes[usize::from(dots::actor_of(op.dot))])
    }

    /// What a node's log can bring to the others: the operations of its present epoch.
    pub fn log(&self, node: usize) -> Dots {
        self.ops.dots(|_| true) & dots::of_actor(self.replicas[node].actor) & self.replicas[node].now.vector
    }

    /// Syncs that are running.
    pub fn running_syncs(&self) -> usize {
        self.replicas.iter().flat_map(|replica| &replica.syncs).flatten().count()
    }
}

impl State {
    /// Forgets what can make no difference any more, so that states that only differ in it are one.
    pub fn forget_the_dead(&mut self, config: &Config) {
        let restarts_are_over = self.restarts >= config.restarts;
        for replica in &mut self.replicas {
            if restarts_are_over && !config.drops {
                (replica.durable, replica.older, replica.writing) =
                    (Store::default(), Store::default(), None);
            }
            if restarts_are_over {
                replica.older = Store::default();
            }
            if !config.drops {
                (replica.durable_before, replica.outdated) = (0, 0);
            }
            for sync in replica.syncs.iter_mut().flatten() {
                if sync.open && config.pre_removed_at == PreRemovedAt::Begin {
                    sync.pre_removed = 0;
                }
                if usize::from(sync.cursor) == config.all_keys() && sync.slice.is_none() {
                    sync.filter = 0;
                }
                if !sync.full {
                    sync.named = 0;
                }
            }
        }
        if restarts_are_over && !config.drops {
            (self.snapshots, self.calms) = (config.snapshots, config.calms);
        }
    }
}
