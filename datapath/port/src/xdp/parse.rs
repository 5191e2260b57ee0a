//! From a received packet to the frame in it.
//!
//! The XDP program let through what it could recognise; this is the same walk again over the bytes that arrived in
//! shared memory, with every length checked, because nothing that user space dereferences may rest on another program's
//! word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::headers::{
    ETHERNET_BYTES, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_BYTES, IPV6_BYTES, PROTOCOL_UDP, UDP_BYTES,
};
use crate::{MAX_FRAME_BYTES, Received};

const VLAN_TAG_BYTES: usize = 4;
const MAX_VLAN_TAGS: usize = 2;
const ETHERTYPE_VLAN: [u8; 2] = [0x81, 0x00];
const ETHERTYPE_QINQ: [u8; 2] = [0x88, 0xA8];

/// Why a packet holds no frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unusable {
    /// Not Ethernet, IP and UDP of consistent lengths.
    Malformed,
    /// The UDP payload is longer than a frame can be.
    Oversize,
}

/// Finds the frame in a packet.
pub(super) fn parse(packet: &[u8]) -> Result<Received<'_>, Unusable> {
    let (source, udp) = ip(packet).ok_or(Unusable::Malformed)?;
    let (header, payload) = udp.split_at_checked(UDP_BYTES).ok_or(Unusable::Malformed)?;
    let udp_length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if udp_length != udp.len() {
        return Err(Unusable::Malformed);
    }
    if payload.len() > MAX_FRAME_BYTES {
        return Err(Unusable::Oversize);
    }
    Ok(Received { frame: payload, source, udp_port: u16::from_be_bytes([header[2], header[3]]) })
}

/// The source address, and the IP payload: the UDP datagram.
fn ip(packet: &[u8]) -> Option<(IpAddr, &[u8])> {
    let (ethernet, mut rest) = packet.split_at_checked(ETHERNET_BYTES)?;
    let mut ethertype = [ethernet[12], ethernet[13]];
    for _ in 0..MAX_VLAN_TAGS {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        let (tag, inner) = rest.split_at_checked(VLAN_TAG_BYTES)?;
        ethertype = [tag[2], tag[3]];
        rest = inner;
    }
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(rest),
        ETHERTYPE_IPV6 => ipv6(rest),
        _ => None,
    }
}

fn ipv4(packet: &[u8]) -> Option<(IpAddr, &[u8])> {
    let header: &[u8; IPV4_BYTES] = packet.first_chunk()?;
    let header_bytes = usize::from(header[0] & 0x0F) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3FFF;
    if header[0] >> 4 != 4 || header_bytes < IPV4_BYTES || header[9] != PROTOCOL_UDP || fragment != 0 {
        return None;
    }
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    Some((source.into(), packet.get(header_bytes..total)?))
}

fn ipv6(packet: &[u8]) -> Option<(IpAddr, &[u8])> {
    let (header, rest): (&[u8; IPV6_BYTES], &[u8]) = packet.split_first_chunk()?;
    let payload_bytes = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if header[0] >> 4 != 6 || header[6] != PROTOCOL_UDP {
        return None;
    }
    let source: [u8; 16] = header[8..24].try_into().ok()?;
    Some((Ipv6Addr::from(source).into(), rest.get(..payload_bytes)?))
}
