//! The network that joins the hosts of a cluster: made from their plans, unkind on request, removed on drop.
//!
//! See the picture in the crate's documentation. The fabrics behave alike towards a test; what they can do differs:
//!
//! | fabric | needs | cut | loss, copies, reordering |
//! |---|---|---|---|
//! | [`Fabric::Wire`] | root | no | no |
//! | [`Fabric::Bridge`] | root | the link goes down, as when a cable is pulled | no |
//! | [`Fabric::Switch`] | root | frames are dropped, the link stays up | yes, seeded |
//! | [`Fabric::Loopback`] | nothing | frames are dropped | yes, seeded |

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::config::HostPlan;
use crate::fault::{Controls, Faults, ForwardCounts};
use crate::namespace::Namespace;
use crate::packet::disable_checksum_offload;
use crate::relay::Relay;
use crate::switch::{Switch, mac};

/// The interface of a host, as it is called inside its namespace.
pub const HOST_INTERFACE: &str = "eth0";

/// The most hosts of a cluster: the last byte of addresses numbers them, and nothing here was tried with more.
pub const MAX_HOSTS: usize = 15;

/// What joins the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fabric {
    /// Two namespaces joined by one veth pair and nothing between: the shortest way that frames can take, for benches.
    Wire,
    /// Namespaces joined by the kernel's bridge: for healthy runs and for links that are cut.
    Bridge,
    /// Namespaces joined by this process ([`crate::switch`]): for all faults.
    Switch,
    /// One namespace, loopback addresses, joined by this process ([`crate::relay`]): for machines without root.
    Loopback,
}

/// A built network; removed when dropped.
#[derive(Debug)]
pub struct Network {
    // Dropped in this order: the forwarder first, then the namespaces that it works in.
    joint: Joint,
    hosts: Vec<Namespace>,
}

#[derive(Debug)]
enum Joint {
    Wire,
    Bridge { namespace: Namespace },
    Switch { switch: Switch, _namespace: Namespace },
    Loopback { relay: Relay },
}

impl Network {
    /// Builds the network for these hosts. `seed` and `faults` matter to the fabrics that can do faults.
    pub fn build(fabric: Fabric, plans: &[HostPlan], faults: Faults, seed: u64) -> Result<Network> {
        if plans.len() > MAX_HOSTS {
            bail!("{} hosts: more than {MAX_HOSTS}", plans.len());
        }
        if matches!(fabric, Fabric::Bridge | Fabric::Wire) && faults != Faults::NONE {
            bail!("the kernel's own links have no faults: use Fabric::Switch");
        }
        let controls = Controls::new(plans.len(), faults);
        if fabric == Fabric::Loopback {
            let joint = Joint::Loopback { relay: Relay::start(plans, controls, seed)? };
            return Ok(Network { joint, hosts: Vec::new() });
        }
        if fabric == Fabric::Wire {
            return Ok(Network { joint: Joint::Wire, hosts: make_wired_hosts(plans)? });
        }
        let middle = Namespace::create("switch")?;
        let hosts = plans
            .iter()
            .enumerate()
            .map(|(index, plan)| make_host(index, plan, &middle))
            .collect::<Result<Vec<_>>>()?;
        let joint = if fabric == Fabric::Bridge {
            make_bridge(&middle, plans.len())?;
            Joint::Bridge { namespace: middle }
        } else {
            let interfaces: Vec<String> = (0..plans.len()).map(port_name).collect();
            let switch = Switch::start(&middle, &interfaces, controls, seed)?;
            Joint::Switch { switch, _namespace: middle }
        };
        Ok(Network { joint, hosts })
    }

    /// A command that runs `program` on a host.
    pub fn command(&self, host: usize, program: &Path) -> Result<Command> {
        match self.hosts.get(host) {
            Some(namespace) => namespace.command(program),
            None => Ok(Command::new(program)),
        }
    }

    /// Calls `body` on a thread that sees the network as a host does.
    pub fn enter<T: Send>(&self, host: usize, body: impl FnOnce() -> T + Send) -> Result<T> {
        match self.hosts.get(host) {
            Some(namespace) => namespace.enter(body),
            None => Ok(body()),
        }
    }

    /// Runs `ip` on a host, with the given arguments separated by blanks. Fails over loopback, where hosts have nothing
    /// of their own.
    pub fn ip(&self, host: usize, arguments: &str) -> Result<String> {
        self.hosts.get(host).context("no namespaces over loopback")?.ip(arguments)
    }

    /// Cuts a host off from all others.
    pub fn cut(&self, host: usize) -> Result<()> {
        self.set_cut(host, true)
    }

    /// Joins a host that was cut off.
    pub fn join(&self, host: usize) -> Result<()> {
        self.set_cut(host, false)
    }

    /// Cuts the frames of a host's daemon and nothing else, or lets them pass again: the members' sessions go on meanwhile.
    /// Fails on the kernel's own links.
    pub fn mute(&self, host: usize, mute: bool) -> Result<()> {
        self.controls()
            .context("the kernel's own links cut all or nothing: use Fabric::Switch")?
            .set_mute(host, mute);
        Ok(())
    }

    /// Puts other faults in force, from the next frame on. Fails on the kernel's own links, which have none.
    pub fn set_faults(&self, faults: Faults) -> Result<()> {
        self.controls()
            .context("the kernel's own links have no faults: use Fabric::Switch")?
            .set_faults(faults);
        Ok(())
    }

    /// Begins to keep a copy of each frame between hosts. Fails on the kernel's own links, which nobody looks into.
    pub fn capture(&self) -> Result<()> {
        self.controls().context("nobody looks into the kernel's own links: use Fabric::Switch")?.capture();
        Ok(())
    }

    /// Ends that; returns the copies in the order of their coming: of Fabric::Switch as they are on the link, over loopback
    /// what UDP carries.
    pub fn captured(&self) -> Vec<Box<[u8]>> {
        self.controls().map(Controls::captured).unwrap_or_default()
    }

    /// What the forwarder did so far; nothing is known of the kernel's own links.
    pub fn counts(&self) -> Option<ForwardCounts> {
        self.controls().map(Controls::counts)
    }

    fn controls(&self) -> Option<&Controls> {
        match &self.joint {
            Joint::Wire | Joint::Bridge { .. } => None,
            Joint::Switch { switch, .. } => Some(switch.controls()),
            Joint::Loopback { relay } => Some(relay.controls()),
        }
    }

    fn set_cut(&self, host: usize, cut: bool) -> Result<()> {
        match (&self.joint, self.controls()) {
            (Joint::Bridge { namespace }, _) => {
                let state = if cut { "down" } else { "up" };
                namespace.ip(&format!("link set {} {state}", port_name(host))).map(drop)
            }
            (_, Some(controls)) => {
                controls.set_cut(host, cut);
                Ok(())
            }
            (_, None) => bail!("this fabric can't cut a host off"),
        }
    }
}

/// The switch-side end of a host's link.
fn port_name(host: usize) -> String {
    format!("port{}", host + 1)
}

/// Makes a host's namespace with its link to the switch and its address, ready to send.
fn make_host(index: usize, plan: &HostPlan, middle: &Namespace) -> Result<Namespace> {
    let namespace = Namespace::create(&plan.name)?;
    let port = port_name(index);
    middle.ip(&format!(
        "link add {port} type veth peer name {HOST_INTERFACE} address {} netns {}",
        mac_text(index),
        namespace.name()
    ))?;
    bring_up(middle, &port)?;
    bring_up(&namespace, HOST_INTERFACE)?;
    set_address(&namespace, plan)?;
    Ok(namespace)
}

/// Makes two hosts whose interfaces are the two ends of one pair.
fn make_wired_hosts(plans: &[HostPlan]) -> Result<Vec<Namespace>> {
    let [left, right] = plans else { bail!("a wire has two ends, not {}", plans.len()) };
    let hosts = [Namespace::create(&left.name)?, Namespace::create(&right.name)?];
    hosts[0].ip(&format!(
        "link add {HOST_INTERFACE} address {} type veth peer name {HOST_INTERFACE} address {} netns {}",
        mac_text(0),
        mac_text(1),
        hosts[1].name()
    ))?;
    for (host, plan) in hosts.iter().zip(plans) {
        bring_up(host, HOST_INTERFACE)?;
        set_address(host, plan)?;
    }
    Ok(hosts.into())
}

/// Lets an interface carry frames.
fn bring_up(namespace: &Namespace, interface: &str) -> Result<()> {
    let done: io::Result<()> = namespace.enter(|| disable_checksum_offload(interface))?;
    done.with_context(|| format!("can't switch off checksum offload of {interface}"))?;
    namespace.ip(&format!("link set {interface} up")).map(drop)
}

fn mac_text(host: usize) -> String {
    mac(host).map(|byte| format!("{byte:02x}")).join(":")
}

fn set_address(namespace: &Namespace, plan: &HostPlan) -> Result<()> {
    let (prefix_bits, flags) = match plan.address {
        IpAddr::V4(_) => (24, ""),
        // Without duplicate address detection the address can be bound at once.
        IpAddr::V6(_) => (64, "nodad"),
    };
    namespace
        .ip(&format!("address add {}/{prefix_bits} dev {HOST_INTERFACE} {flags}", plan.address))
        .map(drop)
}

/// Joins all switch-side ends by a bridge that forwards from the first moment: no spanning tree, no listening delay.
fn make_bridge(middle: &Namespace, hosts: usize) -> Result<()> {
    middle.ip("link add bridge type bridge stp_state 0 forward_delay 0 mcast_snooping 0")?;
    for host in 0..hosts {
        middle.ip(&format!("link set {} master bridge", port_name(host)))?;
    }
    middle.ip("link set bridge up").map(drop)
}
