//! What the tests share: a publisher that remembers, a ledger of what was written and acknowledged, a disk that crashes.

#![allow(dead_code, reason = "each test program uses its part")]

pub mod crash_disk;
pub mod ledger;
pub mod node;

use lattice_crdt::{ActorId, Kind};
use lattice_engine::{EngineConfig, EngineLimits, EngineTimers, Instant, Published, Publisher, Storage};
use lattice_storage::StorageOptions;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The node of these tests.
pub const NODE: u16 = 3;
/// Ring size of most of them: small, so that it wraps.
pub const LOG_BYTES: u64 = 16 << 10;

/// SplitMix64: draws that a seed repeats.
#[derive(Clone)]
pub struct Draw(pub u64);

impl Draw {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound.max(1)
    }

    pub fn epoch(&mut self) -> ActorId {
        ActorId::new(NODE, (self.bits() >> 24).max(1))
    }
}

/// What was published: the members of each set, and the words.
#[derive(Default)]
pub struct View {
    pub sets: BTreeMap<u32, BTreeSet<Vec<u8>>>,
    pub words: BTreeMap<u32, u64>,
    cells: Vec<Vec<u8>>,
}

impl View {
    /// Members of the only set.
    pub fn members(&self) -> BTreeSet<Vec<u8>> {
        self.sets.values().flatten().cloned().collect()
    }
}

impl Publisher for View {
    fn open(&mut self, kind: Kind, _: u64, key: &[u8]) -> Option<u32> {
        let name = [&[kind as u8], key].concat();
        let at = self.cells.iter().position(|cell| *cell == name).unwrap_or(self.cells.len());
        if at == self.cells.len() {
            self.cells.push(name);
        }
        Some(at as u32)
    }

    fn word(&mut self, cell: u32, value: u64) -> Published {
        self.words.insert(cell, value);
        Published::Visible
    }

    fn bytes(&mut self, _: u32, _: &[u8]) -> Published {
        Published::Visible
    }

    fn element(&mut self, cell: u32, element: &[u8], present: bool) -> Published {
        let members = self.sets.entry(cell).or_default();
        match present {
            true => members.insert(element.to_vec()),
            false => members.remove(element),
        };
        Published::Visible
    }
}

pub fn options(data: &Path, runtime: &Path, boot_id: u128) -> StorageOptions {
    StorageOptions {
        data: data.to_owned(),
        runtime: runtime.to_owned(),
        cluster: "test".into(),
        node: NODE,
        shards: 1,
        log_bytes: LOG_BYTES,
        boot_id,
    }
}

pub fn config(actor: ActorId) -> EngineConfig {
    EngineConfig {
        actor,
        session: 1,
        shard: 0,
        cluster_tag: 7,
        peers: vec![9],
        storage: Storage::Durable,
        limits: EngineLimits::default(),
        timers: EngineTimers::default(),
        random_seed: 1,
    }
}

pub const NOW: Instant = Instant { monotonic_ns: 1_000_000, wall_ns: 1_700_000_000_000_000_000 };
