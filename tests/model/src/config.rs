//! What a model is of: its bounds, which faults it has, and which rule it breaks.

use std::str::FromStr;

/// Most replicas.
pub const MAX_REPLICAS: usize = 3;
/// Most keys, the counter among them.
pub const MAX_KEYS: usize = 2;
/// Most operations: as many as one actor can have dots.
pub const MAX_OPS: usize = crate::dots::MAX_SEQ as usize;

/// When a receiver takes in the pre-removed dots that a sync begins with.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum PreRemovedAt {
    /// With the sync's first frames: what the engine once did.
    Begin,
    /// With its end, as the engine does: until then they only keep the walk's own dots out.
    End,
}

/// What has happened before the model begins. It takes two of the operations, and saves the steps to where old copies and
/// dropped keys get interesting.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Prologue {
    /// Nothing.
    Nothing,
    /// An element was added and removed, with calm after each: every node's snapshot covers the removal, and every
    /// node's old copy shows the element.
    Removed,
    /// As above, but the record of the add has not come to the last node, for which it is pre-removed.
    RemovedUnseen,
}

/// Bounds and faults. Everything within them is explored.
#[derive(Copy, Clone, Debug)]
pub struct Config {
    /// Replicas, at most [`MAX_REPLICAS`].
    pub replicas: usize,
    /// Local operations in all, at most [`MAX_OPS`].
    pub ops: usize,
    /// Keys with elements.
    pub keys: usize,
    /// Elements of each key, at most 2.
    pub elements: usize,
    /// Whether there is a counter as well.
    pub counter: bool,
    /// State syncs that run at one time, in all.
    pub syncs: usize,
    /// What a walk reads reaches its receiver some time later, not in the same step.
    pub delays: bool,
    /// Restarts in all.
    pub restarts: u8,
    /// Snapshots in all. Each is written in slices while the engine goes on.
    pub snapshots: u8,
    /// Calm periods in all, in which everybody gets everything and makes a snapshot: many steps in one.
    pub calms: u8,
    /// What has happened before.
    pub prologue: Prologue,
    /// Whether empty keys are dropped when they are stable.
    pub drops: bool,
    /// See [`PreRemovedAt`].
    pub pre_removed_at: PreRemovedAt,
    /// Also checks that an element that nobody ever removed is shown after healing by whom one of its adds survived.
    pub unremoved_stays: bool,
    /// Also checks what no reader sees: the invariants on which the rules rest.
    pub invariants: bool,
    /// The rule that is left out.
    pub broken: Option<Broken>,
    /// Explores one of several states that differ only in the names of replicas and elements.
    pub symmetry: bool,
}

impl Config {
    /// Three replicas with one key of two elements; repair and one state sync at a time, nothing else.
    pub fn repair_and_sync(ops: usize) -> Self {
        Self {
            replicas: 3,
            ops,
            keys: 1,
            elements: 2,
            counter: false,
            syncs: 1,
            delays: false,
            restarts: 0,
            snapshots: 0,
            calms: 0,
            prologue: Prologue::Nothing,
            drops: false,
            pre_removed_at: PreRemovedAt::End,
            unremoved_stays: false,
            invariants: true,
            broken: None,
            symmetry: true,
        }
    }

    /// Keys that there are, the counter last.
    pub fn all_keys(&self) -> usize {
        self.keys + usize::from(self.counter)
    }

    /// Whether a key is the counter.
    pub fn is_counter(&self, key: usize) -> bool {
        self.counter && key == self.keys
    }

    /// Whether this rule is left out.
    pub fn breaks(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }
}

macro_rules! broken {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A rule that a model leaves out, so that it is seen that the checker notices.
        #[derive(Copy, Clone, Eq, PartialEq, Debug)]
        pub enum Broken {
            $($(#[$doc])* $variant,)*
        }

        impl Broken {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

broken! {
    /// Rule 1: a record whose dot is covered takes effect again.
    DuplicateApplied = "duplicate_applied",
    /// Covering a dot covers all before it, received or not.
    MaxOverGap = "max_over_gap",
    /// Rule 2: a removed dot that is not covered is not remembered.
    NoPreRemoved = "no_pre",
    /// Rule 2: a removed dot that is not covered counts as received.
    PreCountsAsReceived = "pre_counts_as_received",
    /// Rule 5: a sync does not carry the sender's pre-removed dots.
    SyncForgetsPre = "sync_forgets_pre",
    /// Rule 5: a walk's dots are inserted although they are pre-removed here.
    SyncIgnoresPre = "sync_ignores_pre",
    /// Rule 5: C is covered with the first key.
    VectorBeforeEnd = "vec_before_end",
    /// Rule 5: C is the sender's vector as of the end.
    VectorOfTheEnd = "vec_of_the_end",
    /// Rule 6: records are merged while a sync runs.
    RecordsDuringSync = "records_during_sync",
    /// Rule 6: two syncs at a time at one receiver.
    TwoSyncs = "two_syncs",
    /// Keys are left out of a walk by the peer's out-of-order ranges as well.
    FilterRanges = "filter_ranges",
    /// A peer that has not seen what was dropped gets a walk that leaves out keys.
    NoFullWalk = "no_full_walk",
    /// A sync does not tell its receiver what the sender has dropped.
    DroppedNotPassedOn = "dropped_not_passed_on",
    /// What the sender has dropped is noted at the beginning of the sync, which may be abandoned.
    DroppedNotedAtOnce = "dropped_noted_at_once",
    /// A key is dropped while a snapshot is being written that has not come to it, and knows nothing of its dropping.
    DropDuringSnapshot = "drop_during_snapshot",
    /// A key is dropped although a pre-removed dot belongs to it, and takes that along.
    DropForgetsPre = "drop_forgets_pre",
    /// A restart that lost operations goes on in its epoch.
    EpochNotBumped = "epoch_not_bumped",
    /// A snapshot's C is the vector as of its end.
    SnapshotVectorOfTheEnd = "snapshot_vec_of_the_end",
    /// A snapshot does not keep the pre-removed dots.
    SnapshotForgetsPre = "snapshot_forgets_pre",
    /// A snapshot does not keep what was dropped.
    SnapshotForgetsDropped = "snapshot_forgets_dropped",
    /// Operations that a snapshot does not cover are not replayed from the own log, but count as known.
    LogNotReplayed = "log_not_replayed",
}

impl FromStr for Broken {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|rule| rule.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|rule| rule.name()).collect();
            format!("no such rule; there are: {}", names.join(" "))
        })
    }
}
