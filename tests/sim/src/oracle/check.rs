//! Whether a host shows what its specification says.

use std::collections::BTreeSet;

use lattice_crdt::{DISABLE_ELEMENT, ENABLE_ELEMENT, Kind};

use super::history::{History, KeyId};
use super::replica::{Replica, SlotState};
use super::sums::Sums;
use super::violation::{Breach, Verdict, Violation};

/// What a reader of a segment sees of one key. A key that found no room in a full segment has no such view: it can't be
/// checked until there is room.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// The key is not there; of a set, a flag or a counter that is the same as empty, off or zero.
    Nothing,
    /// A counter as i64 bits, a flag as 0 or 1.
    Word(u64),
    /// A register's value.
    Bytes(&'a [u8]),
    /// A set's members.
    Members(&'a BTreeSet<Vec<u8>>),
}

impl Replica {
    /// Checks one key.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_key(&mut self, history: &History, key: KeyId, shown: Shown<'_>) -> Verdict {
        match (history.name(key).0, shown) {
            (Kind::Counter, Shown::Nothing) => self.check_counter(history, key, 0),
            (Kind::Counter, Shown::Word(word)) => self.check_counter(history, key, word as i64),
            (Kind::FlagEnableWins | Kind::FlagDisableWins, Shown::Nothing) => {
                self.check_flag(history, key, false)
            }
            (Kind::FlagEnableWins | Kind::FlagDisableWins, Shown::Word(word @ (0 | 1))) => {
                self.check_flag(history, key, word == 1)
            }
            (Kind::Register, Shown::Nothing) => self.check_register(history, key, None),
            (Kind::Register, Shown::Bytes(bytes)) => self.check_register(history, key, Some(bytes)),
            (Kind::Set, Shown::Nothing) => self.check_set(history, key, std::iter::empty::<&[u8]>()),
            (Kind::Set, Shown::Members(members)) => self.check_set(history, key, members),
            (kind, shown) => Err(violation(
                history,
                key,
                Breach::WrongShape,
                format!("what a {kind} shows"),
                format!("{shown:?}"),
            )),
        }
    }

    /// Checks a key that the history may not know: then nothing may be shown.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_named(&mut self, history: &History, kind: Kind, name: &[u8], shown: Shown<'_>) -> Verdict {
        if let Some(key) = history.find(kind, name) {
            return self.check_key(history, key, shown);
        }
        if is_empty(kind, shown) {
            return Ok(());
        }
        let key = Some((kind, name.into()));
        let (expected, shown) = ("nothing, for nobody ever wrote it".into(), format!("{shown:?}"));
        Err(Box::new(Violation { breach: Breach::Phantom, key, dots: Vec::new(), expected, shown }))
    }

    /// Checks all that a host shows. A key that is not in `view` is not shown.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_host<'a>(
        &mut self,
        history: &History,
        view: impl IntoIterator<Item = (Kind, &'a [u8], Shown<'a>)>,
    ) -> Verdict {
        self.fit(history);
        self.checks += 1;
        let this = self.checks;
        for (kind, name, shown) in view {
            self.check_named(history, kind, name, shown)?;
            if let Some(key) = history.find(kind, name) {
                self.keys[key.0 as usize].met = this;
            }
        }
        for key in history.keys() {
            if self.keys[key.0 as usize].met != this {
                self.check_key(history, key, Shown::Nothing)?;
            }
        }
        Ok(())
    }

    /// Checks a counter.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_counter(&mut self, history: &History, key: KeyId, shown: i64) -> Verdict {
        self.fit(history);
        let sums = Sums::reachable(history, &self.keys[key.0 as usize]);
        if sums.allow(shown) { Ok(()) } else { Err(self.wrong_sum(history, key, &sums, shown)) }
    }

    /// Checks a flag.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_flag(&mut self, history: &History, key: KeyId, shown: bool) -> Verdict {
        self.fit(history);
        let side = |element: &[u8]| {
            let slot = history.find_slot(key, element);
            slot.map_or(SlotState::default(), |slot| self.slots[slot as usize])
        };
        let (enable, disable) = (side(ENABLE_ELEMENT), side(DISABLE_ELEMENT));
        let disable_wins = history.name(key).0 == Kind::FlagDisableWins;
        let must_be_on = enable.certain > 0 && !(disable_wins && disable.possible > 0);
        let may_be_on = enable.possible > 0 && !(disable_wins && disable.certain > 0);
        match shown {
            true if !may_be_on => Err(self.wrongly_on(history, key, enable.possible > 0)),
            false if must_be_on => Err(self.lost_element(history, key, ENABLE_ELEMENT)),
            _ => Ok(()),
        }
    }

    /// Checks a register.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_register(&mut self, history: &History, key: KeyId, shown: Option<&[u8]>) -> Verdict {
        self.fit(history);
        let state = &self.keys[key.0 as usize];
        let winner = state.winner.map(|id| history.operation(id));
        let Some(shown) = shown else {
            return winner.map_or(Ok(()), |_| Err(self.wrong_value(history, key, None)));
        };
        let stamp = winner.and_then(|winner| winner.stamp());
        let mut ahead = state.ahead.iter().map(|&id| history.operation(id));
        if winner.is_some_and(|winner| winner.bytes() == shown)
            || ahead.any(|other| other.stamp() > stamp && other.bytes() == shown)
        {
            return Ok(());
        }
        Err(self.wrong_value(history, key, Some(shown)))
    }

    /// Checks a set's members, as a reader meets them.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_set(
        &mut self,
        history: &History,
        key: KeyId,
        members: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Verdict {
        self.fit(history);
        self.checks += 1;
        let mut certain = 0;
        for member in members {
            let member = member.as_ref();
            let Some(slot) = history.find_slot(key, member) else {
                return Err(self.wrong_element(history, key, member));
            };
            let state = &mut self.slots[slot as usize];
            if state.met == self.checks {
                let expected = format!("`{}` once", member.escape_ascii());
                return Err(violation(history, key, Breach::ListedTwice, expected, "it twice".into()));
            }
            state.met = self.checks;
            if state.possible == 0 {
                return Err(self.wrong_element(history, key, member));
            }
            certain += u32::from(state.certain > 0);
        }
        if certain == self.keys[key.0 as usize].certain_slots {
            return Ok(());
        }
        let slots = &history.keys[key.0 as usize].slots;
        let lost = slots.iter().find(|&&slot| {
            let state = self.slots[slot as usize];
            state.certain > 0 && state.met != self.checks
        });
        let lost = lost.map_or(&[][..], |&slot| &history.slots[slot as usize].element);
        Err(self.lost_element(history, key, lost))
    }

    /// Checks whether one element is shown: cheaper than the whole set, for who knows which elements were published.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_member(&mut self, history: &History, key: KeyId, element: &[u8], shown: bool) -> Verdict {
        self.fit(history);
        let slot = history.find_slot(key, element).map(|slot| self.slots[slot as usize]);
        let slot = slot.unwrap_or_default();
        match shown {
            true if slot.possible == 0 => Err(self.wrong_element(history, key, element)),
            false if slot.certain > 0 => Err(self.lost_element(history, key, element)),
            _ => Ok(()),
        }
    }
}

/// Whether this is what a key shows that nobody wrote.
fn is_empty(kind: Kind, shown: Shown<'_>) -> bool {
    match shown {
        Shown::Nothing => true,
        Shown::Word(word) => word == 0 && !matches!(kind, Kind::Register | Kind::Set),
        Shown::Members(members) => members.is_empty() && kind == Kind::Set,
        Shown::Bytes(_) => false,
    }
}

pub(super) fn violation(
    history: &History,
    key: KeyId,
    breach: Breach,
    expected: String,
    shown: String,
) -> Box<Violation> {
    let (kind, name) = history.name(key);
    Box::new(Violation { breach, key: Some((kind, name.into())), dots: Vec::new(), expected, shown })
}
