//! The live instances of a service: inserts its own name, prints `{"members":[…]}` now and on every change, and removes
//! its name when standard input closes.

mod common;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::Parser;
use lattice_client::{Change, Set};
use serde_json::json;

const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two looks. Every change of every key wakes a watcher that waits; a list for people need not be newer than
/// this, and so costs a busy host a hundred wake-ups a second, not one for each of its writes.
const REST: Duration = Duration::from_millis(10);

#[derive(Parser)]
struct Args {
    /// The daemon's socket.
    #[arg(long)]
    socket: PathBuf,
    /// The set.
    #[arg(long)]
    key: String,
    /// This instance.
    #[arg(long)]
    name: String,
}

/// Prints the members if they are not those that were printed last.
fn show(set: &Set, shown: &mut Option<Vec<String>>) -> anyhow::Result<()> {
    let members: Vec<String> =
        set.members()?.iter().map(|member| String::from_utf8_lossy(member).into_owned()).collect();
    if shown.as_ref() != Some(&members) {
        common::print(&json!({ "members": members }))?;
        *shown = Some(members);
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let client = common::connect(&args.socket)?;
    let closed = common::stdin_closed();
    let mut changes = client.changes();
    let set = client.set(&args.key)?;
    set.insert_wait(args.name.as_bytes(), WRITE_TIMEOUT)?;
    let mut shown = None;
    show(&set, &mut shown)?;
    while !closed.load(Ordering::Relaxed) {
        let mut change = changes.next(Duration::from_millis(50))?;
        let mut concerned = false;
        while let Some(seen) = change {
            match seen {
                Change::Key { key, .. } => concerned |= key.key == args.key.as_bytes(),
                Change::Restarted => {
                    // The new daemon may not know us yet, if the old one died before it told anybody.
                    set.insert_wait(args.name.as_bytes(), WRITE_TIMEOUT)?;
                    concerned = true;
                }
                _ => concerned = true,
            }
            change = changes.next(Duration::ZERO)?;
        }
        if concerned {
            show(&set, &mut shown)?;
        }
        std::thread::sleep(REST);
    }
    set.remove_wait(args.name.as_bytes(), WRITE_TIMEOUT)?;
    show(&set, &mut shown)
}
