//! The workloads g-counter and pn-counter.
//!
//! A read may show any subset of the adds that had begun when it returned, but, where sessions are demanded, must have
//! those that its own node had acknowledged before it began. So it lies between two sums. A final read is one of the
//! sums of all acknowledged adds and any of those without an answer.

use crate::Demands;
use crate::history::{History, Moment, Operation};
use crate::set::common_problems;
use crate::sums::Sums;
use crate::verdict::{Problem, Verdict};

/// Maelstrom's pn-counter: a counter that goes both ways.
pub fn check_pn_counter(history: &History<i64>, demands: &Demands) -> Verdict {
    let mut problems = Vec::new();
    common_problems(history, demands, &mut problems);
    reads_are_in_range(history, demands, &mut problems);
    final_reads_are_sums(history, &mut problems);
    let acknowledged = history.adds().filter(|add| add.is_acknowledged()).count();
    Verdict::new(problems, [history.adds().count(), acknowledged, history.reads().count()])
}

/// Maelstrom's g-counter: a counter that only grows.
pub fn check_g_counter(history: &History<i64>, demands: &Demands) -> Verdict {
    let verdict = check_pn_counter(history, demands);
    let counts = [verdict.attempted as usize, verdict.acknowledged as usize, verdict.reads as usize];
    let mut problems = verdict.problems;
    let negative = history.adds().filter_map(Operation::added).filter(|delta| *delta < 0);
    problems
        .extend(negative.map(|delta| Problem::BadHistory(format!("a grow-only counter was given {delta}"))));
    if demands.sessions {
        never_goes_back(history, &mut problems);
    }
    Verdict::new(problems, counts)
}

/// The least and the most that a read at `node` can return.
fn range(history: &History<i64>, demands: &Demands, read: &Operation<i64>, returned: Moment) -> (i128, i128) {
    let (mut least, mut most) = (0, 0);
    for add in history.adds().filter(|add| !add.has_failed() && add.invoked.index < returned.index) {
        let delta = i128::from(add.added().unwrap_or(0));
        let own = add.node == read.node && add.is_acknowledged() && add.ended_before(read.invoked);
        let certain = demands.sessions && own;
        least += if certain { delta } else { delta.min(0) };
        most += if certain { delta } else { delta.max(0) };
    }
    (least, most)
}

fn reads_are_in_range(history: &History<i64>, demands: &Demands, problems: &mut Vec<Problem>) {
    for (read, returned, &value) in history.reads() {
        let (least, most) = range(history, demands, read, returned);
        if !(least..=most).contains(&value.into()) {
            problems.push(Problem::OutOfRange { value, least, most, node: read.node });
        }
    }
}

fn final_reads_are_sums(history: &History<i64>, problems: &mut Vec<Problem>) {
    let acknowledged = history.adds().filter(|add| add.is_acknowledged());
    let certain: i128 = acknowledged.filter_map(Operation::added).map(i128::from).sum();
    let open = history.adds().filter(|add| !add.is_acknowledged() && !add.has_failed());
    let possible =
        open.filter_map(Operation::added).fold(Sums::of(certain), |sums, delta| sums.maybe(delta.into()));
    let finals: Vec<_> = history.reads().filter(|(read, ..)| read.is_final()).collect();
    for (read, _, value) in &finals {
        if !possible.contain(i128::from(**value)) {
            let possible = possible.clone().into_intervals();
            problems.push(Problem::WrongSum { value: **value, possible, node: read.node });
        }
    }
    for pair in finals.windows(2) {
        if pair[0].2 != pair[1].2 {
            problems.push(Problem::FinalReadsDiffer { node: pair[0].0.node, other: pair[1].0.node });
        }
    }
}

fn never_goes_back(history: &History<i64>, problems: &mut Vec<Problem>) {
    for (read, _, &value) in history.reads() {
        let here = history
            .reads()
            .filter(|(before, at, _)| before.node == read.node && at.index < read.invoked.index);
        if let Some(&before) = here.map(|(_, _, before)| before).max().filter(|before| **before > value) {
            problems.push(Problem::WentBack { before, value, node: read.node });
        }
    }
}
