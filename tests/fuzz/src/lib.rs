//! Fuzz targets: what reads bytes that others wrote, and what must hold whatever they wrote.
//!
//! ```text
//!   seeds (bin `seeds`) ──> corpus/<target>/ <── what the fuzzer found, minimised
//!                                │
//!                                ├──> fuzz/        cargo-fuzz: libFuzzer calls the function of one target for ever
//!                                └──> tests/corpus.rs   plain `cargo test`: calls it once for each file
//! ```
//!
//! A target is a function of bytes that returns when all is well and panics when a promise is broken. A promise is more
//! than "does not crash": what decodes re-encodes to the same bytes, limits hold, whatever is refused is counted, the
//! engine's invariants hold after each step, a client that lies disturbs nobody else. [`TARGETS`] names them all.
//!
//! What can go wrong: a target that stops short because its input never gets past the first check finds nothing. So
//! frames get a tag that fits where the target is about what comes behind it, segments begin from a real file, and the
//! committed corpora hold the ways that lead deep.

#![forbid(unsafe_code)]

pub mod backup;
pub mod clients;
pub mod config;
pub mod engine;
pub mod input;
pub mod ring;
pub mod seeds;
pub mod segment;
pub mod wire;

/// A fuzz target: its name, and what to do with the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets. Each has its program in `fuzz/fuzz_targets/` and its directory in `corpus/`.
pub const TARGETS: &[Target] = &[
    ("frame", wire::frame),
    ("record", wire::record),
    ("ack", wire::ack),
    ("vector", wire::vector),
    ("heartbeat", wire::heartbeat),
    ("sync_request", wire::sync_request),
    ("sync_data", wire::sync_data),
    ("sync_ack", wire::sync_ack),
    ("forget", wire::forget),
    ("fold", wire::fold),
    ("engine", engine::engine),
    ("snapshot", engine::snapshot),
    ("backup", backup::backup),
    ("ring", ring::ring),
    ("segment", segment::segment),
    ("segment_mutated", segment::segment_mutated),
    ("clients", clients::clients),
    ("config", config::config),
];

/// Does with one input what a target does.
///
/// # Panics
/// If there is no such target, and when the target finds a broken promise.
pub fn run(target: &str, data: &[u8]) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target of this name");
    run(data);
}
