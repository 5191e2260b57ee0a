//! The log beside the engine's log in memory, its room, and what it looks like after a restart.

mod support;

use lattice_crdt::Kind;
use lattice_engine::{Engine, LocalOp, LogStore, MemoryLog, OpError};
use lattice_storage::{Attempt, Directory, FileLog, FindingKind, LogHandle, ShardKeeper, ShardStart};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use support::crash_disk::CrashDisk;
use support::{Draw, LOG_BYTES, NOW, View, config, options};

fn open(disk: &CrashDisk, runtime: &Path, seed: u64) -> ShardStart {
    let mut salts = Draw(seed);
    let options = options(Path::new("/data"), runtime, 7);
    let salt = Box::new(move || salts.bits());
    let directory = Directory::open_on(Arc::new(disk.clone()), options, (1, 2), salt).unwrap();
    directory.open_shard(0, Draw(seed).epoch(), Attempt::default()).unwrap()
}

fn begin(disk: &CrashDisk, runtime: &Path, seed: u64) -> (FileLog, LogHandle, ShardKeeper) {
    let mut start = open(disk, runtime, seed);
    let (log, handle) = (start.take_log().unwrap(), start.handle());
    assert_eq!(handle.room(), 0, "before the epoch is durable");
    (log, handle, start.commit().unwrap())
}

fn record(seq: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (seq as u8).wrapping_mul(31) ^ i as u8).collect()
}

/// A snapshot without a frame: for the log, what counts is that it is durable.
fn cover_everything(handle: &LogHandle, keeper: &mut ShardKeeper) {
    keeper.begin(1, handle.head()).unwrap();
    keeper.finish(1, handle.head()).unwrap().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    /// It holds what was appended, as a log in memory does; after a restart too. Snapshots make room when it is full.
    #[test]
    fn it_holds_the_newest_records(
        lens in prop::collection::vec(prop_oneof![8 => 0usize..90, 1 => 90usize..1300], 1..300),
        restart_at in 0usize..300,
    ) {
        let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
        let disk = CrashDisk::default();
        let (mut log, mut handle, mut keeper) = begin(&disk, runtime.path(), 1);
        let mut model = MemoryLog::new(1 << 20, 1 << 10);
        for (i, len) in lens.iter().enumerate() {
            if handle.room() == 0 {
                cover_everything(&handle, &mut keeper);
                prop_assert!(handle.room() > 0);
            }
            if i == restart_at {
                // One log for a ring: the one before must be gone.
                drop((log, keeper, handle));
                (log, handle, keeper) = begin(&disk, runtime.path(), 2);
            }
            let seq = i as u64 + 1;
            prop_assert_eq!(log.append(&record(seq, *len)), seq);
            model.append(&record(seq, *len));
            prop_assert_eq!(log.last_seq(), model.last_seq());
            prop_assert!(log.first_seq() <= seq);
            prop_assert_eq!(log.record(log.first_seq() - 1), None);
            prop_assert_eq!(log.record(seq + 1), None);
            let held = log.first_seq()..=seq;
            let bytes: u64 = held.clone().map(|s| (24 + lens[s as usize - 1] as u64).next_multiple_of(8)).sum();
            prop_assert!(bytes <= LOG_BYTES);
            for held in held {
                prop_assert_eq!(log.record(held), model.record(held));
            }
            prop_assert!(!handle.is_overrun());
        }
    }
}

#[test]
fn it_keeps_as_much_as_it_can_and_says_how_much_more_there_is_room_for() {
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let (mut log, handle, mut keeper) = begin(&CrashDisk::default(), runtime.path(), 1);
    let longest = lattice_wire::MAX_RECORD_BYTES;
    let room = handle.room();
    assert!(room >= LOG_BYTES as usize / (longest + 32) - 2, "{room}");
    for left in (0..room).rev() {
        log.append(&record(1, longest));
        assert_eq!(handle.room(), left);
    }
    assert_eq!((log.first_seq(), handle.is_overrun()), (1, false));
    cover_everything(&handle, &mut keeper);
    // Covered and still held: peers may want it, until room is needed.
    assert_eq!((log.first_seq(), handle.room()), (1, room));
    log.append(&record(2, longest));
    log.append(&record(3, longest));
    assert!(log.first_seq() > 1 && !handle.is_overrun());
}

/// Full to the last record that fits, with every length: what there was room for can always be made durable.
#[test]
fn a_full_log_can_be_flushed() {
    let mut draw = Draw(3);
    for longest in [lattice_wire::MAX_RECORD_BYTES, 500, 40] {
        let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
        let disk = CrashDisk::default();
        let (mut log, handle, mut keeper) = begin(&disk, runtime.path(), 1);
        for _ in 0..100 {
            while handle.room() > 0 {
                log.append(&record(1, longest - draw.below(longest as u64 / 20) as usize));
            }
            assert!(!handle.is_overrun());
            keeper.image().flush(true).unwrap();
            assert_eq!(handle.durable(), handle.head());
            cover_everything(&handle, &mut keeper);
        }
        // And a start on a full one has room for all of it.
        while handle.room() > 0 {
            log.append(&record(1, longest));
        }
        let appended = log.last_seq();
        keeper.image().flush(true).unwrap();
        drop((log, keeper, handle));
        let other = tempfile::tempdir_in("/dev/shm").unwrap();
        let start = open(&disk, other.path(), 2);
        assert!(start.findings.is_empty(), "{:?}", start.findings);
        assert_eq!(start.old.last().map(|old| old.dot.seq), Some(appended));
    }
}

/// The tightest that it can be: the last record for which there was room is a longest one that just does not fit what is
/// left of the lap, so that as much again is skipped.
#[test]
fn a_full_log_can_be_flushed_where_the_end_of_the_lap_is_skipped() {
    let longest = lattice_wire::MAX_RECORD_BYTES;
    for extra in (0..200).step_by(8) {
        let begin_at = || {
            let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
            let (mut log, handle, mut keeper) = begin(&CrashDisk::default(), runtime.path(), 1);
            log.append(&record(1, 400));
            log.append(&record(2, longest - 500 + extra));
            cover_everything(&handle, &mut keeper);
            (log, handle, keeper, runtime)
        };
        let (mut log, handle, ..) = begin_at();
        let mut small = 0;
        while handle.room() > 0 {
            log.append(&[0; 8]);
            small += 1;
        }
        let (mut log, handle, keeper, _runtime) = begin_at();
        (1..small).for_each(|_| assert!(log.append(&[0; 8]) > 0));
        assert_eq!(handle.room(), 1);
        log.append(&record(3, longest));
        assert!(!handle.is_overrun());
        keeper.image().flush(true).unwrap();
        assert_eq!(handle.durable(), handle.head());
    }
}

#[test]
fn without_room_the_oldest_go_and_nothing_is_claimed_durable_any_more() {
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let disk = CrashDisk::default();
    let (mut log, handle, keeper) = begin(&disk, runtime.path(), 1);
    let durable = LOG_BYTES / 64 / 2;
    (1..=durable).for_each(|seq| assert_eq!(log.append(&record(seq, 40)), seq));
    keeper.image().flush(true).unwrap();
    assert_eq!(handle.durable_seq(Draw(1).epoch()), durable);
    for seq in durable + 1..=2 * durable + 2 {
        log.append(&record(seq, 40));
    }
    assert!(handle.is_overrun() && handle.has_failed() && log.first_seq() > 1);
    let said = keeper.image().flush(true).unwrap_err().to_string();
    assert!(said.contains("overrun") && said.contains("/data/shard-000/log"), "{said}");
    let again = keeper.image().flush(true).unwrap_err().to_string();
    assert!(again.contains("not durable any more since"), "{again}");
    assert_eq!(handle.durable_seq(Draw(1).epoch()), durable);
    // What was durable is: the image was not overwritten.
    drop((log, keeper, handle));
    let other_runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let start = open(&disk, other_runtime.path(), 2);
    assert!(!start.continued);
    assert_eq!(start.old.len() as u64, durable);
    assert!(start.old.iter().all(|old| old.bytes == record(old.dot.seq, 40)));
}

#[test]
fn a_new_epoch_has_no_room_until_it_is_durable_and_the_old_ones_records_are_kept() {
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let disk = CrashDisk::default();
    let (mut log, handle, keeper) = begin(&disk, runtime.path(), 1);
    log.append(b"old one");
    let next = Draw(5).epoch();
    log.begin_epoch(next);
    assert_eq!((log.first_seq(), log.last_seq(), log.record(1), handle.room()), (1, 0, None, 0));
    assert!(keeper.image().is_behind());
    // Without being asked to sync: nobody could write before it is.
    keeper.image().flush(false).unwrap();
    assert!(handle.room() > 0 && !keeper.image().is_behind());
    assert_eq!((log.append(b"new one"), handle.durable_seq(next)), (1, 0));
    keeper.image().flush(true).unwrap();
    assert_eq!((handle.durable_seq(next), handle.durable_seq(Draw(1).epoch())), (1, 0));
    drop((log, keeper, handle));
    let mut start = open(&disk, runtime.path(), 2);
    assert!(start.continued && start.actor == next && start.findings.is_empty(), "{:?}", start.findings);
    assert_eq!(start.old.iter().map(|old| old.bytes.as_slice()).collect::<Vec<_>>(), [&b"old one"[..]]);
    let log = start.take_log().unwrap();
    assert_eq!((log.last_seq(), log.record(1)), (1, Some(&b"new one"[..])));
}

#[test]
fn an_epoch_that_was_used_before_is_refused() {
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let disk = CrashDisk::default();
    let (mut log, handle, keeper) = begin(&disk, runtime.path(), 1);
    log.append(b"one");
    let attempt = Attempt { new_epoch: true, ..Attempt::default() };
    drop((log, handle, keeper));
    let options = options(Path::new("/data"), runtime.path(), 7);
    let directory = Directory::open_on(Arc::new(disk), options, (1, 2), Box::new(|| 5)).unwrap();
    let said = directory.open_shard(0, Draw(1).epoch(), attempt).err().unwrap().to_string();
    assert!(said.contains("was used before"), "{said}");
}

#[test]
fn a_log_that_is_made_larger_or_smaller_keeps_what_is_in_it() {
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let disk = CrashDisk::default();
    let (mut log, handle, keeper) = begin(&disk, runtime.path(), 1);
    (1..=100).for_each(|seq| assert_eq!(log.append(&record(seq, 40)), seq));
    drop((log, handle, keeper));
    let with_size = |log_bytes| {
        let options =
            lattice_storage::StorageOptions { log_bytes, ..options(Path::new("/data"), runtime.path(), 7) };
        let mut salts = Draw(log_bytes);
        let salt = Box::new(move || salts.bits());
        let directory = Directory::open_on(Arc::new(disk.clone()), options, (1, 2), salt).unwrap();
        directory.open_shard(0, Draw(log_bytes).epoch(), Attempt::default())
    };
    let start = with_size(2 * LOG_BYTES).unwrap();
    assert!(!start.continued && start.old.len() == 100);
    start.commit().unwrap();
    let enlarged = with_size(4096).unwrap();
    assert_eq!(
        (enlarged.old.len(), enlarged.findings[0].what.clone()),
        (100, FindingKind::LogEnlarged { bytes: 8192 })
    );
    let odd = with_size(20_000).err().unwrap().to_string();
    assert!(odd.contains("a power of two is needed"), "{odd}");
    assert_eq!(with_size(8192).unwrap().old.len(), 100);
}

/// An engine takes no operation that the log has no room for, and goes on when a snapshot made some; in a new epoch only when
/// that is durable.
#[test]
fn an_engine_takes_what_its_log_has_room_for() {
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let disk = CrashDisk::default();
    let directory = {
        let mut salts = Draw(1);
        let options = options(Path::new("/data"), runtime.path(), 7);
        Directory::open_on(Arc::new(disk), options, (1, 2), Box::new(move || salts.bits())).unwrap()
    };
    let recovered = directory.recover(0, Draw(1).epoch(), NOW, config).unwrap();
    let (mut engine, handle, mut keeper) = (recovered.engine, recovered.handle, recovered.keeper);
    let mut view = View::default();
    let element = [7; 200];
    let insert = |engine: &mut Engine<FileLog>, number: u32| {
        let element = [&number.to_le_bytes()[..], &element].concat();
        engine.apply(NOW, Kind::Set, b"set", LocalOp::SetInsert(&element)).map(|_| ())
    };
    let mut number = 0;
    for round in 0..3 {
        // Everything in one burst is stopped by a commit, which looks for room; then the log itself is full.
        let mut commits = 0;
        loop {
            match insert(&mut engine, number) {
                Ok(()) => number += 1,
                Err(OpError::Backpressure) => {
                    engine.commit(NOW, &mut view);
                    commits += 1;
                }
                refused => break assert_eq!(refused, Err(OpError::LogFull)),
            }
        }
        assert!(commits > 1 && engine.log().last_seq() == u64::from(number), "round {round}");
        assert!(!handle.is_overrun() && handle.room() == 0);
        assert_eq!(insert(&mut engine, number), Err(OpError::LogFull));
        cover_everything(&handle, &mut keeper);
    }
    engine.begin_epoch(NOW, Draw(2).epoch(), 2).unwrap();
    assert_eq!(insert(&mut engine, number), Err(OpError::LogFull), "the epoch is not durable");
    keeper.image().flush(true).unwrap();
    assert_eq!(insert(&mut engine, number), Ok(()));
}
