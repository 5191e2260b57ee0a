//! Kill and cut, for etcd: its leader.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lattice_cluster::wait;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::client::EtcdClient;
use super::fault::{
    Cut, CutTimes, GIVE_UP, HEAL_TIMEOUT, INTERVAL, Kill, Patient, Script, sleep_until, sum_cut, sum_kill,
    while_writing,
};
use super::members::Members;
use super::outage::{Outcome, Write};
use super::work::encode;

/// The applications of all hosts: each has its own runtime, as in a process of its own.
struct Applications {
    hosts: Vec<(Runtime, EtcdClient)>,
}

impl Applications {
    fn open(members: &Members) -> Result<Applications> {
        let open = |host| {
            let runtime = super::runtime()?;
            let client = members.client(host, &runtime)?;
            Ok((runtime, client))
        };
        Ok(Applications { hosts: (0..members.hosts()).map(open).collect::<Result<_>>()? })
    }

    fn revision(&self, host: usize) -> Result<i64> {
        let (runtime, client) = &self.hosts[host];
        let status = runtime.block_on(async { tokio::time::timeout(GIVE_UP, client.status()).await });
        Ok(status.context("no status")??.revision)
    }
}

impl Patient for Applications {
    fn write(&self, host: usize, started: Instant, until: Duration) -> Result<Vec<Write>> {
        let (runtime, client) = &self.hosts[host];
        runtime.block_on(write(client, format!("outage/{host}"), started, until))
    }
}

/// Begins each write when it is due, whatever became of those before.
async fn write(client: &EtcdClient, key: String, started: Instant, until: Duration) -> Result<Vec<Write>> {
    let mut running = JoinSet::new();
    let mut due = Duration::ZERO;
    while due < until {
        tokio::time::sleep_until((started + due).into()).await;
        let (client, key) = (client.clone(), key.clone());
        running.spawn(async move {
            let value = encode(due.as_millis() as u64);
            let put = client.put(key.as_bytes(), &value);
            let outcome = match tokio::time::timeout_at((started + due + GIVE_UP).into(), put).await {
                Ok(Ok(())) => Outcome::Accepted(started.elapsed()),
                Ok(Err(_)) => Outcome::Refused,
                Err(_) => Outcome::TimedOut,
            };
            Write { due, outcome }
        });
        due += INTERVAL;
    }
    let mut writes = Vec::new();
    while let Some(write) = running.join_next().await {
        writes.push(write?);
    }
    Ok(writes)
}

/// Kills the leader, and starts it again afterwards.
///
/// # Errors
/// If the cluster does not come back.
pub fn kill_leader(members: &mut Members, runtime: &Runtime, script: Script) -> Result<Kill> {
    let leader = members.leader(runtime)?;
    let survivors: Vec<usize> = (0..members.hosts()).filter(|&host| host != leader).collect();
    let applications = Applications::open(members)?;
    let until = script.end_of_kill();
    let (writes, killed) = while_writing(&applications, &survivors, until, |started| {
        let killed = sleep_until(started, script.healthy);
        members.kill(leader)?;
        Ok(killed)
    })?;
    members.restart(leader, runtime)?;
    Ok(sum_kill(&writes, killed, until))
}

/// Cuts the leader off, and joins it again.
///
/// # Errors
/// If the cluster does not become whole again, or lost a write that it had accepted.
pub fn cut_leader(members: &Members, runtime: &Runtime, script: Script) -> Result<Cut> {
    let leader = members.leader(runtime)?;
    let applications = Applications::open(members)?;
    let observers = Applications::open(members)?;
    let hosts: Vec<usize> = (0..members.hosts()).collect();
    let until = script.end_of_cut();
    let (writes, times) = while_writing(&applications, &hosts, until, |started| {
        let cut = sleep_until(started, script.healthy);
        members.network().cut(leader)?;
        let joined = sleep_until(started, script.healthy + script.broken);
        // Revisions number the writes that the cluster has accepted.
        let wanted = hosts.iter().map(|&host| observers.revision(host)).collect::<Result<Vec<_>>>()?;
        let wanted = wanted.into_iter().max().context("no hosts")?;
        let ordered = Instant::now();
        members.network().join(leader)?;
        wait::until("the cut-off member to catch up", HEAL_TIMEOUT, || {
            let found = observers.revision(leader)?;
            ensure!(found >= wanted, "revision {found} of {wanted}");
            Ok(())
        })?;
        Ok(CutTimes { cut, joined, equal: ordered.elapsed() })
    })?;
    members.wait_ready(runtime)?;
    for host in hosts {
        check_accepted(&observers, host, &writes[host])?;
    }
    Ok(sum_cut(&writes, leader, times, until))
}

/// Every member must hold as many versions of a host's key as that host's writes were accepted, or more: what was given up
/// may have happened.
fn check_accepted(observers: &Applications, host: usize, writes: &[Write]) -> Result<()> {
    let accepted = writes.iter().filter(|write| matches!(write.outcome, Outcome::Accepted(_))).count() as i64;
    let key = format!("outage/{host}");
    for (runtime, client) in &observers.hosts {
        let found =
            runtime.block_on(async { tokio::time::timeout(GIVE_UP, client.read(key.as_bytes())).await });
        let version = found.context("no answer")??.map_or(0, |kv| kv.version);
        ensure!(version >= accepted, "{accepted} writes of host {host} were accepted, {version} are there");
    }
    Ok(())
}
