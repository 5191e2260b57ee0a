//! Aliases of keys in data frames: when one is used, what is done with one that is not known, and what is sent again.

#[allow(dead_code, reason = "each test program uses its part")]
mod stage;
#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::{Kind, SeqRange};
use lattice_engine::{DropReason, EngineTimers, LocalOp};
use lattice_wire::{
    Ack, Delta, Deltas, Dots, FrameType, Header, MAX_ALIAS, MAX_FRAME_BYTES, Name, Op, SyncItem, VectorPart,
};
use stage::*;

fn counter(name: Name<'_>, increments: u128) -> Delta<'_> {
    Delta { kind: Kind::Counter, name, op: Op::Counter { increments, decrements: 0 } }
}

fn defines(alias: u32, key: &[u8]) -> Name<'_> {
    Name::Defines { alias, key }
}

/// A data frame of the puppet in slot 0, in its session of this number.
fn data_in(stage: &mut Stage, session: u32, lo: u64, deltas: &[Delta<'_>]) -> Result<(), DropReason> {
    let header = Stage::header(FrameType::Data, 0);
    let header = Header { lo, count: deltas.len() as u32, src_session: session, ..header };
    stage.play(header, |frame| deltas.iter().for_each(|delta| frame.push_delta(delta).unwrap()))
}

fn data(stage: &mut Stage, lo: u64, deltas: &[Delta<'_>]) -> Result<(), DropReason> {
    data_in(stage, 500, lo, deltas)
}

fn connected() -> Stage {
    let mut stage = Stage::new(EngineTimers::default());
    stage.hello(0);
    stage.run(MS);
    stage
}

fn hello_of(stage: &mut Stage, session: u32) {
    let header = Header { src_session: session, count: 1, ..Stage::header(FrameType::Hello, 0) };
    stage.play(header, |frame| VectorPart::encode(frame, 0, 1, []).unwrap()).unwrap();
}

/// The digest of a state that these counters make.
fn digest_of(counters: &[(&[u8], u128)]) -> u64 {
    let mut stage = connected();
    for (seq, (key, increments)) in counters.iter().enumerate() {
        data(&mut stage, seq as u64, &[counter(Name::Key(key), *increments)]).unwrap();
    }
    stage.engine.state_digest()
}

fn refused(stage: &Stage) -> u64 {
    stage.engine.stats().dropped_unknown_alias
}

#[test]
fn an_alias_stands_for_its_key_from_its_definition_on() {
    let mut stage = connected();
    let deltas = [counter(defines(1, b"a"), 1), counter(defines(2, b"b"), 1)];
    data(&mut stage, 0, &deltas).unwrap();
    data(&mut stage, 2, &[counter(Name::Alias(2), 7), counter(Name::Alias(1), 5)]).unwrap();
    assert_eq!(stage.engine.vector().contiguous(puppet(0)), 4);
    assert_eq!(stage.engine.state_digest(), digest_of(&[(b"a", 5), (b"b", 7)]));
    assert_eq!(refused(&stage), 0);
}

/// In the middle of a frame, too: what came before it counts, what follows is refused, and the peer hears of it at once.
#[test]
fn an_unknown_alias_is_refused_and_heals() {
    let mut stage = connected();
    let deltas = [counter(Name::Key(b"a"), 1), counter(Name::Alias(9), 2), counter(Name::Key(b"c"), 3)];
    assert_eq!(data(&mut stage, 0, &deltas), Err(DropReason::UnknownAlias));
    assert_eq!((stage.engine.vector().contiguous(puppet(0)), refused(&stage)), (1, 1));
    let sent = stage.run(MS / 5);
    let ack = sent.iter().find(|(_, header, _)| header.frame_type == FrameType::Ack).expect("at once");
    assert_eq!(Ack::decode(&ack.2).unwrap().contiguous, 1);
    let again = [counter(Name::Key(b"a"), 1), counter(defines(9, b"b"), 2), counter(Name::Key(b"c"), 3)];
    data(&mut stage, 0, &again).unwrap();
    data(&mut stage, 3, &[counter(Name::Alias(9), 4)]).unwrap();
    assert_eq!(stage.engine.state_digest(), digest_of(&[(b"a", 1), (b"b", 4), (b"c", 3)]));
}

#[test]
fn an_alias_has_a_kind_a_bound_and_its_last_meaning() {
    let mut stage = connected();
    data(&mut stage, 0, &[counter(defines(1, b"a"), 1), counter(defines(MAX_ALIAS, b"z"), 1)]).unwrap();
    let flag = Op::Add { element: b"\x01", superseded: Dots::EMPTY };
    let of_another_kind = Delta { kind: Kind::FlagEnableWins, name: Name::Alias(1), op: flag };
    assert_eq!(data(&mut stage, 2, &[of_another_kind]), Err(DropReason::UnknownAlias));
    // What nobody may send: the alias gets another meaning. The last one counts, and nothing else breaks.
    data(&mut stage, 2, &[counter(defines(1, b"b"), 1), counter(Name::Alias(MAX_ALIAS), 2)]).unwrap();
    // One frame is decoded as a whole: what it defines is known from the next batch of records on, at the latest.
    data(&mut stage, 4, &[counter(Name::Alias(1), 9)]).unwrap();
    assert_eq!(stage.engine.state_digest(), digest_of(&[(b"a", 1), (b"b", 9), (b"z", 2)]));
}

/// A record that has no effect still tells what its alias means.
#[test]
fn duplicates_and_records_inside_a_sync_define() {
    let mut stage = connected();
    data(&mut stage, 0, &[counter(Name::Key(b"a"), 1)]).unwrap();
    data(&mut stage, 0, &[counter(defines(1, b"a"), 1)]).unwrap();
    assert_eq!(stage.engine.stats().records_duplicate, 1);
    data(&mut stage, 1, &[counter(Name::Alias(1), 2)]).unwrap();
    let mut stage = Stage::new(EngineTimers::default());
    let id = stage.provoke_sync();
    let begin = [
        SyncItem::Begin { full_walk: false, keys: 0 },
        SyncItem::VectorRange { actor: puppet(0), first: 1, last: 12 },
        SyncItem::VectorEnd,
        SyncItem::Key { kind: Kind::Counter, key: b"a" },
        SyncItem::KeyEnd,
    ];
    stage.sync_data(id, 0, &begin).unwrap();
    data(&mut stage, 11, &[counter(defines(1, b"a"), 5), counter(defines(2, b"new"), 1)]).unwrap();
    assert_eq!((stage.engine.stats().records_in_sync, stage.engine.stats().records_merged), (1, 1));
    stage.sync_data(id, 1, &[SyncItem::End]).unwrap();
    data(&mut stage, 13, &[counter(Name::Alias(1), 9)]).unwrap();
    assert_eq!(stage.engine.vector().contiguous(puppet(0)), 14);
}

/// How a record names its key: the alias that it has or defines, and the key if it is there.
type Named = (Option<u32>, Vec<u8>);

/// Frames of the engine to the puppet in slot 0: where each begins, and how it names keys.
fn names(sent: &Sent) -> Vec<(u64, Vec<Named>)> {
    let frames = sent.iter().filter(|(slot, header, _)| *slot == 0 && header.frame_type == FrameType::Data);
    let name = |delta: &Delta<'_>| match delta.name {
        Name::Key(key) => (None, key.to_vec()),
        Name::Defines { alias, key } => (Some(alias), key.to_vec()),
        Name::Alias(alias) => (Some(alias), Vec::new()),
    };
    let names = |payload: &[u8]| Deltas::new(payload, OWN).map(|delta| name(&delta.unwrap().0)).collect();
    frames.map(|(_, header, payload)| (header.lo, names(payload))).collect()
}

fn add(stage: &mut Stage, key: &[u8]) {
    let now = stage.now();
    stage.engine.apply(now, Kind::Counter, key, LocalOp::CounterAdd(1)).unwrap();
    stage.engine.commit(now, &mut Blind);
}

fn acknowledge(stage: &mut Stage, contiguous: u64, ranges: &[SeqRange]) {
    let header = Stage::header(FrameType::Ack, 0);
    stage.play(header, |frame| Ack::new(OWN, contiguous, ranges).encode(frame).unwrap()).unwrap();
}

const DEFINED: fn(u32, &[u8]) -> Named = |alias, key| (Some(alias), key.to_vec());

#[test]
fn an_alias_is_used_once_its_definition_is_acknowledged() {
    let mut stage = connected();
    add(&mut stage, b"a");
    assert_eq!(names(&stage.run(MS / 5)), [(0, vec![DEFINED(1, b"a")])]);
    add(&mut stage, b"a");
    assert_eq!(names(&stage.run(MS / 5)), [(1, vec![DEFINED(1, b"a")])], "not acknowledged yet");
    add(&mut stage, b"b");
    assert_eq!(names(&stage.run(MS / 5)), [(2, vec![DEFINED(2, b"b")])]);
    // Out of order: of the second and third frame.
    acknowledge(&mut stage, 1, &[SeqRange { first: 3, last: 3 }]);
    for key in [b"b", b"a"] {
        add(&mut stage, key);
    }
    let both = vec![DEFINED(2, b""), DEFINED(1, b"")];
    assert_eq!(names(&stage.run(MS / 5)), [(3, both)]);
    // A new session begins with nothing known.
    hello_of(&mut stage, 501);
    let sent = names(&stage.run(MS));
    assert_eq!(sent[0].1[..3], [DEFINED(1, b"a"), DEFINED(1, b"a"), DEFINED(2, b"b")], "{sent:?}");
}

/// What is sent again takes back what it used: its keys' aliases are known again when it is acknowledged. With their keys
/// its records take several frames, and none of them is forgotten.
#[test]
fn records_that_are_sent_again_with_their_keys_are_all_sent() {
    let mut stage = connected();
    let keys: Vec<Vec<u8>> = (0..100).map(|at| vec![at; 120]).collect();
    let write = |stage: &mut Stage| {
        let now = stage.now();
        for key in &keys {
            stage.engine.apply(now, Kind::Counter, key, LocalOp::CounterAdd(1)).unwrap();
        }
        stage.engine.commit(now, &mut Blind);
    };
    write(&mut stage);
    assert!(names(&stage.run(2 * MS)).len() >= 9);
    acknowledge(&mut stage, 100, &[]);
    write(&mut stage);
    let first = names(&stage.run(MS / 5));
    assert_eq!((first.len(), first[0].1.len()), (1, 100), "aliases are short");
    let again: Vec<_> = names(&stage.run(30 * MS));
    let mut covered = vec![0; 100];
    for (lo, names) in &again {
        for (at, (alias, key)) in names.iter().enumerate() {
            let which = *lo as usize + at - 100;
            assert_eq!((*alias, key), (Some(which as u32 + 1), &keys[which]));
            covered[which] += 1;
        }
    }
    assert!(covered.iter().all(|times| *times > 0), "{covered:?}");
    acknowledge(&mut stage, 200, &[]);
    assert_eq!(stage.engine.peer_status(0, stage.now()).unwrap().unacknowledged_seqs, 0);
    write(&mut stage);
    assert_eq!(names(&stage.run(MS / 5)).len(), 1, "known again");
    acknowledge(&mut stage, 300, &[]);
    assert_eq!(names(&stage.run(100 * MS)), [], "nothing is left");
}

/// The highest alias with the longest record still makes a frame.
#[test]
fn the_longest_record_has_room_for_a_definition() {
    let mut buffer = [0; MAX_FRAME_BYTES];
    let dots = vec![lattice_crdt::Dot::new(puppet(0), u64::MAX); 48];
    let op = Op::Add { element: &[7; 256], superseded: Dots::from(dots.as_slice()) };
    let delta = Delta { kind: Kind::Set, name: defines(MAX_ALIAS, &[7; 128]), op };
    let mut frame = lattice_wire::FrameWriter::new(&mut buffer, Stage::header(FrameType::Data, 1)).unwrap();
    assert_eq!(frame.push_delta(&delta), Ok(()));
}

// The three rules that the zoo breaks; each says whether it holds.

/// The peer comes back and numbers its keys anew. What it has not defined yet in this session means nothing.
fn an_alias_of_another_session_is_unknown() -> bool {
    let mut stage = connected();
    data(&mut stage, 0, &[counter(defines(1, b"a"), 1)]).unwrap();
    hello_of(&mut stage, 501);
    data_in(&mut stage, 501, 1, &[counter(Name::Alias(1), 2)]) == Err(DropReason::UnknownAlias)
}

/// A set that the puppet filled and emptied is dropped, and another key takes its place in the table.
fn an_alias_of_a_dropped_key_is_unknown() -> bool {
    let mut stage = connected();
    stage.hello(1);
    let set = |op| Delta { kind: Kind::Set, name: defines(1, b"set"), op };
    let dots = [lattice_crdt::Dot::new(puppet(0), 1)];
    let add = set(Op::Add { element: b"e", superseded: Dots::EMPTY });
    let remove = set(Op::Remove { element: b"e", removed: Dots::from(dots.as_slice()) });
    data(&mut stage, 0, &[add, remove]).unwrap();
    for slot in 0..2 {
        let entries = [(puppet(0), SeqRange { first: 1, last: 2 })];
        let header = Stage::header(FrameType::Stable, slot);
        stage.play(header, |frame| VectorPart::encode(frame, 0, 1, entries).unwrap()).unwrap();
    }
    for _ in 0..21 {
        (0..2).for_each(|slot| stage.heartbeat(slot, 1));
        stage.run(100 * MS);
    }
    assert_eq!(stage.engine.stats().keys_dropped, 1);
    let now = stage.now();
    stage.engine.apply(now, Kind::Set, b"other", LocalOp::SetInsert(b"x")).unwrap();
    stage.engine.commit(now, &mut Blind);
    let add = Op::Add { element: b"f", superseded: Dots::EMPTY };
    let refused = data(&mut stage, 2, &[Delta { kind: Kind::Set, name: Name::Alias(1), op: add }]);
    let vacant_is_refused = refused == Err(DropReason::UnknownAlias);
    // Its key comes back to another position; then the alias means that.
    let again = Delta { kind: Kind::Set, name: defines(1, b"set"), op: add };
    data(&mut stage, 2, &[again]).is_ok() && vacant_is_refused
}

/// What was refused for its aliases comes with its keys.
fn what_is_sent_again_has_its_keys() -> bool {
    let mut stage = connected();
    add(&mut stage, b"a");
    stage.run(MS / 5);
    acknowledge(&mut stage, 1, &[]);
    add(&mut stage, b"a");
    assert_eq!(names(&stage.run(MS / 5)), [(1, vec![DEFINED(1, b"")])]);
    // Nothing comes back; the timeout fires.
    let again = names(&stage.run(20 * MS));
    !again.is_empty() && again.iter().all(|(_, names)| *names == [DEFINED(1, b"a")])
}

type Rule = (&'static str, fn() -> bool);
const RULES: [Rule; 3] = [
    ("an_alias_of_another_session_is_unknown", an_alias_of_another_session_is_unknown),
    ("an_alias_of_a_dropped_key_is_unknown", an_alias_of_a_dropped_key_is_unknown),
    ("what_is_sent_again_has_its_keys", what_is_sent_again_has_its_keys),
];

#[test]
fn the_rules_hold() {
    for (name, holds) in RULES {
        assert!(holds(), "{name}");
    }
}

#[cfg(feature = "zoo")]
#[test]
fn each_bug_breaks_its_rule() {
    use lattice_zoo::{Bug, Checker};
    for &bug in Bug::ALL {
        let Checker::Test("lattice-engine", name) = bug.checker() else { continue };
        let Some((_, holds)) = RULES.into_iter().find(|(known, _)| *known == name) else { continue };
        lattice_zoo::arm(Some(bug));
        let survives = holds();
        lattice_zoo::arm(None);
        assert!(!survives, "{bug} survives {name}");
    }
}
