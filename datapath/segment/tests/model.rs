//! What a reader sees through the file is what a map of the same operations holds.
#![cfg(not(loom))]

mod support;

use lattice_segment::{Change, Full, Lookup, ReadError, Stale, key_hash};
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};
use support::{found, world};

#[derive(Clone, Debug)]
enum Op {
    Word(u8, u64),
    Bytes(u8, Vec<u8>),
    Insert(u8, u16, usize),
    Remove(u8, u16, usize),
}

/// Keys of every interesting length: in the cell, at its edge, in an extent.
fn key(number: u8) -> Vec<u8> {
    let len = [1, 5, 24, 25, 64, 128][usize::from(number) % 6];
    let mut key = vec![number; len];
    key[0] = number.wrapping_add(1);
    key
}

fn element(number: u16, len: usize) -> Vec<u8> {
    let mut element = vec![number as u8; len];
    for (byte, value) in element.iter_mut().zip(number.to_le_bytes()) {
        *byte = value;
    }
    element
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..12u8, any::<u64>()).prop_map(|(key, value)| Op::Word(key, value)),
        (0..8u8, proptest::collection::vec(any::<u8>(), 0..=1024))
            .prop_map(|(key, value)| Op::Bytes(key, value)),
        (0..3u8, 0..150u16, prop_oneof![Just(0usize), Just(1), Just(8), Just(20), Just(256)])
            .prop_map(|(key, number, len)| Op::Insert(key, number, len)),
        (0..3u8, 0..150u16, prop_oneof![Just(0usize), Just(1), Just(8), Just(20), Just(256)])
            .prop_map(|(key, number, len)| Op::Remove(key, number, len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_file_equals_the_map(ops in proptest::collection::vec(op(), 1..400)) {
        let mut world = world(|_| {});
        let mut words: HashMap<u8, u64> = HashMap::new();
        let mut registers: HashMap<u8, Vec<u8>> = HashMap::new();
        let mut sets: HashMap<u8, BTreeSet<Vec<u8>>> = HashMap::new();
        for op in ops {
            let number = match &op { Op::Word(k, _) | Op::Bytes(k, _) | Op::Insert(k, ..) | Op::Remove(k, ..) => *k };
            let key = key(number);
            let writer = world.writer_of(&key);
            match op {
                Op::Word(k, value) => {
                    let cell = writer.open_cell(1, key_hash(&key), &key).unwrap();
                    writer.publish_word(cell, value);
                    words.insert(k, value);
                }
                Op::Bytes(k, value) => {
                    let cell = writer.open_cell(4, key_hash(&key), &key).unwrap();
                    writer.publish_bytes(cell, &value).unwrap();
                    registers.insert(k, value);
                }
                Op::Insert(k, number, len) => {
                    let cell = writer.open_cell(5, key_hash(&key), &key).unwrap();
                    writer.set_insert(cell, &element(number, len)).unwrap();
                    sets.entry(k).or_default().insert(element(number, len));
                }
                Op::Remove(k, number, len) => {
                    let cell = writer.open_cell(5, key_hash(&key), &key).unwrap();
                    writer.set_remove(cell, &element(number, len)).unwrap();
                    sets.entry(k).or_default().remove(&element(number, len));
                }
            }
        }
        let reader = world.reader();
        for (number, value) in &words {
            prop_assert_eq!(reader.word(found(&reader, 1, &key(*number))), Ok(*value));
        }
        for (number, value) in &registers {
            let mut out = vec![1, 2, 3];
            reader.bytes(found(&reader, 4, &key(*number)), &mut out).unwrap();
            prop_assert_eq!(&out, value);
        }
        for (number, members) in &sets {
            let cell = found(&reader, 5, &key(*number));
            let mut visited = Vec::new();
            reader.set_members(cell, &mut |member| visited.push(member.to_vec())).unwrap();
            prop_assert_eq!(visited.len(), members.len());
            prop_assert_eq!(&visited.into_iter().collect::<BTreeSet<_>>(), members);
            prop_assert_eq!(reader.set_len(cell), Ok(members.len() as u64));
            for candidate in 0..150 {
                for len in [0, 1, 8, 20, 256] {
                    let candidate = element(candidate, len);
                    prop_assert_eq!(reader.set_contains(cell, &candidate), Ok(members.contains(&candidate)));
                }
            }
        }
        let mut keys = 0;
        reader.keys(&mut |kind, name, cell| {
            assert_eq!(reader.lookup(kind, name), Lookup::Found(cell));
            assert_eq!(reader.key_of(cell), Ok((kind, name.to_vec())));
            keys += 1;
        });
        prop_assert_eq!(keys, words.len() + registers.len() + sets.len());
    }
}

#[test]
fn a_key_with_another_kind_is_another_key() {
    let mut world = world(|_| {});
    let reader = world.reader();
    assert_eq!(reader.lookup(1, b"k"), Lookup::Missing);
    let writer = world.writer_of(b"k");
    let first = writer.open_cell(2, key_hash(b"k"), b"k").unwrap();
    assert_eq!(reader.lookup(1, b"k"), Lookup::OtherKind(2));
    let second = writer.open_cell(1, key_hash(b"k"), b"k").unwrap();
    assert_ne!(first, second);
    assert_eq!(writer.open_cell(2, key_hash(b"k"), b"k"), Ok(first));
    writer.publish_word(first, 1);
    writer.publish_word(second, 9);
    assert_eq!(reader.word(found(&reader, 2, b"k")), Ok(1));
    assert_eq!(reader.word(found(&reader, 1, b"k")), Ok(9));
    let mut out = Vec::new();
    assert_eq!(reader.bytes(found(&reader, 1, b"k"), &mut out), Err(ReadError::Stale));
    assert_eq!(reader.set_contains(found(&reader, 1, b"k"), b""), Err(ReadError::Stale));
}

#[test]
fn a_full_segment_keeps_what_it_published() {
    let mut world = world(|config| {
        config.workers = 1;
        config.cells_per_worker = 4;
        config.extent_bytes_per_worker = 4096;
    });
    let reader = world.reader();
    let writer = &mut world.writers[0];
    let set = writer.open_cell(5, key_hash(b"set"), b"set").unwrap();
    let register = writer.open_cell(4, key_hash(b"reg"), b"reg").unwrap();
    writer.publish_bytes(register, b"small").unwrap();
    let mut count = 0u32;
    while writer.set_insert(set, &count.to_le_bytes()).is_ok() {
        count += 1;
    }
    assert!((50..500).contains(&count), "{count}");
    assert_eq!(writer.publish_bytes(register, &[7; 1000]), Err(Full));
    assert_eq!(writer.publish_bytes(register, &[7; 1025]), Err(Full));
    let refused = writer.refused();
    let mut members = Vec::new();
    reader.set_members(found(&reader, 5, b"set"), &mut |member| members.push(member.to_vec())).unwrap();
    members.sort_by_key(|member| u32::from_le_bytes(member[..].try_into().unwrap()));
    assert_eq!(members, (0..count).map(|n| n.to_le_bytes().to_vec()).collect::<Vec<_>>());
    let mut out = Vec::new();
    reader.bytes(found(&reader, 4, b"reg"), &mut out).unwrap();
    assert_eq!(out, b"small");

    let writer = &mut world.writers[0];
    for key in [b"a", b"b"] {
        writer.open_cell(1, key_hash(key), key).unwrap();
    }
    assert_eq!(writer.open_cell(1, key_hash(b"c"), b"c"), Err(Full));
    assert_eq!(writer.refused(), refused + 1);
    assert_eq!(reader.lookup(1, b"c"), Lookup::Missing);
    // Removing makes room again.
    for number in 0..count {
        writer.set_remove(set, &number.to_le_bytes()).unwrap();
    }
    assert_eq!(reader.set_len(found(&reader, 5, b"set")), Ok(0));
    for number in 0..count {
        writer.set_insert(set, &number.to_be_bytes()).unwrap();
    }
}

#[test]
fn a_set_of_a_million_elements() {
    let mut world = world(|config| {
        config.workers = 1;
        config.extent_bytes_per_worker = 256 << 20;
    });
    let reader = world.reader();
    let writer = &mut world.writers[0];
    let cell = writer.open_cell(5, key_hash(b"big"), b"big").unwrap();
    let name = |number: u64| format!("instance-{number:012}");
    for number in 0..1_000_000u64 {
        writer.set_insert(cell, name(number).as_bytes()).unwrap();
    }
    for number in (0..1_000_000u64).step_by(3) {
        writer.set_remove(cell, name(number).as_bytes()).unwrap();
    }
    let cell = found(&reader, 5, b"big");
    let mut seen = vec![0u8; 1_000_000];
    reader
        .set_members(cell, &mut |member| {
            let number: usize = std::str::from_utf8(&member[9..]).unwrap().parse().unwrap();
            seen[number] += 1;
        })
        .unwrap();
    assert!(seen.iter().enumerate().all(|(number, times)| *times == u8::from(number % 3 != 0)));
    assert_eq!(reader.set_contains(cell, name(1).as_bytes()), Ok(true));
    assert_eq!(reader.set_contains(cell, name(3).as_bytes()), Ok(false));
}

#[test]
fn changes_arrive_in_order_and_an_overrun_is_reported() {
    let mut world = world(|config| {
        config.workers = 1;
        config.change_ring_entries = 64;
    });
    let reader = world.reader();
    let mut cursor = reader.changes(0).unwrap();
    assert!(reader.changes(1).is_none());
    let writer = &mut world.writers[0];
    let cell = writer.open_cell(1, key_hash(b"k"), b"k").unwrap();
    assert_eq!(cursor.next(), Change::None);
    for value in 1..=64 {
        writer.publish_word(cell, value);
        assert_eq!(cursor.next(), Change::None, "shown before the end of the burst");
    }
    writer.end_burst();
    let handle = found(&reader, 1, b"k");
    for version in 1..=64 {
        assert_eq!(cursor.next(), Change::Item { cell: handle, version });
    }
    assert_eq!(cursor.next(), Change::None);
    // The overwriting of an unread entry is noticed even before the burst is shown.
    let mut slow = reader.changes(0).unwrap();
    writer.publish_word(cell, 0);
    writer.end_burst();
    for _ in 0..64 {
        writer.publish_word(cell, 0);
    }
    assert_eq!(slow.next(), Change::Overrun);
    writer.end_burst();
    assert_eq!(cursor.next(), Change::Overrun);
    assert_eq!(cursor.next(), Change::None);
    // Set operations that change nothing publish nothing.
    let set = writer.open_cell(5, key_hash(b"s"), b"s").unwrap();
    writer.set_insert(set, b"x").unwrap();
    writer.set_insert(set, b"x").unwrap();
    writer.set_remove(set, b"y").unwrap();
    writer.end_burst();
    assert_eq!(reader.version(found(&reader, 5, b"s")), Ok(1));
    let set = found(&reader, 5, b"s");
    assert_eq!(cursor.next(), Change::Item { cell: set, version: 1 });
    assert_eq!(cursor.next(), Change::None);
}

#[test]
fn counters_describe_themselves() {
    let mut world = world(|_| {});
    let long = "é".repeat(30);
    assert_eq!(world.writers[0].register_counters(&["frames_received", &long]), 2);
    assert_eq!(world.writers[1].register_counters(&["other"]), 1);
    world.writers[0].set_counter(0, 7);
    world.writers[0].set_counter(1, 8);
    world.writers[0].set_counter(usize::MAX, 9);
    world.writers[1].set_counter(0, 10);
    let expected = [(0, "frames_received".into(), 7), (0, "é".repeat(24), 8), (1, "other".into(), 10)];
    assert_eq!(world.reader().counters(), expected);
    let many: Vec<String> = (0..200).map(|n| format!("c{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(world.writers[1].register_counters(&many), 126);
}

#[test]
fn a_worker_finds_a_handles_key() {
    let mut world = world(|config| config.workers = 1);
    let reader = world.reader();
    for name in [&b"short"[..], &[b'x'; 128]] {
        let id = world.writers[0].open_cell(3, key_hash(name), name).unwrap();
        let handle = found(&reader, 3, name);
        assert_eq!(handle.cell(), id.as_u32());
        let mut key = [0; 128];
        let description = world.writers[0].describe(handle.cell(), handle.generation(), &mut key).unwrap();
        assert_eq!((description.kind, &key[..description.key_len]), (3, name));
        assert_eq!(description.key_hash, key_hash(name));
        assert_eq!(world.writers[0].describe(handle.cell(), handle.generation() ^ 1, &mut key), None);
    }
    let mut key = [0; 128];
    for cell in [0, 3, u32::MAX] {
        assert_eq!(world.writers[0].describe(cell, world.segment.incarnation() as u32, &mut key), None);
    }
}

#[test]
fn another_segments_handle_is_stale() {
    let mut first = world(|_| {});
    let mut second = world(|_| {});
    for world in [&mut first, &mut second] {
        world.writer_of(b"k").open_cell(1, key_hash(b"k"), b"k").unwrap();
    }
    let handle = found(&first.reader(), 1, b"k");
    assert_eq!(second.reader().word(handle), Err(Stale));
    assert_eq!(second.reader().version(handle), Err(Stale));
}
