//! Counters of a port, and the law that its frames obey.

/// Defines [`PortStats`] and, from the same list, the names and values that metrics publish.
macro_rules! port_stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters since a port was opened. Those that a kind of port can't have stay 0.
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        pub struct PortStats {
            $($(#[$doc])* pub $name: u64,)*
            /// Where the frames of the port's memory are.
            pub frames: FrameCensus,
        }

        impl PortStats {
            /// Names of the counters, in the order of [`PortStats::values`].
            pub const NAMES: &'static [&'static str] = &[$(concat!("port_", stringify!($name)),)*];

            /// Values of the counters, in the order of [`PortStats::NAMES`].
            pub fn values(&self) -> [u64; PortStats::NAMES.len()] {
                [$(self.$name,)*]
            }
        }
    };
}

port_stats! {
    /// Frames handed to `deliver`.
    received,
    /// Bytes of those frames.
    received_bytes,
    /// Frames handed to the kernel.
    transmitted,
    /// Bytes of those frames.
    transmitted_bytes,
    /// Received and dropped: the source is not a peer (AF_XDP: the XDP program counts these instead).
    unknown_source,
    /// Received and dropped: longer than a frame can be.
    oversize,
    /// Received and dropped: not Ethernet, IP and UDP of consistent lengths.
    malformed,
    /// `transmit` refused: full.
    transmit_full,
    /// `transmit` refused: no route.
    transmit_no_route,
    /// `transmit` refused: too long.
    transmit_too_long,
    /// Queued frames that the kernel refused to send; dropped.
    transmit_failed,
    /// System calls that sent frames or woke the transmit side.
    transmit_kicks,
    /// Receive batches that found the fill ring without room; the frames wait with the port.
    fill_ring_full,
    /// Kernel: frames dropped because the fill ring was empty.
    fill_ring_empty,
    /// Kernel: frames dropped because the receive ring was full.
    receive_ring_full,
    /// Kernel: frames dropped for other reasons.
    receive_dropped,
    /// Kernel: descriptors refused, received and transmitted; a bug in this port.
    invalid_descriptors,
    /// Descriptors that the kernel returned although this port did not lend them; ignored. A bug, here or there.
    foreign_descriptors,
}

/// Where the frames of an AF_XDP port's memory are. All zero for other ports.
///
/// ```text
///   receive half:   held (being delivered, or waiting for room) ──fill──> kernel_receive ──receive──> held
///   transmit half:  free ──transmit──> queued ──flush──> kernel_transmit ──completion──> free
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct FrameCensus {
    /// All frames of the memory.
    pub total: u64,
    /// Free to transmit with.
    pub free: u64,
    /// Received, not yet back in the fill ring.
    pub held: u64,
    /// Written, not yet in the transmit ring.
    pub queued: u64,
    /// In the fill ring, with the driver, or in the receive ring.
    pub kernel_receive: u64,
    /// In the transmit ring, on the wire, or in the completion ring.
    pub kernel_transmit: u64,
}

impl FrameCensus {
    /// Checks that no frame was lost and none is in two places: frames in = frames out + frames owned.
    ///
    /// # Errors
    /// [`FrameImbalance`] with the census that does not add up.
    pub fn check(&self) -> Result<(), FrameImbalance> {
        let found = self.free + self.held + self.queued + self.kernel_receive + self.kernel_transmit;
        if found == self.total { Ok(()) } else { Err(FrameImbalance { census: *self, found }) }
    }
}

/// Frames were lost or doubled: a bug in a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{found} frames found where there are {}: {census:?}", census.total)]
pub struct FrameImbalance {
    /// The counts that do not add up.
    pub census: FrameCensus,
    /// Their sum.
    pub found: u64,
}
