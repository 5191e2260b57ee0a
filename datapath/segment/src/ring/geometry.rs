//! Sizes of a ring file: planned by the daemon, checked by the client.

use super::layout::{
    COMPLETION_WORDS, LINES_WORDS, MAX_SUBMISSION_SLOTS, RING_HEADER_BYTES, RING_MAGIC, RING_VERSION,
    SLOT_WORDS,
};
use super::{RingConfig, RingError};
use crate::layout::MAX_WORKERS;

/// Fewest slots of a ring: the longest submission fits.
const MIN_SLOTS: usize = 32;
/// Most slots of a ring.
const MAX_SLOTS: usize = 65_536;

/// Sizes of a ring file, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingGeometry {
    pub(crate) workers: u16,
    pub(crate) submission_slots: usize,
    pub(crate) completion_slots: usize,
    pub(crate) stride_bytes: usize,
}

impl RingGeometry {
    pub(crate) fn new(workers: u16, config: RingConfig) -> Result<RingGeometry, RingError> {
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(RingError::Setting { setting: "workers", value: workers.into() });
        }
        for (setting, value) in
            [("submission_slots", config.submission_slots), ("completion_slots", config.completion_slots)]
        {
            if !value.is_power_of_two() || !(MIN_SLOTS..=MAX_SLOTS).contains(&(value as usize)) {
                return Err(RingError::Setting { setting, value: value.into() });
            }
        }
        let (submission_slots, completion_slots) =
            (config.submission_slots as usize, config.completion_slots as usize);
        let words = LINES_WORDS + submission_slots * SLOT_WORDS + completion_slots * COMPLETION_WORDS;
        let stride_bytes = (words * 8).next_multiple_of(RING_HEADER_BYTES);
        Ok(RingGeometry { workers, submission_slots, completion_slots, stride_bytes })
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        (RING_HEADER_BYTES + usize::from(self.workers) * self.stride_bytes) as u64
    }

    /// The header's words.
    pub(crate) fn header(&self) -> [u64; 7] {
        [
            RING_MAGIC,
            RING_VERSION,
            self.total_bytes(),
            self.workers.into(),
            self.submission_slots as u64,
            self.completion_slots as u64,
            self.stride_bytes as u64,
        ]
    }

    /// Accepts a header copied out of a file only if all of it follows from its counts.
    pub(crate) fn parse(header: [u64; 7], file_bytes: u64) -> Result<RingGeometry, RingError> {
        let workers = u16::try_from(header[3]).map_err(|_| RingError::Invalid("too many workers"))?;
        let slots = |value: u64| u32::try_from(value).map_err(|_| RingError::Invalid("too many slots"));
        let config = RingConfig { submission_slots: slots(header[4])?, completion_slots: slots(header[5])? };
        let geometry = RingGeometry::new(workers, config)?;
        if geometry.header() != header {
            return Err(RingError::Invalid("magic, version or sizes differ from this layout's"));
        }
        if file_bytes < geometry.total_bytes() {
            return Err(RingError::Invalid("the file is shorter than its rings"));
        }
        Ok(geometry)
    }
}

const _: () = assert!(MAX_SUBMISSION_SLOTS <= MIN_SLOTS);
