//! What the port's tests share: frames, waiting, and the three kinds of network that ports stand on.

#![allow(dead_code)] // Reason: each test file uses a part of it.

pub mod fixture;
pub mod suite;
pub mod veth;

use std::io::Write;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use lattice_port::{PeerSlot, Port, TransmitError};
use rustix::event::{EventfdFlags, eventfd};

/// Cluster tag of every frame here.
pub const CLUSTER_TAG: u32 = 0x1A77_1CED;
/// How many UDP ports a network uses.
pub const UDP_PORTS: u16 = 4;
/// Nothing here takes this long, unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A frame that the XDP filter lets through, recognisable by its number, filled so that a shifted copy differs.
pub fn frame(number: u32, payload_bytes: usize) -> Vec<u8> {
    let mut frame: Vec<u8> =
        (0..64 + payload_bytes + 16).map(|at| (at as u32).wrapping_add(number) as u8).collect();
    frame[0..2].copy_from_slice(&lattice_wire::MAGIC);
    frame[2] = lattice_wire::VERSION;
    frame[4..8].copy_from_slice(&CLUSTER_TAG.to_le_bytes());
    frame[14..16].copy_from_slice(&(payload_bytes as u16).to_le_bytes());
    frame[16..20].copy_from_slice(&number.to_le_bytes());
    frame
}

/// A received frame, kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    pub frame: Vec<u8>,
    pub source: IpAddr,
    pub udp_port: u16,
}

pub fn new_eventfd() -> OwnedFd {
    eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap()
}

/// Receives until `count` frames are there, sleeping in `wait` between.
#[track_caller]
pub fn receive(port: &mut dyn Port, count: usize) -> Vec<Kept> {
    let wakeup = new_eventfd();
    let deadline = Instant::now() + PATIENCE;
    let mut kept = Vec::new();
    while kept.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} frames arrived; {:?}", kept.len(), port.stats());
        let before = kept.len();
        let delivered = port.receive(count - before, &mut |received| {
            let (source, udp_port) = (received.source, received.udp_port);
            kept.push(Kept { frame: received.frame.to_vec(), source, udp_port });
        });
        assert_eq!(delivered.unwrap(), kept.len() - before, "receive says how many it delivered");
        if kept.len() == before {
            port.wait(Duration::from_millis(20), wakeup.as_fd()).unwrap();
        }
    }
    kept
}

/// Checks that nothing (more) is to be received. What was sent is here already: callers receive a later frame first.
#[track_caller]
pub fn expect_silence(port: &mut dyn Port) {
    let delivered = port.receive(64, &mut |received| panic!("unexpected frame: {received:?}"));
    assert_eq!(delivered.unwrap(), 0);
}

/// Queues one frame, flushing while the port says that it is full.
#[track_caller]
pub fn transmit(port: &mut dyn Port, peer: PeerSlot, udp_port: u16, frame: &[u8]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match port.transmit(peer, udp_port, frame) {
            Ok(()) => return,
            Err(TransmitError::Full) => port.flush().unwrap(),
            Err(error) => panic!("{error}"),
        }
        assert!(Instant::now() < deadline, "full for ever: {:?}", port.stats());
    }
}

/// True when the test can't run for want of rights; it says so. With `CI` set, wanting rights is a failure.
pub fn skipped_without_rights(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return false;
    }
    assert!(std::env::var_os("CI").is_none(), "{test} must run as root in CI");
    // Not eprintln!: the test harness hides what passing tests print with it.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: network namespaces and AF_XDP need root");
    true
}
