//! What peers have of an engine's own operations: as they acknowledged it, in their present session, and never more.

#[allow(dead_code)]
mod stage;
#[allow(dead_code)]
mod world;

use lattice_crdt::{Kind, SeqRange};
use lattice_engine::{DropReason, EngineTimers, LocalOp};
use lattice_wire::{Ack, FrameType, Header, VectorPart};
use stage::{Blind, OWN, Stage};

/// Two puppets with a session each, and `count` own operations.
fn with_operations(count: u64) -> Stage {
    let mut stage = Stage::new(EngineTimers::default());
    (0..2).for_each(|slot| stage.hello(slot));
    let now = stage.now();
    for n in 0..count {
        stage.engine.apply(now, Kind::Counter, &n.to_le_bytes(), LocalOp::CounterAdd(1)).unwrap();
    }
    stage.engine.commit(now, &mut Blind);
    assert_eq!(stage.engine.last_seq(), count);
    stage
}

fn acknowledge(
    stage: &mut Stage,
    slot: usize,
    contiguous: u64,
    beyond: &[SeqRange],
) -> Result<(), DropReason> {
    let header = Stage::header(FrameType::Ack, slot);
    stage.play(header, |frame| {
        Ack::new(OWN, contiguous, beyond).encode(frame).unwrap();
    })
}

/// A hello of a puppet that says to have the first `seqs` of this engine's operations.
fn hello_with(stage: &mut Stage, slot: usize, src_session: u32, seqs: u64) {
    let header = Header { count: 1, src_session, ..Stage::header(FrameType::Hello, slot) };
    let range = SeqRange { first: 1, last: seqs };
    stage.play(header, |frame| VectorPart::encode(frame, 0, 1, [(OWN, range)]).unwrap()).unwrap();
}

fn merged(stage: &Stage) -> [Option<u64>; 3] {
    [0, 1, 2].map(|slot| stage.engine.merged_by(slot))
}

#[test]
fn what_is_acknowledged_without_a_gap_is_merged_by_that_peer_alone() {
    let mut stage = with_operations(9);
    assert_eq!((stage.engine.peer_slots(), merged(&stage)), (2, [Some(0), Some(0), None]));
    acknowledge(&mut stage, 0, 3, &[SeqRange { first: 5, last: 8 }]).unwrap();
    assert_eq!(merged(&stage), [Some(3), Some(0), None], "what lies beyond a gap does not count");
    acknowledge(&mut stage, 0, 2, &[]).unwrap();
    acknowledge(&mut stage, 1, 9, &[]).unwrap();
    assert_eq!(merged(&stage), [Some(3), Some(9), None], "an old acknowledgement takes nothing back");
}

#[test]
fn operations_that_were_never_made_are_not_merged_by_anybody() {
    let mut stage = with_operations(2);
    assert!(acknowledge(&mut stage, 0, 3, &[]).is_err());
    assert_eq!(merged(&stage), [Some(0), Some(0), None]);
}

#[test]
fn a_peer_that_came_back_with_an_older_copy_has_what_it_says_now() {
    let mut stage = with_operations(9);
    acknowledge(&mut stage, 0, 9, &[]).unwrap();
    hello_with(&mut stage, 0, 999, 4);
    assert_eq!(merged(&stage), [Some(4), Some(0), None]);
    // An acknowledgement of its former session, under way for long.
    assert_eq!(acknowledge(&mut stage, 0, 9, &[]), Err(DropReason::StaleSession));
    assert_eq!(merged(&stage), [Some(4), Some(0), None]);
}

#[test]
fn who_is_forgotten_is_no_member() {
    let mut stage = with_operations(1);
    acknowledge(&mut stage, 0, 1, &[]).unwrap();
    assert!(stage.engine.forget(2));
    assert_eq!((merged(&stage), stage.engine.durable_on(0)), ([None, Some(0), None], None));
}

#[test]
fn durable_on_a_peer_is_what_it_said_it_would_still_have_and_has_acknowledged() {
    let mut stage = with_operations(9);
    let stable = |stage: &mut Stage, last| {
        let header = Stage::header(FrameType::Stable, 0);
        let range = SeqRange { first: 1, last };
        stage.play(header, |frame| VectorPart::encode(frame, 0, 1, [(OWN, range)]).unwrap()).unwrap();
    };
    acknowledge(&mut stage, 0, 6, &[]).unwrap();
    assert_eq!(stage.engine.durable_on(0), Some(0));
    stable(&mut stage, 4);
    assert_eq!(stage.engine.durable_on(0), Some(4));
    stable(&mut stage, 1000);
    assert_eq!((stage.engine.durable_on(0), stage.engine.durable_on(1)), (Some(6), Some(0)));
}

#[test]
fn a_new_epoch_begins_with_nothing_merged() {
    let mut stage = with_operations(9);
    acknowledge(&mut stage, 0, 9, &[]).unwrap();
    let (now, next) = (stage.now(), lattice_crdt::ActorId::new(1, 8));
    stage.engine.begin_epoch(now, next, 78).unwrap();
    assert_eq!((merged(&stage), stage.engine.durable_on(0)), ([Some(0), Some(0), None], Some(0)));
}

/// The data frames to a slot: where each begins, and how many records it has.
fn data(sent: &stage::Sent, slot: usize) -> Vec<(u64, u32)> {
    let of_slot = sent.iter().filter(|(to, header, _)| *to == slot && header.frame_type == FrameType::Data);
    of_slot.map(|(_, header, _)| (header.lo, header.count)).collect()
}

#[test]
fn who_waits_asks_those_who_lack_something_once_and_behind_everything() {
    let mut stage = with_operations(3);
    acknowledge(&mut stage, 1, 3, &[]).unwrap();
    stage.engine.ask_peers();
    let sent = stage.run(stage::MS / 10);
    assert_eq!(data(&sent, 0), [(0, 3), (3, 0)], "the operations, then the question");
    assert_eq!(data(&sent, 1), [], "it has everything");
    assert_eq!(data(&stage.run(stage::MS), 0), [], "asked once");
    // Of what was sent before somebody waited, too.
    stage.engine.ask_peers();
    assert_eq!(data(&stage.run(stage::MS / 10), 0), [(3, 0)]);
    acknowledge(&mut stage, 0, 3, &[]).unwrap();
    stage.engine.ask_peers();
    assert_eq!(data(&stage.run(stage::MS / 10), 0), []);
}

#[test]
fn a_question_is_answered_at_once() {
    let mut stage = Stage::new(EngineTimers::default());
    stage.hello(0);
    stage.run(stage::MS);
    let header = Stage::header(FrameType::Data, 0);
    stage.play(header, |_| {}).unwrap();
    let sent = stage.run(1);
    let acks = sent.iter().filter(|(_, header, _)| header.frame_type == FrameType::Ack).count();
    assert_eq!(acks, 1);
}
