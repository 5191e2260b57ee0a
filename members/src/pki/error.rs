//! Why certificates could not be made or used. Each message says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Nothing was changed, or as much as the message says.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("can't {step} {}: {source}", .path.display())]
    File {
        /// What was attempted.
        step: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A directory that was to be made is there.
    #[error("{} is there already; nothing was changed: give a directory that does not exist", .0.display())]
    Exists(PathBuf),
    /// A private key that others can read.
    #[error("won't use {}: it has mode {mode:o}, so others can read the private key in it; chmod 600 it, and renew it if others did", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not hold what it should.
    #[error("{}: {what}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A name, an id or a number that can't be used.
    #[error("{0}")]
    Usage(String),
    /// A certificate could not be made.
    #[error("can't make the certificate of {name}: {source}")]
    Make {
        /// Whose.
        name: String,
        /// What the library said.
        source: rcgen::Error,
    },
}

impl PkiError {
    pub(super) fn content(path: &Path, what: impl Into<String>) -> Self {
        PkiError::Content { path: path.to_owned(), what: what.into() }
    }

    pub(super) fn file(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| PkiError::File { step, path, source }
    }
}
