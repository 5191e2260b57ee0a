//! State sync, the sending side: a walk over the shard, in slices, while it goes on changing.
//!
//! ```text
//!   request ──> C = vector now ──> Begin, C, pre-removed dots, VectorEnd
//!           ──> every key that the peer's contiguous vector may not cover: touches, value ──> End
//! ```
//!
//! One call makes at most one *slice*: a frame, or a look at a bounded number of keys none of which the peer lacks
//! (`walk.rs`). How many slices a turn may have, and how far apart those of one walk are, is the caller's to say
//! ([`SyncBudget`]): it knows what else there is to do, and how many engines share its turns. So a walk over a large shard
//! never holds up a write for longer than a slice takes.
//!
//! Frames are kept until the peer has acknowledged them. What can go wrong: the peer falls silent for longer than it is
//! waited for (`progress.rs`), or begins a new session; then the walk is dropped, and the peer asks again.

use crate::engine::Engine;
use crate::keys::{Keys, Position};
use crate::log::LogStore;
use crate::progress::{Progress, SyncDirection, SyncStatus};
use crate::stats::DropReason;
use crate::walk::Walk;
use lattice_crdt::VersionVector;
use lattice_wire::{Frame, FrameType, FrameWriter, MAX_FRAME_BYTES, SyncAck, SyncRequest};
use std::collections::VecDeque;

/// Syncs that one shard serves at a time; further requests wait for the peer to repeat them.
const MAX_OUTGOING: usize = 2;
/// Frames in flight; less than the receiver's window, so that none is ever out of it.
const WINDOW_FRAMES: usize = 32;
const RESEND_AFTER_NS: u64 = 10_000_000;
/// Frames that may overtake one before it counts as lost.
const REORDERING_THRESHOLD: usize = 3;

/// What the state syncs that engines serve may take of a turn. See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncBudget {
    /// Slices that may still be made.
    pub slices: u32,
    /// Least distance of two slices of one walk, nanoseconds.
    pub gap_ns: u64,
}

impl SyncBudget {
    /// Of an engine that shares its turns with nothing: only room for data is left between two slices.
    pub const ALONE: SyncBudget = SyncBudget { slices: u32::MAX, gap_ns: 10_000 };
}

/// One frame of the stream that is on its way.
struct InFlight {
    items: Box<[u8]>,
    count: u32,
    sent_at_ns: u64,
    acknowledged: bool,
    lost: bool,
}

/// How far it is.
enum Stage {
    /// Parts of the request that have come, a bit each, and what they say that the peer has.
    Request(u64, VersionVector),
    Walk(Box<Walk>),
}

/// A sync that a peer asked for.
pub(crate) struct OutgoingSync {
    slot: usize,
    id: u32,
    stage: Stage,
    in_flight: VecDeque<InFlight>,
    first_index: u64,
    progress: Progress,
    pace_at_ns: u64,
}

impl OutgoingSync {
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }

    pub(crate) fn status(&self, node: u16, now_ns: u64, keys: &Keys) -> SyncStatus {
        let (at, full_walk) = match &self.stage {
            Stage::Request(..) => (0, false),
            Stage::Walk(walk) => (walk.looked_at(keys), walk.is_full()),
        };
        SyncStatus {
            node,
            direction: SyncDirection::Outgoing,
            keys: at,
            keys_of: u64::from(keys.end()),
            bytes: self.progress.bytes,
            full_walk,
            waits: self.progress.waits(),
            age_ns: now_ns.saturating_sub(self.progress.began_ns),
        }
    }

    pub(crate) fn walk(&self) -> Option<&Walk> {
        match &self.stage {
            Stage::Walk(walk) => Some(walk),
            Stage::Request(..) => None,
        }
    }

    fn may_walk(&self) -> bool {
        matches!(&self.stage, Stage::Walk(walk) if !walk.is_done()) && self.in_flight.len() < WINDOW_FRAMES
    }

    /// Whether the walk is in the middle of this key.
    pub(crate) fn is_inside(&self, position: Position) -> bool {
        matches!(&self.stage, Stage::Walk(walk) if walk.is_inside(position))
    }

    /// Frames that the peer has, so far.
    fn settled(&self) -> u64 {
        self.first_index + self.in_flight.iter().filter(|frame| frame.acknowledged).count() as u64
    }

    fn is_over(&self) -> bool {
        matches!(&self.stage, Stage::Walk(walk) if walk.is_done()) && self.in_flight.is_empty()
    }
}

impl<L: LogStore> Engine<L> {
    /// Whether a peer catches up from this engine.
    pub fn serves_syncs(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(crate) fn on_sync_request(
        &mut self,
        now_ns: u64,
        slot: usize,
        frame: &Frame<'_>,
    ) -> Result<(), DropReason> {
        let request = SyncRequest::decode(frame.payload)?;
        let (part, parts) = (request.vector.part, request.vector.parts);
        if parts > 64 || part >= parts {
            return Err(DropReason::Unexpected);
        }
        let (session, sync_id) = (frame.header.src_session, request.sync_id);
        let index = match self.outgoing.iter().position(|sync| sync.slot == slot && sync.id == sync_id) {
            Some(index) => index,
            // A copy of an older request: to serve it would end a walk that is wanted, or mix two under one id.
            None if !self.lanes[slot].is_new_sync_request(session, sync_id) => {
                return Err(DropReason::Unexpected);
            }
            None => {
                self.outgoing.retain(|sync| sync.slot != slot);
                // Who is there goes before who is only waited for.
                if self.outgoing.len() >= MAX_OUTGOING
                    && let Some(silent) = self.outgoing.iter().position(|sync| sync.progress.waits())
                {
                    self.outgoing.remove(silent);
                }
                if self.outgoing.len() >= MAX_OUTGOING {
                    return Ok(());
                }
                self.lanes[slot].last_sync_request = Some((session, sync_id));
                self.outgoing.push(OutgoingSync {
                    slot,
                    id: sync_id,
                    stage: Stage::Request(0, VersionVector::new(self.vector.limits())),
                    in_flight: VecDeque::with_capacity(WINDOW_FRAMES),
                    first_index: 0,
                    progress: Progress::new(now_ns),
                    pace_at_ns: now_ns,
                });
                self.outgoing.len() - 1
            }
        };
        let Stage::Request(come, peer) = &mut self.outgoing[index].stage else { return Ok(()) };
        // Only contiguous parts may be filtered by.
        let contiguous = request.vector.entries().filter(|(_, range)| range.first == 1);
        for (actor, range) in contiguous.take(self.config.limits.max_actors) {
            peer.cover_range(actor, range);
        }
        *come |= 1 << part;
        if come.count_ones() == u32::from(parts) {
            let peer = std::mem::replace(peer, VersionVector::new(self.vector.limits()));
            let (vector, folds) = (&self.vector, &self.folds);
            let walk = if frame.header.lo == folds.digest || zoo!(FilteredWalkDespiteFolds) {
                Walk::begin(peer, vector, folds, &self.dropped, &self.pre_removed, &self.keys)
            } else {
                Walk::begin_full(peer, vector, folds, &self.dropped, &self.pre_removed, &self.keys)
            };
            self.stats.full_walks += u64::from(walk.is_full());
            self.outgoing[index].stage = Stage::Walk(Box::new(walk));
        }
        Ok(())
    }

    /// Writes the next frame of a walk for the peer, new or again, if the budget has a slice left.
    pub(crate) fn write_sync_data(
        &mut self,
        now_ns: u64,
        slot: usize,
        buffer: &mut [u8],
        budget: &mut SyncBudget,
    ) -> Option<usize> {
        let header = self.header(FrameType::SyncData, slot);
        let sync = self.outgoing.iter_mut().find(|sync| sync.slot == slot)?;
        if now_ns < sync.pace_at_ns {
            return None;
        }
        let lost = sync.in_flight.iter().position(|frame| frame.lost);
        if lost.is_none() && !sync.may_walk() {
            return None;
        }
        budget.slices = budget.slices.checked_sub(1)?;
        sync.pace_at_ns = now_ns.saturating_add(budget.gap_ns);
        let offset = match lost {
            Some(offset) => offset,
            None => {
                let mut items = [0u8; MAX_FRAME_BYTES];
                let mut writer = FrameWriter::new(&mut items, header)?;
                writer.push_sync_id(sync.id).ok()?;
                let begin = writer.payload_len();
                let Stage::Walk(walk) = &mut sync.stage else { return None };
                let count = walk.fill(&self.keys, &mut writer);
                let end = writer.payload_len();
                if count == 0 {
                    return None;
                }
                let payload = lattice_wire::HEADER_BYTES;
                let items: Box<[u8]> = items.get(payload + begin..payload + end)?.into();
                sync.progress.bytes += items.len() as u64;
                self.stats.sync_bytes_sent += items.len() as u64;
                let frame = InFlight { items, count, sent_at_ns: now_ns, acknowledged: false, lost: false };
                sync.in_flight.push_back(frame);
                sync.in_flight.len() - 1
            }
        };
        let frame = sync.in_flight.get_mut(offset)?;
        (frame.lost, frame.sent_at_ns) = (false, now_ns);
        let mut writer = FrameWriter::new(buffer, header)?;
        writer.push_sync_id(sync.id).ok()?;
        writer.push_bytes(&frame.items).ok()?;
        writer.set_count(frame.count);
        writer.header_mut().lo = sync.first_index + offset as u64;
        Some(writer.finish_untagged())
    }

    pub(crate) fn on_sync_ack(
        &mut self,
        now_ns: u64,
        slot: usize,
        frame: &Frame<'_>,
    ) -> Result<(), DropReason> {
        let ack = SyncAck::decode(frame.payload)?;
        let found = self.outgoing.iter_mut().find(|sync| sync.slot == slot && sync.id == ack.sync_id);
        let Some(sync) = found else { return Ok(()) };
        if ack.abort {
            self.outgoing.retain(|sync| sync.slot != slot);
            return Ok(());
        }
        if ack.cumulative > sync.first_index + sync.in_flight.len() as u64 {
            return Err(DropReason::Unexpected);
        }
        // What says nothing new must not keep a walk alive that the peer no longer wants.
        let before = sync.settled();
        while sync.first_index < ack.cumulative {
            sync.in_flight.pop_front();
            sync.first_index += 1;
        }
        // Bit i is the frame after the one that is expected next; an old acknowledgement says nothing new.
        let newest = (ack.cumulative == sync.first_index).then(|| sync.mark_early(ack.bitmap)).flatten();
        for frame in
            sync.in_flight.iter_mut().take(newest.map_or(0, |n| n.saturating_sub(REORDERING_THRESHOLD)))
        {
            let settled = frame.acknowledged || now_ns.saturating_sub(frame.sent_at_ns) < RESEND_AFTER_NS / 4;
            frame.lost |= !settled;
        }
        if sync.settled() > before {
            sync.progress.moved(now_ns);
        }
        if sync.is_over() {
            self.outgoing.retain(|sync| sync.slot != slot);
            self.stats.syncs_served += 1;
        }
        Ok(())
    }

    pub(crate) fn tick_outgoing(&mut self, now_ns: u64) {
        let (timers, lanes) = (&self.config.timers, &self.lanes);
        self.outgoing.retain_mut(|sync| {
            let up = lanes[sync.slot].is_up(now_ns, timers.peer_timeout_ns);
            !sync.progress.is_late(now_ns, up, timers.sync_timeout_ns)
        });
        for sync in &mut self.outgoing {
            for frame in sync.in_flight.iter_mut().filter(|frame| !frame.acknowledged) {
                frame.lost |= now_ns.saturating_sub(frame.sent_at_ns) >= RESEND_AFTER_NS;
            }
        }
    }

    pub(crate) fn outgoing_deadline_ns(&self, now_ns: u64) -> u64 {
        let timers = &self.config.timers;
        let of_sync = |sync: &OutgoingSync| {
            let up = self.lanes[sync.slot].is_up(now_ns, timers.peer_timeout_ns);
            let timeout = sync.progress.timeout_at_ns(up, timers.sync_timeout_ns);
            if !up {
                // Nothing goes to it before it is heard, so there is nothing to wake up for but the end.
                return timeout;
            }
            let resend = sync.in_flight.iter().filter(|frame| !frame.acknowledged);
            let resend =
                resend.map(|frame| if frame.lost { 0 } else { frame.sent_at_ns + RESEND_AFTER_NS }).min();
            let walk = if sync.may_walk() { 0 } else { u64::MAX };
            resend.unwrap_or(u64::MAX).min(walk).max(sync.pace_at_ns).min(timeout)
        };
        self.outgoing.iter().map(of_sync).min().unwrap_or(u64::MAX)
    }
}

impl OutgoingSync {
    /// Marks frames that came out of order; returns the offset of the newest.
    fn mark_early(&mut self, bitmap: u64) -> Option<usize> {
        let mut newest = None;
        for (offset, frame) in self.in_flight.iter_mut().enumerate().skip(1).take(64) {
            if bitmap >> (offset - 1) & 1 == 1 {
                (frame.acknowledged, frame.lost) = (true, false);
                newest = Some(offset);
            }
        }
        newest
    }
}
