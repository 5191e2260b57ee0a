//! The writer and the rings' daemon end allocate nothing once they exist.
#![cfg(not(loom))]

mod support;

use lattice_segment::{
    RingConfig, RingProducer, Submission, SubmitOp, Target, Verdict, create_rings, key_hash,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use support::world;

thread_local! {
    /// Allocations of this thread: the test harness has threads of its own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes on to the system's allocator; counting touches a thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

#[test]
fn the_counter_counts() {
    let before = allocations();
    drop(std::hint::black_box(Box::new(7)));
    assert_eq!(allocations(), before + 1);
}

#[test]
fn publishing_allocates_nothing() {
    let mut world = world(|config| {
        config.workers = 1;
        config.extent_bytes_per_worker = 8 << 20;
        config.cells_per_worker = 2000;
    });
    let writer = &mut world.writers[0];
    writer.register_counters(&["turns"]);
    let before = allocations();
    for round in 0..20_000u64 {
        let mut key = [7; 40];
        key[..8].copy_from_slice(&(round % 600).to_le_bytes());
        let hash = key_hash(&key);
        let counter = writer.open_cell(1, hash, &key).unwrap();
        writer.publish_word(counter, round);
        let register = writer.open_cell(4, hash, &key).unwrap();
        writer.publish_bytes(register, &[round as u8; 1000][..(round % 1000) as usize]).unwrap();
        let set = writer.open_cell(5, key_hash(b"set"), b"set").unwrap();
        writer.set_insert(set, &round.to_le_bytes()).unwrap();
        if round % 2 == 0 {
            writer.set_remove(set, &(round / 2).to_le_bytes()).unwrap();
        }
        writer.set_counter(0, round);
        writer.heartbeat(round);
        writer.end_burst();
    }
    assert_eq!(allocations() - before, 0);
}

#[test]
fn polling_a_ring_allocates_nothing() {
    let (fd, mut consumers) =
        create_rings(1, RingConfig { submission_slots: 64, completion_slots: 64 }).unwrap();
    let mut producers = RingProducer::map(&fd).unwrap();
    let (consumer, producer) = (&mut consumers[0], &mut producers[0]);
    let before = allocations();
    let mut bytes = 0;
    for round in 0..5000usize {
        let data = &[1u8; 1024][..round % 1024];
        let target = Target::Key(b"key");
        let submission = Submission { op: SubmitOp::RegisterSet, kind: 4, target, amount: 0, data };
        let ticket = producer.submit(&submission).unwrap();
        let taken = consumer
            .poll(64, &mut |submission| {
                bytes += submission.data.len();
                if round % 5 == 0 { Verdict::Refused(1) } else { Verdict::Applied }
            })
            .unwrap();
        assert_eq!(taken, 1);
        consumer.complete();
        assert_eq!(producer.applied(), ticket.0);
        assert_eq!(producer.take_failure(), (round % 5 == 0).then_some((ticket, 1)));
    }
    assert_eq!(allocations() - before, 0);
    assert!(bytes > 0);
}
