//! Who owns each frame of the shared memory, checked at every move.
//!
//! ```text
//!   receive half                                  transmit half
//!   ┌────── lend ──────┐                          Free ──── take, write ───> Queued
//!   │                  v                           ^                            │
//!  Held           KernelReceive                    │ claim (completion)         │ lend
//!   ^                  │                           │                            v
//!   └── claim (rx) ────┘                           └──────────────────── KernelTransmit
//! ```
//!
//! A [`Frame`] is the right to touch one frame's bytes. It is moved, never copied: lending it to the kernel consumes it,
//! and claiming it back is the only way to get it again. Descriptors are plain numbers that the kernel writes, so each
//! claim is checked against the ledger: one that is out of range, or names a frame that was not lent, is refused. So every
//! received frame goes back to the fill ring exactly once, whatever comes out of the rings, and no two owners ever write
//! to one frame.

use xsk_rs::FrameDesc;

use crate::FrameCensus;

/// Bytes of one frame of the shared memory; the kernel keeps the first 256 for the XDP program.
pub(super) const UMEM_FRAME_BYTES: usize = 2048;

/// Where a frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Place {
    /// With the port, to transmit with.
    Free,
    /// With the port, received.
    Held,
    /// With the port, written and waiting for the flush.
    Queued,
    /// With the kernel, from the fill ring to the receive ring.
    KernelReceive,
    /// With the kernel, from the transmit ring to the completion ring.
    KernelTransmit,
}

const PLACES: usize = 5;

/// The right to touch one frame.
#[derive(Debug)]
pub(super) struct Frame(FrameDesc);

impl Frame {
    pub fn descriptor(&self) -> &FrameDesc {
        &self.0
    }

    pub fn descriptor_mut(&mut self) -> &mut FrameDesc {
        &mut self.0
    }
}

/// The place of every frame.
pub(super) struct Ledger {
    places: Box<[Place]>,
    counts: [u64; PLACES],
}

impl Ledger {
    /// Takes over the descriptors of a new shared memory: all frames start [`Place::Free`].
    pub fn new(descriptors: Vec<FrameDesc>) -> (Ledger, Vec<Frame>) {
        let total = descriptors.len();
        let mut counts = [0; PLACES];
        counts[Place::Free as usize] = total as u64;
        let ledger = Ledger { places: vec![Place::Free; total].into(), counts };
        (ledger, descriptors.into_iter().map(Frame).collect())
    }

    /// Takes back a frame that the kernel returned from `from`; `None` if it was not lent there, or reaches beyond its
    /// frame. The ledger is unchanged then.
    pub fn claim(&mut self, descriptor: FrameDesc, from: Place, to: Place) -> Option<Frame> {
        let in_frame = descriptor.addr() % UMEM_FRAME_BYTES;
        if in_frame + descriptor.lengths().data() > UMEM_FRAME_BYTES {
            return None;
        }
        let place = self.places.get_mut(descriptor.addr() / UMEM_FRAME_BYTES)?;
        if *place != from {
            return None;
        }
        *place = to;
        self.counts[from as usize] -= 1;
        self.counts[to as usize] += 1;
        Some(Frame(descriptor))
    }

    /// Notes that the port moved a frame that it keeps.
    pub fn note(&mut self, frame: &Frame, to: Place) {
        if let Some(place) = self.places.get_mut(frame.0.addr() / UMEM_FRAME_BYTES) {
            self.counts[*place as usize] -= 1;
            self.counts[to as usize] += 1;
            *place = to;
        }
    }

    /// Gives a frame to the kernel. The descriptor is for the ring; the right to touch the frame is gone.
    pub fn lend(&mut self, frame: Frame, to: Place) -> FrameDesc {
        self.note(&frame, to);
        frame.0
    }

    pub fn census(&self) -> FrameCensus {
        let count = |place: Place| self.counts[place as usize];
        FrameCensus {
            total: self.places.len() as u64,
            free: count(Place::Free),
            held: count(Place::Held),
            queued: count(Place::Queued),
            kernel_receive: count(Place::KernelReceive),
            kernel_transmit: count(Place::KernelTransmit),
        }
    }
}
