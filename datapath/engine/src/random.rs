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

#[cfg(test)]
mod tests {
    use super::*;

    /// The generator's published sequence for this seed.
    #[test]
    fn draws_are_those_of_splitmix64() {
        let mut random = Random::new(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
        ];
        assert_eq!(expected.map(|_| random.next()), expected);
    }

    #[test]
    fn draws_below_a_bound_reach_all_of_it_and_nothing_else() {
        let mut random = Random::new(1);
        let mut seen = [0; 5];
        (0..1_000).for_each(|_| seen[random.below(5)] += 1);
        assert!(seen.iter().all(|count| (100..300).contains(count)), "{seen:?}");
        assert_eq!((random.below(1), random.below(0)), (0, 0));
    }

    #[test]
    fn jitter_is_a_quarter_either_way() {
        let mut random = Random::new(1);
        let draws: Vec<u64> = (0..1_000).map(|_| random.jittered(1_000)).collect();
        let (least, most) = (draws.iter().min(), draws.iter().max());
        assert!(
            (750..760).contains(least.unwrap()) && (1_240..1_250).contains(most.unwrap()),
            "{least:?} {most:?}"
        );
    }
}
