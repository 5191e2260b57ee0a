//! The inside of a bucket: a depth word and entries, parsed with every length distrusted.

use crate::extent::Unresolved;
use crate::layout::{MAX_ELEMENT_BYTES, MAX_SET_DEPTH, SET_ENTRY_LIVE};
use crate::sync::{AtomicU64, Ordering::Relaxed};
use crate::words;

/// Word of the first entry.
pub(super) const FIRST_ENTRY: usize = 1;

/// An element prepared for comparing and storing: its words, length and hash.
#[derive(Clone, Copy)]
pub struct Probe {
    words: [u64; MAX_ELEMENT_BYTES / 8],
    len: usize,
    hash: u64,
}

impl Probe {
    /// Prepares an element; `None` if it is longer than any element may be.
    pub fn new(element: &[u8], hash: u64) -> Option<Probe> {
        if element.len() > MAX_ELEMENT_BYTES {
            return None;
        }
        let mut words = [0; MAX_ELEMENT_BYTES / 8];
        for (index, word) in words[..words::words_for(element.len())].iter_mut().enumerate() {
            *word = words::word_of(element, index);
        }
        Some(Probe { words, len: element.len(), hash })
    }

    /// The element's hash.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    fn words(&self) -> &[u64] {
        &self.words[..words::words_for(self.len)]
    }

    /// Words of the element's entry.
    pub(super) fn entry_words(&self) -> usize {
        1 + self.words().len()
    }

    fn header(&self) -> u64 {
        self.hash << 32 | self.len as u64
    }
}

/// A bucket's depth and prefix word.
pub(super) fn range_word(depth: u32, prefix: u64) -> u64 {
    u64::from(depth) | prefix << 8
}

/// Depth and prefix of a bucket, if they are possible.
pub(super) fn range(word: u64) -> Option<(u32, u64)> {
    let (depth, prefix) = ((word & 0xFF) as u32, word >> 8);
    (depth <= MAX_SET_DEPTH && prefix >> depth == 0).then_some((depth, prefix))
}

/// Words of an entry, header included, by its header; `None` if its element is too long.
pub(super) fn entry_words(header: u64) -> Option<usize> {
    let len = element_len(header);
    (len <= MAX_ELEMENT_BYTES).then(|| 1 + words::words_for(len))
}

/// Length of an entry's element in bytes.
pub(super) fn element_len(header: u64) -> usize {
    (header & 0xFFFF) as usize
}

/// Whether an entry's element is a member.
pub(super) fn is_live(header: u64) -> bool {
    header & SET_ENTRY_LIVE != 0
}

/// Searches the entries in `used` words of a payload: the entry's word and whether it is live.
pub(super) fn find(
    payload: &[AtomicU64],
    used: usize,
    probe: &Probe,
) -> Result<Option<(usize, bool)>, Unresolved> {
    let used = payload.get(..used).ok_or(Unresolved::Corrupt)?;
    let mut at = FIRST_ENTRY;
    while at < used.len() {
        let header = used[at].load(Relaxed);
        let next = at + entry_words(header).ok_or(Unresolved::Corrupt)?;
        let element = used.get(at + 1..next).ok_or(Unresolved::Corrupt)?;
        let same = header & !SET_ENTRY_LIVE == probe.header()
            && element.iter().zip(probe.words()).all(|(word, wanted)| word.load(Relaxed) == *wanted);
        if same {
            return Ok(Some((at, is_live(header))));
        }
        at = next;
    }
    Ok(None)
}

/// Writes a live entry at a word; false if it does not fit. It is shown when the extent's length covers it.
pub(super) fn write_entry(payload: &[AtomicU64], at: usize, probe: &Probe) -> bool {
    let Some(place) = payload.get(at..at + probe.entry_words()) else { return false };
    place[0].store(probe.header() | SET_ENTRY_LIVE, Relaxed);
    for (place, word) in place[1..].iter().zip(probe.words()) {
        place.store(*word, Relaxed);
    }
    true
}

/// Calls `visit(entry's first word, entry)` for each live entry of a payload; `None` for a malformed one.
pub(super) fn for_each_live(
    payload: &[AtomicU64],
    used: usize,
    mut visit: impl FnMut(&[AtomicU64]),
) -> Option<()> {
    let used = payload.get(..used)?;
    let mut at = FIRST_ENTRY;
    while at < used.len() {
        let header = used[at].load(Relaxed);
        let next = at + entry_words(header)?;
        let entry = used.get(at..next)?;
        if is_live(header) {
            visit(entry);
        }
        at = next;
    }
    Some(())
}
