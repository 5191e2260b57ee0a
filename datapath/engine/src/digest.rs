//! Digests that two nodes compare to know that they are equal.
//!
//! A state digest is the wrapping sum of one hash per *atom* of a key's canonical state: a counter entry, a register's
//! stamped value, one (element, dot). A sum is incremental and has no order: a change subtracts the atoms that went
//! and adds those that came, so it costs the same whatever the size of the state. It finds divergence by accident, not
//! by malice: it is no cryptographic commitment.

use lattice_crdt::{ActorId, Clock, CounterEntry, Dot, Hlc, Kind, NarrowEntry, VersionVector};
use xxhash_rust::xxh64::xxh64;

const K: [u64; 3] = [0x9E37_79B1_85EB_CA87, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9];

/// Folds a 128-bit product, so that every input bit reaches every output bit.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ K[0]) * u128::from(b ^ K[1]);
    (product as u64) ^ ((product >> 64) as u64) ^ a.rotate_left(32).wrapping_mul(K[2])
}

fn key_base(key_hash: u64, kind: Kind) -> u64 {
    mix(key_hash, kind as u64)
}

/// What a digest gains when one actor's entry of a counter goes from `old` to `new`. The atom of an entry is a multilinear
/// hash of its four words (Carter and Wegman, "Universal Classes of Hash Functions", JCSS 1979) with the actor's place as its
/// multiplier. So it costs one mixing and a few products, which matters, for it runs with every increment; and an entry of
/// nothing is no atom.
#[inline]
pub(crate) fn counter_change(key_hash: u64, actor: ActorId, old: CounterEntry, new: CounterEntry) -> u64 {
    let place = mix(key_hash ^ Kind::Counter as u64, actor.as_u64()) | 1;
    place.wrapping_mul(words_of(new).wrapping_sub(words_of(old)))
}

/// [`counter_change`] for entries of two words.
#[inline]
pub(crate) fn narrow_change(key_hash: u64, actor: ActorId, old: NarrowEntry, new: NarrowEntry) -> u64 {
    let place = mix(key_hash ^ Kind::Counter as u64, actor.as_u64()) | 1;
    let up = new.increments.wrapping_sub(old.increments);
    let down = new.decrements.wrapping_sub(old.decrements);
    place.wrapping_mul(up.wrapping_add(down.wrapping_mul(K[0])))
}

#[inline]
fn words_of(entry: CounterEntry) -> u64 {
    let low = (entry.increments as u64).wrapping_add((entry.decrements as u64).wrapping_mul(K[0]));
    let (up, down) = ((entry.increments >> 64) as u64, (entry.decrements >> 64) as u64);
    low.wrapping_add(up.wrapping_mul(K[1])).wrapping_add(down.wrapping_mul(K[2]))
}

/// The atom of a register.
pub(crate) fn register_atom(key_hash: u64, stamp: (Hlc, ActorId), value: &[u8]) -> u64 {
    let base = mix(key_base(key_hash, Kind::Register), stamp.0.as_u64());
    mix(mix(base, stamp.1.as_u64()), xxh64(value, 0))
}

/// The atom of one live dot of an element.
pub(crate) fn element_atom(key_hash: u64, kind: Kind, element: &[u8], dot: Dot) -> u64 {
    let base = mix(key_base(key_hash, kind), xxh64(element, 0));
    mix(mix(base, dot.actor.as_u64()), dot.seq)
}

/// The digest of a version vector, ranges included; without settled actors, of whom `fold.rs` keeps one.
pub(crate) fn vector_digest(vector: &VersionVector) -> u64 {
    clocks_digest(vector.open())
}

/// The atom of a folded epoch.
pub(crate) fn fold_atom(actor: ActorId, last: u64, number: u16) -> u64 {
    mix(mix(actor.as_u64(), last), u64::from(number))
}

/// The digest of some clocks of a version vector, ranges included.
pub(crate) fn clocks_digest<'a>(clocks: impl Iterator<Item = (ActorId, &'a Clock)>) -> u64 {
    let mut sum = 0u64;
    for (actor, clock) in clocks {
        if clock.contiguous() > 0 {
            sum = sum.wrapping_add(mix(actor.as_u64(), clock.contiguous()));
        }
        for range in clock.ranges() {
            sum = sum.wrapping_add(mix(mix(actor.as_u64(), range.first), range.last));
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_crdt::{SeqRange, VectorLimits};

    const ACTOR: ActorId = ActorId::new(3, 0x1122_3344_5566);

    fn entry(increments: u128, decrements: u128) -> CounterEntry {
        CounterEntry { increments, decrements }
    }

    fn vector(ranges: &[(u64, u64)]) -> VersionVector {
        let mut vector = VersionVector::new(VectorLimits { max_actors: 4, max_ranges_per_actor: 4 });
        ranges.iter().for_each(|&(first, last)| vector.cover_range(ACTOR, SeqRange { first, last }));
        vector
    }

    /// Hosts of different versions compare digests, so their values are part of the protocol.
    #[test]
    fn digests_are_what_they_have_always_been() {
        let zero = CounterEntry::default();
        let found = [
            counter_change(7, ACTOR, zero, entry(5, 0)),
            counter_change(7, ACTOR, zero, entry(u128::MAX - 1, u128::MAX / 3)),
            register_atom(7, (Hlc::from_u64(1 << 20), ACTOR), b"value"),
            element_atom(7, Kind::Set, b"element", Dot::new(ACTOR, 9)),
            vector_digest(&vector(&[(1, 4), (6, 7)])),
            vector_digest(&vector(&[(6, 7)])),
        ];
        let published = [
            4_638_125_471_418_950_583,
            13_044_517_418_695_732_613,
            3_241_736_452_487_930_089,
            9_517_522_768_959_316_442,
            10_086_431_330_921_522_570,
            5_977_495_039_955_534_578,
        ];
        assert_eq!(found, published);
    }

    #[test]
    fn a_change_is_the_difference_of_two_states_and_nothing_has_no_digest() {
        let zero = CounterEntry::default();
        let (some, more) = (entry(5, 3), entry(5, 4));
        let gained = |old, new| counter_change(7, ACTOR, old, new);
        assert_eq!(gained(zero, more), gained(zero, some).wrapping_add(gained(some, more)));
        assert_eq!((gained(some, some), gained(zero, zero)), (0, 0));
        let narrow = |entry| NarrowEntry::new(entry).unwrap();
        assert_eq!(narrow_change(7, ACTOR, narrow(some), narrow(more)), gained(some, more));
        assert_eq!(narrow_change(7, ACTOR, narrow(zero), narrow(more)), gained(zero, more));
        assert_ne!(gained(zero, entry(1, 0)), gained(zero, entry(0, 1)));
        assert_ne!(gained(zero, entry(1, 0)), 0);
        assert_ne!(gained(zero, entry(0, 1)), 0);
        assert_eq!(vector_digest(&vector(&[])), 0);
        assert_ne!(vector_digest(&vector(&[(1, 4), (6, 7)])), vector_digest(&vector(&[(1, 4), (6, 8)])));
    }
}
