//! What clients did, and what came of it.

use crate::verdict::Problem;

/// What an operation is about.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Adds an element to the set, or this much to the counter.
    Add(i64),
    /// Reads at any time.
    Read,
    /// Reads at the end, when faults have stopped and the nodes had time to tell each other everything.
    FinalRead,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<R> {
    /// An add was acknowledged.
    Added,
    /// A read returned this.
    Read(R),
    /// It did not happen.
    Failed,
    /// It may have happened, or happen yet: no answer came.
    Unknown,
}

/// A place in the history: its order, and the time of whoever ran it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Events of a history count up from 0.
    pub index: u64,
    /// Nanoseconds since whenever.
    pub time_ns: u64,
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) struct Operation<R> {
    pub process: u32,
    pub node: u32,
    pub action: Action,
    pub invoked: Moment,
    pub completed: Option<(Moment, Outcome<R>)>,
}

impl<R> Operation<R> {
    /// The delta or element, if it adds one.
    pub fn added(&self) -> Option<i64> {
        match self.action {
            Action::Add(value) => Some(value),
            _ => None,
        }
    }

    pub fn is_acknowledged(&self) -> bool {
        matches!(self.completed, Some((_, Outcome::Added)))
    }

    pub fn has_failed(&self) -> bool {
        matches!(self.completed, Some((_, Outcome::Failed)))
    }

    /// Whether it ended before `moment`.
    pub fn ended_before(&self, moment: Moment) -> bool {
        self.completed.as_ref().is_some_and(|(at, _)| at.index < moment.index)
    }

    pub fn is_final(&self) -> bool {
        self.action == Action::FinalRead
    }

    /// What a read returned, and when.
    pub fn answer(&self) -> Option<(Moment, &R)> {
        match &self.completed {
            Some((at, Outcome::Read(answer))) => Some((*at, answer)),
            _ => None,
        }
    }
}

/// Names an operation of a [`History`], to complete it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct OperationId(usize);

/// The operations of a run, in the order in which they were invoked and completed; `R` is what a read returns.
///
/// A process does one operation at a time, as a client does that waits for answers.
#[derive(Clone, Debug)]
pub struct History<R> {
    pub(crate) operations: Vec<Operation<R>>,
    events: u64,
    now_ns: u64,
    mistakes: Vec<String>,
}

impl<R> Default for History<R> {
    fn default() -> Self {
        Self { operations: Vec::new(), events: 0, now_ns: 0, mistakes: Vec::new() }
    }
}

impl<R> History<R> {
    /// Nothing was done yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A process asks a node for something.
    pub fn invoke(&mut self, time_ns: u64, process: u32, node: u32, action: Action) -> OperationId {
        let busy = self.operations.iter().rev().find(|operation| operation.process == process);
        if busy.is_some_and(|operation| operation.completed.is_none()) {
            self.mistakes.push(format!("process {process} began an operation while another was under way"));
        }
        let invoked = self.moment(time_ns);
        self.operations.push(Operation { process, node, action, invoked, completed: None });
        OperationId(self.operations.len() - 1)
    }

    /// The operation has ended. One that never does counts as [`Outcome::Unknown`].
    pub fn complete(&mut self, id: OperationId, time_ns: u64, outcome: Outcome<R>) {
        let at = self.moment(time_ns);
        let operation = &mut self.operations[id.0];
        let adds = operation.added().is_some();
        let fits = match outcome {
            Outcome::Added => adds,
            Outcome::Read(_) => !adds,
            Outcome::Failed | Outcome::Unknown => true,
        };
        if operation.completed.is_some() || !fits {
            self.mistakes.push(format!("operation {} ended twice, or as what it was not", id.0));
            return;
        }
        operation.completed = Some((at, outcome));
    }

    /// How many operations were invoked.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    pub(crate) fn adds(&self) -> impl Iterator<Item = &Operation<R>> {
        self.operations.iter().filter(|operation| operation.added().is_some())
    }

    /// The reads that returned, in the order in which they were invoked: operation, when it returned, what.
    pub(crate) fn reads(&self) -> impl Iterator<Item = (&Operation<R>, Moment, &R)> {
        self.operations.iter().filter_map(|operation| {
            let (at, answer) = operation.answer()?;
            Some((operation, at, answer))
        })
    }

    pub(crate) fn mistakes(&self) -> impl Iterator<Item = Problem> {
        self.mistakes.iter().cloned().map(Problem::BadHistory)
    }

    fn moment(&mut self, time_ns: u64) -> Moment {
        if time_ns < self.now_ns {
            self.mistakes.push(format!("time went back from {} to {time_ns} ns", self.now_ns));
        }
        self.now_ns = self.now_ns.max(time_ns);
        self.events += 1;
        Moment { index: self.events - 1, time_ns }
    }
}
