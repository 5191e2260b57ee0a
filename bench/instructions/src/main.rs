//! `lattice-instructions`: a regression guard that does not depend on the machine's mood.
//!
//! Times vary with whoever shares the machine; the number of instructions that an operation takes does not. So each
//! operation on the way of a read and of a write is run under `valgrind --tool=callgrind`, alone, and what it takes is
//! compared with `bench/instructions.toml`:
//!
//! ```text
//!   check ──> for each operation: valgrind … lattice-instructions run NAME ──> instructions per operation
//!                                                                                  │  > file + 5 %: failed
//!   bless --why "…" ──> the same, written to the file <───────────────────────────┘  < file - 5 %: bless it
//! ```
//!
//! `check` is part of `make test`, so of CI. A change that makes something dearer says why, in the file, in the same
//! commit: `lattice-instructions bless --why "the record has a length now"`.
//!
//! # What is counted
//!
//! Everything between entering and leaving [`counted`]: callgrind collects nothing outside of it, so set-up, warm-up and
//! what has to happen between two rounds cost nothing. All keys, sizes and seeds are fixed; libc is told to use its
//! plainest copies (`GLIBC_TUNABLES`), which do not depend on the processor. Two runs of one build differ by nothing,
//! or (`enqueue`, which reads a clock) by a few thousandths.
//!
//! # What it can't see
//!
//! Caches, branches that are mispredicted, system calls, waiting. A smaller count may be slower: the benches decide.
//!
//! # Other compilers
//!
//! The file says with which rustc its counts were made. With another one `check` prints the comparison and says so; a
//! rise is an error in CI all the same (so that the guard can't die of an update that nobody noticed; bless it with the
//! compiler's version as the reason), and elsewhere only a warning: a contributor's compiler is their own. Without
//! valgrind, or on another processor architecture, nothing is compared: a failure in CI, elsewhere a line that says so.

mod callgrind;
mod compare;
mod operations;
mod record;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};

use crate::compare::{Verdict, verdict};
use crate::operations::{OPERATIONS, Operation, Spec};
use crate::record::{Entry, Record};

/// The compiler of this program.
const RUSTC: &str = env!("BUILT_WITH_RUSTC");
/// The architecture that the counts in the file are of.
const ARCHITECTURE: &str = "x86_64";
/// Rounds before the counted ones: caches of the code under test (tables, buffers) reach their size.
const WARM_UP_ROUNDS: u32 = 8;
/// Rounds that are counted.
const ROUNDS: u32 = 16;

#[derive(Parser)]
#[command(
    about = "Instructions that each step of a write or read takes, compared with bench/instructions.toml"
)]
struct Args {
    /// The file; default: the one of this checkout.
    #[arg(long, global = true)]
    file: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Counts and compares; fails when something rose by more than 5 %.
    Check {
        /// Only these operations.
        names: Vec<String>,
    },
    /// Counts and writes the file.
    Bless {
        /// Why the counts changed: one line, kept with each count that did.
        #[arg(long)]
        why: String,
        /// Only these operations.
        names: Vec<String>,
    },
    /// Carries out one operation, without counting: what runs under callgrind.
    #[command(hide = true)]
    Run {
        /// Which.
        name: String,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let file =
        args.file.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../instructions.toml"));
    match args.command {
        Command::Run { name } => run(spec(&name)?).map(|()| ExitCode::SUCCESS),
        Command::Check { names } => check(&file, &names),
        Command::Bless { why, names } => bless(&file, &names, &why).map(|()| ExitCode::SUCCESS),
    }
}

fn spec(name: &str) -> anyhow::Result<&'static Spec> {
    OPERATIONS.iter().find(|spec| spec.name == name).with_context(|| format!("no operation `{name}`"))
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Spec>> {
    if names.is_empty() {
        Ok(OPERATIONS.iter().collect())
    } else {
        names.iter().map(|name| spec(name)).collect()
    }
}

/// Runs an operation's rounds; only [`counted`] is seen by callgrind.
fn run(spec: &Spec) -> anyhow::Result<()> {
    let mut operation = (spec.make)()?;
    for _ in 0..WARM_UP_ROUNDS {
        operation.prepare()?;
        operation.round();
    }
    for _ in 0..ROUNDS {
        operation.prepare()?;
        counted(&mut *operation);
    }
    operation.prepare()
}

/// The gate of the measurement: callgrind collects while this function, which it knows by name, is on the stack.
#[inline(never)]
fn counted(operation: &mut dyn Operation) {
    operation.round();
    // Not the last call, so that the optimiser can't replace this function's frame by it.
    std::hint::black_box(());
}

/// Instructions of one operation.
fn count(spec: &Spec) -> anyhow::Result<f64> {
    let collected = callgrind::collect(spec.name, "lattice_instructions::counted*")?;
    Ok(collected as f64 / (f64::from(ROUNDS) * f64::from(spec.per_round)))
}

/// Why nothing can be counted here, if so.
fn obstacle() -> Option<String> {
    if std::env::consts::ARCH != ARCHITECTURE {
        return Some(format!("the counts are those of {ARCHITECTURE}"));
    }
    if cfg!(debug_assertions) {
        return Some("a debug build counts what nobody runs: use --release".into());
    }
    callgrind::obstacle()
}

fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty())
}

fn check(file: &Path, names: &[String]) -> anyhow::Result<ExitCode> {
    if let Some(reason) = obstacle() {
        if is_ci() {
            bail!("CI must be able to count instructions: {reason}");
        }
        println!("skipped: instruction counts: {reason}");
        return Ok(ExitCode::SUCCESS);
    }
    let record = Record::read(file)?;
    let same_compiler = record.rustc == RUSTC;
    let mut failed = Vec::new();
    let mut fell = Vec::new();
    println!("{:<22} {:>9} {:>9} {:>8}  what", "instructions", "now", "file", "change");
    for spec in chosen(names)? {
        let now = count(spec)?;
        let entry = record.operations.get(spec.name);
        println!("{}", compare::line(spec, now, entry.map(|entry| entry.count)));
        match entry.map_or(Verdict::Unknown, |entry| verdict(now, entry.count)) {
            Verdict::Same => {}
            Verdict::Fell => fell.push(spec.name),
            Verdict::Rose | Verdict::Unknown => failed.push(spec.name),
        }
    }
    if names.is_empty() {
        let gone = record.operations.keys().find(|name| !OPERATIONS.iter().any(|spec| spec.name == **name));
        if let Some(name) = gone {
            bail!("{} has counts of `{name}`, which is no operation (any more)", file.display());
        }
    }
    if !same_compiler {
        println!("The file's counts were made with rustc {}, this program with {RUSTC}.", record.rustc);
    }
    if !fell.is_empty() {
        println!(
            "Cheaper than the file by more than 5 %: {}. Keep it: lattice-instructions bless --why \"…\" {}",
            fell.join(", "),
            fell.join(" ")
        );
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "Dearer than the file by more than 5 %: {}. If it is worth it, say why, in the same commit:\n  \
         cargo run --release -p lattice-instructions -- bless --why \"…\" {}",
        failed.join(", "),
        failed.join(" ")
    );
    if !same_compiler && !is_ci() {
        println!("Not a failure here: another compiler made it. CI would fail.");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

fn bless(file: &Path, names: &[String], why: &str) -> anyhow::Result<()> {
    if let Some(reason) = obstacle() {
        bail!("nothing can be counted here: {reason}");
    }
    let why = why.trim();
    if why.is_empty() || why.contains('\n') {
        bail!("--why is one line that says why the counts changed");
    }
    let mut record = if file.exists() { Record::read(file)? } else { Record::default() };
    if record.rustc != RUSTC && !names.is_empty() {
        bail!("the file's counts were made with rustc {}, not {RUSTC}: bless all of them", record.rustc);
    }
    record.rustc = RUSTC.to_owned();
    if names.is_empty() {
        record.operations.retain(|name, _| OPERATIONS.iter().any(|spec| spec.name == name));
    }
    for spec in chosen(names)? {
        let now = count(spec)?;
        let before = record.operations.get(spec.name).map(|entry| entry.count);
        println!("{}", compare::line(spec, now, before));
        let kept = record.operations.get(spec.name).filter(|entry| compare::is_noise(now, entry.count));
        if kept.is_none() {
            record.operations.insert(spec.name.to_owned(), Entry { count: now, why: why.to_owned() });
        }
    }
    record.write(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_does_what_it_should() {
        for spec in OPERATIONS {
            run(spec).unwrap_or_else(|error| panic!("{}: {error:#}", spec.name));
        }
    }

    #[test]
    fn the_file_names_every_operation_and_nothing_else() {
        let record =
            Record::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../instructions.toml")).unwrap();
        let mut names: Vec<&str> = OPERATIONS.iter().map(|spec| spec.name).collect();
        names.sort_unstable();
        assert_eq!(record.operations.keys().map(String::as_str).collect::<Vec<_>>(), names);
    }
}
