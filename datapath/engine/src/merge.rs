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

use crate::engine::{Engine, PreRemovedAt};
use crate::keys::{Position, key_hash};
use crate::lane::bounds;
use crate::log::LogStore;
use crate::sender::Plan;
use crate::stats::DropReason;
use lattice_crdt::{Clock, CounterEntry, Dot, SeqRange};
use lattice_wire::{Ack, Dots, Frame, FrameType, FrameWriter, Op, Record, decode_record};

impl<L: LogStore> Engine<L> {
    /// Writes the next data frame that the peer should have, if pacing and window let one go.
    pub(crate) fn write_data(&mut self, now_ns: u64, slot: usize, buffer: &mut [u8]) -> Option<usize> {
        let plan = self.lanes[slot].sender.plan(now_ns, self.log.first_seq(), self.log.last_seq())?;
        let (lo, most) = match plan {
            Plan::New { lo } => (lo, u32::MAX),
            Plan::Again { lo, count, .. } => (lo, count),
        };
        let mut header = self.header(FrameType::Data, slot);
        header.lo = lo;
        let mut writer = FrameWriter::new(buffer, header)?;
        let mut count = 0;
        while count < most {
            let Some(record) = self.log.record(lo + u64::from(count) + 1) else { break };
            if writer.push_bytes(record).is_err() {
                count += u32::from(zoo!(RecordCutAtMtu));
                break;
            }
            count += 1;
        }
        writer.set_count(count);
        let len = writer.finish();
        if self.lanes[slot].sender.sent(now_ns, plan, count, bounds(&self.config.timers)) {
            self.stats.frames_retransmitted += 1;
        }
        Some(len)
    }

    /// Writes the acknowledgement that is owed to the peer.
    pub(crate) fn write_ack(&mut self, slot: usize, buffer: &mut [u8]) -> Option<usize> {
        let actor = self.lanes[slot].session?.actor;
        let mut writer = FrameWriter::new(buffer, self.header(FrameType::Ack, slot))?;
        let nothing = Clock::default();
        let clock = self.vector.clock(actor).unwrap_or(&nothing);
        let pushed = Ack::new(actor, clock.contiguous(), clock.ranges()).encode(&mut writer);
        self.lanes[slot].ack_sent();
        pushed.ok().map(|()| writer.finish())
    }

    pub(crate) fn on_data(&mut self, now_ns: u64, slot: usize, frame: &Frame<'_>) -> Result<(), DropReason> {
        let header = &frame.header;
        let Some(hi) = header.lo.checked_add(u64::from(header.count)) else {
            return Err(DropReason::Unexpected);
        };
        let merged_before = self.stats.records_merged;
        let result = self.merge_records(frame);
        // The sender should know at once of a gap, and of frames that it need not have sent.
        let in_order = self.vector.contiguous(header.actor) >= hi;
        let urgent = !in_order || self.stats.records_merged == merged_before;
        self.lanes[slot].owe_ack(now_ns, urgent, &self.config.timers);
        self.consider_log_gap(now_ns, slot, header.log_first);
        result
    }

    fn merge_records(&mut self, frame: &Frame<'_>) -> Result<(), DropReason> {
        let actor = frame.header.actor;
        let mut rest = frame.payload;
        for i in 0..u64::from(frame.header.count) {
            let (record, used) = decode_record(rest, actor)?;
            rest = rest.get(used..).unwrap_or(&[]);
            self.merge_record(Dot { actor, seq: frame.header.lo + i + 1 }, &record)?;
        }
        if rest.is_empty() { Ok(()) } else { Err(DropReason::Unexpected) }
    }

    fn merge_record(&mut self, dot: Dot, record: &Record<'_>) -> Result<(), DropReason> {
        match self.vector.check(dot) {
            Ok(true) => {}
            Ok(false) if zoo!(DuplicateApplied) => {}
            Ok(false) => {
                self.stats.records_duplicate += 1;
                return Ok(());
            }
            Err(_) => return Err(DropReason::OutOfOrderBound),
        }
        if self.incoming.as_ref().is_some_and(|sync| sync.covers(dot)) && !zoo!(RecordsDuringSync) {
            self.stats.records_in_sync += 1;
            return Ok(());
        }
        if let Op::Add { superseded: dots, .. } | Op::Remove { removed: dots, .. } = &record.op {
            dots.iter().try_for_each(|dot| self.check_made(dot))?;
            if !self.may_take_out(dots.iter()) {
                return Err(DropReason::OutOfOrderBound);
            }
        }
        self.take_effect(dot, record);
        // Checked above, and nothing since has covered anything.
        let covered = self.vector.cover(dot);
        debug_assert!(covered == Ok(true) || zoo!(DuplicateApplied));
        self.pre_removed.remove(dot);
        self.stats.records_merged += 1;
        Ok(())
    }

    pub(crate) fn take_effect(&mut self, dot: Dot, record: &Record<'_>) {
        if matches!(record.op, Op::Noop) {
            return;
        }
        let key = self.keys.find_or_insert(key_hash(record.key), record.kind, record.key);
        match &record.op {
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
