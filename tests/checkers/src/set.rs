//! The workloads g-set and broadcast: a set that only grows.
//!
//! ```text
//!   add 7 at node 0      |───ok|
//!   reads at node 1   |─ {} ─|   |─ {} ─|      |─ {7} ─|        |─ {7} ─| final
//!                             known ╵   ╵ missed last: stale so long
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::Demands;
use crate::history::{History, Moment, Operation};
use crate::verdict::{Problem, Staleness, Verdict};

/// Maelstrom's g-set: elements are added and never removed. Each must be in every final read if it was acknowledged or
/// ever read, and in none if nobody added it.
pub fn check_g_set(history: &History<Vec<i64>>, demands: &Demands) -> Verdict {
    let set = SetHistory::new(history);
    let mut problems = set.problems.clone();
    common_problems(history, demands, &mut problems);
    set.elements_are_expected(&mut problems);
    set.nothing_is_lost(&mut problems);
    if demands.sessions {
        set.sessions_hold(&mut problems);
    }
    let acknowledged = history.adds().filter(|add| add.is_acknowledged()).count();
    let counts = [history.adds().count(), acknowledged, set.reads.len()];
    Verdict { staleness: set.staleness(), ..Verdict::new(problems, counts) }
}

/// Maelstrom's broadcast: messages go to every node. A node's messages are a set that only grows, so this is
/// [`check_g_set`]; the demand that all nodes have them is in the final reads of [`Demands::nodes`].
pub fn check_broadcast(history: &History<Vec<i64>>, demands: &Demands) -> Verdict {
    check_g_set(history, demands)
}

/// Problems that have nothing to do with what was read.
pub(crate) fn common_problems<R: PartialEq>(
    history: &History<R>,
    demands: &Demands,
    problems: &mut Vec<Problem>,
) {
    problems.extend(history.mistakes());
    if !history.adds().any(Operation::is_acknowledged) || history.reads().next().is_none() {
        problems.push(Problem::ProvesNothing);
    }
    if demands.availability {
        let failed = history
            .operations
            .iter()
            .filter(|operation| !operation.is_acknowledged() && operation.answer().is_none());
        problems.extend(failed.map(|operation| Problem::Unavailable {
            node: operation.node,
            invoked_ns: operation.invoked.time_ns,
        }));
    }
    let last_ended = history.adds().filter(|add| add.is_acknowledged());
    let last_ended = last_ended.filter_map(|add| add.completed.as_ref().map(|(at, _)| at.index)).max();
    let finals: Vec<_> = history.reads().filter(|(read, ..)| read.is_final()).collect();
    for (read, ..) in &finals {
        if last_ended.is_some_and(|ended| read.invoked.index < ended) {
            problems.push(Problem::EarlyFinalRead { node: read.node });
        }
    }
    for &node in &demands.nodes {
        if !finals.iter().any(|(read, ..)| read.node == node) {
            problems.push(Problem::NoFinalRead { node });
        }
    }
}

/// A read that returned, as a set.
struct SetRead<'a> {
    node: u32,
    is_final: bool,
    invoked: Moment,
    returned: Moment,
    listed: &'a [i64],
    elements: BTreeSet<i64>,
}

struct SetHistory<'a> {
    adds: BTreeMap<i64, &'a Operation<Vec<i64>>>,
    reads: Vec<SetRead<'a>>,
    problems: Vec<Problem>,
}

impl<'a> SetHistory<'a> {
    fn new(history: &'a History<Vec<i64>>) -> Self {
        let mut adds = BTreeMap::new();
        let mut problems = Vec::new();
        for add in history.adds() {
            let Some(element) = add.added() else { continue };
            if adds.contains_key(&element) {
                problems.push(Problem::BadHistory(format!("{element} was added twice")));
                continue;
            }
            adds.insert(element, add);
        }
        let read = |(read, returned, listed): (&Operation<_>, _, &'a Vec<i64>)| {
            let elements = listed.iter().copied().collect();
            let (node, is_final, invoked) = (read.node, read.is_final(), read.invoked);
            SetRead { node, is_final, invoked, returned, listed, elements }
        };
        Self { adds, reads: history.reads().map(read).collect(), problems }
    }

    fn elements_are_expected(&self, problems: &mut Vec<Problem>) {
        for read in &self.reads {
            let node = read.node;
            for &element in &read.elements {
                let add = self.adds.get(&element);
                let begun = add.filter(|add| add.invoked.index < read.returned.index && !add.has_failed());
                if begun.is_none() {
                    problems.push(Problem::Unexpected { element, node });
                }
            }
            if read.elements.len() < read.listed.len() {
                let mut once = BTreeSet::new();
                let again = read.listed.iter().filter(|element| !once.insert(**element));
                problems.extend(again.map(|&element| Problem::Duplicate { element, node }));
            }
        }
    }

    /// When it was sure that the element is in the set: acknowledged, or read by anybody.
    fn known_at(&self, element: i64) -> Option<Moment> {
        let add = self.adds.get(&element).filter(|add| add.is_acknowledged());
        let acknowledged = add.and_then(|add| add.completed.as_ref()).map(|(at, _)| *at);
        let read = self.reads.iter().filter(|read| read.elements.contains(&element));
        read.map(|read| read.returned).chain(acknowledged).min()
    }

    fn nothing_is_lost(&self, problems: &mut Vec<Problem>) {
        for &element in self.adds.keys().filter(|element| self.known_at(**element).is_some()) {
            let lacking = self.reads.iter().filter(|read| read.is_final && !read.elements.contains(&element));
            problems.extend(lacking.map(|read| Problem::Lost { element, node: read.node }));
        }
        let mut finals = self.reads.iter().filter(|read| read.is_final);
        let Some(first) = finals.next() else { return };
        for other in finals.filter(|other| other.elements != first.elements) {
            problems.push(Problem::FinalReadsDiffer { node: first.node, other: other.node });
        }
    }

    fn sessions_hold(&self, problems: &mut Vec<Problem>) {
        for read in &self.reads {
            let node = read.node;
            let here = self.reads.iter().filter(|other| other.node == node);
            for before in here.filter(|other| other.returned.index < read.invoked.index) {
                let gone = before.elements.difference(&read.elements);
                problems.extend(gone.map(|&element| Problem::Vanished { element, node }));
            }
            let own = self.adds.iter().filter(|(_, add)| add.node == node && add.is_acknowledged());
            for (&element, _) in own.filter(|(_, add)| add.ended_before(read.invoked)) {
                if !read.elements.contains(&element) {
                    problems.push(Problem::NotReadBack { element, node });
                }
            }
        }
    }

    /// From when an element was known to the last read that missed it, as far as that began later.
    fn staleness(&self) -> Staleness {
        let latencies = self.adds.keys().filter_map(|element| {
            let known = self.known_at(*element)?;
            let missed = self
                .reads
                .iter()
                .filter(|read| read.invoked.index > known.index && !read.elements.contains(element));
            let last = missed.map(|read| read.invoked.time_ns).max();
            Some(last.map_or(0, |last| (last - known.time_ns).max(1)))
        });
        Staleness::of(latencies.collect())
    }
}
