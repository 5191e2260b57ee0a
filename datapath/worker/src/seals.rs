//! Frames on their way between the port and the engines: sealed and opened, where a peer's frames are.
//!
//! ```text
//!   engine ── frame without a tag ──> close ──┬── key of the peer: sealed ────────────> port
//!                                             ├── no seal: a checksum ────────────────> port
//!                                             └── a seal, but no key yet: dropped
//!   port ──> receive ──┬── sealed, its key known: opened, then past the replay window ──> engine
//!                      ├── no seal, of a peer that has none: its checksum ─────────────> engine
//!                      └── anything else: dropped, by reason
//! ```
//!
//! The control thread gives each peer its keys ([`Command::SetSeal`](crate::Command::SetSeal)), and each worker has its own copies, so nothing is
//! shared. While a key is rolled, frames of the one before are still in flight: it opens for [`BEFORE_FOR_NS`] more. What is
//! dropped here has changed nothing, and repair brings it again if it was a peer's.

use crate::shards::Engine;
use crate::status::LoopStats;
use lattice_engine::{DropReason, Instant};
use lattice_port::{MAX_PEERS, PeerSlot};
use lattice_seal::{OpenKey, Opened, Refused, SealKey};
use lattice_wire::{Envelope, Frame, MAX_PAYLOAD_BYTES, split_frame, write_checksum};

/// How long a key opens after another one has come in its place, nanoseconds: far longer than a frame is under way.
const BEFORE_FOR_NS: u64 = 10_000_000_000;

/// How frames to and from a peer are sealed.
#[derive(Debug)]
pub enum PeerSeal {
    /// Not at all: sealed ones are dropped. Where every peer has to seal, as [`PeerSeal::Begin`].
    Plain,
    /// They have to be, and all keys from before are over: the peer is new, or has been restarted.
    Begin,
    /// It seals with this key from some moment on. The one before opens for a while.
    Opens(Box<OpenKey>),
    /// It has this key: what is sent to it is sealed with it.
    Seals(Box<SealKey>),
}

/// How frames to and from a peer are sealed, for people and the control thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealStatus {
    /// The peer's node id.
    pub node: u16,
    /// They have to be.
    pub is_sealed: bool,
    /// There is a key for what is sent to it.
    pub seals: bool,
    /// There is a key for what comes from it.
    pub opens: bool,
    /// The key for what is sent to it was used so much that it should be replaced.
    pub is_worn: bool,
    /// Time since a frame of it came with a key that is not known, nanoseconds; `None`: never.
    pub unknown_key_age_ns: Option<u64>,
}

#[derive(Debug, Default)]
struct Peer {
    /// `None`: nothing was said of this slot yet.
    node: Option<u16>,
    is_sealed: bool,
    seals: Option<Box<SealKey>>,
    opens: Option<Box<OpenKey>>,
    /// The key before, and until when it opens.
    before: Option<(Box<OpenKey>, u64)>,
    unknown_key_at_ns: Option<u64>,
}

/// The keys of one worker.
pub(crate) struct Seals {
    /// Peers that nothing was said of have to seal.
    must: bool,
    /// Something is sealed or has to be: else every frame takes the short way.
    is_on: bool,
    peers: Vec<Peer>,
    opened: Box<Opened>,
    forged_at_ns: Option<u64>,
}

impl Seals {
    /// With no keys.
    pub(crate) fn new(must: bool) -> Self {
        let opened = Box::new([0; MAX_PAYLOAD_BYTES]);
        Self { must, is_on: must, peers: Vec::new(), opened, forged_at_ns: None }
    }

    /// Hands a received frame to the engine of its shard, if it is as it has to be.
    #[inline]
    pub(crate) fn receive(&mut self, now: Instant, engine: &mut Engine, bytes: &[u8], stats: &mut LoopStats) {
        if self.is_on {
            return self.receive_sealed(now, engine, bytes, stats);
        }
        drop_result(engine.receive(now, bytes));
    }

    fn receive_sealed(&mut self, now: Instant, engine: &mut Engine, bytes: &[u8], stats: &mut LoopStats) {
        let envelope = match split_frame(bytes, engine.cluster_tag()) {
            Ok(envelope) => envelope,
            Err(error) => return engine.refuse(error),
        };
        let (shard, node) = (engine.shard(), Some(envelope.header.node));
        let peer = self.peers.iter_mut().find(|peer| peer.node == node);
        if !peer.as_ref().map_or(self.must, |peer| peer.is_sealed) {
            match envelope.checked() {
                Ok(frame) => drop_result(engine.receive_opened(now, &frame)),
                Err(error) => engine.refuse(error),
            }
            return;
        }
        if envelope.mark.is_none() {
            stats.seal_missing += 1;
            self.forged_at_ns = Some(now.monotonic_ns);
            return;
        }
        let opened = match peer {
            Some(peer) => peer.open(now, shard, &envelope, &mut self.opened),
            None => Err(Refused::UnknownKey),
        };
        match opened {
            Ok(frame) => {
                stats.frames_opened += 1;
                drop_result(engine.receive_opened(now, &frame));
            }
            Err(Refused::UnknownKey) => stats.seal_unknown_key += 1,
            Err(Refused::Replayed) => stats.seal_replayed += 1,
            Err(Refused::BadTag) => {
                stats.seal_broken += 1;
                self.forged_at_ns = Some(now.monotonic_ns);
            }
        }
    }

    /// Gives a frame its tag. False: it must not be sent.
    #[inline]
    pub(crate) fn close(&mut self, slot: usize, shard: u16, frame: &mut [u8], stats: &mut LoopStats) -> bool {
        let peer = self.peers.get_mut(slot).filter(|peer| peer.node.is_some());
        if !peer.as_ref().map_or(self.must, |peer| peer.is_sealed) {
            write_checksum(frame);
            return true;
        }
        let key = peer.and_then(|peer| peer.seals.as_mut());
        let is_sealed = key.is_some_and(|key| key.seal(shard, frame).is_ok());
        match is_sealed {
            true => stats.frames_sealed += 1,
            false => stats.seal_no_key += 1,
        }
        is_sealed
    }

    /// Carries out what the control thread says of a peer. Slots beyond those of any port are ignored.
    pub(crate) fn set(&mut self, now_ns: u64, slot: PeerSlot, node: u16, seal: PeerSeal) {
        let slot = usize::from(slot.0);
        if slot >= MAX_PEERS {
            return;
        }
        if slot >= self.peers.len() {
            self.peers.resize_with(slot + 1, Peer::default);
        }
        let Some(peer) = self.peers.get_mut(slot) else { return };
        if peer.node != Some(node) {
            *peer = Peer { node: Some(node), is_sealed: self.must, ..Peer::default() };
        }
        match seal {
            PeerSeal::Plain => *peer = Peer { node: Some(node), is_sealed: self.must, ..Peer::default() },
            PeerSeal::Begin => *peer = Peer { node: Some(node), is_sealed: true, ..Peer::default() },
            // A key that is here already stays as it is: another copy would count, and let frames in, from the beginning.
            PeerSeal::Opens(key) => {
                peer.is_sealed = true;
                if peer.opens.as_ref().is_none_or(|present| present.id() != key.id())
                    && let Some(before) = peer.opens.replace(key)
                {
                    peer.before = Some((before, now_ns.saturating_add(BEFORE_FOR_NS)));
                }
            }
            PeerSeal::Seals(key) => {
                peer.is_sealed = true;
                if peer.seals.as_ref().is_none_or(|present| present.id() != key.id()) {
                    peer.seals = Some(key);
                }
            }
        }
        self.is_on = self.must || self.peers.iter().any(|peer| peer.is_sealed);
    }

    /// Lets go of keys whose time is over.
    pub(crate) fn tick(&mut self, now_ns: u64) {
        for peer in &mut self.peers {
            if peer.before.as_ref().is_some_and(|(_, until_ns)| now_ns >= *until_ns) {
                peer.before = None;
            }
        }
    }

    /// Of each peer that something was said of.
    pub(crate) fn statuses(&self, now_ns: u64) -> Vec<SealStatus> {
        let of = |peer: &Peer| {
            Some(SealStatus {
                node: peer.node?,
                is_sealed: peer.is_sealed,
                seals: peer.seals.is_some(),
                opens: peer.opens.is_some(),
                is_worn: peer.seals.as_ref().is_some_and(|key| key.is_worn()),
                unknown_key_age_ns: peer.unknown_key_at_ns.map(|at_ns| now_ns.saturating_sub(at_ns)),
            })
        };
        self.peers.iter().filter_map(of).collect()
    }

    /// Time since a frame came without the seal that it has to have, or with a broken one.
    pub(crate) fn forged_age_ns(&self, now_ns: u64) -> Option<u64> {
        self.forged_at_ns.map(|at_ns| now_ns.saturating_sub(at_ns))
    }
}

/// The engine has counted what it dropped, by reason.
fn drop_result(_: Result<(), DropReason>) {}

impl Peer {
    fn open<'o>(
        &mut self,
        now: Instant,
        shard: u16,
        envelope: &Envelope<'_>,
        opened: &'o mut Opened,
    ) -> Result<Frame<'o>, Refused> {
        let before = self.before.as_mut().map(|(key, _)| key);
        let mut keys = [self.opens.as_mut(), before].into_iter().flatten();
        match keys.find(|key| envelope.mark.is_some_and(|mark| mark.key == key.id())) {
            Some(key) => key.open(shard, envelope, opened),
            None => {
                self.unknown_key_at_ns = Some(now.monotonic_ns);
                Err(Refused::UnknownKey)
            }
        }
    }
}
