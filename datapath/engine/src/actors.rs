//! Small numbers for actors, so that what a key keeps of each takes two bytes and not eight.
//!
//! Numbers are the table's own. One is given again only when its actor was released: folded, with no key that refers to it
//! (`fold.rs`). An actor that there is no number for (who would need 65,535 at a time?) is spelled out where it is kept.

use lattice_crdt::ActorId;

/// An actor, and its number here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) id: ActorId,
    pub(crate) number: Option<ActorNumber>,
}

/// The number of an actor: one more than its place in the table, so that an absent one takes no room.
pub(crate) type ActorNumber = std::num::NonZeroU16;

/// All actors that were met, and are not gone.
#[derive(Default)]
pub(crate) struct Actors {
    /// In the order of their numbers.
    ids: Vec<ActorId>,
    /// Numbers of actors that were released.
    free: Vec<ActorNumber>,
    /// Ascending by actor.
    numbers: Vec<(ActorId, ActorNumber)>,
    last: Option<Who>,
}

impl Actors {
    /// The number of `id`, a new one if need be. The same actor again costs a comparison.
    #[inline]
    pub(crate) fn who(&mut self, id: ActorId) -> Who {
        match self.last {
            Some(last) if last.id == id => last,
            _ => self.look_up(id),
        }
    }

    fn look_up(&mut self, id: ActorId) -> Who {
        let number = match self.numbers.binary_search_by_key(&id, |(own, _)| *own) {
            Ok(at) => self.numbers.get(at).map(|(_, number)| *number),
            Err(at) => {
                let next = self.next_number();
                if let Some(number) = next {
                    self.ids[usize::from(number.get()) - 1] = id;
                    self.numbers.insert(at, (id, number));
                }
                next
            }
        };
        let who = Who { id, number };
        self.last = Some(who);
        who
    }

    /// A number that no actor has; its place in `ids` is there.
    fn next_number(&mut self) -> Option<ActorNumber> {
        if let Some(number) = self.free.pop() {
            return Some(number);
        }
        let number = u16::try_from(self.ids.len() + 1).ok().and_then(ActorNumber::new)?;
        self.ids.push(ActorId::from_u64(0));
        Some(number)
    }

    /// Takes the numbers of actors that are gone back. Nothing may refer to them any more.
    pub(crate) fn release(&mut self, is_gone: impl Fn(ActorId) -> bool) {
        let free = &mut self.free;
        self.numbers.retain(|(id, number)| {
            let gone = is_gone(*id);
            if gone {
                free.push(*number);
            }
            !gone
        });
        self.last = None;
    }

    /// The actor with the number that it has here by now.
    pub(crate) fn known(&self, id: ActorId) -> Who {
        let at = self.numbers.binary_search_by_key(&id, |(own, _)| *own).ok();
        Who { id, number: at.and_then(|at| self.numbers.get(at)).map(|(_, number)| *number) }
    }

    /// The actor of a number that this table gave.
    pub(crate) fn id(&self, number: ActorNumber) -> ActorId {
        self.ids.get(usize::from(number.get()) - 1).copied().unwrap_or(ActorId::from_u64(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_run_out_without_being_given_twice() {
        let actor = |epoch: u64| ActorId::new(1, epoch);
        let mut actors = Actors::default();
        for epoch in (1..=70_000).rev() {
            let who = actors.who(actor(epoch));
            assert_eq!(who.number.is_some(), epoch > 70_000 - 65_535);
            assert!(who.number.is_none_or(|number| actors.id(number) == actor(epoch)));
        }
        assert_eq!(actors.who(actor(70_000)).number.map(u16::from), Some(1));
        assert_eq!(actors.who(actor(1)), Who { id: actor(1), number: None });
    }

    #[test]
    fn released_numbers_are_given_again_and_no_others() {
        let actor = |epoch: u64| ActorId::new(1, epoch);
        let mut actors = Actors::default();
        let numbers: Vec<_> = (1..=4).map(|epoch| actors.who(actor(epoch)).number).collect();
        actors.release(|id| id == actor(2) || id == actor(4));
        assert_eq!(actors.known(actor(2)).number, None);
        assert_eq!([1, 3].map(|epoch| actors.who(actor(epoch)).number), [numbers[0], numbers[2]]);
        let again = [7, 8, 9].map(|epoch| actors.who(actor(epoch)).number);
        assert_eq!(again.map(|number| number.map_or(0, u16::from)), [4, 2, 5]);
        assert_eq!(
            again.map(|number| number.map(|number| actors.id(number))),
            [7, 8, 9].map(|epoch| Some(actor(epoch)))
        );
    }
}
