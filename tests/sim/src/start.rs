//! How a process starts: with what its host's storage holds, in the epoch that this allows.

use crate::board::{Board, CHANGE_RING_ENTRIES};
use crate::host::{Host, Mode, Shard, unlimited};
use crate::incident::Crash;
use crate::log::{SimLog, Witness};
use crate::network::CLUSTER;
use crate::oracle::{History, Replica};
use crate::plan::Plan;
use crate::storage::ShardDisk;
use lattice_crdt::{ActorId, VersionVector};
use lattice_engine::{Engine, EngineConfig, Recovery, Storage};
use lattice_segment::SegmentConfig;
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

impl Host {
    /// What the crash that ended the process did to the storage.
    pub(crate) fn lose_storage(&mut self) {
        if self.crash != Crash::LogWhole {
            // Another boot, and another boot's clock.
            self.monotonic_ns = self.draw.below(1 << 50);
        }
        let image = self.crash == Crash::RestoredImage;
        match self.crash {
            Crash::LogWhole => {}
            Crash::TailLost => {
                self.boot_id += 1;
                self.disks.iter().for_each(|disk| disk.borrow_mut().lose_tail(&mut self.draw));
            }
            Crash::OldCopy | Crash::RestoredImage if !self.copies.is_empty() => {
                for (disk, copy) in self.disks.iter().zip(&self.copies) {
                    match image {
                        // With everything that was on the machine then.
                        true => disk.borrow_mut().restore_image(copy),
                        false => disk.borrow_mut().restore(copy),
                    }
                }
            }
            Crash::AllLost | Crash::OldCopy | Crash::RestoredImage => {
                self.boot_id += 1;
                self.disks.iter().for_each(|disk| *disk.borrow_mut() = ShardDisk::default());
                (self.forgotten, self.generation) = Default::default();
            }
        }
    }

    /// Starts a process.
    ///
    /// # Errors
    /// What engine, recovery or segment say.
    pub fn start(
        &mut self,
        plan: &Plan,
        now_ns: u64,
        histories: &[History],
        directory: &Path,
    ) -> anyhow::Result<()> {
        self.disks.resize_with(usize::from(plan.shards), Default::default);
        self.shards.clear();
        let fresh = self.draw_epoch(self.generation);
        for (index, history) in histories.iter().enumerate() {
            let mut shard = self.start_shard(plan, now_ns, index, fresh, history)?;
            shard.engine.keep_forgotten(self.forgotten.iter().map(|(&node, &generation)| (node, generation)));
            self.shards.push(shard);
        }
        self.open_board(plan, fresh, directory)?;
        self.fsync_at_ns = now_ns + self.draw.exponential(self.plan.fsync_ns);
        self.snapshot_at_ns = now_ns + self.draw.exponential(self.plan.snapshot_ns);
        self.mode = Mode::Up;
        Ok(())
    }

    fn start_shard(
        &mut self,
        plan: &Plan,
        now_ns: u64,
        index: usize,
        fresh: ActorId,
        history: &History,
    ) -> anyhow::Result<Shard> {
        let disk = self.disks[index].clone();
        let continued = disk.borrow().continued(self.boot_id);
        let actor = continued.unwrap_or(fresh);
        if continued.is_none() {
            disk.borrow_mut().begin_epoch(actor, self.boot_id);
        }
        let config = self.engine_config(plan, index as u16, actor);
        let (witness, covered) = (Witness::default(), Rc::new(Cell::new(0)));
        let mut log = SimLog::new(plan.limits.log_bytes, plan.limits.log_records, actor, witness.clone());
        if plan.storage == Storage::Durable {
            log = log.on_disk(disk.clone(), self.boot_id, covered.clone());
        }
        let mut upper = VersionVector::new(unlimited());
        let mut recovery = Recovery::new(config, log, self.instant(now_ns))?;
        let stored = disk.borrow();
        if let Some(snapshot) = stored.snapshot() {
            snapshot.frames.iter().try_for_each(|frame| recovery.snapshot_frame(frame))?;
            upper.join(&snapshot.upper);
            if snapshot.covers.0 == actor {
                covered.set(snapshot.covers.1);
            }
        }
        stored.old().iter().try_for_each(|(dot, record)| recovery.old_record(*dot, record))?;
        let engine: Engine<SimLog> = recovery.finish()?;
        let recovered = stored.snapshot().is_some() || engine.last_seq() > 0 || !stored.old().is_empty();
        drop(stored);
        let mut replica = Replica::new();
        replica.may_show(history, &upper);
        let holds_writes = recovered && disk.borrow().is_image();
        Ok(Shard {
            engine,
            witness,
            replica,
            upper,
            active: true,
            covered,
            walking: None,
            recovered,
            gaps_closed: 0,
            holds_writes,
        })
    }

    pub(crate) fn engine_config(&mut self, plan: &Plan, shard: u16, actor: ActorId) -> EngineConfig {
        EngineConfig {
            actor,
            session: self.draw_session(),
            shard,
            cluster_tag: CLUSTER,
            peers: (1..=plan.nodes as u16).filter(|&node| node != self.node).collect(),
            limits: plan.limits.clone(),
            timers: plan.timers.clone(),
            random_seed: self.draw.bits(),
            storage: plan.storage,
        }
    }

    pub(crate) fn draw_session(&mut self) -> u32 {
        (self.draw.bits() as u32).max(1)
    }

    /// Creates its segment; the one of the process before is closed by that.
    fn open_board(&mut self, plan: &Plan, actor: ActorId, directory: &Path) -> anyhow::Result<()> {
        let config = SegmentConfig {
            path: directory.join(format!("{}/segment", self.node)),
            node: self.node,
            node_name: String::new(),
            cluster: String::new(),
            actor: actor.as_u64(),
            workers: 1,
            shards: plan.shards,
            cells_per_worker: plan.segment.cells,
            extent_bytes_per_worker: plan.segment.extent_bytes,
            change_ring_entries: CHANGE_RING_ENTRIES,
            heartbeat_timeout_ns: 1_000_000_000,
            socket_path: None,
        };
        let board = Board::create(&config, self.draw.bits())?;
        if let Some(former) = self.former_board.take() {
            anyhow::ensure!(former.reader().is_closed(), "a restart left the former segment open");
        }
        self.board = Some(board);
        Ok(())
    }
}
