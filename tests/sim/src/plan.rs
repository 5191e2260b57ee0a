//! What a seed is about: everything that is drawn before its world begins.
//!
//! Swarm testing (Groce, Zhang, Eide, Chen, Regehr: "Swarm Testing", ISSTA 2012): each seed switches a few classes of
//! faults on and the others off, and draws how hard they are, which kinds the workload is made of, and how small the
//! tables are. A world with everything on at once would hide what needs two faults and the absence of a third.

use crate::draw::Draw;
use crate::incident::{Crash, CrashPoint, Incident, What};
use lattice_engine::{EngineLimits, EngineTimers, Storage};

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// What a seed is about.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many hosts, 2 to 7.
    pub nodes: usize,
    /// How many shards, each an engine on every host.
    pub shards: u16,
    /// How long operations and faults go on.
    pub active_ns: u64,
    /// How many operations there are in that time.
    pub operations: u64,
    /// Bounds of the engines.
    pub limits: EngineLimits,
    /// Timers of the engines.
    pub timers: EngineTimers,
    /// What hosts keep.
    pub storage: Storage,
    /// Room in each host's segment.
    pub segment: SegmentRoom,
    /// What the operations are.
    pub workload: WorkloadPlan,
    /// What the network does to frames.
    pub network: NetworkPlan,
    /// The hosts, one by one.
    pub hosts: Vec<HostPlan>,
    /// What else goes wrong, and when.
    pub incidents: Vec<Incident>,
}

/// Room in a segment.
#[derive(Clone, Copy, Debug)]
pub struct SegmentRoom {
    /// Keys.
    pub cells: u32,
    /// Bytes of long keys, register values and sets.
    pub extent_bytes: u64,
}

impl SegmentRoom {
    const ROOMY: Self = Self { cells: 256, extent_bytes: 256 << 10 };

    /// Whether all keys of a seed find room, however long their values.
    pub fn is_roomy(&self) -> bool {
        self.cells >= Self::ROOMY.cells && self.extent_bytes >= Self::ROOMY.extent_bytes
    }
}

/// What the operations are.
#[derive(Clone, Debug)]
pub struct WorkloadPlan {
    /// How often each of [`lattice_crdt::Kind::ALL`] is written.
    pub kind_weights: [u64; 5],
    /// How many keys.
    pub keys: u64,
    /// How uneven: a key's number is the least of so many draws.
    pub skew: u32,
    /// Keys of the greatest length instead of short ones.
    pub long_keys: bool,
    /// A key has the kind that is drawn for each operation, instead of one of its own.
    pub mixed_kinds: bool,
    /// How many elements the sets are made of.
    pub elements: u64,
    /// Longest element and register value.
    pub max_value_bytes: u64,
    /// Of a thousand operations on sets, so many clear it.
    pub clears_per_mille: u64,
    /// Of a thousand operations on sets or flags, so many take something away.
    pub removals_per_mille: u64,
    /// Operations that a client submits at once, at most.
    pub burst: u64,
    /// One host does most of the writing.
    pub one_writer: bool,
    /// When a client of one host writes, one of another does, in the same moment.
    pub together: bool,
}

/// What the network does to frames; chances are per mille.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkPlan {
    /// Least time under way.
    pub delay_ns: u64,
    /// What is drawn on top of it.
    pub jitter_ns: u64,
    /// Frames that are lost.
    pub loss: u64,
    /// Frames that arrive twice.
    pub duplication: u64,
    /// Frames that are held back, so that later ones overtake them. When zero, lanes keep their order.
    pub reordering: u64,
    /// Frames that take much longer …
    pub heavy: u64,
    /// … so much on average, with an exponential tail.
    pub heavy_ns: u64,
    /// Frames with flipped bits.
    pub flips: u64,
    /// Frames that are cut short.
    pub cuts: u64,
    /// Frames that a twin of another cluster accompanies.
    pub other_cluster: u64,
    /// Frames that a twin of another version accompanies.
    pub other_version: u64,
    /// Frames that are followed by one of the past.
    pub replay: u64,
}

/// One host.
#[derive(Clone, Copy, Debug)]
pub struct HostPlan {
    /// When it starts: zero, but for late joiners.
    pub starts_at_ns: u64,
    /// Its wall clock's distance from the world's.
    pub clock_ns: i64,
    /// How long after a frame came the worker's loop sees it.
    pub poll_ns: u64,
    /// Frames that its receive ring holds.
    pub ring_frames: usize,
    /// Frames that one turn sends at most.
    pub transmit_budget: usize,
    /// Mean time between two fsyncs of its log.
    pub fsync_ns: u64,
    /// Mean time between two snapshots.
    pub snapshot_ns: u64,
    /// Of a thousand snapshots, so many are copied for whoever brings a copy back.
    pub copied_per_mille: u64,
}

impl Plan {
    /// Draws what the seed is about.
    pub fn draw(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let nodes = draw.pick(&[2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 7]);
        let shards = if draw.per_mille(700) { 1 } else { 2 };
        let timers = timers(&mut draw);
        let active_ns = draw.between(600 * MS, 3 * timers.peer_timeout_ns);
        let mut incidents = Vec::new();
        // One seed in twenty is calm: what it finds needs no fault at all.
        if !draw.per_mille(50) {
            let kinds = [
                partitions as fn(&mut Draw, &Frame, &mut Vec<Incident>),
                stalls,
                crashes,
                departures,
                clocks,
                sync_breaks,
                full_segments,
            ];
            let frame = Frame { nodes, active_ns, peer_timeout_ns: timers.peer_timeout_ns };
            for draw_some in kinds {
                if draw.per_mille(400) {
                    draw_some(&mut draw, &frame, &mut incidents);
                }
            }
            incidents.sort_by_key(|incident| incident.at_ns);
        }
        let begins_anew =
            |what| matches!(what, What::Crash { .. } | What::Gone { .. } | What::Forgotten { .. });
        let restarts = incidents.iter().filter(|incident| begins_anew(incident.what)).count();
        let workload = workload(&mut draw);
        let mut plan = Self {
            nodes,
            shards,
            active_ns,
            operations: draw.pick(&[60, 150, 250, 400, 600]),
            limits: limits(&mut draw, nodes, restarts),
            storage: if draw.per_mille(750) { Storage::Durable } else { Storage::Memory },
            segment: segment(&mut draw, &workload),
            network: network(&mut draw),
            hosts: hosts(&mut draw, nodes, active_ns),
            timers,
            workload,
            incidents,
        };
        plan.flavour(draw.split(7));
        plan
    }
}

/// What incidents are drawn within.
struct Frame {
    nodes: usize,
    active_ns: u64,
    peer_timeout_ns: u64,
}

impl Frame {
    fn moment(&self, draw: &mut Draw) -> u64 {
        draw.below(self.active_ns)
    }

    /// Short ones and such that outlast the failure timeouts.
    fn duration(&self, draw: &mut Draw) -> u64 {
        if draw.per_mille(400) {
            self.peer_timeout_ns + draw.below(self.peer_timeout_ns / 2)
        } else {
            draw.between(5 * MS, self.peer_timeout_ns / 2)
        }
    }

    fn node(&self, draw: &mut Draw) -> usize {
        draw.index(self.nodes)
    }

    fn pair(&self, draw: &mut Draw) -> (usize, usize) {
        let one = draw.index(self.nodes);
        (one, (one + 1 + draw.index(self.nodes - 1)) % self.nodes)
    }
}

fn partitions(draw: &mut Draw, frame: &Frame, into: &mut Vec<Incident>) {
    for _ in 0..draw.between(1, 4) {
        let (from, to) = frame.pair(draw);
        let what = match draw.below(3) {
            0 => What::DeadDirection { from, to },
            1 if frame.nodes > 2 => What::DeadPair { one: from, other: to },
            _ => What::Isolated { node: from },
        };
        into.push(Incident { at_ns: frame.moment(draw), lasts_ns: frame.duration(draw), what });
    }
}

fn stalls(draw: &mut Draw, frame: &Frame, into: &mut Vec<Incident>) {
    for _ in 0..draw.between(1, 3) {
        let node = frame.node(draw);
        let what = if draw.per_mille(500) {
            What::Paused { node }
        } else {
            What::Slow {
                node,
                frames_per_turn: draw.between(1, 3) as usize,
                turn_ns: draw.between(MS, 20 * MS),
            }
        };
        into.push(Incident { at_ns: frame.moment(draw), lasts_ns: frame.duration(draw), what });
    }
}

fn crashes(draw: &mut Draw, frame: &Frame, into: &mut Vec<Incident>) {
    for _ in 0..draw.between(1, 3) {
        let (node, crash, point) = (frame.node(draw), draw.pick(&Crash::ALL), draw.pick(&CrashPoint::ALL));
        let lasts_ns = if draw.per_mille(300) { frame.duration(draw) } else { draw.between(MS, 50 * MS) };
        into.push(Incident { at_ns: frame.moment(draw), lasts_ns, what: What::Crash { node, crash, point } });
    }
}

fn departures(draw: &mut Draw, frame: &Frame, into: &mut Vec<Incident>) {
    if frame.nodes > 2 && draw.per_mille(500) {
        let back_after_ns = draw.per_mille(600).then(|| frame.duration(draw));
        let what = What::Gone { node: frame.node(draw), back_after_ns };
        into.push(Incident { at_ns: frame.moment(draw), lasts_ns: frame.duration(draw), what });
    }
    if draw.per_mille(300) {
        // Often while nobody hears it: it goes on by itself.
        let (node, at_ns, lasts_ns) = (frame.node(draw), frame.moment(draw), frame.duration(draw));
        if draw.per_mille(700) {
            into.push(Incident { at_ns, lasts_ns, what: What::Isolated { node } });
        }
        let at_ns = at_ns + draw.below(lasts_ns);
        into.push(Incident { at_ns, lasts_ns: 0, what: What::Forgotten { node } });
    }
}

fn clocks(draw: &mut Draw, frame: &Frame, into: &mut Vec<Incident>) {
    for _ in 0..draw.between(1, 3) {
        let most_ns = draw.pick(&[MS, 200 * MS, 2 * SECOND, 3_600 * SECOND]) as i64;
        let by_ns = draw.below(2 * most_ns as u64) as i64 - most_ns;
        let what = What::ClockStep { node: frame.node(draw), by_ns };
        into.push(Incident { at_ns: frame.moment(draw), lasts_ns: 0, what });
    }
}

fn sync_breaks(draw: &mut Draw, frame: &Frame, into: &mut Vec<Incident>) {
    for _ in 0..draw.between(1, 3) {
        let what = What::SyncBreak { frame: draw.between(0, 3) };
        into.push(Incident { at_ns: frame.moment(draw), lasts_ns: frame.duration(draw), what });
    }
}

fn full_segments(draw: &mut Draw, frame: &Frame, into: &mut Vec<Incident>) {
    for _ in 0..draw.between(1, 2) {
        let what = What::NoRoom { node: frame.node(draw) };
        into.push(Incident { at_ns: frame.moment(draw), lasts_ns: frame.duration(draw), what });
    }
}

fn timers(draw: &mut Draw) -> EngineTimers {
    let peer_timeout_ns = draw.pick(&[600 * MS, 1_000 * MS, 1_000 * MS]);
    EngineTimers {
        heartbeat_ns: peer_timeout_ns / draw.pick(&[4, 5, 10]),
        peer_timeout_ns,
        anti_entropy_ns: draw.pick(&[500 * MS, 1_000 * MS]),
        sync_timeout_ns: draw.pick(&[500 * MS, 2_000 * MS]),
        ..EngineTimers::default()
    }
}

fn limits(draw: &mut Draw, nodes: usize, restarts: usize) -> EngineLimits {
    let usual =
        EngineLimits { max_keys: 1024, log_bytes: 256 << 10, log_records: 4096, ..Default::default() };
    let usual = EngineLimits { max_burst_ops: 64, ..usual };
    if draw.per_mille(400) {
        return usual;
    }
    // A dot of an epoch that is lost can stay pre-removed for ever, so a table for next to none could stay full.
    let few_removed = if restarts == 0 { draw.between(2, 12) as usize } else { 64 };
    EngineLimits {
        max_keys: if draw.per_mille(100) { draw.between(3, 10) as usize } else { 1024 },
        log_bytes: if draw.per_mille(500) { 32 << 10 } else { 256 << 10 },
        log_records: draw.pick(&[8, 16, 32, 128, 4096]),
        max_actors: if draw.per_mille(300) { nodes + 2 * restarts + 2 } else { usual.max_actors },
        max_ranges_per_actor: draw.pick(&[1, 2, 4, 64]),
        max_pre_removed: if draw.per_mille(500) { few_removed } else { usual.max_pre_removed },
        max_window_frames: draw.pick(&[1, 4, 16, 256]),
        max_burst_ops: draw.pick(&[8, 16, 64]),
    }
}

fn workload(draw: &mut Draw) -> WorkloadPlan {
    let mut kind_weights = [0; 5];
    while kind_weights.iter().all(|weight| *weight == 0) {
        kind_weights = std::array::from_fn(|_| if draw.per_mille(600) { draw.between(1, 10) } else { 0 });
    }
    WorkloadPlan {
        kind_weights,
        keys: draw.pick(&[1, 2, 4, 8, 16, 24]),
        skew: draw.pick(&[1, 1, 2, 4]),
        long_keys: draw.per_mille(100),
        mixed_kinds: draw.per_mille(100),
        elements: draw.pick(&[1, 2, 4, 8, 16]),
        max_value_bytes: draw.pick(&[8, 16, 64, 256, 1024]),
        clears_per_mille: draw.pick(&[0, 20, 100]),
        removals_per_mille: draw.pick(&[100, 300, 500]),
        burst: draw.pick(&[1, 1, 2, 8, 40]),
        one_writer: draw.per_mille(150),
        together: false,
    }
}

fn segment(draw: &mut Draw, workload: &WorkloadPlan) -> SegmentRoom {
    let roomy = SegmentRoom::ROOMY;
    match draw.below(20) {
        0 => SegmentRoom { cells: 1 + draw.below(workload.keys) as u32, ..roomy },
        1 => SegmentRoom { extent_bytes: 4096, ..roomy },
        _ => roomy,
    }
}

fn network(draw: &mut Draw) -> NetworkPlan {
    let mut chance = |on: u64, most: u64| if draw.per_mille(on) { 1 + draw.below(most) } else { 0 };
    let mut plan = NetworkPlan {
        loss: chance(400, 500),
        duplication: chance(400, 300),
        reordering: chance(400, 300),
        heavy: chance(300, 50),
        flips: chance(250, 50),
        cuts: chance(250, 50),
        other_cluster: chance(200, 30),
        other_version: chance(200, 30),
        replay: chance(300, 100),
        ..NetworkPlan::default()
    };
    // Heavy loss slows everything down, so most seeds have less of it.
    if plan.loss > 100 && draw.per_mille(600) {
        plan.loss /= 8;
    }
    plan.delay_ns = draw.pick(&[10 * US, 50 * US, 500 * US, 5 * MS]);
    plan.jitter_ns = plan.delay_ns / draw.pick(&[10, 2, 1]);
    plan.heavy_ns = draw.pick(&[2 * MS, 20 * MS, 200 * MS]);
    plan
}

fn hosts(draw: &mut Draw, nodes: usize, active_ns: u64) -> Vec<HostPlan> {
    let skewed = draw.per_mille(200);
    let late = draw.per_mille(200);
    let small_rings = draw.per_mille(200);
    let poll_ns = draw.pick(&[5 * US, 50 * US, 500 * US]);
    let host = |node| HostPlan {
        starts_at_ns: if late && node == nodes - 1 { active_ns / 2 + draw.below(active_ns / 2) } else { 0 },
        clock_ns: if skewed { draw.below(2 * SECOND) as i64 - SECOND as i64 } else { 0 },
        poll_ns,
        ring_frames: if small_rings { draw.between(2, 16) as usize } else { 256 },
        transmit_budget: draw.pick(&[4, 64]),
        fsync_ns: draw.pick(&[MS, 20 * MS, 300 * MS]),
        snapshot_ns: draw.pick(&[50 * MS, 300 * MS, 1000 * MS]),
        copied_per_mille: 300,
    };
    (0..nodes).map(host).collect()
}
