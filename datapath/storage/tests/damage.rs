//! Damaged files: whatever byte changes, it is said and the rest is served, or it makes no difference.

mod support;

use lattice_storage::{Finding, FindingKind, StorageError};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use support::Draw;
use support::crash_disk::{CrashDisk, DiskState};
use support::ledger::Ledger;
use support::node::Node;

struct Lived {
    disk: DiskState,
    runtime: BTreeMap<OsString, Vec<u8>>,
    shown: BTreeSet<Vec<u8>>,
    ever: BTreeSet<Vec<u8>>,
}

/// A node that has lived for a while: two snapshots, a log that has wrapped, everything durable.
static LIVED: LazyLock<Lived> = LazyLock::new(|| {
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let (disk, ledger) = (CrashDisk::default(), Arc::new(Mutex::new(Ledger::default())));
    let mut draw = Draw(1);
    let mut node = Node::start(&disk, runtime.path(), 7, &mut draw, ledger.clone()).unwrap();
    let mut ever = BTreeSet::new();
    for round in 0..3 {
        for _ in 0..150 {
            assert!(node.write(&mut draw));
            ever.append(&mut node.shown());
        }
        node.flush().unwrap();
        if round < 2 {
            node.whole_snapshot().unwrap();
        }
    }
    let entries = std::fs::read_dir(runtime.path()).unwrap().map(|entry| entry.unwrap());
    let files = entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap()));
    Lived { disk: disk.state(), runtime: files.collect(), shown: node.shown(), ever }
});

/// Starts on a damaged copy; in another boot, or in the same with the ring in memory.
fn start(
    damage: impl FnOnce(&mut DiskState, &mut BTreeMap<OsString, Vec<u8>>),
    same_boot: bool,
) -> Result<Node, StorageError> {
    let (mut disk, mut files) = (LIVED.disk.clone(), LIVED.runtime.clone());
    damage(&mut disk, &mut files);
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    if same_boot {
        files.iter().for_each(|(name, bytes)| std::fs::write(runtime.path().join(name), bytes).unwrap());
    }
    let boot_id = if same_boot { 7 } else { 8 };
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    Node::start(&CrashDisk::with(disk), runtime.path(), boot_id, &mut Draw(99), ledger)
}

fn flip(disk: &mut DiskState, path: &Path, flips: &[(u32, u8)]) -> bool {
    let bytes = disk.bytes_mut(path).unwrap();
    let before = bytes.clone();
    let len = bytes.len() as u32;
    flips.iter().filter(|_| len > 0).for_each(|(at, bits)| bytes[(at % len) as usize] ^= bits);
    *bytes != before
}

/// What must hold of any damage: nothing invented, and what is not as it was is said, with its file.
fn check(result: Result<Node, StorageError>, what: &str) -> Result<bool, TestCaseError> {
    match result {
        Ok(node) => {
            let shown = node.shown();
            prop_assert!(shown.is_subset(&LIVED.ever), "{what}: something was invented");
            let said = !node.findings.is_empty();
            prop_assert!(said || shown == LIVED.shown, "{what}: a loss, and nothing was said");
            for finding in &node.findings {
                prop_assert!(finding.to_string().contains("shard-000"), "{what}: {finding}");
            }
            Ok(said)
        }
        Err(error) => {
            prop_assert!(error.to_string().contains("/data/"), "{what}: {error}");
            Ok(true)
        }
    }
}

fn files() -> Vec<PathBuf> {
    LIVED.disk.paths()
}

#[test]
fn a_whole_directory_comes_back_as_it_was_without_a_word() {
    for same_boot in [true, false] {
        let node = start(|_, _| {}, same_boot).unwrap();
        assert!(node.findings.is_empty(), "{:?}", node.findings);
        assert_eq!((node.shown(), node.continued), (LIVED.shown.clone(), same_boot));
    }
    let names: Vec<_> = files().iter().map(|path| path.display().to_string()).collect();
    let shard = ["begun", "log", "snapshot.0", "snapshot.1"].map(|name| format!("/data/shard-000/{name}"));
    assert_eq!(names, [&["/data/identity".to_string()], &shard[..]].concat());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn flipped_bytes_in_any_file(
        file in 0usize..5,
        flips in prop::collection::vec((any::<u32>(), 1u8..), 1..4),
        same_boot: bool,
    ) {
        let path = files()[file].clone();
        let what = format!("{}: {flips:?}", path.display());
        check(start(|disk, _| { flip(disk, &path, &flips); }, same_boot), &what)?;
    }

    #[test]
    fn flipped_bytes_in_the_ring_in_memory(flips in prop::collection::vec((any::<u32>(), 1u8..), 1..4)) {
        let what = format!("ring: {flips:?}");
        let damage = |_: &mut DiskState, files: &mut BTreeMap<OsString, Vec<u8>>| {
            let bytes = files.get_mut(&OsString::from("shard-000.ring")).unwrap();
            let len = bytes.len() as u32;
            flips.iter().for_each(|(at, bits)| bytes[(at % len) as usize] ^= bits);
        };
        // The log on disk is whole, so with or without the ring all of it comes back.
        let node = start(damage, true).unwrap();
        prop_assert_eq!(node.shown(), LIVED.shown.clone(), "{}", what);
    }

    #[test]
    fn truncated_and_overwritten_files(file in 0usize..5, len: u32, garbage: bool, seed: u64, same_boot: bool) {
        let path = files()[file].clone();
        let what = format!("{} cut or overwritten at {len}", path.display());
        let damage = |disk: &mut DiskState, _: &mut BTreeMap<OsString, Vec<u8>>| {
            let bytes = disk.bytes_mut(&path).unwrap();
            let at = len as usize % (bytes.len() + 1);
            match garbage {
                true => {
                    let mut draw = Draw(seed);
                    bytes[at..].iter_mut().for_each(|byte| *byte = draw.bits() as u8);
                }
                false => bytes.truncate(at),
            }
        };
        check(start(damage, same_boot), &what)?;
    }
}

/// Every byte of what is small, one after the other: each flip is found, whoever else is asked.
#[test]
fn every_byte_of_identity_headers_and_snapshots_counts() {
    let sizes = |path: &Path| LIVED.disk.clone().bytes_mut(path).unwrap().len();
    for path in files() {
        let bytes: Vec<usize> = match path.file_name().unwrap().to_str().unwrap() {
            "log" => (0..512).chain(4096..4608).collect(),
            "begun" => continue,
            // Every third byte and both ends.
            _ => (0..sizes(&path)).filter(|at| at % 3 == 0 || *at < 16 || at + 80 > sizes(&path)).collect(),
        };
        for at in bytes {
            let what = format!("{} byte {at}", path.display());
            let result = start(|disk, _| assert!(flip(disk, &path, &[(at as u32, 0x10)])), false);
            let said = check(result, &what).unwrap();
            assert!(said, "{what}: nothing was said");
        }
    }
}

/// Two snapshots and a log that reaches back to the first: the newest one is damaged.
#[test]
fn with_the_newest_snapshot_lost_the_older_one_and_the_log_bring_everything_back() {
    for same_boot in [true, false] {
        let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
        let (disk, mut draw) = (CrashDisk::default(), Draw(3));
        let mut node = Node::start(&disk, runtime.path(), 7, &mut draw, Default::default()).unwrap();
        for round in 0..3 {
            (0..20).for_each(|_| assert!(node.write(&mut draw)));
            if round < 2 {
                node.whole_snapshot().unwrap();
            }
        }
        node.flush().unwrap();
        let shown = node.shown();
        drop(node);
        let mut state = disk.state();
        let newest = Path::new("/data/shard-000/snapshot.1");
        assert!(flip(&mut state, newest, &[(700, 1)]));
        let other = tempfile::tempdir_in("/dev/shm").unwrap();
        let (runtime, boot_id) = if same_boot { (&runtime, 7) } else { (&other, 8) };
        let disk = CrashDisk::with(state);
        let node = Node::start(&disk, runtime.path(), boot_id, &mut draw, Default::default()).unwrap();
        let said: Vec<_> = node.findings.iter().map(|finding| finding.to_string()).collect();
        assert!(said[0].starts_with("/data/shard-000/snapshot.1: at byte "), "{said:?}");
        assert!(said[1].contains("snapshot 2 can't be used; 1, the one before, is"), "{said:?}");
        assert_eq!((said.len(), node.continued, node.shown()), (2, same_boot, shown), "{said:?}");
    }
}

/// Whole frames, and a whole trailer, that do not belong together.
#[test]
fn a_snapshot_with_a_frame_too_few_or_a_byte_too_many_is_not_used() {
    let newest = Path::new("/data/shard-000/snapshot.1");
    let damaged = |change: &dyn Fn(&mut Vec<u8>), what: &str| {
        let node = start(|disk, _| change(disk.bytes_mut(newest).unwrap()), false).unwrap();
        let said = node.findings[0].to_string();
        assert!(said.contains(what), "{said}");
    };
    damaged(&|bytes| bytes.push(0), "there is more after the trailer");
    let without_last_frame = |bytes: &mut Vec<u8>| {
        let (mut last, mut at) = (512, 512);
        while at < bytes.len() - 64 {
            last = at;
            at += 16 + u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        }
        bytes.drain(last..at);
    };
    damaged(&without_last_frame, "the trailer does not fit the frames");
}

/// The log goes no further back than the newest snapshot, and that one is damaged: what is lost is said, and the epoch does
/// not go on with a gap.
#[test]
fn what_only_the_lost_snapshot_had_is_said_to_be_lost() {
    for same_boot in [true, false] {
        let newest = Path::new("/data/shard-000/snapshot.1");
        let node = start(|disk, _| assert!(flip(disk, newest, &[(700, 1)])), same_boot).unwrap();
        let reused = |finding: &Finding| matches!(finding.what, FindingKind::LogReused { bytes: 1.. });
        assert!(node.findings.iter().any(reused), "{:?}", node.findings);
        assert!(!node.findings.iter().any(|f| matches!(f.what, FindingKind::NotUnderstood(_))));
        assert!(!node.continued && node.shown().is_subset(&LIVED.ever));
    }
}

/// The next snapshot takes the place of the older one, after a restart too.
#[test]
fn there_are_always_the_newest_two_generations() {
    let mut node = start(|_, _| {}, false).unwrap();
    for generation in 3..6 {
        node.whole_snapshot().unwrap();
        assert_eq!(node.keeper.base_generation(), generation);
    }
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let disk = CrashDisk::with(LIVED.disk.clone());
    for boot_id in 20..26 {
        let mut draw = Draw(boot_id);
        let mut node =
            Node::start(&disk, runtime.path(), boot_id.into(), &mut draw, Default::default()).unwrap();
        node.whole_snapshot().unwrap();
        let newest = node.keeper.base_generation();
        let mut state = disk.state();
        let path = PathBuf::from(format!("/data/shard-000/snapshot.{}", 1 - newest % 2));
        assert!(flip(&mut state, &path, &[(100, 1)]), "{}", path.display());
        let other = tempfile::tempdir_in("/dev/shm").unwrap();
        let damaged = CrashDisk::with(state);
        let node = Node::start(&damaged, other.path(), 9, &mut draw, Default::default()).unwrap();
        let old = FindingKind::SnapshotOld { expected: newest, used: newest - 1 };
        assert!(node.findings.iter().any(|finding| finding.what == old), "{:?}", node.findings);
    }
}

/// In the same boot memory has everything; and still the disk is not what the next boot will need it to be.
#[test]
fn a_damaged_log_is_noticed_while_memory_can_still_make_it_good() {
    let log = Path::new("/data/shard-000/log");
    let first =
        LIVED.disk.clone().bytes_mut(log).unwrap()[8192..].iter().position(|byte| *byte != 0).unwrap();
    let mut noticed = 0;
    for at in (first..16 << 10).step_by(97) {
        let node = start(|disk, _| assert!(flip(disk, log, &[(8192 + at as u32, 4)])), true).unwrap();
        assert_eq!(node.shown(), LIVED.shown);
        let said = node.findings.iter().any(|finding| finding.what == FindingKind::NotAsWritten);
        assert_eq!(said, !node.continued);
        noticed += u32::from(said);
    }
    // What a snapshot covers may be damaged: nobody needs it.
    assert!(noticed > 20, "{noticed}");
}

#[test]
fn files_that_are_missing_are_missed() {
    let without = |name: &str, same_boot| {
        let path = Path::new("/data/shard-000").join(name);
        start(|disk, _| disk.remove(&path), same_boot).unwrap()
    };
    for same_boot in [true, false] {
        let node = without("log", same_boot);
        assert!(node.findings.iter().any(|f| f.what == FindingKind::LogMissing), "{:?}", node.findings);
        assert!(!node.continued);
        let node = without("snapshot.1", same_boot);
        let old = FindingKind::SnapshotOld { expected: 2, used: 1 };
        assert!(node.findings.iter().any(|f| f.what == old), "{:?}", node.findings);
    }
    // In the same boot the ring in memory still has everything.
    assert_eq!(without("log", true).shown(), LIVED.shown);
    let path = Path::new("/data/identity");
    let said = start(|disk, _| disk.remove(path), false).err().unwrap().to_string();
    assert!(said.contains("/data/identity: missing, and yet there are logs"), "{said}");
}
