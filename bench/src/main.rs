//! `lattice-bench`: runs one bench, or all of them, and prints a table or JSON.

use clap::Parser;
use clap::builder::PossibleValuesParser;
use lattice_bench::benches::{BENCHES, Bench, find};
use lattice_bench::machine::{self, CpuTicks};
use lattice_bench::measure::Effort;
use lattice_bench::report::Report;
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
}

fn names() -> Vec<&'static str> {
    BENCHES.iter().map(|bench| bench.name).chain(["all", "list"]).collect()
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if args.name == "list" {
        for bench in BENCHES {
            println!("{:<12} {}", bench.name, bench.about);
        }
        return Ok(());
    }
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    let benches: Vec<&Bench> = find(&args.name).map_or(BENCHES.iter().collect(), |bench| vec![bench]);
    let mut reports = Vec::new();
    for bench in benches {
        reports.push(run(bench, effort)?);
    }
    if args.json {
        for report in &reports {
            println!("{}", serde_json::to_string(report)?);
        }
    } else {
        print!("{}", table(&reports));
    }
    Ok(())
}

fn run(bench: &Bench, effort: Effort) -> anyhow::Result<Report> {
    let before = CpuTicks::now();
    let mut report = (bench.run)(effort)?;
    report.note("machine", machine::describe());
    report.note("steal_percent", before.steal_percent_until(CpuTicks::now()).into());
    Ok(report)
}
