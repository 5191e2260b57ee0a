//! Records as they lie in the ring and in its image, and how they are found again.
//!
//! ```text
//!   a record   ┌────────────┬──────────────────────┬─────────┬─────────────┬─────────┐
//!              │ checksum 8 │ epoch 48 | length 16 │ seq 8   │ payload     │ zeros   │  to a multiple of 8
//!              └────────────┴──────────────────────┴─────────┴─────────────┴─────────┘
//!   a filler   length 0xFFFF: nothing more until the ring begins anew; implied where no header fits
//!   the end    length 0xFFFE: in the image alone, after the newest record, until the next one takes its place
//! ```
//!
//! Offsets are on a line that never wraps; the place in the ring is the remainder. The checksum covers everything but
//! the zeros, and the record's offset and the ring's salt go into it: a record that was left from an earlier lap or an
//! earlier ring is not valid anywhere, and whoever writes values can't write one that looks like a record.
//!
//! What can go wrong: bytes that are no record where one should be. A scan notes the hole and looks for the next valid
//! record, so one damaged record costs itself and nothing behind it.

use lattice_wire::MAX_RECORD_BYTES;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes before a record's payload.
pub(crate) const RECORD_HEADER_BYTES: usize = 24;
/// The longest record with its header: what must be free for "one more record".
pub(crate) const MAX_STRIDE: u64 = stride(MAX_RECORD_BYTES);
/// What must be free behind the newest record for the mark of the end, also where it goes to the next lap.
pub(crate) const END_MARK_BYTES: u64 = 2 * RECORD_HEADER_BYTES as u64;
const FILLER_LEN: u64 = 0xFFFF;
const END_LEN: u64 = 0xFFFE;
const _: () = assert!((MAX_RECORD_BYTES as u64) < END_LEN);

/// Bytes that a record of `len` bytes takes.
pub(crate) const fn stride(len: usize) -> u64 {
    ((RECORD_HEADER_BYTES + len) as u64).next_multiple_of(8)
}

/// A record's second word.
pub(crate) const fn length_word(epoch: u64, len: usize) -> u64 {
    epoch << 16 | len as u64
}

/// The second word of a filler.
pub(crate) const FILLER_WORD: u64 = FILLER_LEN;

/// The mark that stands behind the newest record of an image.
pub(crate) fn end_mark(salt: u64, offset: u64) -> [u8; RECORD_HEADER_BYTES] {
    let mut mark = [0; RECORD_HEADER_BYTES];
    mark[..8].copy_from_slice(&checksum(salt, offset, END_LEN, 0, &[]).to_le_bytes());
    mark[8..16].copy_from_slice(&END_LEN.to_le_bytes());
    mark
}

/// Epoch and length from a second word; no length for what is no record.
pub(crate) const fn read_length_word(word: u64) -> (u64, Option<usize>) {
    match word & 0xFFFF {
        FILLER_LEN | END_LEN => (word >> 16, None),
        len => (word >> 16, Some(len as usize)),
    }
}

/// The checksum of a record at `offset`.
#[inline]
pub(crate) fn checksum(salt: u64, offset: u64, length_word: u64, seq: u64, payload: &[u8]) -> u64 {
    // Each step is a bijection of the word that comes in: no single change can cancel out.
    let mix = |seed: u64, word: u64| (seed ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    let seed = mix(mix(mix(salt, offset), length_word), seq);
    xxh3_64_with_seed(payload, seed)
}

/// A valid record that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: u64,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    pub(crate) len: usize,
}

/// What lies between two offsets.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) records: Vec<Found>,
    /// Stretches without a valid record, from and to.
    pub(crate) holes: Vec<(u64, u64)>,
    /// Where the last valid thing ends.
    pub(crate) end: u64,
    /// The mark of the end is there.
    pub(crate) has_end_mark: bool,
}

enum Here {
    Record(Found),
    Filler,
    End,
    Nothing,
}

fn look(ring: &[u8], salt: u64, offset: u64) -> Here {
    let capacity = ring.len() as u64;
    let at = (offset % capacity) as usize;
    let word =
        |i: usize| ring.get(at + i..at + i + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    let (Some(sum), Some(second), Some(seq)) = (word(0), word(8), word(16)) else { return Here::Filler };
    let (epoch, len) = read_length_word(second);
    let payload = match len {
        None => &[][..],
        Some(len) if len <= MAX_RECORD_BYTES => {
            let begin = at + RECORD_HEADER_BYTES;
            match ring.get(begin..begin + len) {
                Some(payload) => payload,
                None => return Here::Nothing,
            }
        }
        Some(_) => return Here::Nothing,
    };
    if sum != checksum(salt, offset, second, seq, payload) {
        return Here::Nothing;
    }
    match len {
        Some(len) => Here::Record(Found { offset, epoch, seq, len }),
        None if second & 0xFFFF == END_LEN => Here::End,
        None => Here::Filler,
    }
}

/// Finds the records of `ring` from one offset to another. `end`, where it is known, says that nothing ends there but
/// what was written: a hole before it counts.
pub(crate) fn scan(ring: &[u8], salt: u64, from: u64, to: u64, end: Option<u64>) -> Scan {
    let capacity = ring.len() as u64;
    let (mut at, mut hole) = (from, None);
    let mut scan = Scan { end: from, ..Scan::default() };
    while at < to {
        let next = match look(ring, salt, at) {
            Here::Nothing => {
                hole.get_or_insert(at);
                at += 8;
                continue;
            }
            // At the end of a lap a header may not fit, and then that is no sign of anything by itself.
            Here::Filler if capacity - at % capacity < RECORD_HEADER_BYTES as u64 => {
                at += capacity - at % capacity;
                continue;
            }
            Here::End => {
                scan.has_end_mark = true;
                break;
            }
            Here::Filler => at + capacity - at % capacity,
            Here::Record(found) => {
                scan.records.push(found);
                at + stride(found.len)
            }
        };
        if let Some(begin) = hole.take() {
            scan.holes.push((begin, at));
        }
        (at, scan.end) = (next, next);
    }
    match (end, hole) {
        (Some(end), _) if scan.end != end => scan.holes.push((hole.unwrap_or(scan.end), end)),
        (None, Some(begin)) if scan.has_end_mark => scan.holes.push((begin, at)),
        _ => {}
    }
    scan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(ring: &mut [u8], salt: u64, offset: u64, epoch: u64, seq: u64, payload: &[u8]) -> u64 {
        let at = (offset % ring.len() as u64) as usize;
        let second = length_word(epoch, payload.len());
        ring[at..at + 8].copy_from_slice(&checksum(salt, offset, second, seq, payload).to_le_bytes());
        ring[at + 8..at + 16].copy_from_slice(&second.to_le_bytes());
        ring[at + 16..at + 24].copy_from_slice(&seq.to_le_bytes());
        ring[at + 24..at + 24 + payload.len()].copy_from_slice(payload);
        offset + stride(payload.len())
    }

    #[test]
    fn any_flipped_bit_of_a_record_is_found_and_costs_that_record_alone() {
        let mut ring = vec![0u8; 256];
        let second = put(&mut ring, 7, 0, 5, 1, b"first");
        let third = put(&mut ring, 7, second, 5, 2, b"second");
        let end = put(&mut ring, 7, third, 5, 3, b"third!");
        assert_eq!(scan(&ring, 7, 0, 256, None).records.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 3]);
        for bit in second * 8..(second + 24 + 6) * 8 {
            let mut flipped = ring.clone();
            flipped[bit as usize / 8] ^= 1 << (bit % 8);
            let found = scan(&flipped, 7, 0, 256, Some(end));
            assert_eq!(found.records.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 3], "bit {bit}");
            assert_eq!(found.holes, [(second, third)], "bit {bit}");
        }
    }

    #[test]
    fn what_is_left_of_another_lap_or_ring_is_not_taken_for_a_record() {
        let mut ring = vec![0u8; 256];
        put(&mut ring, 7, 0, 5, 1, b"first");
        assert!(scan(&ring, 7, 256, 512, None).records.is_empty());
        assert!(scan(&ring, 8, 0, 256, None).records.is_empty());
    }

    #[test]
    fn an_end_that_is_known_must_be_reached() {
        let mut ring = vec![0u8; 256];
        let end = put(&mut ring, 7, 0, 5, 1, b"first");
        assert!(scan(&ring, 7, 0, end, Some(end)).holes.is_empty());
        assert_eq!(scan(&ring, 7, 0, end + 40, Some(end + 40)).holes, [(end, end + 40)]);
        assert_eq!(scan(&ring, 7, 0, 0, Some(0)).end, 0);
    }
}
