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
        match changes.next(Duration::from_millis(50))? {
            Some(Change::Key { key, .. }) if key.key != args.key.as_bytes() => {}
            Some(Change::Restarted) => {
                // The new daemon may not know us yet, if the old one died before it told anybody.
                set.insert_wait(args.name.as_bytes(), WRITE_TIMEOUT)?;
                show(&set, &mut shown)?;
            }
            Some(_) => show(&set, &mut shown)?,
            None => {}
        }
    }
    set.remove_wait(args.name.as_bytes(), WRITE_TIMEOUT)?;
    show(&set, &mut shown)
}
