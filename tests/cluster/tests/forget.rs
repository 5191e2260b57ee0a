//! `latticectl forget`: a host that is gone is no member any more; when it comes back, it is told, and begins as a new member.

mod common;

use std::time::Duration;

use common::{CONVERGE_TIMEOUT, WRITE_TIMEOUT, clients, connect, fabric_or_loopback};
use lattice_cluster::{Cluster, ClusterSpec, Fabric, admin, wait};

fn latticectl(cluster: &Cluster, host: usize, arguments: &[&str]) -> (bool, String) {
    let mut command = std::process::Command::new(cluster.binaries().latticectl().unwrap());
    command.arg("--socket").arg(cluster.hosts()[host].socket()).args(arguments);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Nodes that a host knows to be forgotten.
fn forgotten(cluster: &Cluster, host: usize) -> Vec<u64> {
    let status = admin::ask(&cluster.hosts()[host].socket(), "status").unwrap();
    let nodes = status["forgotten"].as_array().unwrap().iter();
    nodes.map(|forgotten| forgotten["node"].as_u64().unwrap()).collect()
}

#[test]
fn a_forgotten_host_comes_back_as_a_new_member() {
    let fabric = fabric_or_loopback(Fabric::Bridge);
    let mut cluster = Cluster::start(&ClusterSpec { fabric, ..ClusterSpec::default() }).unwrap();
    cluster.wait_peers_up().unwrap();
    let apps = clients(&cluster);
    for client in &apps {
        client.counter("hits").unwrap().add_wait(10, WRITE_TIMEOUT).unwrap();
    }
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
    let node = u64::from(cluster.hosts()[2].plan.node);
    let data = cluster.hosts()[2].plan.data.clone().unwrap();

    let (ok, text) = latticectl(&cluster, 0, &["forget", "999"]);
    assert!(!ok && text.contains("no peer"), "{text}");
    let (ok, text) = latticectl(&cluster, 0, &["forget", &node.to_string()]);
    assert!(!ok && text.contains("is up"), "{text}");
    cluster.daemon(2).kill().unwrap();
    wait::until("the host to be taken for dead", CONVERGE_TIMEOUT, || {
        anyhow::ensure!(
            !admin::is_peer_up(&cluster.hosts()[0].socket(), cluster.hosts()[2].plan.node)?,
            "up"
        );
        Ok(())
    })
    .unwrap();
    let (ok, text) = latticectl(&cluster, 0, &["forget", &node.to_string()]);
    assert!(ok, "{text}");
    wait::until("the other member to hear of it", CONVERGE_TIMEOUT, || {
        let known = [0, 1].map(|host| forgotten(&cluster, host));
        anyhow::ensure!(known.iter().all(|nodes| *nodes == [node]), "{known:?}");
        Ok(())
    })
    .unwrap();
    // It is no reason to complain any more, and is shown as what it is.
    let (_, text) = latticectl(&cluster, 1, &["status"]);
    assert!(text.contains(&format!("forgotten node {node}")), "{text}");
    assert_eq!(admin::degraded(&cluster.hosts()[1].socket()).unwrap(), Vec::<String>::new());
    // And stays so.
    cluster.daemon(1).kill().unwrap();
    cluster.restart(1).unwrap();
    assert_eq!(forgotten(&cluster, 1), [node]);

    // It comes back with what it had, is told, and takes no writes.
    cluster.restart(2).unwrap();
    wait::until("the host to be told", CONVERGE_TIMEOUT, || {
        let reasons = admin::degraded(&cluster.hosts()[2].socket())?;
        anyhow::ensure!(
            reasons
                .iter()
                .any(|reason| reason.contains("was forgotten") && reason.contains("restart latticed")),
            "{reasons:?}"
        );
        Ok(())
    })
    .unwrap();
    let refused = connect(&cluster.hosts()[2].socket()).counter("hits").unwrap();
    assert!(refused.add_wait(1, Duration::from_millis(300)).is_err());
    // Its next start puts that aside.
    cluster.daemon(2).kill().unwrap();
    cluster.restart(2).unwrap();
    cluster.wait_peers_up().unwrap();
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
    // The counter's shard had something; the others may have begun at once.
    let aside = std::fs::read_dir(data.join("forgotten-1")).unwrap();
    let aside: Vec<_> = aside.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(aside.iter().any(|name| aside.contains(&format!("{name}.ring"))), "{aside:?}");
    let apps = clients(&cluster);
    apps[2].counter("hits").unwrap().add_wait(5, WRITE_TIMEOUT).unwrap();
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
    for client in &apps {
        assert_eq!(client.counter("hits").unwrap().get().unwrap(), 35);
    }
    // And the one after that goes on.
    let before = cluster.fingerprints().unwrap()[2].actor.clone();
    cluster.daemon(2).kill().unwrap();
    cluster.restart(2).unwrap();
    cluster.wait_peers_up().unwrap();
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
    assert_eq!(cluster.fingerprints().unwrap()[2].actor, before);
}
