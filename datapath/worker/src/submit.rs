//! From a client's submission to an operation of an engine.
//!
//! Submissions are hostile input. The ring has checked that lengths and numbers are in range; here it is decided what
//! they mean. Four things can come of one:
//!
//! | outcome | meaning for the client |
//! |---|---|
//! | applied | visible when the ring's applied count passes it |
//! | marked | as applied, and nothing changed: from here on the client is told how far its writes get |
//! | refused with a code | nothing changed; the code is an entry in its completion ring |
//! | fault | it writes to rings of workers that do not own its keys, or nonsense: it loses its rings |

use crate::clients::ClientFault;
use crate::namespaces::{Denied, Rights, Room};
use crate::publisher::SegmentPublisher;
use crate::shards::Shards;
use lattice_crdt::Kind;
use lattice_engine::{Applied, Instant, KeyPlace, LocalOp, OpError};
use lattice_segment::layout::MAX_KEY_BYTES;
use lattice_segment::ring::layout::MARK_PEERS;
use lattice_segment::{Submission, SubmitOp, Target, codes, key_hash, shard_of};

/// What came of one submission.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done.
    Applied,
    /// Not done; the code says why.
    Refused(u16),
    /// A mark: its client wants to be told how far this and everything before it gets.
    Marked(Mark),
    /// Not done yet: the engine wants a commit first. The same submission comes again in the next turn.
    Later,
    /// The client must go.
    Fault(ClientFault),
}

/// For what a client waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// For peers, who are asked. This host's disk knocks by itself.
    pub(crate) peers: bool,
}

impl Mark {
    fn of(submission: &Submission<'_>) -> Self {
        let bits = submission.amount as u64;
        Self { peers: bits & MARK_PEERS != 0 }
    }
}

/// Where submissions are carried out.
pub(crate) struct Executor<'a> {
    pub(crate) now: Instant,
    /// Number of shards of the keyspace.
    pub(crate) shard_count: u16,
    pub(crate) shards: &'a mut Shards,
    pub(crate) publisher: &'a mut SegmentPublisher,
    /// Writes are taken.
    pub(crate) serves: bool,
}

/// Submissions that are looked at before the first of them is carried out.
pub(crate) const LOOK_AHEAD: usize = 32;

impl Executor<'_> {
    /// Begins to bring near what submissions to these cells will need: their lines in the segment and in the table of places,
    /// all at once, then the keys in the engines, all at once. One after the other they would be waited for one after the other.
    /// The cells are a client's words: hints, which cost a look where they are wrong.
    pub(crate) fn approach(&mut self, cells: &[u32]) {
        let mut known = [(0, KeyPlace::UNKNOWN); LOOK_AHEAD];
        let mut count = 0;
        for &cell in cells.iter().take(LOOK_AHEAD) {
            if let Some(hash) = self.publisher.glimpse(cell) {
                known[count] = (shard_of(hash, self.shard_count), self.publisher.place(cell));
                count += 1;
            }
        }
        for (shard, place) in &known[..count] {
            if let Some(engine) = self.shards.look_at(*shard) {
                engine.approach(std::iter::once(*place));
            }
        }
    }

    /// Carries out one submission of a client with these rights.
    pub(crate) fn execute(&mut self, submission: &Submission<'_>, rights: Rights) -> Outcome {
        if !self.serves && submission.op != SubmitOp::Mark {
            return Outcome::Refused(codes::DRAINED);
        }
        match submission.target {
            Target::Key(key) if rights.is_free() => {
                self.apply_to_key(submission, submission.kind, key_hash(key), key)
            }
            Target::Key(key) => self.apply_by_rules(submission, key_hash(key), key, rights),
            Target::Cell { cell, generation } => self.apply_to_cell(submission, cell, generation, rights),
        }
    }

    /// To the key of a cell: by the place where the engine keeps it, if that is still right.
    fn apply_to_cell(
        &mut self,
        submission: &Submission<'_>,
        cell: u32,
        generation: u32,
        rights: Rights,
    ) -> Outcome {
        let Some((kind, hash)) = self.publisher.identify(cell, generation) else {
            return of_no_cell(submission);
        };
        if !self.publisher.rules().permits(rights, cell)
            && let Err(refused) = self.judge_cell(cell, generation, rights)
        {
            return refused;
        }
        let Some((kind, op)) = operation(submission, kind) else {
            return Outcome::Refused(codes::NOT_SUPPORTED);
        };
        let shard = shard_of(hash, self.shard_count);
        let Some(engine) = self.shards.of_shard(shard) else {
            return Outcome::Fault(ClientFault::OtherWorker { shard });
        };
        match engine.apply_at(self.now, self.publisher.place(cell), cell, kind, op) {
            Some(result) => outcome(result),
            None => self.apply_to_key_of_cell(submission, cell, generation),
        }
    }

    /// Whether a client may write to the key of a cell whose number says no, or is of other rules.
    #[cold]
    fn judge_cell(&mut self, cell: u32, generation: u32, rights: Rights) -> Result<(), Outcome> {
        let mut key_of_cell = [0; MAX_KEY_BYTES];
        let Some((kind, _, key)) = self.publisher.resolve(cell, generation, &mut key_of_cell) else {
            return Err(Outcome::Refused(codes::STALE_CELL));
        };
        self.publisher.rules().judge_cell(rights, cell, kind, key).map_err(denied)
    }

    /// To a key, if the rules of its namespace allow it.
    #[cold]
    fn apply_by_rules(
        &mut self,
        submission: &Submission<'_>,
        hash: u64,
        key: &[u8],
        rights: Rights,
    ) -> Outcome {
        let kind = submission.kind;
        let room = match self.publisher.rules().judge_key(rights, kind, key) {
            Ok(index) => self.room_for(index, submission, hash, key),
            Err(why) => Err(why),
        };
        match room {
            Ok(Room::Unknown) => Outcome::Later,
            Ok(Room::Free) => self.apply_to_key(submission, kind, hash, key),
            Ok(Room::Reserved(index)) => {
                let outcome = self.apply_to_key(submission, kind, hash, key);
                if outcome != Outcome::Applied {
                    self.publisher.rules().release(index);
                }
                outcome
            }
            Err(why) => denied(why),
        }
    }

    /// Whether the namespace has room for a key, if the submission would make one.
    fn room_for(
        &mut self,
        index: u8,
        submission: &Submission<'_>,
        hash: u64,
        key: &[u8],
    ) -> Result<Room, Denied> {
        let kind = submission.kind;
        if !self.publisher.rules().is_limited(index) || self.publisher.has_cell(kind, hash, key) {
            return Ok(Room::Free);
        }
        let engine = self.shards.look_at(shard_of(hash, self.shard_count));
        // Without a cell yet: it is of this burst, or the segment has no room for it.
        let is_known = |kind| engine.is_some_and(|engine| engine.place_of(kind, key) != KeyPlace::UNKNOWN);
        match operation(submission, kind) {
            Some((kind, op)) if makes_key(kind, op) && !is_known(kind) => {
                self.publisher.rules().reserve(index)
            }
            _ => Ok(Room::Free),
        }
    }

    /// To the key of a cell of which no place is known, or a wrong one. The next submission finds it.
    #[cold]
    fn apply_to_key_of_cell(&mut self, submission: &Submission<'_>, cell: u32, generation: u32) -> Outcome {
        let mut key_of_cell = [0; MAX_KEY_BYTES];
        let Some((kind, hash, key)) = self.publisher.resolve(cell, generation, &mut key_of_cell) else {
            return Outcome::Refused(codes::STALE_CELL);
        };
        let outcome = self.apply_to_key(submission, kind, hash, key);
        if let (Ok(kind), Some(engine)) =
            (Kind::try_from(kind), self.shards.of_shard(shard_of(hash, self.shard_count)))
        {
            self.publisher.remember(cell, engine.place_of(kind, key));
        }
        outcome
    }

    fn apply_to_key(&mut self, submission: &Submission<'_>, kind: u8, hash: u64, key: &[u8]) -> Outcome {
        let Some((kind, op)) = operation(submission, kind) else {
            return Outcome::Refused(codes::NOT_SUPPORTED);
        };
        let shard = shard_of(hash, self.shard_count);
        let Some(engine) = self.shards.of_shard(shard) else {
            return Outcome::Fault(ClientFault::OtherWorker { shard });
        };
        outcome(engine.apply(self.now, kind, key, op))
    }
}

/// What names no cell that there is: a mark, which has none, or a stale handle.
#[cold]
fn of_no_cell(submission: &Submission<'_>) -> Outcome {
    match submission.op {
        SubmitOp::Mark => Outcome::Marked(Mark::of(submission)),
        _ => Outcome::Refused(codes::STALE_CELL),
    }
}

#[cold]
fn denied(why: Denied) -> Outcome {
    Outcome::Refused(why.code())
}

/// Whether an operation makes a key that is not there: what only takes away does not.
fn makes_key(kind: Kind, op: LocalOp<'_>) -> bool {
    match op {
        LocalOp::SetRemove(_) | LocalOp::SetClear | LocalOp::CounterAdd(0) => false,
        LocalOp::Disable => kind != Kind::FlagEnableWins,
        _ => true,
    }
}

fn outcome(result: Result<Applied, OpError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Applied,
        Err(OpError::Backpressure) => Outcome::Later,
        Err(refusal) => Outcome::Refused(code_of(refusal)),
    }
}

/// The kind, and the engine's operation on it, if there are such.
fn operation<'a>(submission: &Submission<'a>, kind: u8) -> Option<(Kind, LocalOp<'a>)> {
    let kind = Kind::try_from(kind).ok()?;
    Some((kind, local_op(submission, kind)?))
}

/// The engine's operation, if it is one that the kind has.
fn local_op<'a>(submission: &Submission<'a>, kind: Kind) -> Option<LocalOp<'a>> {
    let flag = matches!(kind, Kind::FlagEnableWins | Kind::FlagDisableWins);
    let op = match submission.op {
        SubmitOp::CounterAdd if kind == Kind::Counter => LocalOp::CounterAdd(submission.amount),
        SubmitOp::FlagEnable if flag => LocalOp::Enable,
        SubmitOp::FlagDisable if flag => LocalOp::Disable,
        SubmitOp::RegisterSet if kind == Kind::Register => LocalOp::RegisterSet(submission.data),
        SubmitOp::SetInsert if kind == Kind::Set => LocalOp::SetInsert(submission.data),
        SubmitOp::SetRemove if kind == Kind::Set => LocalOp::SetRemove(submission.data),
        SubmitOp::SetClear if kind == Kind::Set => LocalOp::SetClear,
        _ => return None,
    };
    Some(op)
}

/// The code under which the client's library finds the error again.
fn code_of(error: OpError) -> u16 {
    match error {
        OpError::BadKey(_) => codes::BAD_KEY,
        OpError::TooLarge { .. } => codes::TOO_LARGE,
        OpError::KindMismatch(_) => codes::KIND_MISMATCH,
        OpError::WrongOperation => codes::NOT_SUPPORTED,
        OpError::CapacityExceeded => codes::CAPACITY_EXCEEDED,
        OpError::ClockSkew { .. } => codes::CLOCK_SKEW,
        // All are over in a moment, and the client's library tries again.
        OpError::Backpressure | OpError::LogFull | OpError::EpochOver => codes::LOG_FULL,
    }
}
