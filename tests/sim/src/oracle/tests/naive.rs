//! The specification, as directly as it can be written: sets of operations, and quantifiers over them.

use std::collections::{BTreeMap, BTreeSet};

use lattice_crdt::{ActorId, Dot, Kind};

/// One operation, as the test made it.
#[derive(Clone, Debug)]
pub struct Fact {
    pub dot: Dot,
    pub kind: Kind,
    pub key: u8,
    pub deed: Deed,
    pub removes: Vec<Dot>,
}

#[derive(Clone, Debug)]
pub enum Deed {
    /// The actor's contribution: its positive adds and its negative ones.
    Counter(u64, u64),
    Register(u64, Vec<u8>),
    Add(Vec<u8>),
    Remove(Vec<u8>),
}

/// What one key shows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Word(i64),
    Bytes(Option<Vec<u8>>),
    Members(BTreeSet<Vec<u8>>),
}

pub type Dots = BTreeSet<Dot>;

fn at(facts: &[Fact], kind: Kind, key: u8) -> impl Iterator<Item = &Fact> {
    facts.iter().filter(move |fact| fact.kind == kind && fact.key == key)
}

/// Whether an add of that element in `adds` is removed by nothing in `removals`.
fn lives(facts: &[Fact], kind: Kind, key: u8, element: &[u8], adds: &Dots, removals: &Dots) -> bool {
    at(facts, kind, key).any(|fact| {
        matches!(&fact.deed, Deed::Add(added) if added == element)
            && adds.contains(&fact.dot)
            && !at(facts, kind, key)
                .any(|other| removals.contains(&other.dot) && other.removes.contains(&fact.dot))
    })
}

/// Each actor's contributions in the order of its operations, with whether `seen` has them.
fn contributions(facts: &[Fact], key: u8, seen: &Dots) -> BTreeMap<ActorId, Vec<(bool, i128)>> {
    let mut contributions: BTreeMap<ActorId, Vec<(u64, bool, i128)>> = BTreeMap::new();
    for fact in at(facts, Kind::Counter, key) {
        let Deed::Counter(up, down) = fact.deed else { continue };
        let value = i128::from(up) - i128::from(down);
        contributions.entry(fact.dot.actor).or_default().push((
            fact.dot.seq,
            seen.contains(&fact.dot),
            value,
        ));
    }
    let strip = |mut all: Vec<(u64, bool, i128)>| {
        all.sort_unstable();
        all.into_iter().map(|(_, seen, value)| (seen, value)).collect()
    };
    contributions.into_iter().map(|(actor, all)| (actor, strip(all))).collect()
}

/// What a key shows when exactly `seen` was seen.
pub fn value(facts: &[Fact], kind: Kind, key: u8, seen: &Dots) -> Value {
    let lives = |element: &[u8]| lives(facts, kind, key, element, seen, seen);
    match kind {
        Kind::Counter => {
            let last =
                |all: Vec<(bool, i128)>| all.iter().rev().find(|(seen, _)| *seen).map_or(0, |(_, v)| *v);
            let sum: i128 = contributions(facts, key, seen).into_values().map(last).sum();
            Value::Word(sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
        }
        Kind::Register => Value::Bytes(writes(facts, key, seen).into_iter().max().map(|(_, value)| value)),
        Kind::FlagEnableWins => Value::Word(lives(b"\x01").into()),
        Kind::FlagDisableWins => Value::Word((lives(b"\x01") && !lives(b"\x00")).into()),
        Kind::Set => {
            let elements = at(facts, kind, key).filter_map(|fact| match &fact.deed {
                Deed::Add(element) => Some(element.clone()),
                _ => None,
            });
            Value::Members(elements.filter(|element| lives(element)).collect())
        }
    }
}

fn writes(facts: &[Fact], key: u8, seen: &Dots) -> Vec<((u64, ActorId), Vec<u8>)> {
    let seen = at(facts, Kind::Register, key).filter(|fact| seen.contains(&fact.dot));
    seen.filter_map(|fact| match &fact.deed {
        Deed::Register(hlc, value) => Some(((*hlc, fact.dot.actor), value.clone())),
        _ => None,
    })
    .collect()
}

/// Whether a key may show that when `seen` was seen and effects of `any`, a superset, may be there.
pub fn allows(facts: &[Fact], kind: Kind, key: u8, seen: &Dots, any: &Dots, shown: &Value) -> bool {
    let certain = |element: &[u8]| lives(facts, kind, key, element, seen, any);
    let possible = |element: &[u8]| lives(facts, kind, key, element, any, seen);
    match (kind, shown) {
        (Kind::Counter, Value::Word(shown)) => {
            let seen = contributions(facts, key, seen);
            let any = contributions(facts, key, any);
            let mut sums: BTreeSet<i128> = [0].into();
            for (actor, seen) in seen {
                let least = seen.iter().rposition(|(seen, _)| *seen);
                let mut choices: Vec<i128> = vec![least.map_or(0, |least| seen[least].1)];
                let from = least.map_or(0, |least| least + 1);
                choices.extend(any[&actor][from..].iter().filter(|(any, _)| *any).map(|(_, value)| *value));
                sums = sums.iter().flat_map(|sum| choices.iter().map(move |value| sum + value)).collect();
            }
            sums.into_iter().any(|sum| sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64 == *shown)
        }
        (Kind::Register, Value::Bytes(shown)) => {
            let best = writes(facts, key, seen).into_iter().max();
            match shown {
                None => best.is_none(),
                Some(shown) => writes(facts, key, any).iter().any(|(stamp, value)| {
                    value == shown && best.as_ref().is_none_or(|best| *stamp >= best.0)
                }),
            }
        }
        (Kind::FlagEnableWins, Value::Word(shown)) => {
            if *shown == 1 {
                possible(b"\x01")
            } else {
                !certain(b"\x01")
            }
        }
        (Kind::FlagDisableWins, Value::Word(shown)) => {
            if *shown == 1 {
                possible(b"\x01") && !certain(b"\x00")
            } else {
                !certain(b"\x01") || possible(b"\x00")
            }
        }
        (Kind::Set, Value::Members(members)) => {
            let elements: BTreeSet<&Vec<u8>> = at(facts, kind, key)
                .filter_map(|fact| match &fact.deed {
                    Deed::Add(element) => Some(element),
                    _ => None,
                })
                .chain(members)
                .collect();
            elements
                .into_iter()
                .all(|element| if members.contains(element) { possible(element) } else { !certain(element) })
        }
        _ => false,
    }
}
