//! Local operations: from an application's wish to a dot, a changed state and a record in the log.
//!
//! ```text
//!   apply ── checks ──> next dot ──> state, touches, vector ──> burst      (nothing has left this engine yet)
//!   commit ──> log.append, in the order of the seqs ──> publish            (now readers and peers may see it)
//! ```
//!
//! The log comes before the publication: what a reader has seen is in the log.

use crate::burst::Waiting;
use crate::config::Instant;
use crate::engine::{Engine, MIN_BURST_OPS};
use crate::keys::{Position, key_hash};
use crate::log::LogStore;
use crate::ops::{Applied, LocalOp, OpError};
use crate::publish;
use crate::publisher::Publisher;
use lattice_crdt::limits::{MAX_DOTS_PER_RECORD, MAX_ELEMENT_BYTES, MAX_KEY_BYTES, MAX_REGISTER_BYTES};
use lattice_crdt::{DISABLE_ELEMENT, Dot, ENABLE_ELEMENT, Hlc, Kind, SeqRange};
use lattice_wire::{Dots, MAX_ALIAS, MAX_RECORD_BYTES, Op, Record, encode_record};

/// Bytes of values and elements that one burst may hold.
const MAX_BURST_BYTES: usize = 1 << 20;

impl<L: LogStore> Engine<L> {
    /// Applies one operation of a local client to the state. It takes effect for readers and peers with the next
    /// [`Engine::commit`].
    ///
    /// # Errors
    /// [`OpError`]; nothing was changed, but for `SetClear`, which on [`OpError::Backpressure`] has removed as many
    /// elements as the burst had room for: commit, and call it again.
    pub fn apply(
        &mut self,
        now: Instant,
        kind: Kind,
        key: &[u8],
        op: LocalOp<'_>,
    ) -> Result<Applied, OpError> {
        self.wake();
        let result = self.apply_checked(now, kind, key, op);
        self.count_applied(result)
    }

    pub(crate) fn count_applied(&mut self, result: Result<Applied, OpError>) -> Result<Applied, OpError> {
        match result {
            Ok(_) => self.stats.ops_applied += 1,
            Err(_) => self.stats.ops_refused += 1,
        }
        result
    }

    fn apply_checked(
        &mut self,
        now: Instant,
        kind: Kind,
        key: &[u8],
        op: LocalOp<'_>,
    ) -> Result<Applied, OpError> {
        check_shape(kind, key, op)?;
        self.check_ready(op)?;
        let Some(position) = self.position_for_write(kind, key, op)? else {
            return Ok(Applied { dot: None });
        };
        self.apply_to(now, position, kind, op)
    }

    /// Checks what holds for every key.
    pub(crate) fn check_ready(&mut self, op: LocalOp<'_>) -> Result<(), OpError> {
        if self.epoch_is_over {
            return Err(OpError::EpochOver);
        }
        if self.burst.room() < MIN_BURST_OPS || self.burst.kept_bytes() > MAX_BURST_BYTES {
            self.look_for_room()?;
        }
        if matches!(op, LocalOp::RegisterSet(_)) {
            let ahead_ns = self.clock_ahead_ns();
            if ahead_ns > self.config.timers.max_clock_skew_ns {
                return Err(OpError::ClockSkew { ahead_ns });
            }
        }
        Ok(())
    }

    /// Whether there is room for a record at all. The log may have got some since the last burst ended.
    #[cold]
    fn look_for_room(&mut self) -> Result<(), OpError> {
        if self.burst.is_empty() {
            self.burst.limit_to(self.log.room());
        }
        let fits = self.burst.room() > 0 && self.burst.kept_bytes() <= MAX_BURST_BYTES;
        if fits { Ok(()) } else { Err(self.lacks_room()) }
    }

    /// What to say of an operation for whose records there is no room: a commit makes some, unless the log has none.
    #[cold]
    fn lacks_room(&self) -> OpError {
        if self.burst.is_empty() { OpError::LogFull } else { OpError::Backpressure }
    }

    /// Carries out an operation whose checks are done.
    pub(crate) fn apply_to(
        &mut self,
        now: Instant,
        position: Position,
        kind: Kind,
        op: LocalOp<'_>,
    ) -> Result<Applied, OpError> {
        match op {
            LocalOp::CounterAdd(amount) => Ok(self.counter_add(position, amount)),
            LocalOp::RegisterSet(value) => Ok(self.register_set(now, position, value)),
            LocalOp::Enable => self.flag_write(position, kind, true),
            LocalOp::Disable => self.flag_write(position, kind, false),
            LocalOp::SetInsert(element) => self.element_add(position, element, element),
            LocalOp::SetRemove(element) => self.element_remove(position, element),
            LocalOp::SetClear => self.set_clear(position),
        }
    }

    /// While earlier publications wait for room in the segment, nothing that needs more of it is accepted.
    pub(crate) fn check_room(&self, op: LocalOp<'_>, is_new: bool) -> Result<(), OpError> {
        let needs_room = match op {
            LocalOp::RegisterSet(_) | LocalOp::SetInsert(_) => true,
            LocalOp::CounterAdd(_) | LocalOp::Enable | LocalOp::Disable => is_new,
            LocalOp::SetRemove(_) | LocalOp::SetClear => false,
        };
        if needs_room && self.deferred.len() > 0 { Err(OpError::CapacityExceeded) } else { Ok(()) }
    }

    /// The key that an operation writes to, made if need be; `None` when the operation takes something away from a key
    /// that is not there.
    fn position_for_write(
        &mut self,
        kind: Kind,
        key: &[u8],
        op: LocalOp<'_>,
    ) -> Result<Option<Position>, OpError> {
        let hash = key_hash(key);
        let found = self.keys.find(hash, kind, key);
        self.check_room(op, found.is_none())?;
        if found.is_some() {
            return Ok(found);
        }
        if let Some(other) = self.keys.kind_of(hash, key) {
            return Err(OpError::KindMismatch(other));
        }
        let only_removes = matches!(op, LocalOp::SetRemove(_) | LocalOp::SetClear | LocalOp::CounterAdd(0))
            || (kind == Kind::FlagEnableWins && matches!(op, LocalOp::Disable));
        if only_removes {
            return Ok(None);
        }
        // Places in the segment outlast their keys, so the one bound does not stand for the other.
        if self.keys.len() >= self.config.limits.max_keys || self.room == 0 {
            return Err(OpError::CapacityExceeded);
        }
        self.room -= 1;
        Ok(Some(self.keys.find_or_insert(hash, kind, key)))
    }

    /// Takes the next dot of this actor. The vector covers it at once: its effect is in the state before anybody can
    /// ask.
    fn next_dot(&mut self, position: Position) -> Dot {
        self.next_seq += 1;
        let dot = Dot { actor: self.config.actor, seq: self.next_seq };
        self.keys.touch(position, dot);
        // An own dot extends the contiguous part, so it opens no range; an own write must not fail for the number of
        // actors that others brought, so no limit is asked.
        let place = self.vector.place(dot.actor);
        if !place.is_some_and(|place| self.vector.cover_next(place, dot)) {
            self.vector.cover_range(dot.actor, SeqRange { first: dot.seq, last: dot.seq });
        }
        // Whoever claimed to have removed it before it was given out, lied.
        self.pre_removed.remove(dot);
        dot
    }

    /// The dot of a record that waits in the burst.
    fn waiting_dot(&self, record: u32) -> Dot {
        let first = self.next_seq + 1 - self.burst.records.len() as u64;
        Dot { actor: self.config.actor, seq: first + u64::from(record) }
    }

    fn counter_add(&mut self, position: Position, amount: i64) -> Applied {
        if amount == 0 {
            return Applied { dot: None };
        }
        let waiting = self.keys.entry(position).burst_record();
        if waiting.is_none() || !zoo!(CoalescingLosesIncrement) {
            let who = self.keys.who(self.config.actor);
            self.keys.counter_add(position, who, amount);
        }
        if let Some(record) = waiting {
            self.stats.ops_coalesced += 1;
            return Applied { dot: Some(self.waiting_dot(record)) };
        }
        let dot = self.next_dot(position);
        let record = self.burst.push(position, Waiting::Counter);
        self.keys.entry_mut(position).set_burst_record(Some(record));
        Applied { dot: Some(dot) }
    }

    fn register_set(&mut self, now: Instant, position: Position, value: &[u8]) -> Applied {
        self.hlc = self.hlc.tick(now.wall_ns);
        if zoo!(WallClockStamps) {
            self.hlc = Hlc::from_u64(now.wall_ns);
        }
        let hlc = self.hlc;
        self.keys.register_set(position, hlc, self.config.actor, value);
        let value = self.burst.keep_bytes(value);
        if let Some(record) = self.keys.entry(position).burst_record() {
            self.stats.ops_coalesced += 1;
            if !zoo!(CoalescingKeepsFirst) {
                self.burst.records[record as usize].what = Waiting::Register { hlc, value };
            }
            return Applied { dot: Some(self.waiting_dot(record)) };
        }
        let dot = self.next_dot(position);
        let record = self.burst.push(position, Waiting::Register { hlc, value });
        self.keys.entry_mut(position).set_burst_record(Some(record));
        Applied { dot: Some(dot) }
    }

    fn flag_write(&mut self, position: Position, kind: Kind, on: bool) -> Result<Applied, OpError> {
        match (kind, on) {
            // An enable-wins flag is off by having no live dot: what disables it only removes.
            (Kind::FlagEnableWins, false) => self.element_remove(position, ENABLE_ELEMENT),
            (_, true) if zoo!(FlagSeesOneSide) => self.element_add(position, ENABLE_ELEMENT, ENABLE_ELEMENT),
            (_, true) => self.element_add(position, ENABLE_ELEMENT, DISABLE_ELEMENT),
            (_, false) => self.element_add(position, DISABLE_ELEMENT, ENABLE_ELEMENT),
        }
    }

    /// Adds a dot to `element`, superseding what is seen there and at `also` (the other side of a flag; for a set, the
    /// element itself).
    fn element_add(&mut self, position: Position, element: &[u8], also: &[u8]) -> Result<Applied, OpError> {
        self.collect_dots(position, element, also);
        let seen = self.seen_dots.len();
        // What does not fit beside the element in one record is removed by records of its own first.
        let extra = seen.saturating_sub(MAX_DOTS_PER_RECORD).div_ceil(MAX_DOTS_PER_RECORD);
        if self.burst.room() < extra + 1 {
            return Err(self.lacks_room());
        }
        if !self.may_take_out(self.seen_dots.iter().copied()) {
            return Err(OpError::Backpressure);
        }
        let kept = self.burst.keep_bytes(element);
        let mut done = 0;
        while seen - done > MAX_DOTS_PER_RECORD {
            self.remove_record(position, element, kept, done..done + MAX_DOTS_PER_RECORD);
            done += MAX_DOTS_PER_RECORD;
        }
        let superseded = self.burst.keep_dots(&self.seen_dots[done..]);
        let dot = self.next_dot(position);
        // Before the old dots go, so that an element that is merely refreshed never leaves the set.
        self.keys.insert_dot(position, element, dot);
        for i in done..seen {
            self.take_out_dot(position, element, self.seen_dots[i]);
        }
        self.burst.push(position, Waiting::Add { element: kept, superseded });
        Ok(Applied { dot: Some(dot) })
    }

    fn element_remove(&mut self, position: Position, element: &[u8]) -> Result<Applied, OpError> {
        self.collect_dots(position, element, element);
        self.seen_dots.truncate(if zoo!(RemovalTakesOneDot) { 1 } else { usize::MAX });
        let seen = self.seen_dots.len();
        if seen == 0 {
            // Nothing may be kept for it either: without a record there need not be a commit that gives it back.
            return Ok(Applied { dot: None });
        }
        let records = seen.div_ceil(MAX_DOTS_PER_RECORD);
        if self.burst.room() < records {
            return Err(self.lacks_room());
        }
        if !self.may_take_out(self.seen_dots.iter().copied()) {
            return Err(OpError::Backpressure);
        }
        let mut dot = None;
        let kept = self.burst.keep_bytes(element);
        let mut done = 0;
        while done < seen {
            let end = seen.min(done + MAX_DOTS_PER_RECORD);
            dot = Some(self.remove_record(position, element, kept, done..end));
            done = end;
        }
        Ok(Applied { dot })
    }

    /// One record that removes `self.seen_dots[range]` of an element.
    fn remove_record(
        &mut self,
        position: Position,
        element: &[u8],
        kept: crate::burst::Span,
        range: std::ops::Range<usize>,
    ) -> Dot {
        for i in range.clone() {
            self.take_out_dot(position, element, self.seen_dots[i]);
        }
        let removed = self.burst.keep_dots(&self.seen_dots[range]);
        let dot = self.next_dot(position);
        self.burst.push(position, Waiting::Remove { element: kept, removed });
        dot
    }

    fn set_clear(&mut self, position: Position) -> Result<Applied, OpError> {
        let mut last = Applied { dot: None };
        let mut element = std::mem::take(&mut self.scratch_element);
        let result = loop {
            let store = self.keys.get(position).and_then(|entry| entry.value.dots());
            let Some((first, _)) = store.and_then(|store| store.next_element(None)) else { break Ok(last) };
            if zoo!(ClearMissesLast) && store.is_some_and(|store| store.next_element(Some(first)).is_none()) {
                break Ok(last);
            }
            element.clear();
            element.extend_from_slice(first);
            if self.burst.kept_bytes() > MAX_BURST_BYTES {
                break Err(OpError::Backpressure);
            }
            match self.element_remove(position, &element) {
                Ok(applied) => last = applied,
                Err(error) => break Err(error),
            }
        };
        self.scratch_element = element;
        result
    }

    /// Fills `self.seen_dots` with the live dots of an element, and of `also` if it is another one.
    fn collect_dots(&mut self, position: Position, element: &[u8], also: &[u8]) {
        self.seen_dots.clear();
        if let Some(store) = self.keys.get(position).and_then(|entry| entry.value.dots()) {
            self.seen_dots.extend_from_slice(store.dots(element));
            if also != element {
                self.seen_dots.extend_from_slice(store.dots(also));
            }
        }
    }

    /// Whether operations or merges await a commit.
    pub fn has_uncommitted(&self) -> bool {
        !self.burst.is_empty() || self.keys.has_unpublished()
    }

    /// Ends a burst of operations and frames: appends the burst's records to the log, then publishes every key that
    /// changed.
    pub fn commit<P: Publisher>(&mut self, now: Instant, publisher: &mut P) {
        if self.has_uncommitted() {
            self.wake();
        }
        self.log_burst();
        if self.keys.has_unpublished() {
            publish::publish(&mut self.keys, &mut self.deferred, now.monotonic_ns, publisher);
            self.room = publisher.room();
        }
    }

    pub(crate) fn log_burst(&mut self) {
        let who = self.keys.who(self.config.actor);
        // Once for all: to clear it costs as much as to encode a record.
        let mut buffer = [0u8; MAX_RECORD_BYTES];
        for i in 0..self.burst.records.len() {
            let waiting = self.burst.records[i];
            let entry = self.keys.entry_mut(waiting.key);
            entry.set_burst_record(None);
            let op = match waiting.what {
                Waiting::Counter => entry.value.counter_op(who),
                Waiting::Register { hlc, value } => Op::Register { hlc, value: self.burst.bytes(value) },
                Waiting::Add { element, superseded } => Op::Add {
                    element: self.burst.bytes(element),
                    superseded: Dots::from(self.burst.dots(superseded)),
                },
                Waiting::Remove { element, removed } => Op::Remove {
                    element: self.burst.bytes(element),
                    removed: Dots::from(self.burst.dots(removed)),
                },
            };
            let record = Record { kind: entry.kind, key: entry.key(), op };
            // The limits checked in `apply` are those that MAX_RECORD_BYTES is computed from, so this encodes. Were it
            // not so, a record that says nothing keeps seqs and records in step.
            let len = encode_record(&record, self.config.actor, &mut buffer).unwrap_or_else(|_| {
                debug_assert!(false, "a checked operation did not fit a record");
                let nothing = Record { op: Op::Noop, ..record };
                encode_record(&nothing, self.config.actor, &mut buffer).unwrap_or(0)
            });
            if entry.alias == 0 && self.aliases_given < MAX_ALIAS {
                self.aliases_given += 1;
                entry.alias = self.aliases_given;
            }
            let seq = self.log.append(&buffer[..len]);
            self.names_of_log.note(seq, entry.alias);
            self.stats.records_logged += 1;
        }
        self.burst.clear(self.log.room());
        debug_assert_eq!(self.log.last_seq(), self.next_seq);
    }
}

/// Checks everything about an operation that needs no state.
fn check_shape(kind: Kind, key: &[u8], op: LocalOp<'_>) -> Result<(), OpError> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(OpError::BadKey(key.len()));
    }
    check_value(kind, op)
}

/// Checks that an operation belongs to a kind, and the length of what it brings.
pub(crate) fn check_value(kind: Kind, op: LocalOp<'_>) -> Result<(), OpError> {
    let fits = match op {
        LocalOp::CounterAdd(_) => kind == Kind::Counter,
        LocalOp::Enable | LocalOp::Disable => matches!(kind, Kind::FlagEnableWins | Kind::FlagDisableWins),
        LocalOp::RegisterSet(_) => kind == Kind::Register,
        LocalOp::SetInsert(_) | LocalOp::SetRemove(_) | LocalOp::SetClear => kind == Kind::Set,
    };
    if !fits {
        return Err(OpError::WrongOperation);
    }
    let (len, limit) = match op {
        LocalOp::RegisterSet(value) => (value.len(), MAX_REGISTER_BYTES),
        LocalOp::SetInsert(element) | LocalOp::SetRemove(element) => (element.len(), MAX_ELEMENT_BYTES),
        _ => (0, 0),
    };
    if len > limit { Err(OpError::TooLarge { len, limit }) } else { Ok(()) }
}
