//! The log of a shard's own operations in a ring that outlives the process: [`FileLog`] for the worker, [`LogHandle`]
//! for whoever asks how far it is durable or whether there is room.
//!
//! ```text
//!   tail            reusable              durable            head
//!    ▼                 ▼                     ▼                 ▼
//!    ├─ kept while ────┼─ a snapshot does ───┼─ in the image, ─┤  free
//!    │  there is room  │  not cover it       │  not synced     │
//! ```
//!
//! An append stores words and nothing else: no system call, no allocation, no lock. Records before `reusable` make room
//! when room is needed, and serve peers until then. What no durable snapshot covers is not to be reused: [`LogHandle::room`]
//! says how many records there is room for, and whoever takes operations from clients asks before it does.
//!
//! What can go wrong: an append without room. The engine's trait has no error for it, so the oldest records go, the log
//! says that it was overrun, and from then on nothing is claimed durable; what was durable stays so, because the image is
//! not overwritten there.

use crate::durable::DurableDot;
use crate::record::{self, END_MARK_BYTES, MAX_STRIDE, RECORD_HEADER_BYTES, stride};
use crate::ring::{MIN_CAPACITY_BYTES, Ring, Word};
use lattice_crdt::{ActorId, Dot};
use lattice_engine::LogStore;
use lattice_wire::MAX_RECORD_BYTES;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64, fence};
use std::sync::{Arc, OnceLock};

/// The smallest record with its header: so many places the index needs.
const MIN_STRIDE: u64 = 32;
// An empty ring has room for any record, also where the end of a lap is skipped for it.
const _: () = assert!(2 * MAX_STRIDE <= MIN_CAPACITY_BYTES);
/// Nobody's: no actor has it, because epochs are not zero.
const NOBODY: u64 = 0;

/// A place in a log: everything appended before it is before it. Marks of one run can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogMark(pub(crate) u64);

/// Rung from a storage thread.
struct Bell(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bell")
    }
}

/// What the log's threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) ring: Ring,
    /// A durable snapshot covers everything before this offset.
    reusable: AtomicU64,
    durable: DurableDot,
    /// The actor whose epoch is durable: operations of another are not to be given out yet.
    ready_actor: AtomicU64,
    overrun: AtomicBool,
    failed: AtomicBool,
    never_synced: AtomicBool,
    /// Rung when more is durable.
    bell: OnceLock<Bell>,
}

impl Shared {
    /// Nothing is ready: there is no room until [`Shared::set_ready`].
    pub(crate) fn new(ring: Ring, reusable: u64) -> Self {
        Self {
            ring,
            reusable: AtomicU64::new(reusable),
            durable: DurableDot::new(),
            ready_actor: AtomicU64::new(NOBODY),
            overrun: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            never_synced: AtomicBool::new(false),
            bell: OnceLock::new(),
        }
    }

    pub(crate) fn set_ready(&self, actor: ActorId) {
        self.ready_actor.store(actor.as_u64(), Release);
    }

    pub(crate) fn set_reusable(&self, offset: u64) {
        self.reusable.store(offset, Release);
    }

    /// Everything up to `offset` is durable; its newest record is `newest`, if there is one in it, and `of_another` actor than before.
    pub(crate) fn set_durable(&self, offset: u64, newest: Option<Dot>, of_another: bool) {
        if let Some(dot) = newest {
            self.durable.set(dot, of_another);
        }
        self.ring.store(Word::Durable, offset, Release);
        if let Some(Bell(ring)) = self.bell.get() {
            ring();
        }
    }

    /// The policy is not to sync this log as time goes by.
    pub(crate) fn set_never_synced(&self) {
        self.never_synced.store(true, Release);
    }

    pub(crate) fn fail(&self) {
        self.failed.store(true, Release);
    }

    pub(crate) fn is_overrun(&self) -> bool {
        self.overrun.load(Acquire)
    }

    /// See [`LogHandle::room`].
    pub(crate) fn room(&self) -> usize {
        let actor = self.ring.load(Word::Actor, Acquire);
        if self.ready_actor.load(Acquire) != actor {
            return 0;
        }
        let used = self.ring.load(Word::Head, Acquire).saturating_sub(self.reusable.load(Acquire));
        // Once a lap, up to a record's length is skipped; and the image has a mark behind the newest record.
        let free = self.ring.capacity_bytes().saturating_sub(used + MAX_STRIDE + END_MARK_BYTES);
        (free / MAX_STRIDE) as usize
    }

    pub(crate) fn actor(&self) -> ActorId {
        ActorId::from_u64(self.ring.load(Word::Actor, Acquire))
    }
}

/// What may be asked of a log from any thread. Each question is a few loads.
#[derive(Clone, Debug)]
pub struct LogHandle(pub(crate) Arc<Shared>);

impl LogHandle {
    /// Records of any size that can be appended now without giving up one that no durable snapshot covers. 0 as well
    /// while the present epoch is not yet durable: none of its dots may be given out then.
    pub fn room(&self) -> usize {
        self.0.room()
    }

    /// Bytes that the log holds and no durable snapshot covers.
    pub fn uncovered_bytes(&self) -> u64 {
        let shared = &*self.0;
        shared.ring.load(Word::Head, Acquire).saturating_sub(shared.reusable.load(Acquire))
    }

    /// Bytes that the log has place for.
    pub fn capacity_bytes(&self) -> u64 {
        self.0.ring.capacity_bytes()
    }

    /// The end of what has been appended.
    pub fn head(&self) -> LogMark {
        LogMark(self.0.ring.load(Word::Head, Acquire))
    }

    /// Everything before this mark survives the machine.
    pub fn durable(&self) -> LogMark {
        LogMark(self.0.ring.load(Word::Durable, Acquire))
    }

    /// The newest operation of `actor` that survives the machine, with all before it; 0 if none was made durable yet.
    pub fn durable_seq(&self, actor: ActorId) -> u64 {
        self.0.durable.seq_of(actor)
    }

    /// Has `bell` called by a storage thread whenever more of this log is durable, after [`LogHandle::durable_seq`] says so. It
    /// must not wait for anything. A log has one bell: false if it had one before, and keeps it.
    pub fn on_durable(&self, bell: impl Fn() + Send + Sync + 'static) -> bool {
        self.0.bell.set(Bell(Box::new(bell))).is_ok()
    }

    /// Nobody syncs this log but whoever writes snapshots, and the daemon's end: see [`SyncPolicy::Never`](crate::SyncPolicy).
    pub fn is_never_synced(&self) -> bool {
        self.0.never_synced.load(Acquire)
    }

    /// A write or sync failed, or the log was overrun: nothing becomes durable any more in this run.
    pub fn has_failed(&self) -> bool {
        self.0.failed.load(Acquire) || self.0.is_overrun()
    }

    /// Something was appended without room, and records were given up that no snapshot covers.
    pub fn is_overrun(&self) -> bool {
        self.0.is_overrun()
    }
}

/// The worker's end of a log: its only writer.
#[derive(Debug)]
pub struct FileLog {
    shared: Arc<Shared>,
    /// Place of each record of the present epoch, in words, by its seq.
    index: Box<[u32]>,
    actor: ActorId,
    first_seq: u64,
    last_seq: u64,
    tail: u64,
    head: u64,
}

impl FileLog {
    /// A log for the operations of `actor` on a ring whose records, from its tail to its head, are valid; those of the
    /// epoch are found again.
    pub(crate) fn new(shared: Arc<Shared>, actor: ActorId) -> Self {
        let places = (shared.ring.capacity_bytes() / MIN_STRIDE).next_power_of_two();
        let (tail, head) = (shared.ring.load(Word::Tail, Acquire), shared.ring.load(Word::Head, Acquire));
        let index = vec![0; places as usize].into_boxed_slice();
        let mut log = Self { shared, index, actor, first_seq: 1, last_seq: 0, tail, head };
        log.shared.ring.store(Word::LastSeq, 0, Relaxed);
        log.shared.ring.store(Word::Actor, actor.as_u64(), Release);
        log.find_records();
        log.shared.ring.store(Word::LastSeq, log.last_seq, Release);
        log
    }

    fn find_records(&mut self) {
        let (mut at, mut found) = (self.tail, false);
        while at < self.head {
            let (next, record) = self.step(at);
            if let Some((epoch, seq)) = record
                && epoch == self.actor.epoch()
            {
                if !found {
                    (self.first_seq, found) = (seq, true);
                }
                self.last_seq = seq;
                self.remember(seq, at);
            }
            at = next;
        }
    }

    /// From one record to the next: where that is, and epoch and seq of this one.
    fn step(&self, at: u64) -> (u64, Option<(u64, u64)>) {
        let capacity = self.shared.ring.capacity_bytes();
        let place = at & (capacity - 1);
        if capacity - place < RECORD_HEADER_BYTES as u64 {
            return (at + capacity - place, None);
        }
        match record::read_length_word(self.shared.ring.word_at(place + 8)) {
            (_, None) => (at + capacity - place, None),
            (epoch, Some(len)) => (at + stride(len), Some((epoch, self.shared.ring.word_at(place + 16)))),
        }
    }

    fn remember(&mut self, seq: u64, offset: u64) {
        let slot = (seq & (self.index.len() as u64 - 1)) as usize;
        self.index[slot] = ((offset & (self.shared.ring.capacity_bytes() - 1)) / 8) as u32;
    }

    /// For other threads.
    pub fn handle(&self) -> LogHandle {
        LogHandle(self.shared.clone())
    }

    /// Gives up the oldest records until none is left that lies where one that ends at `end` is to be.
    #[cold]
    fn make_room(&mut self, end: u64) {
        let capacity = self.shared.ring.capacity_bytes();
        while end - self.tail > capacity && self.tail < self.head {
            let (next, record) = self.step(self.tail);
            if let Some((epoch, seq)) = record
                && epoch == self.actor.epoch()
            {
                self.first_seq = seq + 1;
            }
            self.tail = next.min(self.head);
        }
        if self.tail > self.shared.reusable.load(Acquire) {
            self.shared.overrun.store(true, Release);
        }
        // Pairs with the fence in the image's copying: who sees a word that is stored below sees this tail.
        self.shared.ring.store(Word::Tail, self.tail, Relaxed);
        fence(Release);
    }

    /// Marks the rest of the lap, from the head on, as skipped.
    #[cold]
    fn fill_lap(&mut self, place: u64) {
        let ring = &self.shared.ring;
        if ring.capacity_bytes() - place >= RECORD_HEADER_BYTES as u64 {
            let sum = record::checksum(ring.about().salt, self.head, record::FILLER_WORD, 0, &[]);
            ring.store_word_at(place, sum);
            ring.store_word_at(place + 8, record::FILLER_WORD);
            ring.store_word_at(place + 16, 0);
        }
    }

    /// Puts a record of any epoch at the head, or where the next lap begins.
    fn put(&mut self, epoch: u64, seq: u64, record: &[u8]) -> u64 {
        let capacity = self.shared.ring.capacity_bytes();
        let length = stride(record.len());
        let place = self.head & (capacity - 1);
        let wraps = place + length > capacity;
        let start = if wraps { self.head + (capacity - place) } else { self.head };
        let end = start + length;
        if end - self.tail > capacity {
            self.make_room(end);
        }
        if wraps {
            self.fill_lap(place);
        }
        let (ring, place) = (&self.shared.ring, start & (capacity - 1));
        let second = record::length_word(epoch, record.len());
        ring.store_word_at(place, record::checksum(ring.about().salt, start, second, seq, record));
        ring.store_word_at(place + 8, second);
        ring.store_word_at(place + 16, seq);
        ring.store_bytes_at(place + RECORD_HEADER_BYTES as u64, record);
        // Pairs with every Acquire of the head: who sees it sees the record. A process that is killed before it has
        // left nothing that counts.
        ring.store(Word::Head, end, Release);
        self.head = end;
        start
    }

    /// Brings a record of an epoch that is over into a new ring.
    pub(crate) fn carry_over(&mut self, dot: Dot, record: &[u8]) {
        debug_assert_ne!(dot.actor, self.actor);
        self.put(dot.actor.epoch(), dot.seq, record);
    }
}

impl LogStore for FileLog {
    fn append(&mut self, record: &[u8]) -> u64 {
        let fits = record.len() <= MAX_RECORD_BYTES;
        debug_assert!(fits, "the wire has no such record");
        let seq = self.last_seq + 1;
        let start = self.put(self.actor.epoch(), seq, if fits { record } else { &[] });
        self.remember(seq, start);
        self.last_seq = seq;
        // After the head: were the process killed in between, the log would hold more than the mark, which is no harm.
        self.shared.ring.store(Word::LastSeq, seq, Release);
        seq
    }

    fn first_seq(&self) -> u64 {
        self.first_seq
    }

    fn last_seq(&self) -> u64 {
        self.last_seq
    }

    fn record(&self, seq: u64) -> Option<&[u8]> {
        if seq < self.first_seq || seq > self.last_seq {
            return None;
        }
        let slot = (seq & (self.index.len() as u64 - 1)) as usize;
        let place = u64::from(self.index[slot]) * 8;
        let (_, len) = record::read_length_word(self.shared.ring.word_at(place + 8));
        // SAFETY: `put` alone stores to the ring's bytes, and needs `&mut self`, as there is one log for a ring.
        unsafe { self.shared.ring.bytes(place + RECORD_HEADER_BYTES as u64, len?) }
    }

    fn room(&self) -> usize {
        self.shared.room()
    }

    fn begin_epoch(&mut self, actor: ActorId) {
        (self.actor, self.first_seq, self.last_seq) = (actor, 1, 0);
        // The mark first: were the process killed in between, the old epoch's log would hold more than it.
        self.shared.ring.store(Word::LastSeq, 0, Release);
        self.shared.ring.store(Word::Actor, actor.as_u64(), Release);
    }
}
