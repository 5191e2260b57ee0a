//! Configured daemons for a test: UDP on loopback, metrics on a port of the kernel's choice.

use std::ffi::OsStr;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::{ctl, latticed, text};

/// UDP ports of a node: those of four shards, and that of sessions.
const PORTS: u16 = 5;

/// A running `latticed --config`.
pub struct Node {
    process: Process,
    home: TempDir,
    metrics: SocketAddr,
    /// Where the certificates are, for as long as somebody uses them.
    _pki: Option<Arc<TempDir>>,
}

impl Node {
    /// A cluster of one.
    pub fn start() -> Self {
        Self::start_as(1, &[], free_base_port(&[1]))
    }

    /// One whose peer is not there.
    pub fn start_waiting_for_a_peer() -> Self {
        Self::start_as(1, &[2], free_base_port(&[1, 2]))
    }

    /// A cluster of two, on 127.0.0.1 and 127.0.0.2.
    pub fn pair() -> [Self; 2] {
        let base_port = free_base_port(&[1, 2]);
        [Self::start_as(1, &[2], base_port), Self::start_as(2, &[1], base_port)]
    }

    /// A cluster of three with certificates, on 127.0.0.1 to 127.0.0.3, that find each other by the first one's address.
    pub fn members() -> [Self; 3] {
        let pki = Arc::new(TempDir::new().expect("a temporary directory"));
        let directory = pki.path().join("pki");
        let directory = directory.to_str().expect("UTF-8");
        let init = ["cluster", "init", directory, "--name", "ops", "--nodes", "3"];
        let hosts = ["--hosts", "host-1,host-2,host-3"];
        let made = ctl(pki.path(), &[&init[..], &hosts[..]].concat());
        assert!(made.status.success(), "{}", text(&made.stderr));
        let base_port = free_base_port(&[1, 2, 3]);
        [1, 2, 3].map(|id| Self::start_in(id, &[], base_port, &[], Some(Arc::clone(&pki))))
    }

    /// A cluster of one that a service manager started.
    pub fn start_under_manager(socket: &Path, watchdog: Duration) -> Self {
        let usec = watchdog.as_micros().to_string();
        let environment = [("NOTIFY_SOCKET", socket.as_os_str()), ("WATCHDOG_USEC", usec.as_ref())];
        Self::start_in(1, &[], free_base_port(&[1]), &environment, None)
    }

    fn start_as(id: u16, peers: &[u16], base_port: u16) -> Self {
        Self::start_in(id, peers, base_port, &[], None)
    }

    fn start_in(
        id: u16,
        peers: &[u16],
        base_port: u16,
        environment: &[(&str, &OsStr)],
        pki: Option<Arc<TempDir>>,
    ) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let file = home.path().join("latticed.toml");
        let certificates = pki.as_ref().map(|pki| pki.path().join(format!("pki/host-{id}")));
        std::fs::write(&file, config(&home, id, peers, base_port, certificates.as_deref())).expect("written");
        let mut command = latticed(home.path());
        command.envs(environment.iter().copied()).arg("--config").arg(&file);
        let log = std::fs::File::create(home.path().join("latticed.log")).expect("a log");
        let (process, line) = Process::start(command, log.into(), home.path());
        assert!(line.starts_with("ready port=udp"), "{line}");
        let process = process.named("--dir", &home.path().join("run"));
        let status: Value = serde_json::from_str(&process.ctl_ok(&["status", "--json"])).expect("JSON");
        let metrics = status["metrics"].as_str().and_then(|a| a.parse().ok()).expect("an address");
        Self { process, home, metrics, _pki: pki }
    }

    /// Where metrics are served.
    pub fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.home.path().join("latticed.toml")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("latticed.log")).expect("its log")
    }

    /// Sends a signal and waits for the end.
    pub fn end_with(mut self, signal: Signal) -> ExitStatus {
        self.process.end_with(signal)
    }
}

impl Deref for Node {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

fn config(home: &TempDir, id: u16, peers: &[u16], base_port: u16, certificates: Option<&Path>) -> String {
    let directory = home.path().join("run");
    let others: String = match certificates {
        Some(directory) => format!("[security]\ndirectory = \"{}\"\n", directory.display()),
        None => {
            peers.iter().map(|id| format!("[[peers]]\nid = {id}\naddress = \"127.0.0.{id}\"\n")).collect()
        }
    };
    let (seeds, control_port) = match certificates {
        Some(_) => ("seeds = [\"127.0.0.1\"]\n", format!("control_port = {}\n", base_port + PORTS - 1)),
        None => ("", String::new()),
    };
    format!(
        "[cluster]\nname = \"ops\"\n{seeds}[node]\nid = {id}\nname = \"host-{id}\"\n[network]\naddress = \"127.0.0.{id}\"\n\
         base_port = {base_port}\n{control_port}port = \"udp\"\n[workers]\nidle = \"sleep\"\n[paths]\ndirectory = \"{}\"\n\
         [storage]\ndirectory = \"{}\"\nsnapshot_interval_s = 1\n[metrics]\nlisten = \"127.0.0.1:0\"\n[limits]\nsegment_cells_per_worker = 4096\n\
         segment_extent_bytes_per_worker = 1048576\n[timers]\nsegment_heartbeat_timeout_ms = 200\n{others}",
        directory.display(),
        home.path().join("data").display()
    )
}

/// A place where as many UDP ports in a row as a node needs are free on each of the hosts' addresses. The search begins at a
/// place that depends on the process and on how often it was done, so that tests that run at the same time look at different
/// ones.
fn free_base_port(hosts: &[u16]) -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(31).wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed) * 7);
    let base_of = |place: u32| 20_000 + u16::try_from(place % 2_000).expect("small") * PORTS;
    let free = |base: &u16| {
        (*base..base + PORTS).all(|port| {
            hosts.iter().all(|host| UdpSocket::bind((format!("127.0.0.{host}").as_str(), port)).is_ok())
        })
    };
    (first..first + 2_000).map(base_of).find(free).expect("free ports")
}
