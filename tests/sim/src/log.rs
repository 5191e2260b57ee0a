//! The production log, with a witness and a file: whatever an engine appends, the world sees, and storage keeps.
//!
//! The ring is [`MemoryLog`]. What a file adds is that a record which no durable snapshot covers is not reused: such
//! records are kept beside the ring, and the log begins with the oldest of either.

use crate::storage::SharedDisk;
use lattice_crdt::{ActorId, Dot};
use lattice_engine::{LogStore, MemoryLog};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use xxhash_rust::xxh3::xxh3_64;

/// Records that were appended since the world last looked.
#[derive(Debug, Default)]
pub struct Appended {
    bytes: Vec<u8>,
    /// Each record's dot, and where it ends.
    records: Vec<(Dot, usize)>,
    /// Hashes of the records that the log says it holds, the oldest first.
    held: VecDeque<u64>,
    /// Seq of a record that the log no longer gives back as it was.
    torn: Option<u64>,
}

impl Appended {
    /// A record that the log claims to hold and does not give back as it was.
    pub fn torn(&self) -> Option<u64> {
        self.torn
    }

    /// Calls `take` with each record, in the order in which they were appended, and forgets them.
    ///
    /// # Errors
    /// The first of `take`.
    pub fn drain<E>(&mut self, mut take: impl FnMut(Dot, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut begin = 0;
        let result = self.records.iter().try_for_each(|&(dot, end)| {
            let record = &self.bytes[begin..end];
            begin = end;
            take(dot, record)
        });
        self.records.clear();
        self.bytes.clear();
        result
    }
}

/// What the engine and the world share.
pub type Witness = Rc<RefCell<Appended>>;

/// The file behind a log.
pub struct File {
    disk: SharedDisk,
    boot_id: u128,
    /// Own operations that a durable snapshot covers: their records may be reused.
    covered: Rc<Cell<u64>>,
    /// The newest records, at least those after `covered`.
    kept: VecDeque<Vec<u8>>,
}

/// See the module's documentation.
pub struct SimLog {
    inner: MemoryLog,
    actor: ActorId,
    witness: Witness,
    file: Option<File>,
}

impl SimLog {
    /// An empty log of so many bytes and records, for the operations of `actor`, that dies with its process.
    pub fn new(bytes: usize, records: usize, actor: ActorId, witness: Witness) -> Self {
        Self { inner: MemoryLog::new(bytes, records), actor, witness, file: None }
    }

    /// A log whose records are on `disk`, where those of `actor` are found again. `covered` is shared with whoever
    /// makes snapshots.
    pub fn on_disk(mut self, disk: SharedDisk, boot_id: u128, covered: Rc<Cell<u64>>) -> Self {
        let kept: VecDeque<_> = disk.borrow().log().iter().cloned().collect();
        for record in &kept {
            self.inner.append(record);
        }
        self.file = Some(File { disk, boot_id, covered, kept });
        self.reuse();
        self
    }

    /// Forgets what the ring no longer holds and a snapshot covers.
    fn reuse(&mut self) {
        let Some(file) = &mut self.file else { return };
        let last = self.inner.last_seq();
        let reusable = file.covered.get().min(self.inner.first_seq() - 1);
        while last - (file.kept.len() as u64) < reusable {
            file.kept.pop_front();
        }
    }
}

impl LogStore for SimLog {
    fn append(&mut self, record: &[u8]) -> u64 {
        let seq = self.inner.append(record);
        let mut witness = self.witness.borrow_mut();
        witness.held.push_back(xxh3_64(record));
        let held = (seq + 1 - self.inner.first_seq()) as usize;
        while witness.held.len() > held {
            witness.held.pop_front();
        }
        let oldest = self.inner.record(self.inner.first_seq()).map(xxh3_64);
        // What a file held before this process is not known here.
        if witness.held.len() == held && oldest != witness.held.front().copied() {
            witness.torn = Some(self.inner.first_seq());
        }
        witness.bytes.extend_from_slice(record);
        let end = witness.bytes.len();
        witness.records.push((Dot { actor: self.actor, seq }, end));
        drop(witness);
        if let Some(file) = &mut self.file {
            file.disk.borrow_mut().append(record);
            file.kept.push_back(record.to_vec());
            self.reuse();
        }
        seq
    }

    fn begin_epoch(&mut self, actor: ActorId) {
        self.actor = actor;
        self.inner.begin_epoch(actor);
        self.witness.borrow_mut().held.clear();
        if let Some(file) = &mut self.file {
            file.disk.borrow_mut().begin_epoch(actor, file.boot_id);
            file.kept.clear();
            file.covered.set(0);
        }
    }

    fn first_seq(&self) -> u64 {
        match &self.file {
            Some(file) => self.inner.last_seq() + 1 - file.kept.len() as u64,
            None => self.inner.first_seq(),
        }
    }

    fn last_seq(&self) -> u64 {
        self.inner.last_seq()
    }

    fn record(&self, seq: u64) -> Option<&[u8]> {
        let Some(file) = &self.file else { return self.inner.record(seq) };
        let at = seq.checked_sub(self.first_seq())?;
        let kept = file.kept.get(usize::try_from(at).ok()?).map(Vec::as_slice);
        // The ring is under test as well: where it holds a record, it is the one that was kept.
        debug_assert!(self.inner.record(seq).is_none_or(|record| Some(record) == kept));
        kept
    }
}
