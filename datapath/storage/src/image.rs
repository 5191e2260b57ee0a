//! The image: the ring's bytes on disk, as far as they were written, and a header that says what they are.
//!
//! ```text
//!   byte     0  header, one copy ─┐ written in turn, sealed: one of them is whole at any moment
//!         4096  header, the other ─┘ whose, salt, actor, boot, base snapshot, tail, how far it was durable
//!         8192  the ring: byte for byte what lies in memory, at the same places
//!
//!   flush      copy [flushed, head) out of memory ─> write ─> header ─> sync ─> durable = head
//!   set_base   the snapshot is durable ─> header says so ─> what it covers may be reused
//! ```
//!
//! Behind the newest record stands a mark of the end, which the next flush overwrites: a log whose end was lost is not
//! taken for one that ends there. Only storage threads write the image, so a slow disk holds up nobody else. Each flush also says in the header how far the one
//! before had come: a reader can tell bytes that were never durable from bytes that are damaged.
//!
//! What can go wrong: a write or a sync fails. Then this image is not touched again in this run, nothing more becomes
//! durable, and every call says so. The log in memory is whole; the next start writes a new image from it.

use crate::disk::{Disk, DiskFile};
use crate::error::StorageError;
use crate::fields::{Get, Put};
use crate::log::{LogMark, Shared};
use crate::record::{self, END_MARK_BYTES, RECORD_HEADER_BYTES, Scan};
use crate::ring::Word;
use lattice_crdt::{ActorId, Dot};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::fence;

const MAGIC: u64 = u64::from_le_bytes(*b"LATLOG01");
/// A header's length: one sector.
pub(crate) const SLOT_BYTES: usize = 512;
const SLOTS_AT: [u64; 2] = [0, 4096];
/// Where the ring begins.
pub(crate) const RING_AT: u64 = 8192;

/// Whose a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Hash of the cluster's name.
    pub(crate) cluster: u64,
    /// The data directory's own number.
    pub(crate) directory: u128,
    pub(crate) node: u16,
    pub(crate) shard: u16,
}

impl Owner {
    pub(crate) fn write(&self, put: &mut Put<'_>) {
        put.u64(self.cluster).u128(self.directory).u64(u64::from(self.node) << 16 | u64::from(self.shard));
    }

    pub(crate) fn read(get: &mut Get<'_>) -> Self {
        let (cluster, directory, both) = (get.u64(), get.u128(), get.u64());
        Self { cluster, directory, node: (both >> 16) as u16, shard: both as u16 }
    }
}

/// What a snapshot means for the log: with the snapshot of this generation, everything before the mark is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// 0: none, and the log is everything that there is.
    pub(crate) generation: u64,
    pub(crate) mark: u64,
}

/// One copy of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageHeader {
    pub(crate) owner: Owner,
    pub(crate) capacity_bytes: u64,
    pub(crate) salt: u64,
    /// Counts headers: the higher one is newer.
    pub(crate) generation: u64,
    pub(crate) actor: ActorId,
    pub(crate) boot_id: u128,
    pub(crate) base: Base,
    /// Up to here it was durable before this header was written.
    pub(crate) synced: u64,
}

impl ImageHeader {
    fn write(&self, block: &mut [u8; SLOT_BYTES]) {
        let mut put = Put::new(block);
        put.u64(MAGIC);
        self.owner.write(&mut put);
        put.u64(self.capacity_bytes).u64(self.salt).u64(self.generation).u64(self.actor.as_u64());
        put.u128(self.boot_id).u64(self.base.generation).u64(self.base.mark).u64(self.synced);
        put.seal();
    }

    fn read(block: &[u8]) -> Result<Self, &'static str> {
        let mut get = Get::sealed(block).ok_or("the checksum is wrong")?;
        if get.u64() != MAGIC {
            return Err("not a log of this version");
        }
        Ok(Self {
            owner: Owner::read(&mut get),
            capacity_bytes: get.u64(),
            salt: get.u64(),
            generation: get.u64(),
            actor: ActorId::from_u64(get.u64()),
            boot_id: get.u128(),
            base: Base { generation: get.u64(), mark: get.u64() },
            synced: get.u64(),
        })
    }
}

/// An image as a start reads it.
#[derive(Debug)]
pub(crate) struct ReadImage {
    pub(crate) header: ImageHeader,
    /// The ring's bytes.
    pub(crate) ring: Vec<u8>,
    /// The other header, at this byte, could not be used.
    pub(crate) torn_header: Option<(u64, &'static str)>,
}

/// Why an image could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Missing,
    /// Neither header can be used; that of the first is said.
    Headers(&'static str),
    Io(StorageError),
}

impl ReadImage {
    pub(crate) fn read(disk: &dyn Disk, path: &Path, owner: Owner) -> Result<Self, ReadError> {
        let file = match disk.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(ReadError::Missing),
            Err(error) => return Err(ReadError::Io(StorageError::io(path, "opening the log")(error))),
        };
        let slot = |at: u64| {
            let mut block = [0; SLOT_BYTES];
            file.read_at(&mut block, at).map_err(|_| "it can't be read")?;
            let header = ImageHeader::read(&block)?;
            match header.owner == owner {
                false => Err("it belongs to another directory, node or shard"),
                true if file.len_bytes().ok() != Some(RING_AT + header.capacity_bytes) => {
                    Err("it names another length than the file has")
                }
                true => Ok(header),
            }
        };
        let (header, torn_header) = match SLOTS_AT.map(slot) {
            [Ok(one), Ok(other)] => (if one.generation > other.generation { one } else { other }, None),
            [Ok(one), Err(what)] => (one, Some((SLOTS_AT[1], what))),
            [Err(what), Ok(other)] => (other, Some((SLOTS_AT[0], what))),
            [Err(what), Err(_)] => return Err(ReadError::Headers(what)),
        };
        let mut ring = vec![0; header.capacity_bytes as usize];
        file.read_at(&mut ring, RING_AT)
            .map_err(|error| ReadError::Io(StorageError::io(path, "reading the log")(error)))?;
        Ok(Self { header, ring, torn_header })
    }

    /// The records from an offset on.
    pub(crate) fn scan(&self, from: u64) -> Scan {
        let base = self.header.base.mark.max(from);
        record::scan(&self.ring, self.header.salt, from, base + self.header.capacity_bytes, None)
    }
}

/// An image that is being kept up; there is one for each shard, behind a lock that only storage threads take.
pub(crate) struct Image {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    header: ImageHeader,
    shared: Arc<Shared>,
    /// Up to here bytes were written.
    flushed: u64,
    /// The newest record before `flushed`.
    newest: Option<Dot>,
    /// Whose the newest durable record is.
    published: Option<ActorId>,
    /// Where the mark of the end is, if it is known to be anywhere.
    marked: Option<u64>,
    buffer: Vec<u8>,
    failed: Option<String>,
}

impl Image {
    /// Makes a new image of a ring beside the one that may be there, durable as far as the ring goes, and puts it in
    /// its place. What is in place at any moment is whole.
    pub(crate) fn create(
        disk: &dyn Disk,
        path: &Path,
        shared: Arc<Shared>,
        base: Base,
    ) -> Result<Self, StorageError> {
        let about = shared.ring.about();
        let header = ImageHeader {
            owner: about.owner,
            capacity_bytes: about.capacity_bytes,
            salt: about.salt,
            generation: 0,
            actor: shared.actor(),
            boot_id: about.boot_id,
            base,
            synced: shared.ring.load(Word::Head, Acquire),
        };
        let beside = path.with_extension("new");
        let bytes = RING_AT + about.capacity_bytes;
        let file = disk.create(&beside, bytes).map_err(StorageError::io(&beside, "making the log"))?;
        let flushed = shared.ring.load(Word::Tail, Acquire);
        let mut image = Self {
            path: beside.clone(),
            file,
            header,
            shared,
            flushed,
            newest: None,
            published: None,
            marked: None,
            buffer: Vec::new(),
            failed: None,
        };
        // Every block is written once, so that a later sync has no extents to convert.
        let zeros = vec![0; bytes as usize];
        image.file.write_at(&zeros, 0).map_err(StorageError::io(&beside, "making the log"))?;
        image.write_header()?;
        image.flush(true)?;
        disk.rename(&beside, path).map_err(StorageError::io(path, "putting the log in place"))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        disk.sync_directory(directory).map_err(StorageError::io(directory, "syncing the directory"))?;
        image.path = path.to_owned();
        Ok(image)
    }

    /// Goes on with the image that is in place, whose header was read, as far as it is known to be durable.
    pub(crate) fn resume(
        disk: &dyn Disk,
        path: &Path,
        shared: Arc<Shared>,
        header: ImageHeader,
    ) -> Result<Self, StorageError> {
        let file = disk.open(path).map_err(StorageError::io(path, "opening the log"))?;
        let (tail, durable) =
            (shared.ring.load(Word::Tail, Acquire), shared.ring.load(Word::Durable, Acquire));
        let mut image = Self {
            path: path.to_owned(),
            file,
            header,
            shared,
            flushed: durable,
            newest: None,
            published: None,
            marked: None,
            buffer: Vec::new(),
            failed: None,
        };
        image.shared.ring.copy_out(tail, durable, &mut image.buffer);
        image.note_newest(tail);
        image.publish(durable);
        // Bytes that a process before wrote and never saw synced are written again.
        image.flush(true)?;
        Ok(image)
    }

    pub(crate) fn base(&self) -> Base {
        self.header.base
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether there is anything that a flush would make durable.
    pub(crate) fn is_behind(&self) -> bool {
        let ring = &self.shared.ring;
        ring.load(Word::Head, Acquire) != ring.load(Word::Durable, Acquire)
            || self.shared.actor() != self.header.actor
    }

    /// Writes what was appended since the last time; with `sync`, it is durable when this returns.
    ///
    /// # Errors
    /// [`StorageError::Failed`] for ever after the first other error.
    pub(crate) fn flush(&mut self, sync: bool) -> Result<LogMark, StorageError> {
        self.check()?;
        let result = self.flush_unchecked(sync);
        self.keep_failure(result)
    }

    fn flush_unchecked(&mut self, sync: bool) -> Result<LogMark, StorageError> {
        // The actor first: what is appended after the load of the head may be of a later one, and waits.
        let actor = self.shared.actor();
        let head = self.shared.ring.load(Word::Head, Acquire);
        self.write_records(head)?;
        // A new epoch waits for this, whatever the policy.
        if sync || actor != self.header.actor {
            self.header.actor = actor;
            self.header.synced = self.shared.ring.load(Word::Durable, Acquire);
            self.write_header()?;
            self.sync()?;
            self.publish(head);
            self.shared.ring.store(Word::Generation, self.header.generation, Release);
            self.shared.set_ready(actor);
        }
        Ok(LogMark(head))
    }

    /// A snapshot of the given base is durable: what lies before its mark is not needed any more. The header says so from
    /// the next sync on; until then the snapshot itself does.
    ///
    /// # Errors
    /// As [`Image::flush`]; then nothing is given up.
    pub(crate) fn set_base(&mut self, base: Base) -> Result<(), StorageError> {
        self.check()?;
        self.header.base = base;
        let result = self.write_header();
        self.keep_failure(result)?;
        self.shared.ring.store(Word::Generation, self.header.generation, Release);
        self.shared.set_reusable(base.mark);
        Ok(())
    }

    fn publish(&mut self, durable: u64) {
        let former = std::mem::replace(&mut self.published, self.newest.map(|dot| dot.actor));
        self.shared.set_durable(durable, self.newest, former != self.published);
    }

    fn check(&self) -> Result<(), StorageError> {
        match &self.failed {
            Some(first) => Err(StorageError::Failed { path: self.path.clone(), first: first.clone() }),
            None => Ok(()),
        }
    }

    fn keep_failure<T>(&mut self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        if let Err(error) = &result {
            self.failed = Some(error.to_string());
            self.shared.fail();
        }
        result
    }

    fn write_records(&mut self, head: u64) -> Result<(), StorageError> {
        let from = self.flushed;
        let capacity = self.header.capacity_bytes;
        if head <= from && self.marked == Some(head) {
            return Ok(());
        }
        if head + END_MARK_BYTES > self.header.base.mark + capacity {
            return Err(self.overrun());
        }
        self.shared.ring.copy_out(from, head, &mut self.buffer);
        // Pairs with the fence in `make_room`: if a word of a later lap was copied, this tail is beyond it.
        fence(Acquire);
        if self.shared.ring.load(Word::Tail, Acquire) > from {
            return Err(self.overrun());
        }
        self.note_newest(from);
        self.put_end_mark(head);
        let place = from % capacity;
        let first = (self.buffer.len() as u64).min(capacity - place) as usize;
        let (one, other) = self.buffer.split_at(first);
        let failed = StorageError::io(&self.path, "writing the log");
        let write = |bytes: &[u8], at| if bytes.is_empty() { Ok(()) } else { self.file.write_at(bytes, at) };
        write(one, RING_AT + place).and_then(|()| write(other, RING_AT)).map_err(failed)?;
        (self.flushed, self.marked) = (head, Some(head));
        Ok(())
    }

    fn put_end_mark(&mut self, head: u64) {
        let left = (self.header.capacity_bytes - head % self.header.capacity_bytes) as usize;
        let skipped = if left < RECORD_HEADER_BYTES { left } else { 0 };
        self.buffer.resize(self.buffer.len() + skipped, 0);
        self.buffer.extend_from_slice(&record::end_mark(self.header.salt, head + skipped as u64));
    }

    fn overrun(&self) -> StorageError {
        let what = "the log was overrun: records were appended without room".to_owned();
        StorageError::Unfit { path: self.path.clone(), what }
    }

    /// Which record is the last of those in the buffer, which begins at `from`.
    fn note_newest(&mut self, from: u64) {
        if let Some((dot, _)) = self.records_in(&self.buffer, from).last() {
            self.newest = Some(dot);
        }
    }

    /// The records in a copy of the ring that begins at `from`.
    fn records_in<'a>(&self, copy: &'a [u8], from: u64) -> impl Iterator<Item = (Dot, &'a [u8])> + use<'a> {
        let (capacity, node, mut at) = (self.header.capacity_bytes, self.header.actor.node(), 0);
        std::iter::from_fn(move || {
            while let Some(header) = copy.get(at..at + RECORD_HEADER_BYTES) {
                let left = (capacity - (from + at as u64) % capacity) as usize;
                let word = |i: usize| header[i..i + 8].try_into().map_or(0, u64::from_le_bytes);
                match record::read_length_word(word(8)) {
                    _ if left < RECORD_HEADER_BYTES => at += left,
                    (_, None) => at += left,
                    (epoch, Some(len)) => {
                        let begin = at + RECORD_HEADER_BYTES;
                        at += record::stride(len) as usize;
                        let dot = Dot::new(ActorId::new(node, epoch), word(16));
                        return copy.get(begin..begin + len).map(|payload| (dot, payload));
                    }
                }
            }
            None
        })
    }

    /// Every record from the mark of the present base to where the image ends.
    ///
    /// # Errors
    /// [`StorageError`]: what was there has been given up.
    pub(crate) fn each_since_base(&self, mut each: impl FnMut(Dot, &[u8])) -> Result<(), StorageError> {
        self.check()?;
        let (from, mut copy) = (self.header.base.mark, Vec::new());
        self.shared.ring.copy_out(from, self.flushed, &mut copy);
        // As in `write_records`.
        fence(Acquire);
        if self.shared.ring.load(Word::Tail, Acquire) > from {
            return Err(self.overrun());
        }
        self.records_in(&copy, from).for_each(|(dot, payload)| each(dot, payload));
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn write_header(&mut self) -> Result<(), StorageError> {
        self.header.generation += 1;
        let mut block = [0; SLOT_BYTES];
        self.header.write(&mut block);
        let at = SLOTS_AT[(self.header.generation % 2) as usize];
        self.file.write_at(&block, at).map_err(StorageError::io(&self.path, "writing the log's header"))
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.file.sync().map_err(StorageError::io(&self.path, "syncing the log"))
    }
}
