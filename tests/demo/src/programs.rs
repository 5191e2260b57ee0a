//! The applications on each host: the client library's examples, as processes of their own.
//!
//! Each speaks one JSON object per line; what is read of them is declared here.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lattice_cluster::process::Process;
use lattice_cluster::{admin, wait};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::progress::Progress;
use crate::stage::Stage;
use crate::state::{INSTANCES, KILL_SWITCH, REQUESTS, SETTING};

/// How long an application may take for an answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests that each rate limiter counts, per second.
const REQUESTS_PER_S: &str = "1000";

/// What a rate limiter says at its end.
#[derive(Clone, Debug, Deserialize)]
pub struct LimiterResult {
    /// Additions that were acknowledged.
    pub added: i64,
    /// Additions that failed.
    pub failed: u64,
    /// Additions of which nobody knows: none, unless a daemon died.
    pub unknown: u64,
    /// The longest time from an addition until it was visible on its own host, nanoseconds.
    pub max_write_ns: u64,
    /// The 99th percentile of the same, nanoseconds.
    pub p99_write_ns: u64,
    /// Local reads of the total.
    pub reads: u64,
    /// Local reads that failed.
    pub read_failures: u64,
}

#[derive(Deserialize)]
struct Flipped {
    flipped_at_ns: u64,
}

#[derive(Deserialize)]
struct Seen {
    seen_at_ns: u64,
}

#[derive(Deserialize)]
struct Members {
    members: Vec<String>,
}

#[derive(Deserialize)]
struct Value {
    value: Option<String>,
}

/// The applications that run through the whole demo.
pub struct Programs {
    limiters: Vec<Process>,
    instances: Vec<Process>,
}

impl Programs {
    /// Starts them, and shows that each host's applications see what the others' do.
    pub fn start(stage: &Stage, progress: &Progress) -> Result<Programs> {
        progress
            .step("programs: a rate limiter, a kill switch, live instances and a setting on each host")?;
        let instances = start_instances(stage)?;
        progress.note("live instances: every host lists all three");
        flip_kill_switch(stage, progress)?;
        set(stage, 0, SETTING, "v1")?;
        let hosts = stage.names().len();
        for host in 1..hosts {
            wait::until("the setting to be seen", ANSWER_TIMEOUT, || {
                let value = get(stage, host, SETTING)?;
                ensure!(value.as_deref() == Some("v1"), "it is {value:?}");
                Ok(())
            })?;
            progress.note(&format!("setting: {} says \"v1\", as set on host-a", stage.names()[host]));
        }
        let limiters = (0..hosts)
            .map(|host| {
                let arguments =
                    ["--key", REQUESTS, "--rate-per-s", REQUESTS_PER_S, "--run-until-stdin-closes"];
                start(stage, host, "rate_limiter", &arguments)
            })
            .collect::<Result<_>>()?;
        progress.note(&format!("rate limiters: each counts {REQUESTS_PER_S} requests a second from now on"));
        Ok(Programs { limiters, instances })
    }

    /// Adds an instance on a host.
    pub fn add_instance(&mut self, stage: &Stage, host: usize, name: &str) -> Result<()> {
        self.instances.push(start(stage, host, "instances", &["--key", INSTANCES, "--name", name])?);
        Ok(())
    }

    /// Lets the rate limiters drain, and returns what each counted, in the hosts' order.
    pub fn finish_limiters(&mut self) -> Result<Vec<LimiterResult>> {
        for limiter in &mut self.limiters {
            limiter.close_stdin();
        }
        self.limiters.iter_mut().map(|limiter| answer(limiter, "rate_limiter")).collect()
    }

    /// Ends the rest.
    pub fn stop(&mut self) -> Result<()> {
        for process in self.instances.iter_mut().chain(&mut self.limiters) {
            process.close_stdin();
            let status = process.wait_exit(ANSWER_TIMEOUT)?;
            ensure!(status.success(), "{} ended with {status}\n{}", process.name(), process.log_tail());
        }
        Ok(())
    }
}

fn start_instances(stage: &Stage) -> Result<Vec<Process>> {
    let names = stage.names();
    let mut instances = Vec::new();
    for (host, name) in names.iter().enumerate() {
        instances.push(start(stage, host, "instances", &["--key", INSTANCES, "--name", name])?);
    }
    for instance in &mut instances {
        instance.wait_line(ANSWER_TIMEOUT, |line| {
            serde_json::from_str::<Members>(line).is_ok_and(|found| found.members == names)
        })?;
    }
    Ok(instances)
}

/// Flips the kill switch on the first host, with watchers on the others.
fn flip_kill_switch(stage: &Stage, progress: &Progress) -> Result<()> {
    let names = stage.names();
    let mut watchers = (1..names.len())
        .map(|host| start(stage, host, "kill_switch", &["--key", KILL_SWITCH, "--watch"]))
        .collect::<Result<Vec<_>>>()?;
    for (watcher, host) in watchers.iter().zip(1..) {
        wait_attached(stage, host, watcher)?;
    }
    let mut flipper = start(stage, 0, "kill_switch", &["--key", KILL_SWITCH, "--flip"])?;
    let flipped: Flipped = answer(&mut flipper, "kill_switch --flip")?;
    for (watcher, name) in watchers.iter_mut().zip(&names[1..]) {
        let seen: Seen = answer(watcher, "kill_switch --watch")?;
        let after_ns = seen.seen_at_ns.saturating_sub(flipped.flipped_at_ns);
        progress.note(&format!(
            "kill switch: flipped on host-a, seen on {name} {:.1} µs later",
            after_ns as f64 / 1e3
        ));
    }
    Ok(())
}

/// Waits until a host's daemon has a process among its clients.
pub fn wait_attached(stage: &Stage, host: usize, process: &Process) -> Result<()> {
    let socket = stage.cluster.hosts()[host].socket();
    let pid = process.pid().as_raw_nonzero().get();
    wait::until(&format!("{} to attach", process.name()), ANSWER_TIMEOUT, || {
        let pids = admin::client_pids(&socket)?;
        ensure!(pids.contains(&pid), "attached are {pids:?}");
        Ok(())
    })
}

/// Sets a register on a host, through the example.
pub fn set(stage: &Stage, host: usize, key: &str, value: &str) -> Result<()> {
    let mut process = start(stage, host, "config_value", &["--key", key, "--set", value])?;
    let status = process.wait_exit(ANSWER_TIMEOUT)?;
    if !status.success() {
        bail!("config_value --set ended with {status}\n{}", process.log_tail());
    }
    Ok(())
}

/// Enables a flag on a host, through the example.
pub fn enable(stage: &Stage, host: usize, key: &str) -> Result<()> {
    let mut process = start(stage, host, "kill_switch", &["--key", key, "--flip"])?;
    answer::<Flipped>(&mut process, "kill_switch --flip").map(drop)
}

fn get(stage: &Stage, host: usize, key: &str) -> Result<Option<String>> {
    let mut process = start(stage, host, "config_value", &["--key", key, "--get"])?;
    Ok(answer::<Value>(&mut process, "config_value --get")?.value)
}

/// Starts an example at the socket of a host's daemon, in that host's namespace.
pub fn start(stage: &Stage, host: usize, example: &str, arguments: &[&str]) -> Result<Process> {
    let program = stage.cluster.binaries().example(example)?;
    let plan = &stage.cluster.hosts()[host].plan;
    let socket = plan.socket();
    let mut all = vec!["--socket", socket.to_str().context("the socket's path is not UTF-8")?];
    all.extend(arguments);
    stage.cluster.spawn(host, &format!("{example}-{}", plan.name), &program, &all)
}

/// The next line of an application, understood.
pub fn answer<T: DeserializeOwned>(process: &mut Process, who: &str) -> Result<T> {
    let line = process.next_line(ANSWER_TIMEOUT)?;
    serde_json::from_str(&line).with_context(|| format!("{who} said {line:?}"))
}
