//! The physical limit: one frame at a time from one port to the other and back, nothing else on the way.
//!
//!     cargo run --release -p lattice-port --example pingpong [xdp-driver|xdp-generic|udp] [rounds] [payload bytes]
//!
//! As root. Two network namespaces, a veth pair, a busy-polling thread on a core of its own at each end. Every other
//! latency of this project is to be read beside this one, measured in the same minutes: the machine's neighbours move it.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use lattice_bpf::Mode;
use lattice_port::{PeerSlot, Port};
use support::fixture::Fixture;
use support::frame;

const PEER: PeerSlot = PeerSlot(0);
/// Where a round's number stands in its frame: beyond what the XDP filter looks at.
const NUMBER: std::ops::Range<usize> = 16..24;
const WARM_UP_ROUNDS: usize = 2_000;
/// A frame that is not back by then counts as lost. Should it come later, its number tells it from its successors: else
/// every later round would end with the frame of the round before, too early.
const LOST_AFTER: Duration = Duration::from_millis(100);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize, default: usize| arguments.get(at).map_or(default, |text| text.parse().expect("a number"));
    let (rounds, payload_bytes) = (number(1, 200_000), number(2, 0));
    let sides = match arguments.first().map_or("xdp-driver", String::as_str) {
        "xdp-driver" => [Some(Mode::Driver); 2],
        "xdp-generic" => [Some(Mode::Generic); 2],
        "udp" => [None; 2],
        other => panic!("no port is called {other}"),
    };
    if support::skipped_without_rights("pingpong") {
        return;
    }

    let mut fixture = Fixture::veth(false, sides);
    let udp_port = fixture.udp_port(0);
    let payload = frame(0, payload_bytes);
    println!("{}; {} bytes a frame, {rounds} rounds", fixture.ports[0].describe(), payload.len());
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let [ping, pong] = &mut fixture.ports;
    let done = AtomicBool::new(false);
    let steal_before = steal_ticks();
    let (histogram, lost) = thread::scope(|scope| {
        scope.spawn(|| {
            pin(&cores, 1);
            echo(&mut **pong, udp_port, &done);
        });
        let pinging = scope.spawn(|| {
            pin(&cores, 0);
            // The echo ends also when this panics.
            let _stop = StopOnDrop(&done);
            measure(&mut **ping, udp_port, &payload, rounds)
        });
        pinging.join().expect("the measuring thread")
    });
    let us = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "round trip us: p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1}  count {}  lost {lost}  steal {} ticks",
        us(0.50),
        us(0.90),
        us(0.99),
        us(0.999),
        histogram.max() as f64 / 1000.0,
        histogram.len(),
        steal_ticks() - steal_before,
    );
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        // Relaxed: the flag carries no data, and the thread's join orders the rest.
        self.0.store(true, Ordering::Relaxed);
    }
}

fn pin(cores: &[core_affinity::CoreId], at: usize) {
    // On a single core the two share it, and the figures say so by themselves.
    if let Some(core) = cores.get(at) {
        core_affinity::set_for_current(*core);
    }
}

/// Sends back whatever arrives.
fn echo(port: &mut dyn Port, udp_port: u16, done: &AtomicBool) {
    let mut bytes = Vec::with_capacity(lattice_port::MAX_FRAME_BYTES);
    // Relaxed: see StopOnDrop.
    while !done.load(Ordering::Relaxed) {
        bytes.clear();
        let delivered = port.receive(1, &mut |received| bytes.extend_from_slice(received.frame));
        if delivered.expect("receive") == 1 {
            port.transmit(PEER, udp_port, &bytes).expect("transmit");
            port.flush().expect("flush");
        }
    }
}

/// Round-trip times in ns, and how many frames did not come back.
fn measure(port: &mut dyn Port, udp_port: u16, payload: &[u8], rounds: usize) -> (Histogram<u64>, usize) {
    let mut histogram = Histogram::new_with_bounds(100, 1_000_000_000, 3).expect("bounds in order");
    let mut lost = 0;
    let mut bytes = payload.to_vec();
    for round in 0..WARM_UP_ROUNDS + rounds {
        bytes[NUMBER].copy_from_slice(&(round as u64).to_le_bytes());
        let started = Instant::now();
        port.transmit(PEER, udp_port, &bytes).expect("transmit");
        port.flush().expect("flush");
        let mut back = false;
        loop {
            port.receive(1, &mut |received| back = received.frame.get(NUMBER) == bytes.get(NUMBER))
                .expect("receive");
            if back {
                break;
            }
            if started.elapsed() > LOST_AFTER {
                break;
            }
        }
        match back {
            true if round >= WARM_UP_ROUNDS => {
                histogram.saturating_record(started.elapsed().as_nanos() as u64)
            }
            true => {}
            false => lost += 1,
        }
    }
    (histogram, lost)
}

/// Time that the hypervisor gave to others, in ticks of 10 ms, over all cores.
fn steal_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.split_whitespace().nth(8).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}
