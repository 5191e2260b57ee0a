//! Files that are whole or not there, with the modes that they should have from the first moment.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::PkiError;

/// For private keys.
pub(super) const PRIVATE: u32 = 0o600;
/// For certificates.
pub(super) const PUBLIC: u32 = 0o644;
/// Bytes of a file, at most: some hundred certificates.
const MAX_FILE_BYTES: u64 = 256 << 10;

/// Makes a directory that must not be there yet, closed to everybody else.
pub(super) fn make_directory(path: &Path) -> Result<(), PkiError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(PkiError::Exists(path.to_owned())),
        outcome => outcome.map_err(PkiError::file("make", path)),
    }
}

/// Writes a file beside its place, syncs it, and renames it there.
pub(super) fn write(path: &Path, content: &str, mode: u32) -> Result<(), PkiError> {
    let beside = path.with_extension("new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(PkiError::file("remove", &beside)(error));
        }
        _ => {}
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside);
    let written = made.and_then(|mut file| {
        file.write_all(content.as_bytes())?;
        file.sync_all()
    });
    written.map_err(PkiError::file("write", &beside))?;
    std::fs::rename(&beside, path).map_err(PkiError::file("replace", path))
}

/// Reads a file of a bounded size.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, PkiError> {
    read_open(File::open(path).map_err(PkiError::file("read", path))?, path)
}

/// Reads a file with a private key, which only its owner may be able to open.
pub(super) fn read_private(path: &Path) -> Result<Vec<u8>, PkiError> {
    let file = File::open(path).map_err(PkiError::file("read", path))?;
    let mode = file.metadata().map_err(PkiError::file("read", path))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PkiError::Open { path: path.to_owned(), mode });
    }
    read_open(file, path)
}

fn read_open(file: File, path: &Path) -> Result<Vec<u8>, PkiError> {
    let mut content = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(PkiError::file("read", path))?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(PkiError::content(path, format!("is longer than {MAX_FILE_BYTES} bytes")));
    }
    Ok(content)
}
