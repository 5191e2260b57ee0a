//! Which daemon is meant: named by the command line or the environment, else the only one there is.

use std::path::{Path, PathBuf};

use super::error::CtlError;
use crate::daemon::dev_path;

/// Where daemons with the default directory are.
const SHARED_MEMORY_PARENT: &str = "/dev/shm/latticed";
const SOCKET_NAME: &str = "daemon.sock";
const SEGMENT_NAME: &str = "segment";

/// A daemon's socket and segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub socket: PathBuf,
}

impl Place {
    /// The daemon's directory: where its socket is.
    pub fn directory(&self) -> &Path {
        self.socket.parent().unwrap_or(Path::new("/"))
    }

    /// The daemon's segment.
    pub fn segment(&self) -> PathBuf {
        self.directory().join(SEGMENT_NAME)
    }

    fn in_directory(directory: &Path) -> Self {
        Self { socket: directory.join(SOCKET_NAME) }
    }
}

/// The daemon that is meant.
pub(super) fn place(socket: Option<&Path>, directory: Option<&Path>) -> Result<Place, CtlError> {
    let from_environment = std::env::var_os("LATTICED_SOCKET").map(PathBuf::from);
    if let Some(socket) = socket {
        return Ok(Place { socket: socket.to_owned() });
    }
    if let Some(directory) = directory {
        return Ok(Place::in_directory(directory));
    }
    if let Some(socket) = from_environment {
        return Ok(Place { socket });
    }
    find(&dev_path(), Path::new(SHARED_MEMORY_PARENT))
}

/// The developer's daemon if it is there, else the only one below `parent`. A daemon that stopped leaves its segment,
/// one that was killed its socket too: either makes a directory count, so that the message is about that daemon.
fn find(dev: &Path, parent: &Path) -> Result<Place, CtlError> {
    let is_there = |place: &Place| place.socket.exists() || place.segment().exists();
    let dev = Place::in_directory(dev);
    if dev.socket.exists() {
        return Ok(dev);
    }
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let mut places: Vec<_> =
        entries.map(|entry| Place::in_directory(&entry.path())).filter(is_there).collect();
    // Those that listen come before those that are only remembered.
    if places.iter().any(|place| place.socket.exists()) {
        places.retain(|place| place.socket.exists());
    }
    places.sort_by(|a, b| a.socket.cmp(&b.socket));
    match places.len() {
        0 if is_there(&dev) => Ok(dev),
        0 => Err(CtlError::NoDaemon),
        1 => Ok(places.remove(0)),
        _ => Err(CtlError::SeveralDaemons(places.into_iter().map(|place| place.socket).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(parent: &Path, name: &str, file: &str) -> PathBuf {
        let directory = parent.join(name);
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join(file), "").expect("a file");
        directory
    }

    #[test]
    fn the_only_daemon_is_found_and_several_are_not_guessed_between() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let (dev, parent) = (home.path().join("dev"), home.path().join("shm"));
        assert!(matches!(find(&dev, &parent), Err(CtlError::NoDaemon)));

        let stopped = directory(&parent, "stopped", SEGMENT_NAME);
        assert_eq!(find(&dev, &parent).ok(), Some(Place::in_directory(&stopped)));

        let a = directory(&parent, "a", SOCKET_NAME);
        assert_eq!(find(&dev, &parent).ok(), Some(Place::in_directory(&a)), "one that listens is preferred");

        directory(&parent, "b", SOCKET_NAME);
        let error = find(&dev, &parent).expect_err("two listen");
        assert!(matches!(&error, CtlError::SeveralDaemons(sockets) if sockets.len() == 2), "{error}");
        assert_eq!(error.exit_code(), 2);

        directory(home.path(), "dev", SOCKET_NAME);
        assert_eq!(
            find(&dev, &parent).ok(),
            Some(Place::in_directory(&dev)),
            "the developer's own comes first"
        );
    }
}
