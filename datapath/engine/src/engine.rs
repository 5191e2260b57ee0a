//! The engine itself: what it holds, how a frame finds its handler, and whose turn it is to send.

use crate::aliases::NamesOfLog;
use crate::burst::Burst;
use crate::config::{EngineConfig, EngineConfigError, Instant};
use crate::digest::vector_digest;
use crate::fold::Folds;
use crate::forget::Forgotten;
use crate::keys::{Keys, Position};
use crate::lane::{Lane, Session, bounds};
use crate::log::{LogStore, MemoryLog};
use crate::publish::Deferred;
use crate::random::Random;
use crate::snapshot::Snapshot;
use crate::stability::Dropped;
use crate::stats::{DropReason, EngineStats, PeerStatus};
use crate::sync_receive::IncomingSync;
use crate::sync_send::{OutgoingSync, SyncBudget};
use lattice_crdt::limits::{MAX_ACTORS, MAX_DOTS_PER_RECORD};
use lattice_crdt::{ActorId, Dot, Hlc, PreRemoved, VectorLimits, VersionVector};
use lattice_wire::{Frame, FrameType, Header, MAX_RECORD_BYTES, WireError, decode_frame, write_checksum};

/// What the vector's digest is changed by while counters are being folded.
const FOLDING: u64 = 0xF01D_F01D_F01D_F01D;

/// The replication engine of one shard. See the crate's documentation for the way things take through it.
pub struct Engine<L = MemoryLog> {
    pub(crate) config: EngineConfig,
    pub(crate) keys: Keys,
    pub(crate) vector: VersionVector,
    pub(crate) pre_removed: PreRemoved<PreRemovedAt>,
    pub(crate) hlc: Hlc,
    pub(crate) log: L,
    pub(crate) names_of_log: NamesOfLog,
    /// Aliases given to keys so far; none is ever given again.
    pub(crate) aliases_given: u32,
    /// Last seq given out; runs ahead of the log by the present burst.
    pub(crate) next_seq: u64,
    pub(crate) burst: Burst,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) incoming: Option<IncomingSync>,
    pub(crate) outgoing: Vec<OutgoingSync>,
    pub(crate) next_sync_id: u32,
    /// Highest operations on keys that were dropped.
    pub(crate) dropped: Dropped,
    /// C of the last snapshot that is durable.
    pub(crate) durable: VersionVector,
    /// The snapshot that is being written.
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) next_snapshot: u32,
    /// A peer knows more of this epoch than this engine.
    pub(crate) epoch_is_over: bool,
    /// Nodes that are no members any more.
    pub(crate) forgotten: Forgotten,
    /// Epochs that are over, and lie in one slot of each counter.
    pub(crate) folds: Folds,
    /// The state, or part of it, came from storage.
    pub(crate) recovered: bool,
    /// There was a session with some peer.
    pub(crate) met_anybody: bool,
    pub(crate) drop_due_ns: u64,
    /// Keys for which the publisher has room, less those made since it said so.
    pub(crate) room: usize,
    pub(crate) deferred: Deferred,
    pub(crate) random: Random,
    pub(crate) stats: EngineStats,
    pub(crate) anti_entropy_due_ns: u64,
    /// Scratch of local operations and merges, kept so that they need no allocation.
    pub(crate) seen_dots: Vec<Dot>,
    pub(crate) scratch_element: Vec<u8>,
    /// The last tick. While there is a session, heartbeats make for one in each of their periods, unless the process
    /// is paused.
    pub(crate) ticked_ns: u64,
    /// From when heartbeats tell how far the clocks of peers are off.
    pub(crate) clocks_comparable_from_ns: u64,
    /// Lane that sends first at the next call: peers take turns.
    turn: usize,
    /// Something happened since `transmit` last found nothing to do.
    awake: bool,
    deadline_ns: u64,
}

/// Where a pre-removed dot would live if its record came: rule 2 is carried on to peers in state syncs.
pub(crate) struct PreRemovedAt {
    pub(crate) key: Position,
    pub(crate) element: Box<[u8]>,
}

impl Engine<MemoryLog> {
    /// An empty engine with its log in memory.
    ///
    /// # Errors
    /// [`EngineConfigError`] when the configuration contradicts itself.
    pub fn new(config: EngineConfig, now: Instant) -> Result<Self, EngineConfigError> {
        Self::in_memory(config, now)
    }
}

impl<L: LogStore> Engine<L> {
    /// As [`Engine::new`], for whoever has engines of several kinds of logs.
    ///
    /// # Errors
    /// [`EngineConfigError`] when the configuration contradicts itself.
    pub fn in_memory(config: EngineConfig, now: Instant) -> Result<Self, EngineConfigError>
    where
        L: From<MemoryLog>,
    {
        check(&config)?;
        let log = MemoryLog::new(config.limits.log_bytes, config.limits.log_records);
        Self::with_log(config, log.into(), now)
    }

    /// An empty engine over an empty log of the caller's.
    ///
    /// # Errors
    /// [`EngineConfigError`] when the configuration contradicts itself.
    pub fn with_log(config: EngineConfig, log: L, now: Instant) -> Result<Self, EngineConfigError> {
        check(&config)?;
        let limits = &config.limits;
        let vector = VersionVector::new(VectorLimits {
            max_actors: limits.max_actors,
            max_ranges_per_actor: limits.max_ranges_per_actor,
        });
        let mut random = Random::new(config.random_seed ^ u64::from(config.shard).rotate_left(40));
        let mut burst = Burst::new(limits.max_burst_ops);
        burst.limit_to(log.room());
        Ok(Self {
            keys: Keys::new(limits.max_keys),
            durable: vector.clone(),
            vector,
            pre_removed: PreRemoved::new(limits.max_pre_removed.saturating_mul(sources(&config))),
            hlc: Hlc::default(),
            log,
            names_of_log: NamesOfLog::new(limits.log_records),
            aliases_given: 0,
            next_seq: 0,
            burst,
            lanes: config.peers.iter().map(|&node| Lane::new(node, limits)).collect(),
            incoming: None,
            outgoing: Vec::new(),
            next_sync_id: random.next() as u32,
            dropped: Dropped::default(),
            snapshot: None,
            next_snapshot: random.next() as u32,
            epoch_is_over: false,
            forgotten: Forgotten::new(config.actor, random.next() as u32, now.monotonic_ns),
            folds: Folds::new(random.next() as u32, now.monotonic_ns),
            recovered: false,
            met_anybody: false,
            room: usize::MAX,
            drop_due_ns: now.monotonic_ns + config.timers.anti_entropy_ns,
            deferred: Deferred::default(),
            stats: EngineStats::default(),
            anti_entropy_due_ns: now.monotonic_ns + random.jittered(config.timers.anti_entropy_ns),
            seen_dots: Vec::with_capacity(lattice_crdt::limits::MAX_ACTORS),
            scratch_element: Vec::with_capacity(lattice_crdt::limits::MAX_ELEMENT_BYTES),
            ticked_ns: now.monotonic_ns,
            clocks_comparable_from_ns: now.monotonic_ns,
            turn: 0,
            awake: true,
            deadline_ns: now.monotonic_ns,
            random,
            config,
        })
    }

    /// The shard that this engine replicates.
    pub fn shard(&self) -> u16 {
        self.config.shard
    }

    /// Whose operations are made here: this node in its present epoch.
    pub fn actor(&self) -> ActorId {
        self.config.actor
    }

    /// The present session: what peers acknowledge holds for this one only.
    pub fn session(&self) -> u32 {
        self.config.session
    }

    /// Seq of the newest own operation.
    pub fn last_seq(&self) -> u64 {
        self.next_seq
    }

    /// The log of own operations: everything up to its last seq is logged.
    pub fn log(&self) -> &L {
        &self.log
    }

    /// Digest of the state: equal states have equal digests.
    pub fn state_digest(&self) -> u64 {
        self.keys.state_digest()
    }

    /// Digest of the version vector, and of what is folded: equal digests and equal state digests mean that two nodes are the
    /// same. While counters are being folded it is one that no other has, so that nobody takes the difference for a fault.
    pub fn vector_digest(&self) -> u64 {
        let passing = if self.folds.pass.is_some() { FOLDING } else { 0 };
        vector_digest(&self.vector).wrapping_add(self.folds.digest).wrapping_add(passing)
    }

    /// The version vector: which operations this engine's state holds.
    pub fn vector(&self) -> &VersionVector {
        &self.vector
    }

    /// Counters and gauges.
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            keys: self.keys.len() as u64,
            pre_removed: self.pre_removed.len() as u64,
            unpublished: self.deferred.len() as u64,
            actors: self.vector.len() as u64,
            epochs_dead: self.dead_epochs() as u64,
            epochs_folded: self.folds.len() as u64,
            log_records: (self.log.last_seq() + 1).saturating_sub(self.log.first_seq()),
            ..self.stats
        }
    }

    /// What this engine knows of the peer in `slot` (its index in [`EngineConfig::peers`]).
    pub fn peer_status(&self, slot: usize, now: Instant) -> Option<PeerStatus> {
        let lane = self.lanes.get(slot)?;
        let up = lane.is_up(now.monotonic_ns, self.config.timers.peer_timeout_ns);
        let same = lane.view.known
            && lane.view.state_digest == self.state_digest()
            && lane.view.vector_digest == self.vector_digest();
        Some(PeerStatus {
            node: lane.node,
            session: lane.session_id(),
            up,
            unacknowledged_seqs: self.next_seq - lane.sender.acked().min(self.next_seq),
            undurable_seqs: self.next_seq - self.durable_on(slot).unwrap_or(0).min(self.next_seq),
            converged: up && same,
            smoothed_rtt_ns: lane.sender.smoothed_rtt_ns(),
            silent_ns: lane.last_heard_ns.map(|heard_ns| now.monotonic_ns.saturating_sub(heard_ns)),
            holds_back: lane.holds_back,
            holds_folding: lane.folds.holds_back,
            forgotten: lane.forgotten,
        })
    }

    /// By how much this node's wall clock is ahead of *all* peers that are heard; 0 when it is not, or none is.
    pub fn clock_ahead_ns(&self) -> u64 {
        let least = self.lanes.iter().filter_map(Lane::ahead_ns).min().unwrap_or(0);
        u64::try_from(least).unwrap_or(0)
    }

    /// What every frame of this cluster carries.
    pub fn cluster_tag(&self) -> u32 {
        self.config.cluster_tag
    }

    /// Merges one received frame that is not sealed. Readers see its effect after the next [`Engine::commit`].
    ///
    /// # Errors
    /// Why the frame, or the rest of it, had no effect; already counted in [`Engine::stats`].
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) -> Result<(), DropReason> {
        let result = match decode_frame(bytes, self.config.cluster_tag) {
            Ok(frame) => self.receive_frame(now, &frame),
            Err(error) => Err(error.into()),
        };
        self.count_result(result)
    }

    /// As [`Engine::receive`], for a frame whose tag has been verified: it was sealed, and has been opened.
    ///
    /// # Errors
    /// As [`Engine::receive`].
    pub fn receive_opened(&mut self, now: Instant, frame: &Frame<'_>) -> Result<(), DropReason> {
        let result = self.receive_frame(now, frame);
        self.count_result(result)
    }

    /// Counts a frame that was refused before it came here.
    pub fn refuse(&mut self, error: WireError) {
        self.stats.dropped_wire.count(error);
    }

    fn count_result(&mut self, result: Result<(), DropReason>) -> Result<(), DropReason> {
        result.inspect_err(|reason| self.stats.count_drop(*reason))
    }

    fn receive_frame(&mut self, now: Instant, frame: &Frame<'_>) -> Result<(), DropReason> {
        let slot = self.lane_of(&frame.header)?;
        self.stats.frames_received += 1;
        self.wake();
        let now_ns = now.monotonic_ns;
        self.check_sealed(now_ns, slot, frame)?;
        if frame.header.frame_type == FrameType::Hello {
            return self.on_hello(now_ns, slot, frame);
        }
        let lane = &mut self.lanes[slot];
        let session = Session { id: frame.header.src_session, actor: frame.header.actor };
        if lane.session != Some(session) || frame.header.dst_session != self.config.session {
            lane.owe_hello(now_ns, frame.header.src_session);
            return Err(DropReason::StaleSession);
        }
        lane.heard(now_ns, &self.config.timers);
        match frame.header.frame_type {
            FrameType::Hello => Ok(()),
            FrameType::Data => self.on_data(now_ns, slot, frame),
            FrameType::Ack => self.on_ack(now_ns, slot, frame),
            FrameType::Heartbeat => self.on_heartbeat(now, slot, frame),
            FrameType::Vector => self.on_vector(now_ns, slot, frame),
            FrameType::SyncRequest => self.on_sync_request(now_ns, slot, frame),
            FrameType::SyncData => self.on_sync_data(now_ns, slot, frame),
            FrameType::SyncAck => self.on_sync_ack(now_ns, slot, frame),
            FrameType::Stable => self.on_stable(slot, frame),
            FrameType::Forget => self.on_forget(slot, frame),
            FrameType::Fold => self.on_fold(slot, frame),
        }
    }

    /// The lane that a frame belongs to, when it is meant for this engine at all.
    fn lane_of(&self, header: &Header) -> Result<usize, DropReason> {
        if header.node == self.config.actor.node() {
            return Err(DropReason::OwnNode);
        }
        if header.dest_node != self.config.actor.node() {
            return Err(DropReason::OtherNode);
        }
        if header.shard != self.config.shard {
            return Err(DropReason::OtherShard);
        }
        if header.actor.node() != header.node {
            return Err(DropReason::UnknownPeer);
        }
        self.lanes.iter().position(|lane| lane.node == header.node).ok_or(DropReason::UnknownPeer)
    }

    fn on_ack(&mut self, now_ns: u64, slot: usize, frame: &Frame<'_>) -> Result<(), DropReason> {
        let ack = lattice_wire::Ack::decode(frame.payload)?;
        let highest = ack.ranges.iter().last().map_or(ack.contiguous, |range| range.last);
        if ack.actor != self.config.actor {
            return Err(DropReason::Unexpected);
        }
        self.check_made(Dot { actor: ack.actor, seq: highest })?;
        let bounds = bounds(&self.config.timers);
        let (lane, names) = (&mut self.lanes[slot], &self.names_of_log);
        let known = &mut lane.known_aliases;
        let mut learnt = |seqs: std::ops::RangeInclusive<u64>| {
            seqs.map(|seq| names.get(seq)).filter(|alias| *alias != 0).for_each(|alias| known.insert(alias));
        };
        let after_ns =
            lane.sender.acknowledged(now_ns, ack.contiguous, ack.ranges.iter(), bounds, &mut learnt);
        if let Some(after_ns) = after_ns {
            self.stats.ack_latency.count(after_ns);
        }
        Ok(())
    }

    /// Runs the timers that are due. Call it when [`Engine::deadline_ns`] has come; calling it early does no harm.
    pub fn tick(&mut self, now: Instant) {
        let now_ns = now.monotonic_ns;
        let timers = &self.config.timers;
        if now_ns.saturating_sub(self.ticked_ns) > 2 * timers.heartbeat_ns {
            self.clocks_comparable_from_ns = now_ns + timers.heartbeat_ns;
        }
        self.ticked_ns = now_ns;
        for lane in &mut self.lanes {
            if !lane.is_up(now_ns, timers.peer_timeout_ns) {
                lane.forget_offsets();
            } else if lane.sender.tick(now_ns, bounds(timers)) {
                self.stats.retransmission_timeouts += 1;
            }
        }
        if now_ns >= self.deferred.deadline_ns() {
            self.deferred.retry(&mut self.keys);
        }
        self.tick_gossip(now_ns);
        self.tick_incoming(now_ns);
        self.tick_outgoing(now_ns);
        self.tick_forgotten(now_ns);
        self.tick_folding(now_ns);
        self.tick_dropping(now_ns);
        self.wake();
    }

    /// When the engine next wants [`Engine::tick`] and [`Engine::transmit`], as monotonic nanoseconds. Valid after
    /// `transmit` has returned `None`.
    pub fn deadline_ns(&self) -> u64 {
        if self.awake { 0 } else { self.deadline_ns }
    }

    pub(crate) fn wake(&mut self) {
        self.awake = true;
    }

    /// Writes the next frame that is due into `frame` and says for which peer slot it is and how long it is. Call it
    /// until it returns `None`, or the port is full: what is not asked for now is still due later.
    ///
    /// `frame` must hold [`lattice_wire::MAX_FRAME_BYTES`]; with less room, nothing is ever sent.
    pub fn transmit(&mut self, now: Instant, frame: &mut [u8]) -> Option<(usize, usize)> {
        let mut alone = SyncBudget::ALONE;
        self.transmit_within(now, frame, &mut alone)
    }

    /// As [`Engine::transmit`], for a caller whose turn is shared: of state syncs no more goes than the budget has left. What
    /// it has no slice for is due at once, in a turn that has one.
    pub fn transmit_within(
        &mut self,
        now: Instant,
        frame: &mut [u8],
        syncs: &mut SyncBudget,
    ) -> Option<(usize, usize)> {
        let (slot, len) = self.transmit_untagged(now, frame, syncs)?;
        write_checksum(frame.get_mut(..len)?);
        Some((slot, len))
    }

    /// As [`Engine::transmit_within`], without the tag: whoever sends the frame seals it, or gives it a checksum
    /// ([`lattice_wire::write_checksum`]).
    pub fn transmit_untagged(
        &mut self,
        now: Instant,
        frame: &mut [u8],
        syncs: &mut SyncBudget,
    ) -> Option<(usize, usize)> {
        if !self.awake && now.monotonic_ns < self.deadline_ns {
            return None;
        }
        for _ in 0..self.lanes.len() {
            let slot = self.turn;
            self.turn = (self.turn + 1) % self.lanes.len();
            if let Some(len) = self.transmit_to(now, slot, frame, syncs) {
                self.stats.frames_sent += 1;
                return Some((slot, len));
            }
        }
        self.awake = false;
        self.deadline_ns = self.next_deadline_ns(now.monotonic_ns);
        None
    }

    /// The next frame for one peer. What timers bound goes before data, which pacing bounds, before bulk.
    fn transmit_to(
        &mut self,
        now: Instant,
        slot: usize,
        frame: &mut [u8],
        syncs: &mut SyncBudget,
    ) -> Option<usize> {
        let now_ns = now.monotonic_ns;
        if let Some(echo) = self.lanes[slot].hello_now(now_ns) {
            return self.write_hello(now_ns, slot, echo, frame);
        }
        self.lanes[slot].session?;
        if self.lanes[slot].ack_due(now_ns) {
            return self.write_ack(slot, frame);
        }
        if now_ns >= self.lanes[slot].heartbeat_due_ns {
            return self.write_heartbeat(now, slot, frame);
        }
        if !self.lanes[slot].is_up(now_ns, self.config.timers.peer_timeout_ns) {
            return None;
        }
        self.write_vector(slot, frame)
            .or_else(|| self.write_stable(slot, frame))
            .or_else(|| self.write_sync_ack(slot, frame))
            .or_else(|| self.write_forget(slot, frame))
            .or_else(|| self.write_fold(slot, frame))
            .or_else(|| self.write_sync_request(now_ns, slot, frame))
            .or_else(|| self.write_data(now_ns, slot, frame))
            .or_else(|| self.write_sync_data(now_ns, slot, frame, syncs))
    }

    fn next_deadline_ns(&self, now_ns: u64) -> u64 {
        let peer_timeout_ns = self.config.timers.peer_timeout_ns;
        let lanes =
            self.lanes.iter().map(|l| l.deadline_ns(now_ns, self.log.last_seq(), peer_timeout_ns)).min();
        lanes
            .unwrap_or(u64::MAX)
            .min(self.anti_entropy_due_ns)
            .min(self.deferred.deadline_ns())
            .min(self.dropping_deadline_ns())
            .min(self.forgotten_deadline_ns())
            .min(self.folding_deadline_ns())
            .min(self.incoming_deadline_ns(now_ns))
            .min(self.outgoing_deadline_ns(now_ns))
    }

    /// The header of a frame to the peer in `slot`.
    pub(crate) fn header(&self, frame_type: FrameType, slot: usize) -> Header {
        Header {
            frame_type,
            cluster_tag: self.config.cluster_tag,
            node: self.config.actor.node(),
            dest_node: self.lanes[slot].node,
            shard: self.config.shard,
            actor: self.config.actor,
            src_session: self.config.session,
            dst_session: self.lanes[slot].session_id(),
            lo: 0,
            count: 0,
            log_first: self.log.first_seq(),
        }
    }
}

/// How many hosts fill a table that state syncs merge: each brings no more than its own records may.
pub(crate) fn sources(config: &EngineConfig) -> usize {
    config.peers.len() + 2
}

/// Records that one operation may take: an element has at most a dot of each actor, and what does not fit beside the
/// element in one record goes into records before it.
pub(crate) const MIN_BURST_OPS: usize = 8;
/// A key remembers its record in the burst in 16 bits.
const MAX_BURST_OPS: usize = u16::MAX as usize - 1;
const _: () = assert!(MIN_BURST_OPS > MAX_ACTORS.div_ceil(MAX_DOTS_PER_RECORD) + 1);

fn check(config: &EngineConfig) -> Result<(), EngineConfigError> {
    let limits = &config.limits;
    let positive = [
        ("max_keys", limits.max_keys),
        ("max_actors", limits.max_actors),
        ("max_ranges_per_actor", limits.max_ranges_per_actor),
        ("max_pre_removed", limits.max_pre_removed),
        ("max_window_frames", limits.max_window_frames),
    ];
    let limit = |name, value, requirement| Err(EngineConfigError::Limit { name, value, requirement });
    if let Some((name, value)) = positive.into_iter().find(|&(_, value)| value == 0) {
        return limit(name, value, "must be at least 1");
    }
    if limits.log_bytes < 16 * MAX_RECORD_BYTES {
        return limit("log_bytes", limits.log_bytes, "must hold at least 16 of the largest records");
    }
    if limits.max_burst_ops < MIN_BURST_OPS {
        return limit(
            "max_burst_ops",
            limits.max_burst_ops,
            "must be at least 8: one operation may take as many records",
        );
    }
    if limits.max_burst_ops > MAX_BURST_OPS {
        return limit("max_burst_ops", limits.max_burst_ops, "must be at most 65534");
    }
    if !limits.log_records.is_power_of_two() {
        return limit("log_records", limits.log_records, "must be a power of two");
    }
    if config.session == 0 {
        return Err(EngineConfigError::Zero("session"));
    }
    if config.actor.epoch() == 0 {
        return Err(EngineConfigError::Zero("epoch"));
    }
    let mut nodes = config.peers.clone();
    nodes.push(config.actor.node());
    nodes.sort_unstable();
    if let Some(twice) = nodes.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(EngineConfigError::Peers(format!("node {} is named twice", twice[0])));
    }
    if nodes.len() > limits.max_actors {
        return Err(EngineConfigError::Peers(format!(
            "{} nodes, but max_actors is {}",
            nodes.len(),
            limits.max_actors
        )));
    }
    Ok(())
}
