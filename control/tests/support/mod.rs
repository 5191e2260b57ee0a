//! A developer's daemon for a test: a real process in a directory of its own, ended when the test is.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod node;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Far more than anything here takes: a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `latticed --dev`.
pub struct Dev {
    process: Child,
    home: TempDir,
    /// Kept open: a daemon must not die of a closed pipe.
    _stdout: Option<ChildStdout>,
}

impl Dev {
    /// Starts one in a new directory and waits until it is ready.
    pub fn start() -> Self {
        Self::start_in(TempDir::new().expect("a temporary directory"))
    }

    /// Starts one in a directory that may hold what an earlier one left there.
    pub fn start_in(home: TempDir) -> Self {
        Self::start_with(home, Stdio::null())
    }

    /// Starts one in a new directory, its log in `log`.
    pub fn start_logging_to(log: File) -> Self {
        Self::start_with(TempDir::new().expect("a temporary directory"), log.into())
    }

    fn start_with(home: TempDir, log: Stdio) -> Self {
        let mut process = latticed(home.path())
            .arg("--dev")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("latticed starts");
        let stdout = process.stdout.take().expect("it is piped");
        let (line, stdout) = first_line(stdout);
        let dev = Self { process, home, _stdout: Some(stdout) };
        let expected = format!(
            "ready port=udp segment={} socket={}\n",
            dev.directory().join("segment").display(),
            dev.socket().display()
        );
        assert_eq!(line, expected);
        dev
    }

    pub fn directory(&self) -> PathBuf {
        self.home.path().join("latticed")
    }

    pub fn socket(&self) -> PathBuf {
        self.directory().join("daemon.sock")
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Runs `latticectl` as the daemon's user would, without naming the daemon.
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        ctl(self.home.path(), arguments)
    }

    /// Runs `latticectl`, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn ctl_ok(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Starts another daemon in the same directory.
    pub fn second(&self) -> Output {
        latticed(self.home.path()).arg("--dev").output().expect("latticed starts")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("it runs");
    }

    /// Sends a signal and waits for the end; hands the directory back for a successor.
    pub fn end_with(mut self, signal: Signal) -> (ExitStatus, TempDir) {
        self.signal(signal);
        let status = self.process.wait().expect("it ends");
        let home = std::mem::replace(&mut self.home, TempDir::new().expect("a temporary directory"));
        (status, home)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A running `latticed --config`, whose socket is where its configuration says.
pub struct Daemon {
    process: Child,
    socket: PathBuf,
    /// Kept open: a daemon must not die of a closed pipe.
    _stdout: ChildStdout,
}

impl Daemon {
    /// Starts one and waits until it is ready; its log is appended to a file.
    pub fn start(config: &Path, log: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_latticed"));
        command.arg("--config").arg(config);
        Self::run(command, log)
    }

    /// The same in a mount namespace of its own, after a shell has run `mount` in it.
    pub fn start_behind(mount: &str, config: &Path, log: &Path) -> Self {
        let script =
            format!("{mount} && exec {} --config {}", env!("CARGO_BIN_EXE_latticed"), config.display());
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]);
        Self::run(command, log)
    }

    fn run(mut command: Command, log: &Path) -> Self {
        let log_file = File::options().create(true).append(true).open(log).expect("a log");
        let mut process = command.stdout(Stdio::piped()).stderr(log_file).spawn().expect("latticed starts");
        let (line, stdout) = first_line(process.stdout.take().expect("it is piped"));
        let socket = line.trim_end().rsplit_once("socket=").map(|(_, socket)| PathBuf::from(socket));
        let Some(socket) = socket else {
            panic!("it is not ready: {}", std::fs::read_to_string(log).expect("its log"));
        };
        Self { process, socket, _stdout: stdout }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Runs `latticectl` with this daemon.
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_latticectl"));
        command.env("LATTICED_SOCKET", &self.socket).args(arguments).output().expect("latticectl starts")
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
        kill_process(Pid::from_child(&self.process), signal).expect("it runs");
        self.process.wait().expect("it ends")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// So many UDP ports in a row that are free on loopback, in a range of this process's own.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 400) as u16 * 100;
    let free = |base: u16| (base..base + count).all(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok());
    // Relaxed: only that each call gets its own counts.
    (0..100)
        .map(|_| first + NEXT.fetch_add(count, Relaxed) % (100 - count))
        .find(|&base| free(base))
        .expect("free ports")
}

#[track_caller]
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// `latticed` with its runtime directory below `home`.
pub fn latticed(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latticed"));
    command.env("XDG_RUNTIME_DIR", home).env_remove("LATTICED_SOCKET").env_remove("LATTICED_LOG");
    command
}

/// Runs `latticectl` with its runtime directory below `home`.
pub fn ctl(home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_latticectl"))
        .env("XDG_RUNTIME_DIR", home)
        .env_remove("LATTICED_SOCKET")
        .env_remove("LATTICED_LOG")
        .args(arguments)
        .output()
        .expect("latticectl starts")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The first line of a process's output, waited for at most [`PATIENCE`].
pub fn first_line(stdout: ChildStdout) -> (String, ChildStdout) {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        let _ = reader.read_line(&mut line);
        let _ = sender.send((line, reader.into_inner()));
    });
    receiver.recv_timeout(PATIENCE).expect("a line on standard output")
}

/// A connection to the admin socket that never waits longer than [`PATIENCE`].
pub fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).expect("the daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// True once the other end has closed: nothing more to read, or reset because of what it did not read.
pub fn is_closed(stream: &mut impl Read) -> bool {
    let mut byte = [0; 1];
    match stream.read(&mut byte) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}
