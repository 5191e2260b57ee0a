//! The words of the model do what the production types do: random walks through the model, and beside each replica one
//! made of `lattice-crdt`, after every step the same.

use lattice_crdt::{
    ActorId, AwSet, Counter, CounterEntry, Dot, DotStore, PreRemoved, SeqRange, VectorLimits, VersionVector,
};
use lattice_model::action::Action;
use lattice_model::config::Config;
use lattice_model::dots::{self, Dots};
use lattice_model::state::{Op, State, Store, What};
use std::collections::BTreeMap;

const ELEMENTS: [&[u8]; 2] = [b"x", b"y"];
const LIMITS: VectorLimits = VectorLimits { max_actors: 8, max_ranges_per_actor: 8 };

fn dot(dot: Dots) -> Dot {
    Dot::new(ActorId::new(u16::from(dots::actor_of(dot)), 1), u64::from(dots::seq_of(dot)))
}

/// A walk over a production replica: C, the pre-removed dots, and the key that was read last.
#[derive(Clone)]
struct Walk {
    c: VersionVector,
    pre_removed: Vec<Dot>,
    set: AwSet,
    counter: Counter,
    touches: BTreeMap<ActorId, u64>,
}

/// One replica, of production types: a set as key 0, a counter as key 1.
#[derive(Clone)]
struct Shadow {
    vector: VersionVector,
    set: AwSet,
    counter: Counter,
    pre_removed: PreRemoved<()>,
    touches: [BTreeMap<ActorId, u64>; 2],
    walk: Option<Walk>,
}

impl Shadow {
    fn new() -> Self {
        Self {
            vector: VersionVector::new(LIMITS),
            set: AwSet::new(),
            counter: Counter::new(),
            pre_removed: PreRemoved::new(8),
            touches: Default::default(),
            walk: None,
        }
    }

    /// Rules 1 to 3.
    fn merge(&mut self, op: &Op, counted: u128) {
        let own = dot(op.dot);
        if self.vector.contains(own) {
            return;
        }
        let element = ELEMENTS[usize::from(op.element)];
        for gone in dots::each(op.gone).map(dot) {
            self.set.remove(element, gone);
            if !self.vector.contains(gone) {
                assert_eq!(self.pre_removed.insert(gone, ()), Ok(()));
            }
        }
        if op.what == What::Add && !self.pre_removed.contains(own) {
            self.set.insert(element, own);
        }
        if op.what == What::Count {
            self.counter.merge_entry(own.actor, CounterEntry { increments: counted, decrements: 0 });
        }
        touch(&mut self.touches[usize::from(op.key)], own.actor, own.seq);
        assert_eq!(self.vector.cover(own), Ok(true));
        self.pre_removed.remove(own);
    }

    fn begin(&self) -> Walk {
        Walk {
            c: self.vector.clone(),
            pre_removed: self.pre_removed.iter().map(|(dot, ())| dot).collect(),
            set: AwSet::new(),
            counter: Counter::new(),
            touches: BTreeMap::new(),
        }
    }

    /// Rule 5: one key.
    fn take(&mut self, key: usize) {
        let Some(walk) = &self.walk else { return };
        for element in ELEMENTS.iter().filter(|_| key == 0) {
            let (vector, pre_removed) = (&self.vector, &self.pre_removed);
            self.set.join_element(
                element,
                walk.set.dots(element),
                &mut |dot| walk.c.contains(dot),
                &mut |dot| {
                    !vector.contains(dot) && !pre_removed.contains(dot) && !walk.pre_removed.contains(&dot)
                },
                &mut |_, _| {},
            );
        }
        self.counter.join(&walk.counter);
        for (actor, seq) in &walk.touches {
            touch(&mut self.touches[key], *actor, *seq);
        }
    }

    /// Rule 5: the end, with which the sender's pre-removed dots count.
    fn end(&mut self) {
        let Some(walk) = self.walk.take() else { return };
        for &gone in &walk.pre_removed {
            ELEMENTS.iter().for_each(|element| {
                self.set.remove(element, gone);
            });
            if !self.vector.contains(gone) {
                assert_eq!(self.pre_removed.insert(gone, ()), Ok(()));
            }
        }
        for (actor, clock) in walk.c.iter() {
            self.vector.cover_range(actor, SeqRange { first: 1, last: clock.contiguous() });
            clock.ranges().iter().for_each(|range| self.vector.cover_range(actor, *range));
        }
        let vector = &self.vector;
        self.pre_removed.retain(|dot, ()| !vector.contains(dot));
    }

    fn assert_is(&self, now: &Store, state: &State) {
        for bit in dots::each(Dots::MAX) {
            let is = dot(bit);
            assert_eq!(self.vector.contains(is), now.vector & bit != 0, "{is}");
            assert_eq!(
                is.seq <= self.vector.contiguous(is.actor),
                dots::contiguous(now.vector) & bit != 0,
                "{is}"
            );
            assert_eq!(self.pre_removed.contains(is), now.pre_removed & bit != 0, "{is}");
            for (key, touches) in self.touches.iter().enumerate() {
                let touched = touches.get(&is.actor).is_some_and(|last| is.seq <= *last);
                assert_eq!(touched, now.touches[key] & bit != 0, "{is}");
            }
        }
        for (at, element) in ELEMENTS.iter().enumerate() {
            let here = state.ops.dots(|op| op.key == 0 && usize::from(op.element) == at);
            let live: Vec<Dot> = dots::each(now.live & here).map(dot).collect();
            assert_eq!(self.set.dots(element), live);
        }
        let counts = state.ops.dots(|op| op.what == What::Count);
        assert_eq!(self.counter.value(), i128::from((now.counted & counts).count_ones()));
    }
}

fn touch(touches: &mut BTreeMap<ActorId, u64>, actor: ActorId, seq: u64) {
    let last = touches.entry(actor).or_default();
    *last = seq.max(*last);
}

/// The record of a count says how many its actor has counted by then.
fn counted(state: &State, op: &Op) -> u128 {
    let own = state.ops.dots(|other| other.what == What::Count) & dots::of_actor(dots::actor_of(op.dot));
    u128::from((own & dots::filled_up(op.dot)).count_ones())
}

fn follow(shadows: &mut [Shadow], config: &Config, before: &State, after: &State, action: Action) {
    let new_op = || after.ops.iter().find(|op| before.ops.iter().all(|old| old.dot != op.dot));
    let sync = |to: usize| before.replicas[to].syncs[0].unwrap_or_default();
    match action {
        Action::Add { at, .. } | Action::Remove { at, .. } | Action::Count { at } => {
            let op = new_op().expect("an operation was made");
            shadows[at].merge(op, counted(after, op));
        }
        Action::Deliver { actor, seq, to } => {
            let bit = dots::dot(actor, seq);
            let op = before.ops.iter().find(|op| op.dot == bit).expect("it is known");
            let inside =
                sync(to).open && shadows[to].walk.as_ref().is_some_and(|walk| walk.c.contains(dot(bit)));
            if !inside {
                shadows[to].merge(op, counted(before, op));
            }
        }
        Action::BeginSync { from, to } => shadows[to].walk = Some(shadows[from].begin()),
        // From here on records in C are skipped, which `inside` says; it changes nothing by itself.
        Action::OpenSync { .. } => {}
        Action::ReadKey { to, .. } => {
            let key = usize::from(sync(to).cursor);
            let read = after.replicas[to].syncs[0].is_some_and(|sync| sync.slice.is_some());
            let sender = shadows[usize::from(sync(to).from)].clone();
            if let Some(walk) = shadows[to].walk.as_mut().filter(|_| read) {
                let counter = config.is_counter(key);
                walk.set = if counter { AwSet::new() } else { sender.set };
                walk.counter = if counter { sender.counter } else { Counter::new() };
                walk.touches = sender.touches[key].clone();
            }
        }
        Action::TakeKey { to, .. } => shadows[to].take(usize::from(sync(to).cursor) - 1),
        Action::EndSync { to, .. } => shadows[to].end(),
        Action::AbandonSync { to, .. } => shadows[to].walk = None,
        other => unreachable!("{other:?} is not among the bounds"),
    }
}

/// Xorshift: the same walks each time.
fn below(random: &mut u64, bound: usize) -> usize {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    (*random % bound as u64) as usize
}

#[test]
fn words_do_what_the_production_types_do() {
    let repair_and_sync = Config::repair_and_sync(4);
    let config = Config { counter: true, delays: true, syncs: 3, symmetry: false, ..repair_and_sync };
    let mut random = 0x9E37_79B9_7F4A_7C15;
    let (mut ranges, mut pre_removed, mut ended) = (0, 0, 0);
    for _ in 0..3_000 {
        let mut state = State::new(&config);
        let mut shadows = vec![Shadow::new(); config.replicas];
        for _ in 0..60 {
            let mut actions = Vec::new();
            state.actions(&config, &mut actions);
            let action = actions[below(&mut random, actions.len())];
            // Else hardly a sync would come to its end.
            if matches!(action, Action::AbandonSync { .. }) && below(&mut random, 10) != 0 {
                continue;
            }
            let Some(next) = state.after(&config, action) else { continue };
            follow(&mut shadows, &config, &state, &next, action);
            state = next;
            for (replica, shadow) in state.replicas.iter().zip(&shadows) {
                shadow.assert_is(&replica.now, &state);
                ranges += usize::from(replica.now.vector != dots::contiguous(replica.now.vector));
                pre_removed += usize::from(replica.now.pre_removed != 0);
            }
            ended += usize::from(matches!(action, Action::EndSync { .. }));
        }
    }
    assert!(ranges > 1_000 && pre_removed > 1_000 && ended > 1_000, "{ranges} {pre_removed} {ended}");
}
