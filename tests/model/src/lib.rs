//! Exhaustive model checking of the replication rules.
pub mod action;
pub mod check;
pub mod config;
pub mod dots;
pub mod heal;
pub mod merge;
pub mod restart;
pub mod spec;
pub mod state;
pub mod symmetry;
pub mod sync;
