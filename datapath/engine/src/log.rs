//! The log of a shard's own operations: replication stream, retransmission buffer and (once it is a file) write-ahead
//! log in one.
//!
//! ```text
//!   bytes   ┌──────────┬──────────┬─────────┬···┬──────────┬─────┐   a ring: the oldest records make room
//!           │ seq n+1  │ seq n+2  │ seq n+3 │   │ seq m    │free │   a record never wraps: what is left at the
//!           └──────────┴──────────┴─────────┴···┴──────────┴─────┘   end is skipped
//!   index   seq & mask -> (logical offset, length)
//! ```
//!
//! Records are kept as they go onto the wire, so a frame is cut by copying. Appending never fails and never waits: it
//! evicts, and a peer that still needed what was evicted gets a state sync. A log on storage may not evict what no durable
//! snapshot covers: it says how much room there is ([`LogStore::room`]), and a burst takes no more operations than that. What
//! can go wrong: a record longer than the whole ring, which [`crate::EngineConfig`] rules out when the engine is made.

use lattice_crdt::ActorId;

/// Where own operations are kept. The in-memory ring below is one; a memory-mapped file is to be another.
pub trait LogStore {
    /// Appends the record of `last_seq() + 1`, evicting old records as needed. Returns its seq.
    fn append(&mut self, record: &[u8]) -> u64;
    /// Seq of the oldest record held; `last_seq() + 1` when there is none.
    fn first_seq(&self) -> u64;
    /// Seq of the newest record ever appended; 0 before the first.
    fn last_seq(&self) -> u64;
    /// The encoded record of `seq`, while it is held.
    fn record(&self, seq: u64) -> Option<&[u8]>;
    /// Forgets all records and begins anew with seq 1, for the operations of `actor`.
    fn begin_epoch(&mut self, actor: ActorId);
    /// Records of any size that can be appended now without giving up one that must be kept. A log that keeps nothing for
    /// later has room for all.
    fn room(&self) -> usize {
        usize::MAX
    }
}

#[derive(Clone, Copy, Default)]
struct Place {
    /// Offset on a line that never wraps; the place in the ring is its remainder.
    offset: u64,
    len: u32,
}

/// A log in memory: it dies with the process.
pub struct MemoryLog {
    bytes: Box<[u8]>,
    index: Box<[Place]>,
    first_seq: u64,
    last_seq: u64,
    head: u64,
}

impl MemoryLog {
    /// A ring of `capacity_bytes` that indexes at most `capacity_records` (a power of two) records.
    pub fn new(capacity_bytes: usize, capacity_records: usize) -> Self {
        debug_assert!(capacity_records.is_power_of_two());
        Self {
            bytes: vec![0; capacity_bytes].into_boxed_slice(),
            index: vec![Place::default(); capacity_records].into_boxed_slice(),
            first_seq: 1,
            last_seq: 0,
            head: 0,
        }
    }

    fn slot(&self, seq: u64) -> usize {
        (seq & (self.index.len() as u64 - 1)) as usize
    }

    /// Where a record of `len` bytes begins: here, or at the ring's next beginning if it would wrap.
    fn aligned_head(&self, len: usize) -> u64 {
        let capacity = self.bytes.len() as u64;
        let within = self.head % capacity;
        if within + len as u64 > capacity { self.head + (capacity - within) } else { self.head }
    }
}

impl LogStore for MemoryLog {
    fn append(&mut self, record: &[u8]) -> u64 {
        debug_assert!(record.len() <= self.bytes.len());
        let start = self.aligned_head(record.len());
        let end = start + record.len() as u64;
        self.last_seq += 1;
        let begin = if zoo!(LogKeepsOverwritten) { start } else { end };
        while self.first_seq < self.last_seq
            && (begin - self.index[self.slot(self.first_seq)].offset > self.bytes.len() as u64
                || self.last_seq - self.first_seq >= self.index.len() as u64)
        {
            self.first_seq += 1;
        }
        let at = (start % self.bytes.len() as u64) as usize;
        self.bytes[at..at + record.len()].copy_from_slice(record);
        let slot = self.slot(self.last_seq);
        self.index[slot] = Place { offset: start, len: record.len() as u32 };
        self.head = end;
        self.last_seq
    }

    fn first_seq(&self) -> u64 {
        self.first_seq
    }

    fn last_seq(&self) -> u64 {
        self.last_seq
    }

    fn record(&self, seq: u64) -> Option<&[u8]> {
        if seq < self.first_seq || seq > self.last_seq {
            return None;
        }
        let place = self.index[self.slot(seq)];
        let at = (place.offset % self.bytes.len() as u64) as usize;
        self.bytes.get(at..at + place.len as usize)
    }

    fn begin_epoch(&mut self, _: ActorId) {
        (self.first_seq, self.last_seq, self.head) = (1, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is held reads back as it was written, and what is held is always the newest run.
        #[test]
        fn holds_the_newest_records(lens in proptest::collection::vec(1usize..60, 1..400)) {
            let mut log = MemoryLog::new(256, 16);
            let mut written: Vec<Vec<u8>> = Vec::new();
            for (i, len) in lens.iter().enumerate() {
                let record: Vec<u8> = (0..*len).map(|b| (b as u8) ^ (i as u8)).collect();
                prop_assert_eq!(log.append(&record), i as u64 + 1);
                written.push(record);
                prop_assert!(log.first_seq() <= log.last_seq());
                prop_assert!(log.last_seq() - log.first_seq() < 16);
                for seq in log.first_seq()..=log.last_seq() {
                    prop_assert_eq!(log.record(seq), Some(written[seq as usize - 1].as_slice()));
                }
                prop_assert_eq!(log.record(log.first_seq() - 1), None);
                prop_assert_eq!(log.record(log.last_seq() + 1), None);
                let held: usize = (log.first_seq()..=log.last_seq()).map(|s| written[s as usize - 1].len()).sum();
                prop_assert!(held <= 256);
            }
        }
    }

    /// It evicts no more than it must, and fills the ring to its last byte and its last place.
    #[test]
    fn holds_as_many_records_as_fit() {
        let held = |len: usize, records: usize| {
            let mut log = MemoryLog::new(256, records);
            (0..100).for_each(|_| assert!(log.append(&vec![1; len]) > 0));
            log.last_seq() - log.first_seq() + 1
        };
        assert_eq!([256, 129, 128, 64, 16].map(|len| held(len, 64)), [1, 1, 2, 4, 16]);
        // Two of 100 bytes, then 56 bytes are skipped: the oldest goes first, and one of the two stays.
        assert_eq!((held(100, 64), held(1, 8)), (2, 8));
    }

    #[test]
    fn a_new_epoch_begins_with_seq_1_and_nothing_held() {
        let mut log = MemoryLog::new(256, 16);
        assert_eq!((log.first_seq(), log.last_seq(), log.record(0), log.record(1)), (1, 0, None, None));
        (0..40).for_each(|_| assert!(log.append(&[7; 20]) > 0));
        log.begin_epoch(ActorId::new(1, 2));
        assert_eq!((log.first_seq(), log.last_seq(), log.record(1)), (1, 0, None));
        assert_eq!(log.append(b"new"), 1);
        assert_eq!(log.record(1), Some(&b"new"[..]));
    }
}
