//! The command line of `latticed`.

use std::io::IsTerminal;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LoadError};
use crate::daemon::{self, LogControl, Options, StartError};

/// The configuration is wrong, or the command line: nothing was started.
const EXIT_CONFIG: u8 = 2;
/// The daemon did not start, or ended by a fault.
const EXIT_FAILED: u8 = 1;
/// First UDP port that `--dev` tries.
const DEV_BASE_PORT: u16 = 17_400;
/// How many places `--dev` looks for free UDP ports at.
const DEV_PORT_PLACES: u32 = 256;

/// Replicates shared state between hosts without a leader; applications read it from shared memory.
#[derive(Parser)]
#[command(
    name = "latticed",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "The log goes to standard error; log.filter filters it, or $LATTICED_LOG (info, lattice_control=debug, ...).\n\
                  Exit codes: 0 stopped by a signal, 1 not started or failed, 2 wrong configuration or usage."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Verb>,
    #[command(flatten)]
    run: Run,
}

#[derive(Args)]
#[group(required = false, multiple = false)]
struct Run {
    /// Run with this configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run for development: one host, no configuration, UDP on loopback, in the user's runtime directory.
    #[arg(long)]
    dev: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Fill an empty data directory with the state of a backup (`latticectl backup`), as a new node. Run it as the user that the
    /// daemon runs as, before its first start.
    Restore {
        /// The backup.
        #[arg(long, value_name = "FILE")]
        as_new: PathBuf,
        /// The new node's configuration: its storage.directory is filled.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The backup is of this cluster, not of the configured one: copy its state. Both go on alone.
        #[arg(long, value_name = "NAME")]
        from_cluster: Option<String>,
    },
    /// Say what is wrong with a configuration file, all of it at once, and exit with 2 if anything is.
    Check {
        /// The file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// The command line of `latticed`, for its manual page.
pub(crate) fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Runs `latticed` with the process's arguments.
#[must_use]
pub fn latticed() -> ExitCode {
    let cli = Cli::parse();
    match (cli.command, cli.run) {
        (Some(Verb::Check { config }), _) => check(&config),
        (Some(Verb::Restore { as_new, config, from_cluster }), _) => match Config::load(&config) {
            Ok(config) => restore(&config, &as_new, from_cluster.as_deref()),
            Err(error) => config_error(&error),
        },
        (None, Run { config: Some(path), .. }) => match Config::load(&path) {
            Ok(config) => run(config, Options { file: Some(path), ..Options::default() }),
            Err(error) => config_error(&error),
        },
        (None, Run { dev: true, .. }) => match dev_config() {
            Ok(config) => run(config, Options { stop_on_hangup: true, ..Options::default() }),
            Err(error) => failed(&error),
        },
        (None, Run { config: None, dev: false }) => {
            eprintln!(
                "latticed: nothing to run: give a configuration with --config FILE (config/latticed.toml is a commented \
                 example), or --dev for a single host on loopback"
            );
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

fn check(path: &Path) -> ExitCode {
    match Config::load(path) {
        Ok(config) => {
            println!(
                "{}: ok: node {} ({}) of cluster {}, {} shards, {} peers",
                path.display(),
                config.node.id,
                config.node.name,
                config.cluster.name,
                config.cluster.shards,
                config.peers.len()
            );
            ExitCode::SUCCESS
        }
        Err(error) => config_error(&error),
    }
}

fn restore(config: &Config, backup: &Path, from_cluster: Option<&str>) -> ExitCode {
    match daemon::restore(config, backup, from_cluster) {
        Ok((about, restored)) => {
            for finding in &restored.findings {
                eprintln!("latticed: {finding}");
            }
            println!(
                "{}: {} keys of node {} of cluster {}, in {} shards; start the daemon",
                config.storage.directory.display(),
                restored.keys,
                about.node,
                about.cluster,
                about.shards
            );
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

fn config_error(error: &LoadError) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(EXIT_CONFIG)
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("latticed: {error}");
    ExitCode::from(EXIT_FAILED)
}

/// Runs the daemon, logging to standard error. `LATTICED_LOG` filters, where it is set and no filter is wrong in it; else the
/// configuration does, and can be changed.
fn run(config: Config, mut options: Options) -> ExitCode {
    let from_environment = EnvFilter::try_from_env("LATTICED_LOG").ok();
    let is_fixed = from_environment.is_some();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(from_environment.unwrap_or_else(|| EnvFilter::new(&config.log.filter)))
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // Else a log that nobody reads any more would be reported on standard error, by a macro that panics when that fails.
        .log_internal_errors(false)
        .with_filter_reloading();
    let handle = subscriber.reload_handle();
    if !is_fixed {
        options.log = Some(LogControl::new(move |filter| {
            let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
            handle.reload(filter).map_err(|error| error.to_string())
        }));
    }
    // It is only ever set here; were it set before, that one would be used.
    let _ = tracing::subscriber::set_global_default(subscriber.finish());
    match daemon::run(config, options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn dev_config() -> Result<Config, StartError> {
    let directory = daemon::dev_path();
    daemon::create_private(&directory)?;
    Ok(Config::dev(directory, free_base_port()))
}

/// The first of some places where as many UDP ports as there are shards are free on loopback, so that two users of one
/// machine can both develop. The search begins at a place that depends on the process id, so that two daemons that start
/// together look at different ones; if another process takes a port in between all the same, opening it says so.
fn free_base_port() -> u16 {
    let shards = Config::dev(PathBuf::new(), DEV_BASE_PORT).cluster.shards;
    let base_of = |place: u32| DEV_BASE_PORT + u16::try_from(place % DEV_PORT_PLACES).unwrap_or(0) * shards;
    let free =
        |base: u16| (base..base + shards).all(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    let first = std::process::id() % DEV_PORT_PLACES;
    (first..first + DEV_PORT_PLACES).map(base_of).find(|&base| free(base)).unwrap_or(DEV_BASE_PORT)
}
