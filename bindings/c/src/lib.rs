//! The client library for C. What its users read is `include/latticed.h`, generated from here by cbindgen; this page is for
//! those who change it.
//!
//! ```text
//!   C program ──> latticed_counter_get(counter, &value)            header: what, errors, ownership, threads
//!                    │
//!                    v  edge::call: a failure becomes a code and this thread's last error, a panic LATTICED_EINTERNAL
//!                 Counter::get                                     lattice-client: everything else
//! ```
//!
//! Every function is the same few lines: its arguments checked for NULL, one call of `lattice-client`, its result put where the
//! caller wants it. Pointers to single things are `Option<&T>`, `Option<&mut MaybeUninit<T>>` and `Option<Box<T>>`, which are
//! plain pointers in C: NULL is `None`, and whether it was looked at is for the compiler to check. What has a length or a
//! terminator is a raw pointer, read by the two functions of `edge` that are unsafe.
//!
//! What can go wrong: an enumeration of Rust that C sends with another value is undefined behaviour, so C sends numbers
//! (`latticed_ack`, `read_policy`), and only gets enumerations. A changed layout breaks programs that are not compiled again: the
//! number in `build.rs` goes up with it. A test compares the header with what cbindgen makes of these files.

#![allow(non_camel_case_types, reason = "the names are those of the header")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the header says it once for all functions, under \"Arguments\""
)]

mod ack;
mod by_key;
mod changes;
mod client;
mod counter;
mod edge;
mod error;
mod flag;
mod health;
mod kind;
mod register;
mod set;

pub use ack::*;
pub use by_key::*;
pub use changes::*;
pub use client::*;
pub use counter::*;
pub use error::*;
pub use flag::*;
pub use health::*;
pub use kind::*;
pub use register::*;
pub use set::*;
