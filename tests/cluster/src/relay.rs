//! The network between hosts on loopback addresses: a relay that owns the addresses by which hosts know each other.
//!
//! Without root there are no namespaces and no links to cut. But all of 127.0.0.0/8 may be bound by anyone, so every
//! ordered pair of hosts gets an address of its own, and the relay stands behind it:
//!
//! ```text
//!   host-a 127.77.0.1 ──> 127.77.1.2 ("b, as a knows it") │relay│ 127.77.2.1 ("a, as b knows it") ──> 127.77.0.2 host-b
//! ```
//!
//! What arrives at one end leaves by the other, from the very address that its receiver expects of this peer. So a daemon
//! sees an ordinary peer at an ordinary address, and the relay can lose, double, hold back or cut, as the switch does.
//! The price is one more hop through this process, which latencies over loopback include.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use anyhow::{Context, Result, bail};

use crate::config::HostPlan;
use crate::fault::Controls;
use crate::forwarder::{Forwarder, Medium};

/// A running relay; it stops when dropped.
#[derive(Debug)]
pub struct Relay {
    controls: Arc<Controls>,
    _forwarder: Forwarder,
}

impl Relay {
    /// Starts a relay for every pair of hosts, on every port of theirs, as their configurations name each other.
    ///
    /// Fails when a pair does not name each other, or an address is taken.
    pub fn start(plans: &[HostPlan], controls: Controls, seed: u64) -> Result<Relay> {
        let mut ends = Vec::new();
        for (left, plan) in plans.iter().enumerate() {
            for (right, other) in plans.iter().enumerate().skip(left + 1) {
                for port in plan.udp_ports() {
                    let left_end = End::bind(left, plan, other, port)?;
                    let right_end = End::bind(right, other, plan, port)?;
                    // Neighbours in the list are opposite ends: see `opposite`.
                    ends.extend([left_end, right_end]);
                }
            }
        }
        let controls = Arc::new(controls);
        let forwarder = Forwarder::start(Ends { ends }, controls.clone(), seed)?;
        Ok(Relay { controls, _forwarder: forwarder })
    }

    /// The handle to its faults and counters.
    pub fn controls(&self) -> &Controls {
        &self.controls
    }
}

/// The relay's end towards one host: bound to the address by which that host knows a peer.
struct End {
    host: usize,
    host_address: SocketAddr,
    socket: UdpSocket,
}

impl End {
    fn bind(host: usize, plan: &HostPlan, peer: &HostPlan, port: u16) -> Result<End> {
        let Some(known_as) = plan.address_of_peer(peer.node) else {
            bail!("{} does not name {} among its peers", plan.name, peer.name);
        };
        if known_as == peer.address {
            bail!(
                "{} knows {} by its own address {known_as}: nothing is left for the relay",
                plan.name,
                peer.name
            );
        }
        let socket = UdpSocket::bind((known_as, port)).with_context(|| {
            format!(
                "can't bind {known_as}:{port} for the relay: is another cluster running on these addresses?"
            )
        })?;
        socket.set_nonblocking(true)?;
        Ok(End { host, host_address: SocketAddr::new(plan.address, port), socket })
    }
}

struct Ends {
    ends: Vec<End>,
}

/// The other end of the same pair and port.
fn opposite(endpoint: usize) -> usize {
    endpoint ^ 1
}

impl Medium for Ends {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.ends.iter().map(|end| end.socket.as_fd()).collect()
    }

    fn host(&self, endpoint: usize) -> usize {
        self.ends[endpoint].host
    }

    fn receive(&mut self, endpoint: usize, buffer: &mut [u8]) -> Option<usize> {
        let end = &self.ends[endpoint];
        loop {
            match end.socket.recv_from(buffer) {
                // Strangers are not relayed: the receiver would take them for its peer.
                Ok((length, source)) if source.ip() == end.host_address.ip() => return Some(length),
                Ok(_) => {}
                // Linux reports an earlier ICMP "port unreachable" here, for a daemon that is down; the next may do.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => return None,
            }
        }
    }

    fn destinations(&self, source: usize, _frame: &[u8], destinations: &mut Vec<usize>) {
        destinations.push(opposite(source));
    }

    /// It relays nothing else.
    fn is_of_daemons(&self, _frame: &[u8]) -> bool {
        true
    }

    fn send(&mut self, endpoint: usize, frame: &[u8]) -> io::Result<()> {
        let end = &self.ends[endpoint];
        end.socket.send_to(frame, end.host_address).map(drop)
    }
}

/// A /16 of loopback addresses on which nothing is bound yet at `port`: `127.n.0.0`, first choice by this process's pid.
///
/// The address is free at the time of the look only; a bind that fails afterwards says so.
pub fn free_loopback_block(port: u16) -> Result<u8> {
    // 127.0, 127.1 are in common use (resolvers), 127.77 is the demo's.
    let first = std::process::id() % 100;
    for attempt in 0..100 {
        let block = 100 + ((first + attempt) % 100) as u8;
        if UdpSocket::bind((IpAddr::from([127, block, 0, 1]), port)).is_ok() {
            return Ok(block);
        }
    }
    bail!("no free block of loopback addresses at port {port}")
}
