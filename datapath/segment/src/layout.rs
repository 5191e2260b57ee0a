//! Byte layout of the segment.

/// Longest key in bytes.
pub const MAX_KEY_BYTES: usize = 128;
/// Longest set element in bytes.
pub const MAX_ELEMENT_BYTES: usize = 256;
/// Longest register value in bytes.
pub const MAX_REGISTER_BYTES: usize = 1024;
/// Kind number of a counter.
pub const KIND_COUNTER: u8 = 1;
/// Kind number of an enable-wins flag.
pub const KIND_FLAG_ENABLE_WINS: u8 = 2;
/// Kind number of a disable-wins flag.
pub const KIND_FLAG_DISABLE_WINS: u8 = 3;
/// Kind number of a register.
pub const KIND_REGISTER: u8 = 4;
/// Kind number of a set.
pub const KIND_SET: u8 = 5;
