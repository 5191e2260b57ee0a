//! Histories in few words: each event is a millisecond after the last; a process is named as its node.

use crate::{Action, Demands, History, OperationId, Outcome};

pub const MS: u64 = 1_000_000;

#[derive(Default)]
pub struct Story<R> {
    pub history: History<R>,
    now_ns: u64,
}

impl<R> Story<R> {
    pub fn new() -> Self {
        Self { history: History::new(), now_ns: 0 }
    }

    fn tick(&mut self) -> u64 {
        self.now_ns += MS;
        self.now_ns
    }

    pub fn begin(&mut self, node: u32, action: Action) -> OperationId {
        let now = self.tick();
        self.history.invoke(now, node, node, action)
    }

    pub fn end(&mut self, id: OperationId, outcome: Outcome<R>) {
        let now = self.tick();
        self.history.complete(id, now, outcome);
    }

    pub fn add_with(mut self, node: u32, value: i64, outcome: Outcome<R>) -> Self {
        let id = self.begin(node, Action::Add(value));
        self.end(id, outcome);
        self
    }

    pub fn add(self, node: u32, value: i64) -> Self {
        self.add_with(node, value, Outcome::Added)
    }

    fn answered(mut self, node: u32, action: Action, answer: R) -> Self {
        let id = self.begin(node, action);
        self.end(id, Outcome::Read(answer));
        self
    }

    pub fn read(self, node: u32, answer: impl Into<R>) -> Self {
        self.answered(node, Action::Read, answer.into())
    }

    pub fn last(self, node: u32, answer: impl Into<R>) -> Self {
        self.answered(node, Action::FinalRead, answer.into())
    }
}

pub fn two_nodes() -> Demands {
    Demands::all(2)
}
