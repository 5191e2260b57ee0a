//! What a publisher is asked to show, and when.

#[allow(dead_code, reason = "each test program uses its part")]
mod stage;
#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::Kind;
use lattice_engine::{EngineTimers, LocalOp, Published, Publisher};
use stage::{MS, Stage};

#[derive(Clone, Debug, PartialEq)]
enum Call {
    Open(Vec<u8>),
    Word(u64),
    Bytes(Vec<u8>),
    Element(Vec<u8>, bool),
}

/// Notes every call; while it is full it has no room for anything but what is open.
#[derive(Default)]
struct Notes {
    calls: Vec<Call>,
    full: bool,
}

impl Notes {
    fn note(&mut self, call: Call) -> Published {
        self.calls.push(call);
        if self.full { Published::Full } else { Published::Visible }
    }
}

impl Publisher for Notes {
    fn open(&mut self, _: Kind, _: u64, key: &[u8]) -> Option<u32> {
        (self.note(Call::Open(key.to_vec())) == Published::Visible).then_some(0)
    }
    fn word(&mut self, _: u32, value: u64) -> Published {
        self.note(Call::Word(value))
    }
    fn bytes(&mut self, _: u32, value: &[u8]) -> Published {
        self.note(Call::Bytes(value.to_vec()))
    }
    fn element(&mut self, _: u32, element: &[u8], present: bool) -> Published {
        self.note(Call::Element(element.to_vec(), present))
    }
}

struct Host {
    stage: Stage,
    notes: Notes,
}

impl Host {
    fn new() -> Self {
        Self { stage: Stage::new(EngineTimers::default()), notes: Notes::default() }
    }

    /// One burst of operations; what the publisher was asked to show of it.
    fn burst(&mut self, kind: Kind, key: &[u8], ops: &[LocalOp<'_>]) -> Vec<Call> {
        let now = self.stage.now();
        for op in ops {
            self.stage.engine.apply(now, kind, key, *op).unwrap();
        }
        self.stage.engine.commit(now, &mut self.notes);
        std::mem::take(&mut self.notes.calls)
    }

    /// What it is asked to show after so long.
    fn later(&mut self, after_ns: u64) -> Vec<Call> {
        self.stage.now_ns += after_ns;
        let now = self.stage.now();
        self.stage.engine.tick(now);
        self.burst(Kind::Set, b"", &[])
    }

    fn unpublished(&self) -> u64 {
        self.stage.engine.stats().unpublished
    }
}

fn open(key: &[u8]) -> Call {
    Call::Open(key.to_vec())
}

fn element(element: &[u8], present: bool) -> Call {
    Call::Element(element.to_vec(), present)
}

#[test]
fn a_key_is_published_once_a_burst_however_often_it_changed() {
    let mut host = Host::new();
    let adds = [LocalOp::CounterAdd(3), LocalOp::CounterAdd(-5), LocalOp::CounterAdd(1)];
    assert_eq!(host.burst(Kind::Counter, b"c", &adds), [open(b"c"), Call::Word(-1i64 as u64)]);
    assert_eq!(host.burst(Kind::Counter, b"c", &adds[..1]), [Call::Word(2)]);
    assert_eq!(host.burst(Kind::Counter, b"c", &[]), []);
    let sets = [LocalOp::RegisterSet(b"first"), LocalOp::RegisterSet(b"last")];
    assert_eq!(host.burst(Kind::Register, b"r", &sets), [open(b"r"), Call::Bytes(b"last".to_vec())]);
    for kind in [Kind::FlagEnableWins, Kind::FlagDisableWins] {
        let key = kind.name().as_bytes();
        assert_eq!(host.burst(kind, key, &[LocalOp::Enable]), [open(key), Call::Word(1)]);
        assert_eq!(host.burst(kind, key, &[LocalOp::Disable]), [Call::Word(0)]);
    }
}

#[test]
fn elements_are_published_when_they_come_and_when_they_go() {
    let mut host = Host::new();
    let (insert, remove) = (LocalOp::SetInsert, LocalOp::SetRemove);
    let both = [open(b"s"), element(b"a", true), element(b"b", true)];
    assert_eq!(host.burst(Kind::Set, b"s", &[insert(b"a"), insert(b"b")]), both);
    assert_eq!(host.burst(Kind::Set, b"s", &[insert(b"a")]), [], "it is there");
    assert_eq!(host.burst(Kind::Set, b"s", &[remove(b"x")]), []);
    assert_eq!(host.burst(Kind::Set, b"s", &[remove(b"a")]), [element(b"a", false)]);
    let shown = host.burst(Kind::Set, b"s", &[insert(b"a"), remove(b"a")]);
    assert!(shown.iter().all(|call| *call == element(b"a", false)), "as it is at the end: {shown:?}");
    assert_eq!(host.burst(Kind::Set, b"s", &[LocalOp::SetClear]), [element(b"b", false)]);
}

#[test]
fn what_found_no_room_is_shown_when_there_is_some() {
    let mut host = Host::new();
    host.burst(Kind::Set, b"s", &[LocalOp::SetInsert(b"a")]);
    host.notes.full = true;
    host.burst(Kind::Set, b"s", &[LocalOp::SetInsert(b"b"), LocalOp::SetRemove(b"a")]);
    assert_eq!(host.unpublished(), 2);
    assert_eq!(host.later(100 * MS - 1), [], "not yet");
    // Still no room: it waits on.
    assert_eq!(host.later(1).len(), 2);
    assert_eq!(host.unpublished(), 2);
    host.notes.full = false;
    assert_eq!(host.later(100 * MS), [element(b"a", false), element(b"b", true)]);
    assert_eq!((host.unpublished(), host.later(100 * MS)), (0, vec![]));
    // A key that could not be opened, of each sort.
    host.notes.full = true;
    host.burst(Kind::Counter, b"c", &[LocalOp::CounterAdd(7)]);
    assert_eq!(host.unpublished(), 1);
    host.notes.full = false;
    assert_eq!(host.later(100 * MS), [open(b"c"), Call::Word(7)]);
    host.notes.full = true;
    host.burst(Kind::Set, b"t", &[LocalOp::SetInsert(b"e")]);
    assert_eq!(host.unpublished(), 1);
    host.notes.full = false;
    assert_eq!(host.later(100 * MS), [open(b"t"), element(b"e", true)]);
    assert_eq!(host.unpublished(), 0);
}

#[test]
fn what_is_empty_before_it_was_ever_shown_needs_no_room() {
    let mut host = Host::new();
    host.notes.full = true;
    assert_eq!(host.burst(Kind::Set, b"s", &[LocalOp::SetInsert(b"a"), LocalOp::SetRemove(b"a")]), []);
    assert_eq!(host.unpublished(), 0);
}
