//! Bytes in and out of shared words, one relaxed atomic access per word.
//!
//! Shared payload is never touched through byte references: a copy by `memcpy` or `read_volatile` beside a writer is a
//! data race. Bytes lie in words in little-endian order, so byte `i` of a payload is byte `i` of the file; the last
//! word is padded with zeros. These functions order nothing: the fences around them are their callers'.

use crate::sync::{AtomicU64, Ordering::Relaxed};

/// Words that `bytes` bytes take.
pub const fn words_for(bytes: usize) -> usize {
    bytes.div_ceil(8)
}

/// The word that starts at byte `8 * index` of `bytes`, padded with zeros.
#[inline]
pub fn word_of(bytes: &[u8], index: usize) -> u64 {
    let start = index * 8;
    if let Some(whole) = bytes.get(start..start + 8) {
        let mut word = [0u8; 8];
        word.copy_from_slice(whole);
        return u64::from_le_bytes(word);
    }
    bytes.get(start..).map_or(0, short_word)
}

/// Fewer than eight bytes as a word, padded with zeros, by at most two loads of fixed size: a copy of a length that is not
/// known at compile time is a call.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    if let (Some(front), Some(back)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // They overlap in bytes that are the same.
        return u64::from(u32::from_le_bytes(*front))
            | u64::from(u32::from_le_bytes(*back)) << ((len - 4) * 8);
    }
    if let (Some(front), Some(back)) = (bytes.first_chunk::<2>(), bytes.last_chunk::<2>()) {
        return u64::from(u16::from_le_bytes(*front))
            | u64::from(u16::from_le_bytes(*back)) << ((len - 2) * 8);
    }
    bytes.first().map_or(0, |byte| u64::from(*byte))
}

/// Brings the cache line of a word closer, for a store that is to come soon. Where that can't be said, nothing happens.
#[inline]
pub fn prefetch(word: &AtomicU64) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    // SAFETY: a prefetch is a hint: it reads and writes no memory of the program, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
            std::ptr::from_ref(word).cast(),
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    let _ = word;
}

/// Brings the cache line of a word to this core as its own, for a store that is to come soon: another core has it, and a store
/// that waits for it holds up all stores after it. Where that can't be said, nothing happens.
#[inline]
pub fn prefetch_exclusive(word: &AtomicU64) {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    // SAFETY: PREFETCHW is a hint: it reads and writes no memory of the program, whatever the address, and is one that
    // does nothing on processors that do not know it. In assembly, because `_mm_prefetch` becomes a prefetch for reading
    // where the target is not said to have it.
    unsafe {
        std::arch::asm!(
            "prefetchw [{line}]",
            line = in(reg) std::ptr::from_ref(word),
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    let _ = word;
}

/// Stores bytes to the front of `to`. Returns false, having stored nothing, if they do not fit.
#[inline]
pub fn store_bytes(to: &[AtomicU64], bytes: &[u8]) -> bool {
    let Some(to) = to.get(..words_for(bytes.len())) else { return false };
    let (whole, rest) = bytes.as_chunks();
    for (word, bytes) in to.iter().zip(whole) {
        word.store(u64::from_le_bytes(*bytes), Relaxed);
    }
    if let Some(last) = to.get(whole.len()) {
        last.store(short_word(rest), Relaxed);
    }
    true
}

/// Whether the front of `from` holds exactly `bytes` (and zero padding).
#[inline]
pub fn equal_bytes(from: &[AtomicU64], bytes: &[u8]) -> bool {
    match from.get(..words_for(bytes.len())) {
        Some(words) => {
            words.iter().enumerate().all(|(index, word)| word.load(Relaxed) == word_of(bytes, index))
        }
        None => false,
    }
}

/// Appends the first `len` bytes of `from` to `out`. Returns false, having appended nothing, if `from` is shorter.
#[inline]
pub fn append_bytes(from: &[AtomicU64], len: usize, out: &mut Vec<u8>) -> bool {
    let Some(words) = from.get(..words_for(len)) else { return false };
    let start = out.len();
    out.reserve(words.len() * 8);
    for word in words {
        out.extend_from_slice(&word.load(Relaxed).to_le_bytes());
    }
    out.truncate(start + len);
    true
}

/// Copies words out; stops at the shorter of the two.
#[inline]
pub fn copy_words(from: &[AtomicU64], to: &mut [u64]) {
    for (word, out) in from.iter().zip(to) {
        *out = word.load(Relaxed);
    }
}

/// The first `len` bytes of words that were copied out, as bytes in `out`; `None` if either is too short.
#[inline]
pub fn unpack<'a>(words: &[u64], len: usize, out: &'a mut [u8]) -> Option<&'a [u8]> {
    let words = words.get(..words_for(len))?;
    if out.len() < words.len() * 8 {
        return None;
    }
    for (chunk, word) in out.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    out.get(..len)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_survive_the_words(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let words: Vec<AtomicU64> = (0..words_for(bytes.len())).map(|_| AtomicU64::new(u64::MAX)).collect();
            prop_assert!(store_bytes(&words, &bytes));
            prop_assert!(equal_bytes(&words, &bytes));
            let mut out = vec![9];
            prop_assert!(append_bytes(&words, bytes.len(), &mut out));
            prop_assert_eq!(&out[1..], &bytes[..]);
            let mut copy = vec![0; words.len()];
            copy_words(&words, &mut copy);
            let mut room = vec![0; words.len() * 8];
            prop_assert_eq!(unpack(&copy, bytes.len(), &mut room), Some(&bytes[..]));
            if let Some(first) = bytes.first() {
                let mut other = bytes.clone();
                other[0] = first.wrapping_add(1);
                prop_assert!(!equal_bytes(&words, &other));
                prop_assert!(!store_bytes(&words[1..], &bytes));
            }
        }
    }
}
