//! An application on host A that writes as fast as it can, until the other hosts have all of it.
//!
//! ```text
//!   application ──ring──> latticed A ──AF_XDP──> latticed B, latticed C
//!        ├─ under way: 64 writes, the next when the oldest is acknowledged
//!        └─ offered:   the next as soon as the ring has room
//! ```
//!
//! The clock stops when the last write of every key is seen on both other hosts, so a rate is of writes that all three hosts
//! have. Keys are written in turn, so many that no two writes in one burst are to the same one: nothing is merged before it
//! is sent. The kernel chooses the application's core; the daemons have theirs.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lattice_client::{Client, Counter, Error, Register, Ticket};
use lattice_cluster::Cluster;

use super::ours::{PATIENCE, client, wait};
use super::work::{KEYS, decode, encode};
use crate::series::{Series, Unit};

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A register of a few bytes is set: what etcd's put is.
    Register,
    /// A counter is incremented: etcd would have to read it first.
    Counter,
}

/// So many writes under way at a time. Latencies are those of acknowledgements.
///
/// # Errors
/// If a write fails or never arrives.
pub fn under_way(cluster: &Cluster, writes: usize, duration: Duration) -> Result<Series> {
    let application = Application::open(cluster, "under way", Kind::Register)?;
    let mut series = Series::new("latticed", Unit::Ns);
    let mut waiting: VecDeque<(Ticket, Instant)> = VecDeque::with_capacity(writes);
    let started = Instant::now();
    let mut write = KEYS;
    while started.elapsed() < duration {
        // Writes of one client to one daemon are applied in order: the oldest is the next to be done.
        if waiting.len() == writes
            && let Some((ticket, began)) = waiting.pop_front()
        {
            wait(&application.client, ticket)?;
            series.record_duration(began.elapsed());
        }
        let began = Instant::now();
        waiting.push_back((application.write(write)?, began));
        write += 1;
    }
    Ok(series.with_rate(application.finish(write, started)?))
}

/// As many writes as the ring takes. The series holds one value: the mean time of a write.
///
/// # Errors
/// If a write fails or never arrives.
pub fn offered(cluster: &Cluster, kind: Kind, duration: Duration) -> Result<Series> {
    let run = if kind == Kind::Register { "offered" } else { "counted" };
    let application = Application::open(cluster, run, kind)?;
    let started = Instant::now();
    let mut write = KEYS;
    while started.elapsed() < duration {
        for _ in 0..KEYS {
            application.write(write)?;
            write += 1;
        }
    }
    let rate_per_s = application.finish(write, started)?;
    let mut series = Series::new("latticed", Unit::Ns).with_rate(rate_per_s);
    series.record(1e9 / rate_per_s);
    Ok(series)
}

/// The application, and what it looks at on the other hosts.
struct Application {
    client: Client,
    here: Keys,
    elsewhere: [Keys; 2],
}

impl Application {
    /// Opens all keys of a run on all hosts and writes each once: making keys is not what is measured.
    fn open(cluster: &Cluster, run: &str, kind: Kind) -> Result<Application> {
        let here = client(cluster, 0)?;
        let application = Application {
            here: Keys::open(&here, run, kind)?,
            elsewhere: [
                Keys::open(&client(cluster, 1)?, run, kind)?,
                Keys::open(&client(cluster, 2)?, run, kind)?,
            ],
            client: here,
        };
        for write in 0..KEYS {
            application.write(write)?;
        }
        application.wait_everywhere(KEYS)?;
        Ok(application)
    }

    /// Enqueues a write; lets the daemon work while the ring is full.
    fn write(&self, write: u64) -> Result<Ticket> {
        loop {
            match self.here.write(write) {
                Err(Error::RingFull { .. }) => std::thread::yield_now(),
                result => return Ok(result?),
            }
        }
    }

    /// Waits until all writes are everywhere, and returns their rate: all but the first of each key count.
    fn finish(&self, writes: u64, started: Instant) -> Result<f64> {
        self.wait_everywhere(writes)?;
        Ok((writes - KEYS) as f64 / started.elapsed().as_secs_f64())
    }

    /// Waits until the last writes of all keys, of so many in all, are applied here and seen on the other hosts.
    fn wait_everywhere(&self, writes: u64) -> Result<()> {
        self.client.barrier(PATIENCE)?;
        let started = Instant::now();
        for keys in &self.elsewhere {
            for write in writes - KEYS..writes {
                while !keys.has(write)? {
                    ensure!(started.elapsed() < PATIENCE, "write {write} never arrived");
                    std::thread::yield_now();
                }
            }
        }
        Ok(())
    }
}

/// The handles of all keys of a run, on one host.
enum Keys {
    Registers(Vec<Register>),
    Counters(Vec<Counter>),
}

impl Keys {
    fn open(client: &Client, run: &str, kind: Kind) -> Result<Keys> {
        let keys = (0..KEYS).map(|number| format!("{run}/{number:05}"));
        Ok(match kind {
            Kind::Register => {
                Keys::Registers(keys.map(|key| client.register(key)).collect::<Result<_, _>>()?)
            }
            Kind::Counter => Keys::Counters(keys.map(|key| client.counter(key)).collect::<Result<_, _>>()?),
        })
    }

    fn write(&self, write: u64) -> Result<Ticket, Error> {
        let place = (write % KEYS) as usize;
        match self {
            Keys::Registers(registers) => registers[place].set(&encode(write)),
            Keys::Counters(counters) => counters[place].add(1),
        }
    }

    /// True if a write, or a later one of its key, is seen.
    fn has(&self, write: u64) -> Result<bool> {
        let place = (write % KEYS) as usize;
        Ok(match self {
            Keys::Registers(registers) => {
                registers[place].get()?.and_then(|value| decode(&value)).is_some_and(|found| found >= write)
            }
            Keys::Counters(counters) => counters[place].get()? >= count_after(write),
        })
    }
}

/// What a counter shows after a write, when each writes its keys in turn and adds one.
fn count_after(write: u64) -> i64 {
    (write / KEYS) as i64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_has_a_write_once_it_was_its_turn() {
        assert_eq!(count_after(0), 1);
        assert_eq!(count_after(KEYS - 1), 1);
        assert_eq!(count_after(KEYS), 2);
    }
}
