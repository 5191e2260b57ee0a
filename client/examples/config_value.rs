//! A configuration value of which the last writer wins: `--set V` writes it and prints `{"set":"V"}` when this host sees it,
//! `--get` prints `{"value":"…"}`, or `{"value":null}` if nobody has set it.

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
    /// The register.
    #[arg(long)]
    key: String,
    /// The new value.
    #[arg(long, conflicts_with = "get", required_unless_present = "get")]
    set: Option<String>,
    /// Print the value.
    #[arg(long)]
    get: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let client = common::connect(&args.socket)?;
    let register = client.register(&args.key)?;
    if let Some(value) = args.set {
        register.set_wait(value.as_bytes(), Duration::from_secs(1))?;
        return Ok(common::print(&json!({ "set": value }))?);
    }
    let value = register.get()?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    common::print(&json!({ "value": value }))?;
    Ok(())
}
