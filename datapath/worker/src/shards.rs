//! The engines of one worker, and which of them need attention.
//!
//! Shard `s` belongs to worker `s % workers`, at place `s / workers` here. A bit for each place says that its engine was
//! handed something (a frame, an operation, a tick) since it last had nothing to send, so that a turn without news costs
//! one comparison with the earliest deadline, however many shards there are:
//!
//! ```text
//!            receive, apply, tick (deadline passed)
//!   quiet ────────────────────────────────────────> active ── commit, transmit: None ──> quiet, deadline read anew
//!                                                      └──── budget or room used up ──> stays active
//! ```
//!
//! State syncs that peers catch up by are bulk, and everything else goes before them: see [`Syncs`].

use crate::publisher::SegmentPublisher;
use crate::wakeup::Wakeup;
use lattice_engine::{Instant, LogStore, SyncBudget};
use lattice_storage::{LogHandle, ShardLog};
use std::sync::Arc;

/// The engine of a shard, with its log in memory or in files.
pub type Engine = lattice_engine::Engine<ShardLog>;

/// The most shards that a keyspace can have: one bit each.
const MAX_SHARDS: usize = lattice_crdt::limits::MAX_SHARDS;
const _: () = assert!(MAX_SHARDS <= 64, "the sets of places are 64-bit words");

/// Engines by place, with their deadlines.
pub(crate) struct Shards {
    engines: Vec<Engine>,
    /// The log of each engine, for asking how far it is durable; `None` where it is in memory.
    logs: Vec<Option<LogHandle>>,
    /// When each engine next has something to do by itself, monotonic nanoseconds.
    deadlines_ns: Vec<u64>,
    earliest_ns: u64,
    /// Bit `p`: the engine at place `p` may have something to commit or to send.
    active: u64,
    /// Place that transmits first in the next turn.
    first: usize,
    syncs: Syncs,
    index: u16,
    workers: u16,
}

impl Shards {
    /// Takes over the engines of the shards `index`, `index + workers`, … in that order.
    pub(crate) fn new(engines: Vec<Engine>, index: u16, workers: u16) -> Self {
        let count = engines.len();
        Self {
            logs: engines.iter().map(|engine| engine.log().handle()).collect(),
            engines,
            deadlines_ns: vec![0; count],
            earliest_ns: 0,
            active: ones(count),
            first: 0,
            syncs: Syncs::default(),
            index,
            workers,
        }
    }

    /// The worker that owns a shard.
    pub(crate) fn owner(&self, shard: u16) -> u16 {
        shard % self.workers
    }

    /// All engines, for status and counters.
    pub(crate) fn engines(&self) -> &[Engine] {
        &self.engines
    }

    /// All engines, which are about to be told something.
    pub(crate) fn engines_mut(&mut self) -> &mut [Engine] {
        (0..self.engines.len()).for_each(|place| self.active |= 1 << place);
        &mut self.engines
    }

    /// The engine of a shard of this worker, which is about to be handed something.
    pub(crate) fn of_shard(&mut self, shard: u16) -> Option<&mut Engine> {
        let place = self.place(shard)?;
        let engine = self.engines.get_mut(place)?;
        self.active |= 1 << place;
        Some(engine)
    }

    /// The engine of a shard of this worker, to look at.
    pub(crate) fn look_at(&self, shard: u16) -> Option<&Engine> {
        self.engines.get(self.place(shard)?)
    }

    /// Where the engine of a shard of this worker is.
    pub(crate) fn place(&self, shard: u16) -> Option<usize> {
        (self.owner(shard) == self.index).then(|| usize::from(shard / self.workers))
    }

    /// The engine at a place and its log, if that is in files, for a snapshot: nothing that it would have to send.
    pub(crate) fn for_snapshot(&mut self, place: usize) -> Option<(&mut Engine, &LogHandle)> {
        self.engines.get_mut(place).zip(self.logs.get(place)?.as_ref())
    }

    /// The log of the engine at a place, if it is in files.
    pub(crate) fn log(&self, place: usize) -> Option<&LogHandle> {
        self.logs.get(place)?.as_ref()
    }

    /// Has the worker woken, if it waits for that, when more of its logs is durable.
    pub(crate) fn on_durable(&self, wakeup: &Arc<Wakeup>) {
        for log in self.logs.iter().flatten() {
            let wakeup = Arc::clone(wakeup);
            let is_first = log.on_durable(move || wakeup.notify_of_disk());
            debug_assert!(is_first, "a log is one worker's, for good");
        }
    }

    /// Whether what is written becomes durable with snapshots only.
    pub(crate) fn is_never_synced(&self) -> bool {
        self.logs.iter().flatten().any(LogHandle::is_never_synced)
    }

    /// Seq of the newest own operation of a shard that is in its log: everything up to it survives the process, where logs
    /// are in files. It grows with each commit.
    pub(crate) fn logged_seq(&self, shard: u16) -> u64 {
        self.look_at(shard).map_or(0, |engine| engine.log().last_seq())
    }

    /// Seq of the newest own operation of a shard that survives a crash of the machine, with all before it; 0 without
    /// storage. It grows whenever a storage thread has synced the log, and begins anew with an epoch.
    pub(crate) fn durable_seq(&self, shard: u16) -> u64 {
        let place = self.place(shard);
        let of = |place: usize| Some((self.engines.get(place)?, self.logs.get(place)?.as_ref()?));
        place.and_then(of).map_or(0, |(engine, log)| log.durable_seq(engine.actor()))
    }

    /// Publishes and logs what was applied and merged since the last time. Returns whether there was anything.
    pub(crate) fn commit(&mut self, now: Instant, publisher: &mut SegmentPublisher) -> bool {
        let mut any = false;
        for place in places(self.active) {
            if let Some(engine) = self.engines.get_mut(place).filter(|e| e.has_uncommitted()) {
                engine.commit(now, publisher);
                any = true;
            }
        }
        any
    }

    /// Somebody waits for peers: they are to acknowledge at once.
    pub(crate) fn ask_peers(&mut self) {
        self.engines.iter_mut().for_each(Engine::ask_peers);
        self.active = ones(self.engines.len());
    }

    /// Whether an engine may have something to commit or to send.
    pub(crate) fn is_any_active(&self) -> bool {
        self.active != 0
    }

    /// Ticks the engines whose deadline has passed.
    pub(crate) fn tick_due(&mut self, now: Instant) {
        if now.monotonic_ns < self.earliest_ns {
            return;
        }
        for (place, (engine, deadline_ns)) in self.engines.iter_mut().zip(&self.deadlines_ns).enumerate() {
            if *deadline_ns <= now.monotonic_ns {
                engine.tick(now);
                self.active |= 1 << place;
            }
        }
    }

    /// Takes frames out of the active engines, in turns that begin at another engine each time, until `send` has been
    /// called `budget` times. `frame` is where they are written, without their tags; `wrote` says that this
    /// turn had writes.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        wrote: bool,
        budget: usize,
        frame: &mut [u8],
        send: &mut dyn FnMut(u16, usize, &mut [u8]),
    ) -> usize {
        if wrote {
            self.syncs.note_writes(now.monotonic_ns);
        }
        if self.active == 0 {
            return 0;
        }
        let given = self.syncs.budget(now.monotonic_ns, wrote);
        let mut left = given;
        let mut sent = 0;
        let from_first = self.active & (u64::MAX << self.first);
        let before_first = self.active & !(u64::MAX << self.first);
        for place in places(from_first).chain(places(before_first)) {
            let Some(engine) = self.engines.get_mut(place) else { continue };
            let shard = engine.shard();
            loop {
                if sent == budget {
                    self.syncs.note_use(now.monotonic_ns, left != given);
                    // The next engine begins the next turn: one with endless frames can't keep the others waiting.
                    self.first = (place + 1) % self.engines.len();
                    self.refresh_earliest();
                    return sent;
                }
                let Some((peer, len)) = engine.transmit_untagged(now, frame, &mut left) else { break };
                sent += 1;
                if let Some(bytes) = frame.get_mut(..len) {
                    send(shard, peer, bytes);
                }
            }
            self.active &= !(1 << place);
            self.syncs.note(place, engine.serves_syncs());
            if let Some(deadline_ns) = self.deadlines_ns.get_mut(place) {
                *deadline_ns = engine.deadline_ns();
            }
        }
        self.syncs.note_use(now.monotonic_ns, left != given);
        self.refresh_earliest();
        sent
    }

    fn refresh_earliest(&mut self) {
        self.earliest_ns = self.deadlines_ns.iter().copied().min().unwrap_or(u64::MAX);
    }

    /// When there is next something to do without news from outside; 0 while an engine is still active.
    pub(crate) fn deadline_ns(&self) -> u64 {
        if self.active != 0 { 0 } else { self.earliest_ns }
    }

    /// Whether every peer that is up has acknowledged all own operations.
    pub(crate) fn acknowledged(&self, now: Instant) -> bool {
        self.engines.iter().all(|engine| {
            (0..)
                .map_while(|slot| engine.peer_status(slot, now))
                .all(|peer| !peer.up || peer.unacknowledged_seqs == 0)
        })
    }
}

/// How fast peers catch up from the shards of this worker.
///
/// ```text
///   turn with writes ──> no slice, unless none went for LATEST_NS      writes within BUSY_NS: slices GAP_BUSY_NS apart
///   turn without     ──> one slice at most                             none:                  slices GAP_QUIET_NS apart
/// ```
///
/// A slice is a frame that is written and sent: so many microseconds are what a sync adds to the way of a write that comes in
/// the same turn, at most. The gap is that of all walks of the worker together, and their shards take turns: each walk's own
/// gap is as many times as long as there are walks. It leaves the processor to others, and is what the receiver, who has a
/// key to make for each that comes, needs to do other work as well.
#[derive(Default)]
struct Syncs {
    /// Bit `p`: a peer catches up from the engine at place `p`.
    serving: u64,
    busy_until_ns: u64,
    /// When a turn with writes has a slice too.
    latest_ns: u64,
}

impl Syncs {
    const GAP_BUSY_NS: u64 = 200_000;
    const GAP_QUIET_NS: u64 = 10_000;
    const BUSY_NS: u64 = 10_000_000;
    const LATEST_NS: u64 = 200_000;

    fn note_writes(&mut self, now_ns: u64) {
        self.busy_until_ns = now_ns.saturating_add(Self::BUSY_NS);
    }

    #[inline]
    fn note(&mut self, place: usize, serves: bool) {
        self.serving = self.serving & !(1 << place) | u64::from(serves) << place;
    }

    fn budget(&self, now_ns: u64, wrote: bool) -> SyncBudget {
        let gap_ns = if now_ns < self.busy_until_ns { Self::GAP_BUSY_NS } else { Self::GAP_QUIET_NS };
        SyncBudget {
            slices: u32::from(!wrote || now_ns >= self.latest_ns),
            gap_ns: gap_ns * u64::from(self.serving.count_ones().max(1)),
        }
    }

    /// Notes whether a turn has used its slice. Whoever begins to catch up waits for a turn without writes, too.
    fn note_use(&mut self, now_ns: u64, used: bool) {
        if used || self.serving == 0 {
            self.latest_ns = now_ns.saturating_add(Self::LATEST_NS);
        }
    }
}

/// A word with its lowest `count` bits set.
fn ones(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// The places whose bits are set, ascending.
fn places(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if set == 0 {
            return None;
        }
        let place = set.trailing_zeros() as usize;
        set &= set - 1;
        Some(place)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_places() {
        assert_eq!(ones(0), 0);
        assert_eq!(ones(3), 0b111);
        assert_eq!(ones(64), u64::MAX);
        assert_eq!(places(0b1000_0101).collect::<Vec<_>>(), [0, 2, 7]);
        assert_eq!(places(1 << 63).collect::<Vec<_>>(), [63]);
    }
}
