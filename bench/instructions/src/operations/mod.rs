//! The operations that are counted, in the order of a write's way.
//!
//! ```text
//!   enqueue ─> take ─> apply ─> commit (log, publish_*) ─> encode ──frame──> merge (decode, join, publish) ─> read_*
//!   └───────────────── turn_write: all of it on one host ──┘                 turn_idle: a turn without work
//! ```
//!
//! One round carries out `per_round` operations, so that what a burst shares is shared among as many as in life.

mod client;
mod engines;
mod seals;
mod segment;
mod turns;

/// Keys in the tables: enough for every table to be larger than a round, few enough to be made under callgrind.
const KEYS: usize = 4096;
/// Operations of one round.
const BURST: u32 = 64;

/// One operation that is counted.
pub trait Operation {
    /// What has to be done before each round, and (once more) after the last: not counted. Checks, too, that the rounds
    /// did what they should.
    fn prepare(&mut self) -> anyhow::Result<()>;
    /// The operations: counted.
    fn round(&mut self);
}

/// An operation and what there is to know of it.
pub struct Spec {
    /// Its name in the file.
    pub name: &'static str,
    /// For people.
    pub what: &'static str,
    /// Operations in one round.
    pub per_round: u32,
    /// Sets it up.
    pub make: fn() -> anyhow::Result<Box<dyn Operation>>,
}

/// All of them.
pub const OPERATIONS: &[Spec] = &[
    Spec {
        name: "read_counter",
        what: "read a counter by handle",
        per_round: BURST,
        make: client::read_counter,
    },
    Spec { name: "read_flag", what: "read a flag by handle", per_round: BURST, make: client::read_flag },
    Spec {
        name: "read_register",
        what: "read a register of 64 bytes",
        per_round: BURST,
        make: client::read_register,
    },
    Spec { name: "read_member", what: "is it in a set of 100?", per_round: BURST, make: client::read_member },
    Spec { name: "enqueue", what: "add to a counter, as a client", per_round: BURST, make: client::enqueue },
    Spec { name: "take", what: "take a submission out of its ring", per_round: BURST, make: client::take },
    Spec { name: "apply_counter", what: "apply an addition", per_round: BURST, make: engines::apply_counter },
    Spec {
        name: "commit_counter",
        what: "log and publish it, in a burst of 64",
        per_round: BURST,
        make: engines::commit_counter,
    },
    Spec {
        name: "encode_counter",
        what: "into a frame, in a burst of 64",
        per_round: BURST,
        make: engines::encode_counter,
    },
    Spec {
        name: "merge_counter",
        what: "decode, merge, publish a counter's delta",
        per_round: BURST,
        make: engines::merge_counter,
    },
    Spec {
        name: "merge_counter_hot",
        what: "the same, always of the same 64 keys",
        per_round: BURST,
        make: engines::merge_counter_hot,
    },
    Spec {
        name: "apply_member",
        what: "apply an insertion into a set of 1,000",
        per_round: BURST,
        make: engines::apply_member,
    },
    Spec {
        name: "merge_member",
        what: "decode, merge, publish it",
        per_round: BURST,
        make: engines::merge_member,
    },
    Spec { name: "seal", what: "seal a full frame", per_round: BURST, make: seals::seal },
    Spec { name: "open", what: "open a full frame", per_round: BURST, make: seals::open },
    Spec {
        name: "publish_counter",
        what: "show a counter's value",
        per_round: BURST,
        make: segment::publish_counter,
    },
    Spec {
        name: "publish_register",
        what: "show a register of 64 bytes",
        per_round: BURST,
        make: segment::publish_register,
    },
    Spec {
        name: "publish_member",
        what: "show a member come or go, of 1,000",
        per_round: BURST,
        make: segment::publish_member,
    },
    Spec { name: "turn_idle", what: "a worker's turn without work", per_round: BURST, make: turns::idle },
    Spec { name: "turn_write", what: "a worker's turn with a lone write", per_round: 1, make: turns::write },
    Spec {
        name: "turn_burst",
        what: "a write in a turn with 64 of them",
        per_round: BURST,
        make: turns::burst,
    },
];

/// A key of usual length.
fn key(number: usize) -> String {
    format!("service/{number:06}/hits")
}

/// An element of usual length.
fn element(number: usize) -> String {
    format!("member/{number:06}")
}
