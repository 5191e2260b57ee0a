//! Writing a set: append, mark, and now and then restructure.

use super::{Directory, MAX_BUCKET_BYTES, Probe, SetHasher, bucket};
use crate::cell::Cell;
use crate::error::Full;
use crate::extent::{self, Extent, ExtentAllocator, ExtentRef};
use crate::layout::{CELL_SECOND, CELL_VALUE, MAX_ELEMENT_BYTES, MAX_SET_DEPTH, SET_ENTRY_LIVE};
use crate::sync::{
    AtomicU64,
    Ordering::{Relaxed, Release},
};
use crate::words;

/// A bucket's extent of this size is split rather than enlarged.
#[cfg(not(loom))]
const TARGET_BUCKET_BYTES: usize = 2048;
/// Small under loom: three short elements fill one.
#[cfg(loom)]
const TARGET_BUCKET_BYTES: usize = 64;
/// Restructurings that one insertion may need: splits to the greatest depth, and growth through every class.
const MAX_ROUNDS: usize = 64;

/// Number of members, as the writer last published it.
pub fn len(cell: &Cell) -> u64 {
    cell[CELL_SECOND].load(Relaxed)
}

/// One set in the hands of its only writer.
pub struct SetWriter<'a> {
    /// The set's cell.
    pub cell: &'a Cell,
    /// The worker's extent section.
    pub extents: &'a [AtomicU64],
    /// The book of that section.
    pub allocator: &'a mut ExtentAllocator,
    /// The hash of elements.
    pub hasher: SetHasher,
}

/// Where an element belongs.
struct Home<'a> {
    directory: Directory<'a>,
    slot: usize,
    reference: ExtentRef,
    bucket: Extent<'a>,
}

impl Home<'_> {
    fn used(&self) -> usize {
        self.bucket.len() / 8
    }

    fn depth(&self) -> u32 {
        let word = self.bucket.payload().first().map_or(0, |word| word.load(Relaxed));
        bucket::range(word).map_or(0, |(depth, _)| depth)
    }
}

impl<'a> SetWriter<'a> {
    /// Makes an element a member; `Ok(false)` if it was one.
    pub fn insert(&mut self, element: &[u8]) -> Result<bool, Full> {
        let probe = Probe::new(element, self.hasher.hash(element)).ok_or(Full)?;
        if self.cell[CELL_VALUE].load(Relaxed) == 0 {
            self.start(&probe)?;
            self.count(1);
            return Ok(true);
        }
        for _ in 0..MAX_ROUNDS {
            let home = self.home(probe.hash())?;
            let used = home.used();
            match bucket::find(home.bucket.payload(), used, &probe).map_err(|_| Full)? {
                Some((_, true)) => return Ok(false),
                Some((at, false)) => {
                    mark(home.bucket.payload(), at, !zoo!(ReaddedNotShown));
                    self.count(1);
                    return Ok(true);
                }
                None => {}
            }
            if zoo!(ElementShownEarly) {
                home.bucket.set_len((used + probe.entry_words()) * 8);
            }
            if bucket::write_entry(home.bucket.payload(), used, &probe) {
                home.bucket.set_len((used + probe.entry_words()) * 8);
                self.count(1);
                return Ok(true);
            }
            self.make_room(&home, probe.entry_words())?;
        }
        Err(Full)
    }

    /// Makes an element no member; `false` if it was none.
    pub fn remove(&mut self, element: &[u8]) -> bool {
        let Some(probe) = Probe::new(element, self.hasher.hash(element)) else { return false };
        let Ok(home) = self.home(probe.hash()) else { return false };
        let Ok(Some((at, true))) = bucket::find(home.bucket.payload(), home.used(), &probe) else {
            return false;
        };
        mark(home.bucket.payload(), at, false);
        self.count(-1);
        if len(self.cell) == 0 {
            self.give_back(&home.directory);
        }
        true
    }

    fn count(&self, by: i64) {
        self.cell[CELL_SECOND].store(len(self.cell).saturating_add_signed(by), Relaxed);
    }

    fn home(&self, hash: u64) -> Result<Home<'a>, Full> {
        let reference = ExtentRef::from_word(self.cell[CELL_VALUE].load(Relaxed)).ok_or(Full)?;
        let directory = Directory::resolve(self.extents, reference).map_err(|_| Full)?;
        let slot = directory.slot(hash);
        let reference = directory.slots.get(slot).and_then(|slot| ExtentRef::from_word(slot.load(Relaxed)));
        let reference = reference.ok_or(Full)?;
        let bucket = extent::resolve(self.extents, reference).map_err(|_| Full)?;
        Ok(Home { directory, slot, reference, bucket })
    }

    /// The first element: a directory of one slot and its bucket.
    fn start(&mut self, probe: &Probe) -> Result<(), Full> {
        let (reference, place) = self.new_bucket(0, 0, probe.entry_words())?;
        if !bucket::write_entry(place.payload(), bucket::FIRST_ENTRY, probe) {
            return Err(Full);
        }
        place.set_len((bucket::FIRST_ENTRY + probe.entry_words()) * 8);
        let directory = match self.allocator.allocate(self.extents, 8) {
            Ok(directory) => directory,
            Err(full) => {
                self.allocator.free(self.extents, reference);
                return Err(full);
            }
        };
        self.show_directory(directory, 1, |_| reference.to_word())
    }

    /// Fills a fresh directory and makes it the set's.
    fn show_directory(
        &mut self,
        reference: ExtentRef,
        slots: usize,
        slot: impl Fn(usize) -> u64,
    ) -> Result<(), Full> {
        let directory = extent::resolve(self.extents, reference).map_err(|_| Full)?;
        for (index, word) in directory.payload().iter().take(slots).enumerate() {
            word.store(slot(index), Relaxed);
        }
        directory.set_len(slots * 8);
        // ORDER set-directory: release pairs with the acquire in `read::with_bucket`.
        self.cell[CELL_VALUE].store(reference.to_word(), Release);
        Ok(())
    }

    /// An empty bucket with room for `entries` words of entries.
    fn new_bucket(
        &mut self,
        depth: u32,
        prefix: u64,
        entries: usize,
    ) -> Result<(ExtentRef, Extent<'a>), Full> {
        let bytes = (bucket::FIRST_ENTRY + entries) * 8;
        // A split that leaves all entries on one side could come to it; readers would refuse the bucket.
        if bytes >= MAX_BUCKET_BYTES {
            return Err(Full);
        }
        let reference = self.allocator.allocate(self.extents, bytes)?;
        let place = extent::resolve(self.extents, reference).map_err(|_| Full)?;
        if let Some(word) = place.payload().first() {
            word.store(bucket::range_word(depth, prefix), Relaxed);
        }
        place.set_len(bucket::FIRST_ENTRY * 8);
        Ok((reference, place))
    }

    /// One step towards room for `need` more words in a bucket; members stay as they are.
    fn make_room(&mut self, home: &Home<'a>, need: usize) -> Result<(), Full> {
        let capacity = home.bucket.capacity_bytes() / 8;
        let mut live = 0;
        bucket::for_each_live(home.bucket.payload(), home.used(), |entry| live += entry.len()).ok_or(Full)?;
        let dead = home.used().saturating_sub(bucket::FIRST_ENTRY + live);
        let bytes = (capacity + 1) * 8;
        if dead >= need && dead * 4 >= capacity {
            self.rewrite(home, live + need + live / 4)
        } else if bytes < TARGET_BUCKET_BYTES {
            self.rewrite(home, capacity + need)
        } else if self.may_split(home) {
            self.split(home, need)
        } else if bytes < MAX_BUCKET_BYTES {
            self.rewrite(home, capacity + need)
        } else if dead >= need {
            self.rewrite(home, live + need)
        } else {
            Err(Full)
        }
    }

    /// Whether a split is possible, and its directory not out of proportion to the set.
    fn may_split(&self, home: &Home<'_>) -> bool {
        let depth = home.directory.depth;
        home.depth() < depth || (depth < MAX_SET_DEPTH && 1u64 << depth <= len(self.cell))
    }

    /// Replaces a bucket by one with room for `entries` words, without the dead entries.
    fn rewrite(&mut self, home: &Home<'a>, entries: usize) -> Result<(), Full> {
        let depth = home.depth();
        let prefix = (home.slot >> (home.directory.depth - depth.min(home.directory.depth))) as u64;
        let (reference, place) = self.new_bucket(depth, prefix, entries)?;
        let mut filling = Filling { reference, place, used: bucket::FIRST_ENTRY };
        bucket::for_each_live(home.bucket.payload(), home.used(), |entry| filling.append(entry))
            .ok_or(Full)?;
        filling.finish();
        self.flip(home, reference, reference);
        Ok(())
    }

    /// Replaces a bucket by two of one more bit of depth; first doubles the directory if it has no slot for both.
    fn split(&mut self, home: &Home<'a>, need: usize) -> Result<(), Full> {
        let depth = home.depth();
        if depth >= home.directory.depth {
            return self.double(&home.directory);
        }
        let hasher = self.hasher;
        let side = |entry: &[AtomicU64]| (hash_of(hasher, entry) >> (63 - depth) & 1) as usize;
        let mut sizes = [0usize; 2];
        bucket::for_each_live(home.bucket.payload(), home.used(), |entry| sizes[side(entry)] += entry.len())
            .ok_or(Full)?;
        let prefix = (home.slot >> (home.directory.depth - depth)) as u64;
        let left = self.new_bucket(depth + 1, prefix << 1, sizes[0] + need)?;
        let right = match self.new_bucket(depth + 1, prefix << 1 | 1, sizes[1] + need) {
            Ok(right) => right,
            Err(full) => {
                self.allocator.free(self.extents, left.0);
                return Err(full);
            }
        };
        let mut filling =
            [left, right].map(|(reference, place)| Filling { reference, place, used: bucket::FIRST_ENTRY });
        bucket::for_each_live(home.bucket.payload(), home.used(), |entry| filling[side(entry)].append(entry))
            .ok_or(Full)?;
        filling.iter().for_each(Filling::finish);
        self.flip(home, filling[0].reference, filling[1].reference);
        Ok(())
    }

    /// Points every slot of a bucket to its successors and frees it. From the last slot to the first: a walk, which
    /// goes from the first to the last, then finds the right half new whenever it found the left half new.
    fn flip(&mut self, home: &Home<'a>, left: ExtentRef, right: ExtentRef) {
        let span = 1usize << home.directory.depth.saturating_sub(home.depth());
        let first = home.slot & !(span - 1);
        let slots = home.directory.slots.get(first..first + span).unwrap_or(&[]);
        for (index, slot) in slots.iter().enumerate().rev() {
            let successor = if index >= span / 2 { right } else { left };
            // ORDER set-bucket: release pairs with the acquire in `read::with_bucket`.
            slot.store(successor.to_word(), Release);
        }
        self.allocator.free(self.extents, home.reference);
    }

    /// Replaces the directory by one of twice the slots, each bucket in two of them.
    fn double(&mut self, old: &Directory<'a>) -> Result<(), Full> {
        let slots = old.slots.len() * 2;
        let reference = self.allocator.allocate(self.extents, slots * 8)?;
        let former = ExtentRef::from_word(self.cell[CELL_VALUE].load(Relaxed));
        self.show_directory(reference, slots, |index| {
            old.slots.get(index / 2).map_or(0, |slot| slot.load(Relaxed))
        })?;
        if let Some(former) = former {
            self.allocator.free(self.extents, former);
        }
        Ok(())
    }

    /// Frees everything of a set that has become empty.
    fn give_back(&mut self, directory: &Directory<'a>) {
        let former = ExtentRef::from_word(self.cell[CELL_VALUE].load(Relaxed));
        // Relaxed: there is nothing behind a zero.
        self.cell[CELL_VALUE].store(0, Relaxed);
        let mut last = 0;
        for slot in directory.slots {
            // A bucket's slots are neighbours.
            let word = slot.load(Relaxed);
            if let Some(reference) = ExtentRef::from_word(word).filter(|_| word != last) {
                self.allocator.free(self.extents, reference);
            }
            last = word;
        }
        if let Some(former) = former {
            self.allocator.free(self.extents, former);
        }
    }
}

/// A bucket that is being filled from another one.
struct Filling<'a> {
    reference: ExtentRef,
    place: Extent<'a>,
    used: usize,
}

impl Filling<'_> {
    fn append(&mut self, entry: &[AtomicU64]) {
        for (from, to) in entry.iter().zip(self.place.payload().iter().skip(self.used)) {
            to.store(from.load(Relaxed), Relaxed);
        }
        self.used += entry.len();
    }

    fn finish(&self) {
        self.place.set_len(self.used * 8);
    }
}

fn mark(payload: &[AtomicU64], at: usize, live: bool) {
    if let Some(word) = payload.get(at) {
        let header = word.load(Relaxed) & !SET_ENTRY_LIVE;
        // Relaxed is enough: the entry was shown long ago, and the version that follows releases this store too.
        word.store(if live { header | SET_ENTRY_LIVE } else { header }, Relaxed);
    }
}

fn hash_of(hasher: SetHasher, entry: &[AtomicU64]) -> u64 {
    let mut copy = [0u64; MAX_ELEMENT_BYTES / 8];
    let mut room = [0u8; MAX_ELEMENT_BYTES];
    let Some((header, element)) = entry.split_first() else { return 0 };
    words::copy_words(element, &mut copy);
    let len = bucket::element_len(header.load(Relaxed));
    hasher.hash(words::unpack(&copy, len, &mut room).unwrap_or(&[]))
}
