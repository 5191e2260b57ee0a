//! One engine on a stage: its peers are puppets, whose every frame the test writes, and time passes when it says so.

use lattice_crdt::{ActorId, Dot, Kind, SeqRange};
use lattice_engine::{
    DropReason, Engine, EngineConfig, EngineLimits, EngineTimers, Instant, LocalOp, Published, Publisher,
    Storage,
};
use lattice_wire::{
    Dots, FrameType, FrameWriter, Header, Heartbeat, MAX_FRAME_BYTES, SyncAck, SyncItem, SyncRequest,
    VectorPart, decode_frame,
};

use crate::world::CLUSTER;

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000 * MS;

/// Whoever reads it sees nothing.
pub struct Blind;

impl Publisher for Blind {
    fn open(&mut self, _: Kind, _: u64, _: &[u8]) -> Option<u32> {
        Some(0)
    }
    fn word(&mut self, _: u32, _: u64) -> Published {
        Published::Visible
    }
    fn bytes(&mut self, _: u32, _: &[u8]) -> Published {
        Published::Visible
    }
    fn element(&mut self, _: u32, _: &[u8], _: bool) -> Published {
        Published::Visible
    }
}

/// One engine, and a peer that is played by the test: its frames are well formed, whatever they say.
pub struct Stage {
    pub engine: Engine,
    pub now_ns: u64,
    pub wall_ahead_ns: u64,
}

pub const OWN: ActorId = ActorId::new(1, 7);
pub const SESSION: u32 = 77;

/// What the engine sent: to which slot, the header and the payload.
pub type Sent = Vec<(usize, Header, Vec<u8>)>;

pub fn puppet(slot: usize) -> ActorId {
    ActorId::new(slot as u16 + 2, 9)
}

impl Stage {
    pub fn new(timers: EngineTimers) -> Self {
        let config = EngineConfig {
            actor: OWN,
            session: SESSION,
            shard: 0,
            cluster_tag: CLUSTER,
            peers: vec![2, 3],
            limits: EngineLimits::default(),
            timers,
            storage: Storage::Memory,
            random_seed: 1,
        };
        let now = Instant { monotonic_ns: 0, wall_ns: SECOND };
        Self { engine: Engine::new(config, now).unwrap(), now_ns: 0, wall_ahead_ns: 0 }
    }

    pub fn now(&self) -> Instant {
        Instant {
            monotonic_ns: self.now_ns,
            wall_ns: 1_700_000_000 * SECOND + self.now_ns + self.wall_ahead_ns,
        }
    }

    pub fn header(frame_type: FrameType, slot: usize) -> Header {
        Header {
            frame_type,
            cluster_tag: CLUSTER,
            node: puppet(slot).node(),
            dest_node: 1,
            shard: 0,
            actor: puppet(slot),
            src_session: 500 + slot as u32,
            dst_session: SESSION,
            lo: 0,
            count: 0,
            log_first: 1,
        }
    }

    /// Hands the engine one frame of a puppet.
    pub fn play(
        &mut self,
        header: Header,
        write: impl FnOnce(&mut FrameWriter<'_>),
    ) -> Result<(), DropReason> {
        let mut buffer = [0; MAX_FRAME_BYTES];
        let mut writer = FrameWriter::new(&mut buffer, header).unwrap();
        write(&mut writer);
        let len = writer.finish();
        let now = self.now();
        self.engine.receive(now, &buffer[..len])
    }

    pub fn hello(&mut self, slot: usize) {
        let header = Header { count: 1, ..Self::header(FrameType::Hello, slot) };
        self.play(header, |frame| VectorPart::encode(frame, 0, 1, []).unwrap()).unwrap();
    }

    pub fn heartbeat(&mut self, slot: usize, log_first: u64) {
        let header = Header { log_first, ..Self::header(FrameType::Heartbeat, slot) };
        let wall_ns = 1_700_000_000 * SECOND + self.now_ns;
        let beat = Heartbeat { state_digest: 1, vector_digest: 1, wall_ns, last_seq: 0 };
        self.play(header, |frame| beat.encode(frame).unwrap()).unwrap();
    }

    /// Everything that the engine sends in the next `for_ns`.
    pub fn run(&mut self, for_ns: u64) -> Sent {
        let end_ns = self.now_ns + for_ns;
        let mut sent = Vec::new();
        while self.now_ns < end_ns {
            let now = self.now();
            self.engine.commit(now, &mut Blind);
            if self.engine.deadline_ns() <= self.now_ns {
                self.engine.tick(now);
            }
            let mut buffer = [0; MAX_FRAME_BYTES];
            while let Some((slot, len)) = self.engine.transmit(now, &mut buffer) {
                let frame = decode_frame(&buffer[..len], CLUSTER).unwrap();
                sent.push((slot, frame.header, frame.payload.to_vec()));
            }
            self.now_ns += 100_000;
        }
        sent
    }

    /// Makes the engine ask the puppet in slot 0 for a state sync; returns its id.
    pub fn provoke_sync(&mut self) -> u32 {
        self.hello(0);
        self.heartbeat(0, 10);
        let sent = self.run(MS);
        let request = sent.iter().find(|(_, header, _)| header.frame_type == FrameType::SyncRequest);
        SyncRequest::decode(&request.expect("a request").2).unwrap().sync_id
    }

    pub fn sync_data(&mut self, id: u32, index: u64, items: &[SyncItem<'_>]) -> Result<(), DropReason> {
        let header = Header { lo: index, count: items.len() as u32, ..Self::header(FrameType::SyncData, 0) };
        self.play(header, |frame| {
            frame.push_sync_id(id).unwrap();
            items.iter().for_each(|item| frame.push_item(item).unwrap());
        })
    }

    pub fn sync_request(&mut self, id: u32) -> Result<(), DropReason> {
        self.play(Self::header(FrameType::SyncRequest, 0), |frame| {
            SyncRequest::encode(frame, id, 0, 1, [(puppet(0), SeqRange { first: 1, last: 1 })]).unwrap();
        })
    }

    pub fn sync_ack(&mut self, sync_id: u32, cumulative: u64) -> Result<(), DropReason> {
        let ack = SyncAck { sync_id, cumulative, bitmap: 0, abort: false };
        self.play(Self::header(FrameType::SyncAck, 0), |frame| ack.encode(frame).unwrap())
    }

    pub fn fill(&mut self, keys: u32) {
        for key in 0..keys {
            let now = self.now();
            let value = [7; 400];
            self.engine.apply(now, Kind::Register, &key.to_le_bytes(), LocalOp::RegisterSet(&value)).unwrap();
            self.engine.commit(now, &mut Blind);
        }
    }

    /// An element of `b"set"` that a hundred actors added at once, as a state sync brings it.
    pub fn crowded() -> Self {
        let actors: Vec<ActorId> = (1..=100).map(|epoch| ActorId::new(9, epoch)).collect();
        let dots: Vec<Dot> = actors.iter().map(|&actor| Dot { actor, seq: 1 }).collect();
        let element = |dots, more| SyncItem::Element { element: b"e", dots: Dots::from(dots), more };
        let mut items = vec![
            SyncItem::Begin { full_walk: false, keys: 0 },
            SyncItem::VectorRange { actor: puppet(0), first: 1, last: 12 },
        ];
        items.extend(actors.iter().map(|&actor| SyncItem::VectorRange { actor, first: 1, last: 1 }));
        items.extend([SyncItem::VectorEnd, SyncItem::Key { kind: Kind::Set, key: b"set" }]);
        items.extend(actors.iter().map(|&actor| SyncItem::Touch { actor, seq: 1 }));
        items.extend([element(&dots[..48], true), element(&dots[48..96], true), element(&dots[96..], false)]);
        items.extend([SyncItem::KeyEnd, SyncItem::End]);
        let mut stage = Self::new(EngineTimers::default());
        let id = stage.provoke_sync();
        for (index, item) in items.into_iter().enumerate() {
            stage.sync_data(id, index as u64, &[item]).unwrap();
        }
        assert_eq!(stage.engine.stats().syncs_completed, 1);
        let now = stage.now();
        stage.engine.commit(now, &mut Blind);
        stage
    }
}

/// Requests for a sync that went to the peer in `slot`, each with the number of actors that its vector names.
pub fn requests(sent: &Sent, slot: usize) -> Vec<usize> {
    let all =
        sent.iter().filter(|(to, header, _)| *to == slot && header.frame_type == FrameType::SyncRequest);
    all.map(|(_, _, payload)| SyncRequest::decode(payload).unwrap().vector.len()).collect()
}

/// Ids of the syncs that the engine sent frames of, in order, each once.
pub fn served(sent: &Sent) -> Vec<u32> {
    let data = sent.iter().filter(|(_, header, _)| header.frame_type == FrameType::SyncData);
    let mut ids: Vec<u32> = data.map(|(_, _, p)| u32::from_le_bytes(p[..4].try_into().unwrap())).collect();
    ids.dedup();
    ids
}
