//! What the tests over real daemons share: where they run, and random writes whose outcome is known exactly.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use lattice_client::{Client, Error, Ticket};
use lattice_cluster::fault::Dice;
use lattice_cluster::{Cluster, Environment, Fabric, environment};

/// How long hosts may take to become equal. Far more than they need: a machine that is busy must not fail a test.
pub const CONVERGE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long one write may take until it is visible on its own host.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// `wanted` where namespaces and AF_XDP are there; else loopback, saying why.
///
/// # Panics
/// In CI, where they must be there.
pub fn fabric_or_loopback(wanted: Fabric) -> Fabric {
    match Environment::probe().obstacle() {
        None => wanted,
        Some(reason) if environment::is_ci() => panic!("CI must be able to run this on AF_XDP: {reason}"),
        Some(reason) => {
            eprintln!("over UDP on loopback addresses: {reason}");
            Fabric::Loopback
        }
    }
}

/// Clients at all hosts.
pub fn clients(cluster: &Cluster) -> Vec<Client> {
    cluster.hosts().iter().map(|host| connect(&host.socket())).collect()
}

pub fn connect(socket: &Path) -> Client {
    Client::connect(socket).unwrap_or_else(|error| panic!("{}: {error}", socket.display()))
}

/// Shared keys of each kind, so that hosts meet on them.
const KEYS: u64 = 16;
/// Elements per set.
const ELEMENTS: u64 = 40;
/// Writes that are under way at a time.
const BATCH: usize = 32;

/// Random writes of one host, and what came of them.
pub struct Writer {
    host: usize,
    client: Client,
    dice: Dice,
    /// Acknowledged additions.
    pub totals: BTreeMap<u64, i64>,
    /// What the elements that only this host writes must be in the end.
    pub own_elements: BTreeMap<u64, BTreeSet<Vec<u8>>>,
    /// Acknowledged writes of any kind.
    pub writes: u64,
}

/// A write that is under way, and what it means once acknowledged.
enum Effect {
    Total(u64, i64),
    Insert(u64, Vec<u8>),
    Remove(u64, Vec<u8>),
    /// On keys that other hosts write too: only equality can be expected.
    Shared,
}

impl Writer {
    pub fn new(host: usize, client: Client, seed: u64) -> Writer {
        Writer {
            host,
            client,
            dice: Dice::new(seed ^ (host as u64) << 32),
            totals: BTreeMap::new(),
            own_elements: BTreeMap::new(),
            writes: 0,
        }
    }

    /// Writes for so long.
    pub fn run_for(&mut self, duration: Duration) {
        let start = Instant::now();
        while start.elapsed() < duration {
            self.batch();
        }
    }

    /// A few writes, each acknowledged when this returns.
    pub fn batch(&mut self) {
        let mut under_way = Vec::with_capacity(BATCH);
        for _ in 0..BATCH {
            match self.submit() {
                Ok(write) => under_way.push(write),
                // Nothing was enqueued; the ring drains while the others are waited for.
                Err(Error::RingFull { .. }) => break,
                Err(error) => panic!("host {}: a write was refused: {error}", self.host),
            }
        }
        for (ticket, effect) in under_way {
            match self.client.wait(ticket, WRITE_TIMEOUT) {
                Ok(()) => self.account(effect),
                Err(error) => panic!("host {}: a write failed: {error}", self.host),
            }
        }
    }

    fn submit(&mut self) -> Result<(Ticket, Effect), Error> {
        let key = self.dice.below(KEYS);
        let element = self.dice.below(ELEMENTS);
        match self.dice.below(10) {
            0..4 => {
                let amount = self.dice.below(2_001) as i64 - 1_000;
                let ticket = self.client.counter(format!("counter/{key}"))?.add(amount)?;
                Ok((ticket, Effect::Total(key, amount)))
            }
            4 => {
                let element = format!("host {}, element {element}", self.host).into_bytes();
                let ticket = self.client.set(format!("set/{key}"))?.insert(&element)?;
                Ok((ticket, Effect::Insert(key, element)))
            }
            5 => {
                let element = format!("host {}, element {element}", self.host).into_bytes();
                let ticket = self.client.set(format!("set/{key}"))?.remove(&element)?;
                Ok((ticket, Effect::Remove(key, element)))
            }
            6 => {
                let set = self.client.set(format!("shared-set/{key}"))?;
                let element = element.to_le_bytes();
                let insert = self.dice.chance(0.5);
                Ok((if insert { set.insert(&element)? } else { set.remove(&element)? }, Effect::Shared))
            }
            7 => {
                let flag = self.client.flag(format!("flag/{key}"))?;
                Ok((if self.dice.chance(0.5) { flag.enable()? } else { flag.disable()? }, Effect::Shared))
            }
            8 => {
                let flag = self.client.flag_disable_wins(format!("brake/{key}"))?;
                Ok((if self.dice.chance(0.5) { flag.enable()? } else { flag.disable()? }, Effect::Shared))
            }
            _ => {
                let value = vec![self.dice.bits() as u8; self.dice.below(600) as usize];
                Ok((self.client.register(format!("register/{key}"))?.set(&value)?, Effect::Shared))
            }
        }
    }

    fn account(&mut self, effect: Effect) {
        self.writes += 1;
        match effect {
            Effect::Total(key, amount) => *self.totals.entry(key).or_default() += amount,
            Effect::Insert(key, element) => {
                self.own_elements.entry(key).or_default().insert(element);
            }
            Effect::Remove(key, element) => {
                self.own_elements.entry(key).or_default().remove(&element);
            }
            Effect::Shared => {}
        }
    }
}

/// Everything that the random writes touch, as applications see it on one host.
#[derive(Debug, PartialEq, Eq)]
pub struct View {
    counters: Vec<i64>,
    sets: Vec<Vec<Vec<u8>>>,
    shared_sets: Vec<Vec<Vec<u8>>>,
    flags: Vec<(bool, bool)>,
    registers: Vec<Option<Vec<u8>>>,
}

impl View {
    pub fn of(client: &Client) -> View {
        let keys = || 0..KEYS;
        View {
            counters: keys()
                .map(|key| client.counter(format!("counter/{key}")).unwrap().get().unwrap())
                .collect(),
            sets: keys().map(|key| client.set(format!("set/{key}")).unwrap().members().unwrap()).collect(),
            shared_sets: keys()
                .map(|key| client.set(format!("shared-set/{key}")).unwrap().members().unwrap())
                .collect(),
            flags: keys()
                .map(|key| {
                    let flag = client.flag(format!("flag/{key}")).unwrap().get().unwrap();
                    let brake = client.flag_disable_wins(format!("brake/{key}")).unwrap().get().unwrap();
                    (flag, brake)
                })
                .collect(),
            registers: keys()
                .map(|key| client.register(format!("register/{key}")).unwrap().get().unwrap())
                .collect(),
        }
    }
}

/// Waits until all hosts are equal, and asserts that they show exactly what the writers had acknowledged.
pub fn assert_exact(cluster: &Cluster, clients: &[Client], writers: &[Writer]) {
    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
    let views: Vec<View> = clients.iter().map(View::of).collect();
    for (view, host) in views.iter().zip(cluster.hosts()) {
        for key in 0..KEYS {
            let total: i64 = writers.iter().filter_map(|writer| writer.totals.get(&key)).sum();
            assert_eq!(view.counters[key as usize], total, "counter/{key} on {}", host.plan.name);
            let members: BTreeSet<&[u8]> = writers
                .iter()
                .filter_map(|writer| writer.own_elements.get(&key))
                .flatten()
                .map(Vec::as_slice)
                .collect();
            let found: Vec<&[u8]> = view.sets[key as usize].iter().map(Vec::as_slice).collect();
            assert_eq!(found, members.into_iter().collect::<Vec<_>>(), "set/{key} on {}", host.plan.name);
        }
        assert_eq!(view, &views[0], "{} and {} differ", host.plan.name, cluster.hosts()[0].plan.name);
    }
}
