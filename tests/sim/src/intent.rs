//! What clients meant: local operations have their sequential effect on their own host, at once.
//!
//! The oracle believes records: that one removes two dots, or adds five, is for it the truth. What the client asked for it
//! can't know. So now and then a client's operations are committed apart from everything else, and what readers of that
//! host see afterwards must be what they saw before, plus these operations one after the other: on one host, with nothing
//! merged in between, the replicated types are the plain ones.
//!
//! What can't be judged is left out: keys that wait for room in the segment, counters beyond i64.

use crate::board::Board;
use crate::oracle::Shown;
use lattice_crdt::Kind;
use lattice_engine::LocalOp;
use std::collections::{BTreeMap, BTreeSet};

/// A value as one client alone would see it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Plain {
    Counter(i64),
    Flag(bool),
    Register(Option<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
}

impl Plain {
    /// What is shown; `None` if it is not of this kind.
    fn of(kind: Kind, shown: Shown<'_>) -> Option<Self> {
        Some(match (kind, shown) {
            (Kind::Counter, Shown::Nothing) => Plain::Counter(0),
            (Kind::Counter, Shown::Word(word)) => Plain::Counter(word as i64),
            (Kind::FlagEnableWins | Kind::FlagDisableWins, Shown::Nothing) => Plain::Flag(false),
            (Kind::FlagEnableWins | Kind::FlagDisableWins, Shown::Word(word)) => Plain::Flag(word != 0),
            (Kind::Register, Shown::Nothing) => Plain::Register(None),
            (Kind::Register, Shown::Bytes(bytes)) => Plain::Register(Some(bytes.to_vec())),
            (Kind::Set, Shown::Nothing) => Plain::Set(BTreeSet::new()),
            (Kind::Set, Shown::Members(members)) => Plain::Set(members.clone()),
            _ => return None,
        })
    }

    /// The operation on a plain value; `None` where the published view says too little.
    fn after(self, op: LocalOp<'_>) -> Option<Self> {
        Some(match (self, op) {
            // A view at the edge of i64 may stand for a sum beyond it.
            (Plain::Counter(i64::MIN | i64::MAX), _) => return None,
            (Plain::Counter(sum), LocalOp::CounterAdd(amount)) => Plain::Counter(sum.checked_add(amount)?),
            (Plain::Flag(_), LocalOp::Enable) => Plain::Flag(true),
            (Plain::Flag(_), LocalOp::Disable) => Plain::Flag(false),
            (Plain::Register(_), LocalOp::RegisterSet(value)) => Plain::Register(Some(value.to_vec())),
            (Plain::Set(mut members), LocalOp::SetInsert(element)) => {
                members.insert(element.to_vec());
                Plain::Set(members)
            }
            (Plain::Set(mut members), LocalOp::SetRemove(element)) => {
                members.remove(element);
                Plain::Set(members)
            }
            (Plain::Set(_), LocalOp::SetClear) => Plain::Set(BTreeSet::new()),
            _ => return None,
        })
    }
}

/// What readers of a host have to see after operations that nothing came between. A key that can't be judged has no value.
#[derive(Debug, Default)]
pub struct Intent {
    expected: BTreeMap<(Kind, Vec<u8>), Option<Plain>>,
}

impl Intent {
    /// An operation was applied; `board` still shows what was before all of these.
    pub fn note(&mut self, board: &Board, kind: Kind, key: &[u8], op: LocalOp<'_>) {
        let expected = self
            .expected
            .entry((kind, key.to_vec()))
            .or_insert_with(|| board.shown(kind, key).and_then(|shown| Plain::of(kind, shown)));
        *expected = expected.take().and_then(|value| value.after(op));
    }

    /// An operation was refused, with an unknown part of its effect.
    pub fn give_up(&mut self, kind: Kind, key: &[u8]) {
        self.expected.insert((kind, key.to_vec()), None);
    }

    /// All is committed now.
    ///
    /// # Errors
    /// What a client finds otherwise than it asked for.
    pub fn check(&self, board: &Board) -> Result<(), String> {
        for ((kind, key), expected) in &self.expected {
            let shown = board.shown(*kind, key).and_then(|shown| Plain::of(*kind, shown));
            let (Some(expected), Some(shown)) = (expected, shown) else { continue };
            // A sum beyond i64 shows as its edge: then this client's part can't be told.
            if shown != *expected && !matches!(shown, Plain::Counter(i64::MIN | i64::MAX)) {
                let key = key.escape_ascii();
                return Err(format!("a client of {kind} `{key}` asked for {expected:?} and reads {shown:?}"));
            }
        }
        Ok(())
    }
}
