//! The network between the hosts: what it does to each frame.
//!
//! ```text
//!   send ──> dead direction? ──> lost? ──> twins of strangers ──> damaged? ──> delayed, held back ──> arrives, once or twice
//!                                             past frames again ──┘
//! ```

use crate::draw::Draw;
use crate::faults::{Fault, Struck};
use crate::plan::NetworkPlan;
use lattice_crdt::VersionVector;
use lattice_wire::{FrameType, HEADER_BYTES, TAG_BYTES, VERSION, offsets};
use std::rc::Rc;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// The cluster that the hosts are of.
pub const CLUSTER: u32 = 0x1A77_1CED;
/// Another one.
const OTHER_CLUSTER: u32 = 0x0DD5_EED5;
/// Frames that are kept to be replayed.
const MOST_PAST_FRAMES: usize = 64;

/// A frame under way.
#[derive(Clone, Debug, Default)]
pub struct Flying {
    /// Who sent it.
    pub from: usize,
    /// Where it goes.
    pub to: usize,
    /// Whose engine it is for.
    pub shard: u16,
    /// An engine wrote it, and it is as it was written.
    pub genuine: bool,
    /// Of a frame of a state sync: everything that its sender may have shown when it sent it.
    pub upper: Option<Rc<VersionVector>>,
    /// The frame.
    pub bytes: Vec<u8>,
}

impl Flying {
    /// The type of the frame, as far as it can be read.
    pub fn frame_type(&self) -> Option<FrameType> {
        FrameType::try_from(*self.bytes.get(offsets::FRAME_TYPE)?).ok()
    }

    /// A little-endian u64 of the header.
    pub fn field_u64(&self, offset: usize) -> u64 {
        let bytes = self.bytes.get(offset..offset + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    }

    /// A number that tells it from other frames: its tag, and its length.
    pub fn fingerprint(&self) -> u64 {
        self.field_u64(self.bytes.len().saturating_sub(TAG_BYTES)) ^ (self.bytes.len() as u64) << 48
    }
}

/// A direction that is dead.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Which incident did it.
    pub incident: usize,
    /// Its class.
    pub fault: Fault,
    /// Who is not heard; `None`: anybody.
    pub from: Option<usize>,
    /// By whom; `None`: anybody.
    pub to: Option<usize>,
}

/// See the module's documentation.
pub struct Network {
    plan: NetworkPlan,
    draw: Draw,
    nodes: usize,
    /// When the last frame of each direction arrives.
    last_at_ns: Vec<u64>,
    cuts: Vec<Cut>,
    past: Vec<Flying>,
    idle: Vec<Vec<u8>>,
}

impl Network {
    /// A network between so many hosts.
    pub fn new(plan: NetworkPlan, nodes: usize, draw: Draw) -> Self {
        let last_at_ns = vec![0; nodes * nodes];
        Self { plan, draw, nodes, last_at_ns, cuts: Vec::new(), past: Vec::new(), idle: Vec::new() }
    }

    /// Nothing more goes wrong from now on.
    pub fn calm(&mut self) {
        let NetworkPlan { delay_ns, .. } = self.plan;
        self.plan = NetworkPlan { delay_ns: delay_ns.min(50_000), ..NetworkPlan::default() };
        self.cuts.clear();
        self.past.clear();
    }

    /// A direction dies.
    pub fn cut(&mut self, cut: Cut) {
        self.cuts.push(cut);
    }

    /// What an incident cut is whole again.
    pub fn mend(&mut self, incident: usize) {
        self.cuts.retain(|cut| cut.incident != incident);
    }

    /// A buffer with a copy of `bytes`.
    fn copy(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = self.idle.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        buffer
    }

    fn copy_of(&mut self, frame: &Flying) -> Flying {
        let bytes = self.copy(&frame.bytes);
        Flying { bytes, upper: frame.upper.clone(), ..*frame }
    }

    /// Takes a frame's buffer back.
    pub fn recycle(&mut self, frame: Flying) {
        self.idle.push(frame.bytes);
    }

    /// Takes a frame that an engine wrote; `arrive` is called with everything that will arrive on account of it, and
    /// when.
    pub fn send(
        &mut self,
        now_ns: u64,
        (from, to, shard): (usize, usize, u16),
        bytes: &[u8],
        upper: Option<Rc<VersionVector>>,
        struck: &mut Struck,
        arrive: &mut dyn FnMut(u64, Flying),
    ) {
        let dead = |cut: &&Cut| {
            let both_ways = cut.from.is_none_or(|of| of == from) && cut.to.is_none_or(|of| of == to);
            both_ways && from != to
        };
        if let Some(cut) = self.cuts.iter().find(dead) {
            return struck.strike(cut.fault);
        }
        if self.draw.per_mille(self.plan.loss) {
            return struck.strike(Fault::Loss);
        }
        let bytes = self.copy(bytes);
        let frame = Flying { from, to, shard, genuine: true, upper, bytes };
        self.add_strangers(now_ns, &frame, struck, arrive);
        self.replay(now_ns, &frame, struck, arrive);
        if self.draw.per_mille(self.plan.duplication) {
            struck.strike(Fault::Duplication);
            let copy = self.copy_of(&frame);
            let at_ns = self.arrival(now_ns, &copy, struck);
            arrive(at_ns, copy);
        }
        let frame = self.damage(frame, struck);
        let at_ns = self.arrival(now_ns, &frame, struck);
        arrive(at_ns, frame);
    }

    /// When a frame that is sent now arrives.
    fn arrival(&mut self, now_ns: u64, frame: &Flying, struck: &mut Struck) -> u64 {
        let plan = self.plan;
        let mut at_ns = now_ns + plan.delay_ns + self.draw.below(plan.jitter_ns);
        let heavy = self.draw.per_mille(plan.heavy);
        if heavy {
            struck.strike(Fault::HeavyDelay);
            at_ns += self.draw.exponential(plan.heavy_ns);
        }
        if self.draw.per_mille(plan.reordering) {
            at_ns += self.draw.below(4 * (plan.delay_ns + plan.jitter_ns));
        }
        let last_at_ns = &mut self.last_at_ns[frame.from * self.nodes + frame.to];
        if at_ns <= *last_at_ns {
            if plan.reordering == 0 {
                at_ns = *last_at_ns + 1;
            } else {
                struck.strike(Fault::Reordering);
            }
        }
        // A straggler does not hold the lane up.
        if !heavy {
            *last_at_ns = at_ns.max(*last_at_ns);
        }
        at_ns
    }

    fn damage(&mut self, mut frame: Flying, struck: &mut Struck) -> Flying {
        if self.draw.per_mille(self.plan.flips) {
            struck.strike(Fault::BitFlip);
            let first = self.draw.index(frame.bytes.len() * 8);
            frame.bytes[first / 8] ^= 1 << (first % 8);
            for _ in 0..self.draw.below(3) {
                let bit = self.draw.index(frame.bytes.len() * 8);
                // Never the first one again: an even number of flips of one bit is none.
                if bit != first {
                    frame.bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
            frame.genuine = false;
        }
        if self.draw.per_mille(self.plan.cuts) {
            struck.strike(Fault::Truncation);
            let len = self.draw.index(frame.bytes.len());
            frame.bytes.truncate(len);
            frame.genuine = false;
        }
        frame
    }

    /// Frames of strangers: whole and with a right tag, but of another cluster or version.
    fn add_strangers(
        &mut self,
        now_ns: u64,
        frame: &Flying,
        struck: &mut Struck,
        arrive: &mut dyn FnMut(u64, Flying),
    ) {
        let cluster = self.draw.per_mille(self.plan.other_cluster);
        let version = self.draw.per_mille(self.plan.other_version);
        for (wanted, fault) in [(cluster, Fault::OtherCluster), (version, Fault::OtherVersion)] {
            if !wanted {
                continue;
            }
            struck.strike(fault);
            let mut twin = self.copy_of(frame);
            twin.genuine = false;
            let cluster = if fault == Fault::OtherCluster { OTHER_CLUSTER } else { CLUSTER };
            twin.bytes[offsets::CLUSTER_TAG..offsets::CLUSTER_TAG + 4]
                .copy_from_slice(&cluster.to_le_bytes());
            if fault == Fault::OtherVersion {
                twin.bytes[offsets::VERSION] = VERSION + 1;
            }
            seal(&mut twin.bytes, cluster);
            let at_ns = self.arrival(now_ns, &twin, struck);
            arrive(at_ns, twin);
        }
    }

    /// Keeps some frames, and sends some of those again.
    fn replay(
        &mut self,
        now_ns: u64,
        frame: &Flying,
        struck: &mut Struck,
        arrive: &mut dyn FnMut(u64, Flying),
    ) {
        // Heartbeats tell the time: that an old one is refused is the seal's replay window's business.
        if self.plan.replay == 0 || frame.frame_type() == Some(FrameType::Heartbeat) {
            return;
        }
        if self.past.len() < MOST_PAST_FRAMES {
            let copy = self.copy_of(frame);
            self.past.push(copy);
        } else if self.draw.per_mille(100) {
            let place = self.draw.index(MOST_PAST_FRAMES);
            self.past[place] = frame.clone();
        }
        if self.draw.per_mille(self.plan.replay) {
            struck.strike(Fault::Replay);
            let place = self.draw.index(self.past.len());
            let again = self.past[place].clone();
            let at_ns = self.arrival(now_ns, &again, struck);
            arrive(at_ns, again);
        }
    }
}

/// Gives a frame the tag that its bytes should have.
fn seal(bytes: &mut [u8], cluster: u32) {
    let Some(tag_at) = bytes.len().checked_sub(TAG_BYTES).filter(|at| *at >= HEADER_BYTES) else { return };
    let (sealed, tag) = bytes.split_at_mut(tag_at);
    tag.copy_from_slice(&xxh3_128_with_seed(sealed, u64::from(cluster)).to_le_bytes());
}
