//! What a latticed cluster takes for the same writes, watches and reads.
//!
//! ```text
//!   core 0:  writer ──ring──> latticed A    latticed C          the kernel's bridge joins the three namespaces,
//!   core 1:  reader <─segment── latticed B                      as it joins etcd's
//! ```

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lattice_client::{Client, Register, Ticket};
use lattice_cluster::{Cluster, ClusterSpec, Fabric, IdleChoice, PortChoice, StorageTable};

use super::pace::Pace;
use super::work::{Latencies, VALUE_BYTES, decode, encode, key};
use crate::measure::{Measured, measure};
use crate::series::{Series, Unit};

/// The longest that anything may take here before it counts as lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// The core of host A's application, which two daemons are on as well; and host B's.
const WRITER_CORE: usize = 0;
const READER_CORE: usize = 1;

/// How the reader on the other host learns of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// It looks again and again, offering the core in between.
    Polls,
    /// It sleeps in a watch until something is published.
    Sleeps,
}

/// Three daemons on AF_XDP, joined as etcd's members are.
///
/// # Errors
/// If they do not start.
pub fn start() -> Result<Cluster> {
    Cluster::start(&ClusterSpec {
        fabric: Fabric::Bridge,
        ports: vec![PortChoice::Xdp; 3],
        idle: IdleChoice::Yield,
        storage: StorageTable::memory(),
        ..ClusterSpec::default()
    })
}

/// A client on a host.
///
/// # Errors
/// If its daemon does not answer.
pub fn client(cluster: &Cluster, host: usize) -> Result<Client> {
    let socket = cluster.hosts()[host].socket();
    Client::connect(&socket).with_context(|| format!("can't attach to {}", socket.display()))
}

/// Writes on a schedule on host A, each waited for, and looks for them on host B.
///
/// # Errors
/// If a write fails or never arrives.
pub fn paced_writes(
    cluster: &Cluster,
    reader: Reader,
    rate_per_s: u32,
    duration: Duration,
) -> Result<Latencies> {
    let (here, there) = (client(cluster, 0)?, client(cluster, 1)?);
    // A key of its own, or the reader would take what an earlier run wrote for this one's.
    let key = key(u64::from(reader == Reader::Sleeps));
    let written = here.register(&key)?;
    let seen = there.register(&key)?;
    // Write 0 only makes the key known on both sides.
    written.set_wait(&encode(0), PATIENCE)?;
    wait_for(&seen, 0)?;
    let pace = Pace::new(rate_per_s, duration);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            pin(READER_CORE);
            follow(&there, &seen, reader, pace)
        });
        let writing = scope.spawn(|| {
            pin(WRITER_CORE);
            let mut acknowledged = Series::new("latticed", Unit::Ns).with_rate(f64::from(rate_per_s));
            for write in 0..pace.count() {
                pace.wait(write);
                wait(&here, written.set(&encode(write + 1))?)?;
                acknowledged.record_duration(pace.late(write, Instant::now()));
            }
            anyhow::Ok(acknowledged)
        });
        let acknowledged = writing.join().ok().context("the writer panicked")??;
        let visible = reading.join().ok().context("the reader panicked")??;
        Ok(Latencies { acknowledged, visible: visible.with_rate(f64::from(rate_per_s)) })
    })
}

/// Records how late each write is seen. A value shows all writes up to it: one that was overwritten unseen counts from when
/// its successor was seen.
fn follow(client: &Client, register: &Register, reader: Reader, pace: Pace) -> Result<Series> {
    let mut series = Series::new("latticed", Unit::Ns);
    let mut changes = client.changes();
    let mut bytes = Vec::with_capacity(VALUE_BYTES);
    let deadline = pace.due(pace.count()) + PATIENCE;
    let mut seen = 0;
    while seen < pace.count() {
        register.get_into(&mut bytes)?;
        let newest = decode(&bytes).context("a value that nobody wrote")?;
        if newest == seen {
            match reader {
                Reader::Polls => std::thread::yield_now(),
                Reader::Sleeps => drop(changes.next(Duration::from_millis(100))?),
            }
            ensure!(Instant::now() < deadline, "{} writes were never seen", pace.count() - seen);
            continue;
        }
        let now = Instant::now();
        for write in seen..newest {
            series.record_duration(pace.late(write, now));
        }
        seen = newest;
    }
    Ok(series)
}

/// Reads of one application on host B, by handle.
///
/// # Errors
/// If a read fails.
pub fn reads(cluster: &Cluster, duration: Duration) -> Result<Measured> {
    let client = client(cluster, 1)?;
    let register = client.register(key(0))?;
    let mut bytes = Vec::with_capacity(VALUE_BYTES);
    pin(READER_CORE);
    measure("latticed", duration, || {
        ensure!(register.get_into(&mut bytes)?, "the key is not there");
        Ok(())
    })
}

/// Waits for a write by looking and offering the core: the daemon is on it, so to spin, as [`Client::wait`] does at first,
/// would only hold it up.
pub(crate) fn wait(client: &Client, ticket: Ticket) -> Result<()> {
    let started = Instant::now();
    while !client.poll(ticket)? {
        ensure!(started.elapsed() < PATIENCE, "a write was not acknowledged");
        std::thread::yield_now();
    }
    Ok(())
}

fn wait_for(register: &Register, write: u64) -> Result<()> {
    let started = Instant::now();
    let mut bytes = Vec::with_capacity(VALUE_BYTES);
    loop {
        register.get_into(&mut bytes)?;
        if decode(&bytes).is_some_and(|found| found >= write) {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            bail!("write {write} never arrived: {bytes:?}");
        }
        std::thread::yield_now();
    }
}

/// Where pinning is refused (a container's cpuset) the numbers are noisier.
fn pin(core: usize) {
    core_affinity::set_for_current(core_affinity::CoreId { id: core });
}
