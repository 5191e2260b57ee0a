//! The sender by itself: its numbers are those of RFC 6298 and RFC 9002, and of the module's constants.

use super::*;

const BOUNDS: TimeoutBounds =
    TimeoutBounds { min_ns: 2_000_000, max_ns: 200_000_000, ack_delay_ns: 1_000_000 };

/// Any time but the origin: pacing allows a burst that reaches back before now.
const T: u64 = 1_000_000_000;

fn send_all(sender: &mut Sender, now_ns: u64, last_seq: u64) -> Vec<(u64, u32)> {
    let mut sent = Vec::new();
    while let Some(plan) = sender.plan(now_ns, 1, last_seq) {
        let (lo, count) = match plan {
            Plan::New { lo } => (lo, (last_seq - lo).min(10) as u32),
            Plan::Again { lo, count, .. } => (lo, count),
        };
        sender.sent(now_ns, plan, count, false, BOUNDS);
        sent.push((lo, count));
    }
    sent
}

#[test]
fn sends_once_and_falls_silent_when_acknowledged() {
    let mut sender = Sender::new(64);
    assert_eq!(send_all(&mut sender, T, 25), [(0, 10), (10, 10), (20, 5)]);
    assert!(sender.deadline_ns(25) > T && sender.deadline_ns(25) < u64::MAX);
    sender.acknowledged(T + 49_000, 25, [].into_iter(), BOUNDS, &mut |_| {});
    assert_eq!((sender.acked(), sender.deadline_ns(25)), (25, u64::MAX));
    assert_eq!(sender.smoothed_rtt_ns(), 49_000);
}

#[test]
fn a_gap_is_resent_once_three_later_frames_are_acknowledged() {
    let mut sender = Sender::new(64);
    send_all(&mut sender, T, 50);
    sender.acknowledged(T + 10_000, 0, [SeqRange { first: 11, last: 30 }].into_iter(), BOUNDS, &mut |_| {});
    assert_eq!(send_all(&mut sender, T + 10_000, 50), [], "two later frames may just have overtaken it");
    sender.acknowledged(T + 11_000, 0, [SeqRange { first: 11, last: 40 }].into_iter(), BOUNDS, &mut |_| {});
    assert_eq!(send_all(&mut sender, T + 11_000, 50), [(0, 10)]);
    assert_eq!(send_all(&mut sender, T + 12_000, 50), []);
}

#[test]
fn the_timeout_probes_backs_off_and_then_presumes_everything_lost() {
    let mut sender = Sender::new(64);
    send_all(&mut sender, T, 50);
    let first = sender.deadline_ns(50);
    assert!(sender.tick(first, BOUNDS));
    assert_eq!(send_all(&mut sender, first, 50), [(0, 10), (10, 10)]);
    let second = sender.deadline_ns(50);
    assert!(second - first > first - T);
    assert!(sender.tick(second, BOUNDS));
    assert_eq!(send_all(&mut sender, second, 50).len(), 5);
}

#[test]
fn the_window_bounds_what_is_in_flight() {
    let mut sender = Sender::new(16);
    let mut now_ns = T;
    let mut sent = 0;
    for _ in 0..100 {
        sent += send_all(&mut sender, now_ns, 100_000).len();
        now_ns += 100_000;
    }
    assert_eq!(sent, 16, "nothing was acknowledged and no timer ran");
}

#[test]
fn what_the_log_evicted_is_forgotten_and_the_rest_goes_on() {
    let mut sender = Sender::new(64);
    send_all(&mut sender, T, 50);
    sender.revive(T, BOUNDS);
    assert_eq!(sender.plan(T, 35, 50), Some(Plan::Again { index: 0, lo: 34, count: 6 }));
}

const MS: u64 = 1_000_000;

/// Sends one frame of ten at `now_ns` and says when its timeout is.
fn timeout_after(sender: &mut Sender, now_ns: u64, last_seq: u64) -> u64 {
    assert_eq!(send_all(sender, now_ns, last_seq).len(), 1);
    sender.deadline_ns(last_seq) - now_ns
}

#[test]
fn timeouts_follow_the_round_trip_and_its_variance() {
    let mut sender = Sender::new(64);
    // No sample: 5 ms, and the delay of the acknowledgement.
    assert_eq!(timeout_after(&mut sender, T, 10), 6 * MS);
    sender.acknowledged(T + 800_000, 10, [].into_iter(), BOUNDS, &mut |_| {});
    // 800 µs, variance half of it: 0.8 + 4 * 0.4 + 1.
    assert_eq!(timeout_after(&mut sender, T + 10 * MS, 20), 3_400_000);
    sender.acknowledged(T + 11_600_000, 20, [].into_iter(), BOUNDS, &mut |_| {});
    // Then 1.6 ms: variance (3 * 0.4 + 0.8) / 4 = 0.5, mean (7 * 0.8 + 1.6) / 8 = 0.9.
    assert_eq!(sender.smoothed_rtt_ns(), 900_000);
    assert_eq!(timeout_after(&mut sender, T + 20 * MS, 30), 3_900_000);
    sender.acknowledged(T + 20 * MS + 100_000, 30, [].into_iter(), BOUNDS, &mut |_| {});
    // Shorter than the mean counts as deviation too: (3 * 0.5 + 0.8) / 4 = 0.575, (7 * 0.9 + 0.1) / 8 = 0.8.
    assert_eq!(timeout_after(&mut sender, T + 30 * MS, 40), 800_000 + 4 * 575_000 + MS);
}

#[test]
fn timeouts_keep_their_bounds() {
    let mut sender = Sender::new(64);
    send_all(&mut sender, T, 10);
    sender.acknowledged(T + 1_000, 10, [].into_iter(), BOUNDS, &mut |_| {});
    assert_eq!(timeout_after(&mut sender, T + MS, 20), BOUNDS.min_ns);
    let mut sender = Sender::new(64);
    let mut now_ns = T;
    let mut waits = vec![timeout_after(&mut sender, now_ns, 10)];
    for _ in 0..7 {
        let due_ns = sender.deadline_ns(10);
        assert!(!sender.tick(due_ns - 1, BOUNDS) && sender.tick(due_ns, BOUNDS));
        now_ns = due_ns;
        waits.push(timeout_after(&mut sender, now_ns, 10));
    }
    assert_eq!(waits, [6, 12, 24, 48, 96, 192, 200, 200].map(|ms| ms * MS));
    // An acknowledgement ends the backing off; a frame that was sent twice is no sample.
    sender.acknowledged(now_ns + 1_000, 10, [].into_iter(), BOUNDS, &mut |_| {});
    assert_eq!(sender.smoothed_rtt_ns(), 0);
    assert_eq!(timeout_after(&mut sender, now_ns + MS, 20), 6 * MS);
}

#[test]
fn the_newest_frame_of_an_acknowledgement_is_the_sample() {
    let mut sender = Sender::new(64);
    send_all(&mut sender, T, 10);
    send_all(&mut sender, T + 1_000, 20);
    sender.acknowledged(T + 5_000, 20, [].into_iter(), BOUNDS, &mut |_| {});
    assert_eq!(sender.smoothed_rtt_ns(), 4_000);
}

#[test]
fn frames_are_paced_over_the_round_trip_beyond_a_burst() {
    for (rtt_ns, step_ns) in [(100_000, 100_000 * 4 / (5 * 64)), (1_000, 20_000 * 4 / (5 * 64))] {
        let mut sender = Sender::new(64);
        assert_eq!(send_all(&mut sender, T, 320).len(), 32, "the first window");
        sender.acknowledged(T + rtt_ns, 320, [].into_iter(), BOUNDS, &mut |_| {});
        let now_ns = T + 50 * MS;
        assert_eq!(send_all(&mut sender, now_ns, 100_000).len(), 33, "a burst of 32, and one that is due");
        assert_eq!(sender.deadline_ns(100_000), now_ns + step_ns);
        assert_eq!(send_all(&mut sender, now_ns + step_ns - 1, 100_000).len(), 0);
        assert_eq!(send_all(&mut sender, now_ns + step_ns, 100_000).len(), 1);
        assert_eq!(send_all(&mut sender, now_ns + 4 * step_ns, 100_000).len(), 3);
    }
    // No sample yet: 5 ms over 16 frames at four fifths.
    let mut sender = Sender::new(16);
    let plan = sender.plan(T, 1, 10).unwrap();
    sender.sent(T, plan, 10, false, BOUNDS);
    sender.revive(T, BOUNDS);
    let plan = sender.plan(T, 1, 10).unwrap();
    assert!(sender.sent(T, plan, 10, false, BOUNDS), "sent again");
    assert_eq!((sender.plan(T, 1, 20), sender.deadline_ns(20)), (None, T + 5 * MS * 4 / (5 * 16)));
}

#[test]
fn the_window_grows_by_what_was_acknowledged_and_halves_at_a_timeout() {
    // Long after the last frame pacing holds nothing back.
    let fill = |sender: &mut Sender, now_ns: u64| send_all(sender, now_ns, 1_000_000).len();
    let mut sender = Sender::new(48);
    assert_eq!(fill(&mut sender, T), 32);
    sender.acknowledged(T + MS, 100, [].into_iter(), BOUNDS, &mut |_| {});
    assert_eq!(fill(&mut sender, T + 100 * MS), 20, "42 in flight");
    sender.acknowledged(T + 101 * MS, 520, [].into_iter(), BOUNDS, &mut |_| {});
    assert_eq!(
        fill(&mut sender, T + 200 * MS) + fill(&mut sender, T + 300 * MS),
        48,
        "no more than the most"
    );
    for window in [24, 12, 8, 8] {
        let due_ns = sender.deadline_ns(0);
        assert!(sender.tick(due_ns, BOUNDS));
        let mut probe = Sender { window_frames: sender.window_frames, ..Sender::new(48) };
        assert_eq!(fill(&mut probe, T), window);
    }
    let mut small = Sender::new(4);
    assert_eq!(fill(&mut small, T), 4);
    assert!(small.tick(small.deadline_ns(0), BOUNDS));
    assert_eq!(small.window_frames, 4, "the least window is no more than the most");
}

#[test]
fn a_frame_is_acknowledged_only_whole() {
    let range = |first, last| [SeqRange { first, last }].into_iter();
    for (first, last, held) in
        [(11, 20, true), (5, 30, true), (12, 20, false), (11, 19, false), (21, 30, false)]
    {
        let mut sender = Sender::new(64);
        send_all(&mut sender, T, 20);
        sender.acknowledged(T + 1_000, 0, range(first, last), BOUNDS, &mut |_| {});
        sender.revive(T + 2_000, BOUNDS);
        let again = send_all(&mut sender, T + 100 * MS, 20);
        assert_eq!(again.contains(&(10, 10)), !held, "{first}..={last}");
        assert!(again.contains(&(0, 10)));
    }
}

#[test]
fn an_acknowledgement_of_what_counted_as_lost_takes_it_off_the_list() {
    let mut sender = Sender::new(64);
    send_all(&mut sender, T, 30);
    sender.revive(T + MS, BOUNDS);
    sender.acknowledged(T + MS, 20, [].into_iter(), BOUNDS, &mut |_| {});
    assert_eq!(send_all(&mut sender, T + 2 * MS, 35), [(20, 10), (30, 5)]);
    sender.acknowledged(T + 3 * MS, 35, [].into_iter(), BOUNDS, &mut |_| {});
    assert_eq!((sender.acked(), sender.deadline_ns(35)), (35, u64::MAX));
}

#[test]
fn an_acknowledgement_that_says_nothing_new_changes_no_timer() {
    let mut sender = Sender::new(64);
    send_all(&mut sender, T, 20);
    let due_ns = sender.deadline_ns(20);
    sender.acknowledged(T + MS, 0, [].into_iter(), BOUNDS, &mut |_| {});
    assert_eq!((sender.deadline_ns(20), sender.smoothed_rtt_ns()), (due_ns, 0));
    sender.acknowledged(T + MS, 10, [].into_iter(), BOUNDS, &mut |_| {});
    // A round trip of 1 ms: 1 + 4 * 0.5 + 1 from now on.
    assert_eq!(sender.deadline_ns(20), T + 5 * MS);
}

#[test]
fn a_probe_leaves_two_frames_and_a_revival_all_of_them() {
    let mut sender = Sender::new(64);
    send_all(&mut sender, T, 50);
    sender.acknowledged(T + 1_000, 0, [SeqRange { first: 11, last: 20 }].into_iter(), BOUNDS, &mut |_| {});
    assert!(sender.tick(sender.deadline_ns(50), BOUNDS));
    let now_ns = T + 100 * MS;
    assert_eq!(
        send_all(&mut sender, now_ns, 50),
        [(0, 10), (20, 10)],
        "the two oldest that were not acknowledged"
    );
    sender.revive(now_ns, BOUNDS);
    assert_eq!(send_all(&mut sender, now_ns + 100 * MS, 50), [(0, 10), (20, 10), (30, 10), (40, 10)]);
    // Nothing in flight: nothing to time out.
    let mut idle = Sender::new(64);
    idle.revive(T, BOUNDS);
    assert_eq!((idle.deadline_ns(0), idle.tick(T, BOUNDS)), (u64::MAX, false));
}

#[test]
fn eviction_forgets_what_was_lost_or_acknowledged_as_well() {
    let mut sender = Sender::new(64);
    send_all(&mut sender, T, 30);
    sender.acknowledged(T + 1_000, 0, [SeqRange { first: 11, last: 20 }].into_iter(), BOUNDS, &mut |_| {});
    sender.revive(T + 1_000, BOUNDS);
    // The first frame is gone, and the second was acknowledged: the third is the front now, cut.
    assert_eq!(sender.plan(T + 1_000, 26, 30), Some(Plan::Again { index: 0, lo: 25, count: 5 }));
    assert_eq!(sender.plan(T + 1_000, 31, 30), None, "all gone");
    assert_eq!(sender.deadline_ns(30), u64::MAX);
    assert_eq!(sender.plan(T + 1_000, 41, 50), Some(Plan::New { lo: 40 }), "what was never sent is gone too");
    let mut sender = Sender::new(64);
    send_all(&mut sender, T, 20);
    sender.revive(T, BOUNDS);
    assert_eq!(
        sender.plan(T, 10, 20),
        Some(Plan::Again { index: 0, lo: 9, count: 1 }),
        "its last seq is held"
    );
    assert_eq!(sender.plan(T, 11, 20), Some(Plan::Again { index: 0, lo: 10, count: 10 }));
}

#[test]
fn a_reset_begins_where_the_peer_stands() {
    let mut sender = Sender::new(64);
    send_all(&mut sender, T, 50);
    sender.revive(T, BOUNDS);
    sender.tick(u64::MAX / 2, BOUNDS);
    sender.reset(20);
    assert_eq!((sender.acked(), sender.deadline_ns(20)), (20, u64::MAX));
    assert_eq!(timeout_after(&mut sender, T, 30), 6 * MS, "neither backed off nor paced");
}

#[test]
fn a_vector_confirms_without_a_sample_and_never_takes_back() {
    let mut sender = Sender::new(64);
    sender.confirmed(20);
    assert_eq!(send_all(&mut sender, T, 30), [(20, 10)]);
    sender.confirmed(10);
    assert_eq!((sender.acked(), sender.smoothed_rtt_ns()), (20, 0));
    assert_eq!(send_all(&mut sender, T, 30), []);
}

#[test]
fn what_is_found_lost_twice_is_resent_once() {
    let mut sender = Sender::new(64);
    send_all(&mut sender, T, 50);
    for last in [40, 50] {
        sender.acknowledged(T + 11_000, 0, [SeqRange { first: 11, last }].into_iter(), BOUNDS, &mut |_| {});
    }
    assert_eq!(send_all(&mut sender, T + 12_000, 50), [(0, 10)]);
    assert_eq!(send_all(&mut sender, T + 13_000, 60), [(50, 10)]);
}

#[test]
fn a_revival_starts_the_timer_anew() {
    let mut sender = Sender::new(64);
    send_all(&mut sender, T, 10);
    sender.revive(T + 3 * MS, BOUNDS);
    assert_eq!(send_all(&mut sender, T + 3 * MS, 10), [(0, 10)]);
    assert_eq!(sender.deadline_ns(10), T + 9 * MS);
}

/// With their keys, the records of a frame may need several: the rest of them is lost, too, until it is sent.
#[test]
fn what_does_not_fit_again_is_a_frame_of_its_own() {
    let mut sender = Sender::new(64);
    send_all(&mut sender, T, 25);
    sender.revive(T, BOUNDS);
    let (mut now_ns, mut sent) = (T, Vec::new());
    while let Some(plan) = sender.plan(now_ns, 1, 25) {
        let Plan::Again { lo, count, .. } = plan else { panic!("{plan:?}") };
        assert!(sender.sent(now_ns, plan, count.min(4), true, BOUNDS));
        now_ns += MS;
        sent.push((lo, count.min(4)));
    }
    assert_eq!(sent, [(0, 4), (4, 4), (8, 2), (10, 4), (14, 4), (18, 2), (20, 4), (24, 1)]);
    let mut learnt = Vec::new();
    let ranges = [SeqRange { first: 15, last: 20 }].into_iter();
    sender.acknowledged(T + MS, 4, ranges, BOUNDS, &mut |seqs| learnt.push(seqs));
    assert_eq!(learnt, [1..=4, 15..=18, 19..=20]);
    sender.acknowledged(T + MS, 25, [].into_iter(), BOUNDS, &mut |seqs| learnt.push(seqs));
    assert_eq!(learnt[3..], [5..=8, 9..=10, 11..=14, 21..=24, 25..=25]);
    assert_eq!(send_all(&mut sender, T + 9 * MS, 25), []);
}
