//! What the items of a state sync do to the receiver's state (rule 5), and the comparison that ends a full walk.
//!
//! ```text
//!   sender    Key k, Element b {1, 2}, Element d {3}, KeyEnd        in byte order
//!   here          a     b {2, 9}     c                              a and c are passed: the sender has none of them
//!                 │     │            │
//!                 └─────┴────────────┴── of each, the dots go that are in C and not live there; those come that are
//!                                        neither covered here nor pre-removed
//! ```
//!
//! What can go wrong: a stream that contradicts itself, or names dots of this engine's actor that were never given out.
//! It ends the sync; nothing was covered, so nothing is lost.

use crate::config::EngineConfig;
use crate::engine::{Engine, PreRemovedAt, sources};
use crate::fold::{Folded, MAX_FOLDED};
use crate::keys::{Keys, Position, key_hash};
use crate::log::LogStore;
use crate::stats::DropReason;
use crate::sync_receive::{IncomingSync, OpenKey, Stage};
use lattice_crdt::{ActorId, CounterEntry, Dot, Kind, SeqRange, VersionVector};
use lattice_wire::{SyncItem, decode_item};

/// Keys and elements that one slice of the sweep compares.
const MAX_COMPARED_PER_SLICE: u32 = 256;

/// Out-of-order ranges of one actor that syncs may bring together. More than records may, or two hosts with full
/// tables could never tell each other.
fn most_ranges(config: &EngineConfig) -> usize {
    config.limits.max_ranges_per_actor.saturating_mul(sources(config))
}

impl<L: LogStore> Engine<L> {
    pub(crate) fn take_items(&mut self, mut items: &[u8]) -> Result<(), DropReason> {
        while !items.is_empty() {
            let (item, used) = decode_item(items)?;
            self.take_item(&item)?;
            items = items.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    fn take_item(&mut self, item: &SyncItem<'_>) -> Result<(), DropReason> {
        // Own dots that are still to be given out: to cover or remove one would make it be used twice.
        match *item {
            SyncItem::VectorRange { actor, last: seq, .. } | SyncItem::Touch { actor, seq } => {
                self.check_made(Dot { actor, seq })
            }
            SyncItem::PreRemoved { dot, .. } => self.check_made(dot),
            SyncItem::Element { dots, .. } => dots.iter().try_for_each(|dot| self.check_made(dot)),
            _ => Ok(()),
        }
        .map_err(|_| DropReason::OutOfSequence)?;
        let Some(sync) = &mut self.incoming else { return Err(DropReason::Unexpected) };
        match (sync.stage, item) {
            (Stage::Requested, &SyncItem::Begin { full_walk, keys }) => {
                (sync.stage, sync.full_walk, sync.keys_of) = (Stage::Vector, full_walk, keys);
            }
            (Stage::Vector, &SyncItem::VectorRange { actor, first, last }) => {
                sync.vector.cover_range(actor, SeqRange { first, last });
                let ranges = sync.vector.clock(actor).map_or(0, |clock| clock.ranges().len());
                let limits = &self.config.limits;
                let too_many = sync.vector.len() > limits.max_actors || ranges > most_ranges(&self.config);
                if too_many && !sync.is_of_storage() {
                    return Err(DropReason::OutOfOrderBound);
                }
            }
            (Stage::Vector, &SyncItem::Folded { actor, last, number, settled }) => {
                if sync.folded.len() >= MAX_FOLDED && !sync.is_of_storage() {
                    return Err(DropReason::OutOfOrderBound);
                }
                sync.folded.push((actor, Folded { last, number }));
                if settled {
                    sync.settled.push(actor);
                    sync.vector.settle(actor, last);
                }
            }
            (Stage::Vector, &SyncItem::Dropped { actor, seq }) => {
                if seq > sync.vector.contiguous(actor) {
                    return Err(DropReason::OutOfSequence);
                }
                sync.dropped.note(Dot { actor, seq });
            }
            (Stage::Vector, &SyncItem::PreRemoved { dot, kind, key, element }) => {
                return self.take_pre_removed(dot, kind, key, element);
            }
            (Stage::Vector, SyncItem::VectorEnd) => {
                // What is to be covered in the end is bounded before anything of it is begun.
                let mut union = self.vector.clone();
                union.absorb(&sync.vector);
                let most = most_ranges(&self.config);
                let too_many = union.len() > self.config.limits.max_actors
                    || union.iter().any(|(_, clock)| clock.ranges().len() > most);
                if too_many && !sync.is_of_storage() {
                    return Err(DropReason::OutOfOrderBound);
                }
                sync.stage = Stage::Keys;
                let (folded, of_storage) = (std::mem::take(&mut sync.folded), sync.is_of_storage());
                if zoo!(VectorBeforeSyncEnd) {
                    self.vector = union;
                }
                if !self.learn_folded(&folded, of_storage) {
                    return Err(DropReason::OutOfSequence);
                }
            }
            (Stage::Keys, &SyncItem::Key { kind, key }) if sync.key.is_none() => {
                let position = self.keys.find_or_insert(key_hash(key), kind, key);
                sync.named.insert(position);
                sync.progress.keys += 1;
                let dots = Vec::new();
                sync.key = Some(OpenKey { position, kind, settled: None, element: None, dots });
            }
            (Stage::Keys, SyncItem::KeyEnd) => return self.end_key(),
            (Stage::Keys, SyncItem::End) if sync.key.is_none() && sync.full_walk => {
                sync.stage = Stage::Sweep(0);
                self.wake();
            }
            (Stage::Keys, SyncItem::End) if sync.key.is_none() => {
                sync.next_index += 1;
                self.complete_sync();
            }
            (Stage::Keys, _) => return self.take_key_item(item),
            _ => return Err(DropReason::OutOfSequence),
        }
        Ok(())
    }

    /// Rule 5: the sender's pre-removed dots count as removed when C is covered, and not before: what removed them is
    /// in C, and if the sync is abandoned, nobody here has seen it.
    fn take_pre_removed(
        &mut self,
        dot: Dot,
        kind: Kind,
        key: &[u8],
        element: &[u8],
    ) -> Result<(), DropReason> {
        let key = self.keys.find_or_insert(key_hash(key), kind, key);
        let Some(sync) = &mut self.incoming else { return Err(DropReason::Unexpected) };
        let most = self.config.limits.max_pre_removed.saturating_mul(sources(&self.config));
        if self.pre_removed.len() + sync.pre_removed.len() >= most && !sync.is_of_storage() {
            return Err(DropReason::OutOfOrderBound);
        }
        sync.pre_removed.push((dot, PreRemovedAt { key, element: element.into() }));
        Ok(())
    }

    fn take_key_item(&mut self, item: &SyncItem<'_>) -> Result<(), DropReason> {
        let open = self.incoming.as_ref().and_then(|sync| sync.key.as_ref());
        let Some((position, kind)) = open.map(|key| (key.position, key.kind)) else {
            return Err(DropReason::OutOfSequence);
        };
        match (kind, item) {
            (_, SyncItem::Touch { .. }) if zoo!(SyncLeavesNoTouch) => {}
            (_, SyncItem::Touch { actor, .. }) if self.vector.is_settled(*actor) => {}
            (_, &SyncItem::Touch { actor, seq }) => self.keys.touch(position, Dot { actor, seq }),
            (Kind::Counter, &SyncItem::CounterEntry { actor, increments, decrements }) => {
                return self.take_entry(position, actor, CounterEntry { increments, decrements });
            }
            (Kind::Register, &SyncItem::RegisterValue { hlc, actor, value }) => {
                self.hlc = self.hlc.observe(hlc);
                self.keys.register_set(position, hlc, actor, value);
            }
            (
                Kind::Set | Kind::FlagEnableWins | Kind::FlagDisableWins,
                SyncItem::Element { element, dots, more },
            ) => {
                let Some(key) = self.incoming.as_mut().and_then(|sync| sync.key.as_mut()) else {
                    return Ok(());
                };
                let continues = key.element.as_deref().is_none_or(|open| open == *element);
                let ascends = key.settled.as_deref().is_none_or(|settled| settled < *element);
                if !continues || !ascends || key.dots.len() > lattice_crdt::limits::MAX_ACTORS * 2 {
                    return Err(DropReason::OutOfSequence);
                }
                key.dots.extend(dots.iter());
                if *more {
                    key.element = Some((*element).into());
                } else {
                    key.element = None;
                    self.settle_through(element);
                }
            }
            _ => return Err(DropReason::OutOfSequence),
        }
        Ok(())
    }

    /// Takes an entry of a counter: of an actor, or what the folded epochs of a node did.
    fn take_entry(
        &mut self,
        position: Position,
        actor: ActorId,
        entry: CounterEntry,
    ) -> Result<(), DropReason> {
        if let Some(number) = actor.fold_number() {
            if !self.folds.knows(actor.node(), number) {
                return Err(DropReason::OutOfSequence);
            }
            // Whoever has settled later folds has all of it.
            if number >= self.folds.level(actor.node()) {
                self.keys.join_slot(position, actor, entry, &self.folds);
            }
            return Ok(());
        }
        let is_in_slot = self.folds.get(actor).is_some_and(|folded| {
            self.vector.is_settled(actor) || self.keys.fold_number(position, actor.node()) >= folded.number
        });
        if !is_in_slot || zoo!(FoldedEntryComesBack) {
            let who = self.keys.who(actor);
            self.keys.counter_join(position, who, 0, entry);
        }
        Ok(())
    }

    /// Covers C: every effect of its operations is in the state.
    pub(crate) fn cover_sync(&mut self) -> Option<IncomingSync> {
        let mut sync = self.incoming.take()?;
        self.vector.join(&sync.vector);
        self.settle_covered(&sync.settled);
        let settled = |dot: &Dot| self.vector.is_settled(dot.actor);
        sync.dropped.iter().filter(|dot| !settled(dot)).for_each(|dot| self.dropped.note(dot));
        let vector = &self.vector;
        self.pre_removed.retain(|dot, _| !vector.contains(dot));
        for (dot, at) in sync.pre_removed.drain(..) {
            self.keys.remove_dot(at.key, &at.element, dot);
            if !self.vector.contains(dot) {
                // There was room when it came. Records may have taken some since, which are bounded by themselves.
                self.pre_removed.reserve(1);
                let kept = self.pre_removed.insert(dot, at);
                debug_assert!(kept.is_ok());
            }
        }
        Some(sync)
    }

    /// Compares one element of the sender with the local ones: those before it that were not named have no live dots
    /// at the sender.
    fn settle_through(&mut self, element: &[u8]) {
        if !zoo!(UnnamedElementsStay) {
            self.settle_unnamed(Some(element));
        }
        let Some(sync) = &mut self.incoming else { return };
        let Some(key) = &mut sync.key else { return };
        let (vector, pre_removed, theirs) = (&self.vector, &self.pre_removed, &sync.vector);
        self.keys.join_element(
            key.position,
            element,
            &key.dots,
            &mut |dot| theirs.contains(dot),
            &mut |dot| !vector.contains(dot) && (!pre_removed.contains(dot) || zoo!(SyncIgnoresPreRemoved)),
        );
        key.dots.clear();
        key.settled = Some(element.into());
    }

    fn settle_unnamed(&mut self, end: Option<&[u8]>) {
        let Some(sync) = &mut self.incoming else { return };
        let Some(key) = &mut sync.key else { return };
        let mut unbounded = u32::MAX;
        settle_unnamed(&mut self.keys, &sync.vector, key.position, &mut key.settled, end, &mut unbounded);
    }

    fn end_key(&mut self) -> Result<(), DropReason> {
        let open = self.incoming.as_ref().and_then(|sync| sync.key.as_ref());
        if open.is_none_or(|key| key.element.is_some()) {
            return Err(DropReason::OutOfSequence);
        }
        if !zoo!(LastElementsStay) {
            self.settle_unnamed(None);
        }
        if let Some(sync) = &mut self.incoming {
            sync.key = None;
        }
        Ok(())
    }

    /// The next slice of the comparison that ends a full walk.
    pub(crate) fn sweep(&mut self) {
        let Some(sync) = &mut self.incoming else { return };
        let Stage::Sweep(mut position) = sync.stage else { return };
        let mut budget = MAX_COMPARED_PER_SLICE;
        while position < self.keys.end() && budget > 0 {
            budget -= 1;
            let unnamed = self.keys.get(position).is_some() && !sync.named.contains(position);
            if unnamed && !zoo!(UnnamedKeysStay) {
                let swept = &mut sync.swept;
                settle_unnamed(&mut self.keys, &sync.vector, position, swept, None, &mut budget);
            }
            if budget > 0 {
                (position, sync.swept) = (position + 1, None);
            }
        }
        sync.stage = Stage::Sweep(position);
        if position == self.keys.end() {
            self.complete_sync();
        }
    }
}

/// Rule 5 for the local elements of a key after the last settled one and before `end`: the sender, whose vector is
/// `theirs`, has none of them. Stops when the budget of elements is used up.
fn settle_unnamed(
    keys: &mut Keys,
    theirs: &VersionVector,
    position: Position,
    settled: &mut Option<Box<[u8]>>,
    end: Option<&[u8]>,
    budget: &mut u32,
) {
    while *budget > 0 {
        let store = keys.get(position).and_then(|entry| entry.value.dots());
        let next = store.and_then(|store| store.next_element(settled.as_deref()));
        let Some((next, _)) = next.filter(|(next, _)| end.is_none_or(|end| *next < end)) else { break };
        let unnamed: Box<[u8]> = next.into();
        keys.join_element(position, &unnamed, &[], &mut |dot| theirs.contains(dot), &mut |_| false);
        *settled = Some(unnamed);
        *budget -= 1;
    }
}
