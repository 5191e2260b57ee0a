//! What a client can be told when it is opened.

use std::time::Duration;

/// What reads do while the daemon is away.
///
/// ```text
///   daemon      alive ────── killed ···················· restarted, READY ─────
///   LastKnown   fresh        the last state it published  the new daemon's state
///   Fresh       fresh        DaemonStale / DaemonClosed   the new daemon's state
/// ```
///
/// A new daemon's state is what it has learned so far: right after a restart with an empty state, a counter may read
/// lower than before, until its peers have told it the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadPolicy {
    /// Serve the last known state, and ask [`crate::Client::health`] how old it is. A read stays one load.
    #[default]
    LastKnown,
    /// Fail with [`crate::Error::DaemonStale`] or [`crate::Error::DaemonClosed`] instead of serving an old state. Each read also
    /// reads the clock and the worker's heartbeat: some 25 ns more.
    Fresh,
}

/// How to open a [`crate::Client`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientOptions {
    /// What reads do while the daemon is away.
    pub read_policy: ReadPolicy,
    /// How long [`crate::Client::connect`] waits for the daemon's reply. Later re-attachments never wait.
    pub connect_timeout: Duration,
    /// The shortest time between two attempts to re-attach.
    pub reattach_interval: Duration,
}

impl Default for ClientOptions {
    /// Last known state, two seconds for the first connection, at most fifty attempts to re-attach a second.
    fn default() -> Self {
        ClientOptions {
            read_policy: ReadPolicy::LastKnown,
            connect_timeout: Duration::from_secs(2),
            reattach_interval: Duration::from_millis(20),
        }
    }
}

impl ClientOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what reads do while the daemon is away.
    #[must_use]
    pub fn read_policy(mut self, read_policy: ReadPolicy) -> Self {
        self.read_policy = read_policy;
        self
    }

    /// Sets how long the first connection may take.
    #[must_use]
    pub fn connect_timeout(mut self, connect_timeout: Duration) -> Self {
        self.connect_timeout = connect_timeout;
        self
    }

    /// Sets the shortest time between two attempts to re-attach.
    #[must_use]
    pub fn reattach_interval(mut self, reattach_interval: Duration) -> Self {
        self.reattach_interval = reattach_interval;
        self
    }
}
