//! Flags: on or off, with a rule for what a concurrent enable and disable make.
//!
//! ```text
//!                     enable dots    disable dots          is on
//!   enable-wins       inserted       never inserted        iff any enable dot
//!   disable-wins      inserted       inserted              iff any enable dot and no disable dot
//! ```
//!
//! Every operation supersedes all dots that its origin had seen, of both sides. So dots of both sides are live together
//! only after concurrent operations, and the next operation that has seen them settles it. (Baquero, Almeida, Lerche:
//! "The problem with embedded CRDT counters and a solution", PaPoC 2016, has the enable-wins flag in this form.)
//!
//! As a [`DotStore`] a flag has two elements, [`DISABLE_ELEMENT`] and [`ENABLE_ELEMENT`]; it holds no other, and inserts
//! under another do nothing.

use crate::{Dot, DotSet, DotStore};

/// The element under which disable dots are stored.
pub const DISABLE_ELEMENT: &[u8] = b"\x00";
/// The element under which enable dots are stored.
pub const ENABLE_ELEMENT: &[u8] = b"\x01";

/// Which of two concurrent operations wins.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Wins {
    /// The enable.
    Enable,
    /// The disable.
    Disable,
}

/// A flag, off when new.
#[derive(Clone, Eq, PartialEq, Debug, Default)]
pub struct Flag {
    disable: DotSet,
    enable: DotSet,
}

impl Flag {
    /// A flag that nobody has touched: off.
    pub const fn new() -> Self {
        Self { disable: DotSet::new(), enable: DotSet::new() }
    }

    /// Whether the flag is on, by the rule of its kind.
    pub fn is_enabled(&self, wins: Wins) -> bool {
        match wins {
            Wins::Enable => !self.enable.is_empty(),
            Wins::Disable => !self.enable.is_empty() && (self.disable.is_empty() || zoo!(DisableLoses)),
        }
    }

    fn side(&self, element: &[u8]) -> Option<&DotSet> {
        match element {
            DISABLE_ELEMENT => Some(&self.disable),
            ENABLE_ELEMENT => Some(&self.enable),
            _ => None,
        }
    }

    fn side_mut(&mut self, element: &[u8]) -> Option<&mut DotSet> {
        match element {
            DISABLE_ELEMENT => Some(&mut self.disable),
            ENABLE_ELEMENT => Some(&mut self.enable),
            _ => None,
        }
    }
}

impl DotStore for Flag {
    fn dots(&self, element: &[u8]) -> &[Dot] {
        self.side(element).map_or(&[], DotSet::as_slice)
    }

    fn insert(&mut self, element: &[u8], dot: Dot) -> Option<usize> {
        let side = self.side_mut(element)?;
        side.insert(dot).then(|| side.len())
    }

    fn remove<'e>(&mut self, _element: &'e [u8], dot: Dot) -> Option<(&'e [u8], usize)> {
        let mut sides =
            [(DISABLE_ELEMENT, &mut self.disable), (ENABLE_ELEMENT, &mut self.enable)].into_iter();
        sides.find_map(|(element, side)| side.remove(dot).then(|| (element, side.len())))
    }

    fn join_element(
        &mut self,
        element: &[u8],
        live: &[Dot],
        covered_by_sender: &mut dyn FnMut(Dot) -> bool,
        admit: &mut dyn FnMut(Dot) -> bool,
        changed: &mut dyn FnMut(Dot, bool),
    ) {
        if let Some(side) = self.side_mut(element) {
            side.join(live, covered_by_sender, admit, changed);
        }
    }

    fn next_element(&self, after: Option<&[u8]>) -> Option<(&[u8], &[Dot])> {
        [(DISABLE_ELEMENT, &self.disable), (ENABLE_ELEMENT, &self.enable)]
            .into_iter()
            .find(|(element, dots)| !dots.is_empty() && after.is_none_or(|after| after < *element))
            .map(|(element, dots)| (element, dots.as_slice()))
    }

    fn is_empty(&self) -> bool {
        self.enable.is_empty() && self.disable.is_empty()
    }
}
