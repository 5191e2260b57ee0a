//! Ways to move frames between hosts: AF_XDP, UDP sockets and memory, behind one trait.
//!
//! A port carries *frames*: opaque byte strings of at most [`MAX_FRAME_BYTES`], one per UDP datagram. It
//! knows addresses and queues; it does not know what a frame says, who is a member, or where a next hop's MAC comes
//! from (the control thread reads the kernel's neighbour table and calls [`Port::set_route`]).
//!
//! ```text
//!                 transmit(peer, udp_port, frame)        flush()
//!   worker ───────────────────────────────────> batch ───────────> kernel or NIC ──> wire
//!   worker <─── deliver(Received) ─── receive(budget) <─────────── kernel or NIC <── wire
//!                                                         ▲
//!                          source allow-list, port range, lengths: what fails is dropped and counted
//! ```
//!
//! | port | moves frames by | needs | next hop |
//! |---|---|---|---|
//! | [`XdpPort`] | one AF_XDP socket on one queue of one interface | CAP_NET_RAW, CAP_BPF, CAP_NET_ADMIN to open; nothing after | `set_route` |
//! | [`UdpPort`] | one UDP socket per shard port, `recvmmsg`/`sendmmsg` | nothing | the kernel |
//! | [`MemoryPort`] | queues in this process | nothing | none |
//!
//! All three put the same bytes on the same UDP ports, so clusters that mix them work.
//!
//! What can go wrong, and what happens then: a full transmit side refuses with [`TransmitError::Full`] and queues
//! nothing (flush, and try in the next turn); a frame that the kernel refuses is dropped and counted, as any network may
//! drop it (repair is the engine's job); a receive side that is too slow drops in the kernel and is counted there. After
//! opening, no call of this trait allocates, blocks (but [`Port::wait`], whose purpose it is) or panics.

mod error;
pub mod memory;
mod poll;
mod stats;
mod types;
pub mod udp;
pub mod xdp;

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

pub use lattice_wire::MAX_FRAME_BYTES;

pub use error::{OpenError, PortError, TransmitError};
pub use memory::MemoryPort;
pub use stats::{FrameCensus, FrameImbalance, PortStats};
pub use types::{PeerSlot, PortMode, Received, Route};
pub use udp::{UdpConfig, UdpPort};
pub use xdp::{XdpConfig, XdpPort};

/// Frames handled by one system call or ring operation, at most.
pub const BATCH_FRAMES: usize = 64;

/// Peers that one port can address, at most (the limit on live actors of a shard).
pub const MAX_PEERS: usize = 256;

/// Whether a peer can be put into a slot: one of `count` that are taken, or the next.
fn check_slot(peer: PeerSlot, count: usize) -> Result<usize, OpenError> {
    let slot = usize::from(peer.0);
    if slot > count || slot >= MAX_PEERS {
        return Err(OpenError::Config(format!(
            "no peer slot {slot}: there are {count}, at most {MAX_PEERS}"
        )));
    }
    Ok(slot)
}

/// Puts a value into a slot that [`check_slot`] has found.
fn put<T>(slots: &mut Vec<T>, slot: usize, value: T) {
    match slots.get_mut(slot) {
        Some(place) => *place = value,
        None => slots.push(value),
    }
}

/// One way to move frames. A port belongs to one worker thread.
pub trait Port: Send {
    /// How frames move.
    fn mode(&self) -> PortMode;

    /// One line for people: the mode, zero-copy or copy, and why this one.
    fn describe(&self) -> String;

    /// Hands up to `budget` received frames to `deliver`, and returns how many it handed over.
    ///
    /// Frames of a source that is not a peer, and what does not parse, are dropped and counted and do not reach
    /// `deliver`. Never blocks. With AF_XDP the frame's memory goes back to the fill ring when `deliver` returns.
    ///
    /// # Errors
    /// [`PortError`] when the socket itself fails; frames already delivered stay delivered.
    fn receive(&mut self, budget: usize, deliver: &mut dyn FnMut(Received<'_>)) -> Result<usize, PortError>;

    /// How many frames [`Port::transmit`] takes before it answers [`TransmitError::Full`]. May grow at a flush.
    fn transmit_room(&self) -> usize;

    /// Queues one frame for `peer`, from and to UDP port `udp_port` (the shard's). It leaves at the next
    /// [`Port::flush`].
    ///
    /// # Errors
    /// [`TransmitError`]; nothing was queued.
    fn transmit(&mut self, peer: PeerSlot, udp_port: u16, frame: &[u8]) -> Result<(), TransmitError>;

    /// Sends what is queued with as few system calls as the port can, and takes back completed frames.
    ///
    /// # Errors
    /// [`PortError`] when the socket itself fails; what was not sent stays queued and goes with the next flush.
    fn flush(&mut self) -> Result<(), PortError>;

    /// Sleeps until a frame can be received, `wakeup` is readable, or `timeout` passed; spurious returns are allowed.
    /// Does not read `wakeup`: its owner resets it. `timeout` is rounded up to a millisecond at most.
    ///
    /// # Errors
    /// [`PortError`] when polling fails. A signal is no error: it is an early return.
    fn wait(&mut self, timeout: Duration, wakeup: BorrowedFd<'_>) -> Result<(), PortError>;

    /// Says how to reach `peer` from now on; `None` makes it unreachable ([`TransmitError::NoRoute`]).
    /// Only AF_XDP needs it; the other ports ignore it. A slot that does not exist is ignored.
    fn set_route(&mut self, peer: PeerSlot, route: Option<Route>);

    /// Gives a peer its address: another one for a slot that there is, or one more peer for the next slot. Its frames are let
    /// in from now on; with AF_XDP once the program lets them in as well, and it has no route until [`Port::set_route`].
    /// May allocate.
    ///
    /// # Errors
    /// [`OpenError::Config`]: the address is of another family, or the slot is neither there nor the next one, or there
    /// are [`MAX_PEERS`] already. Nothing was changed.
    fn set_peer(&mut self, peer: PeerSlot, address: IpAddr) -> Result<(), OpenError>;

    /// Counters since the port was opened. With AF_XDP this makes a system call: for the tick, not for each turn.
    fn stats(&self) -> PortStats;
}
