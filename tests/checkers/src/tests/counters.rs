use super::story::{Story, two_nodes};
use crate::{Action, Demands, Outcome, Problem, Verdict, check_g_counter, check_pn_counter};

type Counter = Story<i64>;

fn pn(story: &Counter) -> Verdict {
    check_pn_counter(&story.history, &two_nodes())
}

fn grow(story: &Counter) -> Verdict {
    check_g_counter(&story.history, &two_nodes())
}

/// Without availability: some adds have no answer.
fn lenient() -> Demands {
    Demands { availability: false, ..two_nodes() }
}

#[test]
fn the_sum_of_all_that_was_acknowledged() {
    let story = Counter::new().add(0, 5).add(1, -3).read(0, 5).read(1, -3).last(0, 2).last(1, 2);
    assert!(pn(&story).is_valid(), "{}", pn(&story));
    let story = Counter::new().add(0, 5).add(1, 3).read(0, 5).read(0, 8).last(0, 8).last(1, 8);
    assert!(grow(&story).is_valid() && pn(&story).is_valid());
    assert_eq!((grow(&story).attempted, grow(&story).acknowledged, grow(&story).reads), (2, 2, 4));
}

#[test]
fn a_final_read_that_is_no_sum() {
    let story = Counter::new().add(0, 5).add(1, -3).last(0, 2).last(1, 7);
    let wrong = Problem::WrongSum { value: 7, possible: vec![(2, 2)], node: 1 };
    let found = pn(&story).problems;
    assert!(found.contains(&wrong) && found.contains(&Problem::FinalReadsDiffer { node: 0, other: 1 }));
}

#[test]
fn adds_without_an_answer_may_count_or_not_but_everywhere_alike() {
    let unknown =
        || Counter::new().add(0, 1).add_with(1, 10, Outcome::Unknown).add_with(0, 100, Outcome::Unknown);
    for sum in [1, 11, 101, 111] {
        let story = unknown().last(0, sum).last(1, sum);
        assert!(check_pn_counter(&story.history, &lenient()).is_valid(), "{sum}");
    }
    for sum in [2, 10, 12, 100] {
        let story = unknown().last(0, sum).last(1, sum);
        let found = check_pn_counter(&story.history, &lenient()).problems;
        let possible = vec![(1, 1), (11, 11), (101, 101), (111, 111)];
        assert!(found.contains(&Problem::WrongSum { value: sum, possible, node: 1 }), "{sum}: {found:?}");
    }
    let story = unknown().last(0, 1).last(1, 11);
    let found = check_pn_counter(&story.history, &lenient()).problems;
    assert_eq!(found, [Problem::FinalReadsDiffer { node: 0, other: 1 }], "each is possible alone");
}

#[test]
fn a_failed_add_does_not_count() {
    let story = Counter::new().add(0, 1).add_with(0, 10, Outcome::Failed).last(0, 11).last(1, 11);
    let found = check_pn_counter(&story.history, &lenient()).problems;
    let out = |node| Problem::OutOfRange { value: 11, least: if node == 0 { 1 } else { 0 }, most: 1, node };
    assert!(found.contains(&out(0)) && found.contains(&out(1)), "{found:?}");
    let story = Counter::new().add(0, 1).add_with(0, 10, Outcome::Failed).last(0, 1).last(1, 1);
    assert!(check_pn_counter(&story.history, &lenient()).is_valid());
    assert_eq!(pn(&story).problems.len(), 1, "but it was to be available");
}

#[test]
fn a_read_in_between_lies_in_what_could_be_reached_by_then() {
    let read =
        |value| Counter::new().add(1, 5).add(1, -3).read(0, value).add(1, 100).last(0, 102).last(1, 102);
    for value in [-3, 0, 2, 5] {
        assert!(pn(&read(value)).is_valid(), "{value}");
    }
    for value in [-4, 6, 100] {
        let out = Problem::OutOfRange { value, least: -3, most: 5, node: 0 };
        assert_eq!(pn(&read(value)).problems, [out]);
    }
}

#[test]
fn a_read_may_have_what_is_being_added() {
    let mut story = Counter::new().add(0, 1);
    let add = story.begin(0, Action::Add(4));
    let mut story = story.read(1, 5);
    story.end(add, Outcome::Added);
    assert!(pn(&story.last(0, 5).last(1, 5)).is_valid());
}

#[test]
fn a_node_has_what_it_acknowledged() {
    let read = |value| Counter::new().add(0, 5).add(1, -3).read(0, value).last(0, 2).last(1, 2);
    assert!(pn(&read(5)).is_valid() && pn(&read(2)).is_valid());
    for value in [0, -3] {
        let out = Problem::OutOfRange { value, least: 2, most: 5, node: 0 };
        assert_eq!(pn(&read(value)).problems, [out]);
        let demands = Demands { sessions: false, ..two_nodes() };
        assert!(check_pn_counter(&read(value).history, &demands).is_valid());
    }
}

#[test]
fn a_grow_only_counter_grows() {
    let story = |before, after| {
        Counter::new().add(1, 2).add(1, 3).read(0, before).read(0, after).last(0, 5).last(1, 5)
    };
    assert!(grow(&story(2, 3)).is_valid());
    let back = Problem::WentBack { before: 5, value: 3, node: 0 };
    assert_eq!(grow(&story(5, 3)).problems, [back]);
    assert!(pn(&story(5, 3)).is_valid(), "of one that goes both ways nothing follows");
    let demands = Demands { sessions: false, ..two_nodes() };
    assert!(check_g_counter(&story(5, 3).history, &demands).is_valid());
    let stands = Counter::new().add(0, 2).add(0, 0).last(0, 2).last(1, 2);
    assert!(grow(&stands).is_valid(), "adding nothing takes nothing away");
    let shrinks = Counter::new().add(0, 2).add(0, -1).last(0, 1).last(1, 1);
    assert!(matches!(grow(&shrinks).problems[..], [Problem::BadHistory(_)]));
}

#[test]
fn every_node_ends_with_a_read_after_all_adds() {
    let story = Counter::new().add(0, 5).last(0, 5);
    assert_eq!(pn(&story).problems, [Problem::NoFinalRead { node: 1 }]);
    let story = Counter::new().last(0, 0).add(0, 5).last(0, 5).last(1, 5);
    assert!(pn(&story).problems.contains(&Problem::EarlyFinalRead { node: 0 }));
    assert!(pn(&Counter::new().last(0, 0).last(1, 0)).problems.contains(&Problem::ProvesNothing));
}
