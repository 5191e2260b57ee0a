//! Rules 1 to 3 and 5, as the architecture numbers them: what a record and what a walk do to a store.

use crate::config::{Broken, Config, MAX_KEYS, PreRemovedAt};
use crate::dots::{Dots, filled_up, last_of_each};
use crate::state::{Op, Slice, Store, Sync, What};

impl Store {
    /// Merges a record. Rule 6 is the caller's.
    pub fn merge(&mut self, config: &Config, op: &Op) {
        if self.vector & op.dot != 0 && !config.breaks(Broken::DuplicateApplied) {
            return;
        }
        self.live &= !op.gone;
        if config.breaks(Broken::PreCountsAsReceived) {
            self.vector |= op.gone;
        } else if !config.breaks(Broken::NoPreRemoved) {
            self.pre_removed |= op.gone & !self.vector;
        }
        match op.what {
            What::Add => self.live |= op.dot & !self.pre_removed,
            What::Remove => {}
            What::Count => self.counted |= filled_up(op.dot),
        }
        self.touches[usize::from(op.key)] |= filled_up(op.dot);
        self.cover(if config.breaks(Broken::MaxOverGap) { filled_up(op.dot) } else { op.dot });
    }

    /// Covers dots whose effect is in the store; they leave the pre-removed ones.
    pub fn cover(&mut self, dots: Dots) {
        self.vector |= dots;
        self.pre_removed &= !self.vector;
    }

    /// What a walk reads of a key.
    pub fn slice(&self, config: &Config, of_key: &[Dots; MAX_KEYS], key: usize) -> Slice {
        Slice {
            live: self.live & of_key[key],
            touches: self.touches[key],
            counted: if config.is_counter(key) { self.counted } else { 0 },
        }
    }

    /// Rule 5 for dots that are removed as a sync begins.
    pub fn take_pre_removed(&mut self, dots: Dots) {
        self.live &= !dots;
        self.pre_removed |= dots & !self.vector;
    }

    /// Rule 5 for one key.
    pub fn take_slice(&mut self, config: &Config, own: Dots, slice: &Slice, sync: &Sync, key: usize) {
        self.live &= !(own & sync.c & !slice.live);
        let mut hidden = self.pre_removed;
        if config.pre_removed_at == PreRemovedAt::End {
            hidden |= sync.pre_removed;
        }
        if config.breaks(Broken::SyncIgnoresPre) {
            hidden = 0;
        }
        self.live |= slice.live & !self.vector & !hidden;
        self.touches[key] |= slice.touches;
        self.counted |= slice.counted;
        if config.breaks(Broken::VectorBeforeEnd) {
            self.cover(sync.c);
        }
    }

    /// Rule 5 for the end of the walk.
    pub fn take_end(&mut self, config: &Config, of_key: &[Dots; MAX_KEYS], sync: &Sync) {
        if sync.full {
            for (_, own) in of_key.iter().enumerate().filter(|(key, _)| sync.named >> key & 1 == 0) {
                self.live &= !(own & sync.c);
            }
        }
        if config.pre_removed_at == PreRemovedAt::End {
            self.take_pre_removed(sync.pre_removed);
        }
        if !config.breaks(Broken::DroppedNotPassedOn) {
            self.dropped |= sync.dropped;
        }
        self.cover(sync.c);
    }

    /// Whether a key has something for a peer that said that it has `filter`.
    pub fn is_news(&self, key: usize, filter: Dots) -> bool {
        last_of_each(self.touches[key]) & !filter != 0
    }
}
