//! Network namespaces: made by name, joined by threads and processes, removed on drop.
//!
//! Names are `lattice-<pid>-<n>-<role>`: parallel runs can't collide, `ip netns list` shows who is who, and what a
//! killed run left behind is recognised by its dead pid and removed at the next start.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::ip;

const PREFIX: &str = "lattice-";
const DIRECTORY: &str = "/run/netns";

/// One named network namespace, removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace whose name ends in `role`, with its loopback interface up.
    pub fn create(role: &str) -> Result<Namespace> {
        static CLEANED: Once = Once::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        CLEANED.call_once(remove_stale);
        // Relaxed: only uniqueness counts.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{role}", std::process::id());
        ip(&format!("netns add {name}"))?;
        let namespace = Namespace { name };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` inside, with the given arguments separated by blanks.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        ip(&format!("-n {} {arguments}", self.name))
    }

    /// A command that runs `program` inside.
    ///
    /// Not by `ip netns exec`: that also makes a mount namespace to show a /sys of its own, which nobody here reads, and
    /// undoing mounts waits for the kernel's grace periods; beside polling daemons that took seconds.
    pub fn command(&self, program: &Path) -> Result<Command> {
        let file = self.open()?;
        let mut command = Command::new(program);
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; the closure makes one setns(2) on a
        // descriptor that it owns, and does not allocate.
        unsafe {
            command.pre_exec(move || {
                Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
            });
        }
        Ok(command)
    }

    /// Calls `body` on a thread of its own that has joined the namespace: sockets opened there belong to it.
    pub fn enter<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        let file = self.open()?;
        std::thread::scope(|scope| {
            let joined = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok::<T, rustix::io::Errno>(body())
            });
            match joined.join() {
                Ok(result) => result.with_context(|| format!("can't join namespace {}", self.name)),
                Err(_) => Err(anyhow!("the thread inside namespace {} panicked", self.name)),
            }
        })
    }

    fn open(&self) -> Result<File> {
        let path = Path::new(DIRECTORY).join(&self.name);
        File::open(path).with_context(|| format!("can't open namespace {}", self.name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&format!("netns delete {}", self.name)) {
            eprintln!("a namespace was left behind: {error:#}");
        }
    }
}

/// Removes the namespaces of runs that were killed before they could: those whose pid is gone.
pub fn remove_stale() {
    remove(|owner| !Path::new("/proc").join(owner.to_string()).exists());
}

/// Removes the namespaces of this process: for one that is about to end without unwinding.
pub fn remove_own() {
    remove(|owner| owner == std::process::id());
}

/// Removes the namespaces of some owners. The processes in them are killed first, for they would keep the interfaces alive.
fn remove(is_over: impl Fn(u32) -> bool) {
    let Ok(entries) = std::fs::read_dir(DIRECTORY) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(owner) = owner_pid(&name) else { continue };
        if !is_over(owner) {
            continue;
        }
        for pid in ip(&format!("netns pids {name}")).unwrap_or_default().split_ascii_whitespace() {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                // It may have ended meanwhile; that is what was wanted.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if let Err(error) = ip(&format!("netns delete {name}")) {
            eprintln!("a stale namespace stays: {error:#}");
        }
    }
}

/// The pid in a name that this crate gave, else `None`.
pub(crate) fn owner_pid(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_are_recognised() {
        assert_eq!(owner_pid("lattice-4711-0-switch"), Some(4711));
        assert_eq!(owner_pid("lattice-x-0-switch"), None);
        assert_eq!(owner_pid("docker-4711"), None);
    }
}
