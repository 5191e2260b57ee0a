use lattice_crdt::{DISABLE_ELEMENT, Dot, ENABLE_ELEMENT, Hlc, Kind};
use lattice_wire::{Dots, Op};

use super::scene::{KEY, Scene, actor, dot, encode, vector};
use crate::oracle::{Breach, History, KeyId, Replica, Shown};

const OFF: Shown<'static> = Shown::Word(0);
const ON: Shown<'static> = Shown::Word(1);

fn add_of(element: &[u8]) -> Vec<u8> {
    encode(Kind::Set, KEY, Op::Add { element, superseded: Dots::EMPTY }, actor(1))
}

#[test]
fn a_dot_is_never_used_twice_and_none_is_left_out() {
    let mut history = History::new();
    assert!(history.is_empty());
    history.witness(dot(1, 1), &add_of(b"a")).unwrap();
    let again = history.witness(dot(1, 1), &add_of(b"a")).unwrap_err();
    let other = history.witness(dot(1, 1), &add_of(b"b")).unwrap_err();
    assert_eq!((again.breach, other.breach), (Breach::DotReused, Breach::DotReused));
    assert!(again.shown.starts_with("the same") && other.shown.starts_with("another"));
    assert_eq!(history.witness(dot(1, 3), &add_of(b"b")).unwrap_err().breach, Breach::DotSkipped);
    assert_eq!(history.witness(dot(1, 0), &add_of(b"b")).unwrap_err().breach, Breach::DotSkipped);
    assert_eq!(history.len(), 1);
    history.witness(dot(1, 2), &add_of(b"b")).unwrap();
    assert!(!history.is_empty() && history.len() == 2);
}

#[test]
fn a_record_that_no_engine_may_write_is_a_bad_record() {
    let mut history = History::new();
    let mut long = add_of(b"a");
    long.push(0);
    assert_eq!(history.witness(dot(1, 1), &long).unwrap_err().breach, Breach::BadRecord);
    assert_eq!(history.witness(dot(1, 1), &[]).unwrap_err().breach, Breach::BadRecord);

    let mut counter = Scene::of(Kind::Counter);
    counter.counter(1, 5);
    let back = Op::Counter { increments: 4, decrements: 9 };
    let absurd = Op::Counter { increments: u128::MAX, decrements: 0 };
    assert_eq!(counter.log(1, back), Err(Breach::BadRecord));
    assert_eq!(counter.log(2, absurd), Err(Breach::BadRecord), "a first one is checked too");
}

#[test]
fn an_actors_stamps_of_a_register_only_grow() {
    let mut register = Scene::of(Kind::Register);
    register.register(1, 7, b"a");
    assert_eq!(register.log(1, Op::Register { hlc: Hlc::from_u64(7), value: b"b" }), Err(Breach::BadRecord));
    assert!(register.log(2, Op::Register { hlc: Hlc::from_u64(3), value: b"b" }).is_ok(), "another actor's");
}

#[test]
fn only_adds_that_were_are_removed() {
    let mut set = Scene::of(Kind::Set);
    let a = set.add(1, b"a", &[]);
    let remove = |element, dots: &'static [Dot]| Op::Remove { element, removed: Dots::from(dots) };
    let unknown: &'static [Dot] = Box::leak(Box::new([dot(2, 9)]));
    let known: &'static [Dot] = Box::leak(Box::new([a]));
    assert_eq!(set.log(1, remove(b"a", unknown)), Err(Breach::UnknownDotRemoved));
    assert_eq!(set.log(1, remove(b"b", known)), Err(Breach::BadRecord), "an add of another element");
    let removal = set.remove(1, b"a", &[a]);
    let removals: &'static [Dot] = Box::leak(Box::new([removal]));
    assert_eq!(set.log(1, remove(b"a", removals)), Err(Breach::BadRecord), "no add at all");
}

#[test]
fn a_vector_covers_what_was_and_does_not_go_back() {
    let mut scene = Scene::of(Kind::Counter);
    let dots = [scene.counter(1, 1), scene.counter(1, 2), scene.counter(1, 3), scene.counter(2, 1)];
    let mut cover = |dots: &[Dot]| scene.replica.cover(&scene.history, &vector(dots)).map_err(|v| v.breach);
    assert_eq!(cover(&[dots[0], dots[2]]), Ok(()));
    assert_eq!(cover(&[dots[0], dots[1]]), Err(Breach::VectorWentBack), "a range is gone");
    let mut replica = Replica::new();
    let mut cover = |dots: &[Dot]| replica.cover(&scene.history, &vector(dots)).map_err(|v| v.breach);
    assert_eq!(cover(&dots), Ok(()));
    assert_eq!(cover(&dots[..3]), Err(Breach::VectorWentBack), "an actor is gone");
    let mut replica = Replica::new();
    let mut cover = |dots: &[Dot]| replica.cover(&scene.history, &vector(dots)).map_err(|v| v.breach);
    assert_eq!(cover(&dots[..3]), Ok(()));
    assert_eq!(cover(&[dots[0], dots[1], dots[3]]), Err(Breach::VectorWentBack), "the last seq is gone");
    assert_eq!(cover(&[dot(7, 1)]), Err(Breach::VectorWentBack), "all are gone");
    let mut replica = Replica::new();
    let mut cover = |dots: &[Dot]| replica.cover(&scene.history, &vector(dots)).map_err(|v| v.breach);
    assert_eq!(cover(&[dot(2, 1), dot(2, 2)]), Err(Breach::UnknownDotCovered));
    assert_eq!(cover(&[dot(3, 1)]), Err(Breach::UnknownDotCovered));
}

#[test]
fn covering_says_which_keys_changed_and_each_once() {
    let mut scene = Scene::of(Kind::Counter);
    let first = scene.counter(1, 1);
    let second = scene.counter(1, 3);
    let other = encode(Kind::Set, b"other", Op::Add { element: b"e", superseded: Dots::EMPTY }, actor(2));
    scene.history.witness(dot(2, 1), &other).unwrap();
    let names = |scene: &mut Scene| {
        let mut changed = Vec::<KeyId>::new();
        scene.replica.take_changed(&mut changed);
        changed.iter().map(|&key| scene.history.name(key).1.to_vec()).collect::<Vec<_>>()
    };
    scene.sees(&[first, second]);
    assert_eq!(names(&mut scene), [KEY.to_vec()]);
    scene.sees(&[first, second]);
    assert!(names(&mut scene).is_empty());
    scene.may_show(&[dot(2, 1)]);
    assert_eq!(names(&mut scene), [b"other".to_vec()]);
    scene.sees(&[first, second, dot(2, 1)]);
    assert_eq!(names(&mut scene), [b"other".to_vec()]);
    assert!(scene.replica.has_seen(&scene.history, dot(2, 1)) && scene.replica.seen() == 3);
    assert!(!scene.replica.has_seen(&scene.history, dot(2, 2)));
}

#[test]
fn a_counter_is_the_sum_of_each_actors_last_record() {
    let mut scene = Scene::of(Kind::Counter);
    let one = scene.counter(1, 10);
    let two = scene.counter(1, 15);
    let minus = scene.counter(2, -4);
    let unseen = scene.counter(3, 100);
    scene.sees(&[one, two, minus]);
    assert_eq!(scene.wrong_sum(11), None);
    assert_eq!(scene.wrong_sum(6), Some((Breach::Lost, vec![one])), "actor 1 stands at its first record");
    assert_eq!(scene.wrong_sum(15), Some((Breach::Lost, vec![minus])));
    assert_eq!(scene.wrong_sum(16), Some((Breach::CountedTwice, vec![two])));
    assert_eq!(scene.wrong_sum(7), Some((Breach::CountedTwice, vec![minus])));
    assert_eq!(scene.wrong_sum(111), Some((Breach::Phantom, vec![unseen])));
    assert_eq!(scene.wrong_sum(12), Some((Breach::WrongSum, vec![])));
    assert_eq!(scene.wrong(Shown::Nothing).map(|(breach, _)| breach), Some(Breach::WrongSum));
    assert_eq!(scene.wrong(Shown::Bytes(b"")).map(|(breach, _)| breach), Some(Breach::WrongShape));
}

#[test]
fn a_later_record_stands_for_an_earlier_one_that_is_missing() {
    let mut scene = Scene::of(Kind::Counter);
    scene.counter(1, 10);
    let two = scene.counter(1, 15);
    scene.sees(&[two]);
    assert_eq!(scene.wrong_sum(15), None);
    assert!(scene.wrong_sum(5).is_some() && scene.wrong_sum(10).is_some());
}

#[test]
fn a_sum_beyond_i64_shows_as_the_nearest() {
    let mut scene = Scene::of(Kind::Counter);
    let dots = [scene.counter(1, i64::MAX), scene.counter(2, i64::MAX), scene.counter(3, i64::MIN)];
    scene.sees(&dots[..2]);
    assert_eq!(scene.wrong_sum(i64::MAX), None);
    assert!(scene.wrong_sum(-2).is_some(), "wrapped");
    scene.sees(&dots);
    assert_eq!(scene.wrong_sum(i64::MAX - 1), None);
}

#[test]
fn a_sync_may_show_each_actors_later_records_in_any_mixture_and_nothing_else() {
    let mut scene = Scene::of(Kind::Counter);
    let seen = [scene.counter(1, 1), scene.counter(2, 10)];
    let ahead = [scene.counter(1, 3), scene.counter(1, 4), scene.counter(2, 20), scene.counter(3, 100)];
    scene.sees(&seen);
    scene.may_show(&ahead);
    let allowed: Vec<i64> = (0..200).filter(|&sum| scene.wrong_sum(sum).is_none()).collect();
    let mut expected: Vec<i64> = Vec::new();
    for first in [1, 3, 4] {
        for second in [10, 20] {
            expected.extend([0, 100].map(|third| first + second + third));
        }
    }
    expected.sort_unstable();
    assert_eq!(allowed, expected);
    scene.sees(&[seen[0], ahead[0], ahead[1], seen[1]]);
    assert!(scene.wrong_sum(13).is_some() && scene.wrong_sum(14).is_none());
}

#[test]
fn so_many_mixtures_that_only_their_ends_count() {
    let mut scene = Scene::of(Kind::Counter);
    let ahead: Vec<Dot> = (1..14).map(|node| scene.counter(node, 1 << node)).collect();
    scene.may_show(&ahead);
    assert!(scene.wrong_sum((1 << 14) - 2).is_none() && scene.wrong_sum(0).is_none());
    assert!(scene.wrong_sum(1 << 14).is_some() && scene.wrong_sum(-1).is_some());
}

#[test]
fn a_register_has_its_last_writer() {
    let mut scene = Scene::of(Kind::Register);
    let old = scene.register(2, 5, b"old");
    let new = scene.register(1, 9, b"new");
    let unseen = scene.register(3, 20, b"unseen");
    assert_eq!(scene.wrong(Shown::Nothing), None);
    assert_eq!(scene.wrong(Shown::Bytes(b"old")), Some((Breach::Phantom, vec![old])));
    scene.sees(&[old, new]);
    assert_eq!(scene.wrong(Shown::Bytes(b"new")), None);
    assert_eq!(scene.wrong(Shown::Bytes(b"old")), Some((Breach::StaleRegister, vec![new, old])));
    assert_eq!(scene.wrong(Shown::Bytes(b"unseen")), Some((Breach::Phantom, vec![new, unseen])));
    assert_eq!(scene.wrong(Shown::Bytes(b"mixed")), Some((Breach::Phantom, vec![new])));
    assert_eq!(scene.wrong(Shown::Nothing), Some((Breach::Lost, vec![new])));
    scene.may_show(&[unseen]);
    assert_eq!(scene.wrong(Shown::Bytes(b"unseen")), None);
    assert_eq!(scene.wrong(Shown::Bytes(b"new")), None);
    assert!(scene.wrong(Shown::Bytes(b"old")).is_some());
    scene.sees(&[old, new, unseen]);
    assert_eq!(scene.wrong(Shown::Bytes(b"new")), Some((Breach::StaleRegister, vec![unseen, new])));
}

#[test]
fn of_two_writes_at_one_time_the_greater_actors_stays() {
    let mut scene = Scene::of(Kind::Register);
    let dots = [scene.register(2, 5, b"two"), scene.register(1, 5, b"one")];
    scene.sees(&dots);
    assert_eq!(scene.wrong(Shown::Bytes(b"two")), None);
    assert_eq!(scene.wrong(Shown::Bytes(b"one")), Some((Breach::StaleRegister, vec![dots[0], dots[1]])));
    scene.may_show(&dots);
    assert!(scene.wrong(Shown::Bytes(b"one")).is_some(), "what is seen already is not ahead");
}

#[test]
fn a_set_has_the_elements_with_a_live_add() {
    let mut scene = Scene::of(Kind::Set);
    let a = scene.add(1, b"a", &[]);
    let b = scene.add(1, b"b", &[]);
    let gone = scene.remove(2, b"a", &[a]);
    let unseen = scene.add(3, b"c", &[]);
    scene.sees(&[a, b]);
    assert_eq!(scene.wrong_members(&[b"a", b"b"]), None);
    assert_eq!(scene.wrong_members(&[b"b"]), Some((Breach::Lost, vec![a])));
    assert_eq!(scene.wrong_members(&[b"a", b"b", b"c"]), Some((Breach::Phantom, vec![unseen])));
    assert_eq!(scene.wrong_members(&[b"a", b"b", b"never"]), Some((Breach::Phantom, vec![])));
    scene.sees(&[a, b, gone]);
    assert_eq!(scene.wrong_members(&[b"b"]), None);
    assert_eq!(scene.wrong_members(&[b"a", b"b"]), Some((Breach::Resurrected, vec![a])));
    let key = scene.history.find(Kind::Set, KEY).unwrap();
    let twice = scene.replica.check_set(&scene.history, key, [b"b", b"b"]);
    assert_eq!(twice.unwrap_err().breach, Breach::ListedTwice);
    assert_eq!(scene.wrong(Shown::Nothing), Some((Breach::Lost, vec![b])));
}

#[test]
fn a_removal_holds_before_the_add_that_it_removes_has_come() {
    let mut scene = Scene::of(Kind::Set);
    let a = scene.add(1, b"a", &[]);
    let gone = scene.remove(2, b"a", &[a]);
    scene.sees(&[gone]);
    assert_eq!(scene.wrong_members(&[]), None);
    scene.may_show(&[a]);
    assert_eq!(scene.wrong_members(&[b"a"]), Some((Breach::Resurrected, vec![a])));
    scene.sees(&[gone, a]);
    assert_eq!(scene.wrong_members(&[b"a"]), Some((Breach::Resurrected, vec![a])));
    let anew = scene.add(3, b"a", &[]);
    scene.sees(&[gone, a, anew]);
    assert_eq!(scene.wrong_members(&[]), Some((Breach::Lost, vec![anew])));
}

#[test]
fn what_a_sync_may_have_brought_is_free_and_nothing_else() {
    let mut scene = Scene::of(Kind::Set);
    let a = scene.add(1, b"a", &[]);
    let b = scene.add(1, b"b", &[]);
    let removed = scene.remove(2, b"a", &[a]);
    let c = scene.add(2, b"c", &[]);
    scene.sees(&[a, b]);
    scene.may_show(&[removed, c]);
    for free in [&[b"b" as &[u8]] as &[&[u8]], &[b"a", b"b"], &[b"b", b"c"], &[b"a", b"b", b"c"]] {
        assert_eq!(scene.wrong_members(free), None, "{free:?}");
    }
    assert_eq!(scene.wrong_members(&[b"a"]), Some((Breach::Lost, vec![b])));
    scene.sees(&[a, b, removed, c]);
    assert_eq!(scene.wrong_members(&[b"b", b"c"]), None);
    assert!(scene.wrong_members(&[b"b"]).is_some() && scene.wrong_members(&[b"a", b"b", b"c"]).is_some());
}

#[test]
fn a_host_that_syncs_from_another_may_show_all_that_that_one_may() {
    let mut scene = Scene::of(Kind::Set);
    let a = scene.add(1, b"a", &[]);
    let b = scene.add(2, b"b", &[]);
    let c = scene.add(3, b"c", &[]);
    let mut sender = Replica::new();
    sender.cover(&scene.history, &vector(&[a])).unwrap();
    sender.may_show(&scene.history, &vector(&[b]));
    scene.replica.may_show_all_of(&scene.history, &sender);
    assert_eq!(scene.wrong_members(&[b"a", b"b"]), None);
    assert_eq!(scene.wrong_members(&[]), None);
    assert_eq!(scene.wrong_members(&[b"c"]), Some((Breach::Phantom, vec![c])));
}

#[test]
fn one_element_can_be_checked_alone() {
    let mut scene = Scene::of(Kind::Set);
    let a = scene.add(1, b"a", &[]);
    scene.sees(&[a]);
    let key = scene.history.find(Kind::Set, KEY).unwrap();
    let mut check = |element: &[u8], shown| {
        scene.replica.check_member(&scene.history, key, element, shown).map_err(|violation| violation.breach)
    };
    assert_eq!((check(b"a", true), check(b"z", false)), (Ok(()), Ok(())));
    assert_eq!((check(b"a", false), check(b"z", true)), (Err(Breach::Lost), Err(Breach::Phantom)));
}

#[test]
fn an_enable_wins_flag() {
    let mut scene = Scene::of(Kind::FlagEnableWins);
    assert_eq!(scene.wrong(ON), Some((Breach::Phantom, vec![])));
    let on = scene.add(1, ENABLE_ELEMENT, &[]);
    assert_eq!(scene.wrong(ON), Some((Breach::Phantom, vec![on])), "not seen yet");
    let off = scene.remove(2, ENABLE_ELEMENT, &[on]);
    let concurrent = scene.add(3, ENABLE_ELEMENT, &[]);
    scene.sees(&[on]);
    assert_eq!((scene.wrong(ON), scene.wrong(OFF)), (None, Some((Breach::Lost, vec![on]))));
    scene.sees(&[on, off]);
    assert_eq!((scene.wrong(OFF), scene.wrong(ON)), (None, Some((Breach::Resurrected, vec![on]))));
    scene.may_show(&[concurrent]);
    assert_eq!((scene.wrong(OFF), scene.wrong(ON)), (None, None));
    scene.sees(&[on, off, concurrent]);
    assert_eq!((scene.wrong(ON), scene.wrong(OFF)), (None, Some((Breach::Lost, vec![concurrent]))));
    assert_eq!(scene.wrong(Shown::Word(2)).map(|(breach, _)| breach), Some(Breach::WrongShape));
}

#[test]
fn a_disable_wins_flag() {
    let mut scene = Scene::of(Kind::FlagDisableWins);
    let on = scene.add(1, ENABLE_ELEMENT, &[]);
    let off = scene.add(2, DISABLE_ELEMENT, &[]);
    let settled = scene.add(1, ENABLE_ELEMENT, &[on, off]);
    scene.sees(&[on]);
    assert_eq!((scene.wrong(ON), scene.wrong(OFF)), (None, Some((Breach::Lost, vec![on]))));
    scene.may_show(&[off]);
    assert_eq!((scene.wrong(ON), scene.wrong(OFF)), (None, None));
    scene.sees(&[on, off]);
    assert_eq!((scene.wrong(OFF), scene.wrong(ON)), (None, Some((Breach::Lost, vec![off]))));
    scene.sees(&[on, off, settled]);
    assert_eq!((scene.wrong(ON), scene.wrong(OFF)), (None, Some((Breach::Lost, vec![settled]))));
}

#[test]
fn a_key_that_nobody_wrote_shows_nothing() {
    let mut scene = Scene::of(Kind::Set);
    let none = std::collections::BTreeSet::new();
    assert_eq!((scene.wrong(Shown::Nothing), scene.wrong(Shown::Members(&none))), (None, None));
    assert_eq!(scene.wrong_members(&[b"x"]), Some((Breach::Phantom, vec![])));
    let mut counter = Scene::of(Kind::Counter);
    assert_eq!((counter.wrong_sum(0), counter.wrong_sum(1)), (None, Some((Breach::Phantom, vec![]))));
    let mut register = Scene::of(Kind::Register);
    assert_eq!(
        register.wrong(Shown::Bytes(b"")),
        Some((Breach::Phantom, vec![])),
        "the empty value is a value"
    );
}

#[test]
fn a_whole_host_must_show_each_key_that_has_something() {
    let mut scene = Scene::of(Kind::Counter);
    let one = scene.counter(1, 4);
    scene.sees(&[one]);
    let mut check = |view: &[(Kind, &'static [u8], Shown<'static>)]| {
        let view = view.iter().copied();
        scene.replica.check_host(&scene.history, view).map_err(|violation| violation.breach)
    };
    assert_eq!(check(&[(Kind::Counter, KEY, Shown::Word(4))]), Ok(()));
    assert_eq!(check(&[]), Err(Breach::Lost), "after it was met before");
    let stranger = (Kind::Register, b"x" as &[u8], Shown::Bytes(b"v"));
    assert_eq!(check(&[(Kind::Counter, KEY, Shown::Word(4)), stranger]), Err(Breach::Phantom));
}

#[test]
fn a_violation_says_where_and_what() {
    let mut scene = Scene::of(Kind::Set);
    let a = scene.add(1, b"a", &[]);
    let gone = scene.remove(2, b"a", &[a]);
    scene.sees(&[a, gone]);
    let members = [b"a".to_vec()].into();
    let text = scene.check(Shown::Members(&members)).unwrap_err().to_string();
    assert_eq!(
        text,
        "Resurrected at set `k`: expected no `a`: added by 1.00000000000e:1, removed by 2.00000000000e:1; \
         shown `a`; dots 1.00000000000e:1"
    );
}
