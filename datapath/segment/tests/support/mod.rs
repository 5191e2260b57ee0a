//! A small segment in a temporary directory, for the tests.

// Each test program uses its own part of this.
#![allow(dead_code)]

use lattice_segment::{
    CellRef, Lookup, Reader, Segment, SegmentConfig, Writer, key_hash, shard_of, worker_of,
};
use tempfile::TempDir;

pub struct World {
    pub directory: TempDir,
    pub config: SegmentConfig,
    pub segment: Segment,
    pub writers: Vec<Writer>,
}

pub fn config(directory: &TempDir) -> SegmentConfig {
    SegmentConfig {
        path: directory.path().join("deep").join("segment"),
        node: 3,
        node_name: "alpha".into(),
        cluster: "test".into(),
        actor: 3 << 48 | 17,
        workers: 2,
        shards: 8,
        cells_per_worker: 500,
        extent_bytes_per_worker: 1 << 20,
        change_ring_entries: 256,
        heartbeat_timeout_ns: 1_000_000,
        socket_path: Some("/run/latticed/test.sock".into()),
    }
}

pub fn world(adjust: impl FnOnce(&mut SegmentConfig)) -> World {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory);
    adjust(&mut config);
    let (segment, writers) = Segment::create(&config).unwrap();
    segment.mark_ready();
    World { directory, config, segment, writers }
}

impl World {
    pub fn reader(&self) -> Reader {
        Reader::open(&self.config.path).unwrap()
    }

    pub fn writer_of(&mut self, key: &[u8]) -> &mut Writer {
        let worker = worker_of(shard_of(key_hash(key), self.config.shards), self.config.workers);
        &mut self.writers[usize::from(worker)]
    }
}

pub fn found(reader: &Reader, kind: u8, key: &[u8]) -> CellRef {
    match reader.lookup(kind, key) {
        Lookup::Found(cell) => cell,
        other => panic!("{kind} {key:?}: {other:?}"),
    }
}
