//! `latticectl`: reads, writes and watches the state of this host's daemon, and asks it how it is.
//!
//! ```text
//!   get members keys watch dump   segment, read-only        no daemon needed with --stale
//!   add enable disable set …      rings (lattice-client)    wait until applied and visible on this host
//!   status why converged …        admin socket              one JSON line each way
//!   backup                        admin socket              and the snapshots' files, open
//!   dump --backup                 file                      no daemon
//!   top                           both                      counters from the segment, the rest from the socket
//!   cluster completions man       files                     no daemon
//! ```
//!
//! Exit codes: 0 it worked; 1 it failed, or what was asked is not so (not converged, no such key); 2 the command line or
//! the configuration is wrong. Data goes to standard output, everything else to standard error, so that output can be
//! piped; with `--json` each datum is one JSON value on one line.

mod admin;
mod args;
mod backup;
mod cluster;
mod compare;
mod data;
mod discover;
mod drain;
mod dump;
mod error;
mod manual;
mod output;
mod report;
mod rules;
mod top;
mod watch;
mod why;

use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Verb};
use error::CtlError;
use output::Output;

/// Runs `latticectl` with the process's arguments.
#[must_use]
pub fn latticectl() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(Outcome::Yes) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::from(1),
        Err(error) => {
            eprintln!("latticectl: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// The answer to a question that was understood and could be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Yes,
    No,
}

/// What needs no daemon; `None`: it needs one.
fn without_daemon(verb: &Verb, output: &Output) -> Option<Result<(), CtlError>> {
    match verb {
        Verb::Cluster(verb) => Some(cluster::cluster(verb, output)),
        Verb::Completions { shell } => Some(manual::completions(*shell)),
        Verb::Man { directory } => Some(manual::pages(directory)),
        _ => None,
    }
}

fn run(cli: &Cli) -> Result<Outcome, CtlError> {
    let output = Output::new(cli.json);
    if let Some(done) = without_daemon(&cli.verb, &output) {
        return done.map(|()| Outcome::Yes);
    }
    if let Verb::Dump { prefix, backup: Some(file), .. } = &cli.verb {
        return dump::dump_backup(file, prefix.as_bytes()).map(|()| Outcome::Yes);
    }
    let place = discover::place(cli.socket.as_deref(), cli.dir.as_deref())?;
    let done = |result: Result<(), CtlError>| result.map(|()| Outcome::Yes);
    match &cli.verb {
        Verb::Status => done(report::status(&place, &output)),
        Verb::Peers => done(report::peers(&place, &output)),
        Verb::Forget { node } => done(report::forget(&place, *node, &output)),
        Verb::Converged { all: true, timeout } => compare::all_converged(&place, *timeout, &output),
        Verb::Converged { all: false, timeout } => report::converged(&place, *timeout, &output),
        Verb::Drain(how) => drain::drain(&place, how, &output),
        Verb::Diff { node, prefix, most } => compare::diff(&place, *node, prefix, *most, &output),
        Verb::Dump { prefix, read, .. } => done(dump::dump(&place, prefix.as_bytes(), read)),
        Verb::Backup { file } => done(backup::backup(&place, file, &output)),
        Verb::Snapshot { timeout } => done(report::snapshot(&place, *timeout, &output)),
        Verb::Top { period } => done(top::top(&place, *period)),
        Verb::Reload => done(report::reload(&place, &output)),
        // Above: they need no daemon.
        Verb::Cluster(_) | Verb::Completions { .. } | Verb::Man { .. } => Ok(Outcome::Yes),
        Verb::Get { key, read } => done(data::get(&place, key, read, &output)),
        Verb::Members { key, read } => done(data::members(&place, key, read, &output)),
        Verb::Keys { prefix, read } => done(data::keys(&place, prefix.as_deref(), read, &output)),
        Verb::Why { key, element } => done(why::why(&place, key, element.as_deref(), &output)),
        Verb::Watch(watch) => done(watch::watch(&place, watch, &output)),
        Verb::Add { .. }
        | Verb::Enable { .. }
        | Verb::Disable { .. }
        | Verb::Set { .. }
        | Verb::Insert { .. }
        | Verb::Remove { .. } => done(data::write(&place, &cli.verb, &output)),
    }
}
