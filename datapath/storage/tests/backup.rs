//! Backups: what comes back is what was there, whatever byte changes is found, and nothing that is there is overwritten.

mod support;

use lattice_crdt::{ActorId, Kind};
use lattice_engine::{Engine, EngineConfig, LocalOp, MemoryLog};
use lattice_storage::{
    BackupAbout, BackupFile, BackupReader, Directory, FileLog, LogHandle, Restored, ShardKeeper,
    StorageError, StorageOptions, restore,
};
use lattice_wire::MAX_FRAME_BYTES;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use support::{Draw, LOG_BYTES, NODE, NOW, View, config};
use tempfile::TempDir;

const SHARDS: u16 = 2;
/// The node that a backup is restored to.
const OTHER: u16 = 8;
const OTHER_TAG: u32 = 0xABCD;

fn options(place: &Path, node: u16) -> StorageOptions {
    StorageOptions {
        data: place.join("data"),
        runtime: place.join("runtime"),
        cluster: if node == NODE { "one".into() } else { "another".into() },
        node,
        shards: SHARDS,
        log_bytes: LOG_BYTES,
        boot_id: 7,
    }
}

fn config_of(actor: ActorId, shard: u16) -> EngineConfig {
    let tag = if actor.node() == NODE { config(actor).cluster_tag } else { OTHER_TAG };
    EngineConfig { shard, cluster_tag: tag, ..config(actor) }
}

fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

/// One shard of a node that is running.
struct Shard {
    engine: Engine<FileLog>,
    handle: LogHandle,
    keeper: ShardKeeper,
    view: View,
    continued: bool,
}

fn start(directory: &mut Directory, node: u16, epoch: u64) -> Vec<Shard> {
    let shard = |shard| {
        let fresh = ActorId::new(node, epoch);
        let recovered = directory.recover(shard, fresh, NOW, |actor| config_of(actor, shard)).unwrap();
        assert!(recovered.findings.is_empty(), "{:?}", recovered.findings);
        let mut view = View::default();
        let mut engine = recovered.engine;
        engine.commit(NOW, &mut view);
        Shard {
            engine,
            handle: recovered.handle,
            keeper: recovered.keeper,
            view,
            continued: recovered.continued,
        }
    };
    (0..SHARDS).map(shard).collect()
}

impl Shard {
    fn write(&mut self, draw: &mut Draw) {
        if self.handle.room() == 0 {
            return;
        }
        let key = draw.below(5);
        let value = vec![draw.bits() as u8; draw.below(300) as usize];
        let element = format!("element {}", draw.below(12));
        let (kind, op) = match draw.below(6) {
            0 => (Kind::Counter, LocalOp::CounterAdd(draw.below(100) as i64 - 50)),
            1 => (Kind::Register, LocalOp::RegisterSet(&value)),
            2 => (Kind::FlagEnableWins, LocalOp::Enable),
            3 => (Kind::FlagEnableWins, LocalOp::Disable),
            4 => (Kind::Set, LocalOp::SetRemove(element.as_bytes())),
            _ => (Kind::Set, LocalOp::SetInsert(element.as_bytes())),
        };
        self.engine.apply(NOW, kind, format!("{kind} {key}").as_bytes(), op).unwrap();
        self.engine.commit(NOW, &mut self.view);
    }

    /// A snapshot, with so many writes while it is walked.
    fn snapshot(&mut self, draw: &mut Draw, meanwhile: u64) {
        let (mark, number) = (self.handle.head(), self.engine.begin_snapshot());
        self.keeper.begin(number, mark).unwrap();
        let mut frame = [0; MAX_FRAME_BYTES];
        (0..meanwhile / 2).for_each(|_| self.write(draw));
        while let Some(len) = self.engine.write_snapshot(&mut frame) {
            if len > 0 {
                self.keeper.frame(number, &frame[..len]).unwrap();
            }
            (0..meanwhile / 2).for_each(|_| self.write(draw));
        }
        assert!(self.keeper.finish(number, self.handle.head()).unwrap().is_some());
        assert!(self.engine.snapshot_is_durable(number));
    }
}

fn about() -> BackupAbout {
    let cluster_tag = config(ActorId::new(NODE, 1)).cluster_tag;
    BackupAbout { cluster: "one".into(), cluster_tag, node: NODE, shards: SHARDS, taken_unix_ms: 1_700_000 }
}

fn back_up(shards: &[Shard], path: &Path) -> Result<u64, StorageError> {
    let mut writer = BackupFile::create(path)?.begin(about())?;
    for shard in shards {
        writer.shard(&shard.keeper.image().copy()?)?;
    }
    writer.finish()
}

fn restore_to(backup: &Path, place: &Path) -> Result<Restored, StorageError> {
    let fresh = ActorId::new(OTHER, 77);
    let mut reader = BackupReader::open(backup)?;
    restore(&mut reader, options(place, OTHER), fresh, NOW, |shard| config_of(fresh, shard))
}

/// A node that has lived for a while, and a backup of it.
fn lived(place: &Path, seed: u64) -> (Directory, Vec<Shard>, PathBuf) {
    let mut draw = Draw(seed);
    let mut directory = Directory::open(options(place, NODE)).unwrap();
    let mut shards = start(&mut directory, NODE, 5);
    for shard in &mut shards {
        for _ in 0..1 + draw.below(3) {
            (0..draw.below(60)).for_each(|_| shard.write(&mut draw));
            let meanwhile = draw.below(10);
            shard.snapshot(&mut draw, meanwhile);
        }
        (0..draw.below(40)).for_each(|_| shard.write(&mut draw));
        shard.keeper.image().flush(true).unwrap();
    }
    let backup = place.join("backup");
    back_up(&shards, &backup).unwrap();
    (directory, shards, backup)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_back_is_what_was_there(seed: u64) {
        let place = scratch();
        let (_directory, shards, backup) = lived(place.path(), seed);
        let mut reader = BackupReader::open(&backup).unwrap();
        prop_assert_eq!(reader.about(), &about());
        reader.check().unwrap();

        // To look at, as the node that it was and in an epoch of its own.
        for shard in &shards {
            let copy = reader.next_shard().unwrap().unwrap();
            let config = config_of(ActorId::new(NODE, 88), copy.shard);
            let engine = copy.recover(config, MemoryLog::new(4096, 64), NOW).unwrap();
            prop_assert_eq!(engine.state_digest(), shard.engine.state_digest());
            prop_assert_eq!(engine.vector_digest(), shard.engine.vector_digest());
        }
        prop_assert!(reader.next_shard().unwrap().is_none());

        // As another node of another cluster, that writes on and lives through a start in this boot and in the next one.
        let other = scratch();
        let restored = restore_to(&backup, other.path()).unwrap();
        prop_assert_eq!(restored.keys, shards.iter().map(|s| s.engine.stats().keys).sum::<u64>());
        for (round, boot_id) in [7, 7, 8].into_iter().enumerate() {
            let options = StorageOptions { boot_id, ..options(other.path(), OTHER) };
            let mut directory = Directory::open(options).unwrap();
            let mut again = start(&mut directory, OTHER, 78 + round as u64);
            for (shard, before) in again.iter_mut().zip(&shards) {
                prop_assert_eq!(shard.continued, boot_id == 7);
                prop_assert_eq!(shard.engine.state_digest(), before.engine.state_digest());
                let theirs = ActorId::new(NODE, 5);
                let (vector, old) = (shard.engine.vector(), before.engine.vector());
                prop_assert_eq!(vector.contiguous(theirs), old.contiguous(theirs));
                if boot_id == 8 {
                    let op = LocalOp::SetInsert(b"from the new node");
                    let applied = shard.engine.apply(NOW, Kind::Set, b"new", op).unwrap();
                    prop_assert_eq!(applied.dot.map(|dot| dot.actor), Some(ActorId::new(OTHER, 80)));
                }
            }
        }
    }
}

/// A small backup, for damaging every byte of it.
fn small(place: &Path) -> PathBuf {
    let mut directory = Directory::open(options(place, NODE)).unwrap();
    let mut shards = start(&mut directory, NODE, 5);
    for shard in &mut shards {
        shard.engine.apply(NOW, Kind::Set, b"k", LocalOp::SetInsert(b"e")).unwrap();
        shard.engine.commit(NOW, &mut shard.view);
        shard.snapshot(&mut Draw(1), 0);
        shard.engine.apply(NOW, Kind::Counter, b"c", LocalOp::CounterAdd(3)).unwrap();
        shard.engine.commit(NOW, &mut shard.view);
        shard.keeper.image().flush(true).unwrap();
    }
    let path = place.join("backup");
    back_up(&shards, &path).unwrap();
    path
}

fn check(path: &Path) -> Result<(), StorageError> {
    BackupReader::open(path)?.check()
}

#[test]
fn every_byte_counts_and_damage_is_named_with_its_place() {
    let place = scratch();
    let path = small(place.path());
    check(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let damaged = place.path().join("damaged");
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&damaged, bytes).unwrap();
        match check(&damaged) {
            Err(StorageError::Damaged { path, offset, .. }) => {
                assert_eq!(path, damaged);
                offset
            }
            other => panic!("{what}: {other:?}"),
        }
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        let offset = refused(&flipped, &format!("byte {at}")) as usize;
        // The thing that it is in begins there, and none is longer than this.
        assert!(offset <= at && at - offset < 512, "byte {at} named as {offset}");
        let cut = refused(&whole[..at], &format!("the first {at} bytes")) as usize;
        assert!(cut <= at, "cut at {at}, named as {cut}");
    }
    assert_eq!(refused(&[&whole[..], b"x"].concat(), "one more"), whole.len() as u64);
    // Nothing is made of it, and nothing is left of trying.
    std::fs::write(&damaged, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(restore_to(&damaged, &place.path().join("n")), Err(StorageError::Damaged { .. })));
    assert!(!place.path().join("n/data").exists());
}

#[test]
fn nothing_that_is_there_is_overwritten() {
    let place = scratch();
    let (_directory, shards, path) = lived(place.path(), 3);
    let before = std::fs::read(&path).unwrap();
    let says = |error: StorageError| error.to_string();
    let refused = says(back_up(&shards, &path).unwrap_err());
    assert_eq!(refused, format!("{}: is there already and is not overwritten", path.display()));
    assert_eq!(std::fs::read(&path).unwrap(), before);

    // Two at once: one goes on, whichever began.
    let second = place.path().join("second");
    let writer = BackupFile::create(&second).unwrap().begin(about()).unwrap();
    let refused = says(back_up(&shards, &second).unwrap_err());
    assert!(refused.ends_with("second.partial: another backup is being written there"), "{refused}");
    drop(writer);
    assert!(!place.path().join("second.partial").exists(), "what was not finished is gone");
    // What a killed one left is no obstacle, and a file that came meanwhile is kept.
    std::fs::write(place.path().join("second.partial"), b"left").unwrap();
    let mut writer = BackupFile::create(&second).unwrap().begin(about()).unwrap();
    assert!(says(writer.shard(&shards[1].keeper.image().copy().unwrap()).unwrap_err()).contains("next"));
    shards.iter().for_each(|shard| writer.shard(&shard.keeper.image().copy().unwrap()).unwrap());
    std::fs::write(&second, b"mine").unwrap();
    assert!(matches!(writer.finish(), Err(StorageError::Io { .. })));
    assert_eq!(std::fs::read(&second).unwrap(), b"mine");
    assert!(!place.path().join("second.partial").exists());
    let third = place.path().join("third");
    let short = BackupFile::create(&third).unwrap().begin(about()).unwrap();
    assert!(says(short.finish().unwrap_err()).contains("shards are missing"));
    let len = back_up(&shards, &third).unwrap();
    assert_eq!(len, std::fs::metadata(&third).unwrap().len());
}

#[test]
fn a_directory_with_anything_in_it_is_left_alone() {
    let place = scratch();
    let (_directory, _, backup) = lived(place.path(), 4);
    let other = scratch();
    let data = other.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("mine"), b"mine").unwrap();
    let refused = restore_to(&backup, other.path()).unwrap_err().to_string();
    assert!(refused.contains("not empty: there is mine; nothing was changed"), "{refused}");
    std::fs::remove_file(data.join("mine")).unwrap();

    // The engine can't be made: what had been put there is gone again, and the next restore finds it empty.
    let fresh = ActorId::new(OTHER, 77);
    let mut reader = BackupReader::open(&backup).unwrap();
    let bad = |shard| EngineConfig { session: u32::from(shard == 0), ..config_of(fresh, shard) };
    restore(&mut reader, options(other.path(), OTHER), fresh, NOW, bad).unwrap_err();
    let left: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
    restore_to(&backup, other.path()).unwrap();
    assert!(restore_to(&backup, other.path()).unwrap_err().to_string().contains("not empty"));

    // One that was killed before its end.
    std::fs::remove_file(data.join("identity")).unwrap();
    let refused = Directory::open(options(other.path(), OTHER)).err().unwrap().to_string();
    assert!(refused.contains("a restore was killed"), "{refused}");

    let mut reader = BackupReader::open(&backup).unwrap();
    let more = StorageOptions { shards: 4, ..options(&other.path().join("more"), OTHER) };
    let refused = restore(&mut reader, more, fresh, NOW, |shard| config_of(fresh, shard)).unwrap_err();
    assert_eq!(refused.to_string(), "the backup has 2 shards, and this cluster 4");
}
