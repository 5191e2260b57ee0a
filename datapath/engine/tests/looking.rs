//! Looks from outside: why a key is what it is, and in which keys two hosts differ.

#[allow(dead_code, reason = "each test program uses its part")]
mod stage;
#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use std::collections::BTreeMap;

use lattice_crdt::{ActorId, CounterEntry, Dot, ENABLE_ELEMENT, Kind};
use lattice_engine::{DigestCursor, EngineLimits, EngineTimers, KeyAccount, LocalOp, Part, Standing};
use lattice_wire::{Dots, FrameType, Header, Op, Record};
use stage::{Blind, OWN, Stage, puppet};
use world::{Faults, World, seeds};

const SECOND: u64 = 1_000_000_000;

type Digests = BTreeMap<(Kind, Vec<u8>), u64>;

/// All digests of a host, walked in slices of `budget`.
fn digests(world: &World, host: usize, budget: usize) -> Digests {
    let (mut found, mut cursor) = (Digests::new(), Some(DigestCursor::default()));
    while let Some(from) = cursor {
        cursor = world.hosts[host].engine.key_digests(from, budget, &mut |key| {
            let before = found.insert((key.kind, key.key.to_vec()), key.digest);
            assert_eq!(before, None, "named twice: {key:?}");
        });
    }
    found
}

#[test]
fn the_digests_of_keys_add_up_to_that_of_the_state_whatever_the_slices() {
    for seed in seeds(20) {
        let faults = Faults { loss_percent: 20, copy_percent: 5, max_delay_ns: 2_000_000 };
        let mut world = World::new(seed, 3, EngineLimits::default(), faults);
        for _ in 0..300 {
            let host = world.draw.below(3) as usize;
            world.random_op(host);
            world.step(SECOND / 1000);
        }
        for host in 0..3 {
            let whole = digests(&world, host, usize::MAX);
            let sum = whole.values().fold(0u64, |sum, digest| sum.wrapping_add(*digest));
            assert_eq!(sum, world.hosts[host].engine.state_digest(), "seed {seed} host {host}");
            assert_eq!(digests(&world, host, 1), whole);
            assert_eq!(digests(&world, host, 3), whole);
        }
        world.heal(seed, 60 * SECOND);
        let before = digests(&world, 0, usize::MAX);
        assert_eq!(digests(&world, 1, usize::MAX), before);
        // One more operation, on one host only: that key is the difference.
        world.apply(1, Kind::Counter, b"more", LocalOp::CounterAdd(1)).unwrap();
        let after = digests(&world, 1, usize::MAX);
        let differ: Vec<_> = after.iter().filter(|(key, digest)| before.get(key) != Some(digest)).collect();
        assert!(differ.len() == 1 && differ[0].0.1 == b"more", "{differ:?}");
    }
}

#[test]
fn a_large_set_is_walked_in_parts() {
    let mut stage = Stage::new(EngineTimers::default());
    for number in 0..100u8 {
        apply(&mut stage, Kind::Set, b"set", LocalOp::SetInsert(&[number]));
    }
    let engine = &stage.engine;
    let (mut slices, mut cursor, mut found) = (0, Some(DigestCursor::default()), Vec::new());
    while let Some(from) = cursor {
        slices += 1;
        cursor = engine.key_digests(from, 10, &mut |key| found.push(key.digest));
    }
    assert_eq!((found, slices), (vec![engine.state_digest()], 11));
}

fn apply(stage: &mut Stage, kind: Kind, key: &[u8], op: LocalOp<'_>) {
    let now = stage.now();
    stage.engine.apply(now, kind, key, op).unwrap();
    stage.engine.commit(now, &mut Blind);
}

/// Hands the engine one record of the puppet in slot 0.
fn record(stage: &mut Stage, seq: u64, record: &Record<'_>) {
    let header = Header { lo: seq - 1, count: 1, ..Stage::header(FrameType::Data, 0) };
    stage.play(header, |frame| frame.push_record(record).unwrap()).unwrap();
}

fn only(mut accounts: Vec<KeyAccount>) -> KeyAccount {
    assert_eq!(accounts.len(), 1, "{accounts:?}");
    accounts.remove(0)
}

fn element(actor: ActorId, seq: u64, element: &[u8]) -> Standing {
    Standing { actor, seq, part: Part::Element(element.into()) }
}

#[test]
fn an_account_names_who_put_what_there_by_dot() {
    let mut stage = Stage::new(EngineTimers::default());
    stage.hello(0);
    apply(&mut stage, Kind::Set, b"set", LocalOp::SetInsert(b"a"));
    for (seq, element) in [(1, b"b"), (2, b"a")] {
        let op = Op::Add { element, superseded: Dots::from(&[][..]) };
        record(&mut stage, seq, &Record { kind: Kind::Set, key: b"set", op });
    }
    // A removal of what has not come yet.
    let missing = [Dot { actor: puppet(0), seq: 9 }];
    let op = Op::Remove { element: b"c", removed: Dots::from(&missing[..]) };
    record(&mut stage, 3, &Record { kind: Kind::Set, key: b"set", op });

    let account = only(stage.engine.account(b"set", None, 10));
    let pre_removed = Standing { actor: puppet(0), seq: 9, part: Part::PreRemoved(b"c"[..].into()) };
    let of_a = [element(OWN, 1, b"a"), element(puppet(0), 2, b"a")];
    assert_eq!(
        account.standing,
        [of_a[0].clone(), of_a[1].clone(), element(puppet(0), 1, b"b"), pre_removed]
    );
    assert_eq!(account.touches, [Dot { actor: OWN, seq: 1 }, Dot { actor: puppet(0), seq: 3 }]);
    assert!(account.is_whole && account.kind == Kind::Set);

    let account = only(stage.engine.account(b"set", Some(b"a"), 10));
    assert_eq!((account.standing.as_slice(), account.is_whole), (&of_a[..], true));
    let account = only(stage.engine.account(b"set", None, 1));
    assert_eq!((account.standing.as_slice(), account.is_whole), (&of_a[..1], false));
    assert_eq!(stage.engine.account(b"nothing", None, 10), []);
}

#[test]
fn counters_registers_and_flags_have_their_last_operation() {
    let mut stage = Stage::new(EngineTimers::default());
    stage.hello(0);
    apply(&mut stage, Kind::Counter, b"k", LocalOp::CounterAdd(5));
    apply(&mut stage, Kind::Counter, b"k", LocalOp::CounterAdd(-2));
    record(
        &mut stage,
        1,
        &Record { kind: Kind::Counter, key: b"k", op: Op::Counter { increments: 7, decrements: 0 } },
    );
    let sums = |increments, decrements| Part::Counter(CounterEntry { increments, decrements });
    let account = only(stage.engine.account(b"k", None, 10));
    let expected = [
        Standing { actor: OWN, seq: 2, part: sums(5, 2) },
        Standing { actor: puppet(0), seq: 1, part: sums(7, 0) },
    ];
    assert_eq!(account.standing, expected);

    apply(&mut stage, Kind::Register, b"r", LocalOp::RegisterSet(b"one"));
    apply(&mut stage, Kind::Register, b"r", LocalOp::RegisterSet(b"two"));
    let account = only(stage.engine.account(b"r", None, 10));
    let [Standing { actor: OWN, seq: 4, part: Part::Register { hlc, value } }] = account.standing.as_slice()
    else {
        panic!("{account:?}");
    };
    assert_eq!((&value[..], hlc.wall_ns() / SECOND), (&b"two"[..], 1_700_000_000));

    // Another host made the same key with another kind.
    let op = Op::Add { element: ENABLE_ELEMENT, superseded: Dots::from(&[][..]) };
    record(&mut stage, 2, &Record { kind: Kind::FlagDisableWins, key: b"k", op });
    let both = stage.engine.account(b"k", None, 10);
    assert_eq!(both.len(), 2, "a key of two kinds is two keys");
    assert_eq!(both[1].standing, [element(puppet(0), 2, ENABLE_ELEMENT)]);
}
