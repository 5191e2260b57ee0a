//! One incarnation of a daemon, as this client is attached to it: its segment and its rings.
//!
//! An attachment never changes into another: a client that re-attaches makes a new one, and handles move over with
//! their next use. So whoever holds an attachment reads one consistent segment for as long as it likes.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lattice_segment::{
    BiasedGuard, BiasedLock, Reader, RingProducer, RingWatcher, State, shard_of, worker_of,
};

use crate::attach::{Attached, is_hung_up};
use crate::clock::monotonic_ns;
use crate::error::{Error, Result};
use crate::lane::{Lane, Remains};

/// A mapped segment and, unless read-only, the rings into its daemon.
pub(crate) struct Attachment {
    /// Counts this client's attachments from 1: part of each ticket.
    pub number: u64,
    pub reader: Reader,
    lanes: Vec<BiasedLock<Lane>>,
    /// Of each lane: used without its lock.
    watchers: Vec<RingWatcher>,
    /// The connection to the daemon, until the writing ends.
    stream: Mutex<Option<OwnedFd>>,
    opened_ns: u64,
}

/// Opens a segment file, whoever its daemon is.
pub(crate) fn open_reader(path: &Path) -> Result<Reader> {
    Reader::open(path).map_err(|source| Error::Open { path: path.to_owned(), source })
}

impl Attachment {
    /// An attachment that only reads.
    pub fn read_only(number: u64, reader: Reader) -> Attachment {
        Attachment::new(number, reader, Vec::new(), None)
    }

    /// An attachment that can write: maps the segment and the rings that the daemon sent.
    pub fn writable(number: u64, attached: Attached) -> Result<Attachment> {
        let reader = open_reader(&attached.segment)?;
        let producers = RingProducer::map(&attached.rings)
            .map_err(|error| Error::Protocol(format!("the rings can't be mapped: {error}")))?;
        if producers.len() != usize::from(attached.workers) || reader.workers() != attached.workers {
            return Err(Error::Protocol(format!(
                "the reply says {} workers, the rings {}, the segment {}",
                attached.workers,
                producers.len(),
                reader.workers()
            )));
        }
        let mut wakeups = attached.wakeups.into_iter();
        let lanes = producers
            .into_iter()
            .map(|producer| BiasedLock::new(Lane::new(producer, wakeups.next())))
            .collect();
        Ok(Attachment::new(number, reader, lanes, Some(attached.stream)))
    }

    fn new(number: u64, reader: Reader, lanes: Vec<BiasedLock<Lane>>, stream: Option<OwnedFd>) -> Attachment {
        let watchers = lanes.iter().map(|lane| lane.lock().watcher()).collect();
        Attachment { number, reader, lanes, watchers, stream: Mutex::new(stream), opened_ns: monotonic_ns() }
    }

    /// True once the daemon, its successor or this client has ended it. Two loads of hot lines.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.reader.is_over()
    }

    /// Tells handles to move on to the successor.
    pub fn supersede(&self) {
        self.reader.give_up();
    }

    /// True if the daemon, or this client, has closed the connection. One system call.
    pub fn is_hung_up(&self) -> bool {
        self.is_writable() && lock(&self.stream).as_ref().is_none_or(is_hung_up)
    }

    /// Ends the writing and closes all descriptors: handles hold an attachment that is over for its mapping alone, maybe for
    /// long, and the daemon should learn that nobody writes here any more. Returns what remains of each lane, by worker.
    pub fn retire(&self) -> Vec<Remains> {
        let remains = self.lanes.iter().map(|lane| lane.lock().retire()).collect();
        lock(&self.stream).take();
        remains
    }

    pub fn is_writable(&self) -> bool {
        !self.lanes.is_empty()
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.reader.state(), State::Ready)
    }

    /// The worker that owns a key.
    pub fn worker_of(&self, key_hash: u64) -> u16 {
        worker_of(shard_of(key_hash, self.reader.shards()), self.reader.workers())
    }

    /// The rings into one worker; `None` if this attachment is read-only.
    pub fn lane(&self, worker: u16) -> Option<BiasedGuard<'_, Lane>> {
        self.lanes.get(usize::from(worker)).map(BiasedLock::lock)
    }

    /// For sleeping until a worker tells something; `None` if this attachment is read-only.
    pub fn watcher(&self, worker: u16) -> Option<&RingWatcher> {
        self.watchers.get(usize::from(worker))
    }

    /// All of them, by worker.
    pub fn lanes(&self) -> impl Iterator<Item = (u16, &BiasedLock<Lane>)> {
        (0u16..).zip(&self.lanes)
    }

    /// Age of a worker's heartbeat. One that never beat is as old as the attachment: a daemon that starts is not stale yet.
    pub fn heartbeat_age(&self, worker: u16, now_ns: u64) -> Duration {
        let age_ns = match self.reader.heartbeat_age_ns(worker, now_ns) {
            u64::MAX => now_ns.saturating_sub(self.opened_ns),
            age_ns => age_ns,
        };
        Duration::from_nanos(age_ns)
    }

    /// True once every worker has given a sign of life.
    pub fn has_beaten(&self) -> bool {
        (0..self.reader.workers()).all(|worker| self.reader.heartbeat_age_ns(worker, 0) != u64::MAX)
    }

    /// The age of the most silent worker.
    pub fn oldest_heartbeat(&self, now_ns: u64) -> Duration {
        (0..self.reader.workers()).map(|worker| self.heartbeat_age(worker, now_ns)).max().unwrap_or_default()
    }

    pub fn heartbeat_timeout(&self) -> Duration {
        Duration::from_nanos(self.reader.heartbeat_timeout_ns())
    }
}

/// Locks; a thread that panicked inside left nothing half-done that matters: each lane's state is a few counters.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_segment::{RingConfig, Segment, SegmentConfig, create_rings};
    use std::io::{ErrorKind, Read};
    use std::os::unix::net::UnixStream;

    #[test]
    fn an_attachment_that_is_over_keeps_no_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let (segment, _writers) = Segment::create(&SegmentConfig {
            path: path.clone(),
            node: 1,
            node_name: "a".into(),
            cluster: "test".into(),
            actor: 1 << 48 | 1,
            workers: 1,
            shards: 1,
            cells_per_worker: 10,
            extent_bytes_per_worker: 4096,
            change_ring_entries: 64,
            heartbeat_timeout_ns: u64::MAX,
            socket_path: None,
        })
        .unwrap();
        segment.mark_ready();
        let config = RingConfig { submission_slots: 32, completion_slots: 32 };
        let (rings, _consumers) = create_rings(1, config).unwrap();
        let ((stream, mut daemon), (wakeup, mut worker)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let attached = Attached {
            stream: stream.into(),
            rings,
            wakeups: vec![wakeup.into()],
            segment: path,
            workers: 1,
        };
        let attachment = Attachment::writable(1, attached).unwrap();
        assert!(attachment.is_writable() && !attachment.is_hung_up());
        for end in [&mut daemon, &mut worker] {
            end.set_nonblocking(true).unwrap();
            assert_eq!(end.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        }

        assert_eq!(attachment.retire().len(), 1);
        // A handle may go on reading for long.
        for end in [&mut daemon, &mut worker] {
            assert_eq!(end.read(&mut [0]).unwrap(), 0, "closed");
        }
        assert!(attachment.is_writable() && attachment.is_hung_up(), "it is still known to be lost");
        assert!(attachment.is_ready());
    }
}
