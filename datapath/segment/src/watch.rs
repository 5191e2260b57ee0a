//! Following changes: a position in one worker's change ring, and sleeping until it moves.
//!
//! See `change_ring` for the ring. A watcher holds its own reference to the mapping, so it may outlive the reader that
//! made it. A closed or dead segment changes no more: watchers should look at [`Reader::is_closed`] and the heartbeat
//! when a wait ends without a change.
//!
//! [`Reader::is_closed`]: crate::Reader::is_closed

use crate::change_ring::{self, Step};
use crate::futex;
use crate::header::Section;
use crate::mapping::Mapping;
use crate::reader::CellRef;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest sleep without looking: the delay of a watcher whose daemon does not wake watchers.
const SLICE: Duration = Duration::from_millis(10);

/// One step of a change cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A cell was published with this version (read it to get that value or a later one).
    Item {
        /// The cell.
        cell: CellRef,
        /// Its version after the publication.
        version: u64,
    },
    /// Nothing new.
    None,
    /// Changes were lost because this watcher was too slow: read everything again. The cursor now stands at the newest.
    Overrun,
}

/// A watcher's position in one worker's change ring.
#[derive(Clone, Debug)]
pub struct ChangeCursor {
    mapping: Arc<Mapping>,
    changes: Section,
    worker: u16,
    position: u64,
}

impl ChangeCursor {
    pub(crate) fn new(mapping: Arc<Mapping>, changes: Section, worker: u16) -> ChangeCursor {
        let position = change_ring::head(changes.part(mapping.words(), worker));
        ChangeCursor { mapping, changes, worker, position }
    }

    /// The worker whose changes these are.
    pub fn worker(&self) -> u16 {
        self.worker
    }

    /// The next change, without waiting.
    // Not an iterator: `None` here is a pause, not the end.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Change {
        match change_ring::read(self.changes.part(self.mapping.words(), self.worker), self.position) {
            Step::Entry(entry) => {
                self.position = self.position.wrapping_add(1);
                let cell = CellRef::new(self.worker, entry.cell, entry.generation);
                Change::Item { cell, version: entry.version }
            }
            Step::Nothing => Change::None,
            Step::Overrun { head } => {
                self.position = head;
                Change::Overrun
            }
        }
    }

    /// Sleeps until there is a change or the time is over; true if there is one (`next` will not return `None`).
    pub fn wait(&self, timeout: Duration) -> bool {
        let ring = self.changes.part(self.mapping.words(), self.worker);
        let Some(word) = change_ring::futex(ring) else { return false };
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let head = change_ring::head(ring);
            if head != self.position {
                return true;
            }
            let left = deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            futex::wait(word, head, left.min(SLICE));
        }
    }
}
