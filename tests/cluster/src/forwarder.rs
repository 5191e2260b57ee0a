//! The loop behind [`crate::switch`] and [`crate::relay`]: take a frame from one endpoint, decide its fate, hand it on.
//!
//! One thread, blocked in `poll` until a frame arrives, a held-back copy falls due, or it is told to stop. The queue of
//! held-back copies is bounded; what does not fit is counted as refused.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::fault::{Controls, Dice};

/// The largest frame on a link of MTU 1500: Ethernet header, one VLAN tag, payload.
pub(crate) const MAX_FRAME_BYTES: usize = 1518;

/// The most copies held back at a time.
const MAX_HELD_BACK: usize = 1 << 16;

/// The most frames taken from one endpoint before the others get their turn.
const BURST: usize = 64;

/// What a forwarder forwards between: numbered endpoints, each belonging to one host.
pub(crate) trait Medium: Send {
    /// The descriptors to wait for, in the order of the endpoints' numbers.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;
    /// The host that an endpoint leads to.
    fn host(&self, endpoint: usize) -> usize;
    /// Takes a frame that has arrived at an endpoint; `None` when there is none.
    fn receive(&mut self, endpoint: usize, buffer: &mut [u8]) -> Option<usize>;
    /// The endpoints that a frame from `source` leaves by.
    fn destinations(&self, source: usize, frame: &[u8], destinations: &mut Vec<usize>);
    /// Whether it is a frame that daemons replicate by.
    fn is_of_daemons(&self, frame: &[u8]) -> bool;
    /// Sends a frame by an endpoint.
    fn send(&mut self, endpoint: usize, frame: &[u8]) -> io::Result<()>;
}

/// A running forwarder; dropping it stops its thread.
#[derive(Debug)]
pub(crate) struct Forwarder {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    /// Starts forwarding on a thread of its own.
    pub(crate) fn start(
        medium: impl Medium + 'static,
        controls: Arc<Controls>,
        seed: u64,
    ) -> Result<Forwarder> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).context("eventfd")?);
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("forwarder".into()).spawn(move || {
            let mut state =
                State { medium, controls, dice: Dice::new(seed), held_back: BinaryHeap::new(), order: 0 };
            state.run(stopped.as_fd());
        })?;
        Ok(Forwarder { stop, thread: Some(thread) })
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        // An eventfd takes this write unless its counter is near 2^64, which one writer of 1 can't reach.
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the forwarder's thread panicked; its frames were lost");
        }
    }
}

/// A copy that waits for its time. Ordered by time, then by arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct HeldBack {
    due: Instant,
    order: u64,
    source_host: usize,
    endpoint: usize,
    frame: Box<[u8]>,
}

struct State<M> {
    medium: M,
    controls: Arc<Controls>,
    dice: Dice,
    held_back: BinaryHeap<Reverse<HeldBack>>,
    order: u64,
}

impl<M: Medium> State<M> {
    fn run(&mut self, stop: BorrowedFd<'_>) {
        let mut buffer = [0u8; MAX_FRAME_BYTES];
        let mut destinations = Vec::new();
        let mut readable = Vec::new();
        loop {
            if !wait(&self.medium.descriptors(), stop, self.next_due(), &mut readable) {
                return;
            }
            for &source in &readable {
                for _ in 0..BURST {
                    let Some(length) = self.medium.receive(source, &mut buffer) else { break };
                    self.controls.see(&buffer[..length]);
                    destinations.clear();
                    self.medium.destinations(source, &buffer[..length], &mut destinations);
                    for &endpoint in &destinations {
                        self.forward(source, endpoint, &buffer[..length]);
                    }
                }
            }
            self.deliver_due();
        }
    }

    fn forward(&mut self, source: usize, endpoint: usize, frame: &[u8]) {
        let source_host = self.medium.host(source);
        let copies = self.dice.fate(&self.controls.faults());
        if copies[0].is_none() {
            count(&self.controls.counters.lost);
        }
        if copies[1].is_some() {
            count(&self.controls.counters.duplicated);
        }
        for delay in copies.into_iter().flatten() {
            if delay.is_zero() {
                self.deliver(source_host, endpoint, frame);
            } else if self.held_back.len() < MAX_HELD_BACK {
                count(&self.controls.counters.delayed);
                self.order += 1;
                let (due, order) = (Instant::now() + delay, self.order);
                self.held_back.push(Reverse(HeldBack {
                    due,
                    order,
                    source_host,
                    endpoint,
                    frame: frame.into(),
                }));
            } else {
                count(&self.controls.counters.refused);
            }
        }
    }

    fn deliver(&mut self, source_host: usize, endpoint: usize, frame: &[u8]) {
        let (counters, host) = (&self.controls.counters, self.medium.host(endpoint));
        let is_mute = self.controls.is_mute(source_host) || self.controls.is_mute(host);
        let is_cut = self.controls.is_cut(source_host) || self.controls.is_cut(host);
        if is_cut || (is_mute && self.medium.is_of_daemons(frame)) {
            count(&counters.cut);
        } else if self.medium.send(endpoint, frame).is_ok() {
            count(&counters.delivered);
        } else {
            // A full queue or a link that is down: the frame is lost, as in any switch.
            count(&counters.refused);
        }
    }

    fn deliver_due(&mut self) {
        let now = Instant::now();
        while self.held_back.peek().is_some_and(|Reverse(first)| first.due <= now) {
            if let Some(Reverse(copy)) = self.held_back.pop() {
                self.deliver(copy.source_host, copy.endpoint, &copy.frame);
            }
        }
    }

    fn next_due(&self) -> Option<Duration> {
        self.held_back.peek().map(|Reverse(first)| first.due.saturating_duration_since(Instant::now()))
    }
}

/// Waits for a frame, `timeout` or the order to stop (false). Fills `readable` with the endpoints that have frames.
fn wait(
    endpoints: &[BorrowedFd<'_>],
    stop: BorrowedFd<'_>,
    timeout: Option<Duration>,
    readable: &mut Vec<usize>,
) -> bool {
    let mut fds: Vec<PollFd<'_>> =
        endpoints.iter().chain([&stop]).map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let timeout = timeout
        .map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) });
    readable.clear();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return true,
        Err(error) => {
            eprintln!("the forwarder stops: poll: {error}");
            return false;
        }
    }
    let stopped = fds.pop().is_some_and(|fd| !fd.revents().is_empty());
    readable
        .extend(fds.iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty()).map(|(index, _)| index));
    !stopped
}

/// Relaxed: a statistic.
fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
