//! From "this is wrong" to what went wrong, with the operations that say so. Only ever called on a failure.

use lattice_crdt::{DISABLE_ELEMENT, Dot, ENABLE_ELEMENT, Kind};

use super::check::violation;
use super::history::{Effect, History, KeyId, OpId, Operation};
use super::replica::{OpState, Replica, State};
use super::sums::{Sums, nearest};
use super::violation::{Breach, Violation};

/// Most dots that a violation names.
const MAX_DOTS: usize = 16;

impl Replica {
    /// A counter shows what no set of operations explains: is one missing, or there twice, or there too early?
    pub(super) fn wrong_sum(&self, history: &History, key: KeyId, sums: &Sums, shown: i64) -> Box<Violation> {
        let mut found = violation(
            history,
            key,
            Breach::WrongSum,
            sums.describe(),
            format!("{shown}{}", self.of(history, key)),
        );
        let Some(expected) = sums.only() else { return found };
        let state = &self.keys[key.0 as usize];
        for (id, operation) in operations(history, key) {
            let newest = state.newest.iter().find(|(actor, _)| *actor == operation.dot.actor);
            let stands_at = newest.map_or(0, |&(_, id)| history.operation(id).value());
            let Effect::Counter { value, previous } = operation.effect else { continue };
            let own = value - previous.map_or(0, |id| history.operation(id).value());
            let seen = self.state(id) == State::Seen;
            let breach = match nearest(expected - stands_at + value) == shown {
                true if !seen => Breach::Phantom,
                true => Breach::Lost,
                false if seen && nearest(expected - own) == shown => Breach::Lost,
                false if seen && nearest(expected - stands_at) == shown => Breach::Lost,
                false if seen && nearest(expected + own) == shown => Breach::CountedTwice,
                false if seen && nearest(expected + value) == shown => Breach::CountedTwice,
                false if !seen && nearest(expected + own) == shown => Breach::Phantom,
                false => continue,
            };
            (found.breach, found.dots) = (breach, vec![operation.dot]);
            return found;
        }
        found
    }

    /// What each actor is known to have done, for who reads the violation.
    fn of(&self, history: &History, key: KeyId) -> String {
        let entries = self.keys[key.0 as usize].newest.iter().map(|&(_, id)| {
            let operation = history.operation(id);
            format!("{} at {}", operation.value(), operation.dot)
        });
        format!(" (in V: {})", entries.collect::<Vec<_>>().join(", "))
    }

    /// A flag is on. `enabled`: an enable may be there, so it is a disable that is not heeded.
    pub(super) fn wrongly_on(&self, history: &History, key: KeyId, enabled: bool) -> Box<Violation> {
        if enabled {
            let mut found = self.lost_element(history, key, DISABLE_ELEMENT);
            (found.expected, found.shown) = ("off, by a disable that nothing removes".into(), "on".into());
            return found;
        }
        let mut found = self.wrong_element(history, key, ENABLE_ELEMENT);
        (found.expected, found.shown) = ("off".into(), "on".into());
        found
    }

    /// An element is there that can't be: it was removed, or nobody that this host knows of added it.
    pub(super) fn wrong_element(&self, history: &History, key: KeyId, element: &[u8]) -> Box<Violation> {
        let adds = self.adds(history, key, element, |add| add.state != State::Unseen);
        let removals = operations(history, key).filter(|(id, operation)| {
            self.state(*id) == State::Seen
                && operation.removes.iter().any(|&add| adds.contains(&history.operation(add).dot))
        });
        let removals: Vec<Dot> = removals.map(|(_, operation)| operation.dot).collect();
        let name = print_element(history, key, element);
        let (breach, expected, dots) = if adds.is_empty() {
            let unseen = self.adds(history, key, element, |_| true);
            (Breach::Phantom, format!("no {name}, for no add of it was seen"), unseen)
        } else {
            let expected = format!("no {name}: added by {}, removed by {}", list(&adds), list(&removals));
            (Breach::Resurrected, expected, adds)
        };
        let mut found = violation(history, key, breach, expected, name);
        found.dots = dots;
        found
    }

    /// An element is not there that must be.
    pub(super) fn lost_element(&self, history: &History, key: KeyId, element: &[u8]) -> Box<Violation> {
        let expected = format!("{}, added and not removed", print_element(history, key, element));
        let mut found = violation(history, key, Breach::Lost, expected, "it is not there".into());
        found.dots = self.adds(history, key, element, OpState::is_certain);
        found
    }

    /// A register shows something older than it must, or something from nowhere.
    pub(super) fn wrong_value(&self, history: &History, key: KeyId, shown: Option<&[u8]>) -> Box<Violation> {
        let winner = self.keys[key.0 as usize].winner.map(|id| history.operation(id));
        let expected = winner.map_or("nothing".into(), |winner| print(winner.bytes()));
        let source = shown.and_then(|shown| {
            let same = operations(history, key).filter(|(_, operation)| operation.bytes() == shown);
            // What it has seen explains it better than what it has not.
            same.max_by_key(|(id, _)| self.state(*id))
        });
        let breach = match (shown, source) {
            (None, _) => Breach::Lost,
            (Some(_), Some((id, _))) if self.state(id) != State::Unseen => Breach::StaleRegister,
            _ => Breach::Phantom,
        };
        let shown = shown.map_or("nothing".into(), print);
        let mut found = violation(history, key, breach, expected, shown);
        found.dots = winner.into_iter().chain(source.map(|(_, source)| source)).map(|of| of.dot).collect();
        found
    }

    fn adds(
        &self,
        history: &History,
        key: KeyId,
        element: &[u8],
        counts: impl Fn(OpState) -> bool,
    ) -> Vec<Dot> {
        let slot = history.find_slot(key, element);
        operations(history, key)
            .filter(|(id, operation)| {
                counts(self.operations[*id as usize])
                    && matches!(operation.effect, Effect::Add(at) if Some(at) == slot)
            })
            .map(|(_, operation)| operation.dot)
            .take(MAX_DOTS)
            .collect()
    }
}

fn operations(history: &History, key: KeyId) -> impl Iterator<Item = (OpId, &Operation)> {
    history.keys[key.0 as usize].operations.iter().map(|&id| (id, history.operation(id)))
}

fn list(dots: &[Dot]) -> String {
    dots.iter().take(MAX_DOTS).map(Dot::to_string).collect::<Vec<_>>().join(" and ")
}

fn print(bytes: &[u8]) -> String {
    let end = if bytes.len() > 64 { "..." } else { "" };
    format!("`{}`{end}", bytes[..bytes.len().min(64)].escape_ascii())
}

fn print_element(history: &History, key: KeyId, element: &[u8]) -> String {
    match history.name(key).0 {
        Kind::Set => print(element),
        _ if element == ENABLE_ELEMENT => "enable".into(),
        _ => "disable".into(),
    }
}
