//! What the add-wins types have in common: element -> live dots.
//!
//! The rules (numbered as in the architecture's chapter on merging) are split between the caller, which owns the
//! shard's vector and the pre-removed dots, and the store, which knows nothing but dots:
//!
//! ```text
//!   record (dot, element, superseded)                                        who
//!   1. dot covered: skip                                                     caller
//!   2. each superseded dot: out of the store; not covered: pre-removed       remove + caller
//!   3. add: into the store, unless pre-removed; cover the dot                insert + caller
//!   5. sync of one element: drop what the sender saw removed, insert news    join_element
//! ```
//!
//! Inserting the new dot *before* removing the superseded ones gives the same state, and spares an element that is
//! merely refreshed from leaving the store and coming back: that order does not allocate.

use crate::{Dot, VersionVector};

/// A store of live dots by element.
pub trait DotStore {
    /// The live dots of `element`, ascending.
    fn dots(&self, element: &[u8]) -> &[Dot];

    /// Makes `dot` live under `element`; returns how many dots live there then. `None` if it was live, or if the store has
    /// no such element (a flag has two).
    fn insert(&mut self, element: &[u8], dot: Dot) -> Option<usize>;

    /// Takes `dot` out of wherever an operation on `element` finds it: a set's operations touch their own element, a
    /// flag's supersede both sides. Returns the element that held it, and how many dots are left there; `None` if it was
    /// not live.
    fn remove<'e>(&mut self, element: &'e [u8], dot: Dot) -> Option<(&'e [u8], usize)>;

    /// Rule 5 for one element of a sender whose live dots of it are `live`: drops local dots that the sender has
    /// covered and that are not live there; inserts the live ones that `admit` lets in (not covered here, not
    /// pre-removed). `changed(dot, inserted)` is called for each change.
    fn join_element(
        &mut self,
        element: &[u8],
        live: &[Dot],
        covered_by_sender: &mut dyn FnMut(Dot) -> bool,
        admit: &mut dyn FnMut(Dot) -> bool,
        changed: &mut dyn FnMut(Dot, bool),
    );

    /// The first live element strictly after `after` in byte order, or the first of all: a cursor that stays good
    /// while the store changes between two calls.
    fn next_element(&self, after: Option<&[u8]>) -> Option<(&[u8], &[Dot])>;

    /// Whether no element is live.
    fn is_empty(&self) -> bool;
}

/// Joins the full state of another replica into `own`: rule 5 over every element that either has. The caller then
/// joins the vectors; before that, the vectors must be those of the two stores. Neither may have pre-removed dots.
pub fn join_store<S: DotStore>(
    own: &mut S,
    own_vector: &VersionVector,
    other: &S,
    other_vector: &VersionVector,
) {
    let mut cursor: Option<Vec<u8>> = None;
    loop {
        let next_own = own.next_element(cursor.as_deref()).map(|(element, _)| element);
        let next_other = other.next_element(cursor.as_deref()).map(|(element, _)| element);
        let Some(element) = next_own.into_iter().chain(next_other).min().map(<[u8]>::to_vec) else { return };
        own.join_element(
            &element,
            other.dots(&element),
            &mut |dot| other_vector.contains(dot),
            &mut |dot| !own_vector.contains(dot),
            &mut |_, _| {},
        );
        cursor = Some(element);
    }
}
