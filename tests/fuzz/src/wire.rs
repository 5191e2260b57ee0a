//! The decoders of `lattice-wire`, one target each.
//!
//! ```text
//!   bytes ──decode──> value ──encode──> the same bytes        every value has exactly one encoding
//!                       └── rebuilt from its parts ──encode──> the same bytes
//! ```
//!
//! [`frame`] goes on into the payload's decoder; it can repair length and tag of its input first, as anybody can who
//! knows the format, or no mutated frame would ever get past the tag.

use lattice_crdt::limits::{MAX_DOTS_PER_RECORD, MAX_ELEMENT_BYTES, MAX_KEY_BYTES, MAX_REGISTER_BYTES};
use lattice_crdt::{ActorId, Dot, Kind, SeqRange};
use lattice_wire::*;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::input::Input;

/// The cluster of all fuzzed frames; that of the wire's golden files.
pub const CLUSTER: u32 = 0xC1A5_7E12;

/// Actor of records whose frame does not name one.
pub const ACTOR: ActorId = ActorId::new(1, 0xA1B2_C3D4_E5F6);

/// Writes a length and a tag that fit into a frame, however they were. Shorter than header and tag, it stays as it is.
pub fn seal(frame: &mut [u8], cluster_tag: u32) {
    let Some(tag_at) = frame.len().checked_sub(TAG_BYTES).filter(|at| *at >= HEADER_BYTES) else { return };
    let payload_len = (tag_at - HEADER_BYTES) as u16;
    frame[offsets::PAYLOAD_LEN..][..2].copy_from_slice(&payload_len.to_le_bytes());
    let tag = xxh3_128_with_seed(&frame[..tag_at], u64::from(cluster_tag));
    frame[tag_at..].copy_from_slice(&tag.to_le_bytes());
}

/// The front of a frame as this version and cluster write it.
fn repair_front(frame: &mut [u8]) {
    if frame.len() < HEADER_BYTES {
        return;
    }
    frame[offsets::MAGIC..][..2].copy_from_slice(&MAGIC);
    frame[offsets::VERSION] = VERSION;
    frame[offsets::CLUSTER_TAG..][..4].copy_from_slice(&CLUSTER.to_le_bytes());
    frame[offsets::SEAL_KEY..][..4].fill(0);
    frame[offsets::SEAL_COUNTER..][..8].fill(0);
}

/// A frame. The first byte says what of it is repaired: bit 0 the front, bit 1 length and tag.
pub fn frame(data: &[u8]) {
    let mut input = Input::new(data);
    let repair = input.u8();
    let mut bytes = input.rest().to_vec();
    if repair & 1 != 0 {
        repair_front(&mut bytes);
    }
    if repair & 2 != 0 {
        seal(&mut bytes, CLUSTER);
    }
    match decode_frame(&bytes, CLUSTER) {
        Ok(frame) => accepted(&bytes, &frame),
        Err(error) => {
            assert!(error.reason().starts_with("frame_") && !error.to_string().is_empty());
            assert!(repair & 3 != 3 || !matches!(error, WireError::BadTag | WireError::BadLength), "{error}");
        }
    }
}

pub(crate) fn accepted(bytes: &[u8], frame: &Frame<'_>) {
    assert!(bytes.len() <= MAX_FRAME_BYTES);
    assert_eq!(frame.payload.len(), bytes.len() - HEADER_BYTES - TAG_BYTES);
    assert!(frame.header.frame_type != FrameType::Data || frame.header.hi() >= frame.header.lo);
    let mut buffer = [0xEE; MAX_FRAME_BYTES];
    let mut writer = FrameWriter::new(&mut buffer, frame.header).expect("a whole buffer");
    writer.push_bytes(frame.payload).expect("the payload fitted before");
    let len = writer.finish();
    assert_eq!(&buffer[..len], bytes, "a frame has one encoding");
    // Any one bit, and the end: the tag finds them.
    let mut damaged = bytes.to_vec();
    let at = frame.header.lo as usize % bytes.len();
    damaged[at] ^= 1 << (frame.header.count % 8);
    assert!(decode_frame(&damaged, CLUSTER).is_err(), "a damaged frame");
    assert!(decode_frame(&bytes[..bytes.len() - 1], CLUSTER).is_err(), "a cut frame");
    assert_eq!(decode_frame(bytes, !CLUSTER), Err(WireError::WrongCluster));
    match frame.header.frame_type {
        FrameType::Data => check_records(frame.payload, frame.header.actor),
        FrameType::Ack => ack(frame.payload),
        FrameType::Hello | FrameType::Vector | FrameType::Stable => vector(frame.payload),
        FrameType::Heartbeat => heartbeat(frame.payload),
        FrameType::SyncRequest => sync_request(frame.payload),
        FrameType::SyncData => sync_data(frame.payload),
        FrameType::SyncAck => sync_ack(frame.payload),
        FrameType::Forget => forget(frame.payload),
        FrameType::Fold => fold(frame.payload),
    }
}

/// The payload that `fill` makes.
fn payload(fill: impl FnOnce(&mut FrameWriter<'_>) -> Result<(), NoRoom>) -> Vec<u8> {
    let header = Header {
        frame_type: FrameType::Ack,
        cluster_tag: CLUSTER,
        node: 1,
        dest_node: 2,
        shard: 3,
        actor: ACTOR,
        src_session: 4,
        dst_session: 5,
        lo: 0,
        count: 0,
        log_first: 1,
    };
    let mut buffer = [0xEE; MAX_FRAME_BYTES];
    let mut writer = FrameWriter::new(&mut buffer, header).expect("a whole buffer");
    fill(&mut writer).expect("what was decoded can be encoded");
    let len = writer.finish();
    decode_frame(&buffer[..len], CLUSTER).expect("a frame of ours").payload.to_vec()
}

fn refused(error: RecordError) {
    assert!(error.reason().starts_with("record_") && !error.to_string().is_empty());
}

fn check_key(key: &[u8]) {
    assert!((1..=MAX_KEY_BYTES).contains(&key.len()), "a key of {} bytes", key.len());
}

fn check_element(kind: Kind, element: &[u8]) {
    match kind {
        Kind::Set => assert!(element.len() <= MAX_ELEMENT_BYTES),
        Kind::FlagEnableWins | Kind::FlagDisableWins => assert!(matches!(element, [0 | 1])),
        Kind::Counter | Kind::Register => panic!("a {kind} has no elements"),
    }
}

fn check_dots(dots: &Dots<'_>) -> Vec<Dot> {
    let list: Vec<Dot> = dots.iter().collect();
    assert!(list.len() <= MAX_DOTS_PER_RECORD && list.iter().all(|dot| dot.seq != 0));
    assert_eq!((list.len(), list.is_empty()), (dots.len(), dots.is_empty()));
    list
}

/// The records of a data frame, one after the other.
pub fn record(data: &[u8]) {
    check_records(data, ACTOR);
}

fn check_records(payload: &[u8], actor: ActorId) {
    let mut used = 0;
    let mut deltas = Deltas::new(payload, actor);
    for decoded in deltas.by_ref() {
        match decoded {
            Ok((delta, len)) => {
                check_delta(&delta, &payload[used..used + len], actor);
                used += len;
            }
            Err(error) => {
                refused(error);
                assert_eq!(decode_delta(&payload[used..], actor), Err(error));
                assert_eq!(deltas.next(), None, "nothing follows an error");
                return;
            }
        }
    }
    assert_eq!(used, payload.len(), "all was read");
}

/// A record of a frame, and the same as the log would have it.
fn check_delta(delta: &Delta<'_>, bytes: &[u8], actor: ActorId) {
    let mut buffer = [0xEE; 2 * MAX_RECORD_BYTES];
    assert_eq!(encode_delta(delta, actor, &mut buffer), Ok(bytes.len()));
    assert_eq!(&buffer[..bytes.len()], bytes, "a record has one encoding");
    assert_eq!(encode_delta(delta, actor, &mut buffer[..bytes.len() - 1]), Err(NoRoom));
    assert!(decode_delta(&bytes[..bytes.len() - 1], actor).is_err(), "a prefix is no record");
    let key = match delta.name {
        Name::Key(key) => return check_record(&Record { kind: delta.kind, key, op: delta.op }, bytes, actor),
        Name::Alias(alias) => (alias, &b"key"[..]),
        Name::Defines { alias, key } => (alias, key),
    };
    assert!(decode_record(bytes, actor).is_err(), "the log has no aliases");
    let (alias, key) = key;
    assert!((1..=MAX_ALIAS).contains(&alias));
    let record = Record { kind: delta.kind, key, op: delta.op };
    let mut logged = [0xEE; MAX_RECORD_BYTES];
    let len = encode_record(&record, actor, &mut logged).expect("within the limits");
    check_record(&record, &logged[..len], actor);
    let renamed = payload(|frame| match delta.name {
        Name::Alias(_) => frame.push_aliased(&logged[..len], alias),
        _ => frame.push_defining(&logged[..len], alias),
    });
    assert_eq!(renamed, bytes, "the same record by another name");
}

fn check_record(record: &Record<'_>, bytes: &[u8], actor: ActorId) {
    let noop = matches!(record.op, Op::Noop);
    if !noop || !record.key.is_empty() {
        check_key(record.key);
    }
    let mut dots = Vec::new();
    let op = match (record.kind, record.op) {
        (_, Op::Noop) => Op::Noop,
        (Kind::Counter, Op::Counter { increments, decrements }) => Op::Counter { increments, decrements },
        (Kind::Register, Op::Register { hlc, value }) => {
            assert!(value.len() <= MAX_REGISTER_BYTES);
            Op::Register { hlc, value }
        }
        (kind, Op::Add { element, superseded }) => {
            check_element(kind, element);
            dots.extend(check_dots(&superseded));
            Op::Add { element, superseded: dots.as_slice().into() }
        }
        (kind, Op::Remove { element, removed }) => {
            check_element(kind, element);
            dots.extend(check_dots(&removed));
            Op::Remove { element, removed: dots.as_slice().into() }
        }
        (kind, op) => panic!("{op:?} of a {kind}"),
    };
    assert!((1..=MAX_RECORD_BYTES).contains(&bytes.len()));
    let mut buffer = [0xEE; MAX_RECORD_BYTES];
    for again in [record, &Record { kind: record.kind, key: record.key, op }] {
        assert_eq!(encode_record(again, actor, &mut buffer), Ok(bytes.len()));
        assert_eq!(&buffer[..bytes.len()], bytes, "a record has one encoding");
    }
    assert_eq!(decode_record(&buffer, actor), Ok((*record, bytes.len())));
    assert_eq!(encode_record(record, actor, &mut buffer[..bytes.len() - 1]), Err(NoRoom));
    assert!(decode_record(&bytes[..bytes.len() - 1], actor).is_err(), "a prefix is no record");
}

/// An acknowledgement.
pub fn ack(data: &[u8]) {
    let ack = match Ack::decode(data) {
        Ok(ack) => ack,
        Err(error) => return refused(error),
    };
    assert_eq!(payload(|frame| ack.encode(frame)), data, "an acknowledgement has one encoding");
    let ranges: Vec<SeqRange> = ack.ranges.iter().collect();
    assert!(ranges.len() <= MAX_ACK_RANGES && ranges.len() == ack.ranges.len());
    let mut end = ack.contiguous;
    for range in &ranges {
        assert!(range.first >= end + 2 && range.last >= range.first, "ascending, with gaps: {ranges:?}");
        end = range.last;
    }
    let rebuilt = Ack::new(ack.actor, ack.contiguous, &ranges);
    assert_eq!(rebuilt, ack);
    assert_eq!(payload(|frame| rebuilt.encode(frame)), data);
}

fn check_part(part: &VectorPart<'_>) -> Vec<(ActorId, SeqRange)> {
    assert!(part.part < part.parts);
    let entries: Vec<_> = part.entries().collect();
    assert!(entries.len() <= MAX_VECTOR_ENTRIES_PER_PART);
    assert_eq!((entries.len(), entries.is_empty()), (part.len(), part.is_empty()));
    assert!(entries.iter().all(|(_, range)| 0 < range.first && range.first <= range.last));
    entries
}

/// A part of a version vector: hello, vector and stable frames.
pub fn vector(data: &[u8]) {
    let part = match VectorPart::decode(data) {
        Ok(part) => part,
        Err(error) => return refused(error),
    };
    let entries = check_part(&part);
    let again = payload(|frame| VectorPart::encode(frame, part.part, part.parts, entries.iter().copied()));
    assert_eq!(again, data, "a part has one encoding");
    assert_eq!(VectorPart::decode(&again), Ok(part));
}

/// A heartbeat.
pub fn heartbeat(data: &[u8]) {
    match Heartbeat::decode(data) {
        Ok(heartbeat) => assert_eq!(payload(|frame| heartbeat.encode(frame)), data),
        Err(error) => refused(error),
    }
}

/// A request for a state sync.
pub fn sync_request(data: &[u8]) {
    let request = match SyncRequest::decode(data) {
        Ok(request) => request,
        Err(error) => return refused(error),
    };
    let (part, entries) = (request.vector, check_part(&request.vector));
    let again = payload(|frame| {
        SyncRequest::encode(frame, request.sync_id, part.part, part.parts, entries.iter().copied())
    });
    assert_eq!(again, data, "a request has one encoding");
    assert_eq!(SyncRequest::decode(&again), Ok(request));
}

/// A piece of a state sync, with its items.
pub fn sync_data(data: &[u8]) {
    let sync = match SyncData::decode(data) {
        Ok(sync) => sync,
        Err(error) => return refused(error),
    };
    let mut rest = &data[4..];
    let mut items = sync.items.clone();
    for decoded in items.by_ref() {
        match decoded {
            Ok(item) => {
                let len = check_item(&item, rest);
                rest = &rest[len..];
            }
            Err(error) => {
                refused(error);
                assert_eq!(decode_item(rest), Err(error));
                assert_eq!(items.next(), None, "nothing follows an error");
                return;
            }
        }
    }
    assert!(rest.is_empty(), "all was read");
    if data.len() <= MAX_PAYLOAD_BYTES {
        let again = payload(|frame| {
            frame.push_sync_id(sync.sync_id)?;
            sync.items.clone().try_for_each(|item| frame.push_item(&item.expect("decoded before")))
        });
        assert_eq!(again, data, "a stream of items has one encoding");
    }
}

/// Checks an item that was read from the front of `bytes`; returns its length.
fn check_item(item: &SyncItem<'_>, bytes: &[u8]) -> usize {
    let mut buffer = [0xEE; MAX_ITEM_BYTES];
    let len = encode_item(item, &mut buffer).expect("what was decoded can be encoded");
    assert_eq!(&buffer[..len], &bytes[..len], "an item has one encoding");
    let mut dots = Vec::new();
    match *item {
        SyncItem::VectorRange { first, last, .. } => assert!(0 < first && first <= last),
        SyncItem::PreRemoved { dot, kind, key, element } => {
            assert_ne!(dot.seq, 0);
            check_key(key);
            check_element(kind, element);
        }
        SyncItem::Key { key, .. } => check_key(key),
        SyncItem::Touch { seq, .. } | SyncItem::Dropped { seq, .. } => assert_ne!(seq, 0),
        SyncItem::Folded { actor, last, number, .. } => {
            assert!(last > 0 && number > 0 && actor.fold_number().is_none());
        }
        SyncItem::RegisterValue { value, .. } => assert!(value.len() <= MAX_REGISTER_BYTES),
        SyncItem::Element { element, dots: encoded, more } => {
            assert!(element.len() <= MAX_ELEMENT_BYTES);
            dots.extend(check_dots(&encoded));
            let rebuilt = SyncItem::Element { element, dots: dots.as_slice().into(), more };
            assert_eq!(rebuilt, *item);
            assert_eq!(encode_item(&rebuilt, &mut buffer), Ok(len));
        }
        SyncItem::Begin { .. }
        | SyncItem::VectorEnd
        | SyncItem::CounterEntry { .. }
        | SyncItem::KeyEnd
        | SyncItem::End => {}
    }
    assert_eq!(decode_item(&buffer), Ok((*item, len)));
    assert!(decode_item(&bytes[..len - 1]).is_err(), "a prefix is no item");
    assert_eq!(encode_item(item, &mut buffer[..len - 1]), Err(NoRoom));
    len
}

/// Forgotten nodes.
pub fn forget(data: &[u8]) {
    match Forget::decode(data) {
        Ok(forget) => {
            let Forget { answers, round, digest, nodes } = forget;
            let again = payload(|frame| Forget::encode(frame, answers, round, digest, nodes.iter()));
            assert_eq!(again, data);
        }
        Err(error) => refused(error),
    }
}

/// A question about dead epochs, an agreement or a decision.
pub fn fold(data: &[u8]) {
    match Fold::decode(data) {
        Ok(Fold { step: FoldStep::Ask, round, digest, number, epochs }) => {
            let epochs: Vec<_> = epochs.iter().collect();
            let again = payload(|frame| Fold::encode_question(frame, round, digest, number, &epochs));
            assert_eq!(again, data);
        }
        Ok(Fold { step, round, .. }) => assert_eq!(payload(|frame| Fold::encode(frame, step, round)), data),
        Err(error) => refused(error),
    }
}

/// An acknowledgement of a state sync.
pub fn sync_ack(data: &[u8]) {
    match SyncAck::decode(data) {
        Ok(ack) => assert_eq!(payload(|frame| ack.encode(frame)), data),
        Err(error) => refused(error),
    }
}
