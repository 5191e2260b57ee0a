//! A process that is killed after every single instruction of an append.
//!
//! A forked child appends, one instruction at a time under ptrace. Whenever the ring file has changed, a copy of it is
//! taken for what a killed process would have left, and a start on it must find every record that was appended, whole,
//! and nothing else.

#![cfg(target_arch = "x86_64")]

mod support;

use lattice_engine::LogStore;
use lattice_storage::{Attempt, Directory, FileLog, ShardStart};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use support::crash_disk::{CrashDisk, DiskState};
use support::{Draw, options};

/// Appends that are covered by a snapshot before the child begins, and the last of its own: they go round the ring.
const COVERED: u64 = 30;
const APPENDS: u64 = 70;

fn open(disk: &CrashDisk, runtime: &Path, seed: u64) -> ShardStart {
    let mut options = options(Path::new("/data"), runtime, 7);
    options.log_bytes = 4096;
    let mut salts = Draw(seed);
    let salt = Box::new(move || salts.bits());
    let directory = Directory::open_on(Arc::new(disk.clone()), options, (1, 2), salt).unwrap();
    directory.open_shard(0, Draw(seed).epoch(), Attempt::default()).unwrap()
}

fn record(seq: u64, into: &mut [u8; 300]) -> &[u8] {
    let len = [0, 5, 40, 7, 90, 299][(seq % 6) as usize];
    into[..len].iter_mut().enumerate().for_each(|(i, byte)| *byte = (seq as u8).wrapping_mul(17) ^ i as u8);
    &into[..len]
}

/// In the child: no allocation, no lock, no return.
fn append_and_exit(log: &mut FileLog, appended: &AtomicU64) -> ! {
    // SAFETY: the child of a fork calls what is safe there: ptrace, raise and _exit.
    unsafe {
        libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
        libc::raise(libc::SIGSTOP);
    }
    let mut bytes = [0; 300];
    for seq in COVERED + 1..=APPENDS {
        log.append(record(seq, &mut bytes));
        appended.store(seq, Ordering::Release);
    }
    // SAFETY: as above.
    unsafe { libc::_exit(0) }
}

fn wait(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` lives here, and the child is this test's.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    status
}

/// A start on what a process that was killed here would have left.
fn check(state: &DiskState, ring: &[u8], runtime: &Path, appended: u64, step: u64) -> u64 {
    std::fs::write(runtime.join("shard-000.ring"), ring).unwrap();
    let mut start = open(&CrashDisk::with(state.clone()), runtime, 2);
    assert!(start.continued && start.findings.is_empty(), "step {step}: {:?}", start.findings);
    let log = start.take_log().unwrap();
    let last = log.last_seq();
    assert!((appended..=appended + 1).contains(&last), "step {step}: {last} of {appended}");
    for seq in log.first_seq()..=last {
        assert_eq!(log.record(seq), Some(record(seq, &mut [0; 300])), "step {step}, record {seq}");
    }
    // As many as there is room for: nothing was given up before it had to be.
    let held: u64 = (log.first_seq()..=last).map(|seq| 24 + log.record(seq).unwrap().len() as u64).sum();
    assert!(held > 2500 || log.first_seq() == 1, "step {step}: {held} bytes are held");
    last
}

#[test]
fn killed_after_any_instruction() {
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let disk = CrashDisk::default();
    let mut start = open(&disk, runtime.path(), 1);
    let (mut log, handle) = (start.take_log().unwrap(), start.handle());
    let mut keeper = start.commit().unwrap();
    for seq in 1..=COVERED {
        log.append(record(seq, &mut [0; 300]));
        if seq % 10 == 0 {
            keeper.begin(1, handle.head()).unwrap();
            keeper.finish(1, handle.head()).unwrap().unwrap();
        }
    }
    let state = disk.state();
    let counter = tempfile::tempfile_in("/dev/shm").unwrap();
    counter.set_len(4096).unwrap();
    let map = memmap2::MmapOptions::new().len(4096).map_raw(&counter).unwrap();
    // SAFETY: the mapping is page-aligned, large enough and outlives the test; both processes use it as an atomic.
    let appended = unsafe { &*map.as_ptr().cast::<AtomicU64>() };
    appended.store(COVERED, Ordering::Release);
    // SAFETY: the child calls nothing but `append_and_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        append_and_exit(&mut log, appended);
    }
    assert!(child > 0);
    let path = runtime.path().join("shard-000.ring");
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    assert!(libc::WIFSTOPPED(wait(child)), "the child waits to be traced");
    let (mut last_ring, mut last, mut steps, mut starts) = (Vec::new(), 0, 0u64, 0);
    loop {
        // SAFETY: the child is stopped and traced by this thread.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, child, 0, 0) }, 0);
        let status = wait(child);
        if libc::WIFEXITED(status) {
            break;
        }
        assert!(libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGTRAP, "{status:#x}");
        steps += 1;
        let ring = std::fs::read(&path).unwrap();
        if ring != last_ring {
            let found = check(&state, &ring, other.path(), appended.load(Ordering::Acquire), steps);
            assert!(found >= last, "step {steps}: {found} after {last}");
            (last, last_ring, starts) = (found, ring, starts + 1);
        }
    }
    assert_eq!(last, APPENDS);
    let appends = APPENDS - COVERED;
    assert!(steps > appends * 50 && starts > appends * 5, "{steps} steps, {starts} starts");
    assert!(!handle.is_overrun());
    println!("{steps} instructions, {starts} different rings, each of them whole");
}
