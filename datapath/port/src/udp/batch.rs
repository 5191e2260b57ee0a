//! `recvmmsg` and `sendmmsg`: many datagrams for one system call. The only foreign calls of the UDP port.
//!
//! The kernel's headers (`mmsghdr`, `iovec`, addresses) are built on the stack for each call, pointing into the slots:
//! 64 of each are a few kilobytes, and no pointer outlives the call it was made for.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::{BATCH_FRAMES, MAX_FRAME_BYTES};

/// One datagram and the address of its other end.
pub(super) struct Slot {
    pub bytes: [u8; MAX_FRAME_BYTES],
    pub length: usize,
    /// The datagram was longer than a frame can be; its rest is gone.
    pub oversize: bool,
    pub address: SocketAddress,
}

impl Slot {
    pub fn new() -> Slot {
        Slot { bytes: [0; MAX_FRAME_BYTES], length: 0, oversize: false, address: SocketAddress::NONE }
    }
}

/// A socket address as the kernel reads and writes it, of either family.
#[derive(Clone, Copy)]
pub(super) struct SocketAddress {
    storage: Storage,
    length: libc::socklen_t,
}

/// Room and alignment for both families; `family` is first in both and says which one it is.
#[derive(Clone, Copy)]
#[repr(C)]
union Storage {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl SocketAddress {
    /// No address: the IPv6 form of all zero bytes, of a family that does not exist.
    const NONE: SocketAddress = SocketAddress {
        storage: Storage {
            v6: libc::sockaddr_in6 {
                sin6_family: 0,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
                sin6_scope_id: 0,
            },
        },
        length: 0,
    };

    pub fn new(address: IpAddr, port: u16) -> SocketAddress {
        let mut new = SocketAddress::NONE;
        match address {
            IpAddr::V4(v4) => {
                new.storage.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: port.to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.octets()) },
                    sin_zero: [0; 8],
                };
                new.length = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            IpAddr::V6(v6) => {
                new.storage.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: port.to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: v6.octets() },
                    sin6_scope_id: 0,
                };
                new.length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            }
        }
        new
    }

    /// The IP address; `None` when the kernel wrote none, or one of another family.
    pub fn ip(&self) -> Option<IpAddr> {
        // SAFETY: every byte of the union is initialised, by `NONE` or over it, and any bytes are valid integers.
        let (family, v4, v6) = unsafe { (self.storage.family, self.storage.v4, self.storage.v6) };
        match libc::c_int::from(family) {
            libc::AF_INET => Some(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes()).into()),
            libc::AF_INET6 => Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into()),
            _ => None,
        }
    }
}

/// Receives up to [`BATCH_FRAMES`] datagrams into `slots`, without blocking; says how many.
///
/// # Errors
/// What `recvmmsg` says, `WouldBlock` included; the slots are unspecified then.
pub(super) fn receive(socket: BorrowedFd<'_>, slots: &mut [Slot]) -> io::Result<usize> {
    let count = slots.len().min(BATCH_FRAMES);
    let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH_FRAMES];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH_FRAMES];
    for ((slot, vector), header) in slots.iter_mut().zip(&mut vectors).zip(&mut headers) {
        slot.address = SocketAddress::NONE;
        let vector =
            vector.write(libc::iovec { iov_base: slot.bytes.as_mut_ptr().cast(), iov_len: MAX_FRAME_BYTES });
        header.write(message(&mut slot.address.storage, size_of::<Storage>() as libc::socklen_t, vector));
    }
    // SAFETY: the first `count` headers are initialised; each points to one initialised vector, which points to the
    // whole of one slot's bytes, and to that slot's address with its true size. `vectors` and `slots` outlive the call
    // and nothing else touches them meanwhile.
    let received = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for (slot, header) in slots.iter_mut().zip(&headers).take(received.min(count)) {
        // SAFETY: this header was initialised above, and the kernel only wrote to it.
        let header = unsafe { header.assume_init_ref() };
        slot.length = (header.msg_len as usize).min(MAX_FRAME_BYTES);
        slot.oversize = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
    }
    Ok(received.min(count))
}

/// Sends the first [`BATCH_FRAMES`] of `slots`, without blocking; says how many the kernel took.
///
/// # Errors
/// What `sendmmsg` says about the first datagram; nothing was sent then.
pub(super) fn transmit<'a>(
    socket: BorrowedFd<'_>,
    slots: impl Iterator<Item = &'a mut Slot>,
) -> io::Result<usize> {
    let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH_FRAMES];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH_FRAMES];
    let mut count = 0;
    for ((slot, vector), header) in slots.zip(&mut vectors).zip(&mut headers) {
        let vector =
            vector.write(libc::iovec { iov_base: slot.bytes.as_mut_ptr().cast(), iov_len: slot.length });
        let length = slot.address.length;
        header.write(message(&mut slot.address.storage, length, vector));
        count += 1;
    }
    // SAFETY: the first `count` headers are initialised; each points to one initialised vector, which points to the
    // first `length` (at most all) bytes of a slot, and to that slot's address with its size. All of it is borrowed for
    // 'a, so it outlives the call.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn message(
    address: *mut Storage,
    address_length: libc::socklen_t,
    vector: *mut libc::iovec,
) -> libc::mmsghdr {
    // SAFETY: `mmsghdr` is integers and pointers, for all of which zero bytes are a value; zeroing also covers the
    // padding that some C libraries have in it.
    let mut header: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_hdr.msg_name = address.cast();
    header.msg_hdr.msg_namelen = address_length;
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
    header
}

/// Sets a socket option whose value is an integer: (level, name, value).
///
/// # Errors
/// What `setsockopt` says; the option is unchanged.
pub(super) fn set_integer_option(
    socket: BorrowedFd<'_>,
    (level, name, value): (libc::c_int, libc::c_int, libc::c_int),
) -> io::Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the value is an integer on this stack, described with its size, and the kernel only reads it.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
