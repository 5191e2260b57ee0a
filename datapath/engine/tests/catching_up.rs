//! Hosts that have much to catch up on: interruptions, two that could send the same, and what an onlooker is told.

#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::Kind;
use lattice_engine::{EngineLimits, LocalOp, SyncDirection, SyncStatus};
use world::{Faults, World, assert_as_specified};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// Hosts of which the first holds so many keys, which its log has long lost, and all but the last have the same.
fn filled(hosts: usize, keys: u32, delay_ns: u64) -> World {
    let limits = EngineLimits { max_keys: 1 << 17, log_records: 64, ..EngineLimits::default() };
    let mut world =
        World::new(1, hosts, limits, Faults { loss_percent: 0, copy_percent: 0, max_delay_ns: 1 });
    for key in 0..keys {
        world.apply(0, Kind::Counter, &key.to_le_bytes(), LocalOp::CounterAdd(1)).unwrap();
        if key % 50 == 49 {
            world.step(MS / 5);
        }
    }
    world.heal(1, 60 * SECOND);
    // What served a sync hears its last acknowledgement.
    (0..10).for_each(|_| world.step(MS));
    world.faults.max_delay_ns = delay_ns;
    world
}

fn syncs(world: &World, host: usize) -> Vec<SyncStatus> {
    world.hosts[host].engine.syncs(world.now_ns).collect()
}

/// The sync that `host` is catching up by, once so many keys have come.
fn wait_for_keys(world: &mut World, host: usize, keys: u64) -> SyncStatus {
    let until_ns = world.now_ns + 20 * SECOND;
    loop {
        let incoming = syncs(world, host).into_iter().find(|sync| sync.direction == SyncDirection::Incoming);
        if let Some(sync) = incoming.filter(|sync| sync.keys >= keys) {
            return sync;
        }
        world.step(MS / 5);
        assert!(world.now_ns < until_ns, "{:?}", syncs(world, host));
    }
}

#[test]
fn an_onlooker_sees_how_far_a_sync_is() {
    let mut world = filled(2, 3_000, 2 * MS);
    assert_eq!(syncs(&world, 0).len() + syncs(&world, 1).len(), 0);
    world.restart_empty(1);
    let first = wait_for_keys(&mut world, 1, 1);
    let later = wait_for_keys(&mut world, 1, 1_000);
    assert!(
        first.keys < later.keys && first.bytes < later.bytes && first.age_ns < later.age_ns,
        "{first:?} {later:?}"
    );
    assert_eq!((later.node, later.keys_of, later.full_walk, later.waits), (1, 3_000, false, false));
    let sent = syncs(&world, 0)[0];
    assert_eq!((sent.node, sent.direction, sent.keys_of), (2, SyncDirection::Outgoing, 3_000));
    assert!(sent.keys >= later.keys && sent.bytes >= later.bytes, "{sent:?}");
    world.heal(1, 10 * SECOND);
    // The sender has yet to hear that its last frame came.
    (0..10).for_each(|_| world.step(MS));
    assert_eq!(syncs(&world, 0).len() + syncs(&world, 1).len(), 0);
}

/// While a peer is silent for less than the sync has taken, both sides hold the sync open; it goes on where it was.
#[test]
fn an_interrupted_sync_goes_on_where_it_was() {
    // Slow enough to take seconds: a window of frames each round trip.
    let mut world = filled(2, 60_000, 240 * MS);
    world.restart_empty(1);
    let before = wait_for_keys(&mut world, 1, 45_000);
    assert!(before.age_ns > 13 * SECOND / 5, "{before:?}");
    world.isolate(1, true);
    let cut_ns = world.now_ns;
    while world.now_ns < cut_ns + 12 * SECOND / 5 {
        world.step(MS);
        world.random_op(0);
        world.random_op(1);
    }
    let waiting = wait_for_keys(&mut world, 1, before.keys);
    assert!(waiting.waits && syncs(&world, 0)[0].waits, "{waiting:?}");
    world.isolate(1, false);
    let after = wait_for_keys(&mut world, 1, waiting.keys + 1_000);
    assert!(after.age_ns > waiting.age_ns && !after.waits, "the same sync: {after:?}");
    world.heal(1, 20 * SECOND);
    let stats = world.hosts[1].engine.stats();
    assert_eq!((stats.syncs_abandoned, world.hosts[0].engine.stats().syncs_abandoned), (0, 0));
    assert_as_specified(&world, 1);
}

/// A peer that stays away for longer than that is given up, and whoever else is there is asked.
#[test]
fn a_sync_whose_sender_stays_away_is_taken_up_by_another() {
    let mut world = filled(3, 3_000, 5 * MS);
    world.restart_empty(2);
    let sync = wait_for_keys(&mut world, 2, 500);
    world.isolate(usize::from(sync.node) - 1, true);
    let other = 3 - sync.node;
    let until_ns = world.now_ns + 5 * SECOND;
    while world.hosts[2].engine.vector() != world.hosts[usize::from(other) - 1].engine.vector() {
        world.step(MS / 5);
        assert!(world.now_ns < until_ns);
    }
    assert_eq!(world.hosts[2].engine.stats().syncs_abandoned, 1);
}

/// Two hosts hold the same, and one of them an operation of a dead host besides. Who is new asks both, one after the other;
/// what it has covered by then, the second does not send again.
#[test]
fn a_second_sender_sends_only_what_the_first_did_not_have() {
    let mut world = filled(4, 3_000, MS);
    // Host 3 is heard by host 1 alone, and then by nobody.
    world.isolate(2, true);
    for pair in [(2, 1), (1, 2)] {
        world.cut.remove(&pair);
    }
    world.cut.extend([(1, 0), (0, 1), (1, 3), (3, 1)]);
    world.apply(2, Kind::Counter, b"last words", LocalOp::CounterAdd(7)).unwrap();
    let until_ns = world.now_ns + SECOND;
    while world.now_ns < until_ns {
        world.step(MS / 5);
    }
    world.paused.insert(2);
    world.isolate(2, true);
    let sent = |world: &World| [0, 1].map(|host: usize| world.hosts[host].engine.stats().sync_bytes_sent);
    let before = sent(&world);
    // The new host knows host 0 only, until it has caught up.
    world.restart_empty(3);
    let until_ns = world.now_ns + 3 * SECOND;
    while world.now_ns < until_ns {
        world.step(MS / 5);
    }
    let first = sent(&world);
    assert!(first[0] - before[0] > 3_000 * 10 && first[1] == before[1], "{before:?} {first:?}");
    // Then host 1 joins the others; both lack the last words.
    for pair in [(1, 0), (0, 1), (1, 3), (3, 1)] {
        world.cut.remove(&pair);
    }
    let until_ns = world.now_ns + 10 * SECOND;
    let digest = |world: &World, host: usize| world.hosts[host].engine.vector_digest();
    while digest(&world, 3) != digest(&world, 1) || digest(&world, 0) != digest(&world, 1) {
        world.step(MS / 5);
        assert!(world.now_ns < until_ns);
    }
    let second = sent(&world);
    assert!(second[0] + second[1] - first[0] - first[1] < 2_000, "{first:?} {second:?}");
    assert!(world.hosts[3].engine.stats().syncs_completed >= 2);
}
