//! Dots that were removed here before they arrived (rules 2 and 4).
//!
//! A removal may overtake the add that it removes. The dot is then remembered until the add comes, is covered, and is
//! not inserted. Forgetting one would bring a removed element back, so the table never evicts: when it is full, further
//! out-of-order operations are refused until repair has brought what is missing.

use std::fmt;

use crate::Dot;

/// The table is full; nothing was inserted.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many removed dots whose adds are missing; nothing was inserted")
    }
}

impl std::error::Error for Full {}

/// A bounded map from pre-removed dots to what the caller needs to know of each.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct PreRemoved<T> {
    capacity: usize,
    /// Ascending. A vector, because it is nearly always empty or short, and keeps its memory.
    dots: Vec<(Dot, T)>,
}

impl<T> PreRemoved<T> {
    /// An empty table for at most `capacity` dots. Grows as needed and keeps what it grew to.
    pub const fn new(capacity: usize) -> Self {
        Self { capacity, dots: Vec::new() }
    }

    /// Has room for `capacity` dots from now on, if that is more than before.
    pub fn grow(&mut self, capacity: usize) {
        self.capacity = self.capacity.max(capacity);
    }

    /// Remembers `dot`. One that is known stays as it is.
    ///
    /// # Errors
    /// [`Full`] if the dot is new and the table is at its capacity; nothing was changed.
    pub fn insert(&mut self, dot: Dot, about: T) -> Result<(), Full> {
        let Err(at) = self.find(dot) else { return Ok(()) };
        if self.dots.len() >= self.capacity {
            return Err(Full);
        }
        self.dots.insert(at, (dot, about));
        if zoo!(PreRemovedEvicted) {
            self.dots.truncate(4);
        }
        Ok(())
    }

    /// Makes sure that `more` further dots fit: for what a host's own log says, which had its effect once and must have
    /// it again.
    pub fn reserve(&mut self, more: usize) {
        self.capacity = self.capacity.max(self.dots.len().saturating_add(more));
    }

    /// Whether `dot` is pre-removed.
    pub fn contains(&self, dot: Dot) -> bool {
        !self.dots.is_empty() && self.find(dot).is_ok()
    }

    /// Forgets `dot`, which is now covered.
    pub fn remove(&mut self, dot: Dot) -> Option<T> {
        if self.dots.is_empty() {
            return None;
        }
        self.find(dot).ok().map(|at| self.dots.remove(at).1)
    }

    /// Keeps the dots for which `keep` says so: after a sync, those that are still not covered.
    pub fn retain(&mut self, mut keep: impl FnMut(Dot, &T) -> bool) {
        self.dots.retain(|(dot, about)| keep(*dot, about));
    }

    /// All dots, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (Dot, &T)> {
        self.dots.iter().map(|(dot, about)| (*dot, about))
    }

    /// How many dots are remembered.
    pub fn len(&self) -> usize {
        self.dots.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.dots.is_empty()
    }

    fn find(&self, dot: Dot) -> Result<usize, usize> {
        self.dots.binary_search_by_key(&dot, |(own, _)| *own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ActorId;

    #[test]
    fn a_full_table_refuses_news_and_forgets_nothing() {
        let dot = |seq| Dot::new(ActorId::new(1, 1), seq);
        let mut table = PreRemoved::new(2);
        assert_eq!((table.len(), table.is_empty()), (0, true));
        assert_eq!((table.insert(dot(9), 'b'), table.insert(dot(4), 'a')), (Ok(()), Ok(())));
        assert_eq!(table.insert(dot(5), 'x'), Err(Full));
        assert_eq!(table.insert(dot(4), 'y'), Ok(()), "a known dot is no news");
        assert_eq!(table.iter().collect::<Vec<_>>(), [(dot(4), &'a'), (dot(9), &'b')]);
        assert_eq!((table.len(), table.is_empty()), (2, false));
        assert_eq!((table.remove(dot(4)), table.remove(dot(4))), (Some('a'), None));
        assert!(!table.contains(dot(4)) && table.contains(dot(9)));
    }

    #[test]
    fn reserved_room_is_beyond_the_capacity_and_never_less() {
        let dot = |seq| Dot::new(ActorId::new(1, 1), seq);
        let mut table = PreRemoved::new(2);
        assert_eq!(table.insert(dot(1), ()), Ok(()));
        table.reserve(2);
        assert_eq!((table.insert(dot(2), ()), table.insert(dot(3), ())), (Ok(()), Ok(())));
        table.reserve(0);
        assert_eq!(table.insert(dot(4), ()), Err(Full));
        table.remove(dot(1));
        table.reserve(0);
        assert_eq!(table.insert(dot(4), ()), Ok(()), "what was reserved stays");
    }
}
