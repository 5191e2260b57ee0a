//! The network interface of an address, as the kernel knows it (rtnetlink(7)).

use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};

use super::StartError;

/// Largest frame with its UDP header; the IP header comes on top. An interface with a smaller MTU drops full frames.
const MAX_DATAGRAM_BYTES: u32 = lattice_wire::MAX_FRAME_BYTES as u32 + 8;

/// An interface that frames can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Kernel's index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Receive queues.
    pub receive_queues: u32,
}

/// Opens a netlink socket, served by a task of the control thread.
///
/// # Errors
/// [`StartError::Netlink`]: the kernel gave none.
pub fn netlink() -> Result<Handle, StartError> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|error| StartError::Netlink(error.to_string()))?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Finds the interface called `name`, or else the one that has `address`.
///
/// # Errors
/// [`StartError::Interface`]: there is none, or it is not fit; [`StartError::Netlink`]: the kernel did not answer.
pub async fn find(handle: &Handle, name: Option<&str>, address: IpAddr) -> Result<Interface, StartError> {
    let link = match name {
        Some(name) => link_by_name(handle, name).await?,
        None => link_by_address(handle, address).await?,
    };
    describe(&link, MAX_DATAGRAM_BYTES + if address.is_ipv6() { 40 } else { 20 })
}

async fn link_by_name(handle: &Handle, name: &str) -> Result<LinkMessage, StartError> {
    let found = handle.link().get().match_name(name).execute().try_next().await;
    found.ok().flatten().ok_or_else(|| StartError::Interface {
        reason: format!("there is no interface {name}"),
        remedy: "correct network.interface (`ip link` lists them), or leave it out".to_owned(),
    })
}

async fn link_by_address(handle: &Handle, address: IpAddr) -> Result<LinkMessage, StartError> {
    let failed = |error: rtnetlink::Error| StartError::Netlink(error.to_string());
    let owner =
        handle.address().get().set_address_filter(address).execute().try_next().await.map_err(failed)?;
    let owner = owner.ok_or_else(|| StartError::Interface {
        reason: format!("no interface of this host has the address {address}"),
        remedy: "correct network.address (`ip address` lists them), or bring the interface up".to_owned(),
    })?;
    let link =
        handle.link().get().match_index(owner.header.index).execute().try_next().await.map_err(failed)?;
    link.ok_or_else(|| StartError::Netlink(format!("interface {} has vanished", owner.header.index)))
}

fn describe(link: &LinkMessage, needed_mtu_bytes: u32) -> Result<Interface, StartError> {
    let mut interface =
        Interface { index: link.header.index, name: format!("#{}", link.header.index), receive_queues: 1 };
    let mut mtu_bytes = u32::MAX;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => mtu_bytes = *mtu,
            LinkAttribute::NumRxQueues(queues) => interface.receive_queues = (*queues).max(1),
            _ => {}
        }
    }
    if mtu_bytes < needed_mtu_bytes {
        return Err(StartError::Interface {
            reason: format!(
                "interface {} has an MTU of {mtu_bytes} bytes, full frames need {needed_mtu_bytes}",
                interface.name
            ),
            remedy: format!("run `ip link set {} mtu {needed_mtu_bytes}`", interface.name),
        });
    }
    Ok(interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loopback_is_found_by_address_and_by_name() {
        let handle = netlink().expect("netlink is there on every Linux");
        let by_address =
            find(&handle, None, "127.0.0.1".parse().expect("an address")).await.expect("loopback");
        let by_name =
            find(&handle, Some("lo"), "203.0.113.77".parse().expect("an address")).await.expect("loopback");
        assert_eq!(by_address, by_name);
        assert_eq!((by_address.index, by_address.name.as_str()), (1, "lo"));
        assert!(by_address.receive_queues >= 1);
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_with_a_remedy() {
        let handle = netlink().expect("netlink is there on every Linux");
        let nobodys = "203.0.113.77".parse().expect("an address"); // RFC 5737: documentation, on no host
        for name in [None, Some("no-such-if")] {
            let error = find(&handle, name, nobodys).await.expect_err("not there");
            assert!(matches!(&error, StartError::Interface { .. }), "{error}");
            assert!(error.to_string().contains("correct network."), "{error}");
        }
    }
}
