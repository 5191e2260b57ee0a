//! From changed keys to what readers see.
//!
//! A key is published once per burst, however often it changed. What found no room in the segment is merged and
//! replicated like everything else; it waits in `Deferred` and is tried again every [`RETRY_NS`], so that a reader
//! sees it as soon as there is room.

use crate::entry::{KeyEntry, Value};
use crate::keys::{Keys, Position};
use crate::publisher::{Published, Publisher};
use std::collections::BTreeSet;

/// Period of new attempts at publishing what found no room, nanoseconds.
const RETRY_NS: u64 = 100_000_000;

/// Counters and flags that are handed to the publisher together: it can bring all of their cells near before it shows the
/// first.
pub(crate) const BATCH: usize = 64;

/// How many keys ahead of another one the publisher is told what is coming.
const AHEAD: usize = 16;

/// Publications that found no room: keys, and single elements of sets. Bounded by the state itself.
#[derive(Default)]
pub(crate) struct Deferred {
    waiting: BTreeSet<(Position, Option<Box<[u8]>>)>,
    retry_at_ns: u64,
}

impl Deferred {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether something of this key waits.
    pub(crate) fn holds(&self, position: Position) -> bool {
        self.waiting.range((position, None)..).next().is_some_and(|(at, _)| *at == position)
    }

    pub(crate) fn deadline_ns(&self) -> u64 {
        if self.waiting.is_empty() || zoo!(DeferredNeverRetried) { u64::MAX } else { self.retry_at_ns }
    }

    /// Marks everything that waits for another attempt.
    pub(crate) fn retry(&mut self, keys: &mut Keys) {
        for (position, element) in std::mem::take(&mut self.waiting) {
            keys.mark_again(position, element.as_deref().filter(|_| !zoo!(DeferredElementsForgotten)));
        }
    }
}

/// Publishes every changed key; returns how many publications found no room.
pub(crate) fn publish<P: Publisher>(
    keys: &mut Keys,
    deferred: &mut Deferred,
    now_ns: u64,
    publisher: &mut P,
) -> u64 {
    let mut work = keys.take_unpublished();
    let mut refused = 0;
    let mut defer = |position: Position, element: Option<&[u8]>| {
        refused += 1;
        if deferred.waiting.is_empty() {
            deferred.retry_at_ns = now_ns + RETRY_NS;
        }
        deferred.waiting.insert((position, element.map(Into::into)));
    };
    let mut words = std::mem::take(&mut work.words);
    for batch in work.keys.chunks(BATCH) {
        words.clear();
        for (at, &position) in batch.iter().enumerate() {
            let entry = keys.entry_mut(position);
            match (entry.cell(), entry.word()) {
                (Some(cell), Some(word)) => {
                    entry.set_dirty(false);
                    words.push((cell, word));
                }
                _ => {
                    let published = publish_other(entry, publisher);
                    if let Some(cell) = batch.get(at + AHEAD).and_then(|&next| keys.entry(next).cell()) {
                        publisher.prefetch(cell);
                    }
                    if published == Published::Full {
                        defer(position, None);
                    }
                }
            }
        }
        // Which key it was is only asked where there was no room.
        publisher.words(&words, &mut |cell| {
            let position = batch.iter().find(|&&position| keys.entry(position).cell() == Some(cell));
            position.into_iter().for_each(|&position| defer(position, None));
        });
    }
    work.words = words;
    for (position, element) in work.elements() {
        let entry = keys.entry(position);
        let Value::Set(set) = &entry.value else { continue };
        let present = set.value.contains(element);
        if entry.cell().is_none() && !present {
            continue;
        }
        let published =
            entry.cell().map_or(Published::Full, |cell| publisher.element(cell, element, present));
        if published == Published::Full {
            defer(position, Some(element));
        }
    }
    keys.recycle(work);
    refused
}

/// Publishes a key that is no word, or has no cell yet; but for the elements of a set, which follow one by one.
fn publish_other<P: Publisher>(entry: &mut KeyEntry, publisher: &mut P) -> Published {
    entry.set_dirty(false);
    if entry.cell().is_none() {
        if entry.is_empty() {
            // There is nothing to show, and to wait for room would keep it from being dropped.
            return Published::Visible;
        }
        entry.set_cell(publisher.open(entry.kind, entry.hash, entry.key()));
    }
    match (entry.cell(), &entry.value) {
        // Its elements will find the same.
        (_, Value::Set(_)) => Published::Visible,
        (None, _) => Published::Full,
        (Some(cell), Value::Register(register)) => {
            let value = register.value.register.get();
            value.map_or(Published::Visible, |bytes| publisher.bytes(cell, bytes))
        }
        (Some(cell), _) => entry.word().map_or(Published::Visible, |word| publisher.word(cell, word)),
    }
}
