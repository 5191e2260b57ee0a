//! Packets for the filter's tests, built from their parts so that each test can break one.

use std::io::Write;
use std::net::IpAddr;

/// Cluster tag of the tests.
pub const CLUSTER_TAG: u32 = 0xA1B2_C3D4;
/// First UDP port of the tests; there are 4.
pub const PORT_BASE: u16 = 7400;

/// A packet's parts. Lengths are computed unless a test overrides them.
#[derive(Clone)]
pub struct Packet {
    pub vlan_tags: Vec<u16>,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub ipv4_options: Vec<u8>,
    pub ipv4_fragment: u16,
    pub protocol: u8,
    pub udp_port: u16,
    pub udp_length: Option<u16>,
    pub frame: Vec<u8>,
}

/// A frame with `payload_bytes` of payload that passes every check.
pub fn frame(payload_bytes: usize) -> Vec<u8> {
    let mut frame = vec![0u8; 64 + payload_bytes + 16];
    frame[0..2].copy_from_slice(b"LT");
    frame[2] = lattice_wire::VERSION;
    frame[4..8].copy_from_slice(&CLUSTER_TAG.to_le_bytes());
    frame[14..16].copy_from_slice(&(payload_bytes as u16).to_le_bytes());
    frame
}

impl Packet {
    /// A good packet between two addresses of one family.
    pub fn good(source: &str, destination: &str) -> Packet {
        Packet {
            vlan_tags: Vec::new(),
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            ipv4_options: Vec::new(),
            ipv4_fragment: 0x4000,
            protocol: 17,
            udp_port: PORT_BASE + 1,
            udp_length: None,
            frame: frame(32),
        }
    }

    /// The bytes on the wire. Checksums stay 0: the program leaves them to the receiver.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x02; 12];
        for tag in &self.vlan_tags {
            bytes.extend_from_slice(&tag.to_be_bytes());
            bytes.extend_from_slice(&[0, 7]);
        }
        let udp_bytes = (8 + self.frame.len()) as u16;
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header_bytes = 20 + self.ipv4_options.len();
                bytes.extend_from_slice(&[0x08, 0x00, 0x40 | (header_bytes / 4) as u8, 0]);
                bytes.extend_from_slice(&(header_bytes as u16 + udp_bytes).to_be_bytes());
                bytes.extend_from_slice(&[0, 0]);
                bytes.extend_from_slice(&self.ipv4_fragment.to_be_bytes());
                bytes.extend_from_slice(&[64, self.protocol, 0, 0]);
                bytes.extend_from_slice(&source.octets());
                bytes.extend_from_slice(&destination.octets());
                bytes.extend_from_slice(&self.ipv4_options);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes.extend_from_slice(&[0x86, 0xDD, 0x60, 0, 0, 0]);
                bytes.extend_from_slice(&udp_bytes.to_be_bytes());
                bytes.extend_from_slice(&[self.protocol, 64]);
                bytes.extend_from_slice(&source.octets());
                bytes.extend_from_slice(&destination.octets());
            }
            _ => panic!("one family per packet"),
        }
        bytes.extend_from_slice(&self.udp_port.to_be_bytes());
        bytes.extend_from_slice(&self.udp_port.to_be_bytes());
        bytes.extend_from_slice(&self.udp_length.unwrap_or(udp_bytes).to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&self.frame);
        bytes
    }
}

/// True when the test can't run for want of rights; it says so. With `CI` set, wanting rights is a failure.
pub fn skipped_without_rights(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return false;
    }
    assert!(std::env::var_os("CI").is_none(), "{test} must run as root in CI");
    // Not eprintln!: the test harness hides what passing tests print with it.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: loading a BPF program needs root");
    true
}
