//! What happened, as a running hash; and, for whoever replays a seed, as text.
//!
//! Every delivery, operation, fault and digest goes into the hash with its time. Two runs of a seed that differ anywhere
//! differ in it, so comparing one number proves that a run can be replayed.

use std::fmt::Arguments;

/// The trace of one world.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    prints: bool,
}

impl Trace {
    /// An empty trace; `prints`: events are also written to standard output.
    pub fn new(prints: bool) -> Self {
        Self { hash: 0x6C61_7474_6963_6564, events: 0, prints }
    }

    /// Takes an event in: its time, a number for its sort, and what tells it from others of its sort.
    pub fn note(&mut self, now_ns: u64, sort: u64, details: &[u64]) {
        self.events += 1;
        self.fold(now_ns);
        self.fold(sort);
        details.iter().for_each(|&detail| self.fold(detail));
    }

    /// Prints an event, if anybody wants to read it. The text is not in the hash: it is made only on demand.
    pub fn say(&self, now_ns: u64, text: Arguments<'_>) {
        if self.prints {
            println!("{:>14.6} ms  {text}", now_ns as f64 / 1e6);
        }
    }

    /// Whether anybody reads: for texts that cost something to gather.
    pub fn prints(&self) -> bool {
        self.prints
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Events so far: what failures call the step.
    pub fn events(&self) -> u64 {
        self.events
    }

    fn fold(&mut self, value: u64) {
        let product = u128::from(self.hash ^ value ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93_u128;
        self.hash = (product as u64) ^ ((product >> 64) as u64).rotate_left(23);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_order_and_content_all_count() {
        let hash = |events: &[(u64, u64)]| {
            let mut trace = Trace::new(false);
            events.iter().for_each(|&(at, detail)| trace.note(at, 1, &[detail]));
            trace.hash()
        };
        let one = hash(&[(1, 2), (3, 4)]);
        assert_eq!(one, hash(&[(1, 2), (3, 4)]));
        for other in [&[(1, 2), (3, 5)][..], &[(1, 2), (4, 4)], &[(3, 4), (1, 2)], &[(1, 2)]] {
            assert_ne!(one, hash(other));
        }
    }
}
