//! The rules hold in every state within these bounds, and from each of them healing leads to the specification. Where
//! `unremoved_stays` is on, what nobody removed stays as well, whatever is lost.

use lattice_model::check::{Search, run};
use lattice_model::config::{Config, Prologue};

/// Explores a model to the end. `least` unique states: a model that suddenly has fewer has lost a part of itself.
fn holds(name: &str, config: Config, least: usize) {
    let outcome = run(config, Search::default());
    println!("{name}: {outcome}");
    assert!(outcome.complete, "{name}: {outcome}");
    assert!(outcome.unique >= least, "{name}: {} states only", outcome.unique);
}

fn base(ops: usize) -> Config {
    Config { elements: 1, ..Config::repair_and_sync(ops) }
}

#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without --release")]
fn repair_and_sync() {
    holds("three operations", Config { unremoved_stays: true, ..base(3) }, 200_000);
    holds("two elements", Config { elements: 2, ..base(2) }, 3_000);
    holds("two keys", Config { keys: 2, syncs: 2, ..base(2) }, 40_000);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without --release")]
fn repair_and_sync_under_way() {
    holds("delays", Config { delays: true, syncs: 2, ..base(2) }, 250_000);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without --release")]
fn repair_and_sync_and_restart() {
    let strict = Config { unremoved_stays: true, ..base(2) };
    holds("restart", Config { restarts: 1, snapshots: 1, ..strict }, 80_000);
    holds("counter", Config { restarts: 1, counter: true, ..base(2) }, 20_000);
    let two_nodes = Config { replicas: 2, restarts: 1, snapshots: 1, ..base(3) };
    holds("two nodes, three operations", two_nodes, 20_000);
    holds("two nodes, two keys", Config { ops: 2, keys: 2, ..two_nodes }, 10_000);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "minutes without --release")]
fn repair_and_sync_and_restart_and_drop() {
    let dropping = Config { drops: true, ..base(2) };
    let removed = Config { prologue: Prologue::Removed, ..dropping };
    let strict = Config { unremoved_stays: true, ..removed };
    holds("two restarts", Config { restarts: 2, snapshots: 1, ..strict }, 200_000);
    holds("unseen", Config { prologue: Prologue::RemovedUnseen, restarts: 2, ..removed }, 40_000);
    holds("one more", Config { ops: 3, restarts: 1, ..removed }, 50_000);
    let two_nodes = Config { replicas: 2, restarts: 1, snapshots: 1, ..removed };
    holds("two nodes, four operations", Config { ops: 4, ..two_nodes }, 50_000);
}
