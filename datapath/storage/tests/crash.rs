//! A crash of the machine, and of the process, at every call to the disk. `LATTICE_CRASH_SEEDS` sets how many nodes live.

mod support;

use lattice_crdt::Dot;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use support::crash_disk::{CrashDisk, DiskState};
use support::ledger::Ledger;
use support::node::{NODE_LOG_BYTES, Node, SMALL_LOG_BYTES};
use support::{Draw, NODE};

/// Everything at one moment.
#[derive(Clone)]
struct Moment {
    disk: DiskState,
    ledger: Ledger,
    /// The files on tmpfs: they outlive the process.
    runtime: BTreeMap<OsString, Vec<u8>>,
}

fn runtime_files(runtime: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let entries = std::fs::read_dir(runtime).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).unwrap())).collect()
}

fn put_runtime_files(runtime: &Path, files: &BTreeMap<OsString, Vec<u8>>) {
    for entry in std::fs::read_dir(runtime).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    files.iter().for_each(|(name, bytes)| std::fs::write(runtime.join(name), bytes).unwrap());
}

/// Runs a node for some steps and returns the moments before each call, and the one after the last.
fn moments(seed: u64, from: Option<&Moment>, boot_id: u128, steps: usize) -> Vec<Moment> {
    NODE_LOG_BYTES.store(SMALL_LOG_BYTES, Ordering::Relaxed);
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut draw = Draw(seed);
    let (disk, ledger) = match from {
        Some(moment) => (CrashDisk::with(moment.disk.clone()), Arc::new(Mutex::new(moment.ledger.clone()))),
        None => Default::default(),
    };
    if let Some(moment) = from {
        put_runtime_files(runtime.path(), &moment.runtime);
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (into, shared, path) = (seen.clone(), ledger.clone(), runtime.path().to_owned());
    disk.before_each(move |state| {
        let ledger = shared.lock().unwrap().clone();
        into.lock().unwrap().push(Moment { disk: state.clone(), ledger, runtime: runtime_files(&path) });
    });
    let mut node = Node::start(&disk, runtime.path(), boot_id, &mut draw, ledger.clone()).unwrap();
    for _ in 0..steps {
        node.step(&mut draw).unwrap();
        node.acknowledge();
    }
    node.flush().unwrap();
    disk.stop_watching();
    let mut moments = std::mem::take(&mut *seen.lock().unwrap());
    let ledger = ledger.lock().unwrap().clone();
    moments.push(Moment { disk: disk.state(), ledger, runtime: runtime_files(runtime.path()) });
    moments
}

/// Crashes the machine at a moment, starts again, and checks. Returns the moment after the start.
fn crash_machine(moment: &Moment, seed: u64, what: &str) -> Moment {
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let mut draw = Draw(seed);
    let disk = CrashDisk::with(moment.disk.crashed(&mut draw));
    let ledger = Arc::new(Mutex::new(moment.ledger.clone()));
    let mut node = Node::start(&disk, runtime.path(), u128::from(draw.bits()), &mut draw, ledger.clone())
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(!node.continued, "{what}: another boot");
    for finding in &node.findings {
        assert!(!finding.is_loss(), "{what}: {finding}");
    }
    for dot in moment.ledger.durable_dots() {
        assert!(node.engine.vector().contains(dot), "{what}: {dot} was durable");
    }
    let shown = node.shown();
    moment.ledger.check_machine(&shown).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    assert_eq!(node.actor.node(), NODE);
    ledger.lock().unwrap().settle(&shown, Dot::new(node.actor, 0));
    // It must be able to go on.
    assert!(node.write(&mut draw) || node.whole_snapshot().is_ok() && node.handle.room() > 0, "{what}");
    node.flush().unwrap();
    let ledger = ledger.lock().unwrap().clone();
    Moment { disk: disk.state(), ledger, runtime: runtime_files(runtime.path()) }
}

/// Kills the process at a moment, starts again in the same boot, and checks.
fn kill_process(moment: &Moment, boot_id: u128, runtime: &Path, what: &str) -> bool {
    put_runtime_files(runtime, &moment.runtime);
    let mut draw = Draw(1);
    let disk = CrashDisk::with(moment.disk.killed());
    let ledger = Arc::new(Mutex::new(moment.ledger.clone()));
    let node = Node::start(&disk, runtime, boot_id, &mut draw, ledger).unwrap();
    assert!(node.findings.is_empty(), "{what}: {:?}", node.findings);
    moment.ledger.check_process(&node.shown()).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    node.continued
}

fn seeds() -> u64 {
    std::env::var("LATTICE_CRASH_SEEDS").map_or(12, |seeds| seeds.parse().unwrap())
}

#[test]
fn the_machine_crashes_at_every_call() {
    let (mut crashes, mut again) = (0, 0);
    for seed in 0..seeds() {
        let moments = moments(seed, None, 7, 120);
        for (i, moment) in moments.iter().enumerate() {
            for variant in 0..4 {
                let what = format!("seed {seed}, call {i} of {}, variant {variant}", moments.len());
                let after = crash_machine(moment, seed << 32 | (i as u64) << 8 | variant, &what);
                crashes += 1;
                if variant == 0 && i as u64 % 16 == seed % 16 {
                    // And once more, with a node that has lived a while in between.
                    for (j, moment) in self::moments(seed << 20 | 1 << 16 | i as u64, Some(&after), 99, 30)
                        .iter()
                        .enumerate()
                    {
                        crash_machine(
                            moment,
                            1 << 60 | (i as u64) << 32 | j as u64,
                            &format!("{what}, then call {j}"),
                        );
                        again += 1;
                    }
                }
            }
        }
    }
    println!("{crashes} crashes of the machine, and {again} second ones");
}

#[test]
fn the_process_is_killed_at_every_call() {
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let (mut kills, mut continued, mut crashes) = (0, 0, 0);
    for seed in 1000..1000 + seeds() {
        let moments = moments(seed, None, 7, 120);
        for (i, moment) in moments.iter().enumerate() {
            kills += 1;
            let goes_on = kill_process(moment, 7, runtime.path(), &format!("seed {seed}, call {i}"));
            continued += u32::from(goes_on);
            if i as u64 % 32 == seed % 32 {
                // The next process lives a while, and then the machine crashes.
                let what = format!("seed {seed}, killed at call {i}");
                for (j, moment) in
                    self::moments(seed << 20 | i as u64, Some(moment), 7, 30).iter().enumerate()
                {
                    crash_machine(
                        moment,
                        3 << 60 | (i as u64) << 32 | j as u64,
                        &format!("{what}, then call {j}"),
                    );
                    crashes += 1;
                }
            }
        }
    }
    println!(
        "{kills} kills, {continued} went on with their epoch; {crashes} crashes of the machine after one"
    );
    assert!(continued * 10 > kills * 8, "{continued} of {kills}");
}
