//! A small deterministic generator for the engine's own draws: which peer to gossip with, and timer jitter.
//!
//! SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014). Nothing secret
//! hangs on it; the seed is handed in, so that a simulated run can be replayed.

/// The generator's state.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound` up to a bias that no draw here notices; 0 for a bound of 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// `period_ns`, give or take a quarter: peers that started together drift apart.
    pub(crate) fn jittered(&mut self, period_ns: u64) -> u64 {
        let quarter = period_ns / 4;
        period_ns - quarter + self.below(usize::try_from(quarter * 2).unwrap_or(usize::MAX)) as u64
    }
}
