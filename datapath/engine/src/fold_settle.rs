//! Settling what was folded: how its names come here, by a decision or by a sync, when all of it is here, and the pass over the
//! keys that follows. Why that is right is told in `fold.rs`.
//!
//! ```text
//!   a decision ───────────────────────────────────────────────> settled: out of the vector ──> pass, in slices
//!   a sync's vector ──> names ── all of it is here already ──────>│
//!                         └──── the walk has come to its end ────>┘
//! ```
//!
//! What can go wrong: a walk that began before names came would show slots that it has not told; it is given up (`learn_folded`), or
//! waited for (`tick_pass`).

use crate::digest::fold_atom;
use crate::engine::Engine;
use crate::fold::{Folded, MAX_FOLDED};
use crate::lane::Lane;
use crate::log::LogStore;
use crate::walk::Walk;
use lattice_crdt::{ActorId, SeqRange};
use std::collections::BTreeMap;

/// Keys that one slice of a pass looks at, and when the next is due.
const KEYS_PER_SLICE: u32 = 256;
const GO_ON_NS: u64 = 1_000_000;
/// When a pass that waits for something looks again.
const WAIT_NS: u64 = 20_000_000;
/// Periods of anti-entropy after which somebody who has settled other epochs is asked for a sync.
const PATIENCE_PERIODS: u64 = 3;

impl<L: LogStore> Engine<L> {
    /// All agree that these epochs end where they do here. What is missing of them nobody has.
    pub(crate) fn fold(&mut self, epochs: &[(ActorId, u64)], number: u16) {
        let gaps_of = |&(actor, _): &(ActorId, u64)| {
            let clock = self.vector.clock(actor);
            let ends = clock.into_iter().flat_map(|clock| {
                let ranges = clock.ranges().iter();
                std::iter::once(clock.contiguous()).chain(ranges.clone().map(|range| range.last)).zip(ranges)
            });
            ends.map(move |(end, next)| (actor, SeqRange { first: end + 1, last: next.first - 1 }))
        };
        let closed: Vec<(ActorId, SeqRange)> = epochs.iter().flat_map(gaps_of).collect();
        self.note_closed(closed);
        for &(actor, last) in epochs {
            self.folds.names.insert(actor, Folded { last, number });
            self.settle(actor);
        }
        self.stats.folds += 1;
        self.after_settling();
    }

    /// Everything of a folded epoch is in the state.
    fn settle(&mut self, actor: ActorId) {
        let Some(Folded { last, number }) = self.folds.get(actor) else { return };
        if self.vector.is_settled(actor) {
            return;
        }
        self.vector.settle(actor, last);
        self.folds.digest = self.folds.digest.wrapping_add(fold_atom(actor, last, number));
        self.folds.sealed.remove(&actor);
        self.dropped.remove(actor);
        self.lanes.iter_mut().for_each(|lane| lane.stable.remove(actor));
        self.folds.pass = Some(0);
    }

    fn after_settling(&mut self) {
        let vector = &self.vector;
        self.pre_removed.retain(|dot, _| !vector.contains(dot));
        let (mut to, mut open) = (BTreeMap::<u16, u16>::new(), BTreeMap::<u16, u16>::new());
        for (actor, folded) in self.folds.iter() {
            let highest = to.entry(actor.node()).or_default();
            *highest = folded.number.max(*highest);
            if !self.vector.is_settled(actor) {
                let lowest = open.entry(actor.node()).or_insert(u16::MAX);
                *lowest = folded.number.min(*lowest);
            }
        }
        for (node, lowest) in open {
            to.entry(node).and_modify(|highest| *highest = (*highest).min(lowest - 1));
        }
        self.folds.to = to;
        self.wake();
    }

    /// A sync, or storage, tells of a folded epoch, before its keys. False: it contradicts what is known, or there is no room.
    pub(crate) fn learn_folded(&mut self, epochs: &[(ActorId, Folded)], unbounded: bool) -> bool {
        // Who is heard in an epoch is no dead one, whoever says so.
        let (ticked_ns, timeout_ns) = (self.ticked_ns, self.config.timers.peer_timeout_ns);
        let lives = |actor: ActorId| {
            let of_epoch = |lane: &Lane| lane.session.is_some_and(|session| session.actor == actor);
            self.lanes.iter().any(|lane| of_epoch(lane) && lane.is_up(ticked_ns, timeout_ns))
        };
        let fits = |(actor, folded): &(ActorId, Folded)| {
            let known = self.folds.get(*actor);
            *actor != self.config.actor
                && (known == Some(*folded) || known.is_none() && (unbounded || !lives(*actor)))
        };
        let news = epochs.iter().filter(|(actor, _)| self.folds.get(*actor).is_none()).count();
        if !epochs.iter().all(fits) || self.folds.len() + news > MAX_FOLDED && !unbounded {
            // Who goes on in an epoch that others have folded was restored as a whole.
            self.epoch_is_over |= epochs.iter().any(|(actor, _)| *actor == self.config.actor);
            return false;
        }
        self.folds.names.extend(epochs.iter().copied());
        if news > 0 {
            // Nothing was agreed to with these in mind.
            self.folds.round = None;
        }
        // Slots may come with the keys that follow. A walk that began before would show them, and has not told these names.
        let known = self.folds.len();
        let is_behind = |walk: &Walk| !walk.is_done() && walk.folded() != known;
        self.snapshot.take_if(|snapshot| is_behind(snapshot.walk()));
        self.outgoing.retain(|sync| !sync.walk().is_some_and(is_behind));
        for (actor, _) in epochs {
            self.end_session_of(*actor);
        }
        if news > 0 {
            self.settle_whole();
        }
        true
    }

    /// A walk is in the state: what its sender had settled is settled here, and whatever else has come whole by now.
    pub(crate) fn settle_covered(&mut self, of_sender: &[ActorId]) {
        if self.folds.names.is_empty() {
            return;
        }
        of_sender.iter().for_each(|actor| self.settle(*actor));
        // Keys that came may have entries that are folded here, or will be.
        self.folds.pass = Some(0);
        self.settle_whole();
    }

    /// Settles what is known to be folded and has come whole.
    fn settle_whole(&mut self) {
        let whole = |&(actor, folded): &(ActorId, Folded)| self.vector.contiguous(actor) >= folded.last;
        let whole: Vec<ActorId> = self.folds.iter().filter(whole).map(|(actor, _)| actor).collect();
        whole.into_iter().for_each(|actor| self.settle(actor));
        self.after_settling();
    }

    /// What a peer has settled, as its heartbeat says. Who differs for long is asked for what it has.
    pub(crate) fn consider_folds(&mut self, now_ns: u64, slot: usize) {
        let differs = self.lanes[slot].view.folds != self.folds.digest;
        let since_ns = *self.lanes[slot].folds.differs_since_ns.get_or_insert(now_ns);
        if !differs {
            self.lanes[slot].folds.differs_since_ns = None;
        } else if now_ns.saturating_sub(since_ns) >= PATIENCE_PERIODS * self.config.timers.anti_entropy_ns {
            self.lanes[slot].folds.differs_since_ns = None;
            self.request_sync(now_ns, slot);
        }
    }

    /// The next slice of a pass. It waits for walks that began before the last fold: they have not told its names.
    pub(crate) fn tick_pass(&mut self, now_ns: u64) {
        let Some(mut position) = self.folds.pass else { return };
        if now_ns < self.folds.pass_due_ns {
            return;
        }
        self.folds.pass_due_ns = now_ns + GO_ON_NS;
        let known = self.folds.len();
        let outgoing = self.outgoing.iter().filter_map(|sync| sync.walk());
        let snapshot = self.snapshot.as_ref().map(|snapshot| snapshot.walk());
        let mut walks = outgoing.chain(snapshot).filter(|walk| !walk.is_done());
        let waits = walks.any(|walk| walk.folded() != known) && !zoo!(FoldsUnderWalks);
        if waits || position >= self.keys.end() && self.incoming.is_some() {
            self.folds.pass_due_ns = now_ns + WAIT_NS;
            return;
        }
        let end = self.keys.end().min(position.saturating_add(KEYS_PER_SLICE));
        while position < end {
            self.keys.fold(position, &self.folds, &self.vector);
            position += 1;
        }
        self.folds.pass = Some(position);
        if position >= self.keys.end() && self.incoming.is_none() {
            self.folds.pass = None;
            let (folds, vector) = (&self.folds, &self.vector);
            self.keys.release_actors(|actor| match actor.fold_number() {
                Some(number) => number < folds.level(actor.node()),
                None => vector.is_settled(actor),
            });
        }
    }

    /// When the next slice of a pass is due.
    pub(crate) fn folding_deadline_ns(&self) -> u64 {
        if self.folds.pass.is_some() { self.folds.pass_due_ns } else { u64::MAX }
    }
}
