//! A file may hold anything: opening and reading it never crashes and always ends.
#![cfg(not(loom))]

mod support;

use lattice_segment::layout::HEADER_BYTES;
use lattice_segment::{CellRef, Change, Lookup, OpenError, ReadError, Reader, key_hash};
use std::os::unix::fs::FileExt;
use std::time::Duration;
use support::{World, world};

/// A segment with some of everything in it.
fn furnished() -> World {
    let mut world = world(|config| {
        config.cells_per_worker = 60;
        config.extent_bytes_per_worker = 64 << 10;
        config.change_ring_entries = 64;
    });
    for number in 0..20u32 {
        let key = format!("key {number} {}", "long ".repeat(number as usize % 10)).into_bytes();
        let writer = world.writer_of(&key);
        let word = writer.open_cell(1, key_hash(&key), &key).unwrap();
        writer.publish_word(word, number.into());
        let register = writer.open_cell(4, key_hash(&key), &key).unwrap();
        writer.publish_bytes(register, &key).unwrap();
        let set = writer.open_cell(5, key_hash(&key), &key).unwrap();
        for element in 0..number * 5 {
            writer.set_insert(set, format!("element {element}").as_bytes()).unwrap();
        }
        writer.register_counters(&["a", "b"]);
        writer.end_burst();
    }
    world
}

/// Uses everything that a reader offers; the answers do not matter here.
fn use_everything(reader: &Reader) {
    let _ = (reader.state(), reader.is_closed(), reader.node_name(), reader.cluster(), reader.socket_path());
    let mut cells: Vec<(Vec<u8>, CellRef)> = Vec::new();
    reader.keys(&mut |_, key, cell| cells.push((key.to_vec(), cell)));
    let mut out = Vec::new();
    for (key, cell) in &cells {
        for kind in 0..7 {
            let _ = reader.lookup(kind, key);
        }
        let _ = (reader.word(*cell), reader.version(*cell), reader.key_of(*cell), reader.set_len(*cell));
        if reader.bytes(*cell, &mut out).is_err() {
            assert!(out.is_empty());
        }
        for element in 0..3 {
            let _ = reader.set_contains(*cell, format!("element {element}").as_bytes());
        }
        let mut members = 0usize;
        let _ = reader.set_members(*cell, &mut |_| members += 1);
        assert!(members < 100_000);
    }
    for worker in 0..reader.workers() {
        let _ = reader.heartbeat_age_ns(worker, 5);
        let mut cursor = reader.changes(worker).unwrap();
        for _ in 0..200 {
            if cursor.next() == Change::None {
                break;
            }
        }
        let _ = cursor.wait(Duration::ZERO);
    }
    assert!(reader.counters().len() <= 127 * 64);
}

/// SplitMix64: a fixed seed repeats the run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn odd_word(state: &mut u64, word: u64) -> u64 {
    match random(state) % 6 {
        0 => random(state),
        1 => u64::MAX,
        2 => 0,
        3 => word ^ 1 << (random(state) % 64),
        4 => word.wrapping_add(random(state) % 17).wrapping_sub(8),
        _ => 1 << (random(state) % 64),
    }
}

#[test]
fn ten_thousand_mutated_files_never_crash_a_reader() {
    let world = furnished();
    let good = std::fs::read(&world.config.path).unwrap();
    let path = world.directory.path().join("mutated");
    std::fs::write(&path, &good).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    use_everything(&Reader::open(&path).unwrap());
    // Words that are in use: mutating them is what tests something.
    let used: Vec<usize> =
        (0..good.len() / 8).filter(|word| good[word * 8..][..8].iter().any(|byte| *byte != 0)).collect();
    let mut seed = 42;
    let (mut opened, mut refused) = (0, 0);
    for round in 0..10_000 {
        let mut touched = Vec::new();
        for _ in 0..=random(&mut seed) % 4 {
            let word = match random(&mut seed) % 4 {
                0 => random(&mut seed) as usize % (HEADER_BYTES / 8),
                _ => used[random(&mut seed) as usize % used.len()],
            };
            let old = u64::from_le_bytes(good[word * 8..][..8].try_into().unwrap());
            file.write_all_at(&odd_word(&mut seed, old).to_le_bytes(), word as u64 * 8).unwrap();
            touched.push(word);
        }
        let len = if round % 10 == 0 { random(&mut seed) % good.len() as u64 } else { good.len() as u64 };
        file.set_len(len).unwrap();
        match Reader::open(&path) {
            Ok(reader) => {
                assert_eq!(len, good.len() as u64);
                use_everything(&reader);
                opened += 1;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
        if len < good.len() as u64 {
            file.write_all_at(&good[len as usize..], len).unwrap();
        }
        for word in touched {
            file.write_all_at(&good[word * 8..][..8], word as u64 * 8).unwrap();
        }
    }
    assert!(opened > 2000 && refused > 1000, "{opened} opened, {refused} refused");
    use_everything(&Reader::open(&path).unwrap());
}

fn open_with(world: &World, offset: usize, value: u64) -> OpenError {
    let mut bytes = std::fs::read(&world.config.path).unwrap();
    bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    let path = world.directory.path().join("one-word");
    std::fs::write(&path, bytes).unwrap();
    Reader::open(&path).map(|_| ()).unwrap_err()
}

#[test]
fn each_lie_in_the_header_has_its_error() {
    let world = furnished();
    let section = |entry: usize, field: usize| 512 + entry * 32 + field * 8;
    let word = |offset: usize| {
        let bytes = std::fs::read(&world.config.path).unwrap();
        u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
    };
    assert!(matches!(open_with(&world, 0, 1), OpenError::BadMagic));
    let version = open_with(&world, 8, 2 | 7 << 16 | 4096 << 32);
    assert!(matches!(version, OpenError::UnsupportedVersion { major: 2, minor: 7 }));
    assert!(matches!(open_with(&world, 8, 1 | 512 << 32), OpenError::UnsupportedVersion { .. }));
    assert!(
        matches!(open_with(&world, 16, 1 << 40), OpenError::TooShort { needed_bytes, .. } if needed_bytes == 1 << 40)
    );
    let fields = [
        (24, 3),
        (32, 0),
        (48, 0),
        (48, u64::MAX),
        (56, u64::MAX),
        (88, 0),
        (88, 1 << 40),
        (96, 1),
        (104, 1),
        (112, 65),
    ];
    for (offset, value) in fields {
        assert!(matches!(open_with(&world, offset, value), OpenError::BadHeader { .. }), "{offset} {value}");
    }
    assert!(matches!(open_with(&world, 128, u64::MAX), OpenError::BadHeader { field: "node_name", .. }));
    for (offset, value, expected) in [
        (section(1, 0), 0, "listed twice, or has no number"),
        (section(1, 0), word(section(0, 0)), "listed twice, or has no number"),
        (section(1, 0), 99, "missing"),
        (section(1, 1), word(section(1, 1)) + 8, "misaligned"),
        (section(1, 1), 1 << 30, "out of bounds"),
        (section(1, 1), u64::MAX - 4095, "out of bounds"),
        (section(1, 2), u64::MAX, "out of bounds"),
        (section(1, 1), 0, "overlaps another one"),
        (section(1, 1), word(section(0, 1)), "overlaps another one"),
        (section(1, 3), 128, "has not the size that follows from the header's counts"),
    ] {
        let error = open_with(&world, offset, value);
        assert!(
            matches!(error, OpenError::BadSection { problem, .. } if problem == expected),
            "{expected}: {error}"
        );
    }
}

#[test]
fn what_is_no_segment_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let missing = Reader::open(directory.path().join("missing")).map(|_| ()).unwrap_err();
    assert!(matches!(missing, OpenError::Io { step: "open", .. }));
    assert!(matches!(Reader::open(directory.path()).map(|_| ()).unwrap_err(), OpenError::NotRegular));
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(Reader::open(&pipe).map(|_| ()).unwrap_err(), OpenError::NotRegular));
    let empty = directory.path().join("empty");
    std::fs::write(&empty, b"").unwrap();
    let error = Reader::open(&empty).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::TooShort { actual_bytes: 0, needed_bytes: 4096 }));
    std::fs::write(&empty, vec![7; 10_000]).unwrap();
    assert!(matches!(Reader::open(&empty).map(|_| ()).unwrap_err(), OpenError::BadMagic));
}

/// What lies behind the last worker's heartbeat is another section.
#[test]
fn a_worker_that_is_not_there_never_beat() {
    let mut world = world(|config| (config.workers, config.shards, config.cells_per_worker) = (32, 32, 4));
    for writer in &mut world.writers {
        writer.heartbeat(7);
        writer.register_counters(&["a", "b"]);
    }
    let reader = world.reader();
    assert_eq!((reader.heartbeat_age_ns(31, 9), reader.workers()), (2, 32));
    assert_eq!(reader.heartbeat_age_ns(32, 9), u64::MAX);
    assert_eq!(reader.heartbeat_age_ns(u16::MAX, 9), u64::MAX);
}

/// Extents may overlap in a damaged file, so their number and their size must both be bounded: a million buckets of
/// twelve megabytes each would keep a reader busy for hours.
#[test]
fn a_bucket_longer_than_a_writer_makes_is_refused() {
    const CLASS_96_KIB: u64 = 23;
    let mut world = world(|config| config.extent_bytes_per_worker = 1 << 20);
    let (key, element) = (b"set", b"member");
    let writer = world.writer_of(key);
    let cell = writer.open_cell(5, key_hash(key), key).unwrap();
    writer.set_insert(cell, element).unwrap();
    let reader = world.reader();
    let Lookup::Found(cell) = reader.lookup(5, key) else { panic!("not published") };
    assert_eq!(reader.set_contains(cell, element), Ok(true));

    // The bucket is the first extent of its worker: its header word has tag 1, and its entry hides in plain sight.
    let bytes = std::fs::read(&world.config.path).unwrap();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let entry = (0..16).map(|entry| 512 + entry * 32).find(|at| word(*at) == 4).unwrap();
    let bucket = word(entry + 8) + u64::from(cell.worker()) * word(entry + 24);
    let file = std::fs::OpenOptions::new().write(true).open(&world.config.path).unwrap();
    let longer = 1 << 32 | CLASS_96_KIB << 24 | ((96 << 10) - 8);
    file.write_all_at(&u64::to_le_bytes(longer), bucket).unwrap();
    assert_eq!(reader.set_contains(cell, element), Err(ReadError::Corrupt));
    assert_eq!(reader.set_members(cell, &mut |_| {}), Err(ReadError::Corrupt));
}
