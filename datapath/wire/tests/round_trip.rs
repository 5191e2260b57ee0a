//! Whatever can be encoded decodes to itself; whatever decodes re-encodes to the same bytes; nothing panics.

mod owned;

use lattice_crdt::{ActorId, Kind, SeqRange};
use lattice_wire::{
    Ack, AliasedCounter, Delta, Deltas, Frame, FrameType, FrameWriter, Header, Heartbeat, MAX_ALIAS,
    MAX_FRAME_BYTES, MAX_ITEM_BYTES, MAX_PAYLOAD_BYTES, MAX_RECORD_BYTES, MAX_VECTOR_ENTRIES_PER_PART, Name,
    NoRoom, Op, SyncAck, SyncData, SyncRequest, VectorPart, decode_aliased_counter, decode_delta,
    decode_frame, decode_item, decode_record, encode_delta, encode_item, encode_record,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

const CLUSTER: u32 = 0xC1A5_7E12;

fn plain_header(frame_type: FrameType, actor: ActorId) -> Header {
    Header {
        frame_type,
        cluster_tag: CLUSTER,
        node: 1,
        dest_node: 2,
        shard: 3,
        actor,
        src_session: 4,
        dst_session: 5,
        lo: 6,
        count: 0,
        log_first: 7,
    }
}

/// The payload that `fill` makes.
fn payload(fill: impl FnOnce(&mut FrameWriter<'_>) -> Result<(), NoRoom>) -> Option<Vec<u8>> {
    let mut buf = [0xEE; MAX_FRAME_BYTES];
    let header = plain_header(FrameType::Data, ActorId::new(1, 5));
    let mut writer = FrameWriter::new(&mut buf, header)?;
    fill(&mut writer).ok()?;
    let len = writer.finish();
    Some(decode_frame(&buf[..len], CLUSTER).ok()?.payload.to_vec())
}

/// Damages valid bytes a little, so that decoders are reached beyond their first byte.
fn damaged(mut bytes: Vec<u8>, edits: &[(Index, u8)], cut: Option<Index>) -> Vec<u8> {
    for (at, value) in edits {
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len() + 1));
    }
    bytes
}

/// Feeds one payload to all decoders; each either refuses it or can make the same bytes again.
fn decode_all(bytes: &[u8], actor: ActorId) -> Result<(), TestCaseError> {
    let mut buf = [0; 2 * MAX_FRAME_BYTES];
    if let Ok((record, len)) = decode_record(bytes, actor) {
        prop_assert_eq!(encode_record(&record, actor, &mut buf), Ok(len));
        prop_assert_eq!(&buf[..len], &bytes[..len]);
        prop_assert!(len <= MAX_RECORD_BYTES);
    }
    // The short way says the same as the long one, or nothing.
    if let Some((counter, len)) = decode_aliased_counter(bytes) {
        let op = Op::Counter { increments: counter.increments.into(), decrements: counter.decrements.into() };
        let delta = Delta { kind: Kind::Counter, name: Name::Alias(counter.alias), op };
        prop_assert_eq!(decode_delta(bytes, actor), Ok((delta, len)));
    }
    if let Ok((delta, len)) = decode_delta(bytes, actor) {
        prop_assert_eq!(encode_delta(&delta, actor, &mut buf), Ok(len));
        prop_assert_eq!(&buf[..len], &bytes[..len]);
        prop_assert_eq!(decode_record(bytes, actor).is_ok(), matches!(delta.name, Name::Key(_)));
    }
    if let Ok((item, len)) = decode_item(bytes) {
        prop_assert_eq!(encode_item(&item, &mut buf), Ok(len));
        prop_assert_eq!(&buf[..len], &bytes[..len]);
        prop_assert!(len <= MAX_ITEM_BYTES);
    }
    // Iterators end.
    prop_assert!(Deltas::new(bytes, actor).count() <= bytes.len());
    if let Ok(data) = SyncData::decode(bytes) {
        prop_assert!(data.items.count() <= bytes.len());
    }
    let again = [
        Ack::decode(bytes).ok().map(|ack| payload(|frame| ack.encode(frame))),
        Heartbeat::decode(bytes).ok().map(|heartbeat| payload(|frame| heartbeat.encode(frame))),
        SyncAck::decode(bytes).ok().map(|ack| payload(|frame| ack.encode(frame))),
        VectorPart::decode(bytes)
            .ok()
            .map(|part| payload(|frame| VectorPart::encode(frame, part.part, part.parts, part.entries()))),
        SyncRequest::decode(bytes).ok().map(|request| {
            let part = request.vector;
            payload(|frame| {
                SyncRequest::encode(frame, request.sync_id, part.part, part.parts, part.entries())
            })
        }),
    ];
    for again in again.into_iter().flatten() {
        prop_assert_eq!(again.as_deref(), Some(bytes));
    }
    Ok(())
}

fn edits() -> impl Strategy<Value = Vec<(Index, u8)>> {
    let value = prop_oneof![any::<u8>(), 0u8..6, Just(0x80u8), Just(0xFFu8)];
    vec((any::<Index>(), value), 0..4)
}

/// Ascending ranges with gaps between them, beyond `contiguous`.
fn ranges() -> impl Strategy<Value = (u64, Vec<SeqRange>)> {
    (any::<u32>(), vec((0u64..1 << 40, 0u64..1 << 40), 0..40)).prop_map(|(contiguous, steps)| {
        let mut end = u64::from(contiguous);
        let ranges = steps.into_iter().map(|(gap, span)| {
            let first = end + 2 + gap;
            end = first + span;
            SeqRange { first, last: end }
        });
        (u64::from(contiguous), ranges.collect())
    })
}

proptest! {
    #[test]
    fn records(record in owned::record(), actor in owned::actor(), after in vec(any::<u8>(), 0..3)) {
        let mut buf = [0xEE; MAX_RECORD_BYTES];
        let len = encode_record(&record.record(), actor, &mut buf)?;
        let mut bytes = buf[..len].to_vec();
        bytes.extend(after);
        prop_assert_eq!(decode_record(&bytes, actor), Ok((record.record(), len)));
        for short in 0..len {
            prop_assert!(decode_record(&bytes[..short], actor).is_err(), "a prefix is no record");
            prop_assert_eq!(encode_record(&record.record(), actor, &mut buf[..short]), Err(NoRoom));
        }
    }

    /// The short way of reading an aliased counter takes every one whose numbers have at most eight bytes.
    #[test]
    fn aliased_counters(alias in 1..=MAX_ALIAS, parts in any::<[u64; 2]>(), shifts in proptest::array::uniform2(0u32..64)) {
        let [increments, decrements] = [parts[0] >> shifts[0], parts[1] >> shifts[1]];
        let op = Op::Counter { increments: increments.into(), decrements: decrements.into() };
        let delta = Delta { kind: Kind::Counter, name: Name::Alias(alias), op };
        let mut buf = [0; 64];
        let len = encode_delta(&delta, ActorId::new(1, 5), &mut buf)?;
        let short = increments < 1 << 56 && decrements < 1 << 56;
        let expected = AliasedCounter { alias, increments, decrements };
        prop_assert_eq!(decode_aliased_counter(&buf[..len]), short.then_some((expected, len)));
        decode_all(&buf, ActorId::new(1, 5))?;
    }

    /// A record out of the log, named by an alias or defining one, is that record with that name.
    #[test]
    fn aliases(record in owned::record(), alias in 1..=MAX_ALIAS, actor in owned::actor()) {
        let mut logged = [0; MAX_RECORD_BYTES];
        let len = encode_record(&record.record(), actor, &mut logged)?;
        let (logged, Delta { kind, op, .. }) = (&logged[..len], Delta::from(record.record()));
        if record.key.is_empty() {
            return Ok(());
        }
        for name in [Name::Alias(alias), Name::Defines { alias, key: &record.key }] {
            let bytes = payload(|frame| match name {
                Name::Alias(_) => frame.push_aliased(logged, alias),
                _ => frame.push_defining(logged, alias),
            });
            let bytes = bytes.ok_or(TestCaseError::fail("it fits"))?;
            prop_assert_eq!(decode_delta(&bytes, actor), Ok((Delta { kind, name, op }, bytes.len())));
            prop_assert!(decode_record(&bytes, actor).is_err(), "the log has no such thing");
            for short in 0..bytes.len() {
                prop_assert!(decode_delta(&bytes[..short], actor).is_err(), "a prefix is no record");
            }
        }
    }

    #[test]
    fn items(item in owned::item(), after in vec(any::<u8>(), 0..3)) {
        let mut buf = [0xEE; MAX_ITEM_BYTES];
        let len = encode_item(&item.item(), &mut buf)?;
        let mut bytes = buf[..len].to_vec();
        bytes.extend(after);
        prop_assert_eq!(decode_item(&bytes), Ok((item.item(), len)));
        for short in 0..len {
            prop_assert!(decode_item(&bytes[..short]).is_err(), "a prefix is no item");
        }
    }

    #[test]
    fn data_frames(records in vec(owned::record(), 0..60), header in owned::header()) {
        let mut buf = [0xEE; MAX_FRAME_BYTES + 3];
        let mut writer = FrameWriter::new(&mut buf, header).ok_or(TestCaseError::fail("room"))?;
        let mut fitted = 0;
        for record in &records {
            let room = writer.payload_room();
            if writer.push_record(&record.record()).is_err() {
                prop_assert!(room < MAX_RECORD_BYTES && writer.payload_room() == room, "all or nothing");
                break;
            }
            fitted += 1;
        }
        let count = if header.frame_type == FrameType::Data { fitted } else { header.count };
        writer.set_count(count);
        let len = writer.finish();
        let frame = decode_frame(&buf[..len], header.cluster_tag)?;
        prop_assert_eq!(frame.header, Header { count, ..header });
        let decoded: Result<Vec<_>, _> = Deltas::new(frame.payload, header.actor).collect();
        let decoded = decoded?;
        prop_assert!(decoded.iter().map(|(delta, _)| *delta).eq(records.iter().take(fitted as usize).map(|r| Delta::from(r.record()))));
        prop_assert_eq!(decoded.iter().map(|(_, len)| len).sum::<usize>(), frame.payload.len());
    }

    #[test]
    fn sync_frames(items in vec(owned::item(), 0..20), sync_id in any::<u32>()) {
        let mut fitted = 0;
        let bytes = payload(|frame| {
            frame.push_sync_id(sync_id)?;
            fitted = items.iter().take_while(|item| frame.push_item(&item.item()).is_ok()).count();
            Ok(())
        });
        let bytes = bytes.ok_or(TestCaseError::fail("an id fits"))?;
        let data = SyncData::decode(&bytes)?;
        prop_assert_eq!(data.sync_id, sync_id);
        let decoded: Result<Vec<_>, _> = data.items.collect();
        prop_assert!(decoded?.into_iter().eq(items.iter().take(fitted).map(|item| item.item())));
    }

    #[test]
    fn acks((contiguous, ranges) in ranges(), actor in owned::actor()) {
        let ack = Ack::new(actor, contiguous, &ranges);
        let bytes = payload(|frame| ack.encode(frame)).ok_or(TestCaseError::fail("an ack fits"))?;
        let decoded = Ack::decode(&bytes)?;
        prop_assert_eq!(decoded, ack);
        prop_assert!(decoded.ranges.iter().eq(ranges.iter().copied().take(lattice_wire::MAX_ACK_RANGES)));
        prop_assert_eq!(decoded.ranges.len(), ranges.len().min(lattice_wire::MAX_ACK_RANGES));
    }

    #[test]
    fn vectors(
        entries in vec((owned::actor(), owned::seq_range()), 0..=MAX_VECTOR_ENTRIES_PER_PART + 1),
        (part, parts) in (0u8..4, 0u8..5),
        sync_id in any::<u32>(),
    ) {
        let legal = part < parts && entries.len() <= MAX_VECTOR_ENTRIES_PER_PART;
        let hello = payload(|frame| VectorPart::encode(frame, part, parts, entries.iter().copied()));
        let request = payload(|frame| SyncRequest::encode(frame, sync_id, part, parts, entries.iter().copied()));
        prop_assert_eq!((hello.is_some(), request.is_some()), (legal, legal));
        if let (Some(hello), Some(request)) = (hello, request) {
            let hello = VectorPart::decode(&hello)?;
            let request = SyncRequest::decode(&request)?;
            prop_assert_eq!((hello.part, hello.parts, hello.len()), (part, parts, entries.len()));
            prop_assert!(hello.entries().eq(entries.iter().copied()));
            prop_assert_eq!((request.sync_id, request.vector), (sync_id, hello));
        }
    }

    #[test]
    fn heartbeats_and_sync_acks(numbers in any::<[u64; 4]>(), sync_id in any::<u32>(), abort in any::<bool>()) {
        let [state_digest, vector_digest, wall_ns, last_seq] = numbers;
        let heartbeat = Heartbeat { state_digest, vector_digest, wall_ns, last_seq };
        let bytes = payload(|frame| heartbeat.encode(frame)).ok_or(TestCaseError::fail("fits"))?;
        prop_assert_eq!(Heartbeat::decode(&bytes), Ok(heartbeat));
        let ack = SyncAck { sync_id, cumulative: wall_ns, bitmap: last_seq, abort };
        let bytes = payload(|frame| ack.encode(frame)).ok_or(TestCaseError::fail("fits"))?;
        prop_assert_eq!(SyncAck::decode(&bytes), Ok(ack));
    }

    #[test]
    fn arbitrary_bytes(bytes in vec(any::<u8>(), 0..200), actor in owned::actor()) {
        decode_all(&bytes, actor)?;
        prop_assert!(decode_frame(&bytes, CLUSTER).is_err());
    }

    #[test]
    fn damaged_records(
        record in owned::record(),
        actor in owned::actor(),
        edits in edits(),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let mut buf = [0; MAX_RECORD_BYTES];
        let len = encode_record(&record.record(), actor, &mut buf)?;
        decode_all(&damaged(buf[..len].to_vec(), &edits, cut), actor)?;
    }

    #[test]
    fn damaged_items(item in owned::item(), edits in edits(), cut in proptest::option::of(any::<Index>())) {
        let mut buf = [0; MAX_ITEM_BYTES];
        let len = encode_item(&item.item(), &mut buf)?;
        decode_all(&damaged(buf[..len].to_vec(), &edits, cut), ActorId::new(1, 5))?;
    }

    #[test]
    fn damaged_payloads(
        (contiguous, ranges) in ranges(),
        entries in vec((owned::actor(), owned::seq_range()), 0..5),
        edits in edits(),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let actor = ActorId::new(1, 5);
        let payloads = [
            payload(|frame| Ack::new(actor, contiguous, &ranges).encode(frame)),
            payload(|frame| VectorPart::encode(frame, 0, 1, entries.iter().copied())),
            payload(|frame| SyncRequest::encode(frame, 9, 0, 1, entries.iter().copied())),
            payload(|frame| SyncAck { sync_id: 1, cumulative: 2, bitmap: 3, abort: true }.encode(frame)),
        ];
        for payload in payloads {
            let payload = payload.ok_or(TestCaseError::fail("fits"))?;
            decode_all(&damaged(payload, &edits, cut), actor)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// The tag covers every bit that the checks before it do not.
    #[test]
    fn every_single_bit_flip_of_a_frame_is_refused(
        header in owned::header(),
        body in prop_oneof![vec(any::<u8>(), 0..100), vec(any::<u8>(), 0..=MAX_PAYLOAD_BYTES)],
    ) {
        let mut buf = [0; MAX_FRAME_BYTES];
        let mut writer = FrameWriter::new(&mut buf, header).ok_or(TestCaseError::fail("room"))?;
        writer.push_bytes(&body)?;
        let len = writer.finish();
        prop_assert_eq!(decode_frame(&buf[..len], header.cluster_tag), Ok(Frame { header, payload: &body }));
        for bit in 0..8 * len {
            buf[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode_frame(&buf[..len], header.cluster_tag).is_err(), "bit {}", bit);
            buf[bit / 8] ^= 1 << (bit % 8);
        }
        for short in 0..len {
            prop_assert!(decode_frame(&buf[..short], header.cluster_tag).is_err(), "length {}", short);
        }
    }
}

/// Numbers of every length, with anything behind them or nothing: the short way knows all of 56 bits, and none cut off or
/// encoded longer than need be.
#[test]
fn short_way_knows_counters_of_fifty_six_bits() {
    let actor = ActorId::new(1, 7);
    for bits in 0..64 {
        for number in [(1u64 << bits) - 1, 1 << bits, (1 << bits) | 0x55 & ((1 << bits) - 1)] {
            let op = Op::Counter { increments: number.into(), decrements: (number / 3).into() };
            let delta = Delta { kind: Kind::Counter, name: Name::Alias(1 + (number % 1000) as u32), op };
            let mut buf = [0; 64];
            let len = encode_delta(&delta, actor, &mut buf).unwrap();
            for behind in [0x00, 0x7F, 0x80, 0xFF] {
                buf[len..].fill(behind);
                for end in [len, len + 1, len + 7, buf.len()] {
                    let found = decode_aliased_counter(&buf[..end]);
                    assert_eq!(found.is_some(), number < 1 << 56, "{number:#x}");
                    let Some((counter, used)) = found else { continue };
                    assert_eq!((counter.increments, counter.decrements, used), (number, number / 3, len));
                }
            }
            assert!((0..len).all(|end| decode_aliased_counter(&buf[..end]).is_none()), "cut off");
        }
    }
    // A one in more bytes than it needs, the last of them empty.
    let op = Op::Counter { increments: 1, decrements: 0 };
    let mut buf = [0; 64];
    encode_delta(&Delta { kind: Kind::Counter, name: Name::Alias(1), op }, actor, &mut buf).unwrap();
    for more in 0..7 {
        let mut bytes = vec![buf[0], buf[1], 0x81];
        bytes.extend(std::iter::repeat_n(0x80, more));
        bytes.extend([0; 12]);
        assert_eq!(decode_aliased_counter(&bytes), None, "{more}");
    }
}
