//! One turn of a host's worker, and what is checked after it.

use crate::faults::Fault;
use crate::host::{Host, Mode, Shard};
use crate::incident::CrashPoint;
use crate::network::Flying;
use crate::oracle::History;
use crate::plan::Plan;
use crate::sabotage::Sabotage;
use crate::world::{Event, World};
use lattice_crdt::{ActorId, Dot, SeqRange};
use lattice_engine::{DropReason, Storage};
use lattice_segment::{key_hash, shard_of};
use lattice_wire::{FrameType, MAX_FRAME_BYTES, offsets};
use std::rc::Rc;

/// Frames that a turn looks at, as in the production worker.
const RECEIVE_BUDGET: usize = 64;

impl World<'_> {
    /// A frame reaches a host.
    pub(crate) fn arrive(&mut self, frame: Flying) {
        let to = frame.to;
        let host = &mut self.hosts[to];
        if !matches!(host.mode, Mode::Up | Mode::Paused) {
            return self.network.recycle(frame);
        }
        if host.ring.len() >= host.plan.ring_frames {
            self.struck.strike(Fault::FullRing);
            return self.network.recycle(frame);
        }
        host.ring.push_back(frame);
        let wait_ns = host.slowness.map_or(host.plan.poll_ns, |slow| slow.turn_ns);
        self.schedule_turn(to, self.now_ns + wait_ns);
    }

    /// One turn of a host's worker.
    pub(crate) fn turn(&mut self, host: usize) {
        if self.hosts[host].mode != Mode::Up {
            return;
        }
        self.receive_frames(host);
        if self.crashes_at(host, CrashPoint::BeforeCommit) {
            return;
        }
        self.heed_forgetting(host);
        if self.hosts[host].mode != Mode::Up {
            return;
        }
        self.take_new_epochs(host);
        self.tick_and_commit(host);
        self.store(host);
        if self.failure.is_some()
            || self.crashes_at(host, CrashPoint::Between)
            || self.crashes_at(host, CrashPoint::BeforeTransmit)
        {
            return;
        }
        let one = self.hosts[host].crash_point == Some(CrashPoint::AfterOneFrame);
        let budget = if one { 1 } else { self.hosts[host].plan.transmit_budget };
        self.transmit(host, budget);
        self.check_acknowledged(host);
        if self.crashes_at(host, CrashPoint::AfterOneFrame) {
            return;
        }
        self.schedule_next_turn(host);
    }

    fn receive_frames(&mut self, host: usize) {
        let budget = self.hosts[host].slowness.map_or(RECEIVE_BUDGET, |slow| slow.frames);
        for _ in 0..budget {
            let Some(frame) = self.hosts[host].ring.pop_front() else { break };
            self.receive(host, &frame);
            self.network.recycle(frame);
        }
        if self.hosts[host].slowness.is_some() && !self.hosts[host].ring.is_empty() {
            self.struck.strike(Fault::SlowPeer);
        }
    }

    /// Hands one frame to its engine.
    fn receive(&mut self, host: usize, frame: &Flying) {
        let now = self.hosts[host].instant(self.now_ns);
        let shard_index = usize::from(frame.shard);
        let shard = &mut self.hosts[host].shards[shard_index];
        let syncs = shard.engine.stats().syncs_requested;
        let actor = ActorId::from_u64(frame.field_u64(offsets::ACTOR));
        let over = |(node, least)| node == actor.node() && actor.generation() < least;
        let of_forgotten = shard.engine.forgotten().any(over);
        let mut result = shard.engine.receive(now, &frame.bytes);
        if self.sabotage == Some(Sabotage::Credulity) {
            result = Ok(());
        }
        shard.active = true;
        let refused_whole = matches!(
            result,
            Err(DropReason::Wire(_)
                | DropReason::StaleSession
                | DropReason::OtherNode
                | DropReason::OtherShard)
        );
        if let Some(upper) = frame.upper.as_ref().filter(|_| !refused_whole) {
            shard.upper.join(upper);
            shard.replica.may_show(&self.histories[shard_index], upper);
        }
        if shard.engine.stats().syncs_requested > syncs
            && frame.field_u64(offsets::LOG_FIRST) > shard.engine.vector().contiguous(actor) + 1
        {
            self.struck.strike(Fault::ShortLog);
        }
        self.trace.note(self.now_ns, 2, &[host as u64, frame.fingerprint(), u64::from(result.is_ok())]);
        if self.trace.prints() {
            self.say_received(host, frame, &result);
        }
        if of_forgotten && result.is_ok() {
            self.fail(format!("n{} takes a frame of {actor}, which was forgotten", host + 1));
        }
        if frame.genuine && matches!(result, Err(DropReason::Wire(_) | DropReason::Record(_))) {
            self.fail(format!("n{} refused a whole frame: {result:?}", host + 1));
        }
        if !frame.genuine && !matches!(result, Err(DropReason::Wire(_))) {
            self.fail(format!("n{} did not refuse a damaged or strange frame: {result:?}", host + 1));
        }
    }

    fn say_received(&self, host: usize, frame: &Flying, result: &Result<(), DropReason>) {
        let what = match frame.frame_type() {
            Some(frame_type) if frame.genuine => format!("{frame_type:?}"),
            _ => "junk".into(),
        };
        let (lo, log_first) = (frame.field_u64(offsets::LO), frame.field_u64(offsets::LOG_FIRST));
        let count = frame.field_u64(offsets::COUNT) as u32;
        let outcome = match result {
            Ok(()) => String::new(),
            Err(reason) => format!(" refused: {reason}"),
        };
        self.trace.say(
            self.now_ns,
            format_args!(
                "n{} <- n{} shard {} {what} lo {lo} count {count} log from {log_first}{outcome}",
                host + 1,
                frame.from + 1,
                frame.shard
            ),
        );
    }

    fn tick_and_commit(&mut self, host: usize) {
        let now = self.hosts[host].instant(self.now_ns);
        let this = &mut self.hosts[host];
        let mut committed = false;
        for shard in &mut this.shards {
            if now.monotonic_ns >= shard.engine.deadline_ns() {
                shard.engine.tick(now);
                shard.active = true;
            }
            if let Some(board) = this.board.as_mut().filter(|_| shard.engine.has_uncommitted()) {
                shard.engine.commit(now, board);
                committed = true;
            }
        }
        // A vector may cover more without any change to publish.
        if committed || this.shards.iter().any(|shard| shard.active) {
            self.check_host(host);
        }
    }

    /// What was committed is what the log, the segment and the oracle say.
    pub(crate) fn check_host(&mut self, host: usize) {
        if let Err(what) = self.give_up(host).and_then(|()| self.checked(host)) {
            self.fail(format!("n{}: {what}", host + 1));
        }
    }

    /// What the host's engines have given up of forgotten nodes: no member may have it.
    fn give_up(&mut self, host: usize) -> Result<(), String> {
        for index in 0..self.hosts[host].shards.len() {
            let shard = &mut self.hosts[host].shards[index];
            let closed = shard.engine.stats().gaps_closed;
            if std::mem::replace(&mut shard.gaps_closed, closed) == closed {
                continue;
            }
            self.struck.strike(Fault::GapClosed);
            let gaps = shard.engine.last_closed().to_vec();
            for (actor, gap) in gaps {
                for dot in (gap.first..=gap.last).map(|seq| Dot::new(actor, seq)) {
                    self.trace.say(self.now_ns, format_args!("n{} gives up {dot}", host + 1));
                    self.histories[index].give_up(dot);
                    // Whoever was forgotten itself, and may not have heard, is none.
                    let forgotten: Vec<_> = self.hosts[host].shards[index].engine.forgotten().collect();
                    let has = |other: &&Host| {
                        other.shards.get(index).is_some_and(|shard| {
                            let generation = shard.engine.actor().generation();
                            forgotten.iter().all(|&(node, least)| node != other.node || generation >= least)
                                && shard.replica.has_seen(&self.histories[index], dot)
                        })
                    };
                    if let Some(other) = self.hosts.iter().find(has) {
                        return Err(format!("gives up {dot} of a forgotten node, which n{} has", other.node));
                    }
                }
            }
        }
        Ok(())
    }

    fn checked(&mut self, host: usize) -> Result<(), String> {
        let this = &mut self.hosts[host];
        let Some(board) = &mut this.board else { return Ok(()) };
        if board.is_incomplete() && this.shards.iter().all(|shard| shard.engine.stats().unpublished == 0) {
            board.is_complete_now();
        }
        for _ in 0..std::mem::take(&mut board.refusals) {
            self.struck.strike(Fault::FullSegment);
        }
        for (shard, history) in this.shards.iter_mut().zip(&mut self.histories) {
            take_appended(shard, history, self.sabotage == Some(Sabotage::DotTwice))?;
            if self.sabotage == Some(Sabotage::VectorAhead) {
                let mut ahead = shard.engine.vector().clone();
                let (actor, last) = (shard.engine.actor(), shard.engine.last_seq());
                ahead.cover_range(actor, SeqRange { first: 1, last: last + 1 });
                shard.replica.cover(history, &ahead).map_err(|violation| violation.to_string())?;
            }
            shard.replica.cover(history, shard.engine.vector()).map_err(|violation| violation.to_string())?;
            within_bounds(&self.plan, shard)?;
            own_operations_are_there(shard)?;
            self.trace.note(self.now_ns, 3, &[host as u64, shard.engine.state_digest()]);
        }
        let cells = &mut self.scratch.cells;
        board.compare(cells)?;
        for &cell in cells.iter() {
            let (kind, key) = board.name(cell);
            let index = usize::from(shard_of(key_hash(key), self.plan.shards));
            let (history, replica) = (&self.histories[index], &mut this.shards[index].replica);
            match (history.find(kind, key), board.shown(kind, key)) {
                (Some(key), _) => replica.mark(history, key),
                (None, Some(shown)) => {
                    replica
                        .check_named(history, kind, key, shown)
                        .map_err(|violation| violation.to_string())?;
                }
                (None, None) => {}
            }
        }
        for (shard, history) in this.shards.iter_mut().zip(&self.histories) {
            shard.replica.take_changed(&mut self.scratch.keys);
            for &key in &self.scratch.keys {
                let (kind, name) = history.name(key);
                if let Some(shown) = board.shown(kind, name) {
                    let verdict = shard.replica.check_key(history, key, shown);
                    verdict.map_err(|violation| violation.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// A process ends: what it appended stays on storage, and so the oracle has to know it.
    pub(crate) fn witness(&mut self, host: usize) {
        let shards = self.hosts[host].shards.iter().zip(&mut self.histories);
        let mut all = shards.map(|(shard, history)| take_appended(shard, history, false));
        if let Some(Err(what)) = all.find(Result::is_err) {
            self.fail(format!("n{}: {what}", host + 1));
        }
    }

    fn transmit(&mut self, host: usize, budget: usize) {
        let now = self.hosts[host].instant(self.now_ns);
        let mut buffer = [0u8; MAX_FRAME_BYTES];
        let shards = self.hosts[host].shards.len();
        let first = self.hosts[host].first_shard;
        let mut left = budget;
        for index in (0..shards).map(|i| (first + i) % shards) {
            while left > 0 {
                let shard = &mut self.hosts[host].shards[index];
                if !shard.active {
                    break;
                }
                let Some((slot, len)) = shard.engine.transmit(now, &mut buffer) else {
                    shard.active = false;
                    break;
                };
                left -= 1;
                let to = self.hosts[host].peer(slot);
                self.send(host, to, index, &buffer[..len]);
            }
        }
        self.hosts[host].first_shard = (first + 1) % shards.max(1);
    }

    fn send(&mut self, from: usize, to: usize, shard: usize, bytes: &[u8]) {
        let frame_type = bytes.get(offsets::FRAME_TYPE).and_then(|number| FrameType::try_from(*number).ok());
        if !matches!(frame_type, Some(FrameType::Heartbeat | FrameType::Vector | FrameType::Stable)) {
            self.last_busy_ns = self.now_ns;
        }
        let upper = (frame_type == Some(FrameType::SyncData)).then(|| {
            let index =
                u64::from_le_bytes(bytes[offsets::LO..offsets::LO + 8].try_into().unwrap_or_default());
            self.consider_sync_break(from, to, index);
            Rc::new(self.hosts[from].shards[shard].may_show())
        });
        let mut arrivals = std::mem::take(&mut self.scratch.arrivals);
        self.network.send(
            self.now_ns,
            (from, to, shard as u16),
            bytes,
            upper,
            &mut self.struck,
            &mut |at_ns, frame| arrivals.push((at_ns, frame)),
        );
        for (at_ns, frame) in arrivals.drain(..) {
            self.schedule(at_ns, Event::Arrival(Box::new(frame)));
        }
        self.scratch.arrivals = arrivals;
    }

    /// What a host believes that a peer has, in its present session, the peer has.
    fn check_acknowledged(&mut self, host: usize) {
        let now = self.hosts[host].instant(self.now_ns);
        for (index, shard) in self.hosts[host].shards.iter().enumerate() {
            let engine = &shard.engine;
            for slot in 0..self.hosts.len() - 1 {
                let peer = self.hosts[self.hosts[host].peer(slot)].shards.get(index).map(|of| &of.engine);
                let (Some(status), Some(peer)) = (engine.peer_status(slot, now), peer) else { continue };
                let believed = engine.last_seq() - status.unacknowledged_seqs;
                let has = peer.vector().contiguous(engine.actor());
                if status.session == peer.session() && believed > has {
                    let (own, other) = (host + 1, status.node);
                    return self.fail(format!(
                        "n{own} believes that n{other} has {believed} of its operations; it has {has}"
                    ));
                }
            }
        }
    }

    fn schedule_next_turn(&mut self, host: usize) {
        let this = &self.hosts[host];
        let deadlines = this.shards.iter().map(|shard| shard.engine.deadline_ns());
        let deadline_ns = deadlines.min().map_or(u64::MAX, |ns| this.world_ns(ns));
        let mut at_ns = deadline_ns;
        if self.plan.storage == Storage::Durable {
            at_ns = at_ns.min(this.store_at_ns(self.now_ns));
        }
        if !this.ring.is_empty() {
            at_ns = self.now_ns;
        }
        if let Some(slow) = this.slowness {
            at_ns = at_ns.max(self.now_ns + slow.turn_ns);
        } else if at_ns <= self.now_ns {
            at_ns = self.now_ns + this.plan.poll_ns;
        }
        self.schedule_turn(host, at_ns);
    }
}

/// Shows the oracle what was appended to a log.
fn take_appended(shard: &Shard, history: &mut History, twice: bool) -> Result<(), String> {
    let witness = &mut *shard.witness.borrow_mut();
    if let Some(seq) = witness.torn() {
        return Err(format!("the log holds record {seq}, and gives back another"));
    }
    let mut take = |dot, record: &[u8]| history.witness(dot, record);
    let taken = witness.drain(|dot, record| {
        take(dot, record)?;
        if twice { take(dot, record) } else { Ok(()) }
    });
    taken.map_err(|violation| violation.to_string())
}

/// After a commit, a vector covers all that its host ever did in this epoch: also what it did before a restart.
fn own_operations_are_there(shard: &Shard) -> Result<(), String> {
    let engine = &shard.engine;
    let (covered, done) = (engine.vector().contiguous(engine.actor()), engine.last_seq());
    if covered == done {
        Ok(())
    } else {
        Err(format!("{done} own operations, and the vector covers {covered}"))
    }
}

/// What state syncs bring may fill a table for each host that they may come from, and the rest for all.
fn within_bounds(plan: &Plan, shard: &Shard) -> Result<(), String> {
    let (limits, sources) = (&plan.limits, plan.nodes + 1);
    let vector = shard.engine.vector();
    let ranges = vector.iter().map(|(_, clock)| clock.ranges().len()).max().unwrap_or(0);
    let checks = [
        ("actors", vector.len(), limits.max_actors),
        ("ranges of one actor", ranges, limits.max_ranges_per_actor.saturating_mul(sources)),
        (
            "pre-removed dots",
            shard.engine.stats().pre_removed as usize,
            limits.max_pre_removed.saturating_mul(sources),
        ),
    ];
    // What a host once had comes back whole: the bounds are for what peers bring.
    match checks.into_iter().find(|(_, held, bound)| held > bound && !shard.recovered) {
        Some((what, held, bound)) => Err(format!("{held} {what}, the bound is {bound}")),
        None => Ok(()),
    }
}
