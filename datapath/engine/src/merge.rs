//! Data frames: cutting them from the log, and merging those of peers.
//!
//! ```text
//!   log   … | n+1 | n+2 | … | n+k | …   ── as many records as fit ──>  frame (lo = n, count = k)
//!   frame (lo, count) ──> record by record, whatever came before:
//!        covered?          a duplicate, skipped                                             rule 1
//!        inside a sync's C? skipped and not covered: its key may already have been walked   rule 6
//!        over a bound?     the rest of the frame is refused; repair brings it again         rule 4
//!        otherwise         its whole effect goes into the state, then its dot is covered    rules 2, 3
//! ```
//!
//! A bound is checked before a record has any effect, and a dot is covered right after: there is no moment at which a
//! covered dot lacks its effect.

use crate::aliases::Place;
use crate::engine::{Engine, PreRemovedAt};
use crate::keys::{Position, key_hash};
use crate::lane::bounds;
use crate::log::LogStore;
use crate::sender::Plan;
use crate::stats::DropReason;
use lattice_crdt::{ActorId, Clock, CounterEntry, Dot, NarrowEntry, SeqRange};
use lattice_wire::{
    Ack, AliasedCounter, Delta, Dots, Frame, FrameType, FrameWriter, Header, Name, Op, Record,
    decode_aliased_counter, decode_delta,
};

/// Records that are decoded, and whose keys are found, before the first of them is merged: what of the keys is not in the
/// processor's caches is then fetched for all of them at once.
const BATCH: usize = 32;
/// The same for aliased counters, which take less room.
const RUN: usize = 64;

/// A decoded record, and where its key is.
struct Found<'a> {
    delta: Delta<'a>,
    /// Of the key, if the record has it.
    hash: u64,
    /// `None`: there is no such key or alias. A key may come to be before the record's turn.
    place: Option<Place>,
}

impl<L: LogStore> Engine<L> {
    /// Writes the next data frame that the peer should have, if pacing and window let one go.
    pub(crate) fn write_data(&mut self, now_ns: u64, slot: usize, buffer: &mut [u8]) -> Option<usize> {
        let sender = &mut self.lanes[slot].sender;
        let Some(plan) = sender.plan(now_ns, self.log.first_seq(), self.log.last_seq()) else {
            return self.write_question(slot, buffer);
        };
        let (lo, most) = match plan {
            Plan::New { lo } => (lo, u32::MAX),
            Plan::Again { lo, count, .. } => (lo, count),
        };
        let mut header = self.header(FrameType::Data, slot);
        header.lo = lo;
        let mut writer = FrameWriter::new(buffer, header)?;
        let lane = &mut self.lanes[slot];
        let again = matches!(plan, Plan::Again { .. });
        let (mut count, mut defines) = (0, false);
        while count < most {
            let seq = lo + u64::from(count) + 1;
            let Some(record) = self.log.record(seq) else { break };
            let alias = self.names_of_log.get(seq);
            if again && !zoo!(AliasSentAgain) {
                // Whatever the peer did not take may have been an alias that it does not know.
                lane.known_aliases.remove(alias);
            }
            let pushed = match alias {
                0 => writer.push_bytes(record),
                _ if lane.known_aliases.contains(alias) => writer.push_aliased(record, alias),
                _ => {
                    defines = true;
                    writer.push_defining(record, alias)
                }
            };
            if pushed.is_err() {
                count += u32::from(zoo!(RecordCutAtMtu));
                break;
            }
            count += 1;
        }
        writer.set_count(count);
        let len = writer.finish_untagged();
        if lane.sender.sent(now_ns, plan, count, defines, bounds(&self.config.timers)) {
            self.stats.frames_retransmitted += 1;
        }
        Some(len)
    }

    /// Writes the question that somebody who waits has for the peer: a data frame without a record. It brings nothing that the
    /// peer does not have, and such a frame is acknowledged at once, where others may wait for company.
    fn write_question(&mut self, slot: usize, buffer: &mut [u8]) -> Option<usize> {
        let lo = self.lanes[slot].sender.question(self.log.last_seq())?;
        let writer = FrameWriter::new(buffer, Header { lo, ..self.header(FrameType::Data, slot) })?;
        Some(writer.finish_untagged())
    }

    /// Writes the acknowledgement that is owed to the peer.
    pub(crate) fn write_ack(&mut self, slot: usize, buffer: &mut [u8]) -> Option<usize> {
        let actor = self.lanes[slot].session?.actor;
        let mut writer = FrameWriter::new(buffer, self.header(FrameType::Ack, slot))?;
        let nothing = Clock::default();
        let clock = self.vector.clock(actor).unwrap_or(&nothing);
        let pushed = Ack::new(actor, clock.contiguous(), clock.ranges()).encode(&mut writer);
        self.lanes[slot].ack_sent();
        pushed.ok().map(|()| writer.finish_untagged())
    }

    pub(crate) fn on_data(&mut self, now_ns: u64, slot: usize, frame: &Frame<'_>) -> Result<(), DropReason> {
        let header = &frame.header;
        let Some(hi) = header.lo.checked_add(u64::from(header.count)) else {
            return Err(DropReason::Unexpected);
        };
        let merged_before = self.stats.records_merged;
        let result = self.merge_records(slot, frame);
        // The sender should know at once of a gap, and of frames that it need not have sent.
        let in_order = self.vector.contiguous(header.actor) >= hi;
        let urgent = !in_order || self.stats.records_merged == merged_before;
        self.lanes[slot].owe_ack(now_ns, urgent, &self.config.timers);
        self.consider_log_gap(now_ns, slot, header.log_first);
        result
    }

    fn merge_records(&mut self, slot: usize, frame: &Frame<'_>) -> Result<(), DropReason> {
        let Header { actor, mut lo, count, .. } = frame.header;
        let (mut rest, mut left) = (frame.payload, count as usize);
        while left > 0 {
            if let Some((used, merged)) = self.merge_counters(slot, actor, lo, left, rest)? {
                (rest, lo, left) = (rest.get(used..).unwrap_or(&[]), lo + merged as u64, left - merged);
                continue;
            }
            let mut error = None;
            let batch: [Option<Found<'_>>; BATCH] = std::array::from_fn(|at| {
                if at >= left || error.is_some() {
                    return None;
                }
                match decode_delta(rest, actor) {
                    Ok((delta, used)) => {
                        rest = rest.get(used..).unwrap_or(&[]);
                        Some(self.find(slot, delta))
                    }
                    Err(refused) => {
                        error = Some(refused);
                        None
                    }
                }
            });
            let who = self.keys.who(actor);
            self.keys.approach(who, batch.iter().flatten().filter_map(|found| Some(found.place?.position)));
            let place = self.vector.place(actor);
            for found in batch.iter().flatten() {
                lo += 1;
                self.merge_delta(slot, place, Dot { actor, seq: lo }, found)?;
            }
            if let Some(error) = error {
                return Err(error.into());
            }
            left = left.saturating_sub(BATCH);
        }
        if rest.is_empty() { Ok(()) } else { Err(DropReason::Unexpected) }
    }

    /// Merges the run of aliased counters that begins here, if one does: most of what a busy peer sends. They are decoded
    /// together, their keys fetched together, and covered together when all have had their effect. Returns how many bytes
    /// and records were used. `None`: there is nothing for which this way is right, and nothing was done.
    fn merge_counters(
        &mut self,
        slot: usize,
        actor: ActorId,
        lo: u64,
        left: usize,
        mut rest: &[u8],
    ) -> Result<Option<(usize, usize)>, DropReason> {
        let first = Dot { actor, seq: lo + 1 };
        let is_plain = self.incoming.is_none() && self.pre_removed.is_empty();
        let clock = self.vector.place(actor).filter(|clock| is_plain && self.vector.is_next(*clock, first));
        if clock.is_none() || zoo!(MergeLeavesNoTouch) {
            return Ok(None);
        }
        let before = rest.len();
        let mut run = [AliasedCounter::default(); RUN];
        let mut count = 0;
        for counter in run.iter_mut().take(left) {
            let Some((decoded, used)) = decode_aliased_counter(rest) else { break };
            *counter = decoded;
            rest = rest.get(used..).unwrap_or(&[]);
            count += 1;
        }
        if count == 0 {
            return Ok(None);
        }
        let run = run.get(..count).unwrap_or(&[]);
        // Each step in a loop of its own, so short that the processor has the memory of many records under way at once.
        let mut places = [Place::NOWHERE; RUN];
        let aliases = &self.lanes[slot].aliases;
        for (counter, place) in run.iter().zip(&mut places) {
            // Where it is unknown, no key is at that place.
            *place = aliases.get(counter.alias).unwrap_or(Place::NOWHERE);
        }
        let who = self.keys.who(actor);
        self.keys.approach(who, places.iter().take(count).map(|place| place.position));
        let (mut last, mut refused) = (lo, false);
        for (counter, place) in run.iter().zip(&places) {
            let entry = NarrowEntry { increments: counter.increments, decrements: counter.decrements };
            if !self.keys.counter_join_at(*place, who, last + 1, entry) {
                refused = true;
                break;
            }
            last += 1;
        }
        self.vector.cover_range(actor, SeqRange { first: first.seq, last });
        self.stats.records_merged += last - lo;
        self.stats.merged.counters += last - lo;
        if refused { Err(DropReason::UnknownAlias) } else { Ok(Some((before - rest.len(), count))) }
    }

    /// Where a record's key is, as far as that can be said before its turn.
    #[inline]
    fn find<'a>(&self, slot: usize, delta: Delta<'a>) -> Found<'a> {
        let (hash, place) = match delta.name {
            Name::Alias(alias) => (0, self.lanes[slot].aliases.get(alias)),
            Name::Key(key) | Name::Defines { key, .. } => {
                let hash = key_hash(key);
                let position = self.keys.find(hash, delta.kind, key);
                (hash, position.map(|position| self.keys.place(position)))
            }
        };
        Found { delta, hash, place }
    }

    /// The key of a record whose turn it is, made if need be. Before the record has any effect.
    #[inline]
    fn resolve(&mut self, slot: usize, found: &Found<'_>) -> Result<Position, DropReason> {
        match found.delta.name {
            Name::Alias(_) => found
                .place
                .filter(|place| self.keys.is_at(*place, found.delta.kind))
                .map(|place| place.position)
                .ok_or(DropReason::UnknownAlias),
            Name::Key(key) => Ok(self.find_or_insert(found, key)),
            Name::Defines { alias, key } => {
                let position = self.find_or_insert(found, key);
                self.lanes[slot].aliases.define(alias, self.keys.place(position));
                Ok(position)
            }
        }
    }

    fn find_or_insert(&mut self, found: &Found<'_>, key: &[u8]) -> Position {
        match found.place {
            Some(place) => place.position,
            None => self.keys.find_or_insert(found.hash, found.delta.kind, key),
        }
    }

    /// A record that has no effect may still define an alias, of a key that is here.
    fn learn_alias(&mut self, slot: usize, found: &Found<'_>) {
        if let (Name::Defines { alias, .. }, Some(place)) = (found.delta.name, found.place) {
            self.lanes[slot].aliases.define(alias, place);
        }
    }

    /// Merges one record. `clock` is the place of its actor's clock in the vector.
    fn merge_delta(
        &mut self,
        slot: usize,
        clock: Option<usize>,
        dot: Dot,
        found: &Found<'_>,
    ) -> Result<(), DropReason> {
        // The next operation of its actor, and no sync under way: nothing of what follows can be the matter with it.
        let is_next = self.incoming.is_none() && clock.is_some_and(|clock| self.vector.is_next(clock, dot));
        if !is_next && !self.admits(slot, dot, found)? {
            return Ok(());
        }
        let op = &found.delta.op;
        if let Op::Add { superseded: dots, .. } | Op::Remove { removed: dots, .. } = op {
            dots.iter().try_for_each(|dot| self.check_made(dot))?;
            if !self.may_take_out(dots.iter()) {
                return Err(DropReason::OutOfOrderBound);
            }
        }
        if !matches!(op, Op::Noop) {
            let position = self.resolve(slot, found)?;
            self.take_effect_on(position, dot, op);
            self.stats.merged.count(found.delta.kind);
        }
        if !clock.is_some_and(|clock| self.vector.cover_next(clock, dot)) {
            // Checked above, and nothing since has covered anything.
            let covered = self.vector.cover(dot);
            debug_assert!(covered == Ok(true) || zoo!(DuplicateApplied));
        }
        self.pre_removed.remove(dot);
        self.stats.records_merged += 1;
        Ok(())
    }

    /// Whether a record is to have its effect now; an error if it can't be taken yet.
    fn admits(&mut self, slot: usize, dot: Dot, found: &Found<'_>) -> Result<bool, DropReason> {
        match self.vector.check(dot) {
            Ok(true) => {}
            Ok(false) if zoo!(DuplicateApplied) => {}
            Ok(false) => {
                self.stats.records_duplicate += 1;
                self.learn_alias(slot, found);
                return Ok(false);
            }
            Err(_) => return Err(DropReason::OutOfOrderBound),
        }
        if self.incoming.as_ref().is_some_and(|sync| sync.covers(dot)) && !zoo!(RecordsDuringSync) {
            self.stats.records_in_sync += 1;
            self.learn_alias(slot, found);
            return Ok(false);
        }
        Ok(true)
    }

    pub(crate) fn take_effect(&mut self, dot: Dot, record: &Record<'_>) {
        if matches!(record.op, Op::Noop) {
            return;
        }
        let position = self.keys.find_or_insert(key_hash(record.key), record.kind, record.key);
        self.take_effect_on(position, dot, &record.op);
    }

    #[inline]
    fn take_effect_on(&mut self, key: Position, dot: Dot, op: &Op<'_>) {
        match op {
            Op::Counter { increments, decrements } => {
                let entry = CounterEntry { increments: *increments, decrements: *decrements };
                let who = self.keys.who(dot.actor);
                let touch = if zoo!(MergeLeavesNoTouch) { 0 } else { dot.seq };
                return self.keys.counter_join(key, who, touch, entry);
            }
            Op::Register { hlc, value } => {
                self.hlc = if zoo!(ClockNotObserved) { self.hlc } else { self.hlc.observe(*hlc) };
                self.keys.register_set(key, *hlc, dot.actor, value);
            }
            Op::Add { element, superseded } => {
                // Before the old dots go, so that an element that is merely refreshed never leaves the set.
                if !self.pre_removed.contains(dot) || zoo!(PreRemovedInserted) {
                    self.keys.insert_dot(key, element, dot);
                }
                if !zoo!(SupersededStays) {
                    self.take_out(key, element, superseded, dot);
                }
            }
            Op::Remove { element, removed } => self.take_out(key, element, removed, dot),
            Op::Noop => {}
        }
        if !zoo!(MergeLeavesNoTouch) {
            self.keys.touch(key, dot);
        }
    }

    /// Whether there is room to remember those of the dots that have not been received (rule 4).
    pub(crate) fn may_take_out(&self, dots: impl Iterator<Item = Dot>) -> bool {
        let room = self.config.limits.max_pre_removed.saturating_sub(self.pre_removed.len());
        dots.filter(|&dot| !self.vector.contains(dot) && !self.pre_removed.contains(dot)).count() <= room
    }

    /// Takes each dot out of the store.
    fn take_out(&mut self, key: Position, element: &[u8], dots: &Dots<'_>, by: Dot) {
        for dot in dots.iter().filter(|&dot| dot != by) {
            self.take_out_dot(key, element, dot);
        }
    }

    /// Rule 2: takes a dot out of the store, and remembers it if its record has not been received yet. That is so for
    /// local operations too: a state sync shows dots that are not covered until their records come.
    pub(crate) fn take_out_dot(&mut self, key: Position, element: &[u8], dot: Dot) {
        self.keys.remove_dot(key, element, dot);
        if zoo!(PreRemovedReceived) {
            self.vector.cover_range(dot.actor, SeqRange { first: dot.seq, last: dot.seq });
        }
        if !self.vector.contains(dot) && !zoo!(RemovalForgetsUncovered) {
            // Room was counted before the operation had any effect.
            let kept = self.pre_removed.insert(dot, PreRemovedAt { key, element: element.into() });
            debug_assert!(kept.is_ok());
        }
    }
}
