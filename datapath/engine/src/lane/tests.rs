//! The lane by itself: when what is owed to a peer is due.

use super::*;

const MS: u64 = 1_000_000;
/// Any time but the origin.
const T: u64 = 1_000 * MS;

fn timers() -> EngineTimers {
    EngineTimers { ack_delay_ns: MS, ack_every_frames: 3, heartbeat_ns: 100 * MS, ..EngineTimers::default() }
}

fn lane() -> Lane {
    Lane::new(2, &EngineLimits::default())
}

/// A lane whose peer was heard at `T`, with nothing owed until its heartbeat.
fn up() -> Lane {
    let mut lane = lane();
    lane.adopt(Session { id: 7, actor: ActorId::new(2, 1) }, 0, T);
    lane.heard(T, &timers());
    lane.heartbeat_due_ns = T + 100 * MS;
    lane
}

#[test]
fn hellos_to_who_does_not_answer_are_spaced_out() {
    let mut lane = lane();
    let mut due = Vec::new();
    let mut now_ns = 0;
    for _ in 0..6 {
        assert_eq!(lane.hello_now(now_ns), Some(0), "echoes nobody");
        lane.hello_sent(now_ns, 50 * MS);
        let next_ns = lane.deadline_ns(now_ns, 0, 1);
        assert_eq!(lane.hello_now(next_ns - 1), None);
        due.push((next_ns - now_ns) / MS);
        now_ns = next_ns;
    }
    assert_eq!(due, [50, 100, 200, 400, 400, 400]);
    lane.adopt(Session { id: 7, actor: ActorId::new(2, 1) }, 0, now_ns);
    assert_eq!(lane.hello_now(u64::MAX - 1), None, "there is a session");
    assert_eq!(lane.session_id(), 7);
}

#[test]
fn hellos_that_answer_are_a_millisecond_apart() {
    let mut lane = up();
    lane.owe_hello(T, 5);
    assert_eq!((lane.hello_now(T), lane.deadline_ns(T, 0, MS)), (Some(5), T));
    lane.hello_sent(T, 50 * MS);
    assert_eq!(lane.hello_now(T), None);
    lane.owe_hello(T + MS - 1, 6);
    assert_eq!(lane.hello_now(T + MS - 1), None, "one has just gone");
    lane.owe_hello(T + MS, 6);
    assert_eq!(lane.hello_now(T + MS), Some(6));
}

#[test]
fn a_lane_is_up_while_its_peer_is_heard() {
    let mut lane = lane();
    lane.heard(T, &timers());
    assert!(!lane.is_up(T, MS), "no session");
    assert_eq!(lane.session_id(), 0);
    let mut lane = up();
    assert!(lane.is_up(T + MS - 1, MS) && !lane.is_up(T + MS, MS));
    lane.forgotten = true;
    assert!(!lane.is_up(T, MS));
    assert_eq!(lane.deadline_ns(T, 9, MS), u64::MAX);
}

#[test]
fn after_a_silence_of_three_heartbeats_what_was_in_flight_is_resent() {
    let bounds = bounds(&timers());
    for (silence_ns, resent) in [(300 * MS, false), (300 * MS + 1, true)] {
        let mut lane = up();
        let plan = lane.sender.plan(T, 1, 10).unwrap();
        lane.sender.sent(T, plan, 10, false, bounds);
        lane.heard(T + silence_ns, &timers());
        assert_eq!(lane.sender.plan(T + silence_ns, 1, 10).is_some(), resent, "{silence_ns}");
    }
}

#[test]
fn acknowledgements_wait_for_more_frames_but_not_long() {
    let timers = timers();
    let mut lane = up();
    lane.owe_ack(T, false, &timers);
    assert_eq!(lane.deadline_ns(T, 0, MS), T + MS);
    lane.owe_ack(T + 10, false, &timers);
    assert!(!lane.ack_due(T + MS - 1) && lane.ack_due(T + MS), "the second frame does not put it off");
    lane.owe_ack(T + 20, false, &timers);
    assert!(lane.ack_due(T + 20) && !lane.ack_due(T + 19), "the third is the last to wait for");
    lane.ack_sent();
    assert!(!lane.ack_due(u64::MAX - 1));
    lane.owe_ack(T + 30, false, &timers);
    assert!(!lane.ack_due(T + 30), "counted anew");
    lane.owe_ack(T + 40, true, &timers);
    assert!(lane.ack_due(T + 40), "urgent");
}

#[test]
fn the_clock_offset_is_the_least_of_the_last_eight() {
    let mut lane = lane();
    assert_eq!(lane.ahead_ns(), None);
    lane.note_offset(3);
    assert_eq!(lane.ahead_ns(), Some(3));
    for offset in 10..17 {
        lane.note_offset(offset);
        assert_eq!(lane.ahead_ns(), Some(3));
    }
    lane.note_offset(20);
    assert_eq!(lane.ahead_ns(), Some(10), "the first one is forgotten");
    lane.forget_offsets();
    assert_eq!(lane.ahead_ns(), None);
}

#[test]
fn sync_requests_ascend_within_a_session() {
    let mut lane = lane();
    assert!(lane.is_new_sync_request(1, 0));
    lane.last_sync_request = Some((1, 5));
    assert!(lane.is_new_sync_request(1, 6) && lane.is_new_sync_request(2, 1));
    assert!(!lane.is_new_sync_request(1, 5) && !lane.is_new_sync_request(1, 4));
    lane.last_sync_request = Some((1, u32::MAX));
    assert!(lane.is_new_sync_request(1, 0), "around the end");
}

#[test]
fn what_waits_to_be_sent_is_due_at_once_while_the_peer_is_heard() {
    let waiting: [fn(&mut Lane); 3] = [
        |lane| lane.vector_part = Some(0),
        |lane| lane.stable_part = Some(0),
        |lane| lane.sync_ack = Some(SyncAck { sync_id: 1, cumulative: 0, bitmap: 0, abort: false }),
    ];
    for wait in waiting {
        let mut lane = up();
        assert_eq!(lane.deadline_ns(T, 0, MS), T + 100 * MS, "the heartbeat");
        wait(&mut lane);
        assert_eq!(lane.deadline_ns(T, 0, MS), T);
        assert_eq!(lane.deadline_ns(T + MS, 0, MS), T + 100 * MS, "down");
    }
    let lane = up();
    assert!(lane.deadline_ns(T, 10, MS) <= T, "there are operations to send");
    assert_eq!(lane.deadline_ns(T + MS, 10, MS), T + 100 * MS, "not while it is down");
}

#[test]
fn a_new_session_begins_with_nothing_known_of_the_peer() {
    let mut lane = up();
    lane.note_offset(5);
    lane.owe_ack(T, true, &timers());
    lane.view = PeerView { folds: 0, state_digest: 1, vector_digest: 2, known: true };
    (lane.vector_part, lane.stable_part) = (Some(1), Some(1));
    (lane.differs_since_ns, lane.sync_rest_until_ns) = (Some(T), T);
    lane.progress = [Some(1); 2];
    lane.adopt(Session { id: 8, actor: ActorId::new(2, 2) }, 4, T + MS);
    assert_eq!((lane.session_id(), lane.sender.acked(), lane.ahead_ns()), (8, 4, None));
    assert_eq!((lane.vector_part, lane.stable_part, lane.progress), (None, None, [None; 2]));
    assert_eq!((lane.differs_since_ns, lane.sync_rest_until_ns, lane.view.known), (None, 0, false));
    assert_eq!(lane.deadline_ns(T + MS, 4, 100 * MS), T + MS, "a heartbeat at once");
    assert!(!lane.ack_due(u64::MAX - 1));
    lane.forgotten = true;
    lane.restart(&EngineLimits::default(), T);
    assert_eq!((lane.node, lane.session, lane.forgotten), (2, None, true));
    assert_eq!(lane.hello_now(T), None, "who is forgotten has to speak first");
    lane.owe_hello(T, 9);
    assert_eq!((lane.hello_now(T), lane.deadline_ns(T, 0, MS)), (Some(9), T));
    lane.hello_sent(T, MS);
    assert_eq!((lane.hello_now(T), lane.deadline_ns(T, 0, MS)), (None, u64::MAX));
    lane.forgotten = false;
    assert_eq!((lane.hello_now(T - 1), lane.hello_now(T + MS)), (None, Some(0)));
    lane.forgotten = true;
    lane.adopt(Session { id: 9, actor: ActorId::new(2, 3) }, 0, T);
    assert!(!lane.forgotten, "it is a member again");
}
