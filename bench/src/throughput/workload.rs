//! What is written, and whether it arrived.

use std::time::Duration;

use anyhow::{Result, ensure};
use lattice_client::{Client, Counter, Error, Register};

/// Draws that are made in advance, so that drawing costs the writer nothing.
const DRAWS: usize = 1 << 20;

/// Which keys are written how often.
#[derive(Clone, Copy, Debug)]
pub enum Keys {
    /// One, all the time.
    One,
    /// Each equally likely.
    Uniform {
        /// How many.
        keys: usize,
    },
    /// The n-th with a likelihood of 1 / n (Zipf's law, exponent 1).
    Zipf {
        /// How many.
        keys: usize,
    },
}

/// What an application writes.
#[derive(Clone, Copy, Debug)]
pub enum Workload {
    /// `add(1)` to counters.
    Counters(Keys),
    /// Registers in turn, each write a new value of so many bytes.
    Registers {
        /// How many.
        keys: usize,
        /// Bytes of a value.
        bytes: usize,
    },
}

impl Workload {
    /// Records that A may be ahead of B. B's and A's counters are read some milliseconds old, so it is no less than what
    /// comes in in that time.
    #[must_use]
    pub fn max_lag(self) -> u64 {
        match self {
            Workload::Counters(_) => 200_000,
            Workload::Registers { .. } => 10_000,
        }
    }
}

impl Keys {
    fn count(self) -> usize {
        match self {
            Keys::One => 1,
            Keys::Uniform { keys } | Keys::Zipf { keys } => keys,
        }
    }

    /// Keys in the order in which they are written, over and over.
    fn draws(self) -> Vec<u32> {
        let mut random = Random(0x5EED);
        match self {
            Keys::One => vec![0],
            Keys::Uniform { keys } => (0..DRAWS).map(|_| (random.unit() * keys as f64) as u32).collect(),
            Keys::Zipf { keys } => {
                let mut sum = 0.0;
                let shares: Vec<f64> = (1..=keys)
                    .map(|rank| {
                        sum += 1.0 / rank as f64;
                        sum
                    })
                    .collect();
                let draw = |point: f64| shares.partition_point(|&share| share < point).min(keys - 1) as u32;
                (0..DRAWS).map(|_| draw(random.unit() * sum)).collect()
            }
        }
    }
}

/// xorshift64*: a sequence that is the same in every run.
struct Random(u64);

impl Random {
    /// In 0..1.
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// An application that writes one workload, and knows what it wrote.
pub enum Writer {
    /// See [`Workload::Counters`].
    Counters {
        /// The keys.
        handles: Vec<Counter>,
        /// In which order.
        draws: Vec<u32>,
        /// How often each was added to.
        added: Vec<i64>,
        /// How many writes were made.
        written: u64,
    },
    /// See [`Workload::Registers`].
    Registers {
        /// The keys.
        handles: Vec<Register>,
        /// What is written, but for its number.
        value: Vec<u8>,
        /// How many writes were made; the last value of each key follows from it.
        written: u64,
    },
}

impl Writer {
    /// Opens all keys, and makes each known by one write.
    ///
    /// # Errors
    /// If a key can't be opened or written.
    pub fn open(client: &Client, workload: Workload) -> Result<Writer> {
        let mut writer = match workload {
            Workload::Counters(keys) => Writer::Counters {
                handles: (0..keys.count()).map(|key| client.counter(name(key))).collect::<Result<_, _>>()?,
                draws: keys.draws(),
                added: vec![0; keys.count()],
                written: 0,
            },
            Workload::Registers { keys, bytes } => Writer::Registers {
                handles: (0..keys).map(|key| client.register(name(key))).collect::<Result<_, _>>()?,
                value: vec![0xA5; bytes.max(8)],
                written: 0,
            },
        };
        writer.touch_all()?;
        client.barrier(Duration::from_secs(30))?;
        Ok(writer)
    }

    fn touch_all(&mut self) -> Result<()> {
        match self {
            Writer::Counters { handles, added, .. } => {
                for (handle, added) in handles.iter().zip(added) {
                    while !enqueued(handle.add(1))? {
                        std::thread::yield_now();
                    }
                    *added += 1;
                }
            }
            Writer::Registers { handles, .. } => {
                for _ in 0..handles.len() {
                    while !self.write()? {
                        std::thread::yield_now();
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes the next write. `Ok(false)`: the ring is full, nothing was written.
    ///
    /// # Errors
    /// If the write is refused for another reason.
    pub fn write(&mut self) -> Result<bool> {
        match self {
            Writer::Counters { handles, draws, added, written } => {
                let key = draws[*written as usize % draws.len()] as usize;
                if !enqueued(handles[key].add(1))? {
                    return Ok(false);
                }
                added[key] += 1;
                *written += 1;
            }
            Writer::Registers { handles, value, written } => {
                value[..8].copy_from_slice(&written.to_le_bytes());
                if !enqueued(handles[*written as usize % handles.len()].set(value))? {
                    return Ok(false);
                }
                *written += 1;
            }
        }
        Ok(true)
    }

    /// Looks whether a host holds exactly what was written.
    ///
    /// # Errors
    /// With the first key that it does not.
    pub fn check(&self, client: &Client) -> Result<()> {
        match self {
            Writer::Counters { added, .. } => {
                for (key, &added) in added.iter().enumerate() {
                    let found = client.counter(name(key))?.get()?;
                    ensure!(found == added, "{}: {added} were added, {found} are there", name(key));
                }
            }
            Writer::Registers { handles, value, written } => {
                // The last writes, one of each key.
                for number in written.saturating_sub(handles.len() as u64)..*written {
                    let key = name(number as usize % handles.len());
                    let found = client.register(&key)?.get()?.unwrap_or_default();
                    let is_last = found.len() == value.len() && found.starts_with(&number.to_le_bytes());
                    ensure!(is_last, "{key}: the last value is not write {number}");
                }
            }
        }
        Ok(())
    }
}

fn name(key: usize) -> String {
    format!("key/{key:06}")
}

/// Whether a write found room in the ring.
fn enqueued<T>(result: Result<T, Error>) -> Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(Error::RingFull { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_their_law() {
        let share = |draws: &[u32], key: u32| {
            draws.iter().filter(|&&draw| draw == key).count() as f64 / draws.len() as f64
        };
        let uniform = Keys::Uniform { keys: 100 }.draws();
        assert!((share(&uniform, 0) - 0.01).abs() < 0.001 && (share(&uniform, 99) - 0.01).abs() < 0.001);
        let zipf = Keys::Zipf { keys: 100 }.draws();
        let ratio = share(&zipf, 0) / share(&zipf, 9);
        assert!((ratio - 10.0).abs() < 1.0, "the first is ten times as likely as the tenth: {ratio}");
        assert!(zipf.iter().all(|&key| key < 100));
    }
}
