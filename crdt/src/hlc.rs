//! Hybrid logical clocks (Kulkarni, Demirbas, Madappa, Avva, Leone: "Logical Physical Clocks", OPODIS 2014), in the
//! 64-bit form that the paper's section 6 proposes: one number carries both parts.
//!
//! ```text
//!    63                                16 15          0
//!   ┌────────────────────────────────────┬─────────────┐
//!   │ unix time in ns, to 65.5 µs         │ logical u16 │   compared as one integer
//!   └────────────────────────────────────┴─────────────┘
//! ```
//!
//! A logical counter that overflows carries into the physical part: the clock then runs ahead by 65.5 µs, and order is
//! kept. Clocks order registers only; they never decide a removal. What can go wrong: a node whose clock is far ahead
//! wins every register until the others catch up; refusing that node's own writes is the origin's duty, not ours.

const LOGICAL_BITS: u32 = 16;
const LOGICAL_MASK: u64 = (1 << LOGICAL_BITS) - 1;

/// A hybrid logical timestamp. Ordered; the order contains happens-before.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug, Default)]
pub struct Hlc(u64);

impl Hlc {
    /// The timestamp with this number, as it stands on the wire.
    pub const fn from_u64(bits: u64) -> Self {
        Self(bits)
    }

    /// The number of this timestamp, as it stands on the wire.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The timestamp of a new local event at `wall_ns` (unix time): strictly greater than `self`, and not before the
    /// wall clock by more than its resolution. (At `u64::MAX`, in the year 2554, the clock stands still.)
    #[must_use]
    pub const fn tick(self, wall_ns: u64) -> Hlc {
        let physical = wall_ns & !LOGICAL_MASK;
        if physical > self.0 { Hlc(physical) } else { Hlc(self.0.saturating_add(1)) }
    }

    /// The wall clock in it, unix time in nanoseconds, to 65.5 µs.
    #[must_use]
    pub const fn wall_ns(self) -> u64 {
        self.0 & !LOGICAL_MASK
    }

    /// The clock after it has seen `other`: the next [`tick`](Self::tick) is greater than both.
    #[must_use]
    pub fn observe(self, other: Hlc) -> Hlc {
        self.max(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_grow_when_the_wall_clock_stands_or_steps_back() {
        let wall_ns = 1_700_000_000_123_456_789;
        let mut clock = Hlc::default().tick(wall_ns);
        assert_eq!(clock.as_u64(), wall_ns / 65_536 * 65_536, "unix time to 65.5 µs, no logical part yet");
        assert_eq!((clock.wall_ns(), clock.tick(0).wall_ns()), (clock.as_u64(), clock.as_u64()));
        for wall_ns in std::iter::repeat_n(wall_ns, 70_000).chain([wall_ns - 5_000_000_000, 0]) {
            let next = clock.tick(wall_ns);
            assert!(next > clock);
            clock = next;
        }
    }

    #[test]
    fn a_tick_after_observing_is_greater_than_what_was_observed() {
        let ahead = Hlc::from_u64(9 << 20);
        assert!(Hlc::default().tick(1 << 20).observe(ahead).tick(1 << 20) > ahead);
        assert_eq!(ahead.observe(Hlc::default()), ahead);
    }

    #[test]
    fn the_end_of_time_does_not_wrap() {
        assert_eq!(Hlc::from_u64(u64::MAX).tick(7), Hlc::from_u64(u64::MAX));
    }
}
