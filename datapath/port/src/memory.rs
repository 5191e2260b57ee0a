//! Queues in this process: the port of tests, and the model of the other two.
//!
//! ```text
//!   node A: transmit ──> outbox ──flush──> inbox of B ──receive──> deliver
//! ```
//!
//! Buffers are swapped one for one (the inbox gives a spare for each that it takes), so nothing is allocated after
//! [`network`] returned.
//!
//! Lossless: a frame whose receiver's inbox is full stays in the sender's outbox, and when that is full too,
//! `transmit` says [`TransmitError::Full`]. Frames of a source that the receiver does not count among its peers are
//! dropped there and counted, as on a real port. An address that no node has, or whose port was dropped, swallows its
//! frames, as a network does: a dead node must not hold up the others.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::poll::poll_two;
use crate::{
    MAX_FRAME_BYTES, OpenError, PeerSlot, Port, PortError, PortMode, PortStats, Received, Route,
    TransmitError, check_slot, put,
};

/// One node of a [`network`].
#[derive(Clone, Debug)]
pub struct MemoryNode {
    /// Its address.
    pub local: IpAddr,
    /// Addresses of its peers, in slot order.
    pub peers: Vec<IpAddr>,
}

/// A frame on its way, in a buffer that is reused.
struct Parcel {
    source: IpAddr,
    target: usize,
    udp_port: u16,
    length: usize,
    bytes: Box<[u8; MAX_FRAME_BYTES]>,
}

/// What a node has been sent and has not received yet. `ready` is readable while anything waits.
struct Inbox {
    queue: Mutex<Queue>,
    ready: OwnedFd,
}

/// Waiting parcels and the empty ones to swap against. Their sum is constant, but for one that is being delivered.
struct Queue {
    waiting: VecDeque<Parcel>,
    spare: Vec<Parcel>,
    /// The receiving port was dropped.
    closed: bool,
}

/// A port over queues in this process. Made by [`network`] or [`full_mesh`].
pub struct MemoryPort {
    local: IpAddr,
    own: usize,
    peers: Vec<(IpAddr, Option<usize>)>,
    inboxes: Arc<[Inbox]>,
    /// Of all nodes, in the order of their inboxes.
    addresses: Arc<[IpAddr]>,
    outbox: VecDeque<Parcel>,
    free: Vec<Parcel>,
    depth_frames: usize,
    stats: PortStats,
}

/// Joins `nodes` into a network. Each outbox and each inbox holds `depth_frames` frames.
///
/// # Errors
/// When no eventfd can be made.
pub fn network(nodes: &[MemoryNode], depth_frames: usize) -> Result<Vec<MemoryPort>, PortError> {
    let mut inboxes = Vec::with_capacity(nodes.len());
    for node in nodes {
        let ready = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|errno| PortError { operation: "eventfd", source: errno.into() })?;
        let spare = (0..depth_frames).map(|_| Parcel::new(node.local)).collect();
        let queue =
            Mutex::new(Queue { waiting: VecDeque::with_capacity(depth_frames), spare, closed: false });
        inboxes.push(Inbox { queue, ready });
    }
    let inboxes: Arc<[Inbox]> = inboxes.into();
    let addresses: Arc<[IpAddr]> = nodes.iter().map(|node| node.local).collect();
    let index_of = |address: &IpAddr| nodes.iter().position(|node| node.local == *address);
    Ok(nodes
        .iter()
        .enumerate()
        .map(|(own, node)| MemoryPort {
            local: node.local,
            own,
            peers: node.peers.iter().map(|address| (*address, index_of(address))).collect(),
            inboxes: Arc::clone(&inboxes),
            addresses: Arc::clone(&addresses),
            outbox: VecDeque::with_capacity(depth_frames),
            free: (0..depth_frames).map(|_| Parcel::new(node.local)).collect(),
            depth_frames,
            stats: PortStats::default(),
        })
        .collect())
}

/// A [`network`] in which every node's peers are all the others, in the order of `addresses`.
///
/// # Errors
/// As [`network`].
pub fn full_mesh(addresses: &[IpAddr], depth_frames: usize) -> Result<Vec<MemoryPort>, PortError> {
    let nodes: Vec<MemoryNode> = addresses
        .iter()
        .map(|local| MemoryNode {
            local: *local,
            peers: addresses.iter().copied().filter(|address| address != local).collect(),
        })
        .collect();
    network(&nodes, depth_frames)
}

impl Parcel {
    fn new(source: IpAddr) -> Parcel {
        Parcel { source, target: 0, udp_port: 0, length: 0, bytes: Box::new([0; MAX_FRAME_BYTES]) }
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A test thread that panicked while it held the lock left a queue of whole parcels.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self) {
        // The counter can't overflow: it is reset whenever the inbox is emptied, and a full one still reads as ready.
        let _ = rustix::io::write(&self.ready, &1u64.to_ne_bytes());
    }

    fn reset(&self) {
        // EAGAIN says that it was not set; nothing to do then.
        let _ = rustix::io::read(&self.ready, &mut [0u8; 8]);
    }
}

impl MemoryPort {
    /// The address of this node.
    pub fn local(&self) -> IpAddr {
        self.local
    }

    fn inbox(&self) -> &Inbox {
        &self.inboxes[self.own]
    }

    /// Takes the oldest parcel out of the inbox; it goes back as a spare after its delivery.
    fn take(&self) -> Option<Parcel> {
        let mut queue = self.inbox().lock();
        let parcel = queue.waiting.pop_front();
        if queue.waiting.is_empty() {
            self.inbox().reset();
        }
        parcel
    }

    /// Moves a parcel into its receiver's inbox, for a spare one; gives it back when there is none.
    fn hand_over(&self, parcel: Parcel) -> Result<Parcel, Parcel> {
        let Some(inbox) = self.inboxes.get(parcel.target) else { return Ok(parcel) };
        let mut queue = inbox.lock();
        if queue.closed {
            return Ok(parcel);
        }
        let Some(spare) = queue.spare.pop() else { return Err(parcel) };
        queue.waiting.push_back(parcel);
        inbox.signal();
        Ok(spare)
    }
}

impl Drop for MemoryPort {
    fn drop(&mut self) {
        self.inbox().lock().closed = true;
    }
}

impl Port for MemoryPort {
    fn mode(&self) -> PortMode {
        PortMode::Memory
    }

    fn describe(&self) -> String {
        format!("memory: queues of {} frames in this process", self.depth_frames)
    }

    fn receive(&mut self, budget: usize, deliver: &mut dyn FnMut(Received<'_>)) -> Result<usize, PortError> {
        let mut delivered = 0;
        while delivered < budget {
            let Some(parcel) = self.take() else { break };
            if self.peers.iter().any(|(address, _)| *address == parcel.source) {
                let frame = &parcel.bytes[..parcel.length];
                self.stats.received += 1;
                self.stats.received_bytes += frame.len() as u64;
                delivered += 1;
                deliver(Received { frame, source: parcel.source, udp_port: parcel.udp_port });
            } else {
                self.stats.unknown_source += 1;
            }
            self.inbox().lock().spare.push(parcel);
        }
        Ok(delivered)
    }

    fn transmit_room(&self) -> usize {
        self.free.len()
    }

    fn transmit(&mut self, peer: PeerSlot, udp_port: u16, frame: &[u8]) -> Result<(), TransmitError> {
        if frame.len() > MAX_FRAME_BYTES {
            self.stats.transmit_too_long += 1;
            return Err(TransmitError::TooLong);
        }
        let Some((_, target)) = self.peers.get(usize::from(peer.0)) else {
            self.stats.transmit_no_route += 1;
            return Err(TransmitError::NoRoute);
        };
        let Some(mut parcel) = self.free.pop() else {
            self.stats.transmit_full += 1;
            return Err(TransmitError::Full);
        };
        parcel.source = self.local;
        parcel.target = target.unwrap_or(usize::MAX);
        parcel.udp_port = udp_port;
        parcel.length = frame.len();
        parcel.bytes[..frame.len()].copy_from_slice(frame);
        self.outbox.push_back(parcel);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PortError> {
        // One rotation through the outbox: what does not fit its receiver's inbox keeps its order at the back.
        for _ in 0..self.outbox.len() {
            let Some(parcel) = self.outbox.pop_front() else { break };
            let length = parcel.length;
            match self.hand_over(parcel) {
                Ok(spare) => {
                    self.free.push(spare);
                    self.stats.transmitted += 1;
                    self.stats.transmitted_bytes += length as u64;
                }
                Err(refused) => self.outbox.push_back(refused),
            }
        }
        self.stats.transmit_kicks += 1;
        Ok(())
    }

    fn wait(&mut self, timeout: Duration, wakeup: BorrowedFd<'_>) -> Result<(), PortError> {
        poll_two(self.inbox().ready.as_fd(), wakeup, timeout)
    }

    fn set_route(&mut self, _peer: PeerSlot, _route: Option<Route>) {}

    fn set_peer(&mut self, peer: PeerSlot, address: IpAddr) -> Result<(), OpenError> {
        let slot = check_slot(peer, self.peers.len())?;
        let inbox = self.addresses.iter().position(|local| *local == address);
        put(&mut self.peers, slot, (address, inbox));
        Ok(())
    }

    fn stats(&self) -> PortStats {
        self.stats
    }
}
