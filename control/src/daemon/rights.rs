//! What the daemon may, from its start on: root's rights are used for sockets and programs, and then given up.
//!
//! ```text
//!   root ──> directories are the user's ──> acts as the user: lock, data, certificates ──> root: XDP program, AF_XDP sockets
//!                                                                                                   │
//!   segment, workers, admin socket, network input  <── system calls filtered <── user for good, no capability
//! ```
//!
//! All of it happens while there is one thread; those that come later inherit what is left. What was opened before stays open:
//! the XDP program's link and maps, sockets, the lock. What can go wrong: later nobody is root any more. The configuration and the
//! certificates that are read again must be the user's to read, and the ports above 1023.
//!
//! A process that is not root, as systemd starts it, only lays down the capabilities that it was given. Kernels before 5.19 may let
//! nobody without CAP_BPF read the program's counters and let members in: then that one is kept, and it is said so.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::Path;

use lattice_bpf::XdpProgram;
use lattice_rights::{Account, CapabilitySet, RightsError};

use super::StartError;
use crate::config::{Config, StorageMode};

/// Who the daemon is to be.
#[derive(Debug)]
pub struct Rights {
    /// `None`: who it is.
    account: Option<Account>,
}

fn refused(what: &str, why: impl std::fmt::Display) -> StartError {
    StartError::Rights(format!("{what}: {why}"))
}

fn failed(error: RightsError) -> StartError {
    StartError::Rights(error.to_string())
}

impl Rights {
    /// Looks up the user, sees to it that the directories are its own, and acts as the user from here on.
    ///
    /// # Errors
    /// [`StartError::Rights`].
    pub fn prepare(config: &Config) -> Result<Self, StartError> {
        let Some(account) = account(config)? else { return Ok(Self { account: None }) };
        let storage = (config.storage.mode == StorageMode::Disk).then_some(&config.storage.directory);
        for directory in std::iter::once(&config.paths.directory).chain(storage) {
            hand_over(directory, &account)
                .map_err(|source| StartError::Directory { path: directory.clone(), source })?;
        }
        lattice_rights::act_as(&account).map_err(failed)?;
        Ok(Self { account: Some(account) })
    }

    /// Root again, for what only root can open.
    ///
    /// # Errors
    /// [`StartError::Rights`].
    pub fn take_up(&self) -> Result<(), StartError> {
        self.account.as_ref().map_or(Ok(()), |_| lattice_rights::act_as_root().map_err(failed))
    }

    /// Gives up everything that is needed no more. Returns what is left, for people.
    ///
    /// # Errors
    /// [`StartError::Rights`].
    pub fn give_up(self, config: &Config, program: Option<&XdpProgram>) -> Result<String, StartError> {
        let needs_bpf = match program {
            Some(program) => {
                lattice_rights::without_capabilities(|| program.drop_counters()).map_err(failed)?.is_err()
            }
            None => false,
        };
        let keep = if needs_bpf { CapabilitySet::BPF } else { CapabilitySet::empty() };
        lattice_rights::give_up(self.account.as_ref(), keep).map_err(failed)?;
        if config.process.seccomp {
            lattice_rights::filter_system_calls()
                .map_err(|error| refused("process.seccomp = true", format!("{error}; false does without")))?;
        }
        let left = format!(
            "uid {}, gid {}, {}, {}",
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
            if needs_bpf { "CAP_BPF (this kernel asks for it)" } else { "no capabilities" },
            if config.process.seccomp { "system calls filtered" } else { "all system calls" },
        );
        tracing::info!("rights: {left}");
        Ok(left)
    }
}

/// Whom to become; `None`: nobody else.
fn account(config: &Config) -> Result<Option<Account>, StartError> {
    let Some(name) = &config.process.user else { return Ok(None) };
    let key = "process.user";
    let user = lattice_rights::user(name).map_err(|error| refused(key, error))?;
    let group = config.process.group.as_deref().map(lattice_rights::group).transpose();
    let group = group.map_err(|error| refused("process.group", error))?.map(|group| group.gid);
    let own = rustix::process::geteuid().as_raw();
    if own == user.uid {
        return Ok(None);
    }
    if !lattice_rights::is_root() {
        return Err(refused(
            key,
            format!("is {name}, and only root can become another user; this is user {own}"),
        ));
    }
    let gid = group.or(user.gid).ok_or_else(|| {
        refused(
            key,
            format!("is {name}, a number without a name, so it has no group; give one as process.group"),
        )
    })?;
    Ok(Some(Account { uid: user.uid, gid, groups: user.groups }))
}

/// Makes a directory that is the account's, or gives it one of root's, with all that is in it. Whoever else's it is, it is left
/// alone: using it is refused later.
fn hand_over(directory: &Path, account: &Account) -> io::Result<()> {
    if let Some(parent) = directory.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    match DirBuilder::new().mode(0o750).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        outcome => outcome?,
    }
    let found = fs::symlink_metadata(directory)?;
    // Nobody but root can write there, so nobody can put something else in the place of what is given away.
    if found.is_dir() && found.uid() == 0 && found.mode() & 0o022 == 0 {
        give(directory, account)?;
    }
    Ok(())
}

/// The content first: as long as the directory is root's, nobody else gets at it, and a start that was cut short goes on.
fn give(path: &Path, account: &Account) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), account)?;
        }
    }
    lchown(path, Some(account.uid), Some(account.gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_root_are_handed_over_with_their_content_and_others_left_alone() {
        if !lattice_rights::is_root() {
            println!("skipped: only root can give files away");
            return;
        }
        let home = tempfile::tempdir().expect("a directory");
        let account = Account { uid: 65_534, gid: 65_533, groups: Vec::new() };
        let owner = |path: &Path| {
            let found = fs::symlink_metadata(path).expect("it is there");
            (found.uid(), found.gid(), found.mode() & 0o777)
        };
        let new = home.path().join("a/new");
        hand_over(&new, &account).expect("made");
        assert_eq!((owner(&new), owner(&home.path().join("a"))), ((65_534, 65_533, 0o750), (0, 0, 0o755)));

        let (old, victim) = (home.path().join("old"), home.path().join("victim"));
        fs::create_dir_all(old.join("shard-000")).expect("made");
        fs::write(old.join("shard-000/log"), "x").expect("written");
        fs::write(&victim, "precious").expect("written");
        std::os::unix::fs::symlink(&victim, old.join("link")).expect("made");
        fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("own");
        hand_over(&old, &account).expect("given away");
        assert_eq!(
            (owner(&old).0, owner(&old.join("shard-000/log")).0, owner(&victim).0),
            (65_534, 65_534, 0)
        );

        let theirs = home.path().join("theirs");
        fs::create_dir(&theirs).expect("made");
        fs::write(theirs.join("file"), "x").expect("written");
        lchown(&theirs, Some(1234), None).expect("root may");
        hand_over(&theirs, &account).expect("left alone");
        assert_eq!((owner(&theirs).0, owner(&theirs.join("file")).0), (1234, 0));
    }
}
