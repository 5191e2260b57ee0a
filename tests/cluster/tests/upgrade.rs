//! A rolling upgrade: one host after the other gets the present build, and the cluster goes on all the while. `make upgrade`
//! builds the release that it begins with; without one there is nothing to test.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::CONVERGE_TIMEOUT;
use lattice_cluster::binaries::Binaries;
use lattice_cluster::{Cluster, ClusterSpec, Environment, Fabric, require, wait};

const HOSTS: usize = 3;

/// Runs the `latticectl` of the build that a host's daemon is of: rings may differ between builds.
fn ctl(cluster: &Cluster, binaries: &Binaries, host: usize, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(binaries.latticectl()?);
    let output = command.arg("--socket").arg(cluster.hosts()[host].socket()).args(arguments).output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {arguments:?}: {told}", cluster.hosts()[host].plan.name);
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// A write on every host, which all of them must see.
fn write_everywhere(cluster: &Cluster, of: &[&Binaries; HOSTS], round: usize) {
    let key = format!("round/{round}");
    for (host, binaries) in of.iter().enumerate() {
        ctl(cluster, binaries, host, &["add", &key, "1"]).unwrap();
        ctl(cluster, binaries, host, &["insert", "rounds", &format!("{round}/{host}")]).unwrap();
        ctl(cluster, binaries, host, &["set", "last", &key]).unwrap();
    }
    for (host, binaries) in of.iter().enumerate() {
        wait::until(&format!("host {host} to have all of round {round}"), CONVERGE_TIMEOUT, || {
            let count = ctl(cluster, binaries, host, &["get", &key])?;
            ensure!(count == HOSTS.to_string(), "{key} is {count}");
            let members = ctl(cluster, binaries, host, &["members", "rounds"])?;
            ensure!(members.lines().count() == (round + 1) * HOSTS, "{members}");
            ensure!(ctl(cluster, binaries, host, &["get", "last"])? == key, "last is of another round");
            Ok(())
        })
        .unwrap();
    }
}

fn before() -> Option<Binaries> {
    let directory = std::env::var_os("LATTICE_BEFORE_BIN_DIR").map(PathBuf::from)?;
    Some(Binaries::at(Path::new(&directory)))
}

#[test]
fn hosts_of_the_release_before_and_of_this_one_are_one_cluster() {
    let Some(before) = before() else {
        eprintln!("skipped: LATTICE_BEFORE_BIN_DIR names no programs of an earlier release (make upgrade)");
        return;
    };
    if !require(&Environment::probe().namespaces) {
        return;
    }
    let spec = ClusterSpec { fabric: Fabric::Bridge, members: true, ..ClusterSpec::default() };
    let mut cluster = Cluster::start_of(&spec, before.clone()).unwrap();
    let now = Binaries::find().context("this build's programs").unwrap();
    let mut of = [&before; HOSTS];
    write_everywhere(&cluster, &of, 0);
    for host in 0..HOSTS {
        cluster.replace(host, &now).unwrap();
        of[host] = &now;
        cluster.wait_peers_up().unwrap();
        write_everywhere(&cluster, &of, host + 1);
    }
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
}
