//! The client rings: what goes in comes out, and a hostile client only loses its own connection.
#![cfg(not(loom))]

use lattice_segment::{
    RingConfig, RingConsumer, RingError, RingFault, RingProducer, Submission, SubmitError, SubmitOp, Target,
    Ticket, Verdict, create_rings,
};
use proptest::prelude::*;
use rustix::fs::{MemfdFlags, memfd_create};
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

const CONFIG: RingConfig = RingConfig { submission_slots: 32, completion_slots: 32 };

/// Offsets within worker 0's part (see ABI.md).
const PART: u64 = 4096;
const TAIL: u64 = PART;
const COMPLETION_HEAD: u64 = PART + 8;
const SLOTS: u64 = PART + 832;

fn one() -> (OwnedFd, RingConsumer, RingProducer) {
    let (fd, mut consumers) = create_rings(1, CONFIG).unwrap();
    let mut producers = RingProducer::map(&fd).unwrap();
    (fd, consumers.remove(0), producers.remove(0))
}

fn poke(fd: &OwnedFd, offset: u64, value: u64) {
    File::from(fd.try_clone().unwrap()).write_all_at(&value.to_le_bytes(), offset).unwrap();
}

fn addition(amount: i64) -> Submission<'static> {
    let target = Target::Cell { cell: 9, generation: 4 };
    Submission { op: SubmitOp::CounterAdd, kind: 1, target, amount, data: &[] }
}

#[derive(Clone, Debug)]
struct Owned {
    op: u8,
    kind: u8,
    key: Option<Vec<u8>>,
    amount: i64,
    data: Vec<u8>,
}

impl Owned {
    fn borrow(&self) -> Submission<'_> {
        let target = match &self.key {
            Some(key) => Target::Key(key),
            None => Target::Cell { cell: 7, generation: u32::MAX },
        };
        let op = SubmitOp::from_number(self.op).unwrap();
        Submission { op, kind: self.kind, target, amount: self.amount, data: &self.data }
    }
}

fn owned() -> impl Strategy<Value = Owned> {
    let bytes = |range| proptest::collection::vec(any::<u8>(), range);
    (1..=7u8, 1..=5u8, proptest::option::of(bytes(1..=128)), any::<i64>(), bytes(0..=1024))
        .prop_map(|(op, kind, key, amount, data)| Owned { op, kind, key, amount, data })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_goes_in_comes_out(submissions in proptest::collection::vec((owned(), any::<bool>(), 1..64usize), 1..80)) {
        let (_fd, mut consumer, mut producer) = one();
        let mut queued: VecDeque<(Owned, bool)> = VecDeque::new();
        let (mut taken, mut failures) = (0u64, VecDeque::new());
        for (submission, fails, budget) in submissions {
            while let Err(error) = producer.submit(&submission.borrow()) {
                prop_assert_eq!(error, SubmitError::RingFull);
                let count = consumer.poll(budget, &mut |seen| {
                    let (expected, fails) = queued.pop_front().unwrap();
                    assert_eq!(*seen, expected.borrow());
                    taken += 1;
                    if fails { failures.push_back(taken); Verdict::Refused(taken as u16) } else { Verdict::Applied }
                }).unwrap();
                prop_assert!(count > 0);
                prop_assert!(producer.applied() < taken, "shown before complete");
                consumer.complete();
                prop_assert_eq!(producer.applied(), taken);
                while let Some((ticket, code)) = producer.take_failure() {
                    prop_assert_eq!(Some(ticket.0), failures.pop_front());
                    prop_assert_eq!(u64::from(code), ticket.0);
                }
                prop_assert!(failures.is_empty());
            }
            queued.push_back((submission, fails));
        }
    }

    #[test]
    fn garbage_is_a_fault_or_a_valid_submission(
        words in proptest::collection::vec((0..256u64, any::<u64>()), 0..40),
        header in proptest::option::of((0..9u64, 0..7u64, 0..21u64, 0..140u64, 0..1100u64)),
        tail in prop_oneof![Just(1u64), 0..40u64, any::<u64>()],
        completion_head in prop_oneof![9 => Just(0u64), 1 => any::<u64>()],
    ) {
        let (fd, mut consumer, _producer) = one();
        for (word, value) in words {
            poke(&fd, SLOTS + word * 8, value);
        }
        if let Some((op, kind, slots, key, data)) = header {
            poke(&fd, SLOTS, op | kind << 8 | slots << 16 | key << 24 | data << 32);
        }
        poke(&fd, TAIL, tail);
        poke(&fd, COMPLETION_HEAD, completion_head);
        let mut calls = 0;
        let result = consumer.poll(1000, &mut |submission| {
            calls += 1;
            let is_mark = *submission == Submission::mark(submission.amount & 1 != 0, submission.amount & 2 != 0);
            assert!(submission.data.len() <= 1024 && (is_mark || (1..=5).contains(&submission.kind)));
            Verdict::Applied
        });
        prop_assert!(calls <= 32);
        match result {
            Ok(count) => prop_assert_eq!(count, calls),
            Err(fault) => {
                prop_assert_eq!(consumer.poll(1000, &mut |_| panic!("taken after a fault")), Err(fault));
            }
        }
        consumer.complete();
    }
}

#[test]
fn each_contradiction_has_its_fault() {
    let header = |op: u64, kind: u64, slots: u64, key: u64, data: u64| {
        op | kind << 8 | slots << 16 | key << 24 | data << 32
    };
    let cases = [
        (header(1, 1, 0, 0, 0), 1, RingFault::BadLength),
        (header(1, 1, 2, 0, 0), 2, RingFault::BadLength),
        (header(1, 1, 2, 0, 100), 1, RingFault::BadLength),
        (header(1, 1, 20, 0, 0), 32, RingFault::BadLength),
        (header(1, 1, 3, 129, 0), 3, RingFault::BadLength),
        (header(4, 4, 17, 0, 1025), 32, RingFault::BadLength),
        (header(0, 1, 1, 0, 0), 1, RingFault::BadOp),
        (header(9, 1, 1, 0, 0), 1, RingFault::BadOp),
        (header(8, 0, 2, 0, 0), 2, RingFault::BadOp),
        (header(8, 0, 1, 1, 0), 1, RingFault::BadOp),
        (header(1, 0, 1, 0, 0), 1, RingFault::BadOp),
        (header(1, 6, 1, 0, 0), 1, RingFault::BadOp),
        (header(1, 1, 1, 0, 0) | 1 << 48, 1, RingFault::BadReserved),
        (header(1, 1, 1, 0, 0), 33, RingFault::SubmissionIndex),
        (header(1, 1, 1, 0, 0), u64::MAX, RingFault::SubmissionIndex),
    ];
    for (header, tail, fault) in cases {
        let (fd, mut consumer, _producer) = one();
        poke(&fd, SLOTS, header);
        poke(&fd, TAIL, tail);
        assert_eq!(consumer.poll(64, &mut |_| Verdict::Applied), Err(fault), "{header:#x} {tail}");
    }
    let (fd, mut consumer, _producer) = one();
    poke(&fd, SLOTS, header(1, 1, 1, 1, 0));
    poke(&fd, SLOTS + 16, 5);
    poke(&fd, TAIL, 1);
    assert_eq!(consumer.poll(64, &mut |_| Verdict::Applied), Err(RingFault::BadReserved));
    let (fd, mut consumer, mut producer) = one();
    producer.submit(&addition(1)).unwrap();
    poke(&fd, COMPLETION_HEAD, 1);
    assert_eq!(consumer.poll(64, &mut |_| Verdict::Applied), Err(RingFault::CompletionIndex));
}

#[test]
fn a_fault_leaves_the_earlier_submissions_applied() {
    let (fd, mut consumer, mut producer) = one();
    producer.submit(&addition(1)).unwrap();
    producer.submit(&addition(2)).unwrap();
    poke(&fd, SLOTS + 64, 0);
    let mut sum = 0;
    let result = consumer.poll(64, &mut |submission| {
        sum += submission.amount;
        Verdict::Applied
    });
    assert_eq!((result, sum, consumer.taken()), (Err(RingFault::BadLength), 1, 1));
}

#[test]
fn untaken_failures_stop_only_this_ring() {
    let (_fd, mut consumer, mut producer) = one();
    for _ in 0..32 {
        producer.submit(&addition(1)).unwrap();
        assert_eq!(consumer.poll(64, &mut |_| Verdict::Refused(3)), Ok(1));
    }
    consumer.complete();
    producer.submit(&addition(1)).unwrap();
    assert_eq!(consumer.poll(64, &mut |_| panic!("no room to fail")), Ok(0));
    assert_eq!(producer.take_failure(), Some((Ticket(1), 3)));
    assert_eq!(consumer.poll(64, &mut |_| Verdict::Applied), Ok(1));
    // The budget bounds a poll, but one submission always goes.
    for _ in 0..10 {
        producer.submit(&addition(1)).unwrap();
    }
    assert_eq!(consumer.poll(4, &mut |_| Verdict::Applied), Ok(4));
    assert_eq!(consumer.poll(0, &mut |_| Verdict::Applied), Ok(0));
    assert_eq!(consumer.poll(64, &mut |_| Verdict::Applied), Ok(6));
    let data = [0; 1024];
    let long = Submission {
        op: SubmitOp::RegisterSet,
        kind: 4,
        target: Target::Key(&[b'k'; 128]),
        amount: 0,
        data: &data,
    };
    producer.submit(&long).unwrap();
    assert_eq!(consumer.poll(1, &mut |_| Verdict::Applied), Ok(1));
}

#[test]
fn a_submission_that_has_to_wait_comes_first_and_once() {
    let (fd, mut consumer, mut producer) = one();
    for amount in 1..=3 {
        producer.submit(&addition(amount)).unwrap();
    }
    let mut seen = Vec::new();
    let mut wait_for_two = |submission: &Submission<'_>| {
        seen.push(submission.amount);
        if submission.amount == 2 { Verdict::Retry } else { Verdict::Applied }
    };
    assert_eq!(consumer.poll(64, &mut wait_for_two), Ok(1));
    assert_eq!(consumer.poll(64, &mut wait_for_two), Ok(0));
    consumer.complete();
    assert_eq!(producer.applied(), 1);
    assert_eq!(
        consumer.poll(64, &mut |submission| {
            seen.push(submission.amount);
            Verdict::Refused(8)
        }),
        Ok(2)
    );
    consumer.complete();
    assert_eq!((producer.applied(), producer.take_failure()), (3, Some((Ticket(2), 8))));
    assert_eq!(seen, [1, 2, 2, 2, 3]);
    // What the client changes while it waits is judged again.
    producer.submit(&addition(4)).unwrap();
    assert_eq!(consumer.poll(64, &mut |_| Verdict::Retry), Ok(0));
    poke(&fd, SLOTS + 3 * 64, 0);
    assert_eq!(consumer.poll(64, &mut |_| Verdict::Applied), Err(RingFault::BadLength));
}

#[test]
fn a_sleeping_worker_says_so() {
    let (_fd, mut consumer, mut producer) = one();
    assert!(!producer.consumer_sleeps());
    assert!(!consumer.prepare_sleep());
    assert!(producer.consumer_sleeps());
    consumer.wake();
    assert!(!producer.consumer_sleeps());
    producer.submit(&addition(1)).unwrap();
    assert!(consumer.prepare_sleep(), "there is something to do");
}

#[test]
fn a_client_is_told_what_it_cannot_submit() {
    let (_fd, _consumer, mut producer) = one();
    let submission = |target, data| Submission { op: SubmitOp::SetInsert, kind: 5, target, amount: 0, data };
    let long = [0; 1025];
    assert_eq!(producer.submit(&submission(Target::Key(b""), b"")), Err(SubmitError::BadKey));
    assert_eq!(producer.submit(&submission(Target::Key(&long[..129]), b"")), Err(SubmitError::BadKey));
    assert_eq!(producer.submit(&submission(Target::Key(b"k"), &long)), Err(SubmitError::TooLarge));
    for ticket in 1..=32 {
        assert_eq!(producer.submit(&addition(1)), Ok(Ticket(ticket)));
    }
    assert_eq!(producer.submit(&addition(1)), Err(SubmitError::RingFull));
}

#[test]
fn only_sealed_ring_files_are_mapped() {
    let (fd, _consumers) = create_rings(3, CONFIG).unwrap();
    assert_eq!(RingProducer::map(&fd).unwrap().len(), 3);
    assert!(rustix::fs::ftruncate(&fd, 0).is_err());
    for offset in (0..56).step_by(8) {
        let mut word = [0; 8];
        let file = File::from(fd.try_clone().unwrap());
        file.read_exact_at(&mut word, offset).unwrap();
        poke(&fd, offset, u64::from_le_bytes(word) ^ 1);
        assert!(RingProducer::map(&fd).is_err(), "{offset}");
        file.write_all_at(&word, offset).unwrap();
    }
    let unsealed = memfd_create("x", MemfdFlags::ALLOW_SEALING).unwrap();
    assert!(matches!(RingProducer::map(&unsealed), Err(RingError::Invalid(_))));
    for workers in [0, 65] {
        assert!(matches!(create_rings(workers, CONFIG), Err(RingError::Setting { setting: "workers", .. })));
    }
    let bad = RingConfig { submission_slots: 33, ..CONFIG };
    assert!(matches!(create_rings(1, bad), Err(RingError::Setting { setting: "submission_slots", .. })));
}

#[test]
fn two_threads_count_every_addition_once() {
    let (_fd, mut consumer, mut producer) = one();
    const COUNT: i64 = 200_000;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for amount in 1..=COUNT {
                while producer.submit(&addition(amount)) == Err(SubmitError::RingFull) {
                    std::thread::yield_now();
                }
            }
            while producer.applied() < COUNT as u64 {
                std::thread::yield_now();
            }
            assert_eq!(producer.take_failure(), None);
        });
        let mut next = 1;
        while next <= COUNT {
            let taken = consumer.poll(16, &mut |submission| {
                assert_eq!(*submission, addition(next));
                next += 1;
                Verdict::Applied
            });
            consumer.complete();
            if taken == Ok(0) {
                std::thread::yield_now();
            }
        }
    });
}

/// A glimpse is a hint: it names the cells of what waits, and whatever a client writes, it ends and takes nothing.
#[test]
fn a_glimpse_names_the_cells_of_what_waits() {
    let (fd, mut consumer, mut producer) = one();
    let glimpse = |consumer: &RingConsumer, slots| {
        let mut cells = Vec::new();
        consumer.glimpse(slots, &mut |cell| cells.push(cell));
        (consumer.waiting(), cells)
    };
    assert_eq!(glimpse(&consumer, 32), (0, vec![]));
    let by_key = Submission {
        op: SubmitOp::RegisterSet,
        kind: 3,
        target: Target::Key(b"a"),
        amount: 0,
        data: &[7; 200],
    };
    for submission in [addition(1), by_key, addition(2)] {
        producer.submit(&submission).unwrap();
    }
    assert_eq!(glimpse(&consumer, 32), (6, vec![9, 9]));
    assert_eq!(glimpse(&consumer, 1), (6, vec![9]));
    assert_eq!(consumer.poll(64, &mut |_| Verdict::Applied), Ok(3));
    assert_eq!(glimpse(&consumer, 32), (0, vec![]));
    // No length, another cell, more slots than there are.
    producer.submit(&addition(3)).unwrap();
    let slot = SLOTS + 6 * 64;
    poke(&fd, slot, 1 | 1 << 8);
    poke(&fd, slot + 16, u64::MAX);
    assert_eq!(glimpse(&consumer, 32), (1, vec![u32::MAX]));
    poke(&fd, TAIL, u64::MAX);
    assert_eq!(glimpse(&consumer, 32), (0, vec![]));
    assert_eq!(consumer.taken(), 3);
}
