//! The Latticed daemon and its command-line tool.
//!
//! The composition root: the only room that knows all the others. It reads the configuration, takes the rights, makes
//! the ports, the segment and the workers, and then stays beside them as the control thread; it never looks inside a
//! lattice, and nothing on the way of a write passes through it.
//!
//! | module | |
//! |---|---|
//! | [`config`] | one TOML file, validated as a whole |
//! | [`daemon`] | start, control thread, stop |
//! | [`health`] | live, ready, and why not |
//! | [`metrics`] | what Prometheus is shown |
//! | [`protocol`] | what is spoken over the admin socket |
//! | [`cli`] | the command line of `latticed` |
//! | [`ctl`] | `latticectl` |

#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod ctl;
pub mod daemon;
pub mod health;
pub mod metrics;
pub mod protocol;
