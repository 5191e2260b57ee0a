//! Two hosts and a wire: network namespaces joined by a veth pair. Gone when dropped.

use std::fs::File;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The interface's name in both namespaces.
pub const INTERFACE: &str = "wire0";
/// Interface addresses of the two sides.
pub const MACS: [[u8; 6]; 2] = [[0x02, 0, 0, 0, 0, 0x0A], [0x02, 0, 0, 0, 0, 0x0B]];

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A veth pair across two namespaces, with both families' addresses and static neighbours.
pub struct Veth {
    /// Names of the two namespaces.
    pub namespaces: [String; 2],
}

/// Address of a side (0 or 1), or of a stranger who lives on side 0 (2).
pub fn address(host: usize, ipv6: bool) -> IpAddr {
    let text = if ipv6 { format!("fd00:77::{}", host + 1) } else { format!("10.77.0.{}", host + 1) };
    text.parse().unwrap()
}

impl Veth {
    pub fn new(queues: u32) -> Veth {
        // Relaxed: the counter only has to be different each time.
        let unique = format!("ltp{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let veth = Veth { namespaces: [format!("{unique}a"), format!("{unique}b")] };
        for namespace in &veth.namespaces {
            ip(&format!("netns add {namespace}"));
        }
        let [a, b] = &veth.namespaces;
        let queues = format!("numrxqueues {queues} numtxqueues {queues}");
        ip(&format!(
            "link add {INTERFACE} address {} netns {a} {queues} type veth peer name {INTERFACE} address {} netns {b} {queues}",
            mac_text(0),
            mac_text(1)
        ));
        for (side, namespace) in veth.namespaces.iter().enumerate() {
            let other = 1 - side;
            for ipv6 in [false, true] {
                let prefix = if ipv6 { "64 nodad" } else { "24" };
                ip(&format!("-n {namespace} address add {}/{prefix} dev {INTERFACE}", address(side, ipv6)));
            }
            ip(&format!("-n {namespace} link set {INTERFACE} up"));
            for ipv6 in [false, true] {
                let (neighbour, mac) = (address(other, ipv6), mac_text(other));
                ip(&format!("-n {namespace} neigh replace {neighbour} lladdr {mac} dev {INTERFACE}"));
            }
        }
        for ipv6 in [false, true] {
            let (prefix, stranger) = (if ipv6 { "64 nodad" } else { "24" }, address(2, ipv6));
            ip(&format!("-n {a} address add {stranger}/{prefix} dev {INTERFACE}"));
        }
        veth
    }

    /// Takes the interface of `side` down or up.
    pub fn set_link(&self, side: usize, up: bool) {
        let state = if up { "up" } else { "down" };
        ip(&format!("-n {} link set {INTERFACE} {state}", self.namespaces[side]));
    }

    /// Lets `side` send no faster than this (tc-tbf(8)); what is too much waits, and is charged to its socket.
    pub fn limit_rate(&self, side: usize, rate: &str) {
        let namespace = &self.namespaces[side];
        let limit =
            format!("-n {namespace} qdisc add dev {INTERFACE} root tbf rate {rate} burst 16k limit 8m");
        let output =
            Command::new("tc").args(limit.split_whitespace()).output().expect("tc (apt package iproute2)");
        assert!(output.status.success(), "tc {limit}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs `f` on a thread of its own inside the namespace of `side`.
    pub fn on<T: Send>(&self, side: usize, f: impl FnOnce() -> T + Send) -> T {
        inside(&self.namespaces[side], f)
    }
}

/// Runs `f` on a thread of its own inside a named namespace. What it opens there stays there.
pub fn inside<T: Send>(namespace: &str, f: impl FnOnce() -> T + Send) -> T {
    let handle = File::open(format!("/var/run/netns/{namespace}")).unwrap();
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&handle), Some(LinkNameSpaceType::Network))
                .unwrap();
            f()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl Drop for Veth {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            // Not `ip()`: a drop that panics during a panic would hide the first one.
            let _ = Command::new("ip").args(["netns", "delete", namespace]).status();
        }
    }
}

fn mac_text(side: usize) -> String {
    MACS[side].map(|byte| format!("{byte:02x}")).join(":")
}

fn ip(arguments: &str) {
    let output =
        Command::new("ip").args(arguments.split_whitespace()).output().expect("ip (apt package iproute2)");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
