//! Two daemons in namespaces of their own, and what they say of themselves while a bench loads them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lattice_cluster::{Cluster, ClusterSpec, Fabric, IdleChoice, PortChoice, StorageTable};
use lattice_segment::Reader;

use crate::raw::PortKind;

/// Two hosts, A and B.
pub struct Pair {
    /// The running cluster.
    pub cluster: Cluster,
    segments: Vec<Reader>,
}

/// What differs from one bench's pair to another's.
#[derive(Clone, Debug)]
pub struct PairSpec {
    /// What joins the two.
    pub fabric: Fabric,
    /// How they move frames.
    pub port: PortKind,
    /// What their workers do when there is nothing to do.
    pub idle: IdleChoice,
    /// The core of each daemon.
    pub cores: [u16; 2],
    /// `limits` of the configuration that are not the defaults.
    pub limits: BTreeMap<&'static str, u64>,
}

impl Default for PairSpec {
    fn default() -> Self {
        PairSpec {
            fabric: Fabric::Wire,
            port: PortKind::XdpDriver,
            idle: IdleChoice::Yield,
            cores: [0, 1],
            limits: BTreeMap::new(),
        }
    }
}

impl Pair {
    /// Starts both daemons and waits until they see each other.
    ///
    /// # Errors
    /// If one does not start, or not with the port that was asked for.
    pub fn start(spec: &PairSpec) -> Result<Pair> {
        let port = match spec.port {
            PortKind::XdpDriver => PortChoice::Xdp,
            PortKind::XdpGeneric => PortChoice::XdpGeneric,
            PortKind::Udp => PortChoice::Udp,
        };
        let cluster = Cluster::start(&ClusterSpec {
            hosts: 2,
            fabric: spec.fabric,
            ports: vec![port; 2],
            idle: spec.idle,
            cores: spec.cores.to_vec(),
            limits: spec.limits.clone(),
            storage: StorageTable::memory(),
            ..ClusterSpec::default()
        })?;
        let segments = cluster.hosts().iter().map(|host| {
            let ready = host.daemon.ready()?;
            anyhow::ensure!(ready.port == spec.port.name(), "asked for {}: {}", spec.port.name(), ready.port);
            Ok(Reader::open(&ready.segment)?)
        });
        let segments = segments.collect::<Result<_>>()?;
        Ok(Pair { cluster, segments })
    }

    /// The daemons' sockets.
    #[must_use]
    pub fn sockets(&self) -> [PathBuf; 2] {
        [0, 1].map(|host| self.cluster.hosts()[host].socket())
    }

    /// The present account of a host's daemon.
    ///
    /// # Errors
    /// If its process has ended.
    pub fn account(&self, host: usize) -> Result<Account> {
        let segment = self.segments.get(host).context("no such host")?;
        let mut counters = BTreeMap::new();
        for (_worker, name, value) in segment.counters() {
            *counters.entry(name).or_default() += value;
        }
        Ok(Account { at: Instant::now(), cpu: process_cpu(segment.pid())?, counters })
    }
}

/// What a daemon has done so far, summed over its workers. The counters are those in the segment, which the worker
/// refreshes every 10 ms.
#[derive(Clone, Debug)]
pub struct Account {
    /// When it was taken.
    pub at: Instant,
    /// Processor time of the whole process, the kernel's share included.
    pub cpu: Duration,
    counters: BTreeMap<String, u64>,
}

impl Account {
    /// A counter; 0 if the daemon has none of that name.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or(0)
    }

    /// By how much a counter has grown since an earlier account.
    #[must_use]
    pub fn since(&self, earlier: &Account, name: &str) -> u64 {
        self.count(name).saturating_sub(earlier.count(name))
    }

    /// Processor time since an earlier account, in percent of one core.
    #[must_use]
    pub fn cpu_percent_since(&self, earlier: &Account) -> f64 {
        let elapsed_s = (self.at - earlier.at).as_secs_f64();
        self.cpu.saturating_sub(earlier.cpu).as_secs_f64() * 100.0 / elapsed_s.max(1e-9)
    }
}

/// Processor time that a process has used: the sums over its threads of what the scheduler accounted, which is exact to
/// the nanosecond where `/proc/PID/stat` counts ticks.
///
/// # Errors
/// If there is no such process.
pub fn process_cpu(pid: u32) -> Result<Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).context("the daemon has ended")?;
    let mut cpu_ns = 0;
    for task in tasks.flatten() {
        // A thread may end between the two.
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        cpu_ns += text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(cpu_ns))
}
