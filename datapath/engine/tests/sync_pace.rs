//! What serving a state sync takes of a turn: a slice at most, and only after everything else. Counted, not timed.

#[allow(dead_code, reason = "each test program uses its part")]
mod stage;
#[allow(dead_code, reason = "each test program uses its part")]
mod world;

use lattice_crdt::{Kind, SeqRange};
use lattice_engine::{EngineTimers, LocalOp, SyncBudget};
use lattice_wire::{
    Ack, FrameType, MAX_FRAME_BYTES, SyncItem, SyncRequest, VectorPart, decode_frame, decode_item,
};
use stage::{Blind, MS, OWN, Sent, Stage};
use world::CLUSTER;

const KEYS: u64 = 10_000;
/// Of the first so many, the peer has the operations.
const KNOWN: u64 = 5_000;
const TURN_NS: u64 = 10_000;
const GAP_NS: u64 = 50_000;
/// Keys that one slice may look at, whatever it finds.
const MOST_LOOKED_AT: u64 = 256;

fn add(stage: &mut Stage, key: &[u8]) {
    let now = stage.now();
    stage.engine.apply(now, Kind::Counter, key, LocalOp::CounterAdd(1)).unwrap();
    stage.engine.commit(now, &mut Blind);
}

/// A host with its keys, all of which the peer has acknowledged, and which asks for what it has not.
fn serving() -> Stage {
    let mut stage = Stage::new(EngineTimers::default());
    for key in 0..KEYS {
        add(&mut stage, &key.to_le_bytes());
    }
    let has = |last| [(OWN, SeqRange { first: 1, last })];
    let hello = lattice_wire::Header { count: 1, ..Stage::header(FrameType::Hello, 0) };
    stage.play(hello, |frame| VectorPart::encode(frame, 0, 1, has(KEYS)).unwrap()).unwrap();
    stage.run(MS);
    let request = Stage::header(FrameType::SyncRequest, 0);
    stage.play(request, |frame| SyncRequest::encode(frame, 5, 0, 1, has(KNOWN)).unwrap()).unwrap();
    stage
}

/// One turn with so many slices; what it sent. The peer acknowledges all of it at once.
fn turn(stage: &mut Stage, slices: u32) -> Sent {
    stage.now_ns += TURN_NS;
    let now = stage.now();
    if stage.engine.deadline_ns() <= stage.now_ns {
        stage.engine.tick(now);
    }
    let (mut sent, mut buffer) = (Vec::new(), [0; MAX_FRAME_BYTES]);
    let mut budget = SyncBudget { slices, gap_ns: GAP_NS };
    while let Some((slot, len)) = stage.engine.transmit_within(now, &mut buffer, &mut budget) {
        let frame = decode_frame(&buffer[..len], CLUSTER).unwrap();
        sent.push((slot, frame.header, frame.payload.to_vec()));
    }
    for (_, header, _) in sent.iter().filter(|(slot, ..)| *slot == 0) {
        match header.frame_type {
            FrameType::SyncData => stage.sync_ack(5, header.lo + 1).unwrap(),
            FrameType::Data => {
                let ack = Ack::new(OWN, header.lo + u64::from(header.count), &[]);
                stage.play(Stage::header(FrameType::Ack, 0), |frame| ack.encode(frame).unwrap()).unwrap();
            }
            _ => {}
        }
    }
    sent
}

/// Positions that the walk has come past; `None`: it is over.
fn looked_at(stage: &Stage) -> Option<u64> {
    stage.engine.syncs(stage.now_ns).next().map(|sync| sync.keys)
}

fn named(payload: &[u8]) -> u64 {
    let (mut items, mut keys) = (&payload[4..], 0);
    while !items.is_empty() {
        let (item, used) = decode_item(items).unwrap();
        keys += u64::from(matches!(item, SyncItem::Key { .. }));
        items = &items[used..];
    }
    keys
}

fn is_sync(sent: &(usize, lattice_wire::Header, Vec<u8>)) -> bool {
    sent.1.frame_type == FrameType::SyncData
}

#[test]
fn a_turn_has_one_slice_at_most_and_data_goes_before_it() {
    let mut stage = serving();
    let (mut frames, mut keys, mut last_ns, mut turns) = (0, 0, None, 0);
    while let Some(before) = looked_at(&stage) {
        turns += 1;
        let writes = turns % 7 == 0;
        if writes {
            add(&mut stage, b"hot");
        }
        let sent = turn(&mut stage, 1);
        let of_sync: Vec<usize> = (0..sent.len()).filter(|at| is_sync(&sent[*at])).collect();
        assert!(of_sync.len() <= 1, "{} frames in one turn", of_sync.len());
        let looked = looked_at(&stage).map_or(0, |after| after - before);
        assert!(looked <= MOST_LOOKED_AT, "{looked} keys in one turn");
        let is_data = |(slot, header, _): &(usize, lattice_wire::Header, Vec<u8>)| {
            *slot == 0 && header.frame_type == FrameType::Data && header.count > 0
        };
        if writes {
            let data = sent.iter().position(is_data).expect("a lone write leaves in its turn");
            assert!(of_sync.iter().all(|at| data < *at), "the write goes first");
        }
        if !of_sync.is_empty() || looked > 0 {
            let gap_ns = last_ns.replace(stage.now_ns).map_or(GAP_NS, |last_ns| stage.now_ns - last_ns);
            assert!(gap_ns >= GAP_NS, "{gap_ns} ns after the last slice");
        }
        frames += of_sync.len();
        keys += of_sync.iter().map(|at| named(&sent[*at].2)).sum::<u64>();
        assert!(turns < 5_000, "{before} of {KEYS} keys after {turns} turns");
    }
    // The one that was written meanwhile may come with the walk, or not.
    assert!((KEYS - KNOWN..=KEYS - KNOWN + 1).contains(&keys), "{keys} keys in {frames} frames");
    // Where there is nothing to send, a slice passes as many keys as it may: about a twentieth of the turns went there.
    assert!(turns as u64 * TURN_NS <= (frames as u64 + KNOWN / MOST_LOOKED_AT + 3) * (GAP_NS + TURN_NS));
}

#[test]
fn a_turn_without_a_slice_leaves_the_sync_due() {
    let mut stage = serving();
    turn(&mut stage, 1);
    for _ in 0..20 {
        let before = looked_at(&stage);
        let sent = turn(&mut stage, 0);
        assert!(!sent.iter().any(is_sync) && looked_at(&stage) == before);
    }
    assert!(stage.engine.deadline_ns() <= stage.now_ns, "in the next turn that has one");
    let before = looked_at(&stage);
    let sent = turn(&mut stage, 1);
    assert!(sent.iter().any(is_sync) || looked_at(&stage) != before);
    assert!(stage.engine.deadline_ns() > stage.now_ns, "and not before the gap is over");
}
