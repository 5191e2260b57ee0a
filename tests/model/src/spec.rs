//! What must hold: what a reader may see, and the invariants on which the rules rest.
//!
//! For a set of dots that somebody knows, an element is shown if one of its adds is known and no known operation
//! supersedes or removes it; the counter is the sum of the last known entries of each actor.

use crate::config::{Config, PreRemovedAt};
use crate::dots::{Dots, contiguous, filled_up};
use crate::state::{Ops, Replica, State, Store, What};
use std::fmt;

/// What is wrong with a state.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Violation {
    /// A dot was given to two operations.
    DotTwice,
    /// A dot is live at a node that covers its removal.
    Resurrected,
    /// A covered add is not live, and no operation ever superseded or removed it.
    Lost,
    /// A node that shows nothing beyond its vector shows something else than the operations of its vector.
    NotExact,
    /// A covered operation is neither among the touches of its key nor among what was dropped.
    UntouchedKey,
    /// More counts as dropped than is covered.
    DroppedBeyondVector,
    /// A pre-removed dot is live or covered.
    PreRemovedShown,
    /// After healing nodes differ.
    NotConverged,
    /// After healing an add is missing that somebody knew and that nothing ever superseded or removed.
    HealedLost,
    /// After healing a dot is live that a known operation superseded or removed.
    HealedResurrected,
    /// After healing an element is missing of which somebody knew an add and that nobody ever removed.
    HealedUnremovedLost,
    /// After healing, nothing was lost and yet some node lacks an operation.
    HealedIncomplete,
    /// After healing, nothing was lost and yet pre-removed dots are left.
    PreRemovedLeft,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

fn ensure(holds: bool, violation: Violation) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(violation) }
}

/// The dots that operations add.
fn adds(ops: &Ops) -> Dots {
    ops.dots(|op| op.what == What::Add)
}

impl State {
    /// The operations that a node which is alive covers.
    pub fn known(&self, config: &Config) -> Dots {
        self.replicas[..config.replicas].iter().fold(0, |known, replica| known | replica.now.vector)
    }

    /// What must hold in every state.
    pub fn check_always(&self, config: &Config) -> Result<(), Violation> {
        ensure(!self.dot_twice, Violation::DotTwice)?;
        self.replicas[..config.replicas].iter().try_for_each(|replica| {
            check_shown(&self.ops, &replica.now)?;
            if config.invariants { self.check_invariants(config, replica) } else { Ok(()) }
        })
    }

    fn check_invariants(&self, config: &Config, replica: &Replica) -> Result<(), Violation> {
        let (ops, now) = (&self.ops, &replica.now);
        ensure(now.pre_removed & (now.live | now.vector) == 0, Violation::PreRemovedShown)?;
        ensure(now.dropped & !contiguous(now.vector) == 0, Violation::DroppedBeyondVector)?;
        for op in ops.iter().filter(|op| op.dot & now.vector != 0) {
            let remembered = now.touches[usize::from(op.key)] | now.dropped;
            ensure(op.dot & remembered != 0, Violation::UntouchedKey)?;
        }
        let of_key = ops.by_key();
        (0..config.all_keys()).try_for_each(|key| check_exact(config, ops, now, key, of_key[key]))
    }

    /// What must hold after healing, if `known` was known before.
    pub fn check_healed(&self, config: &Config, known: Dots) -> Result<(), Violation> {
        let (first, rest) = (&self.replicas[0].now, &self.replicas[1..config.replicas]);
        let same =
            |now: &Store| (now.vector, now.live, now.counted) == (first.vector, first.live, first.counted);
        ensure(rest.iter().all(|replica| same(&replica.now)), Violation::NotConverged)?;
        let (ops, live) = (&self.ops, first.live);
        let (all, adds) = (ops.dots(|_| true), adds(ops));
        ensure(adds & known & !ops.gone_by(all) & !live == 0, Violation::HealedLost)?;
        ensure(live & (!adds | ops.gone_by(known)) == 0, Violation::HealedResurrected)?;
        let counts = ops.dots(|op| op.what == What::Count);
        ensure(counts & known & !first.counted == 0, Violation::HealedLost)?;
        if config.unremoved_stays {
            check_unremoved(ops, live, known)?;
        }
        if known != all {
            return Ok(());
        }
        ensure(first.vector == all, Violation::HealedIncomplete)?;
        let left = self.replicas[..config.replicas].iter().any(|replica| replica.now.pre_removed != 0);
        ensure(!left, Violation::PreRemovedLeft)
    }
}

/// Whether what a node shows fits what it covers, whatever it shows beyond that.
fn check_shown(ops: &Ops, now: &Store) -> Result<(), Violation> {
    ensure(now.live & ops.gone_by(now.vector) == 0, Violation::Resurrected)?;
    let ever_gone = ops.gone_by(ops.dots(|_| true));
    ensure(adds(ops) & now.vector & !now.live & !ever_gone == 0, Violation::Lost)?;
    let counts = ops.dots(|op| op.what == What::Count);
    ensure(counts & now.vector & !now.counted == 0, Violation::Lost)
}

/// Whether a key shows exactly the operations that are covered. It may show more while it was touched by others that are
/// not, which a state sync or a snapshot shows before their records come. (What a sync shows of operations on a key that
/// its sender has dropped leaves no touch, and what one that was abandoned took away by its pre-removed dots neither.)
fn check_exact(config: &Config, ops: &Ops, now: &Store, key: usize, of_key: Dots) -> Result<(), Violation> {
    let beyond = now.touches[key] & of_key & !now.vector != 0;
    if beyond || config.drops || config.pre_removed_at == PreRemovedAt::Begin {
        return Ok(());
    }
    let covered = now.vector & of_key;
    let expected = adds(ops) & covered & !ops.gone_by(covered);
    ensure(now.live & of_key == expected, Violation::NotExact)?;
    let counted = if config.is_counter(key) { filled_up(covered) } else { now.counted };
    ensure(now.counted == counted, Violation::NotExact)
}

/// An element of which an add is known and that nobody ever removed must be shown: what superseded that add was an add.
fn check_unremoved(ops: &Ops, live: Dots, known: Dots) -> Result<(), Violation> {
    let mut added = ops.iter().filter(|op| op.what == What::Add && op.dot & known != 0);
    added.try_for_each(|add| {
        let same = |other: &&crate::state::Op| (other.key, other.element) == (add.key, add.element);
        let removed = ops.iter().filter(same).any(|other| other.what == What::Remove);
        let shown = ops.iter().filter(same).any(|other| other.dot & live != 0);
        ensure(removed || shown, Violation::HealedUnremovedLost)
    })
}
