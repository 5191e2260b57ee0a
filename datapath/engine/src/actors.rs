//! Small numbers for actors, so that what a key keeps of each takes two bytes and not eight.
//!
//! Numbers are the table's own, count up and are never given to another actor. An actor that there is no number for any more
//! (who would need 65,535 of them?) is spelled out where it is kept.

use lattice_crdt::ActorId;

/// An actor, and its number here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) id: ActorId,
    pub(crate) number: Option<ActorNumber>,
}

/// The number of an actor: one more than its place in the table, so that an absent one takes no room.
pub(crate) type ActorNumber = std::num::NonZeroU16;

/// All actors that were ever met.
#[derive(Default)]
pub(crate) struct Actors {
    /// In the order of their numbers.
    ids: Vec<ActorId>,
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
                let next = u16::try_from(self.ids.len() + 1).ok().and_then(ActorNumber::new);
                if let Some(number) = next {
                    self.ids.push(id);
                    self.numbers.insert(at, (id, number));
                }
                next
            }
        };
        let who = Who { id, number };
        self.last = Some(who);
        who
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
}
