//! Opening: shared memory, the AF_XDP socket in the best mode the driver has, and the interface's own address.

use std::error::Error;
use std::ffi::CString;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use lattice_bpf::AttachedMode;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

use super::frames::UMEM_FRAME_BYTES;
use crate::OpenError;

/// An open socket: its memory, its four rings, and all frames of the memory.
pub(super) struct Opened {
    pub umem: Umem,
    pub receive: RxQueue,
    pub transmit: TxQueue,
    pub fill: FillQueue,
    pub completion: CompQueue,
    pub descriptors: Vec<FrameDesc>,
    /// `zero-copy` or `copy`, and why.
    pub copy_mode: String,
}

/// How long to go on trying a queue that is taken. The kernel frees the queue of a closed socket later, from a work queue
/// (`xp_put_pool`, net/xdp/xsk_buff_pool.c), and tells nobody when: the successor of a killed daemon must not fail for that.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);
const BUSY_RETRY: Duration = Duration::from_millis(5);

/// The kernel's answer to one attempt; another mode may work, or the same one later.
struct Refusal {
    reason: String,
    busy: bool,
}

impl Refusal {
    fn new(what: &str, error: &dyn Error) -> Refusal {
        let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        let busy = cause.is_some_and(|cause| cause.kind() == io::ErrorKind::ResourceBusy);
        let reason = cause.map_or_else(|| error.to_string(), ToString::to_string);
        Refusal { reason: format!("{what}: {reason}"), busy }
    }
}

/// Opens a socket on one queue: zero-copy where the program runs in the driver and the driver can, else copy.
///
/// # Errors
/// [`OpenError::Config`] for sizes that can't work, [`OpenError::Socket`] with what the kernel said to each attempt; for
/// a queue that is taken only after two seconds.
pub(super) fn open(
    interface: &str,
    queue: u32,
    umem_frames: u32,
    program: AttachedMode,
) -> Result<Opened, OpenError> {
    // Zero-copy hands the driver's own buffers over, so it needs the program in the driver.
    let candidates: &[(&str, BindFlags)] = match program {
        AttachedMode::Driver => &[("zero-copy", BindFlags::XDP_ZEROCOPY), ("copy", BindFlags::XDP_COPY)],
        AttachedMode::Generic => &[("copy", BindFlags::XDP_COPY)],
    };
    let deadline = Instant::now() + BUSY_PATIENCE;
    loop {
        let mut refusals = Vec::new();
        let mut busy = false;
        for &(name, flag) in candidates {
            match open_in(interface, queue, umem_frames, name, flag)? {
                Ok(mut opened) => {
                    if !refusals.is_empty() {
                        opened.copy_mode = format!("{name} (no {})", refusals.join("; "));
                    }
                    return Ok(opened);
                }
                Err(refusal) => {
                    refusals.push(refusal.reason);
                    // A queue that is taken says nothing about the mode: a lesser one would only be luckier.
                    busy = refusal.busy;
                    if busy {
                        break;
                    }
                }
            }
        }
        if !busy || Instant::now() >= deadline {
            return Err(OpenError::Socket {
                interface: interface.to_owned(),
                queue,
                reason: refusals.join("; "),
            });
        }
        thread::sleep(BUSY_RETRY);
    }
}

/// One attempt.
fn open_in(
    interface: &str,
    queue: u32,
    umem_frames: u32,
    mode: &str,
    copy_flag: BindFlags,
) -> Result<Result<Opened, Refusal>, OpenError> {
    let config = |error: &dyn Error| OpenError::Config(error.to_string());
    // Half of the frames are for either direction, and each ring holds its half: no ring of ours can overflow.
    let ring = QueueSize::new(umem_frames / 2).map_err(|error| config(&error))?;
    let frame_size = FrameSize::new(UMEM_FRAME_BYTES as u32).map_err(|error| config(&error))?;
    let umem_config = UmemConfig::builder()
        .frame_size(frame_size)
        .fill_queue_size(ring)
        .comp_queue_size(ring)
        .build()
        .map_err(|error| config(&error))?;
    let count = NonZeroU32::new(umem_frames).ok_or_else(|| OpenError::Config("no frames".to_owned()))?;
    let (umem, descriptors) = match Umem::new(umem_config, count, false) {
        Ok(created) => created,
        Err(error) => return Ok(Err(Refusal::new("shared memory", &error))),
    };
    let socket_config = SocketConfig::builder()
        .rx_queue_size(ring)
        .tx_queue_size(ring)
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(copy_flag | BindFlags::XDP_USE_NEED_WAKEUP)
        .build();
    let name: Interface = interface.parse().map_err(|error| config(&error))?;
    // SAFETY: the memory is new and not shared with another socket, and libxdp is told to load no program, which is
    // what the contract of this function is about.
    match unsafe { Socket::new(socket_config, &umem, &name, queue) } {
        Ok((transmit, receive, Some((fill, completion)))) => Ok(Ok(Opened {
            umem,
            receive,
            transmit,
            fill,
            completion,
            descriptors,
            copy_mode: mode.to_owned(),
        })),
        // Only a memory shared with a socket on the same queue has none of its own, and this one is new.
        Ok((_, _, None)) => {
            Ok(Err(Refusal { reason: format!("{mode}: no fill and completion rings"), busy: false }))
        }
        Err(error) => Ok(Err(Refusal::new(mode, &error))),
    }
}

/// The socket under the rings, for polling and waking.
///
/// The descriptor lives as long as the queue that it is borrowed from: libxdp closes it after the last of them.
pub(super) fn descriptor(receive: &RxQueue) -> BorrowedFd<'_> {
    // SAFETY: the queue holds the socket open, and the result borrows the queue.
    unsafe { BorrowedFd::borrow_raw(receive.fd().as_raw_fd()) }
}

/// Ethernet address of an interface of this thread's network namespace.
///
/// # Errors
/// [`OpenError::Interface`]: no such interface, or it is not Ethernet.
pub(super) fn interface_mac(interface: &str) -> Result<[u8; 6], OpenError> {
    read_mac(interface).map_err(|source| OpenError::Interface { interface: interface.to_owned(), source })
}

fn read_mac(interface: &str) -> io::Result<[u8; 6]> {
    let name = CString::new(interface)?;
    let bytes = name.as_bytes_with_nul();
    // SAFETY: `ifreq` is a name and a union of integers, addresses and a pointer, for which zero bytes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if bytes.len() > request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name is too long for an interface"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    // Any socket will do to ask; this one is never bound.
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: SIOCGIFHWADDR reads the name and writes the address of exactly one `ifreq`, which outlives the call.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR as _, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: on success the kernel wrote `ifr_hwaddr`; the union was initialised in any case.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    if address.sa_family != libc::ARPHRD_ETHER {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "not an Ethernet interface"));
    }
    Ok(std::array::from_fn(|at| address.sa_data[at] as u8))
}
