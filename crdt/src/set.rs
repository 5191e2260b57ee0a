//! The add-wins set without tombstones (the optimised OR-set of Bieniusa et al., "An Optimized Conflict-free
//! Replicated Set", INRIA RR-8083, 2012, with the causal context moved out to the shard's version vector).
//!
//! An element is in the set while it has a live dot. A removal takes away the dots that its origin had seen; an add that
//! it had not seen keeps the element. An element without dots takes no memory.
//!
//! ```text
//!   first block          │ a  b  c │                     elements in byte order, some dozens to a block
//!   rest:  "d" ──>       │ d  e    │                     by a bound that no element of the block is below
//!          "k" ──>       │ k  l  m │
//!                             │
//!                             └── its one dot, in the block; or, of an element with several, where they are:
//!   several              │ dots │ – │ dots │
//! ```
//!
//! Nearly all elements have one dot, so an element takes its bytes, its dot, two bytes, and its share of a block; never
//! an allocation of its own. A second dot is alive while a new one replaces it, or while actors write one element
//! concurrently. Its place is kept when it goes, so that an element which is merely refreshed allocates nothing.

mod block;
mod several;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use crate::limits::MAX_ELEMENT_BYTES;
use crate::{Dot, DotSet, DotStore};
use block::Block;
use several::Several;

/// An add-wins set of byte strings of at most [`MAX_ELEMENT_BYTES`]: a longer one is no element that it can have.
#[derive(Clone, Default)]
pub struct AwSet {
    /// Elements below every bound of `rest`.
    first: Block,
    /// None of them is empty.
    rest: BTreeMap<Box<[u8]>, Block>,
    several: Several,
    len: usize,
}

impl AwSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { first: Block::new(), rest: BTreeMap::new(), several: Several::new(), len: 0 }
    }

    /// Whether `element` is in the set.
    pub fn contains(&self, element: &[u8]) -> bool {
        self.block(element).find(element).is_ok()
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements with their dots, in byte order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[Dot])> {
        let blocks = std::iter::once(&self.first).chain(self.rest.values());
        blocks.flat_map(|block| (0..block.len()).filter_map(|at| self.entry(block, at)))
    }

    /// The block in which an element is, or would be.
    fn block(&self, element: &[u8]) -> &Block {
        let below = (Bound::Unbounded, Bound::Included(element));
        self.rest.range::<[u8], _>(below).next_back().map_or(&self.first, |(_, block)| block)
    }

    /// See [`AwSet::block`].
    fn block_mut(&mut self, element: &[u8]) -> &mut Block {
        block_mut(&mut self.first, &mut self.rest, element)
    }

    /// The first block beyond an element's own, with its bound.
    fn block_after(&self, element: &[u8]) -> Option<(&[u8], &Block)> {
        let above = (Bound::Excluded(element), Bound::Unbounded);
        self.rest.range::<[u8], _>(above).next().map(|(bound, block)| (&**bound, block))
    }

    fn entry<'a>(&'a self, block: &'a Block, at: usize) -> Option<(&'a [u8], &'a [Dot])> {
        Some((block.element(at)?, self.several.resolve(block.dot(at)?)))
    }

    /// Takes in an element that is not there.
    fn add_element(&mut self, element: &[u8], dot: Dot) {
        self.len += 1;
        if !self.block(element).has_room_for(element) {
            self.split(element);
        }
        let block = self.block_mut(element);
        if let Err(at) = block.find(element) {
            block.insert(at, element, dot);
        }
    }

    /// Divides an element's block in two. Who comes behind all others begins a block: what arrives in order fills its
    /// blocks.
    fn split(&mut self, element: &[u8]) {
        let is_last = self.block_after(element).is_none();
        let block = self.block_mut(element);
        if is_last && block.find(element) == Err(block.len()) {
            self.rest.insert(element.into(), Block::new());
            return;
        }
        let upper = block.split_off(block.len() / 2);
        if let Some(bound) = upper.element(0) {
            self.rest.insert(bound.into(), upper);
        }
    }

    /// Takes an element out that is at this place in its block.
    fn remove_element(&mut self, element: &[u8], at: usize) {
        self.len -= 1;
        let block = self.block_mut(element);
        block.remove(at);
        if block.is_small() {
            self.join_blocks(element);
        }
    }

    /// Takes away the block of an element that was removed if nothing is left in it; else joins it with the next one, or
    /// the one before, if that fits: where much was removed, no two small blocks are neighbours.
    fn join_blocks(&mut self, element: &[u8]) {
        let below = (Bound::Unbounded, Bound::Included(element));
        let own = self.rest.range::<[u8], _>(below).next_back().map(|(bound, _)| bound.clone());
        if self.block(element).len() == 0 {
            own.and_then(|bound| self.rest.remove(&bound));
            return;
        }
        let next = self.block_after(element).map(|(bound, _)| bound.into());
        // The next first: once it is part of this one, both may be part of the one before when more has gone.
        let _ = next.into_iter().chain(own).any(|bound| self.join_with_former(bound));
    }

    /// Appends the block with this bound to the one before it; false if that is too much for one.
    fn join_with_former(&mut self, bound: Box<[u8]>) -> bool {
        let Some(block) = self.rest.remove(&bound) else { return false };
        // Without its bound, everything of it belongs to the one before.
        let former = self.block_mut(&bound);
        let fits = former.may_take_in(&block);
        if fits {
            former.append(&block);
        } else {
            self.rest.insert(bound, block);
        }
        fits
    }

    /// Gives an element exactly these dots, ascending.
    fn set_dots(&mut self, element: &[u8], dots: &[Dot]) {
        let found = self.block(element).find(element);
        match (found, dots) {
            (Ok(at), []) => {
                self.forget_several(element, at);
                self.remove_element(element, at);
            }
            (Err(_), []) => {}
            (Ok(at), dots) => {
                self.forget_several(element, at);
                let dot = self.several.keep(dots);
                self.block_mut(element).set_dot(at, dot);
            }
            (Err(_), dots) => {
                let dot = self.several.keep(dots);
                self.add_element(element, dot);
            }
        }
    }

    fn forget_several(&mut self, element: &[u8], at: usize) {
        if let Some(dot) = self.block(element).dot(at).copied() {
            self.several.forget(dot);
        }
    }
}

/// See [`AwSet::block`]; apart from the set's other parts, which are changed beside it.
fn block_mut<'a>(
    first: &'a mut Block,
    rest: &'a mut BTreeMap<Box<[u8]>, Block>,
    element: &[u8],
) -> &'a mut Block {
    let below = (Bound::Unbounded, Bound::Included(element));
    rest.range_mut::<[u8], _>(below).next_back().map_or(first, |(_, block)| block)
}

impl DotStore for AwSet {
    fn dots(&self, element: &[u8]) -> &[Dot] {
        let block = self.block(element);
        let found = block.find(element).ok().and_then(|at| self.entry(block, at));
        found.map_or(&[], |(_, dots)| dots)
    }

    fn insert(&mut self, element: &[u8], dot: Dot) -> Option<usize> {
        // No operation has the number 0, and a place among `several` looks like one.
        if dot.seq == 0 || element.len() > MAX_ELEMENT_BYTES {
            return None;
        }
        let block = block_mut(&mut self.first, &mut self.rest, element);
        match block.find(element) {
            Ok(at) => self.several.insert(block.dot_mut(at)?, dot),
            Err(at) => {
                if block.has_room_for(element) {
                    block.insert(at, element, dot);
                    self.len += 1;
                } else {
                    self.add_element(element, dot);
                }
                Some(1)
            }
        }
    }

    fn remove<'e>(&mut self, element: &'e [u8], dot: Dot) -> Option<(&'e [u8], usize)> {
        let block = block_mut(&mut self.first, &mut self.rest, element);
        let at = block.find(element).ok()?;
        let left = self.several.remove(block.dot_mut(at)?, dot)?;
        if left == 0 {
            self.remove_element(element, at);
        }
        Some((element, left))
    }

    fn join_element(
        &mut self,
        element: &[u8],
        live: &[Dot],
        covered_by_sender: &mut dyn FnMut(Dot) -> bool,
        admit: &mut dyn FnMut(Dot) -> bool,
        changed: &mut dyn FnMut(Dot, bool),
    ) {
        if element.len() > MAX_ELEMENT_BYTES {
            return;
        }
        let own = self.dots(element);
        let mut dots = DotSet::from_slice(own);
        dots.join(live, covered_by_sender, &mut |dot| dot.seq > 0 && admit(dot), changed);
        if dots.as_slice() != own {
            self.set_dots(element, dots.as_slice());
        }
    }

    fn next_element(&self, after: Option<&[u8]>) -> Option<(&[u8], &[Dot])> {
        let (block, at) = match after {
            None => (&self.first, 0),
            Some(after) => {
                let block = self.block(after);
                (block, block.find(after).map_or_else(|at| at, |at| at + 1))
            }
        };
        // Nothing is below the empty element: what lies behind it is every block but the first.
        let next = || self.block_after(after.unwrap_or(&[])).and_then(|(_, block)| self.entry(block, 0));
        self.entry(block, at).or_else(next)
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl PartialEq for AwSet {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl Eq for AwSet {}

impl fmt::Debug for AwSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ActorId;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    type Model = BTreeMap<Vec<u8>, BTreeSet<Dot>>;

    fn dot(seq: u64) -> Dot {
        Dot::new(ActorId::new(1 + (seq % 3) as u16, 9), seq)
    }

    /// Elements that share beginnings, some of them long, so that blocks run full by number and by bytes.
    fn element(number: u16) -> Vec<u8> {
        let mut element = number.to_be_bytes()[usize::from(number.is_multiple_of(5))..].to_vec();
        element.resize(element.len() + usize::from(number) * 7 % 250, b'x');
        element
    }

    /// What must hold of blocks, whatever came: bounds, order, no empty one.
    fn check_blocks(set: &AwSet) {
        let mut below: Option<&[u8]> = None;
        for (bound, block) in &set.rest {
            assert!(block.len() > 0 && block.element(0).unwrap() >= &**bound);
            assert!(below.is_none_or(|below| below < &**bound));
            below = block.element(block.len() - 1);
        }
    }

    fn check(set: &AwSet, model: &Model) {
        check_blocks(set);
        assert_eq!((set.len(), set.is_empty()), (model.len(), model.is_empty()));
        let (mut walked, mut after) = (Vec::new(), None);
        while let Some((element, dots)) = set.next_element(after.as_deref()) {
            walked.push((element.to_vec(), dots.iter().copied().collect::<BTreeSet<_>>()));
            assert!(dots.is_sorted() && !dots.is_empty());
            after = Some(element.to_vec());
        }
        assert!(walked.iter().map(|(element, dots)| (element, dots)).eq(model.iter()));
        assert!(
            set.iter().map(|(element, dots)| (element.to_vec(), dots.iter().copied().collect())).eq(walked)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        /// Whatever comes, in whatever number, it is an ordered map from elements to dots.
        #[test]
        fn is_an_ordered_map_of_dots(
            seed in any::<u64>(),
            phases in proptest::collection::vec((0u8..4, 1u16..900), 1..6),
        ) {
            let (mut set, mut model, mut draw) = (AwSet::new(), Model::new(), seed | 1);
            let mut next = || {
                draw ^= draw << 13;
                draw ^= draw >> 7;
                draw ^= draw << 17;
                draw
            };
            for (what, count) in phases {
                for at in 0..count {
                    let element = element(if what == 0 { at } else { (next() % 700) as u16 });
                    let dot = dot(1 + next() % 6);
                    let dots = model.get(&element).cloned().unwrap_or_default();
                    match what {
                        0 | 1 => {
                            let own = model.entry(element.clone()).or_default();
                            let added = own.insert(dot).then_some(own.len());
                            prop_assert_eq!(set.insert(&element, dot), added);
                        }
                        2 => {
                            let left = dots.contains(&dot).then(|| (&element[..], dots.len() - 1));
                            prop_assert_eq!(set.remove(&element, dot), left);
                            for dot in dots {
                                set.remove(&element, dot);
                            }
                            model.remove(&element);
                        }
                        _ => {
                            let live = [self::dot(2), self::dot(3)];
                            set.join_element(&element, &live, &mut |_| true, &mut |dot| dot.seq > 2, &mut |_, _| {});
                            let kept = live.into_iter().filter(|dot| dot.seq > 2 || dots.contains(dot)).collect();
                            model.insert(element, kept);
                        }
                    }
                }
                check(&set, &model);
            }
            let mut again = AwSet::new();
            for (element, dots) in model.iter().rev() {
                dots.iter().for_each(|dot| assert!(again.insert(element, *dot).is_some()));
            }
            prop_assert!(again == set, "where the elements lie does not matter");
        }
    }

    #[test]
    fn blocks_are_joined_whatever_order_elements_go_in() {
        type Order = fn(u16) -> u16;
        let orders: [Order; 3] = [|at| at, |at| 9_999 - at, |at| (u32::from(at) * 7_919 % 10_000) as u16];
        for order in orders {
            let (mut set, mut model) = (AwSet::new(), Model::new());
            for at in 0..10_000u16 {
                let element = at.to_be_bytes().to_vec();
                set.insert(&element, dot(1));
                model.insert(element, BTreeSet::from([dot(1)]));
            }
            assert_eq!(set.rest.len() + 1, 10_000usize.div_ceil(64), "in order, blocks are full");
            for at in (0..10_000).map(order).filter(|at| at % 40 != 0) {
                assert_eq!(set.remove(&at.to_be_bytes(), dot(1)).map(|(_, left)| left), Some(0));
                model.remove(&at.to_be_bytes()[..]);
            }
            check(&set, &model);
            assert!(set.rest.len() <= 250 / 16, "{} blocks of 250 elements", set.rest.len());
        }
    }

    #[test]
    fn what_is_no_element_and_what_is_no_operation_is_not_taken() {
        let mut set = AwSet::new();
        let long = [7; MAX_ELEMENT_BYTES + 1];
        let none = Dot::new(ActorId::new(1, 1), 0);
        assert_eq!(
            (set.insert(&long, dot(1)), set.insert(b"x", none), set.remove(b"x", none)),
            (None, None, None)
        );
        set.join_element(&long, &[dot(1)], &mut |_| true, &mut |_| true, &mut |_, _| panic!("a change"));
        set.join_element(b"x", &[none], &mut |_| true, &mut |_| true, &mut |_, _| panic!("a change"));
        assert!(set.is_empty());
        assert_eq!((set.insert(&long[1..], dot(1)), set.insert(b"x", dot(1))), (Some(1), Some(1)));
        assert_eq!((set.remove(b"x", none), set.len()), (None, 2));
    }
}
