//! What only AF_XDP has: attachment that dies with its owner, queues, garbage refused in the kernel, links that go down.

mod support;

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Instant;

use lattice_bpf::{Mode, XdpError, XdpProgram};
use lattice_port::{OpenError, PeerSlot, Port, Route, TransmitError, XdpConfig, XdpPort, memory};
use support::fixture::{Fixture, drops, open_queue, open_xdp, program_config};
use support::veth::{INTERFACE, MACS, Veth, address, inside};
use support::{PATIENCE, frame, receive, skipped_without_rights, suite, transmit};

const PEER: PeerSlot = PeerSlot(0);
const PORT_BASE: u16 = 20_000;
/// Tells the child test below which namespace to sit in.
const CHILD_NAMESPACE: &str = "LATTICE_PORT_TEST_NAMESPACE";

#[test]
fn a_dropped_port_and_program_leave_room_for_their_successors() {
    if skipped_without_rights("a_dropped_port_and_program_leave_room_for_their_successors") {
        return;
    }
    let mut fixture = Fixture::veth(false, [Some(Mode::Driver); 2]);
    let veth = fixture.veth.take().unwrap();
    for round in 0..3 {
        // Frames are on their way in both directions while one end goes away.
        for number in 0..100 {
            transmit(&mut *fixture.ports[0], PEER, fixture.port_base, &frame(number, 64));
            transmit(&mut *fixture.ports[1], PEER, fixture.port_base, &frame(number, 64));
        }
        let _ = (fixture.ports[0].flush(), fixture.ports[1].flush());
        let mode = if round == 1 { Mode::Generic } else { Mode::Driver };
        fixture.programs[1] = None;
        // A port of another kind stands in, so that the old one is dropped before the new one opens.
        fixture.ports[1] = Box::new(memory::full_mesh(&[address(1, false)], 1).unwrap().remove(0));
        let (port, program) = open_xdp(&veth, 1, false, fixture.port_base, mode, 0);
        (fixture.ports[1], fixture.programs[1]) = (port, Some(program));
        receive(&mut *fixture.ports[0], 100);
        suite::run(&mut fixture);
    }
    let _keep_until_here = veth;
}

/// Holds the interface until it is killed. Not a test of its own: it returns at once when nobody asked for it.
#[test]
fn child_that_holds_the_interface() {
    let Ok(namespace) = std::env::var(CHILD_NAMESPACE) else { return };
    inside(&namespace, || {
        let mut program =
            XdpProgram::attach(INTERFACE, &program_config(1, false, PORT_BASE), Mode::Driver).unwrap();
        let _port = open_queue(&mut program, 1, false, 0);
        println!("holding");
        // Until SIGKILL; if the parent is gone, its end of this pipe is too.
        let _ = std::io::stdin().read_line(&mut String::new());
    });
}

#[test]
fn a_killed_process_leaves_nothing_attached() {
    if skipped_without_rights("a_killed_process_leaves_nothing_attached") {
        return;
    }
    let veth = Veth::new(1);
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_holds_the_interface", "--nocapture"])
            .env(CHILD_NAMESPACE, &veth.namespaces[1])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(output.any(|line| line.unwrap().contains("holding")), "the child attached");
        let attach = || XdpProgram::attach(INTERFACE, &program_config(1, false, PORT_BASE), Mode::Auto);
        assert!(
            matches!(veth.on(1, attach), Err(XdpError::Attach { .. })),
            "while it lives, the interface is taken: else this test proves nothing"
        );
        child.kill().unwrap(); // SIGKILL; the successor does not wait for the process to be gone
        open_xdp(&veth, 1, false, PORT_BASE, Mode::Driver, 0);
        child.wait().unwrap();
    }
}

#[test]
fn each_queue_has_its_own_port() {
    if skipped_without_rights("each_queue_has_its_own_port") {
        return;
    }
    let veth = Veth::new(2);
    let mut sides = [0, 1].map(|side| {
        veth.on(side, || {
            let config = program_config(side, false, PORT_BASE);
            let mut program = XdpProgram::attach(INTERFACE, &config, Mode::Driver).unwrap();
            let ports = [0, 1].map(|queue| open_queue(&mut program, side, false, queue));
            (program, ports)
        })
    });
    let [(_, left), (program, right)] = &mut sides;
    for queue in [0, 1] {
        for number in 0..50 {
            transmit(&mut left[queue], PEER, PORT_BASE, &frame(number, queue));
        }
        left[queue].flush().unwrap();
    }
    for (queue, port) in right.iter_mut().enumerate() {
        for (number, kept) in (0..).zip(receive(port, 50)) {
            assert_eq!(kept.frame, frame(number, queue), "veth keeps the queue's number");
        }
        support::expect_silence(port);
        port.stats().frames.check().unwrap();
    }
    assert!(program.drop_counters().unwrap().iter().all(|(_, count)| *count == 0));
}

#[test]
fn garbage_is_counted_by_reason_and_never_delivered() {
    if skipped_without_rights("garbage_is_counted_by_reason_and_never_delivered") {
        return;
    }
    for ipv6 in [false, true] {
        let veth = Veth::new(1);
        let (mut port, program) = open_xdp(&veth, 1, ipv6, PORT_BASE, Mode::Driver, 0);
        let (local, peer) = (address(0, ipv6), address(1, ipv6));
        let socket = veth.on(0, || UdpSocket::bind((local, 0)).unwrap());
        let mut wrong_cluster = frame(0, 10);
        wrong_cluster[4] ^= 1;
        let mut wrong_version = frame(0, 10);
        wrong_version[2] = 9;
        let mut wrong_length = frame(0, 10);
        wrong_length[14] = 200;
        for (reason, bytes) in [
            ("too_short", &b""[..]),
            ("too_short", b"LT"),
            ("bad_magic", &[0xFF; 500]),
            ("wrong_cluster", &wrong_cluster),
            ("bad_version", &wrong_version),
            ("bad_length", &wrong_length),
        ] {
            let before = drops(&program, reason);
            socket.send_to(bytes, (peer, PORT_BASE)).unwrap();
            let deadline = Instant::now() + PATIENCE;
            while drops(&program, reason) == before {
                assert!(Instant::now() < deadline, "{reason} was never counted");
            }
            assert_eq!(drops(&program, reason), before + 1);
        }
        support::expect_silence(&mut *port);
        let stats = port.stats();
        assert_eq!((stats.received, stats.malformed, stats.oversize), (0, 0, 0));
        stats.frames.check().unwrap();

        // Ports outside the range stay the kernel's.
        let plain = veth.on(1, || UdpSocket::bind((peer, PORT_BASE - 1)).unwrap());
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(b"hello", (peer, PORT_BASE - 1)).unwrap();
        assert_eq!(plain.recv(&mut [0; 16]).unwrap(), 5);
    }
}

#[test]
fn a_flood_overruns_the_kernel_and_not_the_port() {
    if skipped_without_rights("a_flood_overruns_the_kernel_and_not_the_port") {
        return;
    }
    let mut fixture = Fixture::veth(false, [Some(Mode::Driver); 2]);
    let udp_port = fixture.udp_port(0);
    // Nobody receives: far more than the receiver's memory holds.
    for number in 0..4 * support::fixture::UMEM_FRAMES {
        transmit(&mut *fixture.ports[0], PEER, udp_port, &frame(number, 0));
    }
    fixture.ports[0].flush().unwrap();
    let half = support::fixture::UMEM_FRAMES as usize / 2;
    for (number, kept) in (0..).zip(receive(&mut *fixture.ports[1], half)) {
        assert_eq!(kept.frame, frame(number, 0));
    }
    let stats = fixture.ports[1].stats();
    let lost = stats.fill_ring_empty + stats.receive_ring_full + stats.receive_dropped;
    assert!(lost > 0, "the kernel counts what it dropped: {stats:?}");
    suite::run(&mut fixture);
}

#[test]
fn a_link_that_was_down_carries_frames_again() {
    if skipped_without_rights("a_link_that_was_down_carries_frames_again") {
        return;
    }
    let mut fixture = Fixture::veth(false, [Some(Mode::Driver); 2]);
    let udp_port = fixture.udp_port(0);
    for side in [0, 1] {
        fixture.veth.as_ref().unwrap().set_link(side, false);
        for number in 0..10 {
            transmit(&mut *fixture.ports[0], PEER, udp_port, &frame(number, 0));
            fixture.ports[0].flush().unwrap();
        }
        fixture.ports[0].stats().frames.check().unwrap();
        fixture.veth.as_ref().unwrap().set_link(side, true);
        if side == 0 {
            // The own link was down: the frames waited, and leave with a flush, without a new one to push them.
            let mut arrived = 0;
            let deadline = Instant::now() + PATIENCE;
            while arrived < 10 {
                assert!(Instant::now() < deadline, "{arrived} of 10 left: {:?}", fixture.ports[0].stats());
                fixture.ports[0].flush().unwrap();
                arrived += fixture.ports[1].receive(64, &mut |_| {}).unwrap();
            }
        }
        // The other's link was down: they may be lost, as on any wire. Then all is as before.
        let deadline = Instant::now() + PATIENCE;
        let mut last = Vec::new();
        while last != frame(u32::MAX, 1) {
            assert!(Instant::now() < deadline, "nothing passes: {:?}", fixture.ports[0].stats());
            transmit(&mut *fixture.ports[0], PEER, udp_port, &frame(u32::MAX, 1));
            fixture.ports[0].flush().unwrap();
            fixture.ports[1].receive(64, &mut |received| last = received.frame.to_vec()).unwrap();
        }
        while fixture.ports[1].receive(64, &mut |_| {}).unwrap() > 0 {}
    }
    suite::run(&mut fixture);
}

#[test]
fn a_peer_without_a_route_is_refused() {
    if skipped_without_rights("a_peer_without_a_route_is_refused") {
        return;
    }
    let mut fixture = Fixture::veth(false, [Some(Mode::Driver); 2]);
    let udp_port = fixture.udp_port(0);
    fixture.ports[0].set_route(PEER, None);
    assert_eq!(fixture.ports[0].transmit(PEER, udp_port, &frame(0, 0)), Err(TransmitError::NoRoute));
    fixture.ports[0].set_route(PEER, Some(Route { next_hop_mac: MACS[1] }));
    suite::run(&mut fixture);
}

#[test]
fn what_can_not_be_opened_says_why_and_leaves_nothing() {
    if skipped_without_rights("what_can_not_be_opened_says_why_and_leaves_nothing") {
        return;
    }
    let veth = Veth::new(1);
    veth.on(1, || {
        let good = program_config(1, false, PORT_BASE);
        let missing = XdpProgram::attach("nosuch0", &good, Mode::Auto);
        assert!(matches!(missing, Err(XdpError::Interface { .. })));

        let mut program = XdpProgram::attach(INTERFACE, &good, Mode::Auto).unwrap();
        let second = XdpProgram::attach(INTERFACE, &good, Mode::Auto).map(|_| ()).unwrap_err();
        assert!(second.to_string().contains("another XDP program"), "{second}");

        let config = |queue, umem_frames| XdpConfig { queue, peers: good.sources.clone(), umem_frames };
        for umem_frames in [0, 64, 129, 1 << 17] {
            let refused = XdpPort::open(config(0, umem_frames), &mut program).map(|_| ()).unwrap_err();
            assert!(matches!(refused, OpenError::Config(_)), "{refused}");
        }
        let other_family = XdpConfig { peers: vec![address(0, true)], ..config(0, 128) };
        assert!(matches!(XdpPort::open(other_family, &mut program), Err(OpenError::Config(_))));
        let no_queue = XdpPort::open(config(9, 128), &mut program).map(|_| ()).unwrap_err();
        assert!(matches!(no_queue, OpenError::Socket { .. }), "{no_queue}");
        open_queue(&mut program, 1, false, 0);
    });
}
