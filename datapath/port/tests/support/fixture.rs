//! The networks that the conformance suite runs over. Each has two ports that are each other's only peer (slot 0), and a
//! stranger who may send to the right one although that does not count it among its peers.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use lattice_bpf::{AttachedMode, Config, Mode, XdpProgram};
use lattice_port::memory::{self, MemoryNode};
use lattice_port::{PeerSlot, Port, Route, UdpConfig, UdpPort, XdpConfig, XdpPort};

use super::veth::{INTERFACE, MACS, Veth, address};
use super::{CLUSTER_TAG, UDP_PORTS};

/// Frames of each AF_XDP port's memory.
pub const UMEM_FRAMES: u32 = 512;
/// Frames that a memory port holds.
const MEMORY_FRAMES: usize = 256;

static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// Two ports, a stranger, and what they stand on.
pub struct Fixture {
    pub ports: [Box<dyn Port>; 2],
    pub addresses: [IpAddr; 2],
    pub stranger: Box<dyn Port>,
    pub port_base: u16,
    /// XDP programs of the sides that have one; each outlives its port.
    pub programs: [Option<XdpProgram>; 2],
    pub veth: Option<Veth>,
}

/// A range of UDP ports that no other test of this process uses.
fn fresh_ports() -> u16 {
    // Relaxed: the counter only has to be different each time.
    21_000 + NEXT_PORT.fetch_add(UDP_PORTS, Ordering::Relaxed)
}

fn udp(local: IpAddr, peer: IpAddr, port_base: u16) -> Box<dyn Port> {
    let udp_ports = (port_base..port_base + UDP_PORTS).collect();
    Box::new(UdpPort::bind(UdpConfig { local, peers: vec![peer], udp_ports }).unwrap())
}

impl Fixture {
    pub fn memory(ipv6: bool) -> Fixture {
        let addresses = [address(0, ipv6), address(1, ipv6)];
        let node = |local: IpAddr, peer: IpAddr| MemoryNode { local, peers: vec![peer] };
        let nodes = [
            node(addresses[0], addresses[1]),
            node(addresses[1], addresses[0]),
            node(address(2, ipv6), addresses[1]),
        ];
        let mut ports = memory::network(&nodes, MEMORY_FRAMES).unwrap().into_iter();
        let mut next = || -> Box<dyn Port> { Box::new(ports.next().unwrap()) };
        let (ports, stranger) = ([next(), next()], next());
        Fixture { ports, addresses, stranger, port_base: fresh_ports(), programs: [None, None], veth: None }
    }

    /// Over 127.0.0.0/8: addresses made of the process number keep parallel test runs apart.
    pub fn udp_loopback() -> Fixture {
        let port_base = fresh_ports();
        let process = std::process::id().to_be_bytes();
        let host = |last: u8| IpAddr::from([127, process[2] | 1, process[3], last]);
        let addresses = [host(1), host(2)];
        let ports = [udp(addresses[0], addresses[1], port_base), udp(addresses[1], addresses[0], port_base)];
        let stranger = udp(host(3), addresses[1], port_base);
        Fixture { ports, addresses, stranger, port_base, programs: [None, None], veth: None }
    }

    /// Over a veth pair: on each side AF_XDP in the given mode, or UDP.
    pub fn veth(ipv6: bool, sides: [Option<Mode>; 2]) -> Fixture {
        let veth = Veth::new(1);
        let port_base = fresh_ports();
        let addresses = [address(0, ipv6), address(1, ipv6)];
        let stranger = veth.on(0, || udp(address(2, ipv6), addresses[1], port_base));
        let mut programs = [None, None];
        let ports = [0, 1].map(|side| match sides[side] {
            Some(mode) => {
                let (port, program) = open_xdp(&veth, side, ipv6, port_base, mode, 0);
                programs[side] = Some(program);
                port
            }
            None => veth.on(side, || udp(addresses[side], addresses[1 - side], port_base)),
        });
        Fixture { ports, addresses, stranger, port_base, programs, veth: Some(veth) }
    }

    pub fn udp_port(&self, shard: u16) -> u16 {
        self.port_base + shard % UDP_PORTS
    }

    /// Frames that a side dropped because it did not know their source.
    pub fn unknown_sources(&self, side: usize) -> u64 {
        match &self.programs[side] {
            Some(program) => drops(program, "unknown_source"),
            None => self.ports[side].stats().unknown_source,
        }
    }
}

/// The XDP program's counter of one reason.
pub fn drops(program: &XdpProgram, reason: &str) -> u64 {
    let counters = program.drop_counters().unwrap();
    counters.iter().find(|(name, _)| *name == reason).unwrap().1
}

/// The program's settings on one side of a veth pair.
pub fn program_config(side: usize, ipv6: bool, port_base: u16) -> Config {
    Config {
        local: address(side, ipv6),
        cluster_tag: CLUSTER_TAG,
        port_base,
        port_count: UDP_PORTS,
        control_port: None,
        sources: vec![address(1 - side, ipv6)],
    }
}

/// Attaches a program and opens a port over it, its route set.
pub fn open_xdp(
    veth: &Veth,
    side: usize,
    ipv6: bool,
    port_base: u16,
    mode: Mode,
    queue: u32,
) -> (Box<dyn Port>, XdpProgram) {
    veth.on(side, || {
        let config = program_config(side, ipv6, port_base);
        let mut program = XdpProgram::attach(INTERFACE, &config, mode).unwrap();
        match mode {
            Mode::Generic => assert_eq!(program.mode(), AttachedMode::Generic),
            Mode::Driver | Mode::Auto => {
                assert_eq!(program.mode(), AttachedMode::Driver, "{}", program.describe())
            }
        }
        let port = open_queue(&mut program, side, ipv6, queue);
        (Box::new(port) as Box<dyn Port>, program)
    })
}

/// Opens a port on one queue of a program's interface, its route set. For a thread inside the side's namespace.
pub fn open_queue(program: &mut XdpProgram, side: usize, ipv6: bool, queue: u32) -> XdpPort {
    let peers = vec![address(1 - side, ipv6)];
    let mut port = XdpPort::open(XdpConfig { queue, peers, umem_frames: UMEM_FRAMES }, program).unwrap();
    port.set_route(PeerSlot(0), Some(Route { next_hop_mac: MACS[1 - side] }));
    port
}
