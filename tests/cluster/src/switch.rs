//! A switch in this process: it forwards Ethernet frames between the switch-side ends of the hosts' links, with faults.
//!
//! It stands in for the kernel's bridge where a test wants frames lost, doubled, held back or cut off, from a seed.
//! (There is no `netem` on every machine, and AF_XDP transmit bypasses queueing disciplines anyway.) A host's hardware
//! address tells its port ([`mac`]), so there is nothing to learn; frames to groups go to every other port.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::cluster::BASE_PORT;
use crate::fault::Controls;
use crate::forwarder::{Forwarder, Medium};
use crate::namespace::Namespace;
use crate::packet::PacketSocket;

/// The hardware address of a host's interface: locally administered, with the host's index + 1 in its last byte.
pub fn mac(host: usize) -> [u8; 6] {
    [0x02, b'L', b'T', 0, 0, host as u8 + 1]
}

/// A running switch; it stops when dropped.
#[derive(Debug)]
pub struct Switch {
    controls: Arc<Controls>,
    _forwarder: Forwarder,
}

impl Switch {
    /// Starts a switch over the named interfaces of `namespace`; interface `i` leads to host `i`.
    pub fn start(
        namespace: &Namespace,
        interfaces: &[String],
        controls: Controls,
        seed: u64,
    ) -> Result<Switch> {
        let sockets: io::Result<Vec<PacketSocket>> =
            namespace.enter(|| interfaces.iter().map(|name| PacketSocket::open(name)).collect())?;
        let ports = Ports { sockets: sockets.context("can't open packet sockets at the switch's ports")? };
        let controls = Arc::new(controls);
        let forwarder = Forwarder::start(ports, controls.clone(), seed)?;
        Ok(Switch { controls, _forwarder: forwarder })
    }

    /// The handle to its faults and counters.
    pub fn controls(&self) -> &Controls {
        &self.controls
    }
}

/// One packet socket per host.
struct Ports {
    sockets: Vec<PacketSocket>,
}

impl Medium for Ports {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.sockets.iter().map(|socket| socket.fd().as_fd()).collect()
    }

    fn host(&self, endpoint: usize) -> usize {
        endpoint
    }

    fn receive(&mut self, endpoint: usize, buffer: &mut [u8]) -> Option<usize> {
        self.sockets[endpoint].receive(buffer)
    }

    fn destinations(&self, source: usize, frame: &[u8], destinations: &mut Vec<usize>) {
        destinations.extend(out_ports(source, self.sockets.len(), frame));
    }

    fn is_of_daemons(&self, frame: &[u8]) -> bool {
        udp_port(frame).is_some_and(|port| DAEMON_PORTS.contains(&port))
    }

    fn send(&mut self, endpoint: usize, frame: &[u8]) -> io::Result<()> {
        self.sockets[endpoint].send(frame)
    }
}

/// UDP ports of all shards that a cluster in namespaces may have.
const DAEMON_PORTS: std::ops::Range<u16> = BASE_PORT..BASE_PORT + 64;

/// The UDP port that a frame is for: Ethernet (IEEE 802.3), IPv4 (RFC 791) or IPv6 (RFC 8200) without extensions, UDP.
fn udp_port(frame: &[u8]) -> Option<u16> {
    const UDP: u8 = 17;
    let number = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let (protocol, udp_at) = match number(12)? {
        0x0800 => (*frame.get(23)?, 14 + usize::from(frame.get(14)? & 0x0F) * 4),
        0x86DD => (*frame.get(20)?, 14 + 40),
        _ => return None,
    };
    if protocol == UDP { number(udp_at + 2) } else { None }
}

/// The ports by which a frame leaves: the one of its destination address, or all but its own for a group address.
fn out_ports(source: usize, ports: usize, frame: &[u8]) -> impl Iterator<Item = usize> {
    let destination = frame.get(..6);
    // The lowest bit of the first octet marks group addresses, broadcast among them (IEEE 802.3, 3.2.3).
    let is_group = destination.is_some_and(|address| address[0] & 1 == 1);
    let wanted: Option<[u8; 6]> = destination.and_then(|address| address.try_into().ok());
    (0..ports).filter(move |&port| port != source && (is_group || wanted == Some(mac(port))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves_by(source: usize, destination: &[u8]) -> Vec<usize> {
        out_ports(source, 3, destination).collect()
    }

    #[test]
    fn frames_of_daemons_are_known_by_their_port() {
        let frame = |ether_type: u16, header: &[u8], port: u16| {
            let (addresses, source_port) = ([0; 12], [0; 2]);
            [&addresses[..], &ether_type.to_be_bytes(), header, &source_port, &port.to_be_bytes(), b"...."]
                .concat()
        };
        let mut v4 = [0; 24];
        (v4[0], v4[9]) = (0x46, 17);
        let mut v6 = [0; 40];
        v6[6] = 17;
        assert_eq!(udp_port(&frame(0x0800, &v4, 7403)), Some(7403));
        assert_eq!(udp_port(&frame(0x86DD, &v6, 7390)), Some(7390));
        v6[6] = 58;
        assert_eq!(udp_port(&frame(0x86DD, &v6, 7400)), None, "ICMPv6");
        assert_eq!(udp_port(&frame(0x0806, &v4, 7400)), None, "ARP");
        assert_eq!(udp_port(&frame(0x0800, &v4, 7403)[..36]), None, "a runt");
    }

    #[test]
    fn frames_leave_by_the_port_of_their_destination() {
        assert_eq!(leaves_by(0, &mac(2)), [2]);
        assert_eq!(leaves_by(2, &mac(2)), [0; 0], "never back to where they came from");
        assert_eq!(leaves_by(1, &[0xff; 6]), [0, 2]);
        assert_eq!(leaves_by(1, &[0x33, 0x33, 0, 0, 0, 1]), [0, 2]);
        assert_eq!(leaves_by(0, &[2, 0, 0, 0, 0, 9]), [0; 0], "unknown hosts get nothing");
        assert_eq!(leaves_by(0, &[1, 2, 3]), [0; 0], "a runt is dropped");
    }
}
