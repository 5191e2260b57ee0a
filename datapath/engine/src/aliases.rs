//! Aliases: short numbers that stand for keys in data frames.
//!
//! ```text
//!   origin     key ── first local write ──> alias      counts up, one key each for the engine's life
//!              log record n ── NamesOfLog ──> alias     the log itself has keys only
//!              lane: Bits                               aliases that the peer knows: a frame that defined them
//!                                                       was acknowledged
//!   receiver   lane: Aliases, alias ──> position, generation      from every record with a definition
//! ```
//!
//! What can go wrong: an alias that the receiver does not know, because it dropped the key, or had the operation that defined
//! it from somebody else. Its record is refused, and with it the rest of the frame; the sender hears of the gap, and what
//! it sends again carries keys and definitions. A position's generation changes when its key is dropped, so what an alias
//! meant before is unknown and never another key. A new session begins with nothing known on either side.

use crate::keys::Position;
use lattice_wire::MAX_ALIAS;

/// A set of small numbers.
#[derive(Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn insert(&mut self, number: u32) {
        let word = number as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    pub(crate) fn remove(&mut self, number: u32) {
        if let Some(word) = self.0.get_mut(number as usize / 64) {
            *word &= !(1 << (number % 64));
        }
    }

    #[inline]
    pub(crate) fn contains(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// A key's place, and its generation when the alias was defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: Position,
    pub(crate) generation: u32,
}

impl Place {
    /// No key's place.
    pub(crate) const NOWHERE: Place = Place { position: Position::MAX, generation: 0 };
}

/// Aliases in one piece of the table: it grows by pieces, so that no definition has to move what is there.
const PIECE: usize = 1024;

/// What a peer's aliases mean here, in its present session. Grows to at most 8 MiB, whatever the peer sends.
#[derive(Default)]
pub(crate) struct Aliases(Vec<Option<Box<[Place]>>>);

impl Aliases {
    /// The alias means this place from now on. One that no engine gives out is not taken.
    pub(crate) fn define(&mut self, alias: u32, place: Place) {
        if alias > MAX_ALIAS {
            return;
        }
        let piece = alias as usize / PIECE;
        if self.0.len() <= piece {
            self.0.resize(piece + 1, None);
        }
        let places = self.0[piece].get_or_insert_with(|| vec![Place::NOWHERE; PIECE].into());
        places[alias as usize % PIECE] = place;
    }

    /// Where an alias says that its key is. The key may have been dropped since: compare the generation.
    #[inline]
    pub(crate) fn get(&self, alias: u32) -> Option<Place> {
        let places = self.0.get(alias as usize / PIECE)?.as_deref()?;
        places.get(alias as usize % PIECE).copied().filter(|place| *place != Place::NOWHERE)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The aliases of the keys of the newest records in the log, beside it.
pub(crate) struct NamesOfLog {
    /// By seq, modulo the length, a power of two; 0 where there is none.
    aliases: Box<[u32]>,
    last_seq: u64,
}

impl NamesOfLog {
    pub(crate) fn new(records: usize) -> Self {
        Self { aliases: vec![0; records.max(1)].into(), last_seq: 0 }
    }

    fn slot(&self, seq: u64) -> usize {
        (seq & (self.aliases.len() as u64 - 1)) as usize
    }

    /// The record of `seq`, the newest, has this alias, or none (0).
    #[inline]
    pub(crate) fn note(&mut self, seq: u64, alias: u32) {
        let slot = self.slot(seq);
        self.aliases[slot] = alias;
        self.last_seq = seq;
    }

    /// The alias of the key of a record; 0 if it has none, or nobody knows any more.
    #[inline]
    pub(crate) fn get(&self, seq: u64) -> u32 {
        let age = self.last_seq.wrapping_sub(seq);
        if age < self.aliases.len() as u64 { self.aliases[self.slot(seq)] } else { 0 }
    }

    pub(crate) fn clear(&mut self) {
        self.aliases.fill(0);
        self.last_seq = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_a_set() {
        let mut bits = Bits::default();
        [0, 63, 64, 1000].into_iter().for_each(|number| bits.insert(number));
        bits.remove(64);
        bits.remove(1 << 20);
        let found: Vec<u32> = (0..2000).filter(|number| bits.contains(*number)).collect();
        assert_eq!(found, [0, 63, 1000]);
        bits.clear();
        assert!(!bits.contains(63));
    }

    #[test]
    fn an_alias_means_what_it_was_defined_as_last() {
        let place = |position| Place { position, generation: 3 };
        let mut aliases = Aliases::default();
        assert_eq!(aliases.get(7), None);
        for alias in [1, 7, 1023, 1024, MAX_ALIAS] {
            aliases.define(alias, place(alias + 1));
            assert_eq!(aliases.get(alias), Some(place(alias + 1)));
        }
        aliases.define(7, place(1));
        aliases.define(MAX_ALIAS + 1, place(1));
        aliases.define(u32::MAX, place(1));
        assert_eq!(
            [7, 8, MAX_ALIAS + 1, u32::MAX].map(|alias| aliases.get(alias)),
            [Some(place(1)), None, None, None]
        );
        aliases.clear();
        assert_eq!(aliases.get(1), None);
    }

    #[test]
    fn only_the_newest_records_have_names() {
        let mut names = NamesOfLog::new(8);
        assert_eq!([0, 1, 8].map(|seq| names.get(seq)), [0; 3]);
        (1..=20u32).for_each(|seq| names.note(u64::from(seq), 100 + seq));
        for seq in 0..30u64 {
            let known = (13..=20).contains(&seq);
            assert_eq!(names.get(seq), if known { 100 + seq as u32 } else { 0 }, "{seq}");
        }
        names.clear();
        assert_eq!((names.get(20), names.get(0)), (0, 0));
        // A log that went on elsewhere: what was before has no names.
        names.note(500, 7);
        assert_eq!([499, 500, 493].map(|seq| names.get(seq)), [0, 7, 0]);
    }
}
