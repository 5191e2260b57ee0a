//! The program on an interface, for as long as a file descriptor is open.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use libbpf_rs::libbpf_sys;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use crate::filter::Filter;
use crate::{Config, XdpError};

/// How long to go on trying an interface that is taken. A killed daemon's program goes when the kernel has torn its process
/// down, some milliseconds after the signal: a successor that is started at once must not fail for that.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);
const BUSY_RETRY: Duration = Duration::from_millis(5);

/// Where the caller wants the program attached.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    /// The driver's receive path, else the generic one.
    #[default]
    Auto,
    /// The driver's receive path or nothing.
    Driver,
    /// The generic receive path.
    Generic,
}

/// Where the program is attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AttachedMode {
    /// In the driver's receive path.
    Driver,
    /// In the generic receive path.
    Generic,
}

impl AttachedMode {
    /// The flag of `bpf_link_create` that admits this mode only.
    fn flag(self) -> u32 {
        match self {
            AttachedMode::Driver => libbpf_sys::XDP_FLAGS_DRV_MODE,
            AttachedMode::Generic => libbpf_sys::XDP_FLAGS_SKB_MODE,
        }
    }
}

impl fmt::Display for AttachedMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AttachedMode::Driver => "driver mode",
            AttachedMode::Generic => "generic mode",
        })
    }
}

/// The program, attached to one interface and shared by the sockets of its queues. Dropping it detaches it, and so does
/// the end of the process, however it ends.
pub struct XdpProgram {
    filter: Filter,
    _link: OwnedFd,
    interface: String,
    local: IpAddr,
    mode: AttachedMode,
    reason: String,
}

impl XdpProgram {
    /// Loads the program and attaches it to `interface` (of the calling thread's network namespace).
    ///
    /// # Errors
    /// [`XdpError`]; nothing stays behind. That another program is attached is said after a second only.
    pub fn attach(interface: &str, config: &Config, mode: Mode) -> Result<XdpProgram, XdpError> {
        let index = interface_index(interface)
            .map_err(|source| XdpError::Interface { interface: interface.to_owned(), source })?;
        let filter = Filter::load(config)?;
        let (candidates, asked): (&[AttachedMode], &str) = match mode {
            Mode::Auto => (&[AttachedMode::Driver, AttachedMode::Generic], "the first choice"),
            Mode::Driver => (&[AttachedMode::Driver], "asked for"),
            Mode::Generic => (&[AttachedMode::Generic], "asked for"),
        };
        let deadline = Instant::now() + BUSY_PATIENCE;
        loop {
            let mut refusals = Vec::new();
            let mut busy = false;
            for &mode in candidates {
                match create_link(&filter, index, mode) {
                    Ok(link) => {
                        let reason = if refusals.is_empty() { asked.to_owned() } else { refusals.join("; ") };
                        let (interface, local) = (interface.to_owned(), config.local);
                        return Ok(XdpProgram { filter, _link: link, interface, local, mode, reason });
                    }
                    Err(error) => {
                        refusals.push(format!("{mode}: {}", explain(&error)));
                        // An interface that is taken says nothing about the mode: a lesser one would only be luckier.
                        busy = is_busy(&error);
                        if busy {
                            break;
                        }
                    }
                }
            }
            if !busy || Instant::now() >= deadline {
                return Err(XdpError::Attach {
                    interface: interface.to_owned(),
                    reason: refusals.join("; "),
                });
            }
            thread::sleep(BUSY_RETRY);
        }
    }

    /// Sends the cluster's frames that arrive on `queue` to an AF_XDP socket: see [`Filter::register_socket`].
    ///
    /// # Errors
    /// [`XdpError::Map`]; the queue keeps what it had.
    pub fn register_socket(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), XdpError> {
        self.filter.register_socket(queue, socket)
    }

    /// Lets a source in from now on: see [`Filter::let_in`].
    ///
    /// # Errors
    /// [`XdpError::Map`]; nothing was changed.
    pub fn let_in(&self, source: IpAddr) -> Result<(), XdpError> {
        self.filter.let_in(source)
    }

    /// Lets a source in no more: see [`Filter::keep_out`].
    ///
    /// # Errors
    /// [`XdpError::Map`]; nothing was changed.
    pub fn keep_out(&self, source: IpAddr) -> Result<(), XdpError> {
        self.filter.keep_out(source)
    }

    /// Drops so far by reason: see [`Filter::drop_counters`].
    ///
    /// # Errors
    /// [`XdpError::Map`].
    pub fn drop_counters(&self) -> Result<Vec<(&'static str, u64)>, XdpError> {
        self.filter.drop_counters()
    }

    /// Name of the interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The address whose datagrams the program takes.
    pub fn local(&self) -> IpAddr {
        self.local
    }

    /// Where the program is attached.
    pub fn mode(&self) -> AttachedMode {
        self.mode
    }

    /// One line for people: the mode, and why this one.
    pub fn describe(&self) -> String {
        format!("XDP in {} on {} ({})", self.mode, self.interface, self.reason)
    }
}

/// Attaches by link in one mode (`BPF_LINK_CREATE`, since Linux 5.9). libbpf-rs's `attach_xdp` does the same without
/// flags, and so leaves the mode to the kernel.
fn create_link(filter: &Filter, interface_index: i32, mode: AttachedMode) -> io::Result<OwnedFd> {
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
        flags: mode.flag(),
        ..Default::default()
    };
    // SAFETY: the descriptor is an XDP program's; `options` says its own size, is zero where it is not set, and
    // outlives the call.
    let descriptor = unsafe {
        libbpf_sys::bpf_link_create(
            filter.program.as_raw_fd(),
            interface_index,
            libbpf_sys::BPF_XDP,
            &options,
        )
    };
    if descriptor < 0 {
        return Err(io::Error::from_raw_os_error(-descriptor));
    }
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn interface_index(interface: &str) -> io::Result<i32> {
    // Any socket will do to ask; this one is never bound.
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let index = netdevice::name_to_index(&socket, interface)?;
    i32::try_from(index).map_err(io::Error::other)
}

/// Another program is there: in this mode, or (`EEXIST`) in another one.
fn is_busy(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::AlreadyExists)
}

/// What the kernel's error means here.
fn explain(error: &io::Error) -> String {
    let meaning = match error.kind() {
        _ if is_busy(error) => "another XDP program is attached",
        io::ErrorKind::Unsupported => "the driver has no XDP",
        io::ErrorKind::PermissionDenied => "CAP_NET_ADMIN and CAP_BPF are needed",
        io::ErrorKind::InvalidInput => "the interface's MTU or features forbid it",
        _ => return error.to_string(),
    };
    format!("{meaning} ({error})")
}
