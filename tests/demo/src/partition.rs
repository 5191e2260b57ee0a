//! The partition: one host's link is cut for two seconds while everybody writes on; then it is joined again.
//!
//! What counts as healed: the rate limiters stop just before the link is joined, so that there is one total that all hosts
//! must reach, and `heal_ms` runs from the order to join the link until every host's applications read that total.
//! (With writers going on there would be no moment at which totals could be compared.) That the link was really cut is
//! shown by what the hosts do not know of each other at the end of the two seconds.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use lattice_client::Ack;
use lattice_cluster::wait;

use crate::programs::{self, LimiterResult, Programs};
use crate::progress::Progress;
use crate::stage::Stage;
use crate::state::{Expected, MAINTENANCE, REQUESTS, SETTING};

/// The host whose link is cut.
const CUT: usize = 2;

/// How long it is cut, and how often the totals are shown meanwhile.
const CUT_FOR: Duration = Duration::from_secs(2);
const SHOWN_EVERY: Duration = Duration::from_millis(500);

/// How long the hosts may take to become equal.
const HEAL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a write of the demo's own may take on its host.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A write that took this long must have waited for something: a quarter of the cut, far above what the scheduler of
/// a busy machine does to a process.
const NO_WAIT_NS: u64 = 500_000_000;

/// What came of it.
pub struct Healed {
    /// What all hosts must show.
    pub expected: Expected,
    /// What each rate limiter counted.
    pub limiters: Vec<LimiterResult>,
    /// From the order to join the link until all hosts show the same total.
    pub heal: Duration,
    /// Whether all hosts also have equal state and history in every shard, by their digests.
    pub digests_equal: bool,
}

impl Healed {
    /// What went wrong with local reads and writes while the link was cut; empty is right.
    pub fn local_failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (limiter, host) in self.limiters.iter().zip('a'..) {
            let LimiterResult { failed, unknown, read_failures, .. } = limiter;
            if failed + unknown + read_failures > 0 {
                failures.push(format!(
                    "on host-{host} {failed} writes and {read_failures} reads failed, {unknown} writes got no answer"
                ));
            }
            if limiter.added == 0 || limiter.reads == 0 {
                failures.push(format!("the rate limiter on host-{host} did nothing"));
            }
            if limiter.max_write_ns >= NO_WAIT_NS {
                failures
                    .push(format!("on host-{host} a write waited {} ms", limiter.max_write_ns / 1_000_000));
            }
        }
        failures
    }
}

/// Cuts, waits, joins, and waits for the hosts to be equal.
pub fn cut_and_heal(stage: &Stage, programs: &mut Programs, progress: &Progress) -> Result<Healed> {
    let names = stage.names();
    let cut_name = names[CUT];
    progress
        .step(&format!("partition: the link of {cut_name} is cut for two seconds, everybody writes on"))?;
    stage.cluster.network().cut(CUT)?;
    // From here on it is cut: to take a link down may take the kernel a while.
    let start = Instant::now();
    let before = totals(stage)?;
    // Both sides change the same things, and neither knows of the other's.
    programs::set(stage, 0, SETTING, "v2, from the majority")?;
    programs::set(stage, CUT, SETTING, "v2, from the other side")?;
    programs::enable(stage, CUT, MAINTENANCE)?;
    write_on_both_sides(stage)?;
    let newcomer = format!("{cut_name}, started while cut off");
    programs.add_instance(stage, CUT, &newcomer)?;
    while start.elapsed() < CUT_FOR {
        progress.pass(SHOWN_EVERY.min(CUT_FOR.saturating_sub(start.elapsed())))?;
        progress.note(&format!("requests counted: {}", in_words(&names, &totals(stage)?)));
    }
    check_apart(stage, &before)?;
    let limiters = programs.finish_limiters()?;
    let requests = limiters.iter().map(|limiter| limiter.added).sum();

    progress.step("heal: the writers stop, the link is joined")?;
    let mut instances: Vec<String> = names.iter().map(|name| (*name).to_owned()).chain([newcomer]).collect();
    instances.sort_unstable();
    let settings = ["v2, from the majority".to_owned(), "v2, from the other side".to_owned()];
    let expected = Expected { requests, settings, instances };
    let start = Instant::now();
    stage.cluster.network().join(CUT)?;
    // Not reaching it is for the verdict to say, with every value beside it.
    let all_equal = wait::until("all hosts to show the total", HEAL_TIMEOUT, || {
        let found = totals(stage)?;
        ensure!(
            found.iter().all(|&total| total == requests),
            "requests counted: {}",
            in_words(&names, &found)
        );
        Ok(())
    });
    let heal = start.elapsed();
    match all_equal {
        Ok(()) => {
            progress.note(&format!("all hosts count {requests} requests, {} ms later", heal.as_millis()))
        }
        Err(error) => progress.note(&format!("{error:#}")),
    }
    let digests = stage.cluster.wait_converged(HEAL_TIMEOUT);
    if let Err(error) = &digests {
        progress.note(&format!("{error:#}"));
    }
    Ok(Healed { expected, limiters, heal, digests_equal: digests.is_ok() })
}

fn totals(stage: &Stage) -> Result<Vec<i64>> {
    stage.clients.iter().map(|client| Ok(client.counter(REQUESTS)?.get()?)).collect()
}

/// A counter of each host's, written while the link is cut and never else.
fn own_counter(host: usize) -> String {
    format!("demo/while-cut/{host}")
}

fn write_on_both_sides(stage: &Stage) -> Result<()> {
    for (host, client) in stage.clients.iter().enumerate() {
        client.counter(own_counter(host))?.add_with(1, Ack::Local, WRITE_TIMEOUT)?;
    }
    Ok(())
}

/// Shows that the partition was one: everybody counted on, and nothing that was written on one side is known on the other.
fn check_apart(stage: &Stage, before: &[i64]) -> Result<()> {
    let now = totals(stage)?;
    let names = stage.names();
    if let Some(host) = now.iter().zip(before).position(|(now, before)| now <= before) {
        bail!("{} counted nothing during the partition", names[host]);
    }
    for (at, client) in stage.clients.iter().enumerate() {
        for of in (0..names.len()).filter(|of| (at == CUT) != (*of == CUT)) {
            let is_known = client.counter(own_counter(of))?.get()? != 0;
            ensure!(
                !is_known,
                "the link was not cut: {} knows what {} wrote meanwhile",
                names[at],
                names[of]
            );
        }
    }
    Ok(())
}

fn in_words(names: &[&str], totals: &[i64]) -> String {
    names.iter().zip(totals).map(|(name, total)| format!("{name} {total}")).collect::<Vec<_>>().join("   ")
}
