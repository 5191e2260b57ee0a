//! Garbage at the port: counted by reason, and nothing changes.
//!
//! It comes from a peer's own address, so that it gets past the source check, and from a stranger's, which does not.

mod common;

use std::net::{IpAddr, SocketAddr, UdpSocket};

use common::{CONVERGE_TIMEOUT, View, Writer, assert_exact, clients, connect, fabric_or_loopback};
use lattice_cluster::fault::Dice;
use lattice_cluster::{Cluster, ClusterSpec, Environment, Fabric, PortChoice, admin, require, wait};
use lattice_crdt::{ActorId, Kind};
use lattice_wire::{FrameType, FrameWriter, Header, MAX_FRAME_BYTES, Op, Record, offsets};

/// How often each sort is sent.
const TIMES: u64 = 50;

/// UDP port of the sessions: the default.
const CONTROL_PORT: u16 = 7390;

/// The victim, and the host from which the garbage comes.
const VICTIM: usize = 0;
const SENDER: usize = 1;

/// The cluster's tag: the first four bytes of the hash of its name.
fn cluster_tag() -> u32 {
    lattice_segment::key_hash(b"test") as u32
}

/// A frame that is right in every byte, but of a session that never was: one addition to a counter.
fn frame(change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let actor = ActorId::new(SENDER as u16 + 1, 0xbad);
    let mut header = Header {
        frame_type: FrameType::Data,
        cluster_tag: cluster_tag(),
        node: SENDER as u16 + 1,
        dest_node: VICTIM as u16 + 1,
        shard: 0,
        actor,
        src_session: 0xdead,
        dst_session: 0xbeef,
        lo: 0,
        count: 1,
        log_first: 1,
    };
    change(&mut header);
    let mut bytes = vec![0; MAX_FRAME_BYTES];
    let mut writer = FrameWriter::new(&mut bytes, header).unwrap();
    let op = Op::Counter { increments: 1_000_000, decrements: 0 };
    writer.push_record(&Record { kind: Kind::Counter, key: b"counter/0", op }).unwrap();
    let length = writer.finish();
    bytes.truncate(length);
    bytes
}

fn with_byte(mut frame: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    frame[at] = value;
    frame
}

/// Each sort of garbage, with the counters of which one must count it: the XDP program's, or the engine's behind UDP.
fn sorts() -> Vec<(&'static str, Vec<u8>, &'static str, &'static str)> {
    let good = || frame(|_| ());
    let mut dice = Dice::new(5);
    let mut random: Vec<u8> = (0..300).map(|_| dice.bits() as u8).collect();
    // Not by chance a frame's.
    random[0] = 0;
    let mut giant = with_byte(good(), offsets::PAYLOAD_LEN, 0xff);
    giant[offsets::PAYLOAD_LEN + 1] = 0xff;
    let mut long = good();
    long.resize(MAX_FRAME_BYTES + 8, 0);
    let last = good().len() - 1;
    let stale = "dropped_stale_session";
    vec![
        ("nothing at all", Vec::new(), "xdp_drop_too_short", "dropped_too_short"),
        ("a few bytes", random[..10].to_vec(), "xdp_drop_too_short", "dropped_too_short"),
        ("random bytes", random, "xdp_drop_bad_magic", "dropped_bad_magic"),
        ("a frame cut in its header", good()[..40].to_vec(), "xdp_drop_too_short", "dropped_too_short"),
        ("a frame cut in its tag", good()[..last].to_vec(), "xdp_drop_bad_length", "dropped_bad_length"),
        (
            "another version",
            with_byte(good(), offsets::VERSION, 9),
            "xdp_drop_bad_version",
            "dropped_bad_version",
        ),
        (
            "another cluster",
            frame(|header| header.cluster_tag ^= 1),
            "xdp_drop_wrong_cluster",
            "dropped_wrong_cluster",
        ),
        ("a giant length", giant, "xdp_drop_bad_length", "dropped_bad_length"),
        ("too many bytes", long, "xdp_drop_too_long", "port_oversize"),
        (
            "an unknown type",
            with_byte(good(), offsets::FRAME_TYPE, 77),
            "dropped_bad_type",
            "dropped_bad_type",
        ),
        (
            "a reserved byte",
            with_byte(good(), offsets::SEAL_COUNTER, 1),
            "dropped_bad_reserved",
            "dropped_bad_reserved",
        ),
        ("a sealed one", with_byte(good(), offsets::SEAL_KEY, 1), "dropped_sealed", "dropped_sealed"),
        (
            "a damaged payload",
            with_byte(good(), offsets::PAYLOAD + 3, 0xee),
            "dropped_bad_tag",
            "dropped_bad_tag",
        ),
        ("a session that never was", good(), stale, stale),
        ("from no node of ours", frame(|header| header.node = 77), "dropped_address", "dropped_address"),
        ("from the victim itself", frame(|header| header.node = 1), "dropped_address", "dropped_address"),
        ("for another node", frame(|header| header.dest_node = 3), "dropped_address", "dropped_address"),
    ]
}

fn count(cluster: &Cluster, counter: &str) -> u64 {
    let counters = admin::counters(&cluster.hosts()[VICTIM].socket()).unwrap();
    *counters.get(counter).unwrap_or_else(|| panic!("no counter `{counter}` in {counters:?}"))
}

fn victim_address(cluster: &Cluster) -> SocketAddr {
    let plan = &cluster.hosts()[SENDER].plan;
    let address = plan.address_of_peer(cluster.hosts()[VICTIM].plan.node).unwrap();
    SocketAddr::new(address, plan.base_port)
}

fn socket_at(cluster: &Cluster, address: IpAddr) -> UdpSocket {
    cluster.network().enter(SENDER, || UdpSocket::bind((address, 0))).unwrap().unwrap()
}

fn wait_counted(cluster: &Cluster, what: &str, counter: &str, before: u64) {
    wait::until(&format!("`{counter}` to count {what}"), CONVERGE_TIMEOUT, || {
        let counted = count(cluster, counter) - before;
        anyhow::ensure!(counted >= TIMES, "{counted} of {TIMES}");
        Ok(())
    })
    .unwrap();
}

fn garbage_changes_nothing(fabric: Fabric, port: PortChoice) {
    let cluster =
        Cluster::start(&ClusterSpec { fabric, ports: vec![port; 3], ..ClusterSpec::default() }).unwrap();
    let clients = clients(&cluster);
    let mut writers: Vec<Writer> =
        clients.iter().enumerate().map(|(host, client)| Writer::new(host, client.clone(), 41)).collect();
    writers.iter_mut().for_each(Writer::batch);
    assert_exact(&cluster, &clients, &writers);
    let before: (Vec<_>, Vec<_>) = (cluster.fingerprints().unwrap(), clients.iter().map(View::of).collect());

    let is_xdp = cluster.hosts()[VICTIM].daemon.ready().unwrap().port.starts_with("xdp-");
    let victim = victim_address(&cluster);
    let socket = socket_at(&cluster, cluster.hosts()[SENDER].plan.address);
    for (what, bytes, xdp_counter, udp_counter) in sorts() {
        let counter = if is_xdp { xdp_counter } else { udp_counter };
        let counted = count(&cluster, counter);
        for _ in 0..TIMES {
            socket.send_to(&bytes, victim).unwrap();
        }
        wait_counted(&cluster, what, counter, counted);
    }
    let mut dice = Dice::new(6);
    for _ in 0..20_000 {
        let mut bytes = frame(|header| header.shard = 0);
        let bit = dice.below(8 * bytes.len() as u64) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes.truncate(bytes.len() - dice.below(3) as usize);
        socket.send_to(&bytes, victim).unwrap();
    }
    if fabric == Fabric::Bridge {
        strangers_are_counted(&cluster, is_xdp);
    }

    let after: (Vec<_>, Vec<_>) = (cluster.fingerprints().unwrap(), clients.iter().map(View::of).collect());
    assert_eq!(before, after, "garbage has changed something");
    // Nobody was disturbed: writes still reach everyone, over the same sessions and the same clients.
    writers.iter_mut().for_each(Writer::batch);
    assert_exact(&cluster, &clients, &writers);
    cluster.wait_peers_up().unwrap();
    connect(&cluster.hosts()[VICTIM].socket());
}

/// Frames from an address that is no peer's.
fn strangers_are_counted(cluster: &Cluster, is_xdp: bool) {
    let stranger: IpAddr = [10, 77, 0, 99].into();
    cluster.network().ip(SENDER, &format!("address add {stranger}/24 dev eth0")).unwrap();
    let socket = socket_at(cluster, stranger);
    let counter = if is_xdp { "xdp_drop_unknown_source" } else { "port_unknown_source" };
    let counted = count(cluster, counter);
    for _ in 0..TIMES {
        socket.send_to(&frame(|_| ()), victim_address(cluster)).unwrap();
    }
    wait_counted(cluster, "frames of a stranger", counter, counted);
}

#[test]
fn garbage_at_af_xdp_is_counted_by_reason_and_changes_nothing() {
    let environment = Environment::probe();
    if require(&environment.namespaces) && require(&environment.af_xdp) {
        garbage_changes_nothing(Fabric::Bridge, PortChoice::Xdp);
    }
}

/// Datagrams of a flood, to each port.
const FLOOD: u64 = 30_000;
/// What of it must have been dropped by the XDP program: all but what a busy machine loses before, and what strangers may say.
const MOST: u64 = FLOOD / 2;

#[test]
fn a_flood_of_strangers_ends_in_the_xdp_program_and_members_write_on() {
    let environment = Environment::probe();
    if !require(&environment.namespaces) || !require(&environment.af_xdp) {
        return;
    }
    let spec = ClusterSpec {
        fabric: Fabric::Bridge,
        members: true,
        ports: vec![PortChoice::Xdp; 3],
        ..ClusterSpec::default()
    };
    let cluster = Cluster::start(&spec).unwrap();
    let clients = clients(&cluster);
    let mut writers: Vec<Writer> =
        clients.iter().enumerate().map(|(host, client)| Writer::new(host, client.clone(), 43)).collect();
    writers.iter_mut().for_each(Writer::batch);
    let stranger: IpAddr = [10, 77, 0, 99].into();
    cluster.network().ip(SENDER, &format!("address add {stranger}/24 dev eth0")).unwrap();
    let socket = socket_at(&cluster, stranger);
    let plan = &cluster.hosts()[VICTIM].plan;
    let (data, sessions) = ((plan.address, plan.base_port), (plan.address, CONTROL_PORT));
    let bytes = frame(|_| ());
    for _ in 0..FLOOD {
        // The kernel may lose some; the counters say what came.
        let _ = (socket.send_to(&bytes, data), socket.send_to(&bytes, sessions));
    }
    for counter in ["xdp_drop_unknown_source", "xdp_drop_control_flood"] {
        wait::until(&format!("`{counter}` to count the flood"), CONVERGE_TIMEOUT, || {
            let counted = count(&cluster, counter);
            anyhow::ensure!(counted >= MOST, "{counted} of {MOST}");
            Ok(())
        })
        .unwrap();
    }
    writers.iter_mut().for_each(Writer::batch);
    assert_exact(&cluster, &clients, &writers);
    cluster.wait_peers_up().unwrap();
}

#[test]
fn garbage_at_udp_is_counted_and_changes_nothing() {
    garbage_changes_nothing(fabric_or_loopback(Fabric::Bridge), PortChoice::Udp);
}
