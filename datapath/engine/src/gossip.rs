//! What engines tell each other besides data: that they are there (hello), how they are (heartbeat), and what they
//! know (vectors).
//!
//! Anti-entropy: about every second an engine sends its vector to one random peer. A peer that lacks operations of an
//! actor whose own log can't bring them (its host is gone, its epoch is over, or its lane does not move) asks the
//! sender for a state sync. So the operations of a host that died in the middle of telling everybody spread from
//! whoever heard them.

use crate::config::{Instant, Storage};
use crate::engine::Engine;
use crate::lane::Session;
use crate::log::LogStore;
use crate::stability::contiguous_parts;
use crate::stats::DropReason;
use crate::walk::known;
use lattice_crdt::{ActorId, Dot, SeqRange};
use lattice_wire::{
    Frame, FrameType, FrameWriter, Header, Heartbeat, MAX_VECTOR_ENTRIES_PER_PART, VectorPart,
};

/// What the count of a hello says to a host whose epoch is over.
const EPOCH_IS_OVER: u32 = 2;

impl<L: LogStore> Engine<L> {
    /// Writes a hello that echoes the session `echo`; its count is 1 if that session is adopted here, so that only a
    /// hello that needs an answer gets one. It carries as much of the vector as fits, that of the peer's epoch first:
    /// from it the peer learns where to go on sending.
    pub(crate) fn write_hello(
        &mut self,
        now_ns: u64,
        slot: usize,
        echo: u32,
        buffer: &mut [u8],
    ) -> Option<usize> {
        let mut header = self.header(FrameType::Hello, slot);
        header.dst_session = echo;
        header.lo = u64::from(self.forgotten.generation(self.lanes[slot].node));
        let lane = &self.lanes[slot];
        header.count = match echo {
            0 => 0,
            echo if lane.over_echo == Some(echo) => EPOCH_IS_OVER,
            echo => u32::from(lane.session_id() == echo),
        };
        let mut writer = FrameWriter::new(buffer, header)?;
        // All that is known of the peer's present epoch comes first: it must hear of operations beyond a gap as well.
        let peer = self.lanes[slot].peer_actor;
        let clock = peer.and_then(|actor| Some((actor, self.vector.clock(actor)?)));
        // The highest before all, should there be more gaps than a frame has room for.
        let highest = clock.and_then(|(actor, clock)| Some((actor, *clock.ranges().last()?)));
        let of_peer = highest.into_iter().chain(clock.into_iter().flat_map(known));
        let of_others = self.contiguous_parts().filter(|(actor, _)| Some(*actor) != peer);
        let most = MAX_VECTOR_ENTRIES_PER_PART;
        let pushed = VectorPart::encode(&mut writer, 0, 1, of_peer.chain(of_others).take(most));
        self.lanes[slot].hello_sent(now_ns, self.config.timers.hello_ns);
        pushed.ok().map(|()| writer.finish_untagged())
    }

    pub(crate) fn on_hello(&mut self, now_ns: u64, slot: usize, frame: &Frame<'_>) -> Result<(), DropReason> {
        let part = VectorPart::decode(frame.payload)?;
        let header = &frame.header;
        if header.src_session == 0 {
            return Err(DropReason::Unexpected);
        }
        if header.dst_session == self.config.session {
            self.on_demand(header.lo)?;
            if header.count == EPOCH_IS_OVER {
                return self.on_epoch_over();
            }
        }
        let lane = &mut self.lanes[slot];
        lane.peer_actor = Some(header.actor);
        if header.dst_session != self.config.session {
            lane.owe_hello(now_ns, header.src_session);
            return Ok(());
        }
        let session = Session { id: header.src_session, actor: header.actor };
        if lane.session != Some(session) {
            let own = self.config.actor;
            let of_own = part.entries().filter(|(actor, _)| *actor == own);
            let acked = of_own.filter(|(_, range)| range.first == 1).map(|(_, range)| range.last).max();
            if self.knows_more_than_was_made(&part) {
                // It knows operations of this actor that this engine never made: not this engine's peer.
                return Err(DropReason::Unexpected);
            }
            self.lanes[slot].adopt(session, acked.unwrap_or(0), now_ns);
            self.abandon_syncs_with(slot);
            self.forgotten.session_began();
            self.folds.session_began();
            self.met_anybody = true;
            let tells = self.forgotten().next().is_some();
            self.lanes[slot].ask_forgotten = tells;
        }
        if header.count == 0 {
            self.lanes[slot].owe_hello(now_ns, session.id);
        }
        self.lanes[slot].heard(now_ns, &self.config.timers);
        self.consider_log_gap(now_ns, slot, header.log_first);
        self.consider_vector(now_ns, slot, &part);
        Ok(())
    }

    /// Writes the heartbeat that is due.
    pub(crate) fn write_heartbeat(&mut self, now: Instant, slot: usize, buffer: &mut [u8]) -> Option<usize> {
        let heartbeat = Heartbeat {
            state_digest: self.state_digest(),
            vector_digest: self.vector_digest(),
            wall_ns: now.wall_ns,
            last_seq: self.log.last_seq(),
        };
        let header = Header { lo: self.folds.digest, ..self.header(FrameType::Heartbeat, slot) };
        let mut writer = FrameWriter::new(buffer, header)?;
        let pushed = heartbeat.encode(&mut writer);
        self.lanes[slot].heartbeat_due_ns = next_beat_ns(now.monotonic_ns, self.config.timers.heartbeat_ns);
        pushed.ok().map(|()| writer.finish_untagged())
    }

    pub(crate) fn on_heartbeat(
        &mut self,
        now: Instant,
        slot: usize,
        frame: &Frame<'_>,
    ) -> Result<(), DropReason> {
        let heartbeat = Heartbeat::decode(frame.payload)?;
        let lane = &mut self.lanes[slot];
        lane.view.state_digest = heartbeat.state_digest;
        lane.view.vector_digest = heartbeat.vector_digest;
        (lane.view.folds, lane.view.known) = (frame.header.lo, true);
        // After a pause of this process, what waited for it meanwhile would make its clock look ahead.
        if now.monotonic_ns >= self.clocks_comparable_from_ns
            && now.monotonic_ns.saturating_sub(self.ticked_ns) <= 2 * self.config.timers.heartbeat_ns
        {
            lane.note_offset(now.wall_ns.wrapping_sub(heartbeat.wall_ns) as i64);
        }
        self.consider_folds(now.monotonic_ns, slot);
        self.consider_digests(now.monotonic_ns, slot);
        self.consider_log_gap(now.monotonic_ns, slot, frame.header.log_first);
        Ok(())
    }

    /// Starts an anti-entropy exchange when it is time.
    pub(crate) fn tick_gossip(&mut self, now_ns: u64) {
        if now_ns < self.anti_entropy_due_ns {
            return;
        }
        self.anti_entropy_due_ns = now_ns + self.random.jittered(self.config.timers.anti_entropy_ns);
        for lane in &mut self.lanes {
            let contiguous = lane.session.map(|session| self.vector.contiguous(session.actor));
            lane.progress = [lane.progress[1], contiguous];
        }
        let timeout_ns = self.config.timers.peer_timeout_ns;
        let up = self.lanes.iter().filter(|lane| lane.is_up(now_ns, timeout_ns)).count();
        let chosen = self.random.below(up);
        if let Some(lane) = self.lanes.iter_mut().filter(|lane| lane.is_up(now_ns, timeout_ns)).nth(chosen) {
            (lane.vector_part, lane.stable_part) = (Some(0), Some(0));
        }
    }

    /// Writes the next part of the vector to a peer that an exchange is under way with.
    pub(crate) fn write_vector(&mut self, slot: usize, buffer: &mut [u8]) -> Option<usize> {
        let part = self.lanes[slot].vector_part?;
        let parts = vector_parts(self.vector.open().flat_map(known).count());
        self.lanes[slot].vector_part = (part + 1 < parts).then_some(part + 1);
        let mut writer = FrameWriter::new(buffer, self.header(FrameType::Vector, slot))?;
        let entries =
            self.vector.open().flat_map(known).skip(usize::from(part) * MAX_VECTOR_ENTRIES_PER_PART);
        VectorPart::encode(&mut writer, part, parts, entries.take(MAX_VECTOR_ENTRIES_PER_PART)).ok()?;
        Some(writer.finish_untagged())
    }

    pub(crate) fn on_vector(
        &mut self,
        now_ns: u64,
        slot: usize,
        frame: &Frame<'_>,
    ) -> Result<(), DropReason> {
        let part = VectorPart::decode(frame.payload)?;
        if self.knows_more_than_was_made(&part) {
            return Err(DropReason::Unexpected);
        }
        let own = self.config.actor;
        for (_, range) in part.entries().filter(|(actor, range)| *actor == own && range.first == 1) {
            self.lanes[slot].sender.confirmed(range.last);
        }
        self.consider_vector(now_ns, slot, &part);
        Ok(())
    }

    /// Whether a peer's vector has operations of this engine's actor that its log never held. Where the epoch came
    /// from storage, that storage was an old copy, and the epoch is over.
    fn knows_more_than_was_made(&mut self, part: &VectorPart<'_>) -> bool {
        part.entries().any(|(actor, range)| self.check_made(Dot { actor, seq: range.last }).is_err())
    }

    /// Refuses a dot of this engine's actor that was never given out. Who names one lies, or knows more of this epoch
    /// than this engine: then its storage was an old copy, and the epoch is over.
    pub(crate) fn check_made(&mut self, dot: Dot) -> Result<(), DropReason> {
        if dot.actor != self.config.actor || dot.seq <= self.log.last_seq() {
            return Ok(());
        }
        self.epoch_is_over |= self.config.storage == Storage::Durable && !zoo!(OldImageGoesOn);
        Err(DropReason::Unexpected)
    }

    /// Asks the peer for a state sync if it has operations that nobody's log will bring.
    fn consider_vector(&mut self, now_ns: u64, slot: usize, part: &VectorPart<'_>) {
        let missing = part
            .entries()
            .any(|(actor, range)| !self.vector_covers(actor, range) && !self.log_brings(now_ns, slot, actor));
        if missing && !zoo!(NoAntiEntropy) {
            self.request_sync(now_ns, slot);
        }
    }

    /// Asks the peer for all that it has if it and this engine have seen the same operations for a while, and yet
    /// differ. That can be: a state sync shows effects of operations that its C does not cover, and if their origin
    /// dies before anybody got their records, whoever saw that sync shows them and nobody else ever will.
    fn consider_digests(&mut self, now_ns: u64, slot: usize) {
        let (state, vector) = (self.state_digest(), self.vector_digest());
        let view = self.lanes[slot].view;
        let differs = view.known && view.vector_digest == vector && view.state_digest != state;
        let differs = differs && !zoo!(DigestsNotCompared);
        let since_ns = *self.lanes[slot].differs_since_ns.get_or_insert(now_ns);
        if !differs {
            self.lanes[slot].differs_since_ns = None;
        } else if now_ns.saturating_sub(since_ns) >= self.config.timers.anti_entropy_ns {
            self.lanes[slot].differs_since_ns = None;
            self.request_everything(now_ns, slot);
        }
    }

    /// The contiguous part of every actor's seqs.
    pub(crate) fn contiguous_parts(&self) -> impl Iterator<Item = (ActorId, SeqRange)> {
        contiguous_parts(&self.vector)
    }

    fn vector_covers(&self, actor: ActorId, range: SeqRange) -> bool {
        let Some(clock) = self.vector.clock(actor).filter(|_| !self.vector.is_settled(actor)) else {
            return self.vector.is_settled(actor);
        };
        let holds = |own: &SeqRange| own.first <= range.first && range.last <= own.last;
        range.last <= clock.contiguous() || clock.ranges().iter().any(holds)
    }

    /// Whether the log of `actor`'s own host can be waited for: the host is up in that epoch, and is either the peer
    /// itself or has sent something new within the last two periods of anti-entropy.
    fn log_brings(&self, now_ns: u64, slot: usize, actor: ActorId) -> bool {
        if actor == self.config.actor {
            return true;
        }
        let timeout_ns = self.config.timers.peer_timeout_ns;
        self.lanes.iter().enumerate().any(|(i, lane)| {
            let moves =
                i == slot || lane.progress[0].is_none_or(|before| self.vector.contiguous(actor) > before);
            lane.session.is_some_and(|s| s.actor == actor) && lane.is_up(now_ns, timeout_ns) && moves
        })
    }

    /// Asks a peer for a state sync if its log no longer holds the next operation that is missing here.
    pub(crate) fn consider_log_gap(&mut self, now_ns: u64, slot: usize, log_first: u64) {
        let Some(session) = self.lanes[slot].session else { return };
        if self.vector.contiguous(session.actor).saturating_add(1) < log_first && !zoo!(LogGapNotNoticed) {
            self.request_sync(now_ns, slot);
        }
    }
}

/// Frames that so many entries take.
pub(crate) fn vector_parts(entries: usize) -> u8 {
    u8::try_from(entries.div_ceil(MAX_VECTOR_ENTRIES_PER_PART).max(1)).unwrap_or(u8::MAX)
}

/// The next beat: heartbeats to all peers, of all shards, fall on the same moments, so that a host with nothing else to do
/// wakes once in a period for all of them, and its peers find them all at once.
fn next_beat_ns(now_ns: u64, heartbeat_ns: u64) -> u64 {
    let period_ns = heartbeat_ns.max(1);
    (now_ns - now_ns % period_ns).saturating_add(period_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_fall_on_the_same_moments_whenever_the_last_was_sent() {
        assert_eq!(next_beat_ns(0, 100), 100);
        assert_eq!(next_beat_ns(99, 100), 100);
        assert_eq!(next_beat_ns(100, 100), 200);
        assert_eq!(next_beat_ns(1_234, 100), 1_300);
        assert_eq!(next_beat_ns(u64::MAX, 100), u64::MAX);
        assert_eq!(next_beat_ns(7, 0), 8);
    }
}
