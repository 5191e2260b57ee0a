//! What was done to each element, and what of it was acknowledged: the specification of what a restart may show.

use lattice_crdt::Dot;
use std::collections::{BTreeMap, BTreeSet};

/// One operation on an element.
#[derive(Clone, Copy, Debug)]
struct Done {
    dot: Dot,
    present: bool,
    durable: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Ledger {
    done: BTreeMap<Vec<u8>, Vec<Done>>,
}

impl Ledger {
    /// An operation is in the log.
    pub fn logged(&mut self, element: &[u8], present: bool, dot: Dot) {
        self.done.entry(element.to_vec()).or_default().push(Done { dot, present, durable: false });
    }

    /// Everything of an actor up to a seq has been acknowledged as durable.
    pub fn durable(&mut self, up_to: Dot) {
        let all = self.done.values_mut().flatten();
        all.filter(|d| d.dot.actor == up_to.actor && d.dot.seq <= up_to.seq).for_each(|d| d.durable = true);
    }

    /// After a restart: what is shown was read from what is durable, and nothing else may come.
    pub fn settle(&mut self, shown: &BTreeSet<Vec<u8>>, dot: Dot) {
        for (element, done) in &mut self.done {
            *done = vec![Done { dot, present: shown.contains(element), durable: true }];
        }
    }

    /// The durable dots.
    pub fn durable_dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.done.values().flatten().filter(|done| done.durable).map(|done| done.dot)
    }

    /// After the machine crashed: of each element, the last acknowledged state or a later one.
    pub fn check_machine(&self, shown: &BTreeSet<Vec<u8>>) -> Result<(), String> {
        self.check(shown, |done| {
            let last = done.iter().rposition(|d| d.durable);
            let mut may: Vec<bool> = done[last.unwrap_or(0)..].iter().map(|d| d.present).collect();
            if last.is_none() {
                may.push(false);
            }
            may
        })
    }

    /// After the process was killed: exactly what was done.
    pub fn check_process(&self, shown: &BTreeSet<Vec<u8>>) -> Result<(), String> {
        self.check(shown, |done| done.last().map(|d| d.present).into_iter().collect())
    }

    fn check(&self, shown: &BTreeSet<Vec<u8>>, may: impl Fn(&[Done]) -> Vec<bool>) -> Result<(), String> {
        for (element, done) in &self.done {
            if !may(done).contains(&shown.contains(element)) {
                let name = String::from_utf8_lossy(element);
                return Err(format!("{name} is shown: {}; done: {done:?}", shown.contains(element)));
            }
        }
        match shown.iter().find(|element| !self.done.contains_key(*element)) {
            Some(invented) => Err(format!("{} was never written", String::from_utf8_lossy(invented))),
            None => Ok(()),
        }
    }
}
