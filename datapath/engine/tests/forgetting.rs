//! Forgotten nodes: what nobody has of them is given up, what somebody has is not, and how they come back.

#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::{ActorId, Dot, Kind};
use lattice_engine::{EngineConfigError, EngineLimits, LocalOp, OpError, Storage};
use world::{Faults, World, assert_as_specified};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// The host that is forgotten, in the worlds here: its index, and its node.
const LOST: usize = 3;
const NODE: u16 = 4;

fn world(storage: Storage) -> World {
    let faults = Faults { loss_percent: 0, copy_percent: 0, max_delay_ns: 1_000 };
    let mut world = World::new(1, 4, EngineLimits::default(), faults);
    world.storage = storage;
    (0..4).for_each(|host| world.restart_empty(host));
    run(&mut world, 3 * SECOND);
    world
}

fn run(world: &mut World, for_ns: u64) {
    let until_ns = world.now_ns + for_ns;
    while world.now_ns < until_ns {
        world.step(MS / 5);
    }
}

fn add(world: &mut World, amount: i64) {
    world.apply(LOST, Kind::Counter, b"lost", LocalOp::CounterAdd(amount)).unwrap();
    world.step(MS / 5);
    world.step(MS / 5);
}

fn hear(world: &mut World, from: usize, who: &[usize], heard: bool) {
    for &to in who {
        match heard {
            true => world.cut.remove(&(from, to)),
            false => world.cut.insert((from, to)),
        };
    }
}

/// The lost host's first operation reaches `first`, its second one `second`; then nobody hears it any more.
fn gap(world: &mut World, first: &[usize], second: &[usize]) {
    hear(world, LOST, &[0, 1, 2], false);
    hear(world, LOST, first, true);
    add(world, 1);
    hear(world, LOST, &[0, 1, 2], false);
    hear(world, LOST, second, true);
    add(world, 2);
    world.isolate(LOST, true);
    let actor = world.hosts[LOST].engine.actor();
    for host in 0..3 {
        let has = |seq| world.hosts[host].engine.vector().contains(Dot { actor, seq });
        assert_eq!((has(1), has(2)), (first.contains(&host), second.contains(&host)), "host {host}");
    }
}

fn closed(world: &World) -> u64 {
    (0..3).map(|host| world.hosts[host].engine.stats().gaps_closed).sum()
}

fn missing(world: &World) -> Vec<u64> {
    (0..3).map(|host| world.hosts[host].engine.missing_of_forgotten()).collect()
}

/// What the daemon does: keeps what is forgotten, and says so.
fn keep(world: &mut World, host: usize) {
    let nodes: Vec<_> = world.hosts[host].engine.forgotten().collect();
    world.hosts[host].engine.keep_forgotten(nodes);
}

#[test]
fn what_nobody_has_of_a_forgotten_node_is_given_up() {
    let mut world = world(Storage::Memory);
    let actor = world.hosts[LOST].engine.actor();
    gap(&mut world, &[], &[0, 1, 2]);
    run(&mut world, 5 * SECOND);
    assert_eq!((closed(&world), missing(&world)), (0, vec![0; 3]), "it may come back");
    let engine = &mut world.hosts[1].engine;
    assert!(!engine.forget(9) && engine.forget(NODE) && !engine.forget(NODE));
    assert_eq!(engine.missing_of_forgotten(), 1);
    assert_eq!(engine.forgotten().collect::<Vec<_>>(), [(NODE, 1)]);
    run(&mut world, 5 * SECOND);
    for host in &world.hosts[..3] {
        assert_eq!(host.engine.vector().contiguous(actor), 2);
        assert_eq!(host.engine.forgotten().collect::<Vec<_>>(), [(NODE, 1)]);
        assert_eq!(
            host.board.view.words[&(Kind::Counter, b"lost".to_vec())],
            3,
            "a counter's record has the whole sum"
        );
    }
    assert!(closed(&world) >= 1 && missing(&world) == [0; 3]);
    let closed = world.hosts.iter().find(|host| host.engine.stats().gaps_closed > 0).unwrap();
    assert_eq!(closed.engine.last_closed().len(), 1);
}

#[test]
fn what_some_member_has_is_waited_for() {
    let mut world = world(Storage::Memory);
    gap(&mut world, &[2], &[0, 1]);
    world.isolate(2, true);
    assert!(world.hosts[0].engine.forget(NODE));
    run(&mut world, 20 * SECOND);
    assert_eq!((closed(&world), missing(&world)), (0, vec![1, 1, 0]), "one has not answered");
    world.isolate(2, false);
    world.isolate(LOST, true);
    run(&mut world, 10 * SECOND);
    assert_eq!((closed(&world), missing(&world)), (0, vec![0; 3]));
    let actor = world.hosts[LOST].engine.actor();
    for host in 0..3 {
        assert_eq!(world.hosts[host].engine.vector().contiguous(actor), 2);
        assert!(world.hosts[host].engine.forgotten().eq([(NODE, 1)]));
    }
    assert_as_specified(&world, 1);
}

/// A member that would not know after a restart that the node is forgotten might take its operations then.
#[test]
fn nobody_answers_for_what_it_has_not_kept() {
    let mut world = world(Storage::Durable);
    gap(&mut world, &[], &[0, 1, 2]);
    assert!(world.hosts[0].engine.forget(NODE));
    for kept in 0..3 {
        run(&mut world, 4 * SECOND);
        assert_eq!(closed(&world), 0, "{kept} have kept it");
        assert!(!world.hosts[kept].engine.forgotten_is_kept());
        keep(&mut world, kept);
        assert!(world.hosts[kept].engine.forgotten_is_kept());
    }
    run(&mut world, 4 * SECOND);
    assert_eq!((closed(&world) > 0, missing(&world)), (true, vec![0; 3]));
}

#[test]
fn who_is_in_a_sync_gives_no_answer() {
    let mut world = world(Storage::Memory);
    // Host 2 alone has the first operation, and is heard by host 1 alone, which is in the middle of a sync from it.
    for key in 0..5_000u32 {
        world.apply(2, Kind::Counter, &key.to_le_bytes(), LocalOp::CounterAdd(1)).unwrap();
        if key % 100 == 99 {
            world.step(MS / 5);
        }
    }
    run(&mut world, SECOND);
    gap(&mut world, &[2], &[0, 1]);
    world.restart_empty(1);
    let until_ns = world.now_ns + 5 * SECOND;
    while world.hosts[1].engine.syncs(world.now_ns).all(|sync| sync.keys < 100) {
        world.step(MS / 50);
        assert!(world.now_ns < until_ns);
    }
    let from = world.hosts[1].engine.syncs(world.now_ns).next().unwrap().node;
    // Whatever it learns from there, it has not covered yet, and it says nothing while that is so.
    world.isolate(usize::from(from) - 1, true);
    world.isolate(LOST, true);
    let asked = if from == 1 { 2 } else { 0 };
    world.hosts[asked].engine.forget(NODE);
    let answers = |world: &World| world.hosts[1].engine.forgotten().next().is_some();
    let until_ns = world.now_ns + SECOND;
    while !answers(&world) {
        world.step(MS / 50);
        assert!(world.now_ns < until_ns);
    }
    assert_eq!(closed(&world), 0);
}

#[test]
fn who_comes_back_is_told_to_begin_anew() {
    let mut world = world(Storage::Memory);
    let before = world.hosts[LOST].engine.actor();
    gap(&mut world, &[], &[0, 1, 2]);
    assert!(world.hosts[0].engine.forget(NODE));
    run(&mut world, 5 * SECOND);
    add(&mut world, 100);
    world.isolate(LOST, false);
    run(&mut world, 3 * SECOND);
    // Its old epoch is not heard, and it knows.
    let engine = &world.hosts[LOST].engine;
    assert!(engine.is_forgotten() && !engine.epoch_is_over());
    let refused = world.apply(LOST, Kind::Counter, b"lost", LocalOp::CounterAdd(1));
    assert_eq!(refused.unwrap_err(), OpError::EpochOver);
    let (now, session) = (world.instant(), 5);
    let again = world.hosts[LOST].engine.begin_epoch(now, ActorId::of_generation(NODE, 1, 9), session);
    assert_eq!(again, Err(EngineConfigError::Forgotten(1)), "it has state of before");
    assert!((0..3).all(|host| world.hosts[host].engine.stats().dropped_forgotten > 0));
    assert!((0..3).all(|host| world.hosts[host].engine.vector().contiguous(before) == 2));
    // From nothing, it is told again, and goes on in an epoch of the new generation.
    world.restart_empty(LOST);
    world.apply(LOST, Kind::Counter, b"new", LocalOp::CounterAdd(5)).unwrap();
    run(&mut world, SECOND);
    let engine = &mut world.hosts[LOST].engine;
    assert!(engine.epoch_is_over() && !engine.is_forgotten() && engine.wanted_generation() == 1);
    let begin = |world: &mut World, epoch| world.hosts[LOST].engine.begin_epoch(now, epoch, 6);
    assert_eq!(begin(&mut world, ActorId::new(NODE, 77)), Err(EngineConfigError::Forgotten(1)));
    begin(&mut world, ActorId::of_generation(NODE, 1, 77)).unwrap();
    world.apply(LOST, Kind::Counter, b"new", LocalOp::CounterAdd(2)).unwrap();
    world.heal(1, 20 * SECOND);
    for host in &world.hosts {
        let word = |key: &[u8]| host.board.view.words[&(Kind::Counter, key.to_vec())];
        assert_eq!((word(b"lost"), word(b"new")), (3, 7));
        assert!(host.engine.forgotten().eq([(NODE, 1)]));
    }
    // It is a member again, and may be forgotten again.
    assert!(!world.hosts[0].engine.peer_status(2, world.instant()).unwrap().forgotten);
    assert!(world.hosts[0].engine.forget(NODE));
    assert!(world.hosts[0].engine.forgotten().eq([(NODE, 2)]));
}

/// Each side of a partition forgot the other: neither wipes itself because the other says so.
#[test]
fn who_has_forgotten_each_other_stays_apart() {
    let mut world = world(Storage::Memory);
    world.isolate(LOST, true);
    run(&mut world, 2 * SECOND);
    assert!(world.hosts[0].engine.forget(NODE));
    run(&mut world, 2 * SECOND);
    assert!((1..=3).all(|node| world.hosts[LOST].engine.forget(node)));
    world.isolate(LOST, false);
    run(&mut world, 5 * SECOND);
    assert!(world.hosts.iter().all(|host| !host.engine.is_forgotten() && !host.engine.epoch_is_over()));
    world.apply(LOST, Kind::Counter, b"apart", LocalOp::CounterAdd(1)).unwrap();
    let sent = world.hosts[0].engine.stats().frames_sent;
    run(&mut world, 5 * SECOND);
    assert!(world.hosts[0].engine.vector() != world.hosts[LOST].engine.vector());
    assert!(world.hosts[0].engine.stats().frames_sent - sent < 1_000, "no endless talk");
}

/// Host 2 alone has the operation. It gives it to host 1 and loses all. Host 1 answered the first round before it came, host 2 after
/// it was lost.
#[test]
fn what_a_member_gives_away_and_then_loses_is_not_given_up() {
    for moment in 0..60 {
        let mut world = world(Storage::Memory);
        let actor = world.hosts[LOST].engine.actor();
        gap(&mut world, &[2], &[0, 1]);
        // Host 2 does not hear host 0, which therefore does not close anything.
        hear(&mut world, 0, &[2], false);
        assert!(world.hosts[0].engine.forget(NODE));
        assert!(world.hosts[2].engine.forget(NODE) && world.hosts[1].engine.forget(NODE));
        hear(&mut world, 1, &[2], true);
        let until_ns = world.now_ns + moment * 50 * MS;
        while world.now_ns < until_ns {
            world.step(MS / 5);
        }
        world.restart_empty(2);
        hear(&mut world, 0, &[2], true);
        world.isolate(LOST, true);
        run(&mut world, 8 * SECOND);
        let has_effect = |host: usize| {
            let words = &world.hosts[host].board.view.words;
            words.get(&(Kind::Counter, b"lost".to_vec())).copied()
        };
        assert!((0..3).all(|host| has_effect(host) == Some(3)), "{moment}");
        assert!((0..3).all(|host| world.hosts[host].engine.vector().contiguous(actor) == 2), "{moment}");
    }
}
