//! Any frames, and any log, as storage: recovery refuses or gives an engine that is as good as any.

use lattice_crdt::{ActorId, Dot, Kind};
use lattice_engine::{Instant, LocalOp, RecoverError, Recovery};
use lattice_wire::{
    FrameType, FrameWriter, Header, MAX_FRAME_BYTES, MAX_RECORD_BYTES, Op, Record, encode_record,
};

use super::host::{Host, KeptLog, SHARD, config, instant};
use super::{MS, NODES};
use crate::input::Input;
use crate::wire::CLUSTER;

const ACTOR: ActorId = ActorId::new(1, 1);
const OLD: ActorId = ActorId::new(1, 5);
const SESSION: u32 = 9;

/// A new epoch of a host from a snapshot that an engine wrote.
pub(super) fn recovered(frames: &[Vec<u8>], actor: ActorId, nodes: &[u16], now: Instant) -> Host {
    let log = KeptLog::holding(&[]);
    let kept = log.kept();
    let mut recovery = Recovery::new(config(actor, SESSION, nodes), log, now).expect("a good configuration");
    for frame in frames {
        recovery.snapshot_frame(frame).expect("an engine's own snapshot");
    }
    let engine = recovery.finish().expect("a whole snapshot, and no log");
    Host::around(engine, actor, SESSION, kept, nodes).believing()
}

/// Records of an own log: counters and adds, as an engine would have written them, or any bytes.
fn log(input: &mut Input<'_>) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for seq in 1..=input.below(8) as u64 {
        let mut buffer = [0; MAX_RECORD_BYTES];
        let dots = [Dot::new(ACTOR, input.number())];
        let record = match input.below(4) {
            0 => {
                let bytes = input.string();
                records.push(bytes.to_vec());
                continue;
            }
            1 => Record {
                kind: Kind::Set,
                key: &[5, 0],
                op: Op::Add { element: b"e", superseded: dots.as_slice().into() },
            },
            2 => Record {
                kind: Kind::Set,
                key: &[5, 0],
                op: Op::Remove { element: b"e", removed: dots.as_slice().into() },
            },
            _ => Record {
                kind: Kind::Counter,
                key: &[1, 0],
                op: Op::Counter { increments: seq.into(), decrements: 0 },
            },
        };
        // A dot of seq 0 is none.
        let len = encode_record(&record, ACTOR, &mut buffer).unwrap_or(0);
        records.push(buffer[..len].to_vec());
    }
    records
}

/// A frame of a snapshot: any bytes, or any payload in a frame that fits; most often in its place.
fn frame(index: u64, input: &mut Input<'_>) -> Vec<u8> {
    let how = input.u8();
    if how & 1 != 0 {
        return input.long_string().to_vec();
    }
    let header = Header {
        frame_type: FrameType::SyncData,
        cluster_tag: CLUSTER,
        node: ACTOR.node(),
        dest_node: ACTOR.node(),
        shard: SHARD,
        actor: OLD,
        src_session: 1,
        dst_session: 0,
        lo: if how & 2 == 0 { index } else { input.number() },
        count: 0,
        log_first: 1,
    };
    let mut buffer = [0; MAX_FRAME_BYTES];
    let mut frame = FrameWriter::new(&mut buffer, header).expect("a whole buffer");
    let payload = input.long_string();
    let room = frame.payload_room().min(payload.len());
    frame.push_bytes(&payload[..room]).expect("as much as there is room for");
    let len = frame.finish();
    buffer[..len].to_vec()
}

/// Storage of any content.
pub fn snapshot(data: &[u8]) {
    let mut input = Input::new(data);
    let now = instant(MS);
    let log = KeptLog::holding(&log(&mut input));
    let kept = log.kept();
    let mut recovery = Recovery::new(config(ACTOR, SESSION, &NODES), log, now).expect("a good configuration");
    for index in 0..input.below(8) as u64 {
        if let Err(error) = recovery.snapshot_frame(&frame(index, &mut input)) {
            return assert!(!error.to_string().is_empty());
        }
    }
    for seq in 1..=input.below(4) as u64 {
        let bytes = input.string();
        if let Err(error) = recovery.old_record(Dot::new(OLD, seq), bytes) {
            return assert!(matches!(error, RecoverError::Record { .. } | RecoverError::NotWhole));
        }
    }
    match recovery.finish() {
        Ok(engine) => {
            works(Host::around(engine, ACTOR, SESSION, kept, &NODES).believing());
        }
        Err(error) => {
            assert!(!matches!(error, RecoverError::Config(_)) && !error.to_string().is_empty());
        }
    }
}

/// An engine out of storage holds its invariants, takes writes, and can be stored again.
fn works(mut host: Host) {
    host.check();
    let now = instant(2 * MS);
    let before = host.engine.last_seq();
    let applied = host.engine.apply(now, Kind::Counter, b"new", LocalOp::CounterAdd(1));
    assert!(applied.is_ok() || host.engine.stats().keys >= super::host::limits().max_keys as u64);
    assert_eq!(host.engine.last_seq(), before + u64::from(applied.is_ok()));
    host.turn(now);
    host.check_board(instant(10_000 * MS));
    let (frames, state) = host.photograph();
    let mut again = recovered(&frames, ActorId::new(1, 0xFFFF), &NODES, now);
    assert_eq!(again.photograph().1.vector, state.vector);
}
