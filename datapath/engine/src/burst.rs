//! The records of one burst of local operations, between their dots and the log.
//!
//! An operation takes its dot and changes the state at once; its record waits here until the commit appends the whole
//! burst to the log and publishes what changed. In between, further increments of the same counter and further writes
//! of the same register go into the record that is waiting: their effects are cumulative (counter) or superseded
//! (register), so one dot and one record on the wire stand for all of them.

use crate::keys::Position;
use lattice_crdt::{Dot, Hlc};

/// What a waiting record will say. Byte and dot ranges point into the burst's arenas.
#[derive(Clone, Copy)]
pub(crate) enum Waiting {
    /// This actor's entry of the counter, as it stands at the commit.
    Counter,
    /// A register's value as it was written: it may have been superseded here by the time of the commit, and a
    /// receiver that has seen this dot alone must still get its effect.
    Register { hlc: Hlc, value: Span },
    /// An added element and the dots that it supersedes.
    Add { element: Span, superseded: Span },
    /// Removed dots of an element.
    Remove { element: Span, removed: Span },
}

/// A range of an arena.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    at: u32,
    len: u32,
}

/// One waiting record.
#[derive(Clone, Copy)]
pub(crate) struct WaitingRecord {
    pub(crate) key: Position,
    pub(crate) what: Waiting,
}

/// The waiting records, in the order of their seqs.
pub(crate) struct Burst {
    pub(crate) records: Vec<WaitingRecord>,
    bytes: Vec<u8>,
    dots: Vec<Dot>,
    capacity: usize,
    /// Records that this burst may have: the capacity, or less where the log has no room for so many.
    limit: usize,
}

impl Burst {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            records: Vec::with_capacity(capacity),
            bytes: Vec::with_capacity(capacity * 64),
            dots: Vec::with_capacity(capacity * 2),
            capacity,
            limit: capacity,
        }
    }

    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.records.len())
    }

    /// Takes no more records than the log has room for.
    pub(crate) fn limit_to(&mut self, log_room: usize) {
        self.limit = self.capacity.min(log_room);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn push(&mut self, key: Position, what: Waiting) -> u32 {
        self.records.push(WaitingRecord { key, what });
        self.records.len() as u32 - 1
    }

    pub(crate) fn keep_bytes(&mut self, bytes: &[u8]) -> Span {
        let span = Span { at: self.bytes.len() as u32, len: bytes.len() as u32 };
        self.bytes.extend_from_slice(bytes);
        span
    }

    pub(crate) fn keep_dots(&mut self, dots: &[Dot]) -> Span {
        let span = Span { at: self.dots.len() as u32, len: dots.len() as u32 };
        self.dots.extend_from_slice(dots);
        span
    }

    pub(crate) fn bytes(&self, span: Span) -> &[u8] {
        &self.bytes[span.at as usize..(span.at + span.len) as usize]
    }

    pub(crate) fn dots(&self, span: Span) -> &[Dot] {
        &self.dots[span.at as usize..(span.at + span.len) as usize]
    }

    /// Bytes kept so far: rewriting one register over and over in a burst must not grow the arena without bound.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Begins anew, with as many records as the log has room for.
    pub(crate) fn clear(&mut self, log_room: usize) {
        self.records.clear();
        self.bytes.clear();
        self.dots.clear();
        self.limit_to(log_room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_crdt::ActorId;

    #[test]
    fn what_was_kept_is_found_again_until_the_burst_is_cleared() {
        let dot = |seq| Dot::new(ActorId::new(1, 1), seq);
        let mut burst = Burst::new(2);
        assert_eq!((burst.room(), burst.is_empty(), burst.kept_bytes()), (2, true, 0));
        let (first, second) = (burst.keep_bytes(b"first"), burst.keep_bytes(b"second"));
        let (one, two) = (burst.keep_dots(&[dot(1)]), burst.keep_dots(&[dot(2), dot(3)]));
        assert_eq!((burst.bytes(first), burst.bytes(second)), (&b"first"[..], &b"second"[..]));
        assert_eq!((burst.dots(one), burst.dots(two)), (&[dot(1)][..], &[dot(2), dot(3)][..]));
        assert_eq!((burst.push(8, Waiting::Counter), burst.push(9, Waiting::Counter)), (0, 1));
        assert_eq!((burst.room(), burst.is_empty(), burst.kept_bytes()), (0, false, 11));
        burst.clear(usize::MAX);
        assert_eq!((burst.room(), burst.is_empty(), burst.kept_bytes()), (2, true, 0));
        let span = burst.keep_dots(&[dot(4)]);
        assert_eq!(burst.dots(span), [dot(4)]);
    }

    #[test]
    fn a_burst_is_no_longer_than_the_log_has_room_for() {
        let mut burst = Burst::new(100);
        let mut room_with = |log_room| {
            burst.clear(log_room);
            burst.push(1, Waiting::Counter);
            burst.room()
        };
        assert_eq!([usize::MAX, 100, 50, 2, 0].map(&mut room_with), [99, 99, 49, 1, 0]);
    }
}
