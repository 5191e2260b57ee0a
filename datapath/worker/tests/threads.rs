//! Workers on threads of their own: sleep and wake-up, status, shutdown. Real time, and no sleeping as synchronisation:
//! every wait is for a condition, with a bound far beyond what it takes and far below what a missed wake-up would cost.

mod rig;

use crossbeam_channel::{Receiver, unbounded};
use lattice_engine::EngineTimers;
use lattice_segment::RingProducer;
use lattice_worker::{Command, Degradation, Event, Idle, WorkerHandle, WorkerParts, WorkerStatus, spawn};
use rig::{NodeParts, Plan};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A worker that misses a wake-up sleeps this long: the tests would run into `BOUND` first.
const FOREVER: Idle = Idle::Sleep { spin_ns: 0, max_sleep_ns: 600_000_000_000 };
const BOUND: Duration = Duration::from_secs(5);

/// No timer of an engine ends a sleep either, but that of acknowledgements.
fn quiet() -> EngineTimers {
    const LONG_NS: u64 = 8_000_000_000;
    EngineTimers {
        heartbeat_ns: LONG_NS,
        hello_ns: LONG_NS,
        anti_entropy_ns: LONG_NS,
        peer_timeout_ns: 10 * LONG_NS,
        min_rto_ns: LONG_NS,
        max_rto_ns: LONG_NS,
        ..Default::default()
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < BOUND, "{what}: not within {BOUND:?}");
        std::thread::yield_now();
    }
}

fn start(parts: Vec<WorkerParts>) -> (Vec<WorkerHandle>, Receiver<Event>) {
    let (sender, events) = unbounded();
    (parts.into_iter().map(|part| spawn(part, sender.clone()).unwrap()).collect(), events)
}

fn status(handle: &WorkerHandle) -> WorkerStatus {
    handle.request_status().unwrap().recv_timeout(BOUND).unwrap()
}

/// Knocks if the worker asked for it: what the client library does after a submission.
fn knock(ring: &RingProducer, eventfd: &OwnedFd) {
    if ring.consumer_sleeps() {
        rustix::io::write(eventfd, &1_u64.to_ne_bytes()).unwrap();
    }
}

fn stop(handles: Vec<WorkerHandle>) {
    for handle in &handles {
        handle.send(Command::Shutdown).unwrap();
    }
    for handle in handles {
        handle.join().unwrap();
    }
}

#[test]
fn a_client_and_a_command_wake_a_sleeping_worker() {
    let plan = Plan { nodes: 1, idle: FOREVER, timers: quiet(), ..Default::default() };
    let (mut nodes, _attacker) = rig::parts(&plan);
    let NodeParts { parts, segment: _segment, reader: _reader, directory: _directory } = nodes.remove(0);
    let (handles, _events) = start(parts);
    let (mut client, attach, knockers) = rig::client(1, 1, plan.shards, 64);
    for command in attach {
        handles[0].send(command).unwrap();
    }
    for n in 1..=20 {
        eventually("asleep", || client.rings[0].consumer_sleeps());
        client.add(b"c", n).unwrap();
        knock(&client.rings[0], &knockers[0]);
        eventually("woken by the client", || client.settled());
    }
    let status = status(&handles[0]);
    assert_eq!(status.clients, 1);
    assert!(status.loop_stats.sleeps >= 10, "it did sleep: {:?}", status.loop_stats);
    stop(handles);
}

#[test]
fn frames_and_handed_over_frames_wake_sleeping_workers() {
    let plan = Plan { nodes: 2, workers: 2, shards: 2, idle: FOREVER, timers: quiet(), ..Default::default() };
    let (nodes, _attacker) = rig::parts(&plan);
    let mut running = Vec::new();
    for node in nodes {
        let NodeParts { parts, segment, reader, directory } = node;
        let (handles, events) = start(parts);
        running.push((handles, events, segment, reader, directory));
    }
    let (mut client, attach, knockers) = rig::client(1, 2, plan.shards, 64);
    for (handle, command) in running[0].0.iter().zip(attach) {
        handle.send(command).unwrap();
    }
    let keys: Vec<String> = (0..8).map(|n| format!("key{n}")).collect();
    for key in &keys {
        client.add(key.as_bytes(), 1).unwrap();
    }
    for (ring, eventfd) in client.rings.iter().zip(&knockers) {
        knock(ring, eventfd);
    }
    let counter = lattice_crdt::Kind::Counter as u8;
    eventually("visible at the other node", || {
        keys.iter().all(|key| {
            matches!(running[1].3.lookup(counter, key.as_bytes()),
                lattice_segment::Lookup::Found(cell) if running[1].3.word(cell) == Ok(1))
        })
    });
    assert!(status(&running[1].0[0]).loop_stats.handed_over > 0);
    for (handles, ..) in running {
        stop(handles);
    }
}

#[test]
fn shutdown_takes_what_was_submitted_and_waits_for_the_peers() {
    let plan = Plan { nodes: 2, idle: Idle::Yield, ..Default::default() };
    let (nodes, _attacker) = rig::parts(&plan);
    let mut running = Vec::new();
    for node in nodes {
        let NodeParts { parts, segment, reader, directory } = node;
        let (handles, events) = start(parts);
        running.push((handles, events, segment, reader, directory));
    }
    let (mut client, attach, _knockers) = rig::client(1, 1, plan.shards, 4096);
    for command in attach {
        running[0].0[0].send(command).unwrap();
    }
    eventually("session established", || {
        status(&running[0].0[0]).shards.iter().all(|shard| shard.peers.iter().all(|peer| peer.up))
    });
    for _ in 0..1_000 {
        client.add(b"c", 1).unwrap();
    }
    let (handles, events, _segment, _reader, _directory) = running.remove(0);
    stop(handles);
    let seen: Vec<Event> = events.try_iter().collect();
    assert!(matches!(seen[0], Event::ClientDetached { worker: 0, id: 1, .. }), "{seen:?}");
    assert!(matches!(seen[1], Event::Stopped { worker: 0, drained: true }), "{seen:?}");
    assert!(client.settled());
    let other = &running[0].3;
    let lattice_segment::Lookup::Found(cell) = other.lookup(lattice_crdt::Kind::Counter as u8, b"c") else {
        panic!("the peer has the key");
    };
    assert_eq!(other.word(cell), Ok(1_000), "acknowledged by the peer before the worker ended");
    stop(running.remove(0).0);
}

#[test]
fn what_is_acknowledged_is_visible_at_once() {
    let plan = Plan { nodes: 1, idle: Idle::Yield, ..Default::default() };
    let (mut nodes, _attacker) = rig::parts(&plan);
    let NodeParts { parts, segment: _segment, reader, directory: _directory } = nodes.remove(0);
    let (handles, _events) = start(parts);
    let (mut client, attach, _knockers) = rig::client(1, 1, plan.shards, 64);
    for command in attach {
        handles[0].send(command).unwrap();
    }
    for n in 1..=2_000 {
        client.add(b"c", 1).unwrap();
        eventually("acknowledged", || client.settled());
        let lattice_segment::Lookup::Found(cell) = reader.lookup(lattice_crdt::Kind::Counter as u8, b"c")
        else {
            panic!("acknowledged and not there");
        };
        assert_eq!(reader.word(cell), Ok(n), "acknowledged and not visible");
    }
    stop(handles);
}

#[test]
fn a_core_that_is_not_there_is_a_degradation_and_no_failure() {
    let plan = Plan { nodes: 1, ..Default::default() };
    let (mut nodes, _attacker) = rig::parts(&plan);
    let NodeParts { mut parts, segment: _segment, reader: _reader, directory: _directory } = nodes.remove(0);
    parts[0].config.core = Some(100_000);
    let (handles, events) = start(parts);
    assert!(matches!(
        events.recv_timeout(BOUND).unwrap(),
        Event::Degraded { worker: 0, what: Degradation::Unpinned }
    ));
    let status = status(&handles[0]);
    assert_eq!((status.pinned_to, status.degraded.as_slice()), (None, &[Degradation::Unpinned][..]));
    stop(handles);
}

#[test]
fn a_core_that_is_there_is_pinned_to() {
    let plan = Plan { nodes: 1, ..Default::default() };
    let (mut nodes, _attacker) = rig::parts(&plan);
    let NodeParts { mut parts, segment: _segment, reader: _reader, directory: _directory } = nodes.remove(0);
    let core = core_affinity::get_core_ids().unwrap()[0].id;
    parts[0].config.core = Some(core);
    let (handles, _events) = start(parts);
    assert_eq!(status(&handles[0]).pinned_to, Some(core));
    stop(handles);
}
