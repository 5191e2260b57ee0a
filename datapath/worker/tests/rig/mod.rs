//! A cluster in one process: real engines, real segments, real client rings, ports of memory, and time that the test
//! turns by hand. Nothing here waits: a test turns all workers until a condition holds, or a bound on turns is reached.
//!
//! ```text
//!   node 0: worker 0, worker 1 …          each node: one segment file in a directory of its own
//!      │ frames always reach worker 0 of a node: with more workers, the others get theirs handed over
//!   node 1: worker 0, worker 1 …
//! ```
#![allow(dead_code)] // each test binary uses its own part of the rig

use crossbeam_channel::{Receiver, Sender, bounded};
use lattice_crdt::{ActorId, Kind};
use lattice_engine::{EngineConfig, EngineLimits, EngineTimers, Instant, Storage};
use lattice_port::memory::{MemoryNode, MemoryPort, network};
use lattice_port::{PeerSlot, Port};
use lattice_seal::{KEY_FRAMES, OpenKey, SealKey, Secret};
use lattice_segment::{
    Lookup, Reader, RingConfig, RingProducer, Segment, SegmentConfig, Submission, SubmitError, SubmitOp,
    Target, Ticket, create_rings, key_hash, shard_of,
};
use lattice_worker::{
    Command, Credentials, Engine, Event, Handoff, Idle, Namespaces, PeerSeal, Turn, Worker, WorkerConfig,
    WorkerParts, WorkerStatus, client_wakeup,
};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tempfile::TempDir;

pub const UDP_PORT_BASE: u16 = 7400;
pub const CLUSTER_TAG: u32 = 0x1a77_1ced;
/// Time that passes between two turns.
const TURN_NS: u64 = 10_000;
const START_NS: u64 = 1_000_000_000;
const WALL_START_NS: u64 = 1_800_000_000_000_000_000;

/// How a cluster is made.
#[derive(Clone)]
pub struct Plan {
    pub nodes: u16,
    pub workers: u16,
    pub shards: u16,
    pub limits: EngineLimits,
    pub timers: EngineTimers,
    pub idle: Idle,
    pub client_budget_slots: usize,
    pub max_clients: usize,
    pub handoff_slots: usize,
    pub extent_bytes: u64,
    pub must_seal: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            nodes: 2,
            workers: 1,
            shards: 4,
            limits: EngineLimits {
                max_keys: 4096,
                log_bytes: 1 << 20,
                log_records: 1 << 14,
                ..Default::default()
            },
            timers: EngineTimers::default(),
            idle: Idle::Busy,
            client_budget_slots: 64,
            max_clients: 16,
            handoff_slots: 256,
            extent_bytes: 1 << 22,
            must_seal: false,
        }
    }
}

/// What one node is made of before its workers run.
pub struct NodeParts {
    pub parts: Vec<WorkerParts>,
    pub segment: Segment,
    pub reader: Reader,
    pub directory: TempDir,
}

/// One node whose workers are turned by hand.
pub struct Node {
    pub workers: Vec<Worker>,
    pub commands: Vec<Sender<Command>>,
    pub events: Receiver<Event>,
    pub reader: Reader,
    pub shards: u16,
    _segment: Segment,
    _directory: TempDir,
    next_client: u64,
}

fn address(worker: u16, node: u16) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, worker as u8, node as u8 + 1))
}

/// The ports of all workers of all nodes, by node, then worker, and that of an attacker whose address every node accepts
/// and whose peer slots are the nodes. Frames go to the peers' worker 0 only.
fn ports(plan: &Plan) -> (Vec<Vec<MemoryPort>>, MemoryPort) {
    let attacker = IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9));
    let mut all = Vec::new();
    for node in 0..plan.nodes {
        let others = || (0..plan.nodes).filter(move |other| *other != node);
        for worker in 0..plan.workers {
            // The first addresses are the peer slots; those of the peers' other workers are only allowed as sources.
            let mut peers: Vec<IpAddr> =
                (0..plan.workers).flat_map(|w| others().map(move |other| address(w, other))).collect();
            peers.push(attacker);
            all.push(MemoryNode { local: address(worker, node), peers });
        }
    }
    all.push(MemoryNode { local: attacker, peers: (0..plan.nodes).map(|node| address(0, node)).collect() });
    let mut flat = network(&all, 4096).unwrap();
    let attacker = flat.pop().unwrap();
    let mut flat = flat.into_iter();
    let nodes = (0..plan.nodes).map(|_| flat.by_ref().take(usize::from(plan.workers)).collect()).collect();
    (nodes, attacker)
}

fn engine(plan: &Plan, node: u16, shard: u16) -> Engine {
    let config = EngineConfig {
        actor: ActorId::new(node + 1, 0xE000 + u64::from(node)),
        session: 0x5000 + u32::from(node),
        shard,
        cluster_tag: CLUSTER_TAG,
        peers: (0..plan.nodes).filter(|other| *other != node).map(|other| other + 1).collect(),
        limits: plan.limits.clone(),
        timers: plan.timers.clone(),
        storage: Storage::Memory,
        random_seed: u64::from(node) << 16 | u64::from(shard),
    };
    Engine::in_memory(config, moment(START_NS)).unwrap()
}

pub fn moment(monotonic_ns: u64) -> Instant {
    Instant { monotonic_ns, wall_ns: WALL_START_NS + monotonic_ns }
}

/// Everything that the nodes' workers are made of, and the attacker's port.
pub fn parts(plan: &Plan) -> (Vec<NodeParts>, MemoryPort) {
    let (nodes, attacker) = ports(plan);
    let nodes = nodes.into_iter().enumerate();
    (nodes.map(|(node, ports)| node_parts(plan, node as u16, ports)).collect(), attacker)
}

fn node_parts(plan: &Plan, node: u16, ports: Vec<MemoryPort>) -> NodeParts {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("segment");
    let (segment, writers) = Segment::create(&SegmentConfig {
        path: path.clone(),
        node: node + 1,
        node_name: format!("node{node}"),
        cluster: "rig".into(),
        actor: ActorId::new(node + 1, 0xE000 + u64::from(node)).as_u64(),
        workers: plan.workers,
        shards: plan.shards,
        cells_per_worker: 4096,
        extent_bytes_per_worker: plan.extent_bytes,
        change_ring_entries: 1024,
        heartbeat_timeout_ns: 1_000_000_000,
        socket_path: None,
    })
    .unwrap();
    segment.mark_ready();
    let handoffs = Handoff::for_workers(plan.workers, plan.handoff_slots).unwrap();
    let parts =
        ports.into_iter().zip(writers).zip(handoffs).enumerate().map(|(index, ((port, writer), handoff))| {
            let mut config = WorkerConfig::new(index as u16, plan.workers, plan.shards, UDP_PORT_BASE);
            config.idle = plan.idle;
            config.client_budget_slots = plan.client_budget_slots;
            config.max_clients = plan.max_clients;
            config.must_seal = plan.must_seal;
            let engines = config.owned_shards().map(|shard| engine(plan, node, shard)).collect();
            let port: Box<dyn Port> = Box::new(port);
            WorkerParts { config, engines, port, writer, handoff, storage: None }
        });
    NodeParts { parts: parts.collect(), segment, reader: Reader::open(&path).unwrap(), directory }
}

/// A client's end of its rings, one ring for each worker of its node.
pub struct Client {
    pub id: u64,
    pub rings: Vec<RingProducer>,
    /// The shared memory itself: what a hostile client scribbles on.
    pub memory: OwnedFd,
    shards: u16,
    last: Vec<Ticket>,
}

impl Client {
    fn worker_of(&self, key: &[u8]) -> usize {
        usize::from(shard_of(key_hash(key), self.shards)) % self.rings.len()
    }

    /// Submits an operation by key.
    pub fn submit(
        &mut self,
        op: SubmitOp,
        kind: Kind,
        key: &[u8],
        amount: i64,
        data: &[u8],
    ) -> Result<Ticket, SubmitError> {
        let worker = self.worker_of(key);
        let submission = Submission { op, kind: kind as u8, target: Target::Key(key), amount, data };
        let ticket = self.rings[worker].submit(&submission)?;
        self.last[worker] = ticket;
        Ok(ticket)
    }

    pub fn add(&mut self, key: &[u8], amount: i64) -> Result<Ticket, SubmitError> {
        self.submit(SubmitOp::CounterAdd, Kind::Counter, key, amount, &[])
    }

    pub fn insert(&mut self, key: &[u8], element: &[u8]) -> Result<Ticket, SubmitError> {
        self.submit(SubmitOp::SetInsert, Kind::Set, key, 0, element)
    }

    pub fn remove(&mut self, key: &[u8], element: &[u8]) -> Result<Ticket, SubmitError> {
        self.submit(SubmitOp::SetRemove, Kind::Set, key, 0, element)
    }

    /// Whether everything submitted so far is acknowledged.
    pub fn settled(&self) -> bool {
        self.rings.iter().zip(&self.last).all(|(ring, ticket)| ring.applied() >= ticket.0)
    }

    pub fn failures(&mut self) -> Vec<(usize, u16)> {
        let take = |(worker, ring): (usize, &mut RingProducer)| {
            std::iter::from_fn(|| ring.take_failure()).map(|(_, code)| (worker, code)).collect::<Vec<_>>()
        };
        self.rings.iter_mut().enumerate().flat_map(take).collect()
    }
}

/// A client's rings, and the commands that attach them, in worker order.
pub fn client(id: u64, workers: u16, shards: u16, slots: u32) -> (Client, Vec<Command>, Vec<OwnedFd>) {
    client_of(id, workers, shards, slots, &Credentials::default())
}

/// As [`client`], of somebody.
pub fn client_of(
    id: u64,
    workers: u16,
    shards: u16,
    slots: u32,
    who: &Credentials,
) -> (Client, Vec<Command>, Vec<OwnedFd>) {
    let config = RingConfig { submission_slots: slots, completion_slots: 64 };
    let (memory, consumers) = create_rings(workers, config).unwrap();
    let rings = RingProducer::map(&memory).unwrap();
    let mut knockers = Vec::new();
    let commands = consumers
        .into_iter()
        .map(|consumer| {
            let (worker_end, client_end) = client_wakeup().unwrap();
            knockers.push(client_end);
            Command::AttachClient { id, consumer, wakeup: Some(worker_end), who: who.clone() }
        })
        .collect();
    let last = vec![Ticket(0); rings.len()];
    (Client { id, rings, memory, shards, last }, commands, knockers)
}

impl Node {
    pub fn new(parts: NodeParts) -> Self {
        let NodeParts { parts, segment, reader, directory } = parts;
        let shards = parts[0].config.shards;
        let (events_in, events) = bounded(64);
        let mut workers = Vec::new();
        let mut commands = Vec::new();
        for part in parts {
            let (sender, receiver) = bounded(16);
            workers.push(Worker::new(part, receiver, events_in.clone()).unwrap());
            commands.push(sender);
        }
        Self {
            workers,
            commands,
            events,
            reader,
            shards,
            _segment: segment,
            _directory: directory,
            next_client: 1,
        }
    }

    /// Attaches a client; it is served from the next turn on.
    pub fn attach(&mut self, slots: u32) -> Client {
        self.attach_as(slots, &Credentials::default())
    }

    /// Attaches a client of somebody.
    pub fn attach_as(&mut self, slots: u32, who: &Credentials) -> Client {
        let id = self.next_client;
        self.next_client += 1;
        let (client, commands, _) = client_of(id, self.workers.len() as u16, self.shards, slots, who);
        for (sender, command) in self.commands.iter().zip(commands) {
            sender.try_send(command).unwrap();
        }
        client
    }

    /// Gives all workers other rules of namespaces.
    pub fn set_namespaces(&self, namespaces: Namespaces) -> Arc<Namespaces> {
        let namespaces = Arc::new(namespaces);
        for sender in &self.commands {
            sender.try_send(Command::SetNamespaces { namespaces: Arc::clone(&namespaces) }).unwrap();
        }
        namespaces
    }

    /// A published word as readers see it; `None`: not there.
    pub fn word(&self, kind: Kind, key: &[u8]) -> Option<u64> {
        match self.reader.lookup(kind as u8, key) {
            Lookup::Found(cell) => Some(self.reader.word(cell).unwrap()),
            _ => None,
        }
    }

    pub fn counter(&self, key: &[u8]) -> Option<i64> {
        self.word(Kind::Counter, key).map(|word| word as i64)
    }

    /// A published register as readers see it.
    pub fn register(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.reader.lookup(Kind::Register as u8, key) {
            Lookup::Found(cell) => {
                let mut value = Vec::new();
                self.reader.bytes(cell, &mut value).unwrap();
                Some(value)
            }
            _ => None,
        }
    }

    /// The members of a published set, sorted.
    pub fn members(&self, key: &[u8]) -> Vec<Vec<u8>> {
        let mut members = Vec::new();
        if let Lookup::Found(cell) = self.reader.lookup(Kind::Set as u8, key) {
            self.reader.set_members(cell, &mut |member| members.push(member.to_vec())).unwrap();
        }
        members.sort();
        members
    }

    /// Tells all workers what to seal frames to a peer with.
    pub fn seals_with(&self, peer: PeerSlot, node: u16, secret: &Secret) {
        for commands in &self.commands {
            let key = SealKey::new(secret, self.shards, KEY_FRAMES).unwrap();
            let seal = PeerSeal::Seals(Box::new(key));
            commands.try_send(Command::SetSeal { peer, node, seal }).unwrap();
        }
    }

    /// Tells all workers what a peer seals its frames with.
    pub fn opens_with(&self, peer: PeerSlot, node: u16, secret: &Secret) {
        for commands in &self.commands {
            let seal = PeerSeal::Opens(Box::new(OpenKey::new(secret, self.shards).unwrap()));
            commands.try_send(Command::SetSeal { peer, node, seal }).unwrap();
        }
    }

    /// A counter of the segment, summed over the workers.
    pub fn counted(&self, name: &str) -> u64 {
        let counters = self.reader.counters();
        let matching: Vec<u64> = counters.iter().filter(|(_, n, _)| n == name).map(|(_, _, v)| *v).collect();
        assert!(!matching.is_empty(), "no counter named {name}");
        matching.iter().sum()
    }
}

/// A cluster and its time.
pub struct Cluster {
    pub nodes: Vec<Node>,
    /// Puts any bytes on the network; peer slot `n` is node `n`.
    pub attacker: MemoryPort,
    pub now_ns: u64,
}

impl Cluster {
    pub fn new(plan: &Plan) -> Self {
        let (nodes, attacker) = parts(plan);
        Self { nodes: nodes.into_iter().map(Node::new).collect(), attacker, now_ns: START_NS }
    }

    /// Draws a key for each ordered pair of nodes, and gives it to all workers of both.
    pub fn hand_over_keys(&self) {
        let slot_of = |node: usize, at: usize| PeerSlot(if node < at { node } else { node - 1 } as u16);
        for from in 0..self.nodes.len() {
            for to in (0..self.nodes.len()).filter(|to| *to != from) {
                let secret = Secret::draw().unwrap();
                self.nodes[from].seals_with(slot_of(to, from), to as u16 + 1, &secret);
                self.nodes[to].opens_with(slot_of(from, to), from as u16 + 1, &secret);
            }
        }
    }

    /// One turn of every worker. Returns whether any had work.
    pub fn turn(&mut self) -> bool {
        self.now_ns += TURN_NS;
        let now = moment(self.now_ns);
        let mut busy = false;
        for worker in self.nodes.iter_mut().flat_map(|node| node.workers.iter_mut()) {
            busy |= worker.turn_at(now) == Turn::Busy;
        }
        busy
    }

    /// Turns until the condition holds; false if it does not within `turns`.
    pub fn turn_until(&mut self, turns: usize, mut holds: impl FnMut(&mut Cluster) -> bool) -> bool {
        for _ in 0..turns {
            if holds(self) {
                return true;
            }
            self.turn();
        }
        holds(self)
    }

    pub fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
        }
    }

    /// The status of every worker of a node.
    pub fn status(&mut self, node: usize) -> Vec<WorkerStatus> {
        let replies: Vec<Receiver<WorkerStatus>> = self.nodes[node]
            .commands
            .iter()
            .map(|commands| {
                let (reply, status) = bounded(1);
                commands.try_send(Command::Status(reply)).unwrap();
                status
            })
            .collect();
        self.turn();
        replies.into_iter().map(|reply| reply.try_recv().unwrap()).collect()
    }

    /// Whether all nodes have equal state and vector digests in every shard.
    pub fn converged(&mut self) -> bool {
        let digests: Vec<Vec<(u16, u64, u64)>> = (0..self.nodes.len())
            .map(|node| {
                let statuses = self.status(node);
                let shards = statuses.iter().flat_map(|status| &status.shards);
                let mut all: Vec<_> = shards.map(|s| (s.shard, s.state_digest, s.vector_digest)).collect();
                all.sort_unstable();
                all
            })
            .collect();
        digests.windows(2).all(|pair| pair[0] == pair[1])
    }
}
