//! What all handles have in common: finding their cell, and finding it again after a daemon's restart.
//!
//! ```text
//!   word:  a counter's or flag's value in attachment 1 ────────────────────> reads as one load and its checks
//!   first: set once, read without a lock ──────────> attachment 1, cell      other reads, and writes
//!   moved: false ──> true when `first` is of no more use
//!   later: behind a read lock ─────────────────────> attachment n, cell      reads after a restart
//! ```
//!
//! A handle is `Send + Sync`. It begins on the lock-free path; once its daemon has been replaced it goes through a read lock
//! (some 20 ns), and holds the replaced segment's mapping until it is dropped. A clone starts anew from the newest
//! attachment, on the lock-free path. What could free the first mapping (hazard pointers, a counted reference) is a store and
//! a fence on each read, several times the load that is the read; so the lock is paid after a restart, by those who stay.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use lattice_segment::{
    CellRef, Lookup, ReadError, Reader, Submission, SubmitOp, Target, Word, key_hash, layout,
};

use crate::ack::{Ack, Reached};
use crate::attachment::Attachment;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::kind::Kind;
use crate::ticket::Ticket;

/// Where a key's cell is.
#[derive(Clone)]
struct Place {
    attachment: Arc<Attachment>,
    cell: CellRef,
}

/// A key of one kind, and where it was found.
pub(crate) struct Handle {
    client: Client,
    kind: Kind,
    key: Box<[u8]>,
    key_hash: u64,
    fresh_only: bool,
    /// Never set for a handle that has to ask how fresh the state is.
    word: OnceLock<Word>,
    moved: AtomicBool,
    first: OnceLock<Place>,
    later: RwLock<Option<Place>>,
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        let handle = Handle::unplaced(self.client.clone(), self.kind, &self.key);
        // A kind mismatch that arose meanwhile is reported by the clone's next use.
        let _ = handle.find_place(&handle.client.successor());
        handle
    }
}

impl Handle {
    /// Opens a key, which need not exist yet.
    pub fn open(client: &Client, kind: Kind, key: &[u8]) -> Result<Handle> {
        if key.is_empty() || key.len() > layout::MAX_KEY_BYTES {
            return Err(Error::BadKey { len: key.len(), limit: layout::MAX_KEY_BYTES });
        }
        let handle = Handle::unplaced(client.clone(), kind, key);
        handle.find_place(&client.successor())?;
        Ok(handle)
    }

    fn unplaced(client: Client, kind: Kind, key: &[u8]) -> Handle {
        Handle {
            fresh_only: client.reads_fresh_only(),
            client,
            kind,
            key: key.into(),
            key_hash: key_hash(key),
            word: OnceLock::new(),
            moved: AtomicBool::new(false),
            first: OnceLock::new(),
            later: RwLock::new(None),
        }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn key(&self) -> &[u8] {
        &self.key
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The place found first, while it is of use.
    #[inline]
    fn first_place(&self) -> Option<&Place> {
        let place = self.first.get()?;
        // Relaxed: a late view costs one more read of the place that is still valid.
        (!self.moved.load(Ordering::Relaxed) && !place.attachment.is_over()).then_some(place)
    }

    /// The value of a counter or flag; 0 if the key is not published.
    #[inline]
    pub fn read_word(&self) -> Result<u64> {
        match self.word.get().and_then(Word::load) {
            Some(value) => Ok(value),
            None => self.read_word_slowly(),
        }
    }

    #[inline(never)]
    fn read_word_slowly(&self) -> Result<u64> {
        let word = self.read(|reader, cell| reader.word(cell).map_err(ReadError::from))?;
        Ok(word.unwrap_or(0))
    }

    /// Reads the key's cell; `None` if the key is not published.
    #[inline]
    pub fn read<T>(
        &self,
        mut value: impl FnMut(&Reader, CellRef) -> std::result::Result<T, ReadError>,
    ) -> Result<Option<T>> {
        if let Some(place) = self.first_place()
            && !self.fresh_only
        {
            match value(&place.attachment.reader, place.cell) {
                Ok(value) => return Ok(Some(value)),
                // A walk may have visited elements already: to begin it again would visit them twice.
                Err(ReadError::Busy) => return Err(Error::Busy),
                Err(ReadError::Corrupt) => return Err(Error::Corrupt),
                // Nothing was read.
                Err(ReadError::Stale) => {}
            }
        }
        self.read_slowly(value)
    }

    #[inline(never)]
    fn read_slowly<T>(
        &self,
        mut value: impl FnMut(&Reader, CellRef) -> std::result::Result<T, ReadError>,
    ) -> Result<Option<T>> {
        let mut place = match self.known_place() {
            Some(place) => place,
            None => match self.find_place(&self.client.successor())? {
                Some(place) => place,
                None => return self.missing(),
            },
        };
        // A second time only if the cell was given to another key since it was found.
        for _ in 0..2 {
            self.check_fresh(&place.attachment, place.cell.worker())?;
            match value(&place.attachment.reader, place.cell) {
                Ok(value) => return Ok(Some(value)),
                Err(ReadError::Busy) => return Err(Error::Busy),
                Err(ReadError::Corrupt) => return Err(Error::Corrupt),
                Err(ReadError::Stale) => match self.look_up(&place.attachment)? {
                    Some(found) => place = found,
                    None => return self.missing(),
                },
            }
        }
        Err(Error::Busy)
    }

    /// The answer for a key that is not published: its kind's empty value, unless the state is too old to say so.
    fn missing<T>(&self) -> Result<Option<T>> {
        let attachment = self.client.current();
        self.check_fresh(&attachment, attachment.worker_of(self.key_hash))?;
        Ok(None)
    }

    fn check_fresh(&self, attachment: &Attachment, worker: u16) -> Result<()> {
        if !self.fresh_only {
            return Ok(());
        }
        if attachment.is_over() {
            return Err(self.client.daemon_closed(attachment));
        }
        self.client.check_heartbeat(attachment, worker)
    }

    /// Makes a write and waits until it has got as far as `ack` says; if that can never be, the write is not made.
    pub fn write_with(
        &self,
        ack: Ack,
        timeout: Duration,
        write: impl FnOnce() -> Result<Ticket>,
    ) -> Result<Reached> {
        self.client.check_possible(ack, timeout)?;
        self.client.wait_until_reached(write()?, ack, timeout)
    }

    /// Enqueues a write, by cell where it is known, else by key.
    #[inline]
    pub fn submit(&self, op: SubmitOp, amount: i64, data: &[u8]) -> Result<Ticket> {
        if let Some(place) = self.first_place() {
            match self.submit_to(&place.attachment, Some(place.cell), op, amount, data) {
                Err(Error::DaemonClosed { .. }) => {}
                result => return result,
            }
        }
        self.submit_slowly(op, amount, data)
    }

    #[inline(never)]
    fn submit_slowly(&self, op: SubmitOp, amount: i64, data: &[u8]) -> Result<Ticket> {
        let place = match self.known_place() {
            Some(place) => Some(place),
            None => self.find_place(&self.client.successor())?,
        };
        let (attachment, cell) = match place {
            Some(place) => (place.attachment, Some(place.cell)),
            None => (self.client.current(), None),
        };
        if !attachment.is_writable() {
            return Err(Error::ReadOnly);
        }
        if attachment.is_over() {
            return Err(self.client.daemon_closed(&attachment));
        }
        self.submit_to(&attachment, cell, op, amount, data)
    }

    #[inline]
    fn submit_to(
        &self,
        attachment: &Attachment,
        cell: Option<CellRef>,
        op: SubmitOp,
        amount: i64,
        data: &[u8],
    ) -> Result<Ticket> {
        let (worker, target) = match cell {
            Some(cell) => (cell.worker(), Target::Cell { cell: cell.cell(), generation: cell.generation() }),
            None => (attachment.worker_of(self.key_hash), Target::Key(&self.key)),
        };
        self.client.submit(
            attachment,
            worker,
            &Submission { op, kind: self.kind.as_u8(), target, amount, data },
        )
    }

    /// The place found last, if its attachment still serves.
    fn known_place(&self) -> Option<Place> {
        let later = self.later.read().unwrap_or_else(PoisonError::into_inner);
        match &*later {
            Some(place) => (!place.attachment.is_over()).then(|| place.clone()),
            None => self.first_place().cloned(),
        }
    }

    /// The key's place in this attachment, from memory or looked up.
    fn find_place(&self, attachment: &Arc<Attachment>) -> Result<Option<Place>> {
        let is_here = |place: &&Place| place.attachment.number == attachment.number;
        let later = self.later.read().unwrap_or_else(PoisonError::into_inner);
        let known = later.as_ref().filter(is_here).or_else(|| self.first.get().filter(is_here)).cloned();
        drop(later);
        match known {
            Some(place) => Ok(Some(place)),
            None => self.look_up(attachment),
        }
    }

    /// Looks the key up and remembers its place.
    fn look_up(&self, attachment: &Arc<Attachment>) -> Result<Option<Place>> {
        let cell = match attachment.reader.lookup(self.kind.as_u8(), &self.key) {
            Lookup::Found(cell) => cell,
            Lookup::Missing => return Ok(None),
            Lookup::OtherKind(found) => {
                return Err(Error::KindMismatch { wanted: self.kind, found: Kind::from_u8(found) });
            }
        };
        let place = Place { attachment: Arc::clone(attachment), cell };
        // Two threads may find a new key at the same moment: then both have the first place.
        let first = self.first.get_or_init(|| place.clone());
        if first.attachment.number == attachment.number && first.cell == cell {
            // Of a register or set there is no word.
            if !self.fresh_only
                && let Ok(word) = attachment.reader.word_at_hand(cell)
            {
                let _ = self.word.set(word);
            }
        } else {
            *self.later.write().unwrap_or_else(PoisonError::into_inner) = Some(place.clone());
            self.moved.store(true, Ordering::Relaxed);
        }
        Ok(Some(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_segment::{Segment, SegmentConfig, Writer};
    use tempfile::TempDir;

    const KEY: &[u8] = b"hits";

    fn world() -> (TempDir, Segment, Writer, Client) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let (segment, mut writers) = Segment::create(&SegmentConfig {
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
        let client = Client::open_read_only(&path).unwrap();
        (dir, segment, writers.remove(0), client)
    }

    #[test]
    fn a_read_that_failed_half_way_is_not_begun_again() {
        let (_dir, _segment, mut writer, client) = world();
        writer.open_cell(Kind::Counter.as_u8(), key_hash(KEY), KEY).unwrap();
        let handle = Handle::open(&client, Kind::Counter, KEY).unwrap();
        for failure in [ReadError::Busy, ReadError::Corrupt] {
            let mut visits = 0;
            let result = handle.read(|_, _| -> std::result::Result<(), ReadError> {
                visits += 1;
                Err(failure)
            });
            assert!(matches!(result, Err(Error::Busy | Error::Corrupt)));
            assert_eq!(visits, 1, "{failure}");
        }
    }

    #[test]
    fn two_threads_that_find_a_new_key_at_once_leave_it_on_the_fast_path() {
        let (_dir, _segment, mut writer, client) = world();
        let handle = Handle::open(&client, Kind::Counter, KEY).unwrap();
        writer.open_cell(Kind::Counter.as_u8(), key_hash(KEY), KEY).unwrap();
        // Both have seen that no place is known, and now both look the key up.
        for _ in 0..2 {
            assert!(handle.look_up(&client.current()).unwrap().is_some());
        }
        assert!(handle.first_place().is_some());
    }
}
