//! Creating a segment and owning its header.
//!
//! ```text
//!   predecessor at path ──CLOSED──>     temporary file: sized, mapped, header INIT
//!                                                │ rename onto path
//!                                                v
//!                                       INIT ──mark_ready──> READY ──close or drop──> CLOSED
//! ```
//!
//! A segment is never reformatted in place: readers of the predecessor keep their mapping, see CLOSED, and open the path
//! again. A reader that opens the path between the two steps gets the closed predecessor once more and tries again.
//!
//! The file's space is reserved before anything is written, so that a full tmpfs is an error here and not a SIGBUS in a
//! worker later.
//!
//! What can go wrong: every step of the file system can be refused ([`SegmentError::Io`] names step and path); the
//! temporary file is then removed. A daemon that is killed leaves READY behind; its heartbeats stop, which is how readers
//! notice.

use crate::error::SegmentError;
use crate::header::{self, Counts, Geometry, Identity, STATE_AT};
use crate::layout::{HEADER_BYTES, MAGIC, STATE_CLOSED, STATE_READY};
use crate::mapping::Mapping;
use crate::state;
use crate::sync::Ordering::Relaxed;
use crate::writer::Writer;
use rustix::fs::{FallocateFlags, Mode, OFlags};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What a segment is made of.
#[derive(Clone, Debug)]
pub struct SegmentConfig {
    /// Where the finished file appears.
    pub path: PathBuf,
    /// Number of this node.
    pub node: u16,
    /// Name of this node, at most 63 bytes.
    pub node_name: String,
    /// Name of the cluster, at most 63 bytes.
    pub cluster: String,
    /// This node's actor (node and epoch).
    pub actor: u64,
    /// Number of workers, 1..=64: each is the single writer of its own part.
    pub workers: u16,
    /// Number of shards, a power of two, 1..=64.
    pub shards: u16,
    /// Keys that each worker has room for, 1..=2^26.
    pub cells_per_worker: u32,
    /// Bytes of extents (long keys, register values, sets) of each worker, 4096..=2^35.
    pub extent_bytes_per_worker: u64,
    /// Entries of each worker's change ring: a power of two, 64..=2^22.
    pub change_ring_entries: u32,
    /// Age of a heartbeat at which readers call the worker dead, in nanoseconds.
    pub heartbeat_timeout_ns: u64,
    /// Where clients attach for writing, at most 255 bytes.
    pub socket_path: Option<PathBuf>,
}

/// The owner of a segment's header. Dropping it marks the segment CLOSED.
#[derive(Debug)]
pub struct Segment {
    mapping: Arc<Mapping>,
    incarnation: u64,
}

impl Segment {
    /// Marks a predecessor at the path CLOSED, builds a new segment in a temporary file and renames it into place,
    /// in state INIT. The second value holds one writer for each worker.
    pub fn create(config: &SegmentConfig) -> Result<(Segment, Vec<Writer>), SegmentError> {
        let incarnation =
            random_nonzero().map_err(|source| failed("draw an incarnation for", &config.path, source))?;
        Self::create_as(config, incarnation)
    }

    /// [`create`](Self::create) with an incarnation that the caller drew: for simulated worlds, where the same seed must
    /// lay out the same segment. Its low 32 bits must not be zero.
    #[doc(hidden)]
    pub fn create_as(
        config: &SegmentConfig,
        incarnation: u64,
    ) -> Result<(Segment, Vec<Writer>), SegmentError> {
        let counts = counts(config)?;
        let identity = identity(config, incarnation)?;
        if let Some(directory) = config.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(directory);
            made.map_err(|source| failed("create the directory", directory, source))?;
        }
        close_predecessor(&config.path)?;
        let geometry = Geometry::plan(counts);
        let temporary = temporary_path(&config.path, std::process::id());
        remove_leftovers(&config.path);
        let built = build(&temporary, &config.path, &geometry, &identity);
        if built.is_err() {
            // Best effort: the first error is the one to report.
            let _ = std::fs::remove_file(&temporary);
        }
        let mapping = Arc::new(built?);
        let writers = (0..config.workers)
            .map(|worker| Writer::new(Arc::clone(&mapping), geometry.clone(), worker, identity.incarnation))
            .collect();
        Ok((Segment { mapping, incarnation: identity.incarnation }, writers))
    }

    /// Tells readers that the values are worth reading.
    pub fn mark_ready(&self) {
        self.set_state(STATE_READY);
    }

    /// Tells readers that nothing will be written any more.
    pub fn close(&self) {
        self.set_state(STATE_CLOSED);
    }

    /// The random number that tells this segment from every other one.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    fn set_state(&self, state: u64) {
        set_state(&self.mapping, state);
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.close();
    }
}

fn set_state(mapping: &Mapping, to: u64) {
    if let Some(word) = mapping.words().get(STATE_AT) {
        state::set(word, to);
    }
}

fn failed(step: &'static str, path: &Path, source: io::Error) -> SegmentError {
    SegmentError::Io { step, path: path.display().to_string(), source }
}

fn counts(config: &SegmentConfig) -> Result<Counts, SegmentError> {
    let counts = Counts {
        workers: config.workers,
        shards: config.shards,
        cells: config.cells_per_worker.into(),
        extent_bytes: config.extent_bytes_per_worker,
        change_entries: config.change_ring_entries.into(),
    };
    match counts.problem() {
        Some((setting, value, allowed)) => Err(SegmentError::Setting { setting, value, allowed }),
        None => Ok(counts),
    }
}

fn identity(config: &SegmentConfig, incarnation: u64) -> Result<Identity, SegmentError> {
    let socket_path = config.socket_path.as_deref().map_or(&[][..], |path| path.as_os_str().as_bytes());
    let texts = [
        ("node_name", config.node_name.as_bytes(), 63),
        ("cluster", config.cluster.as_bytes(), 63),
        ("socket_path", socket_path, 255),
    ];
    for (setting, text, max_bytes) in texts {
        if text.len() > max_bytes || text.contains(&0) {
            return Err(SegmentError::Text { setting, max_bytes });
        }
    }
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(Identity {
        node: config.node,
        node_name: config.node_name.clone(),
        cluster: config.cluster.clone(),
        socket_path: socket_path.to_vec(),
        actor: config.actor,
        incarnation,
        pid: std::process::id(),
        pid_start_ticks: process_start_ticks().unwrap_or(0),
        start_unix_ns: u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX),
        heartbeat_timeout_ns: config.heartbeat_timeout_ns,
    })
}

fn random_nonzero() -> io::Result<u64> {
    let mut bytes = [0u8; 8];
    loop {
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        let number = u64::from_le_bytes(bytes);
        // Its low half is the generation of every cell, and generation 0 is "no cell".
        if number as u32 != 0 {
            return Ok(number);
        }
    }
}

/// Field 22 of `/proc/self/stat` (proc(5)); the name in field 2 may contain anything, so count behind its last bracket.
fn process_start_ticks() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Marks whatever segment is at the path CLOSED. Anything that is not a segment is left alone and later replaced.
fn close_predecessor(path: &Path) -> Result<(), SegmentError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        // A link is nobody's segment here: the rename replaces it, and what it leads to is not ours to close.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP) => return Ok(()),
        Err(errno) => return Err(failed("open the predecessor", path, errno.into())),
    };
    let metadata = file.metadata().map_err(|source| failed("examine the predecessor", path, source))?;
    if !metadata.is_file() || metadata.len() < HEADER_BYTES as u64 {
        return Ok(());
    }
    let mapping = Mapping::writable(&file, HEADER_BYTES as u64)
        .map_err(|source| failed("map the predecessor", path, source))?;
    if mapping.words().first().is_some_and(|magic| magic.load(Relaxed) == MAGIC) {
        set_state(&mapping, STATE_CLOSED);
    }
    Ok(())
}

fn temporary_path(path: &Path, pid: u32) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{pid}.tmp"));
    PathBuf::from(temporary)
}

/// Removes temporary files of daemons that were killed while they built a segment: they hold memory. Those of other living
/// processes stay; one of this process's own number is a former bearer's. Best effort: building reports what matters.
fn remove_leftovers(path: &Path) {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
        return;
    };
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let found = entry.file_name();
        let pid = found
            .to_str()
            .and_then(|found| found.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".tmp"));
        let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn build(
    temporary: &Path,
    path: &Path,
    geometry: &Geometry,
    identity: &Identity,
) -> Result<Mapping, SegmentError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(temporary, flags, Mode::from_raw_mode(0o640))
        .map_err(|errno| failed("create", temporary, errno.into()))?;
    let file = File::from(file);
    file.set_len(geometry.total_bytes).map_err(|source| failed("size", temporary, source))?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, geometry.total_bytes) {
        // A file system without reservations (none of those meant for segments) still works.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(errno) => return Err(failed("reserve the space of", temporary, errno.into())),
    }
    let mapping =
        Mapping::writable(&file, geometry.total_bytes).map_err(|source| failed("map", temporary, source))?;
    header::write(mapping.words(), geometry, identity);
    std::fs::rename(temporary, path).map_err(|source| failed("rename the new segment to", path, source))?;
    Ok(mapping)
}
