//! A node of one shard on a disk that can crash: it writes, flushes, makes snapshots and takes new epochs as it is drawn.

use super::crash_disk::CrashDisk;
use super::ledger::Ledger;
use super::{Draw, LOG_BYTES, NOW, View, config, options};
use lattice_crdt::{ActorId, Dot, Kind};
use lattice_engine::{Engine, LocalOp};
use lattice_storage::{
    Directory, FileLog, Finding, LogHandle, LogMark, ShardKeeper, StorageError, StorageOptions,
};
use lattice_wire::MAX_FRAME_BYTES;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Size of the logs of nodes that are started from now on; so small that every few writes are a lap of the ring.
pub static NODE_LOG_BYTES: AtomicU64 = AtomicU64::new(LOG_BYTES);
pub const SMALL_LOG_BYTES: u64 = 4096;

/// Where it was in a snapshot.
struct Walk {
    number: u32,
}

pub struct Node {
    pub engine: Engine<FileLog>,
    pub handle: LogHandle,
    pub keeper: ShardKeeper,
    pub actor: ActorId,
    pub continued: bool,
    pub findings: Vec<Finding>,
    pub ledger: Arc<Mutex<Ledger>>,
    pub view: View,
    walk: Option<Walk>,
    elements: u64,
}

impl Node {
    /// Starts it on what is on the disk.
    pub fn start(
        disk: &CrashDisk,
        runtime: &Path,
        boot_id: u128,
        draw: &mut Draw,
        ledger: Arc<Mutex<Ledger>>,
    ) -> Result<Node, StorageError> {
        let fresh = draw.epoch();
        let mut salts = Draw(draw.bits());
        let log_bytes = NODE_LOG_BYTES.load(Ordering::Relaxed);
        let options = StorageOptions { log_bytes, ..options(Path::new("/data"), runtime, boot_id) };
        let salt = Box::new(move || salts.bits());
        let directory = Directory::open_on(Arc::new(disk.clone()), options, (1, 2), salt)?;
        let recovered = directory.recover(0, fresh, NOW, config)?;
        let mut node = Node {
            engine: recovered.engine,
            handle: recovered.handle,
            keeper: recovered.keeper,
            actor: recovered.actor,
            continued: recovered.continued,
            findings: recovered.findings,
            ledger,
            view: View::default(),
            walk: None,
            elements: 24,
        };
        node.engine.commit(NOW, &mut node.view);
        Ok(node)
    }

    pub fn shown(&self) -> BTreeSet<Vec<u8>> {
        self.view.members()
    }

    /// One operation; false if the log has no room.
    pub fn write(&mut self, draw: &mut Draw) -> bool {
        if self.handle.room() == 0 {
            return false;
        }
        let number = draw.below(self.elements);
        let element = format!("element {number:04} {}", "x".repeat((number % 7) as usize * 11));
        let present = draw.below(3) != 0;
        let op = match present {
            true => LocalOp::SetInsert(element.as_bytes()),
            false => LocalOp::SetRemove(element.as_bytes()),
        };
        let applied = self.engine.apply(NOW, Kind::Set, b"set", op).unwrap();
        // Before the commit: an operation that is in the log when the process is killed, and was told to nobody, is there.
        if let Some(dot) = applied.dot {
            self.ledger.lock().unwrap().logged(element.as_bytes(), present, dot);
        }
        self.engine.commit(NOW, &mut self.view);
        true
    }

    /// Makes everything durable, and acknowledges it.
    pub fn flush(&mut self) -> Result<(), StorageError> {
        let result = self.keeper.image().flush(true);
        self.acknowledge();
        result.map(|_| ())
    }

    pub fn acknowledge(&mut self) {
        let seq = self.handle.durable_seq(self.actor);
        self.ledger.lock().unwrap().durable(Dot::new(self.actor, seq));
    }

    /// Begins a snapshot, or walks on with the one that is under way and finishes it.
    pub fn snapshot_step(&mut self) -> Result<(), StorageError> {
        let Some(walk) = &self.walk else {
            let mark = self.handle.head();
            let number = self.engine.begin_snapshot();
            self.keeper.begin(number, mark)?;
            self.walk = Some(Walk { number });
            return Ok(());
        };
        let number = walk.number;
        let mut frame = [0; MAX_FRAME_BYTES];
        if let Some(len) = self.engine.write_snapshot(&mut frame) {
            return if len > 0 { self.keeper.frame(number, &frame[..len]) } else { Ok(()) };
        }
        self.walk = None;
        let end: LogMark = self.handle.head();
        let done = self.keeper.finish(number, end);
        self.acknowledge();
        if done?.is_some() {
            assert!(self.engine.snapshot_is_durable(number));
        }
        Ok(())
    }

    pub fn whole_snapshot(&mut self) -> Result<(), StorageError> {
        self.snapshot_step()?;
        while self.walk.is_some() {
            self.snapshot_step()?;
        }
        Ok(())
    }

    /// A peer said that this epoch is over.
    pub fn new_epoch(&mut self, draw: &mut Draw) {
        self.walk = None;
        self.actor = draw.epoch();
        self.engine.begin_epoch(NOW, self.actor, 2).unwrap();
        assert_eq!(self.handle.room(), 0, "the epoch is not durable");
    }

    /// A drawn step. Errors of storage are for the caller.
    pub fn step(&mut self, draw: &mut Draw) -> Result<(), StorageError> {
        match draw.below(20) {
            0..12 => {
                if !self.write(draw) {
                    // One that is under way covers what came before it; the next one covers everything.
                    self.whole_snapshot()?;
                    self.whole_snapshot()?;
                    self.flush()?;
                    assert!(self.handle.room() > 0 || self.handle.has_failed());
                }
                Ok(())
            }
            12..16 => self.flush(),
            16..19 => self.snapshot_step(),
            _ => {
                if draw.below(4) == 0 {
                    self.new_epoch(draw);
                }
                Ok(())
            }
        }
    }
}
