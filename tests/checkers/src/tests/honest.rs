//! A store that does what it should, in the simplest way: each node has a list of adds that it has heard of. Its
//! histories are valid; and not any more when one answer is changed.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::story::Story;
use crate::{
    Action, Demands, History, Outcome, check_broadcast, check_g_counter, check_g_set, check_pn_counter,
};

const NODES: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    Add(u32, i64),
    Read(u32),
    /// A node hears of all that another has heard of.
    Hear(u32, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..NODES, 1i64..50).prop_map(|(node, value)| Step::Add(node, value)),
        (0..NODES).prop_map(Step::Read),
        (0..NODES, 0..NODES).prop_map(|(node, from)| Step::Hear(node, from)),
    ];
    prop::collection::vec(step, 1..60)
}

/// The adds by number, and what each node has heard of.
#[derive(Default)]
struct Store {
    deltas: Vec<i64>,
    heard: [BTreeSet<usize>; NODES as usize],
}

impl Store {
    /// Runs the steps and the final reads; `answer` makes of what a node has heard what a read returns.
    fn run<R>(steps: &[Step], added: impl Fn(usize, i64) -> i64, answer: impl Fn(&[i64]) -> R) -> History<R> {
        let mut store = Store::default();
        let mut story = Story::new();
        let read = |store: &Store, node: u32| {
            let values = store.heard[node as usize].iter().map(|&at| added(at, store.deltas[at]));
            Outcome::Read(answer(&values.collect::<Vec<_>>()))
        };
        // One add at least, or it proves nothing.
        for step in std::iter::once(&Step::Add(0, 1)).chain(steps) {
            match *step {
                Step::Add(node, delta) => {
                    let id = store.deltas.len();
                    story = story.add(node, added(id, delta));
                    store.deltas.push(delta);
                    store.heard[node as usize].insert(id);
                }
                Step::Read(node) => {
                    let id = story.begin(node, Action::Read);
                    story.end(id, read(&store, node));
                }
                Step::Hear(node, from) => {
                    let more = store.heard[from as usize].clone();
                    store.heard[node as usize].extend(more);
                }
            }
        }
        store.heard = std::array::from_fn(|_| (0..store.deltas.len()).collect());
        for node in 0..NODES {
            let id = story.begin(node, Action::FinalRead);
            story.end(id, read(&store, node));
        }
        story.history
    }

    fn set(steps: &[Step]) -> History<Vec<i64>> {
        Self::run(steps, |id, _| id as i64, <[i64]>::to_vec)
    }

    /// `sign`: whether some adds take away.
    fn counter(steps: &[Step], sign: bool) -> History<i64> {
        let delta = |id: usize, delta: i64| if sign && id % 2 == 1 { -delta } else { delta };
        Self::run(steps, delta, |values| values.iter().sum())
    }
}

/// Changes the answer of the `which`th read.
fn change<R: Clone>(history: &mut History<R>, which: usize, change: impl FnOnce(&mut R)) {
    let mut reads: Vec<_> = history
        .operations
        .iter_mut()
        .filter_map(|operation| match &mut operation.completed {
            Some((_, Outcome::Read(answer))) => Some(answer),
            _ => None,
        })
        .collect();
    let at = which % reads.len();
    change(reads[at]);
}

proptest! {
    #[test]
    fn an_honest_stores_histories_are_valid(steps in steps()) {
        let all = Demands::all(NODES);
        let verdicts = [
            check_g_set(&Store::set(&steps), &all),
            check_broadcast(&Store::set(&steps), &all),
            check_g_counter(&Store::counter(&steps, false), &all),
            check_pn_counter(&Store::counter(&steps, true), &all),
        ];
        for verdict in verdicts {
            prop_assert!(verdict.is_valid(), "{verdict}");
        }
    }

    #[test]
    fn an_element_that_comes_from_nowhere_or_twice_is_found_in_any_read(steps in steps(), which: usize) {
        let mut history = Store::set(&steps);
        change(&mut history, which, |elements| elements.push(-7));
        prop_assert!(!check_g_set(&history, &Demands::all(NODES)).is_valid());
        let mut history = Store::set(&steps);
        change(&mut history, which, |elements| elements.push(elements.first().copied().unwrap_or(-7)));
        prop_assert!(!check_g_set(&history, &Demands::all(NODES)).is_valid());
    }

    #[test]
    fn an_element_that_is_missing_in_a_final_read_is_found(steps in steps(), node in 0..NODES as usize, at: usize) {
        let mut history = Store::set(&steps);
        let finals = history.reads().count() - NODES as usize;
        change(&mut history, finals + node, |elements| {
            elements.remove(at % elements.len());
        });
        prop_assert!(!check_g_set(&history, &Demands::all(NODES)).is_valid());
    }

    #[test]
    fn a_wrong_total_is_found(steps in steps(), node in 0..NODES as usize, off in 1i64..100, less: bool) {
        let mut history = Store::counter(&steps, true);
        let finals = history.reads().count() - NODES as usize;
        change(&mut history, finals + node, |total| *total += if less { -off } else { off });
        prop_assert!(!check_pn_counter(&history, &Demands::all(NODES)).is_valid());
    }

    #[test]
    fn a_sum_beyond_all_adds_is_found_in_any_read(steps in steps(), which: usize) {
        let mut history = Store::counter(&steps, true);
        change(&mut history, which, |sum| *sum += 50 * 62);
        prop_assert!(!check_pn_counter(&history, &Demands::all(NODES)).is_valid());
    }
}
