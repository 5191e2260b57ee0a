//! What a worker is told when it is made: which shards are its, how it idles, how much it does in one turn.

use crate::idle::Idle;

/// Configuration of one worker. Everything that bounds the work of one turn is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerConfig {
    /// Index of this worker among the daemon's workers, from 0.
    pub index: u16,
    /// Number of workers of the daemon: shard `s` belongs to worker `s % workers`.
    pub workers: u16,
    /// Number of shards of the keyspace, a power of two, the same on every node.
    pub shards: u16,
    /// UDP port of shard 0; shard `s` is received on, and sent to, `udp_port_base + s`.
    pub udp_port_base: u16,
    /// The core to pin the thread to. `None`: the scheduler chooses.
    pub core: Option<usize>,
    /// What the worker does in a turn that found nothing to do.
    pub idle: Idle,
    /// Frames taken from the port in one turn.
    pub receive_burst: usize,
    /// Frames handed to the port in one turn, over all shards.
    pub transmit_burst: usize,
    /// Ring slots (64 bytes each) taken from one client in one turn: the fairness bound between clients. One submission is
    /// always taken, however long it is.
    pub client_budget_slots: usize,
    /// Clients that may be attached at once.
    pub max_clients: usize,
    /// Longest time between two heartbeats of a worker that is awake, nanoseconds.
    pub heartbeat_ns: u64,
    /// Period at which the counters in the segment are refreshed, nanoseconds.
    pub counters_ns: u64,
    /// Frames to and from peers without keys ([`Command::SetSeal`](crate::Command::SetSeal)) are dropped; else they go without a
    /// seal.
    pub must_seal: bool,
    /// How long a stopping worker goes on, until the peers that are up have everything, nanoseconds.
    pub drain_ns: u64,
}

impl WorkerConfig {
    /// The usual bounds for worker `index` of `workers`, unpinned, yielding when idle.
    pub fn new(index: u16, workers: u16, shards: u16, udp_port_base: u16) -> Self {
        const MS: u64 = 1_000_000;
        Self {
            index,
            workers,
            shards,
            udp_port_base,
            core: None,
            idle: Idle::Yield,
            receive_burst: 64,
            transmit_burst: 256,
            // Four shards share what a turn takes in, and each makes a frame of its part: with 64, frames were a quarter full.
            client_budget_slots: 256,
            max_clients: 64,
            heartbeat_ns: MS,
            counters_ns: 10 * MS,
            must_seal: false,
            drain_ns: 500 * MS,
        }
    }

    /// Whether this worker owns a shard.
    pub fn owns(&self, shard: u16) -> bool {
        shard < self.shards && shard % self.workers == self.index
    }

    /// The shards that this worker owns, ascending.
    pub fn owned_shards(&self) -> impl Iterator<Item = u16> {
        (self.index..self.shards).step_by(usize::from(self.workers.max(1)))
    }

    /// Whether the numbers go together; the error says which does not.
    pub fn validate(&self) -> Result<(), WorkerConfigError> {
        let limit = |name, ok: bool, requirement| {
            if ok { Ok(()) } else { Err(WorkerConfigError { name, requirement }) }
        };
        limit("workers", self.workers > 0 && self.workers <= self.shards, "1 to the number of shards")?;
        limit("index", self.index < self.workers, "below the number of workers")?;
        limit("shards", self.shards.is_power_of_two(), "a power of two")?;
        limit(
            "udp_port_base",
            self.udp_port_base > 0 && self.udp_port_base.checked_add(self.shards - 1).is_some(),
            "non-zero, and the last shard's port at most 65535",
        )?;
        limit("receive_burst", self.receive_burst > 0, "at least 1")?;
        limit("transmit_burst", self.transmit_burst > 0, "at least 1")?;
        limit("client_budget_slots", self.client_budget_slots > 0, "at least 1")?;
        limit("max_clients", self.max_clients > 0, "at least 1")
    }
}

/// A configuration that can't be run. No worker was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("worker configuration: `{name}` must be {requirement}")]
pub struct WorkerConfigError {
    /// The field.
    pub name: &'static str,
    /// What it has to be.
    pub requirement: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_exactly_one_owner() {
        let configs: Vec<_> = (0..3).map(|index| WorkerConfig::new(index, 3, 8, 7400)).collect();
        for shard in 0..8 {
            let owners: Vec<_> = configs.iter().filter(|c| c.owns(shard)).map(|c| c.index).collect();
            assert_eq!(owners, [shard % 3]);
        }
        let mut all: Vec<_> = configs.iter().flat_map(|c| c.owned_shards()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..8).collect::<Vec<_>>());
        assert!(!configs[0].owns(9), "a shard beyond the keyspace has no owner");
    }

    #[test]
    fn numbers_that_do_not_go_together_are_named() {
        let good = WorkerConfig::new(0, 1, 4, 7400);
        assert_eq!(good.validate(), Ok(()));
        let name = |change: &dyn Fn(&mut WorkerConfig)| {
            let mut config = good.clone();
            change(&mut config);
            config.validate().err().map(|e| e.name)
        };
        assert_eq!(name(&|c| c.shards = 3), Some("shards"));
        assert_eq!(name(&|c| c.shards = 0), Some("workers"));
        assert_eq!(name(&|c| c.index = 1), Some("index"));
        assert_eq!(name(&|c| c.workers = 5), Some("workers"));
        assert_eq!(name(&|c| c.udp_port_base = 65_534), Some("udp_port_base"));
        assert_eq!(name(&|c| c.client_budget_slots = 0), Some("client_budget_slots"));
    }
}
