//! Random histories: actors that see each other's operations in any order, and a host that sees them in steps.

use std::collections::BTreeSet;

use lattice_crdt::{Dot, Hlc, Kind};
use lattice_wire::{Dots as WireDots, Op};
use proptest::prelude::*;

use super::naive::{Deed, Dots, Fact, Value, allows, value};
use super::scene::{actor, dot, encode, vector};
use crate::oracle::{History, Replica, Shown};

const ACTORS: u16 = 4;
const KEYS: u8 = 2;

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// A node does something to a key; the numbers say what.
    Do(u16, Kind, u8, u8, i8),
    /// A node sees an operation, if there are so many.
    See(u16, usize),
    /// The host under test sees one.
    Cover(usize),
    /// Effects of one may be there.
    May(usize),
    /// It is asked about a view that may be wrong.
    Ask(u8, i8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop::sample::select(Kind::ALL.to_vec());
    let step = prop_oneof![
        4 => (1..=ACTORS, kind, 0..KEYS, 0u8..8, any::<i8>()).prop_map(|(n, k, key, e, a)| Step::Do(n, k, key, e, a)),
        5 => (1..=ACTORS, 0usize..60).prop_map(|(node, at)| Step::See(node, at)),
        5 => (0usize..60).prop_map(Step::Cover),
        1 => (0usize..60).prop_map(Step::May),
        4 => (any::<u8>(), any::<i8>()).prop_map(|(which, change)| Step::Ask(which, change)),
    ];
    prop::collection::vec(step, 1..150)
}

#[derive(Default)]
struct Story {
    facts: Vec<Fact>,
    seen_by: [Dots; ACTORS as usize + 1],
    history: History,
    replica: Replica,
    seen: Dots,
    any: Dots,
}

impl Story {
    fn act(&mut self, node: u16, kind: Kind, key: u8, what: u8, amount: i8) {
        let element = [what / 2];
        let deed = match kind {
            Kind::Counter => self.counter(node, key, amount),
            Kind::Register => Deed::Register(self.facts.len() as u64 / 3 + 1, vec![amount as u8 & 3]),
            Kind::FlagEnableWins if what & 1 == 0 => Deed::Remove(vec![1]),
            Kind::FlagEnableWins => Deed::Add(vec![1]),
            Kind::FlagDisableWins => Deed::Add(vec![what & 1]),
            Kind::Set if what & 1 == 0 => Deed::Remove(element.to_vec()),
            Kind::Set => Deed::Add(element.to_vec()),
        };
        let removes = self.live(node, kind, key, &deed);
        let seq = self.facts.iter().filter(|fact| fact.dot.actor == actor(node)).count() as u64 + 1;
        let fact = Fact { dot: dot(node, seq), kind, key, deed, removes };
        if matches!(fact.deed, Deed::Register(..)) && self.is_stale(&fact) {
            return;
        }
        self.seen_by[node as usize].insert(fact.dot);
        self.history.witness(fact.dot, &encoded(&fact)).expect("a good record");
        self.facts.push(fact);
    }

    /// The node's contribution, `amount` further.
    fn counter(&self, node: u16, key: u8, amount: i8) -> Deed {
        let own = self.facts.iter().rev().find_map(|fact| match fact.deed {
            Deed::Counter(up, down) if fact.dot.actor == actor(node) && fact.key == key => Some((up, down)),
            _ => None,
        });
        let (up, down) = own.unwrap_or_default();
        let size = u64::from(amount.unsigned_abs());
        if amount < 0 { Deed::Counter(up, down + size) } else { Deed::Counter(up + size, down) }
    }

    /// An actor does not stamp two writes of a key alike.
    fn is_stale(&self, fact: &Fact) -> bool {
        let Deed::Register(hlc, _) = fact.deed else { return false };
        self.facts.iter().any(|other| {
            other.dot.actor == fact.dot.actor
                && other.key == fact.key
                && matches!(other.deed, Deed::Register(before, _) if before >= hlc)
        })
    }

    /// The dots that the node sees alive and that its operation takes away.
    fn live(&self, node: u16, kind: Kind, key: u8, deed: &Deed) -> Vec<Dot> {
        let (Deed::Add(element) | Deed::Remove(element)) = deed else { return Vec::new() };
        let seen = &self.seen_by[node as usize];
        let here = || {
            self.facts.iter().filter(|fact| fact.kind == kind && fact.key == key && seen.contains(&fact.dot))
        };
        let removed: BTreeSet<Dot> = here().flat_map(|fact| fact.removes.iter().copied()).collect();
        let added = here().filter(|fact| match &fact.deed {
            Deed::Add(added) => kind != Kind::Set || added == element,
            _ => false,
        });
        added.map(|fact| fact.dot).filter(|dot| !removed.contains(dot)).take(48).collect()
    }

    fn check(&mut self, kind: Kind, key: u8, shown: &Value) -> bool {
        let shown = match shown {
            Value::Word(word) => Shown::Word(*word as u64),
            Value::Bytes(None) => Shown::Nothing,
            Value::Bytes(Some(bytes)) => Shown::Bytes(bytes),
            Value::Members(members) => Shown::Members(members),
        };
        self.replica.check_named(&self.history, kind, &[key], shown).is_ok()
    }

    /// A view of a key that is right for a part of what may be shown, perhaps changed into a wrong one: the oracle
    /// and the naive evaluation must agree about it.
    fn ask(&mut self, which: u8, change: i8) {
        let kind = Kind::ALL[usize::from(which) % Kind::ALL.len()];
        let key = which / 5 % KEYS;
        // Any set of operations between V and U.
        let part: Dots = self
            .any
            .iter()
            .copied()
            .enumerate()
            .filter(|(i, _)| change.rotate_left(*i as u32) & 1 == 0)
            .map(|(_, dot)| dot)
            .collect();
        let part: Dots = part.union(&self.seen).copied().collect();
        let mut shown = value(&self.facts, kind, key, &part);
        assert!(self.check(kind, key, &shown), "{kind} {key} {shown:?} is what {part:?} shows");
        match &mut shown {
            Value::Word(word) if kind == Kind::Counter => *word += i64::from(change % 40),
            Value::Word(word) => *word ^= i64::from(change & 1),
            Value::Bytes(bytes) if change % 4 == 0 => *bytes = None,
            Value::Bytes(bytes) => *bytes = Some(vec![change as u8 & 3]),
            Value::Members(members) => {
                let element = vec![change as u8 & 3];
                if !members.remove(&element) {
                    members.insert(element);
                }
            }
        }
        let allowed = allows(&self.facts, kind, key, &self.seen, &self.any, &shown);
        assert_eq!(self.check(kind, key, &shown), allowed, "{kind} {key} {shown:?}");
        if self.any == self.seen {
            assert_eq!(
                allowed,
                shown == value(&self.facts, kind, key, &self.seen),
                "exact: {kind} {shown:?}"
            );
        }
    }

    fn step(&mut self, step: &Step) {
        let dot = |at: usize| self.facts.get(at).map(|fact| fact.dot);
        match *step {
            Step::Do(node, kind, key, what, amount) => self.act(node, kind, key, what, amount),
            Step::See(node, at) => self.seen_by[node as usize].extend(dot(at)),
            Step::Cover(at) => {
                self.seen.extend(dot(at));
                self.any.extend(dot(at));
                let seen: Vec<Dot> = self.seen.iter().copied().collect();
                self.replica.cover(&self.history, &vector(&seen)).expect("it only grows");
            }
            Step::May(at) => {
                self.any.extend(dot(at));
                let any: Vec<Dot> = self.any.iter().copied().collect();
                self.replica.may_show(&self.history, &vector(&any));
            }
            Step::Ask(which, change) => self.ask(which, change),
        }
    }
}

fn encoded(fact: &Fact) -> Vec<u8> {
    let dots = WireDots::from(&fact.removes[..]);
    let op = match &fact.deed {
        Deed::Counter(up, down) => Op::Counter { increments: (*up).into(), decrements: (*down).into() },
        Deed::Register(hlc, value) => Op::Register { hlc: Hlc::from_u64(*hlc), value },
        Deed::Add(element) => Op::Add { element, superseded: dots },
        Deed::Remove(element) => Op::Remove { element, removed: dots },
    };
    encode(fact.kind, &[fact.key], op, fact.dot.actor)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_oracle_says_what_the_specification_says(steps in steps()) {
        let mut story = Story::default();
        for step in &steps {
            story.step(step);
        }
        // In the end everything comes to everybody.
        let all: Vec<Dot> = story.facts.iter().map(|fact| fact.dot).collect();
        story.seen.extend(all.iter().copied());
        story.any.extend(all.iter().copied());
        story.replica.cover(&story.history, &vector(&all)).expect("it only grows");
        for which in 0..2 * Kind::ALL.len() as u8 {
            story.ask(which, 37);
        }
    }
}
