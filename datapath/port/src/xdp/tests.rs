//! Headers, parsing and the ledger, without a socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use xsk_rs::FrameDesc;

use super::frames::{Ledger, Place};
use super::headers::{HeaderTemplate, fold, sum};
use super::parse::{Unusable, parse};
use crate::{MAX_FRAME_BYTES, Route};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const NEXT_HOP: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// The checksum as RFC 1071 describes it: 16 bits at a time, in network order.
fn reference_checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

fn packet(local: IpAddr, peer: IpAddr, udp_port: u16, frame: &[u8]) -> Vec<u8> {
    let mut headers = HeaderTemplate::new(MAC, local, peer).unwrap();
    headers.set_route(Some(Route { next_hop_mac: NEXT_HOP }));
    let mut packet = vec![0xEE; 2048];
    let length = headers.write(&mut packet, udp_port, frame).unwrap();
    packet.truncate(length);
    packet
}

fn with_vlan_tags(packet: &[u8], tags: usize) -> Vec<u8> {
    let tag = [0x81, 0x00, 0x00, 0x07].repeat(tags);
    [&packet[..12], &tag, &packet[12..]].concat()
}

fn v4() -> impl Strategy<Value = IpAddr> {
    any::<[u8; 4]>().prop_map(|octets| Ipv4Addr::from(octets).into())
}

fn v6() -> impl Strategy<Value = IpAddr> {
    any::<[u8; 16]>().prop_map(|octets| Ipv6Addr::from(octets).into())
}

fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![(v4(), v4()), (v6(), v6())]
}

#[test]
fn ipv4_header_is_what_the_rfc_says() {
    let packet = packet([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 7400, &[0xAB; 80]);
    assert_eq!(packet[0..14], [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x08, 0x00]);
    assert_eq!(packet[14..24], [0x45, 0, 0, 108, 0, 0, 0x40, 0, 64, 17]);
    assert_eq!(reference_checksum(&[&packet[14..34]]), 0, "a header with its checksum sums to zero");
    assert_eq!(packet[26..34], [10, 0, 0, 1, 10, 0, 0, 2]);
    assert_eq!(packet[34..42], [0x1C, 0xE8, 0x1C, 0xE8, 0, 88, 0, 0]);
    assert_eq!(packet[42..], [0xAB; 80]);
}

#[test]
fn ipv6_udp_checksum_is_never_zero() {
    // The payload's first word is chosen so that everything sums to 0xFFFF, whose complement is 0.
    let (local, peer): (IpAddr, IpAddr) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
    let checksum_of = |word: u16| {
        let packet = packet(local, peer, 7400, &word.to_be_bytes());
        u16::from_be_bytes([packet[60], packet[61]])
    };
    assert_eq!(checksum_of(checksum_of(0)), 0xFFFF);
}

#[test]
fn mixed_families_and_long_frames_are_refused() {
    assert!(HeaderTemplate::new(MAC, [10, 0, 0, 1].into(), "fd00::1".parse().unwrap()).is_err());
    let headers = HeaderTemplate::new(MAC, [10, 0, 0, 1].into(), [10, 0, 0, 2].into()).unwrap();
    assert!(!headers.is_routed());
    let frame = [0; MAX_FRAME_BYTES + 1];
    assert_eq!(headers.write(&mut [0; 2048], 1, &frame), None);
    assert_eq!(headers.write(&mut [0; 121], 1, &frame[..80]), None);
    assert_eq!(headers.write(&mut [0; 122], 1, &frame[..80]), Some(122));
}

#[test]
fn a_datagram_longer_than_a_frame_is_oversize() {
    let mut long = packet([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 1, &[0; MAX_FRAME_BYTES]);
    assert_eq!(parse(&long).unwrap().frame.len(), MAX_FRAME_BYTES);
    long.push(0);
    let bytes = MAX_FRAME_BYTES as u16 + 1;
    long[16..18].copy_from_slice(&(28 + bytes).to_be_bytes());
    long[38..40].copy_from_slice(&(8 + bytes).to_be_bytes());
    assert_eq!(parse(&long).unwrap_err(), Unusable::Oversize);
}

#[test]
fn the_ledger_takes_each_frame_back_once() {
    // Addresses as a new shared memory hands them out: 256 bytes into each frame. Only a memory can make others, so two
    // of the default (address 0) stand for a frame and its double here.
    let (mut ledger, mut frames) = Ledger::new(vec![FrameDesc::default(); 1]);
    let frame = frames.pop().unwrap();
    assert!(ledger.claim(*frame.descriptor(), Place::KernelTransmit, Place::Free).is_none(), "never lent");
    let descriptor = ledger.lend(frame, Place::KernelReceive);
    assert_eq!(ledger.census().kernel_receive, 1);
    assert!(ledger.claim(descriptor, Place::KernelTransmit, Place::Free).is_none(), "lent elsewhere");
    assert!(ledger.claim(descriptor, Place::KernelReceive, Place::Held).is_some());
    assert!(ledger.claim(descriptor, Place::KernelReceive, Place::Held).is_none(), "only once");
    assert_eq!(ledger.census().held, 1);
    ledger.census().check().unwrap();
    let (mut empty, _) = Ledger::new(Vec::new());
    assert!(empty.claim(descriptor, Place::KernelReceive, Place::Held).is_none(), "out of range");
}

proptest! {
    #[test]
    fn what_is_written_is_parsed(
        (local, peer) in addresses(),
        udp_port: u16,
        frame in prop::collection::vec(any::<u8>(), 0..=MAX_FRAME_BYTES),
        tags in 0usize..=2,
    ) {
        let packet = with_vlan_tags(&packet(local, peer, udp_port, &frame), tags);
        let received = parse(&packet).unwrap();
        prop_assert_eq!((received.frame, received.source, received.udp_port), (&frame[..], local, udp_port));
        // A driver may pad short packets: what lies beyond the IP length does not matter.
        let padded = [&packet[..], &[0; 30]].concat();
        prop_assert_eq!(parse(&padded).unwrap().frame, &frame[..]);
        prop_assert!(parse(&packet[..packet.len() - 1]).is_err());
    }

    #[test]
    fn checksums_are_those_of_the_rfc(
        (local, peer) in addresses(),
        frame in prop::collection::vec(any::<u8>(), 0..=MAX_FRAME_BYTES),
    ) {
        let packet = packet(local, peer, 7400, &frame);
        if local.is_ipv4() {
            prop_assert_eq!(reference_checksum(&[&packet[14..34]]), 0);
            prop_assert_eq!(&packet[40..42], &[0, 0]);
        } else {
            let length = (8 + frame.len()) as u32;
            let pseudo = [&packet[22..54], &length.to_be_bytes(), &[0, 0, 0, 17]].concat();
            prop_assert_eq!(reference_checksum(&[&pseudo, &packet[54..]]), 0);
            prop_assert_ne!(&packet[60..62], &[0, 0]);
        }
    }

    #[test]
    fn sums_are_those_of_the_rfc(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert_eq!(!fold(sum(&bytes)), reference_checksum(&[&bytes]).to_be());
    }

    #[test]
    fn parsing_anything_is_safe(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    /// Near misses: a good packet with some bytes changed, which gets further than random bytes do.
    #[test]
    fn parsing_almost_packets_is_safe(
        (local, peer) in addresses(),
        tags in 0usize..=3,
        changes in prop::collection::vec((0usize..150, any::<u8>()), 0..4),
        cut in 0usize..150,
    ) {
        let mut packet = with_vlan_tags(&packet(local, peer, 1, &[7; 80]), tags);
        for (at, value) in changes {
            if let Some(byte) = packet.get_mut(at) {
                *byte = value;
            }
        }
        packet.truncate(packet.len().saturating_sub(cut));
        if let Ok(received) = parse(&packet) {
            prop_assert!(received.frame.len() <= packet.len() - 42);
        }
    }
}
