//! A whole cluster: the network, one daemon per host, and the questions that a test asks of it.
//!
//! One cluster runs at a time in a process (the tests of one file run on several threads, and two clusters of polling
//! daemons on two cores would only measure each other): [`Cluster::start`] waits for its turn.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lattice_members::pki::Authority;
use tempfile::TempDir;

use crate::admin::{self, Fingerprint};
use crate::binaries::Binaries;
use crate::config::{
    self, ClusterTable, ConfigFile, HostPlan, IdleChoice, NetworkTable, NodeTable, PathsTable, PeerTable,
    PortChoice, SecurityTable, StorageTable, WorkersTable,
};
use crate::daemon::Daemon;
use crate::fault::Faults;
use crate::namespace;
use crate::network::{Fabric, Network};
use crate::process::Process;
use crate::relay::free_loopback_block;
use crate::wait;

/// The UDP port of shard 0 in generated configurations.
pub(crate) const BASE_PORT: u16 = 7400;

/// The name of clusters in generated configurations.
const CLUSTER_NAME: &str = "test";

/// Days for which their certificates hold.
const CERTIFICATE_DAYS: u32 = 30;

/// Where segments, sockets and logs of a test lie: tmpfs, as in production.
const SCRATCH: &str = "/dev/shm";

/// How long peers may take to find each other.
const PEERS_TIMEOUT: Duration = Duration::from_secs(20);

/// What a test wants to have.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    /// The number of hosts; host `i` is node `i + 1`, named `host-a`, `host-b`, …
    pub hosts: usize,
    /// The number of shards.
    pub shards: u16,
    /// What joins the hosts.
    pub fabric: Fabric,
    /// IPv6 addresses instead of IPv4 (not over loopback).
    pub ipv6: bool,
    /// The `port` setting of each host; hosts beyond the list's end have `auto`, over loopback `udp`.
    pub ports: Vec<PortChoice>,
    /// The idle strategy of all workers.
    pub idle: IdleChoice,
    /// The core of each host's worker; hosts beyond the list's end take the cores in turn.
    pub cores: Vec<u16>,
    /// The `limits` of all hosts that are not the defaults, by their names in the configuration.
    pub limits: BTreeMap<&'static str, u64>,
    /// The `storage` of all hosts; each has a directory of its own beside its segment unless one is named.
    pub storage: StorageTable,
    /// Members have certificates and find each other by the first host's address, in place of lists of peers (not over
    /// loopback, where each host has other names for its peers). The certificates are in `pki` beside the configurations.
    pub members: bool,
    /// Whether their frames are sealed; `None` is left to the daemon.
    pub seal: Option<bool>,
    /// How long a key of sealed frames lasts; `None` is left to the daemon.
    pub key_life_s: Option<u64>,
    /// The faults from the start on.
    pub faults: Faults,
    /// The seed of the faults.
    pub seed: u64,
}

impl Default for ClusterSpec {
    fn default() -> Self {
        ClusterSpec {
            hosts: 3,
            shards: 4,
            fabric: Fabric::Switch,
            ipv6: false,
            ports: Vec::new(),
            idle: IdleChoice::Sleep,
            cores: Vec::new(),
            limits: BTreeMap::new(),
            storage: StorageTable::default(),
            members: false,
            seal: None,
            key_life_s: None,
            faults: Faults::NONE,
            seed: 1,
        }
    }
}

impl ClusterSpec {
    /// Writes one configuration file per host into `directory`, and returns what they say.
    pub fn write_plans(&self, directory: &Path) -> Result<Vec<HostPlan>> {
        let loopback =
            (self.fabric == Fabric::Loopback).then(|| free_loopback_block(BASE_PORT)).transpose()?;
        let address = |from: usize, to: usize| -> IpAddr {
            let number = to as u8 + 1;
            match loopback {
                // Hosts are in 127.n.0.0/24, what host i calls its peers in 127.n.i.0/24: see `relay`.
                Some(block) if from == to => Ipv4Addr::new(127, block, 0, number).into(),
                Some(block) => Ipv4Addr::new(127, block, from as u8 + 1, number).into(),
                None if self.ipv6 => Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(number)).into(),
                None => Ipv4Addr::new(10, 77, 0, number).into(),
            }
        };
        // A daemon with the rights would attach its XDP program to the loopback interface that everybody shares.
        let default_port = if loopback.is_some() { PortChoice::Udp } else { PortChoice::Auto };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let name = |host: usize| format!("host-{}", char::from(b'a' + host as u8));
        let pki = self.members.then(|| directory.join("pki"));
        if let Some(pki) = &pki {
            let names: Vec<_> = (0..self.hosts).map(name).collect();
            Authority::create(pki, CLUSTER_NAME, &names, CERTIFICATE_DAYS)?;
        }
        (0..self.hosts)
            .map(|host| {
                let name = name(host);
                let mut storage = self.storage.clone();
                storage.directory.get_or_insert_with(|| directory.join(&name).join("data"));
                let config = ConfigFile {
                    cluster: ClusterTable {
                        name: CLUSTER_NAME.into(),
                        shards: self.shards,
                        seeds: pki.iter().map(|_| address(host, 0)).collect(),
                    },
                    node: NodeTable { id: host as u16 + 1, name: name.clone() },
                    network: NetworkTable {
                        address: address(host, host),
                        base_port: BASE_PORT,
                        port: Some(self.ports.get(host).copied().unwrap_or(default_port)),
                    },
                    workers: Some(WorkersTable {
                        cores: vec![self.cores.get(host).copied().unwrap_or((host % cores) as u16)],
                        idle: Some(self.idle),
                    }),
                    paths: PathsTable { directory: directory.join(&name) },
                    storage,
                    limits: self.limits.iter().map(|(&name, &limit)| (name.to_owned(), limit)).collect(),
                    security: pki.as_ref().map(|pki| SecurityTable {
                        directory: pki.join(&name),
                        seal: self.seal,
                        key_life_s: self.key_life_s,
                    }),
                    peers: (0..self.hosts)
                        .filter(|&peer| peer != host && pki.is_none())
                        .map(|peer| PeerTable { id: peer as u16 + 1, address: address(host, peer) })
                        .collect(),
                };
                config::write(&directory.join(format!("{name}.toml")), &config)
            })
            .collect()
    }
}

/// One host of a running cluster.
#[derive(Debug)]
pub struct Host {
    /// Its configuration.
    pub plan: HostPlan,
    /// Its daemon.
    pub daemon: Daemon,
}

impl Host {
    /// The socket of its daemon.
    pub fn socket(&self) -> PathBuf {
        self.plan.socket()
    }
}

/// A running cluster. Dropping it kills the daemons and removes the network and the files.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: processes, then what they run on, then the turn of the next cluster.
    hosts: Vec<Host>,
    network: Network,
    binaries: Binaries,
    scratch: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Writes configurations for `spec`, builds the network, starts the daemons, and waits until all are ready and see
    /// each other.
    pub fn start(spec: &ClusterSpec) -> Result<Cluster> {
        Cluster::start_of(spec, Binaries::find()?)
    }

    /// The same with daemons of another build.
    pub fn start_of(spec: &ClusterSpec, binaries: Binaries) -> Result<Cluster> {
        let scratch = scratch_directory()?;
        let plans = spec.write_plans(scratch.path())?;
        Cluster::launch(plans, spec.fabric, spec.faults, spec.seed, binaries, scratch)
    }

    /// The same from configuration files that are there already.
    pub fn start_files(files: &[PathBuf], fabric: Fabric, binaries: Binaries) -> Result<Cluster> {
        let plans = files.iter().map(|file| HostPlan::read(file)).collect::<Result<Vec<_>>>()?;
        Cluster::launch(plans, fabric, Faults::NONE, 1, binaries, scratch_directory()?)
    }

    fn launch(
        plans: Vec<HostPlan>,
        fabric: Fabric,
        faults: Faults,
        seed: u64,
        binaries: Binaries,
        scratch: TempDir,
    ) -> Result<Cluster> {
        static TURN: Mutex<()> = Mutex::new(());
        // A test that failed while it had its turn has taken its cluster down: nothing is poisoned.
        let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let network = Network::build(fabric, &plans, faults, seed)?;
        let mut cluster = Cluster { hosts: Vec::new(), network, binaries, scratch, _turn: turn };
        for (index, plan) in plans.into_iter().enumerate() {
            let daemon = cluster.start_daemon(index, &plan)?;
            cluster.hosts.push(Host { plan, daemon });
        }
        for host in &mut cluster.hosts {
            host.daemon.wait_ready()?;
        }
        cluster.wait_peers_up()?;
        Ok(cluster)
    }

    /// The hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// One host's daemon, to be unkind to.
    pub fn daemon(&mut self, host: usize) -> &mut Daemon {
        &mut self.hosts[host].daemon
    }

    /// The network, to be unkind to.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The programs in use.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Runs a program on a host; `name` names its log.
    pub fn spawn(&self, host: usize, name: &str, program: &Path, arguments: &[&str]) -> Result<Process> {
        let mut command = self.network.command(host, program)?;
        command.args(arguments);
        Process::spawn(name, command, self.scratch.path())
    }

    /// Starts the daemon of a host again (after it was stopped or killed) and waits until it is ready.
    pub fn restart(&mut self, host: usize) -> Result<()> {
        if self.hosts[host].daemon.is_running() {
            bail!("{} is still running", self.hosts[host].plan.name);
        }
        let plan = self.hosts[host].plan.clone();
        self.hosts[host].daemon = self.start_daemon(host, &plan)?;
        self.hosts[host].daemon.wait_ready().map(drop)
    }

    /// Stops the daemon of a host in order, and starts that of another build in its place; so are all that start from now on.
    pub fn replace(&mut self, host: usize, binaries: &Binaries) -> Result<()> {
        self.hosts[host].daemon.stop()?;
        self.binaries = binaries.clone();
        self.restart(host)
    }

    /// Waits until every daemon holds all its peers up.
    pub fn wait_peers_up(&self) -> Result<()> {
        for host in &self.hosts {
            let what = format!("{} to see all its peers", host.plan.name);
            wait::until(&what, PEERS_TIMEOUT, || {
                if !admin::all_peers_up(&host.socket(), self.hosts.len() - 1)? {
                    bail!("some peer is down");
                }
                Ok(())
            })
            .with_context(|| host.daemon.log_tail())?;
        }
        Ok(())
    }

    /// Where configurations, certificates and logs of this cluster lie.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The fingerprints of all hosts, in their order.
    pub fn fingerprints(&self) -> Result<Vec<Fingerprint>> {
        self.hosts.iter().map(|host| admin::fingerprint(&host.socket())).collect()
    }

    /// Waits until all hosts have the same state and have seen the same operations.
    pub fn wait_converged(&self, timeout: Duration) -> Result<()> {
        wait::until("all hosts to be equal", timeout, || {
            let found = self.fingerprints()?;
            match found.iter().position(|fingerprint| fingerprint.shards != found[0].shards) {
                None => Ok(()),
                Some(host) => bail!(
                    "{} has {:?}, but {} has {:?}",
                    self.hosts[0].plan.name,
                    found[0].shards,
                    self.hosts[host].plan.name,
                    found[host].shards
                ),
            }
        })
    }

    fn start_daemon(&self, host: usize, plan: &HostPlan) -> Result<Daemon> {
        let command = self.network.command(host, &self.binaries.latticed()?)?;
        Daemon::start(&plan.name, command, &plan.file, self.scratch.path())
    }
}

/// A directory on tmpfs for one cluster, after removing those of runs whose process is gone.
fn scratch_directory() -> Result<TempDir> {
    for entry in std::fs::read_dir(SCRATCH).into_iter().flatten().flatten() {
        let stale = namespace::owner_pid(&entry.file_name().to_string_lossy())
            .is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        if stale && let Err(error) = std::fs::remove_dir_all(entry.path()) {
            eprintln!("{} stays: {error}", entry.path().display());
        }
    }
    tempfile::Builder::new()
        .prefix(&format!("lattice-{}-", std::process::id()))
        .tempdir_in(SCRATCH)
        .with_context(|| format!("can't make a directory in {SCRATCH}"))
}
