//! The format as it was published: every frame type and every operation, byte for byte.
//!
//! A difference here is another format: it needs a new version, or is a mistake. With LATTICE_BLESS=1 the files are
//! written instead of compared.

use std::fmt::Write as _;
use std::path::Path;

use lattice_crdt::{ActorId, Dot, Hlc, Kind, SeqRange};
use lattice_wire::*;

const CLUSTER: u32 = 0xC1A5_7E12;
const OWN: ActorId = ActorId::new(1, 0xA1B2_C3D4_E5F6);
const OTHER: ActorId = ActorId::new(2, 0x1122_3344_5566);
const DOTS: [Dot; 3] = [Dot::new(OWN, 41), Dot::new(OTHER, 300), Dot::new(OTHER, u64::MAX)];
const ENTRIES: [(ActorId, SeqRange); 2] =
    [(OWN, SeqRange { first: 1, last: 42 }), (OTHER, SeqRange { first: 300, last: 301 })];

fn frame(
    frame_type: FrameType,
    count: u32,
    fill: impl FnOnce(&mut FrameWriter<'_>) -> Result<(), NoRoom>,
) -> Vec<u8> {
    let header = Header {
        frame_type,
        cluster_tag: CLUSTER,
        node: 1,
        dest_node: 2,
        shard: 3,
        actor: OWN,
        src_session: 0x5E55_0001,
        dst_session: 0x5E55_0002,
        lo: 41,
        count,
        log_first: 7,
    };
    let mut buf = [0; MAX_FRAME_BYTES];
    let mut writer = FrameWriter::new(&mut buf, header).unwrap();
    fill(&mut writer).unwrap();
    let len = writer.finish();
    buf[..len].to_vec()
}

fn ops() -> Vec<(&'static str, Record<'static>)> {
    let record = |kind, op| Record { kind, key: b"key", op };
    let dots = || Dots::from(DOTS.as_slice());
    vec![
        ("noop", record(Kind::Set, Op::Noop)),
        ("noop_without_key", Record { kind: Kind::Counter, key: b"", op: Op::Noop }),
        ("counter", record(Kind::Counter, Op::Counter { increments: 127, decrements: 128 })),
        ("counter_huge", record(Kind::Counter, Op::Counter { increments: u128::MAX, decrements: 1 << 64 })),
        (
            "register",
            record(Kind::Register, Op::Register { hlc: Hlc::from_u64(0x0123_4567), value: b"value" }),
        ),
        ("set_add", record(Kind::Set, Op::Add { element: b"element", superseded: dots() })),
        ("set_remove", record(Kind::Set, Op::Remove { element: b"", removed: dots() })),
        ("flag_enable", record(Kind::FlagEnableWins, Op::Add { element: b"\x01", superseded: Dots::EMPTY })),
        ("flag_disable", record(Kind::FlagDisableWins, Op::Add { element: b"\x00", superseded: dots() })),
        ("flag_remove", record(Kind::FlagEnableWins, Op::Remove { element: b"\x00", removed: dots() })),
    ]
}

fn items() -> Vec<SyncItem<'static>> {
    vec![
        SyncItem::Begin { full_walk: true, keys: 1_000_000 },
        SyncItem::VectorRange { actor: OTHER, first: 1, last: 300 },
        SyncItem::Dropped { actor: OTHER, seq: 200 },
        SyncItem::PreRemoved { dot: DOTS[1], kind: Kind::Set, key: b"key", element: b"gone" },
        SyncItem::VectorEnd,
        SyncItem::Key { kind: Kind::Counter, key: b"key" },
        SyncItem::Touch { actor: OTHER, seq: 299 },
        SyncItem::CounterEntry { actor: OTHER, increments: 5, decrements: u128::MAX },
        SyncItem::RegisterValue { hlc: Hlc::from_u64(9), actor: OTHER, value: b"value" },
        SyncItem::Element { element: b"element", dots: Dots::from(DOTS.as_slice()), more: false },
        SyncItem::KeyEnd,
        SyncItem::End,
    ]
}

/// Compares with the golden file of that name, which is hex, sixteen bytes a line.
fn check(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"));
    if std::env::var_os("LATTICE_BLESS").is_some() {
        let mut text = String::new();
        for line in bytes.chunks(16) {
            line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
            text.push('\n');
        }
        std::fs::write(&path, text).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}.hex: {error}"));
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let golden: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    assert_eq!(bytes, golden, "{name}: the encoder makes other bytes than were published");
    golden
}

#[test]
fn every_operation() {
    for (name, record) in ops() {
        let bytes = frame(FrameType::Data, 1, |frame| frame.push_record(&record));
        let golden = check(&format!("data_{name}"), &bytes);
        let frame = decode_frame(&golden, CLUSTER).unwrap();
        assert_eq!((frame.header.frame_type, frame.header.lo, frame.header.hi()), (FrameType::Data, 41, 42));
        assert_eq!(decode_record(frame.payload, OWN), Ok((record, frame.payload.len())), "{name}");
    }
}

#[test]
fn every_name_of_a_key() {
    let op = Op::Counter { increments: 127, decrements: 128 };
    let names = [
        ("alias", Name::Alias(1)),
        ("highest_alias", Name::Alias(MAX_ALIAS)),
        ("definition", Name::Defines { alias: 300, key: b"key" }),
    ];
    for (name, named) in names {
        let delta = Delta { kind: Kind::Counter, name: named, op };
        let golden =
            check(&format!("data_{name}"), &frame(FrameType::Data, 1, |frame| frame.push_delta(&delta)));
        let payload = decode_frame(&golden, CLUSTER).unwrap().payload;
        assert_eq!(decode_delta(payload, OWN), Ok((delta, payload.len())), "{name}");
    }
}

#[test]
fn every_other_frame_type() {
    let ranges = [SeqRange { first: 44, last: 44 }, SeqRange { first: 50, last: 349 }];
    let ack = Ack::new(OTHER, 42, &ranges);
    let golden = check("ack", &frame(FrameType::Ack, 0, |frame| ack.encode(frame)));
    assert_eq!(Ack::decode(decode_frame(&golden, CLUSTER).unwrap().payload), Ok(ack));

    let with_parts =
        [("hello", FrameType::Hello), ("vector", FrameType::Vector), ("stable", FrameType::Stable)];
    for (name, frame_type) in with_parts {
        let golden = check(name, &frame(frame_type, 0, |frame| VectorPart::encode(frame, 1, 2, ENTRIES)));
        let part = VectorPart::decode(decode_frame(&golden, CLUSTER).unwrap().payload).unwrap();
        assert_eq!((part.part, part.parts), (1, 2));
        assert!(part.entries().eq(ENTRIES));
    }

    let heartbeat =
        Heartbeat { state_digest: 1, vector_digest: 2, wall_ns: 1_700_000_000_000_000_000, last_seq: 42 };
    let golden = check("heartbeat", &frame(FrameType::Heartbeat, 0, |frame| heartbeat.encode(frame)));
    assert_eq!(Heartbeat::decode(decode_frame(&golden, CLUSTER).unwrap().payload), Ok(heartbeat));

    let request = |frame: &mut FrameWriter<'_>| SyncRequest::encode(frame, 0xABCD, 0, 1, ENTRIES);
    let golden = check("sync_request", &frame(FrameType::SyncRequest, 0, request));
    let request = SyncRequest::decode(decode_frame(&golden, CLUSTER).unwrap().payload).unwrap();
    assert_eq!(request.sync_id, 0xABCD);
    assert!(request.vector.entries().eq(ENTRIES));

    let nodes = [(2, 1), (7, 200)];
    let forget = |frame: &mut FrameWriter<'_>| Forget::encode(frame, true, 0xABCD, 0x1234, nodes);
    let golden = check("forget", &frame(FrameType::Forget, 0, forget));
    let forget = Forget::decode(decode_frame(&golden, CLUSTER).unwrap().payload).unwrap();
    assert_eq!((forget.answers, forget.round, forget.digest), (true, 0xABCD, 0x1234));
    assert!(forget.nodes.iter().eq(nodes));

    let epochs = [(OWN, 42), (OTHER, 300)];
    let ask = |frame: &mut FrameWriter<'_>| Fold::encode_question(frame, 0xABCD, 0x1234, 7, &epochs);
    let golden = check("fold_question", &frame(FrameType::Fold, 0, ask));
    let fold = Fold::decode(decode_frame(&golden, CLUSTER).unwrap().payload).unwrap();
    assert_eq!((fold.step, fold.round, fold.digest, fold.number), (FoldStep::Ask, 0xABCD, 0x1234, 7));
    assert!(fold.epochs.iter().eq(epochs));
    for (name, step) in [("fold_agreement", FoldStep::Agree), ("fold_decision", FoldStep::Decide)] {
        let golden = check(name, &frame(FrameType::Fold, 0, |frame| Fold::encode(frame, step, 0xABCD)));
        let fold = Fold::decode(decode_frame(&golden, CLUSTER).unwrap().payload).unwrap();
        assert_eq!((fold.step, fold.round, fold.epochs.iter().count()), (step, 0xABCD, 0));
    }

    let ack = SyncAck { sync_id: 0xABCD, cumulative: 5, bitmap: 0b101, abort: true };
    let golden = check("sync_ack", &frame(FrameType::SyncAck, 0, |frame| ack.encode(frame)));
    assert_eq!(SyncAck::decode(decode_frame(&golden, CLUSTER).unwrap().payload), Ok(ack));
}

/// What came to the items later, in a file of its own.
#[test]
fn folded_epochs_in_a_sync() {
    let items = [
        SyncItem::Folded { actor: OTHER, last: 300, number: 7, settled: true },
        SyncItem::CounterEntry { actor: ActorId::fold_slot(2, 7), increments: 5, decrements: 6 },
    ];
    let bytes = frame(FrameType::SyncData, 2, |frame| {
        frame.push_sync_id(0xABCD)?;
        items.iter().try_for_each(|item| frame.push_item(item))
    });
    let golden = check("sync_folded", &bytes);
    let data = SyncData::decode(decode_frame(&golden, CLUSTER).unwrap().payload).unwrap();
    assert_eq!(data.items.collect::<Result<Vec<_>, _>>(), Ok(items.to_vec()));
}

#[test]
fn every_sync_item() {
    let items = items();
    let bytes = frame(FrameType::SyncData, items.len() as u32, |frame| {
        frame.push_sync_id(0xABCD)?;
        items.iter().try_for_each(|item| frame.push_item(item))
    });
    let golden = check("sync_data", &bytes);
    let frame = decode_frame(&golden, CLUSTER).unwrap();
    let data = SyncData::decode(frame.payload).unwrap();
    assert_eq!(data.sync_id, 0xABCD);
    assert_eq!(data.items.collect::<Result<Vec<_>, _>>(), Ok(items));
}
