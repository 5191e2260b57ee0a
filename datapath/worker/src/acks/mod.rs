//! How far the writes of clients have got: merged by which peers, durable where. Kept for those who ask, by marks.
//!
//! ```text
//!   client's mark ──> cut: last own seq of each shard │ submissions taken of each client      (after the turn's commit)
//!                      │
//!                      ├──> disk             cuts under way ── durable seq ≥ the cut's, in all shards ──> reached
//!                      ├──> peer 0 merged    cuts under way ── acknowledged ≥ the cut's, in all ────────> reached
//!                      ├──> peer 0 durable   …                                                              │
//!                      └──> peer 1 …                     client's levels: the k-th best of the followers <──┘
//! ```
//!
//! Whoever writes without a mark costs nothing here: a write is acknowledged at its peers by the seqs that it took anyway. A
//! mark makes one *cut* for all clients of the worker, and every *follower* (this host's disk; each peer, for what it merged
//! and for what it would still have) goes from cut to cut on its own, so that one that is away keeps nobody else waiting. A
//! follower has a few cuts under way; when it has no place for another, the newest takes its place in: a level may be told
//! later than it was reached, by about one way to the follower, and never earlier.
//!
//! A peer that comes back with an older copy says so in its next session, and what it had reached counts no more for what
//! is told from then on. What was told stays told.
//!
//! A cut speaks of the present epoch. When a shard begins another one, nobody can tell any more of earlier writes where they
//! are by a seq: clients that had written before and ask are let go, and learn that they do not know.
//!
//! What can go wrong: nothing that a client does. Its marks are bounded to one cut a turn for all.

mod follower;

#[cfg(test)]
mod tests;

use crate::shards::Shards;
use follower::Follower;
use lattice_crdt::ActorId;
use lattice_segment::ring::layout::MAX_COUNTED_PEERS;
use lattice_segment::{AckTerms, Levels};

/// What followers have, shard by shard. A `shard` is a place among the worker's own ones.
pub(crate) trait Whereabouts {
    /// Number of the worker's shards.
    fn shards(&self) -> usize;
    /// Number of peer slots.
    fn slots(&self) -> usize;
    /// Whose operations are made in a shard.
    fn actor(&self, shard: usize) -> ActorId;
    /// The newest own operation.
    fn last_seq(&self, shard: usize) -> u64;
    /// The newest own operation that this host's disk has, with all before it. `None`: nothing is kept.
    fn durable(&self, shard: usize) -> Option<u64>;
    /// What is written becomes durable with snapshots only.
    fn is_never_synced(&self) -> bool;
    /// The newest own operation that a peer has merged, with all before it. `None`: no member.
    fn merged_by(&self, shard: usize, slot: usize) -> Option<u64>;
    /// The newest own operation that a peer would still have, with all before it. `None`: no member.
    fn durable_on(&self, shard: usize, slot: usize) -> Option<u64>;
}

/// A client's place in every cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column(usize);

/// What is known of a client.
#[derive(Clone, Copy, Default)]
struct Asker {
    used: bool,
    /// It wrote in an epoch that is over: where those writes are can't be told.
    lost_track: bool,
    /// Submissions up to its last mark.
    asked: u64,
    /// Everything asked has reached everybody.
    settled: bool,
}

impl Asker {
    fn waits(&self) -> bool {
        self.asked > 0 && !self.settled
    }
}

/// See the module's documentation.
pub(crate) struct Acks {
    askers: Box<[Asker]>,
    disk: Follower,
    merged: Vec<Follower>,
    durable_on: Vec<Follower>,
    /// Whose seqs the cuts speak of.
    actors: Box<[ActorId]>,
    /// The last cut, and how many there were.
    cut: Box<[u64]>,
    cuts: u64,
    /// Scratch: values of followers side by side.
    values: Vec<u64>,
    /// Some follower has a cut under way.
    pending: bool,
    /// A cut was made since the followers were last moved on.
    fresh: bool,
}

impl Whereabouts for Shards {
    fn shards(&self) -> usize {
        self.engines().len()
    }

    fn slots(&self) -> usize {
        self.engines().first().map_or(0, |engine| engine.peer_slots())
    }

    fn actor(&self, shard: usize) -> ActorId {
        self.engines()[shard].actor()
    }

    fn last_seq(&self, shard: usize) -> u64 {
        self.engines()[shard].last_seq()
    }

    fn durable(&self, shard: usize) -> Option<u64> {
        self.log(shard).map(|log| log.durable_seq(self.engines()[shard].actor()))
    }

    fn is_never_synced(&self) -> bool {
        Shards::is_never_synced(self)
    }

    fn merged_by(&self, shard: usize, slot: usize) -> Option<u64> {
        self.engines()[shard].merged_by(slot)
    }

    fn durable_on(&self, shard: usize, slot: usize) -> Option<u64> {
        self.engines()[shard].durable_on(slot)
    }
}

impl Acks {
    /// For so many clients at most. The number of shards and peer slots is what it is now.
    pub(crate) fn new(clients: usize, now: &impl Whereabouts) -> Self {
        let follower = || Follower::new(now.shards(), clients);
        Self {
            askers: vec![Asker::default(); clients].into(),
            disk: follower(),
            merged: (0..now.slots()).map(|_| follower()).collect(),
            durable_on: (0..now.slots()).map(|_| follower()).collect(),
            actors: (0..now.shards()).map(|shard| now.actor(shard)).collect(),
            cut: vec![0; now.shards() + clients].into(),
            cuts: 0,
            values: Vec::with_capacity(now.slots()),
            pending: false,
            fresh: false,
        }
    }

    /// A place for a client that has submitted nothing yet; `None` if there is none left.
    pub(crate) fn open(&mut self, now: &impl Whereabouts) -> Option<Column> {
        self.look_at_epochs(now);
        let free = self.askers.iter().position(|asker| !asker.used)?;
        self.askers[free] = Asker { used: true, settled: true, ..Asker::default() };
        for follower in self.followers() {
            follower.clear_column(free);
        }
        if let Some(ticket) = self.cut.get_mut(now.shards() + free) {
            *ticket = 0;
        }
        Some(Column(free))
    }

    /// The client is gone.
    pub(crate) fn close(&mut self, column: Column) {
        if let Some(asker) = self.askers.get_mut(column.0) {
            *asker = Asker::default();
        }
    }

    fn followers(&mut self) -> impl Iterator<Item = &mut Follower> {
        std::iter::once(&mut self.disk).chain(&mut self.merged).chain(&mut self.durable_on)
    }

    /// What acknowledgements there can be at present.
    pub(crate) fn terms(now: &impl Whereabouts) -> AckTerms {
        let peers = (0..now.slots()).filter(|slot| now.merged_by(0, *slot).is_some()).count();
        let members = u16::try_from(peers + 1).unwrap_or(u16::MAX);
        AckTerms { members, log_is_file: now.durable(0).is_some(), never_synced: now.is_never_synced() }
    }

    /// Makes a cut after a commit: `taken` says how many submissions each client has had taken, and whether it marked.
    pub(crate) fn cut(&mut self, now: &impl Whereabouts, taken: impl Iterator<Item = (Column, u64, bool)>) {
        self.look_at_epochs(now);
        self.cut.fill(0);
        let (seqs, tickets) = self.cut.split_at_mut(now.shards());
        for (shard, seq) in seqs.iter_mut().enumerate() {
            *seq = now.last_seq(shard);
        }
        for (column, count, has_marked) in taken {
            let (Some(ticket), Some(asker)) = (tickets.get_mut(column.0), self.askers.get_mut(column.0))
            else {
                continue;
            };
            *ticket = count;
            if has_marked {
                (asker.asked, asker.settled) = (count, false);
            }
        }
        self.cuts += 1;
        (self.pending, self.fresh) = (true, true);
    }

    /// Whether a follower has something to reach, or there is news to tell.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.pending
    }

    /// Whether this host's disk has something to reach.
    pub(crate) fn awaits_disk(&self) -> bool {
        self.disk.is_under_way()
    }

    /// Whether this host's disk has something that it had not when it was last looked at.
    pub(crate) fn disk_has_come(&self, now: &impl Whereabouts) -> bool {
        self.disk.would_move(|shard| now.durable(shard))
    }

    /// Sends every follower that there is on to the last cut: also one that has come, or come back, since.
    fn send_on(&mut self, now: &impl Whereabouts) {
        while self.merged.len() < now.slots() {
            let follower = || Follower::new(now.shards(), self.askers.len());
            self.merged.push(follower());
            self.durable_on.push(follower());
        }
        let Self { cut, cuts, disk, merged, durable_on, .. } = self;
        let send = |follower: &mut Follower, is_there: bool| {
            if follower.newest() < *cuts && is_there {
                follower.push(cut, *cuts);
            }
        };
        send(disk, now.durable(0).is_some());
        for (slot, (merged, durable_on)) in merged.iter_mut().zip(durable_on).enumerate() {
            let is_there = now.merged_by(0, slot).is_some();
            send(merged, is_there);
            send(durable_on, is_there);
        }
    }

    /// Moves every follower on as far as it has got. True if there is something to tell.
    pub(crate) fn advance(&mut self, now: &impl Whereabouts) -> bool {
        self.look_at_epochs(now);
        self.send_on(now);
        let mut moved = self.disk.advance(|shard| now.durable(shard));
        for (slot, follower) in self.merged.iter_mut().enumerate() {
            moved |= follower.advance(|shard| now.merged_by(shard, slot));
        }
        for (slot, follower) in self.durable_on.iter_mut().enumerate() {
            moved |= follower.advance(|shard| now.durable_on(shard, slot));
        }
        moved |= std::mem::take(&mut self.fresh);
        if moved {
            self.look_back(now);
        }
        let is_under_way = self.followers().any(|follower| follower.is_under_way());
        // Also for a member that comes later: whoever waits for all waits for it too.
        self.pending = is_under_way || self.askers.iter().any(Asker::waits);
        moved
    }

    /// Takes back what peers reached in an earlier session and have no more, before anything is told.
    fn look_back(&mut self, now: &impl Whereabouts) {
        for (slot, follower) in self.merged.iter_mut().enumerate() {
            follower.look_back(|shard| now.merged_by(shard, slot));
        }
        for (slot, follower) in self.durable_on.iter_mut().enumerate() {
            follower.look_back(|shard| now.durable_on(shard, slot));
        }
    }

    /// Whether a client has asked and not everything that it asked about is known to be everywhere.
    pub(crate) fn is_waiting(&self, column: Column) -> bool {
        self.askers.get(column.0).is_some_and(Asker::waits)
    }

    /// Whether a client asks about writes of which nothing can be told any more.
    pub(crate) fn has_lost_track(&self, column: Column) -> bool {
        self.askers.get(column.0).is_some_and(|asker| asker.lost_track && asker.asked > 0)
    }

    /// How far a client's submissions have got, as [`Acks::advance`] last found it.
    pub(crate) fn levels(&mut self, now: &impl Whereabouts, column: Column) -> Levels {
        let mut levels = Levels::default();
        let Some(asker) = self.askers.get(column.0).copied() else { return levels };
        levels.durable = self.disk.reached(column.0);
        let peers = (0..now.slots()).filter(|slot| now.merged_by(0, *slot).is_some());
        sort_down(&mut self.values, peers.clone().map(|slot| reached(&self.merged, slot, column)));
        // Nobody else is needed: what is cut is committed here.
        let best = |values: &[u64], peers: usize| match peers.checked_sub(1) {
            Some(at) => values.get(at).copied().unwrap_or(0),
            None => asker.asked,
        };
        let members = self.values.len() + 1;
        levels.majority = best(&self.values, members / 2);
        levels.all = best(&self.values, members - 1);
        put(&mut levels.merged, &self.values);
        sort_down(&mut self.values, peers.map(|slot| reached(&self.durable_on, slot, column)));
        put(&mut levels.durable_on, &self.values);
        let everywhere = self.values.last().copied().unwrap_or(u64::MAX);
        let here = if now.durable(0).is_some() { levels.durable } else { u64::MAX };
        if let Some(asker) = self.askers.get_mut(column.0) {
            asker.settled = asker.asked <= levels.all.min(everywhere).min(here);
        }
        levels
    }

    /// When a shard is in another epoch than the cuts speak of, they mean nothing.
    fn look_at_epochs(&mut self, now: &impl Whereabouts) {
        let is_same = |(shard, actor): (usize, &ActorId)| now.actor(shard) == *actor;
        if self.actors.iter().enumerate().all(is_same) {
            return;
        }
        for (shard, actor) in self.actors.iter_mut().enumerate() {
            *actor = now.actor(shard);
        }
        for asker in self.askers.iter_mut().filter(|asker| asker.used) {
            asker.lost_track = true;
        }
        for follower in self.followers() {
            follower.clear();
        }
        self.cut.fill(0);
        // Those who wait are to be let go.
        (self.pending, self.fresh) = (true, true);
    }
}

fn reached(followers: &[Follower], slot: usize, column: Column) -> u64 {
    followers.get(slot).map_or(0, |follower| follower.reached(column.0))
}

fn sort_down(values: &mut Vec<u64>, of: impl Iterator<Item = u64>) {
    values.clear();
    values.extend(of);
    values.sort_unstable_by(|a, b| b.cmp(a));
}

fn put(words: &mut [u64; MAX_COUNTED_PEERS], values: &[u64]) {
    for (word, value) in words.iter_mut().zip(values) {
        *word = *value;
    }
}
