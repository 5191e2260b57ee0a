//! `lattice-bench`: runs one bench and prints a table, or one JSON object.

use clap::{Parser, ValueEnum};
use lattice_bench::measure::Effort;
use lattice_bench::read;

#[derive(Parser)]
#[command(about = "Latency and throughput benches with HDR histograms")]
struct Args {
    /// Which bench.
    #[arg(value_enum)]
    name: Name,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// A few milliseconds instead of seconds: to see that it runs, not to measure.
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Reads from the segment.
    Read,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let effort = if args.quick { Effort::QUICK } else { Effort::FULL };
    let report = match args.name {
        Name::Read => read::run(effort)?,
    };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.table());
    }
    Ok(())
}
