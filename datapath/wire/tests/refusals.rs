//! What the decoders refuse, and by which name: each case is a valid encoding with one thing wrong. And that the encoder
//! refuses what the decoder would.

use lattice_crdt::limits::{MAX_DOTS_PER_RECORD, MAX_ELEMENT_BYTES, MAX_KEY_BYTES, MAX_REGISTER_BYTES};
use lattice_crdt::{ActorId, Dot, Hlc, Kind, SeqRange};
use lattice_wire::*;
use xxhash_rust::xxh3::xxh3_128_with_seed;

const CLUSTER: u32 = 0xC1A5_7E12;
const OWN: ActorId = ActorId::new(1, 5);
const OTHER: ActorId = ActorId::new(2, 6);

fn frame(payload: &[u8]) -> Vec<u8> {
    let header = Header {
        frame_type: FrameType::Data,
        cluster_tag: CLUSTER,
        node: 0x0102,
        dest_node: ANY_NODE,
        shard: 3,
        actor: OWN,
        src_session: 4,
        dst_session: 0,
        lo: 6,
        count: 1,
        log_first: 7,
    };
    let mut buf = [0; MAX_FRAME_BYTES];
    let mut writer = FrameWriter::new(&mut buf, header).unwrap();
    writer.push_bytes(payload).unwrap();
    let len = writer.finish();
    buf[..len].to_vec()
}

/// Overwrites bytes of a frame and makes its tag right again, independently of the encoder.
fn forged(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    let tag_at = frame.len() - TAG_BYTES;
    let tag = xxh3_128_with_seed(&frame[..tag_at], u64::from(CLUSTER)).to_le_bytes();
    frame[tag_at..].copy_from_slice(&tag);
    frame
}

#[test]
fn a_frame_is_laid_out_as_documented() {
    let bytes = frame(b"xyz");
    assert_eq!(bytes.len(), HEADER_BYTES + 3 + TAG_BYTES);
    assert_eq!(bytes[..8], [b'L', b'T', 2, 1, 0x12, 0x7E, 0xA5, 0xC1]);
    assert_eq!(bytes[8..16], [0x02, 0x01, 0xFF, 0xFF, 3, 0, 3, 0]);
    assert_eq!(bytes[offsets::ACTOR..offsets::SRC_SESSION], OWN.as_u64().to_le_bytes());
    assert_eq!(bytes[offsets::LO], 6);
    assert_eq!(bytes[offsets::COUNT..offsets::LOG_FIRST], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[offsets::LOG_FIRST], 7);
    assert_eq!(bytes[offsets::SEAL_COUNTER..offsets::PAYLOAD], [0; 8]);
    assert_eq!(&bytes[offsets::PAYLOAD..offsets::PAYLOAD + 3], b"xyz");
    assert_eq!(forged(bytes.clone(), 0, b"L"), bytes, "the tag is the documented hash");
}

#[test]
fn frames_are_refused_by_their_first_fault() {
    let good = frame(b"xyz");
    let cases = [
        (good[..HEADER_BYTES + TAG_BYTES - 1].to_vec(), WireError::TooShort),
        (Vec::new(), WireError::TooShort),
        (vec![0; MAX_FRAME_BYTES + 1], WireError::TooLong),
        (forged(good.clone(), offsets::MAGIC, b"l"), WireError::BadMagic),
        (forged(good.clone(), offsets::VERSION, &[1]), WireError::BadVersion(1)),
        (forged(good.clone(), offsets::FRAME_TYPE, &[0]), WireError::BadType(0)),
        (forged(good.clone(), offsets::FRAME_TYPE, &[12]), WireError::BadType(12)),
        (forged(good.clone(), offsets::CLUSTER_TAG, &[0]), WireError::WrongCluster),
        (forged(good.clone(), offsets::PAYLOAD_LEN, &[2]), WireError::BadLength),
        (forged(good.clone(), offsets::PAYLOAD_LEN, &[0xFF, 0xFF]), WireError::BadLength),
        (forged(good.clone(), offsets::SEAL_KEY + 3, &[1]), WireError::Sealed),
        (
            forged(forged(good.clone(), offsets::SEAL_COUNTER, &[1]), offsets::SEAL_KEY, &[9]),
            WireError::Sealed,
        ),
        (forged(good.clone(), offsets::SEAL_COUNTER, &[1]), WireError::BadReserved),
        (forged(good.clone(), offsets::LO, &[0xFF; 8]), WireError::BadInterval),
        ([&good[..good.len() - 1], b"?"].concat(), WireError::BadTag),
    ];
    let mut reasons: Vec<&str> = Vec::new();
    for (bytes, error) in cases {
        assert_eq!(decode_frame(&bytes, CLUSTER), Err(error));
        reasons.push(error.reason());
    }
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons.len(), 11, "each kind of fault has a counter of its own");
    assert!(decode_frame(&good, CLUSTER).is_ok());
    assert_eq!(decode_frame(&good, CLUSTER + 1), Err(WireError::WrongCluster));
}

#[test]
fn a_frame_needs_a_buffer_for_the_longest_one() {
    let header = decode_frame(&frame(b""), CLUSTER).unwrap().header;
    assert!(FrameWriter::new(&mut [0; MAX_FRAME_BYTES - 1], header).is_none());
    let mut buf = [0; MAX_FRAME_BYTES];
    let mut writer = FrameWriter::new(&mut buf, header).unwrap();
    assert_eq!(writer.push_bytes(&[1; MAX_PAYLOAD_BYTES + 1]), Err(NoRoom));
    assert_eq!(writer.push_bytes(&[1; MAX_PAYLOAD_BYTES]), Ok(()));
    assert_eq!((writer.payload_room(), writer.push_bytes(&[1])), (0, Err(NoRoom)));
    assert_eq!(writer.finish(), MAX_FRAME_BYTES);
    assert_eq!(decode_frame(&buf, CLUSTER).map(|frame| frame.payload.len()), Ok(MAX_PAYLOAD_BYTES));
}

#[test]
fn records_are_refused_by_name() {
    use RecordError::*;
    let over = |len: usize| vec![7u8; len];
    let long_key = [&[0x21, MAX_KEY_BYTES as u8 + 1][..], &over(MAX_KEY_BYTES + 1)].concat();
    let cases: Vec<(Vec<u8>, RecordError)> = vec![
        (vec![], Truncated),
        (vec![0x20, 1, b'k'], BadKind(0)),
        (vec![0x26, 1, b'k'], BadKind(6)),
        (vec![0x41, 1, b'k'], BadOp { kind: 1, op: 2 }),
        (vec![0x25, 1, b'k'], BadOp { kind: 5, op: 1 }),
        (vec![0xA5, 1, b'k'], BadOp { kind: 5, op: 5 }),
        (vec![0x21, 0, 1, 1], BadKey),
        (long_key, BadKey),
        (vec![0x21, 2, b'k'], Truncated),
        // Counter: a varint with a needless last byte; one of 129 bits; one of twenty bytes.
        (vec![0x21, 1, b'k', 0x80, 0x00, 0], BadVarint),
        ([&[0x21, 1, b'k'][..], &[0xFF; 18], &[0x07, 0]].concat(), BadVarint),
        ([&[0x21, 1, b'k'][..], &[0x80; 19], &[0x01, 0]].concat(), BadVarint),
        // Register: a value of 1025 bytes.
        ([&[0x44, 1, b'k'][..], &[0; 8], &[0x81, 0x08], &over(1025)].concat(), BadValue),
        // Set: an element of 257 bytes. Flag: an element that is no side.
        ([&[0x65, 1, b'k', 0x81, 0x02][..], &over(257)].concat(), BadElement),
        (vec![0x62, 1, b'k', 1, 2, 0], BadElement),
        (vec![0x63, 1, b'k', 0, 0], BadElement),
        // Dots: 49 of them; seq 0; no such mark; the frame's actor spelled out.
        ([&[0x65, 1, b'k', 0, 49][..], &[0, 1].repeat(49)].concat(), BadDots),
        (vec![0x65, 1, b'k', 0, 1, 0, 0], BadDots),
        (vec![0x65, 1, b'k', 0, 1, 2, 1], BadDots),
        ([&[0x85, 1, b'k', 0, 1, 1][..], &OWN.as_u64().to_le_bytes(), &[1]].concat(), BadDots),
        // A seq of 65 bits.
        ([&[0x65, 1, b'k', 0, 1, 0][..], &[0xFF; 9], &[0x02]].concat(), BadVarint),
    ];
    for (bytes, error) in cases {
        assert_eq!(decode_record(&bytes, OWN), Err(error), "{bytes:02x?}");
        let mut rest = Deltas::new(&bytes, OWN);
        assert_eq!(rest.next().is_some(), !bytes.is_empty());
        assert_eq!(rest.next(), None, "nothing is read after a fault");
    }
}

#[test]
fn aliases_are_refused_by_name() {
    use RecordError::*;
    let highest = [0x80, 0x80, 0x40];
    let cases: Vec<(Vec<u8>, RecordError)> = vec![
        // Zero; one too high; with a needless last byte; without its key; the empty key; none at all.
        (vec![0x31, 0, 1, 1], BadAlias),
        (vec![0x31, 0x81, 0x80, 0x40, 1, 1], BadAlias),
        (vec![0x31, 0x81, 0x00, 1, 1], BadVarint),
        (vec![0x21, 255, 7], Truncated),
        (vec![0x21, 255, 7, 0, 1, 1], BadKey),
        (vec![0x21, 255, 0, 1, b'k', 1, 1], BadAlias),
        (vec![0x31], Truncated),
        // A kind that there is not, be it aliased.
        (vec![0x36, 7, 1, 1], BadKind(6)),
    ];
    for (bytes, error) in cases {
        assert_eq!(decode_delta(&bytes, OWN).map(drop), Err(error), "{bytes:02x?}");
    }
    let aliased = [&[0x31][..], &highest, &[1, 1]].concat();
    assert_eq!(decode_delta(&aliased, OWN).unwrap().0.name, Name::Alias(MAX_ALIAS));
    assert_eq!(decode_record(&aliased, OWN), Err(BadKey), "the log has no aliases");
    let mut buf = [0; 64];
    for alias in [0, MAX_ALIAS + 1] {
        let op = Op::Counter { increments: 1, decrements: 1 };
        for name in [Name::Alias(alias), Name::Defines { alias, key: b"k" }] {
            assert_eq!(encode_delta(&Delta { kind: Kind::Counter, name, op }, OWN, &mut buf), Err(NoRoom));
        }
    }
}

#[test]
fn items_and_payloads_are_refused_by_name() {
    use RecordError::*;
    let actor = OTHER.as_u64().to_le_bytes();
    let items: Vec<(Vec<u8>, RecordError)> = vec![
        (vec![0], BadItem(0)),
        (vec![14], BadItem(14)),
        ([&[13][..], &actor, &[1, 0, 1]].concat(), BadFold),
        ([&[13][..], &ActorId::fold_slot(1, 1).as_u64().to_le_bytes(), &[1, 1, 1]].concat(), BadFold),
        (vec![1, 2], BadBool),
        ([&[2][..], &actor, &[0, 1]].concat(), BadDots),
        ([&[2][..], &actor, &[2], &[0xFF; 9], &[1]].concat(), BadRange),
        ([&[3][..], &actor, &[1, 1, 1, b'k', 0]].concat(), BadElement),
        ([&[6][..], &actor, &[0]].concat(), BadDots),
        (vec![5, 7, 1, b'k'], BadKind(7)),
    ];
    for (bytes, error) in items {
        assert_eq!(decode_item(&bytes), Err(error), "{bytes:02x?}");
    }
    let ack = |tail: &[u8]| [&actor[..], &[0xFF; 7], &[0xFF], tail].concat();
    assert_eq!(Ack::decode(&ack(&[1, 0, 0])), Err(BadRange), "a range beyond the last seq");
    assert_eq!(Ack::decode(&ack(&[33])), Err(BadRange));
    assert_eq!(Ack::decode(&ack(&[0, 0])), Err(TrailingBytes));
    assert_eq!(VectorPart::decode(&[1, 1, 0]), Err(BadPart));
    assert_eq!(VectorPart::decode(&[0, 1, 57]), Err(BadPart));
    assert_eq!(VectorPart::decode(&[0, 1, 1, 0]), Err(Truncated));
    assert_eq!(VectorPart::decode(&[0, 1, 0, 0]), Err(TrailingBytes));
    let entry =
        |first: u64, last: u64| [&[0, 1, 1][..], &[7; 8], &first.to_le_bytes(), &last.to_le_bytes()].concat();
    assert!(VectorPart::decode(&entry(3, 3)).is_ok());
    assert_eq!(VectorPart::decode(&entry(0, 3)), Err(BadRange));
    assert_eq!(VectorPart::decode(&entry(4, 3)), Err(BadRange));
    assert_eq!(Heartbeat::decode(&[0; 33]), Err(TrailingBytes));
    assert_eq!(SyncAck::decode(&[2; 21]), Err(BadBool));
    let fold = |step: u8, number: u8, epochs: &[(u64, u64)]| {
        let head = [&[step, 9, 0, 0, 0][..], &[0; 8], &[number, 0, epochs.len() as u8]].concat();
        let epoch = |(actor, last): &(u64, u64)| [actor.to_le_bytes(), last.to_le_bytes()].concat();
        [head, epochs.iter().flat_map(epoch).collect()].concat()
    };
    assert!(Fold::decode(&fold(0, 1, &[(5, 1), (6, 1)])).is_ok() && Fold::decode(&fold(2, 0, &[])).is_ok());
    let slot = ActorId::fold_slot(1, 1).as_u64();
    for bad in [
        fold(3, 0, &[]),
        fold(0, 1, &[]),
        fold(0, 0, &[(5, 1)]),
        fold(0, 1, &[(6, 1), (5, 1)]),
        fold(0, 1, &[(5, 0)]),
        fold(0, 1, &[(slot, 1)]),
        fold(1, 0, &[(5, 1)]),
        fold(2, 1, &[]),
    ] {
        assert_eq!(Fold::decode(&bad), Err(BadFold), "{bad:02x?}");
    }
}

#[test]
fn the_longest_of_everything_fits() {
    let key = [1; MAX_KEY_BYTES];
    let element = [2; MAX_ELEMENT_BYTES];
    let value = [3; MAX_REGISTER_BYTES];
    let dots = [Dot::new(OTHER, u64::MAX); MAX_DOTS_PER_RECORD];
    let ops = [
        (Kind::Counter, Op::Counter { increments: u128::MAX, decrements: u128::MAX }),
        (Kind::Register, Op::Register { hlc: Hlc::from_u64(u64::MAX), value: &value }),
        (Kind::Set, Op::Add { element: &element, superseded: dots.as_slice().into() }),
        (Kind::Set, Op::Remove { element: &element, removed: dots.as_slice().into() }),
    ];
    let mut buf = [0; MAX_PAYLOAD_BYTES];
    let mut longest = 0;
    for (kind, op) in ops {
        let record = Record { kind, key: &key, op };
        let len = encode_record(&record, OWN, &mut buf[..MAX_RECORD_BYTES]).unwrap();
        assert_eq!(decode_record(&buf[..len], OWN), Ok((record, len)));
        longest = longest.max(len);
    }
    assert_eq!(longest, MAX_RECORD_BYTES);
    let dot = dots[0];
    let items = [
        SyncItem::PreRemoved { dot, kind: Kind::Set, key: &key, element: &element },
        SyncItem::CounterEntry { actor: OTHER, increments: u128::MAX, decrements: u128::MAX },
        SyncItem::RegisterValue { hlc: Hlc::from_u64(u64::MAX), actor: OTHER, value: &value },
        SyncItem::Element { element: &element, dots: dots.as_slice().into(), more: true },
    ];
    let lens = items.map(|item| {
        let len = encode_item(&item, &mut buf[..MAX_ITEM_BYTES]).unwrap();
        assert_eq!(decode_item(&buf[..len]), Ok((item, len)));
        len
    });
    assert_eq!(lens.into_iter().max(), Some(MAX_ITEM_BYTES));
}

#[test]
fn a_full_part_of_a_vector_fills_the_payload() {
    // Actor, first, last: 24 bytes; before them the sync id, part, parts and count.
    assert_eq!((MAX_PAYLOAD_BYTES, MAX_VECTOR_ENTRIES_PER_PART), (1372, (1372 - 7) / 24));
    let entries = |count: usize| vec![(OTHER, SeqRange { first: 7, last: 7 }); count];
    let header = decode_frame(&frame(b""), CLUSTER).unwrap().header;
    let mut buf = [0; MAX_FRAME_BYTES];
    let mut writer = FrameWriter::new(&mut buf, header).unwrap();
    let full = entries(MAX_VECTOR_ENTRIES_PER_PART);
    assert_eq!(
        SyncRequest::encode(&mut writer, 1, 0, 1, entries(MAX_VECTOR_ENTRIES_PER_PART + 1)),
        Err(NoRoom)
    );
    assert_eq!(writer.payload_room(), MAX_PAYLOAD_BYTES);
    assert_eq!(SyncRequest::encode(&mut writer, 1, 0, 1, full.clone()), Ok(()));
    assert_eq!(writer.payload_len() + writer.payload_room(), MAX_PAYLOAD_BYTES);
    assert_eq!(writer.payload_len(), 7 + 24 * MAX_VECTOR_ENTRIES_PER_PART);
    let len = writer.finish();
    let request = SyncRequest::decode(decode_frame(&buf[..len], CLUSTER).unwrap().payload).unwrap();
    assert!(request.vector.entries().eq(full) && !request.vector.is_empty());
}

#[test]
fn the_encoder_refuses_what_the_decoder_would() {
    let long = [b'x'; MAX_REGISTER_BYTES + 1];
    let zero = [Dot::new(OTHER, 0)];
    let many = [Dot::new(OTHER, 1); MAX_DOTS_PER_RECORD + 1];
    let add = |element, dots: &'static [Dot]| Op::Add { element, superseded: dots.into() };
    let refused = [
        (Kind::Counter, &b""[..], Op::Counter { increments: 0, decrements: 0 }),
        (Kind::Counter, &long[..=MAX_KEY_BYTES], Op::Counter { increments: 0, decrements: 0 }),
        (Kind::Counter, b"k", add(b"e", &[])),
        (Kind::Register, b"k", Op::Register { hlc: Hlc::default(), value: &long }),
        (Kind::Set, b"k", add(&long[..=MAX_ELEMENT_BYTES], &[])),
        (Kind::FlagEnableWins, b"k", add(b"\x02", &[])),
        (Kind::Set, b"k", Op::Add { element: b"e", superseded: zero.as_slice().into() }),
        (Kind::Set, b"k", Op::Remove { element: b"e", removed: many.as_slice().into() }),
    ];
    for (kind, key, op) in refused {
        assert_eq!(encode_record(&Record { kind, key, op }, OWN, &mut [0; 4096]), Err(NoRoom), "{op:?}");
    }
    let backwards = [SeqRange { first: 9, last: 9 }, SeqRange { first: 5, last: 6 }];
    let adjacent = [SeqRange { first: 4, last: 6 }];
    let mut buf = [0; MAX_FRAME_BYTES];
    let header = decode_frame(&frame(b""), CLUSTER).unwrap().header;
    let mut writer = FrameWriter::new(&mut buf, header).unwrap();
    for ranges in [&backwards[..], &adjacent] {
        assert_eq!(Ack::new(OTHER, 3, ranges).encode(&mut writer), Err(NoRoom));
    }
    for (first, last) in [(0, 3), (4, 3)] {
        let entry = [(OTHER, SeqRange { first, last })];
        assert_eq!(VectorPart::encode(&mut writer, 0, 1, entry), Err(NoRoom), "{first}..={last}");
    }
    let empty = SyncItem::VectorRange { actor: OTHER, first: 2, last: 1 };
    assert_eq!(writer.push_item(&empty), Err(NoRoom));
    assert_eq!(writer.payload_len(), 0, "a refused push leaves nothing");
}

#[test]
fn lists_are_compared_by_what_they_hold() {
    let (dots, ranges) = ([Dot::new(OTHER, 1), Dot::new(OTHER, 3)], [SeqRange { first: 5, last: 6 }]);
    let (list, none) = (Dots::from(&dots[..]), Dots::EMPTY);
    assert_eq!((list.len(), list.is_empty(), none.len(), none.is_empty()), (2, false, 0, true));
    assert!(list != none && list != Dots::from(&dots[..1]) && list == Dots::from(&[dots[0], dots[1]][..]));
    let (ack, less) = (Ack::new(OTHER, 3, &ranges), Ack::new(OTHER, 3, &[]));
    assert_eq!((ack.ranges.is_empty(), less.ranges.is_empty()), (false, true));
    assert!(ack != less && ack == Ack::new(OTHER, 3, &[ranges[0]]));
    assert!(VectorPart::decode(&[0, 1, 0]).unwrap().is_empty());
}

#[test]
fn the_names_of_reasons_never_change() {
    use RecordError::*;
    let frames = [WireError::TooShort, WireError::BadVersion(2), WireError::BadTag].map(WireError::reason);
    assert_eq!(frames, ["frame_too_short", "frame_bad_version", "frame_bad_tag"]);
    let bad_op = BadOp { kind: 1, op: 2 };
    let parts = [
        Truncated,
        TrailingBytes,
        BadVarint,
        BadKind(0),
        bad_op,
        BadItem(0),
        BadKey,
        BadElement,
        BadValue,
        BadDots,
        BadRange,
        BadPart,
        BadBool,
    ];
    let names = [
        "truncated",
        "trailing_bytes",
        "bad_varint",
        "bad_kind",
        "bad_op",
        "bad_item",
        "bad_key",
        "bad_element",
        "bad_value",
        "bad_dots",
        "bad_range",
        "bad_part",
        "bad_bool",
    ];
    assert_eq!(parts.map(RecordError::reason), names.map(|name| format!("record_{name}")));
}
