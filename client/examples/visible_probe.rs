//! Measures write-here-to-visible-there: one process writes the time into a register, another one, on another host of the
//! same machine, polls its own segment and records how old each new value is when it sees it.
//!
//! ```text
//!   register, 16 bytes:  0  seq u64 LE   8  t_ns u64 LE   (CLOCK_MONOTONIC when the write was made)
//! ```
//!
//! The writer is open-loop: it keeps to its schedule whatever the answers. A value that was overwritten before the reader saw
//! it counts as missed, not as a sample. The reader prints `{"count","p50","p99","p999","max","missed","buckets"}` in
//! ns, where `buckets` are the histogram's `[value, count]`, so that several readers' can be added up; the writer
//! `{"written","failed"}`.

mod common;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::ensure;
use clap::{Parser, ValueEnum};
use lattice_client::{Client, Register};
use serde_json::json;

#[derive(Parser)]
struct Args {
    /// The daemon's socket.
    #[arg(long)]
    socket: PathBuf,
    /// The register.
    #[arg(long)]
    key: String,
    /// Write timestamps.
    #[arg(long, conflicts_with = "read", required_unless_present = "read")]
    write: bool,
    /// Read them.
    #[arg(long)]
    read: bool,
    /// Writes a second.
    #[arg(long, default_value_t = 1000)]
    rate_per_s: u64,
    /// End after so many.
    #[arg(long, default_value_t = 1000)]
    count: u64,
    /// Stay on this core.
    #[arg(long)]
    core: Option<usize>,
    /// What the reader does between two looks.
    #[arg(long, value_enum, default_value_t = Idle::Yield)]
    idle: Idle,
}

#[derive(Clone, Copy, ValueEnum)]
enum Idle {
    /// Burn the core: for one that nobody else needs.
    Spin,
    /// Offer the core to others after each look.
    Yield,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(id) = args.core {
        ensure!(core_affinity::set_for_current(core_affinity::CoreId { id }), "can't stay on core {id}");
    }
    let client = common::connect(&args.socket)?;
    let register = client.register(&args.key)?;
    if args.write { write(&args, &client, &register) } else { read(&args, &register) }
}

fn write(args: &Args, client: &Client, register: &Register) -> anyhow::Result<()> {
    let mut schedule = common::Schedule::new(args.rate_per_s);
    // Above what a former run has left in the register, so that each value is new to the reader.
    let first_seq = decode(&register.get()?.unwrap_or_default()).map_or(1, |(seq, _)| seq + 1);
    let mut failed = 0u64;
    for seq in first_seq..first_seq + args.count {
        schedule.wait();
        let mut value = [0u8; 16];
        value[..8].copy_from_slice(&seq.to_le_bytes());
        value[8..].copy_from_slice(&common::now_ns().to_le_bytes());
        failed += u64::from(register.set(&value).is_err());
    }
    client.barrier(Duration::from_secs(5))?;
    common::print(&json!({ "written": args.count - failed, "failed": failed }))?;
    Ok(())
}

fn read(args: &Args, register: &Register) -> anyhow::Result<()> {
    let closed = common::stdin_closed();
    let mut histogram = common::histogram()?;
    let mut bytes = Vec::with_capacity(64);
    // What is there already was written before anybody looked: not a sample.
    register.get_into(&mut bytes)?;
    let mut last_seq = decode(&bytes).map(|(seq, _)| seq);
    let mut missed = 0;
    while histogram.len() < args.count && !closed.load(Ordering::Relaxed) {
        register.get_into(&mut bytes)?;
        match decode(&bytes) {
            Some((seq, written_ns)) if Some(seq) != last_seq => {
                histogram.saturating_record(common::now_ns().saturating_sub(written_ns));
                if let Some(last) = last_seq {
                    missed += seq.saturating_sub(last + 1);
                }
                last_seq = Some(seq);
            }
            _ => match args.idle {
                Idle::Spin => std::hint::spin_loop(),
                Idle::Yield => std::thread::yield_now(),
            },
        }
    }
    let buckets: Vec<(u64, u64)> = histogram
        .iter_recorded()
        .map(|bucket| (bucket.value_iterated_to(), bucket.count_since_last_iteration()))
        .collect();
    common::print(&json!({
        "count": histogram.len(),
        "p50": histogram.value_at_quantile(0.5),
        "p99": histogram.value_at_quantile(0.99),
        "p999": histogram.value_at_quantile(0.999),
        "max": histogram.max(),
        "missed": missed,
        "buckets": buckets,
    }))?;
    Ok(())
}

fn decode(bytes: &[u8]) -> Option<(u64, u64)> {
    let (seq, written_ns) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*seq), u64::from_le_bytes(written_ns.try_into().ok()?)))
}
