//! How the daemon is, as seen from here.

use std::time::Duration;

use lattice_segment::Reader;

use crate::attachment::Attachment;
use crate::client::Client;
use crate::clock::monotonic_ns;

/// Whether the daemon lives.
///
/// ```text
///   Live ──silent for longer than its timeout──> Stale ──its process is gone──> Dead
///     └────────── stopped, or a successor took its place ──────────> Closed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonState {
    /// Every worker's heartbeat is younger than the timeout.
    Live,
    /// A worker has been silent for longer; its process is there (stopped, starved, or in another PID namespace).
    Stale,
    /// A worker has been silent for longer, and the daemon's process is gone or has hung up.
    Dead,
    /// The segment was closed; no successor is attached yet.
    Closed,
}

/// What [`Client::health`] found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Health {
    /// Whether the daemon lives.
    pub state: DaemonState,
    /// Age of the most silent worker's heartbeat; `None` if one never beat.
    pub heartbeat_age: Option<Duration>,
    /// The age at which the daemon wants to be called stale.
    pub heartbeat_timeout: Duration,
    /// True if writes can be enqueued.
    pub is_writable: bool,
    /// The daemon's process.
    pub pid: u32,
    /// The daemon's node number.
    pub node: u16,
    /// The daemon's node name.
    pub node_name: String,
    /// Differs between any two starts of any daemon.
    pub incarnation: u64,
    /// How often this client has attached: 1 until the daemon's first restart.
    pub attachments: u64,
}

impl Client {
    /// How the daemon is. Also looks for a successor if it is gone, so a client that only reads should call this every now
    /// and then: it notices a daemon that died without a word. Costs a system call or two; never waits.
    #[must_use]
    pub fn health(&self) -> Health {
        self.look_for_daemon();
        let attachment = self.current();
        let reader = &attachment.reader;
        let oldest = attachment.oldest_heartbeat(monotonic_ns());
        let state = state_of(&attachment, oldest);
        Health {
            state,
            heartbeat_age: attachment.has_beaten().then_some(oldest),
            heartbeat_timeout: attachment.heartbeat_timeout(),
            is_writable: attachment.is_writable() && state == DaemonState::Live,
            pid: reader.pid(),
            node: reader.node(),
            node_name: reader.node_name().to_owned(),
            incarnation: reader.incarnation(),
            attachments: attachment.number,
        }
    }
}

fn state_of(attachment: &Attachment, oldest: Duration) -> DaemonState {
    if attachment.is_over() {
        DaemonState::Closed
    } else if attachment.is_hung_up() {
        DaemonState::Dead
    } else if oldest <= attachment.heartbeat_timeout() {
        DaemonState::Live
    } else if attachment.is_writable() || is_running(&attachment.reader) {
        // Its end of the connection is open, or its process is there: it hangs.
        DaemonState::Stale
    } else {
        DaemonState::Dead
    }
}

/// True if the daemon's process is there: same pid, and same start, as pids are used again. Field 22 of
/// `/proc/<pid>/stat`, counted after the command's closing parenthesis (proc_pid_stat(5)).
fn is_running(reader: &Reader) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", reader.pid())).unwrap_or_default();
    let start_ticks =
        stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok());
    start_ticks == Some(reader.pid_start_ticks())
}
