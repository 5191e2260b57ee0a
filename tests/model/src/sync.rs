//! State sync in steps.
//!
//! ```text
//!   begin ──> open ──> (read, take) key by key ──> end          without delays: begin opens, and a key is read and
//!     C as of now, the      any number of other                  taken in one step
//!     peer's vector         steps between any two
//! ```
//!
//! A sync is asked for when the sender covers something that the receiver does not; or, when both cover the same and yet
//! differ, as if the receiver had nothing. It may be abandoned at any point.

use crate::config::{Broken, Config, PreRemovedAt};
use crate::dots::{Dots, contiguous};
use crate::state::{State, Sync};

impl State {
    /// What the receiver would ask the sender with: what it has, or nothing; `None` if it has no reason to ask.
    pub fn request(&self, config: &Config, from: usize, to: usize) -> Option<Dots> {
        let (sender, receiver) = (&self.replicas[from].now, &self.replicas[to].now);
        if sender.vector & !receiver.vector != 0 {
            let ranges_too = config.breaks(Broken::FilterRanges);
            return Some(if ranges_too { receiver.vector } else { contiguous(receiver.vector) });
        }
        let differ = sender.live != receiver.live || sender.counted != receiver.counted;
        (sender.vector == receiver.vector && differ).then_some(0)
    }

    /// Begins a sync, if there is reason and room for one.
    pub fn begin_sync(&mut self, config: &Config, from: usize, to: usize) -> bool {
        let most = if config.breaks(Broken::TwoSyncs) { 2 } else { 1 };
        let Some(filter) = self.request(config, from, to) else { return false };
        let Some(slot) = (0..most).find(|slot| self.replicas[to].syncs[*slot].is_none()) else {
            return false;
        };
        let sender = &self.replicas[from].now;
        let forgets_pre = config.breaks(Broken::SyncForgetsPre);
        let sync = Sync {
            from: from as u8,
            c: sender.vector,
            pre_removed: if forgets_pre { 0 } else { sender.pre_removed },
            dropped: sender.dropped,
            filter,
            full: sender.dropped & !contiguous(filter) != 0 && !config.breaks(Broken::NoFullWalk),
            ..Sync::default()
        };
        self.replicas[to].syncs[slot] = Some(sync);
        self.meet(from, to);
        if !config.delays {
            self.open_sync(config, to, slot);
        }
        true
    }

    /// Both nodes now have each other's present session.
    pub fn meet(&mut self, one: usize, other: usize) {
        self.replicas[one].outdated &= !(1 << other);
        self.replicas[other].outdated &= !(1 << one);
    }

    /// The receiver learns C and the pre-removed dots.
    pub fn open_sync(&mut self, config: &Config, to: usize, slot: usize) {
        let receiver = &mut self.replicas[to];
        let Some(sync) = &mut receiver.syncs[slot] else { return };
        sync.open = true;
        if config.pre_removed_at == PreRemovedAt::Begin {
            receiver.now.take_pre_removed(sync.pre_removed);
        }
        if config.breaks(Broken::DroppedNotedAtOnce) {
            receiver.now.dropped |= sync.dropped;
        }
    }

    /// The sender reads the next key; without delays, the receiver takes it.
    pub fn read_key(&mut self, config: &Config, to: usize, slot: usize) {
        let of_key = self.ops.by_key();
        let Some(mut sync) = self.replicas[to].syncs[slot] else { return };
        let sender = &self.replicas[usize::from(sync.from)].now;
        let key = usize::from(sync.cursor);
        sync.cursor += 1;
        let exists = sender.touches[key] != 0;
        if exists && (sync.full || sender.is_news(key, sync.filter)) {
            sync.named |= 1 << key;
            sync.slice = Some(sender.slice(config, &of_key, key));
        }
        self.replicas[to].syncs[slot] = Some(sync);
        if !config.delays {
            self.take_key(config, to, slot);
        }
    }

    /// The receiver takes the key that was read last.
    pub fn take_key(&mut self, config: &Config, to: usize, slot: usize) {
        let of_key = self.ops.by_key();
        let receiver = &mut self.replicas[to];
        let Some(sync) = &mut receiver.syncs[slot] else { return };
        let Some(slice) = sync.slice.take() else { return };
        let key = usize::from(sync.cursor - 1);
        receiver.now.take_slice(config, of_key[key], &slice, sync, key);
    }

    /// The walk is over and all of it has come.
    pub fn end_sync(&mut self, config: &Config, to: usize, slot: usize) {
        let of_key = self.ops.by_key();
        let Some(mut sync) = self.replicas[to].syncs[slot].take() else { return };
        if config.breaks(Broken::VectorOfTheEnd) {
            sync.c = self.replicas[usize::from(sync.from)].now.vector;
        }
        self.replicas[to].now.take_end(config, &of_key, &sync);
    }

    /// A whole sync at once, for healing. False if there was no reason for one.
    pub fn sync_at_once(&mut self, config: &Config, from: usize, to: usize) -> bool {
        if !self.begin_sync(config, from, to) {
            return false;
        }
        self.open_sync(config, to, 0);
        for _ in 0..config.all_keys() {
            self.read_key(config, to, 0);
            self.take_key(config, to, 0);
        }
        self.end_sync(config, to, 0);
        true
    }

    /// Whether rule 6 makes a replica skip a record for now.
    pub fn skips(&self, config: &Config, to: usize, dot: Dots) -> bool {
        let open = |sync: &&Sync| sync.open && sync.c & dot != 0;
        let inside = self.replicas[to].syncs.iter().flatten().any(|sync| open(&sync));
        inside && !config.breaks(Broken::RecordsDuringSync)
    }
}
