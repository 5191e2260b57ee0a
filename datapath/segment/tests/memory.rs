//! What a key and a set's element take in the segment: their share of the budget of the whole (256 bytes for a counter at
//! three nodes, three times its bytes and 64 for an element), so that the engine knows what is left for it.

mod support;

use lattice_segment::layout::{CELL_BYTES, KIND_COUNTER, KIND_SET};
use lattice_segment::{Writer, key_hash};
use support::World;

const CELLS: u32 = 1 << 14;

fn world(cells_per_worker: u32) -> World {
    support::world(|config| {
        config.workers = 1;
        config.cells_per_worker = cells_per_worker;
        config.extent_bytes_per_worker = 256 << 20;
    })
}

fn file_bytes(world: &World) -> u64 {
    std::fs::metadata(&world.config.path).unwrap().len()
}

fn element(number: usize, len: usize) -> Vec<u8> {
    let mut element = format!("{number:08}").into_bytes();
    element.resize(len, b'x');
    element
}

/// Extent bytes that a change takes.
fn taken(writer: &mut Writer, change: impl FnOnce(&mut Writer)) -> usize {
    let before = writer.fresh_extent_bytes();
    change(writer);
    before - writer.fresh_extent_bytes()
}

#[test]
fn a_counter_takes_its_cell_and_two_index_entries() {
    let (few, mut many) = (world(CELLS), world(2 * CELLS));
    let each = (file_bytes(&many) - file_bytes(&few)) / u64::from(CELLS);
    assert_eq!(each, CELL_BYTES as u64 + 2 * 8);
    let keys = |writer: &mut Writer, len: usize| {
        taken(writer, |writer| {
            for number in 0..1000 {
                let key = element(number, len);
                writer.open_cell(KIND_COUNTER, key_hash(&key), &key).unwrap();
            }
        }) / 1000
    };
    let mut writer = many.writers.remove(0);
    assert_eq!(keys(&mut writer, 24), 0, "a key of usual length lies in its cell");
    assert!(keys(&mut writer, 40) <= 48, "a longer one in an extent");
    assert!(keys(&mut writer, 128) <= 192);
}

#[test]
fn an_element_takes_little_more_than_itself() {
    for len in [8, 16, 64, 256] {
        // Of small sets many: what one gives back while it grows rests for a while, and is then of use to the next.
        for (sets, members) in [(1, 10_000), (500, 100), (5_000, 10)] {
            let bytes = taken(&mut world(CELLS).writers[0], |writer| {
                for set in 0..sets {
                    let key = format!("{set}/{members}/{len}").into_bytes();
                    let cell = writer.open_cell(KIND_SET, key_hash(&key), &key).unwrap();
                    for number in 0..members {
                        writer.set_insert(cell, &element(number, len)).unwrap();
                    }
                }
            });
            let each = bytes / (sets * members);
            println!("{sets} sets of {members} elements of {len} bytes: {each} bytes each");
            assert!(
                each <= 2 * len + 40,
                "{sets} sets of {members} elements of {len} bytes: {each} bytes each"
            );
        }
    }
}
