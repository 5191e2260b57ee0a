//! One follower: a disk or a peer, on its way from cut to cut.
//!
//! ```text
//!   last reached │ oldest under way, … , newest │ <── push; without a place: the newest becomes the pushed one
//!        ▲       └──────────┬───────────────────┘
//!        └── has it all ────┘        look_back: has it all no more ──> under way again, nothing is reached
//! ```

/// Cuts that a follower may have under way. With eight, what is told under a steady stream of marks is an eighth of the way to
/// the follower later than it could be.
const UNDER_WAY: usize = 8;

/// See the module's documentation. A cut is the seqs of the shards, then the numbers of the clients' submissions.
pub(crate) struct Follower {
    shards: usize,
    /// Cuts one after the other: the last one reached, and a ring of those under way.
    last: Box<[u64]>,
    under_way: Box<[Box<[u64]>]>,
    first: usize,
    count: usize,
    /// Shards of the oldest cut that have been found reached.
    found: usize,
    /// Number of the newest cut that it was sent to; 0: none.
    newest: u64,
}

impl Follower {
    pub(crate) fn new(shards: usize, clients: usize) -> Self {
        let cut = || vec![0; shards + clients].into_boxed_slice();
        Self {
            shards,
            last: cut(),
            under_way: (0..UNDER_WAY).map(|_| cut()).collect(),
            first: 0,
            count: 0,
            found: 0,
            newest: 0,
        }
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.count > 0
    }

    /// Submissions of a client that it has reached.
    pub(crate) fn reached(&self, column: usize) -> u64 {
        self.last.get(self.shards + column).copied().unwrap_or(0)
    }

    /// The number of the newest cut that it was sent to, since it was last cleared.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// Sends it on to a cut, which is not before any that it was sent to.
    pub(crate) fn push(&mut self, cut: &[u64], number: u64) {
        self.newest = number;
        self.count = (self.count + 1).min(UNDER_WAY);
        let newest = (self.first + self.count - 1) % UNDER_WAY;
        if let Some(place) = self.under_way.get_mut(newest) {
            place.copy_from_slice(cut);
        }
    }

    /// Moves on as far as `has` allows: the seq that it has in a shard, with all before it; `None`: there is no follower.
    /// True if it reached something, shard after shard: [`look_back`](Self::look_back) says whether it still has it all.
    pub(crate) fn advance(&mut self, has: impl Fn(usize) -> Option<u64>) -> bool {
        let mut moved = false;
        if self.count > 0 && has(0).is_none() {
            self.clear();
        }
        while self.count > 0 {
            let Some(cut) = self.under_way.get_mut(self.first) else { break };
            let has_it = |(shard, seq): (usize, &u64)| has(shard).is_some_and(|has| has >= *seq);
            // Mostly this is one comparison: the shard that was missing is missing.
            let rest = cut[..self.shards].iter().enumerate().skip(self.found);
            self.found += rest.take_while(|of_shard| has_it(*of_shard)).count();
            if self.found < self.shards {
                break;
            }
            std::mem::swap(&mut self.last, cut);
            (self.first, self.count) = ((self.first + 1) % UNDER_WAY, self.count - 1);
            (self.found, moved) = (0, true);
        }
        moved
    }

    /// Whether [`advance`](Self::advance) would reach something.
    pub(crate) fn would_move(&self, has: impl Fn(usize) -> Option<u64>) -> bool {
        let Some(cut) = self.under_way.get(self.first).filter(|_| self.count > 0) else { return false };
        let has_it = |(shard, seq): (usize, &u64)| has(shard).is_some_and(|has| has >= *seq);
        cut[..self.shards].iter().enumerate().skip(self.found).all(has_it)
    }

    /// If it does not have any more what it reached last, it has reached nothing, and that is under way again.
    pub(crate) fn look_back(&mut self, has: impl Fn(usize) -> Option<u64>) {
        let has_it = |(shard, seq): (usize, &u64)| has(shard).is_some_and(|has| has >= *seq);
        if self.last[..self.shards].iter().enumerate().all(has_it) {
            return;
        }
        if has(0).is_none() {
            return self.clear();
        }
        // Without a place, whatever is under way implies it.
        if self.count < UNDER_WAY {
            self.first = (self.first + UNDER_WAY - 1) % UNDER_WAY;
            self.count += 1;
            if let Some(place) = self.under_way.get_mut(self.first) {
                place.copy_from_slice(&self.last);
            }
        }
        self.last.fill(0);
        self.found = 0;
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.last.fill(0);
        (self.count, self.found, self.newest) = (0, 0, 0);
    }

    /// The column is another client's from here on.
    pub(crate) fn clear_column(&mut self, column: usize) {
        for cut in self.under_way.iter_mut().chain([&mut self.last]) {
            if let Some(ticket) = cut.get_mut(self.shards + column) {
                *ticket = 0;
            }
        }
    }
}
