//! Packet sockets and the two calls on network interfaces for which there is no safe wrapper: the only unsafe code of
//! the harness, beside what a child does between fork and exec ([`crate::namespace`], [`crate::process`]).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `ETH_P_ALL` in network byte order (<linux/if_ether.h>): every frame, whatever its protocol.
const EVERY_PROTOCOL: u16 = (libc::ETH_P_ALL as u16).to_be();

/// `ETHTOOL_STXCSUM` of <linux/ethtool.h>: switch transmit checksum offload.
const ETHTOOL_STXCSUM: u32 = 0x17;

/// Receive buffer of a packet socket: a burst from three hosts must fit, or frames are lost without the dice.
const RECEIVE_BUFFER_BYTES: libc::c_int = 8 << 20;

/// A non-blocking AF_PACKET socket (packet(7)) that receives what arrives at one interface, and sends by it.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens one at the named interface of the calling thread's network namespace.
    pub(crate) fn open(interface: &str) -> io::Result<PacketSocket> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // Protocol 0: nothing is received before `bind` names the interface.
        // SAFETY: socket(2) takes no pointers.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the kernel has just returned this descriptor, and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        set_option(&fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)?;
        let index = rustix::net::netdevice::name_to_index(&fd, interface)?;
        // SAFETY: all fields of sockaddr_ll are integers, for which zero is a value.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = EVERY_PROTOCOL;
        address.sll_ifindex = index as i32;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: `address` is a sockaddr_ll of `length` bytes and outlives the call.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(PacketSocket { fd })
    }

    /// The descriptor to wait for.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Takes the next frame; `None` when there is none, or the interface is down.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> Option<usize> {
        // MSG_TRUNC: a frame that is longer than the buffer reports its true length, and is refused.
        match rustix::net::recv(&self.fd, &mut *buffer, rustix::net::RecvFlags::TRUNC) {
            Ok((_, length)) if length <= buffer.len() => Some(length),
            _ => None,
        }
    }

    /// Sends one whole frame by the interface.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.fd, frame, rustix::net::SendFlags::empty())?;
        Ok(())
    }
}

/// Makes the kernel compute checksums in software for what it sends by an interface of the calling thread's namespace.
///
/// veth leaves them unfinished otherwise, which neither a packet socket nor an XDP program at the other end could mend.
pub(crate) fn disable_checksum_offload(interface: &str) -> io::Result<()> {
    /// `struct ethtool_value`.
    #[repr(C)]
    struct EthtoolValue {
        command: u32,
        data: u32,
    }
    // SAFETY: socket(2) takes no pointers.
    let fd = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just returned this descriptor, and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut value = EthtoolValue { command: ETHTOOL_STXCSUM, data: 0 };
    // SAFETY: all members of ifreq are integers, arrays of them or raw pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{interface}` is too long a name")));
    }
    for (target, byte) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *target = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: `request` is an ifreq whose data points to a live ethtool_value, as SIOCETHTOOL wants it.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) })?;
    Ok(())
}

fn set_option(fd: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option's value is an int of `length` bytes that outlives the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), length) })?;
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
