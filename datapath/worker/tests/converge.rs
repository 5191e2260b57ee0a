//! What is written at one node is published at all of them, over one worker or several.

mod rig;

use lattice_crdt::Kind;
use lattice_segment::SubmitOp;
use rig::{Cluster, Plan};

/// Turns that no exchange here needs; the virtual time of this many is two seconds.
const ENOUGH_TURNS: usize = 200_000;

#[test]
fn every_kind_reaches_every_node() {
    let mut cluster = Cluster::new(&Plan { nodes: 3, ..Default::default() });
    let mut clients: Vec<_> = cluster.nodes.iter_mut().map(|node| node.attach(256)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.add(b"requests", 10 + n as i64).unwrap();
        client.insert(b"instances", format!("host{n}").as_bytes()).unwrap();
    }
    clients[0].submit(SubmitOp::FlagEnable, Kind::FlagEnableWins, b"kill", 0, &[]).unwrap();
    clients[1].submit(SubmitOp::RegisterSet, Kind::Register, b"motd", 0, b"hello").unwrap();
    let all_see = |cluster: &mut Cluster| {
        cluster.nodes.iter().all(|node| {
            node.counter(b"requests") == Some(33)
                && node.word(Kind::FlagEnableWins, b"kill") == Some(1)
                && node.register(b"motd").as_deref() == Some(b"hello")
                && node.members(b"instances") == [b"host0", b"host1", b"host2"]
        })
    };
    assert!(cluster.turn_until(ENOUGH_TURNS, all_see), "{:#?}", cluster.status(0));
    assert!(clients.iter().all(|client| client.settled()));

    clients[2].remove(b"instances", b"host0").unwrap();
    clients[1].submit(SubmitOp::FlagDisable, Kind::FlagEnableWins, b"kill", 0, &[]).unwrap();
    let all_see = |cluster: &mut Cluster| {
        cluster.nodes.iter().all(|node| {
            node.word(Kind::FlagEnableWins, b"kill") == Some(0)
                && node.members(b"instances") == [b"host1", b"host2"]
        })
    };
    assert!(cluster.turn_until(ENOUGH_TURNS, all_see), "{:#?}", cluster.status(0));
    assert!(cluster.converged());
}

#[test]
fn an_acknowledged_operation_is_visible_here() {
    let mut cluster = Cluster::new(&Plan::default());
    let mut client = cluster.nodes[0].attach(64);
    for n in 1..=50 {
        client.add(b"c", 1).unwrap();
        assert!(cluster.turn_until(10, |_| client.settled()));
        assert_eq!(cluster.nodes[0].counter(b"c"), Some(n), "acknowledged, so published");
    }
}

#[test]
fn frames_find_the_worker_that_owns_their_shard() {
    let mut cluster = Cluster::new(&Plan { nodes: 2, workers: 2, shards: 4, ..Default::default() });
    let mut client = cluster.nodes[0].attach(256);
    let keys: Vec<String> = (0..32).map(|n| format!("key{n}")).collect();
    for key in &keys {
        client.add(key.as_bytes(), 7).unwrap();
    }
    assert!(
        cluster.turn_until(ENOUGH_TURNS, |cluster| {
            keys.iter().all(|key| cluster.nodes[1].counter(key.as_bytes()) == Some(7))
        }),
        "{:#?}",
        cluster.status(1)
    );
    let statuses = cluster.status(1);
    assert!(statuses[0].loop_stats.handed_over > 0, "all frames arrive at worker 0");
    assert_eq!(statuses[0].loop_stats.handed_over, statuses[1].loop_stats.taken_over);
    assert_eq!(statuses[0].loop_stats.handover_dropped, 0);
    let shards: Vec<_> =
        statuses.iter().map(|s| s.shards.iter().map(|s| s.shard).collect::<Vec<_>>()).collect();
    assert_eq!(shards, [[0, 2], [1, 3]]);
}

#[test]
fn a_full_inbox_drops_frames_and_repair_brings_them() {
    // One slot between the workers: almost every burst overruns it.
    let plan = Plan { nodes: 2, workers: 2, shards: 4, handoff_slots: 1, ..Default::default() };
    let mut cluster = Cluster::new(&plan);
    let mut client = cluster.nodes[0].attach(1024);
    let mut total = 0;
    for n in 0..3_000_i64 {
        let key = format!("key{}", n % 64);
        if client.add(key.as_bytes(), n).is_ok() {
            total += n;
        }
        if n % 100 == 0 {
            cluster.turn();
        }
    }
    let sum = |cluster: &Cluster| {
        (0..64).filter_map(|n| cluster.nodes[1].counter(format!("key{n}").as_bytes())).sum::<i64>()
    };
    assert!(cluster.turn_until(ENOUGH_TURNS, |cluster| sum(cluster) == total), "{:#?}", cluster.status(1));
    assert!(cluster.status(1)[0].loop_stats.handover_dropped > 0, "the test is meant to overrun the ring");
}
