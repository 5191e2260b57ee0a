//! The lattice laws, for states of any shape that a replica could have: join is commutative, associative and idempotent,
//! and moves up in an order that is defined here without it. And for the types whose deltas are not dots: deltas in any
//! order, any number of times, are the full join.

use std::fmt::Debug;

use lattice_crdt::{
    ActorId, AwSet, Counter, CounterEntry, DISABLE_ELEMENT, Dot, DotStore, ENABLE_ELEMENT, Flag, Hlc,
    Register, SeqRange, VectorLimits, VersionVector, join_store,
};
use proptest::prelude::*;
use proptest::sample::Index;

const WIDE: VectorLimits = VectorLimits { max_actors: 16, max_ranges_per_actor: 64 };

fn actor(node: u16) -> ActorId {
    ActorId::new(node, 1)
}

/// `below(x, y)`: x comes before or equals y in the lattice's own order.
fn check_laws<T: Clone + PartialEq + Debug>(
    [a, b, c]: [&T; 3],
    join: impl Fn(&mut T, &T),
    below: impl Fn(&T, &T) -> bool,
) -> Result<(), TestCaseError> {
    let joined = |x: &T, y: &T| {
        let mut x = x.clone();
        join(&mut x, y);
        x
    };
    prop_assert_eq!(joined(a, b), joined(b, a), "commutative");
    prop_assert_eq!(joined(&joined(a, b), c), joined(a, &joined(b, c)), "associative");
    prop_assert_eq!(&joined(a, a), a, "idempotent");
    prop_assert_eq!(joined(&joined(a, b), b), joined(a, b), "absorbing");
    prop_assert!(below(a, &joined(a, b)) && below(b, &joined(a, b)), "monotone");
    Ok(())
}

/// Mostly small numbers, and the edges.
fn amount() -> impl Strategy<Value = u128> {
    prop_oneof![4 => 0u128..20, 1 => Just(u128::MAX), 1 => any::<u128>()]
}

fn counter() -> impl Strategy<Value = Counter> {
    proptest::collection::vec((0u16..4, amount(), amount()), 0..6).prop_map(|entries| {
        let mut counter = Counter::new();
        for (node, increments, decrements) in entries {
            counter.merge_entry(actor(node), CounterEntry { increments, decrements });
        }
        counter
    })
}

fn register() -> impl Strategy<Value = Register> {
    // Few stamps, so that two writes with one stamp and different bytes happen.
    proptest::collection::vec((0u64..3, 0u16..2, proptest::collection::vec(0u8..2, 0..3)), 0..4).prop_map(
        |writes| {
            let mut register = Register::new();
            for (hlc, node, value) in writes {
                register.set(Hlc::from_u64(hlc), actor(node), &value);
            }
            register
        },
    )
}

fn vector() -> impl Strategy<Value = VersionVector> {
    proptest::collection::vec((0u16..3, 1u64..12, 0u64..4), 0..8).prop_map(|ranges| {
        let mut vector = VersionVector::new(WIDE);
        for (node, first, span) in ranges {
            vector.cover_range(actor(node), SeqRange { first, last: first + span });
        }
        vector
    })
}

/// Any vector, and a store with any part of the dots that it covers. What a dot was done to is a function of the dot.
fn causal<S: DotStore + Clone + Default + Debug>(
    elements: &'static [&'static [u8]],
) -> impl Strategy<Value = Causal<S>> {
    (vector(), any::<u64>()).prop_map(move |(vector, live)| {
        let mut store = S::default();
        for (at, dot) in dots_of(&vector).into_iter().enumerate() {
            let element = elements[(dot.seq as usize + usize::from(dot.actor.node())) % elements.len()];
            if live >> (at % 64) & 1 == 1 {
                store.insert(element, dot);
            }
        }
        Causal { store, vector }
    })
}

#[derive(Clone, PartialEq, Debug)]
struct Causal<S> {
    store: S,
    vector: VersionVector,
}

impl<S: DotStore> Causal<S> {
    fn join(&mut self, other: &Self) {
        join_store(&mut self.store, &self.vector, &other.store, &other.vector);
        self.vector.join(&other.vector);
    }

    fn live(&self) -> Vec<(Vec<u8>, Dot)> {
        let mut live = Vec::new();
        let mut cursor: Option<Vec<u8>> = None;
        while let Some((element, dots)) = self.store.next_element(cursor.as_deref()) {
            live.extend(dots.iter().map(|&dot| (element.to_vec(), dot)));
            cursor = Some(element.to_vec());
        }
        live
    }

    /// All that is known here is known there, and what is known to be gone here is gone there.
    fn below(&self, other: &Self) -> bool {
        let own = self.live();
        dots_of(&self.vector).into_iter().all(|dot| other.vector.contains(dot))
            && other.live().iter().all(|live| !self.vector.contains(live.1) || own.contains(live))
    }
}

fn dots_of(vector: &VersionVector) -> Vec<Dot> {
    let mut dots = Vec::new();
    for (actor, clock) in vector.iter() {
        dots.extend((1..=clock.highest()).filter(|&seq| clock.contains(seq)).map(|seq| Dot::new(actor, seq)));
    }
    dots
}

/// The deltas, shuffled, some of them several times, none of them left out.
fn delivered<T: Clone>(deltas: &[T], order: &[Index]) -> Vec<T> {
    let mut sequence = deltas.to_vec();
    for (at, pick) in order.iter().enumerate() {
        if sequence.is_empty() {
            break;
        }
        let picked = sequence[pick.index(sequence.len())].clone();
        let to = (at * 7) % (sequence.len() + 1);
        sequence.insert(to, picked);
        let (x, y) = (pick.index(sequence.len()), (at * 13) % sequence.len());
        sequence.swap(x, y);
    }
    sequence
}

proptest! {
    #[test]
    fn counter_is_a_lattice(a in counter(), b in counter(), c in counter()) {
        check_laws([&a, &b, &c], Counter::join, |x, y| x.entries().all(|(who, entry)| {
            let above = y.entry(who);
            entry.increments <= above.increments && entry.decrements <= above.decrements
        }))?;
        // Equal states read alike, whichever way they came about.
        let (mut ab, mut ba) = (a.clone(), b.clone());
        ab.join(&b);
        ba.join(&a);
        prop_assert_eq!(ab.value(), ba.value());
    }

    #[test]
    fn register_is_a_lattice(a in register(), b in register(), c in register()) {
        let join = |x: &mut Register, y: &Register| { x.join(y); };
        check_laws([&a, &b, &c], join, |x, y| (x.stamp(), x.get()) <= (y.stamp(), y.get()))?;
    }

    #[test]
    fn vector_is_a_lattice(a in vector(), b in vector(), c in vector()) {
        check_laws([&a, &b, &c], VersionVector::join, |x, y| {
            dots_of(x).into_iter().all(|dot| y.contains(dot))
        })?;
    }

    #[test]
    fn set_is_a_lattice(
        a in causal::<AwSet>(&[b"", b"x", b"xy"]),
        b in causal::<AwSet>(&[b"", b"x", b"xy"]),
        c in causal::<AwSet>(&[b"", b"x", b"xy"]),
    ) {
        check_laws([&a, &b, &c], Causal::join, Causal::below)?;
    }

    #[test]
    fn flag_is_a_lattice(
        a in causal::<Flag>(&[ENABLE_ELEMENT, DISABLE_ELEMENT]),
        b in causal::<Flag>(&[ENABLE_ELEMENT, DISABLE_ELEMENT]),
        c in causal::<Flag>(&[ENABLE_ELEMENT, DISABLE_ELEMENT]),
    ) {
        check_laws([&a, &b, &c], Causal::join, Causal::below)?;
    }

    #[test]
    fn counter_deltas_are_the_full_join_and_the_exact_sum(
        ops in proptest::collection::vec((0u16..4, prop_oneof![-9i64..9, any::<i64>()]), 0..40),
        order in proptest::collection::vec(any::<Index>(), 0..60),
    ) {
        let mut replicas = vec![Counter::new(); 4];
        let deltas: Vec<_> = ops
            .iter()
            .map(|&(node, amount)| (actor(node), replicas[usize::from(node)].add(actor(node), amount)))
            .collect();
        let mut by_join = Counter::new();
        replicas.iter().for_each(|replica| by_join.join(replica));
        let mut by_deltas = Counter::new();
        for (who, entry) in delivered(&deltas, &order) {
            by_deltas.merge_entry(who, entry);
        }
        prop_assert_eq!(&by_deltas, &by_join);
        let sum: i128 = ops.iter().map(|&(_, amount)| i128::from(amount)).sum();
        prop_assert_eq!(by_deltas.value(), sum);
    }

    #[test]
    fn register_deltas_are_the_full_join_and_the_greatest_write(
        writes in proptest::collection::vec((0u64..4, 0u16..3, proptest::collection::vec(0u8..3, 0..3)), 1..20),
        order in proptest::collection::vec(any::<Index>(), 0..30),
    ) {
        let mut replicas = vec![Register::new(); 3];
        for (hlc, node, value) in &writes {
            replicas[usize::from(*node)].set(Hlc::from_u64(*hlc), actor(*node), value);
        }
        let mut by_join = Register::new();
        replicas.iter().for_each(|replica| { by_join.join(replica); });
        let mut by_deltas = Register::new();
        for (hlc, node, value) in delivered(&writes, &order) {
            by_deltas.set(Hlc::from_u64(hlc), actor(node), &value);
        }
        prop_assert_eq!(&by_deltas, &by_join);
        let greatest = writes.iter().max().map(|(_, _, value)| value.as_slice());
        prop_assert_eq!(by_deltas.get(), greatest);
    }
}
