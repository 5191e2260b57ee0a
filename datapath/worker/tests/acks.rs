//! Acknowledgement levels through whole workers: rings, engines, frames between nodes.

mod rig;

use lattice_segment::{AckTerms, Submission, Watermark};
use lattice_worker::{ClientFault, Event, Turn};
use rig::{Client, Cluster, Plan};

fn three_nodes() -> Plan {
    Plan { nodes: 3, ..Default::default() }
}

fn mark(client: &mut Client) -> Vec<u64> {
    client.rings.iter_mut().map(|ring| ring.submit(&Submission::mark(false, true)).unwrap().0).collect()
}

/// Whether all of a client's rings have got so far.
fn reached(client: &Client, of: Watermark, tickets: &[u64]) -> bool {
    client.rings.iter().zip(tickets).all(|(ring, ticket)| ring.watermark(of) >= *ticket)
}

/// Turns some nodes only: the others are away.
fn turn_some(cluster: &mut Cluster, nodes: &[usize], turns: usize) {
    for _ in 0..turns {
        cluster.now_ns += 10_000;
        let now = rig::moment(cluster.now_ns);
        for node in nodes {
            for worker in &mut cluster.nodes[*node].workers {
                assert_ne!(worker.turn_at(now), Turn::Stopped);
            }
        }
    }
}

#[test]
fn what_all_peers_merged_is_told_and_visible_there() {
    let mut cluster = Cluster::new(&Plan { workers: 2, ..three_nodes() });
    let mut client = cluster.nodes[0].attach(256);
    assert!(cluster.turn_until(2000, |cluster| cluster.converged()));
    for n in 0..40u32 {
        client.add(&n.to_le_bytes(), 1).unwrap();
    }
    let tickets = mark(&mut client);
    let told_and_there = |cluster: &mut Cluster| {
        let all = reached(&client, Watermark::All, &tickets);
        for node in if all { 1..3 } else { 1..1 } {
            for n in 0..40u32 {
                assert_eq!(cluster.nodes[node].counter(&n.to_le_bytes()), Some(1), "told, and not there");
            }
        }
        all
    };
    assert!(cluster.turn_until(2000, told_and_there));
    for of in [Watermark::Majority, Watermark::Merged(1), Watermark::Merged(2)] {
        assert!(reached(&client, of, &tickets), "{of:?}");
    }
    assert_eq!(client.rings[0].watermark(Watermark::Merged(3)), 0);
    assert_eq!(client.rings[0].watermark(Watermark::Durable), 0, "nothing is kept");
    assert_eq!(client.rings[0].terms(), AckTerms { members: 3, log_is_file: false, never_synced: false });
    assert!(client.settled() && client.failures().is_empty());
}

#[test]
fn who_does_not_ask_is_not_told() {
    let mut cluster = Cluster::new(&three_nodes());
    let (mut quiet, mut asks) = (cluster.nodes[0].attach(64), cluster.nodes[0].attach(64));
    quiet.add(b"a", 1).unwrap();
    asks.add(b"b", 1).unwrap();
    let tickets = mark(&mut asks);
    assert!(cluster.turn_until(2000, |_| reached(&asks, Watermark::All, &tickets)));
    assert_eq!(quiet.rings[0].watermark(Watermark::All), 0);
}

#[test]
fn a_majority_goes_on_without_a_node_and_all_waits_for_it() {
    let mut cluster = Cluster::new(&three_nodes());
    let mut client = cluster.nodes[0].attach(64);
    assert!(cluster.turn_until(2000, |cluster| cluster.converged()));
    for round in 1..=50 {
        client.add(b"k", 1).unwrap();
        let tickets = mark(&mut client);
        turn_some(&mut cluster, &[0, 1], 200);
        assert!(reached(&client, Watermark::Majority, &tickets), "round {round}");
        assert!(reached(&client, Watermark::Merged(1), &tickets));
        assert!(!reached(&client, Watermark::Merged(2), &tickets), "it was not there");
    }
    client.add(b"k", 1).unwrap();
    let tickets = mark(&mut client);
    assert!(cluster.turn_until(20_000, |_| reached(&client, Watermark::All, &tickets)));
    assert_eq!(cluster.nodes[2].counter(b"k"), Some(51));
}

#[test]
fn what_peers_would_still_have_is_told_apart() {
    let mut cluster = Cluster::new(&three_nodes());
    let mut client = cluster.nodes[0].attach(64);
    client.add(b"k", 1).unwrap();
    let tickets = mark(&mut client);
    assert!(cluster.turn_until(2000, |_| reached(&client, Watermark::All, &tickets)));
    assert!(!reached(&client, Watermark::DurableOn(1), &tickets), "they have said nothing of it yet");
    // With anti-entropy, every second to one of them. Where nothing is kept, all is as good as it gets.
    assert!(cluster.turn_until(2_000_000, |_| reached(&client, Watermark::DurableOn(2), &tickets)));
}

#[test]
fn alone_a_node_needs_nobody() {
    let mut cluster = Cluster::new(&Plan { nodes: 1, ..Default::default() });
    let mut client = cluster.nodes[0].attach(64);
    client.add(b"k", 1).unwrap();
    let tickets = mark(&mut client);
    cluster.turns(2);
    assert!(reached(&client, Watermark::Majority, &tickets) && reached(&client, Watermark::All, &tickets));
    assert_eq!(client.rings[0].terms(), AckTerms { members: 1, log_is_file: false, never_synced: false });
}

#[test]
fn a_client_that_goes_while_it_is_waited_for_leaves_nothing_behind() {
    let mut cluster = Cluster::new(&Plan { max_clients: 1, ..three_nodes() });
    assert!(cluster.turn_until(2000, |cluster| cluster.converged()));
    for _ in 0..20 {
        let mut client = cluster.nodes[0].attach(64);
        turn_some(&mut cluster, &[0], 1);
        for _ in 0..9 {
            client.add(b"k", 1).unwrap();
        }
        let tickets = mark(&mut client);
        turn_some(&mut cluster, &[0], 3);
        assert!(!reached(&client, Watermark::Merged(1), &tickets));
        let command = lattice_worker::Command::DetachClient { id: client.id };
        cluster.nodes[0].commands[0].try_send(command).unwrap();
        turn_some(&mut cluster, &[0], 3);
        // In the same place, with fewer submissions: what the other one reaches is not told to this one.
        let mut next = cluster.nodes[0].attach(64);
        cluster.turns(300);
        assert_eq!(next.rings[0].watermark(Watermark::All), 0);
        next.add(b"k", 1).unwrap();
        let tickets = mark(&mut next);
        assert!(cluster.turn_until(2000, |_| reached(&next, Watermark::All, &tickets)));
        assert_eq!(next.rings[0].watermark(Watermark::All), tickets[0]);
        let command = lattice_worker::Command::DetachClient { id: next.id };
        cluster.nodes[0].commands[0].try_send(command).unwrap();
        cluster.turns(3);
    }
    let faults = std::iter::from_fn(|| cluster.nodes[0].events.try_recv().ok())
        .filter(|event| matches!(event, lattice_worker::Event::ClientFault { .. }));
    assert_eq!(faults.count(), 0);
}

/// Acknowledgements wait for company, a hundred turns long here; who waits for peers has them asked.
#[test]
fn who_waits_for_peers_does_not_wait_for_their_convenience() {
    let mut cluster = Cluster::new(&three_nodes());
    let mut client = cluster.nodes[0].attach(64);
    assert!(cluster.turn_until(2000, |cluster| cluster.converged()));
    for _ in 0..10 {
        cluster.turns(150);
        client.add(b"k", 1).unwrap();
        let tickets = mark(&mut client);
        assert!(cluster.turn_until(5, |_| reached(&client, Watermark::All, &tickets)));
        // Also of what was sent before anybody waited.
        client.add(b"k", 1).unwrap();
        cluster.turns(3);
        let tickets = mark(&mut client);
        assert!(cluster.turn_until(5, |_| reached(&client, Watermark::All, &tickets)));
    }
}

/// After a new epoch nobody can tell where earlier writes are: who asks about them is let go, and who comes then is served.
#[test]
fn who_asks_about_an_epoch_that_is_over_is_let_go() {
    let mut cluster = Cluster::new(&three_nodes());
    let (mut asks, mut quiet) = (cluster.nodes[0].attach(64), cluster.nodes[0].attach(64));
    assert!(cluster.turn_until(2000, |cluster| cluster.converged()));
    for client in [&mut asks, &mut quiet] {
        client.add(b"k", 1).unwrap();
    }
    cluster.turns(300);
    for shard in 0..4 {
        let actor = lattice_crdt::ActorId::new(1, 0xF000);
        let command = lattice_worker::Command::BeginEpoch { shard, actor, session: 0x7777 };
        cluster.nodes[0].commands[0].try_send(command).unwrap();
    }
    let tickets = {
        cluster.turns(3);
        mark(&mut asks)
    };
    cluster.turns(300);
    assert!(!reached(&asks, Watermark::Merged(1), &tickets));
    match cluster.nodes[0].events.try_recv().unwrap() {
        Event::ClientFault { id, why: ClientFault::EpochOver, .. } => assert_eq!(id, asks.id),
        other => panic!("{other:?}"),
    }
    assert!(cluster.nodes[0].events.try_recv().is_err(), "who does not ask stays");
    let mut next = cluster.nodes[0].attach(64);
    next.add(b"k", 1).unwrap();
    let tickets = mark(&mut next);
    assert!(cluster.turn_until(20_000, |_| reached(&next, Watermark::All, &tickets)));
    assert_eq!(cluster.nodes[2].counter(b"k"), Some(3));
}
