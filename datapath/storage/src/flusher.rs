//! The flusher: a thread that makes logs durable, by policy.
//!
//! ```text
//!   interval   every 10 ms whatever was appended since: one sync for all of it (group commit)
//!   always     as soon as somebody says that he waits, and again while more comes
//!   never      written, and synced only with snapshots and at the end: the kernel decides when
//! ```
//!
//! What can go wrong: a sync fails. It is said once ([`StorageEvent::LogFailed`]), that shard is left alone from then on,
//! and the others go on.

use crate::error::StorageError;
use crate::feed::StorageEvent;
use crate::keeper::ShardImage;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// When what was appended is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// So often, if there is anything.
    Interval(Duration),
    /// At once, whenever somebody waits ([`FlushWaker::wake`]); in any case every 10 ms.
    Always,
    /// When a snapshot needs it, and at the end.
    Never,
}

impl Default for SyncPolicy {
    fn default() -> Self {
        Self::Interval(DEFAULT_INTERVAL)
    }
}

/// How long what was appended waits by default.
pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(10);
/// How often logs are written, but not synced, where nobody wants them synced.
const UNSYNCED_INTERVAL: Duration = Duration::from_millis(100);

/// The images of all shards, flushed one after the other. [`spawn_flusher`] gives it a thread.
pub struct Flusher {
    images: Vec<(u16, ShardImage, bool)>,
    policy: SyncPolicy,
}

impl Flusher {
    /// For these shards.
    pub fn new(images: impl IntoIterator<Item = (u16, ShardImage)>, policy: SyncPolicy) -> Self {
        let images: Vec<_> = images.into_iter().map(|(shard, image)| (shard, image, false)).collect();
        if policy == SyncPolicy::Never {
            images.iter().for_each(|(_, image, _)| image.lock().shared().set_never_synced());
        }
        Self { images, policy }
    }

    /// Flushes every shard that has something to flush. `tell` gets the first error of each. Returns whether there was
    /// anything to do.
    pub fn round(&mut self, sync: bool, mut tell: impl FnMut(u16, StorageError)) -> bool {
        let mut any = false;
        for (shard, image, failed) in &mut self.images {
            if *failed || !image.is_behind() {
                continue;
            }
            any = true;
            if let Err(error) = image.flush(sync) {
                *failed = true;
                tell(*shard, error);
            }
        }
        any
    }

    fn period(&self) -> Duration {
        match self.policy {
            SyncPolicy::Interval(period) => period,
            SyncPolicy::Always => DEFAULT_INTERVAL,
            SyncPolicy::Never => UNSYNCED_INTERVAL,
        }
    }

    fn run(mut self, woken: &Receiver<()>, stop: &AtomicBool, events: &Sender<StorageEvent>) {
        let tell = |shard, error| {
            // Nobody listens any more at the end.
            let _ = events.send(StorageEvent::LogFailed { shard, error });
        };
        let sync = self.policy != SyncPolicy::Never;
        let mut due = Instant::now() + self.period();
        while !stop.load(Acquire) {
            let was_woken = woken.recv_deadline(due).is_ok();
            if was_woken && self.policy != SyncPolicy::Always {
                continue;
            }
            self.round(sync, tell);
            due = Instant::now() + self.period();
        }
        self.round(true, tell);
    }
}

/// Says to the flusher that somebody waits. A few nanoseconds while it is awake or has been told; else a system call.
#[derive(Clone, Debug)]
pub struct FlushWaker(Sender<()>);

impl FlushWaker {
    /// Makes the flusher look now, under [`SyncPolicy::Always`]; else it changes nothing.
    pub fn wake(&self) {
        match self.0.try_send(()) {
            // It has been told already, or is at its end.
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// A flusher's thread. Stopped, it flushes and syncs everything once more.
#[derive(Debug)]
pub struct FlusherThread {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    waker: FlushWaker,
}

impl FlusherThread {
    /// For workers, under [`SyncPolicy::Always`].
    pub fn waker(&self) -> FlushWaker {
        self.waker.clone()
    }

    /// Makes everything durable that was appended before, and ends the thread.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Release);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the hook, and there is nothing left to do for it here.
            let _ = thread.join();
        }
    }
}

impl Drop for FlusherThread {
    fn drop(&mut self) {
        self.end();
    }
}

/// Starts the flusher's thread. It says at most one thing for each shard, and waits until `events` takes it.
///
/// # Errors
/// The system has no thread to give.
pub fn spawn_flusher(flusher: Flusher, events: Sender<StorageEvent>) -> io::Result<FlusherThread> {
    let (sender, woken) = bounded(1);
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let run = move || flusher.run(&woken, &seen, &events);
    let thread = std::thread::Builder::new().name("latticed-flush".into()).spawn(run)?;
    Ok(FlusherThread { thread: Some(thread), stop, waker: FlushWaker(sender) })
}
