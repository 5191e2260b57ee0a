//! What peers have of this engine's own operations, for whoever waits for them.
//!
//! ```text
//!   own seqs   1 ........ durable_on .......... merged_by .............. last_seq
//!                         what it said it       what it acknowledged     made here
//!                         would still have
//! ```
//!
//! Both are what the peer said in its present session. A peer that came back with an older copy has fewer, and both go back
//! with it: what was true of the peer before is not said again. A peer that is not heard is believed until it is heard: what
//! it acknowledged it had merged. Both count from the first operation of the *present* epoch and say nothing of earlier ones.

use crate::engine::Engine;
use crate::log::LogStore;

impl<L: LogStore> Engine<L> {
    /// Number of peer slots, those of forgotten peers among them.
    pub fn peer_slots(&self) -> usize {
        self.lanes.len()
    }

    /// The operation of this epoch up to which the peer in `slot` has merged all, and shows them to its readers. `None`: no
    /// member is in that slot.
    pub fn merged_by(&self, slot: usize) -> Option<u64> {
        let lane = self.lanes.get(slot).filter(|lane| !lane.forgotten)?;
        Some(lane.sender.acked().min(self.next_seq))
    }

    /// Somebody waits: every peer that lacks an operation of this epoch is asked to acknowledge at once, when it has been sent
    /// all. Without this an acknowledgement may wait for others, [`EngineTimers::ack_delay_ns`](crate::EngineTimers) long.
    pub fn ask_peers(&mut self) {
        let last_seq = self.next_seq;
        for lane in &mut self.lanes {
            lane.sender.ask(last_seq);
        }
        self.wake();
    }

    /// The operation of this epoch up to which the peer in `slot` would still have all after the worst restart, as far as it
    /// has said. It says so with its anti-entropy, about every second to one peer. `None`: no member is in that slot.
    pub fn durable_on(&self, slot: usize) -> Option<u64> {
        let merged = self.merged_by(slot)?;
        Some(self.lanes[slot].stable.contiguous(self.config.actor).min(merged))
    }
}
