//! What one host has seen, and what follows from it for each key; kept up to date operation by operation.
//!
//! ```text
//!   unseen ── may_show(U) ──> ahead ── cover(V) ──> seen        an operation, to this host
//!      └─────────────── cover(V) ────────────────────┘
//!
//!   an add makes its element     certain    if it is seen, and nothing seen or ahead removes it
//!                                possible   if it is seen or ahead, and nothing seen removes it
//! ```

use lattice_crdt::{ActorId, Clock, Dot, SeqRange, VersionVector};

use super::history::{Effect, History, KeyId, OpId};
use super::violation::{Breach, Verdict, Violation};

#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    #[default]
    Unseen,
    Ahead,
    Seen,
}

/// An operation, to this host.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct OpState {
    pub state: State,
    /// How many seen operations remove it, and how many that are seen or ahead.
    removed_by_seen: u32,
    removed_by_any: u32,
}

impl OpState {
    pub(super) fn is_certain(self) -> bool {
        self.state == State::Seen && self.removed_by_any == 0
    }

    fn is_possible(self) -> bool {
        self.state != State::Unseen && self.removed_by_seen == 0
    }
}

/// An element of a set, or a side of a flag, to this host: how many adds make it certain, and how many possible.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct SlotState {
    pub certain: u32,
    pub possible: u32,
    /// The check that met it last.
    pub met: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct KeyState {
    /// Of a counter: each actor's last operation that is seen.
    pub newest: Vec<(ActorId, OpId)>,
    /// Of a register: the seen operation with the greatest stamp.
    pub winner: Option<OpId>,
    /// Of a counter or register: the operations that are ahead.
    pub ahead: Vec<OpId>,
    /// Of a set: how many elements are certain.
    pub certain_slots: u32,
    /// The whole-host check that met it last.
    pub met: u64,
    is_changed: bool,
}

/// What has been taken from the vectors about one actor.
#[derive(Debug)]
struct Tracked {
    actor: ActorId,
    contiguous: u64,
    ranges: Vec<SeqRange>,
    /// How many seqs are covered.
    covered: u64,
    /// All of 1..=this may be shown.
    upper_contiguous: u64,
}

/// One host, from one start to the next: after a crash a new one begins.
#[derive(Debug, Default)]
pub struct Replica {
    /// Ascending by actor.
    tracked: Vec<Tracked>,
    pub(super) operations: Vec<OpState>,
    pub(super) slots: Vec<SlotState>,
    pub(super) keys: Vec<KeyState>,
    changed: Vec<KeyId>,
    pub(super) checks: u64,
}

impl Replica {
    /// A host that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The host's vector is now this. What became covered is part of what its keys must show;
    /// [`Replica::take_changed`] says which.
    ///
    /// # Errors
    /// If the vector covers what never was, or no longer covers what it did.
    pub fn cover(&mut self, history: &History, vector: &VersionVector) -> Verdict {
        self.fit(history);
        let mut at = 0;
        for (actor, clock) in vector.iter() {
            while self.tracked.get(at).is_some_and(|tracked| tracked.actor < actor) {
                self.tracked[at].still_covers(0)?;
                at += 1;
            }
            self.track(at, actor);
            self.cover_clock(history, at, clock)?;
            at += 1;
        }
        self.tracked[at..].iter().try_for_each(|tracked| tracked.still_covers(0))
    }

    /// The host may show effects of what this vector covers, even before its own vector does: a state sync, or a
    /// snapshot, brought them. What no log ever had is left out.
    pub fn may_show(&mut self, history: &History, upper: &VersionVector) {
        self.fit(history);
        for (actor, clock) in upper.iter() {
            let at = self.tracked.partition_point(|tracked| tracked.actor < actor);
            self.track(at, actor);
            let operations = history.by_actor(actor);
            let from = self.tracked[at].upper_contiguous;
            let until = clock.contiguous().min(operations.len() as u64).max(from);
            self.tracked[at].upper_contiguous = until;
            operations[from as usize..until as usize].iter().for_each(|&id| self.set_ahead(history, id));
            for range in clock.ranges() {
                for seq in range.first..=range.last.min(operations.len() as u64) {
                    self.set_ahead(history, operations[seq as usize - 1]);
                }
            }
        }
    }

    /// Everything that another replica has seen or may show, this one may show: that one sent it a frame of a state
    /// sync, or wrote the snapshot from which this one started.
    pub fn may_show_all_of(&mut self, history: &History, other: &Replica) {
        self.fit(history);
        for (id, operation) in other.operations.iter().enumerate() {
            if operation.state != State::Unseen {
                self.set_ahead(history, id as OpId);
            }
        }
    }

    /// Whether it has seen that operation.
    pub fn has_seen(&self, history: &History, dot: Dot) -> bool {
        let id = dot.seq.checked_sub(1).and_then(|at| history.by_actor(dot.actor).get(at as usize));
        id.is_some_and(|&id| self.state(id) == State::Seen)
    }

    /// How many operations it has seen.
    pub fn seen(&self) -> u64 {
        self.tracked.iter().map(|tracked| tracked.covered).sum()
    }

    /// Adds a key to those that [`Replica::take_changed`] returns: for whoever sees it published.
    pub fn mark(&mut self, history: &History, key: KeyId) {
        self.fit(history);
        let state = &mut self.keys[key.0 as usize];
        if !std::mem::replace(&mut state.is_changed, true) {
            self.changed.push(key);
        }
    }

    /// Swaps `into`, cleared, for the keys that changed since the last call: what is expected of them did, or
    /// [`Replica::mark`] said so. Each stands there once.
    pub fn take_changed(&mut self, into: &mut Vec<KeyId>) {
        into.clear();
        std::mem::swap(&mut self.changed, into);
        for key in into {
            self.keys[key.0 as usize].is_changed = false;
        }
    }

    pub(super) fn state(&self, id: OpId) -> State {
        self.operations.get(id as usize).map_or(State::Unseen, |operation| operation.state)
    }

    /// Makes room for what was witnessed meanwhile.
    pub(super) fn fit(&mut self, history: &History) {
        if self.operations.len() < history.operations.len() {
            self.operations.resize(history.operations.len(), OpState::default());
            self.slots.resize(history.slots.len(), SlotState::default());
            self.keys.resize(history.keys.len(), KeyState::default());
        }
    }

    fn track(&mut self, at: usize, actor: ActorId) {
        if self.tracked.get(at).is_none_or(|tracked| tracked.actor != actor) {
            let (contiguous, ranges, covered, upper_contiguous) = Default::default();
            self.tracked.insert(at, Tracked { actor, contiguous, ranges, covered, upper_contiguous });
        }
    }

    fn cover_clock(&mut self, history: &History, at: usize, clock: &Clock) -> Verdict {
        let tracked = &mut self.tracked[at];
        if tracked.contiguous == clock.contiguous() && tracked.ranges == clock.ranges() {
            return Ok(());
        }
        let (actor, before) = (tracked.actor, tracked.contiguous.min(clock.contiguous()));
        tracked.contiguous = clock.contiguous();
        tracked.ranges.clear();
        tracked.ranges.extend_from_slice(clock.ranges());
        let operations = history.by_actor(actor);
        if clock.highest() > operations.len() as u64 {
            let dot = Dot::new(actor, clock.highest());
            let expected = format!("at most {}, the last that its log has", operations.len());
            return Err(Violation::of_vector(Breach::UnknownDotCovered, dot, expected));
        }
        let mut new = self.cover_all(history, &operations[before as usize..clock.contiguous() as usize]);
        let mut total = clock.contiguous();
        for range in clock.ranges() {
            let range = range.first as usize - 1..range.last as usize;
            total += range.len() as u64;
            new += self.cover_all(history, &operations[range]);
        }
        let tracked = &mut self.tracked[at];
        tracked.covered += new;
        // What was seen stays seen; so if the clock has fewer now, it has lost some of them.
        tracked.still_covers(total)
    }

    /// Returns how many of them are new.
    fn cover_all(&mut self, history: &History, operations: &[OpId]) -> u64 {
        let mut new = 0;
        for &id in operations {
            if history.is_given_up(id) && self.state(id) != State::Seen {
                // Behind all gaps, so it is come by only once.
                self.set_ahead(history, id);
                new += 1;
            } else if self.state(id) != State::Seen {
                self.set_state(history, id, State::Seen);
                new += 1;
            }
        }
        new
    }

    fn set_ahead(&mut self, history: &History, id: OpId) {
        if self.state(id) == State::Unseen {
            self.set_state(history, id, State::Ahead);
        }
    }

    /// Moves an operation up, and everything that follows from it.
    fn set_state(&mut self, history: &History, id: OpId, state: State) {
        let operation = history.operation(id);
        let before = self.state(id);
        for &removed in &operation.removes {
            self.change_add(history, removed, |add| {
                add.removed_by_any += u32::from(before == State::Unseen);
                add.removed_by_seen += u32::from(state == State::Seen);
            });
        }
        match &operation.effect {
            Effect::Add(_) => self.change_add(history, id, |add| add.state = state),
            _ => self.operations[id as usize].state = state,
        }
        let Some(key) = operation.key else { return };
        if matches!(operation.effect, Effect::Counter { .. } | Effect::Register { .. }) {
            self.follow(history, key, id, before, state);
        }
        self.mark(history, key);
    }

    /// Changes an add, and what its element is by it.
    fn change_add(&mut self, history: &History, add: OpId, change: impl FnOnce(&mut OpState)) {
        let Effect::Add(slot) = history.operation(add).effect else { return };
        let operation = &mut self.operations[add as usize];
        let before = *operation;
        change(operation);
        let after = *operation;
        let state = &mut self.slots[slot as usize];
        let was_certain = state.certain > 0;
        state.certain = state.certain + u32::from(after.is_certain()) - u32::from(before.is_certain());
        state.possible = state.possible + u32::from(after.is_possible()) - u32::from(before.is_possible());
        let key = &mut self.keys[history.slots[slot as usize].key.0 as usize];
        key.certain_slots = key.certain_slots + u32::from(state.certain > 0) - u32::from(was_certain);
    }

    /// A counter's or a register's operation goes from `before` to `state`.
    fn follow(&mut self, history: &History, key: KeyId, id: OpId, before: State, state: State) {
        let key = &mut self.keys[key.0 as usize];
        if state == State::Ahead {
            return key.ahead.push(id);
        }
        if before == State::Ahead {
            key.ahead.retain(|ahead| *ahead != id);
        }
        let operation = history.operation(id);
        if let Some(stamp) = operation.stamp() {
            let newer = |winner: OpId| history.operation(winner).stamp() < Some(stamp);
            if key.winner.is_none_or(newer) {
                key.winner = Some(id);
            }
            return;
        }
        match key.newest.iter_mut().find(|(actor, _)| *actor == operation.dot.actor) {
            Some((_, newest)) => *newest = id.max(*newest),
            None => key.newest.push((operation.dot.actor, id)),
        }
    }
}

impl Tracked {
    fn still_covers(&self, total: u64) -> Verdict {
        if total >= self.covered {
            return Ok(());
        }
        let expected = format!("all of the {} operations that it covered", self.covered);
        let mut violation =
            Violation::of_vector(Breach::VectorWentBack, Dot::new(self.actor, self.contiguous), expected);
        violation.shown = format!("{total} of them");
        Err(violation)
    }
}

impl Violation {
    fn of_vector(breach: Breach, dot: Dot, expected: String) -> Box<Self> {
        Box::new(Self { breach, key: None, dots: vec![dot], expected, shown: dot.to_string() })
    }
}
