//! Every operation that any engine ever logged, indexed.

use std::collections::{HashMap, HashSet};

use lattice_crdt::{ActorId, Dot, Hlc, Kind};
use lattice_wire::{Op, decode_record};

use super::violation::{Breach, Verdict, Violation};

/// A counter's parts stay below this, so that every sum of the oracle fits an i128.
const MAX_COUNTER_PART: u128 = 1 << 100;

/// A key of a [`History`]. Ascending in the order in which the keys first appeared.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub(super) u32);

/// An operation's place in the history. Of one actor, the greater is the later one.
pub(super) type OpId = u32;

/// A set's element, or a side of a flag, of one key.
pub(super) type SlotId = u32;

/// What an operation does.
#[derive(Debug)]
pub(super) enum Effect {
    /// The actor's contribution is now this; before it was that of `previous`.
    Counter {
        value: i128,
        previous: Option<OpId>,
    },
    Register {
        stamp: (Hlc, ActorId),
        value: Box<[u8]>,
    },
    Add(SlotId),
    /// It only removes, or does nothing.
    None,
}

#[derive(Debug)]
pub(super) struct Operation {
    pub dot: Dot,
    pub key: Option<KeyId>,
    pub effect: Effect,
    /// The adds that it removes or supersedes.
    pub removes: Vec<OpId>,
    record: Box<[u8]>,
}

impl Operation {
    /// Of a register's write: what the last writer is found by.
    pub fn stamp(&self) -> Option<(Hlc, ActorId)> {
        match &self.effect {
            Effect::Register { stamp, .. } => Some(*stamp),
            _ => None,
        }
    }

    /// Of a counter's record: the actor's contribution.
    pub fn value(&self) -> i128 {
        match &self.effect {
            Effect::Counter { value, .. } => *value,
            _ => 0,
        }
    }

    /// Of a register's write.
    pub fn bytes(&self) -> &[u8] {
        match &self.effect {
            Effect::Register { value, .. } => value,
            _ => &[],
        }
    }
}

#[derive(Debug)]
pub(super) struct Key {
    pub kind: Kind,
    pub name: Box<[u8]>,
    pub operations: Vec<OpId>,
    pub slots: Vec<SlotId>,
    slot_of: HashMap<Box<[u8]>, SlotId>,
    /// Each actor's last operation on this key.
    last: Vec<(ActorId, OpId)>,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub key: KeyId,
    pub element: Box<[u8]>,
}

/// All operations of one shard, whoever did them and whether or not anybody still knows them.
#[derive(Debug, Default)]
pub struct History {
    /// Ascending by actor; the operation with seq s stands at s - 1.
    actors: Vec<(ActorId, Vec<OpId>)>,
    pub(super) operations: Vec<Operation>,
    pub(super) keys: Vec<Key>,
    pub(super) slots: Vec<Slot>,
    index: HashMap<Kind, HashMap<Box<[u8]>, KeyId>>,
    /// Operations that were given up with their node: a vector that covers them says nothing of their effect.
    given_up: HashSet<OpId>,
}

impl History {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what an engine has appended to its log.
    ///
    /// # Errors
    /// If that is a dot that was used before, or no record that an engine may write. The history is then unchanged.
    pub fn witness(&mut self, dot: Dot, record: &[u8]) -> Verdict {
        self.check_dot(dot, record)?;
        let bad = |what: String| Violation::of_record(Breach::BadRecord, dot, "a well-formed record", what);
        let decoded = match decode_record(record, dot.actor) {
            Ok((decoded, used)) if used == record.len() => decoded,
            Ok((_, used)) => return Err(bad(format!("{} bytes after it", record.len() - used))),
            Err(error) => return Err(bad(error.to_string())),
        };
        let removes = match &decoded.op {
            Op::Add { element, superseded: dots } | Op::Remove { element, removed: dots } => {
                let element = (decoded.kind == Kind::Set).then_some(*element);
                let place = self.find(decoded.kind, decoded.key);
                dots.iter().map(|of| self.removed(dot, of, place, element)).collect::<Result<Vec<_>, _>>()?
            }
            _ => Vec::new(),
        };
        self.check_order(self.find(decoded.kind, decoded.key), dot, &decoded.op)?;
        let key = (!decoded.key.is_empty()).then(|| self.find_or_insert(decoded.kind, decoded.key));
        let id = self.operations.len() as OpId;
        let effect = match (decoded.op, key) {
            (Op::Counter { increments, decrements }, Some(key)) => Effect::Counter {
                value: increments as i128 - decrements as i128,
                previous: self.last_of(key, dot.actor),
            },
            (Op::Register { hlc, value }, _) => {
                Effect::Register { stamp: (hlc, dot.actor), value: value.into() }
            }
            (Op::Add { element, .. }, Some(key)) => Effect::Add(self.slot(key, element)),
            _ => Effect::None,
        };
        self.operations.push(Operation { dot, key, effect, removes, record: record.into() });
        self.link(id, dot, key);
        Ok(())
    }

    /// An operation of a forgotten node that some host gave up: whoever covers it from now on may show its effect, and need not.
    pub fn give_up(&mut self, dot: Dot) {
        let id = dot.seq.checked_sub(1).and_then(|at| self.by_actor(dot.actor).get(at as usize)).copied();
        self.given_up.extend(id);
    }

    pub(super) fn is_given_up(&self, id: OpId) -> bool {
        self.given_up.contains(&id)
    }

    /// The key of that name, if anybody ever wrote it.
    pub fn find(&self, kind: Kind, name: &[u8]) -> Option<KeyId> {
        self.index.get(&kind)?.get(name).copied()
    }

    /// A key's kind and name.
    pub fn name(&self, key: KeyId) -> (Kind, &[u8]) {
        let key = &self.keys[key.0 as usize];
        (key.kind, &key.name)
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = KeyId> + use<> {
        (0..self.keys.len() as u32).map(KeyId)
    }

    /// How many operations were witnessed.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The operations of an actor: seq s at s - 1.
    pub(super) fn by_actor(&self, actor: ActorId) -> &[OpId] {
        let at = self.actors.binary_search_by_key(&actor, |(own, _)| *own);
        at.map_or(&[], |at| &self.actors[at].1)
    }

    pub(super) fn find_slot(&self, key: KeyId, element: &[u8]) -> Option<SlotId> {
        self.keys[key.0 as usize].slot_of.get(element).copied()
    }

    pub(super) fn operation(&self, id: OpId) -> &Operation {
        &self.operations[id as usize]
    }

    fn check_dot(&self, dot: Dot, record: &[u8]) -> Verdict {
        let last = self.by_actor(dot.actor).len() as u64;
        if dot.seq == last + 1 {
            return Ok(());
        }
        let Some(&before) = dot.seq.checked_sub(1).and_then(|at| self.by_actor(dot.actor).get(at as usize))
        else {
            let expected = format!("seq {}, the next one", last + 1);
            return Err(Violation::of_record(Breach::DotSkipped, dot, expected, format!("seq {}", dot.seq)));
        };
        let before = self.operation(before);
        let same = if *before.record == *record { "the same record" } else { "another record" };
        let shown = format!("{same} again: {:02x?} after {:02x?}", record, before.record);
        Err(Violation::of_record(Breach::DotReused, dot, "a dot that names one operation for ever", shown))
    }

    /// The add that `dot` says it removes: it must be there, at this key and (of a set) this element.
    fn removed(
        &self,
        dot: Dot,
        removed: Dot,
        key: Option<KeyId>,
        element: Option<&[u8]>,
    ) -> Result<OpId, Box<Violation>> {
        let at = removed.seq.checked_sub(1).map(|at| at as usize);
        let Some(&id) = at.and_then(|at| self.by_actor(removed.actor).get(at)) else {
            let expected = "removal of dots that were seen";
            let shown = format!("removal of {removed}, which no log ever had");
            return Err(Violation::of_record(Breach::UnknownDotRemoved, dot, expected, shown));
        };
        let of = self.operation(id);
        let fits = match of.effect {
            Effect::Add(slot) => element.is_none_or(|element| *self.slots[slot as usize].element == *element),
            _ => false,
        };
        if of.key != key || !fits {
            let shown = format!("removal of {removed}, which is no add to that");
            return Err(Violation::of_record(Breach::BadRecord, dot, "removal of the key's own dots", shown));
        }
        Ok(id)
    }

    /// What one actor does to one key only ever goes up: cumulative parts of a counter, stamps of a register.
    fn check_order(&self, key: Option<KeyId>, dot: Dot, op: &Op<'_>) -> Verdict {
        let before = key.and_then(|key| self.last_of(key, dot.actor)).map(|id| self.operation(id));
        let before_op = before.and_then(|before| decode_record(&before.record, dot.actor).ok());
        let (expected, shown) = match (op, before_op.map(|(record, _)| record.op)) {
            (Op::Counter { increments, decrements }, before) => {
                let (least_up, least_down) = match before {
                    Some(Op::Counter { increments, decrements }) => (increments, decrements),
                    _ => (0, 0),
                };
                let up = (least_up..MAX_COUNTER_PART).contains(increments);
                let down = (least_down..MAX_COUNTER_PART).contains(decrements);
                if up && down {
                    return Ok(());
                }
                (format!("at least +{least_up} -{least_down}"), format!("+{increments} -{decrements}"))
            }
            (Op::Register { hlc, .. }, Some(Op::Register { hlc: before, .. })) if *hlc <= before => {
                (format!("a stamp after {before:?}"), format!("{hlc:?}"))
            }
            _ => return Ok(()),
        };
        Err(Violation::of_record(Breach::BadRecord, dot, expected, shown))
    }

    fn last_of(&self, key: KeyId, actor: ActorId) -> Option<OpId> {
        let last = &self.keys[key.0 as usize].last;
        last.iter().find(|(own, _)| *own == actor).map(|(_, id)| *id)
    }

    fn link(&mut self, id: OpId, dot: Dot, key: Option<KeyId>) {
        match self.actors.binary_search_by_key(&dot.actor, |(own, _)| *own) {
            Ok(at) => self.actors[at].1.push(id),
            Err(at) => self.actors.insert(at, (dot.actor, vec![id])),
        }
        let Some(key) = key else { return };
        let key = &mut self.keys[key.0 as usize];
        key.operations.push(id);
        match key.last.iter_mut().find(|(own, _)| *own == dot.actor) {
            Some((_, last)) => *last = id,
            None => key.last.push((dot.actor, id)),
        }
    }

    fn find_or_insert(&mut self, kind: Kind, name: &[u8]) -> KeyId {
        if let Some(key) = self.find(kind, name) {
            return key;
        }
        let id = KeyId(self.keys.len() as u32);
        let (operations, slots, slot_of, last) = Default::default();
        self.keys.push(Key { kind, name: name.into(), operations, slots, slot_of, last });
        self.index.entry(kind).or_default().insert(name.into(), id);
        id
    }

    fn slot(&mut self, key: KeyId, element: &[u8]) -> SlotId {
        if let Some(slot) = self.find_slot(key, element) {
            return slot;
        }
        let id = self.slots.len() as SlotId;
        self.slots.push(Slot { key, element: element.into() });
        let key = &mut self.keys[key.0 as usize];
        key.slots.push(id);
        key.slot_of.insert(element.into(), id);
        id
    }
}

impl Violation {
    fn of_record(
        breach: Breach,
        dot: Dot,
        expected: impl Into<String>,
        shown: impl Into<String>,
    ) -> Box<Self> {
        let (expected, shown) = (expected.into(), shown.into());
        Box::new(Self { breach, key: None, dots: vec![dot], expected, shown })
    }
}
