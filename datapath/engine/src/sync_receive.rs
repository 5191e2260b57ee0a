//! State sync, the receiving side: catching up on what no log will bring any more.
//!
//! ```text
//!   Requested ── first frame ──> Vector ── VectorEnd ──> Keys ── End ──> [Sweep] ──> done: only now is C covered
//!       │                          │                       │                │
//!       └──────── silence, nonsense, a new session ────────┴────────────────┴──> abandoned: nothing is covered,
//! ```                                                                              repair goes on
//! (A peer that is merely silent is waited for, see `progress.rs`.)
//!
//! After a full walk, the sweep goes over the local keys, in slices: one that the walk did not name has no live dots at
//! the sender.
//!
//! C is the sender's vector as of the start of its walk. From VectorEnd on, records whose dots are in C are skipped
//! (rule 6): their keys may already have been walked. One sync at a time per shard, so there is one C.
//!
//! The stream is reliable and ordered on top of frames that are neither: frames beyond the next one wait in a window
//! of [`WINDOW_FRAMES`], acknowledged by a bitmap. What the items do to the state is in
//! `sync_apply.rs`.

use crate::aliases::Bits;
use crate::engine::{Engine, PreRemovedAt};
use crate::fold::Folded;
use crate::gossip::vector_parts;
use crate::keys::Position;
use crate::log::LogStore;
use crate::progress::{Progress, SyncDirection, SyncStatus};
use crate::stability::Dropped;
use crate::stats::DropReason;
use lattice_crdt::{ActorId, Dot, Kind, VersionVector};
use lattice_wire::{
    Frame, FrameType, FrameWriter, Header, MAX_VECTOR_ENTRIES_PER_PART, SyncAck, SyncData, SyncRequest,
};

/// Frames that may be ahead of the next one; the width of the bitmap in a sync acknowledgement.
const WINDOW_FRAMES: u64 = 64;
/// The sync's id, before the items of a frame.
const SYNC_ID_BYTES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Requested,
    Vector,
    Keys,
    /// From this position on, keys are still to be compared with what a full walk named.
    Sweep(Position),
}

/// The key that the stream is in the middle of.
pub(crate) struct OpenKey {
    pub(crate) position: Position,
    pub(crate) kind: Kind,
    /// The element last compared: local ones up to it are settled.
    pub(crate) settled: Option<Box<[u8]>>,
    /// An element whose dots come in several items, and its dots so far.
    pub(crate) element: Option<Box<[u8]>>,
    pub(crate) dots: Vec<Dot>,
}

/// A sync that this engine asked for.
pub(crate) struct IncomingSync {
    slot: usize,
    pub(crate) id: u32,
    pub(crate) stage: Stage,
    /// Every key is wanted, whatever this engine's vector covers.
    everything: bool,
    /// The sender names every key that it has.
    pub(crate) full_walk: bool,
    request_part: Option<u8>,
    request_due_ns: u64,
    pub(crate) progress: Progress,
    /// Keys that the sender said it had.
    pub(crate) keys_of: u64,
    /// C: the sender's vector as of the start of its walk.
    pub(crate) vector: VersionVector,
    /// The epochs that the sender knows to be folded, until the end of its vector; then those that it has settled.
    pub(crate) folded: Vec<(ActorId, Folded)>,
    pub(crate) settled: Vec<ActorId>,
    /// What the sender has dropped. Known here from the moment when C is covered, for until then nobody takes this
    /// engine for one that has seen those operations.
    pub(crate) dropped: Dropped,
    /// What was removed at the sender before it arrived there.
    pub(crate) pre_removed: Vec<(Dot, PreRemovedAt)>,
    /// In the sweep: the last element that was compared of the key at its position.
    pub(crate) swept: Option<Box<[u8]>>,
    pub(crate) key: Option<OpenKey>,
    /// The positions of the keys that the walk has named. No key is dropped while a sync comes in, so they name the same
    /// keys to its end.
    pub(crate) named: Bits,
    pub(crate) next_index: u64,
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
    pub(crate) fn is_of_storage(&self) -> bool {
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
            progress: Progress::new(now_ns),
            keys_of: 0,
            vector,
            folded: Vec::new(),
            settled: Vec::new(),
            dropped: Dropped::default(),
            pre_removed: Vec::new(),
            swept: None,
            key: None,
            named: Bits::default(),
            next_index: 0,
            early: (0..WINDOW_FRAMES).map(|_| None).collect(),
        }
    }

    pub(crate) fn slot(&self) -> usize {
        self.slot
    }

    pub(crate) fn status(&self, node: u16, now_ns: u64) -> SyncStatus {
        SyncStatus {
            node,
            direction: SyncDirection::Incoming,
            keys: self.progress.keys,
            keys_of: self.keys_of,
            bytes: self.progress.bytes,
            full_walk: self.full_walk,
            waits: self.progress.waits(),
            age_ns: now_ns.saturating_sub(self.progress.began_ns),
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
        // Never 0.
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
        // Who wants everything has folded nothing, as it were.
        let lo = if everything { 0 } else { self.folds.digest };
        let mut writer =
            FrameWriter::new(buffer, Header { lo, ..self.header(FrameType::SyncRequest, slot) })?;
        let from = usize::from(part) * MAX_VECTOR_ENTRIES_PER_PART;
        let entries = self.contiguous_parts().take(entries).skip(from).take(MAX_VECTOR_ENTRIES_PER_PART);
        SyncRequest::encode(&mut writer, sync_id, part, parts, entries).ok()?;
        Some(writer.finish_untagged())
    }

    /// Writes the acknowledgement of sync frames that is owed to the peer.
    pub(crate) fn write_sync_ack(&mut self, slot: usize, buffer: &mut [u8]) -> Option<usize> {
        let ack = self.lanes[slot].sync_ack.take()?;
        let mut writer = FrameWriter::new(buffer, self.header(FrameType::SyncAck, slot))?;
        ack.encode(&mut writer).ok()?;
        Some(writer.finish_untagged())
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
                *early = Some(items.into());
                sync.progress.moved(now_ns);
                sync.progress.bytes += items.len() as u64;
            }
            return Ok(());
        }
        sync.progress.moved(now_ns);
        sync.progress.bytes += items.len() as u64;
        self.take_items(items)?;
        while let Some(sync) = &mut self.incoming {
            sync.next_index += 1;
            let slot = (sync.next_index % WINDOW_FRAMES) as usize;
            let Some(early) = sync.early[slot].take() else { break };
            self.take_items(&early)?;
        }
        Ok(())
    }

    /// The whole walk is in the state: now, and not before, C is covered.
    pub(crate) fn complete_sync(&mut self) {
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
        let timers = &self.config.timers;
        let timeout_ns = timers.sync_timeout_ns;
        let Some(sync) = &mut self.incoming else { return };
        let slot = sync.slot;
        let up = self.lanes[slot].is_up(now_ns, timers.peer_timeout_ns);
        if !sync.progress.is_late(now_ns, up, timeout_ns) {
            return;
        }
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
        let up = self.lanes[sync.slot].is_up(now_ns, timers.peer_timeout_ns);
        let timeout_at_ns = sync.progress.timeout_at_ns(up, timers.sync_timeout_ns);
        if up && sync.stage == Stage::Requested {
            sync.request_due_ns.min(timeout_at_ns)
        } else {
            timeout_at_ns
        }
    }
}
