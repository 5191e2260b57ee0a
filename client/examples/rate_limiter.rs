//! A rate limiter that counts requests on all hosts: each "request" reads the shared counter, then adds one to it.
//!
//! It knows exactly how many of its additions were acknowledged, so that a test can compare the sum of all hosts with the
//! counter. Prints `{"added","failed","unknown","p50_write_ns","p99_write_ns","max_write_ns","reads","read_failures"}` at its end;
//! a write is timed from before it is enqueued until it is visible on this host.

mod common;

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use lattice_client::{Client, Counter, Error, Ticket};
use serde_json::json;

/// A write that is not acknowledged by then is looked at again at the end.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Parser)]
struct Args {
    /// The daemon's socket.
    #[arg(long)]
    socket: PathBuf,
    /// The counter.
    #[arg(long)]
    key: String,
    /// Requests a second.
    #[arg(long, default_value_t = 1000)]
    rate_per_s: u64,
    /// Run until the other end closes standard input.
    #[arg(long)]
    run_until_stdin_closes: bool,
    /// Without the above: run this long.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// What became of the writes and reads.
struct Tally {
    added: u64,
    failed: u64,
    unknown: u64,
    reads: u64,
    read_failures: u64,
    write_ns: Histogram<u64>,
    /// Timed out, but still under way.
    pending: Vec<Ticket>,
}

impl Tally {
    fn request(&mut self, client: &Client, counter: &Counter) {
        match counter.get() {
            Ok(_) => self.reads += 1,
            Err(_) => self.read_failures += 1,
        }
        let started_ns = common::now_ns();
        match counter.add(1) {
            Ok(ticket) => self.settle(ticket, client.wait(ticket, WRITE_TIMEOUT)),
            Err(_) => self.failed += 1,
        }
        self.write_ns.saturating_record(common::now_ns() - started_ns);
    }

    fn settle(&mut self, ticket: Ticket, result: Result<(), Error>) {
        match result {
            Ok(()) => self.added += 1,
            Err(Error::Timeout { .. }) => self.pending.push(ticket),
            Err(error) if error.nothing_happened() => self.failed += 1,
            Err(_) => self.unknown += 1,
        }
    }

    fn drain(&mut self, client: &Client) {
        for ticket in std::mem::take(&mut self.pending) {
            self.settle(ticket, client.wait(ticket, DRAIN_TIMEOUT));
        }
        self.unknown += self.pending.len() as u64;
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let client = common::connect(&args.socket)?;
    let counter = client.counter(&args.key)?;
    let closed = args.run_until_stdin_closes.then(common::stdin_closed);
    let started = Instant::now();
    let mut tally = Tally {
        added: 0,
        failed: 0,
        unknown: 0,
        reads: 0,
        read_failures: 0,
        write_ns: common::histogram()?,
        pending: Vec::new(),
    };
    let mut schedule = common::Schedule::new(args.rate_per_s);
    loop {
        let stop = match &closed {
            Some(closed) => closed.load(Ordering::Relaxed),
            None => started.elapsed() >= Duration::from_secs(args.seconds),
        };
        if stop {
            break;
        }
        tally.request(&client, &counter);
        schedule.wait();
    }
    tally.drain(&client);
    common::print(&json!({
        "added": tally.added,
        "failed": tally.failed,
        "unknown": tally.unknown,
        "p50_write_ns": tally.write_ns.value_at_quantile(0.5),
        "p99_write_ns": tally.write_ns.value_at_quantile(0.99),
        "max_write_ns": tally.write_ns.max(),
        "reads": tally.reads,
        "read_failures": tally.read_failures,
    }))?;
    Ok(())
}
