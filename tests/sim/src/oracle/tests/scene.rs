//! A history and one host, in few words.

use lattice_crdt::{ActorId, Dot, Hlc, Kind, SeqRange, VectorLimits, VersionVector};
use lattice_wire::{Dots, MAX_RECORD_BYTES, Op, Record, encode_record};

use crate::oracle::{Breach, History, Replica, Shown, Verdict};

pub const KEY: &[u8] = b"k";

pub fn actor(node: u16) -> ActorId {
    ActorId::new(node, 0xE)
}

pub fn dot(node: u16, seq: u64) -> Dot {
    Dot::new(actor(node), seq)
}

pub fn encode(kind: Kind, key: &[u8], op: Op<'_>, actor: ActorId) -> Vec<u8> {
    let mut bytes = vec![0; MAX_RECORD_BYTES];
    let len =
        encode_record(&Record { kind, key, op }, actor, &mut bytes).expect("a record within the limits");
    bytes.truncate(len);
    bytes
}

pub fn vector(dots: &[Dot]) -> VersionVector {
    let mut vector = VersionVector::new(VectorLimits { max_actors: 256, max_ranges_per_actor: 1 << 20 });
    for dot in dots {
        vector.cover_range(dot.actor, SeqRange { first: dot.seq, last: dot.seq });
    }
    vector
}

/// Operations are those of nodes 1, 2, ... at the key [`KEY`]; each returns its dot.
#[derive(Default)]
pub struct Scene {
    pub history: History,
    pub replica: Replica,
    next: std::collections::BTreeMap<u16, u64>,
    kind: Option<Kind>,
}

impl Scene {
    pub fn of(kind: Kind) -> Self {
        Self { kind: Some(kind), ..Self::default() }
    }

    fn kind(&self) -> Kind {
        self.kind.expect("made by `of`")
    }

    pub fn log(&mut self, node: u16, op: Op<'_>) -> Result<Dot, Breach> {
        let seq = self.next.get(&node).copied().unwrap_or(0) + 1;
        let record = encode(self.kind(), KEY, op, actor(node));
        self.history.witness(dot(node, seq), &record).map_err(|violation| violation.breach)?;
        self.next.insert(node, seq);
        Ok(dot(node, seq))
    }

    /// The node's contribution to the counter is now this.
    pub fn counter(&mut self, node: u16, value: i64) -> Dot {
        let (increments, decrements) =
            if value < 0 { (0, value.unsigned_abs().into()) } else { (value as u128, 0) };
        self.log(node, Op::Counter { increments, decrements }).expect("a good record")
    }

    pub fn register(&mut self, node: u16, hlc: u64, value: &[u8]) -> Dot {
        self.log(node, Op::Register { hlc: Hlc::from_u64(hlc), value }).expect("a good record")
    }

    pub fn add(&mut self, node: u16, element: &[u8], superseded: &[Dot]) -> Dot {
        self.log(node, Op::Add { element, superseded: Dots::from(superseded) }).expect("a good record")
    }

    pub fn remove(&mut self, node: u16, element: &[u8], removed: &[Dot]) -> Dot {
        self.log(node, Op::Remove { element, removed: Dots::from(removed) }).expect("a good record")
    }

    pub fn sees(&mut self, dots: &[Dot]) {
        self.replica.cover(&self.history, &vector(dots)).expect("a vector that only grows");
    }

    pub fn may_show(&mut self, dots: &[Dot]) {
        self.replica.may_show(&self.history, &vector(dots));
    }

    pub fn check(&mut self, shown: Shown<'_>) -> Verdict {
        self.replica.check_named(&self.history, self.kind.expect("made by `of`"), KEY, shown)
    }

    /// What is wrong with a view, and with which operations.
    pub fn wrong(&mut self, shown: Shown<'_>) -> Option<(Breach, Vec<Dot>)> {
        self.check(shown).err().map(|violation| (violation.breach, violation.dots))
    }

    pub fn wrong_sum(&mut self, sum: i64) -> Option<(Breach, Vec<Dot>)> {
        self.wrong(Shown::Word(sum as u64))
    }

    pub fn wrong_members(&mut self, members: &[&[u8]]) -> Option<(Breach, Vec<Dot>)> {
        let members = members.iter().map(|member| member.to_vec()).collect();
        self.wrong(Shown::Members(&members))
    }
}
