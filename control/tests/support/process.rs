//! A daemon's process, and `latticectl` for it: what all the daemons of tests have in common.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{first_line, text};

/// A running daemon. Killed when dropped.
pub struct Process {
    child: Child,
    /// Where its user's runtime directory is.
    home: PathBuf,
    /// What names it to `latticectl`.
    naming: Vec<OsString>,
    /// Kept open: a daemon must not die of a closed pipe.
    _stdout: ChildStdout,
}

impl Process {
    /// Starts a daemon and waits for its first line, which is returned; nothing if it ended before.
    pub fn start(mut command: Command, log: Stdio, home: &Path) -> (Self, String) {
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("latticed starts");
        let (line, stdout) = first_line(child.stdout.take().expect("it is piped"));
        let process = Self { child, home: home.to_owned(), naming: Vec::new(), _stdout: stdout };
        (process, line)
    }

    /// Names it to `latticectl`, by `--socket` or `--dir`.
    pub fn named(mut self, option: &str, path: &Path) -> Self {
        self.naming = vec![option.into(), path.into()];
        self
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs `latticectl` with this daemon.
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        let naming = self.naming.iter().map(OsString::as_os_str);
        run_ctl(&self.home, naming.chain(arguments.iter().map(OsStr::new)))
    }

    /// Runs `latticectl`, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn ctl_ok(&self, arguments: &[&str]) -> String {
        let output = self.ctl(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Sends a signal and waits for the end.
    pub fn end_with(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.child.wait().expect("it ends")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `latticectl` with its runtime directory below `home`.
pub fn run_ctl<'a>(home: &Path, arguments: impl Iterator<Item = &'a OsStr>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_latticectl"))
        .env("XDG_RUNTIME_DIR", home)
        .env_remove("LATTICED_SOCKET")
        .env_remove("LATTICED_LOG")
        .args(arguments)
        .output()
        .expect("latticectl starts")
}
