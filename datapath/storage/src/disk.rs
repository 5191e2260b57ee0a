//! The seam to durable storage: everything that is to survive the machine goes through [`Disk`], so that a test can be
//! the disk, and the machine that fails.
//!
//! ```text
//!   create ─> write_at ─> sync ─> rename ─> sync_directory      a file appears whole or not at all
//!             write_at ─> sync                                  a file that is there changes in place (the log)
//! ```
//!
//! What is promised: what was written before a `sync` that succeeded is there after a crash; a rename is there after a
//! `sync_directory`, and is all or nothing before. Anything else may be there or not, in units of 512 bytes and in any
//! order; that a sector is either old or new is what every log of this kind assumes of its disk.
//!
//! After a failed `sync` the kernel may have thrown the data away and will call the next one a success ("fsyncgate",
//! 2018): so no file here is ever synced again after a failure.

use crate::error::StorageError;
use rustix::fs::{FallocateFlags, OFlags};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A file that is open for reading and writing.
pub trait DiskFile: Send {
    /// Reads exactly so many bytes.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` beyond the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of it.
    ///
    /// # Errors
    /// The system's; parts may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// What was written is durable when this returns.
    ///
    /// # Errors
    /// The system's; of what was written since the last sync nothing may be counted on, also not after another one.
    fn sync(&self) -> io::Result<()>;
    /// Length in bytes.
    ///
    /// # Errors
    /// The system's.
    fn len_bytes(&self) -> io::Result<u64>;
}

/// Where files are. All paths are of regular files, but for [`Disk::sync_directory`]'s and
/// [`Disk::create_directory`]'s.
pub trait Disk: Send + Sync {
    /// Opens a file that is there.
    ///
    /// # Errors
    /// The system's; `NotFound` if it is not there.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Makes an empty file, in place of one that may be there, and reserves so many bytes for it.
    ///
    /// # Errors
    /// The system's.
    fn create(&self, path: &Path, reserve_bytes: u64) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, in place of a file that may have it.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// What was made and renamed in a directory is durable when this returns.
    ///
    /// # Errors
    /// The system's.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory unless it is there.
    ///
    /// # Errors
    /// The system's.
    fn create_directory(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(open_own(path, OpenOptions::new().read(true).write(true))?))
    }

    fn create(&self, path: &Path, reserve_bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let file = open_own(path, options.read(true).write(true).create(true).truncate(true))?;
        reserve(&file, reserve_bytes)?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        make_directory(path)
    }
}

/// Opens a regular file that belongs to this process's user; never follows a symbolic link.
pub(crate) fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = options.mode(0o600).custom_flags(flags.bits().cast_signed()).open(path).map_err(|error| {
        match error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
            true => io::Error::other("a symbolic link, which is not followed"),
            false => error,
        }
    })?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    check_owner(&metadata)?;
    Ok(file)
}

fn check_owner(metadata: &std::fs::Metadata) -> io::Result<()> {
    let me = rustix::process::geteuid().as_raw();
    match metadata.uid() == me {
        true => Ok(()),
        false => Err(io::Error::other(format!("belongs to user {}, not to {me}", metadata.uid()))),
    }
}

/// Gives a file its blocks now, so that a full disk shows here and not later.
pub(crate) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match bytes {
        0 => Ok(()),
        _ => Ok(rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes)?),
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Makes a directory with those above it, and checks that it is one, is no symbolic link, and belongs to this process's
/// user.
pub(crate) fn own_directory(path: &Path) -> Result<std::fs::Metadata, StorageError> {
    if let Some(above) = path.parent()
        && !above.as_os_str().is_empty()
    {
        std::fs::create_dir_all(above).map_err(StorageError::io(above, "making the directory"))?;
    }
    make_directory(path).map_err(StorageError::io(path, "making the directory"))?;
    let metadata =
        std::fs::symlink_metadata(path).map_err(StorageError::io(path, "looking at the directory"))?;
    let unfit = |what: String| StorageError::Unfit { path: path.to_owned(), what };
    if metadata.is_symlink() {
        return Err(unfit("a symbolic link, which is not followed".into()));
    }
    if !metadata.is_dir() {
        return Err(unfit("not a directory".into()));
    }
    check_owner(&metadata).map_err(|error| unfit(error.to_string()))?;
    Ok(metadata)
}
