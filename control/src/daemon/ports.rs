//! Opens one port per worker, in the best mode that this machine and its rights allow.
//!
//! ```text
//!   auto:  xdp-driver ──no──> xdp-generic ──no──> udp          xdp:  xdp-driver ──no──> xdp-generic ──no──> error
//!                                                              xdp-generic:             xdp-generic ──no──> error
//! ```
//!
//! All workers get the same mode: a failure of any of them gives up the whole mode, and what had been opened in it is
//! gone before the next is tried. Each refusal is kept, for the log and for the error if nothing works.

use std::net::IpAddr;

use lattice_bpf::{Mode, XdpProgram};
use lattice_port::{Port, UdpConfig, UdpPort, XdpConfig, XdpPort};
use rtnetlink::Handle;

use super::StartError;
use super::interface::{self, Interface};
use crate::config::{Config, PortChoice};

/// The workers' ports, and what holds them up.
pub struct Ports {
    /// One per worker.
    pub ports: Vec<Box<dyn Port>>,
    /// The XDP program of AF_XDP ports: gone from the interface when dropped.
    pub program: Option<XdpProgram>,
    /// The interface of AF_XDP ports.
    pub interface: Option<Interface>,
    /// Better modes that were tried, each with the reason why it failed.
    pub refused: Vec<String>,
}

/// Opens the ports.
///
/// # Errors
/// [`StartError::Port`] with every way that was tried.
pub async fn open(config: &Config, netlink: &Handle) -> Result<Ports, StartError> {
    let mut tried = Vec::new();
    if config.network.port != PortChoice::Udp {
        match usable_interface(config, netlink).await {
            Ok(interface) => {
                for &mode in modes(config.network.port) {
                    match open_xdp(config, &interface, mode) {
                        Ok((ports, program)) => {
                            return Ok(Ports {
                                ports,
                                program: Some(program),
                                interface: Some(interface),
                                refused: tried,
                            });
                        }
                        Err(reason) => tried.push(format!("{}: {reason}", mode_name(mode))),
                    }
                }
            }
            Err(reason) => tried.push(format!("xdp: {reason}")),
        }
    }
    if matches!(config.network.port, PortChoice::Auto | PortChoice::Udp) {
        match open_udp(config) {
            Ok(ports) => return Ok(Ports { ports, program: None, interface: None, refused: tried }),
            Err(reason) => tried.push(format!("udp: {reason}")),
        }
    }
    Err(StartError::Port { address: config.network.address, tried })
}

/// The modes of AF_XDP that a choice allows, the better one first.
fn modes(choice: PortChoice) -> &'static [Mode] {
    match choice {
        PortChoice::Auto | PortChoice::Xdp => &[Mode::Driver, Mode::Generic],
        PortChoice::XdpGeneric => &[Mode::Generic],
        PortChoice::Udp => &[],
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Driver => "xdp-driver",
        Mode::Generic => "xdp-generic",
        Mode::Auto => "xdp",
    }
}

/// The interface, if AF_XDP makes sense on it for this configuration.
async fn usable_interface(config: &Config, netlink: &Handle) -> Result<Interface, String> {
    let network = &config.network;
    if network.address.is_loopback() {
        return Err(format!(
            "{} is a loopback address, which has no link to write frames on",
            network.address
        ));
    }
    let found = interface::find(netlink, network.interface.as_deref(), network.address).await;
    let interface = found.map_err(|error| error.to_string())?;
    let (queues, workers) = (interface.receive_queues as usize, config.workers.cores.len());
    if workers > queues {
        return Err(format!(
            "{workers} workers, but {} has {queues} receive queue(s); name fewer workers.cores, or add queues",
            interface.name
        ));
    }
    Ok(interface)
}

/// The ports of all workers, in the order of workers.
type OpenPorts = Vec<Box<dyn Port>>;

fn open_xdp(config: &Config, interface: &Interface, mode: Mode) -> Result<(OpenPorts, XdpProgram), String> {
    let program_config = lattice_bpf::Config {
        cluster_tag: config.cluster_tag(),
        port_base: config.network.base_port,
        port_count: config.cluster.shards,
        local: config.network.address,
        control_port: config.security.as_ref().map(|_| config.network.control_port),
        sources: peer_addresses(config).into_iter().filter(|source| !source.is_unspecified()).collect(),
    };
    let mut program =
        XdpProgram::attach(&interface.name, &program_config, mode).map_err(|error| error.to_string())?;
    let mut ports: OpenPorts = Vec::new();
    for queue in (0..).take(config.workers.cores.len()) {
        let port_config = XdpConfig {
            queue,
            peers: peer_addresses(config),
            umem_frames: config.limits.umem_frames_per_worker,
        };
        let port = XdpPort::open(port_config, &mut program).map_err(|error| error.to_string())?;
        ports.push(Box::new(port));
    }
    Ok((ports, program))
}

fn open_udp(config: &Config) -> Result<OpenPorts, String> {
    let workers = u16::try_from(config.workers.cores.len()).unwrap_or(u16::MAX);
    let mut ports: OpenPorts = Vec::new();
    for worker in 0..workers {
        let owned =
            (0..config.cluster.shards).filter(|&shard| lattice_segment::worker_of(shard, workers) == worker);
        let port_config = UdpConfig {
            local: config.network.address,
            peers: peer_addresses(config),
            udp_ports: owned.map(|shard| config.udp_port(shard)).collect(),
        };
        let port = UdpPort::bind(port_config).map_err(|error| error.to_string())?;
        ports.push(Box::new(port));
    }
    Ok(ports)
}

/// The peers' addresses in slot order; unspecified where a peer has to be met first.
#[must_use]
pub fn peer_addresses(config: &Config) -> Vec<IpAddr> {
    config.peers.iter().map(|peer| peer.address).collect()
}
