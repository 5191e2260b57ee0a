//! `lattice-model check`: explores a model and prints how many states it has.

use clap::{Parser, Subcommand};
use lattice_model::check::{Search, run};
use lattice_model::config::{Broken, Config, PreRemovedAt, Prologue};
use std::process::ExitCode;

#[derive(Parser)]
#[command(about = "Exhaustive model checking of Latticed's replication rules")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Explores every state within the bounds.
    Check(Bounds),
}

#[derive(clap::Args)]
struct Bounds {
    /// Replicas, 1 to 3.
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Local operations in all, at most 4.
    #[arg(long, default_value_t = 4)]
    ops: usize,
    /// Keys with elements.
    #[arg(long, default_value_t = 1)]
    keys: usize,
    /// Elements of each key.
    #[arg(long, default_value_t = 1)]
    elements: usize,
    /// A counter as well, in the place of a key.
    #[arg(long)]
    counter: bool,
    /// State syncs at one time.
    #[arg(long, default_value_t = 1)]
    syncs: usize,
    /// What a walk reads is some time under way.
    #[arg(long)]
    delays: bool,
    /// Restarts in all.
    #[arg(long, default_value_t = 0)]
    restarts: u8,
    /// Snapshots in all.
    #[arg(long, default_value_t = 0)]
    snapshots: u8,
    /// Calm periods in all, in which everybody gets everything and makes a snapshot.
    #[arg(long, default_value_t = 0)]
    calms: u8,
    /// What has happened before, with two of the operations: `nothing`, `removed` or `removed_unseen`.
    #[arg(long, default_value = "nothing", value_parser = prologue)]
    prologue: Prologue,
    /// Empty keys are dropped when they are stable.
    #[arg(long)]
    drops: bool,
    /// Pre-removed dots of a sync are taken in at its beginning, as the engine once did, and less is checked.
    #[arg(long)]
    pre_removed_at_begin: bool,
    /// Checks that what nobody removed stays.
    #[arg(long)]
    unremoved_stays: bool,
    /// Checks only what readers see.
    #[arg(long)]
    only_visible: bool,
    /// The rule to leave out.
    #[arg(long)]
    broken: Option<Broken>,
    /// Explores states that differ only in names as well; the steps of a counterexample then keep to their names.
    #[arg(long)]
    no_symmetry: bool,
    /// Shortest counterexamples first.
    #[arg(long)]
    breadth_first: bool,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Gives up after so many states.
    #[arg(long, default_value_t = 0)]
    most_states: usize,
}

impl Bounds {
    fn config(&self) -> Config {
        Config {
            replicas: self.replicas,
            ops: self.ops,
            keys: self.keys,
            elements: self.elements,
            counter: self.counter,
            syncs: self.syncs,
            delays: self.delays,
            restarts: self.restarts,
            snapshots: self.snapshots,
            calms: self.calms,
            prologue: self.prologue,
            drops: self.drops,
            pre_removed_at: if self.pre_removed_at_begin { PreRemovedAt::Begin } else { PreRemovedAt::End },
            unremoved_stays: self.unremoved_stays,
            invariants: !self.only_visible,
            broken: self.broken,
            symmetry: !self.no_symmetry,
        }
    }
}

fn prologue(name: &str) -> Result<Prologue, String> {
    match name {
        "nothing" => Ok(Prologue::Nothing),
        "removed" => Ok(Prologue::Removed),
        "removed_unseen" => Ok(Prologue::RemovedUnseen),
        _ => Err("it is nothing, removed or removed_unseen".into()),
    }
}

fn main() -> ExitCode {
    let Command::Check(bounds) = Arguments::parse().command;
    let search = Search {
        threads: bounds.threads,
        breadth_first: bounds.breadth_first,
        most_states: bounds.most_states,
    };
    let outcome = run(bounds.config(), search);
    println!("{outcome}");
    if outcome.counterexample.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
