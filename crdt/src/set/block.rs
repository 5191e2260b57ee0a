//! Some dozens of elements that follow each other in byte order, in three pieces of memory.
//!
//! ```text
//!   dots    │ dot │ dot │ dot │          16 bytes each
//!   ends    │  3  │  5  │  9  │          where each element ends in `bytes`
//!   bytes   │ a b c │ b d │ b e x y │
//! ```
//!
//! The pieces grow by an eighth and not by half, because nearly all of the memory of a large set lies in them; what that costs
//! in copying is bounded by the block's size.

use crate::Dot;
use crate::limits::MAX_ELEMENT_BYTES;

/// Elements in a block at most.
const MAX_ELEMENTS: usize = 64;
/// Bytes of elements in a block at most.
const MAX_BYTES: usize = 4096;
/// Elements that even the smallest block has room for.
const SLACK: usize = 2;

/// See the module's documentation.
#[derive(Clone, Default)]
pub(super) struct Block {
    dots: Vec<Dot>,
    ends: Vec<u16>,
    bytes: Vec<u8>,
}

impl Block {
    pub(super) const fn new() -> Self {
        Self { dots: Vec::new(), ends: Vec::new(), bytes: Vec::new() }
    }

    /// How many elements there are.
    pub(super) fn len(&self) -> usize {
        self.dots.len()
    }

    /// Where an element begins, or where the last one ends.
    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| usize::from(*end))
    }

    pub(super) fn element(&self, at: usize) -> Option<&[u8]> {
        self.bytes.get(self.start(at)..usize::from(*self.ends.get(at)?))
    }

    /// The dot of an element, or what stands for its several.
    pub(super) fn dot(&self, at: usize) -> Option<&Dot> {
        self.dots.get(at)
    }

    /// See [`Block::dot`].
    pub(super) fn dot_mut(&mut self, at: usize) -> Option<&mut Dot> {
        self.dots.get_mut(at)
    }

    pub(super) fn set_dot(&mut self, at: usize, dot: Dot) {
        if let Some(own) = self.dots.get_mut(at) {
            *own = dot;
        }
    }

    /// The place of an element, or the one where it belongs.
    pub(super) fn find(&self, element: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.element(middle).unwrap_or(&[]).cmp(element) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Whether the block may hold a further element.
    pub(super) fn has_room_for(&self, element: &[u8]) -> bool {
        self.len() < MAX_ELEMENTS && self.bytes.len() + element.len() <= MAX_BYTES
    }

    /// Inserts an element, for which there is room, at the place that [`Block::find`] named.
    pub(super) fn insert(&mut self, at: usize, element: &[u8], dot: Dot) {
        let start = self.start(at);
        reserve(&mut self.dots, 1, SLACK);
        reserve(&mut self.ends, 1, SLACK);
        reserve(&mut self.bytes, element.len(), element.len());
        self.dots.insert(at, dot);
        self.ends.insert(at, start as u16);
        self.ends.iter_mut().skip(at).for_each(|end| *end += element.len() as u16);
        let used = self.bytes.len();
        self.bytes.resize(used + element.len(), 0);
        self.bytes.copy_within(start..used, start + element.len());
        if let Some(place) = self.bytes.get_mut(start..start + element.len()) {
            place.copy_from_slice(element);
        }
    }

    /// Takes an element out.
    pub(super) fn remove(&mut self, at: usize) {
        let start = self.start(at);
        let Some(end) = self.ends.get(at).copied() else { return };
        let len = usize::from(end) - start;
        self.bytes.copy_within(usize::from(end).., start);
        self.bytes.truncate(self.bytes.len() - len);
        self.ends.remove(at);
        self.ends.iter_mut().skip(at).for_each(|end| *end -= len as u16);
        self.dots.remove(at);
        self.give_back();
    }

    /// Takes out the elements from `at` on, as another block.
    pub(super) fn split_off(&mut self, at: usize) -> Block {
        let start = self.start(at);
        let mut upper = Block::new();
        upper.append_from(self, at);
        self.dots.truncate(at);
        self.ends.truncate(at);
        self.bytes.truncate(start);
        // What it had room for is half empty now, in each of a large set's blocks.
        self.dots.shrink_to(at + at / 8);
        self.ends.shrink_to(at + at / 8);
        self.bytes.shrink_to(start + start / 8);
        upper
    }

    /// Whether so little is left in it that it might join another.
    pub(super) fn is_small(&self) -> bool {
        self.len() < MAX_ELEMENTS / 4 && self.bytes.len() < MAX_BYTES / 4
    }

    /// Whether this block and the next are together far from full, so that the next insertions do not part them again.
    pub(super) fn may_take_in(&self, next: &Block) -> bool {
        self.len() + next.len() <= MAX_ELEMENTS * 3 / 4
            && self.bytes.len() + next.bytes.len() <= MAX_BYTES * 3 / 4
    }

    /// Appends the elements of the next block.
    pub(super) fn append(&mut self, next: &Block) {
        self.append_from(next, 0);
    }

    fn append_from(&mut self, next: &Block, at: usize) {
        let (from, to) = (next.start(at), self.bytes.len());
        let bytes = next.bytes.get(from..).unwrap_or(&[]);
        let more = next.len().saturating_sub(at);
        reserve(&mut self.dots, more, more);
        reserve(&mut self.ends, more, more);
        reserve(&mut self.bytes, bytes.len(), bytes.len());
        self.dots.extend(next.dots.iter().skip(at));
        // Sums of at most `MAX_BYTES` and an element.
        self.ends.extend(next.ends.iter().skip(at).map(|end| (usize::from(*end) - from + to) as u16));
        self.bytes.extend_from_slice(bytes);
    }

    fn give_back(&mut self) {
        shrink(&mut self.dots, SLACK);
        shrink(&mut self.ends, SLACK);
        shrink(&mut self.bytes, MAX_ELEMENT_BYTES);
    }
}

/// Makes room for `more` items: an eighth of those there, or at least `least` of them.
fn reserve<T>(items: &mut Vec<T>, more: usize, least: usize) {
    if items.capacity() - items.len() < more {
        items.reserve_exact(more.max(least).max(items.len() / 8));
    }
}

/// Gives memory back if less than half of it is used; room for `least` items is kept.
fn shrink<T>(items: &mut Vec<T>, least: usize) {
    let wanted = (items.len() + items.len() / 8).max(least);
    if items.capacity() > 2 * wanted {
        items.shrink_to(wanted);
    }
}
