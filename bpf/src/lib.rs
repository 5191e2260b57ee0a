//! The XDP program that steers frames to AF_XDP sockets, and its loader.

use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

/// What the program lets through, and to whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Frames of another cluster are dropped.
    pub cluster_tag: u32,
    /// First UDP port of the cluster.
    pub port_base: u16,
    /// How many UDP ports, from `port_base` on.
    pub port_count: u16,
    /// Sources that are let in: the peers' addresses.
    pub sources: Vec<IpAddr>,
}

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

/// Why the program is not there, or a map of it refused.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// A call failed.
    #[error("{operation}: {source}")]
    Io {
        /// What was attempted.
        operation: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The program, attached to one interface, shared by the sockets of its queues. Gone when dropped or when the process ends.
pub struct XdpProgram {
    interface: String,
    mode: AttachedMode,
}

impl XdpProgram {
    /// Loads the program and attaches it to `interface`.
    ///
    /// # Errors
    /// [`XdpError`]; nothing stays behind.
    pub fn attach(interface: &str, config: &Config, mode: Mode) -> Result<XdpProgram, XdpError> {
        let _ = (interface, config, mode);
        Err(XdpError::Io { operation: "attach".into(), source: io::Error::other("not built yet") })
    }
    /// Sends what arrives on `queue` to the AF_XDP socket.
    ///
    /// # Errors
    /// [`XdpError`]; the queue keeps the socket that it had.
    pub fn register_socket(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), XdpError> {
        let _ = (queue, socket);
        Ok(())
    }
    /// Drops so far, by reason, summed over CPUs.
    ///
    /// # Errors
    /// [`XdpError`] when the map can't be read.
    pub fn drop_counters(&self) -> Result<Vec<(&'static str, u64)>, XdpError> {
        Ok(Vec::new())
    }
    /// The interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }
    /// Where it is attached.
    pub fn mode(&self) -> AttachedMode {
        self.mode
    }
    /// One line for people: the mode and why this one.
    pub fn describe(&self) -> &str {
        ""
    }
}
