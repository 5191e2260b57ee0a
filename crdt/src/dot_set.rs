//! The live dots of one element, or of one side of a flag: a sorted set that is almost always of size one.
//!
//! Up to two dots are stored inline, because the hot operation replaces a dot: the new one goes in before the one that
//! it supersedes goes out, so an element written by one actor at a time never allocates. More dots than that are
//! alive only while actors write the same element concurrently; then the set moves to a vector and stays there.

use std::fmt;

use crate::{ActorId, Dot};

const INLINE: usize = 2;
const UNUSED: Dot = Dot::new(ActorId::from_u64(0), 0);

/// A sorted set of dots.
#[derive(Clone)]
pub struct DotSet(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, dots: [Dot; INLINE] },
    Spilled(Vec<Dot>),
}

impl DotSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self(Repr::Inline { len: 0, dots: [UNUSED; INLINE] })
    }

    /// The set of these dots.
    pub(crate) fn from_slice(dots: &[Dot]) -> Self {
        let mut set = Self::new();
        dots.iter().for_each(|dot| _ = set.insert(*dot));
        set
    }

    /// The dots, ascending.
    pub fn as_slice(&self) -> &[Dot] {
        match &self.0 {
            Repr::Inline { len, dots } => dots.get(..usize::from(*len)).unwrap_or(dots),
            Repr::Spilled(dots) => dots,
        }
    }

    /// How many dots there are.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `dot` is one of them.
    pub fn contains(&self, dot: Dot) -> bool {
        match &self.0 {
            Repr::Inline { .. } => self.as_slice().contains(&dot),
            Repr::Spilled(dots) => dots.binary_search(&dot).is_ok(),
        }
    }

    /// Adds `dot`; false if it was there.
    pub fn insert(&mut self, dot: Dot) -> bool {
        let Err(at) = self.as_slice().binary_search(&dot) else { return false };
        match &mut self.0 {
            Repr::Inline { len, dots } if usize::from(*len) < INLINE => {
                let used = usize::from(*len);
                dots.copy_within(at..used, at + 1);
                dots[at] = dot;
                *len += 1;
            }
            Repr::Inline { dots, .. } => {
                let mut spilled = Vec::with_capacity(2 * INLINE);
                spilled.extend_from_slice(dots);
                spilled.insert(at, dot);
                self.0 = Repr::Spilled(spilled);
            }
            Repr::Spilled(dots) => dots.insert(at, dot),
        }
        true
    }

    /// Takes `dot` out; false if it was not there.
    pub fn remove(&mut self, dot: Dot) -> bool {
        let Ok(at) = self.as_slice().binary_search(&dot) else { return false };
        match &mut self.0 {
            Repr::Inline { len, dots } => {
                dots.copy_within(at + 1..usize::from(*len), at);
                *len -= 1;
            }
            Repr::Spilled(dots) => {
                dots.remove(at);
            }
        }
        true
    }

    /// Keeps the dots for which `keep` says so, asked once each, ascending.
    pub fn retain(&mut self, mut keep: impl FnMut(Dot) -> bool) {
        match &mut self.0 {
            Repr::Inline { len, dots } => {
                let mut kept = 0;
                for at in 0..usize::from(*len) {
                    if keep(dots[at]) {
                        dots[kept] = dots[at];
                        kept += 1;
                    }
                }
                *len = kept as u8;
            }
            Repr::Spilled(dots) => dots.retain(|&dot| keep(dot)),
        }
    }

    /// Rule 5 for the dots of one element; see [`crate::DotStore::join_element`].
    pub(crate) fn join(
        &mut self,
        live: &[Dot],
        covered_by_sender: &mut dyn FnMut(Dot) -> bool,
        admit: &mut dyn FnMut(Dot) -> bool,
        changed: &mut dyn FnMut(Dot, bool),
    ) {
        for &dot in live {
            if !self.contains(dot) && admit(dot) && self.insert(dot) {
                changed(dot, true);
            }
        }
        // Our own encoder sends dots in order; only a stranger's list falls back to the linear search.
        let sorted = live.is_sorted();
        self.retain(|dot| {
            let alive = if sorted { live.binary_search(&dot).is_ok() } else { live.contains(&dot) };
            let keep = alive || !covered_by_sender(dot) || zoo!(SyncKeepsRemoved);
            if !keep {
                changed(dot, false);
            }
            keep
        });
    }
}

impl Default for DotSet {
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for DotSet {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for DotSet {}

impl fmt::Debug for DotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.as_slice()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Inline and spilled, a DotSet behaves like the standard library's ordered set.
        #[test]
        fn behaves_like_a_btree_set(steps in proptest::collection::vec((0u8..3, 0u64..3, 1u64..4), 0..60)) {
            let mut own = DotSet::new();
            let mut model = BTreeSet::new();
            for (what, actor, seq) in steps {
                let dot = Dot::new(ActorId::from_u64(actor), seq);
                match what {
                    0 => prop_assert_eq!(own.insert(dot), model.insert(dot)),
                    1 => prop_assert_eq!(own.remove(dot), model.remove(&dot)),
                    _ => {
                        own.retain(|d| d.seq != seq);
                        model.retain(|d| d.seq != seq);
                    }
                }
                prop_assert!(own.as_slice().iter().eq(model.iter()));
                prop_assert_eq!(own.contains(dot), model.contains(&dot));
                prop_assert_eq!((own.len(), own.is_empty()), (model.len(), model.is_empty()));
            }
        }
    }

    #[test]
    fn replacing_a_dot_again_and_again_stays_inline() {
        let dot = |seq| Dot::new(ActorId::from_u64(1), seq);
        let mut own = DotSet::new();
        own.insert(dot(1));
        for seq in 2..100 {
            assert!(own.insert(dot(seq)) && own.remove(dot(seq - 1)));
            assert!(matches!(own.0, Repr::Inline { len: 1, .. }));
        }
    }
}
