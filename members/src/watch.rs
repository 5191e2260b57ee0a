//! Notices that the certificates' files have been replaced.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::pki::{Credentials, PkiError};

/// Period of looking.
const PERIOD: Duration = Duration::from_secs(2);

/// Of each file its inode, size and time of change: a rename changes the first, an edit one of the others.
type Fingerprint = Vec<Option<(u64, u64, i64, i64)>>;

/// Looks at the files of one directory now and then.
#[derive(Debug)]
pub(crate) struct Watch {
    directory: PathBuf,
    seen: Fingerprint,
    due: Duration,
}

impl Watch {
    /// Begins with what is there now.
    pub(crate) fn new(directory: PathBuf) -> Self {
        let mut watch = Self { directory, seen: Vec::new(), due: Duration::ZERO };
        watch.seen = watch.look();
        watch
    }

    /// Whether a file is another than at the last look; true once for each change.
    pub(crate) fn has_changed(&mut self, now: Duration) -> bool {
        if now < self.due {
            return false;
        }
        self.due = now + PERIOD;
        let found = self.look();
        found != std::mem::replace(&mut self.seen, found.clone())
    }

    /// Reads the files.
    pub(crate) fn load(&self) -> Result<Credentials, PkiError> {
        Credentials::load(&self.directory)
    }

    fn look(&self) -> Fingerprint {
        let of_file = |path: PathBuf| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
        };
        Credentials::files(&self.directory).map(of_file).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_once() {
        let home = tempfile::TempDir::new().expect("a temporary directory");
        std::fs::write(home.path().join("ca.pem"), "a").expect("written");
        let mut watch = Watch::new(home.path().to_owned());
        let at = |n: u32| PERIOD * n;
        assert!(!watch.has_changed(at(1)));
        std::fs::write(home.path().join("node.pem"), "b").expect("written");
        assert!(!watch.has_changed(at(1)), "too soon to look");
        assert!(watch.has_changed(at(2)));
        assert!(!watch.has_changed(at(3)));
        std::fs::write(home.path().join("new"), "a").expect("written");
        std::fs::rename(home.path().join("new"), home.path().join("ca.pem")).expect("renamed");
        assert!(watch.has_changed(at(4)));
    }
}
