//! State sync, the sending side: a walk over the shard, in slices, while it goes on changing.
//!
//! ```text
//!   request ──> C = vector now ──> Begin, C, pre-removed dots, VectorEnd
//!           ──> every key that the peer's contiguous vector may not cover: touches, value ──> End
//! ```
//!
//! One call makes at most one frame, and looks at no more than [`MAX_KEYS_PER_FRAME`] keys for it, so that a walk over
//! a large shard never holds the worker up. Positions and byte order of elements are stable cursors: what is live
//! throughout the walk is visited. What changes meanwhile has dots beyond C, which reach the peer as records.
//!
//! Frames are kept until the peer has acknowledged them. What can go wrong: the peer falls silent, or begins a new
//! session; then the walk is dropped, and the peer asks again.

use crate::engine::Engine;
use crate::keys::{KeyEntry, Keys, Position, Value};
use crate::log::LogStore;
use crate::stats::DropReason;
use lattice_crdt::limits::MAX_DOTS_PER_RECORD;
use lattice_crdt::{ActorId, Dot, Kind, SeqRange, VersionVector};
use lattice_wire::{
    Dots, Frame, FrameType, FrameWriter, MAX_FRAME_BYTES, NoRoom, SyncAck, SyncItem, SyncRequest,
};
use std::collections::VecDeque;

/// Syncs that one shard serves at a time; further requests wait for the peer to repeat them.
const MAX_OUTGOING: usize = 2;
/// Frames in flight; less than the receiver's window, so that none is ever out of it.
const WINDOW_FRAMES: usize = 32;
/// Keys looked at for one frame.
const MAX_KEYS_PER_FRAME: usize = 1024;
/// Least distance of two frames of a walk: it must leave room for data.
const PACE_NS: u64 = 10_000;
const RESEND_AFTER_NS: u64 = 10_000_000;
/// Frames that may overtake one before it counts as lost.
const REORDERING_THRESHOLD: usize = 3;

/// Where in a key's value the walk is.
#[derive(Clone, Debug)]
enum Part {
    Head,
    Touches(usize),
    /// Entries after this actor.
    Counter(Option<ActorId>),
    Register,
    /// Elements after this one.
    Elements(Option<Box<[u8]>>),
    /// The rest of an element with more dots than one item holds, as they were when it was come to.
    Dots {
        element: Box<[u8]>,
        dots: Vec<Dot>,
        from: usize,
    },
    End,
}

/// Where the walk is.
#[derive(Clone, Debug)]
enum Stage {
    Begin,
    Vector(usize),
    PreRemoved(usize),
    VectorEnd,
    Seek(Position),
    Key(Position, Part),
    End,
    Done,
}

struct PreRemovedItem {
    dot: Dot,
    kind: Kind,
    key: Box<[u8]>,
    element: Box<[u8]>,
}

/// A walk over a shard for one peer.
struct Walk {
    peer: VersionVector,
    /// C, taken when the walk began.
    vector: Vec<(ActorId, SeqRange)>,
    pre_removed: Vec<PreRemovedItem>,
    stage: Stage,
}

/// One frame of the stream that is on its way.
struct InFlight {
    items: Box<[u8]>,
    count: u32,
    sent_at_ns: u64,
    acknowledged: bool,
    lost: bool,
}

/// A sync that a peer asked for.
pub(crate) struct OutgoingSync {
    slot: usize,
    id: u32,
    /// Parts of the request that have come, a bit each, until all have.
    parts: Option<u64>,
    walk: Walk,
    in_flight: VecDeque<InFlight>,
    first_index: u64,
    progress_ns: u64,
    pace_at_ns: u64,
}

impl OutgoingSync {
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }

    fn may_walk(&self) -> bool {
        self.parts.is_none()
            && !matches!(self.walk.stage, Stage::Done)
            && self.in_flight.len() < WINDOW_FRAMES
    }

    /// Frames that the peer has, so far.
    fn settled(&self) -> u64 {
        self.first_index + self.in_flight.iter().filter(|frame| frame.acknowledged).count() as u64
    }

    fn is_over(&self) -> bool {
        matches!(self.walk.stage, Stage::Done) && self.in_flight.is_empty()
    }
}

impl<L: LogStore> Engine<L> {
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
                if self.outgoing.len() >= MAX_OUTGOING {
                    return Ok(());
                }
                self.lanes[slot].last_sync_request = Some((session, sync_id));
                let peer = VersionVector::new(self.vector.limits());
                let walk = Walk { peer, vector: Vec::new(), pre_removed: Vec::new(), stage: Stage::Begin };
                self.outgoing.push(OutgoingSync {
                    slot,
                    id: sync_id,
                    parts: Some(0),
                    walk,
                    in_flight: VecDeque::with_capacity(WINDOW_FRAMES),
                    first_index: 0,
                    progress_ns: now_ns,
                    pace_at_ns: now_ns,
                });
                self.outgoing.len() - 1
            }
        };
        let sync = &mut self.outgoing[index];
        let Some(come) = sync.parts.filter(|come| come & (1 << part) == 0) else { return Ok(()) };
        // Only contiguous parts may be filtered by.
        let contiguous = request.vector.entries().filter(|(_, range)| range.first == 1);
        for (actor, range) in contiguous.take(self.config.limits.max_actors) {
            sync.walk.peer.cover_range(actor, range);
        }
        let come = come | 1 << part;
        sync.parts = Some(come).filter(|_| come.count_ones() < u32::from(parts));
        if sync.parts.is_none() {
            self.begin_walk(index);
        }
        Ok(())
    }

    /// Takes C and the pre-removed dots, both as of now.
    fn begin_walk(&mut self, index: usize) {
        let walk = &mut self.outgoing[index].walk;
        for (actor, clock) in self.vector.iter() {
            if clock.contiguous() > 0 {
                walk.vector.push((actor, SeqRange { first: 1, last: clock.contiguous() }));
            }
            walk.vector.extend(clock.ranges().iter().map(|&range| (actor, range)));
        }
        for (dot, at) in self.pre_removed.iter() {
            if let Some(entry) = self.keys.get(at.key) {
                let (kind, key, element) = (entry.kind, entry.key.clone(), at.element.clone());
                walk.pre_removed.push(PreRemovedItem { dot, kind, key, element });
            }
        }
    }

    /// Writes the next frame of a walk for the peer, new or again.
    pub(crate) fn write_sync_data(&mut self, now_ns: u64, slot: usize, buffer: &mut [u8]) -> Option<usize> {
        let header = self.header(FrameType::SyncData, slot);
        let sync = self.outgoing.iter_mut().find(|sync| sync.slot == slot)?;
        if now_ns < sync.pace_at_ns {
            return None;
        }
        let lost = sync.in_flight.iter().position(|frame| frame.lost);
        let offset = match lost {
            Some(offset) => offset,
            None if sync.may_walk() => {
                let mut items = [0u8; MAX_FRAME_BYTES];
                let mut writer = FrameWriter::new(&mut items, header)?;
                writer.push_sync_id(sync.id).ok()?;
                let begin = writer.payload_len();
                let count = sync.walk.fill(&self.keys, &mut writer);
                let end = writer.payload_len();
                if count == 0 {
                    return None;
                }
                let payload = lattice_wire::HEADER_BYTES;
                let items = items.get(payload + begin..payload + end)?.into();
                let frame = InFlight { items, count, sent_at_ns: now_ns, acknowledged: false, lost: false };
                sync.in_flight.push_back(frame);
                sync.in_flight.len() - 1
            }
            None => return None,
        };
        let frame = sync.in_flight.get_mut(offset)?;
        (frame.lost, frame.sent_at_ns) = (false, now_ns);
        sync.pace_at_ns = now_ns + PACE_NS;
        let mut writer = FrameWriter::new(buffer, header)?;
        writer.push_sync_id(sync.id).ok()?;
        writer.push_bytes(&frame.items).ok()?;
        writer.set_count(frame.count);
        writer.header_mut().lo = sync.first_index + offset as u64;
        Some(writer.finish())
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
            sync.progress_ns = now_ns;
        }
        if sync.is_over() {
            self.outgoing.retain(|sync| sync.slot != slot);
            self.stats.syncs_served += 1;
        }
        Ok(())
    }

    pub(crate) fn tick_outgoing(&mut self, now_ns: u64) {
        let timeout_ns = self.config.timers.sync_timeout_ns;
        self.outgoing.retain(|sync| now_ns.saturating_sub(sync.progress_ns) < timeout_ns);
        for sync in &mut self.outgoing {
            for frame in sync.in_flight.iter_mut().filter(|frame| !frame.acknowledged) {
                frame.lost |= now_ns.saturating_sub(frame.sent_at_ns) >= RESEND_AFTER_NS;
            }
        }
    }

    pub(crate) fn outgoing_deadline_ns(&self, now_ns: u64) -> u64 {
        let timers = &self.config.timers;
        let of_sync = |sync: &OutgoingSync| {
            let timeout = sync.progress_ns + timers.sync_timeout_ns;
            if !self.lanes[sync.slot].is_up(now_ns, timers.peer_timeout_ns) {
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

impl Walk {
    /// Pushes items until the frame is full, the walk is over, or enough keys were looked at. Returns their number.
    fn fill(&mut self, keys: &Keys, writer: &mut FrameWriter<'_>) -> u32 {
        let (mut count, mut looked_at) = (0, 0);
        loop {
            let next = match &self.stage {
                Stage::Done => return count,
                Stage::Begin => self.push(writer, &SyncItem::Begin { full_walk: false }, Stage::Vector(0)),
                Stage::Vector(i) => match self.vector.get(*i) {
                    Some(&(actor, SeqRange { first, last })) => {
                        self.push(writer, &SyncItem::VectorRange { actor, first, last }, Stage::Vector(i + 1))
                    }
                    None => Ok((Stage::PreRemoved(0), 0)),
                },
                Stage::PreRemoved(i) => match self.pre_removed.get(*i) {
                    Some(PreRemovedItem { dot, kind, key, element }) => {
                        let item = SyncItem::PreRemoved { dot: *dot, kind: *kind, key, element };
                        self.push(writer, &item, Stage::PreRemoved(i + 1))
                    }
                    None => Ok((Stage::VectorEnd, 0)),
                },
                Stage::VectorEnd => self.push(writer, &SyncItem::VectorEnd, Stage::Seek(0)),
                Stage::Seek(position) => {
                    looked_at += 1;
                    if looked_at > MAX_KEYS_PER_FRAME {
                        return count;
                    }
                    match keys.get(*position) {
                        None => Ok((Stage::End, 0)),
                        Some(entry) if entry.is_news_to(&self.peer) => {
                            Ok((Stage::Key(*position, Part::Head), 0))
                        }
                        Some(_) => Ok((Stage::Seek(position + 1), 0)),
                    }
                }
                Stage::Key(position, part) => match keys.get(*position) {
                    Some(entry) => push_part(entry, part, writer).map(|(part, pushed)| match part {
                        Some(part) => (Stage::Key(*position, part), pushed),
                        None => (Stage::Seek(position + 1), pushed),
                    }),
                    None => Ok((Stage::Seek(position + 1), 0)),
                },
                Stage::End => self.push(writer, &SyncItem::End, Stage::Done),
            };
            match next {
                Ok((stage, pushed)) => (self.stage, count) = (stage, count + pushed),
                Err(NoRoom) => return count,
            }
        }
    }

    fn push(
        &self,
        writer: &mut FrameWriter<'_>,
        item: &SyncItem<'_>,
        next: Stage,
    ) -> Result<(Stage, u32), NoRoom> {
        writer.push_item(item).map(|()| (next, 1))
    }
}

/// Pushes the next item of a key; returns what follows it in the key, and how many items were pushed.
fn push_part(
    entry: &KeyEntry,
    part: &Part,
    writer: &mut FrameWriter<'_>,
) -> Result<(Option<Part>, u32), NoRoom> {
    let next = match (part, &entry.value) {
        (Part::Head, _) => {
            writer.push_item(&SyncItem::Key { kind: entry.kind, key: &entry.key })?;
            Part::Touches(0)
        }
        (Part::Touches(i), value) => match entry.touches().get(*i) {
            Some(&Dot { actor, seq }) => {
                writer.push_item(&SyncItem::Touch { actor, seq })?;
                Part::Touches(i + 1)
            }
            None => return Ok((Some(first_part(value)), 0)),
        },
        (Part::Counter(after), Value::Counter(counter)) => {
            let mut rest = counter.entries().filter(|(actor, _)| after.is_none_or(|after| *actor > after));
            let Some((actor, own)) = rest.next() else { return Ok((Some(Part::End), 0)) };
            let (increments, decrements) = (own.increments, own.decrements);
            writer.push_item(&SyncItem::CounterEntry { actor, increments, decrements })?;
            Part::Counter(Some(actor))
        }
        (Part::Register, Value::Register(register)) => {
            if let (Some((hlc, actor)), Some(value)) = (register.stamp(), register.get()) {
                writer.push_item(&SyncItem::RegisterValue { hlc, actor, value })?;
            }
            Part::End
        }
        (Part::Elements(after), Value::Flag(_) | Value::Set(_)) => {
            let next = entry.value.dots().and_then(|store| store.next_element(after.as_deref()));
            let Some((element, dots)) = next else { return Ok((Some(Part::End), 0)) };
            if dots.len() > MAX_DOTS_PER_RECORD {
                return Ok((Some(Part::Dots { element: element.into(), dots: dots.into(), from: 0 }), 0));
            }
            writer.push_item(&SyncItem::Element { element, dots: Dots::from(dots), more: false })?;
            Part::Elements(Some(element.into()))
        }
        (Part::Dots { element, dots, from }, _) => {
            let to = dots.len().min(from + MAX_DOTS_PER_RECORD);
            let more = to < dots.len();
            writer.push_item(&SyncItem::Element { element, dots: Dots::from(&dots[*from..to]), more })?;
            if more {
                Part::Dots { element: element.clone(), dots: dots.clone(), from: to }
            } else {
                Part::Elements(Some(element.clone()))
            }
        }
        (Part::End | Part::Counter(_) | Part::Register | Part::Elements(_), _) => {
            writer.push_item(&SyncItem::KeyEnd)?;
            return Ok((None, 1));
        }
    };
    Ok((Some(next), 1))
}

fn first_part(value: &Value) -> Part {
    match value {
        Value::Counter(_) => Part::Counter(None),
        Value::Register(_) => Part::Register,
        Value::Flag(_) | Value::Set(_) => Part::Elements(None),
    }
}
