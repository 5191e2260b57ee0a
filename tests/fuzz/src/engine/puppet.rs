//! A peer whose frames the input writes: well sealed, in the right session if it likes, saying anything.

use lattice_crdt::{ActorId, Dot, Hlc, Kind, SeqRange};
use lattice_wire::{
    Ack, Deltas, Dots, Fold, FoldStep, Forget, FrameType, FrameWriter, Header, Heartbeat, MAX_FRAME_BYTES,
    Op, Record, SyncAck, SyncData, SyncItem, SyncRequest, VectorPart, decode_frame,
};

use std::collections::BTreeMap;

use super::NODES;
use super::host::SHARD;
use crate::input::Input;
use crate::wire::CLUSTER;

const NODE: u16 = NODES[NODES.len() - 1];
const SESSION: u32 = 777;

/// What the puppet knows of each host.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// The last state sync between them, whoever asked for it.
    sync_id: u32,
    /// The frame of it that the host waits for.
    next_index: u64,
}

/// The puppet's memory.
#[derive(Debug, Default)]
pub(super) struct Puppet {
    heard: [Heard; 2],
}

/// Bits of a lie's first byte.
mod how {
    /// Sessions are made up.
    pub const STRANGE_SESSION: u8 = 1;
    /// The sync's id and index are those of the running sync.
    pub const RIGHT_SYNC: u8 = 2;
    /// The count is what the payload has.
    pub const RIGHT_COUNT: u8 = 4;
    /// The payload is bytes of the input, not made of well-formed parts.
    pub const RAW: u8 = 8;
    /// Another epoch of the puppet.
    pub const OTHER_EPOCH: u8 = 16;
    /// The front of the log is made up.
    pub const STRANGE_LOG: u8 = 32;
}

fn kind_and_key(input: &mut Input<'_>) -> (Kind, [u8; 2]) {
    let kind = input.choose(&Kind::ALL);
    (kind, [kind as u8, input.u8() % 3])
}

fn range(input: &mut Input<'_>) -> SeqRange {
    let (a, b) = (input.number(), input.number());
    SeqRange { first: a.min(b), last: a.max(b) }
}

/// Who a lie can be about.
struct Cast {
    actors: [ActorId; 5],
}

impl Cast {
    fn actor(&self, input: &mut Input<'_>) -> ActorId {
        match input.u8() {
            255 => ActorId::from_u64(input.u64()),
            at => self.actors[usize::from(at) % self.actors.len()],
        }
    }

    fn dots(&self, input: &mut Input<'_>) -> Vec<Dot> {
        (0..input.below(4)).map(|_| Dot::new(self.actor(input), input.number())).collect()
    }
}

impl Puppet {
    /// A host sent the puppet a frame.
    pub(super) fn hear(&mut self, host: usize, bytes: &[u8]) {
        let frame = decode_frame(bytes, CLUSTER).expect("a host's frame");
        let heard = &mut self.heard[host];
        match frame.header.frame_type {
            FrameType::SyncRequest => {
                let request = SyncRequest::decode(frame.payload).expect("a host's request");
                *heard = Heard { sync_id: request.sync_id, next_index: 0 };
            }
            FrameType::SyncAck => {
                let ack = SyncAck::decode(frame.payload).expect("a host's acknowledgement");
                *heard = Heard { sync_id: ack.sync_id, next_index: ack.cumulative };
            }
            FrameType::SyncData => {
                heard.sync_id = SyncData::decode(frame.payload).expect("a host's piece").sync_id;
            }
            _ => {}
        }
    }

    /// A frame to a host.
    pub(super) fn frame(
        &self,
        host: usize,
        hosts: &[ActorId; 2],
        session: u32,
        input: &mut Input<'_>,
    ) -> Vec<u8> {
        let (how, frame_type) = (input.u8(), input.choose(&FrameType::ALL));
        let has = |bit: u8| how & bit != 0;
        let own = ActorId::new(NODE, if has(how::OTHER_EPOCH) { 2 + u64::from(input.u8() % 8) } else { 1 });
        let mut header = Header {
            frame_type,
            cluster_tag: CLUSTER,
            node: NODE,
            dest_node: hosts[host].node(),
            shard: SHARD,
            actor: own,
            src_session: SESSION,
            dst_session: session,
            lo: 0,
            count: 1,
            log_first: 1,
        };
        if has(how::STRANGE_SESSION) {
            (header.src_session, header.dst_session) = (input.number() as u32, input.number() as u32);
        }
        if has(how::STRANGE_LOG) {
            header.log_first = input.number();
        }
        let heard = self.heard[host];
        let sync_id = if has(how::RIGHT_SYNC) { heard.sync_id } else { input.number() as u32 };
        if frame_type == FrameType::SyncData && has(how::RIGHT_SYNC) {
            header.lo = heard.next_index.wrapping_add(input.number() & 3);
        } else if matches!(frame_type, FrameType::SyncData | FrameType::Data) {
            header.lo = input.number().min(u64::MAX - u64::from(u32::MAX));
        }
        let mut buffer = [0xEE; MAX_FRAME_BYTES];
        let mut frame = FrameWriter::new(&mut buffer, header).expect("a whole buffer");
        if has(how::RAW) {
            if has(how::RIGHT_SYNC) && matches!(frame_type, FrameType::SyncData | FrameType::SyncRequest) {
                let _ = frame.push_sync_id(sync_id);
            }
            let bytes = input.long_string();
            let room = frame.payload_room().min(bytes.len());
            frame.push_bytes(&bytes[..room]).expect("as much as there is room for");
        } else {
            let cast = Cast { actors: [hosts[0], hosts[1], own, ActorId::new(NODE, 7), ActorId::new(9, 1)] };
            write_parts(&mut frame, sync_id, &cast, input);
        }
        if !has(how::RIGHT_COUNT) {
            frame.set_count(input.number() as u32);
        }
        let len = frame.finish();
        let mut bytes = buffer[..len].to_vec();
        if has(how::RIGHT_COUNT) && frame_type == FrameType::Data {
            set_right_count(&mut bytes);
        }
        bytes
    }
}

/// Gives a data frame the count of the records that are in it.
fn set_right_count(bytes: &mut [u8]) {
    let Ok(frame) = decode_frame(bytes, CLUSTER) else { return };
    let count = Deltas::new(frame.payload, frame.header.actor).filter(Result::is_ok).count() as u32;
    bytes[lattice_wire::offsets::COUNT..][..4].copy_from_slice(&count.to_le_bytes());
    crate::wire::seal(bytes, CLUSTER);
}

/// A payload of parts that are each well formed. What the codec refuses to write (a range that starts at zero, what no
/// longer fits) is left out.
fn write_parts(frame: &mut FrameWriter<'_>, sync_id: u32, cast: &Cast, input: &mut Input<'_>) {
    let frame_type = frame.header_mut().frame_type;
    let parts = input.below(12);
    let ranges = |input: &mut Input<'_>| -> Vec<(ActorId, SeqRange)> {
        (0..parts).map(|_| (cast.actor(input), range(input))).collect()
    };
    let _ = match frame_type {
        FrameType::Data => {
            (0..parts).for_each(|_| push_record(frame, cast, input));
            Ok(())
        }
        FrameType::Ack => {
            let (actor, contiguous) = (cast.actor(input), input.number());
            let ranges: Vec<SeqRange> = ranges(input).into_iter().map(|(_, range)| range).collect();
            Ack::new(actor, contiguous, &ranges).encode(frame)
        }
        FrameType::Hello | FrameType::Vector | FrameType::Stable => {
            let ranges = ranges(input);
            VectorPart::encode(frame, input.u8() % 3, 3, ranges)
        }
        FrameType::Heartbeat => {
            let numbers = [input.number(), input.number(), input.number(), input.number()];
            let [state_digest, vector_digest, wall_ns, last_seq] = numbers;
            Heartbeat { state_digest, vector_digest, wall_ns, last_seq }.encode(frame)
        }
        FrameType::SyncRequest => {
            let ranges = ranges(input);
            SyncRequest::encode(frame, sync_id.wrapping_add(input.number() as u32), 0, 1, ranges)
        }
        FrameType::SyncData => {
            let pushed = frame.push_sync_id(sync_id);
            (0..2 * parts).for_each(|_| push_item(frame, cast, input));
            pushed
        }
        FrameType::SyncAck => {
            let (cumulative, bitmap) = (input.number(), input.number());
            SyncAck { sync_id, cumulative, bitmap, abort: input.below(8) == 0 }.encode(frame)
        }
        FrameType::Forget => {
            let (round, digest) = (input.number() as u32, input.number());
            let nodes: BTreeMap<u16, u8> =
                (0..parts % 3).map(|_| (cast.actor(input).node(), input.u8().max(1))).collect();
            Forget::encode(frame, input.below(2) == 0, round, digest, nodes)
        }
        FrameType::Fold => {
            let (round, digest) = (input.number() as u32, input.number());
            let step = input.choose(&[FoldStep::Ask, FoldStep::Ask, FoldStep::Agree, FoldStep::Decide]);
            if step == FoldStep::Ask {
                let epochs: BTreeMap<ActorId, u64> =
                    (0..1 + parts % 3).map(|_| (cast.actor(input), input.number())).collect();
                let epochs: Vec<_> = epochs.into_iter().collect();
                Fold::encode_question(frame, round, digest, u16::from(input.u8()), &epochs)
            } else {
                Fold::encode(frame, step, round)
            }
        }
    };
}

fn push_record(frame: &mut FrameWriter<'_>, cast: &Cast, input: &mut Input<'_>) {
    let (kind, key) = kind_and_key(input);
    let dots = cast.dots(input);
    let element = element(kind, input);
    let op = match kind {
        Kind::Counter => Op::Counter { increments: wide(input), decrements: wide(input) },
        Kind::Register => Op::Register { hlc: Hlc::from_u64(input.number()), value: b"of the puppet" },
        _ if input.below(2) == 0 => Op::Add { element: &element, superseded: Dots::from(&dots[..]) },
        _ => Op::Remove { element: &element, removed: Dots::from(&dots[..]) },
    };
    let _ = frame.push_record(&Record { kind, key: &key, op });
}

fn push_item(frame: &mut FrameWriter<'_>, cast: &Cast, input: &mut Input<'_>) {
    let (kind, key) = kind_and_key(input);
    let dots = cast.dots(input);
    let element = element(kind, input);
    let item = match input.below(13) {
        12 => SyncItem::Folded {
            actor: cast.actor(input),
            last: input.number(),
            number: u16::from(input.u8()),
            settled: input.below(2) == 0,
        },
        0 => SyncItem::Begin { full_walk: input.below(2) == 0, keys: input.number() },
        1 => {
            let SeqRange { first, last } = range(input);
            SyncItem::VectorRange { actor: cast.actor(input), first, last }
        }
        2 => SyncItem::Dropped { actor: cast.actor(input), seq: input.number() },
        3 => SyncItem::PreRemoved {
            dot: Dot::new(cast.actor(input), input.number()),
            kind,
            key: &key,
            element: &element,
        },
        4 => SyncItem::VectorEnd,
        5 => SyncItem::Key { kind, key: &key },
        6 => SyncItem::Touch { actor: cast.actor(input), seq: input.number() },
        7 => SyncItem::CounterEntry {
            actor: cast.actor(input),
            increments: wide(input),
            decrements: wide(input),
        },
        8 => SyncItem::RegisterValue {
            hlc: Hlc::from_u64(input.number()),
            actor: cast.actor(input),
            value: b"of the puppet",
        },
        9 => SyncItem::Element { element: &element, dots: Dots::from(&dots[..]), more: input.below(4) == 0 },
        10 => SyncItem::KeyEnd,
        _ => SyncItem::End,
    };
    // One that is malformed is left out, not the rest.
    let _ = frame.push_item(&item);
}

fn wide(input: &mut Input<'_>) -> u128 {
    match input.u8() {
        255 => u128::MAX,
        254 => u128::from(input.u64()) << 64,
        _ => input.number().into(),
    }
}

fn element(kind: Kind, input: &mut Input<'_>) -> Vec<u8> {
    match (kind, input.u8()) {
        (Kind::Set, 255) => vec![7; 256],
        (Kind::Set, 254) => Vec::new(),
        (Kind::Set, byte) => vec![byte % 4],
        (_, byte) => vec![byte % 2],
    }
}
