//! Hosts that find each other by one address and prove who they are: joining, dying, standing still, a bad network,
//! and those who can't prove it.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::{CONVERGE_TIMEOUT, Writer, assert_exact, clients};
use lattice_client::{Ack, Error};
use lattice_cluster::{Cluster, ClusterSpec, Environment, Fabric, Faults, admin, require, wait};
use lattice_members::pki::Authority;

/// Within which a death is noticed, and what a machine that is busy with other things may add to it.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);
const BUSY: Duration = Duration::from_secs(1);
/// A wait that is meant to end without what it waits for.
const IN_VAIN: Duration = Duration::from_millis(400);
/// Pause between two looks at a daemon.
const LOOK: Duration = Duration::from_millis(10);
const HOSTS: usize = 3;

/// A cluster whose hosts know the first one's address only; `None` where there are no network namespaces.
fn start(fabric: Fabric) -> Option<Cluster> {
    require(&Environment::probe().namespaces)
        .then(|| Cluster::start(&ClusterSpec { fabric, members: true, ..ClusterSpec::default() }).unwrap())
}

fn state(cluster: &Cluster, at: usize, of: usize) -> Option<String> {
    let plan = &cluster.hosts()[of].plan;
    admin::member_state(&cluster.hosts()[at].socket(), plan.node).unwrap()
}

fn wait_state(cluster: &Cluster, at: usize, of: usize, wanted: &str) {
    wait::until(&format!("{of} to be {wanted} at {at}"), CONVERGE_TIMEOUT, || {
        let found = state(cluster, at, of);
        anyhow::ensure!(found.as_deref() == Some(wanted), "it is {found:?}");
        Ok(())
    })
    .unwrap();
}

fn wait_all_alive(cluster: &Cluster) {
    for (at, of) in pairs() {
        wait_state(cluster, at, of, "alive");
    }
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..HOSTS).flat_map(|at| (0..HOSTS).filter(move |of| *of != at).map(move |of| (at, of)))
}

/// Looks for so long, and fails if anybody is held dead by anybody.
fn nobody_dies_for(cluster: &Cluster, time: Duration, pairs: &[(usize, usize)]) {
    let began = Instant::now();
    while began.elapsed() < time {
        for (at, of) in pairs {
            assert_ne!(state(cluster, *at, *of).as_deref(), Some("dead"), "{of} at {at}");
        }
        std::thread::sleep(LOOK);
    }
}

fn wait_complaint(cluster: &Cluster, at: usize, text: &str) {
    wait::until(&format!("{at} to complain: {text}"), CONVERGE_TIMEOUT, || {
        let found = admin::degraded(&cluster.hosts()[at].socket())?;
        anyhow::ensure!(found.iter().any(|reason| reason.contains(text)), "{found:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn hosts_join_by_one_address_and_hold_the_same() {
    let Some(cluster) = start(Fabric::Bridge) else { return };
    let clients = clients(&cluster);
    let mut writers: Vec<Writer> =
        clients.iter().enumerate().map(|(host, client)| Writer::new(host, client.clone(), 31)).collect();
    for writer in &mut writers {
        (0..20).for_each(|_| writer.batch());
    }
    assert_exact(&cluster, &clients, &writers);
    for host in cluster.hosts() {
        assert_eq!(admin::degraded(&host.socket()).unwrap(), [] as [&str; 0], "{}", host.plan.name);
    }
    wait_all_alive(&cluster);
}

#[test]
fn a_killed_host_is_noticed_within_two_seconds_and_one_that_stands_still_for_a_second_is_not_dead() {
    let Some(mut cluster) = start(Fabric::Bridge) else { return };
    wait_all_alive(&cluster);
    for _ in 0..3 {
        cluster.daemon(1).pause().unwrap();
        nobody_dies_for(&cluster, Duration::from_secs(1), &[(0, 1), (2, 1), (0, 2), (2, 0)]);
        cluster.daemon(1).resume().unwrap();
        nobody_dies_for(&cluster, Duration::from_secs(2), &pairs().collect::<Vec<_>>());
    }
    wait_all_alive(&cluster);

    cluster.daemon(1).kill().unwrap();
    let began = Instant::now();
    for at in [0, 2] {
        wait_state(&cluster, at, 1, "dead");
    }
    let took = began.elapsed();
    eprintln!("dead for both others after {} ms", took.as_millis());
    assert!(took < NOTICED_WITHIN + BUSY, "{took:?}");
    assert_eq!(state(&cluster, 0, 2).as_deref(), Some("alive"));
    cluster.restart(1).unwrap();
    wait_all_alive(&cluster);
    cluster.wait_peers_up().unwrap();
}

/// A member is one until it is forgotten, also for a host that was started while it was away: or a majority would be one of
/// those who happened to be there.
#[test]
fn a_restarted_host_counts_members_that_it_has_not_met_again() {
    let Some(mut cluster) = start(Fabric::Bridge) else { return };
    wait_all_alive(&cluster);
    let add = |cluster: &Cluster, ack, timeout| {
        common::connect(&cluster.hosts()[0].socket()).counter("counted").unwrap().add_with(1, ack, timeout)
    };
    add(&cluster, Ack::All, CONVERGE_TIMEOUT).unwrap();
    cluster.daemon(1).kill().unwrap();
    cluster.daemon(2).kill().unwrap();
    cluster.daemon(0).kill().unwrap();
    cluster.restart(0).unwrap();
    for ack in [Ack::Majority, Ack::All] {
        match add(&cluster, ack, IN_VAIN) {
            Err(Error::NotReached { reached, .. }) => assert_eq!((reached.members, reached.peers), (3, 0)),
            other => panic!("{ack}: {other:?}"),
        }
    }
    // What is not met has no address, and nothing goes there.
    let status = admin::ask(&cluster.hosts()[0].socket(), "status").unwrap();
    let peers = status["peers"].as_array().unwrap();
    assert!(peers.iter().all(|peer| peer["address"] == "0.0.0.0" && peer["up"] == false), "{status}");
    cluster.restart(1).unwrap();
    assert_eq!(add(&cluster, Ack::Majority, CONVERGE_TIMEOUT).unwrap().members, 3);
    assert!(matches!(add(&cluster, Ack::All, IN_VAIN), Err(Error::NotReached { .. })));
    cluster.restart(2).unwrap();
    assert_eq!(add(&cluster, Ack::All, CONVERGE_TIMEOUT).unwrap().peers, 2);
}

#[test]
fn all_hosts_at_once_come_back_and_find_each_other() {
    let Some(mut cluster) = start(Fabric::Bridge) else { return };
    let clients = clients(&cluster);
    let mut writers: Vec<Writer> =
        clients.iter().enumerate().map(|(host, client)| Writer::new(host, client.clone(), 32)).collect();
    for writer in &mut writers {
        (0..10).for_each(|_| writer.batch());
    }
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
    (0..HOSTS).for_each(|host| cluster.daemon(host).kill().unwrap());
    // The seed comes last: the others wait for it.
    for host in (0..HOSTS).rev() {
        cluster.restart(host).unwrap();
    }
    cluster.wait_peers_up().unwrap();
    wait_all_alive(&cluster);
    for client in &clients {
        client.reconnect(CONVERGE_TIMEOUT).unwrap();
    }
    assert_exact(&cluster, &clients, &writers);
}

#[test]
fn a_third_of_all_frames_lost_kills_nobody_and_keeps_nobody_from_joining() {
    let Some(mut cluster) = start(Fabric::Switch) else { return };
    wait_all_alive(&cluster);
    cluster.network().set_faults(Faults { loss: 0.3, ..Faults::NONE }).unwrap();
    nobody_dies_for(&cluster, Duration::from_secs(10), &pairs().collect::<Vec<_>>());
    cluster.daemon(2).kill().unwrap();
    wait_state(&cluster, 0, 2, "dead");
    cluster.restart(2).unwrap();
    cluster.wait_peers_up().unwrap();
    wait_all_alive(&cluster);
    cluster.network().set_faults(Faults::NONE).unwrap();
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
}

#[test]
fn a_link_that_comes_and_goes_ends_with_everybody_alive() {
    let Some(cluster) = start(Fabric::Switch) else { return };
    wait_all_alive(&cluster);
    for round in 0..8 {
        cluster.network().cut(2).unwrap();
        std::thread::sleep(Duration::from_millis(300 + 400 * round));
        cluster.network().join(2).unwrap();
        std::thread::sleep(Duration::from_millis(300));
    }
    wait_all_alive(&cluster);
    cluster.wait_peers_up().unwrap();
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
}

/// Copies what `from` has into a directory of certificates that a daemon watches.
fn replace_certificates(from: &Path, to: &Path) {
    ["ca.pem", "node.pem"].iter().for_each(|file| replace(from, to, file));
}

fn replace(from: &Path, to: &Path, file: &str) {
    std::fs::copy(from.join(file), to.join("beside")).unwrap();
    std::fs::rename(to.join("beside"), to.join(file)).unwrap();
}

#[test]
fn who_can_not_prove_who_it_is_stays_out_and_both_sides_say_why() {
    let Some(mut cluster) = start(Fabric::Bridge) else { return };
    let pki = cluster.scratch().join("pki");
    // Not beside it: the authority takes every directory there with a certificate for a node's.
    let (own, kept) = (pki.join("host-c"), cluster.scratch().join("kept"));
    std::fs::create_dir(&kept).unwrap();
    replace_certificates(&own, &kept);
    cluster.daemon(2).kill().unwrap();
    wait_state(&cluster, 0, 2, "dead");

    // Another cluster's authority under the same name.
    let foreign = cluster.scratch().join("foreign");
    let names = ["host-a", "host-b", "host-c"].map(str::to_owned);
    Authority::create(&foreign, "test", &names, 1).unwrap();
    replace_certificates(&foreign.join("host-c"), &own);
    cluster.restart(2).unwrap();
    wait_complaint(&cluster, 2, "not by an authority");
    wait_complaint(&cluster, 0, "not by an authority");

    // The right one's, but its time is over. The daemon sees that its files are new.
    let authority = Authority::open(&pki).unwrap();
    authority.issue_expired("host-c").unwrap();
    replace(&kept, &own, "ca.pem");
    wait_complaint(&cluster, 2, "its time is over");
    wait_complaint(&cluster, 0, "its time is over");
    assert_eq!(state(&cluster, 0, 2).as_deref(), Some("dead"));

    // And the right one, without a restart.
    authority.renew("host-c", 30).unwrap();
    cluster.wait_peers_up().unwrap();
    wait_all_alive(&cluster);

    // The files and the settings of host-b, on host-c.
    cluster.daemon(2).stop().unwrap();
    let file = cluster.hosts()[2].plan.file.clone();
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text
        .replace("id = 3", "id = 2")
        .replace("name = \"host-c\"", "name = \"host-b\"")
        .replace("pki/host-c", "pki/host-b")
        .replace("host-c/data", "host-c/other");
    assert_ne!(text, changed);
    std::fs::write(&file, changed).unwrap();
    cluster.restart(2).unwrap();
    wait_complaint(&cluster, 2, "node id 2 is host-b at 10.77.0.2");
    wait_complaint(&cluster, 0, "node id 2 is host-b at 10.77.0.2");
    assert_eq!(state(&cluster, 0, 1).as_deref(), Some("alive"));
}
