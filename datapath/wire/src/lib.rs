//! Latticed frames and delta records: one encoder, one decoder.
