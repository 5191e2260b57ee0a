//! What the harness knows of a host's configuration: read from its TOML file, and written to one for tests.
//!
//! The file is the only truth: the demo's are under config/demo and are what a user would write; a test's are generated
//! from a [`ClusterSpec`](crate::ClusterSpec). Either way the harness reads the file back to learn the addresses that it
//! has to make, so that it can't disagree with the daemon about them. Keys that it does not need are left to the daemon.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One host, as its configuration file describes it.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// The configuration file.
    pub file: PathBuf,
    /// The node's name.
    pub name: String,
    /// The node's id.
    pub node: u16,
    /// The address that the daemon binds.
    pub address: IpAddr,
    /// The UDP port of shard 0.
    pub base_port: u16,
    /// The number of shards: one UDP port each, from `base_port` on.
    pub shards: u16,
    /// Where the daemon keeps its segment and its socket.
    pub directory: PathBuf,
    /// Its data directory, where the file names one.
    pub data: Option<PathBuf>,
    /// Its certificates, where it finds its peers by itself.
    pub security: Option<PathBuf>,
    /// Where it asks for them.
    pub seeds: Vec<IpAddr>,
    /// The other nodes, where they are listed: id, and the address by which this host knows it.
    pub peers: Vec<(u16, IpAddr)>,
}

impl HostPlan {
    /// Reads the parts of a configuration file that the harness needs.
    pub fn read(file: &Path) -> Result<HostPlan> {
        let text = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
        let parsed: ConfigFile =
            toml::from_str(&text).with_context(|| format!("can't understand {}", file.display()))?;
        Ok(HostPlan {
            file: file.to_owned(),
            name: parsed.node.name,
            node: parsed.node.id,
            address: parsed.network.address,
            base_port: parsed.network.base_port,
            shards: parsed.cluster.shards,
            directory: parsed.paths.directory,
            data: parsed.storage.directory,
            security: parsed.security.map(|security| security.directory),
            seeds: parsed.cluster.seeds,
            peers: parsed.peers.into_iter().map(|peer| (peer.id, peer.address)).collect(),
        })
    }

    /// The daemon's socket, for clients and `latticectl`.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("daemon.sock")
    }

    /// The address by which this host knows the peer of that id.
    pub fn address_of_peer(&self, node: u16) -> Option<IpAddr> {
        self.peers.iter().find(|(id, _)| *id == node).map(|(_, address)| *address)
    }

    /// The UDP ports that the daemon receives at.
    pub fn udp_ports(&self) -> impl Iterator<Item = u16> {
        let first = self.base_port;
        (0..self.shards).map(move |shard| first.saturating_add(shard))
    }
}

/// `network.port`: how the daemon reaches the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortChoice {
    /// AF_XDP where it works, else UDP.
    Auto,
    /// AF_XDP or nothing.
    Xdp,
    /// AF_XDP in generic mode or nothing.
    XdpGeneric,
    /// Kernel sockets.
    Udp,
}

/// `storage.mode`: what outlives the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageMode {
    /// Its state.
    Disk,
    /// Nothing.
    Memory,
}

/// `storage.sync`: when what was written survives the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncChoice {
    /// Every few milliseconds.
    Interval,
    /// At once.
    Always,
    /// When the kernel likes.
    Never,
}

/// `[storage]`; what is `None` is left to the daemon, but for the directory, which the harness gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageTable {
    /// What outlives the daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<StorageMode>,
    /// The data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// When logs are synced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncChoice>,
    /// Period of syncs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_interval_ms: Option<u64>,
    /// Period of snapshots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_interval_s: Option<u64>,
}

impl StorageTable {
    /// Nothing is kept.
    pub fn memory() -> StorageTable {
        StorageTable { mode: Some(StorageMode::Memory), ..StorageTable::default() }
    }
}

/// `workers.idle`: what a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdleChoice {
    /// Poll on, on a core of its own.
    Busy,
    /// Give the core to whoever else wants it, then poll on.
    Yield,
    /// Wait in the kernel after a short spin.
    Sleep,
}

impl fmt::Display for PortChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PortChoice::Auto => "auto",
            PortChoice::Xdp => "xdp",
            PortChoice::XdpGeneric => "xdp-generic",
            PortChoice::Udp => "udp",
        })
    }
}

/// The file's tables. What is missing here is the daemon's own business.
#[derive(Serialize, Deserialize)]
pub(crate) struct ConfigFile {
    pub cluster: ClusterTable,
    pub node: NodeTable,
    pub network: NetworkTable,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkersTable>,
    pub paths: PathsTable,
    #[serde(default)]
    pub storage: StorageTable,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<SecurityTable>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerTable>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ClusterTable {
    pub name: String,
    pub shards: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<IpAddr>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct SecurityTable {
    pub directory: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_life_s: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct NodeTable {
    pub id: u16,
    pub name: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct NetworkTable {
    pub address: IpAddr,
    pub base_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<PortChoice>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct WorkersTable {
    pub cores: Vec<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<IdleChoice>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct PathsTable {
    pub directory: PathBuf,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct PeerTable {
    pub id: u16,
    pub address: IpAddr,
}

/// Writes a configuration file and reads it back as the harness sees it.
pub(crate) fn write(file: &Path, config: &ConfigFile) -> Result<HostPlan> {
    let text = toml::to_string(config).context("can't write the configuration as TOML")?;
    std::fs::write(file, text).with_context(|| format!("can't write {}", file.display()))?;
    HostPlan::read(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demos_files_agree_with_each_other() {
        for folder in ["demo", "demo/loopback"] {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config").join(folder);
            let plans: Vec<HostPlan> = ["host-a", "host-b", "host-c"]
                .iter()
                .map(|name| HostPlan::read(&directory.join(format!("{name}.toml"))).unwrap())
                .collect();
            for plan in &plans {
                assert_eq!(plan.file.file_stem().unwrap().to_str(), Some(plan.name.as_str()));
                assert_eq!((plan.base_port, plan.shards), (plans[0].base_port, plans[0].shards));
                if folder == "demo" {
                    // They find each other, and prove who they are.
                    assert!(plan.security.as_ref().is_some_and(|own| own.ends_with(&plan.name)));
                    assert!(plan.seeds.iter().all(|seed| plans.iter().any(|other| other.address == *seed)));
                    assert!(!plan.seeds.is_empty() && plan.peers.is_empty());
                    continue;
                }
                for other in plans.iter().filter(|other| other.node != plan.node) {
                    // The relay stands between, at an address of its own.
                    let known_as = plan.address_of_peer(other.node).unwrap();
                    assert_ne!(known_as, other.address, "{} knows {}", plan.name, other.name);
                }
            }
        }
    }
}
