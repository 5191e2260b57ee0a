//! The words that ports and their users share.

use std::fmt;
use std::net::IpAddr;

/// How a port moves frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PortMode {
    /// AF_XDP with the XDP program in the driver's receive path.
    XdpDriver,
    /// AF_XDP with the XDP program in the generic receive path (after the kernel made a socket buffer).
    XdpGeneric,
    /// Kernel UDP sockets.
    Udp,
    /// Queues in this process.
    Memory,
}

impl PortMode {
    /// The name in reports, metrics and `latticectl`: `xdp-driver`, `xdp-generic`, `udp` or `memory`.
    pub const fn name(self) -> &'static str {
        match self {
            PortMode::XdpDriver => "xdp-driver",
            PortMode::XdpGeneric => "xdp-generic",
            PortMode::Udp => "udp",
            PortMode::Memory => "memory",
        }
    }
}

impl fmt::Display for PortMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Index of a peer in the list of addresses that a port was opened with.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PeerSlot(pub u16);

/// How to reach a peer on the link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Route {
    /// Ethernet address of the peer, or of the router towards it.
    pub next_hop_mac: [u8; 6],
}

/// One received frame, borrowed for the length of the call that hands it over.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The UDP payload: untrusted bytes, at most [`crate::MAX_FRAME_BYTES`] of them.
    pub frame: &'a [u8],
    /// Source address; one of the peers'.
    pub source: IpAddr,
    /// Destination UDP port: says which shard.
    pub udp_port: u16,
}
