//! From creation to restart, and readers beside a writer at full speed.
#![cfg(not(loom))]

mod support;

use lattice_segment::{Change, ReadError, Reader, Segment, SegmentConfig, SegmentError, State, key_hash};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{config, found, world};

#[test]
fn a_restart_closes_the_predecessor_and_replaces_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(&directory);
    let (first, _writers) = Segment::create(&config).unwrap();
    let old = Reader::open(&config.path).unwrap();
    assert_eq!(old.state(), State::Init);
    first.mark_ready();
    assert_eq!((old.state(), old.is_closed()), (State::Ready, false));

    let (second, writers) = Segment::create(&config).unwrap();
    assert_eq!(old.state(), State::Closed);
    assert!(old.is_closed());
    let new = Reader::open(&config.path).unwrap();
    assert_ne!(new.incarnation(), old.incarnation());
    assert_eq!(new.incarnation(), second.incarnation());
    second.mark_ready();
    // The predecessor's late end must not close its successor.
    drop(first);
    assert_eq!(new.state(), State::Ready);
    drop(second);
    assert_eq!(new.state(), State::Closed);
    drop(writers);

    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&config.path) & !0o640, 0);
    assert_eq!(mode(config.path.parent().unwrap()) & !0o750, 0);
    let left: Vec<_> = std::fs::read_dir(config.path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "a temporary file was left behind");
}

#[test]
fn a_link_at_the_path_is_replaced_and_what_it_leads_to_stays_open() {
    let others = world(|_| {});
    let directory = tempfile::tempdir().unwrap();
    let config = config(&directory);
    std::fs::create_dir_all(config.path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&others.config.path, &config.path).unwrap();
    let (_segment, _writers) = Segment::create(&config).unwrap();
    assert_eq!(others.reader().state(), State::Ready, "somebody else's segment");
    assert!(std::fs::symlink_metadata(&config.path).unwrap().is_file());
}

#[test]
fn leftovers_of_killed_daemons_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(&directory);
    let parent = config.path.parent().unwrap();
    std::fs::create_dir_all(parent).unwrap();
    let own = std::process::id();
    let living = std::os::unix::process::parent_id();
    // Greater than any process number (pid_max is at most 2^22).
    for name in [format!("segment.{own}.tmp"), "segment.4194305.tmp".into()] {
        std::fs::write(parent.join(name), b"half").unwrap();
    }
    let kept = [format!("segment.{living}.tmp"), "segment.x.tmp".into(), "other.4194305.tmp".into()];
    for name in &kept {
        std::fs::write(parent.join(name), b"not ours").unwrap();
    }
    let _segment = Segment::create(&config).unwrap();
    let mut left: Vec<_> =
        std::fs::read_dir(parent).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    let mut expected: Vec<_> = kept.iter().map(std::ffi::OsString::from).collect();
    expected.push("segment".into());
    expected.sort();
    assert_eq!(left, expected);
}

#[test]
fn the_header_says_who_it_is() {
    let world = world(|_| {});
    let reader = world.reader();
    assert_eq!((reader.node(), reader.node_name(), reader.cluster()), (3, "alpha", "test"));
    assert_eq!((reader.actor(), reader.workers(), reader.shards()), (3 << 48 | 17, 2, 8));
    assert_eq!(reader.pid(), std::process::id());
    assert!(reader.pid_start_ticks() > 0 && reader.start_unix_ns() > 0);
    assert_eq!(reader.socket_path(), world.config.socket_path.as_deref());
    assert_eq!(reader.heartbeat_timeout_ns(), 1_000_000);
    assert_eq!(reader.heartbeat_age_ns(1, 100), u64::MAX);
    world.writers[1].heartbeat(40);
    assert_eq!(reader.heartbeat_age_ns(1, 100), 60);
    assert_eq!(reader.heartbeat_age_ns(1, 10), 0);
    assert_eq!(reader.heartbeat_age_ns(0, 100), u64::MAX);
    assert_eq!(reader.heartbeat_age_ns(9, 100), u64::MAX);
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    type Adjust = fn(&mut SegmentConfig);
    let cases: [(&str, Adjust); 9] = [
        ("workers", |c| c.workers = 0),
        ("workers", |c| c.workers = 65),
        ("shards", |c| c.shards = 3),
        ("cells_per_worker", |c| c.cells_per_worker = 0),
        ("extent_bytes_per_worker", |c| c.extent_bytes_per_worker = 100),
        ("change_ring_entries", |c| c.change_ring_entries = 100),
        ("node_name", |c| c.node_name = "x".repeat(64)),
        ("cluster", |c| c.cluster = "a\0b".into()),
        ("socket_path", |c| c.socket_path = Some("x".repeat(256).into())),
    ];
    for (name, adjust) in cases {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(&directory);
        adjust(&mut config);
        match Segment::create(&config).map(|_| ()).unwrap_err() {
            SegmentError::Setting { setting, .. } | SegmentError::Text { setting, .. } => {
                assert_eq!(setting, name)
            }
            other => panic!("{name}: {other}"),
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory);
    std::fs::create_dir_all(&config.path).unwrap();
    assert!(matches!(Segment::create(&config).map(|_| ()), Err(SegmentError::Io { .. })));
    config.path = "/proc/nowhere/segment".into();
    assert!(matches!(Segment::create(&config).map(|_| ()), Err(SegmentError::Io { .. })));
}

#[test]
fn readers_beside_a_writer_see_whole_values_and_lasting_members_once() {
    let mut world = world(|config| config.workers = 1);
    let reader = world.reader();
    let writer = &mut world.writers[0];
    let register = writer.open_cell(4, key_hash(b"r"), b"r").unwrap();
    let set = writer.open_cell(5, key_hash(b"s"), b"s").unwrap();
    let word = writer.open_cell(1, key_hash(b"w"), b"w").unwrap();
    writer.publish_bytes(register, &[0; 64]).unwrap();
    for number in 0..100u32 {
        writer.set_insert(set, format!("lasting {number}").as_bytes()).unwrap();
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch_values(&reader, &done));
        for round in 0..30_000u32 {
            writer.publish_word(word, u64::from(round) << 32 | u64::from(round));
            // Lengths that change class now and then, so that extents are replaced too.
            let len = if round % 7 == 0 { 900 } else { 64 };
            writer.publish_bytes(register, &vec![round as u8; len]).unwrap();
            writer.set_insert(set, format!("passing {}", round % 3000).as_bytes()).unwrap();
            if round % 3 != 0 {
                writer.set_remove(set, format!("passing {}", (round / 2) % 3000).as_bytes()).unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(watcher.join().unwrap() > 0);
    });
}

fn watch_values(reader: &Reader, done: &AtomicBool) -> u32 {
    let (register, set, word) = (found(reader, 4, b"r"), found(reader, 5, b"s"), found(reader, 1, b"w"));
    let mut out = Vec::new();
    let mut rounds = 0;
    while !done.load(Ordering::Relaxed) {
        match reader.bytes(register, &mut out) {
            Ok(()) => assert!(out.iter().all(|byte| *byte == out[0]), "torn"),
            Err(error) => assert_eq!(error, ReadError::Busy),
        }
        let value = reader.word(word).unwrap();
        assert_eq!(value >> 32, value & 0xFFFF_FFFF);
        match reader.set_contains(set, b"lasting 50") {
            Ok(member) => assert!(member),
            Err(error) => assert_eq!(error, ReadError::Busy),
        }
        let mut lasting = Vec::new();
        let walk = reader.set_members(set, &mut |member| {
            if member.starts_with(b"lasting") {
                lasting.push(member.to_vec());
            } else {
                assert!(member.starts_with(b"passing "), "{member:?}");
            }
        });
        if walk.is_ok() {
            let visits = lasting.len();
            lasting.sort_unstable();
            lasting.dedup();
            assert_eq!((visits, lasting.len()), (100, 100));
            rounds += 1;
        }
    }
    rounds
}

#[test]
fn a_sleeping_watcher_is_woken() {
    let mut world = world(|config| config.workers = 1);
    let reader = world.reader();
    let writer = &mut world.writers[0];
    let cell = writer.open_cell(1, key_hash(b"k"), b"k").unwrap();
    std::thread::scope(|scope| {
        let (to_writer, from_watcher) = std::sync::mpsc::channel();
        let reader = &reader;
        scope.spawn(move || {
            let mut cursor = reader.changes(0).unwrap();
            for version in 1..=200 {
                to_writer.send(()).unwrap();
                assert!(cursor.wait(Duration::from_secs(60)), "not woken");
                let Change::Item { cell, version: seen } = cursor.next() else { panic!("nothing there") };
                assert_eq!((seen, cell), (version, found(reader, 1, b"k")));
            }
            assert!(!cursor.wait(Duration::from_millis(1)));
        });
        for value in 0..200 {
            from_watcher.recv().unwrap();
            writer.set_watchers(value % 10 != 9);
            writer.publish_word(cell, value);
            writer.end_burst();
        }
    });
    // A position behind the newest one does not sleep.
    let cursor = reader.changes(0).unwrap();
    writer.publish_word(cell, 0);
    writer.end_burst();
    let before = Instant::now();
    assert!(cursor.wait(Duration::from_secs(60)));
    assert!(before.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_word_at_hand_follows_its_cell_until_the_segment_is_over() {
    let mut world = world(|_| {});
    for key in [&b"first"[..], b"second", b"third"] {
        let writer = world.writer_of(key);
        let cell = writer.open_cell(1, key_hash(key), key).unwrap();
        writer.publish_word(cell, key.len() as u64);
    }
    let (reader, other) = (world.reader(), world.reader());
    let words = [&b"first"[..], b"second", b"third"]
        .map(|key| reader.word_at_hand(found(&reader, 1, key)).unwrap().load());
    assert_eq!(words, [Some(5), Some(6), Some(5)]);
    let word = reader.word_at_hand(found(&reader, 1, b"second")).unwrap();
    let writer = world.writer_of(b"second");
    let cell = writer.open_cell(1, key_hash(b"second"), b"second").unwrap();
    writer.publish_word(cell, 60);
    assert_eq!(word.load(), Some(60));

    // A set or register has no word.
    let writer = world.writer_of(b"set");
    writer.open_cell(5, key_hash(b"set"), b"set").unwrap();
    assert!(reader.word_at_hand(found(&reader, 5, b"set")).is_err());

    // Giving up is one reader's; closing is the segment's. The value stays readable for those who ask the reader.
    let others_word = other.word_at_hand(found(&other, 1, b"second")).unwrap();
    reader.give_up();
    assert_eq!((word.load(), others_word.load()), (None, Some(60)));
    assert!(reader.is_over() && !reader.is_closed() && !other.is_over());
    assert_eq!(reader.word(found(&reader, 1, b"second")), Ok(60));
    world.segment.close();
    assert_eq!(others_word.load(), None);
    assert!(other.is_over() && other.is_closed());
    // A word keeps its mapping.
    drop((reader, other));
    assert_eq!(others_word.load(), None);
}
