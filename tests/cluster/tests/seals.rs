//! Sealed frames between real hosts: what is seen on the wire, what a captured frame is good for, keys that are rolled and
//! handed over again, and a cluster that goes over to them while it runs.

mod common;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::{CONVERGE_TIMEOUT, View, WRITE_TIMEOUT, Writer, assert_exact, clients};
use lattice_client::Client;
use lattice_cluster::{Cluster, ClusterSpec, Environment, Fabric, admin, require, wait};
use lattice_wire::{HEADER_BYTES, TAG_BYTES, decode_frame, offsets, split_frame, write_checksum};
use serde_json::Value;

/// What nobody on the wire may read: longer than a frame has of anything by chance.
const SECRET: &[u8] = b"nobody between the hosts may read this value";
/// The victim of forged frames, and the host from whose address they come.
const VICTIM: usize = 0;
const SENDER: usize = 1;

fn start(spec: ClusterSpec) -> Option<Cluster> {
    let spec = ClusterSpec { fabric: Fabric::Switch, members: true, ..spec };
    require(&Environment::probe().namespaces).then(|| Cluster::start(&spec).unwrap())
}

fn cluster_tag() -> u32 {
    lattice_segment::key_hash(b"test") as u32
}

fn writers(clients: &[Client], seed: u64) -> Vec<Writer> {
    clients.iter().enumerate().map(|(host, client)| Writer::new(host, client.clone(), seed)).collect()
}

fn count(cluster: &Cluster, host: usize, counter: &str) -> u64 {
    let counters = admin::counters(&cluster.hosts()[host].socket()).unwrap();
    *counters.get(counter).unwrap_or_else(|| panic!("no counter `{counter}` in {counters:?}"))
}

/// What a daemon says of the seals of its members' frames.
fn seals(cluster: &Cluster, host: usize) -> Vec<Value> {
    let status = admin::ask(&cluster.hosts()[host].socket(), "status").unwrap();
    let peers = status["peers"].as_array().unwrap();
    peers.iter().map(|peer| peer["member"]["seal"].clone()).collect()
}

fn wait_all_sealed(cluster: &Cluster, sealed: bool) {
    for host in 0..cluster.hosts().len() {
        wait::until(&format!("{host} to have sealed {sealed}"), CONVERGE_TIMEOUT, || {
            let found = seals(cluster, host);
            let is_good = found.iter().all(|seal| seal["sealed"] == sealed);
            anyhow::ensure!(is_good && found.len() + 1 == cluster.hosts().len(), "{found:?}");
            Ok(())
        })
        .unwrap();
    }
}

/// The UDP payloads of the data ports in captured Ethernet frames over IPv4, with the host that sent them and the shard.
fn data_frames(cluster: &Cluster, captured: &[Box<[u8]>]) -> Vec<(usize, u16, Vec<u8>)> {
    let ports = cluster.hosts()[0].plan.base_port..cluster.hosts()[0].plan.base_port + 4;
    let of = |frame: &[u8]| {
        let ip = frame.get(14..)?;
        // IPv4 (version 4, header of 20 bytes), UDP.
        let is_udp = frame[12..14] == [8, 0] && ip[0] == 0x45 && ip[9] == 17;
        let port = u16::from_be_bytes([*ip.get(22)?, *ip.get(23)?]);
        let length = usize::from(u16::from_be_bytes([*ip.get(24)?, *ip.get(25)?]));
        let source: [u8; 4] = ip[12..16].try_into().ok()?;
        let host = cluster.hosts().iter().position(|host| host.plan.address == IpAddr::from(source))?;
        (is_udp && ports.contains(&port)).then(|| (host, port - ports.start, ip[28..20 + length].to_vec()))
    };
    captured.iter().filter_map(|frame| of(frame)).collect()
}

/// Writes the secret everywhere and lets all hosts have it, while somebody listens.
fn listen(cluster: &Cluster, clients: &[Client]) -> Vec<(usize, u16, Vec<u8>)> {
    cluster.network().capture().unwrap();
    for (host, client) in clients.iter().enumerate() {
        for n in 0..20 {
            let value = [SECRET, format!(" {host} {n}").as_bytes()].concat();
            let ticket = client.register(format!("secret/{n}")).unwrap().set(&value).unwrap();
            client.wait(ticket, WRITE_TIMEOUT).unwrap();
        }
    }
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
    data_frames(cluster, &cluster.network().captured())
}

fn shows_secret(frame: &[u8]) -> bool {
    frame.windows(SECRET.len()).any(|window| window == SECRET)
}

/// Sends bytes to a shard of the victim from the sender's address.
struct Forger {
    socket: UdpSocket,
    victim: IpAddr,
    base_port: u16,
}

impl Forger {
    fn at(cluster: &Cluster) -> Forger {
        let plan = |host: usize| &cluster.hosts()[host].plan;
        let own = plan(SENDER).address;
        let bind = move || UdpSocket::bind((own, 0));
        let socket = cluster.network().enter(SENDER, bind).unwrap().unwrap();
        Forger { socket, victim: plan(VICTIM).address, base_port: plan(VICTIM).base_port }
    }

    fn send(&self, shard: u16, bytes: &[u8]) {
        self.socket.send_to(bytes, SocketAddr::new(self.victim, self.base_port + shard)).unwrap();
    }
}

fn wait_counted(cluster: &Cluster, counters: &[&str], before: u64, at_least: u64) {
    wait::until(&format!("{counters:?} to count {at_least}"), CONVERGE_TIMEOUT, || {
        let now: u64 = counters.iter().map(|counter| count(cluster, VICTIM, counter)).sum();
        anyhow::ensure!(now - before >= at_least, "{} of {at_least}", now - before);
        Ok(())
    })
    .unwrap();
}

#[test]
fn frames_on_the_wire_show_nothing_and_are_good_for_nothing() {
    let Some(mut cluster) = start(ClusterSpec::default()) else { return };
    wait_all_sealed(&cluster, true);
    let clients = clients(&cluster);
    let frames = listen(&cluster, &clients);
    assert!(frames.len() > 60, "{} frames were captured", frames.len());
    for (host, _, frame) in &frames {
        assert!(!shows_secret(frame), "of {host}");
        let envelope = split_frame(frame, cluster_tag()).unwrap();
        assert!(envelope.mark.is_some(), "not sealed: {:?}", envelope.header);
    }

    // What the sender's frames are good for once it has been restarted, and the victim has not.
    let old: Vec<_> = frames.into_iter().filter(|(host, _, _)| *host == SENDER).collect();
    cluster.daemon(SENDER).kill().unwrap();
    cluster.restart(SENDER).unwrap();
    cluster.wait_peers_up().unwrap();
    clients[SENDER].reconnect(CONVERGE_TIMEOUT).unwrap();
    let recent: Vec<_> =
        listen(&cluster, &clients).into_iter().filter(|(host, _, _)| *host == SENDER).collect();
    let before = (cluster.fingerprints().unwrap(), clients.iter().map(View::of).collect::<Vec<_>>());
    let dropped = ["seal_unknown_key", "seal_replayed"];
    let counted: u64 = dropped.iter().map(|counter| count(&cluster, VICTIM, counter)).sum();
    let forger = Forger::at(&cluster);
    // Those to the victim; it takes no others' either, but the address would be wrong.
    let to_victim: Vec<_> = old
        .iter()
        .chain(&recent)
        .filter(|(_, _, frame)| frame[offsets::DEST_NODE] == VICTIM as u8 + 1)
        .collect();
    assert!(to_victim.len() > 30);
    for (_, shard, frame) in to_victim.iter().cycle().take(10_000) {
        forger.send(*shard, frame);
    }
    // UDP and rings may lose some.
    wait_counted(&cluster, &dropped, counted, 5_000);

    // A frame of the present session with a checksum for a seal, as an earlier version would send it.
    let missing = count(&cluster, VICTIM, "seal_missing");
    let (_, shard, sealed) = to_victim.last().unwrap();
    let mut plain = sealed.clone();
    plain[offsets::SEAL_KEY..offsets::SEAL_KEY + 4].fill(0);
    plain[offsets::SEAL_COUNTER..HEADER_BYTES].fill(0);
    plain.truncate(HEADER_BYTES + TAG_BYTES);
    plain[offsets::PAYLOAD_LEN..offsets::PAYLOAD_LEN + 2].fill(0);
    write_checksum(&mut plain);
    assert!(decode_frame(&plain, cluster_tag()).is_ok(), "without seals it would be taken");
    (0..200).for_each(|_| forger.send(*shard, &plain));
    wait_counted(&cluster, &["seal_missing"], missing, 100);
    let told = admin::degraded(&cluster.hosts()[VICTIM].socket()).unwrap();
    assert!(told.iter().any(|reason| reason.contains("without a seal")), "{told:?}");

    let after = (cluster.fingerprints().unwrap(), clients.iter().map(View::of).collect::<Vec<_>>());
    assert_eq!(before, after, "a forged frame has changed something");
    let mut writers = writers(&clients, 61);
    writers.iter_mut().for_each(Writer::batch);
    assert_exact(&cluster, &clients, &writers);
}

#[test]
fn keys_are_rolled_while_hosts_write() {
    let spec = ClusterSpec { key_life_s: Some(1), ..ClusterSpec::default() };
    let Some(cluster) = start(spec) else { return };
    let clients = clients(&cluster);
    let mut writers = writers(&clients, 62);
    let rolls = |host: usize| -> u64 {
        seals(&cluster, host).iter().map(|seal| seal["rolls"].as_u64().unwrap()).min().unwrap_or(0)
    };
    let began = Instant::now();
    while (0..3).any(|host| rolls(host) < 3) {
        writers.iter_mut().for_each(Writer::batch);
        assert!(began.elapsed() < CONVERGE_TIMEOUT, "keys are not rolled");
    }
    assert_exact(&cluster, &clients, &writers);
    for host in 0..3 {
        for counter in ["seal_missing", "seal_broken", "seal_unknown_key", "seal_replayed"] {
            assert_eq!(count(&cluster, host, counter), 0, "{counter} of {host}: a roll loses no frame");
        }
    }
}

#[test]
fn a_cluster_goes_over_to_seals_host_by_host() {
    let spec = ClusterSpec { seal: Some(false), ..ClusterSpec::default() };
    let Some(mut cluster) = start(spec) else { return };
    wait_all_sealed(&cluster, false);
    let clients = clients(&cluster);
    let frames = listen(&cluster, &clients);
    assert!(frames.iter().any(|(_, _, frame)| shows_secret(frame)), "without seals everybody can read it");
    let mut writers = writers(&clients, 63);
    for host in 0..3 {
        cluster.daemon(host).stop().unwrap();
        let file = cluster.hosts()[host].plan.file.clone();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("seal = false"));
        std::fs::write(&file, text.replace("seal = false", "seal = true")).unwrap();
        cluster.restart(host).unwrap();
        clients[host].reconnect(CONVERGE_TIMEOUT).unwrap();
        // At each step everybody hears everybody.
        cluster.wait_peers_up().unwrap();
        writers.iter_mut().for_each(Writer::batch);
        assert_exact(&cluster, &clients, &writers);
    }
    wait_all_sealed(&cluster, true);
    assert!(!listen(&cluster, &clients).iter().any(|(_, _, frame)| shows_secret(frame)));
}

#[test]
fn under_loss_and_after_a_partition_keys_are_handed_over_again() {
    let Some(mut cluster) = start(ClusterSpec::default()) else { return };
    let clients = clients(&cluster);
    let mut writers = writers(&clients, 64);
    writers.iter_mut().for_each(Writer::batch);
    // Longer than a session lasts without an answer.
    cluster.network().cut(2).unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        writers.iter_mut().for_each(Writer::batch);
    }
    cluster.network().set_faults(lattice_cluster::Faults::HARSH).unwrap();
    cluster.network().join(2).unwrap();
    cluster.wait_peers_up().unwrap();
    cluster.daemon(1).kill().unwrap();
    cluster.restart(1).unwrap();
    clients[1].reconnect(CONVERGE_TIMEOUT).unwrap();
    cluster.wait_peers_up().unwrap();
    writers.iter_mut().for_each(Writer::batch);
    assert_exact(&cluster, &clients, &writers);
    assert_eq!(count(&cluster, 0, "seal_missing") + count(&cluster, 0, "seal_broken"), 0);
}
