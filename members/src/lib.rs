//! Who is in the cluster, and how a node proves that it may be.
//!
//! | module | |
//! |---|---|
//! | [`pki`] | the cluster's authority, and the certificates of its nodes |
//! | [`swim`] | who lives |
//!
//! This room knows no engine, worker or configuration file.

#![forbid(unsafe_code)]

pub mod pki;
pub mod swim;
