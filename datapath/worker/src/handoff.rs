//! Frames that arrived at the wrong worker.
//!
//! A shard's UDP port is meant to steer its frames to its owner's queue; where it does not (one queue, no ntuple rules),
//! the worker that got the frame copies it into a ring to the owner. One single-producer single-consumer ring per
//! ordered pair of workers, of fixed-size slots:
//!
//! ```text
//!                 to 0      to 1      to 2
//!   worker 0        ─      ring ──>  ring ──>      outboxes of worker 0: its row
//!   worker 1     ring ──>     ─      ring ──>      inboxes of worker 1: its column
//!   worker 2     ring ──>  ring ──>     ─
//! ```
//!
//! A full ring drops the frame, which is counted; repair brings its operations again.

use crate::wakeup::Wakeup;
use lattice_wire::MAX_FRAME_BYTES;
use std::io;
use std::sync::Arc;

/// One frame on its way to its owner.
#[derive(Clone, Copy)]
struct Slot {
    shard: u16,
    len: u16,
    bytes: [u8; MAX_FRAME_BYTES],
}

impl Slot {
    const EMPTY: Slot = Slot { shard: 0, len: 0, bytes: [0; MAX_FRAME_BYTES] };

    fn frame(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

struct Outbox {
    ring: rtrb::Producer<Slot>,
    owner: Arc<Wakeup>,
}

/// What became of a frame for another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandedOver {
    /// It is in the owner's inbox.
    Yes,
    /// The owner's inbox is full, or the frame is longer than any frame: it is dropped.
    Dropped,
}

/// One worker's ends of all rings, and its own wake-up. Made for all workers at once by [`Handoff::for_workers`].
pub struct Handoff {
    /// By the owner's index; `None` at the own index.
    outboxes: Vec<Option<Outbox>>,
    inboxes: Vec<rtrb::Consumer<Slot>>,
    wakeup: Arc<Wakeup>,
    /// Filled in place and copied into the ring: only the frame's own bytes are written for each frame.
    scratch: Box<Slot>,
    /// The frame was pushed to these owners since the last `notify`.
    touched: u64,
}

impl Handoff {
    /// Connects `workers` workers with rings of `slots` frames each; the result is in worker order.
    pub fn for_workers(workers: u16, slots: usize) -> io::Result<Vec<Handoff>> {
        let wakeups: Vec<Arc<Wakeup>> =
            (0..workers).map(|_| Wakeup::new().map(Arc::new)).collect::<io::Result<_>>()?;
        let mut all: Vec<Handoff> = wakeups
            .iter()
            .map(|wakeup| Handoff {
                outboxes: Vec::with_capacity(wakeups.len()),
                inboxes: Vec::with_capacity(wakeups.len()),
                wakeup: Arc::clone(wakeup),
                scratch: Box::new(Slot::EMPTY),
                touched: 0,
            })
            .collect();
        for from in 0..all.len() {
            for (to, owner) in wakeups.iter().enumerate() {
                if from == to {
                    all[from].outboxes.push(None);
                    continue;
                }
                let (ring, inbox) = rtrb::RingBuffer::new(slots.max(1));
                all[from].outboxes.push(Some(Outbox { ring, owner: Arc::clone(owner) }));
                all[to].inboxes.push(inbox);
            }
        }
        Ok(all)
    }

    /// The wake-up of the worker that these ends belong to.
    pub fn wakeup(&self) -> &Arc<Wakeup> {
        &self.wakeup
    }

    /// Number of workers connected.
    pub(crate) fn workers(&self) -> usize {
        self.outboxes.len()
    }

    /// Copies a frame into its owner's inbox. The owner is woken by the next [`Handoff::notify`].
    pub(crate) fn send(&mut self, owner: u16, shard: u16, frame: &[u8]) -> HandedOver {
        let Some(Some(outbox)) = self.outboxes.get_mut(usize::from(owner)) else {
            return HandedOver::Dropped;
        };
        let (Ok(len), Some(room)) = (u16::try_from(frame.len()), self.scratch.bytes.get_mut(..frame.len()))
        else {
            return HandedOver::Dropped;
        };
        room.copy_from_slice(frame);
        self.scratch.len = len;
        self.scratch.shard = shard;
        if outbox.ring.push(*self.scratch).is_err() {
            return HandedOver::Dropped;
        }
        self.touched |= 1_u64.wrapping_shl(u32::from(owner));
        HandedOver::Yes
    }

    /// Wakes the owners that were sent a frame, once for the whole burst.
    pub(crate) fn notify(&mut self) {
        while self.touched != 0 {
            let owner = self.touched.trailing_zeros() as usize;
            self.touched &= self.touched - 1;
            if let Some(Some(outbox)) = self.outboxes.get(owner) {
                outbox.owner.notify();
            }
        }
    }

    /// Takes at most `budget` frames from each inbox.
    pub(crate) fn receive(&mut self, budget: usize, deliver: &mut dyn FnMut(u16, &[u8])) -> usize {
        let mut taken = 0;
        for inbox in &mut self.inboxes {
            let ready = inbox.slots().min(budget);
            let Ok(chunk) = inbox.read_chunk(ready) else { continue };
            let (front, wrapped) = chunk.as_slices();
            for slot in front.iter().chain(wrapped) {
                deliver(slot.shard, slot.frame());
            }
            chunk.commit_all();
            taken += ready;
        }
        taken
    }

    /// Whether an inbox holds a frame: looked at once more before sleeping.
    pub(crate) fn has_frames(&self) -> bool {
        self.inboxes.iter().any(|inbox| !inbox.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(worker: &mut Handoff, budget: usize) -> Vec<(u16, Vec<u8>)> {
        let mut frames = Vec::new();
        worker.receive(budget, &mut |shard, frame| frames.push((shard, frame.to_vec())));
        frames
    }

    #[test]
    fn a_frame_reaches_its_owner_alone_and_in_order() {
        let mut workers = Handoff::for_workers(3, 8).unwrap();
        for n in 0..3_u8 {
            assert_eq!(workers[0].send(2, 5, &[n; 100]), HandedOver::Yes);
        }
        assert_eq!(workers[1].send(2, 2, &[9]), HandedOver::Yes);
        assert!(!workers[1].has_frames());
        assert!(workers[2].has_frames());
        let frames = drain(&mut workers[2], 64);
        let expected: Vec<(u16, Vec<u8>)> =
            vec![(5, vec![0; 100]), (5, vec![1; 100]), (5, vec![2; 100]), (2, vec![9])];
        assert_eq!(frames, expected);
        assert!(!workers[2].has_frames());
    }

    #[test]
    fn full_rings_and_impossible_frames_are_refused() {
        let mut workers = Handoff::for_workers(2, 2).unwrap();
        assert_eq!(workers[0].send(1, 1, &[1; MAX_FRAME_BYTES]), HandedOver::Yes);
        assert_eq!(workers[0].send(1, 1, &[1; MAX_FRAME_BYTES + 1]), HandedOver::Dropped);
        assert_eq!(workers[0].send(1, 1, &[2]), HandedOver::Yes);
        assert_eq!(workers[0].send(1, 1, &[3]), HandedOver::Dropped, "full");
        assert_eq!(workers[0].send(0, 0, &[3]), HandedOver::Dropped, "to itself");
        assert_eq!(workers[0].send(7, 7, &[3]), HandedOver::Dropped, "nobody");
        assert_eq!(drain(&mut workers[1], 1).len(), 1, "the budget holds");
        assert_eq!(drain(&mut workers[1], 64), vec![(1, vec![2])]);
    }
}
