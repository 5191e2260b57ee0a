//! One state for all that differ only in names: of nodes (and their first epochs), and of the elements of a key.
//!
//! Keys are not interchangeable, because a walk comes to them in order.

use crate::config::{Config, MAX_REPLICAS};
use crate::dots::{self, Dots};
use crate::state::{Replica, State, Store, Sync};

/// New names of the nodes.
type Names = [usize; MAX_REPLICAS];

const ALL_NAMES: [Names; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// The least of the states that are the same but for names.
pub fn representative(config: &Config, state: &State) -> State {
    let marks = marks(config, state);
    // Only names that put the marks in order: where those differ, that is one.
    let in_order = |names: &&Names| {
        let mut renamed = [0; MAX_REPLICAS];
        names.iter().zip(marks).for_each(|(new, mark)| renamed[*new] = mark);
        renamed.is_sorted()
    };
    let renamed = ALL_NAMES.iter().filter(in_order).map(|names| {
        let mut renamed = rename_nodes(state, names);
        rename_elements(&mut renamed);
        renamed
    });
    renamed.min().unwrap_or(*state)
}

/// For each node a number that depends on no name. Nodes that there are not come last.
fn marks(config: &Config, state: &State) -> [u64; MAX_REPLICAS] {
    let mut marks = [u64::MAX; MAX_REPLICAS];
    for (mark, replica) in marks.iter_mut().zip(&state.replicas).take(config.replicas) {
        let (now, durable) = (&replica.now, &replica.durable);
        let sync = replica.syncs[0].unwrap_or_default();
        let own = dots::of_actor(replica.actor);
        let sets =
            [now.vector, now.vector & own, now.live, now.live & own, now.pre_removed, sync.c, durable.vector];
        let counts = sets.iter().fold(0, |mark, set| mark << 4 | u64::from(set.count_ones().min(15)));
        let epoch = if usize::from(replica.actor) < MAX_REPLICAS { 0 } else { u64::from(replica.actor) };
        let stage = u64::from(sync.cursor) << 1 | u64::from(replica.syncs[0].is_some());
        *mark = counts << 16 | stage << 8 | epoch << 4 | u64::from(now.touches[0].count_ones().min(15));
    }
    marks
}

fn rename_nodes(state: &State, names: &Names) -> State {
    let mut renamed = *state;
    renamed.ops.each_mut(|op| (op.dot, op.gone) = (rename(op.dot, names), rename(op.gone, names)));
    for (old, replica) in state.replicas.iter().enumerate() {
        renamed.replicas[names[old]] = rename_replica(replica, names);
    }
    for actor in MAX_REPLICAS..usize::from(state.actors) {
        renamed.nodes[actor] = names[usize::from(state.nodes[actor])] as u8;
    }
    renamed
}

/// Moves the dots of the nodes' first epochs; those of later ones keep their actors, which are in order of time.
fn rename(dots: Dots, names: &Names) -> Dots {
    let first_epochs = (1 << (MAX_REPLICAS as u32 * dots::MAX_SEQ)) - 1;
    names.iter().enumerate().fold(dots & !first_epochs, |renamed, (old, new)| {
        let own = (dots & dots::of_actor(old as u8)) >> (old as u32 * dots::MAX_SEQ);
        renamed | own << (*new as u32 * dots::MAX_SEQ)
    })
}

fn rename_replica(replica: &Replica, names: &Names) -> Replica {
    let store = |store: &Store| Store {
        vector: rename(store.vector, names),
        live: rename(store.live, names),
        pre_removed: rename(store.pre_removed, names),
        touches: store.touches.map(|touches| rename(touches, names)),
        dropped: rename(store.dropped, names),
        counted: rename(store.counted, names),
    };
    let slice = |slice: crate::state::Slice| crate::state::Slice {
        live: rename(slice.live, names),
        touches: rename(slice.touches, names),
        counted: rename(slice.counted, names),
    };
    let sync = |sync: Sync| Sync {
        from: names[usize::from(sync.from)] as u8,
        c: rename(sync.c, names),
        pre_removed: rename(sync.pre_removed, names),
        dropped: rename(sync.dropped, names),
        filter: rename(sync.filter, names),
        slice: sync.slice.map(slice),
        ..sync
    };
    let writing =
        |writing: crate::state::Writing| crate::state::Writing { store: store(&writing.store), ..writing };
    let actor = usize::from(replica.actor);
    let outdated = (0..MAX_REPLICAS).filter(|old| replica.outdated >> old & 1 == 1);
    Replica {
        actor: names.get(actor).map_or(replica.actor, |new| *new as u8),
        now: store(&replica.now),
        durable: store(&replica.durable),
        older: store(&replica.older),
        durable_before: rename(replica.durable_before, names),
        outdated: outdated.fold(0, |bits, old| bits | 1 << names[old]),
        writing: replica.writing.map(writing),
        syncs: replica.syncs.map(|one| one.map(sync)),
    }
}

/// The element of a key that the first operation names is element 0.
fn rename_elements(state: &mut State) {
    let mut swapped = [None; crate::config::MAX_KEYS];
    for op in state.ops.iter() {
        swapped[usize::from(op.key)].get_or_insert(op.element);
    }
    state.ops.each_mut(|op| op.element ^= swapped[usize::from(op.key)].unwrap_or(0));
}
