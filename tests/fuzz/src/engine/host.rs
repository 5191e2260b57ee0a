//! An engine with what is around it: a board that readers look at, a log that outlives it, and the checks that hold
//! after each step, whatever anybody sent.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use lattice_crdt::limits::MAX_DOTS_PER_RECORD;
use lattice_crdt::{ActorId, Kind};
use lattice_engine::{
    DropReason, Engine, EngineConfig, EngineLimits, EngineStats, EngineTimers, Instant, LogStore, MemoryLog,
    Published, Publisher, RecoverError, Recovery, Storage,
};
use lattice_wire::{
    Ack, Deltas, Frame, FrameType, MAX_FRAME_BYTES, MAX_RECORD_BYTES, SyncData, SyncRequest, decode_frame,
};

use super::state::{self, State, View};
use crate::wire::{self, CLUSTER};

/// The shard of all engines here.
pub(super) const SHARD: u16 = 3;

/// Frames that one engine may send at one instant: what windows and pacing let go, with much to spare.
const MAX_FRAMES_AT_ONCE: usize = 2_000;

/// Small tables, so that inputs of a few hundred bytes fill them.
pub(super) fn limits() -> EngineLimits {
    EngineLimits {
        max_keys: 12,
        log_bytes: 16 * MAX_RECORD_BYTES,
        log_records: 16,
        max_actors: 6,
        max_ranges_per_actor: 2,
        max_pre_removed: 3,
        max_window_frames: 8,
        max_burst_ops: 8,
    }
}

/// What an engine is told at its start.
pub(super) fn config(actor: ActorId, session: u32, nodes: &[u16]) -> EngineConfig {
    EngineConfig {
        actor,
        session,
        shard: SHARD,
        cluster_tag: CLUSTER,
        peers: nodes.iter().copied().filter(|node| *node != actor.node()).collect(),
        storage: Storage::Durable,
        limits: limits(),
        timers: EngineTimers::default(),
        random_seed: 1,
    }
}

/// The moment at so many monotonic nanoseconds.
pub(super) fn instant(now_ns: u64) -> Instant {
    Instant { monotonic_ns: now_ns, wall_ns: 1_700_000_000_000_000_000 + now_ns }
}

/// The records of one epoch, oldest first, as a file would hold them.
pub(super) type Kept = Rc<RefCell<Vec<Vec<u8>>>>;

/// A log whose records are kept beside it.
pub(super) struct KeptLog {
    inner: MemoryLog,
    kept: Kept,
}

impl KeptLog {
    /// A log that holds these records.
    pub(super) fn holding(records: &[Vec<u8>]) -> Self {
        let limits = limits();
        let mut inner = MemoryLog::new(limits.log_bytes, limits.log_records);
        for record in records {
            inner.append(record);
        }
        Self { inner, kept: Rc::new(RefCell::new(records.to_vec())) }
    }

    /// What is kept, also when the log is gone.
    pub(super) fn kept(&self) -> Kept {
        Rc::clone(&self.kept)
    }
}

impl LogStore for KeptLog {
    fn append(&mut self, record: &[u8]) -> u64 {
        self.kept.borrow_mut().push(record.to_vec());
        self.inner.append(record)
    }
    fn first_seq(&self) -> u64 {
        self.inner.first_seq()
    }
    fn last_seq(&self) -> u64 {
        self.inner.last_seq()
    }
    fn record(&self, seq: u64) -> Option<&[u8]> {
        self.inner.record(seq)
    }
    fn begin_epoch(&mut self, actor: ActorId) {
        self.kept.borrow_mut().clear();
        self.inner.begin_epoch(actor);
    }
}

/// What readers of a host see.
#[derive(Default)]
pub(super) struct Board {
    cells: Vec<(Kind, Vec<u8>)>,
    /// There is no room for anything.
    pub(super) full: bool,
    view: View,
}

impl Board {
    fn room(&self) -> Published {
        if self.full { Published::Full } else { Published::Visible }
    }
}

impl Publisher for Board {
    fn open(&mut self, kind: Kind, _hash: u64, key: &[u8]) -> Option<u32> {
        let name = (kind, key.to_vec());
        let found = self.cells.iter().position(|cell| *cell == name);
        if found.is_none() && self.full {
            return None;
        }
        let at = found.unwrap_or_else(|| {
            self.cells.push(name);
            self.cells.len() - 1
        });
        Some(at as u32)
    }
    fn word(&mut self, cell: u32, value: u64) -> Published {
        self.view.words.insert(self.cells[cell as usize].clone(), value);
        Published::Visible
    }
    fn bytes(&mut self, cell: u32, value: &[u8]) -> Published {
        if !self.full {
            self.view.bytes.insert(self.cells[cell as usize].1.clone(), value.to_vec());
        }
        self.room()
    }
    fn element(&mut self, cell: u32, element: &[u8], present: bool) -> Published {
        if present && self.full {
            return Published::Full;
        }
        let members = self.view.members.entry(self.cells[cell as usize].1.clone()).or_default();
        if present {
            members.insert(element.to_vec())
        } else {
            members.remove(element)
        };
        Published::Visible
    }
}

/// One host.
pub(super) struct Host {
    pub(super) engine: Engine<KeptLog>,
    pub(super) board: Board,
    pub(super) actor: ActorId,
    pub(super) session: u32,
    pub(super) kept: Kept,
    /// Frames that came, not received yet.
    pub(super) inbox: VecDeque<Vec<u8>>,
    /// The last snapshot that was whole.
    pub(super) snapshot: Vec<Vec<u8>>,
    /// The number of the one that was begun last.
    pub(super) walked: u32,
    /// Epochs that it began while it ran: each may be one more actor than its tables were made for.
    epochs: usize,
    /// Dots that replayed own records may have pre-removed: they take effect whatever the bounds.
    replayed_dots: usize,
    /// Its tables hold what storage had, which is believed, and not only what peers may fill.
    believes: bool,
    nodes: Vec<u16>,
}

impl Host {
    /// A host with nothing.
    pub(super) fn new(actor: ActorId, session: u32, nodes: &[u16], now: Instant) -> Self {
        let log = KeptLog::holding(&[]);
        let kept = log.kept();
        let engine = Engine::with_log(config(actor, session, nodes), log, now).expect("a good configuration");
        Self::around(engine, actor, session, kept, nodes)
    }

    /// A host whose engine is there.
    pub(super) fn around(
        engine: Engine<KeptLog>,
        actor: ActorId,
        session: u32,
        kept: Kept,
        nodes: &[u16],
    ) -> Self {
        let (board, inbox, snapshot) = (Board::default(), VecDeque::new(), Vec::new());
        Self {
            engine,
            board,
            actor,
            session,
            kept,
            inbox,
            snapshot,
            walked: 0,
            epochs: 0,
            replayed_dots: 0,
            believes: false,
            nodes: nodes.to_vec(),
        }
    }

    /// The host, when its engine came out of storage that may hold anything.
    pub(super) fn believing(self) -> Self {
        Self { believes: true, ..self }
    }

    /// Receives a frame; whatever is refused is counted once, in its place.
    pub(super) fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let before = self.engine.stats();
        let result = self.engine.receive(now, bytes);
        let after = self.engine.stats();
        let refused = |stats: &EngineStats| {
            let wire = &stats.dropped_wire;
            [
                wire.too_short
                    + wire.too_long
                    + wire.bad_magic
                    + wire.bad_version
                    + wire.bad_type
                    + wire.wrong_cluster
                    + wire.bad_length
                    + wire.bad_reserved
                    + wire.sealed
                    + wire.bad_interval
                    + wire.bad_tag,
                stats.dropped_record,
                stats.dropped_stale_session,
                stats.dropped_out_of_order_bound,
                stats.dropped_unexpected,
                stats.dropped_address,
                stats.dropped_unknown_alias,
                stats.dropped_forgotten,
            ]
        };
        let mut expected = refused(&before);
        let counter = match result {
            Ok(()) => None,
            Err(reason) => {
                assert!(!reason.to_string().is_empty());
                Some(match reason {
                    DropReason::Wire(error) => {
                        assert_eq!(decode_frame(bytes, CLUSTER).err(), Some(error));
                        0
                    }
                    DropReason::Record(_) => 1,
                    DropReason::StaleSession => 2,
                    DropReason::OutOfOrderBound => 3,
                    DropReason::Unexpected | DropReason::OutOfSequence => 4,
                    DropReason::OtherNode
                    | DropReason::OtherShard
                    | DropReason::UnknownPeer
                    | DropReason::OwnNode => 5,
                    DropReason::UnknownAlias => 6,
                    DropReason::Forgotten => 7,
                })
            }
        };
        counter.into_iter().for_each(|at: usize| expected[at] += 1);
        assert_eq!(refused(&after), expected, "{result:?} is counted once");
        let taken = u64::from(!matches!(counter, Some(0 | 5)));
        assert_eq!(after.frames_received, before.frames_received + taken);
        self.check();
    }

    /// Commits, ticks if it is time, and takes what is to be sent: the peer's node and the frame.
    pub(super) fn turn(&mut self, now: Instant) -> Vec<(u16, Vec<u8>)> {
        if self.engine.deadline_ns() <= now.monotonic_ns {
            self.engine.tick(now);
        }
        self.engine.commit(now, &mut self.board);
        assert_eq!(self.kept.borrow().len() as u64, self.engine.last_seq(), "committed is logged");
        let mut sent = Vec::new();
        let mut buffer = [0xEE; MAX_FRAME_BYTES];
        while let Some((slot, len)) = self.engine.transmit(now, &mut buffer) {
            let status = self.engine.peer_status(slot, now).expect("a peer");
            self.check_sent(status.node, &buffer[..len]);
            sent.push((status.node, buffer[..len].to_vec()));
            assert!(sent.len() < MAX_FRAMES_AT_ONCE, "an engine goes silent when all is sent");
        }
        assert!(self.engine.deadline_ns() > 0, "silent engines sleep");
        self.check();
        sent
    }

    /// What an engine sends is well formed and says what is so.
    fn check_sent(&self, node: u16, bytes: &[u8]) {
        let frame = decode_frame(bytes, CLUSTER).expect("a frame of ours");
        wire::accepted(bytes, &frame);
        let Frame { header, payload } = frame;
        assert_eq!((header.node, header.dest_node, header.shard), (self.actor.node(), node, SHARD));
        assert_eq!((header.actor, header.src_session), (self.actor, self.session));
        match header.frame_type {
            FrameType::Data => {
                let records: Vec<_> = Deltas::new(payload, self.actor).collect();
                assert!(records.iter().all(Result::is_ok) && !records.is_empty());
                assert_eq!(records.len(), header.count as usize);
                assert!(header.hi() <= self.engine.last_seq() && header.lo + 1 >= header.log_first);
            }
            FrameType::Ack => {
                let ack = Ack::decode(payload).expect("an acknowledgement");
                assert_eq!(ack.actor.node(), node, "of the peer's operations");
                let clock = self.engine.vector().contiguous(ack.actor);
                assert_eq!(ack.contiguous, clock);
            }
            FrameType::SyncRequest => {
                let request = SyncRequest::decode(payload).expect("a request");
                assert_ne!(request.sync_id, 0);
            }
            FrameType::SyncData => {
                let mut items = SyncData::decode(payload).expect("a piece of a sync").items;
                assert!(items.all(|item| item.is_ok()));
            }
            FrameType::Hello
            | FrameType::Heartbeat
            | FrameType::Vector
            | FrameType::Stable
            | FrameType::SyncAck
            | FrameType::Forget
            | FrameType::Fold => {}
        }
    }

    /// What holds at any time.
    pub(super) fn check(&self) {
        let (engine, limits) = (&self.engine, limits());
        let sources = self.nodes.len() + 1;
        let vector = engine.vector();
        let own = vector.clock(self.actor);
        assert_eq!(own.map_or(0, |clock| clock.contiguous()), engine.last_seq(), "every own dot is covered");
        assert!(own.is_none_or(|clock| clock.ranges().is_empty()), "and none that was not given out");
        let few = vector.len() <= limits.max_actors + 1 + self.epochs;
        assert!(few || self.believes, "{} actors", vector.len());
        for (_, clock) in vector.iter() {
            assert!(clock.ranges().len() <= limits.max_ranges_per_actor * sources || self.believes);
            let gaps = clock.ranges().windows(2).all(|pair| pair[0].last + 1 < pair[1].first);
            assert!(gaps && clock.ranges().iter().all(|range| range.first <= range.last));
            assert!(clock.ranges().first().is_none_or(|range| range.first > clock.contiguous() + 1));
        }
        let most = limits.max_pre_removed * sources + self.replayed_dots;
        assert!(engine.stats().pre_removed <= most as u64 || self.believes);
        // With folded epochs it is another one, of names that only the engine knows.
        let folded = engine.stats().epochs_folded > 0;
        assert!(folded || engine.vector_digest() == state::vector_digest(vector), "the vector's digest");
    }

    /// A whole snapshot of the present state, and the state that it shows.
    pub(super) fn photograph(&mut self) -> (Vec<Vec<u8>>, State) {
        self.walked = self.engine.begin_snapshot();
        let mut frames = Vec::new();
        let mut buffer = [0xEE; MAX_FRAME_BYTES];
        while let Some(len) = self.engine.write_snapshot(&mut buffer) {
            if len > 0 {
                frames.push(buffer[..len].to_vec());
            }
        }
        let state = state::read(&frames);
        assert_eq!(&state.vector, self.engine.vector());
        assert_eq!(state.digest(), self.engine.state_digest(), "the state's digest");
        assert_eq!(state.keys.len() as u64, self.engine.stats().keys);
        assert_eq!(state.pre_removed.len() as u64, self.engine.stats().pre_removed);
        (frames, state)
    }

    /// What is published is what the state says, once everything is committed and found room.
    pub(super) fn check_board(&mut self, now: Instant) {
        self.board.full = false;
        self.engine.tick(now);
        self.engine.commit(now, &mut self.board);
        if self.engine.stats().unpublished == 0 {
            let (_, state) = self.photograph();
            assert_eq!(self.board.view.clone().said(), state.view(), "readers see the state");
        }
    }

    /// A crash, and a start from storage: the last snapshot and the log, in the same epoch if `actor` is the same.
    pub(super) fn restart(&mut self, actor: ActorId, session: u32, now: Instant) -> Result<(), RecoverError> {
        let records = self.kept.borrow().clone();
        let log = KeptLog::holding(if actor == self.actor { &records } else { &[] });
        let kept = log.kept();
        let mut recovery = Recovery::new(config(actor, session, &self.nodes), log, now)?;
        for frame in &self.snapshot {
            recovery.snapshot_frame(frame)?;
        }
        if actor != self.actor {
            for (record, seq) in records.iter().zip(1..) {
                recovery.old_record(lattice_crdt::Dot { actor: self.actor, seq }, record)?;
            }
        }
        let engine = recovery.finish()?;
        let (snapshot, epochs) = (std::mem::take(&mut self.snapshot), self.epochs + 1);
        let replayed_dots = self.replayed_dots + records.len() * MAX_DOTS_PER_RECORD;
        *self = Self {
            snapshot,
            epochs,
            replayed_dots,
            ..Self::around(engine, actor, session, kept, &self.nodes)
        };
        self.check();
        Ok(())
    }

    /// Goes on in a new epoch.
    pub(super) fn begin_epoch(&mut self, now: Instant, actor: ActorId, session: u32) {
        self.engine.begin_epoch(now, actor, session).expect("a new epoch of the same node");
        (self.actor, self.session, self.epochs) = (actor, session, self.epochs + 1);
        self.inbox.clear();
        assert!(!self.engine.epoch_is_over() && self.engine.last_seq() == 0);
        self.check();
    }
}
