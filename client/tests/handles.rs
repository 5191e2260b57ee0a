//! Each handle against a fake daemon: what is written is read, what is refused says why.

mod fake;

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use fake::{FakeDaemon, SUBMISSION_SLOTS, State, until};
use lattice_client::{Client, Error, Kind, Refusal};
use lattice_segment::{Segment, SegmentConfig, codes, key_hash, layout};

const SOON: Duration = Duration::from_secs(20);

fn daemon(workers: u16) -> (tempfile::TempDir, FakeDaemon, Client) {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = FakeDaemon::start(dir.path(), workers, State::default());
    let client = Client::connect(&daemon.socket).expect("attach");
    (dir, daemon, client)
}

#[test]
fn keys_that_nobody_wrote_read_as_empty() {
    let (_dir, _daemon, client) = daemon(2);
    assert_eq!(client.counter("c").unwrap().get().unwrap(), 0);
    assert!(!client.flag("f").unwrap().get().unwrap());
    assert_eq!(client.register("r").unwrap().get().unwrap(), None);
    let set = client.set("s").unwrap();
    assert!(set.is_empty().unwrap());
    assert!(!set.contains(b"x").unwrap());
    assert!(set.members().unwrap().is_empty());
    assert!(client.keys("").is_empty());
}

#[test]
fn what_is_written_is_read_by_the_writer_and_by_others() {
    let (_dir, daemon, client) = daemon(2);
    let other = Client::open_read_only(&daemon.segment).unwrap();
    // Enough keys for each worker to own some; each is written by key first, by cell after.
    for index in 0..16 {
        let counter = client.counter(format!("counter/{index}")).unwrap();
        let reader = other.counter(format!("counter/{index}")).unwrap();
        counter.add_wait(5, SOON).unwrap();
        assert_eq!((counter.get().unwrap(), reader.get().unwrap()), (5, 5));
        counter.add_wait(-7, SOON).unwrap();
        assert_eq!((counter.get().unwrap(), reader.get().unwrap()), (-2, -2));
    }
    for flag in [client.flag("enable").unwrap(), client.flag_disable_wins("disable").unwrap()] {
        flag.enable_wait(SOON).unwrap();
        assert!(flag.get().unwrap());
        flag.disable_wait(SOON).unwrap();
        assert!(!flag.get().unwrap());
    }
    let register = client.register("register").unwrap();
    for len in [0, 1, 64, 1024] {
        let value = vec![len as u8; len];
        register.set_wait(&value, SOON).unwrap();
        assert_eq!(register.get().unwrap(), Some(value.clone()));
        assert_eq!(other.register("register").unwrap().get().unwrap(), Some(value));
    }
}

#[test]
fn keys_are_read_without_handles() {
    let (_dir, daemon, client) = daemon(2);
    let other = Client::open_read_only(&daemon.segment).unwrap();
    let by_key = other.by_key();
    assert_eq!((by_key.counter("c").unwrap(), by_key.set_len("s").unwrap()), (0, 0));
    assert!(!by_key.flag("f").unwrap() && !by_key.set_contains("s", b"a").unwrap());
    let mut bytes = b"before".to_vec();
    assert!(!by_key.register_into("r", &mut bytes).unwrap() && bytes.is_empty());

    // Keys short and long, in the cell and outside of it.
    for len in 1..=128 {
        let key = vec![b'k'; len];
        client.counter(&key).unwrap().add_wait(len as i64, SOON).unwrap();
        assert_eq!(by_key.counter(&key).unwrap(), len as i64);
    }
    client.flag("f").unwrap().enable_wait(SOON).unwrap();
    client.flag_disable_wins("d").unwrap().enable_wait(SOON).unwrap();
    assert!(by_key.flag("f").unwrap() && by_key.flag_disable_wins("d").unwrap());
    client.register("r").unwrap().set_wait(b"value", SOON).unwrap();
    assert!(by_key.register_into("r", &mut bytes).unwrap());
    assert_eq!(bytes, b"value");
    client.register("r").unwrap().set_wait(b"", SOON).unwrap();
    assert!(by_key.register_into("r", &mut bytes).unwrap(), "an empty value is one");
    client.set("s").unwrap().insert_wait(b"a", SOON).unwrap();
    assert!(by_key.set_contains("s", b"a").unwrap() && !by_key.set_contains("s", b"b").unwrap());
    let mut visited = Vec::new();
    by_key.for_each_member("s", |element| visited.push(element.to_vec())).unwrap();
    assert_eq!((visited, by_key.set_len("s").unwrap()), (vec![b"a".to_vec()], 1));

    assert!(matches!(by_key.counter("f"), Err(Error::KindMismatch { found: Kind::FlagEnableWins, .. })));
    for key in [&b""[..], &[b'k'; 129]] {
        assert!(matches!(by_key.counter(key), Err(Error::BadKey { limit: 128, .. })));
    }
}

#[test]
fn a_set_inserts_removes_and_clears() {
    let (_dir, _daemon, client) = daemon(1);
    let set = client.set("set").unwrap();
    for element in [&b"b"[..], b"a", b"c", &[7; 256]] {
        set.insert(element).unwrap();
    }
    client.barrier(SOON).unwrap();
    assert_eq!(set.members().unwrap(), [&[7; 256][..], b"a", b"b", b"c"]);
    set.remove_wait(b"b", SOON).unwrap();
    assert!(!set.contains(b"b").unwrap());
    assert!(set.contains(b"a").unwrap());
    assert_eq!(set.len().unwrap(), 3);
    let mut visited = 0;
    set.for_each_member(|_| visited += 1).unwrap();
    assert_eq!(visited, 3);
    client.wait(set.clear().unwrap(), SOON).unwrap();
    assert!(set.is_empty().unwrap());
    assert!(set.members().unwrap().is_empty());
}

#[test]
fn keys_lists_by_prefix() {
    let (_dir, _daemon, client) = daemon(2);
    for key in ["a/2", "b/1", "a/1"] {
        client.counter(key).unwrap().add(1).unwrap();
    }
    client.flag("a/3").unwrap().enable().unwrap();
    client.barrier(SOON).unwrap();
    let keys: Vec<_> = client.keys("a/").into_iter().map(|info| (info.key, info.kind)).collect();
    let expected = [
        (b"a/1".to_vec(), Kind::Counter),
        (b"a/2".to_vec(), Kind::Counter),
        (b"a/3".to_vec(), Kind::FlagEnableWins),
    ];
    assert_eq!(keys, expected);
}

#[test]
fn limits_are_checked_before_anything_is_enqueued() {
    let (_dir, _daemon, client) = daemon(1);
    for len in [0, 129] {
        let error = client.counter(vec![b'k'; len]).unwrap_err();
        assert!(matches!(error, Error::BadKey { len: found, limit: 128 } if found == len), "{error}");
    }
    let longest = client.register(vec![b'k'; 128]).unwrap();
    longest.set_wait(&[1; 1024], SOON).unwrap();
    let error = longest.set(&[1; 1025]).unwrap_err();
    assert!(matches!(error, Error::TooLarge { len: 1025, limit: 1024 }), "{error}");
    let error = client.set("s").unwrap().insert(&[1; 257]).unwrap_err();
    assert!(matches!(error, Error::TooLarge { len: 257, limit: 256 }), "{error}");
    assert!(error.nothing_happened());
}

#[test]
fn another_kind_is_refused_at_opening_and_at_later_use() {
    let (_dir, _daemon, client) = daemon(1);
    // Opened while the key does not exist: nothing to object to yet.
    let early = client.register("key").unwrap();
    client.counter("key").unwrap().add_wait(1, SOON).unwrap();
    let wanted =
        |error: &Error| matches!(error, Error::KindMismatch { wanted: Kind::Register, found: Kind::Counter });
    let error = client.register("key").unwrap_err();
    assert!(wanted(&error), "{error}");
    assert!(wanted(&early.get().unwrap_err()));
    assert!(wanted(&early.set(b"x").unwrap_err()));
    assert_eq!(client.counter("key").unwrap().get().unwrap(), 1);
}

#[test]
fn a_refused_write_names_its_reason_and_changes_nothing() {
    let (_dir, daemon, client) = daemon(2);
    let counter = client.counter("c").unwrap();
    counter.add_wait(1, SOON).unwrap();
    for (code, refusal) in [
        (codes::CAPACITY_EXCEEDED, Refusal::CapacityExceeded),
        (codes::KIND_MISMATCH, Refusal::KindMismatch),
        (codes::CLOCK_SKEW, Refusal::ClockSkew),
        (codes::DRAINED, Refusal::Drained),
        (codes::TOO_LARGE, Refusal::TooLarge),
        (codes::BAD_KEY, Refusal::BadKey),
        (codes::STALE_CELL, Refusal::StaleHandle),
        (codes::NOT_SUPPORTED, Refusal::NotSupported),
        (codes::LOG_FULL, Refusal::LogFull),
        (codes::ACCESS_DENIED, Refusal::AccessDenied),
        (codes::OTHER_KIND_DECLARED, Refusal::OtherKindDeclared),
        (codes::UNDECLARED, Refusal::Undeclared),
        (codes::NAMESPACE_FULL, Refusal::NamespaceFull),
        (999, Refusal::Other(999)),
    ] {
        daemon.knobs.refuse_code.store(code, SeqCst);
        let error = counter.add_wait(1, SOON).unwrap_err();
        assert!(matches!(error, Error::Refused(found) if found == refusal), "{error}");
        assert!(error.nothing_happened());
    }
    // All were reported to their waiters: nothing is left for the barrier.
    client.barrier(SOON).unwrap();
    daemon.knobs.refuse_code.store(codes::LOG_FULL, SeqCst);
    counter.add(1).unwrap();
    client.flag("another worker's, perhaps").unwrap().enable().unwrap();
    let error = client.barrier(SOON).unwrap_err();
    assert!(matches!(error, Error::WritesRefused { count: 2, first: Refusal::LogFull }), "{error}");
    daemon.knobs.refuse_code.store(0, SeqCst);
    counter.add(1).unwrap();
    client.barrier(SOON).unwrap();
    assert_eq!(counter.get().unwrap(), 2);
}

#[test]
fn refusals_that_nobody_collects_do_not_stop_the_ring() {
    let (_dir, daemon, client) = daemon(1);
    daemon.knobs.refuse_code.store(codes::LOG_FULL, SeqCst);
    let counter = client.counter("c").unwrap();
    let first = counter.add(1).unwrap();
    for _ in 0..2000 {
        while let Err(error) = counter.add(1) {
            assert!(matches!(error, Error::RingFull { .. }), "{error}");
            std::thread::yield_now();
        }
    }
    let error = client.barrier(SOON).unwrap_err();
    assert!(matches!(error, Error::WritesRefused { count: 2001, .. }), "{error}");
    assert!(matches!(client.poll(first), Err(Error::OutcomeForgotten)));
}

#[test]
fn a_full_ring_refuses_and_what_was_accepted_is_applied_exactly() {
    let (_dir, daemon, client) = daemon(1);
    let counter = client.counter("c").unwrap();
    counter.add_wait(1, SOON).unwrap();
    daemon.knobs.deaf.store(true, SeqCst);
    let mut accepted = 0;
    let error = loop {
        match counter.add(1) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::RingFull { worker: 0 }), "{error}");
    assert!(error.nothing_happened() && error.is_temporary());
    // The daemon may have been in the middle of a poll when it went deaf.
    assert!((u64::from(SUBMISSION_SLOTS)..2 * u64::from(SUBMISSION_SLOTS)).contains(&accepted), "{accepted}");
    let error = client.barrier(Duration::ZERO).unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    daemon.knobs.deaf.store(false, SeqCst);
    client.barrier(SOON).unwrap();
    assert_eq!(counter.get().unwrap(), 1 + accepted as i64);
}

#[test]
fn a_write_wakes_the_sleeping_worker_that_owns_the_key() {
    let (_dir, daemon, client) = daemon(2);
    daemon.knobs.sleepy.store(true, SeqCst);
    // Each write finds the daemon asleep, and nobody else would wake it.
    for index in 0..16 {
        until("asleep", || daemon.knobs.asleep.load(SeqCst));
        client.counter(format!("counter/{index}")).unwrap().add_wait(1, SOON).unwrap();
    }
}

#[test]
fn threads_share_a_client_and_its_handles() {
    const THREADS: usize = 4;
    const ADDS: usize = 500;
    let (_dir, _daemon, client) = daemon(2);
    let counter = client.counter("c").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ADDS {
                    while counter.add(1).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
        }
    });
    client.barrier(SOON).unwrap();
    assert_eq!(counter.get().unwrap(), (THREADS * ADDS) as i64);
}

#[test]
fn a_dropped_client_leaves_its_handles_working() {
    let (_dir, _daemon, client) = daemon(1);
    let counter = client.counter("c").unwrap();
    drop(client);
    counter.add_wait(3, SOON).unwrap();
    assert_eq!(counter.clone().get().unwrap(), 3);
}

/// A register that is being set for the first time is unset or has its value; it never was empty.
#[test]
fn a_first_value_is_never_seen_empty() {
    const REGISTERS: u32 = 1000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("segment");
    let (segment, mut writers) = Segment::create(&SegmentConfig {
        path: path.clone(),
        node: 1,
        node_name: "a".into(),
        cluster: "test".into(),
        actor: 1 << 48 | 1,
        workers: 1,
        shards: 1,
        cells_per_worker: REGISTERS,
        extent_bytes_per_worker: 1 << 20,
        change_ring_entries: 64,
        heartbeat_timeout_ns: u64::MAX,
        socket_path: None,
    })
    .unwrap();
    segment.mark_ready();
    let key = |number: u32| format!("r {number}").into_bytes();
    let mut writer = writers.remove(0);
    let cells: Vec<_> = (0..REGISTERS)
        .map(|number| writer.open_cell(layout::KIND_REGISTER, key_hash(&key(number)), &key(number)).unwrap())
        .collect();
    let client = Client::open_read_only(&path).unwrap();
    let registers: Vec<_> = (0..REGISTERS).map(|number| client.register(key(number)).unwrap()).collect();
    let looking = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (number, cell) in (1..).zip(cells) {
                while looking.load(SeqCst) < number {
                    std::thread::yield_now();
                }
                writer.publish_bytes(cell, b"value").unwrap();
            }
        });
        let (mut bytes, mut wrong) = (Vec::new(), 0);
        for register in &registers {
            looking.fetch_add(1, SeqCst);
            while !register.get_into(&mut bytes).unwrap() {}
            wrong += u32::from(bytes != b"value");
        }
        // Not earlier: the other thread waits for each look.
        assert_eq!(wrong, 0);
    });
}
