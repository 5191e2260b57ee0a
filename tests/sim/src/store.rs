//! What a host's flusher does between its worker's turns: syncs the logs, walks snapshots, takes new epochs.

use crate::host::{Host, Walking};
use crate::storage::StoredSnapshot;
use crate::world::World;
use lattice_engine::Storage;
use lattice_wire::MAX_FRAME_BYTES;

/// Frames of a snapshot that are walked between two turns.
const FRAMES_PER_TURN: usize = 2;

impl World<'_> {
    /// Lets the host's storage go on, after a commit.
    pub(crate) fn store(&mut self, host: usize) {
        if self.plan.storage != Storage::Durable {
            return;
        }
        let now_ns = self.now_ns;
        let this = &mut self.hosts[host];
        if now_ns >= this.fsync_at_ns {
            this.disks.iter().for_each(|disk| disk.borrow_mut().sync());
            this.fsync_at_ns = now_ns + 1 + this.draw.exponential(this.plan.fsync_ns);
        }
        if now_ns >= this.snapshot_at_ns {
            this.begin_snapshots();
            this.snapshot_at_ns = now_ns + 1 + this.draw.exponential(this.plan.snapshot_ns);
        }
        if let Err(what) = this.walk() {
            self.fail(format!("n{}: {what}", host + 1));
        }
    }

    /// Where a peer knows more of an epoch than the engine, another one begins.
    pub(crate) fn take_new_epochs(&mut self, host: usize) {
        let this = &mut self.hosts[host];
        for index in 0..this.shards.len() {
            if !this.shards[index].engine.epoch_is_over() {
                continue;
            }
            let (now, session) = (this.instant(self.now_ns), this.draw_session());
            let generation = this.shards[index].engine.wanted_generation();
            this.generation = generation.max(this.generation);
            let actor = this.draw_epoch(generation);
            let shard = &mut this.shards[index];
            // What it made in this run, at most, is no memory of the time before it was forgotten.
            let (old, vector) = (shard.engine.actor(), shard.engine.vector());
            if generation > old.generation() && vector.iter().any(|(actor, _)| actor != old) {
                let text = "was forgotten, and goes on with what it had before";
                return self.fail(format!("n{} shard {index} {text}", host + 1));
            }
            let begun = shard.engine.begin_epoch(now, actor, session);
            (shard.walking, shard.holds_writes, shard.active) = (None, false, true);
            self.reached.epochs_ended += 1;
            self.trace.say(self.now_ns, format_args!("n{} shard {index} takes a new epoch", host + 1));
            if let Err(error) = begun {
                return self.fail(format!("n{} can't begin an epoch: {error}", host + 1));
            }
        }
    }
}

impl Host {
    /// When its storage next wants a turn.
    pub(crate) fn store_at_ns(&self, now_ns: u64) -> u64 {
        if self.shards.iter().any(|shard| shard.walking.is_some()) {
            return now_ns + self.plan.poll_ns;
        }
        self.fsync_at_ns.min(self.snapshot_at_ns)
    }

    fn begin_snapshots(&mut self) {
        for shard in self.shards.iter_mut().filter(|shard| shard.walking.is_none()) {
            let number = shard.engine.begin_snapshot();
            shard.walking = Some(Walking { number, frames: Vec::new() });
        }
    }

    /// Walks on. A snapshot that is whole is synced, the log before it, and takes the place of the one before.
    fn walk(&mut self) -> Result<(), String> {
        let mut copied = false;
        for index in 0..self.shards.len() {
            let shard = &mut self.shards[index];
            let Some(walking) = &mut shard.walking else { continue };
            let mut buffer = [0u8; MAX_FRAME_BYTES];
            let mut given_up = false;
            for _ in 0..FRAMES_PER_TURN {
                match shard.engine.write_snapshot(&mut buffer) {
                    Some(len) if len > 0 => walking.frames.push(buffer[..len].to_vec()),
                    Some(_) => {}
                    None => {
                        given_up = true;
                        break;
                    }
                }
            }
            if !shard.engine.snapshot_is_whole(walking.number) {
                if given_up {
                    // Names of folded epochs came that it had not told.
                    shard.walking = None;
                }
                continue;
            }
            // Somebody copies the storage now and then.
            if self.copies.is_empty() || self.draw.per_mille(self.plan.copied_per_mille) {
                copied = true;
            }
            let shard = &mut self.shards[index];
            let Some(Walking { number, frames }) = shard.walking.take() else { continue };
            let own = shard.engine.actor();
            let covered = shard.engine.snapshot_vector().map_or(0, |vector| vector.contiguous(own));
            let upper = shard.may_show();
            let snapshot = StoredSnapshot { frames, upper, covers: (own, covered) };
            self.disks[index].borrow_mut().install(snapshot);
            if !shard.engine.snapshot_is_durable(number) {
                return Err("a snapshot that is whole can't be durable".into());
            }
            shard.covered.set(covered);
        }
        if copied {
            self.copies = self.disks.iter().map(|disk| disk.borrow().clone()).collect();
        }
        Ok(())
    }
}
