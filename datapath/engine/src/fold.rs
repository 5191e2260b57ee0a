//! Folding: what the dead epochs of a node did becomes one entry in each counter, and their places in the vector become free.
//!
//! ```text
//!   N restarts: epoch b. Its epoch a is over, and lies in every vector, every touched key, every counter
//!
//!   N (epoch b)                      every member
//!     ask: of a, I have 1..=n ─────> "so do I, exactly; I am in no sync; from now on nothing of a is taken" ──> sealed
//!     all agree <─────────────────── agree                                                        phase one
//!     decide ──────────────────────> a is fold 7 of N, its last operation n                      phase two
//!        │                              │
//!        v                              v
//!     settled: no actor of the vector any more; everything of it counts as received
//!     pass, in slices: in each counter, the entries of a and of N's slot 6 ──> N's slot 7; touches of a go
//! ```
//!
//! Dots of elements, and stamps of registers, keep their names: a removal that saw a dot of a dead epoch takes it out as ever.
//! What grew with each epoch does not any more: the vector, what is gossiped of it, the entries of counters, touches, numbers.
//! What is left of an epoch is its name with its last operation, in a table of [`MAX_FOLDED`], which travels with
//! every walk and snapshot.
//!
//! **Only one decides.** The live epoch of N decides about N's. Those of a node that is forgotten stay as they are,
//! until it is a member again: whoever joins may have met it before it heard that it is none, and have more of them. It asks all members, each in its present session, and a session that begins ends the round. A member takes a decision only
//! of the round that it agreed to last in that same session. So a decision of an earlier run of N that comes late is
//! nobody's any more, and all folds of N form one sequence, whose numbers every host gives the same meaning.
//!
//! **A slot is whole.** `slot(N, k)` of a counter says all that the epochs of the folds 1 to k of N did to it. Whoever makes one has
//! every operation of those epochs; whoever gets one keeps it as it is. So where a slot comes, lower slots and the entries of
//! those epochs go; where a slot is, such entries are not taken. Whoever has all operations of an epoch takes no entry of it at all. It
//! does not matter in which order slots and entries come, nor that a sync which brought some is given up: nothing is counted twice.
//!
//! **Names before effects.** A sync tells which epochs were folded before it tells any key, and the receiver knows their names from
//! then on, but has *settled* only those that the sender has, and only at the end of the walk, or those of which it has
//! everything itself. Digests of what is settled are in each heartbeat; who sees another for long asks for a sync. Between two
//! that differ, every walk is a full one: touches of settled epochs are gone, and could filter nothing.
//!
//! What could break it, and why it does not:
//! - *An operation of a beyond n turns up.* All members said that they know none, and have sealed a. One that had it and lost
//!   its state since said so in a session that is over, and the round with it. What a node that is forgotten has, is refused.
//! - *A sync showed effects of a beyond n*, which nobody covers: dots of that sort are in every C and live with few, so they go.
//!   Counters with and without it differ; digests tell, and the greater stays.
//! - *A crash between ask and decision, or after it:* who has not settled is behind, and gets a full walk; who has, has all effects in
//!   the same snapshot. If all who knew of a decision lost it, it was never made.
//! - *An old copy of a host comes back:* its entries of folded epochs are not taken, and a full walk brings the slots, before
//!   which its own entries go. A machine that goes on *in* a folded epoch (restored whole) is told by a hello that its
//!   epoch is over.
//! - *A member is not known yet* (found, not configured): no round before every node that has an epoch in the vector is up, and
//!   three periods of anti-entropy without a new session. A member that never wrote, and is silent for that long after
//!   N's start, is not waited for; if it alone has something of a, that is given up.

use crate::digest::{clocks_digest, fold_atom};
use crate::engine::Engine;
use crate::keys::Position;
use crate::lane::{Lane, Session};
use crate::log::LogStore;
use crate::stats::DropReason;
use lattice_crdt::ActorId;
use lattice_wire::{Fold, FoldStep, Frame, FrameType, FrameWriter, MAX_EPOCHS_PER_FOLD};
use std::collections::{BTreeMap, BTreeSet};

/// Most epochs that are remembered as folded; beyond, no more are.
pub(crate) const MAX_FOLDED: usize = 8192;
/// Most epochs that are sealed and not folded yet: those of so many rounds.
const MAX_SEALED: usize = 32 * MAX_EPOCHS_PER_FOLD;
/// Periods of anti-entropy without a new session before a round.
const CALM_PERIODS: u32 = 3;

/// What is known of an epoch that was folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Folded {
    /// Its last operation.
    pub(crate) last: u64,
    /// The fold of its node that it went in.
    pub(crate) number: u16,
}

/// A question that is under way, and what agreeing to one promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    round: u32,
    digest: u64,
    number: u16,
    epochs: Vec<(ActorId, u64)>,
}

/// What a lane keeps about folding, in the peer's present session.
#[derive(Debug, Default)]
pub(crate) struct LaneFolds {
    /// It is to be asked.
    ask: bool,
    /// It is to be told that this engine agrees to its round.
    agree: Option<u32>,
    /// The last round of its own that this engine agreed to.
    promise: Option<Round>,
    /// The last round of this engine's that it agreed to.
    agreed: Option<u32>,
    /// It is to be told the decision.
    decide: bool,
    /// Since when it has settled other epochs than this engine.
    pub(crate) differs_since_ns: Option<u64>,
    /// Folding waits for it.
    pub(crate) holds_back: bool,
}

impl LaneFolds {
    pub(crate) fn owes(&self) -> bool {
        self.ask || self.decide || self.agree.is_some()
    }
}

/// What an engine knows of folded epochs.
#[derive(Debug, Default)]
pub(crate) struct Folds {
    pub(crate) names: BTreeMap<ActorId, Folded>,
    /// Of those that are settled.
    pub(crate) digest: u64,
    /// Epochs of which nothing is taken any more, because this engine agreed that they be folded.
    pub(crate) sealed: BTreeSet<ActorId>,
    pub(crate) round: Option<Round>,
    decided: Option<u32>,
    next_round: u32,
    due_ns: u64,
    calm: u32,
    /// Most epochs of the next question: fewer after one that nobody could agree to, for of some of them less may be known
    /// somewhere, and the rest makes the room without which that can't come.
    most: usize,
    /// Of each node, the last fold of which all epochs are settled here: what a pass folds to.
    pub(crate) to: BTreeMap<u16, u16>,
    /// The key that the pass comes to next.
    pub(crate) pass: Option<Position>,
    pub(crate) pass_due_ns: u64,
}

impl Folds {
    pub(crate) fn new(next_round: u32, due_ns: u64) -> Self {
        let pass_due_ns = due_ns.max(1);
        Self { next_round, due_ns, pass_due_ns, most: MAX_EPOCHS_PER_FOLD, ..Self::default() }
    }

    pub(crate) fn get(&self, actor: ActorId) -> Option<Folded> {
        if self.names.is_empty() { None } else { self.names.get(&actor).copied() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ActorId, Folded)> + '_ {
        self.names.iter().map(|(&actor, &folded)| (actor, folded))
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether nothing of an epoch is taken any more.
    fn is_over(&self, actor: ActorId) -> bool {
        (self.sealed.contains(&actor) || self.names.contains_key(&actor)) && !zoo!(FoldedEpochIsHeard)
    }

    /// The fold of a node up to which all is settled here; 0 if none.
    pub(crate) fn level(&self, node: u16) -> u16 {
        self.to.get(&node).copied().unwrap_or(0)
    }

    /// Whether some epoch of the node went in that fold.
    pub(crate) fn knows(&self, node: u16, number: u16) -> bool {
        self.of_node(node).any(|(_, folded)| folded.number == number)
    }

    fn of_node(&self, node: u16) -> impl Iterator<Item = (ActorId, Folded)> + '_ {
        let ends = ActorId::new(node, 0)..=ActorId::new(node, u64::MAX);
        self.names.range(ends).map(|(&actor, &folded)| (actor, folded))
    }

    fn next_number(&self, node: u16) -> Option<u16> {
        self.of_node(node).map(|(_, folded)| folded.number).max().unwrap_or(0).checked_add(1)
    }

    /// A session began: whatever was asked before says nothing any more.
    pub(crate) fn session_began(&mut self) {
        (self.round, self.calm) = (None, 0);
    }

    /// The engine begins another epoch.
    pub(crate) fn begin_epoch(&mut self) {
        (self.round, self.decided, self.calm) = (None, None, 0);
    }
}

impl<L: LogStore> Engine<L> {
    /// Epochs in the vector that are over, as far as this engine can tell.
    pub(crate) fn dead_epochs(&self) -> usize {
        let is_dead = |actor: ActorId| {
            let other = |session: Session| session.actor != actor;
            let lane = || self.lanes.iter().find(|lane| lane.node == actor.node());
            match actor.node() == self.config.actor.node() {
                true => actor != self.config.actor,
                false => {
                    self.forgotten.seals(actor) || lane().is_some_and(|lane| lane.session.is_some_and(other))
                }
            }
        };
        self.vector.open().filter(|(actor, _)| is_dead(*actor)).count()
    }

    /// Whether a frame comes from an epoch that was folded, or is about to be; its host is told.
    pub(crate) fn check_folded(
        &mut self,
        now_ns: u64,
        slot: usize,
        frame: &Frame<'_>,
    ) -> Result<(), DropReason> {
        let actor = frame.header.actor;
        let lane = &mut self.lanes[slot];
        if lane.session.is_some_and(|session| session.actor == actor) || !self.folds.is_over(actor) {
            return Ok(());
        }
        // Only the run that sent it will take that for itself: its session is echoed.
        lane.over_echo = Some(frame.header.src_session);
        lane.owe_hello(now_ns, frame.header.src_session);
        Err(DropReason::Forgotten)
    }

    /// A peer says that this engine's epoch was folded: what goes on here was restored as a whole.
    pub(crate) fn on_epoch_over(&mut self) -> Result<(), DropReason> {
        self.epoch_is_over = true;
        Err(DropReason::Forgotten)
    }

    /// What is known of these epochs of one node, and of those of it that were folded before.
    fn fold_digest(&self, epochs: &[(ActorId, u64)]) -> u64 {
        let clocks = self.vector.open().filter(|(actor, _)| epochs.iter().any(|(own, _)| own == actor));
        let node = epochs.first().map_or(0, |(actor, _)| actor.node());
        let atoms =
            self.folds.of_node(node).map(|(actor, Folded { last, number })| fold_atom(actor, last, number));
        atoms.fold(clocks_digest(clocks), |sum, atom| sum.wrapping_add(atom.rotate_left(17)))
    }

    /// Whether all epochs of a node that are known to be folded are settled here.
    fn all_settled(&self, node: u16) -> bool {
        self.folds.of_node(node).all(|(actor, _)| self.vector.is_settled(actor))
    }

    fn is_member(&self, node: u16) -> bool {
        node == self.config.actor.node() || self.lanes.iter().any(|lane| lane.node == node && !lane.forgotten)
    }

    /// Whether an epoch is over, and the node whose present one is `decider` decides about it: its own.
    fn is_foldable(decider: ActorId, actor: ActorId) -> bool {
        actor.node() == decider.node() && actor != decider
    }

    /// The dead epochs of one node that this engine may have folded now, ascending, with their highest operations.
    fn fold_candidates(&mut self) -> Vec<(ActorId, u64)> {
        let own = self.config.actor;
        let known = self.vector.open().map(|(actor, clock)| (actor, clock.highest()));
        let mut foldable =
            known.filter(|(actor, last)| *last > 0 && Self::is_foldable(own, *actor)).peekable();
        let Some(node) = foldable.peek().map(|(actor, _)| actor.node()) else { return Vec::new() };
        let mut of_node: Vec<_> = foldable.take_while(|(actor, _)| actor.node() == node).collect();
        let from = self.random.below(of_node.len().saturating_sub(self.folds.most) + 1);
        of_node.drain(..from);
        of_node.truncate(self.folds.most);
        of_node
    }

    /// Asks about dead epochs, tells decisions again, and goes on with a pass.
    pub(crate) fn tick_folding(&mut self, now_ns: u64) {
        self.tick_pass(now_ns);
        if now_ns < self.folds.due_ns {
            return;
        }
        self.folds.due_ns = now_ns + self.config.timers.anti_entropy_ns;
        self.folds.calm = self.folds.calm.saturating_add(1);
        let unanswered = self.folds.round.take().map(|round| round.round);
        if unanswered.is_some() {
            self.folds.most = (self.folds.most / 2).max(1);
        }
        let epochs = self.fold_candidates();
        let (decided, own_digest) = (self.folds.decided, self.folds.digest);
        let timeout_ns = self.config.timers.peer_timeout_ns;
        let (mut all_up, mut all_told) = (true, true);
        for lane in &mut self.lanes {
            let up = lane.forgotten || lane.is_up(now_ns, timeout_ns);
            lane.folds.decide =
                decided.is_some() && lane.folds.agreed == decided && lane.view.folds != own_digest;
            all_told &= !lane.folds.decide;
            let disagrees = unanswered.is_some() && lane.folds.agreed != unanswered;
            lane.folds.holds_back = !lane.forgotten && !epochs.is_empty() && (!up || disagrees);
            all_up &= up;
        }
        let everybody_is_met = self.vector.open().all(|(actor, _)| {
            let node = actor.node();
            self.is_member(node)
                || self.lanes.iter().any(|lane| lane.node == node)
                || self.forgotten.seals(actor)
        });
        let may_ask = self.incoming.is_none()
            && self.folds.pass.is_none()
            && !self.epoch_is_over
            && epochs.first().is_none_or(|(actor, _)| self.all_settled(actor.node()))
            && self.folds.len() + epochs.len() <= MAX_FOLDED
            && (self.folds.calm >= CALM_PERIODS || self.lanes.is_empty());
        if !epochs.is_empty() && all_up && all_told && everybody_is_met && may_ask {
            self.ask_to_fold(epochs);
        }
    }

    fn ask_to_fold(&mut self, epochs: Vec<(ActorId, u64)>) {
        let Some(number) = epochs.first().and_then(|(actor, _)| self.folds.next_number(actor.node())) else {
            return;
        };
        // Never 0.
        self.folds.next_round = self.folds.next_round.wrapping_add(1).max(1);
        let (round, digest) = (self.folds.next_round, self.fold_digest(&epochs));
        self.folds.round = Some(Round { round, digest, number, epochs });
        for lane in self.lanes.iter_mut().filter(|lane| !lane.forgotten) {
            (lane.folds.ask, lane.folds.agreed) = (true, None);
        }
        self.advance_fold();
        self.wake();
    }

    /// Decides when all members agree.
    fn advance_fold(&mut self) {
        let Some(Round { round, .. }) = self.folds.round else { return };
        let mut members = self.lanes.iter().filter(|lane| !lane.forgotten);
        if !members.all(|lane| lane.folds.agreed == Some(round)) && !zoo!(FoldBeforeAgreed) {
            return;
        }
        let Some(Round { digest, number, epochs, .. }) = self.folds.round.take() else { return };
        if self.incoming.is_some() || self.fold_digest(&epochs) != digest {
            return;
        }
        (self.folds.decided, self.folds.most) = (Some(round), MAX_EPOCHS_PER_FOLD);
        for lane in self.lanes.iter_mut().filter(|lane| !lane.forgotten) {
            (lane.folds.decide, lane.folds.ask) = (true, false);
        }
        self.fold(&epochs, number);
    }

    /// Writes what is owed to a peer about folding.
    pub(crate) fn write_fold(&mut self, slot: usize, buffer: &mut [u8]) -> Option<usize> {
        let folds = &mut self.lanes[slot].folds;
        if !folds.owes() {
            return None;
        }
        let (agree, decide) = (folds.agree.take(), std::mem::take(&mut folds.decide));
        let mut writer = FrameWriter::new(buffer, self.header(FrameType::Fold, slot))?;
        let pushed = if let Some(round) = agree {
            self.lanes[slot].folds.decide |= decide;
            Fold::encode(&mut writer, FoldStep::Agree, round)
        } else if decide {
            Fold::encode(&mut writer, FoldStep::Decide, self.folds.decided?)
        } else {
            // Asked once in a period; lost, it is asked again then.
            self.lanes[slot].folds.ask = false;
            let Round { round, digest, number, epochs } = self.folds.round.as_ref()?;
            Fold::encode_question(&mut writer, *round, *digest, *number, epochs)
        };
        pushed.ok().map(|()| writer.finish())
    }

    pub(crate) fn on_fold(&mut self, slot: usize, frame: &Frame<'_>) -> Result<(), DropReason> {
        let fold = Fold::decode(frame.payload)?;
        match fold.step {
            FoldStep::Ask => self.on_fold_question(slot, frame.header.actor, &fold),
            FoldStep::Agree => {
                if self.folds.round.as_ref().is_some_and(|own| own.round == fold.round) {
                    self.lanes[slot].folds.agreed = Some(fold.round);
                    self.advance_fold();
                }
            }
            FoldStep::Decide => {
                let promised = |promise: &mut Round| promise.round == fold.round;
                let Some(promise) = self.lanes[slot].folds.promise.take_if(promised) else { return Ok(()) };
                if self.fold_digest(&promise.epochs) == promise.digest || zoo!(FoldsWhatItLacks) {
                    self.fold(&promise.epochs, promise.number);
                }
            }
        }
        Ok(())
    }

    fn on_fold_question(&mut self, slot: usize, asker: ActorId, fold: &Fold<'_>) {
        let epochs: Vec<(ActorId, u64)> = fold.epochs.iter().collect();
        let node = epochs.first().map(|(actor, _)| actor.node());
        let sound = epochs.iter().all(|(actor, _)| {
            Some(actor.node()) == node && *actor != self.config.actor && Self::is_foldable(asker, *actor)
        });
        let same = node
            .is_some_and(|node| self.all_settled(node) && self.folds.next_number(node) == Some(fold.number))
            && self.fold_digest(&epochs) == fold.digest;
        let has_room = self.folds.sealed.len() + epochs.len() <= MAX_SEALED
            && self.folds.len() + epochs.len() <= MAX_FOLDED;
        let may_agree = self.incoming.is_none() && !self.epoch_is_over && has_room;
        if !sound || !may_agree || !(same || zoo!(FoldsWhatItLacks)) {
            // The asker asks again, when anti-entropy has brought what is missing.
            return;
        }
        for (actor, _) in &epochs {
            self.folds.sealed.insert(*actor);
            self.end_session_of(*actor);
        }
        let (round, digest, number) = (fold.round, fold.digest, fold.number);
        let folds = &mut self.lanes[slot].folds;
        (folds.agree, folds.promise) = (Some(round), Some(Round { round, digest, number, epochs }));
        self.wake();
    }

    /// An epoch is over: whatever session a late hello of it opened.
    pub(crate) fn end_session_of(&mut self, actor: ActorId) {
        let of_epoch = |lane: &Lane| lane.session.is_some_and(|session| session.actor == actor);
        if let Some(slot) = self.lanes.iter().position(of_epoch) {
            self.abandon_syncs_with(slot);
            self.lanes[slot].end_session();
        }
    }
}
