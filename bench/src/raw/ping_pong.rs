//! One frame at a time, there and back: the shortest time in which anything can cross.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lattice_port::{MAX_FRAME_BYTES, Port};

use crate::series::{Series, Unit};

use super::{Line, PEER, SMALLEST_FRAME_BYTES, both, frame};

/// Where a round's number stands in its frame: beyond what the XDP filter looks at.
const NUMBER: std::ops::Range<usize> = 16..24;
const WARM_UP_ROUNDS: u64 = 2_000;
/// A frame that is not back by then counts as lost. Should it come later, its number tells it from its successors: else
/// every later round would end with the frame of the round before, too early.
const LOST_AFTER: Duration = Duration::from_millis(100);

/// Half of each round trip of the smallest frame, ns. A frame leaves when the last one is back, but not sooner than `pace`
/// after that one left.
///
/// The pace matters: caches and branch predictors forget. On the machine that this was written on, a frame each 500 µs took
/// several times as long as frames back to back. So a limit has the pace of what stands beside it.
///
/// # Errors
/// If a port fails, or every frame was lost.
pub fn one_way(line: &mut Line, pace: Duration, duration: Duration) -> Result<Series> {
    let echo = |port: &mut dyn Port, udp_port: u16, done: &AtomicBool| -> Result<()> {
        let mut bytes = Vec::with_capacity(MAX_FRAME_BYTES);
        // Relaxed: see StopOnDrop.
        while !done.load(Ordering::Relaxed) {
            bytes.clear();
            if port.receive(1, &mut |received| bytes.extend_from_slice(received.frame))? == 1 {
                port.transmit(PEER, udp_port, &bytes)?;
                port.flush()?;
            }
        }
        Ok(())
    };
    both(line, |port, udp_port| rounds(port, udp_port, pace, duration), echo)
}

fn rounds(port: &mut dyn Port, udp_port: u16, pace: Duration, duration: Duration) -> Result<Series> {
    let mut halves = Series::new("raw one-way", Unit::Ns);
    let mut bytes = frame(SMALLEST_FRAME_BYTES);
    let mut began = Instant::now();
    let mut started = began;
    for round in 0.. {
        if round == WARM_UP_ROUNDS {
            began = Instant::now();
        }
        while round >= WARM_UP_ROUNDS && started.elapsed() < pace {
            std::hint::spin_loop();
        }
        bytes[NUMBER].copy_from_slice(&u64::to_le_bytes(round));
        started = Instant::now();
        port.transmit(PEER, udp_port, &bytes)?;
        port.flush()?;
        let is_back = wait_for(port, &bytes, started)?;
        let now = Instant::now();
        if round >= WARM_UP_ROUNDS {
            if is_back {
                halves.record_ps((now - started).as_nanos() as u64 * 1000 / 2);
            }
            if now - began >= duration {
                break;
            }
        }
    }
    ensure!(halves.count() > 0, "no frame came back");
    Ok(halves)
}

fn wait_for(port: &mut dyn Port, sent: &[u8], started: Instant) -> Result<bool> {
    loop {
        let mut is_back = false;
        port.receive(1, &mut |received| is_back = received.frame.get(NUMBER) == sent.get(NUMBER))?;
        if is_back || started.elapsed() > LOST_AFTER {
            return Ok(is_back);
        }
    }
}
