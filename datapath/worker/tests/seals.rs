//! A worker that takes sealed frames only, its peer, and somebody between them who has seen every frame and has no key.
//!
//! How many frames are forged says `LATTICE_FORGED_FRAMES` (`make forged`: ten million, in release).

mod rig;

use lattice_crdt::Kind;
use lattice_engine::{Instant, LocalOp, SyncBudget};
use lattice_port::{MemoryPort, PeerSlot, Port};
use lattice_seal::{KEY_FRAMES, OpenKey, Opened, SECRET_BYTES, SealKey, Secret};
use lattice_wire::{
    FrameType, FrameWriter, HEADER_BYTES, Header, MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES, Op, Record, offsets,
    split_frame,
};
use lattice_worker::{Command, Engine, LoopStats, PeerSeal, SealStatus, SegmentPublisher, WorkerStatus};
use rig::{CLUSTER_TAG, Client, Node, Plan, UDP_PORT_BASE, moment};

/// Frames that the attacker remembers.
const REMEMBERED: usize = 20_000;
/// Frames sent between two turns of the victim.
const FLOOD: usize = 32;
const VICTIM: u16 = 1;
const PEER: u16 = 2;

/// The peer: bare engines and keys, so that every frame that it sends can be seen.
struct Peer {
    engines: Vec<Engine>,
    publisher: SegmentPublisher,
    port: Box<dyn Port>,
    seals: SealKey,
    opens: OpenKey,
    sent: Vec<Vec<u8>>,
}

impl Peer {
    fn turn(&mut self, now: Instant) {
        let Self { engines, port, opens, publisher, .. } = self;
        let mut opened: Opened = [0; MAX_PAYLOAD_BYTES];
        port.receive(64, &mut |received| {
            let shard = received.udp_port - UDP_PORT_BASE;
            let envelope = split_frame(received.frame, CLUSTER_TAG).expect("a frame of the victim");
            if let Ok(frame) = opens.open(shard, &envelope, &mut opened) {
                let _ = engines[usize::from(shard)].receive_opened(now, &frame);
            }
        })
        .unwrap();
        let mut buffer = [0; MAX_FRAME_BYTES];
        let mut alone = SyncBudget::ALONE;
        for engine in engines {
            engine.tick(now);
            engine.commit(now, publisher);
            while let Some((_, len)) = engine.transmit_untagged(now, &mut buffer, &mut alone) {
                self.seals.seal(engine.shard(), &mut buffer[..len]).unwrap();
                port.transmit(PeerSlot(0), UDP_PORT_BASE + engine.shard(), &buffer[..len]).unwrap();
                if self.sent.len() < REMEMBERED {
                    self.sent.push(buffer[..len].to_vec());
                }
            }
        }
        port.flush().unwrap();
    }

    fn add(&mut self, now: Instant, key: &str) {
        let shard = lattice_segment::shard_of(lattice_segment::key_hash(key.as_bytes()), 4);
        let op = LocalOp::CounterAdd(1);
        self.engines[usize::from(shard)].apply(now, Kind::Counter, key.as_bytes(), op).unwrap();
    }
}

struct Stage {
    node: Node,
    client: Client,
    peer: Peer,
    attacker: MemoryPort,
    now_ns: u64,
    /// Bumped whenever keys are drawn, so that they are others.
    drawn: u8,
}

impl Stage {
    fn new() -> Stage {
        let (mut nodes, attacker) = rig::parts(&Plan { must_seal: true, ..Plan::default() });
        let mut peer = nodes.pop().unwrap().parts.pop().unwrap();
        let mut node = Node::new(nodes.pop().unwrap());
        let client = node.attach(1024);
        let (seals, opens) = keys(1, 2);
        let peer = Peer {
            engines: std::mem::take(&mut peer.engines),
            publisher: SegmentPublisher::new(peer.writer),
            port: peer.port,
            seals,
            opens,
            sent: Vec::new(),
        };
        let mut stage = Stage { node, client, peer, attacker, now_ns: 2_000_000_000, drawn: 0 };
        stage.begin();
        stage
    }

    /// New keys for both ways, as after a restart.
    fn begin(&mut self) {
        self.drawn += 2;
        (self.peer.seals, self.peer.opens) = keys(self.drawn, self.drawn + 1);
        self.tell(PeerSeal::Begin);
        let (seals, opens) = keys(self.drawn + 1, self.drawn);
        self.tell(PeerSeal::Opens(Box::new(opens)));
        self.tell(PeerSeal::Seals(Box::new(seals)));
    }

    fn tell(&self, seal: PeerSeal) {
        let command = Command::SetSeal { peer: PeerSlot(0), node: PEER, seal };
        self.node.commands[0].try_send(command).unwrap();
    }

    fn turn(&mut self) {
        self.now_ns += 10_000;
        self.node.workers[0].turn_at(moment(self.now_ns));
        self.peer.turn(moment(self.now_ns));
    }

    /// Turns of the victim alone, in which no time passes.
    fn victims_turns(&mut self, count: usize) {
        for _ in 0..count {
            self.node.workers[0].turn_at(moment(self.now_ns));
        }
    }

    /// Both write, and come to hold the same.
    fn write_and_converge(&mut self) {
        for n in 0..40 {
            self.client.add(format!("key{n}").as_bytes(), 1).unwrap();
            self.peer.add(moment(self.now_ns), &format!("key{n}"));
            self.turn();
        }
        for _ in 0..200_000 {
            self.turn();
            if self.now_ns.is_multiple_of(1_000_000) && self.is_converged() {
                return;
            }
        }
        panic!("not converged: {:?}", self.status().loop_stats);
    }

    fn is_converged(&mut self) -> bool {
        let status = self.status();
        let shards = status.shards.iter().zip(&self.peer.engines);
        shards.into_iter().all(|(shard, engine)| {
            (shard.state_digest, shard.vector_digest) == (engine.state_digest(), engine.vector_digest())
        })
    }

    fn status(&mut self) -> WorkerStatus {
        let (reply, status) = crossbeam_channel::bounded(1);
        self.node.commands[0].try_send(Command::Status(reply)).unwrap();
        self.node.workers[0].turn_at(moment(self.now_ns));
        status.try_recv().unwrap()
    }

    /// Puts bytes on the network for a shard of the victim.
    fn forge(&mut self, shard: u16, bytes: &[u8]) {
        self.attacker.transmit(PeerSlot(0), UDP_PORT_BASE + shard, bytes).unwrap();
        self.attacker.flush().unwrap();
    }
}

/// A key that is known by its byte: the sender's end of one, the receiver's of another.
fn keys(seals: u8, opens: u8) -> (SealKey, OpenKey) {
    let secret = |byte: u8| Secret::of_parts(u32::from(byte) << 8, [byte; SECRET_BYTES]).unwrap();
    (SealKey::new(&secret(seals), 4, KEY_FRAMES).unwrap(), OpenKey::new(&secret(opens), 4).unwrap())
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// A frame of the peer's present session, right in every byte but for its seal, which is a checksum.
fn unsealed(sent: &[u8]) -> Vec<u8> {
    let header = split_frame(sent, CLUSTER_TAG).unwrap().header;
    let header = Header { frame_type: FrameType::Data, count: 1, ..header };
    let mut bytes = vec![0; MAX_FRAME_BYTES];
    let mut writer = FrameWriter::new(&mut bytes, header).unwrap();
    let op = Op::Counter { increments: 1_000_000, decrements: 0 };
    writer.push_record(&Record { kind: Kind::Counter, key: b"key1", op }).unwrap();
    let len = writer.finish();
    bytes.truncate(len);
    bytes
}

/// One frame that somebody without the key can make of those that he has seen.
fn forged(dice: &mut Dice, sent: &[Vec<u8>], old: &[Vec<u8>], guessed: &mut SealKey) -> Vec<u8> {
    let mut bytes = sent[dice.below(sent.len())].clone();
    match dice.below(8) {
        0 => {
            for _ in 0..1 + dice.below(4) {
                // A byte of its own for each, so that no two undo each other.
                let at = dice.below(bytes.len());
                bytes[at] ^= 1 << dice.below(8);
            }
            // Two may have met after all: then it is a replay.
            bytes
        }
        1 => bytes,
        2 => old[dice.below(old.len())].clone(),
        3 => unsealed(&bytes),
        // The right number, a key of his own.
        4 => {
            let shard = u16::from(bytes[offsets::SHARD]);
            guessed.seal(shard, &mut bytes).unwrap();
            bytes
        }
        // A counter far ahead: it would shut out all that follow, if it were believed.
        5 => {
            bytes[offsets::SEAL_COUNTER + 4] = 1 + dice.below(200) as u8;
            bytes
        }
        6 => {
            bytes[HEADER_BYTES..].iter_mut().for_each(|byte| *byte = dice.below(256) as u8);
            bytes
        }
        _ => {
            bytes.truncate(dice.below(bytes.len()));
            bytes
        }
    }
}

fn refused(status: &WorkerStatus) -> u64 {
    let LoopStats { seal_missing, seal_unknown_key, seal_broken, seal_replayed, .. } = status.loop_stats;
    let wire = |shard: &lattice_worker::ShardStatus| {
        let wire = shard.stats.dropped_wire;
        wire.too_short
            + wire.bad_magic
            + wire.bad_version
            + wire.bad_type
            + wire.wrong_cluster
            + wire.bad_length
            + wire.bad_reserved
            + wire.bad_interval
    };
    let by_wire: u64 = status.shards.iter().map(wire).sum();
    seal_missing + seal_unknown_key + seal_broken + seal_replayed + by_wire
}

/// What the engines have been handed and hold.
fn state(status: &WorkerStatus) -> Vec<[u64; 4]> {
    let of = |shard: &lattice_worker::ShardStatus| {
        let stats = &shard.stats;
        [shard.state_digest, shard.vector_digest, stats.frames_received, stats.dropped_unexpected]
    };
    status.shards.iter().map(of).collect()
}

#[test]
fn not_one_of_all_forged_replayed_and_old_frames_is_let_in() {
    let count: u64 = std::env::var("LATTICE_FORGED_FRAMES").map_or(100_000, |text| text.parse().unwrap());
    let mut stage = Stage::new();
    stage.write_and_converge();
    let old = std::mem::take(&mut stage.peer.sent);
    stage.begin();
    stage.write_and_converge();
    // Long enough for what is sent by the clock.
    (0..50_000).for_each(|_| stage.turn());
    let types: std::collections::BTreeSet<u8> =
        old.iter().chain(&stage.peer.sent).map(|frame| frame[offsets::FRAME_TYPE]).collect();
    assert!(types.len() >= 4, "{types:?}");

    // What is still under way arrives before, and is not sent again.
    stage.victims_turns(8);
    let (sent, before) = (stage.peer.sent.clone(), stage.status());
    let stolen = Secret::of_parts(u32::from(stage.drawn) << 8, [0xEE; SECRET_BYTES]).unwrap();
    let mut guessed = SealKey::new(&stolen, 4, KEY_FRAMES).unwrap();
    let mut dice = Dice(88_172_645_463_325_252);
    for n in 0..count {
        let bytes = forged(&mut dice, &sent, &old, &mut guessed);
        // Mostly where it belongs.
        let shard = match (bytes.get(offsets::SHARD), dice.below(16)) {
            (Some(shard), 1..) => u16::from(*shard) % 4,
            _ => dice.below(4) as u16,
        };
        stage.forge(shard, &bytes);
        if n % FLOOD as u64 == 0 {
            // Time stands still: nothing but the flood happens.
            stage.victims_turns(1);
        }
    }
    stage.victims_turns(8);
    let after = stage.status();
    assert_eq!(state(&after), state(&before), "nothing reached an engine");
    assert_eq!(after.loop_stats.frames_opened, before.loop_stats.frames_opened);
    assert_eq!(refused(&after) - refused(&before), count, "each is counted: {:?}", after.loop_stats);
    let LoopStats { seal_missing, seal_unknown_key, seal_broken, seal_replayed, .. } = after.loop_stats;
    for reason in [seal_missing, seal_unknown_key, seal_broken, seal_replayed] {
        assert!(reason > count / 100, "{:?}", after.loop_stats);
    }
    assert!(after.forged_age_ns.is_some());
    eprintln!("{count} frames, none let in: {:?}", after.loop_stats);
    // Nobody was shut out by it either.
    stage.write_and_converge();
}

#[test]
fn keys_are_rolled_while_frames_are_under_way() {
    let mut stage = Stage::new();
    stage.write_and_converge();
    let before = stage.status().loop_stats.seal_no_key;
    for _ in 0..20 {
        stage.write_and_converge();
        stage.drawn += 2;
        let (drawn, next) = (stage.drawn, stage.drawn + 1);
        // The victim opens with the next key, frames of the old one come, then those of the next.
        stage.tell(PeerSeal::Opens(Box::new(keys(1, drawn).1)));
        stage.peer.add(moment(stage.now_ns), "key1");
        (0..3).for_each(|_| stage.turn());
        stage.peer.seals = keys(drawn, 1).0;
        // And the other way round.
        stage.peer.opens = keys(1, next).1;
        stage.tell(PeerSeal::Seals(Box::new(keys(next, 1).0)));
    }
    stage.write_and_converge();
    let stats = stage.status().loop_stats;
    let dropped = [
        stats.seal_missing,
        stats.seal_unknown_key,
        stats.seal_broken,
        stats.seal_replayed,
        stats.seal_no_key - before,
    ];
    assert_eq!(dropped, [0; 5], "no frame was lost to it");
}

#[test]
fn without_keys_nothing_comes_in_or_goes_out() {
    let mut stage = Stage::new();
    stage.write_and_converge();
    let before = stage.status();
    let good = SealStatus {
        node: PEER,
        is_sealed: true,
        seals: true,
        opens: true,
        is_worn: false,
        unknown_key_age_ns: before.seals[0].unknown_key_age_ns,
    };
    assert_eq!(before.seals, [good]);
    // The peer was restarted, and nothing was handed over yet.
    stage.tell(PeerSeal::Begin);
    (0..2).for_each(|_| stage.turn());
    let begun = stage.status();
    for n in 0..2_000 {
        stage.client.add(b"key1", 1).unwrap();
        stage.peer.add(moment(stage.now_ns), &format!("key{}", n % 40));
        stage.turn();
    }
    let after = stage.status();
    assert_eq!(after.loop_stats.frames_opened, begun.loop_stats.frames_opened);
    assert_eq!(after.loop_stats.frames_sealed, begun.loop_stats.frames_sealed);
    assert!(after.loop_stats.seal_unknown_key > 0 && after.loop_stats.seal_no_key > 0);
    assert!(after.seals[0].unknown_key_age_ns.is_some_and(|age_ns| age_ns < 1_000_000_000));
    assert_eq!((after.seals[0].seals, after.seals[0].opens), (false, false));
    assert_eq!(VICTIM, after.shards[0].actor.node());
    // They come, and all that was dropped is repaired.
    stage.begin();
    stage.write_and_converge();
}

#[test]
fn a_key_that_is_given_twice_begins_only_once() {
    let mut stage = Stage::new();
    stage.write_and_converge();
    stage.victims_turns(8);
    let (sent, before) = (stage.peer.sent.clone(), stage.status());
    // The same two again: a window of its own would let in all that came before, a counter of its own repeat nonces.
    let (seals, opens) = keys(stage.drawn + 1, stage.drawn);
    stage.tell(PeerSeal::Opens(Box::new(opens)));
    stage.tell(PeerSeal::Seals(Box::new(seals)));
    stage.victims_turns(1);
    for frame in sent.iter().take(1_000) {
        stage.forge(u16::from(frame[offsets::SHARD]), frame);
        stage.victims_turns(1);
    }
    stage.victims_turns(8);
    assert_eq!(stage.status().loop_stats.frames_opened, before.loop_stats.frames_opened);
    // The peer's window has seen all counters from the beginning: it would take nothing.
    stage.write_and_converge();
}
