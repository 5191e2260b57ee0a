//! loom explores the real publish and read code on its own atomics:
//! `RUSTFLAGS="--cfg loom" cargo test -p lattice-segment --release --test loom`.
//!
//! Each model has failed when one side of the ordering that it is about was taken out (the comment names it).
#![cfg(loom)]

use lattice_segment::biased::BiasedLock;
use lattice_segment::change_ring::{self, Entry, Step};
use lattice_segment::extent::ExtentAllocator;
use lattice_segment::index::Find;
use lattice_segment::layout::{CELL_META, CELL_WORDS, KIND_COUNTER, KIND_REGISTER, KIND_SET};
use lattice_segment::ring::burst::{self, ConsumerState};
use lattice_segment::ring::part::RingPart;
use lattice_segment::ring::submission::{self, CopiedOut, ProducerState};
use lattice_segment::ring::{completion, layout as ring_layout};
use lattice_segment::set::{self, Probe, SetHasher, SetWriter};
use lattice_segment::sync::{AtomicU64, Ordering};
use lattice_segment::{ReadError, Submission, SubmitOp, Target, Verdict, cell, index, register};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

const GENERATION: u32 = 5;

fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// One worker's part of a segment: a few words of each section.
struct Part {
    index: Vec<AtomicU64>,
    cells: Vec<AtomicU64>,
    extents: Vec<AtomicU64>,
}

fn zeros(count: usize) -> Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

fn part(index: usize, cells: usize, extents: usize) -> Part {
    Part { index: zeros(index), cells: zeros((cells + 1) * CELL_WORDS), extents: zeros(extents) }
}

impl Part {
    fn cell(&self) -> &cell::Cell {
        cell::cell(&self.cells, 1).unwrap()
    }

    fn made(self, kind: u8) -> Self {
        let meta = cell::Meta { kind, key_len: 1, generation: GENERATION };
        self.cell()[CELL_META].store(meta.to_word(), Ordering::Relaxed);
        self
    }
}

/// Orderings `cell-made`, `index`, `extent-len`, `word`, `version`: a found key is whole, and versions do not run ahead of
/// values. (Failed with either end of `index` or `version` relaxed.)
#[test]
fn a_key_is_found_whole_and_its_value_is_not_older_than_its_version() {
    explore(4, || {
        let part = Arc::new(part(4, 1, 16));
        let key = [7u8; 30];
        let hash = 0x1234_5678_0000_0003;
        let writer = {
            let part = Arc::clone(&part);
            thread::spawn(move || {
                let mut allocator = ExtentAllocator::new(part.extents.len());
                let meta = cell::Meta { kind: KIND_COUNTER, key_len: 30, generation: GENERATION };
                cell::make(part.cell(), meta, hash, &key, &part.extents, &mut allocator).unwrap();
                index::insert(&part.index, 3, hash, 1);
                cell::publish_word(part.cell(), 10);
                cell::publish_word(part.cell(), 20);
            })
        };
        match index::find(&part.index, &part.cells, &part.extents, KIND_COUNTER, hash, &key) {
            Find::Cell { number, generation } => {
                assert_eq!((number, generation), (1, GENERATION));
                let version = cell::version(part.cell());
                let value = cell::word(part.cell(), GENERATION).unwrap();
                assert!(value >= version * 10, "version {version} with value {value}");
            }
            Find::Missing { other_kind, vacant } => assert_eq!((other_kind, vacant), (None, Some(3))),
        }
        writer.join().unwrap();
    });
}

/// Orderings `register-flip`, `register-reuse`: a value is never torn, and never goes back.
/// (Failed without the fence in `publish`, without the fence in `read`, and with either end of the flip relaxed.)
#[test]
fn a_register_is_never_torn() {
    explore(4, || {
        let part = Arc::new(part(0, 1, 16).made(KIND_REGISTER));
        let mut allocator = ExtentAllocator::new(part.extents.len());
        register::publish(part.cell(), &part.extents, &mut allocator, &[1; 16]).unwrap();
        let writer = {
            let part = Arc::clone(&part);
            thread::spawn(move || {
                for value in 2..=3 {
                    register::publish(part.cell(), &part.extents, &mut allocator, &[value; 16]).unwrap();
                }
            })
        };
        let mut out = Vec::new();
        match register::read(part.cell(), &part.extents, &mut out) {
            Ok(()) => assert!(out.len() == 16 && out.iter().all(|byte| *byte == out[0]), "{out:?}"),
            Err(error) => assert_eq!((error, out.len()), (ReadError::Busy, 0)),
        }
        writer.join().unwrap();
    });
}

/// A writer that dies anywhere in a publication: the value before it stays readable.
#[test]
fn a_writer_may_die_anywhere() {
    explore(4, || {
        let part = Arc::new(part(0, 1, 16).made(KIND_REGISTER));
        let mut allocator = ExtentAllocator::new(part.extents.len());
        register::publish(part.cell(), &part.extents, &mut allocator, &[1; 16]).unwrap();
        register::publish(part.cell(), &part.extents, &mut allocator, &[2; 16]).unwrap();
        // loom lets it run between any two steps of the writer, to its end: all that a reader ever sees of a dead one.
        let reader = spawn_with(&part, |part| {
            let mut out = Vec::new();
            // One publication disturbs one attempt at most, and loom allows two.
            register::read(part.cell(), &part.extents, &mut out).unwrap();
            assert!(out == [2; 16] || out == [3; 16], "{out:?}");
        });
        register::publish(part.cell(), &part.extents, &mut allocator, &[3; 16]).unwrap();
        reader.join().unwrap();
    });
}

/// Ordering `extent-reuse`: what was read from a former tenant's space is not believed.
/// (Failed without the fence in `allocate`, and without the fence in `still_valid`.)
#[test]
fn a_reused_extent_is_noticed() {
    explore(4, || {
        let part = Arc::new(part(0, 0, 4));
        let mut allocator = ExtentAllocator::new(part.extents.len());
        let old = allocator.allocate(&part.extents, 16).unwrap();
        let place = lattice_segment::extent::resolve(&part.extents, old).unwrap();
        place.payload()[0].store(1, Ordering::Relaxed);
        place.payload()[1].store(1, Ordering::Relaxed);
        place.set_len(16);
        let writer = {
            let part = Arc::clone(&part);
            thread::spawn(move || {
                allocator.free(&part.extents, old);
                let new = allocator.allocate(&part.extents, 16).unwrap();
                let place = lattice_segment::extent::resolve(&part.extents, new).unwrap();
                place.payload()[0].store(2, Ordering::Relaxed);
                place.payload()[1].store(2, Ordering::Relaxed);
                place.set_len(16);
            })
        };
        if let Ok(place) = lattice_segment::extent::resolve(&part.extents, old) {
            let read = [0, 1].map(|word: usize| place.payload()[word].load(Ordering::Relaxed));
            if place.still_valid() {
                assert_eq!(read, [1, 1]);
            }
        }
        writer.join().unwrap();
    });
}

fn spawn_with(part: &Arc<Part>, body: impl FnOnce(&Part) + Send + 'static) -> thread::JoinHandle<()> {
    let part = Arc::clone(part);
    thread::spawn(move || body(&part))
}

const HASHER: SetHasher = SetHasher { seed: 1 };

fn set_writer<'a>(part: &'a Part, allocator: &'a mut ExtentAllocator) -> SetWriter<'a> {
    SetWriter { cell: part.cell(), extents: &part.extents, allocator, hasher: HASHER }
}

/// Ordering `extent-len`: an entry that is being appended is whole or not there.
/// (Failed with either end relaxed.)
#[test]
fn an_appended_element_is_whole() {
    explore(4, || {
        let part = Arc::new(part(0, 1, 32).made(KIND_SET));
        let mut allocator = ExtentAllocator::new(part.extents.len());
        // The second one moves to a bucket with room for a third.
        set_writer(&part, &mut allocator).insert(b"lasting").unwrap();
        set_writer(&part, &mut allocator).insert(b"staying").unwrap();
        let reader = spawn_with(&part, |part| {
            let mut visited = Vec::new();
            let mut visit = |member: &[u8]| visited.push(member.to_vec());
            set::members(part.cell(), &part.extents, HASHER, &mut visit).unwrap();
            visited.sort_unstable();
            let (before, after): ([&[u8]; 2], [&[u8]; 3]) =
                ([b"lasting", b"staying"], [b"lasting", b"passing", b"staying"]);
            assert!(visited == before || visited == after, "{visited:?}");
        });
        assert_eq!(set_writer(&part, &mut allocator).insert(b"passing"), Ok(true));
        reader.join().unwrap();
    });
}

/// Orderings `set-bucket`, `extent-len`: while a bucket is replaced, a lasting element is found, and visited once.
/// (Failed with either end of either relaxed.)
#[test]
fn a_lasting_element_stays_visible() {
    explore(4, || {
        let part = Arc::new(part(0, 1, 24).made(KIND_SET));
        let mut allocator = ExtentAllocator::new(part.extents.len());
        set_writer(&part, &mut allocator).insert(b"lasting").unwrap();
        let reader = spawn_with(&part, |part| {
            let probe = Probe::new(b"lasting", HASHER.hash(b"lasting")).unwrap();
            match set::contains(part.cell(), &part.extents, &probe) {
                Ok(found) => assert!(found),
                Err(error) => assert_eq!(error, ReadError::Busy),
            }
            let mut visits = 0;
            let walked = set::members(part.cell(), &part.extents, HASHER, &mut |member| {
                assert!(member == b"lasting" || member == b"passing");
                visits += usize::from(member == b"lasting");
            });
            assert!(walked == Ok(()) && visits == 1 || walked == Err(ReadError::Busy));
        });
        let mut set = set_writer(&part, &mut allocator);
        assert_eq!(set.insert(b"passing"), Ok(true));
        assert!(set.remove(b"passing"));
        reader.join().unwrap();
    });
}

/// Orderings `set-directory`, `extent-len`: a set's first element appears whole, with its directory; and goes with it.
/// (Failed with either end of `set-directory` relaxed.)
#[test]
fn a_set_appears_and_goes_whole() {
    explore(4, || {
        let part = Arc::new(part(0, 1, 24).made(KIND_SET));
        let mut allocator = ExtentAllocator::new(part.extents.len());
        let reader = spawn_with(&part, |part| {
            let mut visited = Vec::new();
            let mut visit = |member: &[u8]| visited.push(member.to_vec());
            match set::members(part.cell(), &part.extents, HASHER, &mut visit) {
                Ok(()) => {
                    assert!(
                        visited.is_empty() || visited == [b"first"] || visited == [b"other"],
                        "{visited:?}"
                    );
                }
                Err(error) => assert_eq!(error, ReadError::Busy),
            }
        });
        let mut set = set_writer(&part, &mut allocator);
        for element in [b"first", b"other"] {
            assert_eq!(set.insert(element), Ok(true));
            assert!(set.remove(element));
        }
        reader.join().unwrap();
    });
}

/// Orderings `change-head`, `change-reserve`: an entry is whole or reported as overrun, and its value is there.
/// (Failed without the fence in `append`, without the fence in `read`, and with either end of `change-head` relaxed.)
#[test]
fn a_change_is_whole_or_an_overrun() {
    explore(4, || {
        // The header, and two entries.
        let ring = Arc::new(zeros(16 + 4));
        let value = Arc::new(AtomicU64::new(0));
        let writer = {
            let (ring, value) = (Arc::clone(&ring), Arc::clone(&value));
            thread::spawn(move || {
                for position in 0..3u64 {
                    value.store(position + 1, Ordering::Relaxed);
                    let number = position as u32 + 1;
                    let change = Entry { cell: number, generation: number, version: position + 1 };
                    change_ring::append(&ring, position, change);
                    change_ring::publish(&ring, position + 1);
                }
            })
        };
        let mut position = 0;
        for _ in 0..2 {
            match change_ring::read(&ring, position) {
                Step::Entry(entry) => {
                    position += 1;
                    assert_eq!((u64::from(entry.cell), entry.version), (position, position));
                    assert!(value.load(Ordering::Relaxed) >= position);
                }
                Step::Nothing => {}
                Step::Overrun { head } => {
                    assert!(head > position);
                    position = head;
                }
            }
        }
        writer.join().unwrap();
    });
}

const SLOTS: usize = 2;
const ENTRIES: usize = 2;

pub(crate) fn ring_words() -> Arc<Vec<AtomicU64>> {
    let words =
        ring_layout::LINES_WORDS + SLOTS * ring_layout::SLOT_WORDS + ENTRIES * ring_layout::COMPLETION_WORDS;
    Arc::new(zeros(words))
}

fn ring(words: &[AtomicU64]) -> RingPart<'_> {
    RingPart::new(words, SLOTS, ENTRIES).unwrap()
}

fn addition(amount: i64) -> Submission<'static> {
    let target = Target::Cell { cell: 1, generation: 2 };
    Submission { op: SubmitOp::CounterAdd, kind: 1, target, amount, data: &[] }
}

/// What a place in a ring held for one lap. loom executes loads in program order, so it cannot show what an overwriting
/// that comes too early does to them; but it knows whether it was ordered after them, and asks that of such a cell.
struct Lap(UnsafeCell<()>);

// SAFETY: loom panics if two accesses are not ordered, and that is what the cell is for.
unsafe impl Sync for Lap {}

impl Lap {
    fn read(&self) {
        self.0.with(|_| ());
    }

    fn overwritten(&self) {
        self.0.with_mut(|_| ());
    }
}

fn laps() -> Arc<[Lap; 3]> {
    Arc::new([(); 3].map(|()| Lap(UnsafeCell::new(()))))
}

/// Orderings `submission-full`, `submission-free`: around the end of the ring each submission arrives once, whole, in
/// order, and is overwritten after it was read. (Failed with any one of their four ends relaxed.)
#[test]
fn submissions_arrive_once_and_whole() {
    explore(4, || {
        let (words, laps) = (ring_words(), laps());
        let client = {
            let (words, laps) = (Arc::clone(&words), Arc::clone(&laps));
            thread::spawn(move || {
                let mut state = ProducerState::default();
                let mut push = |n: &i64| {
                    let pushed = submission::push(ring(&words), &mut state, &addition(*n)).is_ok();
                    if let Some(before) = (*n as usize - 1).checked_sub(SLOTS).filter(|_| pushed) {
                        laps[before].overwritten();
                    }
                    pushed
                };
                (1..=3).take_while(|n| push(n)).count()
            })
        };
        let (mut state, mut copy, mut next) = (ConsumerState::default(), CopiedOut::default(), 1);
        let mut poll = |next: &mut i64| {
            burst::poll(ring(&words), &mut state, &mut copy, 8, &mut |submission| {
                assert_eq!(*submission, addition(*next));
                laps[*next as usize - 1].read();
                *next += 1;
                Verdict::Applied
            })
            .unwrap()
        };
        poll(&mut next);
        poll(&mut next);
        let pushed = client.join().unwrap();
        poll(&mut next);
        assert_eq!(next as usize, pushed + 1);
    });
}

/// Orderings `applied`, `completion-full`: who sees `applied` sees the effect and the failure.
/// (Failed with any one of their four ends relaxed.)
#[test]
fn applied_means_visible_or_failed() {
    explore(4, || {
        let words = ring_words();
        let effect = Arc::new(AtomicU64::new(0));
        let mut producer = ProducerState::default();
        submission::push(ring(&words), &mut producer, &addition(1)).unwrap();
        submission::push(ring(&words), &mut producer, &addition(2)).unwrap();
        let daemon = {
            let (words, effect) = (Arc::clone(&words), Arc::clone(&effect));
            thread::spawn(move || {
                let (mut state, mut copy) = (ConsumerState::default(), CopiedOut::default());
                for _ in 0..2 {
                    burst::poll(ring(&words), &mut state, &mut copy, 1, &mut |submission| {
                        effect.store(submission.amount as u64, Ordering::Relaxed);
                        if submission.amount == 2 { Verdict::Refused(7) } else { Verdict::Applied }
                    })
                    .unwrap();
                    burst::complete(ring(&words), &mut state);
                }
            })
        };
        let applied = completion::applied(ring(&words));
        assert!(effect.load(Ordering::Relaxed) >= applied);
        let mut head = 0;
        let failure = completion::take(ring(&words), &mut head);
        if applied == 2 {
            assert!(failure.is_some());
        }
        if let Some((ticket, code)) = failure {
            assert_eq!((ticket.0, code), (2, 7));
            assert_eq!(completion::take(ring(&words), &mut head), None);
        }
        daemon.join().unwrap();
    });
}

/// Orderings `completion-full`, `completion-free`: around the end, failures arrive once, whole, in order, and are
/// overwritten after they were read. (Failed with any one of their four ends relaxed.)
#[test]
fn failures_arrive_once_and_whole() {
    explore(4, || {
        let (words, laps) = (ring_words(), laps());
        let client = {
            let (words, laps) = (Arc::clone(&words), Arc::clone(&laps));
            thread::spawn(move || {
                let mut head = 0;
                for _ in 0..3 {
                    let expected = head + 1;
                    laps[head as usize].read();
                    if let Some((ticket, code)) = completion::take(ring(&words), &mut head) {
                        assert_eq!((ticket.0, u64::from(code)), (expected, expected));
                    }
                }
            })
        };
        let mut tail = 0;
        for _ in 0..3 {
            if completion::room(ring(&words), tail).unwrap() > 0 {
                if let Some(before) = (tail as usize).checked_sub(ENTRIES) {
                    laps[before].overwritten();
                }
                completion::fill(ring(&words), tail, lattice_segment::Ticket(tail + 1), tail as u16 + 1);
                tail += 1;
                completion::publish(ring(&words), tail, tail);
            }
        }
        client.join().unwrap();
    });
}

/// Ordering `sleep`: a worker that goes to sleep and a client that submits: one of them notices the other.
/// (Failed without either fence.)
#[test]
fn no_submission_sleeps_in() {
    explore(4, || {
        let words = ring_words();
        let client = {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                submission::push(ring(&words), &mut ProducerState::default(), &addition(1)).unwrap();
                burst::consumer_sleeps(ring(&words))
            })
        };
        let pending = burst::prepare_sleep(ring(&words), &ConsumerState::default());
        let woken = client.join().unwrap();
        assert!(pending || woken, "asleep with a submission in the ring");
    });
}

mod loom_levels;
mod loom_order;
mod loom_sets;
#[cfg(feature = "zoo")]
mod loom_zoo;

/// Orderings `biased-owner` and `biased-busy`: the owner's way in, which has no atomic exchange, excludes those who take the
/// lock away. Here both sides pay for the fence that membarrier is. (Failed without the owner's second look, with the
/// release relaxed, and with either fence taken out.)
#[test]
fn nobody_is_inside_beside_the_owner() {
    explore(3, || {
        let lock = Arc::new(BiasedLock::new(UnsafeCell::new(0)));
        // One call claims it for this thread.
        lock.lock_as(1).with_mut(add_one);
        let other = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || {
                lock.lock_as(2).with_mut(add_one);
                lock.lock_as(2).with_mut(add_one);
            })
        };
        lock.lock_as(1).with_mut(add_one);
        lock.lock_as(1).with_mut(add_one);
        other.join().unwrap();
        // SAFETY: as in `add_one`.
        assert_eq!(lock.lock_as(3).with(|count| unsafe { *count }), 5);
    });
}

/// loom sees who else is at it.
fn add_one(count: *mut u32) {
    // SAFETY: the closure's pointer is good for its length, and loom fails the model when another thread has one.
    unsafe { *count += 1 };
}
