//! Nodes that come back from a backup and join the cluster that has gone on without them: nothing that was removed meanwhile
//! comes back, nothing counts twice, and what was written on either side is on both.

mod common;

use std::path::Path;
use std::process::Command;

use common::{CONVERGE_TIMEOUT, WRITE_TIMEOUT, Writer, assert_exact, clients, fabric_or_loopback};
use lattice_cluster::{Cluster, ClusterSpec, Fabric};

/// Runs a program, which must succeed.
#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn back_up(cluster: &Cluster, host: usize, file: &Path) {
    let mut command = Command::new(cluster.binaries().latticectl().unwrap());
    run(command.arg("--socket").arg(cluster.hosts()[host].socket()).arg("backup").arg(file));
}

#[test]
fn a_node_from_a_backup_brings_nothing_back_and_counts_nothing_twice() {
    let spec = ClusterSpec { fabric: fabric_or_loopback(Fabric::Bridge), ..ClusterSpec::default() };
    let mut cluster = Cluster::start(&spec).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let clients = clients(&cluster);
    let mut writers: Vec<Writer> =
        clients.iter().enumerate().map(|(host, client)| Writer::new(host, client.clone(), 33)).collect();
    // Of another node, and of the node itself.
    for (round, victim) in [2, 0].into_iter().enumerate() {
        for writer in &mut writers {
            (0..20).for_each(|_| writer.batch());
        }
        let file = scratch.path().join(format!("backup-{round}"));
        std::thread::scope(|scope| {
            let writing: Vec<_> = writers
                .iter_mut()
                .map(|writer| scope.spawn(move || (0..20).for_each(|_| writer.batch())))
                .collect();
            back_up(&cluster, 0, &file);
            writing.into_iter().for_each(|thread| thread.join().unwrap());
        });
        // Everything goes on: what the backup has is changed and removed, and all of that is on the other hosts.
        for writer in &mut writers {
            (0..40).for_each(|_| writer.batch());
        }
        cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
        let before = cluster.fingerprints().unwrap()[victim].actor.clone();
        cluster.daemon(victim).kill().unwrap();
        std::fs::remove_dir_all(cluster.hosts()[victim].plan.data.as_ref().unwrap()).unwrap();
        let mut restore = Command::new(cluster.binaries().latticed().unwrap());
        restore.args(["restore", "--as-new"]).arg(&file);
        run(restore.arg("--config").arg(&cluster.hosts()[victim].plan.file));
        for (host, writer) in writers.iter_mut().enumerate() {
            if host != victim {
                (0..20).for_each(|_| writer.batch());
            }
        }
        cluster.restart(victim).unwrap();
        cluster.wait_peers_up().unwrap();
        assert_ne!(before, cluster.fingerprints().unwrap()[victim].actor, "a restored node is a new one");
        clients[victim].reconnect(WRITE_TIMEOUT).unwrap();
        assert_exact(&cluster, &clients, &writers);
    }
    for writer in &mut writers {
        (0..20).for_each(|_| writer.batch());
    }
    assert_exact(&cluster, &clients, &writers);
}
