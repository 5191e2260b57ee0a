//! A kill switch: flipped on one host, seen on all.
//!
//! `--flip` prints `{"flipped_at_ns"}`, taken before the write; `--watch` prints `{"seen_at_ns"}` when the flag is on, and
//! ends. Both are CLOCK_MONOTONIC, so on one machine their difference is the time that the flip took.

mod common;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use serde_json::json;

#[derive(Parser)]
struct Args {
    /// The daemon's socket.
    #[arg(long)]
    socket: PathBuf,
    /// The flag.
    #[arg(long)]
    key: String,
    /// Turn it on.
    #[arg(long, conflicts_with = "watch", required_unless_present = "watch")]
    flip: bool,
    /// Wait until it is on.
    #[arg(long)]
    watch: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let client = common::connect(&args.socket)?;
    // The watcher comes first: a flip between the first look and the watcher would be missed otherwise.
    let mut changes = client.changes();
    let flag = client.flag(&args.key)?;
    if args.flip {
        let flipped_at_ns = common::now_ns();
        flag.enable_wait(Duration::from_secs(1))?;
        return Ok(common::print(&json!({ "flipped_at_ns": flipped_at_ns }))?);
    }
    while !flag.get()? {
        // Any change, a new daemon, or a second without either: look again.
        changes.next(Duration::from_secs(1))?;
    }
    common::print(&json!({ "seen_at_ns": common::now_ns() }))?;
    Ok(())
}
