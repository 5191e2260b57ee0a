//! A node's directories: whose they are, and that nobody else uses them.
//!
//! ```text
//!   data/      (disk)                              runtime/      (tmpfs: ends with the boot)
//!     lock       held while a daemon runs            lock
//!     identity   cluster, node, shards, number       shard-000.ring   the log in memory, and the mark of what was
//!     shard-000/                                     shard-001.ring   given out in this boot
//!       log          the ring's image                ...
//!       snapshot.0   two generations
//!       snapshot.1
//!       begun        a log was here
//! ```
//!
//! The identity is text, for people. A directory of another node, cluster or number of shards is refused; so is one that
//! somebody else owns, or that a symbolic link stands for.

use crate::disk::{Disk, OsDisk, own_directory};
use crate::error::StorageError;
use crate::image::Owner;
use crate::snapshot::name_hash;
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

const IDENTITY_TITLE: &str = "latticed data directory, version 1";
const MAX_IDENTITY_BYTES: u64 = 4096;

/// What a node's storage is made of.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// The data directory.
    pub data: PathBuf,
    /// A directory on tmpfs for this node alone, where the logs are while the machine runs. Elsewhere it works as well,
    /// but appends may then wait for a disk.
    pub runtime: PathBuf,
    /// Name of the cluster.
    pub cluster: String,
    /// Number of this node.
    pub node: u16,
    /// Number of shards.
    pub shards: u16,
    /// Size of each shard's log: a power of two, 4 KiB to 16 GiB.
    pub log_bytes: u64,
    /// The present boot of the machine ([`boot_id`]).
    pub boot_id: u128,
}

/// An open data directory. While this lives, no other process can open it.
pub struct Directory {
    pub(crate) options: StorageOptions,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) number: u128,
    pub(crate) place: (u64, u64),
    /// Locked for as long as it takes to draw: shards are opened side by side.
    draw: Mutex<Box<dyn FnMut() -> u64 + Send>>,
    _locks: Vec<File>,
}

impl Directory {
    /// Opens the directory of a node, or makes it.
    ///
    /// # Errors
    /// [`StorageError`]: in use, another's, not this user's, or what the system says. Nothing was changed but for
    /// directories that were made.
    pub fn open(options: StorageOptions) -> Result<Self, StorageError> {
        let (place, locks) = take_alone(&options)?;
        let mut directory = Self::open_on(Arc::new(OsDisk), options, place, Box::new(random))?;
        directory._locks = locks;
        Ok(directory)
    }

    /// Opens a directory that has nothing in it, or makes it, to be filled. It has no identity until
    /// [`Directory::write_identity`]: with logs and without that, no start takes it.
    pub(crate) fn open_empty(options: StorageOptions) -> Result<Self, StorageError> {
        let (place, locks) = take_alone(&options)?;
        check_empty(&options.data)?;
        let number = u128::from(random()) << 64 | u128::from(random());
        let disk = Arc::new(OsDisk);
        Ok(Self { options, disk, number, place, draw: Mutex::new(Box::new(random)), _locks: locks })
    }

    /// Says whose it is, durably.
    pub(crate) fn write_identity(&self) -> Result<(), StorageError> {
        write_identity(&*self.disk, &self.options, self.number)
    }

    /// Opens a directory on a disk of the caller's, without locks. `place` tells directories apart, `draw` makes random
    /// numbers. For tests that are the disk.
    ///
    /// # Errors
    /// As [`Directory::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        options: StorageOptions,
        place: (u64, u64),
        mut draw: Box<dyn FnMut() -> u64 + Send>,
    ) -> Result<Self, StorageError> {
        let number = match read_identity(&*disk, &options)? {
            Some(number) => number,
            None => {
                let number = u128::from(draw()) << 64 | u128::from(draw());
                write_identity(&*disk, &options, number)?;
                number
            }
        };
        Ok(Self { options, disk, number, place, draw: Mutex::new(draw), _locks: Vec::new() })
    }

    pub(crate) fn owner(&self, shard: u16) -> Owner {
        let cluster = name_hash(&self.options.cluster);
        Owner { cluster, directory: self.number, node: self.options.node, shard }
    }

    pub(crate) fn shard_directory(&self, shard: u16) -> PathBuf {
        self.options.data.join(format!("shard-{shard:03}"))
    }

    pub(crate) fn ring_path(&self, shard: u16) -> PathBuf {
        self.options.runtime.join(format!("shard-{shard:03}.ring"))
    }

    pub(crate) fn draw(&self) -> u64 {
        (self.draw.lock().unwrap_or_else(PoisonError::into_inner))()
    }
}

/// Makes both directories and locks them; where the one of the data is.
fn take_alone(options: &StorageOptions) -> Result<((u64, u64), Vec<File>), StorageError> {
    let metadata = own_directory(&options.data)?;
    own_directory(&options.runtime)?;
    let locks = vec![lock(&options.data.join("lock"))?, lock(&options.runtime.join("lock"))?];
    Ok(((metadata.dev(), metadata.ino()), locks))
}

/// Nothing may be there but the lock, and what a file system has of its own.
fn check_empty(data: &Path) -> Result<(), StorageError> {
    let failed = |error| StorageError::io(data, "looking at the directory")(error);
    for entry in std::fs::read_dir(data).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != "lock" && name != "lost+found" {
            let what = format!("not empty: there is {}; nothing was changed", name.display());
            return Err(StorageError::Unfit { path: data.to_owned(), what });
        }
    }
    Ok(())
}

/// Makes what was made or renamed at a path durable: syncs the directory above.
pub(crate) fn sync_above(path: &Path) -> Result<(), StorageError> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    OsDisk.sync_directory(above).map_err(StorageError::io(above, "syncing the directory"))
}

/// Locks a file for this process, and says in it who holds it.
fn lock(path: &Path) -> Result<File, StorageError> {
    let mut options = OpenOptions::new();
    let opened = crate::disk::open_own(path, options.read(true).write(true).create(true));
    let mut file = opened.map_err(StorageError::io(path, "opening the lock"))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(StorageError::Locked { path: path.to_owned(), pid });
        }
        Err(error) => return Err(StorageError::io(path, "locking")(error.into())),
    }
    let text = format!("{}\n", std::process::id());
    let written = file.set_len(0).and_then(|()| file.write_all_at(text.as_bytes(), 0));
    written.map_err(StorageError::io(path, "writing the lock"))?;
    Ok(file)
}

fn identity_text(options: &StorageOptions, number: u128) -> String {
    let StorageOptions { cluster, node, shards, .. } = options;
    let body = format!(
        "{IDENTITY_TITLE}\ncluster {cluster:?}\nnode {node}\nshards {shards}\nnumber {number:032x}\n"
    );
    let sum = name_hash(&body);
    format!("{body}checksum {sum:016x}\n")
}

fn read_identity(disk: &dyn Disk, options: &StorageOptions) -> Result<Option<u128>, StorageError> {
    let path = options.data.join("identity");
    let file = match disk.open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let first = options.data.join("shard-000").join("log");
            return match disk.open(&first) {
                Err(_) => Ok(None),
                Ok(_) => Err(StorageError::Foreign { path, what: "missing, and yet there are logs: a restore was killed (empty the directory and restore again), or it was lost".into() }),
            };
        }
        Err(error) => return Err(StorageError::io(&path, "opening the identity")(error)),
    };
    let damaged = |what: &str| StorageError::Damaged { path: path.clone(), offset: 0, what: what.to_owned() };
    let len = file.len_bytes().map_err(StorageError::io(&path, "opening the identity"))?;
    if len > MAX_IDENTITY_BYTES {
        return Err(damaged("not an identity: too long"));
    }
    let mut bytes = vec![0; len as usize];
    file.read_at(&mut bytes, 0).map_err(StorageError::io(&path, "reading the identity"))?;
    let text = String::from_utf8(bytes).map_err(|_| damaged("not text"))?;
    let (body, sum) = text.rsplit_once("checksum ").ok_or_else(|| damaged("it has no checksum"))?;
    if sum != format!("{:016x}\n", name_hash(body)) {
        return Err(damaged("the checksum is wrong"));
    }
    let field = |name: &str| body.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").to_owned();
    let number =
        u128::from_str_radix(&field("number "), 16).map_err(|_| damaged("it does not name a number"))?;
    let compare = |name: &str, here: String| match field(name) {
        there if there == here => Ok(()),
        there => {
            let what = format!("this directory is of {name}{there}, and this is {name}{here}");
            Err(StorageError::Foreign { path: path.clone(), what })
        }
    };
    if body.lines().next() != Some(IDENTITY_TITLE) {
        return Err(damaged("not an identity of this version"));
    }
    compare("cluster ", format!("{:?}", options.cluster))?;
    compare("node ", options.node.to_string())?;
    compare("shards ", options.shards.to_string())?;
    Ok(Some(number))
}

fn write_identity(disk: &dyn Disk, options: &StorageOptions, number: u128) -> Result<(), StorageError> {
    let (path, beside) = (options.data.join("identity"), options.data.join("identity.new"));
    let text = identity_text(options, number);
    put_file(disk, &beside, text.as_bytes())?;
    disk.rename(&beside, &path).map_err(StorageError::io(&path, "putting the identity in place"))?;
    disk.sync_directory(&options.data).map_err(StorageError::io(&options.data, "syncing the directory"))
}

/// Writes a small file whole and syncs it.
pub(crate) fn put_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), StorageError> {
    let file = disk.create(path, 0).map_err(StorageError::io(path, "making the file"))?;
    file.write_at(bytes, 0).map_err(StorageError::io(path, "writing"))?;
    file.sync().map_err(StorageError::io(path, "syncing"))
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            // Before the kernel has gathered enough it blocks; other errors do not come for so few bytes.
            Err(_) => std::thread::yield_now(),
        }
    }
    u64::from_le_bytes(bytes)
}

/// The present boot of the machine, as the kernel numbers it.
///
/// # Errors
/// [`StorageError`] where the kernel does not say.
pub fn boot_id() -> Result<u128, StorageError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(path).map_err(StorageError::io(path, "reading the boot's number"))?;
    u128::from_str_radix(&text.trim().replace('-', ""), 16).map_err(|_| StorageError::Damaged {
        path: path.to_owned(),
        offset: 0,
        what: "not a number".into(),
    })
}
