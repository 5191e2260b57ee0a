//! The command line of `latticectl`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lattice_client::Ack;

/// Reads, writes and watches the replicated state of this host's latticed, and asks it how it is.
#[derive(Parser)]
#[command(
    name = "latticectl",
    version,
    after_help = "The daemon is found by --socket or --dir, else $LATTICED_SOCKET, else the one of `latticed --dev`, else the \
                  only one under /dev/shm/latticed.\nExit codes: 0 it worked; 1 it failed or is not so; 2 wrong usage."
)]
pub(super) struct Cli {
    /// The daemon's socket.
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "dir")]
    pub socket: Option<PathBuf>,
    /// The daemon's directory (paths.directory of its configuration).
    #[arg(long, global = true, value_name = "PATH")]
    pub dir: Option<PathBuf>,
    /// Print data as JSON, one value per line.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub verb: Verb,
}

/// How to read.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Read {
    /// Serve the last known state when the daemon is gone, instead of failing.
    #[arg(long)]
    pub stale: bool,
}

/// How to wait for a write.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Wait {
    /// How far the write is to get: local (visible on this host), logged (survives the daemon), durable (synced to this
    /// host's disk), peers=K (merged by K other hosts), majority, all.
    #[arg(long, value_name = "LEVEL", default_value_t = Ack::Local)]
    pub ack: Ack,
    /// Seconds to wait until it has got so far.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5")]
    pub timeout: Duration,
}

/// Which of concurrent writes to a flag wins: part of the key's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Wins {
    /// Concurrent enable and disable leave it on.
    Enable,
    /// Concurrent enable and disable leave it off.
    Disable,
}

/// What to do.
#[derive(Subcommand)]
pub(super) enum Verb {
    /// Show the node: port, peers, shards, clients, counters, and what is wrong.
    Status,
    /// Show the other nodes: who they are, whether they live and since when, how far they are, where.
    Peers,
    /// Take a node that will not come back out of the members. It no longer holds back the dropping of keys, and what no member
    /// has of its operations is given up. Should it come back, it begins as a new member.
    Forget {
        /// Its node id.
        node: u16,
    },
    /// Tell whether this node and all its peers hold the same; exit with 1 if not.
    Converged {
        /// Ask every host of the cluster, and tell which one lacks what.
        #[arg(long)]
        all: bool,
        /// Seconds to wait for it.
        #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "0")]
        timeout: Duration,
    },
    /// Take this host out of service before it is stopped: /readyz says no, members are told, local writes are refused, and what
    /// it has is waited for to be on the other members. Exit with 1 if it is not in time; then it stays drained. A restart
    /// serves again.
    Drain(Drain),
    /// Show the keys that another host holds otherwise than this one; exit with 1 if there are any. It needs certificates
    /// ([security]).
    Diff {
        /// The other host's node id.
        node: u16,
        /// Only keys that begin with this.
        #[arg(long, default_value = "")]
        prefix: OsString,
        /// Show so many keys at most.
        #[arg(long, value_name = "KEYS", default_value_t = 100)]
        most: usize,
    },
    /// Write a snapshot of every shard to the data directory and wait until all are durable.
    Snapshot {
        /// Seconds to wait for it.
        #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60")]
        timeout: Duration,
    },
    /// Write a backup of all shards to a file. The daemon goes on meanwhile; `latticed restore` makes a node of it.
    Backup {
        /// The file; it must not exist.
        file: PathBuf,
    },
    /// Print every key with its value, as JSON lines, sorted by key.
    Dump {
        /// Only those that begin with this.
        #[arg(long, default_value = "")]
        prefix: OsString,
        /// Those of a backup. Needs no daemon.
        #[arg(long, value_name = "FILE", conflicts_with = "stale")]
        backup: Option<PathBuf>,
        #[command(flatten)]
        read: Read,
    },
    /// Show what the daemon does, second by second: rates of each worker, latency, peers, what is wrong. `q` ends it.
    Top {
        /// Seconds between two looks.
        #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1")]
        period: Duration,
    },
    /// Read the daemon's configuration file again: apply what can be, list what needs a restart. With mistakes in the file
    /// nothing is changed. Certificates are read again in any case.
    Reload,
    /// Print a script that completes latticectl's commands, for a shell to read at its start. Needs no daemon.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages of latticectl and latticed into a directory. Needs no daemon.
    Man {
        /// The directory; it must exist.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Make and keep the certificates by which nodes know each other. Needs no daemon.
    #[command(subcommand)]
    Cluster(Cluster),
    /// Print the value of a key of any kind.
    Get {
        /// The key.
        key: OsString,
        #[command(flatten)]
        read: Read,
    },
    /// Print the members of a set, sorted.
    Members {
        /// The key.
        key: OsString,
        #[command(flatten)]
        read: Read,
    },
    /// Print the keys, sorted, each with its kind.
    Keys {
        /// Only those that begin with this.
        prefix: Option<OsString>,
        #[command(flatten)]
        read: Read,
    },
    /// Tell who made a key what it is: each part of its value with the operation that put it there (node, epoch, number), and
    /// the last operation of everybody who wrote to it.
    Why {
        /// The key.
        key: OsString,
        /// Of a set, only this element.
        #[arg(long, value_name = "ELEMENT", allow_hyphen_values = true)]
        element: Option<OsString>,
    },
    /// Print a key's value, then each change of it, until interrupted.
    Watch(Watch),
    /// Add to a counter (a negative number subtracts) and print its value here.
    Add {
        /// The key.
        key: OsString,
        /// How much.
        #[arg(allow_negative_numbers = true)]
        amount: i64,
        #[command(flatten)]
        wait: Wait,
    },
    /// Turn a flag on.
    Enable {
        /// The key.
        key: OsString,
        /// Which of concurrent writes wins; for a key that exists, what it was made with.
        #[arg(long, value_enum)]
        wins: Option<Wins>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Turn a flag off.
    Disable {
        /// The key.
        key: OsString,
        /// Which of concurrent writes wins; for a key that exists, what it was made with.
        #[arg(long, value_enum)]
        wins: Option<Wins>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Set a register.
    Set {
        /// The key.
        key: OsString,
        /// Its new value, at most 1024 bytes.
        #[arg(allow_hyphen_values = true)]
        value: OsString,
        #[command(flatten)]
        wait: Wait,
    },
    /// Insert an element into a set.
    Insert {
        /// The key.
        key: OsString,
        /// The element, at most 256 bytes.
        #[arg(allow_hyphen_values = true)]
        element: OsString,
        #[command(flatten)]
        wait: Wait,
    },
    /// Remove an element from a set.
    Remove {
        /// The key.
        key: OsString,
        /// The element.
        #[arg(allow_hyphen_values = true)]
        element: OsString,
        #[command(flatten)]
        wait: Wait,
    },
}

/// What to do with certificates. DIR is the administrator's: it holds the authority's key, and stays off the hosts.
#[derive(Subcommand)]
pub(super) enum Cluster {
    /// Make DIR: an authority, and for each node a directory to be copied to its host (security.directory there).
    Init {
        /// The directory; it must not exist.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The cluster's name, as in cluster.name of every node's configuration.
        #[arg(long, default_value = "latticed")]
        name: String,
        /// How many nodes, with the ids 1, 2, ...
        #[arg(long)]
        nodes: u16,
        /// Their names, as in node.name; without it node-1, node-2, ...
        #[arg(long, value_delimiter = ',')]
        hosts: Vec<String>,
        /// Days for which the certificates hold.
        #[arg(long, default_value_t = DEFAULT_DAYS)]
        days: u32,
    },
    /// Make the certificate of one more node.
    Add {
        /// The directory.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The node's name, as in node.name of its configuration.
        node: String,
        /// Its id, as in node.id; without it one more than the highest.
        #[arg(long)]
        id: Option<u16>,
        /// Days for which the certificate holds.
        #[arg(long, default_value_t = DEFAULT_DAYS)]
        days: u32,
    },
    /// Make new keys and certificates for nodes that have one. Copy each node.pem to its host; no restart is needed.
    Renew {
        /// The directory.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The nodes' names.
        #[arg(required_unless_present = "all")]
        nodes: Vec<String>,
        /// All nodes.
        #[arg(long, conflicts_with = "nodes")]
        all: bool,
        /// Days for which the certificates hold.
        #[arg(long, default_value_t = DEFAULT_DAYS)]
        days: u32,
    },
    /// Make a new authority beside the old one. Copy each ca.pem to its host, everywhere; then renew, copy, and retire.
    Rotate {
        /// The directory.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Trust no authority any more but the newest. Copy each ca.pem to its host, everywhere.
    Retire {
        /// The directory.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Show the nodes that have certificates, and how long these hold.
    List {
        /// The directory.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// Days for which a node's certificate holds unless the command line says otherwise.
const DEFAULT_DAYS: u32 = 365;

/// How to take this host out of service.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Drain {
    /// Seconds between the moment from which /readyz says no, and that from which writes are refused: load balancers and
    /// clients have them to leave.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "0")]
    pub grace: Duration,
    /// Seconds to wait until the others have everything.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "60")]
    pub timeout: Duration,
    /// More than half of the members, this host among them, are enough; else it is all of them.
    #[arg(long)]
    pub majority: bool,
    /// They are to have it on disk, so that they would still have it if all were to restart: they are asked for snapshots.
    #[arg(long)]
    pub durable: bool,
    /// Serve again.
    #[arg(long, conflicts_with_all = ["grace", "timeout", "majority", "durable"])]
    pub undo: bool,
}

/// What to watch.
#[derive(Args)]
pub(super) struct Watch {
    /// The key, or with --prefix what the keys begin with.
    pub key: OsString,
    /// Watch all keys that begin with KEY (an empty one: all keys).
    #[arg(long)]
    pub prefix: bool,
    /// End after so many lines.
    #[arg(long, value_name = "LINES")]
    pub count: Option<u64>,
}

/// Seconds with a fraction, as a duration.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected seconds, such as 5 or 0.2".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "expected seconds, zero or more".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn amounts_and_values_may_begin_with_a_hyphen() {
        let cli = Cli::try_parse_from(["latticectl", "add", "k", "-5"]).expect("a negative amount");
        assert!(matches!(cli.verb, Verb::Add { amount: -5, .. }));
        let cli = Cli::try_parse_from(["latticectl", "set", "k", "-v"]).expect("a value with a hyphen");
        assert!(matches!(cli.verb, Verb::Set { value, .. } if value == "-v"));
        assert!(Cli::try_parse_from(["latticectl", "add", "k", "five"]).is_err());
    }

    #[test]
    fn writes_are_waited_for_as_far_as_is_asked() {
        let ack_of = |arguments: &[&str]| {
            let line = ["latticectl", "enable", "k"].iter().chain(arguments);
            match Cli::try_parse_from(line).map(|cli| cli.verb) {
                Ok(Verb::Enable { wait, .. }) => Ok(wait.ack),
                Ok(_) => panic!("another command"),
                Err(error) => Err(error.to_string()),
            }
        };
        assert_eq!(ack_of(&[]), Ok(Ack::Local));
        assert_eq!(ack_of(&["--ack", "majority"]), Ok(Ack::Majority));
        assert_eq!(ack_of(&["--ack", "peers=2"]), Ok(Ack::Peers(2)));
        assert!(ack_of(&["--ack", "most"]).unwrap_err().contains("peers=K, majority or all"));
    }

    #[test]
    fn timeouts_are_seconds_with_a_fraction() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for text in ["-1", "x", "", "NaN", "1e300"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
