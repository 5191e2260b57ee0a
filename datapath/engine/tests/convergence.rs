//! Engines in a hostile world converge to exactly what was done.

#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::Kind;
use lattice_engine::{EngineLimits, LocalOp};
use world::{Faults, World, assert_as_specified, seeds};

const SECOND: u64 = 1_000_000_000;

fn small_limits() -> EngineLimits {
    EngineLimits {
        max_keys: 1024,
        log_bytes: 256 << 10,
        log_records: 4096,
        max_burst_ops: 64,
        ..Default::default()
    }
}

fn calm() -> Faults {
    Faults { loss_percent: 0, copy_percent: 0, max_delay_ns: 50_000 }
}

#[test]
fn a_quiet_pair_sees_a_write_after_one_frame() {
    let mut world = World::new(1, 2, small_limits(), calm());
    for _ in 0..20 {
        world.step(100_000);
    }
    world.apply(0, Kind::Counter, b"requests", LocalOp::CounterAdd(7)).unwrap();
    world.step(100_000);
    world.step(100_000);
    assert_eq!(world.hosts[1].board.view.words[&(Kind::Counter, b"requests".to_vec())], 7);
}

#[test]
fn loss_copies_reordering_and_partitions_lose_nothing() {
    for seed in seeds(60) {
        let hosts = 2 + seed as usize % 4;
        let faults = Faults {
            loss_percent: seed % 50,
            copy_percent: seed % 30,
            max_delay_ns: 1 + (seed % 7) * SECOND / 500,
        };
        let mut world = World::new(seed, hosts, small_limits(), faults);
        for step in 0..600 {
            if step % 150 == 50 {
                world.isolate(step % hosts, true);
            } else if step % 150 == 120 {
                (0..hosts).for_each(|host| world.isolate(host, false));
            }
            for _ in 0..world.draw.below(6) {
                let host = world.draw.below(hosts as u64) as usize;
                world.random_op(host);
            }
            world.step(SECOND / 1000);
            if step % 20 == 0 {
                (0..hosts).for_each(|host| {
                    let now = world.instant();
                    let host = &mut world.hosts[host];
                    host.engine.commit(now, &mut host.board);
                });
                if world.hosts.iter().all(|host| host.engine.stats().syncs_requested == 0) {
                    assert_as_specified(&world, seed);
                }
            }
        }
        world.heal(seed, 10 * SECOND);
        assert_as_specified(&world, seed);
        for host in &world.hosts {
            assert_eq!(host.engine.stats().pre_removed, 0, "seed {seed}");
        }
    }
}

#[test]
fn a_peer_that_fell_out_of_the_log_gets_a_state_sync() {
    for seed in seeds(20) {
        let limits = EngineLimits { log_bytes: 64 << 10, log_records: 64, ..small_limits() };
        let mut world = World::new(seed, 3, limits, Faults { loss_percent: seed, copy_percent: 5, ..calm() });
        for _ in 0..50 {
            world.step(SECOND / 1000);
        }
        world.isolate(2, true);
        for _ in 0..400 {
            let host = world.draw.below(3) as usize;
            world.random_op(host);
            world.random_op(host);
            world.step(SECOND / 1000);
        }
        world.heal(seed, 20 * SECOND);
        assert_as_specified(&world, seed);
        let completed: u64 = world.hosts.iter().map(|host| host.engine.stats().syncs_completed).sum();
        assert!(completed > 0, "seed {seed}: the log was too short, somebody must have synced");
    }
}

#[test]
fn a_host_that_lost_everything_comes_back_as_a_new_epoch_and_learns_all() {
    // Seed 117: a local operation that removes what a state sync showed before its record came.
    for seed in seeds(40).chain([117]) {
        let faults = Faults { loss_percent: seed % 30, copy_percent: 10, max_delay_ns: SECOND / 400 };
        let mut world = World::new(seed, 3, small_limits(), faults);
        for step in 0..900 {
            for _ in 0..world.draw.below(4) {
                let host = world.draw.below(3) as usize;
                world.random_op(host);
            }
            if step % 300 == 200 {
                world.restart_empty(step / 300);
            }
            world.step(SECOND / 1000);
        }
        world.heal(seed, 20 * SECOND);
        assert_as_specified(&world, seed);
    }
}

#[test]
fn converged_hosts_fall_silent_but_for_heartbeats() {
    let mut world = World::new(5, 3, small_limits(), Faults { loss_percent: 20, copy_percent: 10, ..calm() });
    for _ in 0..300 {
        let host = world.draw.below(3) as usize;
        world.random_op(host);
        world.step(SECOND / 1000);
    }
    world.heal(5, 10 * SECOND);
    // Acknowledgements of the last frames, and what the silence before them brought.
    for _ in 0..2000 {
        world.step(SECOND / 1000);
    }
    let sent = |world: &World| world.hosts.iter().map(|host| host.engine.stats().frames_sent).sum::<u64>();
    let before = sent(&world);
    for _ in 0..1000 {
        world.step(SECOND / 1000);
    }
    // 3 hosts x 2 peers x 10 heartbeats, and about 3 vectors.
    let frames = sent(&world) - before;
    assert!((54..=72).contains(&frames), "{frames} frames in a silent second");
}

#[test]
fn a_full_segment_loses_nothing_and_shows_all_once_there_is_room() {
    let mut world = World::new(9, 2, small_limits(), calm());
    world.hosts[1].board.room = 2;
    for key in 0u8..5 {
        world.apply(0, Kind::Counter, &[key], LocalOp::CounterAdd(1)).unwrap();
        world.apply(0, Kind::Set, &[key, key], LocalOp::SetInsert(b"x")).unwrap();
    }
    for _ in 0..100 {
        world.step(SECOND / 1000);
    }
    assert_eq!(world.hosts[1].engine.state_digest(), world.hosts[0].engine.state_digest());
    assert!(world.hosts[1].engine.stats().unpublished > 0);
    let refused = world.apply(1, Kind::Register, b"r", LocalOp::RegisterSet(b"v"));
    assert_eq!(refused, Err(lattice_engine::OpError::CapacityExceeded));
    world.hosts[1].board.room = usize::MAX;
    for _ in 0..300 {
        world.step(SECOND / 1000);
    }
    assert_eq!(world.hosts[1].board.view, world.hosts[0].board.view);
    assert_eq!(world.hosts[1].engine.stats().unpublished, 0);
}
