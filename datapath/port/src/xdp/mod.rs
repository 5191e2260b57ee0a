//! Frames over one AF_XDP socket: one queue of one interface, without the kernel's network stack.
//!
//! ```text
//!                 ┌───────────── shared memory: frames of 2 KiB ─────────────┐
//!   wire ──XDP──> │ fill ring ─> kernel ─> receive ring ─> deliver ─┐        │
//!                 │     ^───────────────────────────────────────────┘        │  receive half
//!   wire <────────│ completion ring <─ kernel <─ transmit ring <─ transmit   │
//!                 │     └──────────────> free ─────────────────────^         │  transmit half
//!                 └──────────────────────────────────────────────────────────┘
//! ```
//!
//! The halves never mix, and each ring holds its whole half, so a flood can't take the frames that acknowledgements need
//! to leave. Ownership is checked at every move: see `frames.rs`. Headers are prepared per peer: see `headers.rs`.
//!
//! The socket asks for `XDP_USE_NEED_WAKEUP`: the kernel says when it sleeps, and one `sendto` per batch wakes its
//! transmit side. In copy mode the kernel sends at most 32 frames for each such call and says EAGAIN, so a flush kicks
//! until all are taken, and no more often than that takes.
//!
//! What can go wrong: the interface goes down (frames wait in the transmit ring, then [`TransmitError::Full`]); it goes
//! away ([`PortError`]); a receiver too slow (drops in the kernel, `fill_ring_empty` and `receive_ring_full`). The
//! program is the caller's: if it is dropped, nothing is received any more, and nothing else happens.

mod frames;
mod headers;
mod parse;
mod socket;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use lattice_bpf::{AttachedMode, XdpProgram};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, TxQueue, Umem};

use self::frames::{Frame, Ledger, Place};
use self::headers::HeaderTemplate;
use self::parse::{Unusable, parse};
use crate::poll::poll_two;
use crate::{
    BATCH_FRAMES, MAX_FRAME_BYTES, MAX_PEERS, OpenError, PeerSlot, Port, PortError, PortMode, PortStats,
    Received, Route, TransmitError, check_slot, put,
};

/// Frames that the kernel sends for one `sendto` in copy mode (`TX_BATCH_SIZE` in net/xdp/xsk.c).
const KERNEL_TRANSMIT_BATCH: usize = 32;

/// What an [`XdpPort`] is opened with. The interface, the own address and the mode are the program's.
#[derive(Clone, Debug)]
pub struct XdpConfig {
    /// Receive and transmit queue of the interface.
    pub queue: u32,
    /// Addresses of the peers, in slot order. An unspecified one is not known yet, and has no route.
    pub peers: Vec<IpAddr>,
    /// Frames of 2 KiB in the shared memory, half to receive and half to transmit: a power of two, 128..=65536.
    pub umem_frames: u32,
}

/// Frames over one AF_XDP socket.
pub struct XdpPort {
    mode: PortMode,
    description: String,
    umem: Umem,
    receive: RxQueue,
    transmit: TxQueue,
    fill: FillQueue,
    completion: CompQueue,
    ledger: Ledger,
    free: Vec<Frame>,
    held: Vec<Frame>,
    queued: Vec<Frame>,
    /// Descriptors on their way between a ring and the ledger; of no meaning between calls.
    scratch: Box<[FrameDesc; BATCH_FRAMES]>,
    /// The kernel left frames in the transmit ring at the last kick.
    unsent: bool,
    /// Of the interface, and own.
    mac: [u8; 6],
    local: IpAddr,
    headers: Vec<HeaderTemplate>,
    /// Bytes before each transmitted frame: the same for all peers, which are of one address family.
    header_bytes: usize,
    stats: PortStats,
}

impl XdpPort {
    /// Opens a socket on one queue of the program's interface and enters it in the program's map. Peers have no route
    /// until [`Port::set_route`].
    ///
    /// # Errors
    /// [`OpenError`]; nothing stays behind.
    pub fn open(config: XdpConfig, program: &mut XdpProgram) -> Result<XdpPort, OpenError> {
        if !config.umem_frames.is_power_of_two() || !(128..=65536).contains(&config.umem_frames) {
            return Err(OpenError::Config(format!(
                "{} frames; powers of two from 128 to 65536 work",
                config.umem_frames
            )));
        }
        if config.peers.len() > MAX_PEERS {
            return Err(OpenError::Config(format!("{} peers; at most {MAX_PEERS} work", config.peers.len())));
        }
        let mac = socket::interface_mac(program.interface())?;
        let mut headers = Vec::with_capacity(config.peers.len());
        for peer in &config.peers {
            headers.push(HeaderTemplate::new(mac, program.local(), *peer)?);
        }
        let opened = socket::open(program.interface(), config.queue, config.umem_frames, program.mode())?;

        let (ledger, mut free) = Ledger::new(opened.descriptors);
        let half = free.len() / 2;
        let held = free.split_off(half);
        let mut port = XdpPort {
            mode: match program.mode() {
                AttachedMode::Driver => PortMode::XdpDriver,
                AttachedMode::Generic => PortMode::XdpGeneric,
            },
            description: format!("{}, queue {}, {}", program.describe(), config.queue, opened.copy_mode),
            umem: opened.umem,
            receive: opened.receive,
            transmit: opened.transmit,
            fill: opened.fill,
            completion: opened.completion,
            ledger,
            free,
            held,
            queued: Vec::with_capacity(half),
            scratch: Box::new([FrameDesc::default(); BATCH_FRAMES]),
            unsent: false,
            header_bytes: headers.first().map_or(0, HeaderTemplate::header_bytes),
            mac,
            local: program.local(),
            headers,
            stats: PortStats::default(),
        };
        port.held.iter().for_each(|frame| port.ledger.note(frame, Place::Held));
        port.refill();
        // Only now may frames arrive: the fill ring has room for them.
        program.register_socket(config.queue, socket::descriptor(&port.receive))?;
        Ok(port)
    }

    /// Gives the held frames to the fill ring. Those for which it has no room stay held.
    fn refill(&mut self) {
        while !self.held.is_empty() {
            let first = self.held.len().saturating_sub(BATCH_FRAMES);
            let batch = self.held.len() - first;
            for (slot, frame) in self.scratch.iter_mut().zip(&self.held[first..]) {
                *slot = *frame.descriptor();
            }
            // SAFETY: the descriptors are those of frames of this memory that the port owns (Held); ownership passes
            // to the kernel with the call, and `lend` below gives up the right to touch them.
            if unsafe { self.fill.produce(&self.scratch[..batch]) } != batch {
                // The ring takes a batch whole or not at all, and holds the whole half: only a kernel that lost count
                // brings this about.
                self.stats.fill_ring_full += 1;
                return;
            }
            for frame in self.held.drain(first..) {
                self.ledger.lend(frame, Place::KernelReceive);
            }
        }
    }

    /// Tells a driver that sleeps for want of fill entries that there are some (zero-copy only).
    fn wake_receive(&mut self) -> Result<(), PortError> {
        if !self.fill.needs_wakeup() {
            return Ok(());
        }
        let mut descriptors = [PollFd::from_borrowed_fd(socket::descriptor(&self.receive), PollFlags::IN)];
        match poll(&mut descriptors, Some(&Timespec::default())) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(PortError { operation: "poll(AF_XDP)", source: errno.into() }),
        }
    }

    /// Takes one batch from the receive ring and hands over its frames; says how many it took and how many it handed over.
    fn receive_batch(&mut self, wanted: usize, deliver: &mut dyn FnMut(Received<'_>)) -> (usize, usize) {
        // SAFETY: the scratch descriptors stand for no frame; the call overwrites those it fills.
        let taken = unsafe { self.receive.consume(&mut self.scratch[..wanted]) };
        let mut delivered = 0;
        for &descriptor in &self.scratch[..taken] {
            let Some(frame) = self.ledger.claim(descriptor, Place::KernelReceive, Place::Held) else {
                self.stats.foreign_descriptors += 1;
                continue;
            };
            // SAFETY: the claim proved that the descriptor is within one frame of this memory, and that the kernel had
            // it and gave it back: nobody else touches it until it is lent again, after `deliver` returned.
            let packet = unsafe { self.umem.data(frame.descriptor()) };
            match parse(packet.contents()) {
                Ok(received) => {
                    self.stats.received += 1;
                    self.stats.received_bytes += received.frame.len() as u64;
                    delivered += 1;
                    deliver(received);
                }
                Err(Unusable::Malformed) => self.stats.malformed += 1,
                Err(Unusable::Oversize) => self.stats.oversize += 1,
            }
            self.held.push(frame);
        }
        (taken, delivered)
    }

    /// Moves queued frames to the transmit ring; says how many.
    fn produce(&mut self) -> usize {
        let mut produced = 0;
        while produced < self.queued.len() {
            let batch = (self.queued.len() - produced).min(BATCH_FRAMES);
            for (slot, frame) in self.scratch.iter_mut().zip(&self.queued[produced..]) {
                *slot = *frame.descriptor();
            }
            // SAFETY: the descriptors are those of frames of this memory that the port owns (Queued); ownership passes
            // to the kernel with the call, and `lend` below gives up the right to touch them.
            if unsafe { self.transmit.produce(&self.scratch[..batch]) } != batch {
                break;
            }
            produced += batch;
        }
        for frame in self.queued.drain(..produced) {
            let packet_bytes = frame.descriptor().lengths().data();
            self.stats.transmitted_bytes += packet_bytes.saturating_sub(self.header_bytes) as u64;
            self.ledger.lend(frame, Place::KernelTransmit);
        }
        self.stats.transmitted += produced as u64;
        produced
    }

    /// Makes the kernel send what is in the transmit ring, with at most the calls that all lent frames could need.
    fn kick(&mut self) -> Result<(), PortError> {
        if !self.transmit.needs_wakeup() {
            self.unsent = false;
            return Ok(());
        }
        let rounds = 1 + self.ledger.census().kernel_transmit as usize / KERNEL_TRANSMIT_BATCH;
        for _ in 0..rounds {
            self.stats.transmit_kicks += 1;
            match send(socket::descriptor(&self.receive), &[], SendFlags::DONTWAIT) {
                Ok(_) => {
                    self.unsent = false;
                    return Ok(());
                }
                // More is left than one call sends, or the completion ring or the device is full for the moment.
                Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS | Errno::INTR) => self.unsent = true,
                Err(Errno::NETDOWN) => {
                    self.unsent = true;
                    return Ok(());
                }
                Err(errno) => return Err(PortError { operation: "sendto(AF_XDP)", source: errno.into() }),
            }
        }
        Ok(())
    }

    /// Takes completed frames back.
    fn reclaim(&mut self) {
        loop {
            // SAFETY: the scratch descriptors stand for no frame; the call overwrites those it fills.
            let taken = unsafe { self.completion.consume(&mut self.scratch[..]) };
            for &descriptor in &self.scratch[..taken] {
                match self.ledger.claim(descriptor, Place::KernelTransmit, Place::Free) {
                    Some(frame) => self.free.push(frame),
                    None => self.stats.foreign_descriptors += 1,
                }
            }
            if taken < BATCH_FRAMES {
                return;
            }
        }
    }
}

impl Port for XdpPort {
    fn mode(&self) -> PortMode {
        self.mode
    }

    fn describe(&self) -> String {
        format!("{}: {}", self.mode, self.description)
    }

    fn receive(&mut self, budget: usize, deliver: &mut dyn FnMut(Received<'_>)) -> Result<usize, PortError> {
        let mut delivered = 0;
        while delivered < budget {
            let wanted = (budget - delivered).min(BATCH_FRAMES);
            let (taken, handed_over) = self.receive_batch(wanted, deliver);
            delivered += handed_over;
            self.refill();
            if taken < wanted {
                break;
            }
        }
        self.wake_receive()?;
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
        let Some(headers) = self.headers.get(usize::from(peer.0)).filter(|headers| headers.is_routed())
        else {
            self.stats.transmit_no_route += 1;
            return Err(TransmitError::NoRoute);
        };
        let Some(mut buffer) = self.free.pop() else {
            self.stats.transmit_full += 1;
            return Err(TransmitError::Full);
        };
        // SAFETY: the port owns this frame of this memory (Free), and holds the only right to touch it.
        let mut data = unsafe { self.umem.data_mut(buffer.descriptor_mut()) };
        // A completed descriptor has length 0, a fresh one too: the cursor opens the frame to its end, for its headers
        // and bytes to be written, and is then set to what was written.
        let mut cursor = data.cursor();
        let capacity = cursor.buf_len();
        cursor.set_pos(capacity);
        let written = headers.write(data.contents_mut(), udp_port, frame);
        data.cursor().set_pos(written.unwrap_or(0));
        if written.is_none() {
            self.free.push(buffer);
            self.stats.transmit_too_long += 1;
            return Err(TransmitError::TooLong);
        }
        self.ledger.note(&buffer, Place::Queued);
        self.queued.push(buffer);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PortError> {
        if self.produce() > 0 || self.unsent {
            self.kick()?;
        }
        self.reclaim();
        Ok(())
    }

    fn wait(&mut self, timeout: Duration, wakeup: BorrowedFd<'_>) -> Result<(), PortError> {
        poll_two(socket::descriptor(&self.receive), wakeup, timeout)
    }

    fn set_route(&mut self, peer: PeerSlot, route: Option<Route>) {
        if let Some(headers) = self.headers.get_mut(usize::from(peer.0)) {
            headers.set_route(route);
        }
    }

    fn set_peer(&mut self, peer: PeerSlot, address: IpAddr) -> Result<(), OpenError> {
        let slot = check_slot(peer, self.headers.len())?;
        let headers = HeaderTemplate::new(self.mac, self.local, address)?;
        self.header_bytes = headers.header_bytes();
        put(&mut self.headers, slot, headers);
        Ok(())
    }

    fn stats(&self) -> PortStats {
        let mut stats = PortStats { frames: self.ledger.census(), ..self.stats };
        // The kernel refuses this only for a socket that is not there; the counters then stay as they are.
        if let Ok(kernel) = self.receive.fd().xdp_statistics() {
            stats.fill_ring_empty = kernel.rx_fill_ring_empty_descs();
            stats.receive_ring_full = kernel.rx_ring_full();
            stats.receive_dropped = kernel.rx_dropped();
            stats.invalid_descriptors = kernel.rx_invalid_descs() + kernel.tx_invalid_descs();
        }
        stats
    }
}
