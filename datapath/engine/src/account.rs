//! Why a key is what it is: everything that stands in it, each with the operation that put it there.
//!
//! ```text
//!   entry of a counter          by actor   its sums, and its last operation on the key
//!   value of a register         one        when it was set, and by whom
//!   element of a set, side of   by dot     each live dot is one insert, one enable, one disable
//!     a flag
//!   pre-removed dots            by dot     taken away here before they came: they never show
//!   touches                     by actor   the last operation on the key, whatever became of it
//! ```
//!
//! An engine keeps what stands, not what happened: of an operation that was overwritten or taken away only its actor's last
//! touch is left. Only registers carry a time. It is a look from outside: nothing here changes anything.

use crate::engine::Engine;
use crate::entry::{KeyEntry, Value};
use crate::keys::{Position, key_hash};
use crate::log::LogStore;
use lattice_crdt::{ActorId, CounterEntry, Dot, Hlc, Kind};

/// What one operation, or for a counter all of one actor's, put into a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whose it is.
    pub actor: ActorId,
    /// The operation: the very one for a dot, the actor's last on this key for a counter or a register. 0: not known.
    pub seq: u64,
    /// What it put there.
    pub part: Part,
}

/// See [`Standing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The sums of an actor's adds.
    Counter(CounterEntry),
    /// The value of a register.
    Register {
        /// When it was set, by the clock that orders writes.
        hlc: Hlc,
        /// The value.
        value: Box<[u8]>,
    },
    /// A live dot of an element; a flag has [`lattice_crdt::ENABLE_ELEMENT`] and [`lattice_crdt::DISABLE_ELEMENT`].
    Element(Box<[u8]>),
    /// A dot that was removed here before it came, and never shows.
    PreRemoved(Box<[u8]>),
}

/// One key, of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAccount {
    /// Its kind.
    pub kind: Kind,
    /// What stands in it: entries ascending by actor, dots by element.
    pub standing: Vec<Standing>,
    /// The last operation of each actor on it, ascending.
    pub touches: Vec<Dot>,
    /// Nothing was left out.
    pub is_whole: bool,
}

impl<L: LogStore> Engine<L> {
    /// Why a key is what it is, for each kind that it exists with. At most `most` parts of each are listed; of a set, only
    /// those of `element` if one is named. Nothing if there is no such key.
    #[must_use]
    pub fn account(&self, key: &[u8], element: Option<&[u8]>, most: usize) -> Vec<KeyAccount> {
        let hash = key_hash(key);
        let found = Kind::ALL.into_iter().filter_map(|kind| self.keys.find(hash, kind, key));
        found.map(|position| self.account_of(position, element, most)).collect()
    }

    fn account_of(&self, position: Position, element: Option<&[u8]>, most: usize) -> KeyAccount {
        let entry = self.keys.entry(position);
        let touches: Vec<Dot> = {
            let mut touches: Vec<_> = entry.touches(self.keys.actors()).collect();
            touches.sort_unstable();
            touches
        };
        let mut list = List { standing: Vec::new(), most, is_whole: true };
        match &entry.value {
            Value::Tally(_) | Value::Counter(_) => self.list_counter(entry, &touches, &mut list),
            Value::Register(register) => {
                let register = &register.value.register;
                if let (Some((hlc, actor)), Some(value)) = (register.stamp(), register.get()) {
                    let part = Part::Register { hlc, value: value.into() };
                    list.push(Standing { actor, seq: last_of(&touches, actor), part });
                }
            }
            Value::Flag(_) | Value::Set(_) => self.list_dots(position, entry, element, &mut list),
        }
        KeyAccount { kind: entry.kind, standing: list.standing, touches, is_whole: list.is_whole }
    }

    fn list_counter(&self, entry: &KeyEntry, touches: &[Dot], list: &mut List) {
        let mut after = None;
        while let Some((actor, sums)) = entry.value.next_entry(self.keys.actors(), after) {
            after = Some(actor);
            let seq = last_of(touches, actor);
            if !list.push(Standing { actor, seq, part: Part::Counter(sums) }) {
                return;
            }
        }
    }

    fn list_dots(&self, position: Position, entry: &KeyEntry, wanted: Option<&[u8]>, list: &mut List) {
        let Some(store) = entry.value.dots() else { return };
        let put = |list: &mut List, element: &[u8], dot: &Dot| {
            list.push(Standing { actor: dot.actor, seq: dot.seq, part: Part::Element(element.into()) })
        };
        match wanted {
            Some(element) => {
                store.dots(element).iter().all(|dot| put(list, element, dot));
            }
            None => {
                let mut after: Option<Box<[u8]>> = None;
                while let Some((element, dots)) = store.next_element(after.as_deref()) {
                    if !dots.iter().all(|dot| put(list, element, dot)) {
                        break;
                    }
                    after = Some(element.into());
                }
            }
        }
        for (dot, at) in self.pre_removed.iter().filter(|(_, at)| at.key == position) {
            if wanted.is_none_or(|element| *element == *at.element) {
                let part = Part::PreRemoved(at.element.clone());
                list.push(Standing { actor: dot.actor, seq: dot.seq, part });
            }
        }
    }
}

/// The last operation of an actor among touches; 0 if it is not known.
fn last_of(touches: &[Dot], actor: ActorId) -> u64 {
    touches.iter().find(|touch| touch.actor == actor).map_or(0, |touch| touch.seq)
}

/// What was found, up to a bound.
struct List {
    standing: Vec<Standing>,
    most: usize,
    is_whole: bool,
}

impl List {
    /// False: there is no room, and something was left out.
    fn push(&mut self, standing: Standing) -> bool {
        let fits = self.standing.len() < self.most;
        if fits {
            self.standing.push(standing);
        }
        self.is_whole &= fits;
        fits
    }
}
