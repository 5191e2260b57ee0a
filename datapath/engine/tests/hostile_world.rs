//! Whole clusters under every fault at once, with tables that are nearly full: no divergence, and silence afterwards.

#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::Kind;
use lattice_engine::{EngineLimits, LocalOp};
use world::{Faults, World, assert_as_specified, seeds};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

#[test]
fn a_pause_does_not_look_like_a_clock_that_is_ahead() {
    let mut world =
        World::new(3, 2, tiny_limits(), Faults { loss_percent: 0, copy_percent: 0, max_delay_ns: 50_000 });
    for _ in 0..1000 {
        world.step(MS);
    }
    world.paused.insert(0);
    for step in 0..5000 {
        // What was sent in the first second is all that waits for it.
        if step == 1000 {
            world.isolate(0, true);
        }
        world.step(MS);
    }
    world.paused.clear();
    for _ in 0..500 {
        world.step(MS);
        world.apply(0, Kind::Register, b"r", LocalOp::RegisterSet(b"v")).unwrap();
    }
}

fn tiny_limits() -> EngineLimits {
    EngineLimits {
        max_keys: 1024,
        log_bytes: 32 << 10,
        log_records: 32,
        max_ranges_per_actor: 3,
        max_pre_removed: 6,
        max_burst_ops: 64,
        max_window_frames: 16,
        ..Default::default()
    }
}

/// No frames but heartbeats and vectors, and no table that still waits.
fn assert_silent(world: &mut World, seed: u64) {
    for _ in 0..3000 {
        world.step(MS);
    }
    let hosts = world.hosts.len() as u64;
    let sent = |world: &World| world.hosts.iter().map(|host| host.engine.stats().frames_sent).sum::<u64>();
    let before = sent(world);
    for _ in 0..1000 {
        world.step(MS);
    }
    let (frames, beats) = (sent(world) - before, hosts * (hosts - 1) * 10);
    assert!(frames <= beats + hosts * 8, "seed {seed}: {frames} frames in a silent second, {beats} expected");
}

/// Every fault at once: partitions in one direction, pauses, frames of the past, tables that are nearly full.
fn hostile_run(seed: u64, limits: EngineLimits, restarts: bool) {
    let hosts = 2 + seed as usize % 5;
    let faults = Faults {
        loss_percent: seed * 7 % 40,
        copy_percent: seed % 30,
        max_delay_ns: 1 + (seed % 7) * 2 * MS,
    };
    let mut world = World::new(seed, hosts, limits, faults);
    world.replay_percent = seed % 4 * 5;
    for step in 0..3000 {
        let (one, other) = (world.draw.below(hosts as u64) as usize, world.draw.below(hosts as u64) as usize);
        match world.draw.below(400) {
            0..=3 if one != other => drop(world.cut.insert((one, other))),
            4 => world.cut.clear(),
            5 => drop(world.paused.insert(one)),
            6..=8 => drop(world.paused.pop_first()),
            9 if restarts => world.restart_empty(one),
            10 => world.isolate(one, true),
            _ => {}
        }
        for _ in 0..world.draw.below(4) {
            let host = world.draw.below(hosts as u64) as usize;
            if !world.paused.contains(&host) && step < 2500 {
                world.random_op(host);
            }
        }
        world.step(MS);
    }
    world.heal(seed, 60 * SECOND);
    for _ in 0..1200 {
        world.step(MS);
    }
    if !restarts {
        assert_as_specified(&world, seed);
        let left: u64 = world.hosts.iter().map(|host| host.engine.stats().pre_removed).sum();
        assert_eq!(left, 0, "seed {seed}: pre-removed dots are left");
    }
    assert!(world.converged(), "seed {seed}: equal, then no longer");
    assert_silent(&mut world, seed);
}

#[test]
fn every_fault_with_tiny_tables() {
    for seed in seeds(30) {
        hostile_run(seed, tiny_limits(), false);
    }
}

#[test]
fn every_fault_with_restarts() {
    for seed in seeds(30) {
        hostile_run(seed, EngineLimits { max_pre_removed: 64, ..tiny_limits() }, true);
    }
}

#[test]
fn one_deaf_direction_is_routed_around() {
    for seed in seeds(10) {
        let limits = EngineLimits { log_bytes: 32 << 10, log_records: 32, ..tiny_limits() };
        let faults = Faults { loss_percent: 0, copy_percent: 0, max_delay_ns: 50_000 };
        let mut world = World::new(seed, 3, limits, faults);
        for _ in 0..100 {
            world.step(MS);
        }
        world.isolate(2, true);
        for step in 0..200u32 {
            world.apply(0, Kind::Counter, &[step as u8], LocalOp::CounterAdd(1)).unwrap();
            world.step(MS);
        }
        world.isolate(2, false);
        // Host 2 hears host 0, but not the other way round: only host 1 can bring what host 0 wrote.
        world.cut.insert((2, 0));
        let begin_ns = world.now_ns;
        while world.hosts[2].engine.state_digest() != world.hosts[0].engine.state_digest() {
            world.step(MS);
            assert!(world.now_ns - begin_ns < 12 * SECOND, "seed {seed}: not routed around in 12 s");
        }
    }
}

#[test]
fn what_only_a_sync_showed_before_its_origin_died_is_the_same_everywhere() {
    for seed in seeds(5) {
        let faults = Faults { loss_percent: 0, copy_percent: 0, max_delay_ns: 50_000 };
        let mut world = World::new(seed, 3, tiny_limits(), faults);
        for key in 0..300u32 {
            let value = [1; 400];
            world.apply(2, Kind::Register, &key.to_le_bytes(), LocalOp::RegisterSet(&value)).unwrap();
            world.step(MS);
        }
        world.apply(2, Kind::Counter, b"total", LocalOp::CounterAdd(1)).unwrap();
        for _ in 0..3000 {
            world.step(MS);
        }
        assert!(world.converged());
        world.isolate(0, true);
        for key in 0..300u32 {
            world.apply(2, Kind::Register, &key.to_le_bytes(), LocalOp::RegisterSet(b"new")).unwrap();
            world.step(MS);
        }
        world.apply(2, Kind::Counter, b"total", LocalOp::CounterAdd(1)).unwrap();
        for _ in 0..20 {
            world.step(MS);
        }
        world.isolate(0, false);
        world.mute = Some(2);
        let before = world.hosts[0].engine.stats().syncs_completed;
        while world.hosts[0].engine.stats().syncs_completed == before {
            world.apply(2, Kind::Counter, b"total", LocalOp::CounterAdd(1)).unwrap();
            world.step(100_000);
        }
        world.restart_empty(2);
        world.heal(seed, 20 * SECOND);
    }
}

#[test]
fn a_large_sync_gets_through_heavy_loss() {
    let limits = EngineLimits { max_keys: 10_000, max_window_frames: 64, ..tiny_limits() };
    let faults = Faults { loss_percent: 0, copy_percent: 0, max_delay_ns: 50_000 };
    let mut world = World::new(1, 3, limits, faults);
    // Epochs that never saw each other add one element: more dots than an item of a sync holds.
    for _ in 0..60 {
        world.isolate(0, true);
        world.restart_empty(0);
        world.step(MS);
        world.apply(0, Kind::Set, b"set", LocalOp::SetInsert(b"element")).unwrap();
        world.step(MS);
        world.isolate(0, false);
        (0..450).for_each(|_| world.step(MS));
    }
    for key in 0..6000u32 {
        world.apply(1, Kind::Register, &key.to_le_bytes(), LocalOp::RegisterSet(&[5; 100])).unwrap();
        world.step(MS);
    }
    world.faults.loss_percent = 30;
    world.faults.max_delay_ns = 2 * MS;
    world.restart_empty(2);
    let begin_ns = world.now_ns;
    while !world.converged() {
        world.step(MS);
        assert!(world.now_ns - begin_ns < 30 * SECOND, "not converged in 30 s of loss");
    }
    let served: u64 = world.hosts.iter().map(|host| host.engine.stats().syncs_served).sum();
    assert!(served > 0);
    world.apply(2, Kind::Set, b"set", LocalOp::SetClear).unwrap();
    world.heal(1, 10 * SECOND);
    assert_eq!(world.hosts[1].board.view.members[&b"set"[..]].len(), 0);
}

/// The zoo's bugs that are to be found by a test of this file: with one of them, its test fails.
#[cfg(feature = "zoo")]
#[test]
fn the_zoos_bugs_are_found() {
    use lattice_zoo::{Bug, Checker};
    let tests: [(&str, fn()); 1] = [(
        "what_only_a_sync_showed_before_its_origin_died_is_the_same_everywhere",
        what_only_a_sync_showed_before_its_origin_died_is_the_same_everywhere,
    )];
    for &bug in Bug::ALL {
        let Checker::Test("lattice-engine", name) = bug.checker() else { continue };
        let Some((_, test)) = tests.into_iter().find(|(known, _)| *known == name) else { continue };
        lattice_zoo::arm(Some(bug));
        let survives = std::panic::catch_unwind(test).is_ok();
        lattice_zoo::arm(None);
        assert!(!survives, "{bug} survives {name}");
    }
}
