//! Sets: extendible hashing (Fagin, Nievergelt, Pippenger, Strong, ACM TODS 1979) over extents.
//!
//! ```text
//!   cell.value ──> directory: 2^depth references, chosen by the top `depth` bits of the element's hash
//!                    │ 00 │ 01 │ 10 │ 11 │
//!                      │    │    └──┬─┘
//!                      v    v       v
//!                     bucket …   bucket of depth 1: serves every slot whose bits begin with its prefix
//!
//!   bucket   word 0    depth (bits 0..8), prefix (bits 8..64)
//!            entry     low 32 bits of the hash │ live (bit 16) │ length (bits 0..16),  then the element's words
//! ```
//!
//! To insert is to append an entry and raise the extent's length; to remove is to clear the live bit, to insert again
//! to set it: one store shows each, and the cost does not depend on the set's size. A bucket without room is rewritten
//! (without its dead entries, or larger) or split into two; the new copies are complete before a slot refers to them, so
//! a writer that dies anywhere leaves every element findable. Restructuring never changes what is a member.
//!
//! The hash is XXH64 with the segment's incarnation as its seed: nobody can choose elements in advance that all fall
//! into one bucket. Depth and bucket size are bounded all the same, and the directory has at most about two slots for
//! each element.
//!
//! What can go wrong: readers get `Busy` when the writer moves a bucket under every attempt, `Corrupt` for nonsense; the
//! writer gets `Full` and the set is as before. Space of removed elements is reused when their bucket next runs full, and
//! given back when the set becomes empty.

mod bucket;
mod read;
mod write;

pub use bucket::Probe;
pub use read::{contains, members};
pub use write::{SetWriter, len};

use crate::extent::{self, Extent, ExtentRef, Unresolved};
use crate::layout::MAX_SET_DEPTH;
use crate::sync::AtomicU64;

/// A bucket that cannot be split is enlarged up to this size, its extent's header word included. Readers refuse a longer one.
const MAX_BUCKET_BYTES: usize = 64 * 1024;

/// The hash of a set's elements.
#[derive(Clone, Copy, Debug)]
pub struct SetHasher {
    /// The segment's incarnation.
    pub seed: u64,
}

impl SetHasher {
    /// XXH64 with the seed.
    pub fn hash(self, element: &[u8]) -> u64 {
        xxhash_rust::xxh64::xxh64(element, self.seed)
    }
}

/// A resolved directory.
#[derive(Clone, Copy)]
struct Directory<'a> {
    extent: Extent<'a>,
    slots: &'a [AtomicU64],
    depth: u32,
}

impl<'a> Directory<'a> {
    fn resolve(extents: &'a [AtomicU64], reference: ExtentRef) -> Result<Self, Unresolved> {
        let extent = extent::resolve(extents, reference)?;
        let count = extent.len() / 8;
        let slots = extent.payload().get(..count).ok_or(Unresolved::Corrupt)?;
        if !count.is_power_of_two() || count > 1 << MAX_SET_DEPTH {
            return Err(Unresolved::Corrupt);
        }
        Ok(Directory { extent, slots, depth: count.ilog2() })
    }

    /// The slot of a hash.
    fn slot(&self, hash: u64) -> usize {
        prefix(hash, self.depth) as usize
    }
}

/// The top `depth` bits of a hash.
fn prefix(hash: u64, depth: u32) -> u64 {
    hash.checked_shr(64 - depth).unwrap_or(0)
}
