//! Sizes of the program's maps; `build.rs` hands them to the C side.

/// Receive queues of one interface, at most.
pub const MAX_QUEUES: usize = 256;

/// Source addresses that can be let in, at most (the limit on a cluster's nodes).
pub const MAX_SOURCES: usize = 256;
