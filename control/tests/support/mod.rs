//! A developer's daemon for a test: a real process in a directory of its own, ended when the test is.

#![allow(dead_code, reason = "each test program uses a part")]

pub mod node;
pub mod process;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::time::Duration;

use process::{Process, run_ctl};
use rustix::process::Signal;
use tempfile::TempDir;

/// Far more than anything here takes: a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `latticed --dev`.
pub struct Dev {
    process: Process,
    home: TempDir,
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
        let mut command = latticed(home.path());
        command.arg("--dev");
        // `latticectl` finds it by itself.
        let (process, line) = Process::start(command, log, home.path());
        let dev = Self { process, home };
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

    /// Starts another daemon in the same directory.
    pub fn second(&self) -> Output {
        latticed(self.home.path()).arg("--dev").output().expect("latticed starts")
    }

    /// Sends a signal and waits for the end; hands the directory back for a successor.
    pub fn end_with(mut self, signal: Signal) -> (ExitStatus, TempDir) {
        (self.process.end_with(signal), self.home)
    }
}

impl Deref for Dev {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// A running `latticed --config`, whose socket is where its configuration says.
pub struct Daemon(Process);

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

    fn run(command: Command, log: &Path) -> Self {
        let log_file = File::options().create(true).append(true).open(log).expect("a log");
        let home = log.parent().expect("a directory");
        let (process, line) = Process::start(command, log_file.into(), home);
        let Some((_, socket)) = line.trim_end().rsplit_once("socket=") else {
            panic!("it is not ready: {}", std::fs::read_to_string(log).expect("its log"));
        };
        Self(process.named("--socket", Path::new(socket)))
    }

    /// Sends a signal and waits for the end.
    pub fn end_with(mut self, signal: Signal) -> ExitStatus {
        self.0.end_with(signal)
    }
}

impl Deref for Daemon {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
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
    run_ctl(home, arguments.iter().map(OsStr::new))
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
