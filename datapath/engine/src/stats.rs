//! Counters of one engine, and why it dropped what it dropped.

use lattice_crdt::Kind;
use lattice_wire::WireError;

/// Why a frame, or the rest of one, had no effect. Nothing is lost by it: repair brings the operations again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    /// Not a frame of this cluster and version; the wire codec says why.
    #[error("wire: {0}")]
    Wire(#[from] WireError),
    /// A record in a frame that is otherwise whole does not decode.
    #[error("record: {0}")]
    Record(#[from] lattice_wire::RecordError),
    /// The frame is for another node.
    #[error("for another node")]
    OtherNode,
    /// The frame is for another shard.
    #[error("for another shard")]
    OtherShard,
    /// The sender is not a configured peer.
    #[error("unknown sender")]
    UnknownPeer,
    /// The sender claims this node's own id.
    #[error("claims to come from this node")]
    OwnNode,
    /// The frame belongs to a session that is over.
    #[error("stale session")]
    StaleSession,
    /// Accepting it would exceed the out-of-order ranges, actors or pre-removed dots that may be held.
    #[error("out-of-order bound reached")]
    OutOfOrderBound,
    /// A record names its key by an alias that means nothing here: it has to come again, with its key.
    #[error("unknown alias")]
    UnknownAlias,
    /// The sender, or this node, was forgotten.
    #[error("of a forgotten node")]
    Forgotten,
    /// It makes no sense in the present state of the lane.
    #[error("unexpected")]
    Unexpected,
    /// An item of a state sync where none of its sort can stand: the sync is abandoned.
    #[error("state sync out of sequence")]
    OutOfSequence,
}

/// Frames that the wire codec refused, by [`lattice_wire::WireError`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireDrops {
    /// Shorter than a header and a tag.
    pub too_short: u64,
    /// Longer than a frame may be.
    pub too_long: u64,
    /// Without the magic bytes.
    pub bad_magic: u64,
    /// Of another version.
    pub bad_version: u64,
    /// Of an unknown type.
    pub bad_type: u64,
    /// Of another cluster.
    pub wrong_cluster: u64,
    /// With a payload length that contradicts the frame's.
    pub bad_length: u64,
    /// With a reserved byte that is not zero.
    pub bad_reserved: u64,
    /// Sealed, where nothing opens it.
    pub sealed: u64,
    /// With an interval that overflows.
    pub bad_interval: u64,
    /// Damaged: the tag does not match.
    pub bad_tag: u64,
}

impl WireDrops {
    pub(crate) fn count(&mut self, error: WireError) {
        let counter = match error {
            WireError::TooShort => &mut self.too_short,
            WireError::TooLong => &mut self.too_long,
            WireError::BadMagic => &mut self.bad_magic,
            WireError::BadVersion(_) => &mut self.bad_version,
            WireError::BadType(_) => &mut self.bad_type,
            WireError::WrongCluster => &mut self.wrong_cluster,
            WireError::BadLength => &mut self.bad_length,
            WireError::BadReserved => &mut self.bad_reserved,
            WireError::Sealed => &mut self.sealed,
            WireError::BadInterval => &mut self.bad_interval,
            WireError::BadTag => &mut self.bad_tag,
        };
        *counter += 1;
    }
}

/// How long after a frame was sent its acknowledgement came: an upper bound of the time in which its operations were merged
/// there. It holds the way there, merging, publishing, the peer's waiting for more to acknowledge (`ack_delay_ns`) and the way
/// back. One sample for each acknowledgement, of the newest frame in it; frames that were sent twice give none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AckLatency {
    /// Samples up to the bound of each bucket ([`AckLatency::FIRST_BOUND_NS`]) and above the one before; the last has no bound.
    pub buckets: [u64; AckLatency::BUCKETS],
    /// Sum of the samples, nanoseconds.
    pub sum_ns: u64,
}

impl AckLatency {
    /// How many buckets.
    pub const BUCKETS: usize = 16;
    /// The upper bound of the first, a power of two; each next one's is twice that.
    pub const FIRST_BOUND_NS: u64 = 1 << 14;

    pub(crate) fn count(&mut self, sample_ns: u64) {
        let beyond = sample_ns.saturating_sub(1) >> Self::FIRST_BOUND_NS.ilog2();
        let bucket = (u64::BITS - beyond.leading_zeros()) as usize;
        self.buckets[bucket.min(Self::BUCKETS - 1)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(sample_ns);
    }
}

/// Records merged, by the type of their key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergedByType {
    /// Counters.
    pub counters: u64,
    /// Flags of both kinds.
    pub flags: u64,
    /// Registers.
    pub registers: u64,
    /// Sets.
    pub sets: u64,
}

impl MergedByType {
    #[inline]
    pub(crate) fn count(&mut self, kind: Kind) {
        let counter = match kind {
            Kind::Counter => &mut self.counters,
            Kind::FlagEnableWins | Kind::FlagDisableWins => &mut self.flags,
            Kind::Register => &mut self.registers,
            Kind::Set => &mut self.sets,
        };
        *counter += 1;
    }
}

/// Counters of one engine since it began. All monotonic but those that say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Local operations applied.
    pub ops_applied: u64,
    /// Local operations refused with an error.
    pub ops_refused: u64,
    /// Local increments that shared the record of an earlier one.
    pub ops_coalesced: u64,
    /// Records appended to the log.
    pub records_logged: u64,
    /// Frames received and decoded.
    pub frames_received: u64,
    /// Frames handed out for transmission.
    pub frames_sent: u64,
    /// Records merged.
    pub records_merged: u64,
    /// Those of them that name a key, by its type. The others only fill a number in the sequence.
    pub merged: MergedByType,
    /// Records skipped because their dot was covered.
    pub records_duplicate: u64,
    /// Records skipped because a running sync covers them.
    pub records_in_sync: u64,
    /// Frames dropped by the wire codec, by reason.
    pub dropped_wire: WireDrops,
    /// Frames with a record that does not decode.
    pub dropped_record: u64,
    /// Frames for another node or shard, or from a node that is not a peer.
    pub dropped_address: u64,
    /// Frames of a session that is over.
    pub dropped_stale_session: u64,
    /// Frames refused at an out-of-order bound.
    pub dropped_out_of_order_bound: u64,
    /// Frames with a record that named its key by an alias that meant nothing here.
    pub dropped_unknown_alias: u64,
    /// Frames of forgotten epochs, and those that told this node that it was forgotten itself.
    pub dropped_forgotten: u64,
    /// Operations of epochs that are over that were given up, since no member had them.
    pub gaps_closed: u64,
    /// Frames that made no sense in the present state.
    pub dropped_unexpected: u64,
    /// Data frames sent again.
    pub frames_retransmitted: u64,
    /// Retransmission timeouts.
    pub retransmission_timeouts: u64,
    /// How long acknowledgements took.
    pub ack_latency: AckLatency,
    /// State syncs asked for, completed and abandoned by this node as receiver.
    pub syncs_requested: u64,
    /// See `syncs_requested`.
    pub syncs_completed: u64,
    /// See `syncs_requested`.
    pub syncs_abandoned: u64,
    /// State syncs served to peers.
    pub syncs_served: u64,
    /// Bytes of items sent in state syncs, each counted once.
    pub sync_bytes_sent: u64,
    /// Full walks begun for peers: they came back from an older copy, or are new.
    pub full_walks: u64,
    /// Keys dropped because they were empty everywhere.
    pub keys_dropped: u64,
    /// Publications for which the segment had no room.
    pub unpublished: u64,
    /// Rounds of folding that came to a decision, told by this node or to it.
    pub folds: u64,
    /// Gauge: actors, nodes and epochs of nodes, in the version vector; without those that are folded.
    pub actors: u64,
    /// Gauge: those of them that are over, and not folded yet.
    pub epochs_dead: u64,
    /// Gauge: epochs that are over and folded.
    pub epochs_folded: u64,
    /// Gauge: own operations that the log holds.
    pub log_records: u64,
    /// Gauge: keys held.
    pub keys: u64,
    /// Gauge: pre-removed dots held.
    pub pre_removed: u64,
}

impl EngineStats {
    pub(crate) fn count_drop(&mut self, reason: DropReason) {
        match reason {
            DropReason::Wire(error) => self.dropped_wire.count(error),
            DropReason::Record(_) => self.dropped_record += 1,
            DropReason::StaleSession => self.dropped_stale_session += 1,
            DropReason::UnknownAlias => self.dropped_unknown_alias += 1,
            DropReason::Forgotten => self.dropped_forgotten += 1,
            DropReason::OutOfOrderBound => self.dropped_out_of_order_bound += 1,
            DropReason::Unexpected | DropReason::OutOfSequence => self.dropped_unexpected += 1,
            DropReason::OtherNode
            | DropReason::OtherShard
            | DropReason::UnknownPeer
            | DropReason::OwnNode => self.dropped_address += 1,
        }
    }
}

/// One peer as this engine knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its node id.
    pub node: u16,
    /// The session that this engine has adopted of it; 0 while there is none.
    pub session: u32,
    /// A session is established and it was heard within the peer timeout.
    pub up: bool,
    /// Own operations that it has not acknowledged contiguously.
    pub unacknowledged_seqs: u64,
    /// Own operations that it would not have after the worst restart, as far as it has said.
    pub undurable_seqs: u64,
    /// Its last heartbeat showed the same state and vector digest as this engine has now.
    pub converged: bool,
    /// Smoothed round trip, nanoseconds; 0 before the first sample.
    pub smoothed_rtt_ns: u64,
    /// Time since it was last heard, nanoseconds; `None`: never.
    pub silent_ns: Option<u64>,
    /// Empty keys, about, that stay because this peer may not have their last operations for good.
    pub holds_back: u64,
    /// Epochs that are over are not folded because this peer is away, or has not agreed yet.
    pub holds_folding: bool,
    /// It is no member at present: it was forgotten, and has not come back in a new epoch.
    pub forgotten: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_in_the_bucket_of_the_next_bound() {
        let bucket_of = |sample_ns| {
            let mut latency = AckLatency::default();
            latency.count(sample_ns);
            assert_eq!(latency.sum_ns, sample_ns);
            latency.buckets.iter().position(|count| *count == 1)
        };
        let first = AckLatency::FIRST_BOUND_NS;
        let cases = [(0, 0), (first, 0), (first + 1, 1), (2 * first, 1), (2 * first + 1, 2)];
        for (sample_ns, bucket) in cases {
            assert_eq!(bucket_of(sample_ns), Some(bucket), "{sample_ns}");
        }
        let last = AckLatency::BUCKETS - 1;
        assert_eq!(bucket_of(first << (last - 1)), Some(last - 1));
        assert_eq!(bucket_of((first << (last - 1)) + 1), Some(last));
        assert_eq!(bucket_of(u64::MAX), Some(last));
    }
}
