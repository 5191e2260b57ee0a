//! A real process, killed again and again under load: everything that it acknowledged through a pipe is there.
//!
//! The process is this test program again, told by a variable to be the writer. `LATTICE_KILLS` sets how often.

mod support;

use lattice_crdt::Kind;
use lattice_engine::LocalOp;
use lattice_storage::{
    Directory, Flusher, Recovered, Sliced, StorageEvent, StorageOptions, SyncPolicy, boot_id,
    snapshot_service, spawn_flusher, spawn_snapshots,
};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{Draw, NOW, View, config, options};

const DIRECTORY: &str = "LATTICE_KILL_WRITER";
/// Elements that are there at a time: the older ones are removed.
const WINDOW: u64 = 50;

fn storage(root: &Path) -> StorageOptions {
    let options = options(&root.join("data"), &root.join("run"), boot_id().unwrap());
    StorageOptions { log_bytes: 64 << 10, ..options }
}

fn recover(root: &Path, seed: u64) -> (Recovered, Vec<u64>) {
    let directory = Directory::open(storage(root)).unwrap();
    let mut recovered = directory.recover(0, Draw(seed).epoch(), NOW, config).unwrap();
    // The locks are held for as long as the process lives.
    std::mem::forget(directory);
    let mut view = View::default();
    recovered.engine.commit(NOW, &mut view);
    let numbers = view.members().iter().map(|e| String::from_utf8_lossy(e).parse().unwrap()).collect();
    (recovered, numbers)
}

/// Where the present snapshot is.
enum Walk {
    Idle,
    Slices,
    End,
    Waits,
}

/// Writes for ever: element n comes, element n - WINDOW goes; each is acknowledged once it is in the log.
#[test]
fn writer() {
    let Some(root) = std::env::var_os(DIRECTORY) else { return };
    let (recovered, numbers) = recover(Path::new(&root), std::process::id().into());
    let Recovered { mut engine, handle, keeper, .. } = recovered;
    let (events, from_storage) = crossbeam_channel::bounded(64);
    let policy = SyncPolicy::Interval(Duration::from_millis(1));
    let flusher = Flusher::new([(0, keeper.image())], policy);
    let _flusher = spawn_flusher(flusher, events.clone()).unwrap();
    let (service, mut feeds) = snapshot_service([(0, keeper)], 1, events);
    let _snapshots = spawn_snapshots(service).unwrap();
    let (mut view, mut walk) = (View::default(), Walk::Idle);
    let mut out = std::io::stdout();
    let last = numbers.iter().max().copied().unwrap_or(0);
    // The one before may have been killed between the two records of an operation.
    for old in numbers.iter().filter(|&&old| old + WINDOW <= last) {
        engine.apply(NOW, Kind::Set, b"set", LocalOp::SetRemove(old.to_string().as_bytes())).unwrap();
    }
    engine.commit(NOW, &mut view);
    writeln!(out, "STARTED {}", u8::from(recovered.continued)).unwrap();
    let mut number = last + 1;
    loop {
        let feed = &mut feeds[0];
        walk = match walk {
            Walk::Idle => {
                let (mark, snapshot) = (handle.head(), engine.begin_snapshot());
                if feed.begin(0, snapshot, mark) { Walk::Slices } else { Walk::Idle }
            }
            Walk::Slices => {
                let mut frames = 0..3;
                match feed.slice(|buffer| engine.write_snapshot(buffer), || frames.next().is_some()) {
                    Sliced::Whole => Walk::End,
                    Sliced::More | Sliced::Busy => Walk::Slices,
                }
            }
            Walk::End if feed.end(handle.head()) => Walk::Waits,
            waits => match from_storage.try_recv() {
                Ok(StorageEvent::SnapshotDurable { done, .. }) => {
                    assert!(engine.snapshot_is_durable(done.number));
                    Walk::Idle
                }
                Ok(other) => panic!("{other:?}"),
                Err(_) => waits,
            },
        };
        if handle.room() < 2 {
            std::thread::yield_now();
            continue;
        }
        let (new, old) = (number.to_string(), number.saturating_sub(WINDOW).to_string());
        engine.apply(NOW, Kind::Set, b"set", LocalOp::SetInsert(new.as_bytes())).unwrap();
        engine.apply(NOW, Kind::Set, b"set", LocalOp::SetRemove(old.as_bytes())).unwrap();
        engine.commit(NOW, &mut view);
        assert!(!handle.is_overrun());
        writeln!(out, "ACK {number}").unwrap();
        number += 1;
    }
}

#[test]
fn a_killed_writer_loses_nothing_that_it_acknowledged() {
    let kills = std::env::var("LATTICE_KILLS").map_or(20, |kills| kills.parse().unwrap());
    let root = tempfile::tempdir().unwrap();
    let (mut draw, mut acknowledged, mut written) = (Draw(7), 0, 0);
    for kill in 0..kills {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, root.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
        let started = lines.find(|line| line.contains("STARTED")).expect("it started");
        // Only the very first has no epoch to go on with.
        assert_eq!(started.ends_with('1'), kill > 0, "kill {kill}: {started}");
        // It goes on while this counts, so the kill comes at any instruction.
        let count = draw.below(3000);
        let seen: Vec<String> = lines.by_ref().take(count as usize).collect();
        writer.kill().unwrap();
        assert_eq!(writer.wait().unwrap().signal(), Some(9), "kill {kill}: it ended by itself");
        let rest = seen.into_iter().chain(lines);
        let acks = rest.filter_map(|line| line.strip_prefix("ACK ").and_then(|n| n.parse::<u64>().ok()));
        acknowledged = acks.max().unwrap_or(acknowledged);
        written = acknowledged.max(written);
    }
    // One more process, which is this one.
    let (recovered, numbers) = recover(root.path(), 1);
    assert!(recovered.continued && recovered.findings.is_empty(), "{:?}", recovered.findings);
    let last = numbers.iter().max().copied().unwrap_or(0);
    assert!((acknowledged..=acknowledged + 1).contains(&last), "{last}, acknowledged {acknowledged}");
    let mut expected: BTreeSet<u64> = (last.saturating_sub(WINDOW) + 1..=last).collect();
    if last > acknowledged && numbers.contains(&(last - WINDOW)) {
        // Killed between the two records of an operation that was not acknowledged.
        expected.insert(last - WINDOW);
    }
    assert_eq!(numbers.into_iter().collect::<BTreeSet<_>>(), expected);
    println!("{kills} kills, {written} writes acknowledged");
}
