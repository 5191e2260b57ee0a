//! Any frames into an engine: two real hosts and a puppet, a network that the input commands, crashes, and lies.
//!
//! ```text
//!   host 1 <──── frames: delivered, lost, copied, reordered, tampered with and sealed again ────> host 2
//!     ▲                                                                                             ▲
//!     └──────────── node 3, the puppet: any frame in any session, well formed inside or not ─────────┘
//! ```
//!
//! After each step the invariants of `host` hold, and at the end each host's snapshot shows a state whose digests, and
//! what readers see of it, are what they should be. No claim is made that hosts to whom somebody lied are equal.

mod host;
mod puppet;
mod state;

use lattice_crdt::{ActorId, Kind};
use lattice_engine::{LocalOp, OpError};
use lattice_wire::{MAX_FRAME_BYTES, decode_frame};

use crate::input::Input;
use crate::wire::{CLUSTER, seal};
use host::{Host, instant};
use puppet::Puppet;

pub use snapshot::snapshot;
mod snapshot;

/// The members of the cluster; the last one is the puppet.
const NODES: [u16; 3] = [1, 2, 3];
const MS: u64 = 1_000_000;
/// Frames that wait for a host, at most.
const MAX_INBOX: usize = 64;
/// Steps of one input: longer ones only repeat themselves.
const MAX_STEPS: usize = 400;

struct World {
    now_ns: u64,
    hosts: [Host; 2],
    puppet: Puppet,
    /// Epochs and sessions that were given out.
    drawn: u32,
    /// Somebody was told what is not so.
    lied: bool,
}

fn key(input: &mut Input<'_>) -> (Kind, [u8; 2]) {
    let kind = input.choose(&Kind::ALL);
    (kind, [kind as u8, input.u8() % 3])
}

impl World {
    fn new() -> Self {
        let host = |node: u16| Host::new(ActorId::new(node, 1), 100 + u32::from(node), &NODES, instant(MS));
        Self { now_ns: MS, hosts: [host(1), host(2)], puppet: Puppet::default(), drawn: 1, lied: false }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let at = input.below(2);
        match input.below(12) {
            0 | 1 => self.run(input),
            2 | 3 => self.write(at, input),
            4 => self.deliver(at, input),
            5 => self.tamper(at, input),
            6 | 7 => self.lie(at, input),
            8 => self.hosts[at].receive(instant(self.now_ns), input.long_string()),
            9 => self.store(at, input),
            10 => self.restart(at, input),
            _ => self.decide(at, input),
        }
    }

    /// Time passes; hosts take their turns; what they send goes to its inbox, and is received at once or later.
    fn run(&mut self, input: &mut Input<'_>) {
        let step_ns = input.choose(&[MS / 10, MS, 10 * MS, 120 * MS, 1_100 * MS, 2_500 * MS, 0, MS]);
        let how = input.u8();
        let (turns, delivers) = (1 + usize::from(how % 16), how & 16 != 0);
        for _ in 0..turns {
            self.now_ns += step_ns;
            for at in 0..self.hosts.len() {
                for (node, bytes) in self.hosts[at].turn(instant(self.now_ns)) {
                    match self.hosts.iter_mut().find(|host| host.actor.node() == node) {
                        Some(host) if host.inbox.len() < MAX_INBOX => host.inbox.push_back(bytes),
                        Some(_) => {}
                        None => self.puppet.hear(at, &bytes),
                    }
                }
            }
            if delivers {
                self.hosts.iter_mut().for_each(|host| deliver_all(host, self.now_ns));
            }
        }
    }

    fn write(&mut self, at: usize, input: &mut Input<'_>) {
        let (kind, mut key) = key(input);
        let value = [input.u8() % 4; 300];
        let op = match input.below(12) {
            0 => LocalOp::CounterAdd(input.number() as i64),
            1 => LocalOp::Enable,
            2 => LocalOp::Disable,
            3 => LocalOp::RegisterSet(&value),
            4..=6 => LocalOp::SetInsert(&value[..1]),
            7 => LocalOp::SetRemove(&value[..1]),
            8 => LocalOp::SetClear,
            9 => LocalOp::SetInsert(&value),
            10 => {
                // Of whatever kind the key is.
                key[0] = 1;
                LocalOp::CounterAdd(-3)
            }
            _ => LocalOp::CounterAdd(1),
        };
        let host = &mut self.hosts[at];
        let before = (host.engine.last_seq(), host.engine.state_digest());
        match host.engine.apply(instant(self.now_ns), kind, &key, op) {
            Ok(applied) => {
                let dots = applied.dot.is_none_or(|dot| dot.actor == host.actor);
                assert!(dots && applied.dot.is_none_or(|dot| dot.seq <= host.engine.last_seq()));
            }
            Err(OpError::Backpressure) if matches!(op, LocalOp::SetClear) => {}
            Err(error) => {
                let after = (host.engine.last_seq(), host.engine.state_digest());
                assert_eq!(after, before, "refused ({error}), and yet done");
            }
        }
        host.check();
    }

    /// One frame of the inbox: received, lost, received twice, or put back behind the others.
    fn deliver(&mut self, at: usize, input: &mut Input<'_>) {
        let host = &mut self.hosts[at];
        let Some(bytes) = host.inbox.pop_front() else { return };
        let how = input.u8() % 8;
        match how {
            0 => return,
            1 => return host.inbox.push_back(bytes),
            2 => host.receive(instant(self.now_ns), &bytes),
            _ => {}
        }
        host.receive(instant(self.now_ns), &bytes);
        if how == 3 {
            deliver_all(host, self.now_ns);
        }
    }

    /// A real frame with bytes changed, and a tag that fits again.
    fn tamper(&mut self, at: usize, input: &mut Input<'_>) {
        let host = &mut self.hosts[at];
        let Some(mut bytes) = host.inbox.pop_front() else { return };
        for _ in 0..1 + input.below(3) {
            let at = usize::from(input.u16()) % bytes.len();
            bytes[at] = input.u8();
        }
        bytes.resize(bytes.len() - input.below(4).min(bytes.len()), 0);
        seal(&mut bytes, CLUSTER);
        self.lied = true;
        host.receive(instant(self.now_ns), &bytes);
    }

    fn lie(&mut self, at: usize, input: &mut Input<'_>) {
        let actors = [self.hosts[0].actor, self.hosts[1].actor];
        let bytes = self.puppet.frame(at, &actors, self.hosts[at].session, input);
        assert!(bytes.len() <= MAX_FRAME_BYTES);
        self.lied = true;
        self.hosts[at].receive(instant(self.now_ns), &bytes);
    }

    /// A snapshot: begun, some frames of it, or the whole, durable or not.
    fn store(&mut self, at: usize, input: &mut Input<'_>) {
        let host = &mut self.hosts[at];
        match input.below(4) {
            0 => host.walked = host.engine.begin_snapshot(),
            1 => {
                let mut buffer = [0xEE; MAX_FRAME_BYTES];
                let _ = host.engine.write_snapshot(&mut buffer);
            }
            2 => drop(host.engine.snapshot_is_durable(host.walked)),
            _ => {
                // Durable is what the log has as well.
                host.engine.commit(instant(self.now_ns), &mut host.board);
                host.snapshot = host.photograph().0;
                assert!(host.engine.snapshot_is_durable(host.walked));
            }
        }
        host.check();
    }

    fn draw(&mut self) -> u32 {
        self.drawn += 1;
        self.drawn
    }

    /// kill -9 and a start from storage: the epoch goes on, or a new one begins.
    fn restart(&mut self, at: usize, input: &mut Input<'_>) {
        let (session, epoch, now) = (1_000 + self.draw(), self.draw(), instant(self.now_ns));
        let host = &mut self.hosts[at];
        let next = ActorId::new(host.actor.node(), u64::from(epoch));
        let goes_on = input.below(2) == 0 && !host.engine.epoch_is_over();
        // What was not committed is gone with the process; its dots were never told to anybody.
        if goes_on && host.restart(host.actor, session, now).is_ok() {
            return;
        }
        host.restart(next, session, now).expect("a host comes back from its own snapshot and log");
    }

    fn decide(&mut self, at: usize, input: &mut Input<'_>) {
        let (session, epoch) = (1_000 + self.draw(), self.draw());
        let host = &mut self.hosts[at];
        match input.below(4) {
            0 => host.board.full = !host.board.full,
            1 => {
                let node = input.choose(&NODES);
                assert!(!host.engine.forget(node) || node != host.actor.node());
            }
            2 => drop(host.photograph()),
            _ if host.engine.is_forgotten() => {}
            _ if host.engine.epoch_is_over() || input.below(4) == 0 => {
                let generation = host.engine.wanted_generation();
                let next = ActorId::of_generation(host.actor.node(), generation, u64::from(epoch));
                host.begin_epoch(instant(self.now_ns), next, session);
            }
            _ => {}
        }
        host.check();
    }

    /// What must be so in the end.
    fn judge(mut self) {
        self.now_ns += 10_000 * MS;
        let now = instant(self.now_ns);
        for (host, at) in self.hosts.iter_mut().zip(0..) {
            host.check_board(now);
            let (frames, state) = host.photograph();
            let actor = ActorId::new(host.actor.node(), 0xFFFF);
            let mut again = snapshot::recovered(&frames, actor, &NODES, now);
            let (more, second) = again.photograph();
            assert_eq!(second.vector, state.vector, "host {at}: what is covered comes back");
            assert!(self.lied || second.digest() == state.digest(), "host {at}: and so does the state");
            again.check_board(now);
            let mut third = snapshot::recovered(&more, actor, &NODES, now);
            assert_eq!(third.photograph().1.digest(), second.digest(), "host {at}: and again");
        }
    }
}

fn deliver_all(host: &mut Host, now_ns: u64) {
    while let Some(bytes) = host.inbox.pop_front() {
        host.receive(instant(now_ns), &bytes);
    }
}

/// What engines write when nobody lies: for seeds.
pub(crate) struct Sample {
    /// A frame of each type that was sent, the longest.
    pub(crate) frames: Vec<Vec<u8>>,
    /// A snapshot.
    pub(crate) snapshot: Vec<Vec<u8>>,
}

/// Two hosts write, lose sight of each other for longer than a log lasts, and catch up.
pub(crate) fn sample() -> Sample {
    let mut world = World::new();
    let mut longest = std::collections::BTreeMap::new();
    for turn in 0..400usize {
        world.now_ns += MS;
        let now = instant(world.now_ns);
        if turn % 3 == 0 && turn < 300 {
            let (kind, value) = (Kind::ALL[turn % 5], (turn / 3) as u8);
            let host = &mut world.hosts[turn % 2];
            let op = match kind {
                Kind::Counter => LocalOp::CounterAdd(i64::from(value)),
                Kind::FlagEnableWins | Kind::FlagDisableWins => LocalOp::Enable,
                Kind::Register => LocalOp::RegisterSet(b"a value"),
                Kind::Set => LocalOp::SetInsert(&[value]),
            };
            host.engine.apply(now, kind, &[kind as u8, 0], op).expect("room for a write");
        }
        let cut = (40..300).contains(&turn);
        for at in 0..world.hosts.len() {
            for (node, bytes) in world.hosts[at].turn(now) {
                let frame_type = decode_frame(&bytes, CLUSTER).expect("a frame of ours").header.frame_type;
                let held: &mut Vec<u8> = longest.entry(frame_type).or_default();
                if bytes.len() > held.len() {
                    *held = bytes.clone();
                }
                let host = world.hosts.iter_mut().find(|host| host.actor.node() == node && !cut);
                host.into_iter().for_each(|host| host.receive(now, &bytes));
            }
        }
    }
    Sample { frames: longest.into_values().collect(), snapshot: world.hosts[0].photograph().0 }
}

/// Steps of hosts, network and puppet.
pub fn engine(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.judge();
}
