//! Acknowledgement levels at real daemons: what is told is so, on the hosts and disks that it is told of.

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{CONVERGE_TIMEOUT, WRITE_TIMEOUT, clients, connect, fabric_or_loopback};
use lattice_client::{Ack, AckImpossible, Client, Error, Reached};
use lattice_cluster::config::{StorageTable, SyncChoice};
use lattice_cluster::fault::Faults;
use lattice_cluster::{Cluster, ClusterSpec, Fabric, admin};

/// A wait that is meant to end without what it waits for.
const IN_VAIN: Duration = Duration::from_millis(400);

fn start(fabric: Fabric, spec: ClusterSpec) -> Cluster {
    Cluster::start(&ClusterSpec { fabric: fabric_or_loopback(fabric), ..spec }).unwrap()
}

fn not_reached(result: Result<Reached, Error>) -> Reached {
    match result {
        Err(Error::NotReached { reached, .. }) => reached,
        other => panic!("{other:?}"),
    }
}

/// Hosts but the first that show at least so much.
fn showing(clients: &[Client], key: &str, at_least: i64) -> usize {
    clients[1..].iter().filter(|client| client.counter(key).unwrap().get().unwrap() >= at_least).count()
}

#[test]
fn what_is_told_to_be_merged_is_visible_there_whatever_the_network_does() {
    let cluster = start(Fabric::Switch, ClusterSpec { faults: Faults::HARSH, ..ClusterSpec::default() });
    let clients = clients(&cluster);
    // Of several shards, so that each has lanes of its own.
    let keys: Vec<String> = (0..8).map(|n| format!("told/{n}")).collect();
    for round in 1..=25 {
        for (n, key) in keys.iter().enumerate() {
            let (level, hosts) =
                [(Ack::Peers(1), 1), (Ack::Majority, 1), (Ack::Peers(2), 2), (Ack::All, 2)][n % 4];
            let reached = clients[0].counter(key).unwrap().add_with(1, level, WRITE_TIMEOUT).unwrap();
            let there = showing(&clients, key, round);
            assert!(there >= hosts, "{level} was told, {there} hosts show it");
            assert!(
                reached.has(level) && usize::from(reached.peers) <= showing(&clients, key, round),
                "{reached}"
            );
        }
    }
    for key in &keys {
        clients[0].counter(key).unwrap().add(1).unwrap();
    }
    clients[0].barrier_with(Ack::All, WRITE_TIMEOUT).unwrap();
    assert!(keys.iter().all(|key| showing(&clients, key, 26) == 2));
}

#[test]
fn without_a_host_a_majority_goes_on_and_all_says_who_is_missing() {
    let cluster = start(Fabric::Bridge, ClusterSpec::default());
    let clients = clients(&cluster);
    let counter = clients[0].counter("cut").unwrap();
    counter.add_with(1, Ack::All, WRITE_TIMEOUT).unwrap();
    cluster.network().cut(2).unwrap();
    let started = Instant::now();
    for _ in 0..20 {
        counter.add_with(1, Ack::Majority, WRITE_TIMEOUT).unwrap();
    }
    assert!(started.elapsed() < WRITE_TIMEOUT);
    let reached = not_reached(counter.add_with(1, Ack::All, IN_VAIN));
    assert_eq!((reached.local, reached.peers, reached.members), (true, 1, 3), "{reached}");
    assert_eq!(
        (showing(&clients, "cut", 22), counter.get().unwrap()),
        (1, 22),
        "that wait took nothing back"
    );
    // On the side of one, nobody else has it.
    let alone = clients[2].counter("alone").unwrap();
    let reached = not_reached(alone.add_with(1, Ack::Majority, IN_VAIN));
    assert_eq!((reached.local, reached.peers), (true, 0), "{reached}");

    cluster.network().join(2).unwrap();
    for client in [&clients[0], &clients[2]] {
        assert_eq!(client.barrier_with(Ack::All, CONVERGE_TIMEOUT).unwrap().peers, 2);
    }
    assert_eq!(showing(&clients, "cut", 22), 2);
    assert_eq!(clients[0].counter("alone").unwrap().get().unwrap(), 1);
}

/// The time between syncs, seen from outside: who waits for each of five writes waits through four of them, at least, but for
/// what the first of these syncs took longer than the last. The daemon, which sleeps, is woken by each sync, and does not look
/// for it again and again.
#[test]
fn durable_is_told_after_a_sync_and_not_before() {
    const INTERVAL: Duration = Duration::from_millis(250);
    let sync_interval_ms = Some(INTERVAL.as_millis() as u64);
    let storage =
        StorageTable { sync: Some(SyncChoice::Interval), sync_interval_ms, ..StorageTable::default() };
    let cluster = start(Fabric::Loopback, ClusterSpec { hosts: 1, storage, ..ClusterSpec::default() });
    let client = connect(&cluster.hosts()[0].socket());
    let counter = client.counter("kept").unwrap();
    let started = Instant::now();
    for _ in 0..20 {
        assert!(counter.add_with(1, Ack::Logged, WRITE_TIMEOUT).unwrap().logged);
    }
    assert!(started.elapsed() < 10 * INTERVAL, "the log waits for no disk");
    let sleeps = || admin::counters(&cluster.hosts()[0].socket()).unwrap()["loop_sleeps"];
    let before = sleeps();
    let started = Instant::now();
    for _ in 0..5 {
        assert!(counter.add_with(1, Ack::Durable, WRITE_TIMEOUT).unwrap().durable);
    }
    assert!(started.elapsed() >= 4 * INTERVAL - INTERVAL / 4, "durable after {:?}", started.elapsed());
    let slept = sleeps() - before;
    assert!(slept < 400, "it slept {slept} times in {:?}", started.elapsed());
}

#[test]
fn where_nothing_is_synced_nobody_waits_for_durable() {
    let storage = StorageTable { sync: Some(SyncChoice::Never), ..StorageTable::default() };
    let cluster = start(Fabric::Loopback, ClusterSpec { hosts: 1, storage, ..ClusterSpec::default() });
    let client = connect(&cluster.hosts()[0].socket());
    let counter = client.counter("kept").unwrap();
    // Long before the time is up, and nothing was written.
    let refused = |result: Result<Reached, Error>| match result.unwrap_err() {
        Error::AckImpossible { asked: Ack::Durable, reason } => {
            assert_eq!(reason, AckImpossible::NeverSynced)
        }
        other => panic!("{other}"),
    };
    refused(counter.add_with(1, Ack::Durable, CONVERGE_TIMEOUT));
    refused(client.barrier_with(Ack::Durable, CONVERGE_TIMEOUT));
    assert!(counter.add_with(1, Ack::Logged, WRITE_TIMEOUT).unwrap().logged);
    assert_eq!(counter.get().unwrap(), 1);
}

#[test]
fn under_sync_always_durable_is_prompt_also_while_the_daemon_sleeps() {
    let storage = StorageTable { sync: Some(SyncChoice::Always), ..StorageTable::default() };
    let cluster = start(Fabric::Loopback, ClusterSpec { hosts: 1, storage, ..ClusterSpec::default() });
    let counter = connect(&cluster.hosts()[0].socket()).counter("kept").unwrap();
    let mut took: Vec<Duration> = (0..50)
        .map(|_| {
            let started = Instant::now();
            counter.add_with(1, Ack::Durable, WRITE_TIMEOUT).unwrap();
            started.elapsed()
        })
        .collect();
    took.sort_unstable();
    eprintln!("durable under `always`: median {:?}, longest {:?}", took[25], took[49]);
    assert!(took[25] < Duration::from_millis(100), "the median of fifty took {:?}", took[25]);
}

#[test]
fn in_memory_there_is_no_log_to_wait_for() {
    let spec = ClusterSpec { hosts: 1, storage: StorageTable::memory(), ..ClusterSpec::default() };
    let cluster = start(Fabric::Loopback, spec);
    let counter = connect(&cluster.hosts()[0].socket()).counter("kept").unwrap();
    for level in [Ack::Logged, Ack::Durable, Ack::Peers(1)] {
        let error = counter.add_with(1, level, WRITE_TIMEOUT).unwrap_err();
        assert!(matches!(error, Error::AckImpossible { .. }) && error.nothing_happened(), "{error}");
    }
    assert!(counter.add_with(1, Ack::All, WRITE_TIMEOUT).is_ok(), "alone it is all members");
    assert_eq!(counter.get().unwrap(), 1);
}

#[test]
fn a_daemon_that_is_killed_while_somebody_waits_leaves_what_it_told() {
    let mut cluster = start(Fabric::Bridge, ClusterSpec::default());
    let client = connect(&cluster.hosts()[0].socket());
    let counter = client.counter("killed").unwrap();
    cluster.network().cut(0).unwrap();
    let waiter = std::thread::spawn({
        let counter = counter.clone();
        move || counter.add_with(5, Ack::Majority, CONVERGE_TIMEOUT)
    });
    lattice_cluster::wait::until("the write to be visible", WRITE_TIMEOUT, || {
        anyhow::ensure!(counter.get()? == 5, "not yet");
        Ok(())
    })
    .unwrap();
    cluster.daemon(0).kill().unwrap();
    match waiter.join().unwrap() {
        Err(Error::AckUnknown { asked: Ack::Majority, reached }) => {
            assert!(reached.local && reached.logged && reached.peers == 0, "{reached}");
        }
        other => panic!("{other:?}"),
    }
    // It was logged, so it is there again, and goes where it was to go.
    cluster.network().join(0).unwrap();
    cluster.restart(0).unwrap();
    client.reconnect(CONVERGE_TIMEOUT).unwrap();
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
    assert_eq!(counter.get().unwrap(), 5);
    assert_eq!(connect(&cluster.hosts()[1].socket()).counter("killed").unwrap().get().unwrap(), 5);
}

#[test]
fn latticectl_waits_as_far_as_it_is_told() {
    let cluster = start(Fabric::Bridge, ClusterSpec { hosts: 2, ..ClusterSpec::default() });
    let socket = cluster.hosts()[0].socket();
    let ctl = |arguments: &[&str]| {
        let mut command = Command::new(cluster.binaries().latticectl().unwrap());
        let output = command.arg("--socket").arg(&socket).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert!(ctl(&["add", "k", "1", "--ack", "all"]).0);
    let there = connect(&cluster.hosts()[1].socket());
    assert_eq!(there.counter("k").unwrap().get().unwrap(), 1);
    assert!(ctl(&["insert", "s", "e", "--ack", "durable"]).0);
    cluster.network().cut(1).unwrap();
    let (worked, says) = ctl(&["enable", "f", "--ack", "peers=1", "--timeout", "0.3"]);
    assert!(!worked && says.contains("merged by 0 of 1 peers"), "{says}");
    let (worked, says) = ctl(&["set", "r", "v", "--ack", "peers=2"]);
    assert!(!worked && says.contains("the cluster has 1 peers"), "{says}");
}
