//! Names of actors and of operations.
//!
//! ```text
//!   ActorId   63        48 47                    0
//!            ┌────────────┬───────────────────────┐
//!            │  node u16  │  epoch, 48 bits        │     a node that lost its state comes back as another actor
//!            └────────────┴───────────────────────┘
//!   epoch     47     40 39                       0
//!            ┌─────────┬──────────────────────────┐     the generation says how often the cluster has forgotten the node:
//!            │ gen. u8 │  40 random bits          │     epochs of a generation before that are over for good
//!            └─────────┴──────────────────────────┘
//!   the last generation is no epoch's: its "actors" name what a node's dead epochs did to a counter, folded into one entry
//!   Dot = (ActorId, seq)      seq = 1, 2, 3 ... in one shard; a dot names one operation for ever
//! ```
//!
//! What can go wrong: a dot used twice makes replicas diverge silently. That is why the epoch is random and new
//! whenever a node cannot prove that it knows its own last dot.

use std::fmt;

const EPOCH_BITS: u32 = 48;
const EPOCH_MASK: u64 = (1 << EPOCH_BITS) - 1;
const GENERATION_SHIFT: u32 = 40;
/// The generation of fold slots.
const SLOT_GENERATION: u8 = u8::MAX;

/// One incarnation of one node: who an operation is by.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct ActorId(u64);

impl ActorId {
    /// The actor of `node` in `epoch`. Only the low 48 bits of the epoch count; the caller draws them, non-zero.
    pub const fn new(node: u16, epoch: u64) -> Self {
        Self((node as u64) << EPOCH_BITS | (epoch & EPOCH_MASK))
    }

    /// The actor with this number, as it stands on the wire.
    pub const fn from_u64(bits: u64) -> Self {
        Self(bits)
    }

    /// The number of this actor, as it stands on the wire.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The node that this actor is an incarnation of.
    pub const fn node(self) -> u16 {
        (self.0 >> EPOCH_BITS) as u16
    }

    /// The actor of `node` in an epoch of `generation`, made of 40 bits that the caller draws; not all zero.
    pub const fn of_generation(node: u16, generation: u8, random: u64) -> Self {
        let random = random & ((1 << GENERATION_SHIFT) - 1);
        Self::new(node, (generation as u64) << GENERATION_SHIFT | random)
    }

    /// The name under which counters keep what the epochs of a node did that were folded by its folds 1 to `number`.
    pub const fn fold_slot(node: u16, number: u16) -> Self {
        Self::of_generation(node, SLOT_GENERATION, number as u64)
    }

    /// The number of the last fold that this name stands for; `None` if it is an epoch's.
    pub const fn fold_number(self) -> Option<u16> {
        if self.generation() == SLOT_GENERATION { Some(self.0 as u16) } else { None }
    }

    /// The incarnation: 48 bits.
    pub const fn epoch(self) -> u64 {
        self.0 & EPOCH_MASK
    }

    /// How often the cluster had forgotten the node when this epoch began.
    pub const fn generation(self) -> u8 {
        (self.epoch() >> GENERATION_SHIFT) as u8
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:012x}", self.node(), self.epoch())
    }
}

/// One operation of one actor in one shard.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct Dot {
    /// Whose operation it is.
    pub actor: ActorId,
    /// Its number, from 1. Zero names no operation; every vector counts it as covered.
    pub seq: u64,
}

impl Dot {
    /// The dot of the `seq`th operation of `actor`.
    pub const fn new(actor: ActorId, seq: u64) -> Self {
        Self { actor, seq }
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.actor, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actor_packs_node_above_epoch() {
        let actor = ActorId::new(0xBEEF, 0x1234_5678_9ABC);
        assert_eq!(actor.as_u64(), 0xBEEF_1234_5678_9ABC);
        assert_eq!((actor.node(), actor.epoch()), (0xBEEF, 0x1234_5678_9ABC));
        assert_eq!(actor.to_string(), "48879.123456789abc");
        assert_eq!(Dot::new(actor, 7).to_string(), "48879.123456789abc:7");
    }

    #[test]
    fn a_generation_is_the_top_of_an_epoch() {
        let actor = ActorId::of_generation(7, 3, u64::MAX);
        assert_eq!((actor.node(), actor.generation(), actor.epoch()), (7, 3, 0x03FF_FFFF_FFFF));
        assert_eq!(ActorId::new(7, 9).generation(), 0);
        assert!(ActorId::of_generation(7, 2, u64::MAX) < ActorId::of_generation(7, 3, 1));
    }

    #[test]
    fn a_fold_slot_is_no_epoch_and_comes_after_all_of_them() {
        let slot = ActorId::fold_slot(7, 3);
        assert_eq!((slot.node(), slot.fold_number()), (7, Some(3)));
        assert_eq!(ActorId::of_generation(7, 254, u64::MAX).fold_number(), None);
        assert!(ActorId::of_generation(7, 254, u64::MAX) < slot && slot < ActorId::fold_slot(7, 4));
    }

    #[test]
    fn an_epoch_too_wide_cannot_change_the_node() {
        assert_eq!(ActorId::new(1, u64::MAX).node(), 1);
    }
}
