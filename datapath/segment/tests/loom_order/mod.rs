//! One store that shows another: the orderings that no larger structure uses alone.

use std::cell::RefCell;

use super::{Arc, AtomicU64, GENERATION, Ordering, explore, part, spawn_with, zeros};
use lattice_segment::extent::ExtentAllocator;
use lattice_segment::layout::{KIND_COUNTER, MAX_KEY_BYTES, STATE_INIT, STATE_READY};
use lattice_segment::{cell, counters, sleep, state};

fn counter(key_len: u8) -> cell::Meta {
    cell::Meta { kind: KIND_COUNTER, key_len, generation: GENERATION }
}

/// Ordering `word`: who sees a value sees what the worker published before it elsewhere.
/// (Failed with either end relaxed.)
#[test]
fn values_appear_in_the_order_of_their_publication() {
    explore(4, || {
        let part = Arc::new(part(0, 2, 0));
        let mut allocator = ExtentAllocator::new(0);
        let cells = [1, 2].map(|number| cell::cell(&part.cells, number).unwrap());
        for cell in cells {
            cell::make(cell, counter(1), 9, b"k", &part.extents, &mut allocator).unwrap();
        }
        let reader = spawn_with(&part, |part| {
            let value = |number| cell::word(cell::cell(&part.cells, number).unwrap(), GENERATION).unwrap();
            let (later, earlier) = (value(2), value(1));
            assert!(earlier >= later, "{later} is there, and of what came before it {earlier}");
        });
        for value in 1..=2 {
            for cell in cells {
                cell::publish_word(cell, value);
            }
        }
        reader.join().unwrap();
    });
}

/// Ordering `cells-used`: a walk over all keys finds each cell that it counts made, with its whole key.
/// (Failed with either end relaxed. `cell-made` may be relaxed here, and in the model of the index: each way to a cell
/// acquires something that was stored after it. It is what other readers of the ABI may rely on.)
#[test]
fn a_counted_cell_is_made() {
    explore(4, || {
        let part = Arc::new(part(0, 2, 16));
        let mut allocator = ExtentAllocator::new(part.extents.len());
        let reader = spawn_with(&part, |part| {
            for number in 1..=cell::shown(&part.cells) as u32 {
                let found = cell::cell(&part.cells, number).unwrap();
                let meta = cell::meta(found).expect("counted");
                let mut key = [0; MAX_KEY_BYTES];
                let len = cell::copy_key(found, meta, &part.extents, &mut key);
                assert_eq!((len, &key[..2]), (Some(28 + number as usize), &[number as u8; 2][..]));
            }
        });
        for number in 1..=2 {
            let key = vec![number as u8; 28 + number as usize];
            let place = cell::cell(&part.cells, number).unwrap();
            let meta = counter(key.len() as u8);
            cell::make(place, meta, 9, &key, &part.extents, &mut allocator).unwrap();
            cell::show(&part.cells, number);
        }
        reader.join().unwrap();
    });
}

/// Ordering `counter-name`: a counter that is counted has its name. (Failed with either end relaxed.)
#[test]
fn a_counted_counter_has_its_name() {
    explore(4, || {
        // The header, and two counters of a line each.
        let part = Arc::new(zeros(3 * 8));
        let reader = {
            let part = Arc::clone(&part);
            loom::thread::spawn(move || {
                let names = RefCell::new(Vec::new());
                counters::for_each(&part, |name, _| names.borrow_mut().push(name));
                let names = names.into_inner();
                assert!(
                    ["turns", "frames"].iter().zip(&names).all(|(name, found)| name == found),
                    "{names:?}"
                );
            })
        };
        assert_eq!(counters::register(&part, &["turns"]), 1);
        assert_eq!(counters::register(&part, &["frames"]), 1);
        reader.join().unwrap();
    });
}

/// Ordering `state`: who sees READY sees the segment that was filled before. (Failed with either end relaxed.)
#[test]
fn a_ready_segment_is_filled() {
    explore(4, || {
        let words = Arc::new(zeros(2));
        let reader = {
            let words = Arc::clone(&words);
            loom::thread::spawn(move || {
                if state::get(&words[0]) == STATE_READY {
                    assert_eq!(words[1].load(Ordering::Relaxed), 7);
                }
            })
        };
        state::set(&words[0], STATE_INIT);
        words[1].store(7, Ordering::Relaxed);
        state::set(&words[0], STATE_READY);
        reader.join().unwrap();
    });
}

/// Ordering `sleep`, as a worker and those that bring it frames and commands use it; with rings it is the model
/// `no_submission_sleeps_in`. (Failed without either fence.)
#[test]
fn no_work_sleeps_in() {
    explore(4, || {
        let words = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let bringer = {
            let words = Arc::clone(&words);
            loom::thread::spawn(move || {
                let [flag, work] = &*words;
                work.store(1, Ordering::Release);
                sleep::is_announced(flag)
            })
        };
        let [flag, work] = &*words;
        sleep::announce(flag);
        let found = work.load(Ordering::Acquire) == 1;
        let woken = bringer.join().unwrap();
        assert!(found || woken, "asleep, and the work is there");
        sleep::withdraw(flag);
        assert!(!sleep::is_announced(flag));
    });
}
