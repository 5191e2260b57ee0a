//! Frames over kernel UDP sockets: for machines and containers without the rights for AF_XDP, and for developers.
//!
//! ```text
//!   transmit ──> batch (64 slots, in order) ──flush: one sendmmsg per run of equal UDP ports──> sockets
//!   deliver <── slots <──one recvmmsg per ready socket── epoll ── sockets, one per shard port
//! ```
//!
//! One socket per shard port, bound to the own address: the source port of a frame is the shard's port, as with AF_XDP,
//! so both ends may use either. Sources that are not peers are dropped here and counted, as the XDP program does.
//!
//! Nothing is fragmented: the sockets set the don't-fragment bit, and a frame too long for the path is refused by the
//! kernel and counted as `transmit_failed`. What the kernel refuses for want of buffers stays in the batch until the
//! next flush or receive, whichever comes first. Full receive buffers drop in the kernel, which tells nobody but its own `/proc/net/snmp`; repair brings
//! those frames again.

mod batch;

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt};

use self::batch::{Slot, SocketAddress};
use crate::poll::poll_two;
use crate::{
    BATCH_FRAMES, MAX_FRAME_BYTES, MAX_PEERS, OpenError, PeerSlot, Port, PortError, PortMode, PortStats,
    Received, Route, TransmitError, check_slot, put,
};

/// Sockets of one port, at most (the limit on shards).
pub const MAX_UDP_PORTS: usize = 64;

/// Longest sleep while frames wait for room in the kernel.
const HELD_UP_RETRY: Duration = Duration::from_millis(1);

/// Bytes asked for in each socket's receive and send buffer; the kernel may give less (net.core.rmem_max).
const SOCKET_BUFFER_BYTES: usize = 2 << 20;

/// What a [`UdpPort`] is bound to.
#[derive(Clone, Debug)]
pub struct UdpConfig {
    /// Own address; every socket is bound to it.
    pub local: IpAddr,
    /// Addresses of the peers, in slot order; also the list of sources that are let in. An unspecified one is not known yet:
    /// nothing goes there.
    pub peers: Vec<IpAddr>,
    /// UDP ports of the shards that this worker owns, at most [`MAX_UDP_PORTS`].
    pub udp_ports: Vec<u16>,
}

/// Frames over kernel UDP sockets.
pub struct UdpPort {
    local: IpAddr,
    peers: Vec<IpAddr>,
    sockets: Vec<Socket>,
    /// Level-triggered over all sockets; an event's data is the socket's index.
    ready: OwnedFd,
    turn: usize,
    receive_slots: Vec<Slot>,
    /// The batch: `queued[i]` goes out by the socket `socket_of[i]`; the first `queued_count` are in use.
    queued: Vec<Slot>,
    socket_of: Vec<usize>,
    queued_count: usize,
    /// The last flush left frames in the batch; `receive`, which comes in every turn, tries them again.
    held_up: bool,
    stats: PortStats,
}

struct Socket {
    descriptor: OwnedFd,
    udp_port: u16,
}

impl UdpPort {
    /// Binds one socket per UDP port.
    ///
    /// # Errors
    /// [`OpenError::Config`] or [`OpenError::Io`]; nothing stays bound.
    pub fn bind(config: UdpConfig) -> Result<UdpPort, OpenError> {
        check(&config)?;
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|errno| failed("epoll_create", errno.into()))?;
        let mut sockets = Vec::with_capacity(config.udp_ports.len());
        for (index, &udp_port) in config.udp_ports.iter().enumerate() {
            let descriptor = open_socket(config.local, udp_port)?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&ready, &descriptor, data, epoll::EventFlags::IN)
                .map_err(|errno| failed("epoll_ctl", errno.into()))?;
            sockets.push(Socket { descriptor, udp_port });
        }
        Ok(UdpPort {
            local: config.local,
            peers: config.peers,
            turn: 0,
            sockets,
            ready,
            receive_slots: (0..BATCH_FRAMES).map(|_| Slot::new()).collect(),
            queued: (0..BATCH_FRAMES).map(|_| Slot::new()).collect(),
            socket_of: vec![0; BATCH_FRAMES],
            queued_count: 0,
            held_up: false,
            stats: PortStats::default(),
        })
    }

    /// Receives one batch from one socket; says how many frames it handed over.
    fn receive_from(
        &mut self,
        socket: usize,
        budget: usize,
        deliver: &mut dyn FnMut(Received<'_>),
    ) -> Result<usize, PortError> {
        let Some(socket) = self.sockets.get(socket) else { return Ok(0) };
        let wanted = budget.min(BATCH_FRAMES);
        let count = match batch::receive(socket.descriptor.as_fd(), &mut self.receive_slots[..wanted]) {
            Ok(count) => count,
            Err(error) if is_transient(&error) => return Ok(0),
            Err(source) => return Err(PortError { operation: "recvmmsg", source }),
        };
        let mut delivered = 0;
        for slot in &self.receive_slots[..count] {
            let Some(source) = slot.address.ip().filter(|source| self.peers.contains(source)) else {
                self.stats.unknown_source += 1;
                continue;
            };
            if slot.oversize {
                self.stats.oversize += 1;
                continue;
            }
            let frame = &slot.bytes[..slot.length];
            self.stats.received += 1;
            self.stats.received_bytes += frame.len() as u64;
            delivered += 1;
            deliver(Received { frame, source, udp_port: socket.udp_port });
        }
        Ok(delivered)
    }

    /// Takes the first `count` frames out of the batch; the others keep their order.
    fn dequeue(&mut self, count: usize) {
        self.queued[..self.queued_count].rotate_left(count);
        self.socket_of[..self.queued_count].rotate_left(count);
        self.queued_count -= count;
    }

    /// Sends the frames at the head of the batch that share a socket. `Ok(false)`: the kernel has no room now.
    fn send_run(&mut self) -> Result<bool, PortError> {
        let socket = self.socket_of[0];
        let run = self.socket_of[..self.queued_count].iter().take_while(|&&other| other == socket).count();
        self.stats.transmit_kicks += 1;
        match batch::transmit(self.sockets[socket].descriptor.as_fd(), self.queued[..run].iter_mut()) {
            Ok(sent) => {
                let bytes: usize = self.queued[..sent].iter().map(|slot| slot.length).sum();
                self.stats.transmitted += sent as u64;
                self.stats.transmitted_bytes += bytes as u64;
                self.dequeue(sent);
                Ok(sent > 0)
            }
            Err(error) if is_transient(&error) => Ok(false),
            Err(error) if is_about_one_frame(&error) => {
                self.stats.transmit_failed += 1;
                self.dequeue(1);
                Ok(true)
            }
            Err(source) => Err(PortError { operation: "sendmmsg", source }),
        }
    }
}

impl Port for UdpPort {
    fn mode(&self) -> PortMode {
        PortMode::Udp
    }

    fn describe(&self) -> String {
        format!("udp: {} kernel sockets on {}", self.sockets.len(), self.local)
    }

    fn receive(&mut self, budget: usize, deliver: &mut dyn FnMut(Received<'_>)) -> Result<usize, PortError> {
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; MAX_UDP_PORTS];
        let (events, _) = match epoll::wait(&self.ready, &mut events, Some(&Timespec::default())) {
            Ok(ready) => ready,
            Err(Errno::INTR) => return Ok(0),
            Err(errno) => return Err(PortError { operation: "epoll_wait", source: errno.into() }),
        };
        // Another socket is first in each turn, so that a budget that one socket uses up does not starve the others.
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn.checked_rem(events.len()).unwrap_or(0);
        let mut delivered = 0;
        for event in events[first..].iter().chain(&events[..first]) {
            if delivered >= budget {
                break;
            }
            let socket = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            delivered += self.receive_from(socket, budget - delivered, deliver)?;
        }
        // After what arrived, which must not wait for it, should sending fail.
        if self.held_up {
            self.flush()?;
        }
        Ok(delivered)
    }

    fn transmit_room(&self) -> usize {
        BATCH_FRAMES - self.queued_count
    }

    fn transmit(&mut self, peer: PeerSlot, udp_port: u16, frame: &[u8]) -> Result<(), TransmitError> {
        if frame.len() > MAX_FRAME_BYTES {
            self.stats.transmit_too_long += 1;
            return Err(TransmitError::TooLong);
        }
        let known = |address: &&IpAddr| !address.is_unspecified();
        let Some(&address) = self.peers.get(usize::from(peer.0)).filter(known) else {
            self.stats.transmit_no_route += 1;
            return Err(TransmitError::NoRoute);
        };
        let Some(socket) = self.sockets.iter().position(|socket| socket.udp_port == udp_port) else {
            return Err(TransmitError::UnknownUdpPort);
        };
        let Some(slot) = self.queued.get_mut(self.queued_count) else {
            self.stats.transmit_full += 1;
            return Err(TransmitError::Full);
        };
        slot.bytes[..frame.len()].copy_from_slice(frame);
        slot.length = frame.len();
        slot.address = SocketAddress::new(address, udp_port);
        self.socket_of[self.queued_count] = socket;
        self.queued_count += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PortError> {
        // Every round sends or drops at least one frame, or ends the loop.
        self.held_up = true;
        while self.queued_count > 0 && self.send_run()? {}
        self.held_up = self.queued_count > 0;
        Ok(())
    }

    fn wait(&mut self, timeout: Duration, wakeup: BorrowedFd<'_>) -> Result<(), PortError> {
        // Nobody tells when the kernel has room again.
        let timeout = if self.held_up { timeout.min(HELD_UP_RETRY) } else { timeout };
        poll_two(self.ready.as_fd(), wakeup, timeout)
    }

    fn set_route(&mut self, _peer: PeerSlot, _route: Option<Route>) {}

    fn set_peer(&mut self, peer: PeerSlot, address: IpAddr) -> Result<(), OpenError> {
        let slot = check_slot(peer, self.peers.len())?;
        check_family(address, self.local)?;
        put(&mut self.peers, slot, address);
        Ok(())
    }

    fn stats(&self) -> PortStats {
        self.stats
    }
}

fn check(config: &UdpConfig) -> Result<(), OpenError> {
    if config.udp_ports.is_empty() || config.udp_ports.len() > MAX_UDP_PORTS {
        return Err(OpenError::Config(format!(
            "{} UDP ports; 1 to {MAX_UDP_PORTS} work",
            config.udp_ports.len()
        )));
    }
    if config.peers.len() > MAX_PEERS {
        return Err(OpenError::Config(format!("{} peers; at most {MAX_PEERS} work", config.peers.len())));
    }
    config.peers.iter().try_for_each(|peer| check_family(*peer, config.local))
}

fn check_family(peer: IpAddr, local: IpAddr) -> Result<(), OpenError> {
    if peer.is_ipv4() != local.is_ipv4() {
        return Err(OpenError::Config(format!("peer {peer} is not of the address family of {local}")));
    }
    Ok(())
}

fn open_socket(local: IpAddr, udp_port: u16) -> Result<OwnedFd, OpenError> {
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))
        .map_err(|errno| failed("socket", errno.into()))?;
    never_fragment(socket.as_fd(), local).map_err(|error| failed("setsockopt(MTU_DISCOVER)", error))?;
    // Smaller buffers drop more under load, and repair brings it again: no reason not to start.
    let _ = sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_BYTES);
    let _ = sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER_BYTES);
    bind(&socket, &SocketAddr::new(local, udp_port)).map_err(|errno| failed("bind", errno.into()))?;
    Ok(socket)
}

fn never_fragment(socket: BorrowedFd<'_>, local: IpAddr) -> io::Result<()> {
    batch::set_integer_option(
        socket,
        if local.is_ipv4() {
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)
        } else {
            (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)
        },
    )
}

fn failed(operation: &'static str, source: io::Error) -> OpenError {
    OpenError::Io { operation, source }
}

/// Nothing there, no room now, or a signal: the next turn tries again.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
        || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// The kernel refused this frame or its peer, not the socket: others may go.
fn is_about_one_frame(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EMSGSIZE
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ENETDOWN
                | libc::EHOSTDOWN
                | libc::ECONNREFUSED
                | libc::EPERM
                | libc::EACCES
                | libc::EINVAL
                | libc::EADDRNOTAVAIL
        )
    )
}
