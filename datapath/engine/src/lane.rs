//! A lane: everything that one shard keeps about one peer.
//!
//! ```text
//!          hello(a, echo 0)              A session is one run of an engine, named by a random number. Each side
//!   A ───────────────────────> B         adopts the other's only from a hello that echoes its own: one of an
//!     <─────────────────────── ·         earlier run that was under way for long can at worst be adopted for one
//!          hello(b, echo a)  A adopts b  round trip, until the first frame of the real one is answered.
//!     ───────────────────────>
//!     hello(a, echo b, adopted)          Acknowledgements count only inside the session that they were made in: a
//!                            B adopts a  peer that came back with an older state must not be taken for the one
//!                                        that had more. A hello that does not say `adopted` is answered, so
//!                                        whichever of the three is lost, the next frame mends it.
//! ```
//!
//! What can go wrong: a peer that is not heard for the peer timeout is *down*: nothing but heartbeats go to it (hellos,
//! where there is no session), and the data it missed follows when it is heard again.

use crate::aliases::{Aliases, Bits};
use crate::config::{EngineLimits, EngineTimers};
use crate::fold::LaneFolds;
use crate::sender::{Sender, TimeoutBounds};
use lattice_crdt::{ActorId, VectorLimits, VersionVector};
use lattice_wire::SyncAck;

/// Hellos to a peer that does not answer are spaced out up to this multiple of their period.
const MAX_HELLO_SPACING: u64 = 8;
/// Least distance of two hellos that answer frames of other sessions.
const HELLO_REPLY_SPACING_NS: u64 = 1_000_000;
/// Heartbeats over which the least clock offset counts: a queued one must not look like a fast clock.
const OFFSET_SAMPLES: usize = 8;

/// An established session with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) id: u32,
    pub(crate) actor: ActorId,
}

/// What is owed to the peer for its data frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckDebt {
    frames: u32,
    due_ns: u64,
}

/// What the peer last said of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeerView {
    pub(crate) state_digest: u64,
    pub(crate) vector_digest: u64,
    /// Of the epochs that it has settled.
    pub(crate) folds: u64,
    /// Whether the digests have come in this session.
    pub(crate) known: bool,
}

/// See the module's documentation.
pub(crate) struct Lane {
    pub(crate) node: u16,
    pub(crate) session: Option<Session>,
    /// The peer's actor, as its last hello said, adopted or not.
    pub(crate) peer_actor: Option<ActorId>,
    /// No member at present: nothing goes to it but the answer to a hello.
    pub(crate) forgotten: bool,
    /// It knows the same nodes to be forgotten, as it said in this session.
    pub(crate) agrees: bool,
    /// It is to be told, and asked, about forgotten nodes.
    pub(crate) ask_forgotten: bool,
    /// The round of questions that it is owed an answer to.
    pub(crate) answer_forgotten: Option<u32>,
    /// The last round of this engine's that it answered.
    pub(crate) answered_round: Option<u32>,
    /// What was asked and agreed about folding.
    pub(crate) folds: LaneFolds,
    /// The session of a run in an epoch that is over: a hello to it says so.
    pub(crate) over_echo: Option<u32>,
    pub(crate) last_heard_ns: Option<u64>,
    hello_due_ns: u64,
    hello_spacing: u64,
    /// Session to echo in a hello that is owed.
    hello_reply: Option<u32>,
    hello_replied_ns: u64,
    pub(crate) heartbeat_due_ns: u64,
    pub(crate) sender: Sender,
    /// What the peer's aliases mean here.
    pub(crate) aliases: Aliases,
    /// This engine's aliases that the peer knows.
    pub(crate) known_aliases: Bits,
    pub(crate) ack: AckDebt,
    pub(crate) view: PeerView,
    /// Next part of this engine's vector that is to go to the peer in an anti-entropy exchange.
    pub(crate) vector_part: Option<u8>,
    /// Next part of what this engine would still have after a restart that is to go to the peer.
    pub(crate) stable_part: Option<u8>,
    /// What the peer would still have after the worst restart, as it said in this session; contiguous seqs only.
    pub(crate) stable: VersionVector,
    /// Empty keys, about, that can't be dropped because the peer would not have their last operations for good.
    pub(crate) holds_back: u64,
    /// Contiguous seq of the peer's actor here, one and two periods of anti-entropy ago (oldest first): to see whether
    /// its lane moves.
    pub(crate) progress: [Option<u64>; 2],
    /// Acknowledgement of a state sync that is owed to the peer.
    pub(crate) sync_ack: Option<SyncAck>,
    /// Since when the peer's digests have shown the same vector and another state.
    pub(crate) differs_since_ns: Option<u64>,
    /// The last state sync that the peer asked for: its session and the id. Ids ascend, so that a copy of an older
    /// request is known for one.
    pub(crate) last_sync_request: Option<(u32, u32)>,
    /// Until when no state sync is asked of the peer: one that it did not carry through has just been abandoned, and
    /// others should have their turn.
    pub(crate) sync_rest_until_ns: u64,
    /// How the last sync from the peer ended, for as long as it may not have heard.
    pub(crate) sync_done: Option<SyncAck>,
    offsets_ns: [i64; OFFSET_SAMPLES],
    next_offset: usize,
}

impl Lane {
    pub(crate) fn new(node: u16, limits: &EngineLimits) -> Self {
        Self {
            node,
            session: None,
            peer_actor: None,
            forgotten: false,
            agrees: false,
            ask_forgotten: false,
            answer_forgotten: None,
            answered_round: None,
            folds: LaneFolds::default(),
            over_echo: None,
            last_heard_ns: None,
            hello_due_ns: 0,
            hello_spacing: 1,
            hello_reply: None,
            hello_replied_ns: 0,
            heartbeat_due_ns: u64::MAX,
            sender: Sender::new(limits.max_window_frames),
            aliases: Aliases::default(),
            known_aliases: Bits::default(),
            ack: AckDebt { frames: 0, due_ns: u64::MAX },
            view: PeerView::default(),
            vector_part: None,
            stable_part: None,
            stable: VersionVector::new(VectorLimits {
                max_actors: limits.max_actors,
                max_ranges_per_actor: limits.max_ranges_per_actor,
            }),
            holds_back: 0,
            progress: [None; 2],
            differs_since_ns: None,
            last_sync_request: None,
            sync_rest_until_ns: 0,
            sync_ack: None,
            sync_done: None,
            offsets_ns: [i64::MAX; OFFSET_SAMPLES],
            next_offset: 0,
        }
    }

    /// Begins anew with the peer, because this engine begins a new session.
    pub(crate) fn restart(&mut self, limits: &EngineLimits, now_ns: u64) {
        let forgotten = self.forgotten;
        *self = Self { forgotten, hello_due_ns: now_ns, ..Self::new(self.node, limits) };
    }

    pub(crate) fn is_up(&self, now_ns: u64, peer_timeout_ns: u64) -> bool {
        self.session.is_some()
            && !self.forgotten
            && self.last_heard_ns.is_some_and(|heard| now_ns.saturating_sub(heard) < peer_timeout_ns)
    }

    /// The session that frames to the peer are addressed to; 0 while there is none.
    pub(crate) fn session_id(&self) -> u32 {
        self.session.map_or(0, |s| s.id)
    }

    /// Takes up a new session of the peer, which has this node's operations up to `acked`.
    pub(crate) fn adopt(&mut self, session: Session, acked: u64, now_ns: u64) {
        (self.session, self.forgotten) = (Some(session), false);
        (self.agrees, self.answer_forgotten, self.answered_round) = (false, None, None);
        self.folds = LaneFolds::default();
        self.sender.reset(acked);
        if !zoo!(AliasOutlivesSession) {
            self.aliases.clear();
        }
        self.known_aliases.clear();
        self.ack = AckDebt { frames: 0, due_ns: u64::MAX };
        self.view = PeerView::default();
        self.heartbeat_due_ns = now_ns;
        self.hello_due_ns = u64::MAX;
        self.hello_spacing = 1;
        (self.vector_part, self.stable_part) = (None, None);
        // A peer that came back may have less than it said before.
        self.stable = VersionVector::new(self.stable.limits());
        self.progress = [None; 2];
        (self.differs_since_ns, self.sync_rest_until_ns) = (None, 0);
        self.forget_offsets();
    }

    /// The session was with a run that is over: who is there now says so itself, or is asked.
    pub(crate) fn end_session(&mut self) {
        (self.session, self.hello_due_ns, self.hello_spacing) = (None, 0, 1);
        self.folds = LaneFolds::default();
    }

    /// The peer was heard. After a silence of more than a few heartbeats, what was in flight is taken for lost.
    pub(crate) fn heard(&mut self, now_ns: u64, timers: &EngineTimers) {
        let silent = self.last_heard_ns.is_some_and(|at| now_ns.saturating_sub(at) > 3 * timers.heartbeat_ns);
        self.last_heard_ns = Some(now_ns);
        if silent {
            self.sender.revive(now_ns, bounds(timers));
        }
    }

    /// Owes the peer a hello that echoes its session, unless one has just gone.
    pub(crate) fn owe_hello(&mut self, now_ns: u64, echo: u32) {
        if now_ns.saturating_sub(self.hello_replied_ns) >= HELLO_REPLY_SPACING_NS
            || self.hello_replied_ns == 0
        {
            self.hello_reply = Some(echo);
        }
    }

    /// The session to echo in a hello that must go now, if one must.
    pub(crate) fn hello_now(&self, now_ns: u64) -> Option<u32> {
        if let Some(echo) = self.hello_reply {
            return Some(echo);
        }
        (self.session.is_none() && !self.forgotten && now_ns >= self.hello_due_ns).then_some(0)
    }

    pub(crate) fn hello_sent(&mut self, now_ns: u64, hello_ns: u64) {
        if self.hello_reply.take().is_some() {
            self.hello_replied_ns = now_ns;
        }
        if self.session.is_none() {
            self.hello_due_ns = now_ns + hello_ns * self.hello_spacing;
            self.hello_spacing = (self.hello_spacing * 2).min(MAX_HELLO_SPACING);
        }
    }

    /// Notes a received data frame; `urgent` when its sender should know at once what is missing or superfluous.
    pub(crate) fn owe_ack(&mut self, now_ns: u64, urgent: bool, timers: &EngineTimers) {
        self.ack.frames += 1;
        let due_ns = if urgent || self.ack.frames >= timers.ack_every_frames {
            now_ns
        } else {
            now_ns + timers.ack_delay_ns
        };
        self.ack.due_ns = self.ack.due_ns.min(due_ns);
    }

    pub(crate) fn ack_due(&self, now_ns: u64) -> bool {
        now_ns >= self.ack.due_ns
    }

    pub(crate) fn ack_sent(&mut self) {
        self.ack = AckDebt { frames: 0, due_ns: u64::MAX };
    }

    /// Notes how far this node's wall clock is ahead of the peer's, by a heartbeat that took an unknown time to come.
    pub(crate) fn note_offset(&mut self, ahead_ns: i64) {
        self.offsets_ns[self.next_offset] = ahead_ns;
        self.next_offset = (self.next_offset + 1) % OFFSET_SAMPLES;
    }

    /// The peer is heard no more: what its clock said must neither excuse nor accuse this node's for ever.
    pub(crate) fn forget_offsets(&mut self) {
        self.offsets_ns = [i64::MAX; OFFSET_SAMPLES];
    }

    /// Whether a request with this id is newer than every one that came in the same session of the peer.
    pub(crate) fn is_new_sync_request(&self, session: u32, sync_id: u32) -> bool {
        self.last_sync_request
            .is_none_or(|(of, last)| of != session || (sync_id.wrapping_sub(last) as i32) > 0)
    }

    /// The least of the last offsets: delay can only make this node look further ahead than it is.
    pub(crate) fn ahead_ns(&self) -> Option<i64> {
        self.offsets_ns.iter().copied().min().filter(|&offset| offset != i64::MAX)
    }

    /// When this lane next has something to send or to time out.
    pub(crate) fn deadline_ns(&self, now_ns: u64, last_seq: u64, peer_timeout_ns: u64) -> u64 {
        if self.hello_reply.is_some() {
            return now_ns;
        }
        if self.forgotten {
            return u64::MAX;
        }
        if self.session.is_none() {
            return self.hello_due_ns;
        }
        let mut deadline_ns = self.heartbeat_due_ns.min(self.ack.due_ns);
        if self.is_up(now_ns, peer_timeout_ns) {
            let owes = self.vector_part.is_some() || self.stable_part.is_some() || self.sync_ack.is_some();
            if owes || self.ask_forgotten || self.answer_forgotten.is_some() || self.folds.owes() {
                return now_ns;
            }
            deadline_ns = deadline_ns.min(self.sender.deadline_ns(last_seq));
        }
        deadline_ns
    }
}

/// The bounds of retransmission timeouts that the timers say.
pub(crate) fn bounds(timers: &EngineTimers) -> TimeoutBounds {
    TimeoutBounds { min_ns: timers.min_rto_ns, max_ns: timers.max_rto_ns, ack_delay_ns: timers.ack_delay_ns }
}

#[cfg(test)]
mod tests;
