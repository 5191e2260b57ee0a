//! A peer that comes while the engine runs.

#[allow(dead_code, reason = "each test program uses its part")]
mod stage;
#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::Kind;
use lattice_engine::{EngineConfigError, EngineTimers, LocalOp};
use lattice_wire::FrameType;
use stage::*;

#[test]
fn a_peer_that_comes_later_is_greeted_and_gets_what_was_written_before() {
    let mut stage = Stage::new(EngineTimers::default());
    stage.fill(10);
    stage.run(MS);
    assert_eq!(stage.engine.add_peer(puppet(2).node()), Ok(2), "the next slot");
    let sent = stage.run(MS);
    assert!(sent.iter().any(|(slot, header, _)| *slot == 2 && header.frame_type == FrameType::Hello));
    stage.hello(2);
    let sent = stage.run(100 * MS);
    let data = |slot| sent.iter().filter(|(to, h, _)| *to == slot && h.frame_type == FrameType::Data).count();
    assert!(data(2) > 0 && data(0) == 0);
    assert!(stage.engine.peer_status(2, stage.now()).is_some_and(|peer| peer.up && peer.node == 4));
}

#[test]
fn who_is_a_peer_keeps_its_slot_and_its_session() {
    let mut stage = Stage::new(EngineTimers::default());
    stage.hello(1);
    assert_eq!(stage.engine.add_peer(puppet(1).node()), Ok(1));
    assert!(stage.engine.peer_status(1, stage.now()).is_some_and(|peer| peer.up));
    assert!(stage.engine.peer_status(2, stage.now()).is_none());
}

#[test]
fn neither_this_node_nor_more_than_there_can_be_are_peers() {
    let mut stage = Stage::new(EngineTimers::default());
    assert!(matches!(stage.engine.add_peer(OWN.node()), Err(EngineConfigError::Peers(_))));
    let room = (100..).take_while(|node| stage.engine.add_peer(*node).is_ok()).count();
    // With the two from the start and this node itself.
    assert_eq!(room, lattice_crdt::limits::MAX_ACTORS - 3);
}

#[test]
fn a_newcomer_holds_back_dropping_until_it_has_said_what_it_has() {
    let mut stage = Stage::new(EngineTimers::default());
    let now = stage.now();
    stage.engine.add_peer(puppet(2).node()).unwrap();
    stage.engine.apply(now, Kind::Set, b"set", LocalOp::SetInsert(b"e")).unwrap();
    stage.engine.commit(now, &mut Blind);
    stage.engine.apply(now, Kind::Set, b"set", LocalOp::SetRemove(b"e")).unwrap();
    stage.engine.commit(now, &mut Blind);
    stage.run(5 * SECOND);
    assert_eq!(stage.engine.stats().keys_dropped, 0);
}
