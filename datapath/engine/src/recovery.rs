//! Recovery: from a snapshot and a log back to an engine, and which epoch it goes on in.
//!
//! ```text
//!   continues_epoch? ── yes ──> the log of the epoch, whole ─┐
//!                    └─ no ───> a new epoch, an empty log    │
//!   Recovery::new(config, log) ──> snapshot frames ──> records of epochs that are over ──> finish
//!                                  C is covered        (own log of the last run,            own records beyond C
//!                                  after the last      as far as it is left)                are replayed
//! ```
//!
//! After a start in a new epoch, a snapshot is due at once, before the old log goes: until it is durable, old records are
//! nowhere else, and each further start from the same old snapshot would add what they leave pre-removed.
//!
//! Own records take effect whole, whatever the bounds for what peers send: they had their effect once, and the log
//! bounds them. What can go wrong: storage. Frames carry tags, records are decoded as if a peer had sent them, and
//! whatever contradicts itself is an error that says what; the caller then starts a new epoch from what is left, and
//! peers bring the rest.

use crate::config::{EngineConfig, EngineConfigError, Instant};
use crate::engine::Engine;
use crate::log::LogStore;
use crate::stats::DropReason;
use crate::sync_receive::IncomingSync;
use lattice_crdt::{ActorId, Dot, SeqRange, VersionVector};
use lattice_wire::{FrameType, Op, Record, RecordError, WireError, decode_frame, decode_record};

/// What storage says of the last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// Its actor.
    pub actor: ActorId,
    /// The boot of the machine that it ran in.
    pub boot_id: u128,
    /// The log of its operations is whole: nothing torn, nothing missing.
    pub log_is_whole: bool,
    /// Seq of the newest record in that log.
    pub log_last_seq: u64,
}

/// What this start knows by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThisStart {
    /// The present boot of the machine.
    pub boot_id: u128,
    /// The newest dot that was ever given out here (seq 0: an epoch that has none yet), as kept where neither a crash of
    /// the process nor a copy of the directory reaches it, and only the end of the boot does. It names its epoch: a copy
    /// that is brought back twice is older than an epoch in between. `None`: nothing is known.
    pub last_given_out: Option<Dot>,
}

/// Whether a start goes on with the epoch of the last run. Only a restart in the same boot with the whole log does:
/// another boot may have lost what was not synced, and a copied or restored directory ends before what was given out.
/// Everything else takes a new epoch, so that no dot is ever used twice.
pub fn continues_epoch(last: &LastRun, this: &ThisStart) -> bool {
    last.boot_id == this.boot_id
        && last.log_is_whole
        && this.last_given_out.is_some_and(|newest| {
            newest.actor == last.actor && (newest.seq <= last.log_last_seq || zoo!(EpochNotBumped))
        })
}

/// Why storage could not be turned into an engine.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The configuration can't be run.
    #[error(transparent)]
    Config(#[from] EngineConfigError),
    /// A frame of the snapshot is damaged, or of another cluster.
    #[error("snapshot: {0}")]
    Frame(#[from] WireError),
    /// A frame of the snapshot is none of this node and shard, or its items make no sense.
    #[error("snapshot: {0}")]
    Snapshot(DropReason),
    /// A frame is missing, twice there, or of another snapshot.
    #[error("snapshot: frame {expected} is missing, {found} is there")]
    OutOfOrder {
        /// Its place in the snapshot.
        expected: u64,
        /// The place of the frame that was read instead.
        found: u64,
    },
    /// The snapshot ends too early.
    #[error("snapshot: not whole")]
    NotWhole,
    /// A record does not decode.
    #[error("log: record {seq}: {error}")]
    Record {
        /// Its seq.
        seq: u64,
        /// What is wrong.
        error: RecordError,
    },
    /// A record that was said to be of an own epoch that is over is none.
    #[error("log: an old record of {0:?}")]
    NotOld(ActorId),
    /// The log lacks records that the snapshot does not cover.
    #[error("log: record {seq} is missing")]
    Missing {
        /// The first one.
        seq: u64,
    },
}

/// An engine that is being put together from storage.
pub struct Recovery<L> {
    engine: Engine<L>,
    /// Who wrote what is read, and the tag of that node's cluster.
    writer: (u16, u32),
    /// Which snapshot is being read, by its first frame, and the place of the next frame.
    reading: Option<(ActorId, u32, u32)>,
    next_index: u64,
}

impl<L: LogStore> Recovery<L> {
    /// Begins. `log` holds the records of `config.actor` if that epoch goes on, and is empty if it is new.
    ///
    /// # Errors
    /// [`RecoverError::Config`].
    pub fn new(config: EngineConfig, log: L, now: Instant) -> Result<Self, RecoverError> {
        let writer = (config.actor.node(), config.cluster_tag);
        let mut engine = Engine::with_log(config, log, now)?;
        engine.next_seq = engine.log.last_seq();
        Ok(Self { engine, writer, reading: None, next_index: 0 })
    }

    /// What is read is a copy of what another node wrote, perhaps in a cluster with another tag. Its operations keep the
    /// names that they had, which nobody gives out again: this node's epoch is another one.
    #[must_use]
    pub fn of_copy(mut self, node: u16, cluster_tag: u32) -> Self {
        self.writer = (node, cluster_tag);
        self
    }

    /// Takes the next frame of the snapshot, in the order in which they were written.
    ///
    /// # Errors
    /// [`RecoverError`]; the recovery can't be used any further.
    pub fn snapshot_frame(&mut self, bytes: &[u8]) -> Result<(), RecoverError> {
        let engine = &mut self.engine;
        let (node, cluster_tag) = self.writer;
        let frame = decode_frame(bytes, cluster_tag)?;
        let header = &frame.header;
        if header.node != node {
            return Err(RecoverError::Snapshot(DropReason::OtherNode));
        }
        if header.shard != engine.config.shard {
            return Err(RecoverError::Snapshot(DropReason::OtherShard));
        }
        if header.frame_type != FrameType::SyncData {
            return Err(RecoverError::Snapshot(DropReason::Unexpected));
        }
        let snapshot = (header.actor, header.src_session, header.dst_session);
        if header.lo != self.next_index || self.reading.is_some_and(|reading| reading != snapshot) {
            return Err(RecoverError::OutOfOrder { expected: self.next_index, found: header.lo });
        }
        self.next_index += 1;
        if self.reading.replace(snapshot).is_none() {
            let vector = VersionVector::new(engine.vector.limits());
            engine.incoming = Some(IncomingSync::of_storage(vector));
        }
        engine.take_items(frame.payload).map_err(RecoverError::Snapshot)
    }

    /// Takes a record of an own epoch that is over: what is left of the last run's log. Ascending by seq.
    ///
    /// # Errors
    /// [`RecoverError::Record`], [`RecoverError::NotOld`]; nothing was changed.
    pub fn old_record(&mut self, dot: Dot, bytes: &[u8]) -> Result<(), RecoverError> {
        if dot.actor.node() != self.writer.0 || dot.actor == self.engine.config.actor {
            return Err(RecoverError::NotOld(dot.actor));
        }
        self.cover_snapshot()?;
        replay(&mut self.engine, dot, bytes)
    }

    /// Replays the log of the present epoch beyond the snapshot.
    ///
    /// # Errors
    /// [`RecoverError`]: the snapshot is not whole, or the log does not go on where it ends.
    pub fn finish(mut self) -> Result<Engine<L>, RecoverError> {
        self.cover_snapshot()?;
        let actor = self.engine.config.actor;
        self.engine.recovered = !self.engine.vector.is_empty() || self.engine.log.last_seq() > 0;
        let from = self.engine.vector.contiguous(actor) + 1;
        let mut record = Vec::new();
        for seq in from..=self.engine.log.last_seq().saturating_sub(u64::from(zoo!(ReplaySkipsLast))) {
            record.clear();
            record.extend_from_slice(self.engine.log.record(seq).ok_or(RecoverError::Missing { seq })?);
            replay(&mut self.engine, Dot { actor, seq }, &record)?;
        }
        Ok(self.engine)
    }

    fn cover_snapshot(&mut self) -> Result<(), RecoverError> {
        if self.engine.incoming.as_ref().is_some_and(|sync| !sync.is_whole()) {
            return Err(RecoverError::NotWhole);
        }
        if let Some(sync) = self.engine.cover_sync() {
            self.engine.durable = sync.into_vector();
        }
        Ok(())
    }
}

/// Gives a record of this node its effect, as it had it once.
fn replay<L: LogStore>(engine: &mut Engine<L>, dot: Dot, bytes: &[u8]) -> Result<(), RecoverError> {
    if engine.vector.contains(dot) {
        return Ok(());
    }
    let (record, _) =
        decode_record(bytes, dot.actor).map_err(|error| RecoverError::Record { seq: dot.seq, error })?;
    engine.pre_removed.reserve(dots_taken_out(&record));
    engine.take_effect(dot, &record);
    engine.vector.cover_range(dot.actor, SeqRange { first: dot.seq, last: dot.seq });
    engine.pre_removed.remove(dot);
    Ok(())
}

fn dots_taken_out(record: &Record<'_>) -> usize {
    match &record.op {
        Op::Add { superseded: dots, .. } | Op::Remove { removed: dots, .. } => dots.iter().count(),
        Op::Counter { .. } | Op::Register { .. } | Op::Noop => 0,
    }
}

impl<L: LogStore> Engine<L> {
    /// Whether a peer knows operations of this epoch that this engine never made: its storage was an old copy. From then
    /// on nothing is written locally until [`Engine::begin_epoch`]. Before a host has heard of anybody, nothing can tell
    /// it that its whole machine was restored; what it writes until then may be taken for what it had written before.
    ///
    /// Or this node was forgotten before it met anybody in this run and has nothing of an earlier one: it can go on, in an
    /// epoch of [`Engine::wanted_generation`]. Where it has, [`Engine::is_forgotten`] says so, and this does not.
    pub fn epoch_is_over(&self) -> bool {
        self.epoch_is_over && !self.is_forgotten()
    }

    /// Goes on in a new epoch and a new session, with the state as it is. What the old epoch made beyond this engine's
    /// log comes from whoever knows it. The log begins anew: what the old one held beyond the last durable snapshot is
    /// kept by peers alone until the next one.
    ///
    /// # Errors
    /// [`EngineConfigError`]: the actor is another node's, its epoch was used before, or its epoch or the session is
    /// zero; nothing was changed.
    pub fn begin_epoch(
        &mut self,
        now: Instant,
        actor: ActorId,
        session: u32,
    ) -> Result<(), EngineConfigError> {
        if actor.node() != self.config.actor.node() {
            return Err(EngineConfigError::Peers(format!("node {} is another one", actor.node())));
        }
        if session == 0 {
            return Err(EngineConfigError::Zero("session"));
        }
        if actor.epoch() == 0 {
            return Err(EngineConfigError::Zero("epoch"));
        }
        if self.vector.clock(actor).is_some() {
            return Err(EngineConfigError::KnownEpoch(actor.epoch()));
        }
        if self.is_forgotten() || actor.generation() < self.wanted_generation() {
            return Err(EngineConfigError::Forgotten(self.wanted_generation()));
        }
        self.log_burst();
        (self.config.actor, self.config.session) = (actor, session);
        self.log.begin_epoch(actor);
        self.burst.limit_to(self.log.room());
        self.names_of_log.clear();
        (self.next_seq, self.epoch_is_over) = (0, false);
        self.begin_generation();
        self.folds.begin_epoch();
        (self.incoming, self.snapshot) = (None, None);
        self.outgoing.clear();
        for lane in &mut self.lanes {
            lane.restart(&self.config.limits, now.monotonic_ns);
        }
        self.wake();
        Ok(())
    }
}
