//! Local operations on a key whose place is known: no hash, no search, no key.
//!
//! ```text
//!   caller   cell ──> place, as place_of said of the key       a hint: it may be out of date
//!   engine   place ──> entry, if the cell is still that key's  ──> as `apply`      else: None, use the key
//! ```
//!
//! Whoever submits by a handle names a cell of the published segment, and a cell is one key's for good. A place is not: a
//! key that is dropped leaves it to another. So the entry found there must be shown in that very cell, and be of the kind.

use crate::config::Instant;
use crate::engine::Engine;
use crate::keys::{Position, key_hash};
use crate::local::check_value;
use crate::log::LogStore;
use crate::ops::{Applied, LocalOp, OpError};
use lattice_crdt::Kind;

/// Where an engine keeps a key: worth remembering, never worth believing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyPlace(Position);

impl KeyPlace {
    /// No key's place.
    pub const UNKNOWN: KeyPlace = KeyPlace(Position::MAX);
}

impl<L: LogStore> Engine<L> {
    /// Where a key is, for [`Engine::apply_at`]; [`KeyPlace::UNKNOWN`] if there is no such key.
    pub fn place_of(&self, kind: Kind, key: &[u8]) -> KeyPlace {
        self.keys.find(key_hash(key), kind, key).map_or(KeyPlace::UNKNOWN, KeyPlace)
    }

    /// Begins to bring the keys at these places near, all at once, for operations on them that follow: what is not in the
    /// processor's caches is then waited for once and not key by key.
    #[inline]
    pub fn approach(&self, places: impl Iterator<Item = KeyPlace>) {
        let who = self.keys.actors().known(self.config.actor);
        self.keys.approach(who, places.map(|place| place.0));
    }

    /// [`Engine::apply`] to the key of a cell, which the publisher gave it ([`crate::Publisher::open`]). `None`: the key of
    /// that cell is not at this place, and nothing was done.
    pub fn apply_at(
        &mut self,
        now: Instant,
        place: KeyPlace,
        cell: u32,
        kind: Kind,
        op: LocalOp<'_>,
    ) -> Option<Result<Applied, OpError>> {
        self.keys.get(place.0).filter(|entry| entry.cell() == Some(cell) && entry.kind == kind)?;
        self.wake();
        let result = check_value(kind, op)
            .and_then(|()| self.check_ready(op))
            .and_then(|()| self.check_room(op, false))
            .and_then(|()| self.apply_to(now, place.0, kind, op));
        Some(self.count_applied(result))
    }
}
