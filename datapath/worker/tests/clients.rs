//! Clients: served fairly, told what became of their operations, let go when they break the rules.

mod rig;

use lattice_crdt::Kind;
use lattice_engine::EngineLimits;
use lattice_segment::{Lookup, RingFault, Submission, SubmitOp, Target, Ticket, codes, key_hash, shard_of};
use lattice_worker::{ClientFault, Command, Event};
use rig::{Cluster, Plan};
use std::fs::File;
use std::os::unix::fs::FileExt;

fn one_node() -> Plan {
    Plan { nodes: 1, ..Default::default() }
}

#[test]
fn a_handle_names_its_cell_and_a_stale_or_invented_one_is_refused() {
    let mut cluster = Cluster::new(&one_node());
    let mut client = cluster.nodes[0].attach(64);
    client.add(b"c", 5).unwrap();
    assert!(cluster.turn_until(10, |_| client.settled()));
    let Lookup::Found(cell) = cluster.nodes[0].reader.lookup(Kind::Counter as u8, b"c") else {
        panic!("published keys can be looked up");
    };
    let mut submit = |cell, generation| {
        let target = Target::Cell { cell, generation };
        let submission =
            Submission { op: SubmitOp::CounterAdd, kind: Kind::Counter as u8, target, amount: 2, data: &[] };
        client.rings[0].submit(&submission).unwrap()
    };
    submit(cell.cell(), cell.generation());
    let stale = submit(cell.cell(), cell.generation().wrapping_add(1));
    let invented = submit(4095, cell.generation());
    cluster.turns(3);
    assert_eq!(cluster.nodes[0].counter(b"c"), Some(7));
    assert_eq!(client.rings[0].take_failure(), Some((stale, codes::STALE_CELL)));
    assert_eq!(client.rings[0].take_failure(), Some((invented, codes::STALE_CELL)));
    assert_eq!(client.rings[0].take_failure(), None);
}

#[test]
fn refusals_carry_their_code_and_change_nothing() {
    let mut cluster = Cluster::new(&one_node());
    let mut client = cluster.nodes[0].attach(256);
    client.add(b"k", 1).unwrap();
    client.submit(SubmitOp::SetInsert, Kind::Counter, b"k", 0, b"x").unwrap();
    client.insert(b"s", &[7; 257]).unwrap();
    assert!(cluster.turn_until(10, |_| client.settled()));
    let codes_seen: Vec<u16> = client.failures().into_iter().map(|(_, code)| code).collect();
    assert_eq!(codes_seen, [codes::NOT_SUPPORTED, codes::TOO_LARGE]);
    assert_eq!(cluster.nodes[0].counter(b"k"), Some(1));
    assert!(cluster.nodes[0].members(b"s").is_empty());
}

/// Fills the whole of a client's shared memory with a byte.
fn scribble(client: &rig::Client, byte: u8) {
    let file = File::from(client.memory.try_clone().unwrap());
    let length = file.metadata().unwrap().len() as usize;
    file.write_all_at(&vec![byte; length], 0).unwrap();
}

#[test]
fn a_client_that_writes_garbage_loses_its_rings_and_nobody_else_notices() {
    let mut cluster = Cluster::new(&one_node());
    let mut honest = cluster.nodes[0].attach(64);
    let hostile = cluster.nodes[0].attach(64);
    cluster.turns(2);
    honest.add(b"c", 1).unwrap();
    scribble(&hostile, 0xFF);
    cluster.turns(2);
    let Event::ClientFault { worker: 0, id, why: ClientFault::Ring(_), retired: _ } =
        cluster.nodes[0].events.try_recv().unwrap()
    else {
        panic!("expected a fault");
    };
    assert_eq!(id, hostile.id);
    assert!(cluster.nodes[0].events.try_recv().is_err(), "one fault, one event");
    honest.add(b"c", 1).unwrap();
    assert!(cluster.turn_until(10, |_| honest.settled()));
    assert_eq!(cluster.nodes[0].counter(b"c"), Some(2));
    let status = &cluster.status(0)[0];
    assert_eq!((status.clients, status.loop_stats.clients_faulted), (1, 1));
    assert_eq!(status.shards.iter().map(|shard| shard.stats.ops_applied).sum::<u64>(), 2);
}

#[test]
fn an_operation_for_another_workers_shard_is_a_fault() {
    let mut cluster = Cluster::new(&Plan { nodes: 1, workers: 2, shards: 2, ..Default::default() });
    let mut client = cluster.nodes[0].attach(64);
    let key = (0..).map(|n: u32| n.to_le_bytes()).find(|key| shard_of(key_hash(key), 2) == 1).unwrap();
    let submission = Submission {
        op: SubmitOp::CounterAdd,
        kind: Kind::Counter as u8,
        target: Target::Key(&key),
        amount: 1,
        data: &[],
    };
    client.rings[0].submit(&submission).unwrap();
    cluster.turns(2);
    match cluster.nodes[0].events.try_recv().unwrap() {
        Event::ClientFault { worker: 0, why: ClientFault::OtherWorker { shard: 1 }, .. } => {}
        other => panic!("unexpected {other:?}"),
    }
    assert_eq!(cluster.nodes[0].counter(&key), None);
}

#[test]
fn a_flooding_client_does_not_starve_another() {
    let mut cluster = Cluster::new(&one_node());
    let mut flooding = cluster.nodes[0].attach(4096);
    let mut modest = cluster.nodes[0].attach(64);
    cluster.turns(1);
    for round in 0..50 {
        while flooding.add(b"flood", 1).is_ok() {}
        modest.add(b"modest", 1).unwrap();
        cluster.turns(2);
        assert!(modest.settled(), "round {round}: two turns are enough, whatever the other one does");
        assert!(!flooding.settled(), "the flood is meant to last");
    }
    let status = &cluster.status(0)[0];
    // Each turn takes at most the budget from a client: 64 one-slot or shorter submissions.
    assert!(status.loop_stats.submissions <= 64 * status.loop_stats.turns + 50);
}

#[test]
fn a_burst_beyond_the_engines_bound_waits_and_keeps_its_order() {
    let limits = EngineLimits { max_burst_ops: 8, max_keys: 4096, ..Default::default() };
    let mut cluster = Cluster::new(&Plan { limits, shards: 1, ..one_node() });
    let mut client = cluster.nodes[0].attach(1024);
    for n in 0..200_u32 {
        client.insert(b"s", &n.to_be_bytes()).unwrap();
        if n % 2 == 1 {
            client.remove(b"s", &n.to_be_bytes()).unwrap();
        }
    }
    assert!(cluster.turn_until(1000, |_| client.settled()));
    let expected: Vec<Vec<u8>> = (0..200_u32).step_by(2).map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(cluster.nodes[0].members(b"s"), expected, "a removal never overtook its insertion");
    let status = &cluster.status(0)[0];
    assert!(status.loop_stats.submissions_postponed > 0, "the test is meant to hit the bound");
    assert_eq!(status.loop_stats.submissions, 300, "each was carried out once");
}

#[test]
fn clearing_a_large_set_takes_rounds_and_is_acknowledged_when_done() {
    let limits = EngineLimits { max_burst_ops: 16, max_keys: 4096, ..Default::default() };
    let mut cluster = Cluster::new(&Plan { limits, shards: 1, ..one_node() });
    let mut client = cluster.nodes[0].attach(1024);
    for n in 0..100_u32 {
        client.insert(b"s", &n.to_be_bytes()).unwrap();
    }
    client.submit(SubmitOp::SetClear, Kind::Set, b"s", 0, &[]).unwrap();
    client.add(b"after", 1).unwrap();
    let cleared = |cluster: &mut Cluster| {
        let after = cluster.nodes[0].counter(b"after").is_some();
        assert!(!after || cluster.nodes[0].members(b"s").is_empty(), "the next operation did not overtake");
        client.settled()
    };
    assert!(cluster.turn_until(1000, cleared));
    assert_eq!(cluster.nodes[0].counter(b"after"), Some(1));
    assert!(client.failures().is_empty());
}

#[test]
fn a_detached_client_goes_after_what_it_has_submitted() {
    let mut cluster = Cluster::new(&one_node());
    let mut client = cluster.nodes[0].attach(1024);
    cluster.turns(1);
    for _ in 0..500 {
        client.add(b"c", 1).unwrap();
    }
    cluster.nodes[0].commands[0].try_send(Command::DetachClient { id: client.id }).unwrap();
    assert!(cluster.turn_until(100, |cluster| !cluster.nodes[0].events.is_empty()));
    assert!(matches!(
        cluster.nodes[0].events.try_recv().unwrap(),
        Event::ClientDetached { worker: 0, id, .. } if id == client.id
    ));
    assert_eq!(cluster.nodes[0].counter(b"c"), Some(500));
    assert_eq!(client.rings[0].applied(), Ticket(500).0);
    assert_eq!(cluster.status(0)[0].clients, 0);
}

#[test]
fn one_client_too_many_is_turned_away() {
    let mut cluster = Cluster::new(&Plan { max_clients: 1, ..one_node() });
    let mut first = cluster.nodes[0].attach(64);
    let second = cluster.nodes[0].attach(64);
    cluster.turns(2);
    match cluster.nodes[0].events.try_recv().unwrap() {
        Event::ClientFault { id, why: ClientFault::TooMany, .. } => assert_eq!(id, second.id),
        other => panic!("unexpected {other:?}"),
    }
    first.add(b"c", 1).unwrap();
    assert!(cluster.turn_until(10, |_| first.settled()));
}

#[test]
fn ring_faults_are_said_in_words() {
    let fault = ClientFault::Ring(RingFault::BadLength);
    assert_eq!(fault.to_string(), "garbage in the submission ring: a length does not fit");
}
