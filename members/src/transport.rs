//! QUIC: the one endpoint of a daemon, and the settings of its connections.
//!
//! Bounds: what an unauthenticated sender can make this node do is what stands here and in [`Gate`]: at most so many
//! handshakes a second and at a time, so many bytes kept for those that wait, and from a certain number under way only for
//! who has shown that it receives at its address (a QUIC retry, which keeps no state).

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt,
};

use crate::MembersError;
use crate::pki::Credentials;

/// Silence after which a connection is over: twice the time within which a death is noticed.
const IDLE_TIMEOUT_MS: u32 = 4_000;
/// Period of packets on a connection that has nothing else to send.
const KEEP_ALIVE: Duration = Duration::from_millis(1_000);
/// What a round trip is taken for before one was measured: a lost first packet is sent again after some 60 ms.
const INITIAL_RTT: Duration = Duration::from_millis(20);
/// Streams that a peer may have open: one for the hello, the others for later versions.
const MAX_STREAMS: u32 = 4;
/// Bytes that a peer may have sent on streams and nobody has read.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// Bytes of datagrams that may wait on the way in and on the way out.
const DATAGRAM_BUFFER_BYTES: usize = 64 << 10;
/// Handshakes that may wait to be looked at, and bytes kept for them.
const MAX_WAITING: usize = 256;
const WAITING_BYTES: u64 = 16 << 10;
const WAITING_BYTES_IN_ALL: u64 = 512 << 10;
/// Handshakes a second, and how many may come at once: a cluster of a hundred that starts anew.
const HANDSHAKES_PER_S: f64 = 100.0;
const HANDSHAKE_BURST: f64 = 256.0;
/// Handshakes under way at a time, and from how many on who dials must prove its address first.
const MAX_HANDSHAKES: usize = 64;
const RETRY_FROM: usize = 16;

/// Opens the endpoint.
pub(crate) fn open(address: SocketAddr, credentials: &Credentials) -> Result<Endpoint, MembersError> {
    let failed = |source| MembersError::Socket { address, source };
    let socket = UdpSocket::bind(address).map_err(failed)?;
    let config = server_config(credentials)?;
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime)).map_err(failed)
}

/// Settings of the side that is dialled.
pub(crate) fn server_config(credentials: &Credentials) -> Result<ServerConfig, MembersError> {
    let tls = credentials.server_config().map_err(MembersError::Tls)?;
    let tls = QuicServerConfig::try_from(tls).map_err(|error| MembersError::Tls(error.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(Arc::new(transport()))
        .migration(false)
        .max_incoming(MAX_WAITING)
        .incoming_buffer_size(WAITING_BYTES)
        .incoming_buffer_size_total(WAITING_BYTES_IN_ALL);
    Ok(config)
}

/// Settings of the side that dials.
pub(crate) fn client_config(credentials: &Credentials) -> Result<ClientConfig, MembersError> {
    let tls = credentials.client_config().map_err(MembersError::Tls)?;
    let tls = QuicClientConfig::try_from(tls).map_err(|error| MembersError::Tls(error.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(INITIAL_RTT)
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES * MAX_STREAMS))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        // Packets of 1,200 bytes go through every network that carries QUIC; there is no bulk to gain from longer ones.
        .mtu_discovery_config(None)
        .enable_segmentation_offload(false);
    transport
}

/// What to do with somebody who dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Go on with the handshake.
    Accept,
    /// Have it prove its address first.
    Retry,
    /// No answer.
    Ignore,
}

/// Counts handshakes, by time and under way.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Handshakes that may begin at once.
    allowance: f64,
    counted: Instant,
}

impl Gate {
    pub(crate) fn new(now: Instant) -> Self {
        Self { allowance: HANDSHAKE_BURST, counted: now }
    }

    /// Decides on one more, with `under_way` others; `is_validated`: it has proved its address.
    pub(crate) fn admit(&mut self, now: Instant, under_way: usize, is_validated: bool) -> Admission {
        let elapsed_s = now.saturating_duration_since(self.counted).as_secs_f64();
        self.counted = now;
        self.allowance = (self.allowance + elapsed_s * HANDSHAKES_PER_S).min(HANDSHAKE_BURST);
        if under_way >= MAX_HANDSHAKES {
            return Admission::Ignore;
        }
        if under_way >= RETRY_FROM && !is_validated {
            return Admission::Retry;
        }
        if self.allowance < 1.0 {
            return Admission::Ignore;
        }
        self.allowance -= 1.0;
        Admission::Accept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_in_and_then_so_many_a_second() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        let count = |gate: &mut Gate, at| {
            (0..1_000).filter(|_| gate.admit(at, 0, false) == Admission::Accept).count()
        };
        assert_eq!(count(&mut gate, start), 256);
        assert_eq!(count(&mut gate, start + Duration::from_millis(500)), 50);
        assert_eq!(count(&mut gate, start + Duration::from_secs(60)), 256);
    }

    #[test]
    fn while_many_are_under_way_addresses_are_proved_first() {
        let now = Instant::now();
        let mut gate = Gate::new(now);
        assert_eq!(gate.admit(now, RETRY_FROM - 1, false), Admission::Accept);
        assert_eq!(gate.admit(now, RETRY_FROM, false), Admission::Retry);
        assert_eq!(gate.admit(now, RETRY_FROM, true), Admission::Accept);
        assert_eq!(gate.admit(now, MAX_HANDSHAKES, true), Admission::Ignore);
    }
}
