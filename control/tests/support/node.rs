//! Configured daemons for a test: UDP on loopback, metrics on a port of the kernel's choice.

use std::ffi::OsStr;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::{ctl, first_line, latticed, text};

/// A running `latticed --config`.
pub struct Node {
    process: Child,
    home: TempDir,
    metrics: SocketAddr,
    /// Kept open: a daemon must not die of a closed pipe.
    _stdout: ChildStdout,
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

    /// A cluster of one that a service manager started.
    pub fn start_under_manager(socket: &Path, watchdog: Duration) -> Self {
        let usec = watchdog.as_micros().to_string();
        let environment = [("NOTIFY_SOCKET", socket.as_os_str()), ("WATCHDOG_USEC", usec.as_ref())];
        Self::start_in(1, &[], free_base_port(&[1]), &environment)
    }

    fn start_as(id: u16, peers: &[u16], base_port: u16) -> Self {
        Self::start_in(id, peers, base_port, &[])
    }

    fn start_in(id: u16, peers: &[u16], base_port: u16, environment: &[(&str, &OsStr)]) -> Self {
        let home = TempDir::new().expect("a temporary directory");
        let file = home.path().join("latticed.toml");
        std::fs::write(&file, config(&home, id, peers, base_port)).expect("written");
        let mut process = latticed(home.path())
            .envs(environment.iter().copied())
            .arg("--config")
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("latticed starts");
        let (line, stdout) = first_line(process.stdout.take().expect("it is piped"));
        let mut node =
            Self { process, home, metrics: SocketAddr::from(([127, 0, 0, 1], 0)), _stdout: stdout };
        assert!(line.starts_with("ready port=udp"), "{line}");
        let status: Value = serde_json::from_str(&node.ctl_ok(&["status", "--json"])).expect("JSON");
        node.metrics = status["metrics"].as_str().and_then(|a| a.parse().ok()).expect("an address");
        node
    }

    /// Where metrics are served.
    pub fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.home.path().join("latticed.toml")
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Runs `latticectl` against this daemon.
    pub fn ctl(&self, arguments: &[&str]) -> std::process::Output {
        let directory = self.home.path().join("run");
        let mut all = vec!["--dir", directory.to_str().expect("UTF-8")];
        all.extend(arguments);
        ctl(self.home.path(), &all)
    }

    /// Runs `latticectl`, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn ctl_ok(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Sends a signal and waits for the end.
    pub fn end_with(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.process.wait().expect("it ends")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("it runs");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config(home: &TempDir, id: u16, peers: &[u16], base_port: u16) -> String {
    let directory = home.path().join("run");
    let peers: String =
        peers.iter().map(|id| format!("[[peers]]\nid = {id}\naddress = \"127.0.0.{id}\"\n")).collect();
    format!(
        "[cluster]\nname = \"ops\"\n[node]\nid = {id}\nname = \"host-{id}\"\n[network]\naddress = \"127.0.0.{id}\"\n\
         base_port = {base_port}\nport = \"udp\"\n[workers]\nidle = \"sleep\"\n[paths]\ndirectory = \"{}\"\n\
         [storage]\ndirectory = \"{}\"\nsnapshot_interval_s = 1\n[metrics]\nlisten = \"127.0.0.1:0\"\n[limits]\nsegment_cells_per_worker = 4096\n\
         segment_extent_bytes_per_worker = 1048576\n[timers]\nsegment_heartbeat_timeout_ms = 200\n{peers}",
        directory.display(),
        home.path().join("data").display()
    )
}

/// A place where four UDP ports in a row are free on each of the hosts' addresses. The search begins at a place that depends
/// on the process and on how often it was done, so that tests that run at the same time look at different ones.
fn free_base_port(hosts: &[u16]) -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(31).wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed) * 7);
    let base_of = |place: u32| 20_000 + u16::try_from(place % 2_000).expect("small") * 4;
    let free = |base: &u16| {
        (*base..base + 4).all(|port| {
            hosts.iter().all(|host| UdpSocket::bind((format!("127.0.0.{host}").as_str(), port)).is_ok())
        })
    };
    (first..first + 2_000).map(base_of).find(free).expect("free ports")
}
