//! Incidents: how they begin and end.

use crate::faults::Fault;
use crate::host::{Mode, Slowness};
use crate::incident::{Crash, CrashPoint, What};
use crate::network::Cut;
use crate::sabotage::Sabotage;
use crate::world::{Event, World};
use lattice_engine::{Engine, Storage};

impl World<'_> {
    pub(crate) fn begin_incident(&mut self, incident: usize) {
        if self.healing {
            return;
        }
        let planned = self.plan.incidents[incident];
        self.trace.note(self.now_ns, 4, &[incident as u64]);
        self.trace.say(self.now_ns, format_args!("{:?}", planned.what));
        match planned.what {
            What::DeadDirection { from, to } => {
                self.cut(incident, Fault::AsymmetricPartition, Some(from), Some(to));
            }
            What::DeadPair { one, other } => {
                self.cut(incident, Fault::PartialPartition, Some(one), Some(other));
                self.cut(incident, Fault::PartialPartition, Some(other), Some(one));
            }
            What::Isolated { node } => {
                self.cut(incident, Fault::Isolation, Some(node), None);
                self.cut(incident, Fault::Isolation, None, Some(node));
            }
            What::Paused { node } => self.pause(node),
            What::Slow { node, frames_per_turn, turn_ns } => {
                self.hosts[node].slowness = Some(Slowness { frames: frames_per_turn, turn_ns });
            }
            What::Crash { node, crash, point } => return self.plan_crash(incident, node, crash, point),
            What::Gone { node, .. } => self.depart(node),
            What::Forgotten { node } => self.forget(node),
            What::ClockStep { node, by_ns } => self.step_clock(node, by_ns),
            What::SyncBreak { frame } => self.armed_sync_breaks.push((incident, frame)),
            What::NoRoom { node } => self.set_no_room(node, true),
        }
        self.schedule(self.now_ns + planned.lasts_ns, Event::End(incident));
    }

    pub(crate) fn end_incident(&mut self, incident: usize) {
        if self.healing {
            return;
        }
        match self.plan.incidents[incident].what {
            What::DeadDirection { .. } | What::DeadPair { .. } | What::Isolated { .. } => {
                self.network.mend(incident);
            }
            What::SyncBreak { .. } => {
                self.network.mend(incident);
                self.armed_sync_breaks.retain(|(of, _)| *of != incident);
            }
            What::Paused { node } => self.resume(node),
            What::Slow { node, .. } => self.hosts[node].slowness = None,
            What::NoRoom { node } => self.set_no_room(node, false),
            What::Crash { node, .. } => self.start_host(node),
            What::Gone { node, back_after_ns } => self.forget_gone(node, back_after_ns),
            What::ClockStep { .. } | What::Forgotten { .. } => {}
        }
    }

    fn cut(&mut self, incident: usize, fault: Fault, from: Option<usize>, to: Option<usize>) {
        self.network.cut(Cut { incident, fault, from, to });
    }

    fn pause(&mut self, node: usize) {
        if self.hosts[node].mode == Mode::Up {
            self.hosts[node].mode = Mode::Paused;
            self.hosts[node].paused_at_ns = self.now_ns;
            self.hosts[node].turn_at_ns = u64::MAX;
        }
    }

    pub(crate) fn resume(&mut self, node: usize) {
        if self.hosts[node].mode == Mode::Paused {
            self.hosts[node].mode = Mode::Up;
            if self.now_ns - self.hosts[node].paused_at_ns > self.plan.timers.peer_timeout_ns {
                self.struck.strike(Fault::Pause);
            }
            self.schedule_turn(node, self.now_ns + 1);
        }
    }

    fn step_clock(&mut self, node: usize, by_ns: i64) {
        let host = &mut self.hosts[node];
        host.clock_ns = host.clock_ns.saturating_add(by_ns);
        let extremes = &mut self.clock_extremes_ns[node];
        *extremes = (extremes.0.min(host.clock_ns), extremes.1.max(host.clock_ns));
        self.struck.strike(if by_ns < 0 { Fault::ClockBack } else { Fault::ClockForward });
    }

    fn set_no_room(&mut self, node: usize, no_room: bool) {
        if let Some(board) = &mut self.hosts[node].board {
            board.no_room = no_room;
        }
    }

    /// The process ends in its next turn, at the point that was drawn.
    fn plan_crash(&mut self, incident: usize, node: usize, crash: Crash, point: CrashPoint) {
        if !matches!(self.hosts[node].mode, Mode::Up | Mode::Paused) {
            return;
        }
        self.resume(node);
        self.hosts[node].crash_point = Some(point);
        self.hosts[node].crash = self.possible(node, crash);
        self.schedule_turn(node, self.now_ns + 1);
        let until_ns = self.now_ns + self.plan.incidents[incident].lasts_ns.max(2);
        self.schedule(until_ns, Event::End(incident));
    }

    /// What a crash finds to do: where nothing is kept, all is lost; where there is no copy, none comes back.
    fn possible(&self, node: usize, crash: Crash) -> Crash {
        let copied = !self.hosts[node].copies.is_empty();
        match crash {
            _ if self.plan.storage == Storage::Memory => Crash::AllLost,
            Crash::OldCopy | Crash::RestoredImage if !copied => Crash::TailLost,
            possible => possible,
        }
    }

    /// A host goes and does not come back. One at a time: the others would have nobody to ask.
    fn depart(&mut self, node: usize) {
        if self.hosts.iter().any(|host| host.mode == Mode::Gone) {
            return;
        }
        self.trace.say(self.now_ns, format_args!("n{} is gone for good", node + 1));
        self.witness(node);
        self.note_reached(node);
        self.hosts[node].crash = self.possible(node, Crash::LogWhole);
        self.hosts[node].kill();
        self.hosts[node].mode = Mode::Gone;
        self.drop_ring(node);
    }

    /// The others forget a host that is gone, if it still is; it may come back all the same.
    fn forget_gone(&mut self, node: usize, back_after_ns: Option<u64>) {
        if self.hosts[node].mode != Mode::Gone {
            return;
        }
        self.forget(node);
        if let Some(after_ns) = back_after_ns {
            self.hosts[node].mode = Mode::Down;
            self.schedule(self.now_ns + after_ns, Event::Start(node));
        }
    }

    /// Somebody tells the next host that runs that a node is no member any more.
    pub(crate) fn forget(&mut self, node: usize) {
        let hosts = self.hosts.len();
        let running = |host: &usize| self.hosts[*host].mode == Mode::Up;
        if let Some(told) = (1..hosts).map(|i| (node + i) % hosts).find(running) {
            self.tell_to_forget(told, node);
        }
    }

    fn tell_to_forget(&mut self, told: usize, node: usize) {
        let gone = self.hosts[node].node;
        let mut news = false;
        for shard in &mut self.hosts[told].shards {
            news |= shard.engine.forget(gone);
            shard.active = true;
        }
        if news {
            self.struck.strike(Fault::Forgotten);
            self.trace.say(self.now_ns, format_args!("n{} is told to forget n{gone}", told + 1));
        }
        self.keep_forgotten(told);
        self.schedule_turn(told, self.now_ns + 1);
    }

    /// What a daemon does besides its workers: keeps which nodes are forgotten, and begins anew if its own is.
    pub(crate) fn heed_forgetting(&mut self, host: usize) {
        self.keep_forgotten(host);
        let engines = || self.hosts[host].shards.iter().map(|shard| &shard.engine);
        if !engines().any(Engine::is_forgotten) {
            return;
        }
        let generation = engines().map(Engine::wanted_generation).max().unwrap_or(0);
        self.trace.say(self.now_ns, format_args!("n{} was forgotten, and begins anew", host + 1));
        self.struck.strike(Fault::ForgottenReturns);
        self.witness(host);
        self.note_reached(host);
        let crash = std::mem::replace(&mut self.hosts[host].crash, Crash::AllLost);
        self.hosts[host].kill();
        self.hosts[host].crash = crash;
        self.drop_ring(host);
        // It may know the generation, or be told once more.
        if self.hosts[host].draw.per_mille(500) {
            self.hosts[host].generation = generation;
        }
        self.schedule(self.now_ns + 1, Event::Start(host));
    }

    /// What one engine knows to be forgotten is kept, and told to the host's other engines.
    fn keep_forgotten(&mut self, host: usize) {
        let this = &mut self.hosts[host];
        let before = this.forgotten.clone();
        for (node, generation) in this.shards.iter().flat_map(|shard| shard.engine.forgotten()) {
            let known = this.forgotten.entry(node).or_default();
            *known = generation.max(*known);
        }
        if this.forgotten == before {
            return;
        }
        for shard in &mut this.shards {
            shard.engine.keep_forgotten(this.forgotten.iter().map(|(&node, &generation)| (node, generation)));
            shard.active = true;
        }
    }

    fn drop_ring(&mut self, host: usize) {
        while let Some(frame) = self.hosts[host].ring.pop_front() {
            self.network.recycle(frame);
        }
    }

    /// Whether the process ends here; it has, if so.
    pub(crate) fn crashes_at(&mut self, host: usize, point: CrashPoint) -> bool {
        if self.hosts[host].crash_point != Some(point) {
            return false;
        }
        self.trace.note(self.now_ns, 5, &[host as u64]);
        let crash = self.hosts[host].crash;
        self.trace.say(self.now_ns, format_args!("n{} is killed, {point:?}, {crash:?}", host + 1));
        self.struck.strike(match crash {
            Crash::LogWhole => Fault::CrashLogWhole,
            Crash::TailLost => Fault::CrashTailLost,
            Crash::AllLost => Fault::CrashAllLost,
            Crash::OldCopy => Fault::OldCopy,
            Crash::RestoredImage => Fault::RestoredImage,
        });
        self.witness(host);
        self.note_reached(host);
        self.hosts[host].kill();
        self.drop_ring(host);
        true
    }

    /// Breaks a state sync off, if one is to be and this is the frame.
    pub(crate) fn consider_sync_break(&mut self, from: usize, to: usize, index: u64) {
        if let Some(at) = self.armed_sync_breaks.iter().position(|(_, frame)| *frame <= index) {
            let (incident, _) = self.armed_sync_breaks.swap_remove(at);
            self.cut(incident, Fault::SyncInterrupted, Some(from), Some(to));
        }
    }

    /// All faults end: everybody runs, everything is connected.
    pub(crate) fn heal(&mut self) {
        self.healing = true;
        self.trace.say(self.now_ns, format_args!("all faults end"));
        self.network.calm();
        if self.sabotage == Some(Sabotage::Deafness) {
            self.cut(usize::MAX, Fault::Isolation, None, Some(0));
        }
        self.armed_sync_breaks.clear();
        for host in 0..self.hosts.len() {
            self.resume(host);
            self.hosts[host].slowness = None;
            self.hosts[host].plan.ring_frames = usize::MAX;
            self.set_no_room(host, false);
            self.start_host(host);
            self.schedule_turn(host, self.now_ns + 1);
        }
        // Whoever is told alone may be forgotten itself, and nobody would know.
        let (gone, up): (Vec<_>, Vec<_>) =
            (0..self.hosts.len()).partition(|&host| self.hosts[host].mode == Mode::Gone);
        for (told, node) in up.iter().flat_map(|&told| gone.iter().map(move |&node| (told, node))) {
            self.tell_to_forget(told, node);
        }
    }
}
