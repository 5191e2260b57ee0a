//! What only the in-memory network has: nodes that are not there, and inboxes that push back.

mod support;

use std::net::IpAddr;

use lattice_port::memory::{MemoryNode, full_mesh, network};
use lattice_port::{OpenError, PeerSlot, Port, PortStats, TransmitError};
use support::{frame, receive, transmit};

const UDP_PORT: u16 = 7400;

fn addresses() -> [IpAddr; 3] {
    [1, 2, 3].map(|host| IpAddr::from([10, 0, 0, host]))
}

#[test]
fn a_mesh_numbers_peers_without_the_node_itself() {
    let mut ports = full_mesh(&addresses(), 8).unwrap();
    for sender in 0..3usize {
        for (slot, receiver) in (0..3).filter(|&other| other != sender).enumerate() {
            transmit(&mut ports[sender], PeerSlot(slot as u16), UDP_PORT, &frame(slot as u32, 0));
            ports[sender].flush().unwrap();
            let kept = receive(&mut ports[receiver], 1).remove(0);
            assert_eq!((kept.source, kept.frame), (addresses()[sender], frame(slot as u32, 0)));
        }
    }
}

#[test]
fn a_peer_may_come_later_and_may_move() {
    let alone = |host: usize| MemoryNode { local: addresses()[host], peers: Vec::new() };
    let mut ports = network(&[alone(0), alone(1), alone(2)], 8).unwrap();
    assert_eq!(ports[0].transmit(PeerSlot(0), UDP_PORT, &frame(1, 0)), Err(TransmitError::NoRoute));
    assert!(matches!(ports[0].set_peer(PeerSlot(1), addresses()[1]), Err(OpenError::Config(_))));
    ports[0].set_peer(PeerSlot(0), addresses()[1]).unwrap();
    for port in &mut ports[1..] {
        port.set_peer(PeerSlot(0), addresses()[0]).unwrap();
    }
    for to in [1, 2] {
        ports[0].set_peer(PeerSlot(0), addresses()[to]).unwrap();
        transmit(&mut ports[0], PeerSlot(0), UDP_PORT, &frame(to as u32, 0));
        ports[0].flush().unwrap();
        assert_eq!(receive(&mut ports[to], 1)[0].frame, frame(to as u32, 0));
    }
}

#[test]
fn a_full_inbox_keeps_frames_with_their_sender_and_others_pass() {
    let mut ports = full_mesh(&addresses(), 4).unwrap();
    for number in 0..8 {
        transmit(&mut ports[0], PeerSlot(0), UDP_PORT, &frame(number, 0));
    }
    ports[0].flush().unwrap();
    assert_eq!(ports[0].transmit_room(), 0, "four wait there, four here");
    assert_eq!(ports[0].transmit(PeerSlot(0), UDP_PORT, &frame(9, 0)), Err(TransmitError::Full));
    let first: Vec<_> = receive(&mut ports[1], 2);
    ports[0].flush().unwrap();
    transmit(&mut ports[0], PeerSlot(1), UDP_PORT, &frame(100, 0));
    ports[0].flush().unwrap();
    assert_eq!(receive(&mut ports[2], 1)[0].frame, frame(100, 0), "another node's frame overtakes");
    let mut all = first;
    while all.len() < 8 {
        all.extend(receive(&mut ports[1], 1));
        ports[0].flush().unwrap();
    }
    for (number, kept) in (0..).zip(all) {
        assert_eq!(kept.frame, frame(number, 0), "nothing lost, nothing twice, in order");
    }
}

#[test]
fn nodes_that_are_not_there_swallow_frames() {
    let [here, dropped, nowhere] = addresses();
    let node = |local, peers| MemoryNode { local, peers };
    let nodes = [node(here, vec![dropped, nowhere]), node(dropped, vec![here])];
    let mut ports = network(&nodes, 4).unwrap();
    drop(ports.pop());
    for number in 0..100 {
        for slot in [PeerSlot(0), PeerSlot(1)] {
            transmit(&mut ports[0], slot, UDP_PORT, &frame(number, 0));
        }
        ports[0].flush().unwrap();
        assert_eq!(ports[0].transmit_room(), 4, "a dead node holds nobody up");
    }
    assert_eq!(ports[0].stats().transmitted, 200);
}

#[test]
fn counters_have_a_name_each() {
    let mut ports = full_mesh(&addresses(), 4).unwrap();
    transmit(&mut ports[0], PeerSlot(0), UDP_PORT, &frame(0, 0));
    ports[0].flush().unwrap();
    let stats = ports[0].stats();
    let value = |name: &str| {
        let at = PortStats::NAMES.iter().position(|&other| other == name).unwrap();
        stats.values()[at]
    };
    assert_eq!(
        (value("port_transmitted"), value("port_transmitted_bytes"), value("port_received")),
        (1, 80, 0)
    );
    let mut names = PortStats::NAMES.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), PortStats::NAMES.len());
    assert!(names.iter().all(|name| name.len() < 48), "a segment's counter name has 48 bytes");
}
