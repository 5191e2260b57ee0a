//! A last-writer-wins register: the value with the greatest (hybrid clock, actor) stays.
//!
//! An honest actor never stamps two values alike. A broken one may; then the greater bytes win, because a rule that
//! depends on arrival ("first one stays") would leave replicas different for ever.

use crate::{ActorId, Hlc};

/// A register. Unset until something is set; the empty value is a value.
#[derive(Clone, Eq, PartialEq, Debug, Default)]
pub struct Register {
    stamp: Option<(Hlc, ActorId)>,
    /// Empty while unset. Its capacity is kept, so setting a value that is not longer does not allocate.
    value: Vec<u8>,
}

impl Register {
    /// An unset register.
    pub const fn new() -> Self {
        Self { stamp: None, value: Vec::new() }
    }

    /// Joins a write; true if it won, false if what is there stays. The length is not checked here: see
    /// [`crate::limits::MAX_REGISTER_BYTES`].
    pub fn set(&mut self, hlc: Hlc, actor: ActorId, value: &[u8]) -> bool {
        let stamp = Some((hlc, actor));
        // An unset register has the stamp None, which is less than any.
        let tie = zoo!(RegisterTieByArrival) && self.stamp.is_some_and(|(own, _)| own == hlc);
        if (stamp, value) <= (self.stamp, self.value.as_slice()) && !tie {
            return false;
        }
        self.stamp = stamp;
        self.value.clear();
        self.value.extend_from_slice(value);
        true
    }

    /// The value, if one was ever set.
    pub fn get(&self) -> Option<&[u8]> {
        self.stamp.map(|_| self.value.as_slice())
    }

    /// When and by whom the value was set.
    pub fn stamp(&self) -> Option<(Hlc, ActorId)> {
        self.stamp
    }

    /// Joins the full state of another replica; true if its value won.
    pub fn join(&mut self, other: &Self) -> bool {
        other.stamp.is_some_and(|(hlc, actor)| self.set(hlc, actor, &other.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_value_is_a_value_and_a_duplicate_does_not_win() {
        let mut register = Register::new();
        assert_eq!(register.get(), None);
        assert!(register.set(Hlc::default(), ActorId::from_u64(0), b""));
        assert_eq!(register.get(), Some(&b""[..]));
        assert!(!register.set(Hlc::default(), ActorId::from_u64(0), b""));
    }

    #[test]
    fn a_shorter_value_reuses_the_buffer() {
        let mut register = Register::new();
        register.set(Hlc::from_u64(1), ActorId::from_u64(1), &[7; 100]);
        let buffer = register.value.as_ptr();
        assert!(register.set(Hlc::from_u64(2), ActorId::from_u64(1), &[8; 100]));
        assert!(register.set(Hlc::from_u64(3), ActorId::from_u64(1), &[9; 10]));
        assert_eq!((register.value.as_ptr(), register.get()), (buffer, Some(&[9u8; 10][..])));
    }
}
