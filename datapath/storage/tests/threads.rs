//! The storage threads under load: what they promise while a worker appends, by each policy, and that a worker's side
//! allocates nothing.

mod support;

use lattice_crdt::Kind;
use lattice_engine::{LocalOp, LogStore};
use lattice_storage::{
    Attempt, Directory, Flusher, OsDisk, Sliced, StorageEvent, SyncPolicy, snapshot_service, spawn_flusher,
    spawn_snapshots,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;
use support::{Draw, NOW, View, config, options};

thread_local! {
    static ALLOCATIONS: Cell<Option<u64>> = const { Cell::new(None) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get().map(|n| n + 1)));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(act: impl FnOnce()) -> u64 {
    ALLOCATIONS.set(Some(0));
    act();
    ALLOCATIONS.replace(None).unwrap_or(0)
}

struct Dirs {
    data: tempfile::TempDir,
    runtime: tempfile::TempDir,
}

impl Dirs {
    fn new() -> Self {
        Self { data: tempfile::tempdir().unwrap(), runtime: tempfile::tempdir_in("/dev/shm").unwrap() }
    }

    fn directory(&self, boot_id: u128) -> Directory {
        let options = options(self.data.path(), self.runtime.path(), boot_id);
        let mut draw = Draw(boot_id as u64);
        Directory::open_on(Arc::new(OsDisk), options, (0, 0), Box::new(move || draw.bits())).unwrap()
    }
}

#[test]
fn appends_and_questions_allocate_nothing() {
    let dirs = Dirs::new();
    let mut start = dirs.directory(1).open_shard(0, Draw(1).epoch(), Attempt::default()).unwrap();
    let (mut log, handle) = (start.take_log().unwrap(), start.handle());
    let mut keeper = start.commit().unwrap();
    let record = [7; 60];
    let mut room = 0;
    for _ in 0..10 {
        let count = allocations(|| {
            for _ in 0..100 {
                room = handle.room();
                let seq = log.append(&record);
                assert_eq!(log.record(seq), Some(&record[..]));
                assert!(handle.durable_seq(start_actor()) <= seq);
            }
        });
        assert_eq!(count, 0);
        keeper.begin(1, handle.head()).unwrap();
        keeper.finish(1, handle.head()).unwrap();
    }
    assert!(room > 0 && log.last_seq() == 1000 && log.first_seq() > 1, "it went round");
}

fn start_actor() -> lattice_crdt::ActorId {
    Draw(1).epoch()
}

/// What a policy promises is durable, read back in another boot.
fn durable_after(policy: SyncPolicy, wait: bool) -> (usize, usize) {
    let dirs = Dirs::new();
    let mut recovered = dirs.directory(1).recover(0, Draw(1).epoch(), NOW, config).unwrap();
    let (events, _from_storage) = crossbeam_channel::bounded(8);
    let flusher = spawn_flusher(Flusher::new([(0, recovered.keeper.image())], policy), events).unwrap();
    for i in 0..30u32 {
        let op = LocalOp::SetInsert(&i.to_le_bytes());
        recovered.engine.apply(NOW, Kind::Set, b"set", op).unwrap();
        recovered.engine.commit(NOW, &mut View::default());
        flusher.waker().wake();
    }
    if wait {
        while recovered.handle.durable_seq(recovered.actor) < 30 {
            std::thread::yield_now();
        }
    }
    let durable = recovered.handle.durable_seq(recovered.actor) as usize;
    let before = read_back(&dirs);
    flusher.stop();
    assert_eq!(recovered.handle.durable_seq(recovered.actor), 30);
    assert_eq!(read_back(&dirs), 30, "stopped, it has synced everything");
    assert!(before >= durable);
    (durable, before)
}

fn read_back(dirs: &Dirs) -> usize {
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut options = options(dirs.data.path(), runtime.path(), 9);
    options.runtime = runtime.path().to_owned();
    let mut draw = Draw(9);
    let directory =
        Directory::open_on(Arc::new(OsDisk), options, (0, 0), Box::new(move || draw.bits())).unwrap();
    directory.open_shard(0, Draw(9).epoch(), Attempt::default()).unwrap().old.len()
}

#[test]
fn each_policy_keeps_its_promise() {
    assert_eq!(durable_after(SyncPolicy::Always, true).0, 30);
    assert_eq!(durable_after(SyncPolicy::Interval(Duration::from_millis(2)), true).0, 30);
    let (durable, _) = durable_after(SyncPolicy::Never, false);
    assert_eq!(durable, 0, "nothing was synced");
}

#[test]
fn a_workers_side_of_a_snapshot_allocates_nothing() {
    let dirs = Dirs::new();
    let start = dirs.directory(1).open_shard(0, Draw(1).epoch(), Attempt::default()).unwrap();
    let handle = start.handle();
    let (events, from_storage) = crossbeam_channel::bounded(8);
    let (service, mut feeds) = snapshot_service([(0, start.commit().unwrap())], 1, events);
    let snapshots = spawn_snapshots(service).unwrap();
    for number in 1..=3 {
        let mut frames = 0..4000;
        let mut write = |buffer: &mut [u8]| {
            buffer[..1000].fill(frames.next()? as u8);
            Some(1000)
        };
        let feed = &mut feeds[0];
        let count = allocations(|| {
            assert!(feed.begin(0, number, handle.head()));
            while feed.slice(&mut write, || true) != Sliced::Whole {
                std::hint::spin_loop();
            }
            while !feed.end(handle.head()) {
                std::hint::spin_loop();
            }
        });
        assert!(count == 0 || number == 1, "{count} allocations");
        let StorageEvent::SnapshotDurable { done, .. } = from_storage.recv().unwrap() else { panic!() };
        assert_eq!((done.number, done.bytes), (number, 512 + 4000 * 1016 + 64));
    }
    drop(feeds);
    snapshots.join().unwrap();
}

/// A worker that feeds a snapshot of many keys while it goes on writing; afterwards all of it is read back.
#[test]
fn a_snapshot_is_fed_in_slices_and_read_back() {
    let dirs = Dirs::new();
    let mut recovered = dirs.directory(1).recover(0, Draw(1).epoch(), NOW, config).unwrap();
    let (events, from_storage) = crossbeam_channel::bounded(8);
    let image = recovered.keeper.image();
    let (mut expected, mut view) = (Vec::new(), View::default());
    let flusher = spawn_flusher(Flusher::new([(0, image)], SyncPolicy::default()), events.clone()).unwrap();
    let (service, mut feeds) = snapshot_service([(0, recovered.keeper)], 1, events);
    let snapshots = spawn_snapshots(service).unwrap();
    let (engine, handle, feed) = (&mut recovered.engine, &recovered.handle, &mut feeds[0]);
    for round in 0..3u32 {
        for i in 0..40u32 {
            let element = format!("{round} {i} {}", "y".repeat(150));
            engine.apply(NOW, Kind::Set, b"set", LocalOp::SetInsert(element.as_bytes())).unwrap();
            engine.commit(NOW, &mut view);
            expected.push(element.into_bytes());
        }
        let (mark, number) = (handle.head(), engine.begin_snapshot());
        assert!(feed.begin(0, number, mark));
        let mut slices = 0;
        loop {
            let mut frames = 0..2;
            let sliced = feed.slice(|buffer| engine.write_snapshot(buffer), || frames.next().is_some());
            slices += 1;
            if sliced == Sliced::Whole {
                break;
            }
        }
        assert!(slices > 2);
        while !feed.end(handle.head()) {
            std::thread::yield_now();
        }
        let StorageEvent::SnapshotDurable { done, .. } = from_storage.recv().unwrap() else { panic!() };
        assert_eq!((done.number, done.generation), (number, u64::from(round) + 1));
        assert!(engine.snapshot_is_durable(number));
    }
    drop(feeds);
    snapshots.join().unwrap();
    flusher.stop();
    drop((recovered.engine, recovered.handle));
    let recovered = dirs.directory(2).recover(0, Draw(2).epoch(), NOW, config).unwrap();
    let (mut engine, mut view) = (recovered.engine, View::default());
    engine.commit(NOW, &mut view);
    expected.sort();
    assert_eq!(view.members().into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(recovered.keeper.base_generation(), 3);
}
