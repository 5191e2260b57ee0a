//! `lattice-bench`: runs one bench, or all of them, and prints a table or JSON.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use lattice_bench::benches::{BENCHES, Bench, find};
use lattice_bench::etcd::claim;
use lattice_bench::interrupt;
use lattice_bench::machine;
use lattice_bench::measure::Effort;
use lattice_bench::page;
use lattice_bench::runner::run_all;
use lattice_bench::table::table;

#[derive(Parser)]
#[command(about = "Latency and throughput benches with HDR histograms")]
struct Args {
    /// Which bench; `all` of them, or their `list`.
    #[arg(value_parser = PossibleValuesParser::new(names()))]
    name: String,
    /// Print one JSON object (`all`: one a line) instead of a table.
    #[arg(long)]
    json: bool,
    /// A few milliseconds instead of seconds: to see that it runs, not to measure.
    #[arg(long)]
    quick: bool,
    /// Repeat, and show of each row the run with the median p50 and the spread of all.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    /// Write report.html, report.json and the distributions (hgrm/) to this directory.
    #[arg(long, value_name = "DIRECTORY")]
    report: Option<PathBuf>,
}

fn names() -> Vec<&'static str> {
    BENCHES.iter().map(|bench| bench.name).chain(["all", "list"]).collect()
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if args.name == "list" {
        for bench in BENCHES {
            println!("{:<12} {} (about {} s)", bench.name, bench.about, bench.full_s);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    let benches: Vec<&Bench> = find(&args.name).map_or(BENCHES.iter().collect(), |bench| vec![bench]);
    interrupt::clean_up_on_interrupt()?;
    let machine = machine::describe();
    let mut reports = run_all(&benches, effort, args.runs.into(), |line| eprintln!("{line}"));
    for report in &mut reports {
        report.note("machine", machine.clone());
    }
    if args.json {
        for report in &reports {
            println!("{}", serde_json::to_string(report)?);
        }
    } else {
        print!("{}", table(&reports));
        for report in &reports {
            print!("{}", claim::table(report));
        }
    }
    if let Some(directory) = &args.report {
        page::write(directory, &reports, &machine)?;
        eprintln!("report: {}", directory.join("report.html").display());
    }
    let failed: Vec<&str> =
        reports.iter().filter(|report| report.failed.is_some()).map(|report| report.bench.as_str()).collect();
    if !failed.is_empty() {
        eprintln!("failed: {}", failed.join(", "));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
