//! The limits of the data model. They are checked where input enters (the client's edge, the wire decoder); the types
//! of this room stay correct beyond them, only larger.

/// Longest key, in bytes. Keys have at least one byte.
pub const MAX_KEY_BYTES: usize = 128;
/// Longest element of a set, in bytes. The empty element is a legal one.
pub const MAX_ELEMENT_BYTES: usize = 256;
/// Longest value of a register, in bytes.
pub const MAX_REGISTER_BYTES: usize = 1024;
/// Most actors that one shard's version vector holds.
pub const MAX_ACTORS: usize = 256;
/// Most shards that a keyspace is cut into.
pub const MAX_SHARDS: usize = 64;
/// Most dots that one delta record names. An operation that would supersede more is split by its origin.
pub const MAX_DOTS_PER_RECORD: usize = 48;
