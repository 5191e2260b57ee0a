//! The XDP program in the kernel, over packets that pass, packets that fail each check, and packets cut short
//! (BPF_PROG_TEST_RUN: no network involved).

mod support;

use std::os::fd::{AsFd, OwnedFd};

use lattice_bpf::{Config, DROP_REASONS, Filter, STRANGER_BURST, STRANGER_INTERVAL_NS, Verdict, XdpError};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use support::{CLUSTER_TAG, PORT_BASE, Packet, frame, skipped_without_rights};

const V4: (&str, &str) = ("10.7.0.2", "10.7.0.1");
const V6: (&str, &str) = ("fd00:7::2", "fd00:7::1");

/// Of the sessions.
const CONTROL_PORT: u16 = 7390;

/// The program for one address family, with an AF_XDP socket on queue 0. The socket is not bound: the map takes it, and
/// a test run does not deliver.
struct Bench {
    filter: Filter,
    _socket: OwnedFd,
}

impl Bench {
    fn new((source, local): (&str, &str)) -> Bench {
        let bench = Bench { filter: load(source, local), _socket: xdp_socket() };
        bench.filter.register_socket(0, bench._socket.as_fd()).unwrap();
        bench
    }

    /// Runs one packet, and says its verdict and the reason if it was dropped: exactly one counter may move, by one.
    fn run(&self, packet: &[u8]) -> (Verdict, Option<&'static str>) {
        let before = self.filter.drop_counters().unwrap();
        let verdict = self.filter.test_run(packet).unwrap();
        let after = self.filter.drop_counters().unwrap();
        let moved: Vec<_> = before.iter().zip(&after).filter(|(old, new)| old.1 != new.1).collect();
        assert!(moved.len() <= 1, "one reason per drop: {moved:?}");
        assert!(moved.iter().all(|(old, new)| new.1 == old.1 + 1));
        assert_eq!(moved.len() == 1, verdict == Verdict::Drop, "every drop is counted, nothing else is");
        (verdict, moved.first().map(|(_, new)| new.0))
    }

    #[track_caller]
    fn drops(&self, packet: &Packet, reason: &str) {
        assert_eq!(self.run(&packet.bytes()), (Verdict::Drop, Some(reason)));
    }

    #[track_caller]
    fn passes(&self, packet: &Packet) {
        assert_eq!(self.run(&packet.bytes()), (Verdict::Pass, None));
    }

    #[track_caller]
    fn redirects(&self, packet: &Packet) {
        assert_eq!(self.run(&packet.bytes()), (Verdict::Redirect, None));
    }
}

fn config(source: &str, local: &str) -> Config {
    Config {
        local: local.parse().unwrap(),
        cluster_tag: CLUSTER_TAG,
        port_base: PORT_BASE,
        port_count: 4,
        control_port: Some(CONTROL_PORT),
        sources: vec![source.parse().unwrap()],
    }
}

fn load(source: &str, local: &str) -> Filter {
    Filter::load(&config(source, local)).unwrap()
}

fn xdp_socket() -> OwnedFd {
    socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None).unwrap()
}

#[test]
fn good_frames_are_redirected() {
    if skipped_without_rights("good_frames_are_redirected") {
        return;
    }
    for addresses in [V4, V6] {
        let bench = Bench::new(addresses);
        let good = Packet::good(addresses.0, addresses.1);
        bench.redirects(&good);
        for tags in [vec![0x8100], vec![0x88A8, 0x8100]] {
            bench.redirects(&Packet { vlan_tags: tags, ..good.clone() });
        }
        for payload_bytes in [0, 1, 1452 - 80] {
            bench.redirects(&Packet { frame: frame(payload_bytes), ..good.clone() });
        }
        for port in [PORT_BASE, PORT_BASE + 3] {
            bench.redirects(&Packet { udp_port: port, ..good.clone() });
        }
    }
    let bench = Bench::new(V4);
    bench.redirects(&Packet { ipv4_options: vec![1; 40], ..Packet::good(V4.0, V4.1) });
}

#[test]
fn each_failing_check_drops_and_counts_its_reason() {
    if skipped_without_rights("each_failing_check_drops_and_counts_its_reason") {
        return;
    }
    let mut seen = vec!["no_socket", "control_flood"]; // have their own tests
    for addresses in [V4, V6] {
        let bench = Bench::new(addresses);
        let good = Packet::good(addresses.0, addresses.1);
        let mut drops = |packet: Packet, reason: &'static str| {
            bench.drops(&packet, reason);
            seen.push(reason);
        };
        let with_byte = |at: usize, value: u8| {
            let mut packet = good.clone();
            packet.frame[at] = value;
            packet
        };
        if addresses == V4 {
            drops(Packet { ipv4_fragment: 0x2000, ..good.clone() }, "fragment");
            drops(Packet { source: "10.7.0.3".parse().unwrap(), ..good.clone() }, "unknown_source");
        } else {
            drops(Packet { source: "fd00:7::3".parse().unwrap(), ..good.clone() }, "unknown_source");
        }
        for length in [0, 7, 8, u16::MAX] {
            drops(Packet { udp_length: Some(length), ..good.clone() }, "bad_udp_length");
        }
        for length in [0, 1, 63, 64, 79] {
            drops(Packet { frame: frame(0)[..length].to_vec(), ..good.clone() }, "too_short");
        }
        for payload_bytes in [1452 - 80 + 1, 2000] {
            drops(Packet { frame: frame(payload_bytes), ..good.clone() }, "too_long");
        }
        drops(with_byte(0, b'X'), "bad_magic");
        drops(with_byte(1, b'X'), "bad_magic");
        drops(with_byte(2, lattice_wire::VERSION + 1), "bad_version");
        for at in 4..8 {
            drops(with_byte(at, 0), "wrong_cluster");
        }
        drops(with_byte(14, 31), "bad_length");
        drops(with_byte(15, 0xFF), "bad_length");
        let mut cut = good.bytes();
        cut.truncate(cut.len() - 1);
        assert_eq!(bench.run(&cut), (Verdict::Drop, Some("truncated")));
        seen.push("truncated");
    }
    for reason in DROP_REASONS {
        assert!(seen.contains(&reason), "no test for {reason}");
    }
}

#[test]
fn sources_come_and_go_while_it_runs() {
    if skipped_without_rights("sources_come_and_go_while_it_runs") {
        return;
    }
    for (addresses, other) in [(V4, "10.7.0.9"), (V6, "fd00:7::9")] {
        let bench = Bench::new(addresses);
        let other = Packet { source: other.parse().unwrap(), ..Packet::good(addresses.0, addresses.1) };
        bench.drops(&other, "unknown_source");
        bench.filter.let_in(other.source).unwrap();
        bench.filter.let_in(other.source).unwrap();
        bench.redirects(&other);
        bench.filter.keep_out(other.source).unwrap();
        bench.filter.keep_out(other.source).unwrap();
        bench.drops(&other, "unknown_source");
        bench.redirects(&Packet::good(addresses.0, addresses.1));
    }
}

/// A flood at the port of the sessions ends here; peers are heard all the while.
#[test]
fn strangers_are_heard_at_the_sessions_port_until_there_are_too_many() {
    if skipped_without_rights("strangers_are_heard_at_the_sessions_port_until_there_are_too_many") {
        return;
    }
    // Each CPU has a bucket of its own.
    let mut one = rustix::thread::CpuSet::new();
    one.set(rustix::thread::sched_getcpu());
    rustix::thread::sched_setaffinity(None, &one).unwrap();
    for (addresses, other) in [(V4, "10.7.0.9"), (V6, "fd00:7::9")] {
        let bench = Bench::new(addresses);
        let peer = Packet { udp_port: CONTROL_PORT, ..Packet::good(addresses.0, addresses.1) };
        let stranger = Packet { source: other.parse().unwrap(), frame: b"garbage".to_vec(), ..peer.clone() };
        let began = std::time::Instant::now();
        let mut passed = 0;
        for _ in 0..3 * STRANGER_BURST {
            match bench.run(&stranger.bytes()) {
                (Verdict::Pass, None) => passed += 1,
                (Verdict::Drop, Some("control_flood")) => {}
                other => panic!("{other:?}"),
            }
        }
        let earned = began.elapsed().as_nanos() / STRANGER_INTERVAL_NS as u128 + 1;
        assert!(passed >= STRANGER_BURST, "{passed}");
        assert!(passed as u128 <= STRANGER_BURST as u128 + earned, "{passed}, and {earned} for the time");
        for _ in 0..100 {
            bench.passes(&peer);
        }
        // Other ports are nobody's business, and a bucket fills again.
        bench.passes(&Packet { udp_port: CONTROL_PORT + 1, ..stranger.clone() });
        while bench.run(&stranger.bytes()).0 == Verdict::Drop {}
        bench.filter.let_in(stranger.source).unwrap();
        for _ in 0..100 {
            bench.passes(&stranger);
        }
    }
}

#[test]
fn without_sessions_their_port_is_not_looked_at() {
    if skipped_without_rights("without_sessions_their_port_is_not_looked_at") {
        return;
    }
    let filter = Filter::load(&Config { control_port: None, ..config(V4.0, V4.1) }).unwrap();
    let stranger = Packet { source: "10.7.0.9".parse().unwrap(), udp_port: 0, ..Packet::good(V4.0, V4.1) };
    for _ in 0..STRANGER_BURST + 10 {
        assert_eq!(filter.test_run(&stranger.bytes()).unwrap(), Verdict::Pass);
    }
}

#[test]
fn what_is_not_ours_passes_to_the_kernel() {
    if skipped_without_rights("what_is_not_ours_passes_to_the_kernel") {
        return;
    }
    for addresses in [V4, V6] {
        let bench = Bench::new(addresses);
        let good = Packet::good(addresses.0, addresses.1);
        for port in [PORT_BASE - 1, PORT_BASE + 4, 0, u16::MAX] {
            bench.passes(&Packet { udp_port: port, ..good.clone() });
        }
        for protocol in [0, 6, 44] {
            bench.passes(&Packet { protocol, ..good.clone() });
        }
        bench.passes(&Packet { vlan_tags: vec![0x8100; 3], ..good.clone() });
        bench.passes(&Packet { destination: good.source, ..good.clone() });
        let mut other_protocol = good.bytes();
        other_protocol[12..14].copy_from_slice(&[0x08, 0x06]);
        assert_eq!(bench.run(&other_protocol), (Verdict::Pass, None));
    }
    let bench = Bench::new(V4);
    let good = Packet::good(V4.0, V4.1);
    bench.passes(&Packet { ipv4_fragment: 0x0001, ..good.clone() }); // a later fragment has no ports
    for first_byte in [0x44, 0x65, 0x40] {
        let mut bad_header = good.bytes();
        bad_header[14] = first_byte;
        assert_eq!(bench.run(&bad_header), (Verdict::Pass, None));
    }
}

#[test]
fn a_packet_cut_anywhere_is_never_redirected() {
    if skipped_without_rights("a_packet_cut_anywhere_is_never_redirected") {
        return;
    }
    for addresses in [V4, V6] {
        let bench = Bench::new(addresses);
        for vlan_tags in [vec![], vec![0x88A8, 0x8100]] {
            let packet = Packet { vlan_tags, ..Packet::good(addresses.0, addresses.1) };
            let bytes = packet.bytes();
            let udp_end = bytes.len() - packet.frame.len();
            for length in 14..bytes.len() {
                let expected =
                    if length < udp_end { (Verdict::Pass, None) } else { (Verdict::Drop, Some("truncated")) };
                assert_eq!(bench.run(&bytes[..length]), expected, "{length} of {} bytes", bytes.len());
            }
        }
    }
}

#[test]
fn a_queue_without_a_socket_drops_and_counts() {
    if skipped_without_rights("a_queue_without_a_socket_drops_and_counts") {
        return;
    }
    let good = Packet::good(V4.0, V4.1);
    let filter = load(V4.0, V4.1);
    assert_eq!(filter.test_run(&good.bytes()).unwrap(), Verdict::Drop);
    assert!(filter.drop_counters().unwrap().contains(&("no_socket", 1)));

    let mut bench = Bench { filter, _socket: xdp_socket() };
    bench.filter.register_socket(0, bench._socket.as_fd()).unwrap();
    bench.redirects(&good);
    // Closing the socket takes it out of the map: what a killed daemon leaves behind is this, for a moment.
    bench._socket = xdp_socket();
    bench.drops(&good, "no_socket");
}

#[test]
fn settings_and_map_entries_that_can_not_work_are_refused() {
    if skipped_without_rights("settings_and_map_entries_that_can_not_work_are_refused") {
        return;
    }
    let good = config(V4.0, V4.1);
    let refused = |config: Config| matches!(Filter::load(&config), Err(XdpError::Config(_)));
    assert!(refused(Config { port_count: 0, ..good.clone() }));
    assert!(refused(Config { port_base: 65535, port_count: 2, ..good.clone() }));
    assert!(refused(Config { sources: vec![good.local; 257], ..good.clone() }));
    assert!(!refused(Config { port_base: 65535, port_count: 1, ..good.clone() }));

    let filter = Filter::load(&good).unwrap();
    let not_xdp = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
    assert!(matches!(filter.register_socket(0, not_xdp.as_fd()), Err(XdpError::Map { .. })));
    assert!(matches!(filter.register_socket(256, xdp_socket().as_fd()), Err(XdpError::Map { .. })));
    assert!(matches!(filter.test_run(&[0; 13]), Err(XdpError::TestRun(_))));
}

/// `port = "auto"` falls back to UDP on this error, and people read it.
#[test]
fn without_rights_the_error_says_so() {
    if skipped_without_rights("without_rights_the_error_says_so") {
        return;
    }
    let nobody = std::thread::spawn(|| {
        // Of this thread only: user ids are a thread's in Linux, and its capabilities go with them.
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65534)).unwrap();
        Filter::load(&config(V4.0, V4.1)).map(|_| ()).unwrap_err()
    });
    let error = nobody.join().unwrap();
    assert!(matches!(error, XdpError::Load(_)));
    assert!(error.to_string().contains("Operation not permitted"), "{error}");
}
