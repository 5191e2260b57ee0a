//! The runtime directory: made with tight modes, and locked by the one daemon that runs in it.
//!
//! ```text
//!   <directory>/          0750 (0700 for --dev)
//!     lock                flock(2), exclusive, for as long as the daemon lives; holds its process id
//!     segment             published state, made by lattice-segment
//!     daemon.sock         admin socket
//! ```
//!
//! The lock is the kernel's: it is gone when the process is gone, however it died, so a left-over file never stands in
//! the way of a restart.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::StartError;

/// Proof that this process is the only daemon of a directory; released when dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Makes the directory (its parents too) unless it is there. One that is there must be this user's or root's, and closed
/// to everybody else's writing.
///
/// # Errors
/// [`StartError::Directory`]: it can't be made, or something else is in its place; [`StartError::UnsafeDirectory`].
pub fn create(directory: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::Directory { path: directory.to_owned(), source };
    if let Some(parent) = directory.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed)?;
    }
    match DirBuilder::new().mode(0o750).create(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && directory.is_dir() => {}
        outcome => return outcome.map_err(failed),
    }
    // It was there: made by an earlier start or the administrator, or, below a directory of everybody's such as /dev/shm,
    // by somebody who would like to choose what this daemon opens.
    let found = std::fs::metadata(directory).map_err(failed)?;
    let is_trusted = [0, rustix::process::geteuid().as_raw()].contains(&found.uid());
    if is_trusted && found.mode() & 0o002 == 0 {
        return Ok(());
    }
    Err(unsafe_directory(directory, &found))
}

fn unsafe_directory(directory: &Path, found: &Metadata) -> StartError {
    StartError::UnsafeDirectory { path: directory.to_owned(), mode: found.mode() & 0o7777, uid: found.uid() }
}

/// Takes the lock of a directory.
///
/// # Errors
/// [`StartError::AlreadyRunning`] with the holder's process id; [`StartError::Directory`] if the file can't be opened.
pub fn lock(path: &Path) -> Result<Lock, StartError> {
    let failed = |source| StartError::Directory { path: path.to_owned(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        // A symbolic link in its place would choose which file is emptied below.
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(failed)?;
    if let Err(errno) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if errno != rustix::io::Errno::WOULDBLOCK {
            return Err(failed(errno.into()));
        }
        let mut holder = String::new();
        // Only for the message: an unreadable id is shown as unknown.
        let _ = file.read_to_string(&mut holder);
        let holder = holder.trim().parse().ok();
        let directory = path.parent().unwrap_or(path).to_owned();
        return Err(StartError::AlreadyRunning { directory, holder });
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(Lock { _file: file })
}

/// The directory of `latticed --dev`: `$XDG_RUNTIME_DIR/latticed`, else `/tmp/latticed-<uid>`. Not made yet.
#[must_use]
pub fn dev_path() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(runtime) if runtime.is_absolute() => runtime.join("latticed"),
        _ => PathBuf::from(format!("/tmp/latticed-{}", rustix::process::geteuid().as_raw())),
    }
}

/// Makes the directory of `latticed --dev`, mode 0700. One that is there must be this user's own and closed to others:
/// in a directory that everybody can write to, another user may have been there first.
///
/// # Errors
/// [`StartError::Directory`] or [`StartError::UnsafeDirectory`].
pub fn create_private(directory: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::Directory { path: directory.to_owned(), source };
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let found = std::fs::symlink_metadata(directory).map_err(failed)?;
    let own = found.uid() == rustix::process::geteuid().as_raw();
    if found.is_dir() && own && found.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(unsafe_directory(directory, &found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_holder_is_told_who_has_the_lock_and_a_successor_gets_it() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("lock");
        let first = lock(&path).expect("nobody holds it");
        match lock(&path) {
            Err(StartError::AlreadyRunning { holder, .. }) => assert_eq!(holder, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(first);
        lock(&path).expect("the first holder is gone");
    }

    #[test]
    fn directories_get_tight_modes() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let directory = home.path().join("a/b");
        create(&directory).expect("made with its parent");
        create(&directory).expect("there already");
        let mode = |path: &Path| std::fs::metadata(path).expect("it exists").mode() & 0o777;
        assert_eq!(mode(&directory) & 0o027, 0);
        let private = home.path().join("p");
        create_private(&private).expect("made");
        create_private(&private).expect("there already, and ours alone");
        assert_eq!(mode(&private), 0o700);
    }

    /// /dev/shm is everybody's: a directory that waits there for a daemon of root may be a trap.
    #[test]
    fn a_directory_that_others_can_write_to_is_refused_and_a_link_in_place_of_the_lock_is_not_followed() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let open = home.path().join("open");
        std::fs::create_dir(&open).expect("made");
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).expect("own directory");
        assert!(matches!(create(&open), Err(StartError::UnsafeDirectory { .. })));

        let theirs = home.path().join("theirs");
        std::fs::create_dir(&theirs).expect("made");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&theirs, Some(65_534), None).expect("root may");
            assert!(matches!(create(&theirs), Err(StartError::UnsafeDirectory { uid: 65_534, .. })));
        }

        let victim = home.path().join("victim");
        std::fs::write(&victim, "precious").expect("a file");
        let path = home.path().join("lock");
        std::os::unix::fs::symlink(&victim, &path).expect("a symbolic link");
        assert!(matches!(lock(&path), Err(StartError::Directory { .. })));
        assert_eq!(std::fs::read_to_string(&victim).expect("it is there"), "precious");
    }

    #[test]
    fn what_others_could_have_prepared_is_refused() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let open = home.path().join("open");
        create_private(&open).expect("made");
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o770)).expect("own directory");
        let link = home.path().join("link");
        std::os::unix::fs::symlink(home.path(), &link).expect("a symbolic link");
        for path in [&open, &link] {
            assert!(matches!(create_private(path), Err(StartError::UnsafeDirectory { .. })), "{path:?}");
        }
        let file = home.path().join("file");
        std::fs::write(&file, "").expect("a file");
        assert!(matches!(create(&file), Err(StartError::Directory { .. })));
    }
}
