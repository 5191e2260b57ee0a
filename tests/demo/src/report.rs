//! The result: a table for people, `report.json` for programs.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::latency::{Latencies, Quantiles, in_words};
use crate::partition::Healed;
use crate::progress::Progress;
use crate::stage::Stage;
use crate::state::Snapshot;

/// What the first version wants to reach on two cores.
const GOAL_P50_NS: u64 = 20_000;
const GOAL_P99_NS: u64 = 200_000;

/// `report.json`. The first six fields are what tools may rely on.
#[derive(Serialize)]
pub struct Report {
    port: Vec<String>,
    converged: bool,
    counter_expected: i64,
    counter_actual: Vec<i64>,
    visible_ns: Quantiles,
    heal_ms: f64,

    version: &'static str,
    kernel: String,
    hosts: Vec<String>,
    fabric: &'static str,
    visible_ns_by_pair: Vec<(String, String, Quantiles)>,
    latency_goal_met: bool,
    steal_percent: f64,
    digests_equal: bool,
    added_by_host: Vec<i64>,
    max_write_ns_by_host: Vec<u64>,
    p99_write_ns_by_host: Vec<u64>,
    states: Vec<Snapshot>,
    failures: Vec<String>,
}

impl Report {
    /// Puts together what was found.
    pub fn new(
        stage: &Stage,
        latencies: &Latencies,
        steal_percent: f64,
        healed: &Healed,
        snapshots: &[Snapshot],
    ) -> Result<Report> {
        let mut failures = healed.local_failures();
        if let Err(error) = healed.expected.check(snapshots) {
            failures.push(format!("{error:#}"));
        }
        let converged = healed.digests_equal && snapshots.iter().all(|snapshot| snapshot == &snapshots[0]);
        if !converged {
            failures.push("the hosts are not equal".into());
        }
        if latencies.all.count == 0 {
            failures.push("no latency was measured".into());
        }
        let visible = latencies.all;
        Ok(Report {
            port: stage.ports()?,
            converged,
            counter_expected: healed.expected.requests,
            counter_actual: snapshots.iter().map(|snapshot| snapshot.requests).collect(),
            visible_ns: visible,
            heal_ms: healed.heal.as_secs_f64() * 1e3,
            version: env!("CARGO_PKG_VERSION"),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            hosts: stage.names().into_iter().map(str::to_owned).collect(),
            fabric: if stage.loopback { "loopback" } else { "bridge" },
            visible_ns_by_pair: latencies.pairs.clone(),
            latency_goal_met: visible.p50 <= GOAL_P50_NS && visible.p99 <= GOAL_P99_NS,
            steal_percent,
            digests_equal: healed.digests_equal,
            added_by_host: healed.limiters.iter().map(|limiter| limiter.added).collect(),
            max_write_ns_by_host: healed.limiters.iter().map(|limiter| limiter.max_write_ns).collect(),
            p99_write_ns_by_host: healed.limiters.iter().map(|limiter| limiter.p99_write_ns).collect(),
            states: snapshots.to_vec(),
            failures,
        })
    }

    /// Whether everything held.
    pub fn held(&self) -> bool {
        self.failures.is_empty()
    }

    /// What did not hold.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Prints the tables.
    pub fn print(&self, progress: &Progress) {
        let row = |what: &str, values: Vec<String>| {
            let columns: String = values.iter().map(|value| format!("{value:>16}")).collect();
            progress.note(&format!("{what:<28}{columns}"));
        };
        let states = |show: &dyn Fn(&Snapshot) -> String| self.states.iter().map(show).collect::<Vec<_>>();
        let on = |flag: bool| if flag { "on" } else { "off" }.to_owned();
        row("", self.hosts.clone());
        row("port", self.port.clone());
        row("requests added here", self.added_by_host.iter().map(i64::to_string).collect());
        row("requests counted", states(&|state| state.requests.to_string()));
        row("kill switch", states(&|state| on(state.kill_switch)));
        row("maintenance (while cut)", states(&|state| on(state.maintenance)));
        row("live instances", states(&|state| state.instances.len().to_string()));
        let us = |ns: &u64| format!("{:.1} µs", *ns as f64 / 1e3);
        row("a write took at most", self.max_write_ns_by_host.iter().map(us).collect());
        progress.note(&format!("setting: {:?} on {}", self.states[0].setting, self.hosts[0]));
        progress.note("");
        progress
            .note(&format!("requests: {} added, {:?} counted", self.counter_expected, self.counter_actual));
        progress.note(&format!("healed:   {:.1} ms after the link was joined", self.heal_ms));
        progress.note("");
        progress.note("write here -> visible there");
        for (here, there, quantiles) in &self.visible_ns_by_pair {
            progress.note(&format!("  {here} -> {there}   {}", in_words(quantiles)));
        }
        progress.note(&format!("  all pairs          {}", in_words(&self.visible_ns)));
        let verdict = if self.latency_goal_met { "met" } else { "missed" };
        progress.note(&format!(
            "  goal p50 <= {} µs and p99 <= {} µs: {verdict} (the hypervisor took {:.1} % of the processors meanwhile)",
            GOAL_P50_NS / 1000,
            GOAL_P99_NS / 1000,
            self.steal_percent
        ));
        progress.note("");
    }

    /// Writes `report.json`.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let json = serde_json::to_string_pretty(self)?;
        std::fs::write(path, json + "\n").with_context(|| format!("can't write {}", path.display()))
    }
}
