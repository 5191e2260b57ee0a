//! `make demo`: three hosts, one state, a partition, and the proof that nothing was lost.
//!
//! ```text
//!   hosts      three namespaces and a bridge, or loopback addresses and a relay     [stage]
//!   daemons    certificates for all (latticectl cluster init), one latticed each,   [stage]
//!              from config/demo; says how it reaches the wire
//!   programs   rate limiters, kill switch, instances, a setting: the examples       [programs]
//!   healthy    write here -> visible there, each ordered pair of hosts              [latency]
//!   partition  host C's link is cut for two seconds; everybody writes on            [partition]
//!   heal       the writers stop, the link is joined, until all hosts are equal      [partition]
//!   verdict    every value on every host, the totals, the report                    [state, report]
//! ```
//!
//! It exits 0 only if all of it held: every acknowledged addition is in every host's total exactly once, all hosts show the
//! same values, and no local read or write failed or waited while the link was cut. Latencies are measured and judged
//! in print only: what else runs on the machine is not the demo's to decide.

mod latency;
mod partition;
mod programs;
mod progress;
mod report;
mod stage;
mod state;
mod steal;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::programs::Programs;
use crate::progress::Progress;
use crate::report::Report;
use crate::stage::Stage;
use crate::steal::Steal;

/// Three hosts, one state, a partition, and the proof that nothing was lost.
#[derive(Parser)]
struct Arguments {
    /// The hosts' configuration files are in this directory, those without root in its `loopback`.
    #[arg(long, default_value = "config/demo")]
    config: PathBuf,
    /// Where latticed and the examples are [default: beside this program].
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Where the report goes.
    #[arg(long, default_value = "target/demo/report.json")]
    report: PathBuf,
    /// UDP over loopback addresses even where namespaces and AF_XDP are there.
    #[arg(long)]
    loopback: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ndemo: it did not hold: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    // A report of an earlier run must not be taken for this one's.
    if arguments.report.exists() {
        std::fs::remove_file(&arguments.report).context("can't remove the last report")?;
    }
    let progress = Progress::start()?;
    let mut stage = Stage::set(arguments, &progress)?;
    let mut programs = Programs::start(&stage, &progress)?;

    progress.step("healthy: how long from a write here until an application there sees it")?;
    let steal = Steal::start()?;
    let latencies = latency::measure(&stage, &progress)?;
    let steal_percent = steal.percent()?;

    let healed = partition::cut_and_heal(&stage, &mut programs, &progress)?;

    progress.step("verdict: every value, on every host")?;
    let snapshots = stage.snapshots()?;
    let report = Report::new(&stage, &latencies, steal_percent, &healed, &snapshots)?;
    report.print(&progress);
    report.write(&arguments.report)?;
    progress.note(&format!("the same as JSON: {}", arguments.report.display()));
    programs.stop()?;
    stage.strike()?;
    ensure!(report.held(), "{}", report.failures().join("; "));
    progress.note("it held: nothing lost, nothing counted twice, nobody waited");
    Ok(())
}
