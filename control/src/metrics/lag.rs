//! How long a peer has been behind, in seconds, from how many operations it is behind.
//!
//! ```text
//!   samples of one shard     (t0, 10)   (t1, 10)   (t2, 25)   (t3, 40)   now
//!   a peer has acknowledged 12: the first sample beyond 12 is that of t2, so it has been behind since t2 at the latest
//! ```
//!
//! The engine knows seqs and no times, and giving each operation one would cost every write. So the last seq is sampled
//! now and then, and the age of the first sample beyond what the peer has is the lag: a lower bound, by less than the time
//! between two samples. Samples are bounded: when there are too many, the one goes without which the lag of nobody gets much
//! wrong, as a part of itself. So old ones get sparse, and a lag of hours is known to within some percent.

use std::collections::VecDeque;

/// Samples kept of a shard.
const CAPACITY: usize = 128;

/// What a shard's last own operation was, at some moments.
#[derive(Clone, Debug, Default)]
pub struct SeqHistory {
    /// Monotonic time in nanoseconds and last seq; both ascending.
    samples: VecDeque<(u64, u64)>,
}

impl SeqHistory {
    /// Takes a sample. A seq below the last one begins anew: the shard's epoch is another.
    pub fn take(&mut self, now_ns: u64, last_seq: u64) {
        if self.samples.back().is_some_and(|(_, before)| last_seq < *before) {
            self.samples.clear();
        }
        // Only the first moment of a seq is ever asked for.
        if self.samples.back().is_some_and(|(_, before)| last_seq == *before) {
            return;
        }
        if self.samples.len() >= CAPACITY {
            self.thin(now_ns);
        }
        self.samples.push_back((now_ns, last_seq));
    }

    /// Takes out the sample whose absence makes the least difference to a lag: that from the one before it to the one after
    /// it, beside the age of the one before.
    fn thin(&mut self, now_ns: u64) {
        let error = |at: &usize| {
            let taken_ns = |at: usize| self.samples.get(at).map_or(now_ns, |(taken_ns, _)| *taken_ns);
            let (before_ns, after_ns) = (taken_ns(at - 1), taken_ns(at + 1));
            after_ns.saturating_sub(before_ns) as f64 / now_ns.saturating_sub(before_ns).max(1) as f64
        };
        let least = (1..self.samples.len()).min_by(|a, b| error(a).total_cmp(&error(b)));
        if let Some(at) = least {
            self.samples.remove(at);
        }
    }

    /// How long a peer that has acknowledged everything up to `acked_seq` has been behind, at least; nanoseconds.
    #[must_use]
    pub fn lag_ns(&self, now_ns: u64, acked_seq: u64) -> u64 {
        let first_beyond = self.samples.partition_point(|(_, seq)| *seq <= acked_seq);
        self.samples.get(first_beyond).map_or(0, |(taken_ns, _)| now_ns.saturating_sub(*taken_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_behind_since_the_first_sample_beyond_what_it_has() {
        let mut history = SeqHistory::default();
        assert_eq!(history.lag_ns(5, 0), 0);
        for (now_ns, last_seq) in [(1_000, 10), (2_000, 10), (3_000, 25), (4_000, 40)] {
            history.take(now_ns, last_seq);
        }
        let lags = [0, 9, 10, 12, 25, 39, 40, 99].map(|acked| history.lag_ns(5_000, acked));
        assert_eq!(lags, [4_000, 4_000, 2_000, 2_000, 1_000, 1_000, 0, 0]);
    }

    #[test]
    fn a_new_epoch_begins_anew() {
        let mut history = SeqHistory::default();
        history.take(1_000, 10);
        history.take(2_000, 3);
        assert_eq!(history.lag_ns(2_500, 0), 500);
    }

    #[test]
    fn long_lags_are_known_roughly_and_memory_is_bounded() {
        let mut history = SeqHistory::default();
        for second in 0..100_000 {
            history.take(second, second);
        }
        assert!(history.samples.len() <= CAPACITY);
        for acked in [0, 10, 1_000, 50_000, 90_000, 99_000, 99_900] {
            let (found, exact) = (history.lag_ns(100_000, acked), 100_000 - (acked + 1));
            assert!(found <= exact && found * 100 >= exact * 85, "acked {acked}: {found} of {exact}");
        }
    }
}
