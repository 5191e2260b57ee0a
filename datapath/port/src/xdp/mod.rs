//! AF_XDP.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use lattice_bpf::XdpProgram;

use crate::{OpenError, PeerSlot, Port, PortError, PortMode, PortStats, Received, Route, TransmitError};

/// What an [`XdpPort`] is opened with. The interface and the mode are the program's.
#[derive(Clone, Debug)]
pub struct XdpConfig {
    /// Receive and transmit queue of the interface.
    pub queue: u32,
    /// Own address, the source of every frame.
    pub local: IpAddr,
    /// Addresses of the peers, in slot order.
    pub peers: Vec<IpAddr>,
    /// Frames of 2 KiB in the shared memory, half to receive and half to transmit: a power of two, 128..=65536.
    pub umem_frames: u32,
}

/// Frames over one AF_XDP socket.
pub struct XdpPort {}

impl XdpPort {
    /// Opens a socket on one queue of the program's interface and enters it in the program's map.
    ///
    /// # Errors
    /// [`OpenError`]; nothing stays behind.
    pub fn open(config: XdpConfig, program: &mut XdpProgram) -> Result<XdpPort, OpenError> {
        Err(OpenError::Config(format!("{config:?} {}", program.interface())))
    }
}

impl Port for XdpPort {
    fn mode(&self) -> PortMode {
        PortMode::XdpDriver
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
