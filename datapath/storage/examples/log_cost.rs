//! What the log costs a worker, and what durability costs by policy.
//!
//! `cargo run --release -p lattice-storage --example log_cost [directory on the disk to be measured]`
//!
//! First the append alone, closed loop. Then appends on a schedule (one every 10 µs; latency counted from the store's
//! begin), while the log is synced every 10 ms: in this crate's way, and as a mapped file of the disk itself would have
//! it, to show why it is not done. Then the time from an append until it is durable. `callgrind` as an argument makes
//! appends and nothing else: `valgrind --tool=callgrind --toggle-collect='*append_all*' .../log_cost callgrind`.

use lattice_crdt::ActorId;
use lattice_engine::LogStore;
use lattice_storage::{
    Attempt, Directory, FileLog, Flusher, LogHandle, ShardKeeper, StorageOptions, SyncPolicy, boot_id,
    spawn_flusher,
};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ACTOR: ActorId = ActorId::new(1, 1);
const LOG_BYTES: u64 = 4 << 20;
/// A counter's record: about as long as they come.
const SMALL: [u8; 32] = [7; 32];
const LARGE: [u8; 256] = [7; 256];

struct Rig {
    log: FileLog,
    handle: LogHandle,
    keeper: ShardKeeper,
    roots: [PathBuf; 2],
    _directory: Directory,
}

impl Rig {
    fn new(disk: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let name = format!("log-cost-{}", std::process::id());
        let roots = [disk.join(&name), Path::new("/dev/shm").join(&name)];
        let directory = Directory::open(StorageOptions {
            data: roots[0].clone(),
            runtime: roots[1].clone(),
            cluster: "bench".into(),
            node: 1,
            shards: 1,
            log_bytes: LOG_BYTES,
            boot_id: boot_id()?,
        })?;
        let mut start = directory.open_shard(0, ACTOR, Attempt::default())?;
        let (log, handle) = (start.take_log().ok_or("no log")?, start.handle());
        Ok(Self { log, handle, keeper: start.commit()?, roots, _directory: directory })
    }

    /// An empty snapshot: everything may be reused.
    fn cover(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        self.keeper.begin(1, self.handle.head())?;
        self.keeper.finish(1, self.handle.head())?;
        Ok(())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for root in &self.roots {
            let _ = std::fs::remove_dir_all(root);
        }
    }
}

#[inline(never)]
fn append_all(log: &mut FileLog, record: &[u8], count: u64) {
    for _ in 0..count {
        black_box(log.append(black_box(record)));
    }
}

#[inline(never)]
fn find_all(log: &FileLog, count: u64) {
    let last = log.last_seq();
    for seq in last - count..last {
        black_box(log.record(black_box(seq)));
    }
}

fn percentiles(mut ns: Vec<u64>) -> String {
    ns.sort_unstable();
    let at = |per_million: usize| ns[(ns.len() - 1) * per_million / 1_000_000];
    let mean = ns.iter().sum::<u64>() / ns.len() as u64;
    let [p50, p99, p999, p9999, max] = [500_000, 990_000, 999_000, 999_900, 1_000_000].map(at);
    format!("mean {mean}, p50 {p50}, p99 {p99}, p99.9 {p999}, p99.99 {p9999}, max {max} ns")
}

fn appends(disk: &Path) -> Result<(), Box<dyn std::error::Error>> {
    for record in [&SMALL[..], &LARGE] {
        let mut rig = Rig::new(disk)?;
        let batch = (rig.handle.room() as u64).min(2000);
        let (mut append, mut find) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            rig.cover()?;
            let begin = Instant::now();
            append_all(&mut rig.log, record, batch);
            append.push(begin.elapsed().as_nanos() as u64 * 10 / batch);
            let begin = Instant::now();
            find_all(&rig.log, batch);
            find.push(begin.elapsed().as_nanos() as u64 * 10 / batch);
        }
        append.sort_unstable();
        find.sort_unstable();
        let tenths = |ns: u64| format!("{}.{}", ns / 10, ns % 10);
        println!(
            "append of {} bytes: median {} ns (best {}); record(seq): {} ns",
            record.len(),
            tenths(append[append.len() / 2]),
            tenths(append[0]),
            tenths(find[find.len() / 2]),
        );
    }
    Ok(())
}

/// Calls `append` on a schedule and returns how long each call took.
fn on_schedule(count: u32, period: Duration, mut append: impl FnMut()) -> Vec<u64> {
    let begin = Instant::now();
    (0..count)
        .map(|i| {
            while begin.elapsed() < period * i {
                std::hint::spin_loop();
            }
            let at = Instant::now();
            append();
            at.elapsed().as_nanos() as u64
        })
        .collect()
}

const SCHEDULED: u32 = 300_000;
const PERIOD: Duration = Duration::from_micros(10);

fn ring_and_image(disk: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut rig = Rig::new(disk)?;
    let (events, _from_storage) = crossbeam_channel::bounded(8);
    let flusher = spawn_flusher(Flusher::new([(0, rig.keeper.image())], SyncPolicy::default()), events)?;
    let mut ns = Vec::new();
    while ns.len() < SCHEDULED as usize {
        rig.cover()?;
        let count = (rig.handle.room() as u32).min(2900);
        ns.append(&mut on_schedule(count, PERIOD, || {
            black_box(rig.log.append(&SMALL));
        }));
    }
    flusher.stop();
    println!("append while synced every 10 ms, ring on tmpfs and image: {}", percentiles(ns));
    Ok(())
}

fn mapped_file(disk: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let path = disk.join(format!("log-cost-{}.mapped", std::process::id()));
    std::fs::write(&path, vec![0; LOG_BYTES as usize])?;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path)?;
    file.sync_all()?;
    let map = memmap2::MmapOptions::new().populate().map_raw(&file)?;
    let (stop, mut at) = (AtomicBool::new(false), 0);
    let ns = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(10));
                let _ = file.sync_data();
            }
        });
        let ns = on_schedule(SCHEDULED, PERIOD, || {
            // SAFETY: inside of the mapping, which nobody else in this process touches; the file is this program's own.
            unsafe { map.as_mut_ptr().add(at).copy_from_nonoverlapping([7; 64].as_ptr(), 64) };
            at = (at + 64) % LOG_BYTES as usize;
        });
        stop.store(true, Ordering::Release);
        ns
    });
    std::fs::remove_file(&path)?;
    println!("64 bytes stored into a mapped disk file, synced every 10 ms: {}", percentiles(ns));
    Ok(())
}

fn durable(disk: &Path) -> Result<(), Box<dyn std::error::Error>> {
    for policy in [SyncPolicy::Always, SyncPolicy::default()] {
        let mut rig = Rig::new(disk)?;
        let (events, _from_storage) = crossbeam_channel::bounded(8);
        let flusher = spawn_flusher(Flusher::new([(0, rig.keeper.image())], policy), events)?;
        let (waker, mut ns) = (flusher.waker(), Vec::new());
        for _ in 0..300 {
            let begin = Instant::now();
            let seq = rig.log.append(&SMALL);
            waker.wake();
            while rig.handle.durable_seq(ACTOR) < seq {
                std::thread::yield_now();
            }
            ns.push(begin.elapsed().as_nanos() as u64);
        }
        flusher.stop();
        println!("append until durable, one at a time, {policy:?}: {}", percentiles(ns));
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let argument = std::env::args().nth(1);
    let disk = std::env::temp_dir();
    match argument.as_deref() {
        Some("callgrind") => {
            let mut rig = Rig::new(&disk)?;
            append_all(&mut rig.log, &SMALL, 1000);
            Ok(())
        }
        other => {
            let disk = other.map_or(disk, PathBuf::from);
            appends(&disk)?;
            ring_and_image(&disk)?;
            mapped_file(&disk)?;
            durable(&disk)
        }
    }
}
