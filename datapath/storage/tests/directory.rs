//! Real directories: whose they are, who uses them, and what a copy of one is.

mod support;

use lattice_storage::{Directory, Recovered, StorageOptions, boot_id};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use support::{Draw, NOW, View, config, options};

/// One test at a time: a process that one of them starts (mount) holds, until it is another program, copies of every
/// lock of the others.
static ALONE: Mutex<()> = Mutex::new(());

struct Place {
    _alone: MutexGuard<'static, ()>,
    _root: tempfile::TempDir,
    data: PathBuf,
    runtime: PathBuf,
}

impl Place {
    fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let root = tempfile::tempdir().unwrap();
        let (data, runtime) = (root.path().join("a/data"), root.path().join("run"));
        Self { _alone: alone, _root: root, data, runtime }
    }

    fn options(&self) -> StorageOptions {
        options(&self.data, &self.runtime, boot_id().unwrap())
    }

    fn refused(&self, change: impl FnOnce(&mut StorageOptions)) -> String {
        let mut options = self.options();
        change(&mut options);
        Directory::open(options).err().expect("opened").to_string()
    }
}

fn recover(directory: &mut Directory, seed: u64) -> Recovered {
    directory.recover(0, Draw(seed).epoch(), NOW, config).unwrap()
}

fn write(recovered: &mut Recovered, element: &str) {
    let op = lattice_engine::LocalOp::SetInsert(element.as_bytes());
    recovered.engine.apply(NOW, lattice_crdt::Kind::Set, b"set", op).unwrap();
    recovered.engine.commit(NOW, &mut View::default());
}

fn shown(recovered: &mut Recovered) -> Vec<String> {
    let mut view = View::default();
    recovered.engine.commit(NOW, &mut view);
    view.members().into_iter().map(|element| String::from_utf8(element).unwrap()).collect()
}

#[test]
fn a_second_daemon_is_refused_and_told_who_is_there() {
    let place = Place::new();
    let directory = Directory::open(place.options()).unwrap();
    let said = place.refused(|_| {});
    assert!(said.contains("/data/lock: in use by process"), "{said}");
    assert!(said.contains(&std::process::id().to_string()), "{said}");
    // One log of a shard in a process, too.
    let mut directory = directory;
    let recovered = recover(&mut directory, 1);
    let said = directory.recover(0, Draw(2).epoch(), NOW, config).err().unwrap().to_string();
    assert!(said.contains("/run/shard-000.ring: in use by another process"), "{said}");
    drop(recovered);
    assert!(recover(&mut directory, 2).continued);
    // A copy of it would have the same logs in memory.
    let said = place.refused(|options| options.data = place.data.with_file_name("copy"));
    assert!(said.contains("/run/lock: in use by process"), "{said}");
    drop(directory);
    Directory::open(place.options()).unwrap();
}

#[test]
fn another_nodes_or_clusters_directory_is_refused() {
    let place = Place::new();
    drop(Directory::open(place.options()).unwrap());
    let said = place.refused(|options| options.node = 9);
    assert!(said.ends_with("/data/identity: this directory is of node 3, and this is node 9"), "{said}");
    let said = place.refused(|options| options.cluster = "other \"one\"\n".into());
    assert!(said.ends_with("is of cluster \"test\", and this is cluster \"other \\\"one\\\"\\n\""), "{said}");
    let said = place.refused(|options| options.shards = 2);
    assert!(said.ends_with("is of shards 1, and this is shards 2"), "{said}");
    std::fs::write(place.data.join("identity"), "latticed").unwrap();
    let said = place.refused(|_| {});
    assert!(said.contains("/data/identity: at byte 0: it has no checksum"), "{said}");
}

#[test]
fn links_other_owners_and_directories_that_cannot_be_written_are_refused() {
    let place = Place::new();
    let elsewhere = place.runtime.with_file_name("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    std::fs::create_dir_all(place.data.parent().unwrap()).unwrap();
    symlink(&elsewhere, &place.data).unwrap();
    let said = place.refused(|_| {});
    assert!(said.contains("/a/data: a symbolic link, which is not followed"), "{said}");
    std::fs::remove_file(&place.data).unwrap();
    std::fs::write(&place.data, "").unwrap();
    let said = place.refused(|_| {});
    assert!(said.contains("/a/data: not a directory"), "{said}");
    std::fs::remove_file(&place.data).unwrap();
    let mut directory = Directory::open(place.options()).unwrap();
    drop(recover(&mut directory, 1));
    drop(directory);
    // A file in it that points out of it.
    let log = place.data.join("shard-000/log");
    std::fs::rename(&log, elsewhere.join("log")).unwrap();
    symlink(elsewhere.join("log"), &log).unwrap();
    let directory = Directory::open(place.options()).unwrap();
    let said = directory.recover(0, Draw(2).epoch(), NOW, config).err().unwrap().to_string();
    assert!(said.contains("/shard-000/log: opening the log: a symbolic link"), "{said}");
    drop(directory);
    if std::fs::metadata(&place.data).unwrap().uid() != 0 {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    std::os::unix::fs::chown(&place.data, Some(65534), None).unwrap();
    let said = place.refused(|_| {});
    assert!(said.contains("/a/data: belongs to user 65534, not to 0"), "{said}");
    std::os::unix::fs::chown(&place.data, Some(0), None).unwrap();
    std::os::unix::fs::chown(place.data.join("identity"), Some(65534), None).unwrap();
    let said = place.refused(|_| {});
    assert!(said.contains("/data/identity: opening the identity: belongs to user 65534"), "{said}");
}

/// A small file system of its own, unmounted at the end. `None`, visibly, where this user may not mount.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut command = Command::new("mount");
        let mount = command.args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs"]).arg(at);
        if !mount.status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: mounting needs root");
            return None;
        }
        Some(Self(at.to_owned()))
    }

    fn make_read_only(&self) {
        assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_directory_that_is_read_only_is_an_error_that_names_it() {
    let place = Place::new();
    let Some(mounted) = Mounted::new(&place.data, "4m") else { return };
    let mut directory = Directory::open(place.options()).unwrap();
    drop(recover(&mut directory, 1));
    drop(directory);
    mounted.make_read_only();
    let said = place.refused(|_| {});
    assert!(said.contains("/a/data/lock: opening the lock: Read-only file system"), "{said}");
}

#[test]
fn a_full_disk_or_memory_is_an_error_at_the_start_and_not_later() {
    let place = Place::new();
    let Some(disk) = Mounted::new(&place.data, "20k") else { return };
    let directory = Directory::open(place.options()).unwrap();
    let said = directory.recover(0, Draw(1).epoch(), NOW, config).err().unwrap().to_string();
    assert!(said.contains("/a/data/shard-000/log.new: making the log: No space left"), "{said}");
    drop((directory, disk, place));
    let place = Place::new();
    let Some(_memory) = Mounted::new(&place.runtime, "12k") else { return };
    let directory = Directory::open(place.options()).unwrap();
    let said = directory.recover(0, Draw(1).epoch(), NOW, config).err().unwrap().to_string();
    assert!(said.contains("/run/shard-000.ring.new: reserving memory for the log: No space left"), "{said}");
}

/// The log has its room from the start; a snapshot that finds none is given up, and the log goes on.
#[test]
fn a_disk_that_is_full_later_costs_the_snapshot_and_not_the_log() {
    let place = Place::new();
    let Some(mounted) = Mounted::new(&place.data, "64k") else { return };
    let mut directory = Directory::open(place.options()).unwrap();
    let mut recovered = recover(&mut directory, 1);
    write(&mut recovered, "one");
    let rest = vec![0; 1 << 20];
    let _ = std::fs::write(mounted.0.join("somebody else's"), rest);
    recovered.keeper.begin(1, recovered.handle.head()).unwrap();
    let said = recovered.keeper.finish(1, recovered.handle.head()).unwrap_err().to_string();
    assert!(said.contains("/snapshot.new: writing the snapshot: No space left"), "{said}");
    recovered.keeper.image().flush(true).unwrap();
    assert_eq!(recovered.handle.durable_seq(recovered.actor), 1);
    std::fs::remove_file(mounted.0.join("somebody else's")).unwrap();
    recovered.keeper.begin(2, recovered.handle.head()).unwrap();
    assert!(recovered.keeper.finish(2, recovered.handle.head()).unwrap().is_some());
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(std::fs::copy(&path, &target).unwrap()),
        }
    }
}

#[test]
fn the_same_boot_and_directory_go_on_and_copies_do_not() {
    let place = Place::new();
    let mut directory = Directory::open(place.options()).unwrap();
    let mut recovered = recover(&mut directory, 1);
    write(&mut recovered, "one");
    recovered.keeper.image().flush(true).unwrap();
    drop((recovered, directory));
    let old = place.data.with_file_name("old");
    copy(&place.data, &old);

    // The same directory, in the same boot: one and two were never synced together.
    let mut directory = Directory::open(place.options()).unwrap();
    let mut recovered = recover(&mut directory, 2);
    assert!(recovered.continued && recovered.findings.is_empty());
    write(&mut recovered, "two");
    drop((recovered, directory));
    let mut directory = Directory::open(place.options()).unwrap();
    let mut recovered = recover(&mut directory, 3);
    assert_eq!((recovered.continued, shown(&mut recovered)), (true, vec!["one".into(), "two".into()]));
    drop((recovered, directory));

    // A copy in another place: nothing in memory is its own.
    let mut options = place.options();
    options.data.clone_from(&old);
    let mut directory = Directory::open(options).unwrap();
    let mut recovered = recover(&mut directory, 4);
    assert_eq!((recovered.continued, shown(&mut recovered)), (false, vec!["one".to_string()]));
    assert!(
        recovered.findings[0].to_string().contains("belongs to another directory"),
        "{:?}",
        recovered.findings
    );
    drop((recovered, directory));
}

#[test]
fn a_copy_that_was_brought_back_takes_a_new_epoch_and_what_memory_knows() {
    let place = Place::new();
    let mut directory = Directory::open(place.options()).unwrap();
    let mut recovered = recover(&mut directory, 1);
    write(&mut recovered, "one");
    recovered.keeper.image().flush(true).unwrap();
    let old = place.data.with_file_name("old");
    copy(&place.data, &old);
    write(&mut recovered, "two");
    recovered.keeper.image().flush(true).unwrap();
    let former = recovered.actor;
    drop((recovered, directory));
    // Into the same directory, so that its inode is the same.
    copy(&old, &place.data);
    let mut directory = Directory::open(place.options()).unwrap();
    let mut recovered = recover(&mut directory, 2);
    assert!(!recovered.continued && recovered.actor != former);
    assert!(recovered.findings[0].to_string().contains("an older copy"), "{:?}", recovered.findings);
    assert_eq!(shown(&mut recovered), ["one", "two"]);
    drop((recovered, directory));
    // And when memory is gone as well, as after a boot.
    std::fs::remove_dir_all(&place.runtime).unwrap();
    let mut directory = Directory::open(place.options()).unwrap();
    let mut recovered = recover(&mut directory, 3);
    assert_eq!((recovered.continued, shown(&mut recovered)), (false, vec!["one".into(), "two".into()]));
    assert!(recovered.findings.is_empty(), "{:?}", recovered.findings);
}

/// The log is the same, byte for byte; what is old is that it does not know of the snapshot.
#[test]
fn a_copy_from_before_a_snapshot_is_an_older_copy_too() {
    let place = Place::new();
    let mut directory = Directory::open(place.options()).unwrap();
    let mut recovered = recover(&mut directory, 1);
    write(&mut recovered, "one");
    recovered.keeper.image().flush(true).unwrap();
    let old = place.data.with_file_name("old");
    copy(&place.data, &old);
    recovered.keeper.begin(1, recovered.handle.head()).unwrap();
    recovered.keeper.finish(1, recovered.handle.head()).unwrap().unwrap();
    drop((recovered, directory));
    std::fs::remove_file(place.data.join("shard-000/snapshot.0")).unwrap();
    copy(&old, &place.data);
    let mut directory = Directory::open(place.options()).unwrap();
    let mut recovered = recover(&mut directory, 2);
    assert!(!recovered.continued);
    assert!(recovered.findings[0].to_string().contains("an older copy"), "{:?}", recovered.findings);
    assert_eq!(shown(&mut recovered), ["one"]);
}

#[test]
fn a_ring_of_an_earlier_boot_counts_for_nothing() {
    let place = Place::new();
    let mut directory = Directory::open(place.options()).unwrap();
    let mut recovered = recover(&mut directory, 1);
    write(&mut recovered, "synced");
    recovered.keeper.image().flush(true).unwrap();
    write(&mut recovered, "not synced");
    drop((recovered, directory));
    let mut directory = Directory::open(StorageOptions { boot_id: 1, ..place.options() }).unwrap();
    let mut recovered = recover(&mut directory, 2);
    assert_eq!((recovered.continued, shown(&mut recovered)), (false, vec!["synced".to_string()]));
}

/// A snapshot that is whole and makes no sense to the engine: less is tried, and it is said.
#[test]
fn what_the_engine_does_not_understand_is_left_out_and_said() {
    let place = Place::new();
    let mut directory = Directory::open(place.options()).unwrap();
    let mut recovered = recover(&mut directory, 1);
    write(&mut recovered, "in the snapshot");
    let (mark, number) = (recovered.handle.head(), recovered.engine.begin_snapshot());
    recovered.keeper.begin(number, mark).unwrap();
    recovered.keeper.frame(number, b"not a frame").unwrap();
    recovered.keeper.finish(number, recovered.handle.head()).unwrap().unwrap();
    write(&mut recovered, "in the log");
    drop(recovered);
    let mut recovered = recover(&mut directory, 2);
    let said: Vec<_> = recovered.findings.iter().map(ToString::to_string).collect();
    assert!(said[0].contains("/shard-000: could not be recovered: snapshot: "), "{said:?}");
    assert!(said.iter().any(|line| line.contains("snapshot 1 can't be used")), "{said:?}");
    // The log had not been overwritten yet.
    assert_eq!(
        (recovered.continued, shown(&mut recovered)),
        (false, vec!["in the log".into(), "in the snapshot".into()])
    );
    drop(recovered);
    let no_shard = directory.recover(1, Draw(3).epoch(), NOW, config).err().unwrap().to_string();
    assert_eq!(no_shard, "shard 1 of 1");
    let config = |actor| lattice_engine::EngineConfig { session: 0, ..config(actor) };
    let said = directory.recover(0, Draw(3).epoch(), NOW, config).err().unwrap().to_string();
    assert!(said.contains("session"), "{said}");
}
