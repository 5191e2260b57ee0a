//! Any bytes in a client ring, seen from the daemon: the words of the ring change between any two steps, and while a
//! submission is being carried out.
//!
//! ```text
//!   hostile client ── stores anywhere ──> words <── poll, complete ── daemon
//!                                           └── model: what the daemon may have taken, applied, answered
//! ```
//!
//! The words are a vector of exactly the ring's size, so that ASan sees a load beyond it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use lattice_segment::layout::{KIND_COUNTER, KIND_SET, MAX_KEY_BYTES, MAX_REGISTER_BYTES};
use lattice_segment::ring::burst::{self, ConsumerState};
use lattice_segment::ring::completion;
use lattice_segment::ring::layout::*;
use lattice_segment::ring::levels::{self, Levels};
use lattice_segment::ring::part::RingPart;
use lattice_segment::ring::submission::{self, CopiedOut, ProducerState};
use lattice_segment::{RingFault, Submission, SubmitError, SubmitOp, Target, Verdict, Watermark};

use crate::input::Input;

const SLOTS: usize = 32;
const ENTRIES: usize = 32;
const WORDS: usize = LINES_WORDS + SLOTS * SLOT_WORDS + ENTRIES * COMPLETION_WORDS;

/// Bytes for data that a submission only needs some of.
const DATA: [u8; MAX_REGISTER_BYTES + 8] = [0x5A; MAX_REGISTER_BYTES + 8];

/// What the daemon did, counted beside it.
#[derive(Default)]
struct Model {
    head: u64,
    applied: u64,
    completion_tail: u64,
    fault: Option<RingFault>,
}

struct Ring {
    words: Vec<AtomicU64>,
    state: ConsumerState,
    copy: CopiedOut,
    producer: ProducerState,
    failures_taken: u64,
    told: Levels,
    model: Model,
}

fn part(words: &[AtomicU64]) -> RingPart<'_> {
    RingPart::new(words, SLOTS, ENTRIES).expect("words for all of it")
}

/// Slots that a submission takes.
fn slots_of(submission: &Submission<'_>) -> u64 {
    let key_len = match submission.target {
        Target::Key(key) => key.len(),
        Target::Cell { .. } => 0,
    };
    let words = SUBMISSION_HEADER_WORDS + key_len.div_ceil(8) + submission.data.len().div_ceil(8);
    words.div_ceil(SLOT_WORDS) as u64
}

fn check_submission(submission: &Submission<'_>) {
    if submission.kind == 0 {
        let bits = submission.amount as u64;
        assert_eq!(*submission, Submission::mark(bits & MARK_DISK != 0, bits & MARK_PEERS != 0));
        return;
    }
    assert!((KIND_COUNTER..=KIND_SET).contains(&submission.kind));
    assert!(submission.data.len() <= MAX_REGISTER_BYTES);
    if let Target::Key(key) = submission.target {
        assert!((1..=MAX_KEY_BYTES).contains(&key.len()));
    }
    assert_eq!(SubmitOp::from_number(submission.op as u8), Some(submission.op));
}

/// A store of the client's: anywhere, or where it hurts.
fn scribble(words: &[AtomicU64], input: &mut Input<'_>) {
    let at = match input.below(4) {
        0 => input.choose(&[SUBMISSION_TAIL, COMPLETION_HEAD, SUBMISSION_HEAD, APPLIED, COMPLETION_TAIL]),
        1 => LINES_WORDS + input.below(SLOTS) * SLOT_WORDS,
        _ => usize::from(input.u16()) % WORDS,
    };
    let old = words[at].load(Relaxed);
    let value = match input.below(4) {
        0 => old.wrapping_add(input.number()),
        1 => old ^ 1 << input.below(64),
        _ => input.number(),
    };
    words[at].store(value, Relaxed);
}

/// A header of a submission that may be right.
fn header(input: &mut Input<'_>) -> u64 {
    let (op, kind) = (u64::from(input.u8() % 9), u64::from(input.u8() % 7));
    let (key_len, data_len) = (u64::from(input.u8()), u64::from(input.u16() % 1100));
    let fitting = (SUBMISSION_HEADER_WORDS as u64 + key_len.div_ceil(8) + data_len.div_ceil(8)).div_ceil(8);
    let slots = fitting.wrapping_add(input.choose(&[0, 0, 0, 0, 1, u64::MAX, 30])) & 0xFF;
    let reserved = input.choose(&[0, 0, 0, 0, 0, 1]);
    op | kind << 8 | slots << 16 | key_len << 24 | data_len << 32 | reserved << 48
}

impl Ring {
    fn new() -> Self {
        Self {
            words: (0..WORDS).map(|_| AtomicU64::new(0)).collect(),
            state: ConsumerState::default(),
            copy: CopiedOut::default(),
            producer: ProducerState::default(),
            failures_taken: 0,
            told: Levels::default(),
            model: Model::default(),
        }
    }

    fn line(&self, word: usize) -> u64 {
        self.words[word].load(Relaxed)
    }

    /// The client writes a header at the daemon's place, and says that there are slots.
    fn offer(&mut self, input: &mut Input<'_>) {
        let header = header(input);
        part(&self.words).slot_word(self.model.head, 0).store(header, Relaxed);
        part(&self.words).slot_word(self.model.head, 2).store(input.choose(&[0, 0, 1, u64::MAX]), Relaxed);
        let more = input.number() % (SLOTS as u64 + 2);
        self.words[SUBMISSION_TAIL].store(self.model.head.wrapping_add(more), Relaxed);
    }

    /// The client uses its library, as it should.
    fn push(&mut self, input: &mut Input<'_>) {
        let op = SubmitOp::from_number(1 + input.u8() % 8).expect("an operation");
        if op == SubmitOp::Mark {
            let mark = Submission::mark(true, false);
            let pushed = submission::push(part(&self.words), &mut self.producer, &mark);
            assert!(matches!(pushed, Ok(_) | Err(SubmitError::RingFull)));
            return;
        }
        let kind = input.u8();
        let target = match input.below(2) {
            0 => Target::Cell { cell: input.u32(), generation: input.u32() },
            _ => Target::Key(input.string()),
        };
        let data = &DATA[..usize::from(input.u16()) % DATA.len()];
        let submission = Submission { op, kind, target, amount: input.u64() as i64, data };
        let pushed = submission::push(part(&self.words), &mut self.producer, &submission);
        let bad_key = matches!(target, Target::Key(key) if key.is_empty() || key.len() > MAX_KEY_BYTES);
        assert_eq!(bad_key, pushed == Err(SubmitError::BadKey));
        assert!(bad_key || (data.len() > MAX_REGISTER_BYTES) == (pushed == Err(SubmitError::TooLarge)));
    }

    fn poll(&mut self, input: &mut Input<'_>) {
        let budget = input.number() as usize;
        let before_taken = self.state.taken();
        let (mut slots, mut first, mut retried) = (0, 0, false);
        // Entries that were filled, unless the client stored something meanwhile.
        let mut entries = Vec::new();
        let (mut undisturbed, words, model) = (true, &self.words, &mut self.model);
        let result = burst::poll(part(words), &mut self.state, &mut self.copy, budget, &mut |submission| {
            assert!(!retried && model.fault.is_none(), "nothing comes after a fault or a retry");
            check_submission(submission);
            if undisturbed {
                let header = part(words).slot_word(model.head, 0).load(Relaxed);
                assert_eq!(header as u8, submission.op as u8, "what is handed out is what is there");
                assert_eq!(header >> 32 & 0xFFFF, submission.data.len() as u64);
                assert_eq!(part(words).slot_word(model.head, 1).load(Relaxed), submission.amount as u64);
            }
            let verdict = match input.below(4) {
                0 => Verdict::Retry,
                1 => Verdict::Refused(input.u16()),
                _ => Verdict::Applied,
            };
            if input.below(4) == 0 {
                undisturbed = false;
                scribble(words, input);
            }
            if verdict == Verdict::Retry {
                retried = true;
                return verdict;
            }
            model.head = model.head.wrapping_add(slots_of(submission));
            model.applied += 1;
            slots += slots_of(submission);
            first = if first == 0 { slots } else { first };
            if let Verdict::Refused(code) = verdict {
                entries.push((model.completion_tail, model.applied, u64::from(code)));
                model.completion_tail += 1;
            }
            verdict
        });
        assert!(slots <= (budget as u64).max(first), "{slots} slots of a budget of {budget}");
        assert!(entries.len() <= ENTRIES);
        assert_eq!(self.state.taken(), self.model.applied);
        match result {
            Ok(taken) => assert_eq!(taken as u64, self.state.taken() - before_taken),
            Err(fault) => {
                assert!(!fault.to_string().is_empty());
                assert_eq!(*self.model.fault.get_or_insert(fault), fault, "the first fault stays");
            }
        }
        assert!(slots == 0 || self.line(SUBMISSION_HEAD) == self.model.head, "slots are given back");
        for (at, ticket, code) in entries.into_iter().filter(|_| undisturbed) {
            let (first, second) = part(&self.words).entry(at);
            assert_eq!((first.load(Relaxed), second.load(Relaxed)), (ticket, code));
        }
    }

    fn complete(&mut self, shown: &mut u64) {
        burst::complete(part(&self.words), &mut self.state);
        if *shown != self.model.applied {
            *shown = self.model.applied;
            assert_eq!(self.line(APPLIED), self.model.applied);
            assert_eq!(self.line(COMPLETION_TAIL), self.model.completion_tail);
        }
    }

    fn sleep(&mut self) {
        let pending = burst::prepare_sleep(part(&self.words), &self.state);
        assert!(burst::consumer_sleeps(part(&self.words)));
        assert!(!pending || self.model.fault.is_none(), "no sleep is lost to a client that is gone");
        burst::wake(part(&self.words));
        assert!(!burst::consumer_sleeps(part(&self.words)));
    }

    /// Whatever the client stored meanwhile, the daemon tells what has grown, and nothing else.
    fn tell(&mut self) {
        let (before, done) = (self.told, self.model.applied);
        let now = Levels { durable: done, majority: done / 2, all: done / 3, ..before };
        levels::tell(part(&self.words), &mut self.told, &now);
        let told = [
            (DURABLE, before.durable, self.told.durable, now.durable),
            (MAJORITY, before.majority, self.told.majority, now.majority),
            (ALL, before.all, self.told.all, now.all),
        ];
        for (word, before, after, now) in told {
            assert_eq!(after, before.max(now));
            assert!(now <= before || self.line(word) == now);
        }
        let _ = (levels::terms(part(&self.words)), levels::watermark(part(&self.words), Watermark::All));
    }

    fn take_failure(&mut self) {
        let before = self.failures_taken;
        let taken = completion::take(part(&self.words), &mut self.failures_taken);
        assert_eq!(self.failures_taken, before.wrapping_add(u64::from(taken.is_some())));
        let _ = completion::applied(part(&self.words));
    }
}

/// Steps of a client and of the daemon on one ring.
pub fn ring(data: &[u8]) {
    let mut input = Input::new(data);
    let mut ring = Ring::new();
    let mut shown = 0;
    while !input.is_empty() {
        match input.below(8) {
            0 => scribble(&ring.words, &mut input),
            1 => ring.offer(&mut input),
            2 => ring.push(&mut input),
            3 => {
                ring.complete(&mut shown);
                ring.tell();
            }
            4 => ring.sleep(),
            5 => ring.take_failure(),
            _ => ring.poll(&mut input),
        }
    }
}
