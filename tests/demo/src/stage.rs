//! The three hosts and their daemons, and the demo's own view of them: a client at each host's socket.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use lattice_client::Client;
use lattice_cluster::binaries::Binaries;
use lattice_cluster::{Cluster, Environment, Fabric, HostPlan};
use rustix::fs::FlockOperation;

use crate::Arguments;
use crate::progress::Progress;
use crate::state::Snapshot;

/// The cluster's name, as in the configuration files.
const CLUSTER: &str = "demo";
/// The configuration files, by the hosts' names.
const HOSTS: [&str; 3] = ["host-a", "host-b", "host-c"];

/// The running cluster.
pub struct Stage {
    // Dropped in this order: clients and daemons first, then what they leave behind.
    /// The hosts, their daemons, their network.
    pub cluster: Cluster,
    /// The demo's own client at each host.
    pub clients: Vec<Client>,
    /// Whether the hosts are loopback addresses, not namespaces.
    pub loopback: bool,
    _leftovers: Leftovers,
}

/// The daemons' directories, as their configuration files name them: removed when dropped, for a demo leaves nothing. They
/// are the same for every run, so a lock keeps a second demo from taking them from under the first.
struct Leftovers {
    directories: Vec<PathBuf>,
    lock_path: PathBuf,
    _lock: File,
}

impl Leftovers {
    fn claim(directories: Vec<PathBuf>) -> Result<Leftovers> {
        let parent =
            directories.first().and_then(|first| first.parent()).context("no host has a directory")?;
        let lock_path = parent.with_extension("lock");
        let lock = File::create(&lock_path).with_context(|| format!("creating {}", lock_path.display()))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).with_context(|| {
            format!("{} is locked: another demo runs on this machine", lock_path.display())
        })?;
        let leftovers = Leftovers { directories, lock_path, _lock: lock };
        // What a demo that was killed has left is no state to begin with.
        leftovers.remove();
        Ok(leftovers)
    }
}

impl Leftovers {
    fn remove(&self) {
        for directory in &self.directories {
            // Whatever stays is tried again by the next demo.
            let _ = std::fs::remove_dir_all(directory);
            // The hosts' common directory goes with the last of them.
            let _ = directory.parent().map(std::fs::remove_dir);
        }
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        self.remove();
        // Last, and still locked: who finds no lock finds no directory of ours either.
        let _ = std::fs::remove_file(&self.lock_path);
    }
}

impl Stage {
    /// Builds the network, starts the daemons, and connects to each.
    pub fn set(arguments: &Arguments, progress: &Progress) -> Result<Stage> {
        let loopback = without_namespaces(arguments, progress)?;
        let directory = if loopback { arguments.config.join("loopback") } else { arguments.config.clone() };
        let files: Vec<PathBuf> = HOSTS.iter().map(|name| directory.join(format!("{name}.toml"))).collect();
        let fabric = if loopback { Fabric::Loopback } else { Fabric::Bridge };
        let plans: Vec<HostPlan> = files.iter().map(|file| HostPlan::read(file)).collect::<Result<_>>()?;
        let certificates = plans.iter().find_map(|plan| plan.security.as_ref()?.parent());
        let of_daemons = plans.iter().map(|plan| plan.directory.as_path());
        let directories = of_daemons.chain(certificates).map(Path::to_owned).collect();
        let leftovers = Leftovers::claim(directories)?;
        let binaries = binaries(arguments)?;
        if let Some(directory) = certificates {
            make_certificates(&binaries, directory, progress)?;
        }
        let cluster = Cluster::start_files(&files, fabric, binaries)?;
        for host in cluster.hosts() {
            let (plan, ready) = (&host.plan, host.daemon.ready()?);
            progress.note(&format!("{}: latticed at {}, port {}", plan.name, plan.address, ready.port));
        }
        let clients =
            cluster.hosts().iter().map(|host| Client::connect(host.socket())).collect::<Result<_, _>>()?;
        Ok(Stage { cluster, clients, loopback, _leftovers: leftovers })
    }

    /// How each host reaches the wire, as its daemon said.
    pub fn ports(&self) -> Result<Vec<String>> {
        self.cluster.hosts().iter().map(|host| Ok(host.daemon.ready()?.port.clone())).collect()
    }

    /// The hosts' names.
    pub fn names(&self) -> Vec<&str> {
        self.cluster.hosts().iter().map(|host| host.plan.name.as_str()).collect()
    }

    /// What applications see on each host.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        self.clients.iter().map(Snapshot::read).collect()
    }

    /// Stops the daemons as an administrator would.
    pub fn strike(&mut self) -> Result<()> {
        for host in 0..self.cluster.hosts().len() {
            self.cluster.daemon(host).stop()?;
        }
        Ok(())
    }
}

/// Has `latticectl` make an authority and a certificate for each host, as an administrator would.
fn make_certificates(binaries: &Binaries, directory: &Path, progress: &Progress) -> Result<()> {
    let names = HOSTS.join(",");
    let count = HOSTS.len().to_string();
    let arguments = ["cluster", "init", "--name", CLUSTER, "--nodes", &count, "--hosts", &names];
    std::fs::create_dir_all(directory.parent().context("certificates need a directory")?)?;
    let mut command = Command::new(binaries.latticectl()?);
    let output = command.args(arguments).arg(directory).output().context("latticectl starts")?;
    ensure!(output.status.success(), "certificates: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    progress.note(&format!("certificates: latticectl {} {}", arguments.join(" "), directory.display()));
    Ok(())
}

/// Decides where the hosts live, and says so.
fn without_namespaces(arguments: &Arguments, progress: &Progress) -> Result<bool> {
    let obstacle = match Environment::probe().obstacle() {
        _ if arguments.loopback => Some("asked for"),
        obstacle => obstacle,
    };
    match obstacle {
        None => {
            progress.step(
                "hosts: three network namespaces, joined by a bridge in a fourth; a latticed on each",
            )?;
        }
        Some(reason) => {
            progress
                .step(&format!("hosts: three loopback addresses, over UDP, joined by a relay ({reason})"))?;
        }
    }
    Ok(obstacle.is_some())
}

fn binaries(arguments: &Arguments) -> Result<Binaries> {
    if let Some(directory) = &arguments.programs {
        return Ok(Binaries::at(directory));
    }
    let program = std::env::current_exe().context("can't find this program's file")?;
    Ok(Binaries::at(program.parent().context("this program has no directory")?))
}
