//! Flavours: worlds that lean towards what independent draws seldom bring together.
//!
//! Swarm testing leaves each choice to chance, and what needs five of them at once comes once in a thousand seeds. The
//! bug zoo showed which such places nobody went to: a log that goes round by bytes and not by records, a removal that is
//! ahead of its add while a sync runs, a sync of so many frames that it breaks in the middle, two writes of one moment.
//! About half of the seeds are bent towards one of these; everything that is not set here stays as it was drawn.

use crate::draw::Draw;
use crate::incident::{Crash, CrashPoint, Incident, What};
use crate::plan::Plan;
use lattice_crdt::Kind;
use lattice_crdt::limits::MAX_ACTORS;
use lattice_engine::Storage;

const MS: u64 = 1_000_000;

/// The least that an engine accepts, in whole kibibytes.
const LEAST_LOG_BYTES: usize = 21 << 10;

impl Plan {
    /// Bends a plan towards the flavour of its seed, if it has one.
    pub(crate) fn flavour(&mut self, mut draw: Draw) {
        match draw.below(20) {
            0 | 1 => self.wrap_logs(),
            2..=5 => self.churn(),
            6..=8 => self.sync_much(&mut draw),
            9 | 10 => self.write_together(),
            11 | 12 => self.drop_keys(&mut draw),
            _ => {}
        }
    }

    /// Writes of these kinds only.
    fn only(&mut self, wanted: impl Fn(Kind) -> bool) {
        self.workload.kind_weights = Kind::ALL.map(|kind| u64::from(wanted(kind)));
    }

    /// One host writes so many long values that its small log goes round several times, and peers fall out of it.
    fn wrap_logs(&mut self) {
        self.only(|kind| kind == Kind::Register);
        self.operations = 300;
        (self.limits.log_bytes, self.limits.log_records) = (LEAST_LOG_BYTES, 4096);
        let workload = &mut self.workload;
        (workload.max_value_bytes, workload.skew, workload.one_writer) = (1024, 1, true);
    }

    /// Few elements come and go everywhere at once, frames are lost, and logs are so short that there is a state sync
    /// all the time: removals overtake what they remove, and syncs show what is removed.
    fn churn(&mut self) {
        self.only(|kind| !matches!(kind, Kind::Counter | Kind::Register));
        self.operations = 500;
        (self.limits.log_records, self.limits.max_pre_removed) = (8, 64);
        let workload = &mut self.workload;
        (workload.keys, workload.elements, workload.removals_per_mille) = (2, 2, 500);
        (workload.burst, workload.one_writer) = (1, false);
        self.network.loss = self.network.loss.max(400);
    }

    /// Much state, short logs, and syncs of many frames that take long, break off and are begun again elsewhere.
    fn sync_much(&mut self, draw: &mut Draw) {
        self.operations = 300;
        (self.limits.log_bytes, self.limits.log_records) = (256 << 10, 8);
        self.timers.sync_timeout_ns = 500 * MS;
        let workload = &mut self.workload;
        workload.kind_weights[Kind::ALL.iter().position(|kind| *kind == Kind::Set).unwrap_or(0)] += 10;
        (workload.keys, workload.skew, workload.elements) = (16, 1, 16);
        (workload.max_value_bytes, workload.removals_per_mille, workload.clears_per_mille) = (256, 200, 0);
        self.network.loss = self.network.loss.max(150);
        for _ in 0..draw.between(2, 6) {
            let what = What::SyncBreak { frame: draw.between(1, 8) };
            let lasts_ns = draw.between(600 * MS, 1_500 * MS);
            self.incidents.push(Incident { at_ns: draw.below(self.active_ns), lasts_ns, what });
        }
        self.incidents.sort_by_key(|incident| incident.at_ns);
    }

    /// Keys become empty and are dropped everywhere, and then hosts come back from copies that are older than that, or
    /// with nothing: some to ask, some to be asked.
    fn drop_keys(&mut self, draw: &mut Draw) {
        self.only(|kind| matches!(kind, Kind::Set | Kind::FlagEnableWins));
        (self.storage, self.operations, self.active_ns) = (Storage::Durable, 100, 3_000 * MS);
        self.timers.anti_entropy_ns = 80 * MS;
        // Each restart may bring another epoch.
        self.limits.max_actors = MAX_ACTORS;
        let workload = &mut self.workload;
        (workload.keys, workload.skew, workload.elements) = (24, 1, 1);
        (workload.removals_per_mille, workload.burst) = (500, 1);
        self.network.loss = self.network.loss.min(20);
        for host in &mut self.hosts {
            (host.starts_at_ns, host.fsync_ns, host.snapshot_ns) = (0, 20 * MS, 80 * MS);
            host.copied_per_mille = 60;
        }
        self.incidents.clear();
        for _ in 0..draw.between(2, 5) {
            let crash = draw.pick(&[Crash::OldCopy, Crash::OldCopy, Crash::AllLost]);
            let (node, point) = (draw.index(self.nodes), CrashPoint::Between);
            let at_ns = draw.between(self.active_ns / 3, self.active_ns);
            let what = What::Crash { node, crash, point };
            self.incidents.push(Incident { at_ns, lasts_ns: draw.between(MS, 100 * MS), what });
        }
        self.incidents.sort_by_key(|incident| incident.at_ns);
    }

    /// Clients of two hosts write the same register in the same moment.
    fn write_together(&mut self) {
        self.only(|kind| kind == Kind::Register);
        (self.workload.keys, self.workload.together) = (2, true);
        self.hosts.iter_mut().for_each(|host| host.clock_ns = 0);
    }
}
