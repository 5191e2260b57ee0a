//! One host: its engines, its segment, its receive ring, its clocks.

use crate::board::Board;
use crate::draw::Draw;
use crate::incident::{Crash, CrashPoint};
use crate::log::{SimLog, Witness};
use crate::network::Flying;
use crate::oracle::Replica;
use crate::plan::HostPlan;
use crate::storage::{ShardDisk, SharedDisk};
use lattice_crdt::{ActorId, VectorLimits, VersionVector};
use lattice_engine::{Engine, Instant};
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Unix time when the world begins, nanoseconds.
const WORLD_BEGIN_UNIX_NS: u64 = 1_700_000_000_000_000_000;

/// What a host is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// There is no process: not yet, or not at present.
    Down,
    /// Its process runs.
    Up,
    /// Its process stands still; what comes for it waits in the ring.
    Paused,
    /// It is gone for good.
    Gone,
}

/// The engine of one shard on one host, and what the oracle knows of it.
pub struct Shard {
    /// The engine under test.
    pub engine: Engine<SimLog>,
    /// What its log was given since the world last looked.
    pub witness: Witness,
    /// What it must show.
    pub replica: Replica,
    /// What it may show besides: what state syncs brought.
    pub upper: VersionVector,
    /// Something was handed to it since its last commit.
    pub active: bool,
    /// Own operations that a durable snapshot covers; shared with the log.
    pub covered: Rc<Cell<u64>>,
    /// The snapshot that is being walked.
    pub walking: Option<Walking>,
    /// It came from storage, and its tables may hold more than peers may bring.
    pub recovered: bool,
    /// Gaps of forgotten nodes that the oracle knows to be closed.
    pub gaps_closed: u64,
    /// Nothing is written on it: its storage may be an old image, which only peers can tell it.
    pub holds_writes: bool,
}

/// A snapshot that is being walked.
pub struct Walking {
    /// Its number.
    pub number: u32,
    /// The frames so far.
    pub frames: Vec<Vec<u8>>,
}

impl Shard {
    /// Everything of which it may show an effect.
    pub fn may_show(&self) -> VersionVector {
        let mut all = self.engine.vector().clone();
        all.join(&self.upper);
        all
    }
}

/// A host that looks at few frames, and rarely.
#[derive(Clone, Copy, Debug)]
pub struct Slowness {
    /// Frames that a turn looks at.
    pub frames: usize,
    /// Time between turns.
    pub turn_ns: u64,
}

/// See the module's documentation.
pub struct Host {
    /// Its number on the wire.
    pub node: u16,
    /// What was drawn for it.
    pub plan: HostPlan,
    /// What it is doing.
    pub mode: Mode,
    /// Its engines, by shard; none while it is down.
    pub shards: Vec<Shard>,
    /// Its segment; none while it is down.
    pub board: Option<Board>,
    /// The segment of the process before, until the next one has closed it.
    pub former_board: Option<Board>,
    /// Its receive ring.
    pub ring: VecDeque<Flying>,
    /// When its next turn is.
    pub turn_at_ns: u64,
    /// Whether it is slow.
    pub slowness: Option<Slowness>,
    /// Where in its next turn its process ends, if it is to.
    pub crash_point: Option<CrashPoint>,
    /// How far its wall clock is from the world's.
    pub clock_ns: i64,
    /// Where its monotonic clock began.
    pub monotonic_ns: u64,
    /// Shard whose engine transmits first.
    pub first_shard: usize,
    /// When its process was paused.
    pub paused_at_ns: u64,
    /// Its storage, by shard: it outlives processes.
    pub disks: Vec<SharedDisk>,
    /// Copies of its storage at an earlier moment.
    pub copies: Vec<ShardDisk>,
    /// Nodes that it knows to be forgotten, and the least generation that an epoch of each must have. On storage.
    pub forgotten: BTreeMap<u16, u8>,
    /// How often it was forgotten itself, as far as it knows. On storage.
    pub generation: u8,
    /// What the next process finds, when the present one crashes.
    pub crash: Crash,
    /// The boot that its machine is in.
    pub boot_id: u128,
    /// When its logs are synced next.
    pub fsync_at_ns: u64,
    /// When its next snapshot begins.
    pub snapshot_at_ns: u64,
    /// Its own draws.
    pub(crate) draw: Draw,
}

impl Host {
    /// A host that is down.
    pub fn new(index: usize, plan: HostPlan, mut draw: Draw) -> Self {
        Self {
            node: index as u16 + 1,
            plan,
            mode: Mode::Down,
            shards: Vec::new(),
            board: None,
            former_board: None,
            ring: VecDeque::new(),
            turn_at_ns: u64::MAX,
            slowness: None,
            crash_point: None,
            clock_ns: plan.clock_ns,
            monotonic_ns: draw.below(1 << 50),
            first_shard: 0,
            paused_at_ns: 0,
            disks: Vec::new(),
            copies: Vec::new(),
            forgotten: BTreeMap::new(),
            generation: 0,
            crash: Crash::LogWhole,
            boot_id: 1,
            fsync_at_ns: 0,
            snapshot_at_ns: 0,
            draw,
        }
    }

    /// What its clocks say.
    pub fn instant(&self, now_ns: u64) -> Instant {
        Instant {
            monotonic_ns: self.monotonic_ns + now_ns,
            wall_ns: (WORLD_BEGIN_UNIX_NS + now_ns).saturating_add_signed(self.clock_ns),
        }
    }

    /// A moment of its monotonic clock as world time.
    pub fn world_ns(&self, monotonic_ns: u64) -> u64 {
        monotonic_ns.saturating_sub(self.monotonic_ns)
    }

    /// A new epoch, never drawn before as far as 40 bits can promise.
    pub fn draw_epoch(&mut self, generation: u8) -> ActorId {
        ActorId::of_generation(self.node, generation, (self.draw.bits() >> 24).max(1))
    }

    /// Its process ends without a word.
    pub fn kill(&mut self) {
        self.mode = Mode::Down;
        self.shards.clear();
        self.former_board = self.board.take();
        self.crash_point = None;
        self.turn_at_ns = u64::MAX;
        self.lose_storage();
    }

    /// The peer slot's host: slots are the others in ascending order.
    pub fn peer(&self, slot: usize) -> usize {
        let own = usize::from(self.node) - 1;
        if slot < own { slot } else { slot + 1 }
    }
}

/// For vectors of the world's own, which nothing bounds.
pub fn unlimited() -> VectorLimits {
    VectorLimits { max_actors: usize::MAX, max_ranges_per_actor: usize::MAX }
}
