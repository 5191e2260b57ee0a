//! Maelstrom's four workloads, with total availability, in simulated worlds: a few seeds of each, as `lattice-sim
//! workload` runs as many as one likes.

use lattice_sim::cli::segments_directory;
use lattice_sim::faults::Fault;
use lattice_sim::workload_checks::{Workload, run_workload};
use lattice_sim::world::Options;

const SEEDS: u64 = 50;

fn holds(workload: Workload) {
    let directory = segments_directory().expect("a directory for segments");
    let total = run_workload(workload, 0..SEEDS, Options::default(), directory.path());
    assert!(total.failed.is_empty(), "{workload:?}: seeds {:?} failed", total.failed);
    assert!(total.acknowledged > 40 * SEEDS && total.reads > 40 * SEEDS, "{workload:?}: {total}");
    // It would prove nothing over a network that was kind.
    for fault in [Fault::Isolation, Fault::Loss, Fault::Duplication, Fault::Reordering, Fault::HeavyDelay] {
        assert!(total.struck.times(fault) > 0, "{workload:?}: no {}", fault.name());
    }
}

#[test]
fn g_set() {
    holds(Workload::GSet);
}

#[test]
fn broadcast() {
    holds(Workload::Broadcast);
}

#[test]
fn g_counter() {
    holds(Workload::GCounter);
}

#[test]
fn pn_counter() {
    holds(Workload::PnCounter);
}

#[test]
fn a_seed_is_one_history() {
    let directory = segments_directory().expect("a directory for segments");
    let run = || Workload::GSet.run(3, Options::default(), directory.path());
    let (first, second) = (run(), run());
    assert_eq!((first.trace_hash, first.verdict), (second.trace_hash, second.verdict));
}
