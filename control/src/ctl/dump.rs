//! `dump`: every key with its value, as JSON lines, from the segment of a daemon or from a backup without one.
//!
//! ```text
//!   {"key":"requests/today","kind":"counter","value":5}
//!   {"key":{"hex":"ff00"},"kind":"set","value":["a","b"]}        bytes that are no UTF-8 say so
//! ```
//!
//! Sorted by key. A dump of a running daemon is no moment: each key is as it was when it was read. One of a backup goes through
//! the engine, as a restore does, and shows what a restored node would.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lattice_client::Kind;
use lattice_crdt::ActorId;
use lattice_engine::{
    EngineConfig, EngineLimits, EngineTimers, Instant, MemoryLog, Published, Publisher, Storage,
};
use lattice_storage::BackupReader;
use serde_json::json;

use super::args::Read;
use super::data::{self, Datum, kind_name};
use super::discover::Place;
use super::error::CtlError;
use super::output::{Output, json_bytes};

/// The epoch of the engines that are made to be looked at: nothing is ever written in it.
const NO_EPOCH: u64 = 1;
/// A log that nothing is written to.
const NO_LOG: (usize, usize) = (1 << 16, 64);

/// `dump` of a daemon's state.
pub(super) fn dump(place: &Place, prefix: &[u8], how: &Read) -> Result<(), CtlError> {
    let client = data::open(place, how.stale)?;
    for found in client.keys(prefix) {
        line(&found.key, found.kind, &data::read(&client, found.kind, &found.key)?)?;
    }
    Ok(())
}

/// `dump --backup`. Nothing is printed of a file that is not whole.
pub(super) fn dump_backup(path: &Path, prefix: &[u8]) -> Result<(), CtlError> {
    let mut backup = BackupReader::open(path)?;
    backup.check()?;
    let about = backup.about().clone();
    let mut shown = Shown::default();
    while let Some(shard) = backup.next_shard()? {
        let config = EngineConfig {
            actor: ActorId::new(about.node, NO_EPOCH),
            session: 1,
            shard: shard.shard,
            cluster_tag: about.cluster_tag,
            peers: Vec::new(),
            storage: Storage::Memory,
            limits: EngineLimits::default(),
            timers: EngineTimers::default(),
            random_seed: 1,
        };
        let now = Instant { monotonic_ns: 1, wall_ns: 1 };
        let mut engine = shard.recover(config, MemoryLog::new(NO_LOG.0, NO_LOG.1), now)?;
        engine.commit(now, &mut shown);
        shown.cells.clear();
    }
    for ((key, kind), value) in shown.values.range((prefix.to_vec(), Kind::from_u8(0))..) {
        if !key.starts_with(prefix) {
            break;
        }
        line(key, *kind, &value.datum())?;
    }
    Ok(())
}

fn line(key: &[u8], kind: Kind, value: &Datum) -> Result<(), CtlError> {
    let datum = || json!({ "key": json_bytes(key), "kind": kind_name(kind), "value": value.json() });
    Output::new(true).datum(datum, String::new)
}

/// What an engine shows, in place of a segment.
#[derive(Default)]
struct Shown {
    values: BTreeMap<(Vec<u8>, Kind), Value>,
    /// Of the present shard.
    cells: Vec<(Vec<u8>, Kind)>,
}

enum Value {
    Word(Kind, u64),
    Bytes(Option<Vec<u8>>),
    Members(BTreeSet<Vec<u8>>),
}

impl Value {
    fn datum(&self) -> Datum {
        match self {
            Value::Word(Kind::Counter, word) => Datum::Counter(word.cast_signed()),
            Value::Word(_, word) => Datum::Flag(*word != 0),
            Value::Bytes(bytes) => Datum::Register(bytes.clone()),
            Value::Members(members) => Datum::Set(members.iter().cloned().collect()),
        }
    }
}

impl Shown {
    fn at(&mut self, cell: u32) -> Option<&mut Value> {
        let name = self.cells.get(usize::try_from(cell).ok()?)?;
        self.values.get_mut(name)
    }
}

impl Publisher for Shown {
    fn open(&mut self, kind: lattice_crdt::Kind, _: u64, key: &[u8]) -> Option<u32> {
        let kind = Kind::from_u8(kind as u8);
        let empty = match kind {
            Kind::Register => Value::Bytes(None),
            Kind::Set => Value::Members(BTreeSet::new()),
            kind => Value::Word(kind, 0),
        };
        self.values.insert((key.to_vec(), kind), empty);
        self.cells.push((key.to_vec(), kind));
        u32::try_from(self.cells.len() - 1).ok()
    }

    fn word(&mut self, cell: u32, value: u64) -> Published {
        if let Some(Value::Word(_, word)) = self.at(cell) {
            *word = value;
        }
        Published::Visible
    }

    fn bytes(&mut self, cell: u32, value: &[u8]) -> Published {
        if let Some(Value::Bytes(bytes)) = self.at(cell) {
            *bytes = Some(value.to_vec());
        }
        Published::Visible
    }

    fn element(&mut self, cell: u32, element: &[u8], present: bool) -> Published {
        if let Some(Value::Members(members)) = self.at(cell) {
            match present {
                true => members.insert(element.to_vec()),
                false => members.remove(element),
            };
        }
        Published::Visible
    }
}
