//! From a worker's walk to a snapshot file: frames in batches, through a bounded channel.
//!
//! ```text
//!   worker                                              snapshot thread
//!     feed.begin(shard, number, mark) ─┐
//!     feed.slice(write_snapshot, more) ├─ slices ─────> SnapshotService ─> ShardKeeper ─> files
//!     feed.end(mark) ──────────────────┘                    │
//!       ▲                                                   │
//!       └── batches, to be filled again <───────────────────┤
//!   control <── StorageEvent: durable, failed <─────────────┘
//! ```
//!
//! A worker never waits: if no batch is free or the channel is full it is told [`Sliced::Busy`] and comes again in its next
//! turn. After the first snapshot it allocates nothing. What can go wrong: a snapshot that fails on disk goes on being
//! fed, into nothing; the event says that it failed.

use crate::error::StorageError;
use crate::keeper::{ShardKeeper, SnapshotDone};
use crate::log::LogMark;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use lattice_wire::MAX_FRAME_BYTES;
use std::io;
use std::thread::JoinHandle;

/// Bytes of frames in one batch.
const BATCH_BYTES: usize = 64 << 10;
/// Frames in one batch.
const BATCH_FRAMES: usize = 256;
/// Batches that there are, for all workers together: what bounds the memory of snapshots under way.
const BATCHES: usize = 16;

/// What the storage threads have to say.
#[derive(Debug)]
pub enum StorageEvent {
    /// A snapshot is durable, and so is the log as far as it needs it: the engine is to be told its number.
    SnapshotDurable {
        /// Whose.
        shard: u16,
        /// Which.
        done: SnapshotDone,
    },
    /// A snapshot was given up; what was in place before still is.
    SnapshotFailed {
        /// Whose.
        shard: u16,
        /// Which.
        number: u32,
        /// Why.
        error: StorageError,
    },
    /// A log will not become durable any more in this run.
    LogFailed {
        /// Whose.
        shard: u16,
        /// Why.
        error: StorageError,
    },
}

/// Frames of one snapshot.
#[derive(Debug)]
struct Batch {
    bytes: Box<[u8]>,
    /// Where each frame ends.
    ends: Vec<usize>,
}

impl Batch {
    fn new() -> Self {
        Self { bytes: vec![0; BATCH_BYTES].into_boxed_slice(), ends: Vec::with_capacity(BATCH_FRAMES) }
    }

    fn free(&mut self) -> Option<&mut [u8]> {
        let begin = self.ends.last().copied().unwrap_or(0);
        let free = self.bytes.get_mut(begin..)?;
        (free.len() >= MAX_FRAME_BYTES && self.ends.len() < BATCH_FRAMES).then_some(free)
    }

    fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, &end)| &self.bytes[begin..end])
    }
}

#[derive(Debug)]
enum What {
    Begin(LogMark),
    Frames(Batch),
    End(LogMark),
}

/// A part of a snapshot on its way to the snapshot thread.
#[derive(Debug)]
pub(crate) struct Slice {
    shard: u16,
    number: u32,
    what: What,
}

/// How far a walk came in one slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sliced {
    /// The time is up.
    More,
    /// There are no more frames: [`SnapshotFeed::end`] is next.
    Whole,
    /// Storage is behind: come again.
    Busy,
}

/// A worker's end: one snapshot at a time.
#[derive(Debug)]
pub struct SnapshotFeed {
    to: Sender<Slice>,
    pool: Receiver<Batch>,
    of: (u16, u32),
    batch: Option<Batch>,
}

impl SnapshotFeed {
    fn send(&self, what: What) -> Result<(), What> {
        let (shard, number) = self.of;
        match self.to.try_send(Slice { shard, number, what }) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(slice) | TrySendError::Disconnected(slice)) => Err(slice.what),
        }
    }

    /// Begins a snapshot whose number the engine gave, when the log's head was at `mark` ([`crate::LogHandle::head`],
    /// right before `begin_snapshot`). False: storage is behind, call it again.
    pub fn begin(&mut self, shard: u16, number: u32, mark: LogMark) -> bool {
        self.of = (shard, number);
        if let Some(batch) = &mut self.batch {
            batch.ends.clear();
        }
        self.send(What::Begin(mark)).is_ok()
    }

    /// Walks on for as long as `more` says so: `write` is the engine's `write_snapshot`.
    pub fn slice(
        &mut self,
        mut write: impl FnMut(&mut [u8]) -> Option<usize>,
        mut more: impl FnMut() -> bool,
    ) -> Sliced {
        while more() {
            let Some(mut batch) = self.batch.take().or_else(|| self.pool.try_recv().ok()) else {
                return Sliced::Busy;
            };
            let Some(free) = batch.free() else {
                match self.send(What::Frames(batch)) {
                    Ok(()) => continue,
                    Err(What::Frames(batch)) => self.batch = Some(batch),
                    Err(_) => {}
                }
                return Sliced::Busy;
            };
            let written = write(free);
            if let Some(len @ 1..) = written {
                let begin = batch.ends.last().copied().unwrap_or(0);
                batch.ends.push(begin + len.min(MAX_FRAME_BYTES));
            }
            self.batch = Some(batch);
            if written.is_none() {
                return Sliced::Whole;
            }
        }
        Sliced::More
    }

    /// After the last frame, and after a commit (the walk may have seen operations that were not in the log yet), with the
    /// log's head as it is then. False: storage is behind, call it again.
    pub fn end(&mut self, end: LogMark) -> bool {
        if let Some(batch) = self.batch.take_if(|batch| !batch.ends.is_empty())
            && let Err(What::Frames(batch)) = self.send(What::Frames(batch))
        {
            self.batch = Some(batch);
            return false;
        }
        self.send(What::End(end)).is_ok()
    }
}

/// The other end: writes what workers feed. [`spawn_snapshots`] gives it a thread.
pub struct SnapshotService {
    keepers: Vec<(u16, ShardKeeper)>,
    from: Receiver<Slice>,
    pool: Sender<Batch>,
    events: Sender<StorageEvent>,
}

/// A service for these shards, and a feed for each worker.
pub fn snapshot_service(
    keepers: impl IntoIterator<Item = (u16, ShardKeeper)>,
    workers: usize,
    events: Sender<StorageEvent>,
) -> (SnapshotService, Vec<SnapshotFeed>) {
    let (to, from) = bounded(BATCHES + 2 * workers);
    let (pool, batches) = bounded(BATCHES);
    for _ in 0..BATCHES {
        // It was made to hold so many.
        let _ = pool.try_send(Batch::new());
    }
    let feed = || SnapshotFeed { to: to.clone(), pool: batches.clone(), of: (0, 0), batch: None };
    let feeds = (0..workers).map(|_| feed()).collect();
    (SnapshotService { keepers: keepers.into_iter().collect(), from, pool, events }, feeds)
}

impl SnapshotService {
    /// Writes everything that has been fed so far, without waiting for more.
    pub fn work_off(&mut self) {
        while let Ok(slice) = self.from.try_recv() {
            self.take(slice);
        }
    }

    /// Writes what is fed until all feeds are gone.
    pub fn run(mut self) {
        while let Ok(slice) = self.from.recv() {
            self.take(slice);
        }
    }

    fn take(&mut self, slice: Slice) {
        let Slice { shard, number, what } = slice;
        let keeper = self.keepers.iter_mut().find(|(of, _)| *of == shard).map(|(_, keeper)| keeper);
        let result = match (keeper, what) {
            (Some(keeper), What::Begin(mark)) => keeper.begin(number, mark).map(|()| None),
            (Some(keeper), What::End(end)) => keeper.finish(number, end),
            (keeper, What::Frames(mut batch)) => {
                let mut take =
                    |keeper: &mut ShardKeeper| batch.frames().try_for_each(|f| keeper.frame(number, f));
                let result = keeper.map_or(Ok(()), &mut take);
                batch.ends.clear();
                // There are never more batches than it holds.
                let _ = self.pool.try_send(batch);
                result.map(|()| None)
            }
            (None, _) => Ok(None),
        };
        let event = match result {
            Ok(None) => return,
            Ok(Some(done)) => StorageEvent::SnapshotDurable { shard, done },
            Err(error) => StorageEvent::SnapshotFailed { shard, number, error },
        };
        // Nobody listens any more at the end.
        let _ = self.events.send(event);
    }
}

/// Starts the snapshot thread; it ends when all feeds are gone.
///
/// # Errors
/// The system has no thread to give.
pub fn spawn_snapshots(service: SnapshotService) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("latticed-snapshot".into()).spawn(move || service.run())
}
