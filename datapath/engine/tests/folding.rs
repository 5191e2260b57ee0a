//! Folding: the epochs of a host that are over become one, while hosts crash, lose what they had and come back with old copies.

#[allow(dead_code, reason = "each test program uses its part")]
mod stage;
#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::{ActorId, Dot, Kind};
use lattice_engine::{EngineLimits, EngineTimers, LocalOp, Storage};
use lattice_wire::{Fold, FoldStep, FrameType, FrameWriter, Header, SyncItem};
use stage::{MS, SECOND, Sent, Stage, puppet};
use world::{Faults, World, assert_as_specified, seeds};

fn world(seed: u64, hosts: usize) -> World {
    let faults = Faults { loss_percent: 0, copy_percent: 0, max_delay_ns: 100_000 };
    let mut world = World::new(seed, hosts, EngineLimits::default(), faults);
    run(&mut world, 2 * SECOND);
    world
}

fn run(world: &mut World, for_ns: u64) {
    let until_ns = world.now_ns + for_ns;
    while world.now_ns < until_ns {
        world.step(MS / 2);
    }
}

fn add(world: &mut World, host: usize, key: &[u8], amount: i64) {
    world.apply(host, Kind::Counter, key, LocalOp::CounterAdd(amount)).unwrap();
}

fn insert(world: &mut World, host: usize, element: &[u8]) {
    world.apply(host, Kind::Set, b"set", LocalOp::SetInsert(element)).unwrap();
}

fn word(world: &World, host: usize, key: &[u8]) -> Option<u64> {
    world.hosts[host].board.view.words.get(&(Kind::Counter, key.to_vec())).copied()
}

fn folded(world: &World) -> Vec<u64> {
    world.hosts.iter().map(|host| host.engine.stats().epochs_folded).collect()
}

/// Runs until no host's vector has an epoch that is over.
fn until_all_are_folded(world: &mut World, seed: u64) {
    for _ in 0..60 {
        let live: Vec<ActorId> = world.hosts.iter().map(|host| host.engine.actor()).collect();
        let dead = |host: &world::Host| host.engine.vector().open().any(|(actor, _)| !live.contains(&actor));
        if !world.hosts.iter().any(dead) {
            return;
        }
        run(world, SECOND);
    }
    panic!("seed {seed}: epochs that are over are still there: {:?}", folded(world));
}

#[test]
fn an_epoch_that_is_over_becomes_part_of_its_nodes_slot() {
    let mut world = world(1, 3);
    let old = world.hosts[0].engine.actor();
    add(&mut world, 0, b"many", 5);
    add(&mut world, 1, b"many", 7);
    insert(&mut world, 0, b"one");
    insert(&mut world, 0, b"two");
    run(&mut world, SECOND);
    world.restart_empty(0);
    run(&mut world, SECOND);
    add(&mut world, 0, b"many", 100);
    run(&mut world, 10 * SECOND);
    assert_eq!(folded(&world), [1; 3]);
    for host in &world.hosts {
        let (vector, stats) = (host.engine.vector(), host.engine.stats());
        assert!(vector.is_settled(old) && vector.contains(Dot::new(old, 1)) && vector.contiguous(old) == 3);
        assert_eq!((stats.actors, stats.epochs_dead, stats.folds), (2, 0, 1));
    }
    // What the epoch wrote is there, under its name: removed, it goes.
    assert!(world.apply(2, Kind::Set, b"set", LocalOp::SetRemove(b"one")).unwrap().is_some());
    add(&mut world, 2, b"many", 1000);
    assert!(world.heal(1, 5 * SECOND) < 5 * SECOND);
    assert!((0..3).all(|host| word(&world, host, b"many") == Some(1112)));
    assert_as_specified(&world, 1);
}

#[test]
fn a_host_of_four_hundred_epochs_loses_nothing_and_goes_on() {
    let mut world = world(2, 2);
    for epoch in 1..=400u64 {
        add(&mut world, 1, b"each", 1);
        add(&mut world, 1, &epoch.to_le_bytes(), 3);
        insert(&mut world, 1, &[(epoch % 16) as u8]);
        world.heal(epoch, 20 * SECOND);
        assert_eq!(word(&world, 0, b"each"), Some(epoch));
        world.restart_empty(1);
        world.heal(epoch, 20 * SECOND);
        // A host that is up for a while now and then.
        if epoch % 64 == 0 {
            until_all_are_folded(&mut world, epoch);
        }
    }
    until_all_are_folded(&mut world, 400);
    assert_eq!(folded(&world), [400; 2]);
    assert!(world.hosts.iter().all(|host| host.engine.stats().actors <= 2));
    assert_as_specified(&world, 2);
    add(&mut world, 1, b"each", 1);
    world.heal(3, 5 * SECOND);
    assert_eq!(word(&world, 0, b"each"), Some(401));
    // A host that comes late gets all of it.
    world.restart_empty(0);
    world.heal(4, 20 * SECOND);
    assert_as_specified(&world, 4);
    assert!(world.hosts[0].engine.stats().epochs_folded >= 400);
}

#[test]
fn a_member_that_is_away_holds_folding_back() {
    let mut world = world(3, 3);
    add(&mut world, 0, b"key", 5);
    run(&mut world, SECOND);
    world.restart_empty(0);
    world.isolate(2, true);
    run(&mut world, 10 * SECOND);
    assert_eq!(folded(&world), [0; 3]);
    let status = |world: &World, slot| world.hosts[0].engine.peer_status(slot, world.instant()).unwrap();
    assert!(status(&world, 1).holds_folding && !status(&world, 0).holds_folding);
    assert!((0..2).all(|host| world.hosts[host].engine.stats().epochs_dead == 1));
    world.isolate(2, false);
    run(&mut world, 10 * SECOND);
    assert_eq!(folded(&world), [1; 3]);
    assert!(!status(&world, 1).holds_folding);
    // Forgotten, it holds back nothing.
    world.isolate(2, true);
    world.restart_empty(0);
    assert!(world.hosts[1].engine.forget(3));
    run(&mut world, 15 * SECOND);
    assert_eq!(folded(&world)[..2], [1; 2], "nothing was written in the epoch before");
    add(&mut world, 0, b"key", 1);
    run(&mut world, SECOND);
    world.restart_empty(0);
    run(&mut world, 15 * SECOND);
    assert_eq!(folded(&world)[..2], [2; 2]);
}

/// A snapshot from before a fold, brought back after it: what it has of the epoch is in the slot already.
#[test]
fn an_old_copy_counts_nothing_twice() {
    for (seed, same_host) in [(5, true), (6, false)] {
        let mut world = world(seed, 3);
        add(&mut world, 0, b"key", 5);
        add(&mut world, 0, b"other", 2);
        insert(&mut world, 0, b"one");
        run(&mut world, SECOND);
        let back = if same_host { 0 } else { 2 };
        let copy = world.snapshot(back, 0);
        add(&mut world, 0, b"key", 6);
        insert(&mut world, 0, b"two");
        run(&mut world, SECOND);
        world.restart_empty(0);
        run(&mut world, 10 * SECOND);
        assert_eq!(folded(&world), [1; 3]);
        world.restart_from(back, &copy, 0, false).unwrap();
        run(&mut world, 12 * SECOND);
        until_all_are_folded(&mut world, seed);
        world.heal(seed, 20 * SECOND);
        assert!((0..3).all(|host| word(&world, host, b"key") == Some(11)));
        assert_as_specified(&world, seed);
    }
}

/// A machine that is restored as a whole goes on in an epoch that was folded meanwhile: it is told, and begins another.
#[test]
fn who_goes_on_in_a_folded_epoch_is_told_that_it_is_over() {
    let mut world = world(7, 3);
    world.storage = Storage::Durable;
    (0..3).for_each(|host| world.restart_empty(host));
    run(&mut world, 3 * SECOND);
    let epoch = world.hosts[0].epoch;
    add(&mut world, 0, b"key", 5);
    run(&mut world, SECOND);
    let image = world.snapshot(0, 0);
    let made = world.hosts[0].engine.last_seq();
    world.restart_empty(0);
    run(&mut world, 10 * SECOND);
    assert_eq!(folded(&world), [1; 3]);
    let newest = std::mem::replace(&mut world.hosts[0].epoch, epoch);
    world.restart_from(0, &image, made, true).unwrap();
    run(&mut world, 2 * SECOND);
    assert!(world.hosts[0].engine.epoch_is_over() && !world.hosts[0].engine.is_forgotten());
    assert!(world.hosts[1].engine.stats().dropped_forgotten > 0);
    let now = world.instant();
    world.hosts[0].engine.begin_epoch(now, ActorId::new(1, newest + 1), 77).unwrap();
    world.hosts[0].epoch = newest + 1;
    add(&mut world, 0, b"key", 1);
    world.heal(7, 20 * SECOND);
    assert!((0..3).all(|host| word(&world, host, b"key") == Some(6)));
    assert_as_specified(&world, 7);
}

/// Somebody crashes at any moment of a fold, and comes back with what it had before, or nothing.
#[test]
fn a_crash_at_any_moment_of_a_fold_changes_nothing() {
    for moment in 0..24u64 {
        let mut world = world(moment, 3);
        (0..3).for_each(|host| add(&mut world, host, b"key", 10));
        add(&mut world, 0, b"mine", 4);
        insert(&mut world, 0, b"one");
        run(&mut world, SECOND);
        let copies: Vec<_> = (0..3).map(|host| world.snapshot(host, 0)).collect();
        world.restart_empty(0);
        // The first round is about three seconds from here.
        let begun_ns = world.now_ns;
        while world.hosts.iter().all(|host| host.engine.stats().folds == 0) {
            let is_time = world.now_ns - begun_ns > 2_600 * MS + moment * 50 * MS;
            if is_time && moment < 20 {
                break;
            }
            world.step(20_000);
        }
        let who = (moment % 3) as usize;
        match moment % 2 {
            0 => world.restart_empty(who),
            _ => world.restart_from(who, &copies[who], 0, false).unwrap(),
        }
        add(&mut world, who, b"key", 1);
        run(&mut world, 3 * SECOND);
        until_all_are_folded(&mut world, moment);
        world.heal(moment, 20 * SECOND);
        assert!((0..3).all(|host| word(&world, host, b"key") == Some(31)), "moment {moment}");
        assert!((0..3).all(|host| word(&world, host, b"mine") == Some(4)), "moment {moment}");
        assert_as_specified(&world, moment);
    }
}

/// Everything at once: loss, partitions, restarts with old snapshots and with nothing, in the middle of folds.
#[test]
fn whatever_happens_all_agree_and_the_sums_are_right() {
    for seed in seeds(10) {
        let mut world = world(seed, 3);
        world.faults = Faults { loss_percent: 10, copy_percent: 5, max_delay_ns: 5 * MS };
        let mut copies: Vec<_> = (0..3).map(|host| world.snapshot(host, 0)).collect();
        for round in 0..24 {
            let host = world.draw.below(3) as usize;
            match world.draw.below(6) {
                0 => world.restart_empty(host),
                1 | 2 => world.restart_from(host, &copies[host], 0, false).unwrap(),
                3 => copies[host] = world.snapshot(host, 50_000),
                4 => world.isolate(host, true),
                _ => (0..3).for_each(|host| world.isolate(host, false)),
            }
            for _ in 0..6 {
                let at = world.draw.below(3) as usize;
                world.random_op(at);
                run(&mut world, MS);
            }
            let rest_ns = if round % 8 == 7 { 9 * SECOND } else { 400 * MS };
            run(&mut world, rest_ns);
        }
        world.heal(seed, 60 * SECOND);
        until_all_are_folded(&mut world, seed);
        world.heal(seed, 20 * SECOND);
        assert_as_specified(&world, seed);
    }
}

/// An epoch of puppet 0 that is over: of it, the engine has operations 1 to 4.
const DEAD: ActorId = ActorId::new(2, 3);

fn stage_with_dead_epoch() -> Stage {
    with_dead_epoch(Stage::new(EngineTimers::default()))
}

fn with_dead_epoch(mut stage: Stage) -> Stage {
    let id = stage.provoke_sync();
    let items = [
        SyncItem::Begin { full_walk: false, keys: 1 },
        SyncItem::VectorRange { actor: puppet(0), first: 1, last: 12 },
        SyncItem::VectorRange { actor: DEAD, first: 1, last: 4 },
        SyncItem::VectorEnd,
        SyncItem::Key { kind: Kind::Counter, key: b"key" },
        SyncItem::Touch { actor: DEAD, seq: 4 },
        SyncItem::CounterEntry { actor: DEAD, increments: 40, decrements: 2 },
        SyncItem::KeyEnd,
        SyncItem::End,
    ];
    stage.sync_data(id, 0, &items).unwrap();
    stage.hello(1);
    stage
}

fn ask(stage: &mut Stage, slot: usize, round: u32, digest: u64, epochs: &[(ActorId, u64)]) {
    let write = |frame: &mut FrameWriter<'_>| Fold::encode_question(frame, round, digest, 1, epochs).unwrap();
    stage.play(Stage::header(FrameType::Fold, slot), write).unwrap();
}

fn decide(stage: &mut Stage, header: Header, round: u32) {
    let _ = stage.play(header, |frame| Fold::encode(frame, FoldStep::Decide, round).unwrap());
}

/// Rounds that the engine agrees to, in the frames to a slot.
fn agreed(sent: &Sent, slot: usize) -> Vec<u32> {
    let frames = sent.iter().filter(|(to, h, _)| (*to, h.frame_type) == (slot, FrameType::Fold));
    let decoded = frames.map(|(_, _, payload)| Fold::decode(payload).unwrap());
    decoded.filter(|fold| fold.step == FoldStep::Agree).map(|fold| fold.round).collect()
}

/// The digest of what is known of an epoch, as every host computes it.
fn digest_of(actor: ActorId, last: u64) -> u64 {
    let mut world = Stage::new(EngineTimers::default());
    let before = world.engine.vector_digest();
    let id = world.provoke_sync();
    let items = [
        SyncItem::Begin { full_walk: false, keys: 0 },
        SyncItem::VectorRange { actor, first: 1, last },
        SyncItem::VectorEnd,
        SyncItem::End,
    ];
    world.sync_data(id, 0, &items).unwrap();
    world.engine.vector_digest().wrapping_sub(before)
}

#[test]
fn a_member_agrees_to_what_it_knows_itself_and_heeds_only_what_it_agreed_to() {
    let digest = digest_of(DEAD, 4);
    let mut stage = stage_with_dead_epoch();
    ask(&mut stage, 0, 7, !digest, &[(DEAD, 4)]);
    ask(&mut stage, 1, 8, digest, &[(DEAD, 4)]);
    ask(&mut stage, 0, 9, digest, &[(puppet(0), 12)]);
    let sent = stage.run(10 * MS);
    assert_eq!((agreed(&sent, 0), agreed(&sent, 1)), (vec![], vec![]), "another digest, another's, alive");
    decide(&mut stage, Stage::header(FrameType::Fold, 0), 7);
    assert_eq!(stage.engine.stats().epochs_folded, 0, "it agreed to nothing");
    ask(&mut stage, 0, 10, digest, &[(DEAD, 4)]);
    assert_eq!(agreed(&stage.run(10 * MS), 0), [10]);
    decide(&mut stage, Stage::header(FrameType::Fold, 0), 7);
    decide(&mut stage, Stage::header(FrameType::Fold, 1), 10);
    assert_eq!(stage.engine.stats().epochs_folded, 0, "another round, another's");
    // A run of the epoch that it agreed about is not heard any more.
    let late = Header { actor: DEAD, src_session: 400, ..Stage::header(FrameType::Hello, 0) };
    assert!(stage.play(late, |frame| lattice_wire::VectorPart::encode(frame, 0, 1, []).unwrap()).is_err());
    decide(&mut stage, Stage::header(FrameType::Fold, 0), 10);
    let stats = stage.engine.stats();
    assert_eq!((stats.epochs_folded, stats.folds), (1, 1));
    assert!(stage.engine.vector().is_settled(DEAD));
}

#[test]
fn a_promise_ends_with_the_session_that_it_was_made_in() {
    let digest = digest_of(DEAD, 4);
    let mut stage = stage_with_dead_epoch();
    ask(&mut stage, 0, 10, digest, &[(DEAD, 4)]);
    assert_eq!(agreed(&stage.run(10 * MS), 0), [10]);
    let header = Header { src_session: 900, count: 1, ..Stage::header(FrameType::Hello, 0) };
    stage.play(header, |frame| lattice_wire::VectorPart::encode(frame, 0, 1, []).unwrap()).unwrap();
    decide(&mut stage, Header { src_session: 900, ..Stage::header(FrameType::Fold, 0) }, 10);
    decide(&mut stage, Stage::header(FrameType::Fold, 0), 10);
    assert_eq!(stage.engine.stats().epochs_folded, 0);
}

#[test]
fn who_is_in_a_sync_agrees_to_nothing() {
    let digest = digest_of(DEAD, 4);
    let mut stage = stage_with_dead_epoch();
    stage.heartbeat(0, 100);
    stage.run(MS);
    ask(&mut stage, 0, 10, digest, &[(DEAD, 4)]);
    assert_eq!(agreed(&stage.run(10 * MS), 0), []);
}

/// The epoch is folded, and the pass over the keys is done.
fn fold_dead_epoch(stage: &mut Stage) {
    ask(stage, 0, 10, digest_of(DEAD, 4), &[(DEAD, 4)]);
    assert_eq!(agreed(&stage.run(10 * MS), 0), [10]);
    decide(stage, Stage::header(FrameType::Fold, 0), 10);
    assert_eq!(stage.engine.stats().epochs_folded, 1);
}

#[test]
fn an_entry_that_is_in_a_slot_is_not_taken_again() {
    // Of a host that has not folded, and beside the slot, which by itself takes such entries away.
    let slot = SyncItem::CounterEntry { actor: ActorId::fold_slot(2, 1), increments: 40, decrements: 2 };
    takes_no_entry_again(&[]);
    takes_no_entry_again(&[slot]);
}

fn takes_no_entry_again(beside: &[SyncItem<'_>]) {
    let mut stage = stage_with_dead_epoch();
    let before = stage.engine.state_digest();
    fold_dead_epoch(&mut stage);
    stage.run(100 * MS);
    let folded = stage.engine.state_digest();
    assert_ne!(before, folded, "the entry has its node's name now");
    stage.heartbeat(0, 100);
    let sent = stage.run(MS);
    let request = sent.iter().find(|(_, header, _)| header.frame_type == FrameType::SyncRequest).unwrap();
    assert_ne!(request.1.lo, 0, "it says what it has folded");
    let id = lattice_wire::SyncRequest::decode(&request.2).unwrap().sync_id;
    let begin = [
        SyncItem::Begin { full_walk: true, keys: 1 },
        SyncItem::VectorRange { actor: puppet(0), first: 1, last: 99 },
        SyncItem::VectorRange { actor: DEAD, first: 1, last: 4 },
        SyncItem::VectorEnd,
        SyncItem::Key { kind: Kind::Counter, key: b"key" },
        SyncItem::Touch { actor: DEAD, seq: 4 },
        SyncItem::CounterEntry { actor: DEAD, increments: 40, decrements: 2 },
    ];
    let items: Vec<SyncItem<'_>> =
        begin.iter().chain(beside).chain(&[SyncItem::KeyEnd, SyncItem::End]).cloned().collect();
    stage.sync_data(id, 0, &items).unwrap();
    assert_eq!(stage.engine.state_digest(), folded, "not even until the next pass over the keys");
    stage.run(100 * MS);
    assert_eq!(stage.engine.stats().syncs_completed, 2);
    assert_eq!(stage.engine.state_digest(), folded);
}

#[test]
fn a_slot_of_a_fold_that_nobody_told_is_refused() {
    let mut stage = Stage::new(EngineTimers::default());
    let id = stage.provoke_sync();
    let items = [
        SyncItem::Begin { full_walk: true, keys: 1 },
        SyncItem::VectorRange { actor: puppet(0), first: 1, last: 12 },
        SyncItem::VectorEnd,
        SyncItem::Key { kind: Kind::Counter, key: b"key" },
        SyncItem::CounterEntry { actor: ActorId::fold_slot(2, 1), increments: 40, decrements: 2 },
    ];
    assert!(stage.sync_data(id, 0, &items).is_err());
    assert_eq!(stage.engine.stats().syncs_abandoned, 1);
}

#[test]
fn a_walk_that_has_not_told_the_names_shows_no_slot() {
    let mut stage = Stage::new(EngineTimers::default());
    stage.fill(400);
    let mut stage = with_dead_epoch(stage);
    let number = stage.engine.begin_snapshot();
    let mut buffer = [0; lattice_wire::MAX_FRAME_BYTES];
    assert!(stage.engine.write_snapshot(&mut buffer).is_some_and(|len| len > 0));
    fold_dead_epoch(&mut stage);
    stage.run(200 * MS);
    let mut entries = 0;
    while let Some(len) = stage.engine.write_snapshot(&mut buffer) {
        let frame = lattice_wire::decode_frame(&buffer[..len.max(1)], world::CLUSTER);
        let mut rest = frame.as_ref().map_or(&[][..], |frame| frame.payload);
        while !rest.is_empty() {
            let (item, used) = lattice_wire::decode_item(rest).unwrap();
            rest = &rest[used..];
            if let SyncItem::CounterEntry { actor, .. } = item {
                assert_eq!(actor.fold_number(), None, "it has not told the name");
                entries += u32::from(actor == DEAD);
            }
        }
    }
    assert!(stage.engine.snapshot_is_whole(number) && stage.engine.snapshot_is_durable(number));
    assert_eq!(entries, 1);
    let before = stage.engine.state_digest();
    stage.run(200 * MS);
    assert_ne!(stage.engine.state_digest(), before, "now it is folded");
}

#[cfg(feature = "zoo")]
#[test]
fn the_zoos_bugs_are_found() {
    use lattice_zoo::{Bug, Checker};
    let tests: [(&str, fn()); 4] = [
        (
            "a_member_agrees_to_what_it_knows_itself_and_heeds_only_what_it_agreed_to",
            a_member_agrees_to_what_it_knows_itself_and_heeds_only_what_it_agreed_to,
        ),
        (
            "who_goes_on_in_a_folded_epoch_is_told_that_it_is_over",
            who_goes_on_in_a_folded_epoch_is_told_that_it_is_over,
        ),
        ("an_entry_that_is_in_a_slot_is_not_taken_again", an_entry_that_is_in_a_slot_is_not_taken_again),
        (
            "a_walk_that_has_not_told_the_names_shows_no_slot",
            a_walk_that_has_not_told_the_names_shows_no_slot,
        ),
    ];
    for &bug in Bug::ALL {
        let Checker::Test("lattice-engine", name) = bug.checker() else { continue };
        let Some((_, test)) = tests.into_iter().find(|(known, _)| *known == name) else { continue };
        lattice_zoo::arm(Some(bug));
        let survives = std::panic::catch_unwind(test).is_ok();
        lattice_zoo::arm(None);
        assert!(!survives, "{bug} survives {name}");
    }
}
