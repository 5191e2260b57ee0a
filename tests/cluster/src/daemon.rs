//! One `latticed`: start it, wait for it, and be unkind to it.
//!
//! ```text
//!   start ──> wait_ready ──> running ──> stop (SIGTERM) ──> ended
//!                              │  └────> kill (SIGKILL) ──> ended ──> start again: a new epoch
//!                              └─ pause (SIGSTOP) / resume (SIGCONT)
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::process::Process;

/// How long a daemon may take from its start to its `ready` line: sockets, XDP program and segment, on a busy machine.
pub const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a daemon may take to end after SIGTERM.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What a daemon says when its segment is READY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// `xdp-driver`, `xdp-generic` or `udp`.
    pub port: String,
    /// The segment's file.
    pub segment: PathBuf,
    /// The socket for clients and `latticectl`.
    pub socket: PathBuf,
}

impl Ready {
    /// Parses `ready port=xdp-driver segment=/dev/shm/… socket=/dev/shm/…`; `None` for any other line.
    pub fn parse(line: &str) -> Option<Ready> {
        let fields: HashMap<&str, &str> = line
            .strip_prefix("ready ")?
            .split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
            .collect();
        let field = |name| fields.get(name).copied();
        Some(Ready {
            port: field("port")?.into(),
            segment: field("segment")?.into(),
            socket: field("socket")?.into(),
        })
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    ready: Option<Ready>,
}

impl Daemon {
    /// Starts the daemon with that configuration file; `command` names the program and where it runs.
    pub fn start(name: &str, mut command: Command, config: &Path, logs: &Path) -> Result<Daemon> {
        command.arg("--config").arg(config);
        Ok(Daemon { process: Process::spawn(name, command, logs)?, ready: None })
    }

    /// Waits for the `ready` line.
    pub fn wait_ready(&mut self) -> Result<&Ready> {
        let mut ready = None;
        self.process
            .wait_line(READY_TIMEOUT, |line| {
                ready = Ready::parse(line);
                ready.is_some()
            })
            .context("no `ready` line")?;
        ready.map(|ready| &*self.ready.insert(ready)).context("no `ready` line")
    }

    /// What it said when it was ready. Fails when it has not been yet.
    pub fn ready(&self) -> Result<&Ready> {
        self.ready.as_ref().with_context(|| format!("{} is not ready yet", self.process.name()))
    }

    /// Asks it to stop (SIGTERM) and waits. Fails when it does not end in time or ends with a failure.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait_exit(STOP_TIMEOUT)?;
        if !status.success() {
            bail!("{} ended with {status} after SIGTERM\n{}", self.process.name(), self.process.log_tail());
        }
        Ok(status)
    }

    /// Kills it without any warning (SIGKILL).
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Stops its processor time (SIGSTOP): to its peers it looks dead, to itself no time passes. All its threads stand still
    /// when this returns.
    pub fn pause(&self) -> Result<()> {
        self.process.signal(Signal::STOP)?;
        self.process.wait_stopped()
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// The end of its log, for an error message.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_understood_and_nothing_else() {
        let ready = Ready::parse("ready port=xdp-driver segment=/s/segment socket=/s/daemon.sock").unwrap();
        assert_eq!(ready.port, "xdp-driver");
        assert_eq!(ready.segment, Path::new("/s/segment"));
        assert_eq!(ready.socket, Path::new("/s/daemon.sock"));
        assert_eq!(Ready::parse("ready port=udp segment=/s"), None);
        assert_eq!(Ready::parse("already port=udp segment=/s socket=/s"), None);
    }
}
