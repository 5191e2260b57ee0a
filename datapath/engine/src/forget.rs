//! Forgetting a node: its epochs so far are over for good, and what nobody has of them is given up.
//!
//! ```text
//!   forget(N) here ──> nodes: N -> generation g + 1 ──(Forget frames)──> every member
//!        │                  an epoch of N below that is *sealed*: nothing is taken from it any more
//!        │                  N, when it comes back, is told by a hello, and begins anew in an epoch of the new generation
//!        v
//!   a gap in what is known of a sealed epoch: operations that N told nobody here
//!        │
//!        v
//!   a round: all members are asked ──> all have sealed it, know the same of it as this engine (digests), and are in no sync
//!        │                             a session that begins meanwhile, a difference, silence: asked again later
//!        v
//!   the gap is closed: covered, as if N's operations there had done nothing
//! ```
//!
//! Why that is right: to cover a dot whose effect somebody has would take the effect from whoever has it. From the moment
//! when a member has sealed the epoch, it can learn of its operations from other members alone, by a state sync. Suppose that
//! some member learns, after its answer, of an operation that nobody named, and look at the first one that does. It asked for
//! that sync after its answer, for it was in none, and so after the round began; from a member that had the operation then, and had
//! not learned it after its own answer, or it would have been first. So that one had it before it answered, and no longer when it
//! answered: it lost its state in between. Then its answer came in another session than it had when the round began, and a session
//! that begins ends the round.
//!
//! That holds as long as a member that has sealed an epoch does not unseal it. So a host keeps what is forgotten where a
//! restart finds it, and answers for nothing that is not kept. Where nothing is kept, a restarted host hears it from every
//! member that it meets. What can go wrong: it meets the forgotten node before, and takes what it brings; or somebody brings a
//! whole disk back. Then a closed operation is shown by some; digests tell (`gossip.rs`), and all agree again, with or
//! without its effect.
//!
//! Two hosts that have forgotten each other don't believe each other that they are forgotten: both stay as they are, apart.

use crate::config::Storage;
use crate::digest::clocks_digest;
use crate::engine::Engine;
use crate::log::LogStore;
use crate::stats::DropReason;
use lattice_crdt::{ActorId, Clock, SeqRange};
use lattice_wire::{Forget, Frame, FrameType, FrameWriter, MAX_FORGOTTEN};
use std::collections::BTreeMap;

/// A round of questions that is under way.
#[derive(Clone, Copy, Debug)]
struct Round {
    number: u32,
    /// Of what this engine knew of sealed epochs when it began.
    digest: u64,
}

/// What an engine knows of forgotten nodes.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    /// The least generation that an epoch of the node must have.
    nodes: BTreeMap<u16, u8>,
    /// Those of them that this host finds again after a restart.
    kept: BTreeMap<u16, u8>,
    /// The generation that a member demands of this node.
    demanded: u8,
    round: Option<Round>,
    next_round: u32,
    due_ns: u64,
    /// The gaps that were closed last.
    closed: Vec<(ActorId, SeqRange)>,
}

impl Forgotten {
    /// Of an engine that begins as `own`.
    pub(crate) fn new(own: ActorId, next_round: u32, due_ns: u64) -> Self {
        let mut forgotten = Self { next_round, due_ns, ..Self::default() };
        forgotten.begin(own);
        forgotten
    }

    /// The epoch of `own` begins.
    fn begin(&mut self, own: ActorId) {
        if own.generation() > 0 {
            join(&mut self.nodes, own.node(), own.generation());
            join(&mut self.kept, own.node(), own.generation());
        }
        self.round = None;
    }

    /// The least generation that an epoch of the node must have.
    pub(crate) fn generation(&self, node: u16) -> u8 {
        self.nodes.get(&node).copied().unwrap_or(0)
    }

    /// Whether an epoch is over for good.
    pub(crate) fn seals(&self, actor: ActorId) -> bool {
        actor.generation() < self.generation(actor.node())
    }

    fn is_kept(&self) -> bool {
        self.nodes == self.kept
    }

    /// A session began: whatever was asked before says nothing any more.
    pub(crate) fn session_began(&mut self) {
        if !zoo!(RoundOutlivesSession) {
            self.round = None;
        }
    }
}

/// False if there was nothing new, or there is no room for it.
fn join(nodes: &mut BTreeMap<u16, u8>, node: u16, generation: u8) -> bool {
    let is_new = generation > nodes.get(&node).copied().unwrap_or(0);
    let fits = nodes.contains_key(&node) || nodes.len() < MAX_FORGOTTEN;
    if is_new && fits {
        nodes.insert(node, generation);
    }
    is_new && fits
}

impl<L: LogStore> Engine<L> {
    /// Takes a node out of the members, with all epochs that it had so far: nothing of them is taken any more, it no longer
    /// holds back the dropping of keys, and what nobody has of its operations is given up when all members have been
    /// asked. False if it is no peer, or none any more, or was forgotten 254 times. What is known of it stays. Should it come
    /// back, it is told to begin anew.
    pub fn forget(&mut self, node: u16) -> bool {
        let Some(lane) = self.lanes.iter().find(|lane| lane.node == node && !lane.forgotten) else {
            return false;
        };
        let known = self.vector.iter().map(|(actor, _)| actor).chain(lane.peer_actor);
        let newest = known.filter(|actor| actor.node() == node).map(ActorId::generation).max();
        let newest = newest.unwrap_or(0).max(self.forgotten.generation(node));
        // The last generation is that of fold slots.
        newest
            .checked_add(1)
            .filter(|next| *next < u8::MAX)
            .is_some_and(|generation| self.learn_forgotten([(node, generation)]))
    }

    /// All nodes that were forgotten, each with the least generation that its epochs must have now.
    pub fn forgotten(&self) -> impl Iterator<Item = (u16, u8)> + '_ {
        self.forgotten.nodes.iter().map(|(&node, &generation)| (node, generation))
    }

    /// Whether all of [`Engine::forgotten`] was [kept](Engine::keep_forgotten): where not, it is to be.
    pub fn forgotten_is_kept(&self) -> bool {
        self.forgotten.is_kept()
    }

    /// These nodes are forgotten, and this host will know that after any restart. Right after the start, and whenever
    /// [`Engine::forgotten_is_kept`] says no.
    pub fn keep_forgotten(&mut self, nodes: impl IntoIterator<Item = (u16, u8)>) {
        let own = self.config.actor.node();
        for (node, generation) in nodes.into_iter().filter(|(node, least)| *least > 0 && *node != own) {
            self.learn_forgotten([(node, generation)]);
            join(&mut self.forgotten.kept, node, generation);
        }
        self.wake();
    }

    /// Whether this node was forgotten and has state of before: it must begin anew from nothing. Until then nothing is
    /// written locally.
    pub fn is_forgotten(&self) -> bool {
        self.forgotten.demanded > self.config.actor.generation()
            && (self.recovered || self.met_anybody)
            && !zoo!(ForgottenKeepsState)
    }

    /// The generation that this node's next epoch must have.
    pub fn wanted_generation(&self) -> u8 {
        self.config.actor.generation().max(self.forgotten.demanded)
    }

    /// Operations of sealed epochs that are missing here: they are given up when all members have answered.
    pub fn missing_of_forgotten(&self) -> u64 {
        self.sealed_gaps().fold(0, |sum, (_, gap)| sum.saturating_add(gap.last - gap.first + 1))
    }

    /// The gaps that this engine closed last, when [`crate::EngineStats::gaps_closed`] last grew.
    pub fn last_closed(&self) -> &[(ActorId, SeqRange)] {
        &self.forgotten.closed
    }

    /// What begins with a new epoch of this node.
    pub(crate) fn begin_generation(&mut self) {
        self.forgotten.begin(self.config.actor);
    }

    /// A peer says what generation this node's epoch must have.
    pub(crate) fn on_demand(&mut self, generation: u64) -> Result<(), DropReason> {
        let own = u64::from(self.config.actor.generation());
        if generation <= own {
            return Ok(());
        }
        let demanded = u8::try_from(generation).map_err(|_| DropReason::Unexpected)?;
        self.forgotten.demanded = self.forgotten.demanded.max(demanded);
        self.epoch_is_over = true;
        Err(DropReason::Forgotten)
    }

    /// Looks whether a frame comes from an epoch that is over for good; its host is told, if it is likely to listen.
    pub(crate) fn check_sealed(
        &mut self,
        now_ns: u64,
        slot: usize,
        frame: &Frame<'_>,
    ) -> Result<(), DropReason> {
        let header = &frame.header;
        if header.actor.fold_number().is_some() {
            return Err(DropReason::Unexpected);
        }
        self.check_folded(now_ns, slot, frame)?;
        if header.actor.generation() > self.forgotten.generation(header.node) {
            // It was forgotten while this engine was away.
            self.learn_forgotten([(header.node, header.actor.generation())]);
        }
        if !self.forgotten.seals(header.actor) || zoo!(ForgottenHostIsHeard) {
            return Ok(());
        }
        // Who tells is not told: two hosts that have forgotten each other would go on for ever.
        let own = u64::from(self.config.actor.generation());
        if header.frame_type != FrameType::Hello || header.lo <= own {
            self.lanes[slot].owe_hello(now_ns, header.src_session);
        }
        Err(DropReason::Forgotten)
    }

    /// True if something of it is news.
    fn learn_forgotten(&mut self, nodes: impl IntoIterator<Item = (u16, u8)>) -> bool {
        let mut news = false;
        for (node, generation) in nodes {
            // What others say of this node itself, they say in hellos.
            if node == self.config.actor.node() || !join(&mut self.forgotten.nodes, node, generation) {
                continue;
            }
            news = true;
            let Some(slot) = self.lanes.iter().position(|lane| lane.node == node) else { continue };
            if self.lanes[slot].session.is_none_or(|session| session.actor.generation() < generation) {
                self.abandon_syncs_with(slot);
                (self.lanes[slot].forgotten, self.lanes[slot].session) = (true, None);
            }
        }
        if news {
            self.forgotten.round = None;
            if self.config.storage == Storage::Memory {
                self.forgotten.kept = self.forgotten.nodes.clone();
            }
            for lane in &mut self.lanes {
                (lane.agrees, lane.ask_forgotten) = (false, true);
            }
            self.forgotten.due_ns = 0;
            self.wake();
        }
        news
    }

    /// Writes the question or the answer about forgotten nodes that is due.
    pub(crate) fn write_forget(&mut self, slot: usize, buffer: &mut [u8]) -> Option<usize> {
        let may_answer = self.forgotten.is_kept() && (self.incoming.is_none() || zoo!(AnswersDuringSync));
        let lane = &mut self.lanes[slot];
        let answer = lane.answer_forgotten.take().filter(|round| *round == 0 || may_answer);
        let (answers, round) = match answer {
            Some(round) => (true, round),
            None if std::mem::take(&mut lane.ask_forgotten) => {
                (false, self.forgotten.round.map_or(0, |round| round.number))
            }
            None => return None,
        };
        let digest = self.sealed_digest();
        let mut writer = FrameWriter::new(buffer, self.header(FrameType::Forget, slot))?;
        Forget::encode(&mut writer, answers, round, digest, self.forgotten()).ok()?;
        Some(writer.finish_untagged())
    }

    pub(crate) fn on_forget(&mut self, slot: usize, frame: &Frame<'_>) -> Result<(), DropReason> {
        let forget = Forget::decode(frame.payload)?;
        self.learn_forgotten(forget.nodes.iter());
        let agrees = forget.nodes.iter().eq(self.forgotten());
        let lane = &mut self.lanes[slot];
        lane.agrees = agrees;
        if !forget.answers {
            lane.answer_forgotten = Some(forget.round);
            return Ok(());
        }
        let Some(round) = self.forgotten.round.filter(|round| round.number == forget.round) else {
            return Ok(());
        };
        if !agrees || forget.digest != round.digest {
            // Anti-entropy brings what is missing, and the next round finds it.
            self.forgotten.round = None;
            return Ok(());
        }
        lane.answered_round = Some(round.number);
        self.advance_round();
        Ok(())
    }

    /// Asks again what is still open, from time to time.
    pub(crate) fn tick_forgotten(&mut self, now_ns: u64) {
        if now_ns < self.forgotten_deadline_ns() {
            return;
        }
        self.forgotten.due_ns = now_ns + self.config.timers.anti_entropy_ns;
        let has_gaps = self.sealed_gaps().next().is_some();
        let timeout_ns = self.config.timers.peer_timeout_ns;
        let complete = self.lanes.iter().all(|lane| lane.forgotten || lane.is_up(now_ns, timeout_ns));
        self.forgotten.round = None;
        for lane in &mut self.lanes {
            lane.ask_forgotten |= !lane.agrees || has_gaps;
        }
        if has_gaps && complete && self.incoming.is_none() && self.forgotten.is_kept() {
            self.begin_round();
            self.advance_round();
        }
    }

    /// When something about forgotten nodes is to be thought of again.
    pub(crate) fn forgotten_deadline_ns(&self) -> u64 {
        let is_open = || {
            self.lanes.iter().any(|lane| !lane.forgotten && !lane.agrees)
                || self.sealed_gaps().next().is_some()
        };
        if self.forgotten.nodes.is_empty() || !is_open() { u64::MAX } else { self.forgotten.due_ns }
    }

    fn begin_round(&mut self) {
        // Never 0.
        self.forgotten.next_round = self.forgotten.next_round.wrapping_add(1).max(1);
        let (number, digest) = (self.forgotten.next_round, self.sealed_digest());
        self.forgotten.round = Some(Round { number, digest });
        self.lanes.iter_mut().for_each(|lane| lane.ask_forgotten = true);
        self.wake();
    }

    /// Closes the gaps when all members have answered.
    fn advance_round(&mut self) {
        let Some(Round { number, digest }) = self.forgotten.round else { return };
        let members = || self.lanes.iter().filter(|lane| !lane.forgotten);
        if !members().all(|lane| lane.answered_round == Some(number)) && !zoo!(NobodyIsAsked) {
            return;
        }
        self.forgotten.round = None;
        if self.incoming.is_none() && self.sealed_digest() == digest {
            self.close_gaps();
        }
    }

    /// Nobody has these operations, and nobody will: they count as seen.
    fn close_gaps(&mut self) {
        self.note_closed(self.sealed_gaps().collect());
        for &(actor, gap) in &self.forgotten.closed {
            self.vector.cover_range(actor, gap);
        }
        let vector = &self.vector;
        self.pre_removed.retain(|dot, _| !vector.contains(dot));
        self.wake();
    }

    /// Remembers which gaps are closed now, for whoever looks on.
    pub(crate) fn note_closed(&mut self, closed: Vec<(ActorId, SeqRange)>) {
        if !closed.is_empty() {
            let operations =
                closed.iter().fold(0u64, |sum, (_, gap)| sum.saturating_add(gap.last - gap.first + 1));
            self.stats.gaps_closed = self.stats.gaps_closed.saturating_add(operations);
            self.forgotten.closed = closed;
        }
    }

    /// What is known of sealed epochs.
    fn sealed_clocks(&self) -> impl Iterator<Item = (ActorId, &Clock)> {
        // Without forgotten nodes, there is nothing to look for.
        let clocks = (!self.forgotten.nodes.is_empty()).then(|| self.vector.open());
        clocks.into_iter().flatten().filter(|(actor, _)| self.forgotten.seals(*actor))
    }

    fn sealed_digest(&self) -> u64 {
        clocks_digest(self.sealed_clocks())
    }

    /// What is missing of sealed epochs, as far as anything beyond it is known.
    fn sealed_gaps(&self) -> impl Iterator<Item = (ActorId, SeqRange)> {
        self.sealed_clocks().flat_map(|(actor, clock)| {
            let ends =
                std::iter::once(clock.contiguous()).chain(clock.ranges().iter().map(|range| range.last));
            let gaps = ends.zip(clock.ranges());
            gaps.map(move |(end, next)| (actor, SeqRange { first: end + 1, last: next.first - 1 }))
        })
    }
}
