//! Seeds of the segment targets: a real segment with some of everything in it, and small changes of it.

use std::mem::offset_of;

use lattice_segment::layout::{
    CELL_META, CELL_SECOND, CELL_VALUE, CELL_VERSION, CELL_WORDS, GRANULE_BYTES, HeaderLayout, KIND_REGISTER,
    MAX_SECTIONS, SECTION_CELLS, SECTION_EXTENTS,
};
use lattice_segment::{Segment, SegmentConfig, key_hash, shard_of, worker_of};

use super::Seed;
use crate::segment::pack;

/// A segment file as a daemon leaves it, but for what differs from one to the next: incarnation, process and time.
pub(super) fn furnished() -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    let config = SegmentConfig {
        path: directory.path().join("segment"),
        node: 3,
        node_name: "alpha".into(),
        cluster: "fuzz".into(),
        actor: 3 << 48 | 17,
        workers: 2,
        shards: 4,
        cells_per_worker: 24,
        extent_bytes_per_worker: 8 << 10,
        change_ring_entries: 64,
        heartbeat_timeout_ns: 1_000_000_000,
        socket_path: Some("/run/latticed/fuzz.sock".into()),
    };
    let (segment, mut writers) = Segment::create_as(&config, 0x1234_5678_9ABC_DEF0).expect("a segment");
    for number in 0..4u32 {
        let key = format!("key {number} {}", "long ".repeat(number as usize * 3)).into_bytes();
        let hash = key_hash(&key);
        let worker = worker_of(shard_of(hash, config.shards), config.workers);
        let writer = &mut writers[usize::from(worker)];
        writer.heartbeat(1_000 + u64::from(number));
        let word = writer.open_cell(1, hash, &key).expect("room");
        writer.publish_word(word, number.into());
        let register = writer.open_cell(4, hash, &key).expect("room");
        writer.publish_bytes(register, &key).expect("room");
        writer.publish_bytes(register, b"another value").expect("room");
        let set = writer.open_cell(5, hash, &key).expect("room");
        for element in 0..number * 10 {
            writer.set_insert(set, format!("element {element}").as_bytes()).expect("room");
        }
        writer.set_remove(set, b"element 1").expect("room");
        writer.end_burst();
    }
    for writer in &mut writers {
        writer.register_counters(&["frames", "operations"]);
    }
    segment.mark_ready();
    let mut file = std::fs::read(&config.path).expect("the segment that was just written");
    let own = offset_of!(HeaderLayout, pid)..offset_of!(HeaderLayout, heartbeat_timeout_ns);
    for (at, word) in file[own].chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(at as u64 + 1).to_le_bytes());
    }
    file
}

/// Where the extent is that holds the first register's value, in words: the cell refers to it (`ABI.md`).
fn register_extent(file: &[u8]) -> usize {
    let word = |at: usize| {
        let bytes = file[at * 8..][..8].try_into().expect("a word");
        u64::from_le_bytes(bytes)
    };
    let table = offset_of!(HeaderLayout, sections) / 8;
    let section = |id: u64| (0..MAX_SECTIONS).map(|entry| table + entry * 4).find(|at| word(*at) == id);
    let (cells, extents) = (section(SECTION_CELLS), section(SECTION_EXTENTS));
    let (cells, extents) = (cells.expect("cells"), extents.expect("extents"));
    let first = word(cells + 1) as usize / 8;
    let is_register = |at: &usize| word(*at + CELL_META) as u8 == KIND_REGISTER;
    let cell = (first..).step_by(CELL_WORDS).skip(1).find(is_register).expect("a register");
    let slot = if word(cell + CELL_VERSION) % 2 == 0 { CELL_VALUE } else { CELL_SECOND };
    word(extents + 1) as usize / 8 + word(cell + slot) as u32 as usize * (GRANULE_BYTES / 8)
}

/// A stroke that puts a value into a word.
fn put(word: usize, value: u64) -> Vec<u8> {
    [&(word as u16).to_le_bytes()[..], &[0, 255], &value.to_le_bytes()].concat()
}

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = vec![Seed::new("segment", "furnished", pack(&furnished()))];
    seeds.push(Seed::new("segment", "empty", pack(&[0; 4096])));
    seeds.push(Seed::new("segment", "nothing", pack(&[])));
    // No change; the state and a magic byte before; a value, a reference and an extent's header while it is read.
    let strokes: [(&str, &[u8]); 4] = [
        ("untouched", &[0]),
        ("state", &[1, 3, 0, 0, 2]),
        ("magic", &[1, 0, 0, 1, 3]),
        ("meanwhile", &[0, 0, 16, 2, 1, 8, 16, 1, 40, 0, 20, 0, 0, 16, 20, 6, 17]),
    ];
    seeds.extend(strokes.map(|(name, data)| Seed::new("segment_mutated", name, data)));
    // A value of 2,000 bytes in an extent of 3 KiB, which is more than any register may have.
    let file = furnished();
    let extent = register_extent(&file);
    let tag = u64::from_le_bytes(file[extent * 8..][..8].try_into().expect("a word")) >> 32;
    let longer = put(extent, tag << 32 | 13 << 24 | 2_000);
    seeds.push(Seed::new("segment_mutated", "register-too-long", [&[1][..], &longer].concat()));
    seeds
}
