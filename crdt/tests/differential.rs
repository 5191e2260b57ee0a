//! Our types beside those of an independent library, the crate `crdts` (a descendant of riak_dt): the same random
//! history goes through both, and after every step every replica must show the same.
//!
//! ```text
//!   ours                          theirs                                   what a history does to it
//!   Counter                       PNCounter                                add
//!   Register                      LWWReg<value, (hlc, actor)>              set
//!   AwSet                         Orswot<element>                          insert, remove, clear
//!   Flag, enable wins             Orswot: {on}                             enable = insert, disable = remove
//!   Flag, disable wins            Orswot: {on, off}; on iff on and no off  insert one side, remove the other
//! ```
//!
//! Steps: an operation at some replica; a merge of one replica's full state into another; operations delivered one by
//! one. Theirs want operations in causal order; ours must not care. So a delivery is a causally closed batch: theirs get
//! it in order, ours in any order with repetitions, and the comparison is after the batch.
//!
//! Where the two mean different things, the history keeps to what they have in common:
//! - Theirs demand that a register's stamp is used once. Ours break such a tie by bytes; the histories have none. Equal
//!   clocks of different actors do happen, and the actor decides in both.
//! - Their counter sums in 64 bits for each actor and direction, so no actor adds up to more than that.
//! - An insert of ours supersedes the dots that it saw, theirs keeps them beside its own. That shows in no value as long
//!   as who has an operation has all that it saw, which is so whenever the two are compared.

mod replica;

use std::collections::{BTreeSet, HashSet};
use std::fmt::Debug;

use crdts::{CmRDT, CvRDT, LWWReg, Orswot, PNCounter};
use lattice_crdt::{ActorId, AwSet, Counter, CounterEntry, DISABLE_ELEMENT, DotStore, ENABLE_ELEMENT};
use lattice_crdt::{Flag, Hlc, Register, Wins};
use proptest::prelude::*;
use proptest::sample::Index;
use replica::{Record, Replica};

const REPLICAS: usize = 4;
const ELEMENTS: [&[u8]; 3] = [b"", b"x", b"y"];
const SIDES: [&[u8]; 2] = [DISABLE_ELEMENT, ENABLE_ELEMENT];

/// What an operation is to do; each type takes of it what it has a use for.
#[derive(Clone, Debug)]
struct Wish {
    /// 0 takes away, 1 clears, the rest add.
    what: u8,
    element: usize,
    amount: i64,
    wall_ns: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Operate { at: usize, wish: Wish },
    Merge { from: usize, to: usize },
    Deliver { op: Index, to: usize, order: Vec<Index> },
}

/// One replica of a type, ours and theirs.
trait Pair: Clone {
    type Op: Clone;
    type Value: PartialEq + Debug;

    fn new() -> Self;
    fn operate(&mut self, actor: ActorId, wish: &Wish) -> Self::Op;
    fn deliver_to_ours(&mut self, op: &Self::Op);
    fn deliver_to_theirs(&mut self, op: &Self::Op);
    fn merge(&mut self, other: &Self);
    /// What ours shows, and what theirs shows.
    fn values(&self) -> (Self::Value, Self::Value);
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // The clocks stand still, run apart and step back; all stay coarse, so that equal stamps happen.
    let wish = (0u8..6, 0..ELEMENTS.len(), amount(), 0u64..4)
        .prop_map(|(what, element, amount, wall)| Wish { what, element, amount, wall_ns: wall << 16 });
    let order = proptest::collection::vec(any::<Index>(), 0..6);
    let step = prop_oneof![
        5 => (0..REPLICAS, wish).prop_map(|(at, wish)| Step::Operate { at, wish }),
        2 => (0..REPLICAS, 0..REPLICAS).prop_map(|(from, to)| Step::Merge { from, to }),
        5 => (any::<Index>(), 0..REPLICAS, order).prop_map(|(op, to, order)| Step::Deliver { op, to, order }),
    ];
    proptest::collection::vec(step, 1..70)
}

/// Small steps both ways, and ones so large that three of them leave an i64.
fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -9i64..10, 1 => Just(i64::MAX >> 5), 1 => Just(i64::MIN >> 5)]
}

/// An operation, and those that its origin had seen.
struct Made<Op> {
    op: Op,
    saw: BTreeSet<usize>,
}

fn run<P: Pair>(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut replicas = vec![P::new(); REPLICAS];
    let mut seen = vec![BTreeSet::<usize>::new(); REPLICAS];
    let mut made = Vec::<Made<P::Op>>::new();
    for step in steps {
        match step {
            Step::Operate { at, wish } => {
                let op = replicas[*at].operate(ActorId::new(*at as u16, 1), wish);
                let number = made.len();
                made.push(Made { op, saw: seen[*at].clone() });
                seen[*at].insert(number);
            }
            Step::Merge { from, to } => {
                let (sender, theirs) = (replicas[*from].clone(), seen[*from].clone());
                replicas[*to].merge(&sender);
                seen[*to].extend(theirs);
            }
            Step::Deliver { op, to, order } if !made.is_empty() => {
                let last = op.index(made.len());
                let closure = made[last].saw.iter().copied().chain([last]);
                let batch: Vec<usize> = closure.filter(|op| !seen[*to].contains(op)).collect();
                deliver(&mut replicas[*to], &batch, order, &made);
                seen[*to].extend(batch);
            }
            Step::Deliver { .. } => {}
        }
        for (at, replica) in replicas.iter().enumerate() {
            let (ours, theirs) = replica.values();
            prop_assert_eq!(ours, theirs, "replica {} after {:?}", at, step);
        }
    }
    converge(&mut replicas)
}

fn deliver<P: Pair>(replica: &mut P, batch: &[usize], order: &[Index], made: &[Made<P::Op>]) {
    for op in batch {
        replica.deliver_to_theirs(&made[*op].op);
    }
    let picked = order.iter().filter(|_| !batch.is_empty()).map(|pick| batch[pick.index(batch.len())]);
    for op in picked.chain(batch.iter().rev().copied()) {
        replica.deliver_to_ours(&made[op].op);
    }
}

/// Two rounds of merges along the ring: everybody has everything, in both libraries, and shows one value.
fn converge<P: Pair>(replicas: &mut [P]) -> Result<(), TestCaseError> {
    for to in (0..REPLICAS).chain(0..REPLICAS) {
        let sender = replicas[(to + REPLICAS - 1) % REPLICAS].clone();
        replicas[to].merge(&sender);
    }
    let expected = replicas[0].values();
    prop_assert_eq!(&expected.0, &expected.1);
    for replica in replicas.iter() {
        prop_assert_eq!(replica.values(), (replicas[0].values().0, replicas[0].values().0), "converged");
    }
    Ok(())
}

#[derive(Clone)]
struct Counters {
    ours: Counter,
    theirs: PNCounter<ActorId>,
}

impl Pair for Counters {
    type Op = (ActorId, CounterEntry, crdts::pncounter::Op<ActorId>);
    type Value = String;

    fn new() -> Self {
        Self { ours: Counter::new(), theirs: PNCounter::new() }
    }

    fn operate(&mut self, actor: ActorId, wish: &Wish) -> Self::Op {
        let entry = self.ours.add(actor, wish.amount);
        let magnitude = wish.amount.unsigned_abs();
        let op = if wish.amount < 0 {
            self.theirs.dec_many(actor, magnitude)
        } else {
            self.theirs.inc_many(actor, magnitude)
        };
        self.theirs.apply(op.clone());
        (actor, entry, op)
    }

    fn deliver_to_ours(&mut self, (actor, entry, _): &Self::Op) {
        self.ours.merge_entry(*actor, *entry);
    }

    fn deliver_to_theirs(&mut self, (_, _, op): &Self::Op) {
        self.theirs.apply(op.clone());
    }

    fn merge(&mut self, other: &Self) {
        self.ours.join(&other.ours);
        self.theirs.merge(other.theirs.clone());
    }

    fn values(&self) -> (String, String) {
        (self.ours.value().to_string(), self.theirs.read().to_string())
    }
}

type TheirRegister = LWWReg<Option<Vec<u8>>, (u64, u64)>;

#[derive(Clone)]
struct Registers {
    clock: Hlc,
    ours: Register,
    theirs: TheirRegister,
}

impl Pair for Registers {
    type Op = (Hlc, ActorId, Vec<u8>);
    type Value = Option<Vec<u8>>;

    fn new() -> Self {
        Self { clock: Hlc::default(), ours: Register::new(), theirs: TheirRegister::default() }
    }

    fn operate(&mut self, actor: ActorId, wish: &Wish) -> Self::Op {
        self.clock = self.clock.tick(wish.wall_ns);
        let op = (self.clock, actor, wish.amount.to_le_bytes()[..wish.element * 4].to_vec());
        self.deliver_to_ours(&op);
        self.deliver_to_theirs(&op);
        op
    }

    fn deliver_to_ours(&mut self, (hlc, actor, value): &Self::Op) {
        self.clock = self.clock.observe(*hlc);
        self.ours.set(*hlc, *actor, value);
    }

    fn deliver_to_theirs(&mut self, (hlc, actor, value): &Self::Op) {
        let op = LWWReg { val: Some(value.clone()), marker: (hlc.as_u64(), actor.as_u64()) };
        assert_eq!(self.theirs.validate_op(&op), Ok(()), "a stamp names one value");
        self.theirs.apply(op);
    }

    fn merge(&mut self, other: &Self) {
        self.clock = self.clock.observe(other.clock);
        self.ours.join(&other.ours);
        self.theirs.merge(other.theirs.clone());
    }

    fn values(&self) -> (Self::Value, Self::Value) {
        (self.ours.get().map(<[u8]>::to_vec), self.theirs.val.clone())
    }
}

type TheirSet = Orswot<Vec<u8>, ActorId>;
type TheirSetOp = crdts::orswot::Op<Vec<u8>, ActorId>;

fn their_insert(set: &mut TheirSet, actor: ActorId, element: &[u8]) -> TheirSetOp {
    let op = set.add(element.to_vec(), set.read_ctx().derive_add_ctx(actor));
    set.apply(op.clone());
    op
}

fn their_remove(set: &mut TheirSet, element: &[u8]) -> TheirSetOp {
    let op = set.rm(element.to_vec(), set.contains(&element.to_vec()).derive_rm_ctx());
    set.apply(op.clone());
    op
}

/// Our replica of one add-wins object and their set.
#[derive(Clone)]
struct Stores<S> {
    ours: Replica<S>,
    theirs: TheirSet,
}

type StoreOp = (Vec<Record>, Vec<TheirSetOp>);

impl<S: DotStore + Default + Clone> Stores<S> {
    fn new() -> Self {
        Self { ours: Replica::new(), theirs: Orswot::new() }
    }

    fn deliver_to_ours(&mut self, (records, _): &StoreOp) {
        records.iter().for_each(|record| self.ours.merge(record));
    }

    fn deliver_to_theirs(&mut self, (_, ops): &StoreOp) {
        ops.iter().for_each(|op| self.theirs.apply(op.clone()));
    }

    fn merge(&mut self, other: &Self, elements: &[&[u8]]) {
        assert!(self.ours.pre_removed.is_empty(), "batches are causally closed");
        self.ours.sync_from(&other.ours, elements);
        assert_eq!(self.theirs.validate_merge(&other.theirs), Ok(()));
        self.theirs.merge(other.theirs.clone());
    }
}

#[derive(Clone)]
struct Sets(Stores<AwSet>);

impl Pair for Sets {
    type Op = StoreOp;
    type Value = BTreeSet<Vec<u8>>;

    fn new() -> Self {
        Self(Stores::new())
    }

    fn operate(&mut self, actor: ActorId, wish: &Wish) -> StoreOp {
        let Stores { ours, theirs } = &mut self.0;
        let element = ELEMENTS[wish.element];
        match wish.what {
            0 => (vec![ours.operate(actor, element, false, &[element])], vec![their_remove(theirs, element)]),
            1 => {
                let there: Vec<Vec<u8>> = ours.store.iter().map(|(element, _)| element.to_vec()).collect();
                let records = there.iter().map(|element| ours.operate(actor, element, false, &[element]));
                let op = theirs.rm_all(theirs.read().val, theirs.read().derive_rm_ctx());
                theirs.apply(op.clone());
                (records.collect(), vec![op])
            }
            _ => (
                vec![ours.operate(actor, element, true, &[element])],
                vec![their_insert(theirs, actor, element)],
            ),
        }
    }

    fn deliver_to_ours(&mut self, op: &StoreOp) {
        self.0.deliver_to_ours(op);
    }

    fn deliver_to_theirs(&mut self, op: &StoreOp) {
        self.0.deliver_to_theirs(op);
    }

    fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0, &ELEMENTS);
    }

    fn values(&self) -> (Self::Value, Self::Value) {
        let theirs: HashSet<Vec<u8>> = self.0.theirs.read().val;
        (
            self.0.ours.store.iter().map(|(element, _)| element.to_vec()).collect(),
            theirs.into_iter().collect(),
        )
    }
}

#[derive(Clone)]
struct Flags<const ENABLE_WINS: bool>(Stores<Flag>);

impl<const ENABLE_WINS: bool> Pair for Flags<ENABLE_WINS> {
    type Op = StoreOp;
    type Value = bool;

    fn new() -> Self {
        Self(Stores::new())
    }

    fn operate(&mut self, actor: ActorId, wish: &Wish) -> StoreOp {
        let Stores { ours, theirs } = &mut self.0;
        let enable = wish.amount >= 0;
        let (own, other) = (SIDES[usize::from(enable)], SIDES[usize::from(!enable)]);
        let inserts = enable || !ENABLE_WINS;
        let record = ours.operate(actor, own, inserts, &SIDES);
        let mut ops = vec![their_remove(theirs, other)];
        if inserts {
            ops.push(their_insert(theirs, actor, own));
        }
        (vec![record], ops)
    }

    fn deliver_to_ours(&mut self, op: &StoreOp) {
        self.0.deliver_to_ours(op);
    }

    fn deliver_to_theirs(&mut self, op: &StoreOp) {
        self.0.deliver_to_theirs(op);
    }

    fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0, &SIDES);
    }

    fn values(&self) -> (bool, bool) {
        let wins = if ENABLE_WINS { Wins::Enable } else { Wins::Disable };
        let side = |element: &[u8]| self.0.theirs.contains(&element.to_vec()).val;
        (self.0.ours.store.is_enabled(wins), side(ENABLE_ELEMENT) && !side(DISABLE_ELEMENT))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn counter_shows_what_a_pn_counter_shows(steps in steps()) {
        run::<Counters>(&steps)?;
    }

    #[test]
    fn register_shows_what_an_lww_register_shows(steps in steps()) {
        run::<Registers>(&steps)?;
    }

    #[test]
    fn set_shows_what_an_orswot_shows(steps in steps()) {
        run::<Sets>(&steps)?;
    }

    #[test]
    fn enable_wins_flag_shows_what_an_orswot_shows(steps in steps()) {
        run::<Flags<true>>(&steps)?;
    }

    #[test]
    fn disable_wins_flag_shows_what_an_orswot_of_two_sides_shows(steps in steps()) {
        run::<Flags<false>>(&steps)?;
    }
}
