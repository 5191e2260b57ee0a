//! Tells a service manager how the daemon is (sd_notify(3)), and feeds its watchdog.
//!
//! ```text
//!   READY=1        once clients can attach
//!   WATCHDOG=1     every third of WATCHDOG_USEC, while every polling loop makes progress
//!   STOPPING=1     when a signal came
//! ```
//!
//! What feeds the watchdog is the sign of life that the polling loops themselves store in the segment, not a timer beside
//! them: when a loop hangs, or this thread does, the service manager ends the daemon and starts it anew. Written by hand,
//! because the protocol is a datagram of a few bytes.
//!
//! What can go wrong: no service manager, or a socket that can't be reached; the daemon then runs on as it would without.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use super::{Daemon, observe};

/// A service manager, or nobody.
#[derive(Clone, Debug, Default)]
pub struct Service {
    socket: Option<Arc<(UnixDatagram, SocketAddr)>>,
    watchdog: Option<Duration>,
}

impl Service {
    /// As the environment says.
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let address = variable("NOTIFY_SOCKET").and_then(|name| address(&name));
        // Set for another process: a child must not feed its parent's watchdog.
        let is_for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog =
            number("WATCHDOG_USEC").filter(|usec| *usec > 0 && is_for_us).map(Duration::from_micros);
        Self::new(address, watchdog)
    }

    fn new(address: Option<SocketAddr>, watchdog: Option<Duration>) -> Self {
        let socket = address.and_then(|address| Some(Arc::new((UnixDatagram::unbound().ok()?, address))));
        if let Some(socket) = &socket {
            // A service manager that does not read must not hold up the control thread.
            let _ = socket.0.set_nonblocking(true);
        }
        Self { watchdog: watchdog.filter(|_| socket.is_some()), socket }
    }

    /// Clients can attach.
    pub fn ready(&self, daemon: &Daemon) {
        let Daemon { config, port_mode, .. } = daemon;
        let (name, cluster) = (&config.node.name, &config.cluster.name);
        self.tell(&format!("READY=1\nSTATUS={name} of cluster {cluster}, port {port_mode}\n"));
    }

    /// A signal came.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\n");
    }

    fn tell(&self, news: &str) {
        if let Some((socket, address)) = self.socket.as_deref()
            && let Err(error) = socket.send_to_addr(news.as_bytes(), address)
        {
            tracing::debug!(%error, "the service manager could not be told");
        }
    }
}

fn address(name: &OsStr) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(name).ok(),
        _ => None,
    }
}

/// Feeds the watchdog until the task is dropped, while the daemon is live.
pub async fn feed_watchdog(service: Service, daemon: Arc<Daemon>) {
    let Some(period) = service.watchdog else { return };
    loop {
        match observe::facts(&daemon).live() {
            live if live.ok => service.tell("WATCHDOG=1\n"),
            live => {
                tracing::error!("the watchdog is not fed: {}", live.to_text("not live").replace('\n', " "))
            }
        }
        tokio::time::sleep(period / 3).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sockets_are_paths_or_abstract() {
        for (name, is_good) in
            [("/run/notify", true), ("@abc", true), ("relative", false), ("", false), ("vsock:2", false)]
        {
            assert_eq!(address(OsStr::new(name)).is_some(), is_good, "{name}");
        }
    }

    #[test]
    fn news_go_to_the_socket_and_a_full_one_holds_nobody_up() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        let service = Service::new(address(path.as_os_str()), Some(Duration::from_secs(1)));
        service.stopping();
        let mut buffer = [0; 64];
        let count = socket.recv(&mut buffer).expect("received");
        assert_eq!(&buffer[..count], b"STOPPING=1\n");
        // More than any queue holds.
        (0..10_000).for_each(|_| service.stopping());
        drop(socket);
        service.stopping();
        assert!(Service::new(None, Some(Duration::from_secs(1))).watchdog.is_none(), "nobody to feed");
    }
}
