//! Sizes of the program's maps; `build.rs` hands them to the C side.

/// Receive queues of one interface, at most.
pub const MAX_QUEUES: usize = 256;

/// Source addresses that can be let in, at most (the limit on a cluster's nodes).
pub const MAX_SOURCES: usize = 256;

/// Datagrams to the sessions' port that strangers may send at once, per CPU.
pub const STRANGER_BURST: usize = 2000;

/// Each of so many nanoseconds lets strangers send one more: 2,000 a second.
pub const STRANGER_INTERVAL_NS: usize = 500_000;
