//! Sleeping until the daemon tells something.
//!
//! ```text
//!   set_awaiting ──> seen = told ──> watermarks ── reached? done
//!                        ▲               └── no ──> sleep(seen) ──┐
//!                        └────────────────────────────────────────┘
//! ```
//!
//! Apart from the ring's only producer, because several threads of a client may sleep while another one submits.

use super::layout::TOLD;
use super::shared::SharedRings;
use crate::futex;
use crate::sync::Ordering::Acquire;
use std::time::Duration;

/// Sleeps on one worker's ring. Made by [`RingProducer::watcher`](super::RingProducer::watcher).
#[derive(Debug)]
pub struct RingWatcher {
    rings: SharedRings,
    worker: u16,
}

impl RingWatcher {
    pub(super) fn new(rings: SharedRings, worker: u16) -> RingWatcher {
        RingWatcher { rings, worker }
    }

    /// How often the daemon has told something: to be asked before the watermarks are looked at.
    pub fn told(&self) -> u64 {
        // ORDER told: acquire pairs with the release in `tell`: who sees the count sees the watermarks.
        self.rings.part(self.worker).map_or(0, |part| part.line(TOLD).load(Acquire))
    }

    /// Sleeps until the daemon has told more than was `seen`, or `timeout` is over, or for no reason.
    pub fn sleep(&self, seen: u64, timeout: Duration) {
        if let Some(part) = self.rings.part(self.worker) {
            futex::wait(part.line(TOLD), seen, timeout);
        }
    }
}
