//! Maelstrom's workloads for replicated data over real daemons: g-set, broadcast, g-counter and pn-counter, with total
//! availability. The network loses, doubles and reorders frames, is cut in two, and then into single hosts; every
//! operation has to succeed on all sides, and afterwards all hosts have to end with the same, right answer.

mod common;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::{CONVERGE_TIMEOUT, WRITE_TIMEOUT, clients, connect, fabric_or_loopback};
use lattice_checkers::{
    Action, Demands, History, Outcome, Verdict, check_broadcast, check_g_counter, check_g_set,
    check_pn_counter,
};
use lattice_client::{Client, Counter, Error, Set};
use lattice_cluster::fault::Dice;
use lattice_cluster::{Cluster, ClusterSpec, Fabric, Faults};

const HOSTS: u32 = 3;
/// Applications on each host.
const PROCESSES: u32 = 2;
/// Between two operations of an application: histories of some thousands are long enough.
const PAUSE: Duration = Duration::from_millis(2);
/// How long each stage of the network lasts.
const STAGE: Duration = Duration::from_millis(700);

/// A network that is bad and works.
const FAULTS: Faults =
    Faults { loss: 0.1, duplication: 0.1, reordering: 0.2, max_delay: Duration::from_millis(5) };

/// The history of one workload, which its processes write together.
struct Journal<R> {
    history: Mutex<History<R>>,
    began: Instant,
}

impl<R> Journal<R> {
    fn new() -> Self {
        Self { history: Mutex::default(), began: Instant::now() }
    }

    fn run(
        &self,
        application: &Application,
        action: Action,
        operation: impl FnOnce() -> Result<Outcome<R>, Error>,
    ) {
        let now_ns = || self.began.elapsed().as_nanos() as u64;
        let id = {
            let mut history = self.history.lock().unwrap();
            history.invoke(now_ns(), application.process, application.host, action)
        };
        let outcome = operation().unwrap_or_else(|error| {
            eprintln!("{action:?} on host {}: {error}", application.host);
            if error.nothing_happened() { Outcome::Failed } else { Outcome::Unknown }
        });
        let mut history = self.history.lock().unwrap();
        history.complete(id, now_ns(), outcome);
    }

    fn judge(&self, name: &str, check: impl FnOnce(&History<R>, &Demands) -> Verdict) {
        let verdict = check(&self.history.lock().unwrap(), &Demands::all(HOSTS));
        eprintln!("{name}: {verdict}");
        assert!(verdict.is_valid(), "{name}: {verdict}");
        // A history of a few operations would prove little.
        assert!(verdict.acknowledged > 100 && verdict.reads > 100, "{name}: {verdict}");
    }
}

/// All four workloads at once, each with a key of its own.
struct Workloads {
    g_set: Journal<Vec<i64>>,
    broadcast: Journal<Vec<i64>>,
    g_counter: Journal<i64>,
    pn_counter: Journal<i64>,
}

impl Workloads {
    fn new() -> Self {
        let (g_set, broadcast) = (Journal::new(), Journal::new());
        Self { g_set, broadcast, g_counter: Journal::new(), pn_counter: Journal::new() }
    }

    fn judge(&self) {
        self.g_set.judge("g-set", check_g_set);
        self.broadcast.judge("broadcast", check_broadcast);
        self.g_counter.judge("g-counter", check_g_counter);
        self.pn_counter.judge("pn-counter", check_pn_counter);
    }
}

/// One application of a host, which does one operation after the other.
struct Application {
    process: u32,
    host: u32,
    g_set: Set,
    broadcast: Set,
    g_counter: Counter,
    pn_counter: Counter,
    client: Client,
    dice: Dice,
    added: i64,
}

impl Application {
    fn new(process: u32, host: u32, client: Client) -> Self {
        Self {
            process,
            host,
            g_set: client.set("maelstrom/g-set").unwrap(),
            broadcast: client.set("maelstrom/broadcast").unwrap(),
            g_counter: client.counter("maelstrom/g-counter").unwrap(),
            pn_counter: client.counter("maelstrom/pn-counter").unwrap(),
            client,
            dice: Dice::new(u64::from(process) + 71),
            added: 0,
        }
    }

    /// An element that nobody else adds.
    fn next_element(&mut self) -> i64 {
        self.added += 1;
        i64::from(self.process) << 32 | self.added
    }

    fn run_until(&mut self, end: Instant, workloads: &Workloads) {
        while Instant::now() < end {
            self.step(workloads);
            // A pace, not a wait for anything.
            std::thread::sleep(PAUSE);
        }
    }

    fn step(&mut self, workloads: &Workloads) {
        let add = self.dice.chance(0.5);
        match self.dice.below(4) {
            0 if add => {
                let element = self.next_element();
                self.insert(&workloads.g_set, &self.g_set, element);
            }
            0 => self.members(&workloads.g_set, &self.g_set, Action::Read),
            1 if add => {
                let element = self.next_element();
                self.insert(&workloads.broadcast, &self.broadcast, element);
            }
            1 => self.members(&workloads.broadcast, &self.broadcast, Action::Read),
            2 if add => {
                let amount = self.dice.below(10) as i64;
                self.add(&workloads.g_counter, &self.g_counter, amount);
            }
            2 => self.value(&workloads.g_counter, &self.g_counter, Action::Read),
            _ if add => {
                let amount = self.dice.below(11) as i64 - 5;
                self.add(&workloads.pn_counter, &self.pn_counter, amount);
            }
            _ => self.value(&workloads.pn_counter, &self.pn_counter, Action::Read),
        }
    }

    fn last_reads(&self, workloads: &Workloads) {
        self.members(&workloads.g_set, &self.g_set, Action::FinalRead);
        self.members(&workloads.broadcast, &self.broadcast, Action::FinalRead);
        self.value(&workloads.g_counter, &self.g_counter, Action::FinalRead);
        self.value(&workloads.pn_counter, &self.pn_counter, Action::FinalRead);
    }

    fn insert(&self, journal: &Journal<Vec<i64>>, set: &Set, element: i64) {
        journal.run(self, Action::Add(element), || {
            let ticket = set.insert(&element.to_le_bytes())?;
            self.client.wait(ticket, WRITE_TIMEOUT).map(|()| Outcome::Added)
        });
    }

    fn members(&self, journal: &Journal<Vec<i64>>, set: &Set, action: Action) {
        // Bytes that are no number were never added; nor was this one.
        let number = |bytes: &Vec<u8>| bytes[..].try_into().map_or(i64::MIN, i64::from_le_bytes);
        journal.run(self, action, || Ok(Outcome::Read(set.members()?.iter().map(number).collect())));
    }

    fn add(&self, journal: &Journal<i64>, counter: &Counter, amount: i64) {
        journal.run(self, Action::Add(amount), || {
            let ticket = counter.add(amount)?;
            self.client.wait(ticket, WRITE_TIMEOUT).map(|()| Outcome::Added)
        });
    }

    fn value(&self, journal: &Journal<i64>, counter: &Counter, action: Action) {
        journal.run(self, action, || counter.get().map(Outcome::Read));
    }
}

/// Whole, one host cut off, each host alone, whole again.
fn cut_and_join(cluster: &Cluster) {
    let network = cluster.network();
    for cut in [&[] as &[usize], &[2], &[0, 1, 2], &[]] {
        for host in 0..HOSTS as usize {
            if cut.contains(&host) { network.cut(host) } else { network.join(host) }.unwrap();
        }
        // How long it lasts is what is tested here, not a wait for something.
        std::thread::sleep(STAGE);
    }
}

#[test]
fn the_four_workloads_with_total_availability_over_partitions() {
    let fabric = fabric_or_loopback(Fabric::Switch);
    let spec = ClusterSpec { hosts: HOSTS as usize, fabric, faults: FAULTS, ..ClusterSpec::default() };
    let cluster = Cluster::start(&spec).unwrap();
    let workloads = Workloads::new();
    let mut applications: Vec<Application> = (0..HOSTS * PROCESSES)
        .map(|process| {
            let host = process % HOSTS;
            Application::new(process, host, connect(&cluster.hosts()[host as usize].socket()))
        })
        .collect();

    let end = Instant::now() + 4 * STAGE;
    std::thread::scope(|scope| {
        for application in &mut applications {
            scope.spawn(|| application.run_until(end, &workloads));
        }
        cut_and_join(&cluster);
    });
    let counts = cluster.network().counts().unwrap();
    eprintln!("{counts:?}");
    assert!(counts.lost > 0 && counts.delayed > 0 && counts.cut > 0, "a network that was kind: {counts:?}");

    cluster.wait_converged(CONVERGE_TIMEOUT).unwrap();
    for (host, client) in clients(&cluster).into_iter().enumerate() {
        let process = HOSTS * PROCESSES + host as u32;
        Application::new(process, host as u32, client).last_reads(&workloads);
    }
    workloads.judge();
}
