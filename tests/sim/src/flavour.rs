//! Flavours: worlds that lean towards what independent draws seldom bring together.
//!
//! Swarm testing leaves each choice to chance, and what needs five of them at once comes once in a thousand seeds. The
//! bug zoo showed which such places nobody went to: a log that goes round by bytes and not by records, a removal that is
//! ahead of its add while a sync runs, a sync of so many frames that it breaks in the middle, two writes of one moment, a host
//! that is forgotten before the others have told each other what they have of it, more epochs than a vector has room for. More than half of the seeds are bent towards one of these; everything that is not set here stays as it was drawn.

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
            0 => self.wrap_logs(),
            1..=3 => self.churn(),
            4..=6 => self.sync_much(&mut draw),
            7 => self.write_together(),
            8..=10 => self.drop_keys(&mut draw),
            11..=13 => self.come_back(&mut draw),
            14..=16 if self.nodes > 2 => self.forget_soon(&mut draw),
            17..=18 => self.restart_often(&mut draw),
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
        self.operations = 500;
        (self.limits.log_bytes, self.limits.log_records) = (256 << 10, 8);
        let workload = &mut self.workload;
        workload.kind_weights[Kind::ALL.iter().position(|kind| *kind == Kind::Set).unwrap_or(0)] += 10;
        (workload.keys, workload.skew, workload.elements) = (12, 1, 16);
        (workload.max_value_bytes, workload.removals_per_mille, workload.clears_per_mille) = (256, 300, 0);
        self.network.loss = self.network.loss.max(400);
        self.break_syncs(draw);
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
            host.copied_per_mille = 20;
        }
        self.incidents.clear();
        let third_ns = self.active_ns / 3;
        // One comes back with nothing: it never had the keys that were dropped, and has to know of them all the same when
        // it is the only one whom the next to come back, from an old copy, can ask. Soon: until it has a snapshot, nothing
        // more is dropped that would tell.
        let (empty, emptied_ns) = (draw.index(self.nodes), third_ns + draw.below(2 * third_ns));
        self.crash(empty, Crash::AllLost, emptied_ns);
        let (old, restored_ns) = ((empty + 1) % self.nodes, emptied_ns + draw.between(50 * MS, 200 * MS));
        self.crash(old, Crash::OldCopy, restored_ns);
        for other in (0..self.nodes).filter(|&other| other != old && other != empty) {
            self.cut_until_the_end(restored_ns - MS, What::DeadPair { one: old, other });
        }
        if draw.per_mille(500) {
            self.crash(draw.index(self.nodes), Crash::OldCopy, 2 * third_ns + draw.below(third_ns));
        }
        self.incidents.sort_by_key(|incident| incident.at_ns);
    }

    /// Hosts come back with nothing, or little, while one direction to them is dead: what their peers' logs bring and
    /// what a state sync brings in its stead come at the same time.
    fn come_back(&mut self, draw: &mut Draw) {
        self.only(|kind| !matches!(kind, Kind::Counter | Kind::Register));
        (self.storage, self.operations) = (Storage::Durable, 600);
        (self.limits.log_bytes, self.limits.log_records) = (256 << 10, 4096);
        self.limits.max_actors = MAX_ACTORS;
        self.limits.max_window_frames = draw.pick(&[1, 2, 4]);
        let workload = &mut self.workload;
        (workload.keys, workload.skew, workload.elements) = (16, 1, 12);
        (workload.max_value_bytes, workload.removals_per_mille, workload.burst) = (256, 450, 1);
        self.incidents.clear();
        let to = draw.index(self.nodes);
        for from in (0..self.nodes).filter(|&from| from != to) {
            if draw.per_mille(150) {
                self.cut_until_the_end(self.active_ns / 4, What::DeadDirection { from, to });
            }
        }
        if draw.per_mille(500) {
            self.break_syncs(draw);
        }
        for _ in 0..draw.between(2, 8) {
            let crash = draw.pick(&[Crash::AllLost, Crash::AllLost, Crash::OldCopy, Crash::RestoredImage]);
            let at_ns = self.active_ns / 2 + draw.below(self.active_ns / 2);
            self.crash(to, crash, at_ns);
            // With nobody to ask at first, it has to know by itself how old it is.
            if draw.per_mille(300) {
                let lasts_ns = draw.between(50 * MS, 300 * MS);
                self.incidents.push(Incident {
                    at_ns: at_ns - MS,
                    lasts_ns,
                    what: What::Isolated { node: to },
                });
            }
        }
        self.incidents.sort_by_key(|incident| incident.at_ns);
    }

    /// A host goes in the middle of telling the others, who hear little of it, each something else. They are told to forget it
    /// before they have compared what they know. It comes back with what it had, or was there all the time.
    fn forget_soon(&mut self, draw: &mut Draw) {
        self.only(|kind| kind != Kind::Register);
        (self.storage, self.operations) = (Storage::Durable, 500);
        (self.limits.max_actors, self.timers.anti_entropy_ns) = (MAX_ACTORS, 1_000 * MS);
        // What died with the host may be pre-removed until its gaps are closed.
        self.limits.max_pre_removed = 1024;
        let workload = &mut self.workload;
        (workload.keys, workload.skew, workload.burst, workload.one_writer) = (8, 1, 1, false);
        (self.network.delay_ns, self.network.jitter_ns) = (MS, 5 * MS);
        self.network.loss = draw.pick(&[300, 500, 700]);
        self.incidents.clear();
        let (from, at_ns) = (draw.index(self.nodes), draw.between(self.active_ns / 4, self.active_ns / 2));
        for to in (0..self.nodes).filter(|&to| to != from) {
            if draw.per_mille(300) {
                let lasts_ns = draw.between(5 * MS, 100 * MS);
                let what = What::DeadDirection { from, to };
                self.incidents.push(Incident { at_ns: at_ns - lasts_ns, lasts_ns, what });
            }
        }
        let lasts_ns = draw.between(5 * MS, 300 * MS);
        if draw.per_mille(500) {
            let back_after_ns = draw.per_mille(700).then(|| draw.between(MS, 500 * MS));
            self.incidents.push(Incident { at_ns, lasts_ns, what: What::Gone { node: from, back_after_ns } });
        } else {
            self.incidents.push(Incident {
                at_ns,
                lasts_ns: 2 * lasts_ns,
                what: What::Isolated { node: from },
            });
            let at_ns = at_ns + lasts_ns;
            self.incidents.push(Incident { at_ns, lasts_ns: 0, what: What::Forgotten { node: from } });
        }
        if draw.per_mille(400) {
            let (node, crash) = (draw.index(self.nodes), draw.pick(&Crash::ALL));
            self.crash(node, crash, at_ns + draw.below(2 * lasts_ns));
        }
        self.incidents.sort_by_key(|incident| incident.at_ns);
    }

    /// Hosts come back again and again, in new epochs: more of them than a vector has room for, unless those that are over are
    /// folded. Some bring copies from before that, or nothing.
    fn restart_often(&mut self, draw: &mut Draw) {
        self.only(|kind| matches!(kind, Kind::Counter | Kind::Set));
        (self.storage, self.operations, self.active_ns) = (Storage::Durable, 500, 5_000 * MS);
        self.timers.anti_entropy_ns = 40 * MS;
        self.limits.max_actors = 3 * self.nodes + 6;
        let workload = &mut self.workload;
        (workload.keys, workload.skew, workload.elements) = (8, 1, 4);
        (workload.burst, workload.one_writer) = (1, false);
        self.network.loss = self.network.loss.min(50);
        for host in &mut self.hosts {
            (host.starts_at_ns, host.fsync_ns, host.snapshot_ns) = (0, 10 * MS, 60 * MS);
            host.copied_per_mille = 150;
        }
        self.incidents.clear();
        let kinds = [
            Crash::TailLost,
            Crash::TailLost,
            Crash::TailLost,
            Crash::AllLost,
            Crash::OldCopy,
            Crash::RestoredImage,
        ];
        let mut at_ns = draw.between(200 * MS, 500 * MS);
        while at_ns < self.active_ns {
            self.crash(draw.index(self.nodes), draw.pick(&kinds), at_ns);
            if draw.per_mille(250) {
                let (one, other) = (draw.index(self.nodes), draw.index(self.nodes));
                let lasts_ns = draw.between(50 * MS, 400 * MS);
                self.incidents.push(Incident {
                    at_ns,
                    lasts_ns,
                    what: What::DeadDirection { from: one, to: other },
                });
            }
            // Long enough now and then for a round.
            at_ns += draw.pick(&[30 * MS, 100 * MS, 300 * MS, 600 * MS]);
        }
        self.incidents.sort_by_key(|incident| incident.at_ns);
    }

    /// Syncs break off when they have got somewhere, for longer than their receivers wait.
    fn break_syncs(&mut self, draw: &mut Draw) {
        self.timers.sync_timeout_ns = 500 * MS;
        for _ in 0..draw.between(3, 8) {
            let what = What::SyncBreak { frame: draw.between(1, 5) };
            let lasts_ns = draw.between(600 * MS, 1_500 * MS);
            self.incidents.push(Incident { at_ns: draw.below(self.active_ns), lasts_ns, what });
        }
    }

    fn crash(&mut self, node: usize, crash: Crash, at_ns: u64) {
        let what = What::Crash { node, crash, point: CrashPoint::Between };
        self.incidents.push(Incident { at_ns, lasts_ns: 20 * MS, what });
    }

    fn cut_until_the_end(&mut self, at_ns: u64, what: What) {
        self.incidents.push(Incident { at_ns, lasts_ns: self.active_ns, what });
    }

    /// Clients of two hosts write the same register in the same moment.
    fn write_together(&mut self) {
        self.only(|kind| kind == Kind::Register);
        (self.workload.keys, self.workload.together) = (2, true);
        self.hosts.iter_mut().for_each(|host| host.clock_ns = 0);
    }
}
