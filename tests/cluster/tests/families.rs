//! The same cluster over IPv6, over UDP, over a mixture of AF_XDP and UDP, and without root.

mod common;

use common::{Writer, assert_exact, clients, connect};
use lattice_client::Client;
use lattice_cluster::{Cluster, ClusterSpec, Environment, Fabric, IdleChoice, PortChoice, require};

/// Writes on all hosts end in the exact totals everywhere; returns how each host reaches the wire.
fn works(spec: &ClusterSpec) -> Vec<String> {
    let cluster = Cluster::start(spec).unwrap();
    let clients: Vec<Client> = clients(&cluster);
    let mut writers: Vec<Writer> =
        clients.iter().enumerate().map(|(host, client)| Writer::new(host, client.clone(), 31)).collect();
    std::thread::scope(|scope| {
        for writer in &mut writers {
            scope.spawn(|| (0..50).for_each(|_| writer.batch()));
        }
    });
    assert_exact(&cluster, &clients, &writers);
    cluster.hosts().iter().map(|host| host.daemon.ready().unwrap().port.clone()).collect()
}

fn has_af_xdp() -> bool {
    let environment = Environment::probe();
    require(&environment.namespaces) && require(&environment.af_xdp)
}

#[test]
fn ipv6_on_af_xdp() {
    if has_af_xdp() {
        let spec = ClusterSpec {
            fabric: Fabric::Bridge,
            ipv6: true,
            ports: vec![PortChoice::Xdp; 3],
            ..ClusterSpec::default()
        };
        assert!(works(&spec).iter().all(|port| port.starts_with("xdp-")));
    }
}

#[test]
fn auto_is_af_xdp_in_driver_mode_on_veth() {
    if has_af_xdp() {
        let spec = ClusterSpec { fabric: Fabric::Bridge, ..ClusterSpec::default() };
        assert_eq!(works(&spec), ["xdp-driver"; 3]);
    }
}

#[test]
fn af_xdp_and_udp_mixed() {
    if has_af_xdp() {
        for ipv6 in [false, true] {
            let ports = vec![PortChoice::Xdp, PortChoice::Udp, PortChoice::Xdp];
            let spec = ClusterSpec { fabric: Fabric::Bridge, ipv6, ports, ..ClusterSpec::default() };
            let modes = works(&spec);
            assert!(
                modes[0].starts_with("xdp-") && modes[1] == "udp" && modes[2].starts_with("xdp-"),
                "{modes:?}"
            );
        }
    }
}

#[test]
fn all_idle_strategies() {
    for idle in [IdleChoice::Busy, IdleChoice::Yield, IdleChoice::Sleep] {
        // Two hosts: a busy worker takes its core whole, and the applications need some of the other.
        let spec = ClusterSpec { hosts: 2, fabric: Fabric::Loopback, idle, ..ClusterSpec::default() };
        works(&spec);
    }
}

#[test]
fn udp_on_loopback_addresses_without_any_rights() {
    let spec =
        ClusterSpec { fabric: Fabric::Loopback, ports: vec![PortChoice::Udp; 3], ..ClusterSpec::default() };
    assert_eq!(works(&spec), ["udp"; 3]);
}

#[test]
fn one_host_alone_and_one_shard() {
    let spec = ClusterSpec { hosts: 1, shards: 1, fabric: Fabric::Loopback, ..ClusterSpec::default() };
    let cluster = Cluster::start(&spec).unwrap();
    let client = connect(&cluster.hosts()[0].socket());
    client.counter("alone").unwrap().add_wait(1, common::WRITE_TIMEOUT).unwrap();
    assert_eq!(client.counter("alone").unwrap().get().unwrap(), 1);
}
