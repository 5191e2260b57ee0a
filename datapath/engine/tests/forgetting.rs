//! Forgotten nodes: what nobody has of them is given up, what somebody has is not, and how they come back.

#[allow(dead_code, reason = "each test program uses its part")]
mod stage;
#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::{ActorId, Dot, Kind, SeqRange};
use lattice_engine::{EngineConfigError, EngineLimits, EngineTimers, LocalOp, OpError, Storage};
use lattice_wire::{Forget, FrameType, FrameWriter, Header, SyncItem, VectorPart};
use stage::{MS, SECOND, Sent, Stage, puppet};
use world::{Faults, World, assert_as_specified};

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

/// An epoch of a node that is no peer here, of which the puppets have told this engine operations 1 and 3.
const GONE: ActorId = ActorId::new(9, 5);

/// An engine among puppets that has a gap in what it knows of a forgotten node.
fn stage_with_gap() -> Stage {
    let mut stage = Stage::new(EngineTimers::default());
    let id = stage.provoke_sync();
    let items = [
        SyncItem::Begin { full_walk: false, keys: 0 },
        SyncItem::VectorRange { actor: puppet(0), first: 1, last: 12 },
        SyncItem::VectorRange { actor: GONE, first: 1, last: 1 },
        SyncItem::VectorRange { actor: GONE, first: 3, last: 3 },
        SyncItem::VectorEnd,
        SyncItem::End,
    ];
    stage.sync_data(id, 0, &items).unwrap();
    stage.hello(1);
    stage
}

fn forget_frame(stage: &mut Stage, slot: usize, session: u32, answers: bool, round: u32, digest: u64) {
    let header = Header { src_session: session, ..Stage::header(FrameType::Forget, slot) };
    let write = |frame: &mut FrameWriter<'_>| {
        Forget::encode(frame, answers, round, digest, [(GONE.node(), 1)]).unwrap();
    };
    stage.play(header, write).unwrap();
}

/// Rounds of questions or answers in the frames to a slot, each with its digest.
fn forgets(sent: &Sent, slot: usize, answers: bool) -> Vec<(u32, u64)> {
    let frames = sent.iter().filter(|(to, h, _)| (*to, h.frame_type) == (slot, FrameType::Forget));
    let decoded = frames.map(|(_, _, payload)| Forget::decode(payload).unwrap());
    decoded.filter(|forget| forget.answers == answers).map(|forget| (forget.round, forget.digest)).collect()
}

/// The round that the engine asks both puppets in, and what it knows.
fn asked(stage: &mut Stage) -> (u32, u64) {
    for _ in 0..30 {
        (0..2).for_each(|slot| stage.heartbeat(slot, 1));
        let sent = stage.run(100 * MS);
        let last = |slot| forgets(&sent, slot, false).into_iter().rfind(|(round, _)| *round != 0);
        if let (Some(first), Some(second)) = (last(0), last(1)) {
            assert_eq!(first, second);
            return first;
        }
    }
    panic!("nobody was asked");
}

#[test]
fn a_gap_is_closed_when_all_members_have_answered_the_same() {
    let mut stage = stage_with_gap();
    forget_frame(&mut stage, 0, 500, false, 0, 0);
    assert_eq!(stage.engine.missing_of_forgotten(), 1);
    let (round, digest) = asked(&mut stage);
    forget_frame(&mut stage, 0, 500, true, round, digest);
    forget_frame(&mut stage, 1, 501, true, round.wrapping_sub(1), digest);
    assert_eq!(stage.engine.stats().gaps_closed, 0, "an answer to an earlier question");
    forget_frame(&mut stage, 1, 501, true, round, !digest);
    forget_frame(&mut stage, 1, 501, true, round, digest);
    assert_eq!(stage.engine.stats().gaps_closed, 0, "it knew something else, so that round is over");
    let (round, digest) = asked(&mut stage);
    (0..2).for_each(|slot| forget_frame(&mut stage, slot, 500 + slot as u32, true, round, digest));
    assert_eq!((stage.engine.stats().gaps_closed, stage.engine.missing_of_forgotten()), (1, 0));
    assert_eq!(stage.engine.last_closed(), [(GONE, SeqRange { first: 2, last: 2 })]);
    assert_eq!(stage.engine.vector().contiguous(GONE), 3);
    stage.run(SECOND);
    assert!(forgets(&stage.run(3 * SECOND), 0, false).is_empty(), "there is nothing to ask any more");
}

#[test]
fn a_round_ends_when_a_session_begins() {
    let mut stage = stage_with_gap();
    forget_frame(&mut stage, 0, 500, false, 0, 0);
    let (round, digest) = asked(&mut stage);
    let header = Header { src_session: 900, count: 1, ..Stage::header(FrameType::Hello, 0) };
    stage.play(header, |frame| VectorPart::encode(frame, 0, 1, []).unwrap()).unwrap();
    forget_frame(&mut stage, 0, 900, true, round, digest);
    forget_frame(&mut stage, 1, 501, true, round, digest);
    assert_eq!(stage.engine.stats().gaps_closed, 0);
}

#[test]
fn who_is_in_a_sync_gives_no_answer() {
    let mut stage = Stage::new(EngineTimers::default());
    let id = stage.provoke_sync();
    stage.hello(1);
    forget_frame(&mut stage, 1, 501, false, 7, 0);
    let sent = stage.run(10 * MS);
    assert_eq!(forgets(&sent, 1, true), [], "it is about to learn more");
    let items = [
        SyncItem::Begin { full_walk: false, keys: 0 },
        SyncItem::VectorRange { actor: puppet(0), first: 1, last: 12 },
        SyncItem::VectorEnd,
        SyncItem::End,
    ];
    stage.sync_data(id, 0, &items).unwrap();
    forget_frame(&mut stage, 1, 501, false, 8, 0);
    let answered: Vec<_> =
        forgets(&stage.run(10 * MS), 1, true).into_iter().map(|(round, _)| round).collect();
    assert_eq!(answered, [8]);
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

/// Host 2 alone has the operation. It gives it to host 1, or is about to, and loses all.
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

/// Bugs that no schedule of the simulator has shown, each with the test that must fail by it.
#[cfg(feature = "zoo")]
#[test]
fn each_bug_breaks_its_test() {
    use lattice_zoo::Bug;
    let tests = [
        (Bug::RoundOutlivesSession, a_round_ends_when_a_session_begins as fn()),
        (Bug::AnswersDuringSync, who_is_in_a_sync_gives_no_answer),
        (Bug::NobodyIsAsked, what_some_member_has_is_waited_for),
        (Bug::ForgottenHostIsHeard, who_comes_back_is_told_to_begin_anew),
        (Bug::ForgottenKeepsState, who_comes_back_is_told_to_begin_anew),
    ];
    for (bug, test) in tests {
        lattice_zoo::arm(Some(bug));
        let survives = std::panic::catch_unwind(test).is_ok();
        lattice_zoo::arm(None);
        assert!(!survives, "{bug}");
    }
}
