//! The sending side of a lane: which of this node's operations a peer has, and what to send it next.
//!
//! ```text
//!   seqs      1 ............ acked ....... in flight ....... cursor ........ last of the log
//!             peer has them    sent, some acknowledged out     not yet sent
//!                              of order, some found lost
//! ```
//!
//! Loss is found as in QUIC (RFC 9002): a frame is lost when one transmitted three later was acknowledged, or when
//! nothing was acknowledged for a retransmission timeout (RFC 6298, with Karn's rule: a frame sent twice gives no
//! round-trip sample). Sending is bounded by a window of frames and paced over the round trip, so that neither a peer
//! that comes back nor a slow one is flooded.
//!
//! What can go wrong: the log evicts what a peer still lacks. Those frames are forgotten here; the peer sees in every
//! frame where the log begins, and asks for a state sync.

use lattice_crdt::SeqRange;
use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// Transmissions that may overtake one before it counts as lost (RFC 9002, section 6.1.1).
const REORDERING_THRESHOLD: u64 = 3;
/// Frames that may leave back to back.
const PACE_BURST_FRAMES: u64 = 32;
const INITIAL_WINDOW_FRAMES: usize = 32;
const MIN_WINDOW_FRAMES: usize = 8;
/// Round trip assumed before the first sample, for timeouts.
const INITIAL_RTT_NS: u64 = 5_000_000;
/// Round trip below which pacing makes no finer steps.
const MIN_PACE_RTT_NS: u64 = 20_000;

/// One frame that is on its way.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    lo: u64,
    count: u32,
    sent_at_ns: u64,
    /// Number of its last transmission on this lane.
    order: u64,
    transmissions: u32,
    acknowledged: bool,
    lost: bool,
    /// Some transmission of it defined aliases.
    defines: bool,
}

impl InFlight {
    fn hi(&self) -> u64 {
        self.lo + u64::from(self.count)
    }
}

/// What to send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The seqs after `lo`, as many as fit.
    New { lo: u64 },
    /// The same seqs again.
    Again { index: usize, lo: u64, count: u32 },
}

/// See the module's documentation.
pub(crate) struct Sender {
    cursor: u64,
    acked: u64,
    in_flight: VecDeque<InFlight>,
    lost: usize,
    next_order: u64,
    newest_acked_order: u64,
    window_frames: usize,
    max_window_frames: usize,
    smoothed_rtt_ns: u64,
    rtt_variance_ns: u64,
    min_rtt_ns: u64,
    backoff: u32,
    timeout_at_ns: u64,
    /// When the next frame may leave.
    pace_at_ns: u64,
    /// Somebody waits: the peer is to acknowledge at once what it has got, when all has been sent.
    asks: bool,
}

/// Bounds of the retransmission timeout, and how long a peer may hold back an acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeoutBounds {
    pub(crate) min_ns: u64,
    pub(crate) max_ns: u64,
    pub(crate) ack_delay_ns: u64,
}

impl Sender {
    pub(crate) fn new(max_window_frames: usize) -> Self {
        Self {
            cursor: 0,
            acked: 0,
            in_flight: VecDeque::with_capacity(max_window_frames),
            lost: 0,
            next_order: 1,
            newest_acked_order: 0,
            window_frames: INITIAL_WINDOW_FRAMES.min(max_window_frames),
            max_window_frames,
            smoothed_rtt_ns: 0,
            rtt_variance_ns: 0,
            min_rtt_ns: u64::MAX,
            backoff: 0,
            timeout_at_ns: u64::MAX,
            pace_at_ns: 0,
            asks: false,
        }
    }

    /// Begins anew with a peer that has everything up to `acked`.
    pub(crate) fn reset(&mut self, acked: u64) {
        let acked = if zoo!(AckOutlivesSession) { acked.max(self.acked) } else { acked };
        self.in_flight.clear();
        (self.cursor, self.acked) = (acked, acked);
        (self.lost, self.backoff) = (0, 0);
        self.window_frames = INITIAL_WINDOW_FRAMES.min(self.max_window_frames);
        (self.timeout_at_ns, self.pace_at_ns) = (u64::MAX, 0);
    }

    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    pub(crate) fn smoothed_rtt_ns(&self) -> u64 {
        self.smoothed_rtt_ns
    }

    /// What to send now, given what the log holds. `None`: nothing, or not yet.
    pub(crate) fn plan(&mut self, now_ns: u64, first_seq: u64, last_seq: u64) -> Option<Plan> {
        self.forget_evicted(first_seq);
        if !self.has_work(last_seq) || now_ns < self.pace_at_ns {
            return None;
        }
        if self.lost > 0 {
            let index = self.in_flight.iter().position(|f| f.lost)?;
            let frame = self.in_flight[index];
            return Some(Plan::Again { index, lo: frame.lo, count: frame.count });
        }
        Some(Plan::New { lo: self.cursor.max(first_seq - 1) })
    }

    /// Asks the peer to acknowledge, unless there is nothing to acknowledge.
    pub(crate) fn ask(&mut self, last_seq: u64) {
        self.asks = self.acked < last_seq;
    }

    /// Where a question is to be put now, once: behind everything that has been sent, when that is everything.
    pub(crate) fn question(&mut self, last_seq: u64) -> Option<u64> {
        let is_due = self.asks && self.cursor >= last_seq;
        self.asks &= !is_due;
        (is_due && self.acked < self.cursor).then_some(self.cursor)
    }

    fn has_work(&self, last_seq: u64) -> bool {
        self.lost > 0
            || (self.cursor < last_seq
                && self.in_flight.len() < self.window_frames.min(self.max_window_frames))
    }

    /// Forgets what the log no longer holds: whole frames, and the evicted beginning of one.
    fn forget_evicted(&mut self, first_seq: u64) {
        while let Some(front) = self.in_flight.front_mut() {
            if !front.acknowledged && front.hi() >= first_seq {
                let lo = front.lo.max(first_seq - 1);
                (front.count, front.lo) = ((front.hi() - lo) as u32, lo);
                break;
            }
            self.lost -= usize::from(front.lost);
            self.in_flight.pop_front();
        }
        if self.in_flight.is_empty() {
            self.timeout_at_ns = u64::MAX;
        }
    }

    /// Records that the planned frame has left with `count` records, and whether it defined aliases. Returns whether it was a
    /// retransmission. With their keys, the records of a frame may not fit into one any more: the rest then is a lost frame
    /// of its own.
    pub(crate) fn sent(
        &mut self,
        now_ns: u64,
        plan: Plan,
        count: u32,
        defines: bool,
        bounds: TimeoutBounds,
    ) -> bool {
        let order = self.next_order;
        self.next_order += 1;
        let again = match plan {
            Plan::New { lo } => {
                self.cursor = lo + u64::from(count);
                self.in_flight.push_back(InFlight {
                    lo,
                    count,
                    sent_at_ns: now_ns,
                    order,
                    transmissions: 1,
                    acknowledged: false,
                    lost: false,
                    defines,
                });
                false
            }
            Plan::Again { index, lo, count: planned } => {
                if let Some(frame) = self.in_flight.get_mut(index) {
                    let rest = InFlight {
                        lo: lo + u64::from(count),
                        count: planned.saturating_sub(count),
                        ..*frame
                    };
                    self.lost -= usize::from(frame.lost);
                    (frame.lost, frame.sent_at_ns, frame.order) = (false, now_ns, order);
                    frame.transmissions = frame.transmissions.saturating_add(1);
                    frame.defines |= defines;
                    if rest.count > 0 && count > 0 {
                        frame.count = count;
                        self.lost += usize::from(rest.lost);
                        self.in_flight.insert(index + 1, rest);
                    }
                }
                true
            }
        };
        if self.timeout_at_ns == u64::MAX {
            self.timeout_at_ns = now_ns + self.timeout_ns(bounds);
        }
        let rtt_ns =
            if self.min_rtt_ns == u64::MAX { INITIAL_RTT_NS } else { self.min_rtt_ns.max(MIN_PACE_RTT_NS) };
        let step_ns = rtt_ns * 4 / (5 * self.window_frames as u64);
        self.pace_at_ns = self.pace_at_ns.max(now_ns.saturating_sub(PACE_BURST_FRAMES * step_ns)) + step_ns;
        again
    }

    /// The peer has everything up to `contiguous`, and `ranges` (ascending) beyond it. `learnt` is told the seqs of each
    /// frame that it now has and that defined aliases. Returns how long ago the newest frame that this acknowledges first
    /// was sent, nanoseconds; `None` where no frame is, or only such as were sent twice.
    pub(crate) fn acknowledged(
        &mut self,
        now_ns: u64,
        contiguous: u64,
        ranges: impl Iterator<Item = SeqRange>,
        bounds: TimeoutBounds,
        learnt: &mut dyn FnMut(RangeInclusive<u64>),
    ) -> Option<u64> {
        self.acked = self.acked.max(contiguous);
        self.cursor = self.cursor.max(self.acked);
        let mut newly = 0;
        let mut sample: Option<(u64, u64)> = None;
        let mut ranges = ranges.peekable();
        for frame in self.in_flight.iter_mut().filter(|f| !f.acknowledged) {
            while ranges.next_if(|r| r.last < frame.hi()).is_some() {}
            let in_range = |r: &SeqRange| r.first <= frame.lo + 1 || zoo!(AckRangesAsContiguous);
            let held = frame.hi() <= contiguous || ranges.peek().is_some_and(in_range);
            if !held {
                continue;
            }
            self.lost -= usize::from(frame.lost);
            (frame.acknowledged, frame.lost) = (true, false);
            if frame.defines {
                learnt(frame.lo + 1..=frame.hi());
            }
            newly += 1;
            self.newest_acked_order = self.newest_acked_order.max(frame.order);
            if frame.transmissions == 1 && sample.is_none_or(|(order, _)| order < frame.order) {
                sample = Some((frame.order, now_ns.saturating_sub(frame.sent_at_ns)));
            }
        }
        if newly == 0 {
            return None;
        }
        let sample = sample.map(|(_, rtt_ns)| rtt_ns);
        if let Some(rtt_ns) = sample {
            self.sample(rtt_ns);
        }
        while self.in_flight.front().is_some_and(|f| f.acknowledged) {
            self.in_flight.pop_front();
        }
        for frame in self.in_flight.iter_mut().filter(|f| !f.acknowledged && !f.lost) {
            if frame.order + REORDERING_THRESHOLD <= self.newest_acked_order {
                frame.lost = true;
                self.lost += 1;
            }
        }
        self.backoff = 0;
        self.window_frames = (self.window_frames + newly).min(self.max_window_frames);
        self.timeout_at_ns =
            if self.in_flight.is_empty() { u64::MAX } else { now_ns + self.timeout_ns(bounds) };
        sample
    }

    /// The peer has everything up to `contiguous`, as its vector says: an acknowledgement that is no sample of a round
    /// trip, for where the real one was lost and nothing is in flight that would bring another.
    pub(crate) fn confirmed(&mut self, contiguous: u64) {
        self.acked = self.acked.max(contiguous);
        self.cursor = self.cursor.max(self.acked);
    }

    /// RFC 6298, section 2.
    fn sample(&mut self, rtt_ns: u64) {
        self.min_rtt_ns = self.min_rtt_ns.min(rtt_ns);
        if self.smoothed_rtt_ns == 0 {
            (self.smoothed_rtt_ns, self.rtt_variance_ns) = (rtt_ns.max(1), rtt_ns / 2);
            return;
        }
        self.rtt_variance_ns = (3 * self.rtt_variance_ns + self.smoothed_rtt_ns.abs_diff(rtt_ns)) / 4;
        self.smoothed_rtt_ns = (7 * self.smoothed_rtt_ns + rtt_ns) / 8;
    }

    fn timeout_ns(&self, bounds: TimeoutBounds) -> u64 {
        let rtt_ns = if self.smoothed_rtt_ns == 0 { INITIAL_RTT_NS } else { self.smoothed_rtt_ns };
        // Not `clamp`, which panics where a configuration has the bounds the wrong way round.
        let base = (rtt_ns + 4 * self.rtt_variance_ns + bounds.ack_delay_ns).max(bounds.min_ns);
        base.saturating_mul(1 << self.backoff.min(16)).min(bounds.max_ns)
    }

    /// Runs the retransmission timer; returns whether it fired. The oldest two frames are probes; from the second
    /// firing on, everything unacknowledged counts as lost.
    pub(crate) fn tick(&mut self, now_ns: u64, bounds: TimeoutBounds) -> bool {
        if now_ns < self.timeout_at_ns {
            return false;
        }
        self.backoff = self.backoff.saturating_add(1);
        self.window_frames = (self.window_frames / 2).max(MIN_WINDOW_FRAMES.min(self.max_window_frames));
        let probes = if self.backoff > 1 { usize::MAX } else { 2 };
        self.lose_oldest(probes);
        self.timeout_at_ns = now_ns + self.timeout_ns(bounds);
        true
    }

    /// The peer is heard again after a silence: what was in flight is presumed lost, and nothing is held back.
    pub(crate) fn revive(&mut self, now_ns: u64, bounds: TimeoutBounds) {
        self.lose_oldest(usize::MAX);
        self.backoff = 0;
        self.pace_at_ns = now_ns;
        if !self.in_flight.is_empty() {
            self.timeout_at_ns = now_ns + self.timeout_ns(bounds);
        }
    }

    fn lose_oldest(&mut self, most: usize) {
        let most = if zoo!(LostNeverResent) { 0 } else { most };
        for frame in self.in_flight.iter_mut().filter(|f| !f.acknowledged).take(most) {
            self.lost += usize::from(!frame.lost);
            frame.lost = true;
        }
    }

    /// When this side next has something to do.
    pub(crate) fn deadline_ns(&self, last_seq: u64) -> u64 {
        let send_at_ns = if self.has_work(last_seq) { self.pace_at_ns } else { u64::MAX };
        send_at_ns.min(self.timeout_at_ns)
    }
}

#[cfg(test)]
mod tests;
