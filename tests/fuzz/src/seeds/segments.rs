//! Seeds of the segment targets: a real segment with some of everything in it, and small changes of it.

use std::mem::offset_of;

use lattice_segment::layout::HeaderLayout;
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
    seeds
}
