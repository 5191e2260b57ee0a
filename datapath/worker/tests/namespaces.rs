//! Rules of namespaces: what local clients may write, by handle and by key, before and after the rules change. What peers
//! wrote is there whatever the rules are.

mod rig;

use lattice_crdt::Kind;
use lattice_segment::{Lookup, Submission, SubmitOp, Target, codes};
use lattice_worker::{Credentials, Namespaces, Rule, Writers};
use rig::{Client, Cluster, Plan};

fn rule(name: &str) -> Rule {
    Rule { name: name.to_owned(), ..Rule::default() }
}

/// Rules for nodes of so many workers, undeclared keys being free.
fn rules(declared: Vec<Rule>, workers: u16) -> Namespaces {
    Namespaces::new(Rule::default(), declared, false, workers)
}

fn user(uid: u32) -> Credentials {
    Credentials { uid, gids: vec![uid] }
}

fn only(uid: u32) -> Option<Writers> {
    Some(Writers { uids: vec![uid], gids: Vec::new() })
}

/// Adds to a published counter by its handle.
fn add_by_handle(cluster: &Cluster, node: usize, client: &mut Client, key: &[u8], amount: i64) {
    let Lookup::Found(cell) = cluster.nodes[node].reader.lookup(Kind::Counter as u8, key) else {
        panic!("published keys can be looked up");
    };
    let target = Target::Cell { cell: cell.cell(), generation: cell.generation() };
    let kind = Kind::Counter as u8;
    client.rings[0]
        .submit(&Submission { op: SubmitOp::CounterAdd, kind, target, amount, data: &[] })
        .unwrap();
}

fn codes_of(client: &mut Client) -> Vec<u16> {
    client.failures().into_iter().map(|(_, code)| code).collect()
}

#[test]
fn who_is_not_listed_is_refused_by_key_and_by_handle_until_the_rules_change() {
    let mut cluster = Cluster::new(&Plan { nodes: 1, ..Default::default() });
    let mut listed = cluster.nodes[0].attach_as(64, &user(7));
    let mut other = cluster.nodes[0].attach_as(64, &user(8));
    listed.add(b"a/k", 1).unwrap();
    cluster.turns(3);
    add_by_handle(&cluster, 0, &mut other, b"a/k", 1);
    cluster.turns(3);
    assert_eq!(cluster.nodes[0].counter(b"a/k"), Some(2), "without rules, everybody may");

    let closed = || rules(vec![Rule { writers: only(7), ..rule("a") }], 1);
    cluster.nodes[0].set_namespaces(closed());
    cluster.turns(3);
    for client in [&mut listed, &mut other] {
        client.add(b"a/k", 10).unwrap();
        add_by_handle(&cluster, 0, client, b"a/k", 10);
        client.add(b"free", 10).unwrap();
    }
    cluster.turns(3);
    assert_eq!((codes_of(&mut listed), codes_of(&mut other)), (vec![], vec![codes::ACCESS_DENIED; 2]));
    assert_eq!((cluster.nodes[0].counter(b"a/k"), cluster.nodes[0].counter(b"free")), (Some(22), Some(20)));

    // One that comes now, after another change, and back.
    cluster.nodes[0].set_namespaces(rules(Vec::new(), 1));
    cluster.turns(2);
    add_by_handle(&cluster, 0, &mut other, b"a/k", 100);
    cluster.nodes[0].set_namespaces(closed());
    cluster.turns(2);
    let mut late = cluster.nodes[0].attach_as(64, &user(9));
    cluster.turns(2);
    for client in [&mut other, &mut late] {
        add_by_handle(&cluster, 0, client, b"a/k", 1000);
    }
    cluster.turns(3);
    assert_eq!((codes_of(&mut other), codes_of(&mut late)), (vec![10], vec![10]));
    assert_eq!(cluster.nodes[0].counter(b"a/k"), Some(122));
    let stats = cluster.status(0)[0].loop_stats;
    assert_eq!((stats.denied_access, stats.submissions_refused, stats.denied_kind), (4, 4, 0));
}

#[test]
fn other_kinds_and_undeclared_keys_are_refused_and_counted() {
    let mut cluster = Cluster::new(&Plan { nodes: 1, ..Default::default() });
    let mut client = cluster.nodes[0].attach(64);
    client.insert(b"a/s", b"x").unwrap();
    client.add(b"k", 1).unwrap();
    cluster.turns(3);
    let declared = vec![Rule { kind: Some(Kind::Counter), ..rule("a") }];
    cluster.nodes[0].set_namespaces(Namespaces::new(Rule::default(), declared, true, 1));
    cluster.turns(3);
    client.add(b"a/k", 1).unwrap();
    client.insert(b"a/s", b"y").unwrap();
    client.add(b"k", 1).unwrap();
    add_by_handle(&cluster, 0, &mut client, b"k", 1);
    cluster.turns(3);
    assert_eq!(
        client.failures().into_iter().map(|(_, code)| code).collect::<Vec<_>>(),
        [codes::OTHER_KIND_DECLARED, codes::UNDECLARED, codes::UNDECLARED]
    );
    assert_eq!((cluster.nodes[0].counter(b"a/k"), cluster.nodes[0].counter(b"k")), (Some(1), Some(1)));
    assert_eq!(cluster.nodes[0].members(b"a/s"), [b"x".to_vec()]);
    let stats = cluster.status(0)[0].loop_stats;
    assert_eq!((stats.denied_kind, stats.denied_undeclared, stats.denied_full), (1, 2, 0));
}

#[test]
fn a_limit_holds_for_local_keys_over_all_workers_and_peers_are_merged_beyond_it() {
    const MAX: u64 = 40;
    let mut cluster = Cluster::new(&Plan { nodes: 2, workers: 2, ..Default::default() });
    let mut clients: Vec<Client> = cluster.nodes.iter_mut().map(|node| node.attach(1024)).collect();
    for n in 0..30 {
        clients[0].add(format!("a/{n}").as_bytes(), 1).unwrap();
    }
    cluster.turns(3);
    let limited = rules(vec![Rule { max_keys: Some(MAX), ..rule("a") }], 2);
    let limited = cluster.nodes[0].set_namespaces(limited);
    assert!(!limited.is_counted());
    cluster.turns(1);
    // Of those that are there any number of writes, also in the turn in which one is made; only ten are made.
    for n in 0..60 {
        clients[0].add(format!("a/{n}").as_bytes(), 1).unwrap();
        clients[0].add(format!("a/{n}").as_bytes(), 1).unwrap();
    }
    clients[0].remove(b"a/none", b"x").unwrap();
    assert!(cluster.turn_until(100, |_| clients[0].settled()));
    assert_eq!(codes_of(&mut clients[0]), [codes::NAMESPACE_FULL; 40]);
    assert!(limited.is_counted());
    assert_eq!(limited.usage().map(|(_, keys)| keys).collect::<Vec<_>>(), [0, MAX]);

    // The other node has no limit.
    for n in 100..120 {
        clients[1].add(format!("a/{n}").as_bytes(), 1).unwrap();
    }
    assert!(cluster.turn_until(2_000, |_| clients[1].settled()));
    let mut turns = 0;
    while !cluster.converged() {
        turns += 1;
        assert!(turns < 5_000, "no convergence");
    }
    assert_eq!(limited.usage().map(|(_, keys)| keys).collect::<Vec<_>>(), [0, MAX + 20]);
    assert_eq!(cluster.nodes[0].counter(b"a/110"), Some(1));
    clients[0].add(b"a/110", 1).unwrap();
    clients[0].add(b"a/new", 1).unwrap();
    assert!(cluster.turn_until(100, |_| clients[0].settled()));
    assert_eq!(codes_of(&mut clients[0]), [codes::NAMESPACE_FULL]);
    assert_eq!((cluster.nodes[0].counter(b"a/110"), cluster.nodes[0].counter(b"a/new")), (Some(2), None));
    let denied: u64 = cluster.status(0).iter().map(|worker| worker.loop_stats.denied_full).sum();
    assert_eq!(denied, 41);
}

#[test]
fn keys_are_counted_a_few_in_each_turn_and_new_ones_wait_for_that() {
    let mut cluster = Cluster::new(&Plan { nodes: 1, shards: 1, ..Default::default() });
    let mut client = cluster.nodes[0].attach(4096);
    for n in 0..300 {
        client.add(format!("a/{n}").as_bytes(), 1).unwrap();
    }
    assert!(cluster.turn_until(50, |_| client.settled()));
    let limited = |keys| rules(vec![Rule { max_keys: Some(keys), ..rule("a") }], 1);
    let before = cluster.nodes[0].set_namespaces(limited(301));
    cluster.turns(2);
    assert!(!before.is_counted());
    client.add(b"a/new", 1).unwrap();
    cluster.turns(1);
    assert!(!client.settled(), "nobody knows yet whether there is room");
    // Other rules before the count is over.
    let after = cluster.nodes[0].set_namespaces(limited(300));
    assert!(cluster.turn_until(20, |_| client.settled()));
    assert!(before.is_counted() && after.is_counted());
    assert_eq!(codes_of(&mut client), [codes::NAMESPACE_FULL]);
    assert_eq!(after.usage().map(|(_, keys)| keys).collect::<Vec<_>>(), [0, 300]);
}
