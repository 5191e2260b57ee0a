//! Following changes: nothing is missed, an overrun and a new daemon are said, a sleeping watcher is woken.

mod fake;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fake::{CHANGE_RING_ENTRIES, FakeDaemon, State};
use lattice_client::{Change, Client, ClientOptions, Kind};

const SOON: Duration = Duration::from_secs(20);

fn start(workers: u16) -> (tempfile::TempDir, FakeDaemon, Client) {
    let dir = tempfile::tempdir().unwrap();
    let daemon = FakeDaemon::start(dir.path(), workers, State::default());
    let options = ClientOptions::new().reattach_interval(Duration::from_millis(1));
    let client = Client::connect_with(&daemon.socket, options).unwrap();
    (dir, daemon, client)
}

#[test]
fn every_changed_key_is_named_with_ascending_versions() {
    let (_dir, _daemon, client) = start(2);
    let mut changes = client.changes();
    assert_eq!(changes.next(Duration::ZERO).unwrap(), None);
    let mut expected = BTreeMap::new();
    for round in 1..=3 {
        for index in 0..8 {
            let key = format!("key/{index}");
            client.counter(&key).unwrap().add_wait(1, SOON).unwrap();
            expected.insert(key.into_bytes(), round);
        }
    }
    let mut seen: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    while let Some(change) = changes.next(Duration::ZERO).unwrap() {
        let Change::Key { key, version } = change else { panic!("{change:?}") };
        assert_eq!(key.kind, Kind::Counter);
        if let Some(before) = seen.insert(key.key, version) {
            assert!(version > before, "{version} after {before}");
        }
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
}

#[test]
fn a_watcher_that_is_too_slow_is_told() {
    let (_dir, _daemon, client) = start(1);
    let mut changes = client.changes();
    let counter = client.counter("c").unwrap();
    for _ in 0..3 * CHANGE_RING_ENTRIES {
        counter.add_wait(1, SOON).unwrap();
    }
    assert_eq!(changes.next(Duration::ZERO).unwrap(), Some(Change::Overrun));
    assert_eq!(changes.next(Duration::ZERO).unwrap(), None, "after the report it stands at the newest");
    counter.add_wait(1, SOON).unwrap();
    assert!(matches!(changes.next(Duration::ZERO).unwrap(), Some(Change::Key { .. })));
}

#[test]
fn a_sleeping_watcher_is_woken_long_before_its_timeout() {
    for workers in [1, 2] {
        let (_dir, _daemon, client) = start(workers);
        let mut changes = client.changes();
        let flag = client.flag("f").unwrap();
        let started = Instant::now();
        std::thread::scope(|scope| {
            let watcher = scope.spawn(move || changes.next(SOON).unwrap());
            flag.enable_wait(SOON).unwrap();
            assert!(matches!(watcher.join().unwrap(), Some(Change::Key { .. })));
        });
        assert!(started.elapsed() < SOON / 2);
    }
}

#[test]
fn a_new_daemon_is_announced() {
    let (dir, daemon, client) = start(1);
    let mut changes = client.changes();
    let counter = client.counter("c").unwrap();
    counter.add_wait(1, SOON).unwrap();
    assert!(matches!(changes.next(SOON).unwrap(), Some(Change::Key { .. })));
    let _daemon = FakeDaemon::start(dir.path(), 1, daemon.kill());
    assert_eq!(changes.next(SOON).unwrap(), Some(Change::Restarted));
    counter.add_wait(1, SOON).unwrap();
    assert!(matches!(changes.next(SOON).unwrap(), Some(Change::Key { .. })));
}
