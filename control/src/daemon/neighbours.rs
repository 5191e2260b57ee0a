//! Next hops of the peers, for ports that write Ethernet headers themselves (AF_XDP).
//!
//! ```text
//!   route lookup ──> next hop's address ──> neighbour table ──> its MAC ──> workers (Command::SetRoute)
//!                    (gateway, or the peer)      │ absent, or not confirmed lately
//!                                                └──> a datagram to the peer's discard port: the kernel resolves it
//! ```
//!
//! The kernel resolves and confirms neighbours only for its own traffic, and AF_XDP frames are not its own. So whenever an
//! entry is absent or no longer confirmed, one UDP datagram to the peer's discard port (RFC 863) makes the kernel ask by
//! ARP or neighbour discovery; an answer arrives as a neighbour event, which is looked at at once. At the start, and
//! while any peer is unresolved, the table is read again after 1, 2, 4 … ms; when all are known, every
//! `neighbour_refresh_ms`.
//!
//! A route that was known once is replaced, never withdrawn: when an entry fails, because the link is cut say, the last
//! known MAC is still the best guess, and the frames flow again in the moment that the link heals.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use lattice_port::{PeerSlot, Route};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute};
use rtnetlink::{Handle, MulticastGroup, RouteMessageBuilder};
use tokio::net::UdpSocket;

use super::StartError;
use super::interface::Interface;
use super::roster::Roster;
use super::workers::Workers;

/// The discard protocol's port (RFC 863): a datagram there asks for nothing and harms nobody.
const DISCARD_PORT: u16 = 9;
/// First pause while a peer is unresolved; doubles up to [`SLOWEST_RETRY`].
const FASTEST_RETRY: Duration = Duration::from_millis(1);
/// Longest pause while a peer is unresolved.
const SLOWEST_RETRY: Duration = Duration::from_millis(500);
/// Shortest time between two looks that neighbour events ask for: a busy table must not keep the thread busy.
const EVENT_GAP: Duration = Duration::from_millis(5);

/// An Ethernet address.
type Mac = [u8; 6];

/// The routes that workers have been told, by peer slot; shared with the status.
#[derive(Clone, Debug, Default)]
pub struct KnownRoutes(Arc<Mutex<HashMap<u16, Mac>>>);

impl KnownRoutes {
    /// The next hop of a peer, as text.
    #[must_use]
    pub fn text(&self, slot: u16) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&slot).map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"))
    }

    fn get(&self, slot: u16) -> Option<Mac> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&slot).copied()
    }

    /// The peer has moved: what was known leads elsewhere.
    pub fn forget(&self, slot: u16) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&slot);
    }

    fn set(&self, slot: u16, mac: Mac) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(slot, mac);
    }
}

/// Keeps the workers' routes up to date.
pub struct Neighbours {
    handle: Handle,
    interface: Interface,
    local: IpAddr,
    roster: Roster,
    provoker: UdpSocket,
    refresh: Duration,
    workers: Arc<Workers>,
    known: KnownRoutes,
}

impl Neighbours {
    /// Prepares to watch the next hops of the roster's peers on one interface.
    ///
    /// # Errors
    /// [`StartError::System`]: no socket to provoke resolution with.
    pub async fn new(
        handle: Handle,
        interface: Interface,
        local: IpAddr,
        roster: Roster,
        refresh: Duration,
        workers: Arc<Workers>,
        known: KnownRoutes,
    ) -> Result<Self, StartError> {
        let provoker = UdpSocket::bind(SocketAddr::new(local, 0)).await.map_err(|source| {
            StartError::System { step: "opening a socket to resolve peers with", source }
        })?;
        Ok(Self { handle, interface, local, roster, provoker, refresh, workers, known })
    }

    /// Runs until the task is dropped.
    pub async fn run(self) {
        let mut events = neighbour_events();
        let mut retry = FASTEST_RETRY;
        loop {
            let pause = match self.look().await {
                Ok(true) => {
                    retry = FASTEST_RETRY;
                    self.refresh
                }
                Ok(false) => {
                    retry = (retry * 2).min(SLOWEST_RETRY);
                    retry / 2
                }
                Err(error) => {
                    tracing::warn!(%error, "the kernel's neighbour table could not be read; trying again");
                    SLOWEST_RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.roster.changed() => retry = FASTEST_RETRY,
                Some(()) = events.recv() => {
                    tokio::time::sleep(EVENT_GAP.min(pause)).await;
                    while events.try_recv().is_ok() {}
                }
            }
        }
    }

    /// Reads the table once, tells the workers what changed and provokes what is not confirmed. True: all peers known.
    async fn look(&self) -> Result<bool, rtnetlink::Error> {
        let table = self.table().await?;
        let mut all_known = true;
        let addresses = self.roster.entries().into_iter().map(|entry| entry.address);
        // Who has not been met in this run is nowhere yet.
        for (slot, peer) in (0u16..).zip(addresses).filter(|(_, peer)| !peer.is_unspecified()) {
            let next_hop = self.next_hop(peer).await.unwrap_or(peer);
            let entry = table.get(&next_hop);
            if let Some(mac) = entry.and_then(|entry| entry.mac) {
                self.tell(slot, peer, mac);
            }
            all_known &= self.known.get(slot).is_some();
            if !entry.is_some_and(|entry| entry.mac.is_some() && entry.confirmed) {
                // An error here is the network being away: the next look tries again.
                let _ = self.provoker.try_send_to(&[], SocketAddr::new(peer, DISCARD_PORT));
            }
        }
        Ok(all_known)
    }

    /// Tells the workers a route that is new. One that a worker could not be told is not remembered, so it is told again.
    fn tell(&self, slot: u16, peer: IpAddr, mac: Mac) {
        if self.known.get(slot) == Some(mac) {
            return;
        }
        if self.workers.set_route(PeerSlot(slot), Route { next_hop_mac: mac }) {
            self.known.set(slot, mac);
            tracing::info!(%peer, next_hop = self.known.text(slot), "next hop is known");
        }
    }

    /// The usable and confirmed entries of this interface, by address.
    async fn table(&self) -> Result<HashMap<IpAddr, Entry>, rtnetlink::Error> {
        let family = if self.local.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let mut messages = self.handle.neighbours().get().set_address_family(family).execute();
        let mut table = HashMap::new();
        while let Some(message) = messages.try_next().await? {
            if message.header.ifindex == self.interface.index {
                table.extend(entry(&message));
            }
        }
        Ok(table)
    }

    /// The address to which the kernel would send for `peer`: a gateway, or the peer itself.
    async fn next_hop(&self, peer: IpAddr) -> Option<IpAddr> {
        let full_prefix = if peer.is_ipv6() { 128 } else { 32 };
        let request =
            RouteMessageBuilder::<IpAddr>::new().destination_prefix(peer, full_prefix).ok()?.build();
        let route = self.handle.route().get(request).execute().try_next().await.ok()??;
        route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => Some(IpAddr::V4(*gateway)),
            RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) => Some(IpAddr::V6(*gateway)),
            _ => None,
        })
    }
}

/// One entry of the neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// Absent while the kernel is still asking, or when nobody answered.
    mac: Option<Mac>,
    /// The kernel has reason to believe in it now: nothing to provoke.
    confirmed: bool,
}

/// Address and entry of a message. Entries without an Ethernet address are taken as unresolved.
fn entry(message: &NeighbourMessage) -> Option<(IpAddr, Entry)> {
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Mac::try_from(bytes.as_slice()).ok(),
            _ => {}
        }
    }
    let state = message.header.state;
    let resolved = !matches!(
        state,
        NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::None | NeighbourState::Other(_)
    );
    let confirmed =
        matches!(state, NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp);
    Some((address?, Entry { mac: mac.filter(|_| resolved), confirmed }))
}

/// One unit for each change of the neighbour table, as many as fit; without rights to listen, none ever.
fn neighbour_events() -> tokio::sync::mpsc::Receiver<()> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    match rtnetlink::new_multicast_connection(&[MulticastGroup::Neigh]) {
        Ok((connection, _handle, mut messages)) => {
            tokio::spawn(connection);
            tokio::spawn(async move {
                // The handle keeps the connection alive.
                let _handle = _handle;
                while messages.next().await.is_some() {
                    // Full: a look is due already.
                    let _ = sender.try_send(());
                }
            });
        }
        Err(error) => tracing::debug!(%error, "no neighbour events; the table is read on a timer only"),
    }
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(state: NeighbourState, mac: &[u8]) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.state = state;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet([10, 0, 0, 2].into())),
            NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
        ];
        message
    }

    #[test]
    fn only_resolved_entries_have_an_address_and_only_fresh_ones_are_confirmed() {
        let mac = [2, 0, 0, 0, 0, 9];
        let cases = [
            (NeighbourState::Reachable, true, true),
            (NeighbourState::Permanent, true, true),
            (NeighbourState::Noarp, true, true),
            (NeighbourState::Stale, true, false),
            (NeighbourState::Delay, true, false),
            (NeighbourState::Probe, true, false),
            (NeighbourState::Incomplete, false, false),
            (NeighbourState::Failed, false, false),
        ];
        for (state, usable, confirmed) in cases {
            let (address, entry) = entry(&message(state, &mac)).expect("it has an address");
            assert_eq!(address, IpAddr::from([10, 0, 0, 2]));
            assert_eq!((entry.mac, entry.confirmed), (usable.then_some(mac), confirmed), "{state:?}");
        }
    }

    #[test]
    fn what_is_no_ethernet_address_is_unresolved() {
        assert_eq!(
            entry(&message(NeighbourState::Reachable, &[1, 2])).and_then(|(_, entry)| entry.mac),
            None
        );
        assert_eq!(entry(&NeighbourMessage::default()), None);
    }
}
