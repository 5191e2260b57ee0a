//! Causal stability: which keys nobody needs any more, and who still may.
//!
//! ```text
//!   own stable vector ──(Stable frames, with anti-entropy)──> every peer's lane
//!   an empty key whose last touches every member's stable vector covers ──> dropped, without a tombstone
//!   highest dropped operation of each actor ──> a walk for a peer that does not cover it is a full walk
//! ```
//!
//! A member's *stable* vector is what it would still have after the worst restart: what its last durable snapshot
//! covers, or, where nothing is kept, what it has now. A member that is away holds dropping back until it is forgotten.
//! That bound makes full walks rare; what makes dropping right is the full walk: a peer that came back from an older
//! copy has not seen the last operations on some dropped key, and may still hold dots of it (DottedDB, SRDS 2017).
//!
//! The record of what was dropped travels with every walk: a host that caught up from one that had dropped a key never
//! had that key, and must still not serve a third one as if it could name everything.

use crate::config::Storage;
use crate::engine::Engine;
use crate::entry::KeyEntry;
use crate::gossip::vector_parts;
use crate::keys::Position;
use crate::log::LogStore;
use crate::stats::DropReason;
use lattice_crdt::{ActorId, Dot, VersionVector};
use lattice_wire::{Frame, FrameType, FrameWriter, MAX_VECTOR_ENTRIES_PER_PART, VectorPart};
use std::collections::BTreeMap;

/// Keys looked at in one go, so that the worker is never held up.
const MAX_KEYS_PER_TICK: usize = 256;
/// While all of them could be dropped, the next are looked at so soon.
const GO_ON_NS: u64 = 1_000_000;

/// The highest operation of each actor on any key that was dropped here, or at whoever this engine caught up from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dropped(BTreeMap<ActorId, u64>);

impl Dropped {
    pub(crate) fn note(&mut self, dot: Dot) {
        let highest = self.0.entry(dot.actor).or_default();
        *highest = dot.seq.max(*highest);
    }

    /// An actor is settled: whoever has not settled it gets full walks anyway.
    pub(crate) fn remove(&mut self, actor: ActorId) {
        self.0.remove(&actor);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Dot> + '_ {
        self.0.iter().map(|(&actor, &seq)| Dot { actor, seq })
    }
}

impl<L: LogStore> Engine<L> {
    /// What this engine would still have after the worst restart.
    pub(crate) fn stable(&self) -> &VersionVector {
        match self.config.storage {
            Storage::Memory => &self.vector,
            Storage::Durable => &self.durable,
        }
    }

    /// Writes the next part of the stable vector to a peer that an exchange is under way with.
    pub(crate) fn write_stable(&mut self, slot: usize, buffer: &mut [u8]) -> Option<usize> {
        let part = self.lanes[slot].stable_part?;
        let parts = vector_parts(contiguous_parts(self.stable()).count());
        self.lanes[slot].stable_part = (part + 1 < parts).then_some(part + 1);
        let mut writer = FrameWriter::new(buffer, self.header(FrameType::Stable, slot))?;
        let entries = contiguous_parts(self.stable()).skip(usize::from(part) * MAX_VECTOR_ENTRIES_PER_PART);
        VectorPart::encode(&mut writer, part, parts, entries.take(MAX_VECTOR_ENTRIES_PER_PART)).ok()?;
        Some(writer.finish_untagged())
    }

    /// Within a session a stable vector only grows, so each part stands for itself.
    pub(crate) fn on_stable(&mut self, slot: usize, frame: &Frame<'_>) -> Result<(), DropReason> {
        let part = VectorPart::decode(frame.payload)?;
        let (stable, vector) = (&mut self.lanes[slot].stable, &self.vector);
        let open = part.entries().filter(|(actor, _)| !vector.is_settled(*actor));
        for (actor, range) in open.filter(|(_, range)| range.first == 1) {
            if stable.clock(actor).is_some() || stable.len() < self.config.limits.max_actors {
                stable.cover_range(actor, range);
            }
        }
        Ok(())
    }

    /// Drops keys that are empty and that no member needs any more; looks at a bounded number of them.
    pub(crate) fn tick_dropping(&mut self, now_ns: u64) {
        if now_ns < self.drop_due_ns {
            return;
        }
        self.drop_due_ns = now_ns + self.config.timers.anti_entropy_ns;
        // Positions in the burst, or in a sync that is coming in, must stay what they are. A snapshot says at its start
        // what was dropped: a key that went between that and its turn would be in neither.
        let walked = self.snapshot.as_ref().is_some_and(|snapshot| !snapshot.is_whole());
        if !self.burst.is_empty() || self.incoming.is_some() || walked {
            return;
        }
        let before = self.stats.keys_dropped;
        self.drop_stable_keys();
        if self.stats.keys_dropped - before == MAX_KEYS_PER_TICK as u64 {
            self.drop_due_ns = now_ns + GO_ON_NS;
        }
    }

    /// When dropping is to be thought of again.
    pub(crate) fn dropping_deadline_ns(&self) -> u64 {
        if self.keys.maybe_empty_len() == 0 { u64::MAX } else { self.drop_due_ns }
    }

    fn drop_stable_keys(&mut self) {
        let looks = MAX_KEYS_PER_TICK.min(self.keys.maybe_empty_len());
        self.lanes.iter_mut().for_each(|lane| lane.holds_back = 0);
        for _ in 0..looks {
            let Some(position) = self.keys.next_maybe_empty() else { break };
            if self.is_idle(position) && self.is_stable(position) {
                for touch in self.keys.drop_key(position) {
                    self.dropped.note(touch);
                }
                self.stats.keys_dropped += 1;
            } else {
                self.keys.keep_for_now(position);
            }
        }
        // What was seen of some stands for all.
        let left = self.keys.maybe_empty_len();
        for lane in &mut self.lanes {
            lane.holds_back = lane.holds_back * left as u64 / looks.max(1) as u64;
        }
    }

    /// Whether the key is empty, and nothing refers to its position.
    fn is_idle(&self, position: Position) -> bool {
        self.keys.get(position).is_some_and(KeyEntry::is_empty)
            && !self.keys.is_in_use(position)
            && !self.deferred.holds(position)
            && !self.pre_removed.iter().any(|(_, at)| at.key == position)
            && !self.outgoing.iter().any(|sync| sync.is_inside(position))
    }

    /// Whether every member has the key's last operations for good. Notes those that have not.
    fn is_stable(&mut self, position: Position) -> bool {
        let Some(entry) = self.keys.get(position) else { return false };
        // All had what settled actors did when they agreed; who has lost it since gets a full walk.
        let covers = |stable: &VersionVector| {
            let mut touches =
                entry.touches(self.keys.actors()).filter(|touch| !self.vector.is_settled(touch.actor));
            touches.all(|touch| touch.seq <= stable.contiguous(touch.actor))
        };
        let own = match self.config.storage {
            Storage::Memory => &self.vector,
            Storage::Durable => &self.durable,
        };
        let mut everywhere = covers(own);
        for lane in self.lanes.iter_mut().filter(|lane| !lane.forgotten) {
            if !covers(&lane.stable) {
                lane.holds_back += 1;
                everywhere = false;
            }
        }
        everywhere
    }
}

/// The contiguous part of the seqs of every actor that is not settled.
pub(crate) fn contiguous_parts(
    vector: &VersionVector,
) -> impl Iterator<Item = (ActorId, lattice_crdt::SeqRange)> + '_ {
    let part = |(actor, clock): (ActorId, &lattice_crdt::Clock)| {
        let last = if zoo!(HighestForContiguous) { clock.highest() } else { clock.contiguous() };
        (actor, lattice_crdt::SeqRange { first: 1, last })
    };
    vector.open().map(part).filter(|(_, range)| range.last > 0)
}
