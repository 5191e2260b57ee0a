//! Seeds of the decoders: the golden files of the wire format, whole and as payloads.

use lattice_wire::{FrameType, decode_frame};

use super::Seed;
use crate::wire::CLUSTER;

/// The wire's golden files; a directory is read, because each format change adds to it.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../datapath/wire/tests/golden");

/// The frames of the golden files, each with its name.
pub(super) fn golden() -> Vec<(String, Vec<u8>)> {
    let mut frames = Vec::new();
    for entry in std::fs::read_dir(GOLDEN).expect("the golden files") {
        let path = entry.expect("a golden file").path();
        let text = std::fs::read_to_string(&path).expect("a readable golden file");
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).expect("two digits");
            u8::from_str_radix(pair, 16).expect("a byte")
        };
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        frames.push((name, digits.chunks(2).map(byte).collect()));
    }
    frames.sort();
    frames
}

/// The target of a payload.
fn target_of(frame_type: FrameType) -> &'static str {
    match frame_type {
        FrameType::Data => "record",
        FrameType::Ack => "ack",
        FrameType::Hello | FrameType::Vector | FrameType::Stable => "vector",
        FrameType::Heartbeat => "heartbeat",
        FrameType::SyncRequest => "sync_request",
        FrameType::SyncData => "sync_data",
        FrameType::SyncAck => "sync_ack",
        FrameType::Forget => "forget",
        FrameType::Fold => "fold",
    }
}

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (name, bytes) in golden() {
        let frame = decode_frame(&bytes, CLUSTER).expect("a golden frame");
        seeds.push(Seed::new(target_of(frame.header.frame_type), &name, frame.payload));
        // As it is, and with everything repaired that a mutation may break.
        for (repair, suffix) in [(0, "as-is"), (3, "repaired")] {
            let mut data = vec![repair];
            data.extend(&bytes);
            seeds.push(Seed::new("frame", format!("{name}-{suffix}"), data));
        }
    }
    seeds
}
