//! Extents: pieces of memory of a size class, for whatever does not fit a cell.
//!
//! ```text
//!   reference   63 ──────── 32 31 ─────────── 0
//!               │ tag (≥ 1)   │ offset / 16    │          0 = none
//!
//!   extent      63 ──────── 32 31 ─── 24 23 ─ 0
//!     word 0    │ tag         │ class    │ len  │          len: payload bytes in use
//!     word 1 …  │ payload                       │
//! ```
//!
//! An extent never changes its place or its class, so its header is always a header. Each time the space is handed out
//! again its tag grows, before the first payload word is written: a reference with another tag names a former tenant.
//! A reader resolves a reference, reads, and then asks [`Extent::still_valid`]; only then may it believe what it read.
//! Freed extents rest in a FIFO per class, so that a reader that holds a reference to one usually still finds the old
//! bytes; correctness does not depend on it, only the number of retries does.
//!
//! What can go wrong: a reader that is slower than the rest sees `Moved` and retries from the cell; a damaged file
//! gives `Corrupt`; the writer that finds no space returns [`Full`] and has changed nothing. Space of one class is never
//! given to another: the sum of the classes' peaks is what a segment needs.

use crate::error::Full;
use crate::layout::{EXTENT_CLASSES, GRANULE_BYTES};
use crate::sync::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence, load_acquire,
};

const GRANULE_WORDS: usize = GRANULE_BYTES / 8;
const NIL: u32 = u32::MAX;
/// Freed extents of a class that rest before one is reused, while there is other space.
const REST_EXTENTS: u32 = 32;
/// … but no more than this many bytes of them (one at least).
const REST_BYTES: usize = 64 * 1024;

/// Size in bytes of an extent of a class, its header word included.
pub const fn class_bytes(class: usize) -> usize {
    (if class.is_multiple_of(2) { 32 } else { 48 }) << (class / 2)
}

/// The smallest class for a payload, if there is one.
pub const fn class_for(payload_bytes: usize) -> Option<usize> {
    let total = payload_bytes.saturating_add(8);
    let mut class = 0;
    if total > 32 {
        // 32 << doublings is the smallest power of two that holds it; the class before that may do as well.
        let doublings = (usize::BITS - ((total - 1) >> 5).leading_zeros()) as usize;
        class = doublings * 2 - 1;
        if doublings >= EXTENT_CLASSES || class_bytes(class) < total {
            class += 1;
        }
    }
    if class < EXTENT_CLASSES { Some(class) } else { None }
}

/// Where a class's space can be, and from which moment: an extent reference as it lies in shared words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtentRef(u64);

impl ExtentRef {
    /// The reference in a shared word; `None` for "no extent". Any other bits are accepted: `resolve` checks them.
    pub const fn from_word(word: u64) -> Option<Self> {
        if word == 0 { None } else { Some(ExtentRef(word)) }
    }

    /// The word to store.
    pub const fn to_word(self) -> u64 {
        self.0
    }

    const fn tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    const fn granule(self) -> u32 {
        self.0 as u32
    }
}

/// Why a reference leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The space has another tenant: read the reference again.
    Moved,
    /// Reference or header are out of bounds.
    Corrupt,
}

/// An extent whose header agreed with its reference at one moment. What is read from it may be a later tenant's until
/// [`still_valid`](Extent::still_valid) has said otherwise.
#[derive(Clone, Copy)]
pub struct Extent<'a> {
    words: &'a [AtomicU64],
    tag: u32,
    len: usize,
}

/// Follows a reference that was loaded with acquire (or by the writer itself).
#[inline]
pub fn resolve(section: &[AtomicU64], reference: ExtentRef) -> Result<Extent<'_>, Unresolved> {
    let at = reference.granule() as usize * GRANULE_WORDS;
    let header = section.get(at).ok_or(Unresolved::Corrupt)?;
    // ORDER extent-len: acquire pairs with the release in `set_len`: payload up to `len` is there.
    let header = load_acquire(header);
    if (header >> 32) as u32 != reference.tag() {
        return Err(Unresolved::Moved);
    }
    let class = (header >> 24) as usize & 0xFF;
    let len = (header & 0xFF_FFFF) as usize;
    if class >= EXTENT_CLASSES || len > class_bytes(class) - 8 {
        return Err(Unresolved::Corrupt);
    }
    let words = section.get(at..at + class_bytes(class) / 8).ok_or(Unresolved::Corrupt)?;
    Ok(Extent { words, tag: reference.tag(), len })
}

impl<'a> Extent<'a> {
    /// The payload's words, to the end of the extent.
    #[inline]
    pub fn payload(&self) -> &'a [AtomicU64] {
        self.words.get(1..).unwrap_or(&[])
    }

    /// Payload bytes in use when the extent was resolved.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no payload byte is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Payload bytes that the extent has room for.
    #[inline]
    pub fn capacity_bytes(&self) -> usize {
        self.words.len().saturating_sub(1) * 8
    }

    /// Whether everything read from the payload so far belongs to the reference's tenant.
    #[inline]
    pub fn still_valid(&self) -> bool {
        // ORDER extent-reuse: this acquire fence pairs with the release fence in `ExtentAllocator::allocate`. If any
        // relaxed payload load above saw a word of the next tenant, the tag load below sees the next tag.
        fence(Acquire);
        self.words.first().is_some_and(|header| (header.load(Relaxed) >> 32) as u32 == self.tag)
    }

    /// Writer: shows `len` payload bytes, written before, to readers that resolve from now on.
    #[inline]
    pub fn set_len(&self, len: usize) {
        if let Some(header) = self.words.first() {
            let kept = header.load(Relaxed) & !0xFF_FFFF;
            // ORDER extent-len: release pairs with the acquire in `resolve`.
            header.store(kept | (len as u64 & 0xFF_FFFF), Release);
        }
    }
}

#[derive(Clone, Copy)]
struct Fifo {
    head: u32,
    tail: u32,
    len: u32,
}

/// The writer's book of one worker's extent section. It lives outside the shared memory, so nobody can damage it.
pub struct ExtentAllocator {
    fresh: usize,
    end: usize,
    fifos: [Fifo; EXTENT_CLASSES],
    /// For a freed extent, by its granule: the next one in its FIFO. Zeroed by the kernel on first touch, so entries of
    /// granules that never start an extent cost address space only.
    next: Box<[u32]>,
}

impl std::fmt::Debug for ExtentAllocator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExtentAllocator")
            .field("fresh", &self.fresh)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl ExtentAllocator {
    /// A book for a section of `words` words, all of it fresh.
    pub fn new(words: usize) -> Self {
        let granules = (words / GRANULE_WORDS).min(NIL as usize);
        let empty = Fifo { head: NIL, tail: NIL, len: 0 };
        ExtentAllocator {
            fresh: 0,
            end: granules,
            fifos: [empty; EXTENT_CLASSES],
            next: vec![0; granules].into(),
        }
    }

    /// Bytes never handed out so far.
    pub fn fresh_bytes(&self) -> usize {
        (self.end - self.fresh) * GRANULE_BYTES
    }

    /// Hands out an extent for a payload, its length 0, its old bytes still in it.
    pub fn allocate(&mut self, section: &[AtomicU64], payload_bytes: usize) -> Result<ExtentRef, Full> {
        let class = class_for(payload_bytes).ok_or(Full)?;
        let rest = REST_EXTENTS.min((REST_BYTES / class_bytes(class)) as u32).max(1);
        let granule = if self.fifos[class].len > rest {
            self.pop(class).ok_or(Full)?
        } else {
            self.carve(class).or_else(|| self.pop(class)).ok_or(Full)?
        };
        let header = section.get(granule as usize * GRANULE_WORDS).ok_or(Full)?;
        let tag = (((header.load(Relaxed) >> 32) as u32).wrapping_add(1)).max(1);
        header.store((u64::from(tag) << 32) | ((class as u64) << 24), Relaxed);
        // ORDER extent-reuse: release fence between the new tag and the first word of the new tenant; pairs with the
        // acquire fence in `Extent::still_valid`. It also orders an earlier version flip before the reuse
        // (`register`).
        if !zoo!(ExtentFenceMissing) {
            fence(Release);
        }
        Ok(ExtentRef((u64::from(tag) << 32) | u64::from(granule)))
    }

    /// Takes an extent back. No reader can reach it from a cell any more; those that already did may go on reading.
    pub fn free(&mut self, section: &[AtomicU64], reference: ExtentRef) {
        let granule = reference.granule();
        let Some(header) = section.get(granule as usize * GRANULE_WORDS) else { return };
        let header = header.load(Relaxed);
        let class = (header >> 24) as usize & 0xFF;
        debug_assert_eq!((header >> 32) as u32, reference.tag(), "extent freed twice");
        let Some(fifo) = self.fifos.get_mut(class) else { return };
        match self.next.get_mut(fifo.tail as usize) {
            Some(link) if fifo.len > 0 => *link = granule,
            _ => fifo.head = granule,
        }
        fifo.tail = granule;
        fifo.len += 1;
    }

    fn pop(&mut self, class: usize) -> Option<u32> {
        let fifo = &mut self.fifos[class];
        if fifo.len == 0 {
            return None;
        }
        let granule = fifo.head;
        fifo.head = *self.next.get(granule as usize)?;
        fifo.len -= 1;
        Some(granule)
    }

    fn carve(&mut self, class: usize) -> Option<u32> {
        let granules = class_bytes(class) / GRANULE_BYTES;
        if self.end - self.fresh < granules {
            return None;
        }
        let granule = self.fresh as u32;
        self.fresh += granules;
        Some(granule)
    }
}

const _: () = assert!(class_bytes(EXTENT_CLASSES - 1) == 12 << 20);
const _: () = assert!(class_bytes(EXTENT_CLASSES - 1) <= 0xFF_FFFF);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn section(words: usize) -> Vec<AtomicU64> {
        (0..words).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn every_payload_gets_the_smallest_class_that_holds_it() {
        for payload in 0..100_000 {
            let class = class_for(payload).unwrap();
            assert!(class_bytes(class) >= payload + 8);
            assert!(class == 0 || class_bytes(class - 1) < payload + 8, "{payload}");
        }
        assert_eq!(class_for((12 << 20) - 8), Some(EXTENT_CLASSES - 1));
        assert_eq!(class_for((12 << 20) - 7), None);
        assert_eq!(class_for(usize::MAX), None);
    }

    #[test]
    fn extents_in_use_never_overlap_and_space_comes_back() {
        let words = section(1 << 12);
        let mut book = ExtentAllocator::new(words.len());
        let mut live = Vec::new();
        while let Ok(reference) = book.allocate(&words, 40 + live.len() % 200) {
            let extent = resolve(&words, reference).unwrap();
            let start = extent.words.as_ptr() as usize;
            live.push((start, start + extent.words.len() * 8, reference));
        }
        live.sort_unstable_by_key(|x| x.0);
        assert!(live.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        let count = live.len();
        for (_, _, reference) in &live {
            book.free(&words, *reference);
        }
        let again = (0..).take_while(|i| book.allocate(&words, 40 + i % 200).is_ok()).count();
        assert!(again >= count);
        // What was fresh and too small for the last request may have served later ones of that class in their stead.
        let spared = live.iter().filter(|x| resolve(&words, x.2).is_ok()).count();
        assert!(spared <= again - count + 8, "{spared} of {count}");
    }

    #[test]
    fn a_freed_extent_rests_before_it_is_reused() {
        let words = section(1 << 16);
        let mut book = ExtentAllocator::new(words.len());
        let first = book.allocate(&words, 100).unwrap();
        book.free(&words, first);
        for _ in 0..REST_EXTENTS {
            let next = book.allocate(&words, 100).unwrap();
            assert!(resolve(&words, first).is_ok_and(|extent| extent.still_valid()));
            book.free(&words, next);
        }
        book.allocate(&words, 100).unwrap();
        assert_eq!(resolve(&words, first).err(), Some(Unresolved::Moved));
    }

    #[test]
    fn invented_references_are_refused() {
        let words = section(64);
        let mut book = ExtentAllocator::new(words.len());
        let real = book.allocate(&words, 100).unwrap();
        assert_eq!(resolve(&words, ExtentRef(u64::MAX)).err(), Some(Unresolved::Corrupt));
        assert_eq!(resolve(&words, ExtentRef(real.0 ^ (1 << 32))).err(), Some(Unresolved::Moved));
        for header in [0xFF << 24, 0x25 << 24, 0xFF_FFFF] {
            words[0].store((1 << 32) | header, Relaxed);
            assert_eq!(resolve(&words, ExtentRef(1 << 32)).err(), Some(Unresolved::Corrupt));
        }
    }
}
