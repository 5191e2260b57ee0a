//! The production log, with a witness: whatever an engine appends, the world sees.

use lattice_crdt::{ActorId, Dot};
use lattice_engine::{LogStore, MemoryLog};
use std::cell::RefCell;
use std::rc::Rc;

/// Records that were appended since the world last looked.
#[derive(Debug, Default)]
pub struct Appended {
    bytes: Vec<u8>,
    /// Each record's dot, and where it ends.
    records: Vec<(Dot, usize)>,
}

impl Appended {
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

/// See the module's documentation.
pub struct SimLog {
    inner: MemoryLog,
    actor: ActorId,
    witness: Witness,
}

impl SimLog {
    /// An empty log of so many bytes and records, for the operations of `actor`.
    pub fn new(bytes: usize, records: usize, actor: ActorId, witness: Witness) -> Self {
        Self { inner: MemoryLog::new(bytes, records), actor, witness }
    }
}

impl LogStore for SimLog {
    fn append(&mut self, record: &[u8]) -> u64 {
        let seq = self.inner.append(record);
        let mut witness = self.witness.borrow_mut();
        witness.bytes.extend_from_slice(record);
        let end = witness.bytes.len();
        witness.records.push((Dot { actor: self.actor, seq }, end));
        seq
    }

    fn begin_epoch(&mut self, actor: ActorId) {
        self.actor = actor;
        self.inner.begin_epoch(actor);
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
}
