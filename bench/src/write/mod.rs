//! `write`: what a write costs the application that makes it, and how long until everybody on its host sees it.
//!
//! ```text
//!   core 1: application                        core 0: latticed's worker
//!     add ── enqueue ──> ring, one slot ──hop──> take, apply, log, publish ─┐
//!     get == n?  <────────── hop ─────────────────────── segment: visible <─┤
//!     wait       <────────── hop ─────────────────────── ring: applied    <─┘     acknowledged, level Local
//! ```
//!
//! **The limit** is one hop through a bare single-producer single-consumer ring between the same two cores, in the same run
//! (`hop.rs`): a ping-pong, halved. A write that is seen where it was made needs two of them and the work between.
//!
//! **Open loop** where a row says so: write *n* is due at start + n / rate, whatever became of the others, and its latency
//! runs from when it was *due* until the application saw it. A stall is counted for each write that it held up, not only
//! for the one that happened to be under way (coordinated omission). Enqueuing is a closed loop: it waits for nobody, so
//! there is no schedule to fall behind. It is measured in bursts of 64 (the ring never fills), and each call alone.
//!
//! **Acknowledgements**: none (enqueued) and `*_wait` (applied and visible on this host) are measured here, the levels beyond
//! this host's memory in `levels`. *Visible* and *acknowledged* differ by who is asked: the segment, or the ring.
//!
//! In rows that say *disk* the daemon keeps a log and snapshots (`storage.mode = "disk"`, synced every 10 ms): what that adds to
//! a write of the same burst in memory is what `Logged` costs. In all others it keeps nothing.
//!
//! The application polls in all rows; the daemon polls (`busy`, a core of its own), or sleeps where the row says so. The
//! daemon has no peers (but in `levels`): what a peer costs is in `visible` and `throughput`.

mod hop;
mod levels;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lattice_client::{Client, Counter, Error};
use lattice_cluster::{Cluster, ClusterSpec, Environment, Fabric, IdleChoice, PortChoice, StorageTable};
use rustix::thread::CpuSet;
use serde_json::json;

use crate::budget::{Budget, Quantity};
use crate::measure::{Effort, measure};
use crate::report::{Report, Row};
use crate::series::{Series, Unit};

/// The core of the application; the daemon's is 0.
const APPLICATION_CORE: usize = 1;
/// Writes of one burst: fewer than the ring has slots.
const BURST: u32 = 64;
/// Writes a second of an open loop against a polling daemon: each travels alone.
const RATE_PER_S: u64 = 50_000;
/// Against a sleeping one: it has time to fall asleep again between two of them.
const SLEEPING_RATE_PER_S: u64 = 500;
/// What a log on storage may add to a write, nanoseconds.
const LOGGED_AT_MOST_NS: f64 = 100.0;
/// This share of an open loop's writes only warms up.
const WARM_UP_SHARE: u64 = 10;
/// Looks before a poll offers its core: some ten microseconds.
const SPINS: u32 = 2_000;
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs all rows.
///
/// # Errors
/// If the daemon can't be started, or a write is refused or never seen.
pub fn run(effort: Effort) -> Result<Report> {
    let all_cores = rustix::thread::sched_getaffinity(None)?;
    let is_pinned = pin();
    let each = effort.pick(Duration::from_millis(2_000), Duration::from_millis(50));
    let hop = hop::one_way(each)?;
    let busy = Host::start(IdleChoice::Busy, &all_cores, StorageTable::memory())?;
    let mut report = Report::new(
        "write",
        json!({
            "loop": "open; enqueue: closed",
            "pinned": if is_pinned { "core 0: daemon; core 1: application" } else { "no: refused" },
            "waiting": "the application polls; the daemon polls (idle strategy busy) but in the row that says asleep",
            "port": busy.port,
            "storage": "memory, but in the rows that say disk or durable: a log on tmpfs, its image synced every 10 ms",
            "limit": "one hop through a bare ring between the same cores, ping-pong halved; enqueue: a bare ring's push",
        }),
    );
    let local_ns = 2.0 * hop.numbers().p50 + 500.0;
    for (index, write) in WRITES.iter().enumerate() {
        let series = write.visible(&busy.client, each, RATE_PER_S)?.with_rate(RATE_PER_S as f64);
        let row = Row::new(series).limit(hop.clone()).chart("write to locally visible");
        let row = row.setup(json!({ "loop": "open", "writes_per_s": RATE_PER_S }));
        if index == 0 {
            report.push_headline(row.budget(Budget::at_most(Quantity::P50, local_ns)));
        } else {
            report.push(row);
        }
    }
    let acknowledged = acknowledged(&busy.client, each)?.with_rate(RATE_PER_S as f64);
    report.push(
        Row::new(acknowledged)
            .limit(hop.clone())
            .chart("write to locally visible")
            .budget(Budget::at_most(Quantity::P50, local_ns))
            .setup(json!({ "loop": "open", "writes_per_s": RATE_PER_S, "level": "Local: applied and visible on this host" })),
    );
    push_enqueue(&mut report, &busy.client, each)?;
    let burst = json!({ "loop": "closed", "burst": BURST, "value": "from the first enqueue until all are visible, / 64" });
    let in_memory = bursts(&busy.client, each)?;
    let budget = Budget::at_most(Quantity::P50, 250.0);
    report.push(Row::new(in_memory.clone()).budget(budget).setup(burst.clone()));
    report.push(Row::new(full_speed(&busy.client, each)?).setup(json!({ "loop": "closed", "clients": 1 })));
    drop(busy);
    let logging = Host::start(IdleChoice::Busy, &all_cores, StorageTable::default())?;
    let logged = bursts(&logging.client, each)?.named("burst of 64 counters, each, visible; disk");
    let budget = Budget::at_most(Quantity::P50, in_memory.numbers().p50 + LOGGED_AT_MOST_NS);
    report.push(Row::new(logged).limit(in_memory).budget(budget).setup(burst));
    let series = full_speed(&logging.client, each)?.named("1,000 counters, as fast as it goes; disk");
    report.push(Row::new(series).setup(json!({ "loop": "closed", "clients": 1 })));
    drop(logging);
    let asleep = Host::start(IdleChoice::Sleep, &all_cores, StorageTable::memory())?;
    let series = WRITES[0].visible(&asleep.client, each, SLEEPING_RATE_PER_S)?;
    report.push(
        Row::new(series.named("counter, visible; daemon asleep").with_rate(SLEEPING_RATE_PER_S as f64))
            .limit(hop)
            .chart("write to locally visible")
            .setup(json!({ "loop": "open", "writes_per_s": SLEEPING_RATE_PER_S, "daemon": "sleep" })),
    );
    drop(asleep);
    levels::push(&mut report, each, &all_cores)?;
    Ok(report)
}

/// Gives the calling thread the application's core. Where that is refused (a container's cpuset) the numbers are noisier, and
/// the report says so.
fn pin() -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: APPLICATION_CORE })
}

/// A daemon without peers, and a client of it.
struct Host {
    // Dropped in this order.
    client: Client,
    _cluster: Cluster,
    port: &'static str,
}

impl Host {
    /// Starts it on AF_XDP, as in production; where that is not to be had, on UDP, whose poll is a system call. A process may
    /// use the cores of who starts it, so it is started by a thread that has all of them; that is pinned afterwards.
    fn start(idle: IdleChoice, all_cores: &CpuSet, storage: StorageTable) -> Result<Host> {
        rustix::thread::sched_setaffinity(None, all_cores)?;
        let has_xdp = Environment::probe().obstacle().is_none();
        let (fabric, port) = match has_xdp {
            true => (Fabric::Bridge, PortChoice::Xdp),
            false => (Fabric::Loopback, PortChoice::Udp),
        };
        let spec =
            ClusterSpec { hosts: 1, fabric, ports: vec![port], idle, storage, ..ClusterSpec::default() };
        let cluster = Cluster::start(&spec)?;
        pin();
        let host = cluster.hosts().first().context("a cluster without a host")?;
        let client = Client::connect(host.socket())?;
        Ok(Host { client, _cluster: cluster, port: if has_xdp { "AF_XDP" } else { "UDP" } })
    }
}

/// One kind of write: the `n`-th of its key, and whether it (or a later one) is seen.
struct Write {
    name: &'static str,
    open: fn(&Client) -> Result<Box<dyn Key>>,
}

trait Key {
    /// Makes write `number`, counted from 1.
    fn write(&self, number: u64) -> Result<()>;
    /// Whether it is visible here.
    fn is_seen(&mut self, number: u64) -> Result<bool>;
}

const WRITES: [Write; 4] = [
    Write { name: "counter, visible", open: |client| Ok(Box::new(client.counter("write/counter")?)) },
    Write { name: "flag, visible", open: |client| Ok(Box::new(client.flag("write/flag")?)) },
    Write {
        name: "register 64 B, visible",
        open: |client| Ok(Box::new((client.register("write/register")?, Vec::with_capacity(64)))),
    },
    Write { name: "set member, visible", open: |client| Ok(Box::new(client.set("write/set")?)) },
];

impl Key for Counter {
    fn write(&self, _number: u64) -> Result<()> {
        self.add(1)?;
        Ok(())
    }

    fn is_seen(&mut self, number: u64) -> Result<bool> {
        Ok(self.get()? as u64 >= number)
    }
}

impl Key for lattice_client::Flag {
    fn write(&self, number: u64) -> Result<()> {
        if number % 2 == 1 {
            self.enable()?
        } else {
            self.disable()?
        };
        Ok(())
    }

    fn is_seen(&mut self, number: u64) -> Result<bool> {
        Ok(self.get()? == (number % 2 == 1))
    }
}

impl Key for (lattice_client::Register, Vec<u8>) {
    fn write(&self, number: u64) -> Result<()> {
        let mut bytes = [7; 64];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        self.0.set(&bytes)?;
        Ok(())
    }

    fn is_seen(&mut self, number: u64) -> Result<bool> {
        Ok(self.0.get_into(&mut self.1)? && self.1.starts_with(&number.to_le_bytes()))
    }
}

impl Key for lattice_client::Set {
    fn write(&self, number: u64) -> Result<()> {
        // Comes and goes.
        let member = b"write/member";
        if number % 2 == 1 {
            self.insert(member)?
        } else {
            self.remove(member)?
        };
        Ok(())
    }

    fn is_seen(&mut self, number: u64) -> Result<bool> {
        Ok(self.contains(b"write/member")? == (number % 2 == 1))
    }
}

impl Write {
    /// From when each write was due until it was visible on this host.
    fn visible(&self, client: &Client, duration: Duration, rate_per_s: u64) -> Result<Series> {
        // The first write of a key opens its cell: not what is measured.
        (self.open)(client)?.write(0)?;
        client.barrier(PATIENCE)?;
        let mut key = (self.open)(client)?;
        let mut written = match self.name {
            "counter, visible" => client.counter("write/counter")?.get()? as u64,
            _ => 0,
        };
        open_loop(self.name, duration, rate_per_s, || {
            written += 1;
            key.write(written)?;
            poll_until(|| key.is_seen(written))
        })
    }
}

/// From when each write was due until the daemon said that it is applied and visible.
fn acknowledged(client: &Client, duration: Duration) -> Result<Series> {
    let counter = client.counter("write/counter")?;
    open_loop("counter, acknowledged", duration, RATE_PER_S, || Ok(counter.add_wait(1, PATIENCE)?))
}

/// Polls. What takes longer than a polling daemon ever does is waited for with the core on offer: on a machine where
/// others want the daemon's core, it would not get its turn sooner if this one were held.
fn poll_until(mut is_seen: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..SPINS {
        if is_seen()? {
            return Ok(());
        }
        std::hint::spin_loop();
    }
    let started = Instant::now();
    while !is_seen()? {
        std::thread::yield_now();
        ensure!(started.elapsed() < PATIENCE, "a write was never seen");
    }
    Ok(())
}

/// Does `operation` on schedule; a value is the time from when one was due until it was done. A schedule that can't be kept
/// at all ends when twice its time is over.
fn open_loop(
    name: &str,
    duration: Duration,
    rate_per_s: u64,
    mut operation: impl FnMut() -> Result<()>,
) -> Result<Series> {
    let mut series = Series::new(name, Unit::Ns);
    let interval = Duration::from_nanos(1_000_000_000 / rate_per_s);
    let count = (duration.as_nanos() / interval.as_nanos()).max(1) as u64;
    let started = Instant::now();
    for number in 0..count {
        let due = started + interval * u32::try_from(number).context("a schedule of too many writes")?;
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        operation()?;
        let now = Instant::now();
        if number >= count / WARM_UP_SHARE || now - started > duration {
            series.record_duration(now - due);
        }
        if now - started > duration * 2 {
            break;
        }
    }
    Ok(series)
}

/// The call alone: in bursts that the ring has room for, and one by one.
fn push_enqueue(report: &mut Report, client: &Client, duration: Duration) -> Result<()> {
    let counter = client.counter("write/enqueue")?;
    counter.add_wait(1, PATIENCE)?;
    let counter = client.counter("write/enqueue")?;
    let (push, single_push) = hop::push(duration)?;
    let mut batch = Series::new("enqueue, mean of 64", Unit::Ns);
    let started = Instant::now();
    while started.elapsed() < duration {
        let burst_started = Instant::now();
        for _ in 0..BURST {
            counter.add(1)?;
        }
        batch.record_ps(burst_started.elapsed().as_nanos() as u64 * 1000 / u64::from(BURST));
        client.barrier(PATIENCE)?;
    }
    let mut since = 0_u32;
    let single = measure("enqueue, one call", duration, || {
        since += 1;
        if since.is_multiple_of(BURST) {
            client.barrier(PATIENCE)?;
        }
        Ok(counter.add(1)?)
    })?;
    let setup = json!({ "loop": "closed", "ring": "never full: the daemon is waited for after each 64" });
    report.push(
        Row::new(batch)
            .limit(push)
            .chart("enqueue")
            .budget(Budget::at_most(Quantity::P50, 60.0))
            .setup(setup.clone()),
    );
    report.push(Row::new(single.single).limit(single_push).chart("enqueue").setup(setup));
    Ok(())
}

/// 64 writes to one key, and then waiting until the last is visible: the time of one.
fn bursts(client: &Client, duration: Duration) -> Result<Series> {
    let counters = (0..BURST)
        .map(|n| {
            let key = format!("write/burst/{n}");
            client.counter(&key)?.add_wait(1, PATIENCE)?;
            Ok(client.counter(&key)?)
        })
        .collect::<Result<Vec<Counter>>>()?;
    let last = counters.last().context("no counters")?;
    let mut series = Series::new("burst of 64 counters, each, visible", Unit::Ns);
    let started = Instant::now();
    while started.elapsed() < duration {
        let wanted = last.get()? + 1;
        let burst_started = Instant::now();
        for counter in &counters {
            counter.add(1)?;
        }
        poll_until(|| Ok(last.get()? >= wanted))?;
        series.record_ps(burst_started.elapsed().as_nanos() as u64 * 1000 / u64::from(BURST));
    }
    Ok(series)
}

/// Additions to 1,000 counters as fast as the ring takes them; each value is the rate of ten milliseconds.
fn full_speed(client: &Client, duration: Duration) -> Result<Series> {
    let counters = (0..1000)
        .map(|n| {
            let key = format!("write/full/{n}");
            client.counter(&key)?.add_wait(1, PATIENCE)?;
            Ok(client.counter(&key)?)
        })
        .collect::<Result<Vec<Counter>>>()?;
    let mut series = Series::new("1,000 counters, one client, as fast as it goes", Unit::Rate("writes"));
    let started = Instant::now();
    let (mut slice_started, mut slice) = (started, 0_u64);
    for counter in counters.iter().cycle() {
        while let Err(error) = counter.add(1) {
            ensure!(matches!(error, Error::RingFull { .. }), "a write was refused: {error}");
            std::thread::yield_now();
        }
        slice += 1;
        if !slice.is_multiple_of(64) {
            continue;
        }
        let now = Instant::now();
        let elapsed = now - slice_started;
        if elapsed >= Duration::from_millis(10) {
            series.record(slice as f64 / elapsed.as_secs_f64());
            (slice_started, slice) = (now, 0);
        }
        if now - started >= duration {
            break;
        }
    }
    client.barrier(PATIENCE)?;
    Ok(series)
}
