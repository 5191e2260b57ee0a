//! The harness itself, without daemons: the three fabrics carry UDP, lose, double, reorder and cut, and leave nothing.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use lattice_cluster::command::ip;
use lattice_cluster::network::Network;
use lattice_cluster::{ClusterSpec, Environment, Fabric, Faults, HostPlan, require};
use lattice_cluster::{namespace, wait};
use tempfile::TempDir;

/// Loopback addresses are one per process: its tests take turns.
static LOOPBACK: Mutex<()> = Mutex::new(());

/// Long enough for an address resolution that has to be repeated.
const LONG: Duration = Duration::from_secs(10);

/// Hosts with one UDP socket each, where a daemon would be.
struct Hosts {
    network: Network,
    plans: Vec<HostPlan>,
    sockets: Vec<UdpSocket>,
    _directory: TempDir,
}

impl Hosts {
    fn start(fabric: Fabric, ipv6: bool) -> Hosts {
        let directory = tempfile::tempdir().unwrap();
        let spec = ClusterSpec { fabric, ipv6, shards: 1, ..ClusterSpec::default() };
        let plans = spec.write_plans(directory.path()).unwrap();
        let network = Network::build(fabric, &plans, Faults::NONE, 42).unwrap();
        let bind = |(host, plan): (usize, &HostPlan)| {
            let address = SocketAddr::new(plan.address, plan.base_port);
            let socket = network.enter(host, || UdpSocket::bind(address)).unwrap().unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            socket
        };
        let sockets = plans.iter().enumerate().map(bind).collect();
        Hosts { network, plans, sockets, _directory: directory }
    }

    fn send(&self, from: usize, to: usize, number: u32) {
        let known_as = self.plans[from].address_of_peer(self.plans[to].node).unwrap();
        // A host whose link is down may refuse; that is a loss like any other.
        let _ = self.sockets[from].send_to(&number.to_le_bytes(), (known_as, self.plans[to].base_port));
    }

    /// All that has arrived at a host, and arrives within a moment; each from the address it knows `from` by.
    fn received(&self, at: usize, from: usize) -> Vec<u32> {
        let known_as = self.plans[at].address_of_peer(self.plans[from].node).unwrap();
        let mut numbers = Vec::new();
        let mut datagram = [0; 64];
        loop {
            match self.sockets[at].recv_from(&mut datagram) {
                Ok((4, source)) if source.ip() == known_as => {
                    numbers.push(u32::from_le_bytes(datagram[..4].try_into().unwrap()));
                }
                Ok((length, source)) => panic!("{length} bytes from {source}"),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return numbers;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Sends until something arrives: addresses get resolved on the way.
    fn assert_reachable(&self, from: usize, to: usize) {
        wait::until(&format!("{from} to reach {to}"), LONG, || {
            self.send(from, to, 0);
            anyhow::ensure!(!self.received(to, from).is_empty(), "nothing arrived");
            Ok(())
        })
        .unwrap();
    }
}

fn all_pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..3).flat_map(|from| (0..3).map(move |to| (from, to))).filter(|(from, to)| from != to)
}

fn carries_and_cuts(hosts: &Hosts) {
    for (from, to) in all_pairs() {
        hosts.assert_reachable(from, to);
    }
    hosts.network.cut(2).unwrap();
    for number in 1..20 {
        hosts.send(0, 2, number);
        hosts.send(2, 1, number);
        hosts.send(0, 1, number);
    }
    assert_eq!(hosts.received(2, 0), [0u32; 0], "a host that is cut off hears nothing");
    assert_eq!(
        hosts.received(1, 0),
        (1..20).collect::<Vec<_>>(),
        "the others still hear each other, and not host 2"
    );
    hosts.network.join(2).unwrap();
    for (from, to) in all_pairs() {
        hosts.assert_reachable(from, to);
    }
}

fn loses_doubles_and_reorders(hosts: &Hosts) {
    const SENT: u32 = 2_000;
    hosts.assert_reachable(0, 1);
    hosts.network.set_faults(Faults::HARSH).unwrap();
    let mut arrived = Vec::new();
    for number in 0..SENT {
        hosts.send(0, 1, number);
        if number % 100 == 99 {
            arrived.extend(hosts.received(1, 0));
        }
    }
    hosts.network.set_faults(Faults::NONE).unwrap();
    let distinct = arrived.iter().collect::<HashSet<_>>().len() as u32;
    // Ten standard deviations around 70 % of them, and around 20 % of those that were not lost.
    assert!((1_195..1_605).contains(&distinct), "{distinct} of {SENT} arrived");
    let doubled = arrived.len() as u32 - distinct;
    assert!((120..440).contains(&doubled), "{doubled} arrived twice");
    let overtaken = arrived.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(overtaken > 50, "only {overtaken} were overtaken");
    let counts = hosts.network.counts().unwrap();
    assert_eq!(counts.refused, 0, "{counts:?}");
    assert!(counts.lost >= u64::from(SENT - distinct), "{counts:?}");
}

fn namespaces_are_there() -> bool {
    require(&Environment::probe().namespaces)
}

#[test]
fn the_bridge_carries_and_cuts() {
    if namespaces_are_there() {
        carries_and_cuts(&Hosts::start(Fabric::Bridge, false));
    }
}

#[test]
fn the_bridge_carries_ipv6() {
    if namespaces_are_there() {
        carries_and_cuts(&Hosts::start(Fabric::Bridge, true));
    }
}

#[test]
fn the_switch_carries_and_cuts_and_is_unkind() {
    if namespaces_are_there() {
        let hosts = Hosts::start(Fabric::Switch, false);
        carries_and_cuts(&hosts);
        loses_doubles_and_reorders(&hosts);
    }
}

#[test]
fn the_switch_carries_ipv6() {
    if namespaces_are_there() {
        carries_and_cuts(&Hosts::start(Fabric::Switch, true));
    }
}

#[test]
fn the_relay_carries_and_cuts_and_is_unkind() {
    let _turn = LOOPBACK.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let hosts = Hosts::start(Fabric::Loopback, false);
    carries_and_cuts(&hosts);
    loses_doubles_and_reorders(&hosts);
}

#[test]
fn nothing_is_left_behind() {
    if !namespaces_are_there() {
        return;
    }
    let own = format!("lattice-{}-", std::process::id());
    let name = {
        let namespace = namespace::Namespace::create("leaving").unwrap();
        assert!(namespace.name().starts_with(&own));
        namespace.name().to_owned()
    };
    assert!(!ip("netns list").unwrap().contains(&name));

    // What a killed run leaves behind: a namespace of a dead pid, with a process in it that polls on.
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let stale = format!("lattice-{}-0-stale", ended.id());
    ip(&format!("netns add {stale}")).unwrap();
    let mut orphan = Command::new("ip").args(["netns", "exec", &stale, "sleep", "1000"]).spawn().unwrap();
    wait::until("the orphan to be inside", LONG, || {
        anyhow::ensure!(ip(&format!("netns pids {stale}"))?.trim() == orphan.id().to_string(), "not yet");
        Ok(())
    })
    .unwrap();
    namespace::remove_stale();
    assert!(!ip("netns list").unwrap().contains(&stale));
    assert!(!orphan.wait().unwrap().success(), "it was killed");
}
