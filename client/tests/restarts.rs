//! What a client does when its daemon hangs, dies, stops and comes back.

mod fake;

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use fake::{FakeDaemon, State, until};
use lattice_client::{Client, ClientOptions, DaemonState, Error, ReadPolicy};

const SOON: Duration = Duration::from_secs(20);
const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(50);

fn options() -> ClientOptions {
    ClientOptions::new().reattach_interval(Duration::from_millis(1))
}

fn fresh() -> ClientOptions {
    options().read_policy(ReadPolicy::Fresh)
}

#[test]
fn a_silent_daemon_is_stale_with_its_age_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = FakeDaemon::start_with_timeout(dir.path(), 2, State::default(), HEARTBEAT_TIMEOUT);
    let client = Client::connect_with(&daemon.socket, options()).unwrap();
    let strict = Client::connect_with(&daemon.socket, fresh()).unwrap();
    let (counter, strict) = (client.counter("c").unwrap(), strict.counter("c").unwrap());
    until("live", || client.health().state == DaemonState::Live);
    counter.add_wait(4, SOON).unwrap();
    until("a fresh read", || matches!(strict.get(), Ok(4)));

    daemon.knobs.silent.store(true, SeqCst);
    until("stale", || client.health().state == DaemonState::Stale);
    let health = client.health();
    assert!(health.heartbeat_age.unwrap() > HEARTBEAT_TIMEOUT);
    assert_eq!(health.heartbeat_timeout, HEARTBEAT_TIMEOUT);
    assert!(!health.is_writable);
    match counter.add(100).unwrap_err() {
        Error::DaemonStale { age, timeout, .. } => assert!(age > timeout && timeout == HEARTBEAT_TIMEOUT),
        other => panic!("{other}"),
    }
    assert_eq!(counter.get().unwrap(), 4, "the last known state is served");
    let error = strict.get().unwrap_err();
    assert!(matches!(error, Error::DaemonStale { .. }), "{error}");
    let error = strict.client().by_key().counter("c").unwrap_err();
    assert!(matches!(error, Error::DaemonStale { .. }), "{error}");
    let error = strict.client().counter("unheard of").unwrap().get().unwrap_err();
    assert!(matches!(error, Error::DaemonStale { .. }), "no empty value from an old state: {error}");

    daemon.knobs.silent.store(false, SeqCst);
    until("live again", || client.health().state == DaemonState::Live);
    until("a write", || counter.add(1).is_ok());
    client.barrier(SOON).unwrap();
    assert_eq!(counter.get().unwrap(), 5, "what was refused as stale was not enqueued");
    assert_eq!(client.health().attachments, 1, "a daemon that only paused is not attached to again");
}

/// What handles of one client see before, between and after two daemons; `end` ends the first one.
fn survives(end: fn(FakeDaemon) -> State) {
    let dir = tempfile::tempdir().unwrap();
    let daemon = FakeDaemon::start(dir.path(), 2, State::default());
    let client = Client::connect_with(&daemon.socket, options()).unwrap();
    let strict = Client::connect_with(&daemon.socket, fresh()).unwrap();
    let (counter, flag) = (client.counter("c").unwrap(), client.flag("f").unwrap());
    let (register, set) = (client.register("r").unwrap(), client.set("s").unwrap());
    let strict_counter = strict.counter("c").unwrap();
    let (by_key, strict_by_key) = (client.by_key(), strict.by_key());
    counter.add(10).unwrap();
    flag.enable().unwrap();
    register.set(b"value").unwrap();
    set.insert(b"member").unwrap();
    client.barrier(SOON).unwrap();
    let first = client.health();
    let state = end(daemon);

    until("gone", || !matches!(client.health().state, DaemonState::Live));
    let _ = strict.health();
    let error = counter.add(1).unwrap_err();
    assert!(matches!(error, Error::DaemonClosed { .. }), "{error}");
    assert!(error.nothing_happened() && error.is_temporary());
    assert!(client.reconnect(Duration::ZERO).is_err());
    assert_eq!((counter.get().unwrap(), by_key.counter("c").unwrap()), (10, 10));
    assert_eq!(set.members().unwrap(), [b"member"]);

    let daemon = FakeDaemon::start(dir.path(), 2, state);
    client.reconnect(SOON).unwrap();
    strict.reconnect(SOON).unwrap();
    let second = client.health();
    assert_eq!((second.state, second.attachments), (DaemonState::Live, 2));
    assert_ne!(first.incarnation, second.incarnation);
    assert_eq!(counter.get().unwrap(), 10);
    assert_eq!(strict_counter.get().unwrap(), 10);
    assert!(flag.get().unwrap());
    assert_eq!(register.get().unwrap().as_deref(), Some(&b"value"[..]));
    assert_eq!(set.members().unwrap(), [b"member"]);
    counter.add_wait(1, SOON).unwrap();
    set.remove_wait(b"member", SOON).unwrap();
    assert_eq!((counter.get().unwrap(), strict_counter.get().unwrap()), (11, 11));
    for by_key in [&by_key, &strict_by_key, &by_key.clone()] {
        assert_eq!(by_key.counter("c").unwrap(), 11);
    }
    assert_eq!(counter.clone().get().unwrap(), 11);
    assert!(set.is_empty().unwrap());

    // And once more: the second restart takes the same road.
    let daemon = FakeDaemon::start(dir.path(), 2, end(daemon));
    client.reconnect(SOON).unwrap();
    counter.add_wait(1, SOON).unwrap();
    assert_eq!(counter.get().unwrap(), 12);
    assert_eq!(client.health().attachments, 3);
    drop(daemon);
}

#[test]
fn handles_survive_a_clean_restart() {
    survives(FakeDaemon::stop);
}

#[test]
fn handles_survive_a_killed_daemon() {
    survives(FakeDaemon::kill);
}

#[test]
fn after_a_restart_with_an_empty_state_the_new_daemons_state_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = FakeDaemon::start(dir.path(), 1, State::default());
    let client = Client::connect_with(&daemon.socket, options()).unwrap();
    let counter = client.counter("c").unwrap();
    counter.add_wait(10, SOON).unwrap();
    drop(daemon.kill());
    let _daemon = FakeDaemon::start(dir.path(), 1, State::default());
    client.reconnect(SOON).unwrap();
    assert_eq!(counter.get().unwrap(), 0);
    // Written by key, as the new segment has no such cell yet.
    counter.add_wait(2, SOON).unwrap();
    assert_eq!(counter.get().unwrap(), 2);
}

#[test]
fn unacknowledged_writes_of_a_dead_daemon_are_of_unknown_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = FakeDaemon::start(dir.path(), 1, State::default());
    let client = Client::connect_with(&daemon.socket, options()).unwrap();
    let counter = client.counter("c").unwrap();
    let applied = counter.add(1).unwrap();
    client.wait(applied, SOON).unwrap();
    daemon.knobs.deaf.store(true, SeqCst);
    // It may have been about to look at the ring: fill it beyond what one look takes.
    let mut under_way = Vec::new();
    while let Ok(ticket) = counter.add(1) {
        under_way.push(ticket);
    }
    let last = *under_way.last().unwrap();
    assert!(!client.poll(last).unwrap());
    drop(daemon.kill());

    let error = client.wait(last, SOON).unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { writes: 1 }), "{error}");
    assert!(!error.nothing_happened());
    let _daemon = FakeDaemon::start(dir.path(), 1, State::default());
    client.reconnect(SOON).unwrap();
    client.wait(applied, SOON).unwrap();
    assert!(
        matches!(client.poll(last), Err(Error::OutcomeUnknown { .. })),
        "also when asked after the restart"
    );
    match client.barrier(SOON).unwrap_err() {
        Error::OutcomeUnknown { writes } => assert!(writes > 0 && writes <= under_way.len() as u64),
        other => panic!("{other}"),
    }
    client.barrier(SOON).unwrap();
    counter.add_wait(1, SOON).unwrap();
}

#[test]
fn a_client_that_was_dropped_by_a_live_daemon_attaches_again() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = FakeDaemon::start(dir.path(), 1, State::default());
    let client = Client::connect_with(&daemon.socket, options()).unwrap();
    let counter = client.counter("c").unwrap();
    counter.add_wait(1, SOON).unwrap();
    // From here on the handle knows its cell, and writes by it.
    assert_eq!(counter.get().unwrap(), 1);
    daemon.knobs.drop_clients.store(true, SeqCst);
    until("attached again", || client.health().attachments == 2);
    counter.add_wait(1, SOON).unwrap();
    assert_eq!(counter.get().unwrap(), 2);
    assert_eq!(daemon.knobs.attached.load(SeqCst), 2);
}

#[test]
fn a_daemon_that_accepts_but_never_replies_blocks_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = FakeDaemon::start(dir.path(), 1, State::default());
    let client = Client::connect_with(&daemon.socket, options()).unwrap();
    let counter = client.counter("c").unwrap();
    counter.add_wait(1, SOON).unwrap();
    let state = daemon.stop();
    let daemon = FakeDaemon::start(dir.path(), 1, state);
    daemon.knobs.mute.store(true, SeqCst);
    let started = Instant::now();
    for _ in 0..1000 {
        assert_eq!(counter.get().unwrap(), 1);
        assert!(matches!(counter.add(1), Err(Error::DaemonClosed { .. })));
    }
    assert!(started.elapsed() < Duration::from_secs(2), "2000 calls took {:?}", started.elapsed());
}

#[test]
fn a_read_only_client_reads_refuses_writes_and_follows_the_successor() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = FakeDaemon::start_with_timeout(dir.path(), 2, State::default(), HEARTBEAT_TIMEOUT);
    let writer = Client::connect_with(&daemon.socket, options()).unwrap();
    writer.counter("c").unwrap().add_wait(7, SOON).unwrap();
    let client = Client::open_read_only_with(&daemon.segment, options()).unwrap();
    let counter = client.counter("c").unwrap();
    assert_eq!(counter.get().unwrap(), 7);
    assert!(!client.health().is_writable);
    assert!(matches!(counter.add(1), Err(Error::ReadOnly)));
    assert!(matches!(client.counter("new").unwrap().add(1), Err(Error::ReadOnly)));
    let state = daemon.kill();
    // Its process (this one) is there, and it has no connection that could tell more.
    until("stale", || client.health().state == DaemonState::Stale);
    assert_eq!(counter.get().unwrap(), 7);
    // Even a successor that could not mark the old segment CLOSED is found.
    std::fs::remove_file(dir.path().join("segment")).unwrap();
    let daemon = FakeDaemon::start(dir.path(), 2, state);
    until("the successor", || client.health().attachments == 2);
    let writer = Client::connect_with(&daemon.socket, options()).unwrap();
    writer.counter("c").unwrap().add_wait(1, SOON).unwrap();
    assert_eq!(counter.get().unwrap(), 8);
}

#[test]
fn no_daemon_no_segment() {
    let dir = tempfile::tempdir().unwrap();
    let error = Client::connect(dir.path().join("nobody.sock")).err().unwrap();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    let error = Client::open_read_only(dir.path().join("segment")).err().unwrap();
    assert!(matches!(error, Error::Open { .. }), "{error}");
    let garbage = dir.path().join("garbage");
    std::fs::write(&garbage, [0x5a; 8192]).unwrap();
    let error = Client::open_read_only(&garbage).err().unwrap();
    assert!(matches!(error, Error::Open { .. }), "{error}");
}

#[test]
fn who_disconnects_is_gone_for_good_though_handles_live_on() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = FakeDaemon::start(dir.path(), 1, State::default());
    let client = Client::connect_with(&daemon.socket, options()).unwrap();
    let (other, counter) = (client.clone(), client.counter("c").unwrap());
    counter.add_wait(3, SOON).unwrap();
    daemon.knobs.deaf.store(true, SeqCst);
    let under_way = counter.add(1).unwrap();
    client.disconnect();
    client.disconnect();
    assert!(matches!(other.counter("d").unwrap().add(1), Err(Error::DaemonClosed { .. })));
    assert!(matches!(counter.add(1), Err(Error::DaemonClosed { .. })));
    assert!(matches!(other.wait(under_way, SOON), Err(Error::OutcomeUnknown { writes: 1 })));
    assert!(matches!(client.barrier(SOON), Err(Error::OutcomeUnknown { writes: 1 })));
    assert_eq!(counter.get().unwrap(), 3, "reads go on");
    // Not even to a daemon that is there, or to the next one.
    assert!(matches!(client.reconnect(Duration::from_millis(20)), Err(Error::DaemonClosed { .. })));
    let daemon = FakeDaemon::start(dir.path(), 1, daemon.stop());
    assert!(matches!(client.reconnect(Duration::from_millis(20)), Err(Error::DaemonClosed { .. })));
    assert_eq!((daemon.knobs.attached.load(SeqCst), client.health().attachments), (0, 1));
}
