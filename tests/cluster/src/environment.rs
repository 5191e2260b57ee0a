//! What this machine allows: root, network namespaces, AF_XDP; and what a test does when it does not.
//!
//! A test that silently passes because it could not run is worse than none. So where the variable `CI` is set, a missing
//! right fails the test; elsewhere (a laptop, a container) the test prints `skipped` with the reason and returns.

use std::sync::OnceLock;

use rustix::net::{AddressFamily, SocketType, socket};

use crate::namespace;

/// What was found out about this machine, once per process.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Network namespaces can be made and joined; otherwise the reason why not.
    pub namespaces: Result<(), String>,
    /// AF_XDP sockets can be opened; otherwise the reason why not. (Whether the driver takes the program is the
    /// daemon's to find out; it says so on its `ready` line.)
    pub af_xdp: Result<(), String>,
}

impl Environment {
    /// Probes the machine by doing the thing: a namespace is made and removed, an AF_XDP socket opened and closed.
    pub fn probe() -> &'static Environment {
        static FOUND: OnceLock<Environment> = OnceLock::new();
        FOUND.get_or_init(|| Environment { namespaces: probe_namespaces(), af_xdp: probe_af_xdp() })
    }

    /// The first reason why hosts can't be namespaces on AF_XDP here, or `None` when they can.
    pub fn obstacle(&self) -> Option<&str> {
        self.namespaces.as_ref().err().or(self.af_xdp.as_ref().err()).map(String::as_str)
    }
}

/// Whether this run must not skip anything: the variable `CI` is set and not empty.
pub fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// True when the test may go on. Otherwise it is skipped, visibly; in CI it fails instead.
///
/// # Panics
/// In CI, when the requirement is not met.
pub fn require(requirement: &Result<(), String>) -> bool {
    match requirement {
        Ok(()) => true,
        Err(reason) if is_ci() => panic!("CI must be able to run this test: {reason}"),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            false
        }
    }
}

fn probe_namespaces() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not root: network namespaces need it".into());
    }
    let namespace = namespace::Namespace::create("probe").map_err(|error| format!("{error:#}"))?;
    namespace.enter(|| ()).map_err(|error| format!("{error:#}"))
}

fn probe_af_xdp() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("not root: AF_XDP needs CAP_NET_RAW and CAP_BPF".into());
    }
    socket(AddressFamily::XDP, SocketType::RAW, None)
        .map(drop)
        .map_err(|error| format!("no AF_XDP sockets in this kernel: {error}"))
}
