//! The promise of the trait's documentation: after opening, no port allocates. A counting allocator watches a warm port
//! carry traffic, with everything that goes wrong on the way included.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use lattice_bpf::Mode;
use lattice_port::{MAX_FRAME_BYTES, PeerSlot, TransmitError};
use support::fixture::Fixture;
use support::{PATIENCE, frame, new_eventfd, skipped_without_rights};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting per thread: the test harness's own threads don't disturb.
struct Counting;

// SAFETY: both calls go to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations that `work` makes on this thread.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

/// One way, so that buffers that travel with their frames would run out; then full, too long, no peer, silence.
fn carry(fixture: &mut Fixture, frames: &[Vec<u8>], too_long: &[u8]) {
    let udp_port = fixture.udp_port(0);
    let wakeup = new_eventfd();
    let [left, right] = &mut fixture.ports;
    for frame in frames {
        left.transmit(PeerSlot(0), udp_port, frame).unwrap();
    }
    left.flush().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut received = 0;
    while received < frames.len() {
        assert!(Instant::now() < deadline);
        received += right.receive(64, &mut |received| assert!(received.frame.len() >= 80)).unwrap();
    }
    assert_eq!(left.transmit(PeerSlot(0), udp_port, too_long), Err(TransmitError::TooLong));
    assert_eq!(left.transmit(PeerSlot(9), udp_port, &frames[0]), Err(TransmitError::NoRoute));
    while left.transmit(PeerSlot(0), udp_port, &frames[0]).is_ok() {}
    left.flush().unwrap();
    while left.transmit_room() < frames.len() {
        assert!(Instant::now() < deadline);
        left.flush().unwrap();
        right.receive(64, &mut |_| {}).unwrap();
    }
    right.wait(Duration::from_millis(1), wakeup.as_fd()).unwrap();
    while right.receive(64, &mut |_| {}).unwrap() > 0 {}
    right.stats().frames.check().unwrap();
}

fn never_allocates(mut fixture: Fixture) {
    let frames: Vec<_> = (0..64).map(|number| frame(number, number as usize * 20)).collect();
    let too_long = vec![0; MAX_FRAME_BYTES + 1];
    carry(&mut fixture, &frames, &too_long);
    for _ in 0..20 {
        assert_eq!(allocations(|| carry(&mut fixture, &frames, &too_long)), 0);
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn memory() {
    never_allocates(Fixture::memory(false));
}

#[test]
fn udp() {
    never_allocates(Fixture::udp_loopback());
}

#[test]
fn xdp() {
    if skipped_without_rights("no_allocation::xdp") {
        return;
    }
    never_allocates(Fixture::veth(false, [Some(Mode::Driver), Some(Mode::Driver)]));
    never_allocates(Fixture::veth(true, [Some(Mode::Driver), Some(Mode::Driver)]));
}
