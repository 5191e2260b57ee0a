//! The add-wins types under random histories: records that arrive out of order, several times or late, mixed with state
//! syncs. Whatever the route, a replica that has everything equals the full join, and equals the specification: an
//! element is there iff somebody added it with a dot that no operation superseded.

mod replica;

use std::collections::BTreeSet;

use lattice_crdt::{
    ActorId, AwSet, Counter, DISABLE_ELEMENT, Dot, DotSet, DotStore, ENABLE_ELEMENT, Flag, Wins, join_store,
};
use proptest::prelude::*;
use proptest::sample::Index;
use replica::{Record, Replica};

const REPLICAS: usize = 3;
const ELEMENTS: [&[u8]; 3] = [b"", b"x", b"y"];
const SIDES: [&[u8]; 2] = [DISABLE_ELEMENT, ENABLE_ELEMENT];

#[derive(Clone, Debug)]
enum Step {
    Operate { at: usize, element: usize, add: bool },
    Deliver { record: Index, to: usize },
    Sync { from: usize, to: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..REPLICAS, 0..ELEMENTS.len(), prop::bool::weighted(0.6))
            .prop_map(|(at, element, add)| Step::Operate { at, element, add }),
        6 => (any::<Index>(), 0..REPLICAS).prop_map(|(record, to)| Step::Deliver { record, to }),
        1 => (0..REPLICAS, 0..REPLICAS).prop_map(|(from, to)| Step::Sync { from, to }),
    ];
    proptest::collection::vec(step, 1..80)
}

/// Runs the steps. `operate(replica, actor, element, add)` makes the type's own record.
fn run<S: DotStore + Default + Clone>(
    steps: &[Step],
    elements: &[&[u8]],
    operate: impl Fn(&mut Replica<S>, ActorId, usize, bool) -> Record,
) -> (Vec<Replica<S>>, Vec<Record>) {
    let mut replicas = vec![Replica::<S>::new(); REPLICAS];
    let mut records = Vec::new();
    for step in steps {
        match step {
            Step::Operate { at, element, add } => {
                let actor = ActorId::new(*at as u16, 7);
                records.push(operate(&mut replicas[*at], actor, *element, *add));
            }
            Step::Deliver { record, to } if !records.is_empty() => {
                replicas[*to].merge(&records[record.index(records.len())]);
            }
            Step::Deliver { .. } => {}
            Step::Sync { from, to } => {
                let sender = replicas[*from].clone();
                replicas[*to].sync_from(&sender, elements);
            }
        }
    }
    (replicas, records)
}

/// Live dots by the specification.
fn surviving(records: &[Record]) -> BTreeSet<(Vec<u8>, Dot)> {
    let gone: BTreeSet<Dot> = records.iter().flat_map(|record| record.superseded.iter().copied()).collect();
    let adds = records.iter().filter(|record| record.adds && !gone.contains(&record.dot));
    adds.map(|record| (record.element.clone(), record.dot)).collect()
}

fn live<S: DotStore>(store: &S, elements: &[&[u8]]) -> BTreeSet<(Vec<u8>, Dot)> {
    let dots =
        elements.iter().flat_map(|element| store.dots(element).iter().map(|&dot| (element.to_vec(), dot)));
    dots.collect()
}

fn check<S: DotStore + Default + Clone + PartialEq + std::fmt::Debug>(
    replicas: &[Replica<S>],
    records: &[Record],
    order: &[Index],
    elements: &[&[u8]],
) -> Result<S, TestCaseError> {
    // Syncs are joins of reachable states, pre-removed dots included.
    for a in replicas {
        for b in replicas {
            let (mut ab, mut ba) = (a.clone(), b.clone());
            ab.sync_from(b, elements);
            ba.sync_from(a, elements);
            prop_assert_eq!(&ab, &ba, "commutative");
            let mut again = ab.clone();
            again.sync_from(a, elements);
            again.sync_from(&again.clone(), elements);
            prop_assert_eq!(&again, &ab, "idempotent");
        }
    }
    // Everything by records alone, in an arbitrary order with repetitions.
    let mut by_records = Replica::<S>::new();
    for pick in order {
        if !records.is_empty() {
            by_records.merge(&records[pick.index(records.len())]);
        }
    }
    records.iter().rev().for_each(|record| by_records.merge(record));
    prop_assert!(by_records.pre_removed.is_empty());
    prop_assert_eq!(live(&by_records.store, elements), surviving(records));
    // Everything by one more round of syncs, in both directions of the ring.
    let mut by_syncs = replicas.to_vec();
    for to in (0..REPLICAS).chain(0..REPLICAS) {
        let sender = by_syncs[(to + 1) % REPLICAS].clone();
        by_syncs[to].sync_from(&sender, elements);
    }
    let mut whole = by_syncs[0].clone();
    by_syncs.iter().for_each(|replica| whole.sync_from(replica, elements));
    prop_assert_eq!(&whole, &by_records, "full join = all deltas");
    // join_store is that same join, where nothing is pre-removed.
    let mut joined = Replica::<S>::new();
    join_store(&mut joined.store, &joined.vector, &whole.store, &whole.vector);
    prop_assert_eq!(&joined.store, &whole.store);
    prop_assert_eq!(whole.store.is_empty(), surviving(records).is_empty());
    Ok(whole.store)
}

fn operate_set(replica: &mut Replica<AwSet>, actor: ActorId, element: usize, add: bool) -> Record {
    replica.operate(actor, ELEMENTS[element], add, &[ELEMENTS[element]])
}

fn operate_flag(wins: Wins) -> impl Fn(&mut Replica<Flag>, ActorId, usize, bool) -> Record {
    move |replica, actor, _, enable| {
        let inserts = enable || wins == Wins::Disable;
        replica.operate(actor, SIDES[usize::from(enable)], inserts, &SIDES)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn set_by_any_route_equals_its_specification(
        steps in steps(),
        order in proptest::collection::vec(any::<Index>(), 0..80),
    ) {
        let (replicas, records) = run(&steps, &ELEMENTS, operate_set);
        let set = check(&replicas, &records, &order, &ELEMENTS)?;
        for element in ELEMENTS {
            let expected = surviving(&records).iter().any(|(of, _)| of == element);
            prop_assert_eq!(set.contains(element), expected);
        }
        prop_assert_eq!(set.len(), set.iter().count());
        prop_assert_eq!(AwSet::is_empty(&set), surviving(&records).is_empty());
    }

    #[test]
    fn enable_wins_flag_by_any_route_equals_its_specification(
        steps in steps(),
        order in proptest::collection::vec(any::<Index>(), 0..80),
    ) {
        let (replicas, records) = run(&steps, &SIDES, operate_flag(Wins::Enable));
        let flag = check(&replicas, &records, &order, &SIDES)?;
        prop_assert_eq!(flag.is_enabled(Wins::Enable), !surviving(&records).is_empty());
        prop_assert!(flag.dots(DISABLE_ELEMENT).is_empty());
    }

    #[test]
    fn disable_wins_flag_by_any_route_equals_its_specification(
        steps in steps(),
        order in proptest::collection::vec(any::<Index>(), 0..80),
    ) {
        let (replicas, records) = run(&steps, &SIDES, operate_flag(Wins::Disable));
        let flag = check(&replicas, &records, &order, &SIDES)?;
        let survivors = surviving(&records);
        let enabled = survivors.iter().any(|(side, _)| side == ENABLE_ELEMENT);
        let disabled = survivors.iter().any(|(side, _)| side == DISABLE_ELEMENT);
        prop_assert_eq!(flag.is_enabled(Wins::Disable), enabled && !disabled);
    }
}

#[test]
fn concurrent_enable_and_disable_are_settled_by_the_kind() {
    for (wins, on) in [(Wins::Enable, true), (Wins::Disable, false)] {
        let operate = operate_flag(wins);
        let mut replicas = vec![Replica::<Flag>::new(); 2];
        let first = operate(&mut replicas[0], ActorId::new(0, 1), 0, true);
        replicas[1].merge(&first);
        let enable = operate(&mut replicas[0], ActorId::new(0, 1), 0, true);
        let disable = operate(&mut replicas[1], ActorId::new(1, 1), 0, false);
        replicas[0].merge(&disable);
        replicas[1].merge(&enable);
        assert_eq!(replicas[0], replicas[1]);
        assert_eq!(replicas[0].store.is_enabled(wins), on, "{wins:?}");
        operate(&mut replicas[1], ActorId::new(1, 1), 0, true);
        assert!(replicas[1].store.is_enabled(wins), "an enable that saw both settles it");
    }
}

#[test]
fn the_walk_cursor_visits_each_live_element_once_in_byte_order() {
    let mut set = AwSet::new();
    for element in [b"b".as_slice(), b"", b"ab", b"a"] {
        assert_eq!(set.insert(element, Dot::new(ActorId::new(1, 1), 1)), Some(1));
    }
    let mut seen: Vec<Vec<u8>> = Vec::new();
    while let Some((element, _)) = set.next_element(seen.last().map(Vec::as_slice)) {
        seen.push(element.to_vec());
        if seen.len() == 2 {
            assert!(
                set.remove(b"a", Dot::new(ActorId::new(1, 1), 1)).is_some(),
                "the walk goes on from a removed element"
            );
        }
    }
    assert_eq!(seen, [b"".as_slice(), b"a", b"ab", b"b"]);
    assert_eq!((set.contains(b"a"), set.len()), (false, 3));
}

#[test]
fn a_flag_has_no_other_elements() {
    let mut flag = Flag::new();
    assert_eq!(flag.insert(b"\x02", Dot::new(ActorId::new(1, 1), 1)), None);
    assert_eq!(flag.insert(b"", Dot::new(ActorId::new(1, 1), 1)), None);
    assert!(flag.is_empty() && flag.next_element(None).is_none());
}

#[test]
fn a_sync_of_an_element_reports_each_change_once() {
    let dot = |seq| Dot::new(ActorId::new(1, 1), seq);
    let mut set = AwSet::new();
    for seq in [1, 2, 3] {
        set.insert(b"x", dot(seq));
    }
    // The sender has 3 and 4, has seen that 1 is gone, and knows nothing of 2.
    let (mut changes, mut asked) = (Vec::new(), Vec::new());
    set.join_element(
        b"x",
        &[dot(3), dot(4), dot(5)],
        &mut |dot| dot.seq != 2,
        &mut |dot| {
            asked.push(dot.seq);
            dot.seq != 5
        },
        &mut |dot, inserted| changes.push((dot.seq, inserted)),
    );
    assert_eq!(set.dots(b"x"), [dot(2), dot(3), dot(4)]);
    assert_eq!(changes, [(4, true), (1, false)]);
    assert_eq!(asked, [4, 5], "what is live here already needs no admission");
}

#[test]
fn states_that_differ_are_not_equal() {
    let (actor, dot) = (ActorId::new(1, 1), |seq| Dot::new(ActorId::new(1, 1), seq));
    let (mut few, mut many, mut one) = (DotSet::new(), DotSet::new(), Counter::new());
    assert!(few.insert(dot(1)) && [1, 2, 3].into_iter().all(|seq| many.insert(dot(seq))));
    assert_ne!(few, many);
    assert!(many.remove(dot(2)) && many.remove(dot(3)));
    assert_eq!(few, many, "where the dots are kept does not matter");
    one.add(actor, 1);
    assert_ne!(one, Counter::new());
}
