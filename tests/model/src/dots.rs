//! Sets of dots in one word.
//!
//! ```text
//!   actor    7    6    5    4    3    2    1    0        actors 0, 1, 2 are the nodes' first epochs,
//!         ....|....|....|....|....|....|..11|...1        the others are given to restarts in order
//!                                         4321           seq
//! ```
//!
//! A version vector is such a set, ranges and all; so are the live dots of a store, the pre-removed dots, and (filled up
//! downwards) the last touches of a key. It is the exact equivalent of the production types for at most
//! [`MAX_SEQ`] operations of each of [`MAX_ACTORS`] actors, and a thousand times cheaper to clone, hash and compare:
//! `tests/shadow.rs` runs both beside each other.

/// A set of dots.
pub type Dots = u32;

/// Actors that fit.
pub const MAX_ACTORS: usize = 8;
/// Operations of one actor that fit.
pub const MAX_SEQ: u32 = 4;

const FIRST: Dots = 0x1111_1111;

/// The set of one dot.
pub fn dot(actor: u8, seq: u32) -> Dots {
    debug_assert!((actor as usize) < MAX_ACTORS && (1..=MAX_SEQ).contains(&seq));
    1 << (u32::from(actor) * MAX_SEQ + seq - 1)
}

/// All dots of one actor.
pub fn of_actor(actor: u8) -> Dots {
    0xF << (u32::from(actor) * MAX_SEQ)
}

/// The actor of a dot.
pub fn actor_of(dot: Dots) -> u8 {
    (dot.trailing_zeros() / MAX_SEQ) as u8
}

/// The seq of a dot.
pub fn seq_of(dot: Dots) -> u32 {
    dot.trailing_zeros() % MAX_SEQ + 1
}

/// The highest seq of an actor in a set; 0 if it has none there.
pub fn highest(dots: Dots, actor: u8) -> u32 {
    let own = dots >> (u32::from(actor) * MAX_SEQ) & 0xF;
    u32::BITS - own.leading_zeros()
}

/// Of each actor, the dots up to the first gap.
pub fn contiguous(dots: Dots) -> Dots {
    let mut run = dots & FIRST;
    for step in 1..MAX_SEQ {
        run |= run << 1 & dots & (FIRST << step);
    }
    run
}

/// Of each actor, all dots up to its highest one.
pub fn filled_up(dots: Dots) -> Dots {
    let without_last = !(FIRST << (MAX_SEQ - 1));
    (1..MAX_SEQ).fold(dots, |filled, _| filled | (filled >> 1 & without_last))
}

/// Of each actor, the highest dot of a set that is filled up.
pub fn last_of_each(filled: Dots) -> Dots {
    filled & !(filled >> 1 & !(FIRST << (MAX_SEQ - 1)))
}

/// The dots of a set, one by one.
pub fn each(dots: Dots) -> impl Iterator<Item = Dots> {
    (0..Dots::BITS).map(|at| 1 << at).filter(move |dot| dots & dot != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_end_the_contiguous_part_of_their_own_actor_only() {
        let dots = dot(0, 1) | dot(0, 2) | dot(0, 4) | dot(1, 2) | dot(7, 1);
        assert_eq!(contiguous(dots), dot(0, 1) | dot(0, 2) | dot(7, 1));
        assert_eq!(filled_up(dots), of_actor(0) | dot(1, 1) | dot(1, 2) | dot(7, 1));
        assert_eq!(last_of_each(filled_up(dots)), dot(0, 4) | dot(1, 2) | dot(7, 1));
        assert_eq!((highest(dots, 0), highest(dots, 1), highest(dots, 2)), (4, 2, 0));
        assert_eq!((actor_of(dot(5, 3)), seq_of(dot(5, 3))), (5, 3));
        assert_eq!(each(dots).count(), 5);
    }

    #[test]
    fn the_last_seq_of_one_actor_does_not_run_into_the_next() {
        assert_eq!(filled_up(dot(1, 4)), of_actor(1));
        assert_eq!(contiguous(of_actor(1) | dot(2, 2)), of_actor(1));
    }
}
