//! The version vector against a plain set of dots: same answers, canonical form, and limits that hold.

use std::collections::BTreeSet;

use lattice_crdt::{ActorId, Dot, SeqRange, VectorError, VectorLimits, VersionVector};
use proptest::prelude::*;

const LIMITS: VectorLimits = VectorLimits { max_actors: 3, max_ranges_per_actor: 2 };

#[derive(Clone, Debug)]
enum Step {
    Cover(Dot),
    Range(ActorId, SeqRange),
}

fn seq() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0u64..14, 1 => u64::MAX - 3..=u64::MAX]
}

fn step() -> impl Strategy<Value = Step> {
    let actor = (0u16..5).prop_map(|node| ActorId::new(node, 1));
    prop_oneof![
        6 => (actor.clone(), seq()).prop_map(|(actor, seq)| Step::Cover(Dot::new(actor, seq))),
        1 => (actor, 0u64..14, 0u64..5).prop_map(|(actor, first, len)| {
            Step::Range(actor, SeqRange { first, last: (first + len).saturating_sub(1) })
        }),
    ]
}

/// Ascending, disjoint, not adjacent, beyond the contiguous part: one form for one set.
fn assert_canonical(vector: &VersionVector) -> Result<(), TestCaseError> {
    let actors: Vec<ActorId> = vector.iter().map(|(actor, _)| actor).collect();
    prop_assert!(actors.is_sorted() && actors.windows(2).all(|pair| pair[0] != pair[1]));
    for (_, clock) in vector.iter() {
        prop_assert!(clock.contiguous() > 0 || !clock.ranges().is_empty(), "an empty clock is stored");
        let mut end = clock.contiguous();
        for range in clock.ranges() {
            prop_assert!(range.first <= range.last && range.first > end.saturating_add(1), "{clock:?}");
            end = range.last;
        }
        prop_assert_eq!(clock.highest(), end);
    }
    Ok(())
}

proptest! {
    #[test]
    fn behaves_like_a_set_of_dots(steps in proptest::collection::vec(step(), 0..60)) {
        let mut vector = VersionVector::new(LIMITS);
        let mut model = BTreeSet::new();
        for step in steps {
            match step {
                Step::Range(actor, range) => {
                    vector.cover_range(actor, range);
                    model.extend((range.first.max(1)..=range.last).map(|seq| Dot::new(actor, seq)));
                }
                Step::Cover(dot) => {
                    let before = vector.clone();
                    let checked = vector.check(dot);
                    let mut in_run = vector.clone();
                    let place = vector.place(dot.actor);
                    let is_next = place.is_some_and(|place| in_run.cover_next(place, dot));
                    let clock = before.clock(dot.actor);
                    let gapless = clock.is_some_and(|clock| clock.ranges().is_empty());
                    prop_assert_eq!(is_next, gapless && before.contiguous(dot.actor) + 1 == dot.seq);
                    let covered = vector.cover(dot);
                    prop_assert_eq!(checked, covered);
                    prop_assert_eq!(&in_run, if is_next { &vector } else { &before });
                    match covered {
                        Ok(new) => {
                            prop_assert_eq!(new, dot.seq > 0 && model.insert(dot));
                            let ranges = |vector: &VersionVector| vector.clock(dot.actor).map_or(0, |c| c.ranges().len());
                            prop_assert!(ranges(&vector) <= ranges(&before).max(2), "over the limit");
                            prop_assert!(vector.len() <= before.len().max(3), "over the limit");
                        }
                        Err(error) => {
                            prop_assert_eq!(&vector, &before, "an error changes nothing");
                            let known = before.clock(dot.actor);
                            match error {
                                VectorError::TooManyActors => prop_assert!(known.is_none() && before.len() >= 3),
                                VectorError::TooManyRanges => {
                                    prop_assert!(known.is_some_and(|c| c.ranges().len() >= 2));
                                    let beside = [dot.seq - 1, dot.seq.saturating_add(1)];
                                    let grows = beside.map(|seq| before.contains(Dot::new(dot.actor, seq)));
                                    prop_assert_eq!(grows, [false; 2], "a range may grow at the limit");
                                }
                            }
                        }
                    }
                }
            }
            assert_canonical(&vector)?;
            for (actor, clock) in vector.iter() {
                for seq in (0..20).chain(u64::MAX - 4..=u64::MAX) {
                    let dot = Dot::new(actor, seq);
                    prop_assert_eq!(vector.contains(dot), seq == 0 || model.contains(&dot));
                    prop_assert_eq!(clock.contains(seq), vector.contains(dot));
                }
            }
        }
        let mut again = VersionVector::new(VectorLimits { max_actors: 9, max_ranges_per_actor: 99 });
        for dot in model.iter().rev() {
            prop_assert_eq!(again.cover(*dot), Ok(true));
        }
        prop_assert_eq!(again, vector, "the order in which dots came leaves no trace");
    }
}

#[test]
fn the_contiguous_part_never_moves_over_a_gap() {
    let actor = ActorId::new(1, 1);
    let mut vector = VersionVector::new(LIMITS);
    for seq in [1, 3, 5] {
        assert_eq!(vector.cover(Dot::new(actor, seq)), Ok(true));
    }
    assert_eq!((vector.contiguous(actor), vector.contains(Dot::new(actor, 4))), (1, false));
    assert_eq!(vector.cover(Dot::new(actor, 7)), Err(VectorError::TooManyRanges));
    assert_eq!(vector.cover(Dot::new(actor, 6)), Ok(true), "a range may grow at the limit");
    assert_eq!(vector.cover(Dot::new(actor, 4)), Ok(true), "and two may become one");
    assert_eq!(vector.cover(Dot::new(actor, 2)), Ok(true));
    assert_eq!(vector.contiguous(actor), 6);
    assert_eq!(vector.contiguous(ActorId::new(2, 1)), 0);
}

#[test]
fn many_actors_are_found_as_few_are() {
    let mut vector = VersionVector::new(VectorLimits { max_actors: 100, max_ranges_per_actor: 1 });
    for node in (0..100).rev() {
        assert_eq!(vector.cover(Dot::new(ActorId::new(node, 1), 1)), Ok(true));
    }
    assert_eq!(vector.cover(Dot::new(ActorId::new(100, 1), 1)), Err(VectorError::TooManyActors));
    assert!(!vector.is_empty() && VersionVector::new(LIMITS).is_empty());
    assert_ne!(vector, VersionVector::new(LIMITS));
    assert!((0..100).all(|node| vector.contains(Dot::new(ActorId::new(node, 1), 1))));
    assert!(vector.iter().map(|(actor, _)| actor.node()).eq(0..100));
}

#[test]
fn without_room_for_ranges_operations_come_in_order_or_not_at_all() {
    let mut vector = VersionVector::new(VectorLimits { max_actors: 2, max_ranges_per_actor: 0 });
    for node in [1, 2] {
        let dot = |seq| Dot::new(ActorId::new(node, 1), seq);
        assert_eq!(vector.cover(dot(2)), Err(VectorError::TooManyRanges), "of an actor that is new");
        assert_eq!(vector.cover(dot(1)), Ok(true));
        assert_eq!(vector.cover(dot(3)), Err(VectorError::TooManyRanges));
        assert_eq!(vector.cover(dot(2)), Ok(true));
    }
}
