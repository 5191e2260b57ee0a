use super::story::{MS, Story, two_nodes};
use crate::{Action, Demands, History, Outcome, Problem, Verdict, check_broadcast, check_g_set};

type Set = Story<Vec<i64>>;

fn verdict(story: &Set) -> Verdict {
    let verdict = check_g_set(&story.history, &two_nodes());
    assert_eq!(verdict, check_broadcast(&story.history, &two_nodes()));
    verdict
}

fn problems(story: Set) -> Vec<Problem> {
    verdict(&story).problems
}

/// Two elements that are everywhere in the end, if `last` says so.
fn added() -> Set {
    Set::new().add(0, 1).add(1, 2).read(0, [1])
}

#[test]
fn all_that_was_acknowledged_is_everywhere_in_the_end() {
    let story = added().last(0, [1, 2]).last(1, [2, 1]);
    let verdict = verdict(&story);
    assert!(verdict.is_valid(), "{verdict}");
    assert_eq!((verdict.attempted, verdict.acknowledged, verdict.reads), (2, 2, 3));
}

#[test]
fn lost_on_the_one_node_that_was_not_read_last() {
    let story = added().last(0, [1]).last(1, [1, 2]);
    assert_eq!(
        problems(story),
        [Problem::Lost { element: 2, node: 0 }, Problem::FinalReadsDiffer { node: 0, other: 1 }]
    );
}

#[test]
fn never_read_is_lost_too() {
    let story = added().last(0, [1]).last(1, [1]);
    let lost = |node| Problem::Lost { element: 2, node };
    assert_eq!(problems(story), [lost(0), lost(1), Problem::NotReadBack { element: 2, node: 1 }]);
}

#[test]
fn what_was_read_once_is_known_even_if_nobody_acknowledged_it() {
    let demands = Demands { availability: false, ..two_nodes() };
    let unknown = || Set::new().add(0, 1).add_with(1, 2, Outcome::Unknown);
    let story = unknown().read(1, [2]).last(0, [1]).last(1, [1]);
    let found = check_g_set(&story.history, &demands).problems;
    assert_eq!(found[..2], [Problem::Lost { element: 2, node: 0 }, Problem::Lost { element: 2, node: 1 }]);
    for end in [vec![1], vec![1, 2]] {
        let story = unknown().last(0, end.clone()).last(1, end);
        assert!(check_g_set(&story.history, &demands).is_valid());
    }
}

#[test]
fn a_read_of_what_nobody_added() {
    let story = added().last(0, [1, 2, 9]).last(1, [1, 2, 9]);
    let unexpected = |node| Problem::Unexpected { element: 9, node };
    assert_eq!(problems(story), [unexpected(0), unexpected(1)]);
}

#[test]
fn a_read_of_what_is_added_only_later_or_not_at_all() {
    let story = Set::new().read(0, [1]).add(0, 1).last(0, [1]).last(1, [1]);
    assert_eq!(problems(story), [Problem::Unexpected { element: 1, node: 0 }]);
    let story = Set::new().add(0, 1).add_with(0, 2, Outcome::Failed).last(0, [1, 2]).last(1, [1, 2]);
    let demands = Demands { availability: false, ..two_nodes() };
    let found = check_g_set(&story.history, &demands).problems;
    assert_eq!(found, [0, 1].map(|node| Problem::Unexpected { element: 2, node }));
}

#[test]
fn a_read_may_have_what_is_being_added() {
    let mut story = Set::new();
    let add = story.begin(0, Action::Add(1));
    let mut story = story.read(1, [1]);
    story.end(add, Outcome::Added);
    assert!(verdict(&story.last(0, [1]).last(1, [1])).is_valid());
}

#[test]
fn an_element_twice_in_one_read() {
    let story = added().last(0, [1, 2, 2]).last(1, [1, 2]);
    assert_eq!(problems(story), [Problem::Duplicate { element: 2, node: 0 }]);
}

#[test]
fn a_node_forgets_what_it_showed_or_acknowledged() {
    let shown = added().read(0, [1, 2]).read(0, [1]).last(0, [1, 2]).last(1, [1, 2]);
    assert_eq!(problems(shown), [Problem::Vanished { element: 2, node: 0 }]);
    let acknowledged = added().read(1, []).last(0, [1, 2]).last(1, [1, 2]);
    assert_eq!(problems(acknowledged), [Problem::NotReadBack { element: 2, node: 1 }]);
    let other_node = added().read(1, [2, 1]).read(0, [1]).last(0, [1, 2]).last(1, [1, 2]);
    assert!(verdict(&other_node).is_valid(), "stale is no problem");
    let demands = Demands { sessions: false, ..two_nodes() };
    let story = added().read(0, [1, 2]).read(0, []).last(0, [1, 2]).last(1, [1, 2]);
    assert!(check_g_set(&story.history, &demands).is_valid());
}

#[test]
fn reads_of_a_node_that_overlap_may_see_different_things() {
    let mut story = Set::new().add(0, 1);
    let slow = story.history.invoke(2 * MS, 7, 1, Action::Read);
    let mut story = story.read(1, [1]);
    story.end(slow, Outcome::Read(vec![]));
    assert!(verdict(&story.last(0, [1]).last(1, [1])).is_valid());
}

#[test]
fn final_reads_are_of_every_node_and_after_all_adds() {
    let story = added().last(1, [1, 2]);
    assert_eq!(problems(story), [Problem::NoFinalRead { node: 0 }]);
    let mut story = added().last(0, [1, 2]).last(1, [1, 2]);
    let failed = story.begin(0, Action::FinalRead);
    story.end(failed, Outcome::Failed);
    assert_eq!(problems(story).len(), 1, "only that it failed");
    let story = added().last(0, [1, 2]).add(1, 3).last(0, [1, 2, 3]).last(1, [1, 2, 3]);
    assert!(problems(story).contains(&Problem::EarlyFinalRead { node: 0 }));
}

#[test]
fn total_availability_is_that_everything_succeeds() {
    for outcome in [Some(Outcome::Failed), Some(Outcome::Unknown), None] {
        let mut story = added();
        let refused = story.begin(0, Action::Add(3));
        if let Some(outcome) = outcome {
            story.end(refused, outcome);
        }
        let read = story.history.invoke(9 * MS, 5, 0, Action::Read);
        story.history.complete(read, 10 * MS, Outcome::Unknown);
        // By other processes, for the first one may be waiting for ever.
        for (process, node) in [(8, 0), (9, 1)] {
            let read = story.history.invoke(20 * MS, process, node, Action::FinalRead);
            story.history.complete(read, 20 * MS, Outcome::Read(vec![1, 2]));
        }
        let unavailable = |at| Problem::Unavailable { node: 0, invoked_ns: at * MS };
        assert_eq!(verdict(&story).problems, [unavailable(7), unavailable(9)]);
        let demands = Demands { availability: false, ..two_nodes() };
        assert!(check_g_set(&story.history, &demands).is_valid());
    }
}

#[test]
fn nothing_proves_nothing() {
    assert!(problems(Set::new()).contains(&Problem::ProvesNothing));
    assert!(problems(Set::new().add(0, 1)).contains(&Problem::ProvesNothing), "no read");
    assert!(problems(Set::new().last(0, []).last(1, [])).contains(&Problem::ProvesNothing), "no add");
}

#[test]
fn what_is_no_history_is_not_judged_valid() {
    let is_bad = |story: Set| {
        let found = problems(story.last(0, [1, 2]).last(1, [1, 2]));
        assert!(matches!(found[..], [Problem::BadHistory(_)]), "{found:?}");
    };
    is_bad(added().add(0, 1));
    let mut two_at_once = added();
    let first = two_at_once.begin(0, Action::Read);
    let second = two_at_once.begin(0, Action::Read);
    two_at_once.end(first, Outcome::Read(vec![1]));
    two_at_once.end(second, Outcome::Read(vec![1]));
    is_bad(two_at_once);
    let mut twice = added();
    let read = twice.begin(0, Action::Read);
    twice.end(read, Outcome::Read(vec![1]));
    twice.end(read, Outcome::Read(vec![1]));
    is_bad(twice);
    let mut other = added();
    let read = other.begin(0, Action::Read);
    other.end(read, Outcome::Added);
    other.end(read, Outcome::Read(vec![1]));
    is_bad(other);
    let mut back = added();
    let read = back.history.invoke(1, 4, 0, Action::Read);
    back.end(read, Outcome::Read(vec![1]));
    is_bad(back);
}

#[test]
fn how_stale_reads_were() {
    // 1 is known at 2 ms and missed by reads that begin at 3 and at 5 ms; 2 is known at 8 ms and never missed.
    let story = Set::new().add(0, 1).read(1, []).read(1, []).add(1, 2).last(0, [1, 2]).last(1, [1, 2]);
    let verdict = verdict(&story);
    assert!(verdict.is_valid(), "{verdict}");
    let staleness = verdict.staleness;
    assert_eq!((staleness.stale, staleness.median_ns, staleness.p99_ns), (1, 0, 3 * MS));
    assert_eq!(staleness.max_ns, 3 * MS);
    assert!(verdict.to_string().contains("1 stale"), "{verdict}");
}

#[test]
fn a_read_that_begins_before_an_add_is_known_does_not_make_it_stale() {
    let mut story = Set::new();
    let add = story.begin(0, Action::Add(1));
    let mut story = story.read(1, []);
    story.end(add, Outcome::Added);
    assert_eq!(verdict(&story.last(0, [1]).last(1, [1])).staleness.stale, 0);
}

#[test]
fn a_verdict_says_what_is_wrong_and_not_endlessly() {
    let mut story = Set::new().add(0, -1);
    let many: Vec<i64> = (0..50).collect();
    story = story.last(0, many.clone()).last(1, many);
    let text = verdict(&story).to_string();
    assert!(text.starts_with("INVALID: 1 of 1 adds acknowledged, 2 reads"), "{text}");
    assert!(
        text.contains("0 at node 0, though nobody had added it") && text.contains("and 83 more"),
        "{text}"
    );
    assert!(History::<i64>::new().is_empty() && !story.history.is_empty() && story.history.len() == 3);
}
