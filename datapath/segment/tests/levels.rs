//! Marks and watermarks: what a client is told of its submissions beyond that they are applied.
#![cfg(not(loom))]

use lattice_segment::{
    AckTerms, Levels, RingConfig, RingConsumer, RingFault, RingProducer, Submission, SubmitOp, Target,
    Verdict, Watermark, create_rings,
};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const CONFIG: RingConfig = RingConfig { submission_slots: 32, completion_slots: 32 };
/// Where worker 0's part begins, and its first slot (see ABI.md).
const PART: u64 = 4096;
const SLOT: u64 = PART + 832;

fn one() -> (OwnedFd, RingConsumer, RingProducer) {
    let (fd, mut consumers) = create_rings(1, CONFIG).unwrap();
    let mut producers = RingProducer::map(&fd).unwrap();
    (fd, consumers.remove(0), producers.remove(0))
}

fn poke(fd: &OwnedFd, offset: u64, value: u64) {
    File::from(fd.try_clone().unwrap()).write_all_at(&value.to_le_bytes(), offset).unwrap();
}

fn levels(durable: u64, majority: u64, all: u64) -> Levels {
    let mut levels = Levels { durable, majority, all, ..Levels::default() };
    (levels.merged[0], levels.merged[1], levels.durable_on[0]) = (majority, all, all);
    levels
}

#[test]
fn a_mark_comes_out_as_it_went_in_and_counts_as_a_submission() {
    let (_fd, mut consumer, mut producer) = one();
    let marks = [(false, false), (true, false), (false, true), (true, true)];
    for (disk, peers) in marks {
        producer.submit(&Submission::mark(disk, peers)).unwrap();
    }
    let mut taken = Vec::new();
    let polled = consumer.poll(64, &mut |submission| {
        let nothing = Target::Cell { cell: 0, generation: 0 };
        assert_eq!((submission.op, submission.kind, submission.target), (SubmitOp::Mark, 0, nothing));
        taken.push((submission.amount & 1 != 0, submission.amount & 2 != 0));
        Verdict::Applied
    });
    assert_eq!((polled, taken.as_slice(), consumer.taken()), (Ok(4), &marks[..], 4));
}

#[test]
fn a_mark_with_anything_in_it_is_a_fault() {
    for (word, value) in [(1, 4), (1, u64::MAX), (2, 1)] {
        let (fd, mut consumer, mut producer) = one();
        producer.submit(&Submission::mark(true, true)).unwrap();
        poke(&fd, SLOT + word * 8, value);
        assert_eq!(
            consumer.poll(64, &mut |_| Verdict::Applied),
            Err(RingFault::BadReserved),
            "{word} {value}"
        );
    }
}

#[test]
fn watermarks_are_told_each_for_itself_and_never_go_back() {
    let (_fd, mut consumer, producer) = one();
    let watermarks = || {
        use Watermark::{All, Durable, DurableOn, Majority, Merged};
        [Durable, Majority, All, Merged(1), Merged(2), DurableOn(1)].map(|of| producer.watermark(of))
    };
    assert_eq!(watermarks(), [0; 6]);
    consumer.tell(&levels(3, 2, 1));
    assert_eq!(watermarks(), [3, 2, 1, 2, 1, 1]);
    consumer.tell(&levels(2, 9, 0));
    assert_eq!(watermarks(), [3, 9, 1, 9, 1, 1]);
    for (of, expected) in
        [(Watermark::Merged(0), 0), (Watermark::Merged(33), 0), (Watermark::DurableOn(u16::MAX), 0)]
    {
        assert_eq!(producer.watermark(of), expected, "{of:?}");
    }
    let mut last = Levels::default();
    last.durable_on[31] = 7;
    consumer.tell(&last);
    assert_eq!(
        producer.watermark(Watermark::DurableOn(32)),
        7,
        "the last word, and the slots begin after it"
    );
}

#[test]
fn terms_arrive() {
    let (_fd, consumer, producer) = one();
    assert_eq!(producer.terms(), AckTerms::NONE);
    for (members, log_is_file, never_synced) in [(3, true, false), (u16::MAX, false, false), (1, true, true)]
    {
        let terms = AckTerms { members, log_is_file, never_synced };
        consumer.set_terms(terms);
        assert_eq!(producer.terms(), terms);
    }
}

#[test]
fn only_who_awaits_is_to_be_woken_and_only_by_news() {
    let (_fd, mut consumer, mut producer) = one();
    assert!(!consumer.tell(&levels(1, 1, 1)), "nobody sleeps");
    producer.set_awaiting(true);
    assert!(consumer.tell(&levels(2, 1, 1)));
    assert!(!consumer.tell(&levels(2, 1, 1)), "no news");
    producer.set_awaiting(false);
    assert!(!consumer.tell(&levels(3, 1, 1)));
}

/// The sleeper has looked, and sleeps, or is about to: in both cases what it is told ends its sleep.
#[test]
fn a_sleeper_is_woken_by_what_it_is_told() {
    let (_fd, mut consumer, mut producer) = one();
    producer.set_awaiting(true);
    let watcher = producer.watcher();
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while producer.watermark(Watermark::All) < 1000 {
                let seen = watcher.told();
                if producer.watermark(Watermark::All) < 1000 {
                    watcher.sleep(seen, Duration::from_secs(20));
                }
            }
        });
        for all in 1..=1000 {
            if consumer.tell(&levels(0, 0, all)) {
                consumer.wake_client();
            }
        }
    });
    assert!(started.elapsed() < Duration::from_secs(10), "a wake-up was lost");
}
