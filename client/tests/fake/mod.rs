//! A daemon for tests: a real segment, real rings and real descriptor passing around a toy state machine.
//!
//! One thread accepts clients, applies their submissions to a map and publishes it. A test can make it deaf (rings fill),
//! silent (heartbeats stop), refusing, or end it in the two ways in which daemons end.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lattice_segment::{
    AckTerms, CellId, Levels, RingConfig, RingConsumer, Segment, SegmentConfig, Submission, SubmitOp, Target,
    Verdict, Writer, codes, create_rings, key_hash, layout, monotonic_ns, shard_of, worker_of,
};
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

pub const SHARDS: u16 = 4;
pub const SUBMISSION_SLOTS: u32 = 64;
pub const CHANGE_RING_ENTRIES: u32 = 64;

/// What the fake daemon knows; outlives it where a test says so.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub counters: BTreeMap<Vec<u8>, i64>,
    pub flags: BTreeMap<(u8, Vec<u8>), bool>,
    pub registers: BTreeMap<Vec<u8>, Vec<u8>>,
    pub sets: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
}

/// What a test can tell the daemon while it runs.
#[derive(Default)]
pub struct Knobs {
    /// Leave the rings alone.
    pub deaf: AtomicBool,
    /// Let the heartbeats age.
    pub silent: AtomicBool,
    /// Refuse every submission with this code; 0: refuse nothing.
    pub refuse_code: AtomicU16,
    /// Close every client's connection, once.
    pub drop_clients: AtomicBool,
    /// Accept clients, but never reply.
    pub mute: AtomicBool,
    /// Sleep on the eventfds between two looks at the rings, as a worker with idle strategy `sleep` does.
    pub sleepy: AtomicBool,
    /// Set while it sleeps.
    pub asleep: AtomicBool,
    /// How many have been attached.
    pub attached: AtomicU64,
    /// Peers of the cluster, and how many of them merge what is written, at once.
    pub peers: AtomicU16,
    pub merging: AtomicU16,
    /// The log is a file, and what is written is synced at once.
    pub logs: AtomicBool,
    pub syncs: AtomicBool,
    /// Marks taken.
    pub marks: AtomicU64,
    stop: AtomicBool,
}

pub struct FakeDaemon {
    pub knobs: Arc<Knobs>,
    pub socket: PathBuf,
    pub segment: PathBuf,
    thread: Option<JoinHandle<(Segment, Server)>>,
}

impl FakeDaemon {
    pub fn start(dir: &Path, workers: u16, state: State) -> FakeDaemon {
        FakeDaemon::start_with_timeout(dir, workers, state, Duration::from_secs(60))
    }

    pub fn start_with_timeout(dir: &Path, workers: u16, state: State, heartbeat: Duration) -> FakeDaemon {
        let socket = dir.join("daemon.sock");
        let segment = dir.join("segment");
        let config = SegmentConfig {
            path: segment.clone(),
            node: 3,
            node_name: "host-c".into(),
            cluster: "test".into(),
            actor: 7,
            workers,
            shards: SHARDS,
            cells_per_worker: 1024,
            extent_bytes_per_worker: 4 << 20,
            change_ring_entries: CHANGE_RING_ENTRIES,
            heartbeat_timeout_ns: heartbeat.as_nanos() as u64,
            socket_path: Some(socket.clone()),
        };
        let (owner, writers) = Segment::create(&config).expect("create the segment");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("bind the socket");
        listener.set_nonblocking(true).expect("nonblocking");
        let knobs = Arc::new(Knobs::default());
        let mut server = Server {
            listener,
            segment: segment.clone(),
            writers,
            state,
            clients: Vec::new(),
            mutes: Vec::new(),
            knobs: Arc::clone(&knobs),
        };
        server.publish_all();
        server.beat();
        owner.mark_ready();
        let thread = std::thread::spawn(move || {
            server.serve();
            (owner, server)
        });
        FakeDaemon { knobs, socket, segment, thread: Some(thread) }
    }

    /// A clean stop: the segment is marked CLOSED. Returns what it knew.
    pub fn stop(mut self) -> State {
        let (owner, server) = self.join();
        owner.close();
        server.state
    }

    /// kill -9: connections end, the segment stays as it is. Returns what it knew.
    pub fn kill(mut self) -> State {
        let (owner, server) = self.join();
        std::mem::forget(owner);
        let Server { state, listener, clients, writers, .. } = server;
        std::mem::forget(writers);
        drop((listener, clients));
        state
    }

    fn join(&mut self) -> (Segment, Server) {
        self.knobs.stop.store(true, SeqCst);
        self.thread.take().expect("stopped once").join().expect("the fake daemon panicked")
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.join();
        }
    }
}

struct Connection {
    stream: UnixStream,
    consumers: Vec<RingConsumer>,
    /// Submissions up to the last mark, by worker.
    marked: Vec<u64>,
    wakeups: Vec<OwnedFd>,
}

pub struct Server {
    listener: UnixListener,
    segment: PathBuf,
    writers: Vec<Writer>,
    state: State,
    clients: Vec<Connection>,
    mutes: Vec<UnixStream>,
    knobs: Arc<Knobs>,
}

impl Server {
    fn serve(&mut self) {
        while !self.knobs.stop.load(SeqCst) {
            if let Ok((stream, _)) = self.listener.accept() {
                self.attach(stream);
            }
            if self.knobs.drop_clients.swap(false, SeqCst) {
                self.clients.clear();
            }
            if !self.knobs.silent.load(SeqCst) {
                self.beat();
            }
            if !self.knobs.deaf.load(SeqCst) {
                self.poll_rings();
            }
            if self.knobs.sleepy.load(SeqCst) {
                self.sleep_until_woken();
            }
            std::thread::yield_now();
        }
    }

    /// Leaves the rings alone until a client knocks; stays awake if one has written since the last look.
    fn sleep_until_woken(&mut self) {
        let consumers = self.clients.iter_mut().flat_map(|client| &mut client.consumers);
        let is_awake = consumers.fold(false, |awake, consumer| consumer.prepare_sleep() | awake);
        let mut knock = [0u8; 8];
        let wakeups = || self.clients.iter().flat_map(|client| &client.wakeups);
        self.knobs.asleep.store(!is_awake, SeqCst);
        while !is_awake
            && !self.knobs.stop.load(SeqCst)
            && !wakeups().any(|wakeup| rustix::io::read(wakeup, &mut knock[..]).is_ok())
        {
            self.beat();
            std::thread::yield_now();
        }
        self.knobs.asleep.store(false, SeqCst);
        for consumer in self.clients.iter_mut().flat_map(|client| &mut client.consumers) {
            consumer.wake();
        }
    }

    fn attach(&mut self, mut stream: UnixStream) {
        if self.knobs.mute.load(SeqCst) {
            self.mutes.push(stream);
            return;
        }
        stream.set_nonblocking(false).expect("blocking");
        let mut request = [0u8; 64];
        let read = stream.read(&mut request).expect("read the request");
        assert_eq!(&request[..read], b"{\"op\":\"attach\"}\n");
        let workers = self.writers.len() as u16;
        let config = RingConfig { submission_slots: SUBMISSION_SLOTS, completion_slots: SUBMISSION_SLOTS };
        let (rings, consumers) = create_rings(workers, config).expect("create rings");
        let wakeups: Vec<OwnedFd> =
            (0..workers).map(|_| eventfd(0, EventfdFlags::NONBLOCK).expect("eventfd")).collect();
        let reply = format!(
            "{{\"ok\":true,\"segment\":{:?},\"incarnation\":\"1\",\"workers\":{workers},\"shards\":{SHARDS},\"client\":1}}\n",
            self.segment
        );
        let mut descriptors = vec![rings.as_fd()];
        descriptors.extend(wakeups.iter().map(AsFd::as_fd));
        send_with_descriptors(&stream, reply.as_bytes(), &descriptors);
        let marked = vec![0; consumers.len()];
        self.clients.push(Connection { stream, consumers, marked, wakeups });
        self.knobs.attached.fetch_add(1, SeqCst);
    }

    fn beat(&self) {
        for writer in &self.writers {
            writer.heartbeat(monotonic_ns());
        }
    }

    fn poll_rings(&mut self) {
        let refuse_code = self.knobs.refuse_code.load(SeqCst);
        let mut clients = std::mem::take(&mut self.clients);
        clients.retain_mut(|client| {
            for worker in 0..self.writers.len() {
                let (mut seen, mut marked) = (client.consumers[worker].taken(), client.marked[worker]);
                let polled = client.consumers[worker].poll(256, &mut |submission| {
                    seen += 1;
                    match refuse_code {
                        _ if submission.op == SubmitOp::Mark => {
                            marked = seen;
                            self.knobs.marks.fetch_add(1, SeqCst);
                            Verdict::Applied
                        }
                        0 => self.apply(worker, submission),
                        code => Verdict::Refused(code),
                    }
                });
                client.marked[worker] = marked;
                if polled.is_err() {
                    return false;
                }
                self.writers[worker].end_burst();
                client.consumers[worker].complete();
                self.tell(&mut client.consumers[worker], marked);
            }
            true
        });
        self.clients = clients;
    }

    /// Tells how far what was marked has got.
    fn tell(&self, consumer: &mut RingConsumer, marked: u64) {
        let (peers, merging) = (self.knobs.peers.load(SeqCst), self.knobs.merging.load(SeqCst));
        let log_is_file = self.knobs.logs.load(SeqCst);
        consumer.set_terms(AckTerms { members: peers + 1, log_is_file, never_synced: false });
        let if_so = |so: bool| if so { marked } else { 0 };
        let mut levels = Levels {
            durable: if_so(self.knobs.syncs.load(SeqCst)),
            majority: if_so(merging >= peers.div_ceil(2)),
            all: if_so(merging >= peers),
            ..Levels::default()
        };
        levels.merged[..usize::from(merging)].fill(marked);
        if consumer.tell(&levels) {
            consumer.wake_client();
        }
    }

    fn apply(&mut self, worker: usize, submission: &Submission<'_>) -> Verdict {
        let mut buffer = [0u8; layout::MAX_KEY_BYTES];
        let key = match submission.target {
            Target::Key(key) => key,
            Target::Cell { cell, generation } => {
                let found = self.writers[worker].describe(cell, generation, &mut buffer);
                let Some(found) = found else { return Verdict::Refused(codes::STALE_CELL) };
                &buffer[..found.key_len]
            }
        };
        let hash = key_hash(key);
        assert_eq!(usize::from(worker_of(shard_of(hash, SHARDS), self.writers.len() as u16)), worker);
        let key = key.to_vec();
        let kind = submission.kind;
        match submission.op {
            SubmitOp::CounterAdd => *self.state.counters.entry(key.clone()).or_default() += submission.amount,
            SubmitOp::FlagEnable => drop(self.state.flags.insert((kind, key.clone()), true)),
            SubmitOp::FlagDisable => drop(self.state.flags.insert((kind, key.clone()), false)),
            SubmitOp::RegisterSet => {
                drop(self.state.registers.insert(key.clone(), submission.data.to_vec()));
            }
            SubmitOp::SetInsert => {
                self.state.sets.entry(key.clone()).or_default().insert(submission.data.to_vec());
            }
            SubmitOp::SetRemove => {
                self.state.sets.entry(key.clone()).or_default().remove(submission.data);
                let cell = self.cell(kind, &key);
                self.writers[worker].set_remove(cell, submission.data).expect("room");
                return Verdict::Applied;
            }
            SubmitOp::SetClear => {
                let cell = self.cell(kind, &key);
                for element in std::mem::take(self.state.sets.entry(key).or_default()) {
                    self.writers[worker].set_remove(cell, &element).expect("room");
                }
                return Verdict::Applied;
            }
            SubmitOp::Mark => return Verdict::Applied,
        }
        self.publish(kind, &key);
        Verdict::Applied
    }

    fn cell(&mut self, kind: u8, key: &[u8]) -> CellId {
        let hash = key_hash(key);
        let worker = worker_of(shard_of(hash, SHARDS), self.writers.len() as u16);
        self.writers[usize::from(worker)].open_cell(kind, hash, key).expect("room")
    }

    fn publish(&mut self, kind: u8, key: &[u8]) {
        let cell = self.cell(kind, key);
        let worker = usize::from(worker_of(shard_of(key_hash(key), SHARDS), self.writers.len() as u16));
        let writer = &mut self.writers[worker];
        match kind {
            layout::KIND_COUNTER => writer.publish_word(cell, self.state.counters[key] as u64),
            layout::KIND_REGISTER => writer.publish_bytes(cell, &self.state.registers[key]).expect("room"),
            layout::KIND_SET => {
                for element in &self.state.sets[key] {
                    writer.set_insert(cell, element).expect("room");
                }
            }
            flag => writer.publish_word(cell, u64::from(self.state.flags[&(flag, key.to_vec())])),
        }
    }

    fn publish_all(&mut self) {
        let state = self.state.clone();
        let counters = state.counters.into_keys().map(|key| (layout::KIND_COUNTER, key));
        let registers = state.registers.into_keys().map(|key| (layout::KIND_REGISTER, key));
        let sets = state.sets.into_keys().map(|key| (layout::KIND_SET, key));
        for (kind, key) in counters.chain(registers).chain(sets).chain(state.flags.into_keys()) {
            self.publish(kind, &key);
        }
    }
}

/// Sends bytes and, with the first of them, descriptors.
pub fn send_with_descriptors(stream: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(65))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).expect("send");
    assert_eq!(sent, bytes.len());
}

/// Waits for a condition that another thread brings about.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::yield_now();
    }
}
