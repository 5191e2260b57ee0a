//! The add-wins set without tombstones (the optimised OR-set of Bieniusa et al., "An Optimized Conflict-free
//! Replicated Set", INRIA RR-8083, 2012, with the causal context moved out to the shard's version vector).
//!
//! An element is in the set while it has a live dot. A removal takes away the dots that its origin had seen; an add that
//! it had not seen keeps the element. An element without dots takes no memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::{Dot, DotSet, DotStore};

/// An add-wins set of byte strings.
#[derive(Clone, Eq, PartialEq, Debug, Default)]
pub struct AwSet {
    /// No entry has an empty [`DotSet`].
    elements: BTreeMap<Box<[u8]>, DotSet>,
}

impl AwSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { elements: BTreeMap::new() }
    }

    /// Whether `element` is in the set.
    pub fn contains(&self, element: &[u8]) -> bool {
        self.elements.contains_key(element)
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// The elements with their dots, in byte order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[Dot])> {
        self.elements.iter().map(|(element, dots)| (&**element, dots.as_slice()))
    }
}

impl DotStore for AwSet {
    fn dots(&self, element: &[u8]) -> &[Dot] {
        self.elements.get(element).map_or(&[], DotSet::as_slice)
    }

    fn insert(&mut self, element: &[u8], dot: Dot) -> bool {
        if let Some(dots) = self.elements.get_mut(element) {
            return dots.insert(dot);
        }
        let mut dots = DotSet::new();
        dots.insert(dot);
        self.elements.insert(element.into(), dots);
        true
    }

    fn remove(&mut self, element: &[u8], dot: Dot) -> bool {
        let Some(dots) = self.elements.get_mut(element) else { return false };
        let removed = dots.remove(dot);
        if dots.is_empty() {
            self.elements.remove(element);
        }
        removed
    }

    fn holder<'e>(&self, element: &'e [u8], dot: Dot) -> Option<&'e [u8]> {
        self.elements.get(element)?.contains(dot).then_some(element)
    }

    fn join_element(
        &mut self,
        element: &[u8],
        live: &[Dot],
        covered_by_sender: &mut dyn FnMut(Dot) -> bool,
        admit: &mut dyn FnMut(Dot) -> bool,
        changed: &mut dyn FnMut(Dot, bool),
    ) {
        if let Some(dots) = self.elements.get_mut(element) {
            dots.join(live, covered_by_sender, admit, changed);
            if dots.is_empty() {
                self.elements.remove(element);
            }
            return;
        }
        let mut dots = DotSet::new();
        dots.join(live, covered_by_sender, admit, changed);
        if !dots.is_empty() {
            self.elements.insert(element.into(), dots);
        }
    }

    fn next_element(&self, after: Option<&[u8]>) -> Option<(&[u8], &[Dot])> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (element, dots) = self.elements.range::<[u8], _>((from, Bound::Unbounded)).next()?;
        Some((element, dots.as_slice()))
    }

    fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }
}
