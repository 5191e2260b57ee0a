//! The Latticed daemon and its command-line tool.
//!
//! The composition root: the only room that knows all the others. It reads the configuration, takes the rights, makes
//! the ports, the segment and the workers, and then stays beside them as the control thread; it never looks inside a
//! lattice, and nothing on the way of a write passes through it.
//!
//! - [`config`]: one TOML file, validated as a whole.

#![deny(unsafe_code)]

pub mod config;
