//! Steady state allocates nothing: two workers replicate 100,000 operations both ways under a counting allocator.
//!
//! The allocator counts on this thread only, and only while told to. Everything that a turn runs through is included:
//! client rings, engines, wire codec, segment writer, port.

mod rig;

use lattice_crdt::Kind;
use lattice_segment::SubmitOp;
use rig::{Client, Cluster, Plan};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static COUNTING: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // `try_with`: the allocator also runs while a thread is torn down.
    let _ = COUNTING.try_with(|counting| {
        if counting.get() {
            let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        }
    });
}

// SAFETY: every call is passed on unchanged to the system allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's obligations are those of `System::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KEYS: usize = 16;
const ELEMENTS: usize = 8;

struct Names {
    keys: Vec<String>,
    elements: Vec<String>,
}

/// One operation of the mix; false if the ring was full.
fn operate(client: &mut Client, names: &Names, n: usize) -> bool {
    // A key has one kind here: which of the four operations it gets is part of its name.
    let key = names.keys[n % (4 * KEYS)].as_bytes();
    let element = names.elements[n / 7 % ELEMENTS].as_bytes();
    let flag = match n / 64 % 2 {
        0 => SubmitOp::FlagEnable,
        _ => SubmitOp::FlagDisable,
    };
    let submitted = match n % 4 {
        0 => client.add(key, 1),
        1 => client.submit(flag, Kind::FlagEnableWins, key, 0, &[]),
        2 => client.submit(SubmitOp::RegisterSet, Kind::Register, key, 0, element),
        _ => client.insert(key, element),
    };
    submitted.is_ok()
}

/// Has both clients carry out `operations` operations each, and lets the cluster come to rest after them.
fn run(cluster: &mut Cluster, clients: &mut [Client; 2], names: &Names, operations: usize) {
    let mut done = [0; 2];
    while done.iter().any(|n| *n < operations) {
        for (client, n) in clients.iter_mut().zip(&mut done) {
            for _ in 0..40 {
                if *n < operations && operate(client, names, *n) {
                    *n += 1;
                }
            }
        }
        cluster.turn();
    }
    cluster.turns(5_000);
    assert!(clients.iter().all(|client| client.settled()));
    assert!(
        clients.iter_mut().all(|client| client.rings[0].take_failure().is_none()),
        "all operations are valid"
    );
}

#[test]
fn steady_state_allocates_nothing() {
    allocates_nothing(false);
}

#[test]
fn sealed_frames_allocate_nothing() {
    allocates_nothing(true);
}

fn allocates_nothing(must_seal: bool) {
    let mut cluster =
        Cluster::new(&Plan { nodes: 2, workers: 1, shards: 4, must_seal, ..Default::default() });
    if must_seal {
        cluster.hand_over_keys();
        // The first hellos are dropped for want of them.
        cluster.turns(10_000);
    }
    let mut clients = [cluster.nodes[0].attach(1024), cluster.nodes[1].attach(1024)];
    let names = Names {
        keys: (0..4 * KEYS).map(|n| format!("key{n}")).collect(),
        elements: (0..ELEMENTS).map(|n| format!("element{n}")).collect(),
    };
    run(&mut cluster, &mut clients, &names, 20_000);

    COUNTING.set(true);
    run(&mut cluster, &mut clients, &names, 50_000);
    COUNTING.set(false);

    assert_eq!(COUNT.get(), 0, "allocations in steady state");
    assert!(cluster.converged());
    let total: i64 = names.keys.iter().filter_map(|key| cluster.nodes[0].counter(key.as_bytes())).sum();
    assert_eq!(total, 2 * (20_000 + 50_000) / 4, "every operation did happen");
    let opened = cluster.nodes[0].counted("frames_opened");
    assert_eq!(opened > 1_000, must_seal, "{opened} frames were sealed");
}
