//! Many seeds, one after the other, and what came of them.

use crate::faults::{Fault, Struck};
use crate::plan::Plan;
use crate::world::{Failure, Options, Outcome, Reached, World};
use std::path::Path;

/// Seeds of which every so many-th is run twice.
pub const TWICE_EVERY: u64 = 10;

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Which.
    pub seed: u64,
    /// How.
    pub failure: Failure,
}

/// What came of many seeds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many were run.
    pub seeds: u64,
    /// Those that failed.
    pub failed: Vec<Failed>,
    /// Operations applied.
    pub operations: u64,
    /// Events.
    pub steps: u64,
    /// Which faults struck how often.
    pub struck: Struck,
    /// What the engines had to do.
    pub reached: Reached,
    /// World time of all seeds, nanoseconds.
    pub world_ns: u64,
}

/// Runs one seed.
pub fn run_seed(seed: u64, options: Options, directory: &Path) -> Outcome {
    World::new(seed, Plan::draw(seed), options, directory).run()
}

/// Runs many seeds; `after_each` is told of each.
pub fn run_seeds(
    seeds: std::ops::Range<u64>,
    options: Options,
    directory: &Path,
    mut after_each: impl FnMut(u64, &Outcome),
) -> Summary {
    let mut summary = Summary::default();
    for seed in seeds {
        let mut outcome = run_seed(seed, options, directory);
        if seed % TWICE_EVERY == 0 && outcome.failure.is_none() {
            let again = run_seed(seed, options, directory);
            if again.trace_hash != outcome.trace_hash {
                let what = format!("two runs differ: {:016x}, {:016x}", outcome.trace_hash, again.trace_hash);
                outcome.failure = Some(Failure { step: outcome.steps, at_ns: outcome.ended_ns, what });
            }
        }
        after_each(seed, &outcome);
        summary.seeds += 1;
        summary.operations += outcome.operations;
        summary.steps += outcome.steps;
        summary.world_ns += outcome.ended_ns;
        summary.struck.add(&outcome.struck);
        summary.reached.add(&outcome.reached);
        if let Some(failure) = outcome.failure {
            summary.failed.push(Failed { seed, failure });
        }
    }
    summary
}

impl Summary {
    /// The table of faults, and the failures, as people read them.
    pub fn report(&self) -> String {
        let mut text = String::from("fault class                          struck\n");
        for fault in Fault::ALL {
            let times = self.struck.times(fault);
            let never = if times == 0 { "  never struck" } else { "" };
            text += &format!("  {:<32} {times:>8}{never}\n", fault.name());
        }
        text += &format!(
            "operations {}  events {}  virtual time {:.1} s\n",
            self.operations,
            self.steps,
            self.world_ns as f64 / 1e9
        );
        let Reached { syncs, syncs_abandoned, full_walks, records_in_sync, .. } = self.reached;
        let Reached { refused_at_bounds, retransmitted, keys_dropped, epochs_ended, folds, .. } =
            self.reached;
        text += &format!(
            "engines: syncs {syncs}, given up {syncs_abandoned}, full walks {full_walks}, records inside a sync \
             {records_in_sync}, refused at bounds {refused_at_bounds}, retransmitted {retransmitted}, keys dropped \
             {keys_dropped}, epochs ended by peers {epochs_ended}, folds {folds}\n"
        );
        for Failed { seed, failure } in &self.failed {
            text += &format!(
                "FAILED seed {seed} at step {}, {:.6} ms: {}\n  replay: cargo run --release -p lattice-sim -- replay --seed {seed} --trace\n",
                failure.step,
                failure.at_ns as f64 / 1e6,
                failure.what
            );
        }
        text
    }
}
