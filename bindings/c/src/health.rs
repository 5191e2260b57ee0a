//! How the daemon is.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use lattice_client::DaemonState;

use crate::client::latticed_client;
use crate::edge::{call, given, place_for};
use crate::error::latticed_code;

/// Whether the daemon lives.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum latticed_daemon_state {
    /// Every worker's heartbeat is younger than the timeout.
    LATTICED_DAEMON_LIVE = 0,
    /// A worker has been silent for longer; its process is there.
    LATTICED_DAEMON_STALE = 1,
    /// A worker has been silent for longer, and the process is gone or has hung up.
    LATTICED_DAEMON_DEAD = 2,
    /// The segment was closed; no successor is attached yet.
    LATTICED_DAEMON_CLOSED = 3,
}

/// What latticed_health_of() found.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct latticed_health {
    /// Whether the daemon lives.
    pub state: latticed_daemon_state,
    /// True if writes can be enqueued.
    pub is_writable: bool,
    /// The daemon's node number.
    pub node: u16,
    /// The daemon's process.
    pub pid: u32,
    /// Age of the most silent worker's heartbeat in nanoseconds; UINT64_MAX if one never beat.
    pub heartbeat_age_ns: u64,
    /// The age at which the daemon wants to be called stale, in nanoseconds.
    pub heartbeat_timeout_ns: u64,
    /// Differs between any two starts of any daemon.
    pub incarnation: u64,
    /// How often this client has attached: 1 until the daemon's first restart.
    pub attachments: u64,
    /// The daemon's node name; ends with a zero byte.
    pub node_name: [c_char; 64],
}

/// How the daemon is. Also looks for a successor if it is gone, so a client that only reads should call this every now and then.
/// Costs a system call or two; never waits.
///
/// Errors: LATTICED_EINVAL.
#[unsafe(no_mangle)]
pub extern "C" fn latticed_health_of(
    client: Option<&latticed_client>,
    health: Option<&mut MaybeUninit<latticed_health>>,
) -> latticed_code {
    call(|| {
        let (client, place) = (given(client, "client")?, place_for(health, "health")?);
        let found = client.client.health();
        let ns = |age: std::time::Duration| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        let mut node_name = [0; 64];
        // The last byte stays zero.
        for (place, byte) in node_name[..63].iter_mut().zip(found.node_name.bytes()) {
            *place = byte as c_char;
        }
        place.write(latticed_health {
            state: match found.state {
                DaemonState::Live => latticed_daemon_state::LATTICED_DAEMON_LIVE,
                DaemonState::Stale => latticed_daemon_state::LATTICED_DAEMON_STALE,
                DaemonState::Dead => latticed_daemon_state::LATTICED_DAEMON_DEAD,
                DaemonState::Closed => latticed_daemon_state::LATTICED_DAEMON_CLOSED,
            },
            is_writable: found.is_writable,
            node: found.node,
            pid: found.pid,
            heartbeat_age_ns: found.heartbeat_age.map_or(u64::MAX, ns),
            heartbeat_timeout_ns: ns(found.heartbeat_timeout),
            incarnation: found.incarnation,
            attachments: found.attachments,
            node_name,
        });
        Ok(())
    })
}
