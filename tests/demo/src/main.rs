//! `make demo`: three hosts, one state, a partition, and the proof that nothing was lost.

fn main() {}
