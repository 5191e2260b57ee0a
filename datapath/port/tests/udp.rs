//! What only UDP sockets have: a kernel that may refuse a frame, datagrams of any length, sockets per shard port.

mod support;

use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use lattice_port::{
    BATCH_FRAMES, MAX_FRAME_BYTES, OpenError, PeerSlot, Port, TransmitError, UdpConfig, UdpPort,
};
use support::fixture::Fixture;
use support::veth::{Veth, address};
use support::{PATIENCE, frame, receive, skipped_without_rights, transmit};

const PEER: PeerSlot = PeerSlot(0);

#[test]
fn a_datagram_longer_than_a_frame_is_dropped_and_counted() {
    let mut fixture = Fixture::udp_loopback();
    let udp_port = fixture.udp_port(0);
    let peers = vec![fixture.addresses[0]];
    // An address of its own, so that the sender below can be a plain socket on the peer's address.
    let local = IpAddr::from([127, 99, 0, 1]);
    let mut port = UdpPort::bind(UdpConfig { local, peers, udp_ports: vec![udp_port] }).unwrap();
    let sender = UdpSocket::bind((fixture.addresses[0], 0)).unwrap();
    for bytes in [MAX_FRAME_BYTES + 1, 9000] {
        sender.send_to(&vec![0; bytes], (local, udp_port)).unwrap();
    }
    sender.send_to(&frame(1, 1), (local, udp_port)).unwrap();
    assert_eq!(receive(&mut port, 1)[0].frame, frame(1, 1));
    assert_eq!(port.stats().oversize, 2);
    // Nothing is too short for a port: what a frame must be is the decoder's business.
    sender.send_to(b"", (local, udp_port)).unwrap();
    assert_eq!(receive(&mut port, 1)[0].frame, b"");
    fixture.ports[0].flush().unwrap();
}

#[test]
fn a_peer_that_comes_later_is_sent_to_and_let_in() {
    let fixture = Fixture::udp_loopback();
    let udp_port = fixture.udp_port(0);
    let at = |host| IpAddr::from([127, 99, 1, host]);
    let bind =
        |local| UdpPort::bind(UdpConfig { local, peers: Vec::new(), udp_ports: vec![udp_port] }).unwrap();
    let (mut a, mut b) = (bind(at(1)), bind(at(2)));
    assert_eq!(a.transmit(PEER, udp_port, &frame(0, 0)), Err(TransmitError::NoRoute));
    assert!(matches!(a.set_peer(PEER, "fd00::1".parse().unwrap()), Err(OpenError::Config(_))));
    a.set_peer(PEER, at(2)).unwrap();
    transmit(&mut a, PEER, udp_port, &frame(1, 0));
    a.flush().unwrap();
    // It is dropped there: until b knows a, it is a stranger.
    let deadline = Instant::now() + PATIENCE;
    while b.stats().unknown_source == 0 {
        assert!(Instant::now() < deadline);
        b.receive(1, &mut |received| panic!("{received:?}")).unwrap();
    }
    b.set_peer(PEER, at(1)).unwrap();
    transmit(&mut a, PEER, udp_port, &frame(2, 0));
    a.flush().unwrap();
    assert_eq!(receive(&mut b, 1)[0].frame, frame(2, 0));
}

#[test]
fn a_shard_port_without_a_socket_is_refused() {
    let mut fixture = Fixture::udp_loopback();
    let other = fixture.port_base - 1;
    assert_eq!(fixture.ports[0].transmit(PEER, other, &frame(0, 0)), Err(TransmitError::UnknownUdpPort));
    assert_eq!(fixture.ports[0].transmit_room(), BATCH_FRAMES);
}

#[test]
fn a_frame_that_the_kernel_refuses_does_not_hold_up_the_others() {
    let mut fixture = Fixture::udp_loopback();
    let udp_port = fixture.udp_port(0);
    // A socket on loopback can't reach beyond it, and the kernel says so at once.
    let beyond = IpAddr::from([203, 0, 113, 1]);
    let local = IpAddr::from([127, 99, 0, 2]);
    let peers = vec![beyond, local];
    let mut port = UdpPort::bind(UdpConfig { local, peers, udp_ports: vec![udp_port] }).unwrap();
    for number in 0..3 {
        transmit(&mut port, PeerSlot(0), udp_port, &frame(number, 0));
        transmit(&mut port, PeerSlot(1), udp_port, &frame(number, 0));
    }
    port.flush().unwrap();
    for (number, kept) in (0..).zip(receive(&mut port, 3)) {
        assert_eq!(kept.frame, frame(number, 0));
    }
    assert_eq!((port.stats().transmit_failed, port.stats().transmitted), (3, 3));
    assert_eq!(port.transmit_room(), BATCH_FRAMES);
    fixture.ports[0].flush().unwrap();
}

/// One shard's flood must not starve another's frames of their turn.
#[test]
fn a_busy_shard_port_does_not_starve_the_others() {
    let mut fixture = Fixture::udp_loopback();
    let ports = [fixture.udp_port(0), fixture.udp_port(1)];
    for _ in 0..50 {
        transmit(&mut *fixture.ports[0], PEER, ports[0], &frame(0, 0));
    }
    transmit(&mut *fixture.ports[0], PEER, ports[1], &frame(1, 0));
    fixture.ports[0].flush().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let (mut turns, mut seen) = (0, false);
    while !seen {
        assert!(Instant::now() < deadline, "the quiet port's frame never came");
        // A budget that the busy port alone uses up, every time.
        let delivered =
            fixture.ports[1].receive(4, &mut |received| seen |= received.udp_port == ports[1]).unwrap();
        turns += usize::from(delivered > 0);
    }
    assert!(turns <= 3, "its turn came after {turns} turns");
}

#[test]
fn what_can_not_be_bound_says_why() {
    let local = IpAddr::from([127, 99, 0, 3]);
    let config = |udp_ports: Vec<u16>| UdpConfig { local, peers: vec![local], udp_ports };
    let refused = |config| UdpPort::bind(config).map(|_| ()).unwrap_err();
    assert!(matches!(refused(config(vec![])), OpenError::Config(_)));
    assert!(matches!(refused(config((1..=65).collect())), OpenError::Config(_)));
    let other_family = UdpConfig { peers: vec!["::1".parse().unwrap()], ..config(vec![20_500]) };
    assert!(matches!(refused(other_family), OpenError::Config(_)));
    let not_ours = UdpConfig { local: [203, 0, 113, 1].into(), ..config(vec![20_500]) };
    assert!(matches!(refused(not_ours), OpenError::Io { operation: "bind", .. }));
    let first = UdpPort::bind(config(vec![20_501])).unwrap();
    assert!(matches!(refused(config(vec![20_500, 20_501])), OpenError::Io { operation: "bind", .. }));
    UdpPort::bind(config(vec![20_500])).unwrap(); // the failed attempt left nothing bound
    assert!(first.describe().contains("127.99.0.3"));
}

/// The worker flushes when it has something to send. What a flush had to leave behind must not wait for that.
#[test]
fn frames_that_a_full_link_held_up_leave_without_another_flush() {
    if skipped_without_rights("frames_that_a_full_link_held_up_leave_without_another_flush") {
        return;
    }
    const UDP_PORT: u16 = 24_000;
    let veth = Veth::new(1);
    veth.limit_rate(0, "16mbit");
    let (local, peer) = (address(0, false), address(1, false));
    let config = UdpConfig { local, peers: vec![peer], udp_ports: vec![UDP_PORT] };
    let mut port = veth.on(0, || UdpPort::bind(config).unwrap());
    let began = Instant::now();
    loop {
        while port.transmit(PEER, UDP_PORT, &frame(0, 1372)).is_ok() {}
        port.flush().unwrap();
        if port.transmit_room() < BATCH_FRAMES {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the socket's send buffer never fills");
    }
    let (wakeup, _other_end) = std::io::pipe().unwrap();
    while port.transmit_room() < BATCH_FRAMES {
        assert!(began.elapsed() < PATIENCE, "{} frames stay behind", BATCH_FRAMES - port.transmit_room());
        port.receive(BATCH_FRAMES, &mut |_| {}).unwrap();
        port.wait(Duration::from_millis(100), wakeup.as_fd()).unwrap();
    }
}
