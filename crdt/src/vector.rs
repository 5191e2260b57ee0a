//! Version vectors: which operations have been received.
//!
//! ```text
//!   actor -> Clock     seq: 1 2 3 4 5 . . 8 9 . 11
//!                           └contiguous┘   └─┘   └┘
//!                             5            ranges: 8..=9, 11..=11     sorted, disjoint, never adjacent
//! ```
//!
//! One vector per shard is at once the causal context of every add-wins type in it and the record of what has been
//! received. An actor of whom no more will come, agreed by all, can be *settled*: it counts no more as one of the vector's
//! actors, keeps the number of its last operation, and every operation of it counts as received.
//!
//! A seq is covered only when the whole effect of its operation is in the state; `contiguous` moves from n to
//! n+1 only, never over a gap.
//!
//! What can go wrong: gaps. Loss and reordering make ranges, a hostile sender would make endless ones, so [`cover`]
//! refuses to open a range or an actor beyond the limits; the caller drops the frame and repair brings it again.
//!
//! [`cover`]: VersionVector::cover

use std::fmt;

use crate::{ActorId, Dot};

/// Up to this many actors a linear search beats a binary one.
const LINEAR_SEARCH: usize = 8;

/// How far a vector may grow by operations that arrive one at a time.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct VectorLimits {
    /// Most actors.
    pub max_actors: usize,
    /// Most out-of-order ranges of one actor.
    pub max_ranges_per_actor: usize,
}

/// An interval of sequence numbers, both ends included.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct SeqRange {
    /// The first one.
    pub first: u64,
    /// The last one.
    pub last: u64,
}

/// What is covered of one actor.
#[derive(Clone, Eq, PartialEq, Debug, Default)]
pub struct Clock {
    contiguous: u64,
    ranges: Vec<SeqRange>,
}

impl Clock {
    /// All of 1..=contiguous is covered, and contiguous + 1 is not.
    pub fn contiguous(&self) -> u64 {
        self.contiguous
    }

    /// What is covered beyond that: ascending, disjoint, not adjacent.
    pub fn ranges(&self) -> &[SeqRange] {
        &self.ranges
    }

    /// Whether `seq` is covered. Zero is no operation, and so always is.
    pub fn contains(&self, seq: u64) -> bool {
        seq <= self.contiguous
            || (!self.ranges.is_empty() && {
                let at = self.ranges.partition_point(|range| range.last < seq);
                self.ranges.get(at).is_some_and(|range| range.first <= seq)
            })
    }

    /// The highest seq that is covered; 0 if none is.
    pub fn highest(&self) -> u64 {
        self.ranges.last().map_or(self.contiguous, |range| range.last)
    }

    /// Whether covering `seq`, which is not covered, needs a range that does not exist yet.
    fn opens_range(&self, seq: u64) -> bool {
        if seq <= self.contiguous.saturating_add(1) {
            return false;
        }
        let at = self.ranges.partition_point(|range| range.last < seq);
        let touches_next = self.ranges.get(at).is_some_and(|next| next.first <= seq.saturating_add(1));
        let touches_previous = at
            .checked_sub(1)
            .and_then(|at| self.ranges.get(at))
            .is_some_and(|previous| previous.last + 1 == seq);
        !touches_next && !touches_previous
    }

    /// Joins an interval, keeping the canonical form.
    fn join_range(&mut self, range: SeqRange) {
        if range.first > range.last || range.last <= self.contiguous {
            return;
        }
        if range.first > self.contiguous.saturating_add(1) && !zoo!(MaxOverGap) {
            return self.insert_range(range);
        }
        self.contiguous = range.last;
        let mut absorbed = 0;
        for next in &self.ranges {
            if next.first > self.contiguous.saturating_add(1) {
                break;
            }
            self.contiguous = self.contiguous.max(next.last);
            absorbed += 1;
        }
        self.ranges.drain(..absorbed);
    }

    /// Joins an interval that neither overlaps nor continues the contiguous part.
    fn insert_range(&mut self, range: SeqRange) {
        let start = self.ranges.partition_point(|own| own.last.saturating_add(1) < range.first);
        let end = self.ranges.partition_point(|own| own.first <= range.last.saturating_add(1));
        match self.ranges.get(start..end) {
            Some([first, .., last]) => {
                let joined =
                    SeqRange { first: first.first.min(range.first), last: last.last.max(range.last) };
                self.ranges.drain(start + 1..end);
                self.ranges[start] = joined;
            }
            Some([only]) => {
                self.ranges[start] =
                    SeqRange { first: only.first.min(range.first), last: only.last.max(range.last) };
            }
            _ => self.ranges.insert(start, range),
        }
    }
}

/// Why a dot was not covered. Nothing was changed.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum VectorError {
    /// The dot's actor is new and the vector is full of actors.
    TooManyActors,
    /// The dot lies beyond a gap and its actor has as many ranges as it may.
    TooManyRanges,
}

impl fmt::Display for VectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VectorError::TooManyActors => "the version vector is full of actors; nothing was covered",
            VectorError::TooManyRanges => "too many gaps in what came of this actor; nothing was covered",
        })
    }
}

impl std::error::Error for VectorError {}

/// Actor -> [`Clock`]: a set of dots, compactly. Two vectors are equal when they cover the same dots.
#[derive(Clone, Debug)]
pub struct VersionVector {
    limits: VectorLimits,
    clocks: Vec<(ActorId, Clock)>,
    /// Ascending, and none of them in `clocks`. Each covers 1 to its last.
    settled: Vec<(ActorId, Clock)>,
}

impl VersionVector {
    /// The empty vector.
    pub fn new(limits: VectorLimits) -> Self {
        Self { limits, clocks: Vec::new(), settled: Vec::new() }
    }

    /// Whether `dot` is covered.
    pub fn contains(&self, dot: Dot) -> bool {
        let open = self.find(dot.actor).ok().and_then(|at| self.clocks.get(at));
        dot.seq == 0
            || match open {
                Some((_, clock)) => clock.contains(dot.seq),
                None => self.is_settled(dot.actor),
            }
    }

    /// The contiguous part of `actor`; 0 when it is unknown.
    pub fn contiguous(&self, actor: ActorId) -> u64 {
        self.clock(actor).map_or(0, Clock::contiguous)
    }

    /// What is covered of `actor`.
    pub fn clock(&self, actor: ActorId) -> Option<&Clock> {
        let open = self.find(actor).ok().and_then(|at| self.clocks.get(at));
        let found = open.or_else(|| self.settled.get(self.find_settled(actor).ok()?));
        found.map(|(_, clock)| clock)
    }

    /// Settles an actor whose last operation, for all who count, was `last`: everything of it counts as received, and it is
    /// none of the vector's actors any more. What was known of it beyond `last` is given up.
    pub fn settle(&mut self, actor: ActorId, last: u64) {
        if let Ok(at) = self.find(actor) {
            self.clocks.remove(at);
        }
        if let Err(at) = self.find_settled(actor) {
            self.settled.insert(at, (actor, Clock { contiguous: last, ranges: Vec::new() }));
        }
    }

    /// Whether an actor is settled.
    pub fn is_settled(&self, actor: ActorId) -> bool {
        !self.settled.is_empty() && self.find_settled(actor).is_ok()
    }

    /// The settled actors, each with its last operation, ascending.
    pub fn settled(&self) -> impl Iterator<Item = (ActorId, u64)> {
        self.settled.iter().map(|(actor, clock)| (*actor, clock.contiguous))
    }

    /// Forgets what is covered of an actor that is not settled.
    pub fn remove(&mut self, actor: ActorId) {
        if let Ok(at) = self.find(actor) {
            self.clocks.remove(at);
        }
    }

    /// Where an actor's clock is: for runs of operations of one actor, to find it once. It stays good until an actor is
    /// added; every use checks.
    pub fn place(&self, actor: ActorId) -> Option<usize> {
        self.find(actor).ok()
    }

    /// Whether `dot` is the next operation of the actor at `place`, whose operations have come without a gap.
    #[inline]
    pub fn is_next(&self, place: usize, dot: Dot) -> bool {
        self.clocks.get(place).is_some_and(|(actor, clock)| {
            *actor == dot.actor && clock.ranges.is_empty() && clock.contiguous.checked_add(1) == Some(dot.seq)
        })
    }

    /// Covers `dot` if it [is next](Self::is_next); false if it is not, and then nothing was covered.
    #[inline]
    pub fn cover_next(&mut self, place: usize, dot: Dot) -> bool {
        let is_next = self.is_next(place, dot);
        if let Some((_, clock)) = self.clocks.get_mut(place).filter(|_| is_next) {
            clock.contiguous = dot.seq;
        }
        is_next
    }

    /// What [`cover`](Self::cover) would say, without covering.
    ///
    /// # Errors
    /// Those of [`cover`](Self::cover).
    pub fn check(&self, dot: Dot) -> Result<bool, VectorError> {
        match self.clock(dot.actor) {
            _ if dot.seq == 0 || self.is_settled(dot.actor) => Ok(false),
            Some(clock) if clock.contains(dot.seq) => Ok(false),
            Some(clock) if clock.opens_range(dot.seq) => self.room_for_range(clock.ranges.len()),
            Some(_) => Ok(true),
            None if self.clocks.len() >= self.limits.max_actors => Err(VectorError::TooManyActors),
            None if dot.seq > 1 => self.room_for_range(0),
            None => Ok(true),
        }
    }

    /// Covers `dot`; `Ok(false)` if it was covered before.
    ///
    /// # Errors
    /// [`VectorError`] if that needs a new actor or a new range over the limit; then nothing was covered.
    pub fn cover(&mut self, dot: Dot) -> Result<bool, VectorError> {
        // The common case first: the next operation of a known actor that has no gaps.
        if self.place(dot.actor).is_some_and(|place| self.cover_next(place, dot)) {
            return Ok(true);
        }
        let new = self.check(dot)?;
        if new {
            self.cover_range(dot.actor, SeqRange { first: dot.seq, last: dot.seq });
        }
        Ok(new)
    }

    /// Covers an interval. Not limited: for what another vector, itself limited, says. An empty interval changes
    /// nothing, and of a settled actor everything is covered.
    pub fn cover_range(&mut self, actor: ActorId, range: SeqRange) {
        if range.first > range.last || range.last == 0 || self.is_settled(actor) {
            return;
        }
        let at = match self.find(actor) {
            Ok(at) => at,
            Err(at) => {
                self.clocks.insert(at, (actor, Clock::default()));
                at
            }
        };
        self.clocks[at].1.join_range(range);
    }

    /// Covers all that `other` covers, and settles whom it has settled. Not limited, for the same reason.
    pub fn absorb(&mut self, other: &Self) {
        other.settled().for_each(|(actor, last)| self.settle(actor, last));
        self.join(other);
    }

    /// Covers all that `other` covers, of a settled actor what came of it. Not limited, for the same reason.
    pub fn join(&mut self, other: &Self) {
        for (actor, clock) in other.iter() {
            self.cover_range(actor, SeqRange { first: 1, last: clock.contiguous });
            for &range in &clock.ranges {
                self.cover_range(actor, range);
            }
        }
    }

    /// All actors with their clocks, settled or not, ascending by actor.
    pub fn iter(&self) -> impl Iterator<Item = (ActorId, &Clock)> {
        let (mut open, mut settled) = (self.clocks.iter().peekable(), self.settled.iter().peekable());
        std::iter::from_fn(move || {
            let is_open = match (open.peek(), settled.peek()) {
                (Some((open, _)), Some((settled, _))) => open < settled,
                (open, _) => open.is_some(),
            };
            let next = if is_open { open.next() } else { settled.next() };
            next.map(|(actor, clock)| (*actor, clock))
        })
    }

    /// The actors that are not settled, with their clocks, ascending by actor.
    pub fn open(&self) -> impl Iterator<Item = (ActorId, &Clock)> {
        self.clocks.iter().map(|(actor, clock)| (*actor, clock))
    }

    /// How many actors are known that are not settled: those that the limit is for.
    pub fn len(&self) -> usize {
        self.clocks.len()
    }

    /// Whether nothing is covered.
    pub fn is_empty(&self) -> bool {
        self.clocks.is_empty() && self.settled.is_empty()
    }

    /// The limits that it was made with.
    pub fn limits(&self) -> VectorLimits {
        self.limits
    }

    fn room_for_range(&self, ranges: usize) -> Result<bool, VectorError> {
        if ranges < self.limits.max_ranges_per_actor { Ok(true) } else { Err(VectorError::TooManyRanges) }
    }

    fn find_settled(&self, actor: ActorId) -> Result<usize, usize> {
        self.settled.binary_search_by_key(&actor, |(own, _)| *own)
    }

    fn find(&self, actor: ActorId) -> Result<usize, usize> {
        if self.clocks.len() > LINEAR_SEARCH {
            return self.clocks.binary_search_by_key(&actor, |(own, _)| *own);
        }
        let at = self.clocks.iter().position(|(own, _)| *own >= actor).unwrap_or(self.clocks.len());
        if self.clocks.get(at).is_some_and(|(own, _)| *own == actor) { Ok(at) } else { Err(at) }
    }
}

impl PartialEq for VersionVector {
    fn eq(&self, other: &Self) -> bool {
        self.clocks == other.clocks && self.settled == other.settled
    }
}

impl Eq for VersionVector {}
