//! The command line.

use crate::run::{run_seed, run_seeds};
use crate::workload_checks::{Workload, run_workload};
use crate::world::Options;
use clap::{Parser, Subcommand};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Runs the production engine in seeded worlds.
#[derive(Debug, Parser)]
#[command(name = "lattice-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs many seeds; fails if any of them does.
    Run {
        /// How many.
        #[arg(long, default_value_t = 2000)]
        seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 0)]
        first: u64,
    },
    /// Runs one seed again.
    Replay {
        /// Which.
        #[arg(long)]
        seed: u64,
        /// Prints every event.
        #[arg(long)]
        trace: bool,
    },
    /// Plants one bug after the other and runs seeds until one notices; fails if a bug survives.
    #[cfg(feature = "zoo")]
    Zoo {
        /// Only this one, in this process.
        #[arg(long)]
        bug: Option<lattice_zoo::Bug>,
        /// How many seeds each bug may take.
        #[arg(long, default_value_t = 100)]
        seeds: u64,
    },
    /// Runs one of Maelstrom's workloads in many worlds, and its checker over each history.
    Workload {
        /// Which.
        workload: Workload,
        /// How many.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Prints every event.
        #[arg(long)]
        trace: bool,
    },
}

/// Where segments go: memory, if the machine has a directory for it.
pub fn segments_directory() -> std::io::Result<tempfile::TempDir> {
    let shared = Path::new("/dev/shm");
    let parent = if shared.is_dir() { shared.to_path_buf() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("lattice-sim-").tempdir_in(parent)
}

/// Runs what the command line says.
pub fn main() -> ExitCode {
    match execute(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lattice-sim: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<bool> {
    let directory = segments_directory()?;
    match cli.command {
        #[cfg(feature = "zoo")]
        Command::Zoo { bug: Some(bug), seeds } => Ok(crate::zoo::hunt(bug, seeds, directory.path())),
        #[cfg(feature = "zoo")]
        Command::Zoo { bug: None, seeds } => Ok(crate::zoo::keep(seeds)?),
        Command::Run { seeds, first } => Ok(run(first..first + seeds, directory.path())),
        Command::Replay { seed, trace } => {
            Ok(replay(seed, Options { trace, ..Options::default() }, directory.path()))
        }
        Command::Workload { workload, seeds, first, trace } => {
            let begin = Instant::now();
            let total = run_workload(
                workload,
                first..first + seeds,
                Options { trace, ..Options::default() },
                directory.path(),
            );
            println!("{total} seeds_per_s={:.0}", seeds as f64 / begin.elapsed().as_secs_f64().max(1e-9));
            Ok(total.failed.is_empty())
        }
    }
}

fn run(seeds: std::ops::Range<u64>, directory: &Path) -> bool {
    let begin = Instant::now();
    let summary = run_seeds(seeds, Options::default(), directory, |seed, outcome| {
        if let Some(failure) = &outcome.failure {
            eprintln!("seed {seed} failed: {}", failure.what);
        }
    });
    let seconds = begin.elapsed().as_secs_f64().max(1e-9);
    print!("{}", summary.report());
    println!(
        "seeds={} failed={} seeds_per_s={:.0}",
        summary.seeds,
        summary.failed.len(),
        summary.seeds as f64 / seconds
    );
    summary.failed.is_empty()
}

fn replay(seed: u64, options: Options, directory: &Path) -> bool {
    let outcome = run_seed(seed, options, directory);
    println!(
        "seed {seed}: {} events, {} operations, {:.3} ms, trace hash {:016x}",
        outcome.steps,
        outcome.operations,
        outcome.ended_ns as f64 / 1e6,
        outcome.trace_hash
    );
    match outcome.failure {
        None => true,
        Some(failure) => {
            println!(
                "FAILED at step {}, {:.6} ms: {}",
                failure.step,
                failure.at_ns as f64 / 1e6,
                failure.what
            );
            false
        }
    }
}
