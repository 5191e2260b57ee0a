//! Hosts that really differ: their frames are cut off while the members' sessions go on, and `latticectl` says in what.

mod common;

use std::process::{Command, Output};

use common::{CONVERGE_TIMEOUT, WRITE_TIMEOUT, clients};
use lattice_client::Ack;
use lattice_cluster::{Cluster, ClusterSpec, Environment, Fabric, require, wait};
use serde_json::{Value, json};

/// The host that is cut off.
const MUTE: usize = 2;

fn ctl(cluster: &Cluster, host: usize, arguments: &[&str]) -> Output {
    let mut command = Command::new(cluster.binaries().latticectl().unwrap());
    command.arg("--socket").arg(cluster.hosts()[host].socket()).args(arguments).output().unwrap()
}

fn ctl_json(cluster: &Cluster, host: usize, arguments: &[&str]) -> (bool, Value) {
    let output = ctl(cluster, host, &[arguments, &["--json"]].concat());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}")))
}

/// The differing keys, each with where it is: here, there, on both.
fn differing(diff: &Value) -> Vec<(&str, bool, bool)> {
    let keys = diff["keys"].as_array().unwrap().iter();
    keys.map(|key| (key["key"].as_str().unwrap(), key["here"].is_string(), key["there"].is_string()))
        .collect()
}

#[test]
fn what_differs_is_named_key_by_key_and_who_lacks_what() {
    if !require(&Environment::probe().namespaces) {
        return;
    }
    let spec = ClusterSpec { fabric: Fabric::Switch, members: true, ..ClusterSpec::default() };
    let cluster = Cluster::start(&spec).unwrap();
    let clients = clients(&cluster);
    let add = |host: usize, key: &str| {
        clients[host].counter(key).unwrap().add_with(1, Ack::Local, WRITE_TIMEOUT).unwrap();
    };
    (0..300).for_each(|key| add(key % 3, &format!("same/{key}")));
    clients[0].set("members").unwrap().insert_with(b"x", Ack::Local, WRITE_TIMEOUT).unwrap();
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
    assert!(ctl(&cluster, 0, &["converged", "--all", "--timeout", "20"]).status.success());

    cluster.network().mute(MUTE, true).unwrap();
    for key in ["only/a", "only/b", "same/7"] {
        add(0, key);
    }
    add(MUTE, "cut/c");
    clients[MUTE].set("members").unwrap().remove_with(b"x", Ack::Local, WRITE_TIMEOUT).unwrap();
    // The other two are equal.
    wait::until("a and b to be equal", CONVERGE_TIMEOUT, || {
        let (equal, diff) = ctl_json(&cluster, 0, &["diff", "2"]);
        anyhow::ensure!(equal && diff["lacks_there"] == json!(0), "{diff}");
        Ok(())
    })
    .unwrap();

    let (equal, diff) = ctl_json(&cluster, 0, &["diff", "3"]);
    let mut found = differing(&diff);
    found.sort_unstable();
    // The set without elements is as if it were not there.
    let expected = [
        ("cut/c", false, true),
        ("members", true, false),
        ("only/a", true, false),
        ("only/b", true, false),
        ("same/7", true, true),
    ];
    assert_eq!((equal, found.as_slice()), (false, &expected[..]), "{diff}");
    assert!(diff["keys"].as_array().unwrap().iter().all(|key| key["moving"] == json!(false)), "{diff}");
    assert_eq!((&diff["lacks_here"], &diff["lacks_there"]), (&json!(2), &json!(3)));
    let (_, some) = ctl_json(&cluster, 0, &["diff", "3", "--prefix", "only/"]);
    assert_eq!(differing(&some).len(), 2, "{some}");
    let (_, one) = ctl_json(&cluster, 0, &["diff", "3", "--most", "1"]);
    assert_eq!((differing(&one).len(), &one["whole"]), (1, &json!(false)));

    let (converged, all) = ctl_json(&cluster, 1, &["converged", "--all"]);
    assert!(!converged, "{all}");
    let lacks = |node: u64| {
        let host = all["hosts"].as_array().unwrap().iter().find(|host| host["node"] == json!(node)).unwrap();
        let lacks = host["lacks"].as_array().unwrap().iter();
        lacks
            .map(|lack| (lack["node"].as_u64().unwrap(), lack["operations"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!((lacks(1), lacks(2), lacks(3)), (vec![(3, 2)], vec![(3, 2)], vec![(1, 3)]), "{all}");

    // Drained, it says what would be lost; joined again, nothing is.
    let drained = ctl(&cluster, MUTE, &["drain", "--timeout", "0.2"]);
    let said = String::from_utf8_lossy(&drained.stdout).into_owned();
    assert!(!drained.status.success() && said.contains("lacks 2 operations"), "{said}");
    cluster.network().mute(MUTE, false).unwrap();
    assert!(ctl(&cluster, MUTE, &["drain", "--timeout", "60"]).status.success());
    assert!(ctl(&cluster, 1, &["converged", "--all", "--timeout", "60"]).status.success());
    let (equal, diff) = ctl_json(&cluster, 0, &["diff", "3"]);
    assert!(equal, "{diff}");
}
