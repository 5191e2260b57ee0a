//! The world's own random numbers: everything that is drawn in a seed comes from here.
//!
//! SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014): cheap, and any seed is
//! as good as any other. One [`Draw`] a concern (network, workload, incidents …), split off by [`Draw::split`], so that a
//! change in one of them does not reshuffle the others.

/// A seeded generator.
#[derive(Clone, Debug)]
pub struct Draw(u64);

/// Draws of an exponential distribution are cut off at so many times their mean.
pub const MAX_EXPONENTIAL: u64 = 16;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Draw {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(GOLDEN)))
    }

    /// Another generator for another concern.
    pub fn split(&mut self, concern: u64) -> Self {
        Self::new(self.bits() ^ mix(concern))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Uniform in `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// [`below`](Self::below) for places in a list.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// Whether something happens that happens so often in a thousand.
    pub fn per_mille(&mut self, chance: u64) -> bool {
        chance > 0 && self.below(1000) < chance
    }

    /// One of the choices.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// A draw with mean `mean` and an exponential distribution, at most [`MAX_EXPONENTIAL`] times the mean.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        let unit = (self.bits() >> 11) as f64 / (1u64 << 53) as f64;
        let times = -(1.0 - unit).ln();
        (times.min(MAX_EXPONENTIAL as f64) * mean as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_another_does_not() {
        let draws = |seed| {
            std::iter::repeat_with({
                let mut draw = Draw::new(seed);
                move || draw.bits()
            })
            .take(8)
            .collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let mut draw = Draw::new(1);
        let mut seen = [false; 5];
        (0..200).for_each(|_| seen[draw.between(3, 7) as usize - 3] = true);
        assert_eq!(seen, [true; 5]);
        assert_eq!(draw.below(0), 0);
        assert!((0..1000).all(|_| draw.exponential(10) <= 160));
    }
}
