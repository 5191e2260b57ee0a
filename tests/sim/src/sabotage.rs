//! The simulator's own mistakes, made on purpose: each must be noticed, or its checks are worth nothing.
//!
//! The bug zoo plants mistakes in the production crates. These here stand at the world's own seams, need no feature, and
//! show in a second that every sort of check is awake.

use std::sync::atomic::{AtomicU64, Ordering};

/// A mistake, made from half of the active time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The segment gets another word than the engine said.
    WrongWord,
    /// The engine's word is changed before anybody else sees it.
    WrongValue,
    /// A publication is forgotten: the segment shows what was before.
    LostPublication,
    /// A record is logged twice under one dot.
    DotTwice,
    /// A vector covers an operation that never was.
    VectorAhead,
    /// A write is refused for want of room where there is room.
    Refusal,
    /// One host hears nothing more, faults or no faults.
    Deafness,
    /// Somebody goes on writing when all should be silent.
    Chatter,
    /// A damaged frame counts as one that an engine took.
    Credulity,
    /// Something differs from run to run.
    Unsteadiness,
}

impl Sabotage {
    /// All of them, and a word of what each must be reported as.
    pub const ALL: [(Sabotage, &'static str); 10] = [
        (Sabotage::WrongWord, "a reader sees"),
        (Sabotage::WrongValue, "; shown "),
        (Sabotage::LostPublication, "; shown "),
        (Sabotage::DotTwice, "DotReused"),
        (Sabotage::VectorAhead, "UnknownDotCovered"),
        (Sabotage::Refusal, "without a reason that holds"),
        (Sabotage::Deafness, "not converged"),
        (Sabotage::Chatter, "no rest"),
        (Sabotage::Credulity, "did not refuse"),
        (Sabotage::Unsteadiness, "two runs differ"),
    ];
}

/// What no world may look at: another number each time.
pub(crate) fn differs_each_time() -> u64 {
    static TIMES: AtomicU64 = AtomicU64::new(0);
    TIMES.fetch_add(1, Ordering::Relaxed)
}
