//! Three etcd members, one on each host of a network like the one that joins our daemons.
//!
//! ```text
//!   netns …-host-a              netns …-host-b              netns …-host-c
//!   ┌──────────────────┐       ┌──────────────────┐       ┌──────────────────┐
//!   │ etcd             │       │ etcd             │       │ etcd             │
//!   │  clients   :2379 │       │                  │       │                  │
//!   │  members   :2380 │       │                  │       │                  │
//!   │ 10.77.0.1        │       │ 10.77.0.2        │       │ 10.77.0.3        │
//!   └───────┬──────────┘       └───────┬──────────┘       └───────┬──────────┘
//!           └──────────── veth ── kernel bridge ── veth ──────────┘            data: a real disk (`disk`)
//! ```
//!
//! Defaults everywhere: fsync on, heartbeats every 100 ms, election after 1 s. A client of a host speaks to the member of that
//! host, inside its namespace. The members die with the thread that started them, however it ends.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lattice_cluster::network::Network;
use lattice_cluster::process::Process;
use lattice_cluster::{ClusterSpec, Fabric, Faults, HostPlan, wait};
use tokio::runtime::Runtime;

use super::client::{EtcdClient, Status};
use super::disk::Disk;

const CLIENT_PORT: u16 = 2379;
const MEMBER_PORT: u16 = 2380;
/// How long starting and electing may take, on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(40);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the program is: on the path, or where Debian's package puts it.
#[must_use]
pub fn find_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    directories.push("/usr/bin".into());
    directories.into_iter().map(|directory| directory.join("etcd")).find(|file| file.is_file())
}

/// A running cluster. Dropping it kills the members, and removes network and data.
pub struct Members {
    // Dropped in this order.
    processes: Vec<Process>,
    network: Network,
    plans: Vec<HostPlan>,
    program: PathBuf,
    disk: Disk,
}

impl Members {
    /// Starts three members and waits until each knows the same leader.
    ///
    /// # Errors
    /// If the network can't be built or the members do not find each other.
    pub fn start(program: &Path, runtime: &Runtime) -> Result<Members> {
        let disk = Disk::open()?;
        // Of the plans only names and addresses matter here.
        let plans =
            ClusterSpec { fabric: Fabric::Bridge, ..ClusterSpec::default() }.write_plans(disk.path())?;
        let network = Network::build(Fabric::Bridge, &plans, Faults::NONE, 1)?;
        let mut members =
            Members { processes: Vec::new(), network, plans, program: program.to_owned(), disk };
        for host in 0..members.hosts() {
            let process = members.spawn(host)?;
            members.processes.push(process);
        }
        members.wait_ready(runtime)?;
        Ok(members)
    }

    /// How many hosts.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.plans.len()
    }

    /// The network, to be unkind to.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Where the data is.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// A client on a host, of that host's member.
    ///
    /// # Errors
    /// If the member does not answer.
    pub fn client(&self, host: usize, runtime: &Runtime) -> Result<EtcdClient> {
        let address = SocketAddr::new(self.plans[host].address, CLIENT_PORT);
        let stream = self.network.enter(host, || TcpStream::connect_timeout(&address, CONNECT_TIMEOUT))?;
        runtime.block_on(EtcdClient::open(stream?))
    }

    /// What each member says of itself, in the order of hosts.
    ///
    /// # Errors
    /// If a member does not answer.
    pub fn statuses(&self, runtime: &Runtime) -> Result<Vec<Status>> {
        let hosts = 0..self.hosts();
        hosts.map(|host| self.status(host, runtime)).collect()
    }

    fn status(&self, host: usize, runtime: &Runtime) -> Result<Status> {
        let client = self.client(host, runtime)?;
        let status =
            runtime.block_on(async { tokio::time::timeout(ANSWER_TIMEOUT, client.status()).await })?;
        status.with_context(|| self.processes.get(host).map(Process::log_tail).unwrap_or_default())
    }

    /// The host of the leader, on which all members agree.
    ///
    /// # Errors
    /// If they do not, yet.
    pub fn leader(&self, runtime: &Runtime) -> Result<usize> {
        let statuses = self.statuses(runtime)?;
        let leader = statuses[0].leader;
        ensure!(leader != 0 && statuses.iter().all(|status| status.leader == leader), "no common leader");
        statuses.iter().position(|status| status.member == leader).context("the leader is not a member")
    }

    /// Waits until all members agree on the leader and have seen the same.
    ///
    /// # Errors
    /// If that takes too long.
    pub fn wait_ready(&self, runtime: &Runtime) -> Result<()> {
        wait::until("etcd's members to agree", READY_TIMEOUT, || {
            self.leader(runtime)?;
            let statuses = self.statuses(runtime)?;
            ensure!(statuses.iter().all(|status| status.revision == statuses[0].revision), "not equal yet");
            Ok(())
        })
    }

    /// Kills a member (SIGKILL).
    ///
    /// # Errors
    /// If it can't be killed.
    pub fn kill(&mut self, host: usize) -> Result<()> {
        self.processes[host].kill()
    }

    /// Starts a member again that was killed, with its data, and waits until all agree.
    ///
    /// # Errors
    /// If it does not come back.
    pub fn restart(&mut self, host: usize, runtime: &Runtime) -> Result<()> {
        self.processes[host] = self.spawn(host)?;
        self.wait_ready(runtime)
    }

    fn spawn(&self, host: usize) -> Result<Process> {
        let plan = &self.plans[host];
        let url = |plan: &HostPlan, port| format!("http://{}", SocketAddr::new(plan.address, port));
        let initial_cluster: Vec<String> =
            self.plans.iter().map(|plan| format!("{}={}", plan.name, url(plan, MEMBER_PORT))).collect();
        let mut command = self.network.command(host, &self.program)?;
        // The environment could change any default.
        command.env_clear();
        command.args(["--name", &plan.name, "--data-dir"]).arg(self.disk.path().join(&plan.name));
        for (flag, port) in [
            ("--listen-client-urls", CLIENT_PORT),
            ("--advertise-client-urls", CLIENT_PORT),
            ("--listen-peer-urls", MEMBER_PORT),
            ("--initial-advertise-peer-urls", MEMBER_PORT),
        ] {
            command.args([flag, &url(plan, port)]);
        }
        command.args(["--initial-cluster", &initial_cluster.join(","), "--initial-cluster-state", "new"]);
        command.args(["--logger", "zap", "--log-level", "warn"]);
        Process::spawn(&plan.name, command, self.disk.path())
    }
}
