//! A disk that fails: every call once, and a full one. What was acknowledged stays, and nothing is claimed that is not so.

mod support;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use support::Draw;
use support::crash_disk::{CrashDisk, Fault};
use support::ledger::Ledger;
use support::node::{NODE_LOG_BYTES, Node, SMALL_LOG_BYTES};

/// Runs a node with a fault, then crashes the machine and checks. Returns how many calls there were.
fn live_with(seed: u64, fault: Option<Fault>, what: &str) -> u64 {
    NODE_LOG_BYTES.store(SMALL_LOG_BYTES, Ordering::Relaxed);
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let (disk, ledger) = (CrashDisk::default(), Arc::new(Mutex::new(Ledger::default())));
    let mut draw = Draw(seed);
    disk.set_fault(fault);
    let mut failed = None;
    match Node::start(&disk, runtime.path(), 7, &mut draw, ledger.clone()) {
        Err(error) => failed = Some(error.to_string()),
        Ok(mut node) => {
            for _ in 0..80 {
                if let Err(error) = node.step(&mut draw) {
                    failed.get_or_insert(error.to_string());
                }
                node.acknowledge();
            }
            // In the same boot everything is there, whatever the disk did.
            let ledger = ledger.lock().unwrap().clone();
            ledger.check_process(&node.shown()).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
        }
    }
    if let Some(said) = &failed {
        assert!(said.contains("/data"), "{what}: {said}");
    } else if matches!(fault, Some(Fault::Once(call)) if call <= disk.calls()) {
        panic!("{what}: nobody said anything");
    }
    let calls = disk.calls();
    for variant in 0..3 {
        let (mut draw, runtime) =
            (Draw(1 << 60 | seed << 8 | variant), tempfile::tempdir_in("/dev/shm").unwrap());
        let crashed = CrashDisk::with(disk.state().crashed(&mut draw));
        let settled = Arc::new(Mutex::new(ledger.lock().unwrap().clone()));
        let node = Node::start(&crashed, runtime.path(), 8, &mut draw, settled.clone())
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let settled = settled.lock().unwrap();
        settled.check_machine(&node.shown()).unwrap_or_else(|wrong| panic!("{what}, {variant}: {wrong}"));
    }
    calls
}

#[test]
fn every_call_fails_once() {
    for seed in 0..6 {
        let calls = live_with(seed, None, "no fault");
        for call in 1..=calls {
            live_with(seed, Some(Fault::Once(call)), &format!("seed {seed}, call {call} of {calls}"));
        }
    }
}

#[test]
fn the_disk_is_full_from_any_call_on() {
    for seed in 20..24 {
        for call in 1..=live_with(seed, None, "no fault") {
            live_with(seed, Some(Fault::FullFrom(call)), &format!("seed {seed}, full from call {call}"));
        }
    }
}

/// After a sync that failed the kernel says that all is well; the log must not.
#[test]
fn after_a_failed_sync_nothing_is_claimed_durable_and_a_restart_makes_it_good() {
    NODE_LOG_BYTES.store(SMALL_LOG_BYTES, Ordering::Relaxed);
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let (disk, ledger) = (CrashDisk::default(), Arc::new(Mutex::new(Ledger::default())));
    let mut draw = Draw(5);
    let mut node = Node::start(&disk, runtime.path(), 7, &mut draw, ledger.clone()).unwrap();
    (0..5).for_each(|_| assert!(node.write(&mut draw)));
    node.flush().unwrap();
    let durable = node.handle.durable_seq(node.actor);
    (0..5).for_each(|_| assert!(node.write(&mut draw)));
    disk.set_fault(Some(Fault::Once(disk.calls() + 3)));
    let first = node.flush().unwrap_err().to_string();
    assert!(first.contains("/data/shard-000/log: syncing the log: the disk is broken"), "{first}");
    let again = node.flush().unwrap_err().to_string();
    assert!(again.contains("not durable any more since") && again.contains("broken"), "{again}");
    assert!(node.whole_snapshot().is_err());
    assert_eq!((node.handle.durable_seq(node.actor), node.handle.has_failed()), (durable, true));
    // The next start writes from memory what was not synced.
    let shown = node.shown();
    drop(node);
    let node = Node::start(&disk, runtime.path(), 7, &mut draw, ledger).unwrap();
    assert!(node.continued && node.findings.is_empty(), "{:?}", node.findings);
    assert_eq!(node.shown(), shown);
    assert!(node.handle.durable_seq(node.actor) > durable);
    drop(node);
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    let crashed = CrashDisk::with(disk.state().crashed(&mut draw));
    let node = Node::start(&crashed, Path::new(other.path()), 8, &mut draw, Default::default()).unwrap();
    assert_eq!(node.shown(), shown);
}
