//! As many frames as go, in one direction.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lattice_port::{BATCH_FRAMES, Port, TransmitError};

use super::{Line, PEER, both, frame};

/// Left out at the start: rings fill, caches warm.
const WARM_UP: Duration = Duration::from_millis(50);

/// What a flood came to.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// Bytes of each frame (the UDP payload).
    pub frame_bytes: usize,
    /// Frames that arrived, a second.
    pub received_per_s: f64,
    /// Frames that were sent, a second; what is more than arrived was dropped on the way.
    pub sent_per_s: f64,
}

impl Flood {
    /// Bytes of frames that arrived, a second.
    #[must_use]
    pub fn bytes_per_s(&self) -> f64 {
        self.received_per_s * self.frame_bytes as f64
    }
}

/// Frames of that size a second, sent in bursts as the daemon sends them and received in bursts.
///
/// # Errors
/// If a port fails, or nothing arrives.
pub fn flood(line: &mut Line, frame_bytes: usize, duration: Duration) -> Result<Flood> {
    let bytes = frame(frame_bytes);
    let received = AtomicU64::new(0);
    let send = |port: &mut dyn Port, udp_port: u16| -> Result<(u64, u64, Duration)> {
        let warm_up = Instant::now();
        while warm_up.elapsed() < WARM_UP {
            send_burst(port, udp_port, &bytes)?;
        }
        let received_before = received.load(Ordering::Relaxed);
        let (mut sent, began) = (0, Instant::now());
        loop {
            sent += send_burst(port, udp_port, &bytes)?;
            let elapsed = began.elapsed();
            if elapsed >= duration {
                return Ok((sent, received.load(Ordering::Relaxed) - received_before, elapsed));
            }
        }
    };
    let receive = |port: &mut dyn Port, _udp_port: u16, done: &AtomicBool| -> Result<()> {
        // Relaxed: see StopOnDrop; the count is a count.
        while !done.load(Ordering::Relaxed) {
            let taken = port.receive(BATCH_FRAMES, &mut |_| {})?;
            received.fetch_add(taken as u64, Ordering::Relaxed);
        }
        Ok(())
    };
    let (sent, arrived, elapsed) = both(line, send, receive)?;
    ensure!(arrived > 0, "none of {sent} frames arrived");
    let per_s = |count: u64| count as f64 / elapsed.as_secs_f64();
    Ok(Flood { frame_bytes: bytes.len(), received_per_s: per_s(arrived), sent_per_s: per_s(sent) })
}

fn send_burst(port: &mut dyn Port, udp_port: u16, bytes: &[u8]) -> Result<u64> {
    let mut sent = 0;
    for _ in 0..BATCH_FRAMES {
        match port.transmit(PEER, udp_port, bytes) {
            Ok(()) => sent += 1,
            Err(TransmitError::Full) => break,
            Err(error) => return Err(error.into()),
        }
    }
    port.flush()?;
    Ok(sent)
}
