//! What can fail, and what it left behind.

use std::io;

/// A port could not be opened. Nothing stays behind: sockets, memory and map entries made on the way are gone.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration contradicts itself or a limit.
    #[error("port configuration: {0}")]
    Config(String),
    /// The interface has no usable Ethernet address, or does not exist.
    #[error("interface {interface}: {source}")]
    Interface {
        /// Its name.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A system call failed.
    #[error("{operation}: {source}")]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The AF_XDP socket could not be bound in any mode.
    #[error("AF_XDP socket on {interface} queue {queue}: {reason}")]
    Socket {
        /// Its name.
        interface: String,
        /// Receive and transmit queue.
        queue: u32,
        /// Each mode that was tried, with what the kernel said.
        reason: String,
    },
    /// The socket could not be entered in the XDP program's map.
    #[error(transparent)]
    Program(#[from] lattice_bpf::XdpError),
}

/// The socket under a port failed. The port stays usable: queued frames stay queued, owned frames stay owned.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {source}")]
pub struct PortError {
    /// What was attempted.
    pub operation: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

/// A frame was not queued.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TransmitError {
    /// The batch or the transmit ring is full: flush, and try again in the next turn.
    #[error("the transmit side is full; nothing was queued")]
    Full,
    /// No such peer, or its next hop is not known (yet).
    #[error("no route to the peer; nothing was queued")]
    NoRoute,
    /// The frame is longer than [`crate::MAX_FRAME_BYTES`].
    #[error("the frame is too long; nothing was queued")]
    TooLong,
    /// The port has no socket for this UDP port.
    #[error("the UDP port is not one of this port's; nothing was queued")]
    UnknownUdpPort,
}
