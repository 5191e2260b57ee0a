//! What a set's element takes beside its bytes: 18 bytes for its dot and its end, its share of a block, and the room that
//! blocks keep for what comes. The budget of an element in engine and segment together is three times its bytes and 64; of
//! that the segment takes at most twice its bytes and 40 (its own test says so).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use lattice_crdt::{ActorId, AwSet, Dot, DotStore};

thread_local! {
    /// Bytes that this thread has allocated and not given back, as an allocator with headers of eight bytes takes them.
    static BYTES: Cell<i64> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn size_of_block(layout: Layout) -> i64 {
    (layout.size() + 8).max(32).next_multiple_of(16) as i64
}

fn count(bytes: i64) {
    let _ = BYTES.try_with(|all| all.set(all.get() + bytes));
    let _ = ALLOCATIONS.try_with(|all| all.set(all.get() + u64::from(bytes > 0)));
}

// SAFETY: every call goes to `System` with the same arguments, which keeps its contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size_of_block(layout));
        // SAFETY: the caller's layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-size_of_block(layout));
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn dot(seq: usize) -> Dot {
    Dot::new(ActorId::new(1, 9), 1 + seq as u64)
}

fn element(number: u64, len: usize) -> Vec<u8> {
    let mut element = number.to_be_bytes().to_vec();
    element.resize(len, b'x');
    element
}

/// Bytes that `make` leaves behind.
fn taken<T>(make: impl FnOnce() -> T) -> (T, i64) {
    let before = BYTES.get();
    let made = make();
    (made, BYTES.get() - before)
}

#[test]
fn an_element_takes_little_beside_its_bytes() {
    type Order = (&'static str, fn(u64) -> u64);
    let orders: [Order; 2] =
        [("in order", |at| at), ("scattered", |at| at.wrapping_mul(0x9E37_79B9_7F4A_7C15))];
    for len in [8, 16, 64, 256] {
        for members in [10, 100, 1_000, 30_000, 100_000] {
            for (name, order) in orders {
                let elements: Vec<_> = (0..members).map(|at| element(order(at as u64), len)).collect();
                let (mut set, bytes) = taken(|| {
                    let mut set = Box::new(AwSet::new());
                    elements.iter().enumerate().for_each(|(at, element)| _ = set.insert(element, dot(at)));
                    set
                });
                let each = bytes / members as i64;
                println!("{members} of {len} bytes, {name}: {each} bytes each");
                let most = if members < 1_000 { len * 5 / 4 + 48 } else { len * 9 / 8 + 32 };
                assert!(
                    each <= most as i64,
                    "{members} of {len} bytes, {name}: {each} bytes each, not {most}"
                );
                let gone = elements.iter().enumerate().filter(|(at, _)| at % 10 > 0);
                let ((), less) =
                    taken(|| gone.for_each(|(at, element)| assert!(set.remove(element, dot(at)).is_some())));
                assert!(
                    bytes + less <= bytes / 4 + 1024,
                    "of {bytes} bytes {less} came back with nine of ten"
                );
            }
        }
    }
}

#[test]
fn what_is_refreshed_or_comes_and_goes_allocates_nothing() {
    let mut set = AwSet::new();
    let elements: Vec<_> = (0..1_000).map(|at| element(at, 16)).collect();
    elements.iter().for_each(|element| _ = set.insert(element, dot(0)));
    let one = element(500, 20);
    let mut round = |seq: usize| {
        for element in &elements {
            assert_eq!(
                (set.insert(element, dot(seq + 1)), set.remove(element, dot(seq))),
                (Some(2), Some((&element[..], 1)))
            );
        }
        assert_eq!((set.insert(&one, dot(seq)), set.remove(&one, dot(seq))), (Some(1), Some((&one[..], 0))));
    };
    round(0);
    let before = ALLOCATIONS.get();
    (1..20).for_each(&mut round);
    assert_eq!(ALLOCATIONS.get() - before, 0);
}
