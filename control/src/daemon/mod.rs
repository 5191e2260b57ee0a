//! The daemon: takes what it needs, starts the workers, and stays beside them as the control thread.
//!
//! ```text
//!   validate ─> lock ─> storage ─> ports ─> segment ─> workers ─> admin socket ─> READY ─> … ─> signal ─> stop
//!                         │          │         │          │            │                          │
//!   left behind by a      │          │         │          │            │      clients dismissed, workers flush and end,
//!   failure: nothing,     ▼          ▼         ▼          ▼            ▼      logs synced, segment CLOSED, socket removed,
//!   in reverse order ── as found    gone     CLOSED     ended       removed   exit 0
//! ```
//!
//! Between ports and segment, what only root has is given up (`rights`).
//!
//! One thread with a current-thread runtime does everything here: the admin socket and the clients' attachments
//! (`admin`, `attach`), who the peers are (`membership`, `roster`) and their next hops (`neighbours`), the workers' events
//! (`events`), what storage has to say (`storage`), the status. Nothing of it is
//! on the way of a write; when this thread stands still, reads, writes and replication go on.
//!
//! What can go wrong: see [`StartError`] and [`RunError`]. A killed daemon leaves a segment that says READY with a
//! heartbeat that ages; readers notice by the age, and the next start marks it CLOSED and makes another.

mod admin;
mod attach;
mod backup;
mod compare;
mod directory;
mod drain;
mod error;
mod events;
mod forget;
mod http;
mod identity;
mod interface;
mod known;
mod membership;
mod namespaces;
mod neighbours;
mod notify;
mod observe;
mod ports;
mod rate_limit;
mod reload;
mod restore;
mod rights;
mod roster;
mod seals;
mod start;
mod status;
mod storage;
mod why;
mod workers;

pub use directory::{create_private, dev_path};
pub use error::{RunError, StartError};
pub use reload::LogControl;
pub use restore::{RestoreError, restore};
pub use start::{Options, run};

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lattice_bpf::XdpProgram;
use lattice_members::Members;
use lattice_port::PortMode;
use lattice_segment::Reader;
use lattice_worker::Degradation;

use crate::config::Config;
use attach::Clients;
use neighbours::KnownRoutes;
use observe::Observer;
use rate_limit::RateLimit;
use roster::Roster;
use workers::Workers;

/// What the control thread's tasks share.
pub struct Daemon {
    config: Config,
    workers: Arc<Workers>,
    /// The daemon's own read-only view of its segment, for the counters.
    reader: Reader,
    /// `None`: in memory only.
    storage: Option<storage::About>,
    forgotten: forget::Forgotten,
    known: known::Known,
    port_mode: PortMode,
    /// Held for its link to the interface: dropping it would end the frames.
    program: Option<Mutex<XdpProgram>>,
    /// Frames that came between the program's attachment and the last socket's: peers talk at all times.
    unserved_before_start: u64,
    clients: Clients,
    routes: KnownRoutes,
    roster: Roster,
    /// `None`: the peers are listed.
    members: Option<Members>,
    walks: compare::Walks,
    drain: drain::Drain,
    connections: AtomicUsize,
    bad_lines: AtomicU64,
    connection_log: Mutex<RateLimit>,
    began: Instant,
    observer: Observer,
    /// What of the configuration holds at present.
    live: reload::Live,
    /// What local writes may do.
    namespaces: namespaces::InForce,
    /// What the process may, for people.
    rights: String,
    /// Where metrics are served, once they are.
    metrics: Option<SocketAddr>,
}

impl Daemon {
    /// Drops of the XDP program by reason; none without one.
    fn xdp_drops(&self) -> Vec<(&'static str, u64)> {
        let Some(program) = &self.program else { return Vec::new() };
        let program = program.lock().unwrap_or_else(PoisonError::into_inner);
        program.drop_counters().unwrap_or_else(|error| {
            tracing::warn!(%error, "the XDP program's counters could not be read");
            Vec::new()
        })
    }

    /// Frames, since the start, on receive queues that no worker serves.
    fn unserved(&self) -> u64 {
        no_socket(&self.xdp_drops()).saturating_sub(self.unserved_before_start)
    }

    /// Counts a line that was no request.
    fn count_bad_line(&self) {
        // Relaxed: a counter that nothing else is published with.
        self.bad_lines.fetch_add(1, Ordering::Relaxed);
    }

    fn bad_lines(&self) -> u64 {
        self.bad_lines.load(Ordering::Relaxed)
    }

    /// Whether one more line about a connection may be logged: others can provoke them.
    fn may_log_connection(&self) -> bool {
        let mut limit = self.connection_log.lock().unwrap_or_else(PoisonError::into_inner);
        match limit.pass(Instant::now()) {
            Some(0) => true,
            Some(suppressed) => {
                tracing::info!(suppressed, "more lines about connections were held back");
                true
            }
            None => false,
        }
    }

    fn new_connection_log() -> Mutex<RateLimit> {
        Mutex::new(RateLimit::new(20, Duration::from_secs(10)))
    }
}

/// What to do about a degradation.
fn remedy(what: Degradation) -> &'static str {
    match what {
        Degradation::Unpinned => {
            "name cores in workers.cores that this process may use (taskset -p shows them)"
        }
        Degradation::SegmentFull => {
            "readers here miss keys or values; raise limits.segment_cells_per_worker or segment_extent_bytes_per_worker and restart"
        }
        Degradation::PortFailing => "the log has the system's reason; is the interface up?",
        Degradation::LogFull => {
            "writes are refused until a snapshot is durable; raise limits.log_bytes if this lasts, and see the log for failed snapshots"
        }
        Degradation::StorageFailing => {
            "a write or sync of a log failed (the log says why), so nothing of that shard becomes durable; mend the disk and restart"
        }
    }
}

/// The XDP program's count of frames on receive queues without a socket.
fn no_socket(drops: &[(&'static str, u64)]) -> u64 {
    drops.iter().find(|(reason, _)| *reason == "no_socket").map_or(0, |(_, count)| *count)
}
