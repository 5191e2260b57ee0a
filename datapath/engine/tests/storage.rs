//! Snapshots, recovery, epochs, and the dropping of keys that are empty everywhere.

#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::{ActorId, Dot, Kind};
use lattice_engine::{
    EngineLimits, LastRun, LocalOp, OpError, RecoverError, Storage, ThisStart, continues_epoch,
};
use world::{Faults, World, assert_as_specified, seeds};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

fn calm() -> Faults {
    Faults { loss_percent: 0, copy_percent: 0, max_delay_ns: 50_000 }
}

/// Hosts that keep what they have.
fn durable_world(seed: u64, hosts: usize, faults: Faults) -> World {
    let mut world = World::new(seed, hosts, EngineLimits::default(), faults);
    world.storage = Storage::Durable;
    (0..hosts).for_each(|host| world.restart_empty(host));
    run(&mut world, 500);
    world
}

fn run(world: &mut World, milliseconds: u64) {
    (0..milliseconds).for_each(|_| world.step(MS));
}

fn insert(world: &mut World, host: usize, element: &[u8]) {
    world.apply(host, Kind::Set, b"set", LocalOp::SetInsert(element)).unwrap();
}

fn clear(world: &mut World, host: usize) {
    world.apply(host, Kind::Set, b"set", LocalOp::SetClear).unwrap();
}

fn members(world: &World, host: usize) -> usize {
    world.hosts[host].board.view.members.get(&b"set"[..]).map_or(0, |members| members.len())
}

fn dropped(world: &World, host: usize) -> u64 {
    world.hosts[host].engine.stats().keys_dropped
}

#[test]
fn an_epoch_goes_on_only_in_the_same_boot_with_all_that_was_given_out() {
    let actor = ActorId::new(1, 5);
    let last = LastRun { actor, boot_id: 7, log_is_whole: true, log_last_seq: 100 };
    let given_out = |seq| Some(Dot { actor, seq });
    let this = ThisStart { boot_id: 7, last_given_out: given_out(100) };
    assert!(continues_epoch(&last, &this));
    assert!(!continues_epoch(&last, &ThisStart { boot_id: 8, ..this }));
    assert!(
        !continues_epoch(&last, &ThisStart { last_given_out: given_out(101), ..this }),
        "a restored copy"
    );
    let later = Some(Dot { actor: ActorId::new(1, 6), seq: 3 });
    assert!(!continues_epoch(&last, &ThisStart { last_given_out: later, ..this }), "and restored again");
    assert!(!continues_epoch(&last, &ThisStart { last_given_out: None, ..this }));
    assert!(!continues_epoch(&LastRun { log_is_whole: false, ..last }, &this));
}

/// Whole storage, and storage without the end of its log; snapshots that are walked while everybody writes.
#[test]
fn what_storage_holds_comes_back_and_the_rest_comes_from_peers() {
    for seed in seeds(20) {
        let faults = Faults { loss_percent: 10, copy_percent: 10, max_delay_ns: 3 * MS };
        let mut world = durable_world(seed, 3, faults);
        let mut snapshot = world.snapshot(0, 0);
        let mut last_seq = world.hosts[0].engine.last_seq();
        for step in 0..1500 {
            let host = world.draw.below(3) as usize;
            world.random_op(host);
            world.step(MS);
            match world.draw.below(100) {
                0 => {
                    snapshot = world.snapshot(0, MS / 10);
                    last_seq = world.hosts[0].engine.last_seq();
                }
                1 | 2 => {
                    let all = world.hosts[0].engine.last_seq();
                    world.restart_from(0, &snapshot, all, true).unwrap();
                    world.step(MS);
                    assert_eq!(world.hosts[0].engine.last_seq(), all, "seed {seed}, step {step}");
                }
                3 => {
                    // What was appended after the snapshot was not synced.
                    world.restart_from(0, &snapshot, last_seq, false).unwrap();
                    world.step(MS);
                    (snapshot, last_seq) = (world.snapshot(0, 0), 0);
                }
                _ => {}
            }
        }
        world.heal(seed, 60 * SECOND);
    }
}

#[test]
fn a_host_that_restarts_with_everything_is_as_specified() {
    for seed in seeds(20) {
        let mut world = durable_world(seed, 3, calm());
        world.isolate(0, true);
        for _ in 0..200 {
            let host = world.draw.below(3) as usize;
            world.random_op(host);
            world.step(MS);
        }
        let snapshot = world.snapshot(0, MS);
        for _ in 0..200 {
            world.random_op(0);
            world.step(MS);
        }
        let before = world.hosts[0].board.view.clone();
        let digest = world.hosts[0].engine.state_digest();
        world.restart_from(0, &snapshot, world.hosts[0].engine.last_seq(), true).unwrap();
        assert_eq!(world.hosts[0].engine.state_digest(), digest, "seed {seed}");
        world.step(MS);
        let mut after = world.hosts[0].board.view.clone();
        after.members.retain(|_, members| !members.is_empty());
        let mut before = before;
        before.members.retain(|_, members| !members.is_empty());
        before.words.retain(|name, word| *word != 0 || after.words.contains_key(name));
        assert_eq!(after, before, "seed {seed}");
        world.isolate(0, false);
        world.heal(seed, 20 * SECOND);
        assert_as_specified(&world, seed);
    }
}

#[test]
fn storage_that_contradicts_itself_is_an_error_that_says_what() {
    let mut world = durable_world(1, 2, calm());
    (0..50).for_each(|_| {
        world.random_op(0);
        world.step(MS);
    });
    for element in 0..100u32 {
        insert(&mut world, 0, &element.to_le_bytes().repeat(20));
    }
    world.step(MS);
    let snapshot = world.snapshot(0, 0);
    let last_seq = world.hosts[0].engine.last_seq();
    assert!(snapshot.len() > 2);
    let mut fails = |snapshot: &[Vec<u8>], last_seq| {
        let error = world.restart_from(0, snapshot, last_seq, true).unwrap_err();
        error.to_string()
    };
    assert_eq!(fails(&snapshot[..snapshot.len() - 1], last_seq), "snapshot: not whole");
    assert_eq!(fails(&snapshot[1..], last_seq), "snapshot: frame 0 is missing, 1 is there");
    assert_eq!(fails(&snapshot, last_seq - 1), "snapshot: state sync out of sequence");
    let mut flipped = snapshot.clone();
    flipped[1][100] ^= 4;
    assert!(fails(&flipped, last_seq).starts_with("snapshot: "), "a flipped bit");
    let mut extra = snapshot.clone();
    extra.push(snapshot[0].clone());
    let end = snapshot.len();
    assert_eq!(fails(&extra, last_seq), format!("snapshot: frame {end} is missing, 0 is there"));
    world.restart_from(0, &snapshot, last_seq, true).unwrap();
    // Without a snapshot, the log has to begin at the beginning.
    world.restart_from(0, &[], last_seq, true).unwrap();
    assert!(
        matches!(world.restart_from(1, &snapshot, 0, true), Err(RecoverError::Snapshot(_))),
        "of another node"
    );
}

#[test]
fn a_log_with_a_hole_before_it_is_refused() {
    let limits = EngineLimits { log_records: 32, ..EngineLimits::default() };
    let mut world = World::new(1, 2, limits, calm());
    let snapshot = world.snapshot(0, 0);
    for _ in 0..100 {
        world.apply(0, Kind::Counter, b"n", LocalOp::CounterAdd(1)).unwrap();
        world.step(MS);
    }
    let error = world.restart_from(0, &snapshot, 100, true).unwrap_err();
    assert_eq!(error.to_string(), "log: record 1 is missing");
}

#[test]
fn a_restored_image_takes_a_new_epoch_and_gets_its_own_operations_back() {
    let mut world = durable_world(1, 3, calm());
    world.apply(0, Kind::Counter, b"n", LocalOp::CounterAdd(1)).unwrap();
    run(&mut world, 100);
    let (image, last_seq) = (world.snapshot(0, 0), world.hosts[0].engine.last_seq());
    for _ in 0..10 {
        world.apply(0, Kind::Counter, b"n", LocalOp::CounterAdd(1)).unwrap();
        world.step(MS);
    }
    run(&mut world, 100);
    world.restart_from(0, &image, last_seq, true).unwrap();
    while !world.hosts[0].engine.epoch_is_over() {
        world.step(MS);
    }
    let refused = world.apply(0, Kind::Counter, b"n", LocalOp::CounterAdd(1));
    assert_eq!(refused, Err(OpError::EpochOver));
    world.hosts[0].epoch += 1;
    let actor = ActorId::new(1, world.hosts[0].epoch);
    let now = world.instant();
    world.hosts[0].engine.begin_epoch(now, actor, 4711).unwrap();
    world.apply(0, Kind::Counter, b"n", LocalOp::CounterAdd(1)).unwrap();
    world.heal(1, 20 * SECOND);
    assert_eq!(world.hosts[0].board.view.words[&(Kind::Counter, b"n".to_vec())], 12);
    assert_as_specified(&world, 1);
}

#[test]
fn operations_beyond_a_gap_end_an_epoch_too() {
    let mut world = durable_world(1, 2, calm());
    insert(&mut world, 0, b"first");
    run(&mut world, 100);
    let (image, last_seq) = (world.snapshot(0, 0), world.hosts[0].engine.last_seq());
    // Frames of a single record each, of which the peer gets the last alone: loss is repaired, a dead sender is not.
    world.mute = Some(0);
    insert(&mut world, 0, b"lost");
    world.step(MS / 10);
    world.mute = None;
    insert(&mut world, 0, b"kept");
    world.step(MS / 10);
    world.paused.insert(0);
    run(&mut world, 5);
    let actor = ActorId::new(1, world.hosts[0].epoch);
    let clock = world.hosts[1].engine.vector().clock(actor).unwrap();
    assert!(clock.contiguous() == last_seq && clock.highest() == last_seq + 2, "{clock:?}");
    world.paused.clear();
    world.restart_from(0, &image, last_seq, true).unwrap();
    let begin_ns = world.now_ns;
    while !world.hosts[0].engine.epoch_is_over() {
        world.step(MS);
        assert!(world.now_ns - begin_ns < 100 * MS, "the hello says it, not a later exchange of vectors");
    }
}

#[test]
fn an_empty_key_goes_when_every_member_would_still_know_after_a_restart() {
    let mut world = durable_world(1, 3, calm());
    insert(&mut world, 0, b"e");
    clear(&mut world, 0);
    run(&mut world, 20_000);
    let keys = |world: &World| world.hosts.iter().map(|host| host.engine.stats().keys).collect::<Vec<_>>();
    assert_eq!(keys(&world), [1, 1, 1], "no snapshot holds the removal yet");
    (0..2).for_each(|host| drop(world.snapshot(host, 0)));
    run(&mut world, 20_000);
    assert_eq!(keys(&world), [1, 1, 1], "one host could still fall back");
    drop(world.snapshot(2, 0));
    run(&mut world, 20_000);
    assert_eq!(keys(&world), [0, 0, 0]);
    insert(&mut world, 1, b"again");
    world.heal(1, SECOND);
    assert_eq!((members(&world, 0), keys(&world)), (1, vec![1, 1, 1]));
}

#[test]
fn a_member_that_is_away_holds_dropping_back_until_it_is_forgotten() {
    let mut world = World::new(1, 3, EngineLimits::default(), calm());
    run(&mut world, 500);
    insert(&mut world, 0, b"e");
    run(&mut world, 100);
    world.paused.insert(2);
    clear(&mut world, 0);
    run(&mut world, 20_000);
    assert_eq!((dropped(&world, 0), dropped(&world, 1)), (0, 0));
    for host in 0..2 {
        assert!(world.hosts[host].engine.forget(3));
        assert!(!world.hosts[host].engine.forget(3), "once");
    }
    run(&mut world, 20_000);
    assert_eq!((dropped(&world, 0), dropped(&world, 1)), (1, 1));
    // It comes back, and is not heard, but told: what it has must not come back with it.
    world.paused.clear();
    run(&mut world, 5_000);
    assert_eq!((members(&world, 0), members(&world, 1)), (0, 0));
    assert!(world.hosts[0].engine.stats().dropped_forgotten > 0 && world.hosts[2].engine.is_forgotten());
}

/// Host 2 comes back from a copy that still has the element; whom it asks has dropped the key (or never had it).
fn old_copy(through_a_fresh_host: bool) -> World {
    let limits = EngineLimits { log_records: 8, max_burst_ops: 8, ..EngineLimits::default() };
    let mut world = World::new(1, 3, limits, calm());
    world.storage = Storage::Durable;
    (0..3).for_each(|host| world.restart_empty(host));
    run(&mut world, 500);
    insert(&mut world, 2, b"e");
    run(&mut world, 100);
    let (old, last_seq) = (world.snapshot(2, 0), world.hosts[2].engine.last_seq());
    clear(&mut world, 0);
    run(&mut world, 100);
    // The removal leaves host 0's log, so that only a sync can bring it.
    for _ in 0..20 {
        world.apply(0, Kind::Counter, b"n", LocalOp::CounterAdd(1)).unwrap();
        world.step(MS);
    }
    run(&mut world, 100);
    (0..3).for_each(|host| drop(world.snapshot(host, 0)));
    run(&mut world, 20_000);
    assert!((0..3).all(|host| dropped(&world, host) == 1));
    if through_a_fresh_host {
        // Host 1 loses everything and catches up from host 0, which then goes away.
        world.isolate(2, true);
        world.restart_empty(1);
        run(&mut world, 5_000);
        world.isolate(0, true);
        for pair in [(1, 2), (2, 1)] {
            world.cut.remove(&pair);
        }
    }
    world.restart_from(2, &old, last_seq, false).unwrap();
    world.step(MS);
    assert_eq!(members(&world, 2), 1, "the old copy has it");
    world
}

#[test]
fn a_host_that_came_back_from_an_old_copy_loses_what_was_dropped() {
    let mut world = old_copy(false);
    world.heal(1, 20 * SECOND);
    assert_eq!((0..3).map(|host| members(&world, host)).collect::<Vec<_>>(), [0, 0, 0]);
    let full: u64 = world.hosts.iter().map(|host| host.engine.stats().full_walks).sum();
    assert!(full > 0);
}

#[test]
fn what_was_dropped_is_known_to_whoever_caught_up_later() {
    let mut world = old_copy(true);
    // Two hosts that have seen the same and differ would mend it after a while: it must not come to that.
    let origin = ActorId::new(1, world.hosts[0].epoch);
    while world.hosts[2].engine.vector().contiguous(origin) == 0 {
        world.step(MS / 10);
    }
    assert_eq!((members(&world, 1), members(&world, 2)), (0, 0), "host 1 never had the key");
    world.heal(1, 20 * SECOND);
    assert_eq!(members(&world, 0), 0);
}

/// What was dropped is in a snapshot, too: after a restart from it, an old copy still gets a full walk.
#[test]
fn what_was_dropped_survives_a_restart() {
    let mut world = old_copy(false);
    world.isolate(2, true);
    for host in 0..2 {
        let snapshot = world.snapshot(host, 0);
        world.restart_from(host, &snapshot, 0, false).unwrap();
    }
    world.isolate(2, false);
    let origin = ActorId::new(1, 2);
    while world.hosts[2].engine.vector().contiguous(origin) == 0 {
        world.step(MS / 10);
    }
    assert_eq!(members(&world, 2), 0);
    world.heal(1, 20 * SECOND);
}

/// A record of the own log takes effect whole, however much of what it removes the snapshot has not seen.
#[test]
fn the_own_log_is_replayed_whatever_the_bounds() {
    let limits = EngineLimits { max_pre_removed: 8, ..EngineLimits::default() };
    let mut world = World::new(1, 2, limits, calm());
    run(&mut world, 500);
    let snapshot = world.snapshot(0, 0);
    for element in 0..100u8 {
        insert(&mut world, 1, &[element]);
    }
    run(&mut world, 100);
    assert_eq!(members(&world, 0), 100);
    clear(&mut world, 0);
    world.step(MS / 100);
    world.isolate(0, true);
    world.restart_from(0, &snapshot, world.hosts[0].engine.last_seq(), true).unwrap();
    assert_eq!(world.hosts[0].engine.stats().pre_removed, 100);
    world.isolate(0, false);
    world.heal(1, 20 * SECOND);
    assert_eq!((members(&world, 0), members(&world, 1)), (0, 0));
    assert_eq!(world.hosts[0].engine.stats().pre_removed, 0);
}

#[test]
fn what_a_snapshot_covers_is_durable_after_a_restart_too() {
    let mut world = durable_world(1, 2, calm());
    insert(&mut world, 0, b"e");
    clear(&mut world, 0);
    run(&mut world, 100);
    for host in 0..2 {
        let snapshot = world.snapshot(host, 0);
        let last_seq = world.hosts[host].engine.last_seq();
        world.restart_from(host, &snapshot, last_seq, true).unwrap();
    }
    run(&mut world, 20_000);
    assert_eq!((dropped(&world, 0), dropped(&world, 1)), (1, 1));
}
