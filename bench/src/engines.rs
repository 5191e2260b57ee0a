//! Engines in memory, without ports or daemons: what replication costs by itself.
//!
//! ```text
//!   origin 0 ── apply, commit ──> log ── cut ──> frames ──┐
//!   origin 1 ── …                                 frames ─┴─> receiver: decode, merge, publish into a real segment
//!      ^──────────────── acknowledgements, not timed ──────────┘
//! ```
//!
//! Time is virtual (it only moves timers), so each of the three steps can be timed alone on the real clock. Everything goes
//! through the engines' public interface; the receiver publishes through the worker's own `SegmentPublisher`, in the bursts
//! of the worker's loop.

use std::path::Path;
use std::time::{Duration, Instant as Clock};

use anyhow::{Context, ensure};
use lattice_crdt::{ActorId, Kind};
use lattice_engine::{
    Engine, EngineConfig, EngineLimits, EngineTimers, Instant, LocalOp, Storage, SyncBudget,
};
use lattice_seal::{KEY_FRAMES, OpenKey, Opened, SealKey, Secret};
use lattice_segment::{Segment, SegmentConfig};
use lattice_wire::{MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, decode_frame, split_frame, write_checksum};
use lattice_worker::SegmentPublisher;

const CLUSTER_TAG: u32 = 0xBE7C;
/// Most frames that the receiver merges between two commits: the worker's default.
const RECEIVE_BURST: usize = 64;
/// A step of the virtual clock, longer than what pacing holds frames apart by.
const STEP_NS: u64 = 200_000;

/// One engine with its segment.
pub struct Host {
    /// The engine.
    pub engine: Engine,
    publisher: SegmentPublisher,
    extent_bytes: u64,
    _segment: Segment,
}

/// How large the hosts are made.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Hosts that write; there is one more, the receiver.
    pub origins: u16,
    /// Keys that there is room for.
    pub keys: usize,
    /// Bytes for registers, sets and long keys in each segment.
    pub extent_bytes: u64,
}

/// What one round took on the real clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Records that went over: after coalescing.
    pub deltas: u64,
    /// Frames that they took.
    pub frames: u64,
    /// Bytes of those frames, headers and tags included.
    pub bytes: u64,
    /// Applying the operations, one by one.
    pub apply: Duration,
    /// Logging and publishing them at their origin.
    pub commit: Duration,
    /// Cutting frames from the log.
    pub cut: Duration,
    /// Decoding and merging.
    pub merge: Duration,
    /// Publishing what was merged.
    pub publish: Duration,
}

/// One frame on its way.
struct Sent {
    bytes: Box<[u8; MAX_FRAME_BYTES]>,
    len: usize,
}

/// Hosts that are connected to the receiver.
pub struct Engines {
    /// Who merges.
    pub receiver: Host,
    /// Who writes.
    pub origins: Vec<Host>,
    /// What the receiver has allocated: when it was made, and since by what it was given. Not what acknowledgements take.
    pub receiver_bytes: i64,
    now_ns: u64,
    /// Frames that are used again and again.
    frames: Vec<Sent>,
    /// Keys for what goes to the receiver; `None`: with a checksum.
    keys: Option<(SealKey, OpenKey)>,
    opened: Box<Opened>,
    buffer: Box<[u8; MAX_FRAME_BYTES]>,
}

/// One operation.
pub type Operation<'a> = (Kind, &'a [u8], LocalOp<'a>);

/// Bytes that this process has allocated and not given back, the allocator's own books included.
#[must_use]
pub fn allocated_bytes() -> u64 {
    // SAFETY: it takes nothing and returns a struct of numbers.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as u64
}

impl Engines {
    /// Hosts with segments under `directory`, their sessions established.
    ///
    /// # Errors
    /// If a segment can't be made, or the engines don't come together.
    pub fn start(directory: &Path, size: Size) -> anyhow::Result<Engines> {
        let nodes = size.origins + 1;
        let mut origins = Vec::new();
        for node in 2..=nodes {
            origins.push(Host::start(directory, size, node, nodes)?);
        }
        let before = allocated_bytes();
        let receiver = Host::start(directory, size, 1, nodes)?;
        let mut engines = Engines {
            receiver,
            origins,
            receiver_bytes: allocated_bytes().saturating_sub(before) as i64,
            now_ns: 0,
            frames: Vec::new(),
            keys: None,
            opened: Box::new([0; MAX_PAYLOAD_BYTES]),
            buffer: Box::new([0; MAX_FRAME_BYTES]),
        };
        for _ in 0..20 {
            engines.settle()?;
        }
        let connected = engines.origins.iter().all(|host| {
            host.engine.peer_status(0, engines.now()).is_some_and(|status| status.up && status.session != 0)
        });
        ensure!(connected, "the engines did not establish their sessions");
        Ok(engines)
    }

    fn now(&self) -> Instant {
        Instant { monotonic_ns: self.now_ns, wall_ns: 1_700_000_000_000_000_000 + self.now_ns }
    }

    /// Applies `count` operations at an origin, `burst` of them between two commits, and brings them to the receiver.
    ///
    /// # Errors
    /// If an operation is refused, or the receiver did not take all of them in.
    pub fn round<'a>(
        &mut self,
        origin: usize,
        count: usize,
        burst: usize,
        mut operation: impl FnMut(usize) -> Operation<'a>,
    ) -> anyhow::Result<Round> {
        let mut round = Round::default();
        let now = self.now();
        let host = self.origins.get_mut(origin).context("no such origin")?;
        let first = host.engine.last_seq();
        let mut done = 0;
        while done < count {
            let began = Clock::now();
            let end = count.min(done + burst);
            for at in done..end {
                let (kind, key, op) = operation(at);
                host.engine.apply(now, kind, key, op)?;
            }
            let applied = Clock::now();
            host.engine.commit(now, &mut host.publisher);
            round.apply += applied - began;
            round.commit += applied.elapsed();
            done = end;
        }
        round.deltas = host.engine.last_seq() - first;
        self.bring(origin, &mut round)?;
        Ok(round)
    }

    /// What goes to the receiver is sealed from now on, or is not.
    ///
    /// # Errors
    /// If no key can be drawn.
    pub fn seal(&mut self, is_sealed: bool) -> anyhow::Result<()> {
        let secret = Secret::draw()?;
        let keys = (SealKey::new(&secret, 1, KEY_FRAMES)?, OpenKey::new(&secret, 1)?);
        self.keys = is_sealed.then_some(keys);
        Ok(())
    }

    /// Applies operations at the receiver itself.
    ///
    /// # Errors
    /// If one is refused.
    pub fn write_at_receiver<'a>(
        &mut self,
        operations: impl Iterator<Item = Operation<'a>>,
    ) -> anyhow::Result<()> {
        let (now, before) = (self.now(), allocated_bytes());
        for (kind, key, op) in operations {
            self.receiver.engine.apply(now, kind, key, op)?;
            self.receiver.engine.commit(now, &mut self.receiver.publisher);
        }
        self.receiver_bytes += allocated_bytes() as i64 - before as i64;
        Ok(())
    }

    /// An origin begins a new epoch: to everybody it is another actor from now on.
    ///
    /// # Errors
    /// If the epoch was used before, or the receiver does not come to know of it.
    pub fn begin_epoch(&mut self, origin: usize, epoch: u32) -> anyhow::Result<()> {
        let now = self.now();
        let host = self.origins.get_mut(origin).context("no such origin")?;
        let actor = ActorId::new(host.engine.actor().node(), u64::from(epoch));
        host.engine.begin_epoch(now, actor, epoch)?;
        for _ in 0..1000 {
            self.settle()?;
            let status = self.origins[origin].engine.peer_status(0, self.now());
            if status.is_some_and(|status| status.up && status.session != 0) {
                return Ok(());
            }
        }
        anyhow::bail!("the receiver did not take up the new session")
    }

    /// Bytes of extents that the receiver's segment has in use.
    pub fn extent_bytes(&mut self) -> u64 {
        self.receiver.extent_bytes - self.receiver.publisher.writer().fresh_extent_bytes() as u64
    }

    /// Sends what an origin has until the receiver has all of it.
    fn bring(&mut self, origin: usize, round: &mut Round) -> anyhow::Result<()> {
        for _ in 0..10_000 {
            if self.origins[origin].unacknowledged(self.now()) == 0 {
                return Ok(());
            }
            let now = self.now();
            let began = Clock::now();
            let used = self.cut(origin, now)?;
            round.cut += began.elapsed();
            let frames = self.frames.get(..used).unwrap_or_default();
            round.frames += used as u64;
            round.bytes += frames.iter().map(|frame| frame.len as u64).sum::<u64>();
            let before = allocated_bytes();
            let began = Clock::now();
            for frame in frames {
                let bytes = &frame.bytes[..frame.len];
                match &mut self.keys {
                    Some((_, key)) => {
                        let frame = key.open(0, &split_frame(bytes, CLUSTER_TAG)?, &mut self.opened)?;
                        self.receiver.engine.receive_opened(now, &frame)?;
                    }
                    None => self.receiver.engine.receive(now, bytes)?,
                }
            }
            let merged = Clock::now();
            self.receiver.engine.commit(now, &mut self.receiver.publisher);
            round.merge += merged - began;
            round.publish += merged.elapsed();
            self.receiver_bytes += allocated_bytes() as i64 - before as i64;
            self.settle()?;
        }
        anyhow::bail!("the receiver did not get everything")
    }

    /// Fills `frames` with what the origin has for the receiver now; says how many it used.
    fn cut(&mut self, origin: usize, now: Instant) -> anyhow::Result<usize> {
        let host = self.origins.get_mut(origin).context("no such origin")?;
        let (mut used, mut alone) = (0, SyncBudget::ALONE);
        while used < RECEIVE_BURST {
            if used == self.frames.len() {
                self.frames.push(Sent { bytes: Box::new([0; MAX_FRAME_BYTES]), len: 0 });
            }
            let frame = &mut self.frames[used];
            let Some((slot, len)) =
                host.engine.transmit_untagged(now, frame.bytes.as_mut_slice(), &mut alone)
            else {
                break;
            };
            match &mut self.keys {
                Some((key, _)) => key.seal(0, &mut frame.bytes[..len])?,
                None => write_checksum(&mut frame.bytes[..len]),
            }
            // Only the receiver is listened to; what goes to other origins is lost.
            if slot == 0 {
                frame.len = len;
                used += 1;
            }
        }
        Ok(used)
    }

    /// Lets the receiver answer, and the timers of all run.
    fn settle(&mut self) -> anyhow::Result<()> {
        self.now_ns += STEP_NS;
        let now = self.now();
        self.receiver.engine.tick(now);
        while let Some((slot, len)) = self.receiver.engine.transmit(now, self.buffer.as_mut_slice()) {
            let origin = self.origins.get_mut(slot).context("a frame for nobody")?;
            // Whatever it makes of it: a session that is not there yet is no error.
            let _ = origin.engine.receive(now, &self.buffer[..len]);
        }
        for host in &mut self.origins {
            host.engine.tick(now);
            if host.engine.peer_status(0, now).is_some_and(|status| status.session != 0) {
                continue;
            }
            while let Some((slot, len)) = host.engine.transmit(now, self.buffer.as_mut_slice()) {
                let frame = decode_frame(&self.buffer[..len], CLUSTER_TAG)?;
                if slot == 0 && frame.header.dest_node == 1 {
                    let _ = self.receiver.engine.receive(now, &self.buffer[..len]);
                }
            }
        }
        Ok(())
    }
}

impl Host {
    fn start(directory: &Path, size: Size, node: u16, nodes: u16) -> anyhow::Result<Host> {
        let actor = ActorId::new(node, 7);
        let (segment, mut writers) = Segment::create(&SegmentConfig {
            path: directory.join(format!("node{node}")),
            node,
            node_name: format!("node{node}"),
            cluster: "bench".into(),
            actor: actor.as_u64(),
            workers: 1,
            shards: 1,
            cells_per_worker: u32::try_from(size.keys)?,
            extent_bytes_per_worker: size.extent_bytes,
            change_ring_entries: 4096,
            heartbeat_timeout_ns: 60_000_000_000,
            socket_path: None,
        })?;
        segment.mark_ready();
        let mut publisher = SegmentPublisher::new(writers.pop().context("no writer")?);
        let extent_bytes = publisher.writer().fresh_extent_bytes() as u64;
        let config = EngineConfig {
            actor,
            session: u32::from(node),
            shard: 0,
            cluster_tag: CLUSTER_TAG,
            // The receiver is everybody's first peer; its own slots are the origins in their order.
            peers: (1..=nodes).filter(|peer| *peer != node).collect(),
            storage: Storage::Memory,
            limits: EngineLimits { max_keys: size.keys, ..EngineLimits::default() },
            timers: EngineTimers::default(),
            random_seed: 1,
        };
        let now = Instant { monotonic_ns: 0, wall_ns: 0 };
        Ok(Host { engine: Engine::new(config, now)?, publisher, extent_bytes, _segment: segment })
    }

    fn unacknowledged(&self, now: Instant) -> u64 {
        self.engine.peer_status(0, now).map_or(0, |status| status.unacknowledged_seqs)
    }
}

impl Round {
    /// Takes in what another round took.
    pub fn add(&mut self, other: &Round) {
        self.deltas += other.deltas;
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.apply += other.apply;
        self.commit += other.commit;
        self.cut += other.cut;
        self.merge += other.merge;
        self.publish += other.publish;
    }
}
