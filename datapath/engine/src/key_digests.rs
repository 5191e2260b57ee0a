//! The digest of each key, for finding those in which two hosts differ.
//!
//! ```text
//!   positions   0 ── 1 ── 2 ── … ── end          a slice of the walk looks at so many atoms, and says where it was:
//!                        │                       the next slice goes on there
//!                        └── element ── element  also in the middle of a large set
//! ```
//!
//! A key's digest is its share of the state digest: the sum of its atoms. So the digests of all keys add up to the digest of the
//! state, and a key without any state (an empty set that waits to be dropped) has none and is not named.
//!
//! While the shard goes on changing, a walk is no moment: each key is as it was when the walk came by, and of a large set each
//! part. Who compares two walks looks again at what differed.

use crate::digest;
use crate::engine::Engine;
use crate::entry::{KeyEntry, Value};
use crate::keys::Position;
use crate::log::LogStore;
use lattice_crdt::{CounterEntry, Kind};

/// Where a walk goes on. The default is its beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DigestCursor {
    position: Position,
    /// In the middle of a key's elements.
    inside: Option<Inside>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inside {
    /// Of the position: another one means another key.
    generation: u32,
    after: Box<[u8]>,
    digest: u64,
}

/// A key with its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDigest<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub key: &'a [u8],
    /// The hash of its name, by which the published segment finds it too.
    pub hash: u64,
    /// The sum of its atoms: equal on hosts that hold the same under this key.
    pub digest: u64,
}

impl<L: LogStore> Engine<L> {
    /// Goes on with a walk over all keys that have any state: shows them with their digests, until so many keys and atoms were
    /// looked at. Says where the next call has to go on; `None`: that was all.
    #[must_use]
    pub fn key_digests(
        &self,
        from: DigestCursor,
        budget: usize,
        each: &mut dyn FnMut(KeyDigest<'_>),
    ) -> Option<DigestCursor> {
        let DigestCursor { mut position, mut inside } = from;
        let mut left = budget.max(1);
        while position < self.keys.end() {
            if left == 0 {
                return Some(DigestCursor { position, inside });
            }
            left -= 1;
            if let Some(entry) = self.keys.get(position) {
                match self.digest_of(entry, inside.take(), &mut left) {
                    Ok(0) => {}
                    Ok(digest) => {
                        each(KeyDigest { kind: entry.kind, key: entry.key(), hash: entry.hash, digest });
                    }
                    Err(further) => return Some(DigestCursor { position, inside: Some(further) }),
                }
            }
            inside = None;
            position += 1;
        }
        None
    }

    /// A key's digest, or how far it has come when `left` was used up.
    fn digest_of(&self, entry: &KeyEntry, inside: Option<Inside>, left: &mut usize) -> Result<u64, Inside> {
        match &entry.value {
            Value::Tally(_) | Value::Counter(_) => Ok(self.digest_of_counter(entry)),
            Value::Register(register) => Ok(register.value.atom),
            Value::Flag(_) | Value::Set(_) => digest_of_dots(entry, inside, left),
        }
    }

    /// At most an atom for each actor.
    fn digest_of_counter(&self, entry: &KeyEntry) -> u64 {
        let (mut after, mut sum) = (None, 0u64);
        while let Some((actor, sums)) = entry.value.next_entry(self.keys.actors(), after) {
            after = Some(actor);
            let atom = digest::counter_change(entry.hash, actor, CounterEntry::default(), sums);
            sum = sum.wrapping_add(atom);
        }
        sum
    }
}

fn digest_of_dots(entry: &KeyEntry, inside: Option<Inside>, left: &mut usize) -> Result<u64, Inside> {
    let Some(store) = entry.value.dots() else { return Ok(0) };
    let inside = inside.filter(|inside| inside.generation == entry.generation);
    let (mut after, mut sum) = match inside {
        Some(Inside { after, digest, .. }) => (Some(after), digest),
        None => (None, 0),
    };
    while let Some((element, dots)) = store.next_element(after.as_deref()) {
        for dot in dots {
            sum = sum.wrapping_add(digest::element_atom(entry.hash, entry.kind, element, *dot));
        }
        let element: Box<[u8]> = element.into();
        if *left == 0 {
            return Err(Inside { generation: entry.generation, after: element, digest: sum });
        }
        *left -= 1;
        after = Some(element);
    }
    Ok(sum)
}
