//! Worlds without a failure, worlds that were one once, and worlds in which the simulator must notice a mistake.

use lattice_sim::cli::segments_directory;
use lattice_sim::faults::Fault;
use lattice_sim::run::{run_seed, run_seeds};
use lattice_sim::sabotage::Sabotage;
use lattice_sim::world::Options;
use serde::Deserialize;

#[test]
fn some_seeds_hold_and_are_the_same_each_time() {
    let directory = segments_directory().unwrap();
    let summary = run_seeds(0..60, Options::default(), directory.path(), |_, _| {});
    assert!(summary.failed.is_empty(), "{}", summary.report());
    assert!(summary.operations > 5_000 && summary.reached.syncs > 0, "{}", summary.report());
    let struck = Fault::ALL.iter().filter(|&&fault| summary.struck.times(fault) > 0).count();
    assert!(struck > 20, "{}", summary.report());
}

#[test]
fn two_seeds_are_two_worlds() {
    let directory = segments_directory().unwrap();
    let hash = |seed| run_seed(seed, Options::default(), directory.path()).trace_hash;
    assert_ne!(hash(1), hash(2));
}

/// A seed that found something.
#[derive(Deserialize)]
struct Regression {
    seed: u64,
    found: String,
    /// The test that stages the same without any luck.
    staged: String,
}

#[derive(Deserialize)]
struct Regressions {
    regression: Vec<Regression>,
}

#[test]
fn what_was_found_once_is_not_there_again() {
    let directory = segments_directory().unwrap();
    let list: Regressions = toml::from_str(include_str!("../regressions.toml")).unwrap();
    for Regression { seed, found, staged } in list.regression {
        let failure = run_seed(seed, Options::default(), directory.path()).failure;
        assert!(failure.is_none(), "seed {seed}, which found: {found} ({staged}): {failure:?}");
    }
}

#[test]
fn every_mistake_of_the_world_itself_is_noticed() {
    let directory = segments_directory().unwrap();
    for (sabotage, reported_as) in Sabotage::ALL {
        let options = Options { sabotage: Some(sabotage), ..Options::default() };
        let mut noticed = Vec::new();
        // A seed may have no counter, or no damaged frame, and then has nothing to notice.
        for seed in (0..100).step_by(10) {
            let summary = run_seeds(seed..seed + 1, options, directory.path(), |_, _| {});
            noticed.extend(summary.failed.into_iter().map(|failed| failed.failure.what));
            if noticed.iter().any(|what| what.contains(reported_as)) {
                break;
            }
        }
        assert!(
            noticed.iter().any(|what| what.contains(reported_as)),
            "{sabotage:?} should be reported as `{reported_as}`: {noticed:?}"
        );
    }
}
