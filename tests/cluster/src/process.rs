//! A child process whose output is kept: its standard output as lines to wait for, all of it in files to show at failure.
//!
//! The child is killed when its handle is dropped, and by the kernel when the thread that started it ends without having
//! done so (a run that was killed leaves no daemons polling).

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open,
    set_parent_process_death_signal, waitid,
};

/// How much of a log file is shown at failure.
const TAIL_BYTES: u64 = 4096;

/// A running (or ended) child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its standard output and its standard error are appended to `<directory>/<name>.log`.
    pub fn spawn(name: &str, mut command: Command, directory: &Path) -> Result<Process> {
        let log = directory.join(format!("{name}.log"));
        let mut stderr = OpenOptions::new().create(true).append(true).open(&log)?;
        writeln!(stderr, "--- {command:?}")?;
        let copy = stderr.try_clone()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; the closure makes one prctl and does
        // not allocate.
        unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
        let mut child = command.spawn().with_context(|| format!("can't start {name}: {command:?}"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the child has no standard output")?;
        Ok(Process { name: name.to_owned(), child, stdin, lines: follow(stdout, copy), log })
    }

    /// The name that it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next line of its standard output. Fails when it has ended without one, or after `timeout`.
    pub fn next_line(&mut self, timeout: Duration) -> Result<String> {
        match self.lines.recv_timeout(timeout) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                bail!("{} printed nothing for {:.1} s\n{}", self.name, timeout.as_secs_f64(), self.log_tail())
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.wait_exit(timeout)?;
                bail!("{} has ended ({status})\n{}", self.name, self.log_tail())
            }
        }
    }

    /// The line that satisfies `wanted`, skipping others; fails after `timeout` altogether.
    pub fn wait_line(&mut self, timeout: Duration, mut wanted: impl FnMut(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + timeout;
        loop {
            let line = self.next_line(deadline.saturating_duration_since(Instant::now()))?;
            if wanted(&line) {
                return Ok(line);
            }
        }
    }

    /// Writes a line to its standard input.
    pub fn write_line(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().with_context(|| format!("{}'s input is closed", self.name))?;
        writeln!(stdin, "{line}").with_context(|| format!("{} does not read", self.name))
    }

    /// Closes its standard input: the example applications take that as the end of their work.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid(), signal).with_context(|| format!("can't signal {}", self.name))
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until all its threads have come to a halt after SIGSTOP.
    pub fn wait_stopped(&self) -> Result<()> {
        waitid(
            WaitId::Pid(self.pid()),
            WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        )
        .with_context(|| format!("can't wait for {} to stop", self.name))
        .map(drop)
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; fails after `timeout`.
    pub fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).context("pidfd_open")?;
        let left = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)).context("poll")?;
        match self.child.try_wait()? {
            Some(status) => Ok(status),
            None => bail!("{} has not ended within {:.1} s", self.name, timeout.as_secs_f64()),
        }
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("can't kill {}", self.name))?;
        self.child.wait()?;
        Ok(())
    }

    /// The end of its log, for an error message.
    pub fn log_tail(&self) -> String {
        let tail = read_tail(&self.log).unwrap_or_else(|error| format!("(can't read it: {error})"));
        format!("--- the end of {}:\n{tail}", self.log.display())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        if self.is_running()
            && let Err(error) = self.kill()
        {
            eprintln!("a process was left behind: {error:#}");
        }
    }
}

/// Reads the child's standard output on a thread of its own, so that the child never blocks on a full pipe. The thread
/// ends with the pipe.
fn follow(stdout: ChildStdout, mut log: File) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Neither failure matters: the log is a convenience, and the handle may be gone.
            let _ = writeln!(log, "stdout: {line}");
            let _ = sender.send(line);
        }
    });
    lines
}

fn read_tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    Ok(String::from_utf8_lossy(&tail).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> (Process, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        (Process::spawn("child", command, directory.path()).unwrap(), directory)
    }

    #[test]
    fn lines_arrive_and_the_end_is_told_with_the_log() {
        let (mut child, _directory) = shell("echo one; echo oops >&2; echo two");
        assert_eq!(child.wait_line(LONG, |line| line == "two").unwrap(), "two");
        let error = child.next_line(LONG).unwrap_err().to_string();
        assert!(error.contains("has ended") && error.contains("oops"), "{error}");
    }

    #[test]
    fn closing_its_input_lets_it_end() {
        let (mut child, _directory) = shell("cat; exit 7");
        assert!(child.is_running());
        child.close_stdin();
        assert_eq!(child.wait_exit(LONG).unwrap().code(), Some(7));
    }

    #[test]
    fn a_dropped_handle_kills() {
        let (child, _directory) = shell("echo started; exec sleep 1000");
        let pid = child.pid();
        drop(child);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
