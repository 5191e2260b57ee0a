//! Waiting until writes have got as far as their caller wants.

mod fake;

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use fake::{FakeDaemon, State, until};
use lattice_client::{Ack, AckImpossible, Client, ClientOptions, Error, Reached, Refusal, Ticket};
use lattice_segment::codes;

const SOON: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(30);

/// A daemon of a cluster of three whose log is a file.
fn three(dir: &std::path::Path) -> FakeDaemon {
    let daemon = FakeDaemon::start(dir, 2, State::default());
    daemon.knobs.peers.store(2, SeqCst);
    daemon.knobs.logs.store(true, SeqCst);
    daemon
}

fn connect(daemon: &FakeDaemon) -> Client {
    let options = ClientOptions::new().reattach_interval(Duration::from_millis(1));
    Client::connect_with(&daemon.socket, options).unwrap()
}

fn not_reached(error: Error) -> Reached {
    match error {
        Error::NotReached { reached, .. } => reached,
        other => panic!("{other}"),
    }
}

#[test]
fn each_level_waits_for_what_it_says_and_a_timeout_names_what_was_reached() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = three(dir.path());
    let client = connect(&daemon);
    let counter = client.counter("c").unwrap();
    for level in [Ack::Local, Ack::Logged] {
        let reached = counter.add_with(1, level, SOON).unwrap();
        assert!(reached.has(level) && !reached.has(Ack::Majority), "{reached}");
    }
    for level in [Ack::Durable, Ack::Peers(1), Ack::Majority, Ack::All] {
        let error = counter.add_with(1, level, SHORT).unwrap_err();
        assert!(!error.nothing_happened() && error.is_temporary());
        let reached = not_reached(error);
        assert!(reached.local && reached.logged && !reached.durable, "{reached}");
        assert_eq!((reached.peers, reached.members), (0, 3));
    }
    daemon.knobs.merging.store(1, SeqCst);
    for level in [Ack::Peers(1), Ack::Majority] {
        assert_eq!(counter.add_with(1, level, SOON).unwrap().peers, 1);
    }
    let error = counter.add_with(1, Ack::All, SHORT).unwrap_err();
    assert!(error.to_string().contains("merged by 1 of 2 peers"), "{error}");
    assert_eq!(not_reached(error).peers, 1);
    daemon.knobs.merging.store(2, SeqCst);
    daemon.knobs.syncs.store(true, SeqCst);
    for level in [Ack::Peers(2), Ack::All, Ack::Durable] {
        let reached = counter.add_with(1, level, SOON).unwrap();
        assert!(reached.has(level), "{reached}");
    }
    assert_eq!(counter.get().unwrap(), 12, "each was written once, whatever its wait came to");
}

#[test]
fn a_level_that_can_never_be_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = FakeDaemon::start(dir.path(), 1, State::default());
    daemon.knobs.peers.store(2, SeqCst);
    let client = connect(&daemon);
    let counter = client.counter("c").unwrap();
    let cases = [
        (Ack::Logged, AckImpossible::NothingKept),
        (Ack::Durable, AckImpossible::NothingKept),
        (Ack::Peers(3), AckImpossible::TooFewPeers { peers: 2 }),
    ];
    for (level, expected) in cases {
        let error = counter.add_with(1, level, SOON).unwrap_err();
        assert!(error.nothing_happened() && !error.is_temporary());
        assert!(
            matches!(&error, Error::AckImpossible { asked, reason } if (*asked, *reason) == (level, expected)),
            "{error}"
        );
        let error = client.barrier_with(level, SOON).unwrap_err();
        assert!(matches!(error, Error::AckImpossible { .. }), "{error}");
    }
    client.barrier(SOON).unwrap();
    assert_eq!(counter.get().unwrap(), 0);
}

#[test]
fn a_write_made_earlier_can_be_waited_for_at_any_level() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = three(dir.path());
    let client = connect(&daemon);
    let (counter, flag) = (client.counter("c").unwrap(), client.flag("f").unwrap());
    let tickets: Vec<_> = (0..20).map(|_| counter.add(1).unwrap()).collect();
    client.wait(tickets[19], SOON).unwrap();
    assert_eq!(daemon.knobs.marks.load(SeqCst), 0, "who does not ask is no trouble");
    daemon.knobs.merging.store(2, SeqCst);
    for ticket in &tickets {
        assert!(client.wait_with(*ticket, Ack::All, SOON).unwrap().has(Ack::All));
    }
    let marks = daemon.knobs.marks.load(SeqCst);
    client.wait_with(tickets[0], Ack::Majority, SOON).unwrap();
    assert_eq!(daemon.knobs.marks.load(SeqCst), marks, "a mark stands for everything before it");
    let ticket = flag.enable().unwrap();
    assert!(client.wait_with(ticket, Ack::Peers(1), SOON).unwrap().local);
}

#[test]
fn a_barrier_covers_all_workers() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = three(dir.path());
    let client = connect(&daemon);
    assert!(client.barrier_with(Ack::All, SOON).is_ok(), "nothing was written");
    let set = client.set("s").unwrap();
    for n in 0..20u8 {
        client.counter([n]).unwrap().add(1).unwrap();
        set.insert(&[n]).unwrap();
    }
    let reached = not_reached(client.barrier_with(Ack::Majority, SHORT).unwrap_err());
    assert!(reached.local && reached.peers == 0, "{reached}");
    daemon.knobs.merging.store(1, SeqCst);
    assert_eq!(client.barrier_with(Ack::Majority, SOON).unwrap().peers, 1);
    assert!(daemon.knobs.marks.load(SeqCst) >= 2, "each worker has its own");
    assert!(set.contains(&[19]).unwrap());
    let error = client.barrier_with(Ack::All, SHORT).unwrap_err();
    assert_eq!(not_reached(error).peers, 1);
}

#[test]
fn a_refused_write_is_reported_as_refused_at_any_level() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = three(dir.path());
    let client = connect(&daemon);
    let counter = client.counter("c").unwrap();
    counter.add_wait(1, SOON).unwrap();
    daemon.knobs.refuse_code.store(codes::CAPACITY_EXCEEDED, SeqCst);
    let error = counter.add_with(1, Ack::All, SOON).unwrap_err();
    assert!(matches!(error, Error::Refused(Refusal::CapacityExceeded)), "{error}");
    counter.add(1).unwrap();
    daemon.knobs.merging.store(2, SeqCst);
    let error = client.barrier_with(Ack::All, SOON).unwrap_err();
    assert!(matches!(error, Error::WritesRefused { count: 1, .. }), "{error}");
    assert!(client.barrier_with(Ack::All, SOON).is_ok());
}

/// A daemon that dies while somebody waits: what it had told stays true, and nobody says more.
#[test]
fn when_the_daemon_goes_what_was_reached_is_told_and_the_rest_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = three(dir.path());
    daemon.knobs.merging.store(1, SeqCst);
    let client = connect(&daemon);
    let counter = client.counter("c").unwrap();
    let earlier = counter.add(1).unwrap();
    client.wait_with(earlier, Ack::Peers(1), SOON).unwrap();
    let waiter = {
        let counter = counter.clone();
        std::thread::spawn(move || counter.add_with(1, Ack::All, SOON))
    };
    until("it is under way", || counter.get().unwrap() == 2);
    until("and marked", || daemon.knobs.marks.load(SeqCst) >= 2);
    let state = daemon.kill();
    match waiter.join().unwrap().unwrap_err() {
        Error::AckUnknown { asked: Ack::All, reached } => {
            assert!(reached.local && reached.logged && reached.peers <= 1, "{reached}");
        }
        other => panic!("{other}"),
    }
    // Asked later, of a daemon that knows nothing of it, it is the same.
    let daemon = FakeDaemon::start(dir.path(), 2, state);
    daemon.knobs.peers.store(2, SeqCst);
    daemon.knobs.merging.store(2, SeqCst);
    client.reconnect(SOON).unwrap();
    assert_eq!(client.wait_with(earlier, Ack::Peers(1), SOON).unwrap().peers, 1);
    let error = client.wait_with(earlier, Ack::All, SOON).unwrap_err();
    assert!(matches!(error, Error::AckUnknown { .. }), "{error}");
    let error = client.barrier_with(Ack::All, SOON).unwrap_err();
    assert!(matches!(error, Error::AckUnknown { reached, .. } if reached.peers <= 1), "{error}");
    assert!(client.barrier_with(Ack::All, SOON).is_ok(), "it is said once");
    assert!(counter.add_with(1, Ack::All, SOON).is_ok());
}

/// Many threads wait through one ring, at levels that come one after the other.
#[test]
fn threads_that_share_a_client_all_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = three(dir.path());
    let client = connect(&daemon);
    let waiters: Vec<_> = (0..16)
        .map(|n| {
            let counter = client.counter(format!("c{}", n % 4)).unwrap();
            let level = [Ack::Peers(1), Ack::Majority, Ack::All, Ack::Durable][n % 4];
            std::thread::spawn(move || counter.add_with(1, level, SOON).map(|reached| reached.has(level)))
        })
        .collect();
    until("all asked", || daemon.knobs.marks.load(SeqCst) >= 4);
    daemon.knobs.merging.store(1, SeqCst);
    daemon.knobs.merging.store(2, SeqCst);
    daemon.knobs.syncs.store(true, SeqCst);
    let started = Instant::now();
    for waiter in waiters {
        assert!(waiter.join().unwrap().unwrap());
    }
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_sleeping_daemon_is_woken_by_the_mark() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = three(dir.path());
    daemon.knobs.merging.store(2, SeqCst);
    let client = connect(&daemon);
    let counter = client.counter("c").unwrap();
    let ticket = counter.add(1).unwrap();
    client.wait(ticket, SOON).unwrap();
    daemon.knobs.sleepy.store(true, SeqCst);
    until("asleep", || daemon.knobs.asleep.load(SeqCst));
    assert!(client.wait_with(ticket, Ack::All, SOON).is_ok());
    daemon.knobs.sleepy.store(false, SeqCst);
    let _ = counter.add(1);
}

#[test]
fn who_only_reads_cannot_wait_for_writes() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = three(dir.path());
    let client = Client::open_read_only(&daemon.segment).unwrap();
    assert!(matches!(client.counter("c").unwrap().add_with(1, Ack::All, SOON), Err(Error::ReadOnly)));
    assert!(matches!(client.barrier_with(Ack::Majority, SOON), Err(Error::ReadOnly)));
}

#[test]
fn a_ticket_survives_being_taken_apart_and_made_up_ones_harm_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = three(dir.path());
    let client = connect(&daemon);
    let counter = client.counter("c").unwrap();
    let ticket = counter.add(1).unwrap();
    let words = ticket.to_words();
    assert_eq!(Ticket::from_words(words), Some(ticket));
    client.wait(Ticket::from_words(words).unwrap(), SOON).unwrap();
    assert_eq!(Ticket::from_words([words[0], words[1], 1 << 16]), None);
    let of_no_worker = Ticket::from_words([words[0], words[1], 999]).unwrap();
    assert!(matches!(client.poll(of_no_worker), Err(Error::OutcomeForgotten)));
    let not_written_yet = Ticket::from_words([words[0], u64::MAX, words[2]]).unwrap();
    let soon_over = Duration::from_millis(20);
    assert!(matches!(client.wait(not_written_yet, soon_over), Err(Error::Timeout { .. })));
    assert!(matches!(client.wait_with(not_written_yet, Ack::All, soon_over), Err(Error::NotReached { .. })));
    counter.add_wait(1, SOON).unwrap();
}
