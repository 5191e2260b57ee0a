//! The bug zoo's keeper: does the plain swarm find each planted bug?
//!
//! ```text
//!   zoo ──> for each bug a process of its own: arm it, run seeds 0, 1, 2 … until one fails
//!             └── found: seed and violation      └── survives: the simulator is blind there; mend it
//! ```
//!
//! The seeds and the worlds are those of `run`: nothing is made easy for a bug. A bug that its thread of execution can't
//! show (orderings of memory) has a checker of its own, which is named here and run elsewhere.
//!
//! A process for each bug, because some end in a panic, which ends the process: that, too, is a way to be found.

use crate::run::run_seed;
use crate::world::Options;
use lattice_zoo::{Bug, Checker};
use std::io::{BufRead, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What came of one bug.
struct Hunt {
    /// The seed that found it.
    found: Option<u64>,
    tried: u64,
    /// What was violated; of a survivor, how often its place was passed.
    what: String,
}

/// Runs seeds with a bug in them until one fails, and says on standard output what came of it. For a process of its own.
pub fn hunt(bug: Bug, seeds: u64, directory: &Path) -> bool {
    let mut passed = 0;
    for seed in 0..seeds {
        // What stands last on the output of a process that ended in a panic.
        println!("seed {seed}");
        lattice_zoo::arm(Some(bug));
        let failure = run_seed(seed, Options::default(), directory).failure;
        passed += lattice_zoo::reached();
        lattice_zoo::arm(None);
        if let Some(failure) = failure {
            println!("found {}", failure.what.lines().next().unwrap_or_default());
            return true;
        }
    }
    println!("survived {passed}");
    false
}

/// Hunts every bug that the simulator has to find; prints a line for each and one for all.
///
/// # Errors
/// What the operating system says of starting a process.
pub fn keep(seeds: u64) -> std::io::Result<bool> {
    let (hunted, elsewhere): (Vec<_>, Vec<_>) =
        Bug::ALL.iter().copied().partition(|bug| bug.checker() == Checker::Simulator);
    for bug in &elsewhere {
        match bug.checker() {
            Checker::Loom(model) => println!("{bug:<28} loom: {model}"),
            Checker::Test(package, test) => println!("{bug:<28} {package}: {test}"),
            Checker::Simulator => {}
        }
    }
    let found = hunt_all(&hunted, seeds)?;
    println!("own checkers={} (with the feature zoo of their crates)", elsewhere.len());
    println!("zoo bugs={} found={found}", hunted.len());
    Ok(found == hunted.len())
}

/// As many hunts at a time as there are cores. Returns how many bugs were found.
fn hunt_all(bugs: &[Bug], seeds: u64) -> std::io::Result<usize> {
    let next = AtomicUsize::new(0);
    let found = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(&bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match hunt_apart(bug, seeds) {
                        Ok(hunt) => {
                            found.fetch_add(usize::from(hunt.found.is_some()), Ordering::Relaxed);
                            report(bug, &hunt);
                        }
                        Err(error) => *failed.lock().unwrap_or_else(|lock| lock.into_inner()) = Some(error),
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(|lock| lock.into_inner()) {
        Some(error) => Err(error),
        None => Ok(found.into_inner()),
    }
}

fn report(bug: Bug, Hunt { found, tried, what }: &Hunt) {
    let line = match found {
        Some(seed) => format!("{bug:<28} found at seed {seed:>3}, {tried:>3} tried: {what}\n"),
        None => {
            format!("{bug:<28} SURVIVES {tried} seeds, its place was passed {what} times: {}\n", bug.about())
        }
    };
    // In one piece: hunts end beside each other.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

/// Hunts a bug in a process of its own.
fn hunt_apart(bug: Bug, seeds: u64) -> std::io::Result<Hunt> {
    let program = std::env::current_exe()?;
    let output = Command::new(program)
        .args(["zoo", "--bug", bug.name(), "--seeds", &seeds.to_string()])
        .stdin(Stdio::null())
        .output()?;
    let mut hunt = Hunt { found: None, tried: 0, what: String::new() };
    let (mut last, mut ended) = (0, false);
    for line in output.stdout.lines() {
        let line = line?;
        if let Some(seed) = line.strip_prefix("seed ") {
            (last, hunt.tried) = (seed.parse().unwrap_or(last), hunt.tried + 1);
        } else if let Some(what) = line.strip_prefix("found ") {
            (hunt.found, hunt.what, ended) = (Some(last), what.chars().take(160).collect(), true);
        } else if let Some(passed) = line.strip_prefix("survived ") {
            (hunt.what, ended) = (passed.into(), true);
        }
    }
    if !ended && hunt.tried > 0 {
        let said = String::from_utf8_lossy(&output.stderr);
        let panic = said.lines().skip_while(|line| !line.contains("panicked at")).take(2);
        (hunt.found, hunt.what) = (Some(last), panic.collect::<Vec<_>>().join(" "));
    }
    if hunt.tried == 0 {
        return Err(std::io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(hunt)
}
