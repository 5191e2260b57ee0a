//! A daemon that is killed goes on with its epoch and its state. One whose data is lost comes back empty, as a new epoch, and
//! learns everything from its peers; no total is wrong. A daemon that is asked to stop closes its segment.

mod common;

use std::time::Duration;

use common::{CONVERGE_TIMEOUT, WRITE_TIMEOUT, Writer, assert_exact, clients, connect, fabric_or_loopback};
use lattice_client::{Client, DaemonState, Error};
use lattice_cluster::{Cluster, ClusterSpec, Fabric, wait};

fn start() -> Cluster {
    Cluster::start(&ClusterSpec { fabric: fabric_or_loopback(Fabric::Bridge), ..ClusterSpec::default() })
        .unwrap()
}

#[test]
fn a_killed_daemon_goes_on_with_its_epoch() {
    killed_and_back(false);
}

#[test]
fn a_daemon_whose_data_is_lost_comes_back_as_a_new_epoch_and_learns_everything() {
    killed_and_back(true);
}

/// Kills host 2 again and again, takes away what it had on disk if asked to, and lets it come back beside its peers.
fn killed_and_back(data_is_lost: bool) {
    let mut cluster = start();
    let clients = clients(&cluster);
    let mut writers: Vec<Writer> =
        clients.iter().enumerate().map(|(host, client)| Writer::new(host, client.clone(), 21)).collect();
    for round in 0..3 {
        for writer in &mut writers {
            for _ in 0..20 {
                writer.batch();
            }
        }
        // From here on everything that host 2 acknowledged is on its peers: nothing of it may be gone afterwards.
        cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
        let before = cluster.fingerprints().unwrap()[2].actor.clone();
        cluster.daemon(2).kill().unwrap();
        if data_is_lost {
            std::fs::remove_dir_all(cluster.hosts()[2].plan.data.as_ref().unwrap()).unwrap();
        }
        for writer in &mut writers[..2] {
            for _ in 0..20 {
                writer.batch();
            }
        }
        cluster.restart(2).unwrap();
        cluster.wait_peers_up().unwrap();
        let after = cluster.fingerprints().unwrap()[2].actor.clone();
        assert_eq!(
            before != after,
            data_is_lost,
            "round {round}: an epoch goes on if and only if its state is there"
        );
        // The application on that host lives on, and so does its client.
        clients[2].reconnect(WRITE_TIMEOUT).unwrap();
        assert_exact(&cluster, &clients, &writers);
    }
}

#[test]
fn a_daemon_killed_while_writing_loses_at_most_its_own_last_writes() {
    let mut cluster = start();
    let clients = clients(&cluster);
    let added = |client: &Client, key: &str, until_killed: bool| -> i64 {
        let counter = client.counter(key).unwrap();
        let mut acknowledged = 0;
        // The others stop after a number that takes longer than the kill; the victim stops by dying.
        while until_killed || acknowledged < 5_000 {
            match counter.add(1).and_then(|ticket| client.wait(ticket, WRITE_TIMEOUT)) {
                Ok(()) => acknowledged += 1,
                Err(
                    Error::DaemonClosed { .. } | Error::DaemonStale { .. } | Error::OutcomeUnknown { .. },
                ) if until_killed => {
                    return acknowledged;
                }
                Err(error) => panic!("{key}: {error}"),
            }
        }
        acknowledged
    };
    let totals: Vec<i64> = std::thread::scope(|scope| {
        let writing: Vec<_> = clients
            .iter()
            .zip(["from-a", "from-b", "from-c"])
            .map(|(client, key)| scope.spawn(move || added(client, key, key == "from-c")))
            .collect();
        wait::until("the victim's writes to arrive", CONVERGE_TIMEOUT, || {
            let seen = clients[0].counter("from-c")?.get()?;
            anyhow::ensure!(seen > 500, "{seen} of them");
            Ok(())
        })
        .unwrap();
        cluster.daemon(2).kill().unwrap();
        writing.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    cluster.restart(2).unwrap();
    cluster.wait_peers_up().unwrap();
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();

    let again = connect(&cluster.hosts()[2].socket());
    again.counter("from-c").unwrap().add_wait(1_000_000, WRITE_TIMEOUT).unwrap();
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
    for (client, host) in [&clients[0], &clients[1], &again].into_iter().zip(0..) {
        let read = |key: &str| client.counter(key).unwrap().get().unwrap();
        assert_eq!((read("from-a"), read("from-b")), (totals[0], totals[1]), "on host {host}");
        let survived = read("from-c") - 1_000_000;
        // One write may have been applied and sent without its writer having heard of it.
        assert!((501..=totals[2] + 1).contains(&survived), "{survived} of {} on host {host}", totals[2]);
        assert_eq!(read("from-c"), clients[0].counter("from-c").unwrap().get().unwrap());
    }
}

#[test]
fn a_daemon_that_is_asked_to_stop_closes_its_segment() {
    let mut cluster = start();
    let segment = cluster.hosts()[1].daemon.ready().unwrap().segment.clone();
    let attached = connect(&cluster.hosts()[1].socket());
    let reader = Client::open_read_only(&segment).unwrap();
    attached.counter("kept").unwrap().add_wait(3, WRITE_TIMEOUT).unwrap();
    assert_eq!(reader.health().state, DaemonState::Live);

    let status = cluster.daemon(1).stop().unwrap();
    assert!(status.success());
    assert_eq!(reader.health().state, DaemonState::Closed);
    assert_eq!(reader.counter("kept").unwrap().get().unwrap(), 3, "the last state stays readable");
    let refused = attached.counter("kept").unwrap().add(1);
    assert!(matches!(refused, Err(Error::DaemonClosed { .. })), "{refused:?}");

    // Nothing of the old one is in the way of a new one.
    cluster.restart(1).unwrap();
    cluster.wait_peers_up().unwrap();
    attached.reconnect(WRITE_TIMEOUT).unwrap();
    wait::until("the total to come back from the peers", Duration::from_secs(10), || {
        let total = attached.counter("kept")?.get()?;
        anyhow::ensure!(total == 3, "it is {total}");
        Ok(())
    })
    .unwrap();
}
