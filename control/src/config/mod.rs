//! The configuration of one daemon: one TOML file, read and validated as a whole before anything is touched.
//!
//! ```text
//!   text ──> toml (with spans) ──> parse: sections, keys, types, ranges ──> validate: what must fit together ──> Config
//!                     │                          │                                    │
//!                     └───────────── Problem { line, key, found, expected } ──────────┘   all of them at once
//! ```
//!
//! A file with mistakes yields every mistake, each with its line, the key, what was wrong and what would be right; a
//! key that does not exist is a mistake too, with the nearest key that does. A [`Config`] that exists has passed all
//! checks that need no machine: whether the address, the cores and the directory exist here is found at the start.
//!
//! `config/latticed.toml` is the commented reference; a test holds that it says exactly what the defaults are.

mod defaults;
mod parse;
mod reader;
mod report;
mod schema;
mod validate;

pub use report::{ConfigErrors, Problem};
pub use schema::{
    Cluster, Config, DEFAULT_NAMESPACE, Idle, KeyKind, Keys, Limits, Log, MAX_PEERS, Metrics, Namespace,
    Network, Node, Paths, Peer, PortChoice, Principal, Process, Security, Storage, StorageMode, SyncChoice,
    Timers, Undeclared, Wins, Workers, WriteList,
};

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Bytes of a configuration file, at most; the largest that means something has some 10 KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why a configuration file could not be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error(
        "can't read the configuration file {path}: {source}; give an existing, readable file with --config FILE"
    )]
    Read {
        /// The file.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file was read and is wrong.
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
}

impl Config {
    /// Reads and validates a file.
    ///
    /// # Errors
    /// [`LoadError`]: the file is unreadable, or wrong, with every mistake in it.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let origin = path.display().to_string();
        let bytes = read(path).map_err(|source| LoadError::Read { path: origin.clone(), source })?;
        let text = std::str::from_utf8(&bytes).map_err(|error| not_utf_8(&bytes, &error, &origin))?;
        Ok(Self::parse(text, &origin)?)
    }

    /// Parses and validates the text of a file; `origin` is its name in messages.
    ///
    /// # Errors
    /// [`ConfigErrors`]: every mistake, in the order of lines.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigErrors> {
        let mut report = report::Report::new(text);
        let config = parse::parse(text, &mut report);
        if report.is_empty() {
            validate::validate(&config, &mut report);
        }
        report.into_result(config, origin)
    }
}

/// Reads a file of a bounded size: a device or a pipe may have no end.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!("it is longer than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

/// The one mistake of a file that is no text, at the line of its first byte that is none.
fn not_utf_8(bytes: &[u8], error: &std::str::Utf8Error, origin: &str) -> ConfigErrors {
    let before = &bytes[..error.valid_up_to()];
    let problem = Problem {
        line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
        key: String::new(),
        found: "not TOML: is not UTF-8".to_owned(),
        expected: "expected a text file; save it as UTF-8".to_owned(),
    };
    ConfigErrors { origin: origin.to_owned(), problems: vec![problem] }
}

#[cfg(test)]
mod tests;
