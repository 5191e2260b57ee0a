//! Ethernet, IP and UDP headers: built once per peer, completed for each frame.
//!
//! ```text
//!   0            14                        34 (IPv4) or 54 (IPv6)     42 or 62
//!   | Ethernet   | IPv4 (20) or IPv6 (40)  | UDP (8)                  | frame ...
//!     next hop's   all but the lengths       ports and length:
//!     MAC; own     and the IPv4 checksum     per frame; checksum: see below
//! ```
//!
//! The IPv4 checksum covers the header only, so its sum is prepared and one addition completes it. The UDP checksum is 0
//! on IPv4 (RFC 768: not used) and computed on IPv6, where 0 is not allowed (RFC 8200 §8.1). The frame has a stronger
//! check of its own, so neither is verified on receive.

use std::net::IpAddr;

use crate::{MAX_FRAME_BYTES, OpenError, Route};

pub(super) const ETHERNET_BYTES: usize = 14;
pub(super) const IPV4_BYTES: usize = 20;
pub(super) const IPV6_BYTES: usize = 40;
pub(super) const UDP_BYTES: usize = 8;
pub(super) const PROTOCOL_UDP: u8 = 17;
pub(super) const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
pub(super) const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xDD];
const MAX_HEADER_BYTES: usize = ETHERNET_BYTES + IPV6_BYTES + UDP_BYTES;
const HOP_LIMIT: u8 = 64;

// The length fields are 16 bits wide; no frame comes near.
const _: () = assert!(IPV4_BYTES + UDP_BYTES + MAX_FRAME_BYTES <= u16::MAX as usize);

/// The headers of frames to one peer.
pub(super) struct HeaderTemplate {
    bytes: [u8; MAX_HEADER_BYTES],
    length: usize,
    is_ipv4: bool,
    /// Sum of the words that don't change: the IPv4 header's, or the addresses and protocol of the IPv6 pseudo-header.
    fixed_sum: u64,
    routed: bool,
}

impl HeaderTemplate {
    /// Prepares headers from `local` to `peer`, without a next hop yet.
    ///
    /// # Errors
    /// [`OpenError::Config`] when the two are not of one address family.
    pub fn new(source_mac: [u8; 6], local: IpAddr, peer: IpAddr) -> Result<HeaderTemplate, OpenError> {
        let mut bytes = [0; MAX_HEADER_BYTES];
        bytes[6..12].copy_from_slice(&source_mac);
        let ip = ETHERNET_BYTES;
        let (length, is_ipv4, fixed_sum) = match (local, peer) {
            (IpAddr::V4(local), IpAddr::V4(peer)) => {
                bytes[12..14].copy_from_slice(&ETHERTYPE_IPV4);
                bytes[ip] = 0x45; // version 4, 5 words
                bytes[ip + 6] = 0x40; // don't fragment
                bytes[ip + 8] = HOP_LIMIT;
                bytes[ip + 9] = PROTOCOL_UDP;
                bytes[ip + 12..ip + 16].copy_from_slice(&local.octets());
                bytes[ip + 16..ip + 20].copy_from_slice(&peer.octets());
                (ip + IPV4_BYTES + UDP_BYTES, true, sum(&bytes[ip..ip + IPV4_BYTES]))
            }
            (IpAddr::V6(local), IpAddr::V6(peer)) => {
                bytes[12..14].copy_from_slice(&ETHERTYPE_IPV6);
                bytes[ip] = 0x60; // version 6
                bytes[ip + 6] = PROTOCOL_UDP;
                bytes[ip + 7] = HOP_LIMIT;
                bytes[ip + 8..ip + 24].copy_from_slice(&local.octets());
                bytes[ip + 24..ip + 40].copy_from_slice(&peer.octets());
                let addresses = sum(&bytes[ip + 8..ip + 40]);
                (ip + IPV6_BYTES + UDP_BYTES, false, addresses + u64::from(u16::from(PROTOCOL_UDP).to_be()))
            }
            _ => {
                return Err(OpenError::Config(format!(
                    "peer {peer} is not of the address family of {local}"
                )));
            }
        };
        Ok(HeaderTemplate { bytes, length, is_ipv4, fixed_sum, routed: false })
    }

    pub fn set_route(&mut self, route: Option<Route>) {
        self.routed = route.is_some();
        if let Some(route) = route {
            self.bytes[0..6].copy_from_slice(&route.next_hop_mac);
        }
    }

    /// Bytes before the frame.
    pub fn header_bytes(&self) -> usize {
        self.length
    }

    pub fn is_routed(&self) -> bool {
        self.routed
    }

    /// Writes headers and frame into `packet` and returns their length; `None` when they don't fit or the frame is
    /// longer than a frame can be: `packet` is unspecified then.
    pub fn write(&self, packet: &mut [u8], udp_port: u16, frame: &[u8]) -> Option<usize> {
        let total = self.length + frame.len();
        if frame.len() > MAX_FRAME_BYTES || packet.len() < total {
            return None;
        }
        let (headers, rest) = packet.split_at_mut(self.length);
        headers.copy_from_slice(&self.bytes[..self.length]);
        rest[..frame.len()].copy_from_slice(frame);

        let udp_length = ((UDP_BYTES + frame.len()) as u16).to_be_bytes();
        let udp = self.length - UDP_BYTES;
        headers[udp..udp + 2].copy_from_slice(&udp_port.to_be_bytes());
        headers[udp + 2..udp + 4].copy_from_slice(&udp_port.to_be_bytes());
        headers[udp + 4..udp + 6].copy_from_slice(&udp_length);
        let ip = ETHERNET_BYTES;
        if self.is_ipv4 {
            let ip_length = ((IPV4_BYTES + UDP_BYTES + frame.len()) as u16).to_be_bytes();
            headers[ip + 2..ip + 4].copy_from_slice(&ip_length);
            let checksum = !fold(self.fixed_sum + u64::from(u16::from_ne_bytes(ip_length)));
            headers[ip + 10..ip + 12].copy_from_slice(&checksum.to_ne_bytes());
        } else {
            headers[ip + 4..ip + 6].copy_from_slice(&udp_length);
            let pseudo_header = self.fixed_sum + u64::from(u16::from_ne_bytes(udp_length));
            let checksum = !fold(pseudo_header + sum(&headers[udp..]) + sum(frame));
            // A checksum that comes out as 0 is sent as its other form, all ones (RFC 8200 §8.1).
            let checksum = if checksum == 0 { u16::MAX } else { checksum };
            headers[udp + 6..udp + 8].copy_from_slice(&checksum.to_ne_bytes());
        }
        Some(total)
    }
}

/// The unfolded ones' complement sum of `bytes` in the host's byte order, an odd last byte padded with 0. The order does
/// not matter as long as the result is stored in the same one (RFC 1071 §2): so four bytes are added at a time, and a
/// frame's worth of them can't overflow.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(4);
    let mut sum = 0u64;
    for word in &mut words {
        sum += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut last = [0; 4];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    sum + u64::from(u32::from_ne_bytes(last))
}

/// Folds a sum to 16 bits, the carries added in.
pub(super) fn fold(mut sum: u64) -> u16 {
    while sum > u64::from(u16::MAX) {
        sum = (sum & u64::from(u16::MAX)) + (sum >> 16);
    }
    sum as u16
}
