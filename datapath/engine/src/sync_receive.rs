//! State sync, the receiving side: catching up on what no log will bring any more.
//!
//! ```text
//!   Requested ── first frame ──> Vector ── VectorEnd ──> Keys ── End ──> [Sweep] ──> done: only now is C covered
//!       │                          │                       │                │
//!       └──────── silence, nonsense, a new session ────────┴────────────────┴──> abandoned: nothing is covered,
//! ```                                                                              repair goes on
//!
//! After a full walk, the sweep goes over the local keys, in slices: one that the walk did not name has no live dots at
//! the sender.
//!
//! C is the sender's vector as of the start of its walk. From VectorEnd on, records whose dots are in C are skipped
//! (rule 6): their keys may already have been walked. One sync at a time per shard, so there is one C.
//!
//! The stream is reliable and ordered on top of frames that are neither: frames beyond the next one wait in a window
//! of [`WINDOW_FRAMES`], acknowledged by a bitmap. Elements come in byte order, which makes the comparison with the
//! local ones a merge of two sorted lists, and an element that the sender does not have is noticed when it is passed.

use crate::config::EngineConfig;
use crate::engine::{Engine, PreRemovedAt, sources};
use crate::gossip::vector_parts;
use crate::keys::{Keys, Position, key_hash};
use crate::log::LogStore;
use crate::stability::Dropped;
use crate::stats::DropReason;
use lattice_crdt::{CounterEntry, Dot, Kind, SeqRange, VersionVector};
use lattice_wire::{
    Frame, FrameType, FrameWriter, MAX_VECTOR_ENTRIES_PER_PART, SyncAck, SyncData, SyncItem, SyncRequest,
    decode_item,
};

/// Frames that may be ahead of the next one; the width of the bitmap in a sync acknowledgement.
const WINDOW_FRAMES: u64 = 64;
/// The sync's id, before the items of a frame.
const SYNC_ID_BYTES: usize = 4;
/// Keys and elements that one slice of the sweep compares.
const MAX_COMPARED_PER_SLICE: u32 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Requested,
    Vector,
    Keys,
    /// From this position on, keys are still to be compared with what a full walk named.
    Sweep(Position),
}

/// The key that the stream is in the middle of.
struct OpenKey {
    position: Position,
    kind: Kind,
    /// The element last compared: local ones up to it are settled.
    settled: Option<Box<[u8]>>,
    /// An element whose dots come in several items, and its dots so far.
    element: Option<Box<[u8]>>,
    dots: Vec<Dot>,
}

/// A sync that this engine asked for.
pub(crate) struct IncomingSync {
    slot: usize,
    id: u32,
    stage: Stage,
    /// Every key is wanted, whatever this engine's vector covers.
    everything: bool,
    /// The sender names every key that it has.
    full_walk: bool,
    request_part: Option<u8>,
    request_due_ns: u64,
    progress_ns: u64,
    /// C: the sender's vector as of the start of its walk.
    vector: VersionVector,
    /// What the sender has dropped. Known here from the moment when C is covered, for until then nobody takes this
    /// engine for one that has seen those operations.
    dropped: Dropped,
    /// In the sweep: the last element that was compared of the key at its position.
    swept: Option<Box<[u8]>>,
    key: Option<OpenKey>,
    next_index: u64,
    early: Vec<Option<Box<[u8]>>>,
}

impl IncomingSync {
    /// Rule 6: whether a record with this dot has to wait for the end of the sync.
    pub(crate) fn covers(&self, dot: Dot) -> bool {
        matches!(self.stage, Stage::Keys | Stage::Sweep(_)) && self.vector.contains(dot)
    }

    /// A sync that no peer sends: a snapshot that is being read.
    pub(crate) fn of_storage(vector: VersionVector) -> Self {
        Self::new(usize::MAX, 1, true, 0, vector)
    }

    /// Whether it is one: what this host once had must come back whole, whatever the bounds for what peers bring.
    fn is_of_storage(&self) -> bool {
        self.slot == usize::MAX
    }

    /// C, when it has been covered.
    pub(crate) fn into_vector(self) -> VersionVector {
        self.vector
    }

    fn new(slot: usize, id: u32, everything: bool, now_ns: u64, vector: VersionVector) -> Self {
        Self {
            slot,
            id,
            stage: Stage::Requested,
            everything,
            full_walk: false,
            request_part: Some(0),
            request_due_ns: now_ns,
            progress_ns: now_ns,
            vector,
            dropped: Dropped::default(),
            swept: None,
            key: None,
            next_index: 0,
            early: (0..WINDOW_FRAMES).map(|_| None).collect(),
        }
    }

    /// Whether the whole walk has come.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.stage, Stage::Sweep(_))
    }

    fn ack(&self, abort: bool) -> SyncAck {
        let bit = |i: u64| {
            let index = self.next_index + 1 + i;
            u64::from(self.early[(index % WINDOW_FRAMES) as usize].is_some()) << i
        };
        let bitmap = (0..WINDOW_FRAMES - 1).map(bit).sum();
        SyncAck { sync_id: self.id, cumulative: self.next_index, bitmap, abort }
    }
}

/// Out-of-order ranges of one actor that syncs may bring together. More than records may, or two hosts with full
/// tables could never tell each other.
fn most_ranges(config: &EngineConfig) -> usize {
    config.limits.max_ranges_per_actor.saturating_mul(sources(config))
}

impl<L: LogStore> Engine<L> {
    /// Asks the peer for a state sync, unless one is running.
    pub(crate) fn request_sync(&mut self, now_ns: u64, slot: usize) {
        self.request(now_ns, slot, false);
    }

    /// Asks the peer for a state sync as if this engine had nothing: an empty vector filters no key.
    pub(crate) fn request_everything(&mut self, now_ns: u64, slot: usize) {
        self.request(now_ns, slot, true);
    }

    fn request(&mut self, now_ns: u64, slot: usize, everything: bool) {
        let lane = &self.lanes[slot];
        let ready =
            lane.is_up(now_ns, self.config.timers.peer_timeout_ns) && now_ns >= lane.sync_rest_until_ns;
        if self.incoming.is_some() && !zoo!(SecondSyncInherits) || !ready {
            return;
        }
        // Not 0, which no key is named by.
        self.next_sync_id = self.next_sync_id.wrapping_add(1).max(1);
        let nothing = VersionVector::new(self.vector.limits());
        let vector = self.incoming.take().map_or(nothing, IncomingSync::into_vector);
        self.incoming = Some(IncomingSync::new(slot, self.next_sync_id, everything, now_ns, vector));
        self.stats.syncs_requested += 1;
        self.wake();
    }

    /// Writes the next part of a request that has not been answered yet.
    pub(crate) fn write_sync_request(
        &mut self,
        now_ns: u64,
        slot: usize,
        buffer: &mut [u8],
    ) -> Option<usize> {
        let everything = self.incoming.as_ref()?.everything;
        let entries = if everything { 0 } else { self.contiguous_parts().count() };
        let parts = vector_parts(entries);
        let sync =
            self.incoming.as_mut().filter(|sync| sync.slot == slot && sync.stage == Stage::Requested)?;
        let part = match sync.request_part {
            Some(part) => part,
            None if now_ns >= sync.request_due_ns => 0,
            None => return None,
        };
        sync.request_part = (part + 1 < parts).then_some(part + 1);
        sync.request_due_ns = now_ns + self.config.timers.hello_ns;
        let sync_id = sync.id;
        let mut writer = FrameWriter::new(buffer, self.header(FrameType::SyncRequest, slot))?;
        let from = usize::from(part) * MAX_VECTOR_ENTRIES_PER_PART;
        let entries = self.contiguous_parts().take(entries).skip(from).take(MAX_VECTOR_ENTRIES_PER_PART);
        SyncRequest::encode(&mut writer, sync_id, part, parts, entries).ok()?;
        Some(writer.finish())
    }

    /// Writes the acknowledgement of sync frames that is owed to the peer.
    pub(crate) fn write_sync_ack(&mut self, slot: usize, buffer: &mut [u8]) -> Option<usize> {
        let ack = self.lanes[slot].sync_ack.take()?;
        let mut writer = FrameWriter::new(buffer, self.header(FrameType::SyncAck, slot))?;
        ack.encode(&mut writer).ok()?;
        Some(writer.finish())
    }

    pub(crate) fn on_sync_data(
        &mut self,
        now_ns: u64,
        slot: usize,
        frame: &Frame<'_>,
    ) -> Result<(), DropReason> {
        let data = SyncData::decode(frame.payload)?;
        let items = frame.payload.get(SYNC_ID_BYTES..).unwrap_or_default();
        let ours = self.incoming.as_ref().is_some_and(|sync| sync.slot == slot && sync.id == data.sync_id);
        if !ours {
            return self.answer_stray_sync(slot, data.sync_id);
        }
        let result = self.take_sync_frame(now_ns, frame.header.lo, items);
        match &result {
            Ok(()) => self.acknowledge_sync(slot),
            Err(DropReason::Unexpected) => {}
            Err(_) => self.abandon_sync(now_ns + self.config.timers.sync_timeout_ns),
        }
        result
    }

    /// A frame of a sync that is over: the sender has not heard how it ended.
    fn answer_stray_sync(&mut self, slot: usize, sync_id: u32) -> Result<(), DropReason> {
        let lane = &mut self.lanes[slot];
        let ended = lane.sync_done.filter(|done| done.sync_id == sync_id);
        lane.sync_ack = Some(ended.unwrap_or(SyncAck { sync_id, cumulative: 0, bitmap: 0, abort: true }));
        if ended.is_some() { Ok(()) } else { Err(DropReason::Unexpected) }
    }

    /// Takes in one frame of the stream, and those after it that were early. [`DropReason::Unexpected`] leaves the
    /// sync running, every other error ends it.
    fn take_sync_frame(&mut self, now_ns: u64, index: u64, items: &[u8]) -> Result<(), DropReason> {
        let Some(sync) = &mut self.incoming else { return Err(DropReason::Unexpected) };
        if index < sync.next_index {
            return Ok(());
        }
        if index - sync.next_index >= WINDOW_FRAMES {
            return Err(DropReason::Unexpected);
        }
        if index > sync.next_index {
            let early = &mut sync.early[(index % WINDOW_FRAMES) as usize];
            if early.is_none() {
                (*early, sync.progress_ns) = (Some(items.into()), now_ns);
            }
            return Ok(());
        }
        sync.progress_ns = now_ns;
        self.take_items(items)?;
        while let Some(sync) = &mut self.incoming {
            sync.next_index += 1;
            let slot = (sync.next_index % WINDOW_FRAMES) as usize;
            let Some(early) = sync.early[slot].take() else { break };
            self.take_items(&early)?;
        }
        Ok(())
    }

    pub(crate) fn take_items(&mut self, mut items: &[u8]) -> Result<(), DropReason> {
        while !items.is_empty() {
            let (item, used) = decode_item(items)?;
            self.take_item(&item)?;
            items = items.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    fn take_item(&mut self, item: &SyncItem<'_>) -> Result<(), DropReason> {
        // Own dots that are still to be given out: to cover or remove one would make it be used twice.
        match *item {
            SyncItem::VectorRange { actor, last: seq, .. } | SyncItem::Touch { actor, seq } => {
                self.check_made(Dot { actor, seq })
            }
            SyncItem::PreRemoved { dot, .. } => self.check_made(dot),
            SyncItem::Element { dots, .. } => dots.iter().try_for_each(|dot| self.check_made(dot)),
            _ => Ok(()),
        }
        .map_err(|_| DropReason::OutOfSequence)?;
        let Some(sync) = &mut self.incoming else { return Err(DropReason::Unexpected) };
        match (sync.stage, item) {
            (Stage::Requested, &SyncItem::Begin { full_walk }) => {
                (sync.stage, sync.full_walk) = (Stage::Vector, full_walk);
            }
            (Stage::Vector, &SyncItem::VectorRange { actor, first, last }) => {
                sync.vector.cover_range(actor, SeqRange { first, last });
                let ranges = sync.vector.clock(actor).map_or(0, |clock| clock.ranges().len());
                let limits = &self.config.limits;
                let too_many = sync.vector.len() > limits.max_actors || ranges > most_ranges(&self.config);
                if too_many && !sync.is_of_storage() {
                    return Err(DropReason::OutOfOrderBound);
                }
            }
            (Stage::Vector, &SyncItem::Dropped { actor, seq }) => {
                if seq > sync.vector.contiguous(actor) {
                    return Err(DropReason::OutOfSequence);
                }
                sync.dropped.note(Dot { actor, seq });
            }
            (Stage::Vector, &SyncItem::PreRemoved { dot, kind, key, element }) => {
                return self.take_pre_removed(dot, kind, key, element);
            }
            (Stage::Vector, SyncItem::VectorEnd) => {
                // What is to be covered in the end is bounded before anything of it is begun.
                let mut union = self.vector.clone();
                union.join(&sync.vector);
                let most = most_ranges(&self.config);
                let too_many = union.len() > self.config.limits.max_actors
                    || union.iter().any(|(_, clock)| clock.ranges().len() > most);
                if too_many && !sync.is_of_storage() {
                    return Err(DropReason::OutOfOrderBound);
                }
                sync.stage = Stage::Keys;
                if zoo!(VectorBeforeSyncEnd) {
                    self.vector = union;
                }
            }
            (Stage::Keys, &SyncItem::Key { kind, key }) if sync.key.is_none() => {
                let position = self.keys.find_or_insert(key_hash(key), kind, key);
                self.keys.entry_mut(position).named_by = sync.id;
                let dots = Vec::new();
                sync.key = Some(OpenKey { position, kind, settled: None, element: None, dots });
            }
            (Stage::Keys, SyncItem::KeyEnd) => return self.end_key(),
            (Stage::Keys, SyncItem::End) if sync.key.is_none() && sync.full_walk => {
                sync.stage = Stage::Sweep(0);
                self.wake();
            }
            (Stage::Keys, SyncItem::End) if sync.key.is_none() => {
                sync.next_index += 1;
                self.complete_sync();
            }
            (Stage::Keys, _) => return self.take_key_item(item),
            _ => return Err(DropReason::OutOfSequence),
        }
        Ok(())
    }

    /// Rule 5: the sender's pre-removed dots count as removed at once.
    fn take_pre_removed(
        &mut self,
        dot: Dot,
        kind: Kind,
        key: &[u8],
        element: &[u8],
    ) -> Result<(), DropReason> {
        let key = self.keys.find_or_insert(key_hash(key), kind, key);
        self.keys.remove_dot(key, element, dot);
        if self.vector.contains(dot) {
            return Ok(());
        }
        if self.incoming.as_ref().is_some_and(IncomingSync::is_of_storage) {
            self.pre_removed.reserve(1);
        }
        let at = PreRemovedAt { key, element: element.into() };
        self.pre_removed.insert(dot, at).map_err(|_| DropReason::OutOfOrderBound)
    }

    fn take_key_item(&mut self, item: &SyncItem<'_>) -> Result<(), DropReason> {
        let open = self.incoming.as_ref().and_then(|sync| sync.key.as_ref());
        let Some((position, kind)) = open.map(|key| (key.position, key.kind)) else {
            return Err(DropReason::OutOfSequence);
        };
        match (kind, item) {
            (_, SyncItem::Touch { .. }) if zoo!(SyncLeavesNoTouch) => {}
            (_, &SyncItem::Touch { actor, seq }) => self.keys.entry_mut(position).touch(Dot { actor, seq }),
            (Kind::Counter, &SyncItem::CounterEntry { actor, increments, decrements }) => {
                self.keys.counter_join(position, actor, CounterEntry { increments, decrements });
            }
            (Kind::Register, &SyncItem::RegisterValue { hlc, actor, value }) => {
                self.hlc = self.hlc.observe(hlc);
                self.keys.register_set(position, hlc, actor, value);
            }
            (
                Kind::Set | Kind::FlagEnableWins | Kind::FlagDisableWins,
                SyncItem::Element { element, dots, more },
            ) => {
                let Some(key) = self.incoming.as_mut().and_then(|sync| sync.key.as_mut()) else {
                    return Ok(());
                };
                let continues = key.element.as_deref().is_none_or(|open| open == *element);
                let ascends = key.settled.as_deref().is_none_or(|settled| settled < *element);
                if !continues || !ascends || key.dots.len() > lattice_crdt::limits::MAX_ACTORS * 2 {
                    return Err(DropReason::OutOfSequence);
                }
                key.dots.extend(dots.iter());
                if *more {
                    key.element = Some((*element).into());
                } else {
                    key.element = None;
                    self.settle_through(element);
                }
            }
            _ => return Err(DropReason::OutOfSequence),
        }
        Ok(())
    }

    /// Covers C: every effect of its operations is in the state.
    pub(crate) fn cover_sync(&mut self) -> Option<IncomingSync> {
        let sync = self.incoming.take()?;
        self.vector.join(&sync.vector);
        sync.dropped.iter().for_each(|dot| self.dropped.note(dot));
        let vector = &self.vector;
        self.pre_removed.retain(|dot, _| !vector.contains(dot));
        Some(sync)
    }

    /// Compares one element of the sender with the local ones: those before it that were not named have no live dots
    /// at the sender.
    fn settle_through(&mut self, element: &[u8]) {
        if !zoo!(UnnamedElementsStay) {
            self.settle_unnamed(Some(element));
        }
        let Some(sync) = &mut self.incoming else { return };
        let Some(key) = &mut sync.key else { return };
        let (vector, pre_removed, theirs) = (&self.vector, &self.pre_removed, &sync.vector);
        self.keys.join_element(
            key.position,
            element,
            &key.dots,
            &mut |dot| theirs.contains(dot),
            &mut |dot| !vector.contains(dot) && (!pre_removed.contains(dot) || zoo!(SyncIgnoresPreRemoved)),
        );
        key.dots.clear();
        key.settled = Some(element.into());
    }

    fn settle_unnamed(&mut self, end: Option<&[u8]>) {
        let Some(sync) = &mut self.incoming else { return };
        let Some(key) = &mut sync.key else { return };
        let mut unbounded = u32::MAX;
        settle_unnamed(&mut self.keys, &sync.vector, key.position, &mut key.settled, end, &mut unbounded);
    }

    fn end_key(&mut self) -> Result<(), DropReason> {
        let open = self.incoming.as_ref().and_then(|sync| sync.key.as_ref());
        if open.is_none_or(|key| key.element.is_some()) {
            return Err(DropReason::OutOfSequence);
        }
        if !zoo!(LastElementsStay) {
            self.settle_unnamed(None);
        }
        if let Some(sync) = &mut self.incoming {
            sync.key = None;
        }
        Ok(())
    }

    /// The next slice of the comparison that ends a full walk.
    fn sweep(&mut self) {
        let Some(sync) = &mut self.incoming else { return };
        let Stage::Sweep(mut position) = sync.stage else { return };
        let mut budget = MAX_COMPARED_PER_SLICE;
        while position < self.keys.end() && budget > 0 {
            budget -= 1;
            let unnamed = self.keys.get(position).is_some_and(|entry| entry.named_by != sync.id);
            if unnamed && !zoo!(UnnamedKeysStay) {
                let swept = &mut sync.swept;
                settle_unnamed(&mut self.keys, &sync.vector, position, swept, None, &mut budget);
            }
            if budget > 0 {
                (position, sync.swept) = (position + 1, None);
            }
        }
        sync.stage = Stage::Sweep(position);
        if position == self.keys.end() {
            self.complete_sync();
        }
    }

    /// The whole walk is in the state: now, and not before, C is covered.
    fn complete_sync(&mut self) {
        let Some(sync) = self.cover_sync() else { return };
        let done = sync.ack(false);
        // A snapshot that says that it is no full walk comes from no lane.
        let Some(lane) = self.lanes.get_mut(sync.slot) else { return };
        (lane.sync_ack, lane.sync_done) = (Some(done), Some(done));
        self.stats.syncs_completed += 1;
        // Their senders may be holding back for acknowledgements that have just come true.
        for lane in self.lanes.iter_mut().filter(|lane| lane.session.is_some()) {
            lane.owe_ack(0, true, &self.config.timers);
        }
    }

    fn acknowledge_sync(&mut self, slot: usize) {
        if let Some(sync) = &self.incoming {
            self.lanes[slot].sync_ack = Some(sync.ack(false));
        }
    }

    /// Nothing is covered. The peer is not asked again before `rest_until_ns`: it may be one that is heard but does not
    /// hear, and asked at once each time it would keep all others from bringing what it can't.
    fn abandon_sync(&mut self, rest_until_ns: u64) {
        if let Some(sync) = self.incoming.take() {
            if zoo!(AbandonedSyncCovers) {
                self.vector.join(&sync.vector);
            }
            let lane = &mut self.lanes[sync.slot];
            (lane.sync_ack, lane.sync_rest_until_ns) = (Some(sync.ack(true)), rest_until_ns);
            self.stats.syncs_abandoned += 1;
        }
    }

    /// The peer began a new session: no stream of the old one goes on.
    pub(crate) fn abandon_syncs_with(&mut self, slot: usize) {
        if self.incoming.as_ref().is_some_and(|sync| sync.slot == slot) {
            self.abandon_sync(0);
        }
        self.outgoing.retain(|sync| sync.slot() != slot);
        (self.lanes[slot].sync_ack, self.lanes[slot].sync_done) = (None, None);
    }

    pub(crate) fn tick_incoming(&mut self, now_ns: u64) {
        if matches!(&self.incoming, Some(IncomingSync { stage: Stage::Sweep(_), .. })) {
            return self.sweep();
        }
        let timeout_ns = self.config.timers.sync_timeout_ns;
        let late = |sync: &&IncomingSync| now_ns.saturating_sub(sync.progress_ns) >= timeout_ns;
        let Some(slot) = self.incoming.as_ref().filter(late).map(|sync| sync.slot) else { return };
        self.abandon_sync(now_ns + timeout_ns);
        // Whoever is asked brings what it has of everybody: try the next one that can be asked.
        let lanes = self.lanes.len();
        (1..lanes).for_each(|i| self.request_sync(now_ns, (slot + i) % lanes));
    }

    pub(crate) fn incoming_deadline_ns(&self, now_ns: u64) -> u64 {
        let Some(sync) = &self.incoming else { return u64::MAX };
        if matches!(sync.stage, Stage::Sweep(_)) {
            return now_ns;
        }
        let timers = &self.config.timers;
        let timeout_at_ns = sync.progress_ns + timers.sync_timeout_ns;
        let up = self.lanes[sync.slot].is_up(now_ns, timers.peer_timeout_ns);
        if up && sync.stage == Stage::Requested {
            sync.request_due_ns.min(timeout_at_ns)
        } else {
            timeout_at_ns
        }
    }
}

/// Rule 5 for the local elements of a key after the last settled one and before `end`: the sender, whose vector is
/// `theirs`, has none of them. Stops when the budget of elements is used up.
fn settle_unnamed(
    keys: &mut Keys,
    theirs: &VersionVector,
    position: Position,
    settled: &mut Option<Box<[u8]>>,
    end: Option<&[u8]>,
    budget: &mut u32,
) {
    while *budget > 0 {
        let store = keys.get(position).and_then(|entry| entry.value.dots());
        let next = store.and_then(|store| store.next_element(settled.as_deref()));
        let Some((next, _)) = next.filter(|(next, _)| end.is_none_or(|end| *next < end)) else { break };
        let unnamed: Box<[u8]> = next.into();
        keys.join_element(position, &unnamed, &[], &mut |dot| theirs.contains(dot), &mut |_| false);
        *settled = Some(unnamed);
        *budget -= 1;
    }
}
