//! Who lives: SWIM, without sockets and without a clock of its own.
//!
//! ```text
//!   datagram of a session ──receive──> ┌──────┐ ──next_packet──> (node, datagram)
//!   time             ──────── tick ──> │ Swim │ ──state_of─────> alive, suspect, dead
//!   a new session    ───────── met ──> └──────┘ ──identity─────> what this node calls itself now
//! ```
//!
//! The protocol (Das, Gupta, Motivala, "SWIM", DSN 2002) is foca's; this module gives it time, randomness and the bounds.
//! Every `probe_period` each node pings another one, in a shuffled round; one that does not answer within `probe_rtt` is
//! pinged through up to three others; one that then still has not answered is *suspect*, which every message from now on
//! tells. A suspect that hears of it refutes it; one that does not within `suspicion` is *dead*.
//!
//! With the times of [`Timing::LAN`] a killed node is dead for the others after 1.3 to 1.9 s in a cluster of three, and
//! one that stood still for a second is not: it has the rest of the suspicion to refute it.
//!
//! What can go wrong: *this* process stands still, and on waking would blame the others for its own silence. So after a
//! gap between two ticks all timers begin that much later, and what came in meanwhile is heard first. A node that was
//! declared dead and hears of it takes a new name (`run` + 1) and joins again. Who comes back with a clock that went
//! backwards is told the name that others remember, and takes a later one ([`Swim::outlive`]).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use foca::{AccumulatingRuntime, Codec, Foca, NoCustomBroadcast, PeriodicParams, PostcardCodec, Timer};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

/// Bytes of a datagram, at most: fits a QUIC packet of 1,200 bytes with its headers.
pub const MAX_DATAGRAM_BYTES: usize = 1_100;
/// A gap between two ticks from which this process is taken to have stood still, nanoseconds.
const STANDSTILL_NS: u64 = 250_000_000;
/// Period of looking whether foca goes on by itself and of telling suspects so, nanoseconds.
const RALLY_NS: u64 = 250_000_000;
/// Members turned to when it does not.
const RALLY_MEMBERS: usize = 3;
/// Timers that may be pending; foca has a few for itself and one for each suspect and dead member.
const MAX_TIMERS: usize = 1_024;

/// A node in one of its runs, as SWIM names it. Of two with the same node id the later run is believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its node id.
    pub node: u16,
    /// When it started, Unix milliseconds; one more each time that it was declared dead and came back.
    pub run: u64,
    /// Where its sessions are made.
    pub control: SocketAddr,
}

impl foca::Identity for Identity {
    type Addr = u16;

    fn renew(&self) -> Option<Self> {
        Some(Self { run: self.run.saturating_add(1), ..self.clone() })
    }

    fn addr(&self) -> u16 {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        // The address decides between two at once, so that everybody prefers the same one.
        (self.run, self.control) > (adversary.run, adversary.control)
    }
}

/// How a node is, as far as this one knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It answers, or somebody says so.
    Alive,
    /// It did not answer, not even through others; it has a while to refute that.
    Suspect,
    /// It did not refute it. Its state stays; it may come back at any time.
    Dead,
}

/// The times of the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Period of probing another member.
    pub probe_period: Duration,
    /// Time for a direct answer, before others are asked to try.
    pub probe_rtt: Duration,
    /// From suspicion to death.
    pub suspicion: Duration,
    /// Period of telling others what is new.
    pub gossip: Duration,
    /// Period of asking a member for all that it knows, and of trying dead ones.
    pub announce: Duration,
}

impl Timing {
    /// For hosts within a few milliseconds of each other: death is noticed within 2 s.
    pub const LAN: Timing = Timing {
        probe_period: Duration::from_millis(200),
        probe_rtt: Duration::from_millis(80),
        suspicion: Duration::from_millis(1_150),
        gossip: Duration::from_millis(100),
        announce: Duration::from_millis(1_000),
    };

    fn config(&self) -> foca::Config {
        let every = |frequency, members: usize| {
            Some(PeriodicParams { frequency, num_members: at_least_one(members) })
        };
        foca::Config {
            probe_period: self.probe_period,
            probe_rtt: self.probe_rtt,
            num_indirect_probes: at_least_one(3),
            // Fifteen tellings of each news: with 30 % loss some still arrive, in a cluster of a hundred.
            max_transmissions: NonZeroU8::new(15).unwrap_or(NonZeroU8::MIN),
            suspect_to_down_after: self.suspicion,
            // A day: the memory of who is dead is what stops stale gossip from reviving them.
            remove_down_after: Some(Duration::from_secs(86_400)),
            max_packet_size: at_least_one(MAX_DATAGRAM_BYTES),
            notify_down_members: true,
            periodic_announce: every(self.announce * 5, 1),
            periodic_announce_to_down_members: every(self.announce, 2),
            periodic_gossip: every(self.gossip, 3),
        }
    }
}

fn at_least_one(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
}

/// Why a datagram was dropped. The state is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum SwimError {
    /// It speaks for another node than the session's.
    #[error("a datagram of node {session} speaks for node {claimed}")]
    Foreign {
        /// Whose session it came by.
        session: u16,
        /// Whom it names as its sender.
        claimed: u16,
    },
    /// It is no message, or one that makes no sense.
    #[error("a datagram that is no message: {0}")]
    Malformed(foca::Error),
}

/// The protocol of one node.
pub struct Swim {
    foca: Foca<Identity, PostcardCodec, StdRng, NoCustomBroadcast>,
    runtime: AccumulatingRuntime<Identity>,
    /// By when they are due, and a number that keeps those of one moment in the order that foca wants.
    timers: BTreeMap<(u64, u64), Timer<Identity>>,
    next_timer: u64,
    now_ns: u64,
    /// When to look next whether foca goes on by itself, and whom to turn to if not.
    rally_due_ns: u64,
    rally_turn: usize,
    /// What suspects are to be told, one datagram each.
    reminders: Vec<(Identity, Bytes)>,
}

impl Swim {
    /// A node that knows nobody. `now_ns` is any monotonic time; `seed` decides whom it probes when.
    #[must_use]
    pub fn new(identity: Identity, timing: &Timing, seed: u64, now_ns: u64) -> Self {
        let foca = Foca::new(identity, timing.config(), StdRng::seed_from_u64(seed), PostcardCodec);
        Self {
            foca,
            runtime: AccumulatingRuntime::new(),
            timers: BTreeMap::new(),
            next_timer: 0,
            now_ns,
            rally_due_ns: now_ns,
            rally_turn: 0,
            reminders: Vec::new(),
        }
    }

    /// What this node calls itself now.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.foca.identity()
    }

    /// Handles a datagram that came by the session of node `from`.
    ///
    /// # Errors
    /// [`SwimError`].
    pub fn receive(&mut self, now_ns: u64, from: u16, datagram: &[u8]) -> Result<(), SwimError> {
        self.catch_up(now_ns);
        let mut head = datagram;
        let header: foca::Header<Identity> = PostcardCodec
            .decode_header(&mut head)
            .map_err(|error| SwimError::Malformed(foca::Error::Decode(Box::new(error))))?;
        if header.src.node != from {
            return Err(SwimError::Foreign { session: from, claimed: header.src.node });
        }
        let outcome = self.foca.handle_data(datagram, &mut self.runtime).map_err(SwimError::Malformed);
        self.keep_timers();
        outcome
    }

    /// A session with this node has been made: it is told of this one, and asked whom it knows.
    pub fn met(&mut self, now_ns: u64, identity: Identity) {
        self.catch_up(now_ns);
        // It fails for what can't be encoded: nothing here.
        let _ = self.foca.announce(identity, &mut self.runtime);
        self.keep_timers();
    }

    /// Takes a later name than `run`, if this node's is earlier: others remember that one, from before a restart.
    pub fn outlive(&mut self, now_ns: u64, run: u64) {
        self.catch_up(now_ns);
        let own = self.identity();
        if own.run < run {
            let next = Identity { run: run.saturating_add(1), ..own.clone() };
            let _ = self.foca.change_identity(next, &mut self.runtime);
            self.keep_timers();
        }
    }

    /// Lets time pass: probes, suspicions and gossip that are due.
    pub fn tick(&mut self, now_ns: u64) {
        self.catch_up(now_ns);
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > now_ns {
                break;
            }
            let timer = entry.remove();
            // Errors are timers of what has changed since: nothing is left to do for them.
            let _ = self.foca.handle_timer(timer, &mut self.runtime);
            self.keep_timers();
        }
        if now_ns >= self.rally_due_ns {
            self.rally_due_ns = now_ns.saturating_add(RALLY_NS);
            self.rally();
            self.remind_suspects();
        }
    }

    /// Tells each suspect that it is one (Dadgar, Phillips, Currey, "Lifeguard", DSN-W 2018, calls it the buddy system):
    /// foca tells news a number of times only, and a link that was cut meanwhile would leave a suspect that answers to
    /// everything and refutes nothing.
    fn remind_suspects(&mut self) {
        self.reminders.clear();
        for member in
            self.foca.iter_membership_state().filter(|member| member.state() == foca::State::Suspect)
        {
            let mut bytes = Vec::with_capacity(MAX_DATAGRAM_BYTES);
            let header = foca::Header {
                src: self.foca.identity().clone(),
                // The lowest: it says nothing of this node that others do not know.
                src_incarnation: 0,
                dst: member.id().clone(),
                message: foca::Message::Gossip,
            };
            let written = PostcardCodec.encode_header(&header, &mut bytes).and_then(|()| {
                bytes.extend_from_slice(&1u16.to_be_bytes());
                PostcardCodec.encode_member(member, &mut bytes)
            });
            if written.is_ok() {
                self.reminders.push((member.id().clone(), bytes.into()));
            }
        }
    }

    /// Turns to members if foca has ceased to: under a new name it waits to be spoken to, and when two sides of a healed
    /// partition take new names at once, everybody would wait for everybody.
    fn rally(&mut self) {
        let is_probing = self.timers.values().any(|timer| matches!(timer, Timer::ProbeRandomMember(_)));
        let known = self.foca.iter_membership_state().len();
        if is_probing || known == 0 {
            return;
        }
        for _ in 0..RALLY_MEMBERS.min(known) {
            self.rally_turn = (self.rally_turn + 1) % known;
            let next =
                self.foca.iter_membership_state().nth(self.rally_turn).map(|member| member.id().clone());
            if let Some(identity) = next {
                // As in `met`.
                let _ = self.foca.announce(identity, &mut self.runtime);
            }
        }
        self.keep_timers();
    }

    /// When [`Swim::tick`] next has something to do.
    #[must_use]
    pub fn deadline_ns(&self) -> u64 {
        let timer_ns = self.timers.first_key_value().map_or(u64::MAX, |((due_ns, _), _)| *due_ns);
        timer_ns.min(self.rally_due_ns)
    }

    /// The next datagram to send, and to whom.
    pub fn next_packet(&mut self) -> Option<(Identity, Bytes)> {
        if let Some(reminder) = self.reminders.pop() {
            return Some(reminder);
        }
        loop {
            let (to, bytes) = self.runtime.to_send()?;
            if !self.is_slander(&to, &bytes) {
                return Some((to, bytes));
            }
        }
    }

    /// Whether a datagram tells a member that is not dead that it is: foca tells that at the end of each suspicion, also of
    /// a refuted one, and the member would come back under another name for nothing.
    fn is_slander(&self, to: &Identity, mut datagram: &[u8]) -> bool {
        let header: Result<foca::Header<Identity>, _> = PostcardCodec.decode_header(&mut datagram);
        header.is_ok_and(|header| header.message == foca::Message::TurnUndead)
            && self.known().any(|(known, state)| known == to && state != State::Dead)
    }

    /// How a node is; `None` when nobody has spoken of it.
    #[must_use]
    pub fn state_of(&self, node: u16) -> Option<State> {
        self.known().find(|(identity, _)| identity.node == node).map(|(_, state)| state)
    }

    /// All nodes that were ever spoken of, without this one.
    pub fn known(&self) -> impl Iterator<Item = (&Identity, State)> {
        self.foca.iter_membership_state().map(|member| {
            let state = match member.state() {
                foca::State::Alive => State::Alive,
                foca::State::Suspect => State::Suspect,
                foca::State::Down => State::Dead,
            };
            (member.id(), state)
        })
    }

    /// Sets the clock. After a standstill every timer begins later by as much, so that what others sent meanwhile, which
    /// is handled first, still finds its probe or its suspicion open.
    fn catch_up(&mut self, now_ns: u64) {
        let gap_ns = now_ns.saturating_sub(self.now_ns);
        self.now_ns = self.now_ns.max(now_ns);
        if gap_ns >= STANDSTILL_NS {
            let timers = std::mem::take(&mut self.timers);
            let later = |((due_ns, number), timer)| ((gap_ns.saturating_add(due_ns), number), timer);
            self.timers = timers.into_iter().map(later).collect();
        }
    }

    /// Takes over what foca wants to be told later, and drops its notifications: states are read when they are needed.
    fn keep_timers(&mut self) {
        while let Some((after, timer)) = self.runtime.to_schedule() {
            if self.timers.len() < MAX_TIMERS {
                let after_ns = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
                self.timers.insert((self.now_ns.saturating_add(after_ns), self.next_timer), timer);
                self.next_timer += 1;
            }
        }
        while self.runtime.to_notify().is_some() {}
    }
}

#[cfg(test)]
mod tests;
