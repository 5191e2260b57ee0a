//! The dots of elements that have more than one.
//!
//! ```text
//!   in the element's block    actor = place, seq = 0      no operation has the number 0
//!   several                   │ dots │ – │ dots │          places that are vacant keep their memory
//! ```

use crate::{ActorId, Dot};

/// Dots that a vacant place keeps memory for, and vacant places that are kept when there are no others.
const KEPT: usize = 8;

/// See the module's documentation. A `Dot` here is an element's one dot, or stands for its several.
#[derive(Clone, Default)]
pub(super) struct Several {
    /// Ascending; vacant ones are empty.
    places: Vec<Vec<Dot>>,
    vacant: Vec<u32>,
}

impl Several {
    pub(super) const fn new() -> Self {
        Self { places: Vec::new(), vacant: Vec::new() }
    }

    /// The dots that `own` is, or stands for.
    pub(super) fn resolve<'a>(&'a self, own: &'a Dot) -> &'a [Dot] {
        match place_of(*own) {
            Some(place) => self.places.get(place).map_or(&[], Vec::as_slice),
            None => std::slice::from_ref(own),
        }
    }

    /// What an element's block is to hold for these dots, ascending and at least one.
    pub(super) fn keep(&mut self, dots: &[Dot]) -> Dot {
        if let [dot] = dots {
            return *dot;
        }
        let place = match self.vacant.pop() {
            Some(place) => place as usize,
            None => {
                self.places.push(Vec::new());
                self.places.len() - 1
            }
        };
        if let Some(kept) = self.places.get_mut(place) {
            kept.extend_from_slice(dots);
        }
        Dot::new(ActorId::from_u64(place as u64), 0)
    }

    /// Adds a dot to those of `own`; returns how many they are then, `None` if it was there.
    pub(super) fn insert(&mut self, own: &mut Dot, dot: Dot) -> Option<usize> {
        let Some(place) = place_of(*own) else {
            if *own == dot {
                return None;
            }
            *own = self.keep(&[dot.min(*own), dot.max(*own)]);
            return Some(2);
        };
        let dots = self.places.get_mut(place)?;
        let at = dots.binary_search(&dot).err()?;
        dots.insert(at, dot);
        Some(dots.len())
    }

    /// Takes a dot out of those of `own`, which is itself the last that remains; returns how many remain, `None` if it was
    /// not there. Where none remains, `own` is to go with its element.
    pub(super) fn remove(&mut self, own: &mut Dot, dot: Dot) -> Option<usize> {
        let Some(place) = place_of(*own) else { return (*own == dot).then_some(0) };
        let dots = self.places.get_mut(place)?;
        dots.remove(dots.binary_search(&dot).ok()?);
        if let [last] = dots[..] {
            self.forget(*own);
            *own = last;
            return Some(1);
        }
        Some(dots.len())
    }

    /// Vacates the place that `own` stands for, if it stands for one.
    pub(super) fn forget(&mut self, own: Dot) {
        let Some(place) = place_of(own) else { return };
        let Some(dots) = self.places.get_mut(place) else { return };
        dots.clear();
        dots.shrink_to(KEPT);
        self.vacant.push(place as u32);
        if self.vacant.len() == self.places.len() && self.places.len() > KEPT {
            *self = Self::new();
        }
    }
}

fn place_of(own: Dot) -> Option<usize> {
    (own.seq == 0).then_some(own.actor.as_u64() as usize)
}
