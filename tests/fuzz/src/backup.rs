//! Any bytes as a backup: what is not as it was written is found, and what passes every check is an engine or a reason.
//!
//! ```text
//!   a real backup ──> edits ──> cut ──> seals made to fit, or not ──> read, checked, recovered
//! ```
//!
//! Without the seals the reader must find whatever differs. With them its lengths, counts and owners lie, behind checks that
//! hold.

use std::io::{Seek, Write};
use std::path::Path;
use std::sync::OnceLock;

use lattice_crdt::{ActorId, Kind};
use lattice_engine::{
    EngineConfig, EngineLimits, EngineTimers, Instant, LocalOp, MemoryLog, Published, Publisher, Storage,
};
use lattice_storage::{
    BackupAbout, BackupFile, BackupReader, Directory, OsDisk, StorageError, StorageOptions,
};
use lattice_wire::MAX_FRAME_BYTES;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::input::Input;
use crate::wire::CLUSTER;

const NODE: u16 = 3;
const SHARDS: u16 = 2;
const LOG_BYTES: u64 = 16 << 10;
const NOW: Instant = Instant { monotonic_ns: 1_000_000, wall_ns: 1_700_000_000_000_000_000 };
/// Lengths in the file, as its format says.
const HEADER_BYTES: usize = 512;
const SECTION_BYTES: usize = 64;

/// Whoever reads it sees nothing.
struct Blind;

impl Publisher for Blind {
    fn open(&mut self, _: Kind, _: u64, _: &[u8]) -> Option<u32> {
        Some(0)
    }
    fn word(&mut self, _: u32, _: u64) -> Published {
        Published::Visible
    }
    fn bytes(&mut self, _: u32, _: &[u8]) -> Published {
        Published::Visible
    }
    fn element(&mut self, _: u32, _: &[u8], _: bool) -> Published {
        Published::Visible
    }
}

fn config(actor: ActorId, shard: u16) -> EngineConfig {
    EngineConfig {
        actor,
        session: 1,
        shard,
        cluster_tag: CLUSTER,
        peers: vec![9],
        storage: Storage::Durable,
        limits: EngineLimits::default(),
        timers: EngineTimers::default(),
        random_seed: 1,
    }
}

/// A backup of a node with some of everything, and where its sections are. The same in every run.
fn sample() -> &'static (Vec<u8>, Vec<usize>) {
    static SAMPLE: OnceLock<(Vec<u8>, Vec<usize>)> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let place = tempfile::tempdir().expect("a directory");
        write_sample(place.path()).expect("a backup");
        let bytes = std::fs::read(place.path().join("backup")).expect("the backup that was just written");
        let sections = sections_of(&bytes);
        (bytes, sections)
    })
}

fn write_sample(place: &Path) -> Result<(), StorageError> {
    let (data, runtime) = (place.join("data"), place.join("runtime"));
    for directory in [&data, &runtime] {
        std::fs::create_dir(directory).expect("a directory");
    }
    let cluster = "fuzz".to_owned();
    let options = StorageOptions {
        data,
        runtime,
        cluster,
        node: NODE,
        shards: SHARDS,
        log_bytes: LOG_BYTES,
        boot_id: 7,
    };
    let mut drawn = 0;
    let draw = move || {
        drawn += 1;
        drawn
    };
    let directory = Directory::open_on(std::sync::Arc::new(OsDisk), options, (1, 2), Box::new(draw))?;
    let about = BackupAbout {
        cluster: "fuzz".into(),
        cluster_tag: CLUSTER,
        node: NODE,
        shards: SHARDS,
        taken_unix_ms: 5,
    };
    let mut writer = BackupFile::create(&place.join("backup"))?.begin(about)?;
    for shard in 0..SHARDS {
        let fresh = ActorId::new(NODE, 5);
        let recovered = directory.recover(shard, fresh, NOW, |actor| config(actor, shard))?;
        let (mut engine, mut keeper) = (recovered.engine, recovered.keeper);
        let write = |engine: &mut lattice_engine::Engine<_>, round: u8| {
            let element = [round, 1, 2];
            for (kind, key, op) in [
                (Kind::Counter, &b"c"[..], LocalOp::CounterAdd(i64::from(round) - 3)),
                (Kind::Register, b"r", LocalOp::RegisterSet(&[round; 40])),
                (Kind::FlagEnableWins, b"f", LocalOp::Enable),
                (Kind::Set, b"s", LocalOp::SetInsert(&element)),
                (Kind::Set, b"s", LocalOp::SetRemove(&[round - 1, 1, 2])),
            ] {
                engine.apply(NOW, kind, key, op).expect("room");
            }
            engine.commit(NOW, &mut Blind);
        };
        (1..5).for_each(|round| write(&mut engine, round));
        let (mark, number) = (recovered.handle.head(), engine.begin_snapshot());
        keeper.begin(number, mark)?;
        let mut frame = [0; MAX_FRAME_BYTES];
        while let Some(len) = engine.write_snapshot(&mut frame) {
            keeper.frame(number, &frame[..len])?;
        }
        keeper.finish(number, recovered.handle.head())?;
        // Beyond the snapshot: records of the log.
        (5..8).for_each(|round| write(&mut engine, round));
        keeper.image().flush(true)?;
        writer.shard(&keeper.image().copy()?)?;
    }
    writer.finish().map(drop)
}

fn word(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes) as usize
}

fn sections_of(bytes: &[u8]) -> Vec<usize> {
    let mut at = HEADER_BYTES;
    let mut sections = Vec::new();
    for _ in 0..SHARDS {
        sections.push(at);
        at += SECTION_BYTES + word(bytes, at + 8) + word(bytes, at + 24);
    }
    sections
}

/// Makes the seals of header and sections fit what is in them, and the end fit the sections.
fn seal(bytes: &mut [u8], sections: &[usize]) {
    let reseal = |block: &mut [u8]| {
        let (body, sum) = block.split_at_mut(block.len() - 8);
        sum.copy_from_slice(&xxh3_64(body).to_le_bytes());
    };
    let mut hash = 0;
    bytes.get_mut(..HEADER_BYTES).into_iter().for_each(reseal);
    for at in sections {
        let Some(block) = bytes.get_mut(*at..at + SECTION_BYTES) else { return };
        reseal(block);
        hash = xxh3_64_with_seed(block, hash);
    }
    if let Some(at) = bytes.len().checked_sub(SECTION_BYTES) {
        bytes[at + 24..at + 32].copy_from_slice(&hash.to_le_bytes());
        reseal(&mut bytes[at..]);
    }
}

/// The target. Its input: edits of a real backup, how much of it is there, whether the seals fit.
pub fn backup(data: &[u8]) {
    let mut input = Input::new(data);
    let (sample, sections) = sample();
    let mut bytes = sample.clone();
    let sealed = input.u8() % 2 == 1;
    if input.u8() % 4 == 3 {
        let len = usize::from(input.u16()) % (bytes.len() + 16);
        bytes.resize(len, 0);
    }
    while !input.is_empty() && !bytes.is_empty() {
        // Blocks before what they describe: a change there goes further.
        let at = match input.u8() % 4 {
            0 => usize::from(input.u16()) % HEADER_BYTES,
            1 => sections[input.below(sections.len())] + input.below(SECTION_BYTES),
            _ => usize::from(input.u16()),
        } % bytes.len();
        let new = match input.u8() % 2 {
            0 => vec![bytes[at] ^ input.u8()],
            _ => input.number().to_le_bytes().to_vec(),
        };
        bytes.iter_mut().skip(at).zip(new).for_each(|(byte, new)| *byte = new);
    }
    if sealed {
        seal(&mut bytes, sections);
    }
    read(&bytes, bytes == *sample, sealed);
}

/// Reads it in every way. `is_whole`: it is as it was written.
fn read(bytes: &[u8], is_whole: bool, sealed: bool) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(bytes).and_then(|()| file.rewind()).expect("written");
    let about_path = |error: StorageError| {
        let text = error.to_string();
        assert!(text.contains(&*file.path().to_string_lossy()), "it names no file: {text}");
    };
    let mut reader = match BackupReader::open(file.path()) {
        Ok(reader) => reader,
        Err(error) => {
            assert!(!is_whole, "{error}");
            return about_path(error);
        }
    };
    match reader.check() {
        Ok(()) => assert!(is_whole || sealed, "a change that was not found"),
        Err(error) => {
            assert!(!is_whole, "{error}");
            return about_path(error);
        }
    }
    while let Some(shard) = reader.next_shard().expect("it was checked") {
        let config = config(ActorId::new(NODE, 88), shard.shard);
        let limits = config.limits.clone();
        let log = MemoryLog::new(limits.log_bytes, limits.log_records);
        match shard.recover(config, log, NOW) {
            Ok(mut engine) => {
                engine.commit(NOW, &mut Blind);
                assert!(!is_whole || engine.stats().keys == 4);
            }
            Err(error) => {
                assert!(!is_whole, "{error}");
                about_path(error);
            }
        }
    }
}
