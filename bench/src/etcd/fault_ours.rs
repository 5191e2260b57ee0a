//! Kill and cut, for latticed: host A, which is no different from the others.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lattice_client::{Client, Counter, Error};
use lattice_cluster::{Cluster, wait};

use super::fault::{
    Cut, CutTimes, GIVE_UP, HEAL_TIMEOUT, INTERVAL, Kill, Patient, Script, sleep_until, sum_cut, sum_kill,
    while_writing,
};
use super::ours::client;
use super::outage::{Outcome, Write};

/// The host to which it happens.
const VICTIM: usize = 0;

/// The applications of all hosts.
struct Applications {
    clients: Vec<Client>,
    episode: &'static str,
}

impl Applications {
    fn open(cluster: &Cluster, episode: &'static str) -> Result<Applications> {
        let hosts = 0..cluster.hosts().len();
        Ok(Applications { clients: hosts.map(|host| client(cluster, host)).collect::<Result<_>>()?, episode })
    }

    /// The counter of a host, as another host (or itself) has it: how many writes it accepted.
    fn counter(&self, of: usize, at: usize) -> Result<Counter> {
        Ok(self.clients[at].counter(format!("{}/{of}", self.episode))?)
    }

    /// How many writes each of these hosts has accepted, by its own count.
    fn accepted(&self, hosts: &[usize]) -> Result<Vec<i64>> {
        hosts.iter().map(|&host| Ok(self.counter(host, host)?.get()?)).collect()
    }

    /// Waits until each of these hosts has at least those counts of all of them.
    fn wait_everywhere(&self, hosts: &[usize], wanted: &[i64]) -> Result<()> {
        wait::until("every host to have what was accepted", HEAL_TIMEOUT, || {
            for &at in hosts {
                for (&of, &wanted) in hosts.iter().zip(wanted) {
                    let found = self.counter(of, at)?.get()?;
                    ensure!(found >= wanted, "host {at} has {found} of the {wanted} writes of host {of}");
                }
            }
            Ok(())
        })
    }
}

impl Patient for Applications {
    fn write(&self, host: usize, started: Instant, until: Duration) -> Result<Vec<Write>> {
        let counter = self.counter(host, host)?;
        let mut writes = Vec::new();
        let mut due = Duration::ZERO;
        while due < until {
            sleep_until(started, due);
            // One that is answered late delays the next, which is still due, and given up, when it would have been.
            let left = (due + GIVE_UP).saturating_sub(started.elapsed());
            let outcome = match counter.add_wait(1, left) {
                Ok(()) => Outcome::Accepted(started.elapsed()),
                Err(Error::Timeout { .. }) => Outcome::TimedOut,
                Err(_) => Outcome::Refused,
            };
            writes.push(Write { due, outcome });
            due += INTERVAL;
        }
        Ok(writes)
    }
}

/// Kills a host's daemon, and starts it again afterwards.
///
/// # Errors
/// If the cluster does not become whole again.
pub fn kill_one(cluster: &mut Cluster, script: Script) -> Result<Kill> {
    let applications = Applications::open(cluster, "kill")?;
    let survivors: Vec<usize> = (0..cluster.hosts().len()).filter(|&host| host != VICTIM).collect();
    let until = script.end_of_kill();
    let (writes, killed) = while_writing(&applications, &survivors, until, |started| {
        let killed = sleep_until(started, script.healthy);
        cluster.daemon(VICTIM).kill()?;
        Ok(killed)
    })?;
    cluster.restart(VICTIM)?;
    cluster.wait_peers_up()?;
    check_accepted(&applications, &survivors, &writes)?;
    Ok(sum_kill(&writes, killed, until))
}

/// Cuts a host off, and joins it again.
///
/// # Errors
/// If the hosts do not become equal, or lost a write that one of them had accepted.
pub fn cut_one(cluster: &Cluster, script: Script) -> Result<Cut> {
    let applications = Applications::open(cluster, "cut")?;
    let hosts: Vec<usize> = (0..cluster.hosts().len()).collect();
    let until = script.end_of_cut();
    let (writes, times) = while_writing(&applications, &hosts, until, |started| {
        let cut = sleep_until(started, script.healthy);
        cluster.network().cut(VICTIM)?;
        let joined = sleep_until(started, script.healthy + script.broken);
        let wanted = applications.accepted(&hosts)?;
        let ordered = Instant::now();
        cluster.network().join(VICTIM)?;
        applications.wait_everywhere(&hosts, &wanted)?;
        Ok(CutTimes { cut, joined, equal: ordered.elapsed() })
    })?;
    check_accepted(&applications, &hosts, &writes)?;
    cluster.wait_converged(HEAL_TIMEOUT)?;
    Ok(sum_cut(&writes, VICTIM, times, until))
}

/// Every one of these hosts must have exactly the writes that were accepted: each added one.
fn check_accepted(applications: &Applications, hosts: &[usize], writes: &[Vec<Write>]) -> Result<()> {
    let accepted = writes.iter().map(|writes| {
        writes.iter().filter(|write| matches!(write.outcome, Outcome::Accepted(_))).count() as i64
    });
    let accepted: Vec<i64> = accepted.collect();
    applications.wait_everywhere(hosts, &accepted)?;
    for &at in hosts {
        for (&of, &accepted) in hosts.iter().zip(&accepted) {
            let found = applications.counter(of, at)?.get()?;
            // What was given up may still have been applied; nothing else can make it more.
            let given_up = writes[hosts.iter().position(|&host| host == of).context("no such host")?]
                .iter()
                .filter(|write| write.outcome == Outcome::TimedOut)
                .count() as i64;
            ensure!(
                found <= accepted + given_up,
                "host {at} has {found} writes of host {of}, {accepted} were accepted"
            );
        }
    }
    Ok(())
}
