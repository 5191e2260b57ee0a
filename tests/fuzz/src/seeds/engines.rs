//! Seeds of the engine targets: what hosts do when nobody lies, and the first lies of a puppet.

use lattice_wire::decode_frame;

use super::Seed;
use super::frames::golden;
use crate::engine::Sample;
use crate::wire::CLUSTER;

// Steps of `engine::engine`, and what they take; see there.
const RUN: u8 = 0;
const WRITE: u8 = 2;
const DELIVER: u8 = 4;
const TAMPER: u8 = 5;
const LIE: u8 = 6;
const RAW: u8 = 8;
const STORE: u8 = 9;
const RESTART: u8 = 10;
const DECIDE: u8 = 11;

// Bits of a lie.
const RIGHT_SYNC: u8 = 2;
const RIGHT_COUNT: u8 = 4;
const STRANGE_LOG: u8 = 32;

/// So many turns of 1 ms in which everything arrives.
fn calm(turns: u8) -> Vec<u8> {
    vec![0, RUN, 1, (turns - 1) | 16]
}

/// A turn of 10 ms after which frames wait.
fn held() -> Vec<u8> {
    vec![0, RUN, 2, 0]
}

fn write(host: u8, kind: u8, value: u8, op: u8) -> Vec<u8> {
    vec![host, WRITE, kind, 0, value, op]
}

/// An operation of each kind at a host.
fn writes(host: u8) -> Vec<u8> {
    let ops = [(0, 11), (1, 1), (1, 2), (2, 2), (3, 3), (4, 4), (4, 5), (4, 9), (4, 7)];
    ops.iter().flat_map(|&(kind, op)| write(host, kind, host, op)).chain([0, RUN, 1, 0]).collect()
}

fn hello() -> Vec<u8> {
    vec![0, LIE, 0, 2, 0, 0, 0, 1]
}

/// A heartbeat that says that the puppet's log begins at 10: whoever has nothing of it asks for a state sync.
fn provoke_sync() -> Vec<u8> {
    [hello(), vec![0, LIE, STRANGE_LOG, 3, 10, 0, 0, 1, 1, 1, 1, 0], held()].concat()
}

/// Records of a set: an add that supersedes a dot, and a remove of one that has not come.
fn data() -> Vec<u8> {
    let add = [4, 0, 1, 2, 9, 1, 0];
    let remove = [4, 0, 1, 2, 5, 1, 1];
    [&[0, LIE, RIGHT_COUNT, 0, 0, 0, 2][..], &add, &remove].concat()
}

/// One item of a lie's state sync: kind, no dots, element, number of the item, its fields.
fn item(kind: u8, number: u8, fields: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 1, number][..], fields].concat()
}

/// A whole state sync of the puppet, in one frame.
fn sync(full_walk: bool) -> Vec<u8> {
    let element = [4, 0, 1, 2, 1, 1, 9, 1];
    let items = [
        item(0, 0, &[u8::from(!full_walk)]),
        item(0, 1, &[1, 12, 2]),
        item(0, 2, &[2, 12]),
        item(4, 3, &[3, 7]),
        item(0, 4, &[]),
        item(4, 5, &[]),
        item(0, 6, &[2, 12]),
        element.to_vec(),
        item(0, 10, &[]),
        item(0, 11, &[]),
    ];
    [&[0, LIE, RIGHT_SYNC | RIGHT_COUNT, 6, 0, 5][..], &items.concat()].concat()
}

fn scripts() -> Vec<(&'static str, Vec<u8>)> {
    let start = calm(4);
    let restart = |goes_on: u8| vec![0, RESTART, goes_on];
    let whole_snapshot = vec![0, STORE, 3];
    vec![
        ("honest", [start.clone(), writes(0), writes(1), calm(8)].concat()),
        ("lossy", [start.clone(), writes(0), held(), vec![1, DELIVER, 0], held(), calm(16)].concat()),
        (
            "reordered",
            [start.clone(), writes(0), held(), vec![1, DELIVER, 1, 1, DELIVER, 2], calm(4)].concat(),
        ),
        ("tampered", [start.clone(), writes(0), held(), vec![1, TAMPER, 0, 90, 0, 1, 0], calm(4)].concat()),
        (
            "stored",
            [start.clone(), writes(0), whole_snapshot.clone(), writes(0), restart(0), calm(4)].concat(),
        ),
        ("new-epoch", [start.clone(), writes(0), whole_snapshot, restart(1), writes(0), calm(4)].concat()),
        ("log-too-short", [writes(0), writes(0), writes(0), calm(16), calm(16)].concat()),
        ("full-board", [start.clone(), vec![0, DECIDE, 0], writes(0), vec![0, DECIDE, 0], calm(2)].concat()),
        (
            "forgotten",
            [start.clone(), writes(0), vec![0, DECIDE, 1, 2], vec![0, RUN, 5, 3], calm(1)].concat(),
        ),
        ("damaged", damaged()),
        ("data", [start.clone(), hello(), data(), calm(2)].concat()),
        ("sync", [start.clone(), provoke_sync(), sync(false), calm(2), writes(0)].concat()),
        ("full-walk", [start, writes(0), provoke_sync(), sync(true), calm(2), writes(0)].concat()),
    ]
}

/// A golden frame with one byte changed, thrown at a host as it is.
fn damaged() -> Vec<u8> {
    let mut steps = calm(2);
    let (_, whole) = golden().swap_remove(0);
    // Magic, version, type, cluster, length, reserved, tag; too short, too long.
    let last = whole.len() - 1;
    for at in [0, 2, 3, 4, 14, 44, last] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        steps.extend(raw(&bytes));
    }
    steps.extend([raw(&whole[..20]), raw(&[7; 1500])].concat());
    steps
}

fn raw(bytes: &[u8]) -> Vec<u8> {
    [&[0, RAW][..], &(bytes.len() as u16).to_le_bytes(), bytes].concat()
}

/// A snapshot as an input: no log, then the frames.
fn stored(frames: &[Vec<u8>], sealed: bool) -> Vec<u8> {
    let mut data = vec![0, frames.len() as u8];
    for bytes in frames {
        let whole = decode_frame(bytes, CLUSTER).expect("a frame of a snapshot");
        let part = if sealed { bytes.as_slice() } else { whole.payload };
        data.push(u8::from(sealed));
        data.extend((part.len() as u16).to_le_bytes());
        data.extend(part);
    }
    data
}

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds: Vec<Seed> =
        scripts().into_iter().map(|(name, data)| Seed::new("engine", name, data)).collect();
    let Sample { frames, snapshot } = crate::engine::sample();
    let happened = |target, name: String, data| Seed { exact: false, ..Seed::new(target, name, data) };
    for bytes in frames {
        let header = decode_frame(&bytes, CLUSTER).expect("a frame of an engine").header;
        let name = format!("engine-{:?}", header.frame_type).to_lowercase();
        seeds.push(happened("frame", name, [vec![0], bytes].concat()));
    }
    seeds.push(happened("snapshot", "payloads".into(), stored(&snapshot, false)));
    seeds.push(happened("snapshot", "frames".into(), stored(&snapshot, true)));
    // Four records of an own log, no snapshot, and one record of an old epoch.
    seeds.push(Seed::new("snapshot", "log", [4, 1, 3, 2, 1, 3, 3, 3, 0, 1, 3, 0, 1, 107]));
    seeds
}
