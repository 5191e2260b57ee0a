//! The submission ring: operations from one client to one worker.
//!
//! ```text
//!             head (daemon)                    tail (client)
//!   ──────────────┼───────────────────────────────┼──────────>  slots, ever growing; place = slot mod slots
//!      free       │ header amount cell key data …  │  free
//! ```
//!
//! A classic single-producer single-consumer ring, except that the consumer believes nothing: it copies each submission
//! out, one load per word, and parses the copy. What the client changes afterwards changes nothing.
//!
//! What can go wrong: the client's ring is full (`RingFull`, nothing written); the words contradict the protocol
//! ([`RingFault`]), after which the client's connection is to be closed.

use super::layout::{
    MARK_DISK, MARK_PEERS, MAX_SUBMISSION_SLOTS, MAX_SUBMISSION_WORDS, SLOT_WORDS, SUBMISSION_HEAD,
    SUBMISSION_HEADER_WORDS, SUBMISSION_TAIL,
};
use super::part::RingPart;
use super::{RingFault, Submission, SubmitError, SubmitOp, Target, Ticket};
use crate::layout::{KIND_COUNTER, KIND_SET, MAX_KEY_BYTES, MAX_REGISTER_BYTES};
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::words;

/// How far ahead of a submission its slots' lines are asked for. The worker's core read them last, and to take one back
/// takes as long as some submissions do.
const SLOTS_AHEAD: u64 = 4;

/// What the client remembers of its ring.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProducerState {
    tail: u64,
    head_seen: u64,
    tickets: u64,
}

/// Slots of a submission with a key and data of some lengths.
fn slots_for(key_len: usize, data_len: usize) -> usize {
    (SUBMISSION_HEADER_WORDS + words::words_for(key_len) + words::words_for(data_len)).div_ceil(SLOT_WORDS)
}

/// Queues a submission.
#[inline]
pub fn push(
    part: RingPart<'_>,
    state: &mut ProducerState,
    submission: &Submission<'_>,
) -> Result<Ticket, SubmitError> {
    let (key, cell) = match submission.target {
        Target::Key(key) if key.is_empty() || key.len() > MAX_KEY_BYTES => return Err(SubmitError::BadKey),
        Target::Key(key) => (key, 0),
        Target::Cell { cell, generation } => (&[][..], u64::from(cell) | u64::from(generation) << 32),
    };
    if submission.data.len() > MAX_REGISTER_BYTES {
        return Err(SubmitError::TooLarge);
    }
    let slots = slots_for(key.len(), submission.data.len());
    if !has_room(part, state, slots as u64) {
        return Err(SubmitError::RingFull);
    }
    let header = submission.op as u64
        | u64::from(submission.kind) << 8
        | (slots as u64) << 16
        | (key.len() as u64) << 24
        | (submission.data.len() as u64) << 32;
    let put = |index: usize, value: u64| part.slot_word(state.tail, index).store(value, Relaxed);
    put(0, header);
    put(1, submission.amount as u64);
    put(2, cell);
    let key_words = words::words_for(key.len());
    for index in 0..key_words {
        put(SUBMISSION_HEADER_WORDS + index, words::word_of(key, index));
    }
    for index in 0..words::words_for(submission.data.len()) {
        put(SUBMISSION_HEADER_WORDS + key_words + index, words::word_of(submission.data, index));
    }
    state.tail = state.tail.wrapping_add(slots as u64);
    state.tickets += 1;
    words::prefetch_exclusive(part.slot_word(state.tail.wrapping_add(SLOTS_AHEAD), 0));
    // ORDER submission-full: release pairs with the acquire in `available`: the slots' words are there.
    part.line(SUBMISSION_TAIL).store(state.tail, if zoo!(SubmissionTailRelaxed) { Relaxed } else { Release });
    Ok(Ticket(state.tickets))
}

fn has_room(part: RingPart<'_>, state: &mut ProducerState, slots: u64) -> bool {
    let fits = |head: u64| state.tail.wrapping_sub(head).saturating_add(slots) <= part.submission_slots();
    if fits(state.head_seen) {
        return true;
    }
    // ORDER submission-free: acquire pairs with the release in `release_slots`: the slots' old words were read.
    let head = part.line(SUBMISSION_HEAD).load(Acquire);
    if fits(head) {
        state.head_seen = head;
        return true;
    }
    false
}

/// Slots that the client has filled behind `head`.
#[inline]
pub fn available(part: RingPart<'_>, head: u64) -> Result<u64, RingFault> {
    // ORDER submission-full: acquire pairs with the release in `push`.
    let filled = part.line(SUBMISSION_TAIL).load(Acquire).wrapping_sub(head);
    if filled > part.submission_slots() { Err(RingFault::SubmissionIndex) } else { Ok(filled) }
}

/// Whether the client has filled anything behind `head`, or says so.
#[inline]
pub fn is_any(part: RingPart<'_>, head: u64) -> bool {
    // Relaxed: a hint. Whoever goes on to take submissions asks `available`.
    part.line(SUBMISSION_TAIL).load(Relaxed) != head
}

/// Number of slots that the submission at `head` claims, if that is possible at all.
#[inline]
pub fn claimed_slots(part: RingPart<'_>, head: u64, available: u64) -> Result<(u64, u64), RingFault> {
    let header = part.slot_word(head, 0).load(Relaxed);
    let slots = header >> 16 & 0xFF;
    if slots == 0 || slots > MAX_SUBMISSION_SLOTS as u64 || slots > available {
        return Err(RingFault::BadLength);
    }
    Ok((header, slots))
}

/// What the submission at `head` seems to be: its slots, and the cell that it names by handle. Nothing is checked but that the
/// walk goes on: a hint of what will be needed, for who takes the submission later and looks then.
#[inline]
pub fn glimpse(part: RingPart<'_>, head: u64) -> (u64, Option<u32>) {
    let header = part.slot_word(head, 0).load(Relaxed);
    let slots = (header >> 16 & 0xFF).max(1);
    let is_by_handle = header >> 24 & 0xFF == 0;
    (slots, is_by_handle.then(|| part.slot_word(head, 2).load(Relaxed) as u32))
}

/// A private copy of one submission's words. It means nothing until [`parse`](Self::parse) accepts it.
#[derive(Clone)]
pub struct CopiedOut {
    words: [u64; MAX_SUBMISSION_WORDS],
    key: [u8; MAX_KEY_BYTES],
    data: [u8; MAX_REGISTER_BYTES],
}

impl std::fmt::Debug for CopiedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopiedOut").finish_non_exhaustive()
    }
}

impl Default for CopiedOut {
    fn default() -> Self {
        CopiedOut { words: [0; MAX_SUBMISSION_WORDS], key: [0; MAX_KEY_BYTES], data: [0; MAX_REGISTER_BYTES] }
    }
}

impl CopiedOut {
    /// Copies the words of `slots` slots; the header is the one that was judged, not what the client put there since.
    #[inline]
    pub fn copy(&mut self, part: RingPart<'_>, head: u64, header: u64, slots: u64) {
        let (first, rest) = self.words.split_at_mut(SLOT_WORDS);
        first[0] = header;
        words::copy_words(&part.slot(head)[1..], &mut first[1..]);
        for (position, to) in (1..slots).zip(rest.chunks_exact_mut(SLOT_WORDS)) {
            words::copy_words(part.slot(head.wrapping_add(position)), to);
        }
    }

    /// Accepts or refuses the copy.
    #[inline]
    pub fn parse(&mut self) -> Result<Submission<'_>, RingFault> {
        let header = self.words[0];
        let (kind, slots) = ((header >> 8) as u8, (header >> 16) as usize & 0xFF);
        let (key_len, data_len) = ((header >> 24) as usize & 0xFF, (header >> 32) as usize & 0xFFFF);
        if header >> 48 != 0 {
            return Err(RingFault::BadReserved);
        }
        let op = SubmitOp::from_number(header as u8).ok_or(RingFault::BadOp)?;
        if !(KIND_COUNTER..=KIND_SET).contains(&kind) {
            return self.parse_mark();
        }
        let possible = key_len <= MAX_KEY_BYTES && data_len <= MAX_REGISTER_BYTES;
        if !possible || slots != slots_for(key_len, data_len) {
            return Err(RingFault::BadLength);
        }
        let cell = self.words[2];
        if key_len != 0 && cell != 0 {
            return Err(RingFault::BadReserved);
        }
        if key_len == 0 && data_len == 0 {
            // Counters and flags by handle: nothing to unpack.
            let target = Target::Cell { cell: cell as u32, generation: (cell >> 32) as u32 };
            return Ok(Submission { op, kind, target, amount: self.words[1] as i64, data: &[] });
        }
        let (key_words, data_words) =
            self.words[SUBMISSION_HEADER_WORDS..].split_at(words::words_for(key_len));
        let key = words::unpack(key_words, key_len, &mut self.key).ok_or(RingFault::BadLength)?;
        let data = words::unpack(data_words, data_len, &mut self.data).ok_or(RingFault::BadLength)?;
        let target = if key_len == 0 {
            Target::Cell { cell: cell as u32, generation: (cell >> 32) as u32 }
        } else {
            Target::Key(key)
        };
        Ok(Submission { op, kind, target, amount: self.words[1] as i64, data })
    }

    /// What has no kind of key is a mark, or nothing that there is.
    #[cold]
    fn parse_mark(&self) -> Result<Submission<'static>, RingFault> {
        let [header, bits, cell, ..] = self.words;
        if header != MARK_HEADER {
            return Err(RingFault::BadOp);
        }
        if bits & !MARK_BITS != 0 || cell != 0 {
            return Err(RingFault::BadReserved);
        }
        Ok(Submission::mark(bits & MARK_DISK != 0, bits & MARK_PEERS != 0))
    }
}

/// Bits that a mark may have.
const MARK_BITS: u64 = MARK_DISK | MARK_PEERS;
/// The header of every mark: one slot, and nothing in it.
const MARK_HEADER: u64 = SubmitOp::Mark as u64 | 1 << 16;

/// Gives copied slots back to the client.
#[inline]
pub fn release_slots(part: RingPart<'_>, head: u64) {
    // ORDER submission-free: release pairs with the acquire in `has_room`: the loads of the slots are done.
    part.line(SUBMISSION_HEAD).store(head, Release);
}
