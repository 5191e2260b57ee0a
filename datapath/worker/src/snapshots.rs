//! Snapshots of a worker's shards for storage: when one is due, and the walk, a slice a turn.
//!
//! ```text
//!   due ──> begin_snapshot, feed.begin ──> slices, at most SLICE_NS a turn ──> feed.end ──> waits for storage
//!    ▲        C, the log's head now            frames to the snapshot thread                   │
//!    ├── later, if it failed <────────────────────── SnapshotFailed ─────────────────────────┤
//!    └── the next one <───────────────────────────── SnapshotDurable: engine and peers hear ───┘
//! ```
//!
//! A snapshot of a shard is due at once in a new epoch (what the old log holds is nowhere else) and when it is asked for; when
//! half of the log is covered by no durable snapshot; and when the interval is over and something has changed. One shard of a
//! worker is walked at a time. What can go wrong: storage is behind (the walk goes on in a later turn), or gives the snapshot up
//! (another one is tried after [`RETRY_NS`]; while none succeeds the log fills, and then refuses operations).

use crate::clock;
use crate::shards::{Engine, Shards};
use crate::status::StorageStatus;
use lattice_storage::{FlushWaker, LogHandle, LogMark, Sliced, SnapshotDone, SnapshotFeed};

/// Longest that a turn walks, nanoseconds.
const SLICE_NS: u64 = 50_000;
/// How often it is looked whether a snapshot is due, nanoseconds.
const LOOK_NS: u64 = 5_000_000;
/// Pause after a snapshot that failed, nanoseconds.
const RETRY_NS: u64 = 10_000_000_000;

/// A worker's way to storage. The logs are in its engines.
#[derive(Debug)]
pub struct WorkerStorage {
    /// Takes the frames of its snapshots.
    pub feed: SnapshotFeed,
    /// Time after which a changed shard is due for a snapshot, nanoseconds.
    pub snapshot_interval_ns: u64,
    /// Shards of which a snapshot is due at once: those in a new epoch.
    pub due: Vec<u16>,
    /// Makes the flusher look at once, where that is the policy.
    pub waker: Option<FlushWaker>,
}

/// What is known of a shard's snapshots.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// One is due whatever else holds.
    wanted: bool,
    /// Storage has all frames of this one and has not said yet what became of it.
    waits_for: Option<u32>,
    /// When the interval began.
    since_ns: u64,
    /// State and vector as the last one began, or the last interval.
    digests: Option<(u64, u64)>,
    not_before_ns: u64,
    /// The last one, and when it became durable.
    last: Option<(SnapshotDone, u64)>,
    failed: u64,
}

/// Where a walk is.
#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(LogMark),
    Frames,
    End,
}

#[derive(Clone, Copy, Debug)]
struct Walk {
    place: usize,
    number: u32,
    step: Step,
}

/// See the module's documentation.
pub(crate) struct Snapshots {
    feed: SnapshotFeed,
    interval_ns: u64,
    waker: Option<FlushWaker>,
    standings: Vec<Standing>,
    walk: Option<Walk>,
    look_at_ns: u64,
    /// The place that is looked at first.
    first: usize,
}

impl Snapshots {
    pub(crate) fn new(storage: WorkerStorage, shards: &Shards) -> Self {
        let mut standings = vec![Standing::default(); shards.engines().len()];
        for place in storage.due.iter().filter_map(|shard| shards.place(*shard)) {
            if let Some(standing) = standings.get_mut(place) {
                standing.wanted = true;
            }
        }
        Self {
            feed: storage.feed,
            interval_ns: storage.snapshot_interval_ns,
            waker: storage.waker,
            standings,
            walk: None,
            look_at_ns: 0,
            first: 0,
        }
    }

    /// Tells the flusher, under the policy that wants it told, that something is waited for.
    pub(crate) fn wake_flusher(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    /// One turn's part, after a commit. Returns whether there is more to do at once.
    pub(crate) fn turn(&mut self, now_ns: u64, shards: &mut Shards) -> bool {
        if self.walk.is_none() {
            if now_ns < self.look_at_ns {
                return false;
            }
            self.look_at_ns = now_ns.saturating_add(LOOK_NS);
            self.walk = self.begin(now_ns, shards);
        }
        let Some(mut walk) = self.walk else { return false };
        let Some((engine, log)) = shards.for_snapshot(walk.place) else { return false };
        let (next, moved) = advance(&mut self.feed, &mut walk, engine, log);
        match next {
            Next::GoOn => self.walk = Some(walk),
            Next::Fed => {
                self.walk = None;
                if let Some(standing) = self.standings.get_mut(walk.place) {
                    (standing.wanted, standing.waits_for) = (false, Some(walk.number));
                }
            }
            // It stays due.
            Next::GivenUp => self.walk = None,
        }
        moved
    }

    /// When a turn has something to do here by itself.
    pub(crate) fn deadline_ns(&self, now_ns: u64) -> u64 {
        // Storage was behind a moment ago.
        if self.walk.is_some() { now_ns.saturating_add(LOOK_NS / 10) } else { u64::MAX }
    }

    /// Begins a walk of the first shard that is due.
    fn begin(&mut self, now_ns: u64, shards: &mut Shards) -> Option<Walk> {
        let count = self.standings.len();
        for place in (self.first..count).chain(0..self.first.min(count)) {
            let standing = self.standings.get_mut(place)?;
            let Some((engine, log)) = shards.for_snapshot(place) else { continue };
            if !is_due(standing, now_ns, self.interval_ns, engine, log) {
                continue;
            }
            self.first = place + 1;
            standing.since_ns = now_ns;
            standing.digests = Some((engine.state_digest(), engine.vector_digest()));
            // In this order: what comes after the mark is in the log that is kept.
            let mark = log.head();
            return Some(Walk { place, number: engine.begin_snapshot(), step: Step::Begin(mark) });
        }
        None
    }

    /// A snapshot of every shard is due that has everything up to now: one that is under way is begun anew.
    pub(crate) fn want_all(&mut self) {
        self.walk = None;
        self.standings.iter_mut().for_each(|standing| standing.want());
        self.look_at_ns = 0;
    }

    /// A snapshot of a shard is due, and what was under way of it is not worth finishing.
    pub(crate) fn want_anew(&mut self, place: usize) {
        if let Some(standing) = self.standings.get_mut(place) {
            standing.want();
            standing.waits_for = None;
        }
        self.walk.take_if(|walk| walk.place == place);
        self.look_at_ns = 0;
    }

    /// Storage has made a snapshot durable.
    pub(crate) fn is_durable(&mut self, place: usize, now_ns: u64, done: SnapshotDone, engine: &mut Engine) {
        // After a new epoch it is not the engine's any more, and yet it is in place.
        engine.snapshot_is_durable(done.number);
        if let Some(standing) = self.standings.get_mut(place) {
            standing.waits_for.take_if(|number| *number == done.number);
            standing.last = Some((done, now_ns));
        }
    }

    /// Storage has given a snapshot up.
    pub(crate) fn has_failed(&mut self, place: usize, now_ns: u64, number: u32) {
        self.walk.take_if(|walk| walk.place == place && walk.number == number);
        if let Some(standing) = self.standings.get_mut(place) {
            standing.waits_for.take_if(|waiting| *waiting == number);
            standing.wanted = true;
            standing.not_before_ns = now_ns.saturating_add(RETRY_NS);
            standing.failed += 1;
        }
    }

    /// How the shard at a place is kept.
    pub(crate) fn status(
        &self,
        place: usize,
        now_ns: u64,
        durable_seq: u64,
        log: &LogHandle,
    ) -> StorageStatus {
        let standing = self.standings.get(place).copied().unwrap_or_default();
        let last = standing.last;
        StorageStatus {
            durable_seq,
            uncovered_bytes: log.uncovered_bytes(),
            log_bytes: log.capacity_bytes(),
            snapshot_generation: last.map_or(0, |(done, _)| done.generation),
            snapshot_bytes: last.map_or(0, |(done, _)| done.bytes),
            snapshot_age_ns: last.map(|(_, at_ns)| now_ns.saturating_sub(at_ns)),
            snapshot_pending: standing.wanted
                || standing.waits_for.is_some()
                || self.walk.is_some_and(|walk| walk.place == place),
            snapshots_failed: standing.failed,
            has_failed: log.has_failed(),
        }
    }
}

impl Standing {
    fn want(&mut self) {
        (self.wanted, self.not_before_ns) = (true, 0);
    }
}

/// Whether a snapshot of a shard is to begin now.
fn is_due(standing: &mut Standing, now_ns: u64, interval_ns: u64, engine: &Engine, log: &LogHandle) -> bool {
    if standing.waits_for.is_some() || now_ns < standing.not_before_ns || log.has_failed() {
        return false;
    }
    if standing.wanted || log.uncovered_bytes() > log.capacity_bytes() / 2 {
        return true;
    }
    if now_ns.saturating_sub(standing.since_ns) < interval_ns {
        return false;
    }
    let began = std::mem::replace(&mut standing.since_ns, now_ns) == 0;
    let digests = (engine.state_digest(), engine.vector_digest());
    // At a worker's very first look the interval only begins.
    !began && standing.digests != Some(digests)
}

enum Next {
    GoOn,
    Fed,
    GivenUp,
}

/// Takes a walk as far as it goes in one turn. Returns what comes next, and whether anything moved.
fn advance(feed: &mut SnapshotFeed, walk: &mut Walk, engine: &mut Engine, log: &LogHandle) -> (Next, bool) {
    if let Step::Begin(mark) = walk.step {
        if !feed.begin(engine.shard(), walk.number, mark) {
            return (Next::GoOn, false);
        }
        walk.step = Step::Frames;
    }
    if let Step::Frames = walk.step {
        let until_ns = clock::monotonic_ns().saturating_add(SLICE_NS);
        match feed.slice(|frame| engine.write_snapshot(frame), || clock::monotonic_ns() < until_ns) {
            Sliced::More => return (Next::GoOn, true),
            Sliced::Busy => return (Next::GoOn, false),
            Sliced::Whole if engine.snapshot_is_whole(walk.number) => walk.step = Step::End,
            Sliced::Whole => return (Next::GivenUp, true),
        }
    }
    // The turn's commit came before: what the walk has seen is in the log.
    if feed.end(log.head()) { (Next::Fed, true) } else { (Next::GoOn, false) }
}
