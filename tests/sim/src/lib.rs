//! A deterministic world for the production engine.

#![forbid(unsafe_code)]

pub mod draw;
