//! The ring file: an anonymous memory file, sealed so that neither side can pull it from under the other.

use super::consumer::RingConsumer;
use super::geometry::RingGeometry;
use super::layout::RING_HEADER_BYTES;
use super::part::RingPart;
use super::{RingConfig, RingError};
use crate::mapping::Mapping;
use crate::sync::Ordering::Relaxed;
use crate::words;
use rustix::fs::{MemfdFlags, SealFlags};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A mapped ring file.
#[derive(Clone, Debug)]
pub(super) struct SharedRings {
    mapping: Arc<Mapping>,
    geometry: RingGeometry,
}

impl SharedRings {
    pub(super) fn workers(&self) -> u16 {
        self.geometry.workers
    }

    /// A worker's pair of rings.
    #[inline]
    pub(super) fn part(&self, worker: u16) -> Option<RingPart<'_>> {
        let stride = self.geometry.stride_bytes / 8;
        let start = RING_HEADER_BYTES / 8 + usize::from(worker) * stride;
        let words = self.mapping.words().get(start..start + stride)?;
        RingPart::new(words, self.geometry.submission_slots, self.geometry.completion_slots)
    }
}

fn failed(step: &'static str) -> impl Fn(rustix::io::Errno) -> RingError {
    move |errno| RingError::Io { step, source: errno.into() }
}

fn failed_io(step: &'static str) -> impl Fn(io::Error) -> RingError {
    move |source| RingError::Io { step, source }
}

/// Without these a client could truncate the file, and the daemon's next access would be a SIGBUS.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Creates one client's rings: the sealed memfd for the client and a consumer for each worker, in their order.
pub fn create_rings(workers: u16, config: RingConfig) -> Result<(OwnedFd, Vec<RingConsumer>), RingError> {
    let geometry = RingGeometry::new(workers, config)?;
    let fd = rustix::fs::memfd_create("latticed-rings", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
        .map_err(failed("create"))?;
    rustix::fs::ftruncate(&fd, geometry.total_bytes()).map_err(failed("size"))?;
    rustix::fs::fcntl_add_seals(&fd, SEALS).map_err(failed("seal"))?;
    let mapping = Arc::new(Mapping::writable(&fd, geometry.total_bytes()).map_err(failed_io("map"))?);
    for (word, value) in mapping.words().iter().zip(geometry.header()) {
        // Relaxed: the descriptor is passed through a socket, which orders.
        word.store(value, Relaxed);
    }
    let rings = SharedRings { mapping, geometry };
    Ok((fd, (0..workers).map(|worker| RingConsumer::new(rings.clone(), worker)).collect()))
}

/// Maps and validates a ring file that the daemon passed.
pub(super) fn map(fd: BorrowedFd<'_>) -> Result<SharedRings, RingError> {
    let seals = rustix::fs::fcntl_get_seals(fd).map_err(failed("examine"))?;
    if !seals.contains(SEALS) {
        return Err(RingError::Invalid("it could be truncated"));
    }
    let bytes = rustix::fs::fstat(fd).map_err(failed("examine"))?.st_size as u64;
    if bytes < RING_HEADER_BYTES as u64 {
        return Err(RingError::Invalid("the file is shorter than its header"));
    }
    let mut header = [0; 7];
    let front = Mapping::writable(&fd, RING_HEADER_BYTES as u64).map_err(failed_io("map"))?;
    words::copy_words(front.words(), &mut header);
    let geometry = RingGeometry::parse(header, bytes)?;
    let mapping = Arc::new(Mapping::writable(&fd, geometry.total_bytes()).map_err(failed_io("map"))?);
    Ok(SharedRings { mapping, geometry })
}
