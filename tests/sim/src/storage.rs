//! A host's storage: what a process that starts finds of the one before it.
//!
//! ```text
//!   log        1 2 3 4 5 6 7 8 9        every record, at once in the page cache: it survives the process
//!                      ▲       ▲        fsynced up to here survives the machine; beyond it a part may, torn anywhere
//!   snapshot   frames, C ──┐            whole and synced, or the one before it: written beside, then renamed
//!   old log    what earlier epochs made after the snapshot that covers it
//!   mark       newest dot given out     in memory that outlives processes, outside of what is copied or restored
//! ```
//!
//! An image is a copy of all of it at some moment. Brought back alone, the mark gives it away; with the mark (a machine
//! that was restored) only peers can.

use crate::draw::Draw;
use lattice_crdt::{ActorId, Dot, VersionVector};
use lattice_engine::{LastRun, ThisStart, continues_epoch};
use std::cell::RefCell;
use std::rc::Rc;

/// A snapshot as it lies on storage.
#[derive(Clone, Debug)]
pub struct StoredSnapshot {
    /// Its frames, in order.
    pub frames: Vec<Vec<u8>>,
    /// Everything of which it may show an effect.
    pub upper: VersionVector,
    /// Own operations that it covers: the actor's, up to this seq.
    pub covers: (ActorId, u64),
}

/// The storage of one shard.
#[derive(Clone, Debug, Default)]
pub struct ShardDisk {
    actor: Option<ActorId>,
    boot_id: u128,
    log: Vec<Vec<u8>>,
    synced_seq: u64,
    old: Vec<(Dot, Vec<u8>)>,
    snapshot: Option<StoredSnapshot>,
    /// With its epoch: a copy of an earlier epoch must not be measured by the seqs of a later one.
    given_out: Option<Dot>,
    /// It was restored together with the mark, and this epoch has not been proved over since.
    is_image: bool,
}

/// Shared by a host, which outlives its processes, and a process's log.
pub type SharedDisk = Rc<RefCell<ShardDisk>>;

impl ShardDisk {
    /// A record is in the log, and its seq is given out.
    pub fn append(&mut self, record: &[u8]) {
        self.log.push(record.to_vec());
        self.give_out();
    }

    fn give_out(&mut self) {
        let seq = self.log.len() as u64;
        self.given_out = self.actor.map(|actor| Dot { actor, seq });
    }

    /// The log is synced as far as it goes.
    pub fn sync(&mut self) {
        self.synced_seq = self.log.len() as u64;
    }

    /// A log for another epoch begins; what the one before held is kept until a snapshot covers it.
    pub fn begin_epoch(&mut self, actor: ActorId, boot_id: u128) {
        if let Some(before) = self.actor {
            let records = std::mem::take(&mut self.log).into_iter().enumerate();
            self.old.extend(records.map(|(i, record)| (Dot { actor: before, seq: i as u64 + 1 }, record)));
        }
        (self.actor, self.boot_id) = (Some(actor), boot_id);
        (self.log, self.synced_seq, self.is_image) = (Vec::new(), 0, false);
        self.give_out();
    }

    /// A snapshot is whole and synced, and so is the log: it takes the place of the one before.
    pub fn install(&mut self, snapshot: StoredSnapshot) {
        self.sync();
        self.snapshot = Some(snapshot);
        self.old.clear();
    }

    /// The machine is reset: of what was not synced, some may be left.
    pub fn lose_tail(&mut self, draw: &mut Draw) {
        let left = draw.between(self.synced_seq, self.log.len() as u64);
        self.log.truncate(left as usize);
    }

    /// A copy of an earlier moment takes its place; the mark is not part of it.
    pub fn restore(&mut self, copy: &ShardDisk) {
        let (given_out, is_image) = (self.given_out, self.is_image);
        *self = copy.clone();
        (self.given_out, self.is_image) = (given_out, is_image);
    }

    /// A copy of an earlier moment takes its place, with the mark: nothing here tells that it is one.
    pub fn restore_image(&mut self, copy: &ShardDisk) {
        *self = copy.clone();
        self.is_image = true;
    }

    /// Whether the present epoch may have given out more than anything here says.
    pub fn is_image(&self) -> bool {
        self.is_image
    }

    /// The actor whose epoch a start in this boot goes on with, if it does.
    pub fn continued(&self, boot_id: u128) -> Option<ActorId> {
        let actor = self.actor?;
        let log_last_seq = self.log.len() as u64;
        let last = LastRun { actor, boot_id: self.boot_id, log_is_whole: true, log_last_seq };
        let this = ThisStart { boot_id, last_given_out: self.given_out };
        continues_epoch(&last, &this).then_some(actor)
    }

    /// The last snapshot.
    pub fn snapshot(&self) -> Option<&StoredSnapshot> {
        self.snapshot.as_ref()
    }

    /// The records of the present epoch, from seq 1.
    pub fn log(&self) -> &[Vec<u8>] {
        &self.log
    }

    /// What is kept of epochs that are over, ascending within each.
    pub fn old(&self) -> &[(Dot, Vec<u8>)] {
        &self.old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: ActorId = ActorId::new(1, 1);

    fn disk() -> ShardDisk {
        let mut disk = ShardDisk::default();
        disk.begin_epoch(FIRST, 7);
        disk.append(b"one");
        disk.sync();
        disk.append(b"two");
        disk
    }

    #[test]
    fn only_what_was_synced_is_sure_to_survive_the_machine() {
        let left = |seed| {
            let mut disk = disk();
            disk.lose_tail(&mut Draw::new(seed));
            disk.log().len()
        };
        let all: std::collections::BTreeSet<usize> = (0..100).map(left).collect();
        assert_eq!(all.into_iter().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn an_epoch_goes_on_with_its_whole_log_alone() {
        assert_eq!(disk().continued(7), Some(FIRST));
        assert_eq!(disk().continued(8), None, "another boot");
        let (copy, mut later) = (disk(), disk());
        later.append(b"three");
        later.restore(&copy);
        assert_eq!(later.continued(7), None, "an older copy");
        later.begin_epoch(ActorId::new(1, 2), 7);
        later.restore(&copy);
        assert_eq!(later.continued(7), None, "an older copy of an older epoch");
        assert_eq!(ShardDisk::default().continued(7), None, "nothing");
    }

    #[test]
    fn records_of_an_epoch_that_is_over_are_kept_until_a_snapshot_covers_them() {
        let mut disk = disk();
        disk.begin_epoch(ActorId::new(1, 2), 8);
        assert_eq!(disk.old().iter().map(|(dot, _)| dot.seq).collect::<Vec<_>>(), [1, 2]);
        assert!(disk.log().is_empty());
        let upper = VersionVector::new(crate::host::unlimited());
        disk.install(StoredSnapshot { frames: Vec::new(), upper, covers: (FIRST, 2) });
        assert!(disk.old().is_empty());
    }
}
