//! A host that is cut off, or stopped, or slow: the others go on, it goes on by itself, and afterwards all are equal.

mod common;

use std::time::{Duration, Instant};

use common::{CONVERGE_TIMEOUT, WRITE_TIMEOUT, Writer, assert_exact, clients, fabric_or_loopback};
use lattice_cluster::{Cluster, ClusterSpec, Fabric, admin, wait};

const CUT_FOR: Duration = Duration::from_secs(2);

fn writers(clients: &[lattice_client::Client], seed: u64) -> Vec<Writer> {
    clients.iter().enumerate().map(|(host, client)| Writer::new(host, client.clone(), seed)).collect()
}

fn start(fabric: Fabric) -> Cluster {
    Cluster::start(&ClusterSpec { fabric: fabric_or_loopback(fabric), ..ClusterSpec::default() }).unwrap()
}

/// Whether a host holds a peer up.
fn sees_up(cluster: &Cluster, host: usize, peer: usize) -> anyhow::Result<bool> {
    admin::is_peer_up(&cluster.hosts()[host].socket(), cluster.hosts()[peer].plan.node)
}

fn wait_down(cluster: &Cluster, host: usize, peer: usize) {
    wait::until(&format!("{host} to notice that {peer} is gone"), CONVERGE_TIMEOUT, || {
        anyhow::ensure!(!sees_up(cluster, host, peer)?, "still up");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_cut_link_stops_nobody_and_loses_nothing() {
    let cluster = start(Fabric::Bridge);
    let clients = clients(&cluster);
    let mut writers = writers(&clients, 11);
    cluster.network().cut(2).unwrap();
    std::thread::scope(|scope| {
        for writer in &mut writers {
            // Each write is waited for, and fails the test if it is refused or takes longer than WRITE_TIMEOUT.
            scope.spawn(|| writer.run_for(CUT_FOR));
        }
    });
    for (host, peer) in [(0, 2), (1, 2), (2, 0), (2, 1)] {
        wait_down(&cluster, host, peer);
    }
    assert!(sees_up(&cluster, 0, 1).unwrap() && sees_up(&cluster, 1, 0).unwrap());
    let prints = cluster.fingerprints().unwrap();
    assert_ne!(prints[2].shards, prints[0].shards, "the link was not cut");

    let healed = Instant::now();
    cluster.network().join(2).unwrap();
    assert_exact(&cluster, &clients, &writers);
    eprintln!("equal {} ms after the link was joined", healed.elapsed().as_millis());
}

#[test]
fn three_cuts_in_a_row_with_writers_going_on_lose_nothing() {
    let cluster = start(Fabric::Bridge);
    let clients = clients(&cluster);
    let mut writers = writers(&clients, 12);
    std::thread::scope(|scope| {
        for writer in &mut writers {
            scope.spawn(|| writer.run_for(Duration::from_secs(4)));
        }
        for host in [2, 0, 1] {
            cluster.network().cut(host).unwrap();
            // How long a link is cut is what is tested here, not a wait for something.
            std::thread::sleep(Duration::from_millis(600));
            cluster.network().join(host).unwrap();
            std::thread::sleep(Duration::from_millis(400));
        }
    });
    assert_exact(&cluster, &clients, &writers);
}

#[test]
fn a_stopped_daemon_is_noticed_and_catches_up() {
    let mut cluster = start(Fabric::Switch);
    let clients = clients(&cluster);
    let mut writers = writers(&clients, 13);
    cluster.daemon(1).pause().unwrap();
    wait_down(&cluster, 0, 1);
    for writer in [0, 2] {
        for _ in 0..50 {
            writers[writer].batch();
        }
    }
    // What its applications enqueue meanwhile is neither lost nor acknowledged.
    let counter = clients[1].counter("while-stopped").unwrap();
    let ticket = counter.add(5);
    cluster.daemon(1).resume().unwrap();
    cluster.wait_peers_up().unwrap();
    if let Ok(ticket) = ticket {
        clients[1].wait(ticket, WRITE_TIMEOUT).unwrap();
        assert_eq!(counter.get().unwrap(), 5);
    }
    assert_exact(&cluster, &clients, &writers);
}
