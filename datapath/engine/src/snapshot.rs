//! Snapshots: the state as frames for storage, walked in slices while the engine goes on.
//!
//! ```text
//!   begin_snapshot ──> write_snapshot, frame by frame ──> storage makes them durable ──> snapshot_is_durable
//!     C = vector now     the frames of a state sync to whom nothing is known                peers hear of C
//! ```
//!
//! A snapshot is a state sync whose receiver is storage: the same walk, the same items, each frame with its own tag. So
//! it is right for the same reason: what it shows beyond C is not covered by it, and comes again from the log (own
//! operations) or from peers. Before a snapshot counts as durable, the log must be durable up to the last own operation
//! that the walk may have seen: up to [`Engine::last_seq`] as of its last frame.

use crate::engine::Engine;
use crate::log::LogStore;
use crate::walk::Walk;
use lattice_crdt::VersionVector;
use lattice_wire::{FrameType, FrameWriter, Header};

impl<L: LogStore> Engine<L> {
    /// Begins a snapshot of the state as it is now; one that was begun before is given up.
    pub fn begin_snapshot(&mut self) {
        let nobody = VersionVector::new(self.vector.limits());
        let walk = Walk::begin_full(nobody, &self.vector, &self.dropped, &self.pre_removed, &self.keys);
        self.snapshot = Some(walk);
    }

    /// Writes the next frame of the snapshot and says how long it is; `None` when there is no more. At most
    /// [`lattice_wire::MAX_FRAME_BYTES`], and a bounded number of keys looked at for it: an empty frame is possible,
    /// of length 0, where a slice found nothing.
    pub fn write_snapshot(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let header = self.snapshot_header();
        let walk = self.snapshot.as_mut().filter(|walk| !walk.is_done())?;
        let mut writer = FrameWriter::new(buffer, header)?;
        let count = walk.fill(&self.keys, &mut writer);
        if count == 0 {
            return Some(0);
        }
        writer.set_count(count);
        Some(writer.finish())
    }

    /// The vector that the snapshot covers: C.
    pub fn snapshot_vector(&self) -> Option<&VersionVector> {
        self.snapshot.as_ref().map(Walk::vector)
    }

    /// All frames of the snapshot are durable, and so is the log as far as the walk may have seen it. From now on
    /// peers are told that this node will not fall back behind C.
    pub fn snapshot_is_durable(&mut self) {
        if let Some(walk) = self.snapshot.take_if(|walk| walk.is_done()) {
            self.durable = walk.into_vector();
        }
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
