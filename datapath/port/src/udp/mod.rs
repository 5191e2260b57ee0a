//! UDP sockets.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::{OpenError, PeerSlot, Port, PortError, PortMode, PortStats, Received, Route, TransmitError};

/// What a [`UdpPort`] is bound to.
#[derive(Clone, Debug)]
pub struct UdpConfig {
    /// Own address; every socket is bound to it.
    pub local: IpAddr,
    /// Addresses of the peers, in slot order; also the list of sources that are let in.
    pub peers: Vec<IpAddr>,
    /// UDP ports of the shards that this worker owns.
    pub udp_ports: Vec<u16>,
}

/// Frames over kernel UDP sockets.
pub struct UdpPort {}

impl UdpPort {
    /// Binds one socket per UDP port.
    ///
    /// # Errors
    /// [`OpenError`]; nothing stays bound.
    pub fn bind(config: UdpConfig) -> Result<UdpPort, OpenError> {
        Err(OpenError::Config(format!("{config:?}")))
    }
}

impl Port for UdpPort {
    fn mode(&self) -> PortMode {
        PortMode::Udp
    }
    fn describe(&self) -> String {
        String::new()
    }
    fn receive(&mut self, _: usize, _: &mut dyn FnMut(Received<'_>)) -> Result<usize, PortError> {
        Ok(0)
    }
    fn transmit_room(&self) -> usize {
        0
    }
    fn transmit(&mut self, _: PeerSlot, _: u16, _: &[u8]) -> Result<(), TransmitError> {
        Err(TransmitError::Full)
    }
    fn flush(&mut self) -> Result<(), PortError> {
        Ok(())
    }
    fn wait(&mut self, _: Duration, _: BorrowedFd<'_>) -> Result<(), PortError> {
        Ok(())
    }
    fn set_route(&mut self, _: PeerSlot, _: Option<Route>) {}
    fn stats(&self) -> PortStats {
        PortStats::default()
    }
}
