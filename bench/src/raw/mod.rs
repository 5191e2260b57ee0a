//! The physical limits: what the network path itself can do, with nothing of ours on it but a port at each end.
//!
//! ```text
//!   ping-pong    core 0: port A ── frame ──> port B: core 1      one frame at a time, there and back; halved: one way
//!                           <──── the same ──
//!   flood        core 0: port A ══ frames ═> port B: core 1      as many as go, in bursts
//! ```
//!
//! Both run over the same fabric (`lattice_cluster::Fabric`) as the daemons of the bench that shows them, in the same run,
//! on the same cores, busy polling with a core for each end. On a machine of two cores that is the best that any program
//! could do here; daemons and applications together have to share the same two.
//!
//! Frames are real ones as far as the XDP filter looks (magic, version, cluster, length): the filter is part of the path.
//! The smallest has 80 bytes ([`SMALLEST_FRAME_BYTES`]), a full one [`MAX_FRAME_BYTES`].
//!
//! A veth pair does the receiver's part of the kernel's work on the sender's core (in the softirq that its `sendto` ends
//! with), so the sender is what a flood is bounded by.

mod flood;
mod ping_pong;

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use lattice_bpf::{Config, Mode, XdpProgram};
use lattice_cluster::network::{HOST_INTERFACE, Network};
use lattice_cluster::switch::mac;
use lattice_cluster::{ClusterSpec, Fabric, Faults, HostPlan};
use lattice_port::{MAX_FRAME_BYTES, PeerSlot, Port, Route, UdpConfig, UdpPort, XdpConfig, XdpPort};

pub use flood::{Flood, flood};
pub use ping_pong::one_way;

/// The smallest frame that the XDP filter lets through: a header and a tag.
pub const SMALLEST_FRAME_BYTES: usize = 80;

/// The only peer of either end.
const PEER: PeerSlot = PeerSlot(0);
/// What the filters let through.
pub const CLUSTER_TAG: u32 = 0x1A77_1CED;
/// As the daemon's default, so that a flood meets the same rings.
const UMEM_FRAMES: u32 = 8192;

/// How frames are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// AF_XDP, the program in the driver's receive path.
    XdpDriver,
    /// AF_XDP, the program in the generic receive path.
    XdpGeneric,
    /// Kernel UDP sockets.
    Udp,
}

impl PortKind {
    /// All of them, the fastest first.
    pub const ALL: [PortKind; 3] = [PortKind::XdpDriver, PortKind::XdpGeneric, PortKind::Udp];

    /// The name, as daemons print it on their `ready` line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            PortKind::XdpDriver => "xdp-driver",
            PortKind::XdpGeneric => "xdp-generic",
            PortKind::Udp => "udp",
        }
    }
}

/// Two hosts of one shard, and a port on each, whose only peer (slot 0) is the other.
pub struct Line {
    // Dropped in this order: ports, then what they stand on.
    ports: [Box<dyn Port>; 2],
    ground: Ground,
}

/// What ports stand on; to be dropped after them.
pub struct Ground {
    // Programs before the network that they are attached in.
    _programs: Vec<XdpProgram>,
    _network: Network,
    /// The shard's UDP port.
    pub udp_port: u16,
}

impl Line {
    /// Builds the network and opens the ports.
    ///
    /// # Errors
    /// Without root, namespaces or AF_XDP: ask `lattice_cluster::Environment` before.
    pub fn open(fabric: Fabric, kind: PortKind) -> Result<Line> {
        let directory = tempfile::tempdir()?;
        let spec = ClusterSpec { hosts: 2, shards: 1, fabric, ..ClusterSpec::default() };
        let plans = spec.write_plans(directory.path())?;
        let network = Network::build(fabric, &plans, Faults::NONE, 1)?;
        let mut programs = Vec::new();
        let mut open = |host: usize| -> Result<Box<dyn Port>> {
            match kind {
                PortKind::Udp => network.enter(host, || open_udp(&plans[host], &plans[1 - host]))?,
                PortKind::XdpDriver | PortKind::XdpGeneric => {
                    let (port, program) =
                        network.enter(host, || open_xdp(&plans[host], &plans[1 - host], host, kind))??;
                    programs.push(program);
                    Ok(port)
                }
            }
        };
        let ports = [open(0)?, open(1)?];
        let ground = Ground { _programs: programs, _network: network, udp_port: plans[0].base_port };
        Ok(Line { ports, ground })
    }

    /// The ports alone, for a worker to own, and what they stand on.
    #[must_use]
    pub fn split(self) -> ([Box<dyn Port>; 2], Ground) {
        (self.ports, self.ground)
    }

    /// How its frames move, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        self.ports[0].describe()
    }
}

fn open_udp(plan: &HostPlan, other: &HostPlan) -> Result<Box<dyn Port>> {
    let config =
        UdpConfig { local: plan.address, peers: vec![other.address], udp_ports: plan.udp_ports().collect() };
    Ok(Box::new(UdpPort::bind(config)?))
}

fn open_xdp(
    plan: &HostPlan,
    other: &HostPlan,
    host: usize,
    kind: PortKind,
) -> Result<(Box<dyn Port>, XdpProgram)> {
    let config = Config {
        local: plan.address,
        cluster_tag: CLUSTER_TAG,
        port_base: plan.base_port,
        port_count: plan.shards,
        control_port: None,
        sources: vec![other.address],
    };
    let mode = if kind == PortKind::XdpGeneric { Mode::Generic } else { Mode::Driver };
    let mut program = XdpProgram::attach(HOST_INTERFACE, &config, mode)?;
    let port_config = XdpConfig { queue: 0, peers: vec![other.address], umem_frames: UMEM_FRAMES };
    let mut port = XdpPort::open(port_config, &mut program)?;
    port.set_route(PEER, Some(Route { next_hop_mac: mac(1 - host) }));
    Ok((Box::new(port), program))
}

/// A frame that the XDP filter lets through, of that many bytes in all.
fn frame(bytes: usize) -> Vec<u8> {
    let bytes = bytes.clamp(SMALLEST_FRAME_BYTES, MAX_FRAME_BYTES);
    let mut frame: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
    let payload_bytes = bytes - SMALLEST_FRAME_BYTES;
    frame[0..2].copy_from_slice(&lattice_wire::MAGIC);
    frame[2] = lattice_wire::VERSION;
    frame[4..8].copy_from_slice(&CLUSTER_TAG.to_le_bytes());
    frame[14..16].copy_from_slice(&(payload_bytes as u16).to_le_bytes());
    frame
}

/// Pins the calling thread. On a machine with fewer cores the ends share one, and the figures say so by themselves.
fn pin(core: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
}

/// Runs `receiver` on core 1 until `sender`, on core 0, has returned (or panicked).
fn both<T: Send>(
    line: &mut Line,
    sender: impl FnOnce(&mut dyn Port, u16) -> Result<T> + Send,
    receiver: impl FnOnce(&mut dyn Port, u16, &AtomicBool) -> Result<()> + Send,
) -> Result<T> {
    let udp_port = line.ground.udp_port;
    let [left, right] = &mut line.ports;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            pin(1);
            receiver(&mut **right, udp_port, &done)
        });
        let sending = scope.spawn(|| {
            pin(0);
            let _stop = StopOnDrop(&done);
            sender(&mut **left, udp_port)
        });
        let sent = sending.join().ok().context("the sending end panicked")?;
        receiving.join().ok().context("the receiving end panicked")??;
        sent
    })
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        // Relaxed: the flag carries no data, and the threads' join orders the rest.
        self.0.store(true, Ordering::Relaxed);
    }
}
