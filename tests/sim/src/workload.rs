//! Operations of local clients: what they are, and with which errors they may be refused.
//!
//! Availability: no partition, no dead peer, no crash elsewhere makes a write fail. What may: a burst that is full, a
//! table or a segment that is full here, a clock that is really ahead. Each refusal has to be explained by what the world
//! knows of this host; any other one is a violation.

use crate::draw::{Draw, MAX_EXPONENTIAL};
use crate::host::Mode;
use crate::incident::What;
use crate::intent::Intent;
use crate::sabotage::Sabotage;
use crate::world::{Event, World};
use lattice_crdt::Kind;
use lattice_crdt::limits::{MAX_ELEMENT_BYTES, MAX_KEY_BYTES, MAX_REGISTER_BYTES};
use lattice_engine::{LocalOp, OpError};
use lattice_segment::{key_hash, shard_of};

/// What turns of two hosts may add to the time that a frame takes.
const TURNS_NS: u64 = 20_000_000;

/// An operation, drawn.
#[derive(Clone, Debug)]
struct Drawn {
    kind: Kind,
    key: Vec<u8>,
    what: Change,
    /// An element or a register's value.
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Add(i64),
    Enable,
    Disable,
    Set,
    Insert,
    Remove,
    Clear,
}

impl Drawn {
    fn op(&self) -> LocalOp<'_> {
        match self.what {
            Change::Add(amount) => LocalOp::CounterAdd(amount),
            Change::Enable => LocalOp::Enable,
            Change::Disable => LocalOp::Disable,
            Change::Set => LocalOp::RegisterSet(&self.bytes),
            Change::Insert => LocalOp::SetInsert(&self.bytes),
            Change::Remove => LocalOp::SetRemove(&self.bytes),
            Change::Clear => LocalOp::SetClear,
        }
    }
}

impl World<'_> {
    /// The next client comes in a while.
    pub(crate) fn schedule_operation(&mut self) {
        let submissions = (self.plan.operations * 2 / (self.plan.workload.burst + 1)).max(1);
        let mean_ns = self.plan.active_ns / submissions;
        let at_ns = self.now_ns + self.workload_draw.exponential(mean_ns);
        if at_ns < self.plan.active_ns || self.sabotage == Some(Sabotage::Chatter) {
            self.schedule(at_ns, Event::Operation);
        }
    }

    /// A client submits one operation or several.
    pub(crate) fn operate(&mut self) {
        self.schedule_operation();
        let host = self.choose_writer();
        self.submit_some(host);
        if self.plan.workload.together {
            self.submit_some((host + 1) % self.hosts.len());
        }
    }

    fn submit_some(&mut self, host: usize) {
        if self.hosts[host].mode != Mode::Up {
            return;
        }
        // Half of the time what came before is committed first, and these right away: nothing comes between.
        let mut intent = self.workload_draw.per_mille(500).then(Intent::default);
        if intent.is_some() {
            self.commit_now(host);
        }
        for _ in 0..self.workload_draw.between(1, self.plan.workload.burst) {
            let drawn = self.draw_operation();
            self.submit(host, &drawn, intent.as_mut());
            if self.failure.is_some() {
                return;
            }
        }
        if let Some(intent) = intent {
            self.commit_now(host);
            if let Some(Err(what)) = self.hosts[host].board.as_ref().map(|board| intent.check(board)) {
                self.fail(format!("n{}: {what}", host + 1));
            }
        }
        self.schedule_turn(host, self.now_ns + self.hosts[host].plan.poll_ns);
    }

    fn choose_writer(&mut self) -> usize {
        if self.plan.workload.one_writer && self.workload_draw.per_mille(900) {
            return 0;
        }
        self.workload_draw.index(self.hosts.len())
    }

    fn draw_operation(&mut self) -> Drawn {
        let plan = &self.plan.workload;
        let draw = &mut self.workload_draw;
        let number = (0..plan.skew).map(|_| draw.below(plan.keys)).min().unwrap_or(0);
        let kind_draw = if plan.mixed_kinds { draw.bits() } else { Draw::new(number).bits() };
        let total: u64 = plan.kind_weights.iter().sum();
        let mut at = kind_draw % total;
        let place = plan.kind_weights.iter().position(|&weight| {
            let found = at < weight;
            at = at.saturating_sub(weight);
            found
        });
        let kind = Kind::ALL[place.unwrap_or(0)];
        let mut key = format!("k{number}").into_bytes();
        if plan.long_keys {
            key.resize(MAX_KEY_BYTES, b'_');
        }
        let what = match kind {
            Kind::Counter => Change::Add(draw_amount(draw)),
            Kind::Register => Change::Set,
            Kind::Set if draw.per_mille(plan.clears_per_mille) => Change::Clear,
            Kind::Set if draw.per_mille(plan.removals_per_mille) => Change::Remove,
            Kind::Set => Change::Insert,
            _ if draw.per_mille(plan.removals_per_mille) => Change::Disable,
            _ => Change::Enable,
        };
        let bytes = match what {
            Change::Set => {
                let len = draw.between(0, plan.max_value_bytes.min(MAX_REGISTER_BYTES as u64)) as usize;
                let mut value = draw.bits().to_le_bytes().to_vec();
                value.resize(len, b'v');
                value
            }
            _ => element(draw.below(plan.elements), plan.max_value_bytes.min(MAX_ELEMENT_BYTES as u64)),
        };
        Drawn { kind, key, what, bytes }
    }

    fn submit(&mut self, host: usize, drawn: &Drawn, intent: Option<&mut Intent>) {
        let index = usize::from(shard_of(key_hash(&drawn.key), self.plan.shards));
        if self.hosts[host].shards[index].holds_writes {
            // Until a peer has told it, a restored machine can't know that its dots were given out before.
            return;
        }
        let first = self.try_apply(host, drawn);
        // A full burst is committed, and what did not fit comes again: the next turn of the client's ring.
        let result = match first {
            Err(OpError::Backpressure) => {
                self.commit_now(host);
                self.try_apply(host, drawn)
            }
            other => other,
        };
        if let (Some(intent), Some(board)) = (intent, &self.hosts[host].board) {
            match result {
                Ok(()) => intent.note(board, drawn.kind, &drawn.key, drawn.op()),
                Err(_) => intent.give_up(drawn.kind, &drawn.key),
            }
        }
        match result {
            Ok(()) => self.operations += 1,
            Err(error) => self.explain(host, drawn, error),
        }
    }

    fn try_apply(&mut self, host: usize, drawn: &Drawn) -> Result<(), OpError> {
        let now = self.hosts[host].instant(self.now_ns);
        let index = usize::from(shard_of(key_hash(&drawn.key), self.plan.shards));
        let shard = &mut self.hosts[host].shards[index];
        let mut result = shard.engine.apply(now, drawn.kind, &drawn.key, drawn.op());
        if self.sabotage == Some(Sabotage::Refusal) {
            result = Err(OpError::CapacityExceeded);
        }
        shard.active = true;
        self.trace.note(self.now_ns, 6, &[host as u64, shard.engine.last_seq(), u64::from(result.is_ok())]);
        self.trace.say(
            self.now_ns,
            format_args!(
                "n{} {} `{}` {:?} {}: {result:?}",
                host + 1,
                drawn.kind,
                drawn.key.escape_ascii(),
                drawn.what,
                drawn.bytes.escape_ascii()
            ),
        );
        result.map(drop)
    }

    fn commit_now(&mut self, host: usize) {
        let now = self.hosts[host].instant(self.now_ns);
        let this = &mut self.hosts[host];
        let Some(board) = &mut this.board else { return };
        this.shards.iter_mut().for_each(|shard| shard.engine.commit(now, board));
        self.check_host(host);
    }

    /// Says what makes a refusal right, or that nothing does.
    fn explain(&mut self, host: usize, drawn: &Drawn, error: OpError) {
        let index = usize::from(shard_of(key_hash(&drawn.key), self.plan.shards));
        let stats = self.hosts[host].shards[index].engine.stats();
        let limits = &self.plan.limits;
        let explained = match error {
            // After a commit the burst is empty, so only the table of pre-removed dots can be too small for what the
            // operation supersedes; or a set is cleared that is larger than a burst.
            OpError::Backpressure => {
                stats.pre_removed > 0
                    || matches!(drawn.what, Change::Clear)
                    || limits.max_pre_removed < self.plan.nodes * 2
            }
            OpError::CapacityExceeded => stats.keys >= limits.max_keys as u64 || stats.unpublished > 0,
            OpError::KindMismatch(_) => self.plan.workload.mixed_kinds,
            OpError::ClockSkew { ahead_ns } => {
                ahead_ns > self.plan.timers.max_clock_skew_ns && self.clock_may_be_ahead(host)
            }
            // It takes another one in its next turn.
            OpError::EpochOver => self.hosts[host].shards[index].recovered,
            OpError::BadKey(_) | OpError::TooLarge { .. } | OpError::WrongOperation | OpError::LogFull => {
                false
            }
        };
        if !explained {
            self.fail(format!("n{} refused {drawn:?} without a reason that holds: {error}", host + 1));
        }
    }

    /// Whether a host's wall clock has ever been so far ahead of another's that its peers' heartbeats could say so.
    fn clock_may_be_ahead(&self, host: usize) -> bool {
        let own_ns = self.clock_extremes_ns[host].1;
        let others = self.clock_extremes_ns.iter().enumerate().filter(|(i, _)| *i != host);
        let least_ns = others.map(|(_, extremes)| extremes.0).min().unwrap_or(own_ns);
        // A heartbeat that was long under way, or waited long to be looked at, makes the receiver look ahead by as much.
        // A pause is no excuse: engines notice their own.
        if self.plan.incidents.iter().any(|incident| matches!(incident.what, What::Slow { .. })) {
            return true;
        }
        let network = &self.plan.network;
        let heavy_ns = if network.heavy > 0 { MAX_EXPONENTIAL * network.heavy_ns } else { 0 };
        let late_ns = 6 * (network.delay_ns + network.jitter_ns) + heavy_ns + TURNS_NS;
        own_ns - least_ns + late_ns as i64 > self.plan.timers.max_clock_skew_ns as i64
    }
}

fn draw_amount(draw: &mut Draw) -> i64 {
    match draw.below(50) {
        // So large that sums leave the range of i64: the view saturates, the sum is exact.
        0 => i64::MAX,
        1 => i64::MIN,
        2 => 0,
        _ => draw.below(100) as i64 - 30,
    }
}

/// The `number`th element: the first is empty, others are of all lengths up to the longest.
fn element(number: u64, longest: u64) -> Vec<u8> {
    if number == 0 {
        return Vec::new();
    }
    let mut element = format!("e{number}").into_bytes();
    element.resize((number * longest / 16).clamp(3, longest.max(3)) as usize, b'-');
    element
}
