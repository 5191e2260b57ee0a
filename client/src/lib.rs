//! What applications link: lock-free reads and wait-free writes of replicated state.
//!
//! Every host runs one `latticed`. An application attaches to the daemon of its own host, reads the state from shared
//! memory and writes by putting 64 bytes into a ring; the daemons replicate to each other.
//!
//! ```text
//!            your process                        latticed on this host              other hosts
//!   ┌───────────────────────────┐        ┌───────────────────────────────┐
//!   │ counter.add(1) ── Ticket  │ ring   │                               │  frames
//!   │        └──────────────────┼───────>│ worker: apply ─ log ─ encode ─┼────────────> workers there
//!   │ client.wait(ticket)  <────┼─applied│           │                   │                  │
//!   │                           │        │           v  publish          │                  v
//!   │ counter.get()        <────┼────────┼──── segment (/dev/shm)        │           their segments
//!   └───────────────────────────┘ 1 load └───────────────────────────────┘
//! ```
//!
//! # A first program
//!
//! ```no_run
#![doc = include_str!("../README-sample")]
//! ```
//!
//! # What a write promises
//!
//! [`Counter::add`], [`Flag::enable`], [`Register::set`], [`Set::insert`] and the like only enqueue: they never wait, and they
//! fail at once, with nothing enqueued, if they can't ([`Error::RingFull`] and others). The [`Ticket`] that they return tells
//! the rest: [`Client::wait`] for one write, [`Client::barrier`] for all so far. An applied write is visible to every reader
//! of this host, and on its way to the others; nobody can take it back. Writes of one client to one key are applied in order.
//!
//! # How far it has got
//!
//! Visible on this host may not be enough: [`Ack`] names how far a write can be waited for, to the log, to the disk, to other
//! hosts. Each write has a form that ends in `_with`, and [`Client::wait_with`] and [`Client::barrier_with`] do the same for
//! writes made before. When the time is up, the error says what *was* reached.
//!
//! ```no_run
//! use std::time::Duration;
//! use lattice_client::{Ack, Client, Error};
//!
//! # fn main() -> Result<(), Error> {
//! let client = Client::connect("/dev/shm/latticed/host-a/daemon.sock")?;
//! let kill_switch = client.flag("kill/checkout")?;
//! match kill_switch.enable_with(Ack::All, Duration::from_millis(50)) {
//!     Ok(reached) => println!("off everywhere: {reached}"),
//!     // It is on its way to the rest, and arrives when they are back.
//!     Err(Error::NotReached { reached, .. }) => println!("off here and on {} of {} peers", reached.peers, reached.members - 1),
//!     Err(error) => return Err(error),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Keys that are not known beforehand are read without a handle: [`Client::by_key`].
//!
//! Merging is by the kind of the key, chosen when it is opened: see [`Client::counter`], [`Client::flag`],
//! [`Client::flag_disable_wins`], [`Client::register`], [`Client::set`].
//!
//! # When the daemon goes away
//!
//! Reads go on, on the last state that it published ([`ReadPolicy::LastKnown`]), or fail ([`ReadPolicy::Fresh`]): the
//! application chooses. [`Client::health`] tells how old that state is. Writes fail with [`Error::DaemonStale`] or
//! [`Error::DaemonClosed`] and nothing is enqueued; those that were under way end as [`Error::OutcomeUnknown`]. Once the daemon is
//! back, the next calls attach to it, a step at a time and without waiting, and all handles go on.
//!
//! ```no_run
//! use std::time::Duration;
//! use lattice_client::{Client, Error};
//!
//! # fn main() -> Result<(), Error> {
//! let client = Client::connect("/dev/shm/latticed/host-a/daemon.sock")?;
//! let hits = client.counter("hits")?;
//! match hits.add_wait(1, Duration::from_millis(10)) {
//!     Ok(()) => {}
//!     // Nothing was counted: may be repeated without counting twice.
//!     Err(error) if error.nothing_happened() => eprintln!("not counted: {error}"),
//!     // Under way, or nobody knows: counting again could count twice.
//!     Err(error) => eprintln!("perhaps counted: {error}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//!
//! [`Client`] and all handles are `Send + Sync`; a clone of a client is one atomic increment. Reads share nothing that is
//! written. Writes go through one ring per worker of the daemon, behind a mutex held for some 20 ns; threads that must not
//! share it connect a client each. Nothing here starts a thread of its own.
//!
//! # What can go wrong
//!
//! Every error says what happened to the state and what to do: see [`Error`]. A client that never collects results
//! loses no data, only the reasons of refusals older than the last 1024 per worker ([`Error::OutcomeForgotten`]).

mod ack;
mod acked;
mod attach;
mod attachment;
mod by_key;
mod client;
mod clock;
mod error;
mod handle;
mod health;
mod kind;
mod lane;
mod options;
mod pause;
mod refusals;
mod ticket;
mod types;
mod watch;

pub use ack::{Ack, AckImpossible, Reached, UnknownAck};
pub use by_key::ByKey;
pub use client::Client;
pub use error::{Error, Refusal, Result};
pub use health::{DaemonState, Health};
pub use kind::Kind;
pub use options::{ClientOptions, ReadPolicy};
pub use ticket::Ticket;
pub use types::{Counter, Flag, Register, Set};
pub use watch::{Change, Changes, KeyInfo};

/// The README's sample is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
