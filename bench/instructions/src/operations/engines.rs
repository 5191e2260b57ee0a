//! The engine: two of them with a session, each over a real segment, and time that stands still within a round.

use anyhow::{bail, ensure};
use lattice_crdt::{ActorId, Kind};
use lattice_engine::{Engine, EngineConfig, EngineLimits, EngineTimers, Instant, LocalOp, Storage};
use lattice_wire::MAX_FRAME_BYTES;
use lattice_worker::SegmentPublisher;

use super::segment::{self, World};
use super::{BURST, KEYS, Operation, element, key};

const WALL_START_NS: u64 = 1_800_000_000_000_000_000;

/// An engine and where it publishes.
struct Node {
    engine: Engine,
    publisher: SegmentPublisher,
    _segment: lattice_segment::Segment,
    _directory: tempfile::TempDir,
}

fn node(number: u16, peer: u16) -> anyhow::Result<Node> {
    let World { mut writer, segment, directory, .. } = segment::world()?;
    writer.set_watchers(false);
    let config = EngineConfig {
        actor: ActorId::new(number, 0xE000),
        session: 0x5000 + u32::from(number),
        shard: 0,
        cluster_tag: 0x1a77_1ced,
        peers: vec![peer],
        limits: EngineLimits::default(),
        timers: EngineTimers::default(),
        storage: Storage::Memory,
        random_seed: u64::from(number),
    };
    let engine = Engine::new(config, moment(0))?;
    Ok(Node { engine, publisher: SegmentPublisher::new(writer), _segment: segment, _directory: directory })
}

fn moment(elapsed_ns: u64) -> Instant {
    let monotonic_ns = 1_000_000_000 + elapsed_ns;
    Instant { monotonic_ns, wall_ns: WALL_START_NS + monotonic_ns }
}

/// Which part of a write's way a round is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Apply,
    Commit,
    Encode,
    Merge,
}

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// Counters, 64 after 64 of all.
    Counters,
    /// The same 64 counters.
    HotCounters,
    /// Members of one set of 1,000.
    Members,
}

/// Two nodes; `a` writes.
struct Pair {
    a: Node,
    b: Node,
    part: Part,
    what: What,
    names: Vec<String>,
    elapsed_ns: u64,
    round: usize,
    /// What `Part::Merge` merges, what `Part::Encode` has encoded.
    frames: Vec<Vec<u8>>,
    buffer: Box<[u8; MAX_FRAME_BYTES]>,
    encoded: usize,
}

impl Pair {
    fn now(&self) -> Instant {
        moment(self.elapsed_ns)
    }

    /// The operations of this round.
    fn apply(&mut self) {
        let now = self.now();
        for step in 0..BURST as usize {
            let number = self.round * BURST as usize + step;
            let result = match self.what {
                What::Counters => {
                    let name = self.names[number % self.names.len()].as_bytes();
                    self.a.engine.apply(now, Kind::Counter, name, LocalOp::CounterAdd(1))
                }
                What::HotCounters => self.a.engine.apply(
                    now,
                    Kind::Counter,
                    self.names[step].as_bytes(),
                    LocalOp::CounterAdd(1),
                ),
                What::Members => {
                    let name = self.names[number % self.names.len()].as_bytes();
                    self.a.engine.apply(now, Kind::Set, b"set", LocalOp::SetInsert(name))
                }
            };
            debug_assert!(result.is_ok());
        }
    }

    fn commit(&mut self) {
        let now = self.now();
        self.a.engine.commit(now, &mut self.a.publisher);
    }

    /// Encodes what is due into the one buffer, and forgets it.
    fn encode(&mut self) {
        let now = self.now();
        while let Some((_, len)) = self.a.engine.transmit(now, &mut self.buffer[..]) {
            self.encoded += len;
        }
    }

    /// Takes what is due to `b` as frames.
    fn frames_of_a(&mut self) {
        let now = self.now();
        while let Some((_, len)) = self.a.engine.transmit(now, &mut self.buffer[..]) {
            self.frames.push(self.buffer[..len].to_vec());
        }
    }

    fn merge(&mut self) {
        let now = self.now();
        for frame in &self.frames {
            let result = self.b.engine.receive(now, frame);
            debug_assert!(result.is_ok());
        }
        self.b.engine.commit(now, &mut self.b.publisher);
    }

    /// Lets both come to rest: frames go to and fro, timers run.
    fn settle(&mut self) -> anyhow::Result<()> {
        self.merge();
        self.frames.clear();
        for _ in 0..10_000 {
            self.elapsed_ns += 100_000;
            let now = self.now();
            let mut moved = 0;
            exchange(now, &mut self.a, &mut self.b, &mut self.buffer, &mut moved);
            exchange(now, &mut self.b, &mut self.a, &mut self.buffer, &mut moved);
            if moved == 0 && self.at_rest() {
                return Ok(());
            }
        }
        bail!("the two engines do not converge")
    }

    fn at_rest(&self) -> bool {
        let peer = self.a.engine.peer_status(0, self.now());
        peer.is_some_and(|peer| peer.up && peer.unacknowledged_seqs == 0)
            && self.a.engine.state_digest() == self.b.engine.state_digest()
            && self.a.engine.vector_digest() == self.b.engine.vector_digest()
    }
}

/// What one has to send, the other receives.
fn exchange(
    now: Instant,
    from: &mut Node,
    to: &mut Node,
    buffer: &mut [u8; MAX_FRAME_BYTES],
    moved: &mut usize,
) {
    if from.engine.deadline_ns() <= now.monotonic_ns {
        from.engine.tick(now);
    }
    from.engine.commit(now, &mut from.publisher);
    while let Some((_, len)) = from.engine.transmit(now, buffer) {
        // What a handshake drops is no error.
        let _ = to.engine.receive(now, &buffer[..len]);
        *moved += 1;
    }
    to.engine.commit(now, &mut to.publisher);
    from.publisher.writer().end_burst();
    to.publisher.writer().end_burst();
}

impl Operation for Pair {
    fn prepare(&mut self) -> anyhow::Result<()> {
        // The last round's own part, and what was left of its way.
        match self.part {
            Part::Apply | Part::Commit => self.commit(),
            Part::Encode => ensure!(self.round == 0 || self.encoded > BURST as usize, "no frame was encoded"),
            Part::Merge => {}
        }
        self.settle()?;
        let before = self.a.engine.last_seq();
        self.round += 1;
        if self.part != Part::Apply {
            self.apply();
            ensure!(
                self.a.engine.last_seq() == before + u64::from(BURST),
                "not one record for each operation"
            );
        }
        if matches!(self.part, Part::Encode | Part::Merge) {
            self.commit();
        }
        if self.part == Part::Merge {
            self.frames_of_a();
            ensure!(!self.frames.is_empty(), "no frame was encoded");
        }
        Ok(())
    }

    fn round(&mut self) {
        match self.part {
            Part::Apply => self.apply(),
            Part::Commit => self.commit(),
            Part::Encode => self.encode(),
            Part::Merge => self.merge(),
        }
    }
}

fn pair(part: Part, what: What) -> anyhow::Result<Box<dyn Operation>> {
    let names = match what {
        What::Members => (0..1000).map(element).collect(),
        What::Counters | What::HotCounters => (0..KEYS).map(key).collect::<Vec<_>>(),
    };
    let mut pair = Pair {
        a: node(1, 2)?,
        b: node(2, 1)?,
        part,
        what,
        names,
        elapsed_ns: 0,
        round: 0,
        frames: Vec::new(),
        buffer: Box::new([0; MAX_FRAME_BYTES]),
        encoded: 0,
    };
    pair.settle()?;
    // Every key and member is there before it is counted what it costs to change one.
    for _ in 0..pair.names.len().div_ceil(BURST as usize) {
        pair.apply();
        pair.commit();
        pair.settle()?;
        pair.round += 1;
    }
    pair.round = 0;
    Ok(Box::new(pair))
}

/// An addition to a counter.
pub fn apply_counter() -> anyhow::Result<Box<dyn Operation>> {
    pair(Part::Apply, What::Counters)
}

/// Its log record and its publication.
pub fn commit_counter() -> anyhow::Result<Box<dyn Operation>> {
    pair(Part::Commit, What::Counters)
}

/// Its place in a frame.
pub fn encode_counter() -> anyhow::Result<Box<dyn Operation>> {
    pair(Part::Encode, What::Counters)
}

/// Its merging at the peer.
pub fn merge_counter() -> anyhow::Result<Box<dyn Operation>> {
    pair(Part::Merge, What::Counters)
}

/// The same 64 counters.
pub fn merge_counter_hot() -> anyhow::Result<Box<dyn Operation>> {
    pair(Part::Merge, What::HotCounters)
}

/// An insertion of a member that is there already: its dot is superseded.
pub fn apply_member() -> anyhow::Result<Box<dyn Operation>> {
    pair(Part::Apply, What::Members)
}

/// Its merging at the peer.
pub fn merge_member() -> anyhow::Result<Box<dyn Operation>> {
    pair(Part::Merge, What::Members)
}
