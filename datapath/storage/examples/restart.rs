//! How long a restart takes: `cargo run --release -p lattice-storage --example restart [keys] [directory]`.
//!
//! One shard of so many counters (a million). It is written, with a snapshot whenever the log is full, and recovered: from
//! a snapshot in another boot, and in the same boot from a snapshot and a log of thirty thousand operations.

use lattice_crdt::{ActorId, Kind};
use lattice_engine::{
    EngineConfig, EngineLimits, EngineTimers, Instant as Now, LocalOp, Published, Publisher, Storage,
};
use lattice_storage::{Directory, Recovered, StorageOptions, boot_id};
use std::path::{Path, PathBuf};
use std::time::Instant;

const NOW: Now = Now { monotonic_ns: 1_000_000, wall_ns: 1_700_000_000_000_000_000 };

/// Publishes nothing: that is the segment's cost.
#[derive(Default)]
struct Nowhere(u32);

impl Publisher for Nowhere {
    fn open(&mut self, _: Kind, _: u64, _: &[u8]) -> Option<u32> {
        self.0 += 1;
        Some(self.0)
    }
    fn word(&mut self, _: u32, _: u64) -> Published {
        Published::Visible
    }
    fn bytes(&mut self, _: u32, _: &[u8]) -> Published {
        Published::Visible
    }
    fn element(&mut self, _: u32, _: &[u8], _: bool) -> Published {
        Published::Visible
    }
}

fn config(actor: ActorId, keys: usize) -> EngineConfig {
    EngineConfig {
        actor,
        session: 1,
        shard: 0,
        cluster_tag: 1,
        peers: vec![2],
        storage: Storage::Durable,
        limits: EngineLimits { max_keys: keys * 2, ..EngineLimits::default() },
        timers: EngineTimers::default(),
        random_seed: 1,
    }
}

struct Place {
    roots: [PathBuf; 2],
    keys: usize,
    epoch: u64,
}

impl Place {
    fn recover(&mut self, boot_id: u128) -> Result<(Recovered, Directory), Box<dyn std::error::Error>> {
        let directory = Directory::open(StorageOptions {
            data: self.roots[0].clone(),
            runtime: self.roots[1].clone(),
            cluster: "bench".into(),
            node: 1,
            shards: 1,
            log_bytes: 4 << 20,
            boot_id,
        })?;
        self.epoch += 1;
        let begin = Instant::now();
        let recovered =
            directory.recover(0, ActorId::new(1, self.epoch), NOW, |actor| config(actor, self.keys))?;
        let (ms, continued) = (begin.elapsed().as_millis(), recovered.continued);
        println!("recovered in {ms} ms, with the epoch of the last run: {continued}");
        assert!(recovered.findings.is_empty());
        Ok((recovered, directory))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.roots.iter().for_each(|root| drop(std::fs::remove_dir_all(root)));
    }
}

fn write(recovered: &mut Recovered, keys: usize) -> Result<(), Box<dyn std::error::Error>> {
    let mut nowhere = Nowhere::default();
    for key in 0..keys {
        let name = format!("counter/{key:08}");
        if recovered.handle.room() < 600 {
            snapshot(recovered)?;
        }
        recovered.engine.apply(NOW, Kind::Counter, name.as_bytes(), LocalOp::CounterAdd(1))?;
        if key % 500 == 499 {
            recovered.engine.commit(NOW, &mut nowhere);
        }
    }
    recovered.engine.commit(NOW, &mut nowhere);
    Ok(())
}

/// Makes one, and says how long it took.
fn snapshot(recovered: &mut Recovered) -> Result<String, Box<dyn std::error::Error>> {
    let Recovered { engine, handle, keeper, .. } = recovered;
    let begin = Instant::now();
    let (mark, number) = (handle.head(), engine.begin_snapshot());
    keeper.begin(number, mark)?;
    let mut frame = [0; lattice_wire::MAX_FRAME_BYTES];
    while let Some(len) = engine.write_snapshot(&mut frame) {
        if len > 0 {
            keeper.frame(number, &frame[..len])?;
        }
    }
    let walked = begin.elapsed();
    let done = keeper.finish(number, handle.head())?.ok_or("given up")?;
    engine.snapshot_is_durable(number);
    let whole = begin.elapsed().as_millis();
    Ok(format!("{} bytes, walked in {} ms, durable after {whole} ms", done.bytes, walked.as_millis()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let keys = arguments.next().map_or(Ok(1_000_000), |keys| keys.parse())?;
    let disk = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let name = format!("restart-{}", std::process::id());
    let roots = [disk.join(&name), Path::new("/dev/shm").join(&name)];
    let mut place = Place { roots, keys, epoch: 0 };
    let boot = boot_id()?;
    let (mut recovered, directory) = place.recover(boot)?;
    write(&mut recovered, keys)?;
    println!("snapshot: {}", snapshot(&mut recovered)?);
    drop((recovered, directory));
    println!("from the snapshot, another boot:");
    let (mut recovered, directory) = place.recover(boot + 1)?;
    snapshot(&mut recovered)?;
    write(&mut recovered, keys.min(30_000))?;
    drop((recovered, directory));
    println!("from the snapshot and {} records, the same boot:", keys.min(30_000));
    place.recover(boot + 1)?;
    Ok(())
}
