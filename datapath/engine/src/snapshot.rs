//! Snapshots: the state as frames for storage, walked in slices while the engine goes on.
//!
//! ```text
//!   begin_snapshot ──> write_snapshot, frame by frame ──> storage makes them durable ──> snapshot_is_durable
//!     C = vector now     the frames of a state sync to whom nothing is known                peers hear of C
//! ```
//!
//! A snapshot is a state sync whose receiver is storage: the same walk, the same items, each frame with its own tag and
//! its place in the stream. So it is right for the same reason: what it shows beyond C is not covered by it, and comes
//! again from the log (own operations) or from peers. Before a snapshot counts as durable, the log must be durable up to
//! the last own operation that the walk may have seen: up to [`Engine::last_seq`] as of its last frame.
//!
//! What can go wrong: a snapshot that is begun and never walked to its end holds back the dropping of keys. One whose
//! epoch ended on the way stops early; [`Engine::snapshot_is_whole`] tells, before it takes the place of a better one.

use crate::engine::Engine;
use crate::log::LogStore;
use crate::walk::Walk;
use lattice_crdt::VersionVector;
use lattice_wire::{FrameType, FrameWriter, Header};

/// A snapshot that is being written, or waits to become durable.
pub(crate) struct Snapshot {
    number: u32,
    next_index: u64,
    walk: Walk,
}

impl Snapshot {
    pub(crate) fn walk(&self) -> &Walk {
        &self.walk
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.walk.is_done()
    }
}

impl<L: LogStore> Engine<L> {
    /// Begins a snapshot of the state as it is now and returns its number; one that was begun before is given up.
    pub fn begin_snapshot(&mut self) -> u32 {
        let nobody = VersionVector::new(self.vector.limits());
        let walk =
            Walk::begin_full(nobody, &self.vector, &self.folds, &self.dropped, &self.pre_removed, &self.keys);
        let number = self.next_snapshot;
        self.next_snapshot = number.wrapping_add(1);
        self.snapshot = Some(Snapshot { number, next_index: 0, walk });
        number
    }

    /// Writes the next frame of the snapshot and says how long it is; `None` when there is no more. At most
    /// [`lattice_wire::MAX_FRAME_BYTES`], and a bounded number of keys looked at for it: an empty frame is possible,
    /// of length 0, where a slice found nothing.
    pub fn write_snapshot(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let mut header = self.snapshot_header();
        let snapshot = self.snapshot.as_mut().filter(|snapshot| !snapshot.is_whole())?;
        (header.dst_session, header.lo) = (snapshot.number, snapshot.next_index);
        let mut writer = FrameWriter::new(buffer, header)?;
        let count = snapshot.walk.fill(&self.keys, &mut writer);
        if count == 0 {
            return Some(0);
        }
        snapshot.next_index += 1;
        writer.set_count(count);
        Some(writer.finish())
    }

    /// Whether all frames of the snapshot with this number have been written.
    pub fn snapshot_is_whole(&self, number: u32) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.number == number && snapshot.is_whole())
    }

    /// The vector that the present snapshot covers: C.
    pub fn snapshot_vector(&self) -> Option<&VersionVector> {
        self.snapshot.as_ref().map(|snapshot| snapshot.walk.vector())
    }

    /// All frames of the snapshot with this number are durable, and so is the log as far as the walk may have seen it.
    /// From now on peers are told that this node will not fall back behind C. False, and nothing is told, if that is
    /// not the present snapshot or it is not whole.
    pub fn snapshot_is_durable(&mut self, number: u32) -> bool {
        let of_that_number = |snapshot: &mut Snapshot| snapshot.number == number && snapshot.is_whole();
        let Some(snapshot) = self.snapshot.take_if(of_that_number) else { return false };
        self.durable = snapshot.walk.into_vector();
        true
    }

    fn snapshot_header(&self) -> Header {
        Header {
            frame_type: FrameType::SyncData,
            cluster_tag: self.config.cluster_tag,
            node: self.config.actor.node(),
            dest_node: self.config.actor.node(),
            shard: self.config.shard,
            actor: self.config.actor,
            src_session: self.config.session,
            dst_session: 0,
            lo: 0,
            count: 0,
            log_first: self.log.first_seq(),
        }
    }
}
