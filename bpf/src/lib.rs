//! The XDP program that brings the cluster's frames to AF_XDP sockets, and its loader.
//!
//! The program is C (`latticed.bpf.c`: read its head for what it checks); this crate compiles it at build time, loads
//! it with its settings, attaches it and gives access to its maps.
//!
//! ```text
//!   Filter::load ──────> Filter ──attach──> XdpProgram ──drop, or the end of the process──> nothing left
//!   (settings, maps)       │                    │
//!                          └ test_run           ├ register_socket(queue, socket)   sockets: XSKMAP
//!                            (no network)       └ drop_counters()                  drops: per-CPU array
//! ```
//!
//! **Attached by `bpf_link`.** A program attached over netlink outlives its process, and would block the next daemon
//! after a kill -9. A link is a file descriptor: the kernel closes it with the process, and the program is gone. For
//! that reason nothing is pinned either.
//!
//! **Which mode.** Driver mode runs in the driver's receive path, before a socket buffer is made; generic mode works on
//! every interface and is slower. [`Mode::Auto`] tries them in that order, and [`XdpProgram::describe`] says which one it
//! is and why.
//!
//! What can go wrong: no rights (CAP_BPF and CAP_NET_ADMIN, or root, are needed until it is attached), no such
//! interface, another XDP program on it. Each is an [`XdpError`], after which nothing stays behind.

mod filter;
mod limits;
mod link;
mod reasons;

use std::io;
use std::net::IpAddr;

pub use filter::{Filter, Verdict};
pub use limits::{MAX_QUEUES, MAX_SOURCES, STRANGER_BURST, STRANGER_INTERVAL_NS};
pub use link::{AttachedMode, Mode, XdpProgram};
pub use reasons::DROP_REASONS;

/// What the program takes out of the interface's traffic, and whom it lets in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Own address: datagrams to other addresses (forwarded ones, containers') are not touched.
    pub local: IpAddr,
    /// Frames of another cluster are dropped.
    pub cluster_tag: u32,
    /// First UDP port of the cluster.
    pub port_base: u16,
    /// How many UDP ports, from `port_base` on; at least 1.
    pub port_count: u16,
    /// UDP port of the sessions, if there are any: what comes there from others than the sources is let through to the kernel, but
    /// no more than [`STRANGER_BURST`] and one each [`STRANGER_INTERVAL_NS`].
    pub control_port: Option<u16>,
    /// Sources that are let in: the peers' addresses, at most [`MAX_SOURCES`].
    pub sources: Vec<IpAddr>,
}

/// Why the program is not there, or a map of it refused.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// The settings contradict themselves or a limit. Nothing was loaded.
    #[error("XDP settings: {0}")]
    Config(&'static str),
    /// The kernel did not take the program. Nothing stays loaded.
    #[error("loading the XDP program: {0:#}")]
    Load(#[source] libbpf_rs::Error),
    /// There is no such interface in this network namespace. Nothing was attached.
    #[error("interface {interface}: {source}")]
    Interface {
        /// Its name.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// No mode that was asked for could be attached. Nothing stays attached.
    #[error("attaching the XDP program to {interface}: {reason}")]
    Attach {
        /// Its name.
        interface: String,
        /// Each mode that was tried, with what the kernel said.
        reason: String,
    },
    /// A map refused. It is unchanged.
    #[error("{operation}: {source:#}")]
    Map {
        /// What was attempted.
        operation: &'static str,
        /// What the kernel said.
        source: libbpf_rs::Error,
    },
    /// BPF_PROG_TEST_RUN was refused: no rights, or a packet shorter than an Ethernet header.
    #[error("running the XDP program on a test packet: {0}")]
    TestRun(#[source] io::Error),
}

/// The form of an address in the program's maps: IPv4 is mapped into IPv6 (::ffff:a.b.c.d).
fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
    .octets()
}
