//! Faults that begin at a moment and end at another.

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Incident {
    /// When it begins.
    pub at_ns: u64,
    /// How long it lasts.
    pub lasts_ns: u64,
    /// What it is.
    pub what: What,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// What `from` sends does not reach `to`.
    DeadDirection {
        /// Who sends.
        from: usize,
        /// Who does not hear it.
        to: usize,
    },
    /// Two hosts don't reach each other; both reach the others.
    DeadPair {
        /// One of them.
        one: usize,
        /// The other.
        other: usize,
    },
    /// A host reaches nobody, and nobody reaches it.
    Isolated {
        /// Which.
        node: usize,
    },
    /// A process stands still, as under SIGSTOP.
    Paused {
        /// Which.
        node: usize,
    },
    /// A host gets round to little.
    Slow {
        /// Which.
        node: usize,
        /// Frames that one turn of its worker looks at.
        frames_per_turn: usize,
        /// Time between two turns.
        turn_ns: u64,
    },
    /// A process ends without a word, and another one starts in its place.
    Crash {
        /// Which.
        node: usize,
        /// What of its storage the next one finds.
        crash: Crash,
        /// Where in a turn it ends.
        point: CrashPoint,
    },
    /// A host is gone; at the end of this, the others forget it. Some time later it comes back, or never.
    Gone {
        /// Which.
        node: usize,
        /// When, after it was forgotten.
        back_after_ns: Option<u64>,
    },
    /// A host that is there, or cut off, is forgotten by the others.
    Forgotten {
        /// Which.
        node: usize,
    },
    /// A wall clock jumps.
    ClockStep {
        /// Whose.
        node: usize,
        /// By how much.
        by_ns: i64,
    },
    /// The next state sync that gets to this frame breaks off: its direction dies.
    SyncBreak {
        /// How many of its frames get through.
        frame: u64,
    },
    /// A segment has no room for anything new.
    NoRoom {
        /// Whose.
        node: usize,
    },
}

/// What a process that starts finds of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// All of it: the process was killed, and nothing else happened.
    LogWhole,
    /// What was synced, and perhaps more: the machine was reset.
    TailLost,
    /// Nothing.
    AllLost,
    /// What it had at an earlier moment: somebody brought a copy back.
    OldCopy,
    /// The machine as it was at an earlier moment, and it does not know.
    RestoredImage,
}

impl Crash {
    /// All of them.
    pub const ALL: [Crash; 5] =
        [Crash::LogWhole, Crash::TailLost, Crash::AllLost, Crash::OldCopy, Crash::RestoredImage];
}

/// Where in a turn a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// Between two turns.
    Between,
    /// Operations are applied, and not committed.
    BeforeCommit,
    /// All is committed, and no frame has left.
    BeforeTransmit,
    /// One frame has left.
    AfterOneFrame,
}

impl CrashPoint {
    /// All of them.
    pub const ALL: [CrashPoint; 4] = [
        CrashPoint::Between,
        CrashPoint::BeforeCommit,
        CrashPoint::BeforeTransmit,
        CrashPoint::AfterOneFrame,
    ];
}
